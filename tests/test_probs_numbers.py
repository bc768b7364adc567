"""``audit.from_probs`` with numbers: predictions of somebody's regressor."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from codivide import InputError, audit, noise_report, score_labels
from codivide.audit import clean as cleaning
from codivide.cli import app
from codivide.noise import residuals


def guessed(count=300, seed=0):
    """Given numbers, of which the first twelve are wrong, and held-out predictions."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=count) * 10
    given = (right + 0.3 * rng.normal(size=count)).round(3)
    given[:12] += 25
    return given, right + 0.5 * rng.normal(size=count)


def test_numbers_are_judged_as_score_labels_and_the_report_judge_them():
    given, predicted = guessed()
    found = audit.from_probs(given, predicted, task="regression")
    np.testing.assert_array_equal(
        found.clean_prob, score_labels("combined", given, predictions=predicted, task="regression")
    )
    assert found.label_issues["id"].sort_values().tolist() == list(range(12))
    report = noise_report(None, given, predictions=predicted, task="regression")
    assert found.facts["noise"]["rate"] == report.rate
    assert repr(found).startswith("Findings(labels: 12 of 300 ")
    table = found.labels
    np.testing.assert_array_equal(table["predicted"], predicted)
    doubted = table["is_label_issue"].to_numpy(dtype=bool)
    suggested = table["suggested"].astype(float).to_numpy()
    np.testing.assert_allclose(suggested[doubted], predicted[doubted], atol=1e-3)
    np.testing.assert_array_equal(suggested[~doubted], given[~doubted])
    size = float(np.median(np.abs(given - predicted)))
    settled = residuals.settle(given, predicted, np.full(len(given), size))
    reach = student.ppf(0.95, settled.tails) * settled.factor * size
    np.testing.assert_allclose(table["predicted_high"], predicted + reach)
    np.testing.assert_allclose(table["predicted_low"], predicted - reach)
    fixed = found.clean()
    assert set(fixed.changes["id"]) == set(range(12))
    assert set(fixed.changes["change"]) == {"relabelled"}


def test_numbers_that_are_missing_are_predicted_and_not_judged(tmp_path):
    given, predicted = guessed()
    given[20] = np.nan
    named = pd.Series(given, index=[f"house {k}" for k in range(len(given))])
    found = audit.from_probs(named, predicted, task="regression", texts=[f"text {k}" for k in range(300)])
    assert np.isnan(found.clean_prob[20])
    assert pd.isna(found.labels["given"][20])
    assert float(found.labels["suggested"][20]) == pytest.approx(predicted[20], abs=1e-3)
    assert found.labels["id"][20] == "house 20"
    assert found.facts["targets"]["kind"] == "regression"
    assert len(found.facts["targets"]["points"]) == 299
    assert "text 7" in found.report(tmp_path / "audit.html").read_text(encoding="utf-8")


def test_the_folder_of_such_an_audit_is_read_by_all_commands(tmp_path, monkeypatch, capsys):
    given, predicted = guessed()
    found = audit.from_probs(given, predicted, task="regression", out=tmp_path / "numbers")
    report = noise_report(tmp_path / "numbers")
    assert report == noise_report(None, given, predictions=predicted, task="regression")
    cleaned = cleaning.clean(tmp_path / "numbers", tmp_path / "cleaned")
    assert cleaned.changes["id"].tolist() == sorted(found.label_issues["id"])
    monkeypatch.setattr("sys.argv", ["codivide", "audit", str(tmp_path / "numbers")])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    assert "12 of 300 targets look wrong" in capsys.readouterr().out
    tags = np.stack([given > 0, given > 5], axis=1).astype(int)
    probs = np.clip(tags * 0.8 + 0.1 + 0.05 * np.random.default_rng(0).normal(size=tags.shape), 0, 1)
    tags[:30, 0] = 1 - tags[:30, 0]
    found = audit.from_probs(tags, probs, task="multilabel", separator="|", out=tmp_path / "tags")
    assert noise_report(tmp_path / "tags") == noise_report(None, tags, pred_probs=probs, task="multilabel")
    mended = cleaning.clean(tmp_path / "tags", tmp_path / "mended", relabel_above=0.5).changes
    assert mended["id"].tolist() == sorted(found.label_issues["id"])
    assert len(mended) > 20
    assert cleaning.read_run(tmp_path / "tags").source.options.separator == "|"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pred_probs": np.zeros(299)}, r"predictions have shape \(299,\); 300 targets need \[samples\]"),
        ({"pred_probs": np.zeros((300, 2))}, r"predictions have shape \(300, 2\)"),
        ({"pred_probs": np.append(np.zeros(299), np.nan)}, "prediction 299 is not finite"),
        ({"labels": ["a"] * 300}, "'a'"),
        ({"labels": np.zeros(300)}, "all targets are 0"),
        ({"ids": range(299)}, "ids has 299"),
        ({"classes": ["a"]}, "classes does not apply to task 'regression'"),
        ({"groups": range(300)}, "groups does not apply to task 'regression'"),
    ],
)
def test_bad_input_is_one_clear_error(change, said):
    given, predicted = guessed()
    with pytest.raises(InputError, match=said):
        audit.from_probs(**{"labels": given, "pred_probs": predicted, "task": "regression", **change})


def test_predictions_that_say_nothing_or_the_very_targets_are_told():
    given, predicted = guessed()
    with pytest.warns(UserWarning, match="the predictions say nothing of the targets"):
        found = audit.from_probs(given, predicted[::-1], task="regression")
    assert "the predictions say nothing" in str(found).replace("\n  ", " ")
    with pytest.warns(UserWarning, match="100 % of the predictions are the very targets"):
        audit.from_probs(given, given, task="regression")
