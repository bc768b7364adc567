"""How wrong the labels are, estimated without any true label: rate, classes, transition matrix, kind, trust.

The evidence is class probabilities of every sample. Three sources give them: cross-fitting on a feature table, the
caller, or a run, which averaged them while it trained. A table is cross-fitted by the plain heads of the method
``features``, so that a table and a run on it say the same. From the probabilities:

1. **Lower estimate**: ``latent.latent_noise``. The true label is latent; doubt that the classifier loses where it is
   surest is its own, doubt that stays is label noise. It under-counts labels that are wrong just where samples are
   ambiguous.
2. **Upper estimate**: the confident joint (Northcutt et al. 2021), which counts errors of the classifier as noise; in
   classes whose labels fall into two groups (``rates.grouped``), their share. Where the losses (averaged over training,
   or cross-fitted) show two groups, the share of the high one by a Gaussian mixture is averaged with it.
3. **Rate** = lower + share * (upper - lower). What lies between the two cannot be told apart by data. The share is the
   ``doubt`` in [0, 1], ``1 - mean max_c P(true = c | sample)`` of the latent model: where the classifier is sure,
   errors of its own are rare and the first estimate stands. It is more, up to 1, where noise follows the sample, as
   that of people does (``rates.by_sample``). For this, noise must certainly be there: a lower estimate, or a mixture on
   losses, from 5 to 10 %. The joint counts of (true class, given label) are mixed by the same weight, so rate, classes
   and matrix agree.
   Probabilities of a run are averages over training, of samples that it learned from: its being sure proves less. Where
   every given label was a target, the rate is half-way between this one and the upper estimate; methods that set aside
   what looks wrong (``Method.sets_aside``) do not learn it. Where the labels of a class fall into two groups, the share
   of the doubtful one is its rate instead (``rates.grouped``).
4. **Interval**: from the lower estimate to the upper one. It reaches further, to the share of the labels with which a
   classifier that has not seen them disagrees. For labels that are wrong just where samples are ambiguous make the same
   probabilities as a classifier's own doubt, so nothing in them tells which of the two it is. Either side is wider by
   1.645 standard deviations of the rate over bootstrap samples (classifier and latent model stay), and by at least one
   point. Where much more of the disagreement is put down to the classifier than is found to be wrong, the trust is
   "poor". Where labels follow a rule that the features show, such as key words, the interval promises nothing: such
   noise looks like truth.
5. **p(clean)**: the latent model's, its log-odds shifted per class to agree with the rates.

**Kind**: "none" where the rate is below 5 % and the lower estimate below 2 % (of a run: the rate below 2 %). Where
labels were not learned from and the interval is wider than 15 points, much may be wrong: "unclear" instead. Else
"instance-like" where errors inside class pairs depend on the sample (``pair_dependence`` above 0.3 on at least 30
labels). Else it goes by how concentrated the noise is: the share of each class's noise in its largest cell, 0 spread
evenly, 1 in one cell. Of two classes it is the distance of their flip rates over the sum. Up to 0.35 it is "symmetric",
from 0.55 "asymmetric". "unclear" in between, where doubt is above 0.45, or nothing can be learned.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.by_value import ByValue
from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels
from codivide.noise import chance
from codivide.noise.certain import NINETY, certain
from codivide.noise.clean_prob import match_rates
from codivide.noise.confidence import given_log_prob
from codivide.noise.rates import (
    EVEN,
    LATENT,
    MOST_ROWS,
    ONE_WAY,
    Rates,
    concentration,
    deviation,
    fitted_rows,
    mixture_rate,
    never_predicted,
    rates,
)
from codivide.noise.too_small import FEWEST, judged_classes
from codivide.noise.trust import FEW, WIDE, Seen, Trust, weigh, with_reason

Kind = Literal["none", "symmetric", "asymmetric", "instance-like", "unclear"]

PROBABILITIES = "probabilities"  # the source that is a caller's own
LEARNED = 0.5  # how far a network learns labels that are all targets: not from the start, but to the end
_POINT = 0.01  # no interval is narrower on either side: no model of labels is exact
_NAMED = 10  # classes that a reason names
_SHOWN, _FEW_SHOWN = 40, 5  # classes in a table, and in a sentence


@dataclass(frozen=True)
class ClassNoise:
    """One class of a report.

    Attributes:
        name: of the class.
        labelled: samples with this given label.
        rate: estimated share of them that is wrong, in [0, 1]; None without labels.
    """

    name: str
    labelled: int
    rate: float | None


@dataclass(frozen=True, eq=False)
class NoiseReport(ByValue):
    """What is estimated of the noise in given labels; see the module for how.

    Attributes:
        rate: share of wrong labels, in [0, 1].
        low: end of the interval.
        high: its other end.
        per_class: in the order of the classes.
        transition: ``[C, C]``, P(given | true), rows sum to 1.
        kind: of the noise.
        trust: in all this.
        estimates: the single estimates of the rate by name.
        samples: rows that the estimate rests on.
        labelled: all labelled rows.
        source: "features", "probabilities" or "run".
        clean_prob: ``[N]`` calibrated p(clean); NaN without a label or where the estimate left a row out.
        findings: what is wrong with the data as a whole, sentences; see ``codivide.audit.checks``.
        joint: ``[C, C]``, how many labels are estimated to be of (true, given); the columns sum to the labels of each
            class. A class that was left out counts as right. Over its sum it is the joint distribution.
    """

    rate: float
    low: float
    high: float
    per_class: tuple[ClassNoise, ...]
    transition: Floats
    kind: Kind
    trust: Trust
    estimates: Mapping[str, float]
    samples: int
    labelled: int
    source: str
    clean_prob: Floats = field(repr=False)
    findings: tuple[str, ...] = ()
    joint: Floats = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a pickle, also of a version that kept no joint."""
        self.__dict__.update({"joint": np.zeros((0, 0)), **state})

    @property
    def certain(self) -> float | None:
        """Share of wrong labels that is certainly there, see ``noise.certain``; None: nothing was compared.

        Where nothing can be learned nothing is certain. What is changed unasked rests on it
        (``codivide.audit.clean.apply``).
        """
        if LATENT not in self.estimates:
            return None
        return 0.0 if (self.low, self.high) == (0.0, 1.0) else certain(self.estimates, self.samples)

    def to_dict(self) -> dict[str, Any]:
        """All but ``clean_prob`` as JSON values; ``per_class`` names classes by number and name."""
        return {
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "certain": self.certain,
            "kind": self.kind,
            "trust": {"level": self.trust.level, "reasons": list(self.trust.reasons)},
            "per_class": [
                {"class": number, "name": item.name, "labelled": item.labelled, "rate": item.rate}
                for number, item in enumerate(self.per_class)
            ],
            "transition": [[round(float(share), 4) for share in row] for row in self.transition],
            "joint": [[round(float(count), 2) for count in row] for row in self.joint],
            "estimates": dict(self.estimates),
            "samples": self.samples,
            "labelled": self.labelled,
            "source": self.source,
            "findings": list(self.findings),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a class.

        Columns ``class``, ``labelled``, ``rate`` (NaN without labels), ``wrong`` (how many of these labels), and
        ``given_as``, the other class that its true members are most often given as, with the share that is.
        """
        others = self.transition - 2 * np.eye(len(self.transition))
        worst = others.argmax(1)
        names = [item.name for item in self.per_class]
        rates = np.asarray([np.nan if item.rate is None else item.rate for item in self.per_class])
        labelled = np.asarray([item.labelled for item in self.per_class])
        return pd.DataFrame(
            {
                "class": names,
                "labelled": labelled,
                "rate": rates,
                "wrong": np.rint(np.nan_to_num(rates) * labelled).astype(np.int64),
                "given_as": [names[k] for k in worst],
                "given_as_share": self.transition[np.arange(len(worst)), worst],
            }
        )

    def joint_frame(self, *, rates: bool = False) -> pd.DataFrame:
        """The joint matrix by names: a row a true class, a column a given label.

        Args:
            rates: shares of all labels, which sum to 1; False: how many labels.

        Raises:
            InputError: the report is a pickle of a version that kept no joint.
        """
        if len(self.joint) != len(self.per_class):
            raise InputError("this report was made by an older version, which kept no joint; make it again")
        names = [item.name for item in self.per_class]
        matrix = self.joint / max(float(self.joint.sum()), 1e-12) if rates else self.joint
        return pd.DataFrame(matrix, pd.Index(names, name="true"), pd.Index(names, name="given"))

    @property
    def headline(self) -> str:
        """One sentence; where it may be that no label is wrong, and the trust is not poor, it says so."""
        none = ", perhaps none" if self.low == 0 and self.trust.level != "poor" else ""
        return (
            f"about {100 * self.rate:.1f} % of the labels are wrong (between {100 * self.low:.1f} and "
            f"{100 * self.high:.1f} %{none}); kind: {self.kind}; trust: {self.trust.level}"
        )

    def __repr__(self) -> str:
        return f"NoiseReport({self.headline})"

    def __str__(self) -> str:
        lines = textwrap.wrap(self.headline, 78)
        lines += ["", f"Estimated from {self.samples:,} of {self.labelled:,} labelled samples ({self.source}):"]
        lines += [f"  {name:<18} {100 * value:5.1f} %" for name, value in self.estimates.items()]
        lines += ["", f"{'class':<24}{'labels':>9}{'wrong':>9}   most often given as"]
        table = self.to_frame()
        for row in table.head(_SHOWN).to_dict("records"):
            rate = "-" if np.isnan(row["rate"]) else f"{100 * row['rate']:.1f} %"
            share = f"{100 * row['given_as_share']:.1f} %"
            share = "-" if share == f"{0:.1f} %" else f"{_short(row['given_as'], 20)} ({share})"
            lines.append(f"{_short(row['class'], 23):<24}{row['labelled']:>9,}{rate:>9}   {share}")
        if len(table) > _SHOWN:
            lines.append(f"... and {len(table) - _SHOWN} more classes (see to_frame())")
        lines += ["", "How far to trust this:"]
        for reason in self.trust.reasons:
            lines += textwrap.wrap(reason, 78, initial_indent="- ", subsequent_indent="  ")
        if self.findings:
            lines += ["", "Of the data as a whole:"]
        for finding in self.findings:
            lines += textwrap.wrap(finding, 78, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks."""
        table = self.to_frame().to_html(index=False, float_format=lambda v: f"{v:.3f}", escape=True)
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.trust.reasons)
        return f"<p><b>{html.escape(self.headline)}</b></p>{table}<ul>{reasons}</ul>"


