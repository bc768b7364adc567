"""Rules on probabilities and features against their equations, and the latent model on noise that is known."""

import doctest

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime
from sklearn.metrics import roc_auc_score
from worlds import linear, pair, symmetric, world

import codivide
from codivide.audit import score_labels
from codivide.core import neighbours as core_neighbours
from codivide.core.errors import InputError
from codivide.noise import latent, rates, rules
from codivide.noise.clean_prob import combined, match_rates
from codivide.noise.confidence import given_log_prob, self_confidence


def test_losses_and_events_are_means():
    probs = np.asarray([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
    given = np.asarray([0, 1, 0])
    assert given_log_prob(probs, given) == pytest.approx(np.log([0.5, 0.1, 1e-12]))
    losses = np.asarray([[1.0, 2.0, 5.0], [3.0, np.nan, 4.0]])
    assert codivide.score_labels("averaged_loss", given, losses=losses).tolist() == [-2, -2, -4.5]
    assert codivide.score_labels("last_loss", given, losses=losses[:, [0, 2, 2]]).tolist() == [-3, -4, -4]
    predictions = [[0, 1, 1], [0, 0, 1]]
    assert codivide.score_labels("right_events", given, predictions=predictions).tolist() == [1.0, 0.5, 0.0]


def test_self_confidence_follows_its_equation():
    probs, given, _, _ = world(60)
    answer = self_confidence(probs, given)
    threshold = [np.mean([probs[i, c] for i in range(60) if given[i] == c]) for c in range(4)]
    for i in range(60):
        ratio = [probs[i, c] / threshold[c] for c in range(4)]
        rival = max(ratio[c] for c in range(4) if c != given[i])
        assert answer[i] == pytest.approx(ratio[given[i]] / (ratio[given[i]] + rival))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("rows", [512, 4])
def test_neighbours_vote_by_distance(kind, rows, monkeypatch):
    monkeypatch.setattr(core_neighbours, "_CHUNK", rows)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5))
    x[7] = 0.0  # near to nothing
    given = rng.integers(-1, 3, 40)
    answer = codivide.score_labels(
        "neighbour_agreement", given, features=sparse.csr_matrix(x) if kind == "sparse" else x, classes=(0, 1, 2)
    )
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    for i in range(40):
        if i == 7 or given[i] < 0:
            assert np.isnan(answer[i])
            continue
        others = [j for j in range(40) if j not in (i, 7) and given[j] >= 0]
        near = sorted(others, key=lambda j: -unit[i] @ unit[j])[:10]
        squared = [2 - 2 * unit[i] @ unit[j] for j in near]
        votes = np.zeros(3)
        for j, d in zip(near, squared, strict=True):
            votes[given[j]] += np.exp(-d / max(squared))
        assert answer[i] == pytest.approx(votes[given[i]] / votes.sum(), abs=1e-4)


def test_neighbours_at_the_limits():
    given = np.asarray([0, 0, 1])
    assert codivide.score_labels("neighbour_agreement", given, features=np.ones((3, 2))).tolist() == [0.5, 0.5, 0.0]
    lonely = codivide.score_labels("neighbour_agreement", given, features=np.eye(3, 2))
    assert lonely.tolist() == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert np.isnan(codivide.score_labels("neighbour_agreement", given, features=np.zeros((3, 2)))).all()


def evidence_of(rule, probs, given):
    """What the rule needs, made of probabilities: two epochs, the first less sure."""
    first = probs**0.5 / (probs**0.5).sum(1, keepdims=True)
    losses = np.stack([-given_log_prob(p, np.maximum(given, 0)) for p in (first, probs)])
    votes = np.stack([(p + 0.1 * np.random.default_rng(0).random(p.shape)).argmax(1) for p in (first, probs)])
    made = {"probs": ("pred_probs", probs), "losses": ("losses", losses)}
    made |= {"predictions": ("predictions", votes), "features": ("features", np.log(probs))}
    return dict([made[rules.RULES[rule].needs[0]]])


