"""Every method by name; add one by writing its file and a line here.

Most train networks (``cls.trains``); ``codivide.train`` takes those. ``features`` fits heads in seconds and ``auto``
chooses among the others; both run behind ``NoisyLabelClassifier`` and the command line.
"""

from codivide.methods.active_passive import ActivePassive
from codivide.methods.auto import Auto
from codivide.methods.backward_correction import BackwardCorrection
from codivide.methods.bi_tempered import BiTempered
from codivide.methods.bootstrapping import Bootstrapping
from codivide.methods.cnn_crf import CNNCRF
from codivide.methods.co_teaching import CoTeaching
from codivide.methods.co_teaching_plus import CoTeachingPlus
from codivide.methods.codivide import CoDivide
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import DivideMix
from codivide.methods.elr import ELR
from codivide.methods.elr_plus import ELRPlus
from codivide.methods.entropy_minimisation import EntropyMinimisation
from codivide.methods.features.options import Features
from codivide.methods.fixmatch import FixMatch
from codivide.methods.forward_correction import ForwardCorrection
from codivide.methods.gce import GCE
from codivide.methods.interpolation_consistency import InterpolationConsistency
from codivide.methods.iterative_cv import IterativeCV
from codivide.methods.jocor import JoCoR
from codivide.methods.joint_optimization import JointOptimization
from codivide.methods.m_correction import MCorrection
from codivide.methods.mean_teacher import MeanTeacher
from codivide.methods.mentormix import MentorMix
from codivide.methods.mentornet import MentorNet
from codivide.methods.meta_learning import MetaLearning
from codivide.methods.mixmatch import MixMatch
from codivide.methods.mixup import Mixup
from codivide.methods.pencil import Pencil
from codivide.methods.pi_model import PiModel
from codivide.methods.promix import ProMix
from codivide.methods.pseudo_label import PseudoLabel
from codivide.methods.sce import SCE
from codivide.methods.sop import SOP
from codivide.methods.sop_plus import SOPPlus
from codivide.methods.unicon import UNICON
from codivide.methods.vat import VAT
from codivide.training.run import Method

METHODS: dict[str, type[Method] | type[Features]] = {
    "active_passive": ActivePassive,
    "auto": Auto,
    "backward_correction": BackwardCorrection,
    "bi_tempered": BiTempered,
    "bootstrapping": Bootstrapping,
    "cnn_crf": CNNCRF,
    "co_teaching": CoTeaching,
    "co_teaching_plus": CoTeachingPlus,
    "codivide": CoDivide,
    "cross_entropy": CrossEntropy,
    "dividemix": DivideMix,
    "elr": ELR,
    "elr_plus": ELRPlus,
    "entropy_minimisation": EntropyMinimisation,
    "features": Features,
    "fixmatch": FixMatch,
    "forward_correction": ForwardCorrection,
    "gce": GCE,
    "interpolation_consistency": InterpolationConsistency,
    "iterative_cv": IterativeCV,
    "jocor": JoCoR,
    "joint_optimization": JointOptimization,
    "m_correction": MCorrection,
    "mean_teacher": MeanTeacher,
    "mentormix": MentorMix,
    "mentornet": MentorNet,
    "meta_learning": MetaLearning,
    "mixmatch": MixMatch,
    "mixup": Mixup,
    "pencil": Pencil,
    "pi_model": PiModel,
    "promix": ProMix,
    "pseudo_label": PseudoLabel,
    "sce": SCE,
    "sop": SOP,
    "sop_plus": SOPPlus,
    "unicon": UNICON,
    "vat": VAT,
}
