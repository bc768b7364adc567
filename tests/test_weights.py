"""Weights of samples and classes through every route, and the accuracies in which every class counts as much."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score

from codivide import (
    METHODS,
    Features,
    InputError,
    NoisyLabelClassifier,
    NoisyLabelRegressor,
    NoisyMultiLabelClassifier,
    noise_report,
)
from codivide.cli.app import main
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.data.weights import as_text, of_text, weighted
from codivide.methods.features import linear, problem
from codivide.methods.features.matrix import Matrix, Scale
from codivide.noise.scores import accuracies
from codivide.training.loop import train
from codivide.training.plan import Plan
from codivide.training.samples import Data

WEIGHS = [name for name, kind in METHODS.items() if kind.weighs and kind.trains]


def rare(samples=400, share=0.1, seed=0):
    """Two overlapping classes, of which the second is rare."""
    generator = np.random.default_rng(seed)
    y = (generator.random(samples) < share).astype(np.int64)
    x = generator.normal(size=(samples, 4)) + 1.2 * y[:, None]
    return x.astype(np.float32), y


def test_balanced_weights_are_those_of_scikit_learn():
    x, y = rare()
    counts = np.bincount(y)
    found = weighted(load(x, y), class_weight="balanced").weight
    expected = len(y) / (2 * counts)
    assert np.allclose(found, expected[y])
    assert found[y == 0].sum() == pytest.approx(found[y == 1].sum())


def test_weights_multiply_and_their_mean_is_one():
    x, y = rare(50)
    y[:5] = -1
    own = np.arange(50.0)
    found = weighted(load(x, y), own, {"0": 3.0}).weight
    raw = own * np.where(y == 0, 3.0, 1.0)
    assert np.allclose(found, raw / raw[5:].mean())
    assert weighted(load(x, y)).weight is None


@pytest.mark.parametrize(
    ("sample_weight", "class_weight", "words"),
    [
        ([1.0] * 49, None, r"sample_weight has shape \(49,\); there are 50 samples"),
        ([1.0] * 49 + [-2.0], None, "sample_weight of sample 49 is -2.0"),
        ([1.0] * 49 + [np.nan], None, "sample 49 is nan"),
        (["a"] * 50, None, "no array of numbers"),
        ([0.0] * 50, None, "no labelled sample has a weight above zero"),
        ([1e308] * 50, None, "too large to be added up"),
        (None, "even", "class_weight is 'even'"),
        (None, {"7": 1}, "'7'"),
        (None, {0: -1}, "class_weight of sample of class 0 is -1"),
    ],
)
def test_wrong_weights_are_named(sample_weight, class_weight, words):
    x, y = rare(50)
    with pytest.raises(InputError, match=words):
        weighted(load(x, y), sample_weight, class_weight)


def test_class_weights_as_text():
    assert of_text("balanced") == "balanced"
    assert of_text("cat:2, a:b:0.5") == {"cat": 2.0, "a:b": 0.5}
    assert of_text(None) is None
    assert json.loads(as_text({1: 2})) == {"1": 2.0}
    for wrong in ("cat", "cat:", ":2", "cat:2,"):
        with pytest.raises(InputError, match="CLASS:WEIGHT"):
            of_text(wrong)


def test_a_weight_is_a_row_that_comes_so_often():
    """The linear head: whole weights against repeated rows; 0 against a row that is not there."""
    x, y = rare(120)
    often = np.random.default_rng(1).integers(0, 4, 120)
    rows = np.repeat(np.arange(120), often)

    def fitted(taken, weight):
        matrix = Matrix.along_axes(Scale.fit(x).apply(x[taken]))
        likelihood = torch.eye(2)[torch.from_numpy(y[taken])]
        share = torch.as_tensor(weight).float().unsqueeze(1)
        found = linear.fit(matrix, likelihood, share, 1e-2, steps=1000, tolerance=1e-14)
        return torch.cat([matrix.features(found.weight[:, 0]), found.bias])

    weighed, repeated = fitted(np.arange(120), often), fitted(rows, np.ones(len(rows)))
    assert torch.allclose(weighed, repeated, atol=1e-3)
    assert not torch.allclose(weighed, fitted(np.arange(120), np.ones(120)), atol=1e-2)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_class_whose_labels_all_weigh_nothing_is_not_called_wrong(copies):
    y = np.arange(90) % 3
    x = (4 * np.eye(3)[y] + np.random.default_rng(0).normal(size=(90, 3))).astype(np.float32)
    x, y = np.repeat(x, copies, 0), np.repeat(y, copies)
    clf = NoisyLabelClassifier(Features(heads="linear")).fit(x, y, sample_weight=(y != 1).astype(float))
    of_others = clf.clean_proba_[y != 1].mean()
    assert clf.clean_proba_[y == 1] == pytest.approx(of_others, abs=1e-6)  # nothing was learned of them
    assert not clf.labels_.set_index("id")["is_label_issue"][np.flatnonzero(y == 1)].any()


@pytest.mark.parametrize("kind", ["trees", "model", "numbers", "tags"])
def test_weights_that_are_all_held_out_together_are_one_error(kind):
    x, y = rare(80, 0.5)
    made = {
        "trees": lambda: NoisyLabelClassifier(Features(heads="none", trees="forest")),
        "model": lambda: NoisyLabelClassifier(model=LogisticRegression()),
        "numbers": NoisyLabelRegressor,
        "tags": NoisyMultiLabelClassifier,
    }[kind]()
    target = np.column_stack([y, 1 - y]) if kind == "tags" else x[:, 0] if kind == "numbers" else y
    group = np.arange(80) // 20
    with pytest.raises(InputError, match="all 20 samples with a weight above 0 are held out together"):
        made.fit(x, target, sample_weight=(group == 1).astype(float), groups=group)


def test_weighted_log_loss_and_stacking_are_those_of_repeated_rows():
    generator = torch.Generator().manual_seed(0)
    seen = torch.rand(2, 30, generator=generator)
    often = torch.randint(0, 4, (30,), generator=generator)
    rows = torch.repeat_interleave(torch.arange(30), often)
    assert problem.log_loss(seen[0], often.double()) == pytest.approx(problem.log_loss(seen[0, rows]), abs=1e-6)
    assert torch.allclose(problem.stack(seen, often.double()), problem.stack(seen[:, rows]), atol=1e-4)


@pytest.mark.parametrize("heads", ["linear", pytest.param("mlp", marks=pytest.mark.long)])
def test_features_find_a_rare_class_where_it_is_weighed(heads):
    x, y = rare(600)
    new, truth = rare(600, seed=1)
    scores = {}
    for weight in (None, "balanced"):
        method = METHODS["features"](heads=heads, correct=False)
        clf = NoisyLabelClassifier(method, class_weight=weight).fit(x, y)
        scores[weight] = balanced_accuracy_score(truth, clf.predict(new))
    by_sample = NoisyLabelClassifier(method).fit(x, y, sample_weight=np.where(y == 1, 9.0, 1.0))
    assert scores["balanced"] > scores[None] + 0.05
    assert balanced_accuracy_score(truth, by_sample.predict(new)) > scores[None] + 0.05


def trained(name, x, y, weight):
    """A linear network after a pass in one batch, and the loss that was logged."""
    loaded = load(x, y)
    views = fit_views(load(*rare(40, 0.4)).x, "none").views()  # the same for all
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views, weight=weight)
    plan = Plan(epochs=1, batch_size=len(y), lr=0.1, momentum=0, weight_decay=0, schedule="constant", device="cpu")
    run = train(METHODS[name](), data, lambda: torch.nn.Linear(4, 2), plan)
    return run, run.history[0]["loss"]


@pytest.mark.parametrize("name", WEIGHS)
def test_the_loss_of_a_batch_is_the_weighted_mean(name):
    """Whole weights against repeated rows, in the first step from the same weights."""
    x, y = rare(40, 0.4)
    often = np.random.default_rng(2).integers(0, 4, 40)
    rows = np.repeat(np.arange(40), often)
    weight = torch.from_numpy(often / often.mean()).float()
    _, loss = trained(name, x, y, weight)
    _, repeated = trained(name, x[rows], y[rows], None)
    _, plain = trained(name, x, y, None)
    assert loss == pytest.approx(repeated, rel=1e-4)
    assert loss != pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if not kind.weighs])
def test_methods_that_cannot_weigh_refuse_before_any_work(name, tmp_path):
    x = np.zeros((20, 8, 8), dtype=np.uint8)
    clf = NoisyLabelClassifier(name, class_weight="balanced", out=tmp_path / "run")
    with pytest.raises(InputError, match=r"cannot weigh samples or classes.*cross_entropy.*features"):
        clf.fit(x, np.arange(20) % 2)
    assert not (tmp_path / "run").exists()


def test_auto_of_a_table_takes_weights(monkeypatch):
    monkeypatch.setattr(Features, "kinds", lambda self, *rows, **kinds: ("linear",))
    x, y = rare(200)
    clf = NoisyLabelClassifier(class_weight="balanced").fit(x, y)
    assert clf.choice_ is not None


def test_auto_of_a_network_takes_weights():
    """A class of weight 0 is not learned, by the short run or the correction."""
    x, y = rare(200, 0.5)
    options = {"net": "mlp", "epochs": 16, "lr": 0.1, "batch_size": 20}
    clf = NoisyLabelClassifier(class_weight={0: 1.0, 1: 1e-6}, **options).fit(x, y)
    assert clf.choice_["decision"]["method"] in ("codivide", "cross_entropy")
    assert (clf.predict(x) == 1).mean() < 0.05
    assert (NoisyLabelClassifier(**options).fit(x, y).predict(x) == 1).mean() > 0.3


def test_an_unknown_argument_of_fit_is_refused():
    x, y = rare(20)
    with pytest.raises(TypeError, match="sample_weights"):
        NoisyLabelClassifier("features").fit(x, y, sample_weights=np.ones(20))


def test_the_command_line_takes_a_column_and_class_weights(tmp_path, capsys, monkeypatch):
    x, y = rare(300)
    table = pd.DataFrame(x, columns=list("abcd")).assign(label=np.array(["no", "yes"])[y], much=np.where(y, 9.0, 1.0))
    table["split"] = np.where(np.arange(300) < 200, "train", "test")
    table.to_csv(tmp_path / "t.csv", index=False)
    loaded = load(tmp_path / "t.csv", options=ReadOptions(weight="much"))
    assert loaded.x.shape == (4,)
    assert np.array_equal(loaded.weight, np.where(loaded.y == 1, 9.0, 1.0))
    words = ["codivide", "fit", str(tmp_path / "t.csv"), "--method", "features", "--heads", "linear"]
    words += ["--weight", "much", "--class-weight", "no:1,yes:2", "-o", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "balanced 0." in said
    assert "macro F1 0." in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["source"]["class_weight"] == "no:1,yes:2"
    assert summary["source"]["options"]["weight"] == "much"
    assert {"test_balanced_accuracy", "test_macro_f1"} <= summary.keys()


@pytest.mark.parametrize(
    ("column", "words"), [("other", "no column 'other' of weights"), ("bad", "column 'bad' of sample 1 is -1")]
)
def test_a_wrong_column_of_weights_is_named(tmp_path, column, words):
    pd.DataFrame({"a": [1.0, 2, 3], "label": [0, 1, 0], "bad": [1, -1, 1]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "t.csv", options=ReadOptions(weight=column))


def test_weights_are_for_tables_or_arrays():
    with pytest.raises(InputError, match="elsewhere pass sample_weight to fit"):
        load("digits", options=ReadOptions(weight="w"))


def test_accuracies_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 4, 200), generator.integers(0, 6, 200)
    found = accuracies(predicted, true, 6)
    assert found["accuracy"] == (true == predicted).mean()
    assert found["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    with pytest.warns(UserWarning, match="not in y_true"):
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))


def test_one_minority_sample_in_ten_thousand_is_said():
    x, _ = rare(10_000)
    y = np.zeros(10_000, dtype=np.int64)
    y[17] = 1
    with pytest.warns(UserWarning, match="class '1' has 1 sample.*cannot be judged"):
        clf = NoisyLabelClassifier(METHODS["features"](heads="linear", correct=False)).fit(x, y)
    assert clf.clean_proba_[17] == pytest.approx(np.delete(clf.clean_proba_, 17).mean(), abs=1e-6)


def test_the_noise_report_of_weighed_data_asks_weighed_heads():
    x, y = rare(400, 0.2)
    plain = noise_report(load(x, y), replicates=2)
    even = noise_report(weighted(load(x, y), np.full(400, 7.0)), replicates=2)
    heavy = noise_report(weighted(load(x, y), class_weight={1: 50.0}), replicates=2)
    assert even.rate == pytest.approx(plain.rate, abs=1e-3)
    assert heavy.estimates != pytest.approx(plain.estimates, abs=1e-2)


def test_a_cleaned_table_keeps_its_weights(tmp_path, monkeypatch):
    x, y = rare(200, 0.3)
    table = pd.DataFrame(x, columns=list("abcd")).assign(label=np.array(["no", "yes"])[y], much=1.0 + y)
    table.to_csv(tmp_path / "t.csv", index=False)
    fit = ["fit", str(tmp_path / "t.csv"), "--method", "features", "--heads", "linear", "--weight", "much"]
    for words in ([*fit, "-o", str(tmp_path / "run")], ["clean", str(tmp_path / "run"), "-o", str(tmp_path / "out")]):
        monkeypatch.setattr("sys.argv", ["codivide", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
    again = load(tmp_path / "out" / "labels_clean.csv", options=ReadOptions(weight="much"))
    assert set(again.weight) == {1.0, 2.0}
    assert again.x.shape == (4,)
