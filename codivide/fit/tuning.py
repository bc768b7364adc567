"""Photos, after the heads on their features: train the encoder's network further, and keep it where it pays.

A copy of the packaged network learns for a few epochs, first its head, then all weights at a small rate, with a weight
average. Whether it counts is told by given labels that it has not seen (``methods.features.tuned``). That takes
several times as long as the heads, so it is done where there is a GPU, or a budget that has room for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from codivide.core.device import autocast, resolve_device, resolve_precision
from codivide.core.errors import InputError
from codivide.core.memory import short_of
from codivide.core.types import Labels
from codivide.data import tuned as encoders
from codivide.data.encode import OF_PHOTOS
from codivide.data.encoder import Encoding
from codivide.data.groups import together
from codivide.data.loaded import Loaded
from codivide.data.networks import ImageNet
from codivide.data.rows import BesideRows
from codivide.fit.budget import Budget
from codivide.fit.estimate import duration
from codivide.fit.job import Begin, Job, Say
from codivide.methods.features.learn import Learned
from codivide.methods.features.tuned import HIDDEN, SoftTargets, Weighed, hidden, rejudged, targets, weighed
from codivide.training import layers, loop, nets
from codivide.training.plan import Plan
from codivide.training.ranks import here
from codivide.training.samples import Data
from codivide.training.timm_names import PACKAGED

EPOCHS, LEAST_EPOCHS = 6, 3
FEWEST = 500  # labelled photos; of fewer, too few can be hidden to tell whether it pays
_LEAST_HIDDEN = HIDDEN / 2  # labels, as a share of FEWEST
_NAME, _ROUND = "fine-tuning", "fine-tuned"  # of the stage, and of its record
_LOOKED_AT = 0.3  # what an image costs in an evaluation, of what it costs in an epoch
_FROZEN = 0.4  # what the first epoch costs, of a later one


@dataclass(frozen=True)
class Tuner:
    """What goes on from the heads to the network.

    Attributes:
        images: the photos whose features the heads see.
        budget: of the whole run; None of its seconds: there is none.
        begin: as for ``choose_run.execute``.
        say: likewise.
        how: how features are made.
    """

    images: Loaded
    budget: Budget
    begin: Begin
    say: Say
    how: Encoding

    def __call__(self, job: Job, learned: Learned, loaded: Loaded) -> tuple[Learned, Loaded]:
        """What the heads have learned, and their data, with the network beside them where that pays."""
        if "independent" in learned.remarks or not isinstance(loaded.encoder, ImageNet):
            return learned, loaded
        side = (loaded.encoder.side or 0) // 2
        known = together(loaded)
        counts = loaded.y if loaded.weight is None else np.where(loaded.weight > 0, loaded.y, -1)
        unseen = hidden(counts, None if known is None else known.groups, job.plan.seed)
        if len(unseen) < _LEAST_HIDDEN * FEWEST or len(np.unique(loaded.y[unseen])) < 2:
            self.say(
                "the encoder's network is not trained further: too few labels, or of one class alone, can be hidden "
                "from it to tell whether that pays"
            )
            return learned, loaded
        try:
            plan = self._plan(job, len(loaded.y), side)
            return (learned, loaded) if plan is None else self._tuned(plan, side, learned, loaded, unseen)
        except (InputError, RuntimeError, MemoryError) as error:  # what the heads have learned is not lost
            if not isinstance(error, InputError) and not short_of(error):
                raise
            self.say(f"the encoder's network cannot be trained further, and the heads stay: {error}")
            return learned, loaded

    def _tuned(self, plan: Plan, side: int, learned: Learned, loaded: Loaded, unseen: Labels) -> tuple[Learned, Loaded]:
        """The same where there is time for it; the labels of rows ``unseen`` are hidden from the network."""
        assert isinstance(loaded.encoder, ImageNet)
        began, given = time.perf_counter(), torch.from_numpy(loaded.y)
        encoder, epochs = self._trained(loaded.encoder, learned, plan, side, unseen)
        behind = encoder.said.encode(self.images.x, self.how)
        said = behind[torch.arange(len(given))]
        rows, weight = torch.from_numpy(unseen), None if loaded.weight is None else loaded.weight[unseen]
        told = weighed(learned.probs[rows], said[rows], given[rows], weight)
        found = self._whole(loaded, BesideRows(loaded.x, behind), encoder) if told.share else loaded
        words = _words(told, len(unseen))
        self.say(words)
        seconds = round(time.perf_counter() - began, 2)
        learned.report["tuned"] = {
            **{"epochs": epochs, "side": side, "hidden": len(unseen), "seconds": seconds, "said": words},
            **told._asdict(),
        }
        agreement, number = told.agreement[told.share > 0], len(learned.records) + 1
        learned.records.append({"epoch": number, "round": _ROUND, "agreement": agreement, "seconds": seconds})
        if not told.share:
            return learned, found
        confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
        return rejudged(learned, said, told.share, given, confirmed), found

    def _whole(self, loaded: Loaded, x: BesideRows, encoder: encoders.Tuned) -> Loaded:
        """The data with rows ``x``, and with what the network says of the other parts, too."""

        def part(rows: Loaded | None, images: Loaded | None) -> Loaded | None:
            if rows is None or images is None:
                return rows
            return replace(rows, x=encoder.beside(rows.x, images.x, self.how), encoder=encoder)

        validation = part(loaded.validation, self.images.validation)
        return replace(loaded, x=x, encoder=encoder, test=part(loaded.test, self.images.test), validation=validation)

    def _plan(self, job: Job, samples: int, side: int) -> Plan | None:
        """How to train in the time that is left; None, and a word about it, where that is too little."""
        on_cpu = resolve_device(job.plan.device).type == "cpu"
        plan = Plan(
            epochs=EPOCHS,
            precision="fp32" if on_cpu else "auto",  # its depthwise convolutions learn in bf16 at half the speed there
            optimizer="adamw",
            lr=5e-4,
            weight_decay=0.01,
            schedule="one_cycle",
            average=0.95,
            freeze=1,
            seed=job.plan.seed,
            device=job.plan.device,
        )
        left = self.budget.left()
        if left is None:
            return plan
        epoch = self._seconds(plan, side) * samples / plan.batch_size
        others = sum(len(part.y) for part in (self.images.test, self.images.validation) if part is not None)
        looks = _LOOKED_AT * epoch * (1 + others / samples)
        epochs = min(EPOCHS, int((left - looks) / epoch - _FROZEN) + 1)
        if epochs < LEAST_EPOCHS:
            needed = looks + epoch * (EPOCHS - 1 + _FROZEN)
            self.say(
                f"no time is left to train the encoder's network further, for which about {duration(needed)} more "
                "are needed; it is tried where the budget has room for it"
            )
            return None
        return replace(plan, epochs=epochs)

    def _seconds(self, plan: Plan, side: int) -> float:
        """Seconds of one update, by the quicker of two."""
        device = resolve_device(plan.device)
        with torch.random.fork_rng(devices=[]):
            net = self._built(side).to(device).to(memory_format=torch.channels_last)
        view = encoders.views(side, self.images.augment)
        raw = self.images.x[torch.arange(min(plan.batch_size, len(self.images.y)))].to(device)
        precision, spent = resolve_precision(plan.precision, device, images=True), list[float]()
        for _ in range(2):
            began = time.perf_counter()
            with autocast(precision, device):
                loss = net(view.weak(raw, torch.Generator())).square().mean()
            loss.backward()
            float(loss.detach())  # waits for the device
            spent.append(time.perf_counter() - began)
        return min(spent) * plan.batch_size / len(raw)

    def _built(self, side: int) -> nn.Module:
        return nets.build(f"{PACKAGED}:{side}", (3, side, side), len(self.images.classes), 0.2)

    def _trained(
        self, features: ImageNet, learned: Learned, plan: Plan, side: int, unseen: Labels
    ) -> tuple[encoders.Tuned, int]:
        """The encoder with the copy of its network, trained on all labels but those of rows ``unseen``; the epochs."""
        given = torch.from_numpy(self.images.y)
        method = SoftTargets(targets(learned, given))
        seen: Tensor = given.clone()
        seen[torch.from_numpy(unseen)] = -1
        weight = None if self.images.weight is None else torch.from_numpy(self.images.weight).float()
        view = encoders.views(side, self.images.augment).views()
        progress = self.begin(_NAME, plan.epochs)
        run = loop.train(
            method,
            Data(self.images.x, seen, self.images.classes, view, weight=weight),
            lambda: self._built(side),
            plan,
            watch=lambda run: progress(run, run.history[-1]),
            deadline=self.budget.ends(),
        )
        (net,) = method.members(run)
        net, epochs = net.cpu(), sum("stopped" not in row for row in run.history)
        return encoders.Tuned(features, encoders.Copy(layers.layers(net)[0], layers.last_linear(net)), side), epochs


def _words(told: Weighed, count: int) -> str:
    """What is said of the network; ``count`` labels were hidden from it."""
    labels = f"{count:,} given labels that it has not seen"
    if not told.share:
        return f"the fine-tuned network is left out: with it, {labels} are no likelier"
    before, after = (f"{100 * share:.1f} %" for share in told.agreement)
    return f"the fine-tuned network counts: with it {after} of {labels} are predicted, without it {before}"


def is_worth_trying(job: Job, loaded: Loaded, budget: Budget) -> bool:
    """Whether features came from the packaged encoder, of photos in colour and enough of them, and time may be spent.

    Answers of several annotators have judged the labels already, and none can be hidden. Of several processes, the
    first alone fits heads.
    """
    suits = loaded.encoder is not None and loaded.encoder.name == OF_PHOTOS and loaded.annotations is None
    timed = budget.seconds is not None or resolve_device(job.plan.device).type == "cuda"
    return suits and timed and here().count == 1 and int((loaded.y >= 0).sum()) >= FEWEST
