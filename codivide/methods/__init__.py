"""Every method by name; add one by writing its file and a line here."""

from codivide.engine import Method
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import DivideMix
from codivide.methods.mixup import Mixup

METHODS: dict[str, type[Method]] = {
    "cross_entropy": CrossEntropy,
    "dividemix": DivideMix,
    "mixup": Mixup,
}