#: Makes probabilities ``[R, C]`` of rows ``[R]`` with these labels ``[R]`` in ``0 .. C - 1``, each row's by classifiers
#: that have not seen its label.
CrossFit = Callable[[Labels, Labels, int], Floats]


class Material(NamedTuple):
    """What there is to judge by."""

    given: Labels  # [N], -1: none
    names: Sequence[str]
    source: str
    cross_fit: CrossFit | None = None  # where there are no probabilities yet
    probs: Floats | None = None  # [N, C]
    losses: Floats | None = None  # [N], averaged over training
    learned: float | None = None  # how far from these very labels, see ``rates``; None: not at all
    witnessed: bool = False  # by a run that ended before it memorised
    groups: Labels | None = None  # [N], equal for what belongs together and counts once, -1: alone
    claimed: bool = False  # that ``probs`` are of samples that the classifier had not seen


class _Found(NamedTuple):
    rate: float
    low: float
    high: float
    joint: Floats  # [C, C] counts of (true, given)
    kind: Kind
    trust: Trust
    estimates: dict[str, float]
    clean_prob: Floats


def _estimate(seen: Seen, replicates: int, seed: int) -> _Found:
    given = seen.given
    mixture = mixture_rate(seen.losses)
    counted = mixture if seen.learned is None else None  # losses on what was trained on shrink
    best = rates(seen.probs, given, counted, learned=seen.learned)
    rng = np.random.default_rng(seed)
    error = deviation(best, seen.probs, given, counted, learned=seen.learned, replicates=replicates, rng=rng)
    margin = max(NINETY * error, _POINT)
    lower, upper = min(best.estimates.values()), max(best.estimates.values())
    if seen.learned is None:
        upper = max(upper, 1 - seen.agreement)
    low, high = max(min(lower, best.rate) - margin, 0.0), min(max(upper, best.rate) + margin, 1.0)
    errors = chance.better_than_chance(seen.probs, given)
    learnable = errors > chance.LIKELY
    kind = _kind(best, seen, high - low) if errors > chance.SURE else "unclear"
    if not learnable:
        low, high = 0.0, 1.0
    trust = weigh(best, seen, width=high - low, errors=errors, separates=mixture is not None)
    wrong = best.joint.sum(0) - np.diag(best.joint)
    clean_prob = match_rates(best.latent.clean_prob, given, wrong / np.maximum(best.joint.sum(0), 1e-12))
    return _Found(best.rate, low, high, best.joint, kind, trust, best.estimates, clean_prob)


