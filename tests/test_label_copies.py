"""A column that holds the labels, left among the features by mistake, is named; what is only like them is not."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from codivide import NoisyLabelClassifier, NoisyLabelRegressor, NoisyMultiLabelClassifier
from codivide.audit import collect
from codivide.audit.target_judging import load_targets
from codivide.cli.app import main
from codivide.core.errors import TrainingWarning
from codivide.data.arrays import from_arrays
from codivide.data.label_copies import holding_labels
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.methods.features.options import Features

LINEAR = Features(heads="linear", trees="none")
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 90)
X = pd.DataFrame({"a": RNG.normal(size=90) + Y, "b": RNG.normal(size=90), "c": RNG.choice(list("xyz"), 90)})
SETS = pd.DataFrame({"p": (X.a > 1).astype(int), "q": (X.b > 0).astype(int)})


def said(fit):
    """The warnings of a fit on such columns."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit()
    return [str(one.message) for one in found if "among the features" in str(one.message)]


@pytest.mark.parametrize(
    "fit",
    [
        lambda x: NoisyLabelClassifier(method=LINEAR).fit(x.assign(left=np.array(list("uvw"))[Y]), Y),
        lambda x: NoisyLabelClassifier(model=LogisticRegression()).fit(x[["a"]].assign(left=Y), Y.astype(str)),
        lambda x: NoisyLabelRegressor(model=Ridge()).fit(x[["b"]].assign(left=x.a), x.a),
        lambda x: NoisyMultiLabelClassifier().fit(x.assign(left=SETS.q), SETS),
        lambda x: NoisyMultiLabelClassifier().fit(
            x.assign(left=["+".join(map(str, row)) for row in SETS.to_numpy()]), SETS
        ),
    ],
    ids=["classes", "own-model", "numbers", "one-of-several", "several"],
)
def test_every_estimator_names_the_column_that_holds_its_labels(fit):
    (text,) = said(lambda: fit(X))
    assert text.startswith("column 'left' holds the labels")
    assert "drop" in text


def test_nothing_is_said_of_other_columns():
    numbers, several = ReadOptions(task="regression", unlabelled=None), ReadOptions(task="multilabel", unlabelled=None)
    assert load(X, Y).labels_read.columns == ()
    assert load(X.assign(left=Y), Y, options=ReadOptions(drop=("left",))).labels_read.columns == ()
    assert load_targets(X, X.a * 2, numbers).labels_read.columns == ()
    assert load_targets(X, SETS, several).labels_read.columns == ()
    assert load_targets(X.assign(left=X.a * 2), X.a * 2, numbers).labels_read.columns == ("left",)


def test_a_label_column_that_is_named_is_none_of_the_features():
    assert said(lambda: NoisyLabelRegressor(label="left", model=Ridge()).fit(X[["b"]].assign(left=X.a))) == []


def test_a_file_with_a_second_column_of_labels(tmp_path):
    X.assign(label=Y, code=Y + 10).to_csv(tmp_path / "t.csv", index=False)
    assert load(tmp_path / "t.csv").labels_read.columns == ("code",)
    assert load(tmp_path / "t.csv").labels_read.to_dict()["columns"] == ("code",)


@pytest.mark.parametrize(
    ("column", "named"),
    [
        (np.where(np.arange(90) == 7, 1, Y), False),  # one cell differs
        (Y % 2, False),  # two classes are one
        (Y * 30 + np.arange(90) % 30, False),  # tells the class, and more
        (2 - Y, True),
        (np.where(Y == 0, np.nan, Y), True),  # an empty cell is a value
    ],
)
def test_only_one_to_one_counts(column, named):
    frame = X.assign(left=column)
    for x, name in ((frame, "left"), (frame[["a", "b", "left"]].fillna(-1).to_numpy(), "2")):
        loaded = from_arrays(frame[["a"]], Y)
        assert holding_labels(x, loaded, ReadOptions()) == ((name,) if named else ())


