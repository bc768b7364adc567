"""Training on real data, from files to label table; minutes long."""

import json
from pathlib import Path

import pytest

from codivide.cli.app import main

pytestmark = [pytest.mark.slow, pytest.mark.data]


def fit(monkeypatch, out: Path, *words: str) -> dict:
    monkeypatch.setattr("sys.argv", ["codivide", "fit", *words, "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    return json.loads((out / "summary.json").read_text())


def test_dividemix_on_cifar10(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["cifar10", "--noise", "symmetric:0.5", "--limit", "4000", "--epochs", "30", "--seed", "0"]
    plain = fit(monkeypatch, tmp_path / "plain", *words, "--method", "cross_entropy")
    divided = fit(monkeypatch, tmp_path / "divided", *words)
    assert divided["detection"]["noise_rate"] == pytest.approx(0.45, abs=0.02)
    assert divided["detection"]["auroc"] > 0.7
    assert divided["test_accuracy"]["last"] > plain["test_accuracy"]["last"] - 0.02


def test_the_folder_of_mislabelled_photos(data_root, tmp_path, monkeypatch):
    photos = data_root / "photos"
    if not photos.exists():
        pytest.fail("unpack the data with --folder 5000")
    truth = str(data_root / "photos_truth.csv")
    summary = fit(
        monkeypatch, tmp_path / "run", str(photos), "--truth", truth, "--test", "cifar10", "--epochs", "30"
    )  # fmt: skip
    assert summary["detection"]["noise_rate"] == pytest.approx(0.40, abs=0.02)
    assert summary["detection"]["auroc"] > 0.75
    assert summary["test_accuracy"]["last"] > 0.4