@pytest.mark.parametrize("rule", rules.RULES)
def test_every_rule_finds_wrong_labels_and_leaves_out_missing_ones(rule):
    _, given, truth, prior = world(1200, matrix=symmetric(0.3))
    given[::9] = -1
    answer = codivide.score_labels(rule, given, **evidence_of(rule, linear(prior), given))
    known = given >= 0
    assert answer.shape == (1200,)
    assert np.isnan(answer[~known]).all()
    assert roc_auc_score((given == truth)[known], answer[known]) > (0.7 if "events" in rule else 0.8)
    if rules.RULES[rule].probability:
        assert answer[known].min() >= 0
        assert answer[known].max() <= 1


@pytest.mark.parametrize("rule", ["self_confidence", "combined", "gmm"])
def test_labels_may_be_texts_and_a_class_may_lack_labels(rule):
    _, given, _, prior = world(400)
    probs = linear(prior)
    words = np.asarray(["ant", "bee", "cat", "dog"], dtype=object)[given]
    answer = codivide.score_labels(rule, given, pred_probs=probs)
    assert codivide.score_labels(rule, words, pred_probs=probs) == pytest.approx(answer)
    kept = given != 1
    few = codivide.score_labels(rule, given[kept], pred_probs=probs[kept])
    scaled = probs[kept][:, [0, 2, 3]] / probs[kept][:, [0, 2, 3]].sum(1, keepdims=True)
    assert codivide.score_labels(rule, words[kept], pred_probs=scaled) == pytest.approx(few)


@pytest.mark.parametrize(
    ("rule", "evidence", "message"),
    [
        ("self_confidense", {"pred_probs": np.full((3, 2), 0.5)}, "unknown rule 'self_confidense'. Did you mean"),
        ("combined", {"losses": np.ones(3)}, "combined judges labels by pred_probs; give it"),
        ("gmm", {"features": np.ones((3, 2))}, "gmm judges labels by losses or pred_probs; give it"),
        ("gmm", {"losses": np.ones(2)}, "losses has 2 samples, but y has 3 labels"),
        ("gmm", {"losses": [1.0, np.nan, 2.0]}, "sample 1 has a label and no finite loss"),
        ("gmm", {"losses": np.ones((1, 1, 3))}, r"losses has shape \(1, 1, 3\)"),
        ("right_events", {"predictions": [["a", "b", "bird"]]}, "bird"),
        ("right_events", {"predictions": np.full((2, 2, 2), "a")}, r"predictions has shape \(2, 2, 2\)"),
        ("neighbour_agreement", {"features": np.ones(3)}, r"features has shape \(3,\)"),
        ("neighbour_agreement", {"features": np.full((3, 2), np.nan)}, "features holds NaN"),
        ("latent_noise", {"pred_probs": np.full((3, 3), 1 / 3)}, "3 columns, but there are 2 classes"),
    ],
)
def test_what_a_rule_cannot_take_is_said(rule, evidence, message):
    with pytest.raises(InputError, match=message):
        codivide.score_labels(rule, ["a", "b", "a"], **evidence)


def test_a_new_rule_is_one_function_and_one_line(monkeypatch):
    def sure(seen):
        return seen.probs.max(1)

    monkeypatch.setitem(rules.RULES, "sure", rules.Rule(sure, ("probs",), "the largest probability", probability=True))
    probs = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    assert codivide.score_labels("sure", ["x", "y", None], pred_probs=probs) == pytest.approx(
        [0.9, 0.8, np.nan], nan_ok=True
    )
    with pytest.raises(InputError, match="Did you mean 'sure'"):
        codivide.score_labels("surely", ["x", "y", None], pred_probs=probs)


def test_the_example_of_score_labels_runs():
    found = doctest.testmod(score_labels)
    assert (found.failed, found.attempted > 3) == (0, True)


