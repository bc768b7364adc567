"""ProMix (Xiao, Dong, Wang, Feng, Wu, Chen, Zhao; IJCAI 2023, arXiv:2207.10276).

Kept from the reference code, not in the paper:
- the share rho rises from its start over the ramp (both are .5 in the published runs);
- a network learns from its own selection, not its peer's;
- a batch is drawn from all samples and both networks learn from it together;
- matched and agreed samples are found in every step, from predictions in training mode on the weak view;
- an agreed sample is labelled by the network's own debiased prediction; agreement may fill a batch up to 90 %, surest
  first;
- one running mean of predictions for selected samples, another for the rest; each debiases its own part.

Ours:
- no FMix (methods know no images): mixup alone, one mixed batch for both heads; both views are one forward;
- the weight of the unlabelled part stays .1 after its ramp. The published code sets it to 0 there, as do the published
  rows (``keep_rest=False``);
- ramps and the time of agreement keep their share of the run (50, 100 and the last 250 of 600 epochs) unless given;
- samples without a label learn in the unlabelled part and by agreement; a part without samples has a loss of 0;
- clean_prob: the mixture on the given label's probability, mean of both networks, by which both selections rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from codivide.methods._warm_up import WarmUp
from codivide.noise import mixtures, selections
from codivide.training import layers, mixmatch, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class ProMix(WarmUp):
    """Grow a clean set by small losses, sure matches and agreement; an auxiliary head learns from the rest.

    Attributes:
        warmup: epochs of plain training first (30 on CIFAR-100); None: 10, or a third of all where that is less.
        confidence_penalty: weight of the negative entropy during warm-up; 1 for asymmetric noise.
        rho_start: share of the samples that small losses select at first.
        rho: the same after the ramp (.7 for little noise; less than the share of clean labels).
        tau: probability above which a prediction is sure (.95 on CIFAR-100).
        rampup: epochs over which rho and the weights of consistency and mixup rise; None: a twelfth of the run.
        agreement: last epochs in which agreement of both networks adds samples; None: five twelfths of the run.
        agreement_share: of a batch that may be selected when agreement adds samples.
        debias_loss: strength of the running mean in the losses (.5 on CIFAR-100).
        debias_guess: strength of the running mean in guessed labels (.5 on CIFAR-100).
        momentum: decay of the running means.
        temperature: of sharpening, > 0.
        alpha: of the Beta distribution of mixing shares.
        lambda_u: weight of the unlabelled part, after a ramp twice as long.
        keep_rest: the unlabelled part keeps that weight; otherwise it has none from the end of its ramp on.
    """

    paper: ClassVar[str] = "arXiv:2207.10276"
    summary: ClassVar[str] = "small losses, sure matches and agreement grow a clean set; two heads, debiased"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **WarmUp.limits,
        **dict.fromkeys(("rampup", "agreement", "alpha", "lambda_u"), (0, math.inf)),
        **dict.fromkeys(("rho_start", "rho", "tau", "agreement_share", "momentum"), (0, 1)),
        "debias_loss": (0, 99),
        "debias_guess": (0, 99),
        "temperature": (1e-3, 99),
    }

    rho_start: float = 0.5
    rho: float = 0.5
    tau: float = 0.99
    rampup: float | None = None
    agreement: int | None = None
    agreement_share: float = 0.9
    debias_loss: float = 0.8
    debias_guess: float = 0.8
    momentum: float = 0.9999
    temperature: float = 0.5
    alpha: float = 4.0
    lambda_u: float = 0.1
    keep_rest: bool = True

    def start(self, run: Run) -> None:
        """An auxiliary head for each network; its mean predictions on selected samples and on the rest."""
        super().start(run)
        classes = len(run.data.classes)
        for i in range(self.nets):
            width = layers.last_linear(run.nets[i]).in_features
            run.attach(f"head.{i}", partial(nn.Linear, width, classes))
            run.remember(f"given_prob.{i}", fill=torch.nan)
            run.remember(f"means.{i}", 2, classes, fill=1 / classes, per_sample=False)

    def ramp(self, run: Run, times: float = 1.0) -> float:
        """Rise from 0 to 1 over the ramp, or over so many times its length."""
        return targets.ramp(run.progress, 0, times * self.ramp_length(run))

    def ramp_length(self, run: Run) -> float:
        """Epochs of the ramp."""
        return run.plan.epochs / 12 if self.rampup is None else self.rampup

    def weight_of_the_rest(self, run: Run) -> float:
        """``lambda_u`` after a ramp of twice the length, or 0 there."""
        over = run.epoch >= 2 * self.ramp_length(run) and not self.keep_rest
        return 0.0 if over else self.lambda_u * self.ramp(run, 2)

    def select_and_learn(self, run: Run) -> None:
        """Select small losses, then train both networks on the same batches of all samples."""
        base = [self.select(run, i) for i in range(self.nets)]
        for batch in run.batches(None, ("weak", "strong")):
            loss = self.batch_loss(run, batch, [kept[batch.id] for kept in base])
            run.update(loss, 0, 1, "head.0", "head.1")
            run.log(loss=loss)

    def select(self, run: Run, i: int) -> Tensor:
        """Base set ``[N]`` of network ``i``: of every class the same number of labels with the smallest losses."""
        given = run.data.y
        losses = run.measure(i, lambda logits, batch: targets.sample_loss(logits, batch.y))
        run.remember(f"given_prob.{i}")[given >= 0] = torch.exp(-losses[given >= 0]).nan_to_num(0)
        share = self.rho_start + (self.rho - self.rho_start) * self.ramp(run)
        return run.pin(selections.small_loss(losses, given, len(run.data.classes), share))

    def batch_loss(self, run: Run, batch: Batch, base: list[Tensor]) -> Tensor:
        """Add matched and agreed samples of a batch to the base sets; the sum of both networks' losses."""
        seen = [run.features(i, torch.cat(batch.x)) for i in range(self.nets)]
        weak = [logits[: len(batch.id)].detach() for logits, _ in seen]
        probs = [torch.softmax(logits, 1) for logits in weak]
        total = weak[0].new_zeros(())
        last_epochs = run.plan.epochs * 5 / 12 if self.agreement is None else self.agreement
        for i in range(self.nets):
            means = run.remember(f"means.{i}")
            kept = base[i] | selections.matched(probs[i], batch.y, self.tau)
            own = targets.debias(weak[i], means[0], self.debias_guess).argmax(1)
            target = targets.one_hot(torch.where(kept, batch.y, own), len(run.data.classes))
            if run.plan.epochs - run.epoch <= last_epochs:
                kept = kept | selections.agreed(probs[0], probs[1], kept, self.tau, self.agreement_share)
            total = total + self.net_loss(run, i, batch.x[0], seen[i], target=target, kept=kept)
            run.log(**{f"selected_{i}": kept.float().mean()})
            for mean, part in zip(means, (kept, ~kept), strict=True):
                if bool(part.any()):
                    mean.lerp_(probs[i][part].mean(0), 1 - self.momentum)
        return total

    def net_loss(self, run: Run, i: int, x: Tensor, seen: Sequence[Tensor], *, target: Tensor, kept: Tensor) -> Tensor:
        """Both heads on the selected samples (weak, strong, mixed), the auxiliary one on guesses for the rest."""
        logits, features = seen
        head = run.attached[f"head.{i}"].net
        weight = self.ramp(run)
        mean, mean_rest = run.remember(f"means.{i}")
        margin = partial(targets.debias, mean=mean, strength=-self.debias_loss)
        auxiliary = head(features)
        rows = kept.nonzero().flatten()
        guess = torch.softmax(targets.debias(logits[: len(x)].detach(), mean_rest, self.debias_guess), 1)
        rest = targets.debias(auxiliary, mean_rest, -self.debias_loss)
        loss_u = targets.two_view_loss(rest, targets.sharpen(guess, self.temperature), ~kept, weight)
        loss = self.weight_of_the_rest(run) * loss_u
        for out in (logits, auxiliary):
            loss = loss + targets.two_view_loss(margin(out), target, kept, weight)
        if len(rows) > 1:
            mixed = mixmatch.mixmatch([x[rows]], target[rows], (), target[:0], alpha=self.alpha, generator=run.gen)
            logits, features = run.features(i, mixed.x)
            for out in (logits, head(features)):
                loss = loss + weight * targets.soft_cross_entropy(margin(out), mixed.target)
        return loss

    def judge(self, run: Run) -> Tensor:
        """The mixture on the mean probability of the given label."""
        mean = torch.stack([run.remember(f"given_prob.{i}") for i in range(self.nets)]).mean(0)
        return mixtures.gmm(-mean).clean_prob.where(run.data.y >= 0, torch.nan)
