"""The audit of foreign probabilities: the equation as loops, what goes wrong, and that it finds wrong labels."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import codivide
from codivide import InputError
from codivide.audit import from_probs
from codivide.noise.clean_prob import combined


def example(count=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.5), count)
    return probs, np.array([rng.choice(classes, p=p) for p in probs])


def test_clean_probability_is_the_equation_in_loops():
    probs, given = example()
    given[:5] = -1
    found = combined(probs, given)
    threshold = [np.mean([p[k] for p, g in zip(probs, given, strict=True) if g == k]) for k in range(4)]
    counts = np.zeros((4, 4))
    for p, g in zip(probs, given, strict=True):
        reached = [k for k in range(4) if p[k] >= threshold[k]]
        if g >= 0 and reached:
            counts[max(reached, key=lambda k: p[k]), g] += 1
    assert np.isnan(found[:5]).all()
    for k in range(4):
        rows = np.flatnonzero(given == k)
        shares = np.diag(counts) / counts.sum(0)
        right = 0.5 * (shares[k] + np.average(shares, weights=np.bincount(given[given >= 0])))
        assert found[rows].mean() == pytest.approx(right, abs=1e-6)
        ratio = [[probs[i, c] / threshold[c] for c in range(4)] for i in rows]
        q = np.array([r[k] / (r[k] + max(r[c] for c in range(4) if c != k)) for r in ratio])
        shift = np.log(found[rows] / (1 - found[rows])) - np.log(q / (1 - q))
        inside = (q > 1e-6) & (q < 1 - 1e-6)
        np.testing.assert_allclose(shift[inside], np.median(shift[inside]), atol=1e-4)


@pytest.fixture(scope="module")
def digits():
    x, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(truth)) < 0.25
    given = np.where(wrong, (truth + rng.integers(1, 10, len(truth))) % 10, truth)
    model = LogisticRegression(max_iter=200)
    probs = cross_val_predict(model, x / 16, given, cv=3, method="predict_proba")
    return x, truth, given, probs


@pytest.mark.long
def test_wrong_labels_are_found_and_counted(digits):
    x, truth, given, probs = digits
    found = from_probs(given, probs, images=x.reshape(-1, 8, 8).astype(np.float32) / 16, features=x)
    wrong = given != truth
    assert roc_auc_score(wrong, 1 - found.clean_prob) > 0.95
    assert roc_auc_score(wrong, 1 - found.clean_prob) >= roc_auc_score(wrong, -probs[np.arange(len(x)), given]) - 0.005
    assert found.facts["noise"]["rate"] == pytest.approx(wrong.mean(), abs=0.06)
    issue = found.facts["issues"][0]
    assert issue["kind"] == "image"
    assert issue["thumbnail"]
    assert issue["neighbours"]["of"] == 10
    assert len(issue["examples"]["suggested"]) == 3
    assert found.facts["losses"]["counts"]
    assert list(found.label_issues["rank"]) == sorted(found.label_issues["rank"])
    bare = from_probs(given, probs)
    assert {"is_dark_issue", "is_outlier_issue", "near_duplicate_set"} <= set(bare.labels)
    assert {"is_dark_issue", "is_outlier_issue", "near_duplicate_set"}.isdisjoint(bare.label_issues)
    assert {"is_dark_issue", "is_outlier_issue", "near_duplicate_set"} <= set(found.label_issues)  # looked for
    assert bare.label_issues.notna().any().all()
    assert found.labels.sort_values("rank")["label_quality"].is_monotonic_increasing
    assert sorted(found.labels["label_quality"]) == sorted(found.labels["clean_prob"])
    by_quality = roc_auc_score(wrong, -found.labels["label_quality"])
    assert by_quality == pytest.approx(roc_auc_score(wrong, -found.labels["rank"].astype(float)), abs=0.001)


def test_names_missing_labels_and_ids():
    probs, numbers = example(50, 3)
    labels = [["ant", "bee", "cat"][k] for k in numbers]
    labels[4] = None
    found = from_probs(labels, probs, classes=["ant", "bee", "cat"], ids=[f"{k}.jpg" for k in range(50)])
    assert found.facts["classes"] == ["ant", "bee", "cat"]
    assert found.facts["unlabelled"] == 1
    assert np.isnan(found.clean_prob[4])
    assert found.labels["path"][3] == "3.jpg"
    assert [found.labels["suggested"][k] for k in range(50)] == [["ant", "bee", "cat"][k] for k in probs.argmax(1)]


def test_a_label_that_is_likely_right_is_no_issue_though_another_is_a_little_likelier():
    given = np.arange(200) % 2
    own = np.full(200, 0.9)
    own[:8], own[8:20] = 0.48, 0.02
    probs = np.where(given[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    found = from_probs(given, probs)
    assert (found.clean_prob[:8] > 0.5).all()
    assert sorted(found.label_issues["id"]) == list(range(8, 20))
    assert (found.labels["suggested"][:8] == given[:8]).all()
    assert found.labels["suggested_prob"][0] == pytest.approx(0.48)
    few = from_probs(given[:40], probs[:40])  # their p(clean) is no better than the answer
    assert len(few.label_issues) == 20


def test_a_class_that_nobody_has_keeps_its_number():
    probs, given = example(60, 4)
    given = given % 3
    found = from_probs(given, probs)
    assert found.facts["classes"] == ["0", "1", "2", "3"]
    assert found.facts["noise"]["per_class"][3]["rate"] is None
    assert np.isfinite(found.clean_prob).all()


def test_hostile_texts_are_shown_as_they_are_and_searched_for_twins():
    probs, given = example(6, 2)
    texts = ["<script>alert(1)</script>", "same", "Same ", "=1+1", "\u202e", "x" * 10_000]
    given[:] = 1 - probs.argmax(1)
    found = from_probs(given, probs, texts=texts)
    assert {issue["text"] for issue in found.facts["issues"]} == {text[:2000] for text in texts}
    assert found.facts["issues"][0]["kind"] == "text"
    assert found.facts["duplicates"][0]["rows"] == [1, 2]
    assert "<script>" not in found._repr_html_()


def test_printed_findings_count_every_kind_and_say_what_was_not_looked_for():
    probs, given = example(220, 3)
    shown = str(from_probs(given, probs))
    assert shown.startswith("Findings(labels: ")
    assert "\n  is_label_issue" in shown
    assert "Looked for and not found:\n- is_class_imbalance_issue, is_non_iid_issue\n" in shown
    assert " 0\n" not in shown
    assert "Not looked for:\n- is_near_duplicate_issue, is_outlier_issue, is_underperforming_group_issue: " in shown
    assert "is_dark_issue" not in shown
    rows = np.random.default_rng(0).normal(size=(220, 8))
    rows[1] = rows[0]
    order = np.argsort(given)
    found = from_probs(given[order], probs[order], features=rows)
    assert "is_near_duplicate_issue                  2" in str(found)
    assert "Not looked for" not in str(found)
    said = found.facts["findings"][0]["text"][:60]
    assert f"Of the data as a whole:\n- {said}" in str(found)
    page = found._repr_html_()
    assert "is_near_duplicate_issue 2" in page
    assert "<li>looked for and not found: is_outlier_issue, is_class_imbalance_issue" in page
    assert "_issue 0" not in page
    assert said in found._repr_html_()


def test_what_the_page_for_users_of_cleanlab_promises():
    probs, given = example(220, 3)
    own = probs[np.arange(220), given]
    scores = codivide.score_labels("last_loss", given, pred_probs=probs)
    assert np.array_equal(np.argsort(scores, kind="stable"), np.argsort(own, kind="stable"))
    report = codivide.noise_report(None, given, pred_probs=probs)
    assert {"rate", "given_as"} <= set(report.to_frame())
    assert report.transition.sum(1) == pytest.approx(np.ones(3))
    table = from_probs(given, probs, features=probs).labels
    promised = {"is_label_issue", "near_duplicate_score", "is_outlier_issue", "outlier_score", "label_quality"}
    assert promised <= set(table)
    assert len(table) == 220


def test_it_writes_what_was_found(tmp_path):
    probs, given = example(40, 3)
    found = from_probs(given, probs, out=tmp_path / "found")
    assert json.loads((tmp_path / "found" / "facts.json").read_text()) == found.facts
    assert len(pd.read_csv(tmp_path / "found" / "labels.csv")) == 40
    with pytest.raises(InputError, match="exists"):
        from_probs(given, probs, out=tmp_path / "found")


def test_one_sure_model_and_extreme_probabilities_stay_finite():
    probs = np.eye(3)[np.arange(30) % 3]
    given = np.arange(30) % 3
    given[0] = 1
    clean = combined(probs, given)
    assert ((clean >= 0) & (clean <= 1)).all()
    assert clean.argmin() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, y: (y[:-1], p), "50 rows, but labels has 49"),
        (lambda p, y: (y, p[:, 0]), "shape"),
        (lambda p, y: (y, np.where(np.arange(50)[:, None] == 7, np.nan, p)), "row 7"),
        (lambda p, y: (y, p * np.where(np.arange(50)[:, None] == 9, 2, 1)), "row 9"),
        (lambda p, y: (y, -p), "row 0"),
        (lambda p, y: (y % 2 + 5, p), "classes"),
        (lambda p, y: (y, [["a"]]), "numbers"),
        (lambda p, y: (y, p[:0]), "pred_probs is empty"),
        (lambda p, y: (None, p), "labels is None"),
        (lambda p, y: ([[0, 1], [1]] * 25, p), "different numbers of labels.*NoisyMultiLabelClassifier"),
        (lambda p, y: (pd.Series([None, [0, 1]] * 25), p), "row 1 is .0, 1., which is not one class.*multilabel"),
        (lambda p, y: ([[0, 1]] * 50, p), "multilabel"),
    ],
)
def test_bad_input_is_one_clear_error(change, words):
    probs, given = example(50, 3)
    labels, bad = change(probs, given)
    with pytest.raises(InputError, match=words):
        from_probs(labels, bad)


def test_lengths_and_classes_must_fit():
    probs, given = example(50, 3)
    with pytest.raises(InputError, match="texts has 2"):
        from_probs(given, probs, texts=["a", "b"])
    with pytest.raises(InputError, match="3 columns"):
        from_probs(given, probs, classes=[0, 1, 2, 3])


def test_a_group_counts_once_for_the_rates_and_every_label_is_judged():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=1_200)
    given = np.where(rng.random(1_200) < 0.1, (truth + 1) % 4, truth)
    logits = 5 * np.eye(4)[truth] + rng.standard_normal((1_200, 4))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = np.flatnonzero(given != truth)
    rows = np.r_[np.arange(1_200), np.repeat(wrong, 9)]  # each wrong label ten times
    plain, once = (from_probs(given[rows], probs[rows], groups=groups) for groups in (None, rows))
    rates = [found.facts["noise"]["rate"] for found in (plain, once)]
    assert rates[0] > 0.4
    assert rates[1] == pytest.approx(len(wrong) / 1_200, abs=0.02)
    said = f"{len(rows):,} labels in 1,200 groups"
    assert any(said in text for text in once.facts["noise"]["trust"]["reasons"])
    assert len(once.labels) == len(rows)
    assert np.isfinite(once.clean_prob).all()
    with pytest.raises(InputError, match="groups has 3 values"):
        from_probs(given, probs, groups=[1, 2, 3])
