"""The hyper-parameters of the route for features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from codivide.core.errors import InputError
from codivide.methods.features.trees import FEWEST, KINDS, WIDEST
from codivide.training.algorithm import Algorithm
from codivide.training.plan import ASKED

ASIDE = " (pixels)"  # behind the kind of a head that sees the pixels of an image, beside the features of its encoder

#: Options of a fit that say how a network is trained over epochs.
NOT_FOR_FEATURES = tuple(
    name for name in (*ASKED, "dropout", "net", "augment", "evaluate_every") if name not in ("device", "seed")
)


@dataclass
class Features(Algorithm):
    """Linear, MLP and tree heads on features ``[N, D]``, cross-fitted, in seconds on a CPU; see ``learn``.

    Attributes:
        heads: "linear", "mlp", "both", or "none" (of these: trees alone).
        trees: tree heads beside them: "forest", "boosting", "both" or "none". "auto": both for tables of at least 1,000
            rows and at most 256 numbers each, a forest for smaller tables with columns of any kind, else none. Boosting
            is first tried on one fold, and left out where it has no weight there.
        folds: of cross-fitting; fewer where there are fewer labels.
        correct: also fit through an estimated transition matrix, and pool by held-out given labels.
        vote: let the most similar samples vote beside the heads, when labels are judged, where held-out given labels
            are then likelier.
        division: how clean labels are told from wrong ones: "calibrated" (heads, neighbours and the confident joint),
            or a rule on the cross-fitted losses: "gmm", "bmm" or "class_wise".
        hidden: units of the MLP.
        updates: of the MLP, batches of 128; None: 40 passes over small data, 10 over 10,000 samples and
            more, 200 to 4000 updates.
        mixup: alpha of the MLP's mixup; 0: none.
        components: principal components that the MLP and the neighbours see.
        again: where a fifth or more of the labels seem wrong, fit the heads once more with labels that count as they
            are likely right, and judge again; not with a model of your own or several annotators.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "tables, text and embeddings in seconds: cross-fitted heads, noise-corrected"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "folds": (2, 50),
        "hidden": (1, 100_000),
        "updates": (1, math.inf),
        "mixup": (0, math.inf),
        "components": (1, math.inf),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "heads": ("both", "linear", "mlp", "none"),
        "trees": ("auto", "none", "forest", "boosting", "both"),
        "division": ("calibrated", "gmm", "bmm", "class_wise"),
    }

    heads: str = "both"
    trees: str = "auto"
    folds: int = 5
    correct: bool = True
    vote: bool = True
    division: str = "calibrated"
    hidden: int = 256
    updates: int | None = None
    mixup: float = 1.0
    components: int = 128
    again: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads == "none" and self.trees in ("auto", "none"):
            raise InputError(f"heads is none and trees is {self.trees}: no head is left; choose trees")

    def kinds(
        self, rows: int = 0, width: int = 0, *, dense: bool = True, mixed: bool = False, pixels: bool = False
    ) -> tuple[str, ...]:
        """The heads that are fitted, in order.

        Args:
            rows: labelled samples.
            width: numbers of a sample.
            dense: whether they are no sparse matrix.
            mixed: whether they come from columns of any kind.
            pixels: whether pixels stand beside the features; they have heads of their own.
        """
        heads = {"both": ("linear", "mlp"), "none": ()}.get(self.heads, (self.heads,))
        heads += tuple(f"{kind}{ASIDE}" for kind in heads) if pixels else ()
        named = {"none": (), "forest": ("forest",), "boosting": ("boosting",), "both": KINDS}
        if self.trees != "auto":
            return heads + named[self.trees]
        large = rows >= FEWEST and width <= WIDEST
        return heads + (
            KINDS if dense and rows >= FEWEST and (large or mixed) else KINDS[:1] if dense and mixed else ()
        )

    def rounds(self, kinds: Sequence[str] | None = None) -> int:
        """Records of a run: one for every head, plain and corrected, and one for the division; without ``again``."""
        return len(self.kinds() if kinds is None else kinds) * (1 + self.correct) + 1


def unset(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of ``NOT_FOR_FEATURES`` that nobody has set: not there, None, "auto", no dropout, or not compiled."""
    off = ("dropout", "compile")  # their default; elsewhere a 0 is somebody's choice
    values = {name: given.get(name) for name in NOT_FOR_FEATURES}
    return tuple(name for name, value in values.items() if value in (None, "auto") or (name in off and not value))


def refuse(given: Mapping[str, Any]) -> None:
    """InputError if an option was set that the route for features does not have.

    Args:
        given: options by name; None, False, 0.0 and "auto" are what is not set.
    """
    for name in NOT_FOR_FEATURES:
        if given.get(name) not in (None, False, 0.0, "auto"):
            raise InputError(
                f"{name} = {given[name]} does not apply to the method features, which trains no network over epochs; "
                "leave it out (its own options: codivide methods features)"
            )
    device = str(given.get("device") or "auto")
    if device not in ("auto", "cpu"):
        raise InputError(f"the method features runs on the CPU, not on {device}; leave device out")
