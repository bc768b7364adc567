"""The noise report against noise that is known, and what it says where nothing can be known."""

import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from worlds import linear, pair, symmetric, world

from codivide import InputError, NoisyLabelClassifier, noise_report
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.methods import METHODS
from codivide.noise.clean_prob import combined
from codivide.noise.too_small import FEWEST, judged_classes
from codivide.noise.trust import WIDE


@pytest.fixture(scope="module")
def digits():
    x, truth = load_digits(return_X_y=True)
    return x[:1200] / 16, truth[:1200]  # trees take part from 1,000 on


def flipped(truth, rate, classes=10, step=None, seed=0):
    """Labels of which a share names another class: any other, or that ``step`` further."""
    rng = np.random.default_rng(seed)
    other = rng.integers(1, classes, len(truth)) if step is None else step
    return np.where(rng.random(len(truth)) < rate, (truth + other) % classes, truth)


@pytest.fixture(scope="module")
def reported(digits):
    """The report of a share of wrong labels, made once."""

    @cache
    def report(rate, step):
        return noise_report(digits[0], flipped(digits[1], rate, step=step), replicates=5)

    return report


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "step", "kind"),
    [(0.0, None, "none"), (0.3, None, "symmetric"), (0.6, None, "symmetric"), (0.3, 1, "asymmetric")],
)
def test_rate_kind_and_matrix_of_features(digits, reported, rate, step, kind):
    _, truth = digits
    y = flipped(truth, rate, step=step)
    report = reported(rate, step)
    assert report.rate == pytest.approx(np.mean(y != truth), abs=0.03)
    assert report.low - 0.02 <= np.mean(y != truth) <= report.high + 0.02
    assert report.low <= report.rate <= report.high
    assert report.kind == kind
    assert report.trust.level == "good"
    assert report.transition.sum(1) == pytest.approx(np.ones(10))
    matrix = np.asarray([[np.mean(y[truth == c] == d) for d in range(10)] for c in range(10)])
    assert abs(report.transition - matrix).max() < 0.12
    for c, found in enumerate(report.per_class):
        assert (found.name, found.labelled) == (str(c), (y == c).sum())
        assert found.rate == pytest.approx(np.mean(truth[y == c] != c), abs=0.1)
    assert 1 - np.mean(report.clean_prob) == pytest.approx(report.rate, abs=0.02)


@pytest.mark.long
def test_the_same_input_and_seed_give_the_same_report(digits):
    x, truth = digits
    y = flipped(truth, 0.2)
    first, second = (noise_report(x[:300], y[:300], replicates=3, seed=4) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert np.array_equal(first.clean_prob, second.clean_prob)
    rows = noise_report(sparse.csr_matrix(x[:500]), y[:500], replicates=3, seed=4)  # not centred
    assert rows.rate == pytest.approx(np.mean(y[:500] != truth[:500]), abs=0.05)


@pytest.mark.long
def test_a_table_and_a_run_of_features_on_it_say_the_same(digits):
    x, truth = digits
    x, truth = x[:600], truth[:600]
    y = flipped(truth, 0.3, step=1)
    table = noise_report(x, y, replicates=2)
    run = noise_report(NoisyLabelClassifier("features", random_state=0).fit(x, y), replicates=2)
    assert (table.source, run.source) == ("features", "run")
    assert run.rate == pytest.approx(table.rate, abs=0.005)  # a run keeps its probabilities in half precision
    assert run.kind == table.kind == "asymmetric"
    assert run.clean_prob == pytest.approx(table.clean_prob, abs=0.05)
    assert table.rate == pytest.approx(np.mean(y != truth), abs=0.03)


@pytest.mark.parametrize("matrix", [symmetric(0.3), pair(0.3)])
def test_probabilities_of_ones_own_classifier(matrix):
    _, given, truth, prior = world(2000, matrix=matrix)
    report = noise_report(None, given, pred_probs=linear(prior), replicates=3)
    assert report.source == "probabilities"
    assert report.rate == pytest.approx(np.mean(given != truth), abs=0.06)


def clouds(apart, rate, count=2_000, classes=5):
    """Probabilities of Bayes' classifier of Gaussian clouds, and labels that are wrong where two clouds meet."""
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=count)
    logits = apart * (apart * np.eye(classes)[truth] + rng.standard_normal((count, classes)))
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    rows = np.arange(count)
    rivals = probs.copy()
    rivals[rows, truth] = 0
    wrong = np.argsort(-rivals.max(1))[: round(rate * count)][::2]  # every second of the most doubtful
    given = truth.copy()
    given[wrong] = rivals[wrong].argmax(1)
    return given, truth, probs


