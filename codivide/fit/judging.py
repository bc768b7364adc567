"""What a finished run says of every label, from the evidence that it gathered and that of an earlier witness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.core.types import AnyFloats, Floats, Labels
from codivide.data.labels import same_classes
from codivide.data.loaded import Loaded
from codivide.fit.job import Witness
from codivide.fit.learning import PROBS, Learning
from codivide.methods.features.judge import likely_right
from codivide.noise import alike
from codivide.noise.clean_prob import combined
from codivide.noise.evidence import Evidence
from codivide.runs import label_table
from codivide.runs.model import Model
from codivide.training.run import Run

_FEWEST = 100  # labels from which on what was predicted on the way is asked for p(clean)


class Judged(NamedTuple):
    """What is said of every sample: a label ``[N]``, its probability, and p(clean) of the given one."""

    suggested: Labels
    suggested_prob: AnyFloats
    clean_prob: AnyFloats

    def table(self, loaded: Loaded) -> pd.DataFrame:
        """The label table."""
        table = label_table.build(
            loaded.ids,
            loaded.y,
            self.suggested,
            self.clean_prob,
            loaded.classes,
            truth=loaded.truth,
            suggested_prob=self.suggested_prob,
            texts=loaded.texts,
        )
        table = label_table.of_images(table) if loaded.of_images else table
        if loaded.confirmed is not None:
            table[label_table.CONFIRMED] = loaded.confirmed
        return table


def spared(own: Judged, evidence: Evidence) -> Judged:
    """A network's own answers, but the given label where that is likely right.

    See ``likely_right``. A network that has learned little answers otherwise for many labels that the evidence of all
    epochs takes for right. Nothing is changed where nothing was recorded.
    """
    if evidence.probs is None:
        return own
    given, labelled = evidence.given, evidence.given >= 0
    clean_prob = np.asarray(own.clean_prob, dtype=np.float64)
    right = labelled & likely_right(clean_prob) & (own.suggested != given)
    certain = np.where(right, evidence.probs[np.arange(len(given)), given], own.suggested_prob)
    return own._replace(suggested=np.where(right, given, own.suggested), suggested_prob=certain)


def with_alike(judged: Judged, evidence: Evidence, classes: Sequence[Any]) -> tuple[Judged, Evidence]:
    """The same, in which no label is wrong because of a class that differs by case, white space or form only."""
    same = same_classes(classes)
    if same is None:
        return judged, evidence
    given, labelled = evidence.given, evidence.given >= 0
    suggested, suggested_prob, clean_prob = judged
    suggested = alike.commonest(given, same)[suggested]
    kept = labelled & (same[given] == same[judged.suggested])
    if evidence.probs is None:
        return judged._replace(suggested=np.where(kept, given, suggested)), evidence
    clean_prob = alike.right(clean_prob, evidence.probs, given, same)
    probs = alike.one_of_each(evidence.probs, given, same)
    kept |= labelled & (clean_prob >= 0.5) & (probs.argmax(1) == given)
    suggested = np.where(kept, given, suggested)
    several = np.bincount(same)[same[suggested]] > 1
    suggested_prob = np.where(several, probs[np.arange(len(given)), suggested], suggested_prob)
    evidence = replace(evidence, probs=probs.astype(np.float16))
    return Judged(suggested, suggested_prob, clean_prob), evidence


def judge(
    run: Run, model: Model, loaded: Loaded, *, learning: Learning | None, witness: Witness | None
) -> tuple[Judged, Evidence]:
    """Judge every sample of a finished run; what is suggested are the network's own answers.

    Args:
        run: the run.
        model: its classifier.
        loaded: its data.
        learning: the looks at the training set; None: there were none, so the classifier is asked once, at the end.
        witness: an earlier run that judges with this one.

    Returns:
        The judgement, and the evidence that it rests on.

    Raises:
        InputError: the run diverged: what the network says is not finite.
    """
    evidence = training_evidence(run)
    if learning is None:
        suggested, suggested_prob, probs = _suggestions(model, loaded)
        evidence = replace(evidence, probs=probs)
    else:
        suggested, suggested_prob = learning.close(run)
        evidence = replace(evidence, predictions=learning.votes(run))
    if not np.isfinite(suggested_prob).all():
        raise InputError("training diverged: what the network says is not finite; use a lower lr")
    if witness is None:
        clean_prob = _clean_prob(run, evidence, recorded=learning is not None)
        return Judged(suggested, suggested_prob, clean_prob), evidence
    evidence, mean = _joined(evidence if learning is not None else replace(evidence, probs=None), witness)
    clean_prob = _pinned(run, combined(mean, evidence.given, witness.clean_prob))
    labelled = evidence.given >= 0  # the others have nothing to memorise
    suggested = np.where(labelled, mean.argmax(1), suggested)
    suggested_prob = np.where(labelled, mean.max(1), suggested_prob)
    return Judged(suggested, suggested_prob, clean_prob), evidence


def training_evidence(run: Run) -> Evidence:
    """What a run knows of its training samples, for judging their labels."""
    count = run.remember("loss_count")
    mean = torch.where(count > 0, run.remember("loss_sum") / count.clamp_min(1), torch.nan)
    probs = None
    if PROBS in run.memory:
        total = run.memory[PROBS]
        probs = (total / total.sum(1, keepdim=True)).half().cpu().numpy()
    return Evidence(
        given=run.data.y.cpu().numpy(),
        mean_loss=mean.float().cpu().numpy(),
        probs=probs,
        set_aside=run.method.sets_aside,
    )


def _joined(evidence: Evidence, witness: Witness) -> tuple[Evidence, Floats]:
    """The witness's evidence; its probabilities are averaged with those that were recorded as long as it lasted."""
    probs = witness.evidence.probs
    assert probs is not None  # a run without them is no witness
    if evidence.probs is not None:
        both = evidence.probs.astype(np.float32) + probs.astype(np.float32)
        probs = (both / both.sum(1, keepdims=True)).astype(np.float16)
    joined = replace(
        evidence,
        mean_loss=witness.evidence.mean_loss,
        set_aside=witness.evidence.set_aside,
        probs=probs,
        witnessed=True,
    )
    return joined, probs.astype(np.float64)


def _clean_prob(run: Run, evidence: Evidence, *, recorded: bool) -> AnyFloats:
    """p(clean) ``[N]`` by the method's rule and the recorded predictions; without a record, by the rule alone."""
    own = run.clean_prob().double().cpu().numpy()
    if not recorded or evidence.probs is None or (evidence.given >= 0).sum() < _FEWEST:
        return own
    return _pinned(run, combined(evidence.probs, evidence.given, own, set_aside=evidence.set_aside))


def _pinned(run: Run, clean_prob: AnyFloats) -> AnyFloats:
    """p(clean) that is 1 where a person vouches for the label."""
    return run.pin(torch.from_numpy(clean_prob).to(run.device)).cpu().numpy()


def _suggestions(model: Model, loaded: Loaded) -> tuple[Labels, AnyFloats, NDArray[np.float16]]:
    """The likeliest class ``[N]`` of every sample, its probability, and the probabilities of all classes ``[N, C]``."""
    logits = model.logits(loaded.x)
    probs = torch.softmax(logits, 1)
    return logits.argmax(1).numpy(), probs.amax(1).double().numpy(), probs.half().numpy()
