"""The row of which every recipe consists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codivide.data.options import ReadOptions


@dataclass(frozen=True)
class Recipe:
    """One experiment, apart from its seed.

    Attributes:
        name: "group/row", unique.
        method: a name in ``METHODS``, or ``FILE.py:CLASS``; "": none of ours, so that the row stands for its published
            number alone.
        data: a source that ``codivide fit`` takes, such as "cifar10" or "cifar10n:worse"; tested on its own test part.
        noise: what is done to the labels first, such as "symmetric:0.5" or "T.csv" (see ``noise.synthetic.parse``);
            "": nothing.
        hyper: hyper-parameters that differ from the method's defaults.
        plan: fields of ``Plan`` that differ from the method's defaults.
        net: a network's name, or ``FILE.py:NAME`` of one of the user's own.
        dropout: of the network.
        augment: views to learn from, as for ``fit``.
        image_size: of photos as they are stored; None: as they are read anyhow.
        limit: train on a random part of so many samples; None: all.
        labels_per_class: after part and noise, hide all but so many labels of every class; None: none is hidden.
        labels: after part and noise, hide all but so many labels, every class as frequent among them as among all;
            None: none is hidden.
        expand: after that, add to every image a copy in this view ("weak" or "strong"); None: add none.
        evaluate_every: epochs between evaluations; None: the job's choice. 1 where the best of all is published.
        published: what the paper reports, in percent, by its statistic (see ``bench.measures.STATISTICS``), which is
            computed of our runs too; "spread" is the published standard deviation.
        source: paper and table of ``published``.
        oracle: what the recipe uses that a user cannot know: "noise_rate", "noise_type", "clean_labels".
        note: what else a reader of the number must know.
    """

    name: str
    method: str
    data: str
    noise: str = ""
    hyper: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    net: str = "preact_resnet18"
    dropout: float = 0.0
    augment: str = "auto"
    image_size: int | None = None
    limit: int | None = None
    labels_per_class: int | None = None
    labels: int | None = None
    expand: str | None = None
    evaluate_every: int | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    oracle: tuple[str, ...] = ()
    note: str = ""

    @property
    def reading(self) -> ReadOptions:
        """How its data are read."""
        from codivide.data.options import ReadOptions  # which needs torch; a recipe that is listed is not read

        return ReadOptions(augment=self.augment, image_size=self.image_size)

    @property
    def group(self) -> str:
        """The part of the name before the first slash."""
        return self.name.partition("/")[0]
