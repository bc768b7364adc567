"""Every method by name; add one by writing its file and a line here."""

from codivide.engine import Method
from codivide.methods.co_teaching import CoTeaching
from codivide.methods.co_teaching_plus import CoTeachingPlus
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import DivideMix
from codivide.methods.jocor import JoCoR
from codivide.methods.mentormix import MentorMix
from codivide.methods.mentornet import MentorNet

METHODS: dict[str, type[Method]] = {
    "co_teaching": CoTeaching,
    "co_teaching_plus": CoTeachingPlus,
    "cross_entropy": CrossEntropy,
    "dividemix": DivideMix,
    "jocor": JoCoR,
    "mentormix": MentorMix,
    "mentornet": MentorNet,
}
