"""MentorNet (Jiang, Zhou, Leung, Li, Fei-Fei; ICML 2018, arXiv:1712.05055).

Kept from the reference code, not in the paper:
- the loss is the mean of ``v_i loss_i`` over the whole batch, so that samples of weight 0 shorten the step;
- the percentile that moves the threshold is that of the batch itself, before its weights are chosen, with decay 0.5;
- sample dropout sets an exact share of the weights to 0: half of them in the first 17 % of training, then 5 %, as in
  the published commands. (The default of the code's flag drops all in the last 5 %, where nothing is learned.)
- the mentor's LSTM sees one step, the pair (loss, difference); labels are not looked at;
- in the first 18 % of training every weight is 1, for a predefined curriculum as for a data-driven one. (The flag of
  the published commands says 0 for the former, but its mentor was fitted to weights of 1 there.)

Ours: the first percentile starts the moving average (theirs starts at 0, which drops every sample of the first
batches). A batch without a weight above 0 makes no step, not even of momentum. The weight decay is the plan's (theirs
is scaled by the mean weight). The mentor's inputs go through ``sign(x) log(1 + |x|)``, and the share of training is a
number, not a row of a table of 100, of which a short run would train few. "learned" is fitted with cross-entropy to the
predefined weights of the run's own losses (theirs: a grid fixed in advance). This is done at the end of burn-in and
after 21 % and 75 % of the epochs. Data hold no trusted labels: a data-driven mentor is fitted elsewhere
(``_mentor_net``) and named by its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from codivide.methods import _mentor_net
from codivide.methods._mentor import Mentored
from codivide.training.run import Run


@dataclass
class MentorNet(Mentored):
    """A student whose samples are weighted by a curriculum on their losses."""

    paper: ClassVar[str] = "arXiv:1712.05055"
    summary: ClassVar[str] = "weights samples by a curriculum on their losses, predefined or learned"

    sample_dropout: str = "0.5,17,0.05,83"

    def epoch(self, run: Run) -> None:
        """One pass over the labelled samples with the curriculum's weights (algorithm 1)."""
        self.prepare(run)
        for batch in run.batches(run.data.y >= 0):
            losses = run.observe(batch, run.logits(0, batch.x[0]))
            run.remember(_mentor_net.LOSSES)[batch.id] = losses.detach()
            weights = self.weights(run, batch, losses)
            loss = (weights * losses).mean()
            run.log(loss=loss)
            if bool(weights.any()):
                run.update(loss, 0)