def test_a_class_that_is_given_as_no_other_names_none():
    truth = np.repeat(np.arange(3), 200)
    given = np.where((truth > 0) & (np.arange(600) % 5 == 0), 3 - truth, truth)
    sure = np.where(truth[:, None] == np.arange(3), 0.98, 0.01)
    sure[truth == 0] = [1, 0, 0]
    rows = [line.split() for line in str(noise_report(None, given, pred_probs=sure, replicates=2)).split("\n")]
    others = {row[0]: row[4:] for row in rows if len(row) > 4 and row[0] in ("0", "1", "2")}
    assert others["0"] == ["-"]
    assert (others["1"][0], others["2"][0]) == ("2", "1")


@pytest.mark.parametrize(("apart", "level"), [(4.5, "good"), (2.5, "fair"), (1.5, "poor")])
def test_the_interval_reaches_to_what_the_classifier_disagrees_with(apart, level):
    given, _truth, probs = clouds(apart, 0.2)
    report = noise_report(None, given, pred_probs=probs, replicates=2)
    away = np.mean(probs.argmax(1) != given)
    assert report.high >= away
    assert report.high - report.rate >= 0.01
    assert report.rate - report.low >= min(0.01, report.rate)
    assert report.trust.level == level
    said = "The classifier disagrees with" in " ".join(report.trust.reasons)
    assert said == (away - report.rate > max(0.05, report.rate / 4))


def test_noise_that_looks_like_doubt_is_not_told_apart_and_both_intervals_hold():
    found = []
    for apart, wrong in ((2.0, 0.0), (2.5, 0.2)):
        given, truth, probs = clouds(apart, 2 * wrong)
        report = noise_report(None, given, pred_probs=probs, replicates=2)
        assert np.mean(given != truth) == wrong
        assert report.low <= wrong <= report.high
        assert report.trust.level == "poor"
        assert "do not trust the rate" in report.trust.reasons[0]
        found.append(report.rate)
    assert found[0] == pytest.approx(found[1], abs=0.01)


@pytest.mark.parametrize(("apart", "rate", "said"), [(2.5, 0.0, True), (2.5, 0.6, True), (3.0, 0.0, False)])
def test_doubted_labels_that_are_not_called_wrong_are_said(apart, rate, said):
    """Nothing tells 300 labels that are wrong where the classifier is in doubt from its own doubt."""
    given, truth, probs = clouds(apart, rate, count=1000)
    assert np.mean(given != truth) == rate / 2
    report = noise_report(None, given, pred_probs=probs, replicates=2)
    told = [
        re.search(r"doubts ([\d.]+) % of the labels, and at most ([\d.]+) %", text) for text in report.trust.reasons
    ]
    (found,) = [match.groups() for match in told if match] or [None]
    assert (found is not None) == said
    if found is not None:
        doubted, most = map(float, found)
        assert doubted == pytest.approx(100 * report.estimates["confident joint"], abs=0.05)
        called = 1 - combined(probs, given, held_out=True).mean()
        assert 100 * called == pytest.approx(most, abs=0.1)
        assert report.trust.level != "good"


@pytest.mark.parametrize(("apart", "kind"), [(2.0, "unclear"), (4.0, "none")])
def test_labels_of_which_many_may_be_wrong_are_not_of_the_kind_none(apart, kind):
    _, truth, probs = clouds(apart, 0.0)
    report = noise_report(None, truth, pred_probs=probs, replicates=2)
    assert report.rate < 0.05
    assert report.kind == kind
    assert (report.high - report.low > WIDE) == (kind == "unclear")
    assert (report.trust.level == "poor") == (kind == "unclear")


def test_probabilities_keep_the_columns_of_classes_that_nobody_was_given():
    _, given, _, prior = world(400)
    kept = given != 1
    report = noise_report(None, given[kept], pred_probs=linear(prior)[kept], replicates=2)
    assert [found.name for found in report.per_class] == ["0", "1", "2", "3"]
    assert report.per_class[1].rate is None
    assert report.per_class[1].labelled == 0
    assert report.transition[1].tolist() == [0, 1, 0, 0]


@pytest.mark.long
def test_labels_that_have_nothing_to_do_with_the_features_are_said_to_be_such(digits):
    x, _ = digits
    y = np.random.default_rng(0).integers(0, 10, 600)
    report = noise_report(x[:600], y, replicates=3)
    assert (report.low, report.high, report.kind, report.trust.level) == (0, 1, "unclear", "poor")
    assert "Nothing can be learned" in report.trust.reasons[0]


