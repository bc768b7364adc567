"""Labels judged by where their samples lie: the evidence as loops, and DivideMix that divides by it."""

import math

import numpy as np
import pytest
import torch

from codivide import train
from codivide.methods import DivideMix
from codivide.noise import embedding
from tests import toys


def cloud(n=60, seed=0):
    """Three directions with noise around them, a quarter of the labels wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    x = np.eye(3, 5)[truth] + 0.25 * rng.normal(size=(n, 5))
    labels = np.where(rng.random(n) < 0.25, (truth + 1) % 3, truth)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels), torch.tensor(truth)


def test_the_distance_from_a_class_is_that_of_loops():
    x, labels, _ = cloud()
    rows = [row / np.linalg.norm(row) for row in x.double().numpy()]
    own = [True] * len(rows)
    for _ in range(3):
        means = []
        for c in range(3):
            total = sum(row for row, label, kept in zip(rows, labels.tolist(), own, strict=True) if label == c and kept)
            means.append(total / np.linalg.norm(total))
        cosines = [[float(row @ mean) for mean in means] for row in rows]
        own = [
            max(range(3), key=lambda c: found[c]) == label
            for found, label in zip(cosines, labels.tolist(), strict=True)
        ]
    expected = []
    for found, label in zip(cosines, labels.tolist(), strict=True):
        shares = [math.exp(10 * value) for value in found]
        expected.append(-math.log(shares[label] / sum(shares)))
    assert embedding.away_from_class(x, labels, 3).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_share_of_other_neighbours_is_that_of_loops():
    x, labels, _ = cloud(40)
    rows = [row / np.linalg.norm(row) for row in x.double().numpy()]
    expected = []
    for i, row in enumerate(rows):
        others = sorted((k for k in range(40) if k != i), key=lambda k: -float(row @ rows[k]))[:7]
        expected.append(sum(labels[k].item() != labels[i].item() for k in others) / 7)
    assert embedding.away_from_neighbours(x, labels, 7).tolist() == pytest.approx(expected)
    assert embedding.away_from_neighbours(x[:3], labels[:3]).shape == (3,)


@pytest.mark.parametrize("measure", ["class", "neighbours"])
def test_wrong_labels_stand_out(measure):
    x, labels, truth = cloud(300)
    by = {
        "class": lambda: embedding.away_from_class(x, labels, 3),
        "neighbours": lambda: embedding.away_from_neighbours(x, labels),
    }
    found = by[measure]()
    wrong = labels != truth
    assert found[wrong].min() > found[~wrong].median()
    pairs = (found[wrong][:, None] > found[~wrong][None]).float().mean()
    assert pairs > 0.97


def test_a_class_of_which_nothing_is_nearest_keeps_its_mean():
    x, labels, truth = cloud(30)
    lost = torch.where(labels == 2, 2, truth)  # every label 2 lies with another class as well
    assert torch.isfinite(embedding.away_from_class(x, lost, 4)).all()  # nor does a class without a sample matter


@pytest.mark.parametrize("division", ["embedding", "neighbours"])
def test_dividemix_divides_by_its_features(division):
    problem = toys.toy(300)
    run = train(DivideMix(warmup=3, division=division), problem.data, toys.build, toys.plan(8))
    prob = run.clean_prob()
    wrong = problem.data.y != problem.truth
    assert prob[~wrong].mean() > prob[wrong].mean() + 0.5
    again = train(DivideMix(warmup=3, division=division), problem.data, toys.build, toys.plan(8))
    assert toys.same(toys.state(run), toys.state(again)) == []


def test_features_are_what_the_last_layer_sees_of_the_network_or_its_average():
    run = train(DivideMix(warmup=1), toys.toy().data, toys.build, toys.plan(2, average=0.9))
    for average in (False, True):
        net = run.average(0) if average else run.nets[0]
        seen = run.measure(0, lambda features, batch: features, average=average, features=True)
        net.eval()
        expected = net[:4](run.data.x.data)
        torch.testing.assert_close(seen, expected)