def test_rows_without_a_label_do_not_count():
    y = np.where(np.arange(90) % 3, Y, -1)
    assert holding_labels(X.assign(left=Y), from_arrays(X[["a"]], y), ReadOptions()) == ("left",)


def test_few_labels_may_be_like_a_column_by_chance():
    few = pd.DataFrame({"a": [0, 1] * 5, "left": [0, 0, 0, 1, 1] * 2})
    assert holding_labels(few, from_arrays(few, few.left), ReadOptions()) == ()
    rare = (np.arange(90) == 5).astype(int)  # 1 of 90: any other rare value may stand there
    assert holding_labels(X.assign(left=rare), from_arrays(X[["a"]], rare), ReadOptions()) == ()


def test_targets_that_hardly_repeat_are_compared_as_numbers():
    y = [f"{value:.3f}".replace(".", ",") for value in X.a]  # of which nothing is read as a number here
    options = ReadOptions(task="regression")
    assert holding_labels(X, from_arrays(X[["b"]], y), options) == ()
    assert holding_labels(X, from_arrays(X[["b"]], X.a.map(str)), options) == ("a",)


def test_the_warning_is_one_for_the_user():
    with pytest.warns(TrainingWarning, match="columns 'l', 'm' hold the labels, and are among the features"):
        NoisyLabelClassifier(method=LINEAR).fit(X.assign(l=Y, m=-Y), Y)


@pytest.mark.parametrize("kind", ["dates", "numbers", "reversed"])
def test_a_column_that_is_empty_in_one_class_alone_is_named(kind, tmp_path):
    """The day on which a customer left says who has left, whatever day it is."""
    gone = (Y == 1) if kind != "reversed" else (Y != 1)
    days = pd.Series(pd.date_range("2024-01-01", periods=90).astype(str), dtype=object)
    filled = (days if kind == "dates" else pd.Series(RNG.normal(size=90))).where(gone)
    some = pd.Series(RNG.normal(size=90)).where(RNG.random(90) < 0.7)
    near = filled.copy()
    near[np.flatnonzero(gone)[0]] = None  # one row of the class lacks it, too
    table = X.assign(closed=filled, some=some, near=near)
    assert load(table, Y).labels_read.gaps == ("closed",)
    table.assign(label=Y).to_csv(tmp_path / "t.csv", index=False)
    assert load(tmp_path / "t.csv").labels_read.gaps == ("closed",)
    with pytest.warns(TrainingWarning, match="column 'closed' is empty in all rows of one class and in no other"):
        NoisyLabelClassifier(method=LINEAR).fit(table, Y)
    several = ReadOptions(task="multilabel", unlabelled=None)
    held = X.assign(closed=X.b.where(SETS.q == 1), some=some)
    assert load_targets(held, SETS, several).labels_read.gaps == ("closed",)


def test_gaps_that_may_be_chance_say_nothing():
    few = pd.DataFrame({"a": [1.0, None, 3.0, None, 5.0, None], "b": range(6)})
    assert load(few, [0, 1] * 3).labels_read.gaps == ()
    assert load(X.assign(left=Y), Y).labels_read.gaps == ()


def test_a_column_that_holds_the_labels_is_said_once(tmp_path, monkeypatch, capsys):
    """When the labels are read, and not among the findings at the end; ``noise`` of the run says it, too."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 3)), columns=["a", "b", "c"])
    y = np.arange(80) % 2
    frame.assign(code=y + 5, label=y).to_csv(tmp_path / "t.csv", index=False)
    fit = ["fit", str(tmp_path / "t.csv"), "--method", "features", "--heads", "linear", "--out", str(tmp_path / "run")]
    for words in (fit, ["noise", str(tmp_path / "run")]):
        monkeypatch.setattr("sys.argv", ["codivide", *words])
        with warnings.catch_warnings():
            warnings.simplefilter("always", TrainingWarning)
            with pytest.raises(SystemExit):
                main()
        told = capsys.readouterr()
        assert (told.out + told.err).count("'code'") == 1, told
    run = collect(tmp_path / "run")
    assert [item["check"] for item in run["findings"]] == ["gives_away"]  # the page has no other place for it