@pytest.mark.parametrize("said", ["as they are", "far too sure", "one class each"])
def test_probabilities_that_are_far_too_sure_show_that_labels_can_be_learned(said):
    """Seven predictions of ten are right, one chance one would be; only their logarithms are worse than frequencies."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 10, 400)
    predicted = np.where(rng.random(400) < 0.8, truth, rng.integers(0, 10, 400))
    amount = {"as they are": 0.8, "far too sure": 0.999_99, "one class each": 1.0}[said]
    probs = amount * np.eye(10)[predicted] + (1 - amount) / 10
    report = noise_report(None, flipped(truth, 0.15), pred_probs=probs, replicates=2)
    assert not any("Nothing can be learned" in reason for reason in report.trust.reasons)
    assert 0.02 < report.low <= report.high < 0.5
    with pytest.warns(UserWarning, match="no more than by chance"):
        nothing = noise_report(None, rng.permutation(truth), pred_probs=probs, replicates=2)
    assert "Nothing can be learned" in nothing.trust.reasons[0]


def test_few_labels_one_class_and_none(digits):
    x, truth = digits
    few = noise_report(x[:60], truth[:60], replicates=2)
    assert few.trust.level == "poor"
    judged = sum(size for size in np.bincount(truth[:60]).tolist() if size >= FEWEST)
    assert any(f"Only {judged} labels" in reason for reason in few.trust.reasons)
    with pytest.raises(InputError, match="one class only"):
        noise_report(x[:30], np.ones(30))
    with pytest.raises(InputError, match="no label at all"):
        noise_report(x[:30], np.full(30, -1))


@pytest.mark.long
def test_what_has_no_label_is_counted_out(digits):
    x, truth = digits
    y = flipped(truth, 0.2)
    y[::3] = -1
    report = noise_report(x, y, replicates=2)
    labelled = y >= 0
    assert report.labelled == report.samples == labelled.sum()
    assert np.isnan(report.clean_prob[~labelled]).all()
    assert np.isfinite(report.clean_prob[labelled]).all()
    assert report.rate == pytest.approx(np.mean(y[labelled] != truth[labelled]), abs=0.03)


def test_a_limit_draws_rows(digits):
    x, truth = digits
    report = noise_report(x, flipped(truth, 0.3), limit=700, replicates=2)
    assert (report.samples, report.labelled, np.isfinite(report.clean_prob).sum()) == (700, len(x), 700)


@pytest.mark.long
def test_report_as_table_json_and_text(reported):
    report = reported(0.3, 1)
    table = report.to_frame()
    assert table["given_as"].tolist() == [str((c + 1) % 10) for c in range(10)]
    assert table["wrong"].tolist() == [round(item.rate * item.labelled) for item in report.per_class]
    known = json.loads(json.dumps(report.to_dict()))
    assert known["trust"]["reasons"] == list(report.trust.reasons)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"about {100 * report.rate:.1f} % of the labels are wrong")
    assert report._repr_html_().count("<tr") == 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pred_probs": np.ones(5)}, r"shape \(5,\).*column_stack"),
        ({"pred_probs": np.full((4, 2), 0.7)}, "pred_probs: row 0 is .*sum to 1"),
        ({"pred_probs": [["a", "b"]] * 4}, "no array of numbers"),
        (
            {"pred_probs": pd.DataFrame({"0": [0.5] * 4, "1": [0.5] * 4, "customer": list("abcd")})},
            "Column 'customer' holds no numbers: where it names the rows, make it the index",
        ),
        ({"pred_probs": np.full((4, 3), 1 / 3), "y": ["a", "b", "a", "b"]}, "3 columns, but there are 2 classes"),
        ({"X_or_run": np.ones((4, 2)), "pred_probs": np.full((4, 2), 0.5)}, "not both"),
        ({"X_or_run": np.ones((4, 2)), "folds": 1}, "at least 2"),
        ({"X_or_run": np.ones((4, 2)), "replicates": 1}, "at least 10 and 2"),
        ({"X_or_run": -np.ones((4, 3, 64, 64), dtype=np.float32)}, "values of -1 to -1: give them as 0 to 255"),
        ({"X_or_run": NoisyLabelClassifier()}, "not fitted"),
    ],
)
def test_bad_input_says_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        noise_report(arguments.pop("X_or_run", None), arguments.pop("y", [0, 1, 0, 1]), **arguments)


def trained(digits, method, epochs=12, **hyper):
    x, truth = digits
    y = flipped(truth[:600], 0.3)
    made = build_method(method, **hyper)
    plan = default_plan(600, made, epochs=epochs, lr=0.05, batch_size=32, device="cpu")
    return execute(Job(made, plan, "mlp"), load(x[:600].astype(np.float32), y)), np.mean(y != truth[:600])


@pytest.mark.long
@pytest.mark.parametrize("method", ["dividemix", "elr"])
def test_the_rate_of_a_run(digits, method):
    outcome, wrong = trained(digits, method, epochs=15)
    assert outcome.evidence.set_aside == (method == "dividemix")
    report = noise_report(outcome, replicates=3)
    assert report.source == "run"
    assert report.trust.level != "good"
    assert report.rate == pytest.approx(wrong, abs=0.1)
    assert 1 - outcome.table["clean_prob"].mean() == pytest.approx(report.rate, abs=0.05)


def test_a_run_that_memorised_is_not_believed(digits):
    outcome, _ = trained(digits, "cross_entropy", epochs=6)
    given = outcome.evidence.given
    memorised = 0.98 * np.eye(10)[given] + 0.002
    report = noise_report(_as(outcome, probs=memorised), replicates=2)
    assert report.trust.level == "poor"
    assert "memorised, and this cannot tell which" in report.trust.reasons[0]
    alone = noise_report(_as(outcome, given=np.zeros_like(given)), replicates=2)
    assert (alone.rate, alone.low, alone.high, alone.trust.level) == (0, 0, 1, "poor")
    aside = noise_report(_as(outcome, probs=memorised, set_aside=np.asarray(True)), replicates=2)
    assert aside.trust.level == "fair"


def _as(outcome, **evidence):
    """The same run with other evidence."""
    return replace(outcome, evidence=replace(outcome.evidence, **evidence))


def test_which_methods_set_labels_aside():
    found = {name for name, method in METHODS.items() if method.sets_aside}
    assert found == {
        *("co_teaching", "co_teaching_plus", "dividemix", "jocor", "joint_optimization", "m_correction", "mentormix"),
        *("iterative_cv", "mentornet", "meta_learning", "pencil", "promix", "unicon"),
    }


def test_a_class_with_one_label_changes_nothing_of_the_others():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=600)
    logits = 2.5 * np.eye(4)[truth] + rng.standard_normal((600, 4)) - 6 * np.eye(4)[3]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.where(rng.random(600) < 0.2, rng.integers(3, size=600), truth)
    few = given.copy()
    few[7] = 3  # a class of which nothing is known
    whole, part = (noise_report(None, y, pred_probs=probs, replicates=2) for y in (given, few))
    assert part.rate == pytest.approx(whole.rate, abs=0.01)
    assert part.per_class[3].rate is None
    assert part.clean_prob[7] == pytest.approx(1 - part.rate)
    assert "Classes with fewer than 5 labels cannot be judged and are left out: 3 (1)." in part.trust.reasons
    before, after = combined(probs, given), combined(probs, few)
    assert np.abs(np.delete(after - before, 7)).max() < 0.05
    assert after[7] == pytest.approx(np.delete(after, 7).mean())


def test_where_all_classes_are_small_all_are_judged():
    assert judged_classes(np.array([0, 0, 1, 2, -1]), 4).tolist() == [True, True, True, False]
    assert judged_classes(np.array([0] * 5 + [1, 2]), 3).tolist() == [True] * 3
    assert judged_classes(np.array([0] * 5 + [1] * 5 + [2] * 4), 3).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("estimates", "certain"),
    [
        ({}, None),
        ({"latent noise": 0.02, "confident joint": 0.3}, 0.0),  # errors of the classifier may be all the rest
        ({"latent noise": 0.2, "confident joint": 0.3}, 0.2 - 1.645 * (0.2 * 0.8 / 90) ** 0.5),
        ({"latent noise": 0.02, "confident joint": 0.3, "loss mixture": 0.1}, 0.1 - 1.645 * (0.1 * 0.9 / 90) ** 0.5),
        ({"latent noise": 0.02, "confident joint": 0.1, "loss mixture": 0.3}, 0.1 - 1.645 * (0.1 * 0.9 / 90) ** 0.5),
        ({"latent noise": 0.2, "confident joint": 0.1}, 0.1 - 1.645 * (0.1 * 0.9 / 90) ** 0.5),
    ],
)
def test_what_is_certain_counts_no_doubt(estimates, certain):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    report = noise_report(None, labels, pred_probs=0.7 * np.eye(3)[labels] + 0.3 * rng.dirichlet(np.ones(3), 90))
    assert report.certain is not None
    assert replace(report, estimates=estimates).certain == pytest.approx(certain)
    assert report.to_dict()["certain"] == report.certain
