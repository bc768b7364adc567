"""What is called wrong, what a classifier is fitted to, and how much noise there is."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import f1_score

from codivide.methods.features import judge, own
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise.clean_prob import at_rate, log_odds


def test_the_threshold_has_the_greatest_expected_f1():
    rng = np.random.default_rng(0)
    wrong_prob = rng.beta(0.5, 2, 4000)
    wrong = rng.random((20, 4000)) < wrong_prob
    found = judge.doubtful(np.append(1 - wrong_prob, np.nan))

    def f1(threshold):
        return np.mean([f1_score(one, wrong_prob >= threshold) for one in wrong])

    assert 0.2 < found < 0.4
    assert f1(found) == pytest.approx(max(f1(threshold) for threshold in np.linspace(0.05, 0.6, 23)), abs=0.003)
    assert f1(found) > f1(0.5) + 0.02
    assert judge.doubtful(np.ones(3)) == 0.5  # nothing is wrong


def test_a_label_is_called_wrong_by_p_clean_or_where_another_class_is_likelier():
    probs = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1], [0.4, 0.6]])
    given, clean_prob = torch.tensor([0, 0, 0, 0, -1]), torch.tensor([0.6, 0.6, 0.8, 0.4, torch.nan])
    assert judge.suggestions(probs, clean_prob, given, 0.35).tolist() == [0, 1, 0, 1, 1]
    assert judge.suggestions(probs, clean_prob, given).tolist() == [0, 0, 0, 1, 1]


def test_fewer_errors_of_the_heads_are_counted_as_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    truth = (x[:, 0] + 1.5 * rng.normal(size=600) > 0).astype(np.int64)  # a third cannot be predicted
    given = np.where(rng.random(600) < 0.1, 1 - truth, truth)
    model = ExtraTreesClassifier(60, min_samples_leaf=3, random_state=0)
    table = Table(x, torch.from_numpy(given), (0, 1), own=own.crossing(model, x, given, (0, 1)))
    found = learn(table, Features(), 0)
    level, counted = found.report["noise_estimate"], found.report["counted_noise"]
    assert 0.05 < level < counted - 0.05
    at_counted = at_rate(log_odds(found.clean_prob.numpy()), counted)
    fitted_to = [
        judge.kept(given, one, found.probs.argmax(1).numpy()) for one in (found.clean_prob.numpy(), at_counted)
    ]
    now, before = ((one == (given == truth)).mean() for one in fitted_to)
    assert now > before > 0.7