def _kind(best: Rates, seen: Seen, width: float) -> Kind:
    learned = seen.learned is not None
    lower = best.rate if learned else best.estimates[LATENT]  # what was learned looks right to that estimate
    if best.rate < FEW and lower < 0.02:
        return "none" if learned or width <= WIDE else "unclear"
    dependence, size = best.follows
    if dependence > 0.3 and size >= 30:
        return "instance-like"
    spread = concentration(best.joint if learned else best.latent.joint)
    if best.doubt > 0.45 or EVEN < spread < ONE_WAY:
        return "unclear"
    return "symmetric" if spread <= EVEN else "asymmetric"


def _report(material: Material, found: _Found, rows: Labels, classes: Labels, labelled: Labels) -> NoiseReport:
    """Put back the classes and rows that the estimate left out."""
    total = len(material.names)
    joint = np.zeros((total, total))
    joint[np.ix_(classes, classes)] = found.joint
    size = joint.sum(1, keepdims=True)
    matrix = np.where(size > 0, joint / np.maximum(size, 1e-12), np.eye(total))
    counts = np.bincount(material.given[labelled], minlength=total)
    asked = joint.sum(0)
    rates = [float(1 - joint[c, c] / asked[c]) if asked[c] > 0 else None for c in range(total)]
    counted: Floats = np.where(asked > 0, joint / np.maximum(asked, 1e-12), np.eye(total)) * counts.astype(np.float64)
    clean_prob = np.full(len(material.given), np.nan)
    few = labelled[~np.isin(material.given[labelled], classes)]
    clean_prob[few] = 1 - found.rate  # all that is known of a class that was left out
    clean_prob[rows] = found.clean_prob
    return NoiseReport(
        rate=found.rate,
        low=found.low,
        high=found.high,
        per_class=tuple(
            ClassNoise(str(name), int(count), rate)
            for name, count, rate in zip(material.names, counts, rates, strict=True)
        ),
        transition=matrix,
        kind=found.kind,
        trust=found.trust,
        estimates=found.estimates,
        samples=len(rows),
        labelled=len(labelled),
        source=material.source,
        clean_prob=clean_prob,
        joint=counted,
    )


