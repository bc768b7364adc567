"""Every method by name; add one by writing its file and a line here."""

from codivide.engine import Method
from codivide.methods.bootstrapping import Bootstrapping
from codivide.methods.cnn_crf import CNNCRF
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import DivideMix
from codivide.methods.m_correction import MCorrection

METHODS: dict[str, type[Method]] = {
    "bootstrapping": Bootstrapping,
    "cnn_crf": CNNCRF,
    "cross_entropy": CrossEntropy,
    "dividemix": DivideMix,
    "m_correction": MCorrection,
}