def test_the_objective_is_the_penalised_likelihood_and_its_gradient():
    probs, given, _, _ = world(40, 3, symmetric(0.3, 3))
    weight = np.random.default_rng(1).integers(0, 3, 40).astype(float)
    logs = np.log(probs) - np.log(probs).mean(1, keepdims=True)
    objective = latent._Objective(logs, given, weight, mixed=True)
    parameters = 0.3 * np.random.default_rng(2).standard_normal(1 + 9 + 3 + 9)
    a, free, bias, raw = parameters[0], parameters[1:10].reshape(3, 3), parameters[10:13], parameters[13:].reshape(3, 3)
    matrix = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    total = 0.0
    for i in range(40):
        scores = np.exp(a * logs[i] + logs[i] @ free + bias)
        total += weight[i] * np.log((scores / scores.sum()) @ matrix[:, given[i]])
    for c in range(3):
        for d in range(3):
            total += (0.9 * (c == d) + 0.1 / 3) * np.log(matrix[c, d])
    total -= 0.5 * 10 * (free**2).sum() + 0.5 * 0.01 * weight.sum() * (bias**2).sum()
    value, gradient = objective(parameters)
    assert value == pytest.approx(-total / weight.sum())
    assert gradient == pytest.approx(approx_fprime(parameters, lambda p: objective(p)[0], 1e-7), abs=1e-5)


@pytest.mark.parametrize("matrix", [symmetric(0.0), symmetric(0.4), pair(0.2), pair(0.45)], ids=str)
def test_the_latent_model_finds_the_noise_and_not_the_doubt(matrix):
    _, given, truth, prior = world(3000, matrix=matrix)
    probs = linear(prior)
    answer = latent.latent_noise(probs, given)
    wrong = float((given != truth).mean())
    counted = latent.confident_joint(probs, given)
    assert 1 - answer.clean_prob.mean() == pytest.approx(wrong, abs=0.03)
    assert abs(answer.transition - matrix).sum(1).max() / 2 < 0.07
    assert answer.joint.sum() == pytest.approx(len(given))
    assert answer.prior.sum(1) == pytest.approx(1)
    assert 1 - np.trace(counted) / counted.sum() > wrong + 0.02  # the classifier's doubt counts there


def test_the_latent_probabilities_are_calibrated():
    _, given, truth, prior = world(6000, matrix=symmetric(0.4))
    clean_prob = latent.latent_noise(linear(prior), given).clean_prob
    for low in np.arange(0, 1, 0.2):
        members = (clean_prob >= low) & (clean_prob <= low + 0.2)
        assert (given == truth)[members].mean() == pytest.approx(clean_prob[members].mean(), abs=0.07)


def test_of_many_classes_only_temperature_and_offsets_calibrate():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 80, 4000)
    given = np.where(rng.random(4000) < 0.2, rng.integers(0, 80, 4000), truth)
    scores = rng.standard_normal((4000, 80))
    scores[np.arange(4000), truth] += 6
    probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    answer = latent.latent_noise(probs, given)
    assert 1 - answer.clean_prob.mean() == pytest.approx((given != truth).mean(), abs=0.02)
    objective = latent._Objective(np.log(probs[:200, :3]), given[:200] % 3, np.ones(200), mixed=False)
    parameters = 0.3 * rng.standard_normal(1 + 3 + 9)
    value, gradient = objective(parameters)
    assert value > 0
    assert gradient == pytest.approx(approx_fprime(parameters, lambda p: objective(p)[0], 1e-7), abs=1e-5)


def test_the_bootstrap_spreads_as_counts_do():
    _, given, _, prior = world(2000, matrix=symmetric(0.3))
    found = rates.rates(linear(prior), given, None)
    rng = np.random.default_rng(0)
    error = rates.deviation(found, linear(prior), given, None, learned=None, replicates=200, rng=rng)
    assert error == pytest.approx(np.sqrt(found.rate * (1 - found.rate) / 2000), rel=0.3)


def test_weights_repeat_samples():
    _, given, _, prior = world(300, matrix=symmetric(0.3))
    probs = linear(prior)
    weight = np.tile([2.0, 1.0, 0.0], 100)
    rows = np.repeat(np.arange(300), weight.astype(int))
    assert latent.latent_noise(probs, given, weight=weight).joint == pytest.approx(
        latent.latent_noise(probs[rows], given[rows]).joint, abs=1.0
    )


