"""Hiding labels: how many stay, which ones, and in which order it is done."""

import json
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from codivide import InputError
from codivide.data.arrays import from_arrays
from codivide.data.experiment import hold_out, keep_labels, part, spoil
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, build_method, default_plan


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def of_classes(*counts):
    """A table of as many samples of class 0, 1, ... as said, and the classes named by letters."""
    y = np.repeat(np.arange(len(counts)), counts)
    names = [chr(ord("a") + k) for k in range(len(counts))]
    return from_arrays(np.random.default_rng(0).random((len(y), 3)), [names[k] for k in y], classes=names)


def kept(loaded):
    return set(np.flatnonzero(loaded.y >= 0).tolist())


@pytest.mark.filterwarnings("error")
def test_as_many_of_every_class_stay_as_they_are(digits):
    few = keep_labels(digits, 25, 0)
    assert np.bincount(few.y[few.y >= 0]).tolist() == [25] * 10
    stay = few.y >= 0
    assert np.array_equal(few.y[stay], digits.y[stay])
    assert np.array_equal(few.truth, digits.y)
    assert few.x is digits.x
    assert few.test is digits.test
    assert keep_labels(digits, None, 0) is digits


def test_the_seed_draws_and_smaller_numbers_are_within_larger_ones(digits):
    sets = [kept(keep_labels(digits, count, 3)) for count in (1, 10, 25, 100)]
    assert all(small < large for small, large in pairwise(sets))
    assert kept(keep_labels(digits, 10, 3)) == sets[1]
    assert kept(keep_labels(digits, 10, 4)) != sets[1]


def test_the_draw_is_not_that_of_the_part(digits):
    """Else the samples that a part holds first would be the labelled ones."""
    order = np.random.default_rng(0).permutation(len(digits.y))
    first = {int(order[digits.y[order] == label][0]) for label in range(10)}
    assert kept(keep_labels(digits, 1, 0)) != first


