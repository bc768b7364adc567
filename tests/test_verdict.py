"""Whether a run has learned enough to be used: the measure, the rule, and where it is said."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from codivide import Features, NoisyLabelClassifier, TrainingWarning
from codivide.cli.output import say_verdict
from codivide.data.loaded import subset
from codivide.data.sources import load
from codivide.fit.choice import Choice, Decision
from codivide.fit.execute import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.fit.verdict import (
    MEMORISED,
    TOO_LITTLE,
    UNPROVEN,
    USABLE,
    balanced_agreement,
    first_met,
    hardly_agrees,
    proven,
    verdict,
)
from tests.test_choose import SEEN

TEN = np.arange(1000) % 10


def agreeing(share, given=TEN, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(given)) < share, given, rng.integers(10, size=len(given)))


def test_agreement_is_the_mean_over_classes():
    given = np.array([0, 0, 0, 0, 1, 1, -1])
    value, chance, error = balanced_agreement(np.array([0, 0, 0, 1, 1, 0, 1]), given)
    assert (value, chance) == ((0.75 + 0.5) / 2, 0.5)
    assert error == pytest.approx(((0.75 * 0.25 / 4 + 0.25 / 2) ** 0.5) / 2)


@pytest.mark.parametrize(
    ("suggested", "said"),
    [
        (agreeing(0.0), TOO_LITTLE),  # by chance
        (np.zeros(1000, dtype=np.int64), TOO_LITTLE),  # one class for all
        (agreeing(0.02), TOO_LITTLE),  # 12 % of 10 classes: run after a budget of 5 s
        (agreeing(0.2), USABLE),  # four fifths of the labels are wrong, and all is known
        (agreeing(0.9), USABLE),
        (TEN, MEMORISED),  # all as given, and nothing else to see
    ],
)
def test_a_network_has_to_do_better_than_the_frequencies(suggested, said):
    assert verdict(suggested, TEN) == said


def test_the_largest_class_for_all_is_of_no_use_however_large():
    given = (np.arange(1000) % 20 == 0).astype(np.int64)
    assert verdict(np.zeros(1000, dtype=np.int64), given) == TOO_LITTLE  # 95 % agree
    assert verdict(np.where(np.arange(1000) % 40 == 0, 1, 0), given) == USABLE  # half of the small class is found


def test_what_is_memorised_does_not_count_where_held_out_labels_are_predicted_by_chance():
    doubt = "Nothing can be learned: held-out labels are predicted no better than by their frequencies"
    chance = replace(SEEN, doubt=doubt, agreement=0.12, error=0.02, labelled=1000)
    for seen, said in ((chance, TOO_LITTLE), (replace(chance, agreement=0.2), USABLE), (SEEN, USABLE)):
        assert verdict(TEN, TEN, Choice(Decision("cross_entropy"), seen)) == said


def test_a_test_part_shows_what_was_memorised():
    for share, said in ((0.0, TOO_LITTLE), (0.05, TOO_LITTLE), (0.5, USABLE)):
        assert verdict(TEN, TEN, tested=(agreeing(share, seed=1), TEN)) == said
    few = np.arange(20) % 10
    assert verdict(TEN, TEN, tested=(np.where(np.arange(20) < 3, few, few - 1), few)) == USABLE  # 15 %, of few
    nothing = np.full(20, -1)
    assert verdict(TEN, TEN, tested=(few, nothing)) == MEMORISED


@pytest.mark.parametrize(("apart", "said"), [(0, TOO_LITTLE), (6, USABLE)])
@pytest.mark.parametrize("method", ["cross_entropy", "features"])
def test_a_run_whose_test_labels_are_predicted_by_chance_is_of_no_use(method, apart, said, capsys):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=900)
    x = (rng.standard_normal((900, 12)) + apart * np.eye(12)[y]).astype(np.float32)
    whole = load(x, y)
    whole = replace(subset(whole, np.arange(100)), test=subset(whole, np.arange(100, 900)))
    made = build_method(method, **({"heads": "linear"} if method == "features" else {}))
    given = {} if method == "features" else {"epochs": 30, "lr": 0.1, "batch_size": 25, "device": "cpu"}
    summary = execute(Job(made, default_plan(100, made, **given), "mlp"), whole).summary
    assert summary["verdict"] == said
    say_verdict(summary)
    assert (said in capsys.readouterr().out) == (said != USABLE)


@pytest.mark.parametrize("said", [MEMORISED, UNPROVEN])
def test_labels_that_may_be_memorised_are_said(said, capsys):
    say_verdict({"verdict": said})
    assert f"{said}: wrong labels may have been memorised; hold some out to see" in " ".join(
        capsys.readouterr().out.split()
    )


def test_labels_that_nothing_predicts_prove_nothing():
    fitted = agreeing(0.6)

    def never() -> bool:
        return False

    for known, said in ((None, USABLE), (never, UNPROVEN), (lambda: True, USABLE)):
        assert verdict(fitted, TEN, proven=known) == said
    assert verdict(TEN, TEN, proven=never) == MEMORISED
    assert verdict(fitted, TEN, Choice(Decision("cross_entropy"), SEEN), proven=never) == USABLE  # it held some out
    assert verdict(fitted, TEN, tested=(fitted, TEN), proven=never) == USABLE


@pytest.mark.parametrize("images", [False, True])
def test_labels_are_proven_by_the_first_epoch_or_by_like_samples(images):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=150)
    x = rng.standard_normal((150, 6)) + 3 * np.eye(6)[y] * [1, 1, 1, 0, 0, 0]
    x[:, 5] *= 1e4  # another unit hides nothing
    if images:
        x = rng.integers(60, size=(150, 20, 20)) + 60 * y[:, None, None]
        x = x.astype(np.uint8)
    told, dealt = load(x, y), load(x, rng.permutation(y))
    assert proven({}, told)
    assert not proven({}, dealt)
    assert not proven({"met_gain": 0.02, "met_error": 0.01}, dealt)
    assert proven({"met_gain": 0.021, "met_error": 0.01}, dealt)


@pytest.mark.parametrize("images", [False, True])
def test_copies_prove_nothing(images):
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(100, 20, 20), dtype=np.uint8) if images else rng.standard_normal((100, 6))
    dealt = load(np.concatenate([x, x]), np.tile(rng.integers(3, size=100), 2))
    assert not proven({}, dealt)
    assert not proven({"met_gain": 0.021, "met_error": 0.01}, dealt)  # each copy is met after the other


def test_of_like_samples_one_group_is_one():
    rng = np.random.default_rng(0)
    patient = np.arange(200) // 20
    x = (rng.standard_normal((200, 6)) * 0.1 + 5 * np.eye(10, 6)[patient]).astype(np.float32)
    dealt = load(x, rng.integers(3, size=10)[patient])
    assert proven({}, dealt)
    assert not proven({}, replace(dealt, groups=patient))


def test_a_label_counts_as_it_was_first_met():
    given = np.array([0, 0, 1, 1, 1, -1])
    losses, count = np.array([0.2, 0.4, 0.1, 9.0, 0.0, 5.0]), np.array([1.0, 1.0, 1.0, 3.0, 0.0, 1.0])
    gains = np.array([-0.2, -0.4, -0.1]) - np.log([2 / 3, 2 / 3, 1 / 3])  # the others: met thrice, never, no label
    found = first_met(given, losses, count, 1)
    assert found["met_gain"] == pytest.approx(gains.mean())
    assert found["met_error"] == pytest.approx(gains.std(ddof=1) / 3**0.5)
    assert first_met(given[3:], losses[3:], count[3:], 1) == {}


@pytest.mark.parametrize(("apart", "said"), [(0, UNPROVEN), (3, USABLE)])
def test_random_labels_that_a_network_has_learned_in_part_are_not_called_usable(apart, said):
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=400)
    x = (rng.standard_normal((400, 8)) + apart * np.eye(8)[y]).astype(np.float32)
    y = np.where(rng.random(400) < 0.2, rng.integers(4, size=400), y)
    made = build_method("cross_entropy")
    plan = default_plan(400, made, epochs=15, lr=0.03, batch_size=20, device="cpu")
    outcome = execute(Job(made, plan, "mlp"), load(x, y))
    assert outcome.summary["verdict"] == said
    assert 0.5 < outcome.history[-1]["given_agreement"] < 0.97


def test_features_that_say_nothing_are_said_to_be_of_no_use():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 5)).astype(np.float32), rng.integers(2, size=200)
    method = Features(heads="linear", correct=False)
    with pytest.warns(TrainingWarning, match="too little was learned; do not use"):
        NoisyLabelClassifier(method).fit(x, y)
    x[:, 0] += 4 * y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NoisyLabelClassifier(method).fit(x, y)


def test_python_is_warned_of_what_may_be_memorised():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 30)).astype(np.float32), rng.integers(2, size=60)
    with pytest.warns(TrainingWarning, match="wrong labels may have been memorised; method='auto' holds some out"):
        NoisyLabelClassifier("cross_entropy", epochs=40, lr=0.1).fit(x, y)


def test_where_auto_has_too_few_labels_to_hold_out_another_method_is_named(capsys):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 6, 6)).astype(np.uint8), np.arange(60) % 10
    with pytest.warns(TrainingWarning, match="wrong labels may have been memorised; method='features' holds some out"):
        clf = NoisyLabelClassifier("auto", net="mlp", epochs=40, lr=0.1).fit(x, y)
    say_verdict({"verdict": MEMORISED, "choice": clf.choice_})
    assert "(--method features does, or give a test part)" in " ".join(capsys.readouterr().out.split())
    say_verdict({"verdict": MEMORISED, "choice": clf.choice_ | {"evidence": {}}})
    assert "(--method auto does" in " ".join(capsys.readouterr().out.split())


def test_suggestions_that_agree_by_chance_are_of_no_use():
    rng = np.random.default_rng(0)
    kind = np.arange(600) % 10
    x = rng.normal(0, 0.3, (600, 12)) + 3 * np.eye(10, 12)[kind]
    y = kind + 10 * rng.integers(0, 6, 600)  # 60 classes, of which six each look alike
    with pytest.warns(TrainingWarning, match="agree with .* % of the labels, (as often|hardly any)"):
        found = NoisyLabelClassifier("features").fit(x, y)
    assert len(found.label_issues_) > 500
    assert len(NoisyLabelClassifier("features").fit(x, kind).label_issues_) < 40


def test_a_rare_class_that_is_never_suggested_is_no_agreement_by_chance():
    given = np.array([0] * 95 + [1] * 5)
    assert hardly_agrees(np.zeros(100, dtype=np.int64), given) is None
    five = np.arange(100) % 5
    assert (
        "agree with 20.0 % of the labels, as often as chance would or hardly more (20.0 % by chance)"
        in hardly_agrees(np.zeros(100), five)
    )
    many, few = np.arange(1000) % 50, np.where(np.arange(1000) % 13, -2, np.arange(1000) % 50)
    assert "agree with 7.7 % of the labels, hardly any (2.0 % by chance)" in hardly_agrees(few, many)
    assert hardly_agrees(np.where(np.arange(1000) % 9, -2, many), many) is None
    assert hardly_agrees(np.full(3, 1), np.full(3, -1)) is None
