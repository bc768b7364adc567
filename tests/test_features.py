"""The route for features: its parts against loops over the equations, its whole on small problems and on bad input."""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.metrics import roc_auc_score

from codivide import FeatureModel, Features, InputError, NoisyLabelClassifier, TrainingWarning, load_model, noise_report
from codivide.cli.app import main
from codivide.data.rows import SparseRows, TensorRows
from codivide.data.standardised import standardised
from codivide.methods.auto import Auto
from codivide.methods.features import judge, learn, linear, neighbours, pacing, perceptron
from codivide.methods.features.folds import deal
from codivide.methods.features.matrix import Matrix, Scale
from codivide.methods.features.pacing import Clock
from codivide.methods.features.problem import Problem, stack
from codivide.methods.features.table import Table
from codivide.noise import chance
from codivide.noise.scores import calibration_error, reliability

FAST: dict[str, Any] = {"updates": 40, "hidden": 16}


def blobs(count: int, classes: int = 3, noise: float = 0.3, width: int = 6, seed: int = 0) -> tuple[Any, Any, Any]:
    """Features, given and true labels: Gaussian classes, labels wrong by chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=count)
    x = 3.0 * np.eye(classes, width)[truth] + rng.standard_normal((count, width))
    other = (truth + rng.integers(1, classes, size=count)) % classes
    given = np.where(rng.random(count) < noise, other, truth)
    return x.astype(np.float32), given, truth


def table(x: Any, given: Any, classes: int = 3, **known: Any) -> Table:
    return Table(x, torch.from_numpy(np.asarray(given)), tuple(range(classes)), **known)


def run(x: Any, given: Any, classes: int, seed: int = 0, **options: Any) -> learn.Learned:
    fields = FAST | options
    return learn.learn(table(x, given, classes), Features(**fields), seed)


# The parts


def objective(x: Any, likelihood: Any, weight: Any, penalty: float, w: Any, b: Any) -> float:
    """The loss of one block, sample by sample."""
    total = 0.0
    for row, v, share in zip(x, likelihood, weight, strict=True):
        logits = row @ w + b
        p = np.exp(logits - logits.max())
        p /= p.sum()
        total -= share * math.log(p @ v)
    return total / weight.sum() + 0.5 * penalty * float((w**2).sum())


@pytest.mark.parametrize("kind", ["one_hot", "matrix"])
def test_the_linear_head_is_at_the_minimum_of_its_equation(kind: str) -> None:
    x, given, _ = blobs(60)
    channel = np.eye(3) if kind == "one_hot" else 0.7 * np.eye(3) + 0.1
    likelihood = channel.T[given]
    weight = np.ones((60, 2))
    weight[::3, 0] = 0.0
    penalty = 0.05
    fitted = linear.fit(
        Matrix.of(x), torch.from_numpy(likelihood).float(), torch.from_numpy(weight).float(), penalty, tolerance=1e-9
    )
    for block in (0, 1):
        w, b = fitted.weight[:, block].double().numpy(), fitted.bias[block].double().numpy()
        here = objective(x, likelihood, weight[:, block], penalty, w, b)
        for index in np.ndindex(*w.shape):  # the gradient by differences
            step = np.zeros_like(w)
            step[index] = 1e-4
            ends = [objective(x, likelihood, weight[:, block], penalty, w + sign * step, b) for sign in (1, -1)]
            assert abs(ends[0] - ends[1]) / 2e-4 < 2e-3
        assert here < objective(x, likelihood, weight[:, block], penalty, 0 * w, 0 * b) - 0.1


def test_principal_axes_change_nothing_but_the_coordinates() -> None:
    x, given, _ = blobs(80)
    scaled = Scale.fit(x).apply(x)
    likelihood, weight = torch.eye(3)[given], torch.ones(80, 1)
    plain = linear.fit(Matrix.of(scaled), likelihood, weight, 0.01, tolerance=1e-10)
    turned = Matrix.along_axes(scaled.copy())
    rotated = linear.fit(turned, likelihood, weight, 0.01, tolerance=1e-10)
    assert turned.axes is not None
    assert torch.allclose(turned.axes.T @ turned.axes, torch.eye(6), atol=1e-5)
    assert torch.allclose(turned.features(rotated.weight[:, 0]), plain.weight[:, 0], atol=2e-2)
    squares = turned.squares()
    assert torch.equal(squares, squares.sort(descending=True).values)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_few_wide_rows_are_fitted_in_as_many_coordinates(form: Any) -> None:
    rng = np.random.default_rng(0)
    wide = (rng.random((60, 2100)) * (rng.random((60, 2100)) < 0.05)).astype(np.float32)
    wide[7] = wide[3]  # a copy adds no axis
    rows, given = form(wide), torch.from_numpy(rng.integers(0, 3, 60))
    likelihood, weight = torch.eye(3)[given], torch.from_numpy(rng.integers(0, 2, (60, 2))).float()
    plain = linear.fit(Matrix.of(rows), likelihood, weight, 0.01, steps=500, tolerance=1e-12)
    turned = Matrix.along_axes(rows)
    rotated = linear.fit(turned, likelihood, weight, 0.01, steps=500, tolerance=1e-12)
    assert turned.shape == (60, 59)
    for block in range(2):
        assert torch.allclose(turned.features(rotated.weight[:, block]), plain.weight[:, block], atol=2e-3)
    assert torch.allclose(rotated.logits(turned), plain.logits(Matrix.of(rows)), atol=2e-2)
    _, _, right = np.linalg.svd(wide)
    leading = turned.features(turned.principal(4, torch.Generator().manual_seed(0)))
    assert np.allclose(np.abs(right[:4] @ leading.numpy()), np.eye(4), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_wide_rows_that_are_all_the_same_are_fitted(form: Any, value: float) -> None:
    same = form(np.full((60, 2100), value, dtype=np.float32))
    probs = NoisyLabelClassifier("features").fit(same, np.arange(60) % 3).predict_proba(same)
    assert np.isfinite(probs).all()
    assert np.allclose(probs, probs[0])


def test_sparse_and_dense_features_give_the_same_products_and_directions() -> None:
    rng = np.random.default_rng(0)
    dense = (rng.random((40, 12)) * (rng.random((40, 12)) < 0.3)).astype(np.float32)
    one, two = Matrix.of(dense), Matrix.of(sparse.csr_matrix(dense))
    weight, slope = torch.randn(12, 5), torch.randn(40, 5)
    assert torch.allclose(one.times(weight), two.times(weight), atol=1e-5)
    assert torch.allclose(one.back(slope), two.back(slope), atol=1e-5)
    assert torch.allclose(one.squares(), two.squares(), atol=1e-6)
    found = two.principal(2, torch.Generator().manual_seed(0))
    _, _, right = np.linalg.svd(dense)
    assert np.allclose(np.abs(right[:2] @ found.numpy()), np.eye(2), atol=5e-2)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_products_of_sparse_rows_are_those_of_loops(kind: type) -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(6, 9)).astype(np.float32) * (rng.random((6, 9)) < 0.4)
    dense[2] = dense[5] = 0  # rows without a cell, one of them the last
    table = sparse.csr_matrix(dense)
    table.indices, table.indptr = table.indices.astype(kind), table.indptr.astype(kind)
    weight = rng.normal(size=(4, 9)).astype(np.float32).T  # its columns lie one after the other
    wanted = [[sum(dense[n, d] * weight[d, m] for d in range(9)) for m in range(4)] for n in range(6)]
    np.testing.assert_allclose(Matrix.of(table).times(torch.from_numpy(weight)), wanted, rtol=1e-5, atol=1e-6)
    nothing = Matrix.of(sparse.csr_matrix((3, 9), dtype=np.float32))
    assert torch.equal(nothing.times(torch.from_numpy(weight)), torch.zeros(3, 4))
    assert torch.equal(nothing.back(torch.ones(3, 2)), torch.zeros(9, 2))


def test_sparse_rows_in_which_cells_stand_twice_give_what_their_sums_do() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    once = sparse.csr_matrix(rng.poisson(0.5, (60, 8)) + np.eye(8)[0] * 4 * labels[:, None], dtype=np.float32)
    twice = sparse.csr_matrix((np.repeat(once.data / 2, 2), np.repeat(once.indices, 2), 2 * once.indptr), once.shape)
    found, wanted = (NoisyLabelClassifier("features").fit(x, labels).predict_proba(once) for x in (twice, once))
    assert np.array_equal(found, wanted)
    assert twice.nnz == 2 * once.nnz  # the user's own stay as they are


@pytest.mark.parametrize("value", [1.0, 1e25])
def test_sparse_features_of_any_size_have_their_own_scale(value: float) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * np.float32([1, 1, value])
    scale = Scale.fit(sparse.csr_matrix(x))
    expected = np.sqrt((x.astype(np.float64) ** 2).mean(0) * 3)
    np.testing.assert_allclose(scale.deviation.numpy(), expected, rtol=1e-6)
    own = standardised(SparseRows(sparse.csr_matrix(x))).toarray()
    np.testing.assert_allclose(own, x / x.std(0, dtype=np.float64), rtol=1e-5)


def test_scaled_columns_have_mean_0_and_rows_length_1_on_average() -> None:
    x = np.random.default_rng(0).normal(5, 2, (500, 4)).astype(np.float32)
    x[:, 2] = 7.0  # constant
    scaled = np.asarray(Scale.fit(x).apply(x))
    assert np.allclose(scaled.mean(0), 0, atol=1e-5)
    assert not scaled[:, 2].any()
    assert np.isclose((scaled**2).sum(1).mean(), 3 / 4, atol=1e-4)


@pytest.mark.parametrize(("short", "kept"), [(0, True), (8, True), (30, False)])
def test_sparse_rows_of_which_most_have_one_length_keep_their_units(short: int, kept: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((100, 8)) * (rng.random((100, 8)) < 0.5) * [8, 4, 2, 1, 1, 1, 1, 1]
    x /= np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)
    x[:short] /= np.sqrt(2)  # such as texts that have one kind of terms of two
    scaled = Scale.fit(sparse.csr_matrix(x, dtype=np.float32)).apply(sparse.csr_matrix(x, dtype=np.float32)).toarray()
    factors = (scaled.sum(0) / x.sum(0)).round(3)
    assert (np.ptp(factors) == 0) == kept
    assert np.isclose((scaled**2).sum(1).mean(), 1, atol=0.05)


def test_stacking_finds_the_likeliest_mixture() -> None:
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(rng.random((2, 300)))
    weight = float(stack(seen)[0])
    grid = np.linspace(0, 1, 1001)
    values = [float((w * seen[0] + (1 - w) * seen[1]).log().mean()) for w in grid]
    assert abs(weight - grid[int(np.argmax(values))]) < 5e-3


def test_folds_are_of_equal_size_and_spread_every_class() -> None:
    given = torch.tensor([0] * 50 + [1] * 10 + [2] * 1)
    fold = deal(given, 5, torch.Generator().manual_seed(0))
    assert int(torch.bincount(fold).max() - torch.bincount(fold).min()) <= 1
    for label, most in ((0, 10), (1, 2)):
        assert torch.bincount(fold[given == label], minlength=5).tolist() == [most] * 5


def test_neighbours_are_those_of_a_loop_and_never_the_sample_itself() -> None:
    rng = np.random.default_rng(1)
    x, given = rng.standard_normal((30, 4)).astype(np.float32), rng.integers(3, size=30)
    shares = neighbours.shares(torch.from_numpy(x), torch.from_numpy(given), 3, torch.Generator())
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for row in range(30):
        order = [i for i in np.argsort(-(unit @ unit[row]), kind="stable") if i != row]
        for number, size in enumerate(neighbours.SIZES):
            near = given[order[: min(size, 29)]]
            expected = (np.bincount(near, minlength=3) + 1 / 3) / (len(near) + 1)
            assert np.allclose(shares[number, row].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("mistaken", [0.0, 0.3])
def test_contrast_weights_are_those_that_the_labels_were_made_with(mistaken: float) -> None:
    rng = np.random.default_rng(0)
    slope, noise = np.array([1.5, 0.0]), 0.4
    pool = rng.standard_normal((2_000_000, 2))
    right = pool[rng.random(len(pool)) < np.exp(pool @ slope - 7)]  # of density exp(w s) times that of wrong labels
    clean, hit = np.array_split(right, 2)
    own = np.concatenate([clean, rng.standard_normal((len(clean) * 2 // 3, 2))])
    drawn = rng.standard_normal((10_000, 2))
    drawn[: round(mistaken * len(drawn))] = rng.choice(hit, round(mistaken * len(drawn)))
    weights = judge.contrast_weights(own, drawn, noise, mistaken)
    assert weights[0] == pytest.approx(1.5, abs=0.25)
    assert 0 <= weights[1] < 0.15


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_p_clean_is_right_as_often_as_it_says_and_its_mean_is_the_rate(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=6000)
    logits = 2.25 * np.eye(classes)[truth] + 1.5 * rng.standard_normal((6000, classes))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.where(rng.random(6000) < 0.3, (truth + rng.integers(1, classes, size=6000)) % classes, truth)
    right = given == truth
    even = torch.full((6000, classes), 1 / classes, dtype=torch.float64)  # neighbours that say nothing
    wrong, judged = torch.full((classes, classes), 1 / classes), torch.ones(6000).bool()
    held_out = judge.HeldOut(torch.from_numpy(probs), even, torch.from_numpy(given), judged, wrong)
    rate = float(1 - right.mean())
    found, importance = judge.calibrated(held_out, rate, torch.Generator().manual_seed(0))
    assert float(found.mean()) == pytest.approx(1 - rate, abs=1e-3)
    assert importance["weight_heads"] > 0
    # Of two classes it was off by 0.15 while the drawn labels of wrong ones, which are right, were taken for wrong.
    assert calibration_error(reliability(found.numpy(), right)) < 0.03


def test_the_evidence_is_that_of_bayes_for_a_right_label_against_a_wrong_one() -> None:
    rng = np.random.default_rng(0)
    probs, wrong = rng.dirichlet(np.ones(4), 5), rng.random((4, 4))
    found = judge.evidence(torch.from_numpy(probs), torch.from_numpy(wrong)).numpy()
    for i in range(5):
        for c in range(4):
            otherwise = sum(probs[i, k] * wrong[k, c] for k in range(4) if k != c)
            assert found[i, c] == pytest.approx(np.log(probs[i, c] / otherwise))


def test_wrong_labels_are_guessed_in_three_ways_where_they_come_evenly() -> None:
    joint = np.array([[60.0, 20.0, 18.0, 0.0], [9.0, 90.0, 11.0, 10.0], [7.0, 6.0, 50.0, 6.0], [0.0] * 4])
    frequency = np.array([0.3, 0.5, 0.1, 0.1])  # nobody is of class 3
    found = judge.wrong_labels(torch.from_numpy(joint), torch.from_numpy(frequency)).numpy()
    share = 1 - np.trace(joint) / joint.sum()
    for k in range(4):
        for c in range(4):
            counted = joint[k, c] / max(joint[k].sum(), 1) / share if k != c else 0.0
            assert found[k, c] == pytest.approx((counted + frequency[c] + 1 / 4) / 3)


def test_one_way_noise_tells_alone_how_wrong_labels_are_given() -> None:
    joint = np.array([[60.0, 30.0, 1.0], [0.0, 60.0, 28.0], [24.0, 0.0, 75.0]])  # 0 -> 1 -> 2 -> 0
    found = judge.wrong_labels(torch.from_numpy(joint), torch.full((3,), 1 / 3)).numpy()
    share, back = 1 - np.trace(joint) / joint.sum(), (30 + 28 + 23) / 83  # what does not come back
    for k in range(3):
        for c in range(3):
            alone = (joint[k, c] + 1) / (joint[k] + 1).sum() if k != c else 0.0
            counted = joint[k, c] / joint[k].sum() if k != c else 0.0
            guessed = (counted / share + 2 / 3) / 3
            assert found[k, c] == pytest.approx(back * alone / share + (1 - back) * guessed)
    # Label 0 of a sample that may be of 1: none of 1 is called 0, so it is right; one that may be of 2 is in doubt.
    unlike, like = judge.evidence(torch.tensor([[0.4, 0.6, 0.0], [0.6, 0.0, 0.4]]), torch.from_numpy(found))[:, 0]
    assert unlike > like + 1
    doubt = np.array([[60.0, 30.0, 0.0], [30.0, 60.0, 0.0], [0.0, 0.0, 90.0]])  # two classes that look alike
    even = judge.wrong_labels(torch.from_numpy(doubt), torch.full((3,), 1 / 3)).numpy()
    assert even[0, 2] == pytest.approx(2 / 9)
    few = np.array([[60.0, 1.0, 0.0], [0.0, 60.0, 1.0], [0.0, 0.0, 60.0]])
    assert judge.wrong_labels(torch.from_numpy(few), torch.full((3,), 1 / 3))[0, 2] == pytest.approx(2 / 9)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_surplus_is_what_dealing_out_the_labels_anew_says(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    probs, given = rng.dirichlet(np.ones(3), 200), rng.choice(3, 200, p=[0.6, 0.3, 0.1])
    weight = rng.random(200) + 0.5 if weighted else np.ones(200)
    found = chance.surplus(
        torch.from_numpy(probs), torch.from_numpy(given), torch.from_numpy(weight) if weighted else None
    )
    share = np.bincount(given, weight) / weight.sum()
    dealt = rng.choice(3, (4000, 200), p=share)
    at_random = (probs[np.arange(200), dealt] * weight).sum(1)
    own = float(probs[np.arange(200), given] @ weight)
    assert found == pytest.approx((own - at_random.mean()) / at_random.std(), abs=0.1)
    assert chance.surplus(torch.full((9, 3), 1 / 3), torch.arange(9) % 3, None) == 0


def test_by_how_much_labels_are_predicted_better_than_by_chance_is_the_better_of_two_tests() -> None:
    rng = np.random.default_rng(0)
    given = rng.integers(2, size=80)
    probs = np.full((80, 2), 0.2)
    probs[np.arange(80), np.where(rng.random(80) < 0.8, given, 1 - given)] = 0.8
    share = np.bincount(given) / 80
    gain = np.array([np.log(probs[i, given[i]]) - np.log(share[given[i]]) for i in range(80)])
    by_nats = gain.mean() / (gain.std(ddof=1) / 80**0.5)
    extra = np.array([probs[i, given[i]] - share @ probs[i] for i in range(80)])
    by_surplus = extra.sum() / sum(share @ row**2 - (share @ row) ** 2 for row in probs) ** 0.5
    assert chance.better_than_chance(probs, given) == pytest.approx(max(by_nats, by_surplus))
    sure = np.clip(probs.round(), 1e-9, 1)  # far too sure: the logarithms alone would say that nothing is known
    assert chance.better_than_chance(sure, given) > chance.SURE
    assert [*chance.remarks(3.1, 0.1, 0.01, 80)] == []
    assert [*chance.remarks(2.9, 0.1, 0.01, 80)] == ["hardly"]
    assert [*chance.remarks(1.9, 0.1, 0.01, 80)] == ["independent"]


@pytest.mark.filterwarnings("ignore::codivide.core.errors.TrainingWarning")
def test_labels_that_are_hardly_predicted_are_judged_and_that_is_said() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(200) % 2
    x = (rng.standard_normal((200, 3)) + 2.5 * truth[:, None]).astype(np.float32)
    given = np.where(rng.random(200) < 0.42, 1 - truth, truth)
    with pytest.warns(TrainingWarning, match="only just better .* leads to check"):
        found = NoisyLabelClassifier(Features(heads="linear")).fit(x, given)
    flagged = found.label_issues_["id"].to_numpy()
    assert len(flagged) > 60
    assert (given != truth)[flagged].mean() > 0.9
    report = noise_report(found)
    assert report.trust.level == "poor"
    assert "only just better" in report.trust.reasons[0]
    assert report.kind == "unclear"


def test_a_table_whose_small_class_is_flipped_into_is_ranked_above_chance_of_the_classes() -> None:
    """Two classes, one rarer, even flips: most labels of the rare class are wrong, and the evidence must say so."""
    rng = np.random.default_rng(0)
    truth = (rng.random(500) < 0.2).astype(np.int64)
    x = (rng.standard_normal((500, 4)) + 1.2 * truth[:, None]).astype(np.float32)
    given = np.where(rng.random(500) < 0.2, 1 - truth, truth)
    found = run(x, given, 2, heads="linear")
    plain = found.given_probs.gather(1, torch.from_numpy(given)[:, None])[:, 0]
    assert roc_auc_score(given != truth, -found.clean_prob) > roc_auc_score(given != truth, -plain) - 0.02


@pytest.mark.parametrize("division", ["calibrated", "gmm"])
def test_a_mistyped_label_changes_nothing_of_the_others(division: str) -> None:
    x, given, truth = blobs(300, classes=2, noise=0.15)
    x += 0.7 * np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)  # many are in doubt
    typed = given.copy()
    row = int(np.flatnonzero(given == truth)[0])
    typed[row] = 2  # a class of its own
    options = Features(**FAST, division=division)
    whole = learn.learn(table(x, given, 2), options, 0)
    part = learn.learn(table(x, typed, 3), options, 0)
    flags = [int((one.suggested.numpy() != y).sum()) for one, y in ((whole, given), (part, typed))]
    assert abs(flags[0] - flags[1]) <= (6 if division == "calibrated" else 12)  # a mixture moves with every fit
    assert abs(whole.report["noise_estimate"] - part.report["noise_estimate"]) < 0.02
    rest = np.delete(np.arange(300), row)
    assert np.corrcoef(whole.clean_prob[rest].numpy(), part.clean_prob[rest].numpy())[0, 1] > 0.95
    assert float(part.clean_prob[row]) == pytest.approx(float(part.clean_prob[rest].mean()), abs=0.01)
    assert part.report["transition_matrix"][2] == [0.0, 0.0, 1.0]


def test_the_mlp_learns_what_no_line_separates() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    given = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    seen: list[torch.Tensor] = []
    perceptron.fit(
        torch.from_numpy(2 * x),
        torch.eye(2)[given],
        torch.ones(400, 1),
        torch.zeros(400, dtype=torch.int64),
        watch=lambda net: seen.append(net.logits(torch.from_numpy(2 * x))[:, 0]) is None,
        generator=torch.Generator().manual_seed(0),
        training=perceptron.Training(hidden=32, updates=250),
    )
    assert (seen[-1].argmax(1).numpy() == given).mean() > 0.85


def test_steps_are_those_of_torch_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.ones(3, 4, 5), torch.ones(3, 1, 5)] for _ in range(2))
    optimizer = torch.optim.AdamW(theirs, weight_decay=1e-2, fused=True)
    steps = perceptron._AdamW(ours)
    for rate in (2e-3, 1e-3, 0.0, 5e-3):
        gradients = [torch.randn(value.shape, generator=generator) for value in ours]
        optimizer.param_groups[0]["lr"] = rate
        for value, gradient in zip(theirs, gradients, strict=True):
            value.grad = gradient.clone()
        optimizer.step()
        steps.take(gradients, rate)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_the_slopes_of_a_batch_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 5, 8), (3, 1, 8), (3, 8, 4), (3, 1, 4))
    net = perceptron.Perceptron(*(torch.randn(shape, generator=generator) for shape in shapes))
    x, keep = torch.randn(6, 5, generator=generator), torch.tensor([0.0, 1.25]).repeat(6, 4)
    likelihood, counts = torch.rand(2, 6, 4, generator=generator), torch.rand(2, 6, 3, generator=generator)
    slope = perceptron._Slope(net, 6)
    slope.at(net, torch.ones(6, 5), keep, likelihood, counts)  # the same memory was used before
    found = slope.at(net, x, keep, likelihood, counts)
    for value in net.tensors():
        value.requires_grad_(True)
    prob = torch.softmax(net.forward(x, keep), -1)
    losses = [-(prob * likelihood[k]).sum(-1).log() * counts[k].T for k in range(2)]
    expected = torch.autograd.grad(torch.stack(losses).sum(), net.tensors())
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


# The whole


def test_a_held_out_sample_is_judged_without_its_label() -> None:
    """Heads of the block that holds a fold out do not change with the labels of that fold."""
    x, given, _ = blobs(90)
    problem = Problem(table(x, given), Features(**FAST), 0, Clock(None))
    changed = torch.from_numpy(given.copy())
    changed[problem.fold == 0] = (changed[problem.fold == 0] + 1) % 3
    again = Problem(table(x, given), Features(**FAST), 0, Clock(None))
    again.given = changed
    identity = torch.eye(3)
    held = problem.fold == 0
    near = linear.Linear(torch.zeros(6, 1, 3), torch.zeros(1, 3))
    heads = [each.linear("linear", identity, 1e-3, near) for each in (problem, again)]
    # the blocks share the line search of one optimiser, and agree up to its tolerance
    assert torch.allclose(heads[0].cross[held], heads[1].cross[held], atol=5e-2)
    assert not torch.allclose(heads[0].cross[~held], heads[1].cross[~held], atol=5e-2)
    nets: list[torch.Tensor] = []
    for each in (problem, again):
        perceptron.fit(
            each.coordinates,
            identity[each.given],
            each.weight,
            each.fold,
            watch=lambda net: nets.append(net.inner.clone()) is None,
            generator=torch.Generator().manual_seed(0),
            training=perceptron.Training(hidden=8, updates=30),
        )
    last = nets[len(nets) // 2 - 1], nets[-1]
    assert torch.equal(last[0][0], last[1][0])  # the block that holds fold 0 out
    assert not torch.equal(last[0][1], last[1][1])


@pytest.mark.parametrize("division", ["calibrated", "gmm", "bmm", "class_wise"])
def test_wrong_labels_are_found_and_the_truth_is_learned(division: str) -> None:
    x, given, truth = blobs(400)
    found = run(x, given, 3, division=division)
    wrong = given != truth
    clean = found.clean_prob.numpy()
    ahead = (clean[wrong][:, None] < clean[~wrong][None]).mean()
    assert ahead > 0.9
    test, _, answers = blobs(300, seed=1)
    assert (found.model.predict(test).argmax(1).numpy() == answers).mean() > 0.9
    assert (found.suggested.numpy() == truth).mean() > 0.85
    assert torch.allclose(found.probs.sum(1), torch.ones(400), atol=1e-4)
    assert float(found.seen.min()) >= 0


@pytest.mark.parametrize("noise", [None, 0.4])
def test_features_and_annotators_are_weighed_by_bayes_rule(noise: float | None) -> None:
    rng = np.random.default_rng(0)
    probs, answers = (rng.dirichlet(np.ones(3), 50) for _ in range(2))
    given = rng.integers(0, 3, 50)
    both, clean_prob = judge.with_answers(
        torch.from_numpy(probs).float(), torch.from_numpy(7 * answers), torch.from_numpy(given), noise
    )
    expected = np.array([[p * a for p, a in zip(*rows, strict=True)] for rows in zip(probs, answers, strict=True)])
    expected = np.array([row / sum(row) for row in expected])
    assert np.allclose(both, expected, atol=1e-6)
    own = expected[np.arange(50), given]
    if noise is None:
        assert np.allclose(clean_prob, own, atol=1e-6)
    else:  # the level changes, the order does not
        assert float(1 - clean_prob.mean()) == pytest.approx((noise + 1 - own.mean()) / 2, abs=1e-6)
        assert np.array_equal(np.argsort(clean_prob.numpy()), np.argsort(own))


def test_answers_that_say_nothing_leave_the_features_word_and_sure_ones_win() -> None:
    probs, given = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), torch.tensor([0, 2])
    assert torch.allclose(judge.with_answers(probs, torch.ones(2, 3), given, None)[0], probs)
    sure = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    both, clean_prob = judge.with_answers(probs, sure, given, None)
    assert both.argmax(1).tolist() == [2, 2]
    assert clean_prob.tolist() == pytest.approx([0, 1], abs=1e-4)


@pytest.mark.parametrize("learnable", [True, False])
def test_several_annotators_and_features_know_more_than_either(learnable: bool) -> None:
    x, truth, _ = blobs(600, noise=0.0)
    rng = np.random.default_rng(1)
    x = x + rng.normal(0, 1.5, x.shape) if learnable else rng.normal(0, 1, x.shape)
    says = np.where(rng.random((600, 4)) < 0.55, truth[:, None], rng.integers(0, 3, (600, 4)))
    votes = np.where(rng.random((600, 4)) < 0.6, says, -1)
    model = NoisyLabelClassifier(Features(heads="linear"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        model.fit(x.astype(np.float32), votes)
    labels = model.labels_
    asked = (votes >= 0).any(1)
    consensus, suggested = ((labels[name].to_numpy() == truth)[asked].mean() for name in ("given", "suggested"))
    alone = (model.predict(x.astype(np.float32)) == truth)[asked].mean()
    if learnable:
        assert suggested > max(consensus, alone) + 0.02
    else:
        assert abs(suggested - consensus) < 0.02
    assert abs(labels["clean_prob"][asked].mean() - consensus) < 0.1


def test_with_no_time_left_the_first_head_alone_is_the_answer() -> None:
    x, given, truth = blobs(300)
    labels = torch.from_numpy(given)
    with pytest.warns(TrainingWarning, match="no room for: mlp, correction"):
        found = learn.learn(table(x, labels), Features(**FAST), 0, deadline=time.monotonic())
    assert [head["head"] for head in found.report["heads"]] == ["linear"]
    assert (found.suggested.numpy() == truth).mean() > 0.85
    ample = learn.learn(table(x, labels), Features(**FAST), 0, deadline=time.monotonic() + 1e6)
    assert torch.equal(ample.clean_prob, run(x, given, 3).clean_prob)


def test_the_mlp_ends_at_the_look_after_which_as_long_again_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    x, given, _ = blobs(300)
    options = Features(**FAST, heads="mlp", correct=False)
    now = iter(range(10_000))
    monkeypatch.setattr(pacing.time, "monotonic", lambda: float(next(now)))
    with pytest.warns(TrainingWarning, match="more updates of the MLP"):  # looks at 1, 2, 4, ... seconds
        learn.learn(table(x, given), options, 0, deadline=3.0)
    clock = Clock(10.0)
    clock.began = 0.0
    for second, allowed in ((4.0, True), (5.0, True), (6.0, False)):
        monkeypatch.setattr(pacing.time, "monotonic", lambda second=second: second)
        assert clock.allows("correction") is allowed
    assert clock.left_out == ["correction"]


def test_a_budget_reaches_the_route_for_features(monkeypatch: pytest.MonkeyPatch) -> None:
    x, given, _ = blobs(300)
    monkeypatch.setattr(pacing.time, "monotonic", lambda: 50.0)  # the clock stands still: all of the budget is left
    model = NoisyLabelClassifier(Auto(budget=10.0)).fit(x, given)
    assert not any("budget" in reason for reason in model.choice_["decision"]["reasons"])
    ticks = iter(range(10_000))
    monkeypatch.setattr(pacing.time, "monotonic", lambda: 20.0 * next(ticks))
    with pytest.warns(TrainingWarning, match="no room for: mlp, correction"):
        model = NoisyLabelClassifier(Auto(budget=10.0)).fit(x, given)
    assert any("time budget" in reason for reason in model.choice_["decision"]["reasons"])


def test_the_matrix_is_near_the_one_that_spoiled_the_labels() -> None:
    x, _, truth = blobs(1500, noise=0)
    matrix = np.array([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.1, 0.9]])
    rng = np.random.default_rng(2)
    given = np.array([rng.choice(3, p=matrix[c]) for c in truth])
    found = run(x, given, 3, heads="linear")
    assert np.abs(np.asarray(found.report["transition_matrix"]) - matrix).max() < 0.12
    assert found.report["noise_estimate"] == pytest.approx(float((given != truth).mean()), abs=0.06)


def test_same_seed_same_bits_and_the_global_generator_is_left_alone() -> None:
    x, given, _ = blobs(120)
    before = torch.get_rng_state()
    one, two, other = run(x, given, 3), run(x, given, 3), run(x, given, 3, seed=1)
    assert torch.equal(one.clean_prob, two.clean_prob)
    assert torch.equal(one.model.predict(x), two.model.predict(x))
    assert not torch.equal(one.clean_prob, other.clean_prob)
    assert torch.equal(before, torch.get_rng_state())


def test_unlabelled_samples_get_a_suggestion_and_confirmed_ones_are_trusted() -> None:
    x, given, truth = blobs(200)
    given[:20] = -1
    confirmed = torch.zeros(200, dtype=torch.bool)
    confirmed[20:40] = True
    found = learn.learn(table(x, given, confirmed=confirmed), Features(heads="linear"), 0)
    assert torch.isnan(found.clean_prob[:20]).all()
    assert torch.isfinite(found.clean_prob[20:]).all()
    assert (found.suggested[:20].numpy() == truth[:20]).mean() > 0.8
    assert found.clean_prob[20:40].tolist() == [1.0] * 20
    assert found.suggested[20:40].tolist() == given[20:40].tolist()


# Bad input


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("constant", [False, True])
def test_labels_that_do_not_depend_on_the_features_are_said_to_teach_nothing(seed: int, constant: bool) -> None:
    rng = np.random.default_rng(seed)
    x = np.ones((300, 5), np.float32) if constant else rng.standard_normal((300, 5)).astype(np.float32)
    with pytest.warns(TrainingWarning, match="nothing can be learned"):
        found = run(x, rng.integers(3, size=300), 3)
    assert set(found.clean_prob.tolist()) == {0.5}
    assert "independent" in found.remarks


@pytest.mark.parametrize("copies", [False, True])
def test_where_nothing_can_be_learned_the_rank_still_goes_by_the_evidence(copies: bool) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 2
    x = (rng.standard_normal((120, 3)) + 0.9 * truth[:, None]).astype(np.float32)
    given = np.where(rng.random(120) < 0.35, 1 - truth, truth)
    if copies:
        x, truth, given = np.concatenate([x, x[:9]]), np.concatenate([truth, truth[:9]]), np.append(given, given[:9])
    confirmed = pd.DataFrame({"id": [0], "given": given[:1], "decision": ["keep"], "label": [""]})
    with pytest.warns(TrainingWarning, match="nothing can be learned"):
        found = NoisyLabelClassifier(Features(heads="linear")).fit(x, given, confirmed)
    table = found.labels_
    assert set(table["clean_prob"][1:120]) == {0.5}
    assert sorted(table["rank"]) == list(range(1, len(x) + 1))
    assert roc_auc_score(given != truth, -table["rank"].astype(int)) > 0.7
    assert table["rank"][0] > 119  # a person vouches for it
    assert found.label_issues_.empty


@pytest.mark.filterwarnings("ignore::codivide.core.errors.TrainingWarning")
def test_ninety_percent_noise_is_survived() -> None:
    x, given, _ = blobs(300, classes=10, width=10, noise=0.88)
    found = NoisyLabelClassifier(Features(**FAST)).fit(x, given)
    assert np.isfinite(found.clean_proba_).all()
    assert np.allclose(found.predict_proba(x).sum(1), 1)
    assert found.clean_proba_.mean() < 0.6


@pytest.mark.filterwarnings("ignore::codivide.core.errors.TrainingWarning")
@pytest.mark.parametrize("kind", ["duplicates", "constant", "one_of_a_class", "three", "all_constant", "one_class"])
def test_poor_data_are_survived(kind: str) -> None:
    x, given, _ = blobs(120)
    if kind == "duplicates":
        x, given = np.concatenate([x, x]), np.concatenate([given, (given + 1) % 3])
    elif kind == "constant":
        x[:, 1] = 3e6
    elif kind == "one_of_a_class":
        given[given == 2], given[7] = 0, 2
    elif kind == "three":
        x, given = x[:3], np.array([0, 1, 2])
    elif kind == "all_constant":
        x[:] = 1.0
    else:
        given[:] = 1
    found = run(x, given, 3)
    assert torch.isfinite(found.clean_prob).all()
    assert torch.isfinite(found.probs).all()
    assert ((found.clean_prob >= 0) & (found.clean_prob <= 1)).all()
    if kind == "duplicates":
        assert float(found.clean_prob.mean()) < 0.8  # at least half of the labels are wrong


def test_what_cannot_be_done_is_said() -> None:
    x, given, _ = blobs(30)
    with pytest.raises(InputError, match="at least 2"):
        run(x, np.where(np.arange(30) == 0, 0, -1), 3)
    with pytest.raises(InputError, match="epochs = 3 does not apply"):
        NoisyLabelClassifier("features", epochs=3).fit(x, given)
    with pytest.raises(InputError, match="runs on the CPU"):
        NoisyLabelClassifier("features", device="cuda").fit(x, given)
    with pytest.raises(InputError, match="Encode them"):
        NoisyLabelClassifier("features", encoder="none").fit(np.zeros((30, 8, 8), np.uint8), given)
    with pytest.raises(InputError, match="folds"):
        Features(folds=1)


# From the user's end


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_estimator_saves_loads_reports_and_audits(kind: str, tmp_path: Path) -> None:
    x, given, truth = blobs(150)
    table = sparse.csr_matrix(np.maximum(x, 0)) if kind == "sparse" else x
    names = np.array(["ant", "bee", "cow"])
    found = NoisyLabelClassifier(Features(**FAST), out=tmp_path / "run").fit(table, names[given])
    assert (found.predict(table) == names[truth]).mean() > 0.85
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, FeatureModel)
    assert model.classes == ("ant", "bee", "cow")
    assert np.allclose(model.predict(table).numpy(), found.predict_proba(table), atol=1e-5)
    held = np.load(tmp_path / "run" / "predictions.npz")
    assert {"given", "mean_loss", "probs", "predictions", "epochs", "classes"} <= set(held.files)
    assert np.array_equal(held["given"], given)
    for report in (noise_report(found), noise_report(tmp_path / "run")):
        assert 0.1 < report.rate < 0.5
        assert not any("memorised" in reason for reason in report.trust.reasons)
    facts = found.audit().facts
    assert facts["issues_total"] == len(found.label_issues_) > 10
    assert facts["issues"][0]["neighbours"]["of"] == 10


def codivide(monkeypatch: pytest.MonkeyPatch, *words: Any) -> int:
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_line_takes_a_table_with_its_own_label_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x, given, _ = blobs(100)
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(6)]).assign(genre=np.array(["a", "b", "c"])[given])
    table.to_csv(tmp_path / "songs.csv", index=False)
    table.drop(columns="genre").to_csv(tmp_path / "new.csv", index=False)
    run_folder, fit = tmp_path / "run", ("fit", tmp_path / "songs.csv", "--method", "features", "--heads", "linear")
    assert codivide(monkeypatch, *fit, "--label", "kind", "--out", run_folder) == 2
    assert "no column 'kind'" in capsys.readouterr().err
    assert codivide(monkeypatch, *fit, "--label", "genre", "--epochs", 3, "--out", run_folder) == 2
    assert not run_folder.exists()
    assert codivide(monkeypatch, *fit, "--label", "genre", "--out", run_folder) == 0
    summary = json.loads((run_folder / "summary.json").read_text())
    assert summary["method"] == "features"
    assert summary["source"]["options"] == {"label": "genre"}
    assert summary["learned"]["heads"][0]["head"] == "linear"
    capsys.readouterr()
    assert codivide(monkeypatch, "predict", run_folder, tmp_path / "new.csv") == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 101
    for words in (["noise", run_folder], ["audit", run_folder], ["clean", run_folder, "--out", tmp_path / "clean"]):
        assert codivide(monkeypatch, *words) == 0, words
    cleaned = pd.read_csv(tmp_path / "clean" / "labels_clean.csv")
    assert set(cleaned["genre"]) == {"a", "b", "c"}
    assert [*(f"f{i}" for i in range(6))] == [name for name in cleaned if str(name).startswith("f")]
    assert "label" not in cleaned


def test_one_value_or_row_far_out_costs_a_network_on_a_table_nothing(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = (rng.normal(size=(150, 4)) + 4 * np.eye(3, 4)[y]).astype(np.float32)
    x[5] = 1e9
    with pytest.warns(TrainingWarning, match="stretched by a few values far out: 0, 1, 2, 3"):
        model = NoisyLabelClassifier("cross_entropy", net="mlp", epochs=8, random_state=0).fit(x, y)
    good = np.arange(150) != 5
    assert (model.predict(x)[good] == y[good]).mean() > 0.95
    model.model_.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert (again.probs(TensorRows(torch.from_numpy(x))) == model.predict_proba(x)).all()


def test_hubs_of_one_class_do_not_make_all_samples_seem_of_it():
    rng = np.random.default_rng(0)
    given = torch.from_numpy(np.arange(400) % 2)
    near = torch.from_numpy(rng.integers(0, 400, (400, 10)))
    shares = neighbours.counted(near, given, 2, sizes=(10,))[0]
    assert neighbours.without_hubs(shares, near, given) is shares  # as by chance
    hubs = np.where(rng.random((400, 10)) < 0.4, 2 * rng.integers(0, 30, (400, 10)), near.numpy())  # thirty of class 0
    near = torch.from_numpy(hubs)
    shares = neighbours.counted(near, given, 2, sizes=(10,))[0]
    found = neighbours.without_hubs(shares, near, given)
    assert float(shares.mean(0)[0]) > 0.65
    torch.testing.assert_close(found.mean(0), torch.tensor([0.5, 0.5]), atol=0.002, rtol=0)
    torch.testing.assert_close(found.sum(1), torch.ones(400))
    assert torch.equal(found[:, 0].argsort(stable=True), shares[:, 0].argsort(stable=True))


def test_rows_of_a_dense_model_may_come_sparse():
    x = np.random.default_rng(0).normal(loc=(0, 4, 0), size=(120, 3))
    model = NoisyLabelClassifier("features").fit(x, x[:, 0] > 0)
    np.testing.assert_allclose(model.predict_proba(sparse.csr_matrix(x)), model.predict_proba(x), atol=1e-6)


def test_the_model_takes_what_the_classifier_was_fitted_on():
    """A frame, with its columns in any order, or lists; an array of features as it is."""
    x = np.random.default_rng(0).normal(loc=(0, 4, 0), size=(120, 3)).astype(np.float32)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    model = NoisyLabelClassifier(Features(heads="linear")).fit(frame, x[:, 0] > 0).model_
    expected = model.predict(x)
    for samples in (frame, frame[["c", "a", "b"]], x.tolist()):
        assert torch.equal(model.predict(samples), expected)
    with pytest.raises(InputError, match="'b'"):
        model.predict(frame[["a", "c"]])
    texts = [f"good film {k}" if k % 2 else f"bad day {k}" for k in range(60)]
    read = NoisyLabelClassifier(Features(heads="linear")).fit(texts, [k % 2 for k in range(60)]).model_
    assert read.predict(texts[:3]).shape == (3, 2)