def test_pair_dependence_tells_instance_noise_from_class_noise():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    score = rng.random(4000)  # how much the sample looks like the other class, unrelated to its own
    probs = np.where(np.arange(2) == truth[:, None], 0.95 - 0.2 * score[:, None], 0.05 + 0.2 * score[:, None])
    prior = np.where(np.arange(2) == truth[:, None], 0.99, 0.01)
    by_class = np.where(rng.random(4000) < 0.2, 1 - truth, truth)
    by_sample = np.where(rng.random(4000) < 0.4 * score, 1 - truth, truth)
    assert rates.pair_dependence(prior, probs, by_class)[0] < 0.06
    value, size = rates.pair_dependence(prior, probs, by_sample)
    assert value == pytest.approx(1 / 3 + 0.08, abs=0.08)
    assert size == (by_sample != truth).sum()
    assert rates.pair_dependence(prior, probs, truth) == (0.0, 0)


def test_noise_that_follows_the_sample_counts_as_far_as_it_is_certainly_there():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    score = rng.random(4000)
    probs = np.where(np.arange(2) == truth[:, None], 0.95 - 0.2 * score[:, None], 0.05 + 0.2 * score[:, None])
    prior = np.where(np.arange(2) == truth[:, None], 0.99, 0.01)

    def judged(given: np.ndarray, wrong: float) -> float:
        return rates.by_sample(rates.pair_dependence(prior, probs, given), wrong)

    by_class = np.where(rng.random(4000) < 0.2, 1 - truth, truth)
    by_sample = np.where(rng.random(4000) < 0.4 * score, 1 - truth, truth)
    assert judged(by_class, 0.2) == 0
    assert judged(truth, 0.2) == 0  # nothing wrong to be seen
    assert [judged(by_sample, wrong) for wrong in (0.05, 0.075, 0.1, 0.3)] == pytest.approx([0, 0.5, 1, 1])
    few = by_sample.copy()
    few[np.flatnonzero(by_sample != truth)[9:]] = truth[np.flatnonzero(by_sample != truth)[9:]]
    assert judged(few, 0.3) == 0  # fewer than 10 of a pair say nothing


def test_rates_are_matched_and_the_order_stays():
    rng = np.random.default_rng(0)
    clean_prob, given = rng.random(500), rng.integers(0, 3, 500)
    answer = match_rates(clean_prob, given, np.asarray([0.3, 0.0, np.nan]))
    assert 1 - answer[given == 0].mean() == pytest.approx(0.3, abs=1e-6)
    assert 1 - answer[given == 1].mean() == pytest.approx(0.0, abs=1e-6)
    assert (answer[given == 2] == clean_prob[given == 2]).all()
    members = given == 0
    assert (answer[members].argsort() == clean_prob[members].argsort()).all()


def test_the_combination_is_the_mean_of_two_rules_that_agree_with_the_rates():
    _, given, _, prior = world(900, matrix=symmetric(0.3))
    probs = linear(prior)
    own = np.random.default_rng(3).random(900)
    given[::7] = -1
    own[::7] = np.nan
    answer = combined(probs, given, own)
    known = given >= 0
    wrong = rates_of(probs[known], given[known])
    for c in range(4):
        assert 1 - answer[given == c].mean() == pytest.approx(wrong[c], abs=1e-6)
    parts = [own[known], self_confidence(probs[known], given[known])]
    shifted = [match_rates(part, given[known], wrong) for part in parts]
    assert answer[known] == pytest.approx(sum(shifted) / 2)
    assert np.isnan(answer[~known]).all()


def rates_of(probs, given):
    joint = latent.confident_joint(probs, given)
    everywhere = 1 - np.trace(joint) / joint.sum()
    return np.asarray([0.5 * (1 - joint[c, c] / joint[:, c].sum() + everywhere) for c in range(4)])


def test_of_one_way_noise_the_rivals_along_it_are_suspected():
    _, given, truth, prior = world(3000, matrix=pair(0.35))
    probs = linear(prior)
    answer = combined(probs, given)
    joint = latent.confident_joint(probs, given)
    assert rates.concentration(joint) > rates.ONE_WAY
    wrong = rates_of(probs, given)
    plain = match_rates(self_confidence(probs, given), given, wrong)
    expected = np.zeros(3000)
    for n, g in enumerate(given):
        share = [(joint[c, g] + 1) / (joint[c] + 1).sum() if c != g else 0.0 for c in range(4)]
        rivals = [probs[n, c] if c != g else 0.0 for c in range(4)]
        factor = sum(r * s / (sum(share) / 3) for r, s in zip(rivals, share, strict=True)) / sum(rivals)
        p = min(max(plain[n], 1e-4), 1 - 1e-4)
        expected[n] = 1 / (1 + (1 - p) / p * factor)
    assert answer == pytest.approx(match_rates(expected, given, wrong), abs=1e-6)
    assert roc_auc_score(given == truth, answer) > roc_auc_score(given == truth, plain) + 0.01


