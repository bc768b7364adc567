"""Which column belongs to which label: every order that people bring is read right, or said to be another."""

import warnings

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from scipy import sparse
from sklearn.metrics import roc_auc_score

from codivide import InputError, audit, noise_report, score_labels
from codivide.audit.reading import read
from codivide.core.errors import TrainingWarning

WORDS = ("low", "mid", "high")


def example(classes, count=400, wrong=0.1, seed=0):
    """Sure probabilities, given labels, and which are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    scores = rng.standard_normal((count, classes))
    scores[np.arange(count), truth] += 5
    probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    spoiled = rng.random(count) < wrong
    given = np.where(spoiled, (truth + rng.integers(1, classes, count)) % classes, truth)
    return probs, given, given != truth


def is_found(found, wrong):
    """Whether wrong labels rank first and few others are flagged."""
    assert roc_auc_score(wrong, -found.labels["rank"].astype(float)) > 0.98
    assert found.facts["issues_total"] == pytest.approx(wrong.sum(), abs=10)
    assert found.facts["noise"]["rate"] == pytest.approx(wrong.mean(), abs=0.03)


@pytest.mark.parametrize("classes", [2, 3])
def test_reversed_columns_are_refused_with_what_would_fit(classes):
    probs, given, wrong = example(classes)
    with pytest.raises(InputError, match=f"column 0 fits label {classes - 1}, .*Give classes"):
        audit.from_probs(given, probs[:, ::-1])
    is_found(audit.from_probs(given, probs[:, ::-1], classes=range(classes)[::-1]), wrong)
    with pytest.warns(UserWarning, match=f"column 0 fits label {classes - 1}"):
        audit.from_probs(given, probs[:, ::-1], classes=range(classes))


def test_two_columns_of_many_that_are_exchanged_are_seen():
    probs, given, _ = example(10, 600)
    with pytest.raises(InputError, match=r"column 3 fits label 7, column 7 fits label 3\. Give"):
        noise_report(None, given, pred_probs=probs[:, [0, 1, 2, 7, 4, 5, 6, 3, 8, 9]])


def test_ordered_categories_are_the_order_of_the_columns():
    probs, given, wrong = example(3)
    labels = pd.Series(pd.Categorical([WORDS[k] for k in given], categories=WORDS, ordered=True))
    for values in (labels, labels.array):
        found = audit.from_probs(values, probs)
        assert found.facts["classes"] == list(WORDS)
        is_found(found, wrong)
    report = noise_report(None, labels, pred_probs=probs)
    assert [item.name for item in report.per_class] == list(WORDS)
    assert roc_auc_score(~wrong, score_labels("log_confidence", labels, pred_probs=probs)) > 0.98


def test_numbers_as_text_are_in_the_order_of_their_values():
    probs, given, wrong = example(12, 600)
    is_found(audit.from_probs(given.astype(str), probs), wrong)
    few = given != 5  # a class that no label names keeps its column
    is_found(audit.from_probs(given[few].astype(str), probs[few]), wrong[few])
    found = read([str(8 + k) for k in given], probs)
    assert found.classes == tuple(str(8 + k) for k in range(12))


def test_minus_one_and_one_are_asked_about_before_half_of_the_labels_are_left_out():
    y = np.where(np.arange(60) % 2, 1, -1)
    probs = np.where(np.arange(60)[:, None] % 2, [[0.2, 0.8]], [[0.8, 0.2]])
    with pytest.raises(InputError, match="exactly -1 and 1, and -1 means 'no label'"):
        read(y, probs)
    for stated in ({"unlabelled": None}, {"classes": [-1, 1], "unlabelled": None}):
        assert (read(y, probs, **stated).given == np.arange(60) % 2).all()
    three = np.arange(60) % 3 - 1
    with pytest.warns(TrainingWarning, match="holds -1, 0 and 1"), pytest.raises(InputError):
        read(three, np.eye(3)[three + 1] * 0.7 + 0.1)


def test_labels_from_one_on_with_a_column_too_many():
    probs, given, _ = example(2)
    three = np.column_stack([probs, np.full(400, 1e-4)])
    three /= three.sum(1, keepdims=True)
    with pytest.raises(InputError, match="column 0 fits label 1, column 1 fits label 2"):
        audit.from_probs(given + 1, three)


@pytest.mark.parametrize("step", [1, -1])
def test_column_names_of_a_data_frame_are_the_classes(step):
    probs, given, wrong = example(10, 1000)
    animals = np.array(["owl", "ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "kid"])
    frame = pd.DataFrame(probs, columns=animals)[animals[::step]]
    is_found(audit.from_probs(animals[given], frame), wrong)
    assert noise_report(None, animals[given], pred_probs=frame).rate == pytest.approx(wrong.mean(), abs=0.03)
    numbered = pd.DataFrame(probs, columns=range(10))[list(range(10))[::step]]
    is_found(audit.from_probs(given, numbered), wrong)
    with pytest.raises(InputError, match="label 'yak' in row 0 is not one of the 10 classes"):
        audit.from_probs(np.append("yak", animals[given][1:]), frame)


def test_a_class_that_is_never_predicted_is_one_finding():
    probs, given, _ = example(3, 400)
    probs[:, 1] = 0
    probs /= probs.sum(1, keepdims=True)
    found = audit.from_probs(given, probs)
    judged = given != 1
    table = found.labels
    assert found.facts["noise"]["trust"]["reasons"][0] == (
        f"Class '1' is never predicted: its {(~judged).sum()} labels cannot be judged and are counted out."
    )
    assert not table["is_label_issue"][~judged].any()
    assert table["rank"][~judged].min() > table["rank"][judged].max()
    assert found.facts["noise"]["per_class"][1]["labelled"] == (~judged).sum()
    assert found.facts["noise"]["per_class"][1]["rate"] is None
    assert found.facts["noise"]["rate"] < 0.25  # samples of the class with other labels look right or wrong by chance


def test_where_one_class_is_all_that_is_predicted_no_label_is_called_right():
    probs, given, _ = example(2, 400, wrong=0)
    rare = np.where(given == 1, 0.3, 0.1)
    probs = np.column_stack([1 - rare, rare])
    for report in (noise_report(None, given, pred_probs=probs), audit.from_probs(given, probs).facts["noise"]):
        trust = report["trust"] if isinstance(report, dict) else vars(report.trust)
        assert trust["level"] == "poor"
        assert trust["reasons"][0].startswith(f"Class '1' is never predicted: its {(given == 1).sum()} labels")
        assert trust["reasons"][1].startswith("all labels that can be judged name the same class")
    assert (noise_report(None, given, pred_probs=probs).clean_prob == 0.5).all()
    table = audit.from_probs(given, probs).labels
    assert (table["clean_prob"] == 0.5).all()
    assert not table["is_label_issue"].any()


def test_less_agreement_than_by_chance_is_never_silent():
    rng = np.random.default_rng(0)
    probs, given, _ = example(4, 400, wrong=0)
    with pytest.warns(UserWarning, match="fewer than by chance"):
        audit.from_probs((given + rng.integers(1, 4, 400)) % 4, probs)


def test_more_agreement_than_by_chance_is_not_called_chance():
    """Of ten classes one prediction of five agrees; spread over a hundred cells, chi squared alone would not see it."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 10, 300)
    probs = np.eye(10)[np.where(rng.random(300) < 0.15, truth, rng.integers(0, 10, 300))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(truth, probs)
    with pytest.warns(UserWarning, match="no more than by chance"):
        read(rng.permutation(truth), probs)


def test_sensible_noise_is_read_as_it_is():
    probs, given, _ = example(4, 2000, wrong=0)
    rng = np.random.default_rng(0)
    pairs = np.where(rng.random(2000) < 0.45, (given + 1) % 4, given)
    assert (read(pairs, probs).given == pairs).all()


def test_labels_of_the_wrong_shape_are_one_clear_error():
    probs, given, _ = example(3, 50)
    for judge in (audit.from_probs, lambda y, p: noise_report(None, y, pred_probs=p)):
        with pytest.raises(InputError, match=r"shape \(50, 3\); give one class for each sample"):
            judge(np.eye(3)[given], probs)
        with pytest.raises(InputError, match=r"of two classes give np\.column_stack"):
            judge(given % 2, probs[:, 0])


@pytest.mark.parametrize("change", [lambda p: np.maximum(p, 1e-9), lambda p: p.astype(np.float16), lambda p: p + 1e-12])
def test_zeros_a_floor_and_half_precision_change_no_rank(change):
    probs, given, wrong = example(5, 800)
    probs[probs < 0.002] = 0
    probs /= probs.sum(1, keepdims=True)
    assert (probs[np.arange(800), given] == 0).sum() > 20
    first = audit.from_probs(given, probs).labels["rank"].astype(int)
    other = audit.from_probs(given, change(probs)).labels["rank"].astype(int)
    assert abs(first - other).max() <= 8
    assert roc_auc_score(wrong, -first) >= roc_auc_score(wrong, -probs[np.arange(800), given])


def test_rank_is_the_equation_in_loops_and_ties_go_by_evidence():
    probs, given, _ = example(4, 200)
    probs[:40, 0] = 0
    probs /= probs.sum(1, keepdims=True)
    own = probs[np.arange(200), given]
    threshold = [(own[given == k].sum() + own.mean()) / ((given == k).sum() + 1) for k in range(4)]
    score = []
    for p, g in zip(probs, given, strict=True):
        ratio = [np.log(max(p[k], 1e-6)) - np.log(threshold[k]) for k in range(4)]
        score.append(ratio[g] - 0.5 * max(ratio[k] for k in range(4) if k != g))
    assert score_labels("log_confidence", given, pred_probs=probs) == pytest.approx(score, abs=1e-5)
    found = audit.from_probs(given, probs).labels["rank"].astype(int).to_numpy()
    turned = audit.from_probs(given[::-1], probs[::-1]).labels["rank"].astype(int).to_numpy()[::-1]
    assert (found == turned).all()
    assert (found == np.argsort(np.argsort(score)) + 1).all()


def test_probabilities_that_repeat_the_labels_are_not_trusted():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    probs = 0.97 * np.eye(3)[y] + 0.01  # of a classifier that has learned from these very samples
    for given, level in ((y, "poor"), (np.where(np.arange(200) < 2, (y + 1) % 3, y), "good")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trust = noise_report(None, np.tile(given, 6), pred_probs=np.tile(probs, (6, 1))).trust
        assert trust.level == level
        assert ("learned from these very samples" in trust.reasons[0]) == (level == "poor")
    with pytest.warns(UserWarning, match="learned from these very samples"):
        assert audit.from_probs(y, probs).facts["noise"]["trust"]["level"] == "poor"


@pytest.mark.parametrize("form", ["prob_{}", "{}_prob", "P({})"])
def test_a_label_within_the_name_of_a_column_is_the_class(form):
    probs, given, _ = example(3, 9)  # too few for another order to be seen in the numbers
    names = [form.format(name).upper() for name in WORDS]
    here = score_labels("self_confidence", given, pred_probs=probs)
    words = np.array(WORDS)[given]
    frame = pd.DataFrame(probs, columns=names)
    assert score_labels("self_confidence", words, pred_probs=frame).tolist() == here.tolist()
    turned = frame[names[::-1]]
    assert score_labels("self_confidence", words, pred_probs=turned) == pytest.approx(here)
    assert score_labels("self_confidence", words, pred_probs=pyarrow.Table.from_pandas(turned)) == pytest.approx(here)


@pytest.mark.parametrize("names", [[2, 1, 0], ["2", "1", "0"], ["2.0", "1.0", "0.0"]])
def test_numbers_name_columns_however_they_are_written(names):
    probs, given, _ = example(3, 9)
    frame = pd.DataFrame(probs[:, ::-1], columns=names)
    here = score_labels("self_confidence", given, pred_probs=probs)
    for labels in (given, given.astype(float)):
        assert score_labels("self_confidence", labels, pred_probs=frame) == pytest.approx(here)


def test_names_of_columns_that_are_no_labels_are_said():
    probs, given, _ = example(3, 9)
    with pytest.warns(UserWarning, match="called 'a', 'b', 'c', and no label is called so"):
        score_labels("self_confidence", np.array(WORDS)[given], pred_probs=pd.DataFrame(probs, columns=list("abc")))


def test_rows_whose_index_has_another_order():
    probs, given, _ = example(3, 60)
    order = np.random.default_rng(0).permutation(60)
    labels, frame = pd.Series(given), pd.DataFrame(probs)
    for ask in (
        lambda: audit.from_probs(labels.iloc[order], frame),
        lambda: noise_report(None, labels.iloc[order], pred_probs=frame),
        lambda: score_labels("combined", labels.iloc[order], pred_probs=frame),
    ):
        with pytest.raises(InputError, match=r"index of pred_probs has the rows of (y|labels) in another order"):
            ask()
    shuffled = score_labels("combined", labels.iloc[order], pred_probs=pd.DataFrame(probs[order]))  # as rows stand
    assert shuffled == pytest.approx(score_labels("combined", given[order], pred_probs=probs[order]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: 100 * p, "these are percentages: divide by 100"),
        (lambda p: p.round(2), "as rounded ones do: divide each row by its sum"),
        (lambda p: p.T, r"rows are samples and columns are classes, so transpose it"),
        (
            lambda p: np.where(np.arange(len(p))[:, None] == 3, np.nan, p),
            "column 0 of row 3 holds NaN or infinity: leave",
        ),
        (lambda p: np.log(p), "apply a softmax to logits first"),
    ],
)
def test_what_is_no_distribution_is_said_with_what_it_may_be(change, said):
    probs, given, _ = example(7, 50)
    with pytest.raises(InputError, match=said):
        noise_report(None, given, pred_probs=change(probs))


def test_tensors_with_gradients_and_sparse_probabilities_are_read():
    probs, given, _ = example(3, 30)
    here = score_labels("self_confidence", given, pred_probs=probs)
    for same in (torch.tensor(probs, requires_grad=True), sparse.csr_array(probs)):
        assert score_labels("self_confidence", given, pred_probs=same) == pytest.approx(here)


def test_arguments_in_another_order_losses_below_zero_and_unknown_tasks_are_one_clear_error():
    probs, given, _ = example(3, 30)
    for task in ("classes", "regression"):
        with pytest.raises(InputError, match="first thing that score_labels takes is the name of a rule"):
            score_labels(given, "combined", pred_probs=probs, task=task)
    with pytest.raises(
        InputError, match=r"its name: the third is one of .* score_labels\('combined', y, pred_probs=p\)"
    ):
        score_labels("combined", given, probs)
    with pytest.raises(InputError, match=r"the second are the labels, and the third is one of"):
        score_labels("combined", probs, given)
    with pytest.raises(InputError, match=r"never negative. Change the sign"):
        score_labels("gmm", given, losses=np.log(probs[np.arange(30), given]))
    for ask in (
        lambda **task: score_labels("combined", given, pred_probs=probs, **task),
        lambda **task: noise_report(None, given, pred_probs=probs, **task),
    ):
        with pytest.raises(InputError, match=r"unknown task 'multi-label'. Did you mean 'multilabel'"):
            ask(task="multi-label")


def test_classes_may_name_the_numbers_that_labels_are():
    probs, given, _ = example(3, 60)
    here = audit.from_probs(np.array(WORDS)[given], probs, classes=WORDS).labels
    there = audit.from_probs(given, probs, classes=WORDS).labels
    assert there["given"].tolist() == here["given"].tolist()
    assert there["rank"].tolist() == here["rank"].tolist()
    turned = score_labels("self_confidence", given, pred_probs=probs[:, ::-1], classes=(2, 1, 0))  # no names
    assert turned == pytest.approx(score_labels("self_confidence", given, pred_probs=probs))


def test_what_is_no_array_no_text_or_no_class_is_one_clear_error(tmp_path):
    probs, given, _ = example(3, 60)
    np.savez(tmp_path / "p.npz", probs=probs)
    for wrong in (tmp_path / "p.npz", str(tmp_path / "p.npz"), np.load(tmp_path / "p.npz"), {"a": probs[:, 0]}):
        with pytest.raises(InputError, match=r"give the array or table in it"):
            noise_report(None, given, pred_probs=wrong)
    with pytest.raises(InputError, match=r"4 classes .-100, 0, 1, 2.; give classes in their order, and None where"):
        audit.from_probs(np.where(np.arange(60) == 3, -100, given), probs)
    texts = [None, float("nan"), *map(str, range(58))]
    assert audit.from_probs(given, probs, texts=texts).labels.shape[0] == 60
    with pytest.raises(InputError, match="texts: row 2 is 7, which is no text"):
        audit.from_probs(given, probs, texts=[*texts[:2], 7, *texts[3:]])
    with pytest.raises(InputError, match=r"got 1D array instead. Reshape your data") as error:
        audit.from_probs(given, probs, features=probs[:, 0])
    assert len(str(error.value)) < 300


def test_several_models_count_as_their_mean_whatever_the_order_of_their_columns():
    first, given, wrong = example(3)
    other = example(3, seed=0)[0] ** 0.5
    other /= other.sum(1, keepdims=True)
    mean = (first + other) / 2
    for brought in (
        [first, other],
        (first.tolist(), other),
        np.stack([first, other]),
        torch.tensor(np.stack([first, other])),
    ):
        assert np.allclose(read(given, brought).probs, mean)
    labels = np.array(WORDS, dtype=object)[given]
    frames = [pd.DataFrame(first, columns=list(WORDS)), pd.DataFrame(other, columns=list(WORDS)).iloc[:, ::-1]]
    is_found(audit.from_probs(labels, frames), wrong)
    scores = score_labels("log_confidence", labels, pred_probs=frames)
    assert np.array_equal(scores, score_labels("log_confidence", given, pred_probs=mean))
    assert noise_report(None, labels, pred_probs=frames).rate == noise_report(None, given, pred_probs=mean).rate


def test_of_several_models_the_one_that_does_not_fit_is_named():
    probs, given, _ = example(3)
    with pytest.raises(InputError, match=r"pred_probs\[1\] has 399 rows, but labels has 400"):
        read(given, [probs, probs[1:]])
    with pytest.raises(InputError, match=r"pred_probs\[1\]: row 2 is"):
        read(given, [probs, np.where(np.arange(400)[:, None] == 2, 2.0, probs)])
    labels = np.array(WORDS, dtype=object)[given]
    four = pd.DataFrame(np.c_[probs, np.zeros(400)], columns=[*WORDS, "none"])
    with pytest.raises(
        InputError, match=r"pred_probs\[0\] and pred_probs\[1\] have other classes: none are not in both"
    ):
        read(labels, [pd.DataFrame(probs, columns=list(WORDS)), four])
