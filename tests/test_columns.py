"""Tables of features are read by the names of their columns, wherever a model meets them."""

import json
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from sklearn.naive_bayes import GaussianNB

from codivide import Features, InputError, NoisyLabelClassifier, NoisyLabelRegressor, load_model
from codivide.cli.app import main
from codivide.core.files import read_tensors, save_tensors
from codivide.data.sources import read_inputs
from codivide.data.table_columns import arranged

NAMES = [f"f{k}" for k in range(6)]


def table(seed, rows=90):
    """Three classes that each have a column of their own."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 6)).astype(np.float32).round(3)
    x[np.arange(rows), y] += 6
    return pd.DataFrame(x, columns=NAMES).assign(label=[f"c{k}" for k in y])


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


@pytest.fixture(scope="module", params=["features", "network"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    table(0).to_csv(folder / "train.csv", index=False)
    table(1)[["f3", "label", *(n for n in reversed(NAMES) if n != "f3")]].to_csv(folder / "test.csv", index=False)
    settings = ["--method", "features", "--heads", "linear"]
    if request.param == "network":
        settings = ["--method", "cross_entropy", "--epochs", "3", "--device", "cpu"]
    words = ("fit", folder / "train.csv", *settings, "--test", folder / "test.csv", "--out", folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, *words) == 0
    return folder


def labels(path):
    return pd.read_csv(path)["label"].tolist()


def test_columns_in_another_order_are_brought_into_that_of_the_training(trained, tmp_path, monkeypatch):
    new = table(2)
    names = ["f5", "f0", "f2", "f1", "f4", "f3"]
    new[names].assign(more=1.0).to_csv(tmp_path / "other.csv", index=False)
    new[NAMES].to_csv(tmp_path / "same.csv", index=False)
    for name in ("other", "same"):
        words = ("predict", trained / "run", tmp_path / f"{name}.csv", "--out", tmp_path / f"{name}_out.csv")
        assert command(monkeypatch, *words) == 0
    assert labels(tmp_path / "other_out.csv") == labels(tmp_path / "same_out.csv")
    assert np.mean(np.array(labels(tmp_path / "other_out.csv")) == new["label"]) > 0.9
    accuracy = json.loads((trained / "run" / "summary.json").read_text())["test_accuracy"]["last"]
    assert accuracy > 0.9  # the columns of test.csv stand in another order


def test_a_missing_column_is_refused(trained, tmp_path, monkeypatch, capsys):
    table(2)[NAMES].rename(columns={"f2": "width"}).to_csv(tmp_path / "new.csv", index=False)
    assert command(monkeypatch, "predict", trained / "run", tmp_path / "new.csv") == 2
    assert "'f2'" in capsys.readouterr().err
    table(2).rename(columns={"f2": "width"}).to_csv(tmp_path / "test.csv", index=False)
    words = ("fit", trained / "train.csv", "--method", "features", "--test", tmp_path / "test.csv")
    assert command(monkeypatch, *words, "--out", tmp_path / "run") == 2
    assert "'f2'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_model_file_holds_the_names_and_older_ones_go_by_position(trained, tmp_path):
    path = trained / "run" / "model.safetensors"
    model = load_model(path)
    assert model.columns == tuple(NAMES)
    tensors, header = read_tensors(path, "model")
    del header["columns"]
    save_tensors(tmp_path / "old.safetensors", tensors, "model", header)
    assert load_model(tmp_path / "old.safetensors").columns is None
    frame = table(2)[NAMES]
    mixed = frame[NAMES[::-1]]
    rows = [
        read_inputs(data, model.shape, model.dtype, columns=model.columns)[0][torch.arange(90)]
        for data in (frame, mixed, frame.to_numpy())
    ]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])
    with pytest.raises(InputError, match=r"the data frame needs one column for each feature.*'f0'"):
        read_inputs(mixed.drop(columns="f0"), model.shape, model.dtype, columns=model.columns)


def test_columns_whose_names_are_no_texts_are_found_by_name_too():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)) * [1, 5, 20])
    clf = NoisyLabelClassifier(Features(heads="linear", correct=False)).fit(frame, (frame[0] > 0).astype(int))
    wanted = clf.predict_proba(frame)
    np.testing.assert_array_equal(clf.predict_proba(frame[[2, 0, 1]]), wanted)  # once taken by position, in silence
    np.testing.assert_array_equal(clf.predict_proba(frame.to_numpy()), wanted)


def test_values_far_outside_the_training_are_said(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    day = pd.Timestamp("2024-01-05") + pd.to_timedelta(rng.integers(0, 200, 120), unit="D")
    note = [f"{word} {k}" for k, word in enumerate(np.array(["good", "bad"])[y])]
    frame = pd.DataFrame({"pay": rng.lognormal(3, 1, 120) * (1 + y), "when": day, "note": note})
    fitted = NoisyLabelClassifier(Features(heads="linear", trees="none", correct=False)).fit(frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(frame)
        fitted.predict(frame.assign(note="good"))  # rarer words than ever are no amounts
    far = frame.assign(pay=frame["pay"].where(frame.index > 2, -9000))
    said = r"3 of 120 samples have values far outside .* guess: 'pay' is -9000, in training \d"
    with pytest.warns(UserWarning, match=said):
        fitted.predict_proba(far)
    fitted.model_.save(tmp_path / "model.safetensors")
    later = frame.assign(when=day + pd.Timedelta(days=700))
    later.to_csv(tmp_path / "later.csv", index=False)
    assert command(monkeypatch, "predict", tmp_path / "model.safetensors", tmp_path / "later.csv") == 0
    assert "'when' is 2026-06-2" in (told := " ".join(capsys.readouterr().err.split()))
    assert "in training 2024-01-0" in told


def test_numbers_predicted_far_outside_the_training_are_said():
    x = np.random.default_rng(0).normal(size=(120, 3))
    fitted = NoisyLabelRegressor().fit(x, x.sum(1))
    with pytest.warns(UserWarning, match="120 of 120 samples .* 'feature [012]' is"):
        fitted.predict(x + 1000)


@pytest.mark.parametrize("model", [None, GaussianNB()])
def test_tables_of_other_libraries_keep_the_names_of_their_columns(model):
    frame = table(0)
    held = pyarrow.Table.from_pandas(frame[NAMES], preserve_index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method = "auto" if model is not None else Features(heads="linear")
        fitted = NoisyLabelClassifier(method, model=model, columns=NAMES[:3]).fit(held, frame["label"])
        numbers = NoisyLabelRegressor(columns=NAMES[:3]).fit(held, frame["f0"] + frame["f1"])
    assert fitted.feature_names_in_.tolist() == NAMES[:3]
    assert np.array_equal(fitted.predict(held.select(NAMES[::-1])), fitted.predict(frame[NAMES]))
    np.testing.assert_allclose(numbers.predict(held.select(NAMES[::-1])), numbers.predict(frame[NAMES]))


def test_columns_are_found_in_another_case_where_one_alone_can_be_meant(trained, tmp_path, monkeypatch, capsys):
    table(2)[NAMES].to_csv(tmp_path / "same.csv", index=False)
    table(2)[NAMES].rename(columns=str.upper).to_csv(tmp_path / "upper.csv", index=False)
    both = table(2)[NAMES].rename(columns={"f0": "F0"})
    both.assign(f0=0.0, f1=both["f1"]).to_csv(tmp_path / "both.csv", index=False)  # f0 itself goes before F0
    answers = []
    for name in ("same", "upper", "both"):
        assert command(monkeypatch, "predict", trained / "run", tmp_path / f"{name}.csv") == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != answers[2]
    cells = pd.DataFrame([[0, 1, 2, 3]], columns=["A", "a", "B", "B"])
    assert arranged(cells, ["a", "A"], "X").to_numpy().tolist() == [[1, 0]]
    for wanted, held in ((["b"], cells), (["a", "A"], cells[["A"]])):
        with pytest.raises(InputError, match=f"check '{wanted[0]}'"):
            arranged(held, wanted, "X")
