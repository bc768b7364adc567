"""What methods share that divide the samples into clean and wrong every epoch, with one network or two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from codivide.core.errors import InputError
from codivide.core.types import Auto
from codivide.noise import embedding
from codivide.noise import mixtures as divide
from codivide.training import targets
from codivide.training.plan import early_epochs
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

VIEWS = ("plain", "weak", "strong")
EMBEDDED = ("embedding", "neighbours")  # divisions by the network's features


@dataclass
class Dividing(Method):
    """Warm up, then judge every label by each network once an epoch.

    Attributes:
        warmup: epochs of plain training first; None: 10, or a third of all where that is less.
        warmup_view: plain, weak or strong, the views of the warm-up.
        threshold: a label counts as clean when its probability is above, in [0, 1).
        division: mixture on the losses; class_wise, one for each class; wrong_events, one on how often the prediction
            was not the given label; class_wise_events; embedding, one on how far the network's features are from the
            mean of their class; neighbours, one on how many of the nearest features have another label.
        average_losses: epochs whose losses are averaged before the mixture is fitted.
        restore_classes: a class of which no label is found clean is divided by a mixture of its own; else it stays
            without one, as published.
        average_guesses: judge and guess with the weight averages (needs an average in the plan).
        networks: 2 that judge for each other, or 1 that judges for itself.
        co_divide: judge for the peer; else each network for itself.
        test_net: the only network (0 or 1) that classifies; None: all.
    """

    nets: ClassVar[int] = 2
    sets_aside: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "warmup": (0, math.inf),
        "threshold": (0, 1),
        "average_losses": (1, 99),
        "networks": (1, 2),
        "test_net": (0, 1),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "warmup_view": VIEWS,
        "division": ("mixture", "class_wise", "wrong_events", "class_wise_events", "embedding", "neighbours"),
    }

    warmup: int | Auto | None = None
    warmup_view: str = "weak"
    threshold: float | Auto = 0.5
    division: str = "mixture"
    average_losses: int = 1
    restore_classes: bool = True
    average_guesses: bool = False
    networks: int = 2
    co_divide: bool = True
    test_net: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_net is not None and self.test_net >= self.networks:
            raise InputError(f"test_net is {self.test_net}, but there is only network 0")

    def count(self) -> int:
        """One network or two."""
        return self.networks

    def start(self, run: Run) -> None:
        """Make room for each network's last posteriors, and for its last losses or its events."""
        super().start(run)
        for i in range(self.networks):
            run.remember(f"clean_prob.{i}", fill=torch.nan)
            if self.counts_events():
                run.remember(f"events.{i}", 2)  # the wrong ones, and all
            else:
                run.remember(f"losses.{i}", self.average_losses)

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of plain training before the first split."""
        epochs = self.setting("warmup")
        return early_epochs(run.plan) if epochs is None else int(epochs)

    def warm_up(self, run: Run, i: int) -> None:
        """One pass of network ``i`` over all labels, in batches of twice the size."""
        self.fit_all(run, i, 2 * run.plan.batch_size, self.warmup_view)

    def peer(self, i: int) -> int:
        """The other network; the network itself where it is alone."""
        return (i + 1) % self.networks

    def judged_for(self, run: Run, i: int) -> Tensor:
        """What network ``i`` learns from: the posterior ``[N]`` of its peer, or its own; NaN without a label."""
        return run.remember(f"clean_prob.{self.peer(i) if self.co_divide else i}")

    def counts_events(self) -> bool:
        """Whether the division looks at wrong events instead of losses."""
        return self.division in ("wrong_events", "class_wise_events")

    def observe(self, run: Run, i: int, batch: Batch, logits: Tensor) -> Tensor:
        """As ``run.observe``; also counts the wrong events of a batch that network ``i`` trains on."""
        if self.counts_events():
            run.remember(f"events.{i}", 2).index_add_(0, batch.id, targets.wrong_event(logits.detach(), batch.y))
        return run.observe(batch, logits)

    def divide(self, run: Run, i: int) -> None:
        """Measure network ``i`` on all samples, divide, and keep the posterior (DivideMix, section 3.1)."""
        if self.average_guesses and not run.plan.average:
            run.warn("average", "average_guesses needs an average in the plan; the networks themselves judge and guess")
        given = (run.data.y >= 0) & run.active
        names = run.data.classes
        labels = run.data.y[given]
        evidence = self._evidence(run, i, given)
        apart = self.division in ("class_wise", "class_wise_events")
        division = divide.class_wise(evidence, labels, len(names)) if apart else divide.gmm(evidence)
        least = float(self.setting("threshold"))
        restored = divide.restore_classes(division.clean_prob, evidence, labels, len(names), least)
        prob = restored.clean_prob if self.restore_classes else division.clean_prob
        run.remember(f"clean_prob.{i}")[given] = prob
        run.pin(run.remember(f"clean_prob.{i}"))
        run.log(**{f"separates_{i}": float(division.separates)})
        if not division.separates:
            seen = "wrong events" if self.counts_events() else "features" if self.division in EMBEDDED else "losses"
            run.warn("separates", f"the {seen} do not show two groups, so the split is a guess; going on with it")
        done = "divided that class by itself" if self.restore_classes else "that class is not learned from labels now"
        for c in restored.classes:
            run.warn(f"class {c}", f"no label {names[c]!r} was found clean; {done}")

    def _evidence(self, run: Run, i: int, given: Tensor) -> Tensor:
        """What speaks against each label of the mask ``given``, as ``division`` has it."""
        if self.division not in EMBEDDED:
            return (self._events(run, i) if self.counts_events() else self._losses(run, i))[given]
        features = run.measure(i, lambda seen, b: seen, average=self.average_guesses, active=True, features=True)[given]
        labels = run.data.y[given]
        if self.division == "neighbours":
            return embedding.away_from_neighbours(features, labels)
        return embedding.away_from_class(features, labels, len(run.data.classes))

    def _losses(self, run: Run, i: int) -> Tensor:
        """Cross-entropy ``[N]`` on the given labels, scaled to [0, 1] and averaged over the last divisions."""
        given = (run.data.y >= 0) & run.active
        since = run.epoch - self.warmup_epochs(run)
        loss = run.measure(
            i, lambda logits, b: targets.sample_loss(logits, b.y), average=self.average_guesses, active=True
        )
        history = run.remember(f"losses.{i}", self.average_losses)
        history[given, since % self.average_losses] = divide.unit_range(loss[given])
        return history[:, : since + 1].mean(1)

    def _events(self, run: Run, i: int) -> Tensor:
        """Share ``[N]`` of wrong predictions in all epochs, with those of this moment."""
        now = run.measure(
            i, lambda logits, b: targets.wrong_event(logits, b.y), average=self.average_guesses, active=True
        )
        events = run.remember(f"events.{i}", 2).add_(now)
        return divide.event_rate(events[:, 0], events[:, 1])

    def clean_prob(self, run: Run) -> Tensor:
        """Mean of the networks' last posteriors; before the first split, as for methods without one."""
        if run.epoch <= self.warmup_epochs(run):
            return super().clean_prob(run)
        return torch.stack([run.remember(f"clean_prob.{i}") for i in range(self.networks)]).mean(0)

    def members(self, run: Run) -> list[nn.Module]:
        """All networks (their averages where there are any), or the one asked for."""
        members = super().members(run)
        return members if self.test_net is None else [members[self.test_net]]
