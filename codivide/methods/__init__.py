"""Every method by name; add one by writing its file and a line here."""

from codivide.engine import Method
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import DivideMix
from codivide.methods.elr import ELR
from codivide.methods.elr_plus import ELRPlus
from codivide.methods.joint_optimization import JointOptimization

METHODS: dict[str, type[Method]] = {
    "cross_entropy": CrossEntropy,
    "dividemix": DivideMix,
    "elr": ELR,
    "elr_plus": ELRPlus,
    "joint_optimization": JointOptimization,
}
