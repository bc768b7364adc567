"""``audit.from_probs`` with several labels a row."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

from codivide import InputError, audit, noise_report, score_labels

NAMES = ("sky", "sea", "cat")


def tagged(count=400, seed=0):
    """Right tags, given ones of which some are wrong, and held-out probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 3)) * 6
    right = (scores > 0).astype(int)
    given = right.copy()
    given[:12, 1] = 1 - given[:12, 1]
    return right, given, 1 / (1 + np.exp(-scores - 0.3 * rng.normal(size=scores.shape)))


def test_a_matrix_and_lists_say_the_same():
    right, given, probs = tagged()
    frame = pd.DataFrame(given, columns=NAMES)
    found = audit.from_probs(frame, pd.DataFrame(probs, columns=NAMES), task="multilabel")
    lists = [[name for name, there in zip(NAMES, row, strict=True) if there] for row in given]
    again = audit.from_probs(lists, pd.DataFrame(probs, columns=NAMES), task="multilabel")
    np.testing.assert_allclose(found.clean_prob, again.clean_prob)
    assert found.labels["label_changes"].tolist() == again.labels["label_changes"].tolist()
    scores = score_labels("combined", frame, pred_probs=probs, task="multilabel")
    np.testing.assert_allclose(found.clean_prob, scores.prod(1))
    flag = found.labels["is_label_issue"].to_numpy(dtype=bool)
    sure = np.flatnonzero(np.abs(probs[:12, 1] - 0.5) > 0.4)
    assert len(sure) > 4
    assert flag[sure].mean() > 0.8
    assert flag[12:].mean() < 0.05
    first = int(sure[flag[sure]][0])
    assert found.labels["label_changes"][first] == ("+sea" if right[first, 1] else "-sea")


def test_rows_without_labels_are_predicted_and_not_judged(tmp_path):
    _, given, probs = tagged()
    lists = [[name for name, there in zip(NAMES, row, strict=True) if there] for row in given]
    lists[20] = None
    ids = [f"photo {k}" for k in range(len(lists))]
    texts = [f"text number {k}" for k in range(len(lists))]
    found = audit.from_probs(
        lists, pd.DataFrame(probs, columns=NAMES), task="multilabel", ids=ids, texts=texts, features=probs
    )
    assert np.isnan(found.clean_prob[20])
    wanted = sorted(name for name, p in zip(NAMES, probs[20], strict=True) if p >= 0.5)
    assert sorted(found.labels["suggested"][20].split(";")) == (wanted or ["(none)"])
    assert found.labels["id"][20] == "photo 20"
    assert found.labels["outlier_score"].notna().all()
    page = found.report(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert '"kind":"multilabel"' in page.replace('": "', '":"')
    assert "text number" in page
    assert found.facts["targets"]["names"] == list(NAMES) or set(found.facts["targets"]["names"]) == set(NAMES)


def test_what_does_not_apply_is_an_error():
    _, given, probs = tagged(100)
    for name, value in {"classes": NAMES, "groups": np.arange(100)}.items():
        with pytest.raises(InputError, match=f"{name} does not apply to task 'multilabel'"):
            audit.from_probs(given, probs, task="multilabel", **{name: value})
    with pytest.raises(InputError, match="task"):
        audit.from_probs(given, probs, task="tags")
    with pytest.raises(InputError, match="ids has 99"):
        audit.from_probs(given, probs, task="multilabel", ids=range(99))


EMPTY = (np.zeros((0, 3), dtype=int), np.zeros((0, 3)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "judge",
    [
        lambda: audit.from_probs(*EMPTY, task="multilabel"),
        lambda: audit.from_probs([], EMPTY[1], task="multilabel"),
        lambda: score_labels("combined", EMPTY[0], pred_probs=EMPTY[1], task="multilabel"),
        lambda: noise_report(None, EMPTY[0], pred_probs=EMPTY[1], task="multilabel"),
        lambda: score_labels("combined", [], predictions=[], task="regression"),
        lambda: audit.from_probs([], EMPTY[1]),
    ],
)
def test_no_sample_at_all_is_one_error(judge):
    with pytest.raises(InputError, match="is empty: there is no sample to judge"):
        judge()


def test_a_list_of_pairs_as_forests_give_it_is_the_matrix():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = (x > 0).astype(int)
    y[:5] = 1 - y[:5]
    pairs = cross_val_predict(RandomForestClassifier(20, random_state=0), x, y, method="predict_proba", cv=3)
    assert [pair.shape for pair in pairs] == [(120, 2)] * 3
    matrix = np.column_stack([pair[:, 1] for pair in pairs])
    for given in (
        pairs,
        tuple(pairs),
        [pd.DataFrame(pair) for pair in pairs],
        np.stack(pairs),
        np.stack(pairs, axis=1),
        list(np.stack(pairs, axis=1)),
    ):
        found = score_labels("combined", y, pred_probs=given, task="multilabel")
        np.testing.assert_array_equal(found, score_labels("combined", y, pred_probs=matrix, task="multilabel"))
    assert audit.from_probs(y, pairs, task="multilabel") == audit.from_probs(y, matrix, task="multilabel")


@pytest.mark.parametrize(
    "pairs",
    [
        [np.full((5, 2), 0.5), np.ones((5, 1))],  # of a label that all have, or none
        [np.full((5, 2), 0.9)] * 2,
    ],
)
def test_a_list_that_may_mean_something_else_is_told_the_way(pairs):
    y = np.eye(len(pairs), dtype=int)[np.arange(len(pairs[0])) % len(pairs)]
    with pytest.raises(InputError, match=r"np.column_stack\(\[p\[:, 1\] for p in pred_probs\]\)"):
        score_labels("combined", y, pred_probs=pairs, task="multilabel")


def test_a_list_of_as_many_pairs_as_samples_may_mean_either():
    with pytest.raises(InputError, match="as many samples as labels, so an array may be one of a label or one of a sa"):
        score_labels("combined", np.eye(3, dtype=int), pred_probs=[np.full((3, 2), 0.5)] * 3, task="multilabel")