def test_labels_of_one_class_are_never_wrong():
    given = np.asarray([1, 1, -1, 1])
    assert combined(np.full((4, 2), 0.5), given) == pytest.approx([1, 1, np.nan, 1], nan_ok=True)


def test_of_samples_that_were_learned_from_the_rate_is_nearer_to_the_upper_estimate(monkeypatch):
    _, given, _, prior = world(600, matrix=symmetric(0.3))
    probs = linear(prior)
    monkeypatch.setattr(rates, "grouped", lambda joint, *others: joint)  # see below
    unseen, half, whole = (rates.rates(probs, given, None, learned=share) for share in (0.0, 0.5, 1.0))
    upper = max(unseen.estimates.values())
    assert unseen.rate < upper
    assert half.rate == pytest.approx(0.5 * (unseen.rate + upper))
    assert whole.rate == pytest.approx(upper)
    assert rates.rates(probs, given, None).rate == pytest.approx(unseen.rate)
    for found in (unseen, half, whole):
        assert rates.wrong_share(found.joint) == pytest.approx(found.rate)


def test_doubt_of_a_classifier_that_set_wrong_labels_aside_is_not_taken_for_noise():
    _, given, truth, prior = world(2000, matrix=symmetric(0.3))
    probs = linear(prior) ** 0.5  # less sure than it could be
    probs /= probs.sum(1, keepdims=True)
    own = np.full(len(given), 0.7)
    answer = combined(probs, given, own, set_aside=True)
    doubtful = combined(probs, given, own)
    wrong = float((given != truth).mean())
    assert abs(1 - answer.mean() - wrong) < abs(1 - doubtful.mean() - wrong)
    assert 1 - answer.mean() == pytest.approx(rates.rates(probs, given, None, learned=0.0).rate, abs=0.01)


def memorising(apart, n=600, wrong=0.3, seed=0):
    """Probabilities by which every label looks right, wrong ones less so by ``apart`` standard deviations."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    given = np.where(rng.random(n) < wrong, (truth + 1) % 3, truth)
    own = 0.9 + 0.02 * rng.standard_normal(n).clip(-2, 2)
    own = np.where(given == truth, own, own - 0.02 * apart).clip(0.02, 0.98)
    probs = np.zeros((n, 3))
    probs[np.arange(n), given] = own
    probs[np.arange(n), np.where(given == truth, (given + 1) % 3, truth)] += 1 - own
    return probs, given, truth


def test_labels_that_were_memorised_later_stay_a_group():
    probs, given, truth = memorising(apart=12)
    joint = latent.confident_joint(probs, given)
    found = rates.grouped(joint, probs, given)
    assert found.sum(0) == pytest.approx(joint.sum(0))
    for c in range(3):
        really = [np.sum(truth[given == c] == d) for d in range(3)]
        assert found[:, c] / found[:, c].sum() == pytest.approx(np.asarray(really) / (given == c).sum(), abs=0.02)
    assert rates.wrong_share(joint) < 0.1  # what the confident joint alone would say
    assert rates.rates(probs, given, None, learned=0.5).rate == pytest.approx(np.mean(given != truth), abs=0.01)


@pytest.mark.parametrize("apart", [0, 2])
def test_where_labels_are_no_groups_the_joint_stays(apart):
    probs, given, _ = memorising(apart)
    joint = latent.confident_joint(probs, given)
    assert rates.grouped(joint, probs, given) == pytest.approx(joint)


def test_two_halves_of_a_uniform_distribution_are_no_groups():
    rng = np.random.default_rng(0)
    own = rng.random(3000)
    probs = np.stack([own, 1 - own], 1)
    given = np.zeros(3000, dtype=np.int64)
    joint = np.asarray([[2700.0, 0.0], [300.0, 0.0]])
    assert rates.grouped(joint, probs, given) == pytest.approx(joint)