def test_every_sample_of_a_class_is_equally_likely():
    loaded = of_classes(8, 8)
    hits = np.zeros(16)
    for seed in range(400):
        hits[list(kept(keep_labels(loaded, 2, seed)))] += 1
    assert hits.sum() == 400 * 4
    assert abs(hits - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_noise_first_so_that_some_of_the_labels_that_stay_are_wrong(digits):
    few = keep_labels(spoil(part(digits, 1000, 0), "symmetric-exclusive:0.4", 0), 50, 0)
    assert np.bincount(few.y[few.y >= 0]).tolist() == [50] * 10  # of the given labels, right or wrong
    stay = few.y >= 0
    assert np.mean(few.y[stay] != few.truth[stay]) == pytest.approx(0.4, abs=0.08)
    clean = dict(zip(digits.ids, digits.y, strict=True))
    assert [clean[i] for i in few.ids] == few.truth.tolist()


def test_samples_without_a_label_stay_so_and_known_truth_is_kept():
    loaded = of_classes(5, 5)
    y, truth = loaded.y.copy(), loaded.y.copy()
    y[[0, 9]], truth[3] = -1, 1
    few = keep_labels(replace(loaded, y=y, truth=truth), 2, 0)
    assert (few.y[[0, 9]] == -1).all()
    assert np.array_equal(few.truth, truth)
    assert keep_labels(replace(loaded, y=y), 2, 0).truth.tolist() == y.tolist()  # what is not known stays unknown


@pytest.mark.parametrize(
    ("counts", "per_class", "left", "message"),
    [
        pytest.param((9, 3, 9), 5, [5, 3, 5], r"fewer labels keep all of them \(b: 3\)", id="a class with few"),
        pytest.param((9, 0, 9), 5, [5, 0, 5], r"keep all of them \(b: 0\)", id="a class without labels"),
        pytest.param((1, 1, 0, 0), 5, [1, 1, 0, 0], "a: 1, b: 1, c: 0, d: 0", id="fewer labels than classes"),
        pytest.param((5, 5), 5, [5, 5], "no sample is without a label", id="nothing to hide"),
        pytest.param((5, 5), 9, [5, 5], "no sample is without a label; classes with", id="more than there are"),
    ],
)
def test_what_cannot_be_had_is_one_warning(counts, per_class, left, message):
    with pytest.warns(UserWarning, match=message) as found:
        few = keep_labels(of_classes(*counts), per_class, 0)
    assert len(found) == 1
    assert np.bincount(few.y[few.y >= 0], minlength=len(counts)).tolist() == left


def test_what_makes_no_sense_is_one_error():
    loaded = of_classes(5, 5)
    for count in (0, -3):
        with pytest.raises(InputError, match=f"{count} labels a class.*at least 1"):
            keep_labels(loaded, count, 0)
    with pytest.raises(InputError, match="no label that could be kept"):
        keep_labels(replace(loaded, y=np.full(10, -1)), 2, 0)


@pytest.mark.parametrize("counts", [(9, 3, 9), (9, 0, 9), (2, 1, 0, 0, 0), (5, 5)])
@pytest.mark.parametrize("method", ["cross_entropy", "dividemix"])
@pytest.mark.filterwarnings("ignore")
def test_training_goes_on_with_what_there_is(counts, method):
    few = keep_labels(of_classes(*counts), 5, 0)
    outcome = execute(Job(build_method(method), default_plan(len(few.y), epochs=2)), few)
    assert len(outcome.table) == sum(counts)


def test_labels_are_held_out_of_the_labelled_samples_alone(digits):
    few = keep_labels(digits, 10, 0)
    split = hold_out(few, 0.2, 0)
    assert len(split.test.y) == 20
    assert (split.test.y >= 0).all()
    assert (split.y >= 0).sum() == 80
    assert len(split.y) == len(digits.y) - 20
    assert not set(split.ids) & set(split.test.ids)
    with pytest.raises(InputError, match="2 labelled samples are too few"):
        hold_out(replace(few, y=np.where(np.arange(len(few.y)) < 2, 0, -1)), 0.2, 0)


def test_the_record_of_few_labels(digits, tmp_path):
    few = keep_labels(part(digits, 500, 0), 5, 0)
    job = Job(build_method("cross_entropy"), default_plan(500, epochs=23), net="mlp", evaluate_every=1)
    outcome = execute(job, few, tmp_path / "run")
    assert outcome.summary["unlabelled"] == 450
    assert outcome.summary["noise"]["labels"] == 50
    known = [row["test_accuracy"] for row in outcome.run.history]
    assert len(known) == 23
    accuracy = json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"]
    assert accuracy["last_20_median"] == np.median(known[3:])
    assert accuracy["last"] == known[-1]
    table = pd.read_csv(tmp_path / "run" / "labels.csv")
    missing = table["given"].isna()
    assert missing.sum() == 450
    assert table["suggested"].notna().all()
    assert (table["clean_prob"].isna() == missing).all()
    assert (table["rank"].isna() == missing).all()
    assert table["true_label"].notna().all()


def test_a_median_of_fewer_evaluations_is_that_of_all(digits):
    few = keep_labels(part(digits, 300, 0), 3, 0)
    job = Job(build_method("cross_entropy"), default_plan(300, epochs=4), net="mlp", evaluate_every=2)
    outcome = execute(job, few)
    known = [row["test_accuracy"] for row in outcome.run.history if "test_accuracy" in row]
    assert outcome.summary["test_accuracy"]["last_20_median"] == np.median(known)


def test_truth_of_unlabelled_samples_alone_is_no_noise(tmp_path, monkeypatch, capsys):
    from codivide.cli.output import say_data

    for name in ("a/1.png", "b/2.png", "unlabelled/3.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with warnings.catch_warnings(action="error"):
        say_data(load(tmp_path, truth={"unlabelled/3.png": "b"}))
    printed = capsys.readouterr().out
    assert "1 without a label" in printed
    assert "all of samples without a given label" in printed