def scaled(probs: Floats) -> Floats:
    """Rows that sum to 1; a row of zeros becomes even."""
    probs = probs + 1e-12
    scaled: Floats = probs / probs.sum(1, keepdims=True)
    return scaled


def _short(text: str, width: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= width else plain[: width - 3] + "..."


def estimate(material: Material, *, limit: int = MOST_ROWS, replicates: int = 20, seed: int = 0) -> NoiseReport:
    """Estimate how many labels are wrong from probabilities, or from what makes them; see the module.

    Args:
        material: given labels with either.
        limit: rows that the estimate rests on at most, drawn at random; at least 10.
        replicates: bootstrap samples behind the interval, at least 2.
        seed: of all that is random.

    Returns:
        The report; the same input and seed give the same one.

    Raises:
        InputError: an argument out of range, or no sample has a label.
    """
    if limit < 10 or replicates < 2:
        raise InputError(f"limit {limit}, replicates {replicates}: at least 10 and 2 are needed")
    labelled = np.flatnonzero(material.given >= 0)
    classes = np.unique(material.given[labelled])  # those about which there is anything to say
    if not len(labelled):
        raise InputError("no sample has a label, so there is nothing to estimate")
    enough = judged_classes(material.given, len(material.names))
    own = material.probs if material.source == PROBABILITIES else None
    silent = classes[:0] if own is None else never_predicted(own, material.given)
    judged = labelled[enough[material.given[labelled]] & ~np.isin(material.given[labelled], silent)]
    single = _once(judged, material.groups, seed)
    rows = single[fitted_rows(len(single), len(classes), limit, seed)]
    classes = np.unique(material.given[rows])
    given = np.searchsorted(classes, material.given[rows])
    if len(classes) < 2:
        which = "that can be judged " if len(silent) else ""
        reason = f"all labels {which}name the same class, so nothing can be compared: the estimate means nothing."
        trust = Trust("poor", (*([silent_text(material, silent)] if len(silent) else []), reason))
        found = _Found(0.0, 0.0, 1.0, np.eye(len(classes)) * len(rows), "unclear", trust, {}, np.ones(len(rows)))
        report = _report(material, found, rows, classes, labelled)
        if len(silent):  # there are labels to be told apart, and nothing tells them
            report = replace(report, clean_prob=np.where(material.given >= 0, 0.5, np.nan))
        return report
    if material.probs is not None:
        probs = scaled(material.probs[rows][:, classes])
    else:
        assert material.cross_fit is not None
        probs = scaled(material.cross_fit(rows, given, len(classes)))
    losses = -given_log_prob(probs, given) if material.losses is None else material.losses[rows]
    found = _estimate(
        Seen(probs, given, losses, material.learned, material.witnessed, material.claimed), replicates, seed
    )
    few = np.flatnonzero(~enough & np.isin(np.arange(len(enough)), material.given[labelled]))
    if len(few):
        reasons = (*found.trust.reasons, _too_few(material, few))
        found = found._replace(trust=Trust(found.trust.level, reasons))
    if len(single) < len(judged):
        text = f"{len(judged):,} labels in {len(single):,} groups: of each group one, drawn at random, counts."
        found = found._replace(trust=Trust(found.trust.level, (*found.trust.reasons, text)))
    if len(silent):
        found = found._replace(trust=with_reason(found.trust, silent_text(material, silent)))
    return _report(material, found, rows, classes, labelled)


def _once(rows: Labels, groups: Labels | None, seed: int) -> Labels:
    """Of the rows of each group one, drawn at random, in order."""
    if groups is None:
        return rows
    drawn = np.random.default_rng(seed).permutation(rows)
    alone = groups[drawn] < 0
    first = np.unique(groups[drawn[~alone]], return_index=True)[1]
    return np.sort(np.concatenate([drawn[alone], drawn[~alone][first]]))


def _too_few(material: Material, few: Labels) -> str:
    """The classes that were left out, for they have too few labels."""
    named = [f"{_short(str(material.names[k]), 20)} ({int((material.given == k).sum())})" for k in few[:_FEW_SHOWN]]
    listed = ", ".join(named) + (", ..." if len(few) > _FEW_SHOWN else "")
    return f"Classes with fewer than {FEWEST} labels cannot be judged and are left out: {listed}."


def silent_text(material: Material, silent: Labels) -> str:
    """The finding that these classes are never predicted."""
    names = ", ".join(repr(str(material.names[k])) for k in silent[:_NAMED]) + (", ..." if len(silent) > _NAMED else "")
    count = int(np.isin(material.given, silent).sum())
    one = len(silent) == 1
    return (
        f"{'Class' if one else 'Classes'} {names} {'is' if one else 'are'} never predicted: "
        f"{'its' if one else 'their'} {count} labels cannot be judged and are counted out."
    )
