"""How labels are given for each true class: by the likeliest matrix where the labels tell one, and what that is for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from codivide import Features, load_model
from codivide.methods.features import channel, learn, trees
from codivide.methods.features.model import Member
from codivide.methods.features.pacing import Clock, Rounds
from codivide.methods.features.pool import Head, Pool
from codivide.methods.features.problem import Problem, stack
from codivide.methods.features.table import Table
from codivide.noise.latent import goes_by_class, latent_noise

LINEAR = Features(heads="linear", trees="none", vote=False)


def near_classes(count: int, apart: float, rates: Any, seed: int = 0) -> tuple[Any, Any, Any]:
    """Features, given and true labels of Gaussian classes that lie ``apart``; rows of ``rates`` say what is given."""
    rng = np.random.default_rng(seed)
    matrix = np.asarray(rates)
    truth = rng.integers(len(matrix), size=count)
    x = apart * np.eye(len(matrix), 8)[truth] + rng.standard_normal((count, 8))
    given = np.array([rng.choice(len(matrix), p=matrix[c]) for c in truth])
    return x.astype(np.float32), given, truth


def posterior(x: Any, apart: float, matrix: Any) -> Any:
    """P(given | x) by Bayes, as the best classifier of the given labels says it."""
    classes = len(matrix)
    logits = apart * x[:, :classes]
    prior = np.exp(logits - logits.max(1, keepdims=True))
    return prior / prior.sum(1, keepdims=True) @ matrix


def one_way(classes: int, rate: float) -> Any:
    return (1 - rate) * np.eye(classes) + rate * np.roll(np.eye(classes), 1, axis=1)


def even(classes: int, rate: float) -> Any:
    return (1 - rate) * np.eye(classes) + rate / (classes - 1) * (1 - np.eye(classes))


def problem_of(x: Any, given: Any, classes: int, **known: Any) -> Problem:
    table = Table(x, torch.from_numpy(np.asarray(given)), tuple(range(classes)), **known)
    return Problem(table, Features(), 0, Clock(None))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gain_of_a_matrix_is_that_of_the_best_rate_of_a_grid(weighted):
    x, given, _ = near_classes(400, 2.0, one_way(3, 0.1))
    weight = np.random.default_rng(0).uniform(0.2, 2, len(given)) if weighted else None
    known = latent_noise(posterior(x, 2.0, one_way(3, 0.1)), given, weight=weight)
    each = np.ones(len(given)) if weight is None else weight * len(given) / weight.sum()
    best = -np.inf
    for rate in np.linspace(0.001, 2 / 3, 500):
        total = 0.0
        for prior, label, share in zip(known.prior, given, each, strict=True):
            total += share * np.log(sum(prior[c] * (1 - rate if c == label else rate / 2) for c in range(3)))
        best = max(best, total)
    gain = sum(
        share * np.log(prior @ known.transition[:, label])
        for prior, label, share in zip(known.prior, given, each, strict=True)
    )
    assert goes_by_class(known, given, weight=weight) == (gain - best > 5)


def test_how_likely_a_label_is_is_the_matrix_applied_to_the_prior():
    x, given, _ = near_classes(200, 2.0, one_way(3, 0.3))
    found = latent_noise(posterior(x, 2.0, one_way(3, 0.3)), given)
    assert found.seen == pytest.approx((found.prior @ found.transition)[np.arange(200), given])


@pytest.mark.parametrize(
    ("count", "matrix", "told"),
    [
        (2000, one_way(4, 0.3), True),
        (2000, even(4, 0.3), False),
        (2000, np.eye(4), False),
        (40, one_way(4, 0.1), False),
    ],
    ids=["one way", "even", "none", "few"],
)
def test_labels_tell_a_matrix_where_noise_goes_by_classes_and_there_are_enough(count, matrix, told):
    x, given, _ = near_classes(count, 3.0, matrix)
    problem = problem_of(x, given, 4)
    probs = learn.plain_probs(Table(x, problem.given, tuple(range(4))), LINEAR, 0)
    found = channel.likeliest(problem, probs)
    assert found is not None
    assert found.by_class == told
    assert found.matrix.sum(1).numpy() == pytest.approx(1, abs=1e-5)


def test_a_class_that_cannot_be_judged_keeps_its_labels():
    x, given, _ = near_classes(300, 3.0, one_way(3, 0.3))
    given = np.append(given, [3])
    x = np.concatenate([x, x[:1]])
    probs = torch.from_numpy(np.c_[posterior(x, 3.0, one_way(3, 0.3)), np.zeros(301)]).float()
    found = channel.likeliest(problem_of(x, given, 4), probs)
    assert found is not None
    assert found.matrix[3].tolist() == [0, 0, 0, 1]
    assert found.matrix[:3, 3].tolist() == [0, 0, 0]
    assert len(found.seen) == 300


def test_of_one_class_there_is_no_matrix():
    x, _, _ = near_classes(50, 3.0, np.eye(2))
    assert channel.likeliest(problem_of(x, np.zeros(50, dtype=int), 2), torch.ones(50, 2) / 2) is None


def test_the_matrix_counts_no_errors_of_the_classifier_and_more_truths_are_learned(monkeypatch):
    matrix = one_way(5, 0.4)
    x, given, truth = near_classes(1500, 2.0, matrix)
    data = Table(x, torch.from_numpy(given), tuple(range(5)))
    options = replace(LINEAR, again=False)
    now = learn.learn(data, options, 0)
    monkeypatch.setattr(channel, "goes_by_class", lambda *_, **__: False)
    before = learn.learn(data, options, 0)
    off = {
        name: np.abs(np.asarray(found.report["transition_matrix"]) - matrix).max()
        for name, found in {"now": now, "before": before}.items()
    }
    assert now.report["by_class"]
    assert now.report["corrected"]
    assert off["now"] < 0.1 < off["before"]
    right = [float((found.probs.argmax(1).numpy() == truth).mean()) for found in (before, now)]
    assert right[1] > right[0] + 0.02


def test_the_first_round_has_a_say_in_the_second_where_it_makes_labels_likelier(monkeypatch):
    x, given, truth = near_classes(1500, 2.0, one_way(5, 0.4))
    data = Table(x, torch.from_numpy(given), tuple(range(5)))
    found = learn.learn(data, LINEAR, 0)
    assert found.report["again"]
    assert 0.5 <= found.report["share_again"] < 1
    kinds = [member.kind for member in found.model.members]
    assert kinds == ["linear", "linear"]
    assert sum(member.weight for member in found.model.members) == pytest.approx(1)

    monkeypatch.setattr(learn, "_joined", lambda first, second, share, given: second)
    alone = learn.learn(data, LINEAR, 0)
    right = [float((each.probs.argmax(1).numpy() == truth).mean()) for each in (alone, found)]
    assert right[1] > right[0]


def test_trees_of_both_rounds_are_the_same_saved_once_and_asked_once(monkeypatch, tmp_path):
    x, given, _ = near_classes(1000, 2.5, one_way(5, 0.3))
    data = Table(x, torch.from_numpy(given), tuple(range(5)))
    model = learn.learn(data, Features(heads="none", trees="forest", vote=False), 0).model
    first, second = model.members
    assert [first.kind, second.kind] == ["forest", "forest"]
    alone = [member.weight * trees.Trees(*member.tensors).probs(x) for member in (first, second)]
    expected = sum(alone) / model.frequency.pow(model.power)
    assert model.predict(x).numpy() == pytest.approx((expected / expected.sum(1, keepdim=True)).numpy(), abs=1e-6)

    model.save(tmp_path / "model.safetensors")
    size = sum(value.nbytes for value in first.tensors)
    assert size < (tmp_path / "model.safetensors").stat().st_size < 1.5 * size
    asked = []
    leaves = trees.Trees.leaves
    monkeypatch.setattr(trees.Trees, "leaves", lambda self, rows: asked.append(len(rows)) or leaves(self, rows))
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded.predict(x), model.predict(x))
    assert asked == [1000, 1000]  # once by each of the two models


def test_the_share_of_the_second_round_rests_on_the_weights_of_the_samples():
    x, given, _ = near_classes(1000, 2.0, one_way(5, 0.4))
    weight = torch.from_numpy(np.random.default_rng(0).exponential(1, 1000))
    problem = problem_of(x, given, 5, weight=weight / weight.mean())
    problem.kinds = ("linear",)
    fitted = learn._fit(problem, Rounds(None))
    assert fitted.report["corrected"]
    trusting = problem.trusting(torch.from_numpy(np.random.default_rng(1).random(1000)))
    found = learn._second(problem, trusting, fitted, Rounds(None))
    second = learn._plain(trusting, Rounds(None), again=True)
    seen = torch.stack([channel.likeliest(problem, each.cross()).seen for each in (fitted.pool, second)])
    shares = [(1 + float(stack(seen, each)[1])) / 2 for each in (None, weight)]
    assert found.report["share_again"] == pytest.approx(shares[1], abs=1e-4)
    assert abs(shares[0] - shares[1]) > 0.001


def test_the_likeliest_matrix_of_both_rounds_ranks_wrong_labels_of_one_way_noise_better(monkeypatch):
    x, given, truth = near_classes(2000, 2.0, one_way(5, 0.4))
    data = Table(x, torch.from_numpy(given), tuple(range(5)))
    now = learn.learn(data, LINEAR, 0).clean_prob
    second = learn._second
    monkeypatch.setattr(learn, "_second", lambda *parts: replace(second(*parts), told=None))
    before = learn.learn(data, LINEAR, 0).clean_prob
    found = [roc_auc_score(given != truth, 1 - clean_prob) for clean_prob in (before, now)]
    assert found[1] > found[0] + 0.005


def test_the_heads_of_the_second_round_have_the_time_that_is_left():
    x, given, _ = near_classes(200, 3.0, even(3, 0.3))
    problem = problem_of(x, given, 3)
    assert len(problem.kinds) > 1
    now = time.monotonic()
    problem.clock.began, problem.clock.deadline = now - 1000, now + 900
    assert not problem.clock.allows("a step as long as all so far")
    assert len(learn._plain(problem, Rounds(None), again=True).heads) == len(problem.kinds)


def test_even_noise_leaves_the_second_round_alone():
    x, given, _ = near_classes(1500, 3.0, even(5, 0.4))
    report = learn.learn(Table(x, torch.from_numpy(given), tuple(range(5))), LINEAR, 0).report
    assert report["again"]
    assert not report["by_class"]
    assert report["share_again"] > 0.9


def test_joined_pools_are_a_mixture_of_what_both_say_of_the_true_class():
    generator = torch.Generator().manual_seed(0)
    given, none = torch.tensor([0, 1, 1]), Member("linear", 1.0, ())

    def pool(mixing: Any, weights: list[float]) -> Pool:
        heads = [
            Head("linear", mixing, torch.rand(3, 2, generator=generator).softmax(1), torch.zeros(3), 0.0, {}, none)
            for _ in weights
        ]
        return Pool(heads, torch.tensor(weights))

    first, second = pool(torch.tensor([[0.6, 0.4], [0.0, 1.0]]), [0.3, 0.7]), pool(torch.eye(2), [1.0])
    both = learn._joined(first, second, 0.75, given)
    expected = 0.25 * first.cross() + 0.75 * second.cross()
    assert both.weights.sum() == pytest.approx(1)
    assert both.cross().numpy() == pytest.approx(expected.numpy())
    assert both.given().numpy() == pytest.approx(expected.numpy())
    own = (0.25 * first.cross()).gather(1, given.unsqueeze(1)).squeeze(1)
    assert both.seen().numpy() == pytest.approx(own.numpy())  # the second pool of this test says nothing of its labels
