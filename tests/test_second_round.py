"""The second round of the route for features: heads to which each label counts as it is likely right."""

import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from codivide import NoisyLabelClassifier
from codivide.core.errors import TrainingWarning
from codivide.fit.progress import Display
from codivide.methods.features import learn, own
from codivide.methods.features.options import Features
from codivide.methods.features.pacing import Clock
from codivide.methods.features.problem import Problem
from codivide.methods.features.table import Table

CLASSES = 6


def spoiled(rate, count=600, seed=0, *, even=False):
    """Blobs of six classes; so many labels are the next class, or any other one where the noise is even."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % CLASSES
    x = rng.normal(size=(count, 8)) + 1.5 * rng.normal(size=(CLASSES, 8))[truth]
    step = rng.integers(1, CLASSES, count) if even else 1
    given = np.where(rng.random(count) < rate, (truth + step) % CLASSES, truth)
    return x.astype(np.float32), given, truth


def table(x, given, **known):
    return Table(x, torch.from_numpy(given), tuple(range(CLASSES)), **known)


@pytest.fixture(scope="module")
def rounds():
    """One round and two of the same data, 40 % wrong."""
    x, given, truth = spoiled(0.4)
    seen = []
    once = learn.learn(table(x, given), Features(again=False), 0)
    twice = learn.learn(table(x, given), Features(), 0, watch=seen.append)
    return once, twice, given, truth, seen


def test_a_second_round_ranks_wrong_labels_better(rounds):
    once, twice, given, truth, _ = rounds
    first, second = (roc_auc_score(given != truth, -found.clean_prob.numpy()) for found in (once, twice))
    assert second > first + 0.005


def test_where_noise_is_even_it_learns_more_truths():
    x, given, truth = spoiled(0.4, even=True)
    found = [learn.learn(table(x, given), Features(again=again), 0) for again in (False, True)]
    right = [(each.probs.argmax(1).numpy() == truth).mean() for each in found]
    assert right[1] > right[0] + 0.005


def test_what_it_has_done_is_in_the_record(rounds):
    once, twice, _, _, seen = rounds
    assert twice.report["again"] is True
    assert "again" not in once.report
    assert [head["pool"] for head in twice.report["heads"]] == ["plain"] * 2 + ["corrected"] * 2 + ["again"] * 2
    names = ["linear", "mlp", "linear corrected", "mlp corrected"]
    assert [row["round"] for row in once.records] == [*names, "divide"]
    assert [row["round"] for row in twice.records] == [*names, "linear again", "mlp again", "divide"]
    assert [row["of"] for row in seen] == [5] * 4 + [7] * 3  # it is not known before the labels are judged
    assert all("of" not in row for row in twice.records)
    assert twice.records[-1]["counted_noise"] != once.records[-1]["counted_noise"]


def test_its_steps_are_counted_where_progress_is_shown(rounds, capsys):
    with Display(5, "features") as shown:
        for row in rounds[-1]:
            shown.update(None, row)
    lines = capsys.readouterr().err.splitlines()
    assert lines[5] == "features a second round, since many labels look wrong: 2 steps more"
    steps = [line.split()[2] for line in lines[1:] if " step " in line]
    assert steps == ["1/5", "2/5", "3/5", "4/5", "5/7", "6/7", "7/7"]


def test_a_label_counts_as_it_is_likely_right():
    x, given, _ = spoiled(0.4)
    confirmed = torch.zeros(600, dtype=torch.bool)
    confirmed[7] = True
    counts = torch.linspace(0.5, 2, 600, dtype=torch.float64)
    clean_prob = torch.rand(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clean_prob[3] = 0.0
    problem = Problem(table(x, given, confirmed=confirmed, weight=counts), Features(), 0, Clock(None))
    before = problem.weight.clone()
    other = problem.trusting(clean_prob)
    for row in range(600):
        trust = 1.0 if row == 7 else max(float(clean_prob[row]), 1e-3)
        assert float(other.counts[row]) == pytest.approx(trust * float(counts[row]))
        for block in range(6):
            held = 0.0 if block == int(problem.fold[row]) else float(other.counts[row])
            assert float(other.weight[row, block]) == pytest.approx(held)
    assert torch.equal(problem.weight, before)
    assert torch.equal(problem.counts, counts)
    assert other.fold is problem.fold


def test_few_wrong_labels_need_no_second_round():
    x, given, _ = spoiled(0.05)
    found = learn.learn(table(x, given), Features(heads="linear"), 0)
    assert found.report["counted_noise"] < learn.AGAIN
    once = learn.learn(table(x, given), Features(heads="linear", again=False), 0)
    assert torch.equal(found.clean_prob, once.clean_prob)


def test_a_model_of_the_users_own_and_answers_of_several_are_asked_once(rounds):
    x, given, _ = spoiled(0.4)
    classes = tuple(range(CLASSES))
    asked = own.crossing(LogisticRegression(max_iter=300), x, given, classes)
    assert "again" not in learn.learn(table(x, given, own=asked), Features(), 0).report
    said = torch.full((600, CLASSES), 0.1)
    said[torch.arange(600), torch.from_numpy(given)] = 0.5
    assert "again" not in learn.learn(table(x, given, answers=said), Features(heads="linear"), 0).report


def test_a_budget_may_leave_it_out(monkeypatch):
    x, given, _ = spoiled(0.4)
    began = time.monotonic()
    monkeypatch.setattr(
        Clock, "allows", lambda clock, step, since=None: step != "a second round" or bool(clock.left_out.append(step))
    )
    with pytest.warns(TrainingWarning, match="no room for: a second round"):
        found = learn.learn(table(x, given), Features(heads="linear"), 0, deadline=began + 1e6)
    assert "again" not in found.report


def test_the_estimator_has_it_and_can_do_without():
    x, given, truth = spoiled(0.4)
    found = [NoisyLabelClassifier(Features(heads="linear", again=again)).fit(x, given) for again in (True, False)]
    assert [len(clf.history_) for clf in found] == [4, 3]
    first, second = (roc_auc_score(given != truth, -clf.clean_proba_) for clf in found)
    assert first > second
