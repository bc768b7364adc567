"""Detection metrics against naive loops, and the reliability plot."""

import json

import numpy as np
import pytest

from codivide.noise.scores import calibration_error, detection, reliability
from codivide.runs import plot
from codivide.runs.folder import SavedRun


def drawn(n=400, seed=0):
    """Probabilities that are right: a label is clean with probability p(clean)."""
    rng = np.random.default_rng(seed)
    clean_prob = rng.random(n)
    truth = rng.integers(0, 3, n)
    given = np.where(rng.random(n) < clean_prob, truth, (truth + 1) % 3)
    return given, truth, clean_prob


def test_scores_follow_their_definitions():
    given, truth, p = drawn(60)
    found = detection(given, truth, p)
    wrong = [g != t for g, t in zip(given, truth, strict=True)]
    pairs = [(1 - p[i], 1 - p[j]) for i in range(60) for j in range(60) if wrong[i] and not wrong[j]]
    auroc = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    hits = sum(w and q < 0.5 for w, q in zip(wrong, p, strict=True))
    flagged = sum(q < 0.5 for q in p)
    order = sorted(range(60), key=lambda i: p[i])
    precisions = [sum(wrong[i] for i in order[: k + 1]) / (k + 1) for k in range(60) if wrong[order[k]]]
    assert found["auroc"] == pytest.approx(auroc)
    assert found["average_precision"] == pytest.approx(np.mean(precisions))
    assert found["precision"] == pytest.approx(hits / flagged)
    assert found["recall"] == pytest.approx(hits / sum(wrong))
    precision, recall = hits / flagged, hits / sum(wrong)
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_the_reliability_table_and_its_error_are_means_per_bin():
    given, truth, p = drawn()
    table = reliability(p, given == truth)
    error = 0.0
    for row in table:
        members = [i for i in range(len(p)) if row["low"] <= p[i] < row["high"]]
        share = sum(given[i] == truth[i] for i in members) / len(members)
        mean = sum(p[i] for i in members) / len(members)
        assert (row["samples"], row["clean"], row["clean_prob"]) == (
            len(members),
            pytest.approx(share),
            pytest.approx(mean),
        )
        error += len(members) / len(p) * abs(share - mean)
    assert sum(row["samples"] for row in table) == len(p)
    assert calibration_error(table) == pytest.approx(error)


def test_honest_probabilities_have_a_small_error_and_overconfident_ones_a_large_one():
    given, truth, p = drawn(20_000)
    assert detection(given, truth, p)["calibration_error"] < 0.02
    assert detection(given, truth, np.round(p))["calibration_error"] > 0.2


def test_certain_probabilities_fall_into_the_last_bin_and_empty_bins_have_no_row():
    table = reliability(np.asarray([0.0, 1.0, 1.0]), np.asarray([False, True, False]))
    assert [(row["low"], row["samples"], row["clean"]) for row in table] == [(0.0, 1, 0.0), (0.9, 2, 0.5)]


def test_rows_without_label_truth_or_probability_do_not_count():
    given, truth = np.asarray([0, 1, -1, 0, 1]), np.asarray([0, 0, 1, -1, 1])
    p = np.asarray([0.9, 0.2, 0.1, 0.1, np.nan])
    found = detection(given, truth, p)
    assert found["noise_rate"] == 0.5
    assert found["auroc"] == 1.0
    assert sum(row["samples"] for row in found["reliability"]) == 2
    assert detection(given, np.full(5, -1), p) == {}


@pytest.mark.parametrize("wrong", [False, True])
def test_without_both_kinds_there_is_no_ranking(wrong):
    truth = np.zeros(4, dtype=np.int64)
    found = detection(truth + wrong, truth, np.asarray([0.1, 0.4, 0.6, 0.9]))
    assert found["noise_rate"] == float(wrong)
    assert not {"auroc", "average_precision", "recall", "f1"} & set(found)
    json.dumps(found, allow_nan=False)


def folder(path, summary):
    path.mkdir()
    plan = {"epochs": 1}
    (path / "config.json").write_text(json.dumps({"version": "0", "method": "gce", "data": "toy", "plan": plan}))
    (path / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": 1.0, "lr": 0.1}) + "\n")
    (path / "summary.json").write_text(json.dumps(summary))
    return path


def test_plot_draws_reliability_when_the_truth_is_known_only(tmp_path):
    known = folder(tmp_path / "known", {"detection": detection(*drawn())})
    written, _ = plot.draw(known)
    assert known / "reliability.png" in written
    (line,) = [line for line in plot.reliability(SavedRun(known)).axes[0].lines if line.get_label() == "this run"]
    table = json.loads((known / "summary.json").read_text())["detection"]["reliability"]
    assert list(line.get_ydata()) == [row["clean"] for row in table]
    unknown = folder(tmp_path / "unknown", {"samples": 1})
    written, remarks = plot.draw(unknown)
    assert not [path for path in written if "reliability" in path.name]
    assert not [remark for remark in remarks if "reliability" in remark]
