"""The tree heads: what the arrays say is what scikit-learn says; and their place in the pool."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from codivide import Features, InputError, NoisyLabelClassifier, load_model
from codivide.methods.features import judge, trees
from codivide.methods.features.folds import deal
from codivide.methods.features.learn import learn
from codivide.methods.features.pacing import Clock
from codivide.methods.features.problem import DEALS, Problem
from codivide.methods.features.table import Table


def samples(classes, rows=400, seed=0):
    x, y = make_classification(
        rows, 6, n_informative=5, n_redundant=0, n_classes=classes, n_clusters_per_class=1, random_state=seed
    )
    return x.astype(np.float32), y.astype(np.int64)


def theirs(kind, monkeypatch, x, y, weight=None):
    """Our trees, and scikit-learn's model that has the same, or that they were taken from."""
    held = []
    fit = HistGradientBoostingClassifier.fit

    def keep(self, *arguments, **settings):
        held.append(fit(self, *arguments, **settings))
        return held[-1]

    monkeypatch.setattr(HistGradientBoostingClassifier, "fit", keep)
    ours = trees.fit(kind, x, y, seed=0, classes=int(y.max()) + 1, counts=weight).trees()
    if kind == "forest":
        model = ExtraTreesClassifier(trees._TREES, min_samples_leaf=trees._LEAF, max_features="sqrt", random_state=0)
        return ours, model.fit(x, y, sample_weight=weight)
    return ours, held[0]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", trees.KINDS)
def test_the_arrays_say_what_scikit_learn_says(kind, classes, monkeypatch):
    x, y = samples(classes)
    weight = np.random.default_rng(0).random(len(y))
    ours, model = theirs(kind, monkeypatch, x, y, weight)
    fitted = trees.fit(kind, x, y, seed=0, classes=classes, counts=weight)
    new = samples(classes, seed=1)[0]
    prior = np.bincount(y, weight) / weight.sum()
    for rows in (x, new):
        expected = (1 - trees.PRIOR) * model.predict_proba(rows) + trees.PRIOR * prior
        assert np.allclose(ours.probs(rows).numpy(), expected, atol=1e-5)
        assert np.allclose(fitted.probs(rows).numpy(), expected, atol=1e-6)  # before they are arrays, too


@pytest.mark.parametrize(("each", "least"), [(1, 2), (5, 5), (255, 255), (300, 255)])
def test_boosting_has_room_for_the_values_of_a_column_and_no_more(each, least, monkeypatch):
    x = np.stack([np.zeros(600), np.arange(600) % each, np.arange(600) // 7 % min(each, 2)], 1).astype(np.float32)
    x[::50, 2] = np.nan
    y = (x[:, 1] > each // 2).astype(np.int64) + (np.arange(600) % 9 == 0)
    ours, model = theirs("boosting", monkeypatch, x, y)
    assert model.max_bins == least
    monkeypatch.setattr(trees, "levels", lambda x: 255)
    more = trees.fit("boosting", x, y, seed=0, classes=int(y.max()) + 1).trees()
    assert all(torch.equal(one, other) for one, other in zip(ours.tensors(), more.tensors(), strict=True))


@pytest.mark.parametrize("kind", trees.KINDS)
def test_what_counts_more_is_said_to_be_likelier(kind):
    x, y = samples(2, 90)
    counts = np.where(y == 1, 2.0, 0.5)
    found = trees.fit(kind, x, y, seed=0, classes=2, counts=counts)
    share = np.bincount(y, counts) / counts.sum()
    assert np.allclose(found.prior, share)
    plain = trees.fit(kind, x, y, seed=0, classes=2)
    assert found.probs(x)[:, 1].mean() > plain.probs(x)[:, 1].mean() + 0.02


def test_trees_are_told_the_weights_and_see_copies_once(monkeypatch):
    x, y = samples(2, 120)
    x, y = np.concatenate([x, x[:30]]), np.concatenate([y, y[:30]])
    told = []
    fit = trees.fit

    def keep(kind, rows, given, **settings):
        told.append((rows, given, settings["counts"]))
        return fit(kind, rows, given, **settings)

    monkeypatch.setattr(trees, "fit", keep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        NoisyLabelClassifier(Features(heads="none", trees="forest"), class_weight={1: 3}).fit(x, y)
    assert len(told) == DEALS * 5 + 1
    for rows, given, counts in told:
        assert len(np.unique(rows, axis=0)) == len(rows)
        assert np.allclose(counts[given == 1].min(), 3 * counts[given == 0].max())
    assert 60 < len(told[-1][0]) <= 120


def test_thresholds_between_two_floats_are_kept():
    x = np.array([[0.1], [0.3], [0.1], [0.3]], dtype=np.float32)
    x = np.repeat(np.concatenate([x, np.nextafter(x, np.float32(1))]), 20, axis=0)
    y = (x[:, 0] > 0.2).astype(np.int64)
    assert (trees.fit("forest", x, y, seed=0, classes=2).trees().probs(x).argmax(1).numpy() == y).all()


@pytest.mark.parametrize("kind", trees.KINDS)
def test_classes_without_a_label(kind):
    x, y = samples(2)
    for given, held in ((y * 2, [0, 2]), (np.where(y == 1, 3, 1), [1, 3]), (np.full_like(y, 2), [2])):
        fitted = trees.fit(kind, x, given, seed=0, classes=4)
        found = fitted.trees().probs(x)
        assert torch.allclose(fitted.probs(x), found, atol=1e-5)
        assert torch.allclose(found.sum(1), torch.ones(len(x)), atol=1e-5)
        other = [k for k in range(4) if k not in held]
        assert float(found[:, other].max()) < 1e-6
        assert np.mean(found.argmax(1).numpy() == given) > 0.9


def test_boosting_of_many_classes_with_few_rows_each():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 4, (40, 5))
    y = np.repeat(np.arange(40), 6)
    x = (centres[y] + rng.normal(0, 0.5, (len(y), 5))).astype(np.float32)
    found = trees.fit("boosting", x, y, seed=0, classes=40)  # a tenth of the rows is less than one a class
    assert (found.probs(x).numpy().argmax(1) == y).mean() > 0.9


def test_no_label_is_judged_by_trees_that_saw_it(monkeypatch):
    x, y = samples(2, 60)
    generator = torch.Generator().manual_seed(0)
    deals = [deal(torch.from_numpy(y), 3, generator) for _ in range(2)]
    seen = []
    fit = trees.fit

    def watched(kind, rows, given, *rest, **settings):
        seen.append((rows, settings["trees"], settings["seed"]))
        return fit(kind, rows, given, *rest, **settings)

    monkeypatch.setattr(trees, "fit", watched)
    trees.cross_probs("forest", x, torch.from_numpy(y), deals, seed=7, classes=2)
    held = [(fold != number).numpy() for fold in deals for number in range(3)]
    for (rows, _, _), learned in zip(seen, held, strict=True):
        assert np.array_equal(rows, x[learned])
    assert [count for _, count, _ in seen] == [trees._TREES // 2] * 6  # no more trees than one deal has
    assert [seed for _, _, seed in seen] == [7, 7, 7, 8, 8, 8]


def test_a_forest_is_the_mean_over_its_deals_and_boosting_has_one():
    x, y = samples(2, 60)
    given, generator = torch.from_numpy(y), torch.Generator().manual_seed(0)
    deals = [deal(given, 3, generator) for _ in range(2)]
    known = {"seed": 7, "classes": 2}
    mean = torch.zeros(len(x), 2)
    for shift, fold in enumerate(deals):
        for number in range(3):
            out = (fold == number).numpy()
            own = trees.fit("forest", x[~out], y[~out], seed=7 + shift, classes=2, trees=trees._TREES // 2)
            mean[out] += own.probs(x[out]) / 2
    assert torch.equal(trees.cross_probs("forest", x, given, deals, **known), mean)
    one, both = (trees.cross_probs("boosting", x, given, some, **known) for some in (deals[:1], deals))
    assert torch.equal(one, both)


def test_a_deal_that_leaves_nothing_to_learn_from_is_left_out():
    x, y = samples(2, 60)
    given, counts = torch.from_numpy(y), torch.zeros(60, dtype=torch.float64)
    counts[:20] = 1
    good, bad = torch.arange(60) % 3, torch.arange(60) // 20
    known = {"seed": 0, "classes": 2, "counts": counts}
    found = trees.cross_probs("forest", x, given, [good, bad], **known)
    assert torch.equal(found, trees.cross_probs("forest", x, given, [good], **known))
    with pytest.raises(InputError, match="held out together"):
        trees.cross_probs("forest", x, given, [bad, good], **known)


def test_the_first_deal_of_a_problem_is_its_folds():
    x, y = samples(3, 90)
    problem = Problem(Table(x, torch.from_numpy(y), (0, 1, 2), mixed=True), Features(), 5, Clock(None))
    assert len(problem.deals) == DEALS
    assert torch.equal(problem.deals[0], problem.fold)
    assert not torch.equal(problem.deals[1], problem.fold)
    for fold in problem.deals:
        assert torch.bincount(fold).tolist() == torch.bincount(problem.fold).tolist()


@pytest.mark.parametrize(
    ("shape", "settings", "kinds"),
    [
        ((1000, 20), {}, ("linear", "mlp", "forest", "boosting")),
        ((999, 20), {}, ("linear", "mlp")),
        ((5000, 384), {}, ("linear", "mlp")),
        ((5000, 20), {"dense": False}, ("linear", "mlp")),
        ((200, 20), {"mixed": True}, ("linear", "mlp", "forest")),
        ((5000, 400), {"mixed": True}, ("linear", "mlp", "forest", "boosting")),
    ],
)
def test_which_tables_get_trees(shape, settings, kinds):
    assert Features().kinds(*shape, **settings) == kinds
    assert Features(trees="none").kinds(*shape, **settings) == ("linear", "mlp")
    assert Features(heads="none", trees="forest").kinds(*shape, **settings) == ("forest",)
    with pytest.raises(InputError, match="no head is left"):
        Features(heads="none")


def steps(rows=1200, seed=0):
    """Classes that follow a checkerboard, which a line cannot tell apart, with a fifth of the labels wrong."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, (rows, 6)).astype(np.float32)
    truth = (x[:, :2].astype(int).sum(1) % 2).astype(np.int64)
    given = np.where(rng.random(rows) < 0.2, 1 - truth, truth)
    return x, truth, given


def test_trees_are_weighed_by_held_out_labels_and_saved_without_pickle(tmp_path):
    x, _, given = steps()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(Features(heads="linear", trees="both"), out=tmp_path / "run").fit(x, given)
    learned = json.loads((tmp_path / "run" / "summary.json").read_text())["learned"]
    weights = {one["head"]: one["weight"] for one in learned["heads"] if one["pool"] == "plain"}
    assert weights["linear"] < 0.1
    assert sum(weights.values()) == pytest.approx(1, abs=1e-4)
    new, right, _ = steps(600, 1)
    assert np.mean(classifier.predict(new) == right) > 0.85
    loaded = load_model(tmp_path / "run" / "model.safetensors")
    assert np.array_equal(loaded.predict(new).numpy(), classifier.model_.predict(new).numpy())
    rounds = 3 if learned.get("again") else 2  # plain, corrected, and once more where a fifth is wrong
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 3 * rounds + 1


def test_the_trees_of_the_model_see_the_labels_that_are_kept(monkeypatch):
    x, truth, given = steps()
    seen = []
    fit = trees.fit

    def watched(kind, rows, labels, **settings):
        seen.append((rows, labels))
        return fit(kind, rows, labels, **settings)

    monkeypatch.setattr(trees, "fit", watched)
    table = Table(x, torch.from_numpy(given), (0, 1))
    found = learn(table, Features(heads="none", trees="forest"), 0)
    kept = judge.kept(given, found.clean_prob.numpy(), found.probs.argmax(1).numpy())
    rounds = 2 if found.report.get("again") else 1
    assert len(seen) == rounds * 5 * DEALS + 1  # of five folds, and the model
    assert np.array_equal(seen[-1][0], x[kept])
    assert np.array_equal(seen[-1][1], given[kept])
    assert (given == truth)[kept].mean() > (given == truth).mean() + 0.05


def test_taking_the_matrix_out_is_the_inverse_of_the_channel():
    true = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
    channel = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
    found = trees.unmix(true @ channel, channel)
    assert torch.allclose(found.sum(1), torch.ones(3))
    assert float((found - true).abs().max()) < 0.05
    assert torch.equal(trees.unmix(true, torch.eye(3)).round(decimals=5), true)
    slow = true @ channel  # the same steps as loops
    given = slow.clone()
    for _ in range(20):
        for row in range(3):
            mixed = [sum(float(slow[row, c] * channel[c, k]) for c in range(3)) for k in range(3)]
            new = [
                float(slow[row, c]) * sum(float(channel[c, k] * given[row, k]) / mixed[k] for k in range(3))
                for c in range(3)
            ]
            slow[row] = torch.tensor(new) / sum(new)
    assert torch.allclose(slow, found, atol=1e-4)


def test_a_forest_that_is_less_sure_than_it_may_be_is_sharpened():
    generator = torch.Generator().manual_seed(0)
    true = torch.softmax(3 * torch.randn(3000, 3, generator=generator), 1)
    given = torch.multinomial(true, 1, generator=generator).squeeze(1)
    unsure = true.sqrt() / true.sqrt().sum(1, keepdim=True)

    def loss(probs):
        return -float(probs.gather(1, given.unsqueeze(1)).log().mean())

    power, found = trees.sharpest(unsure, loss)
    assert power == 2
    assert torch.allclose(found, 0.98 * true + 0.02 / 3, atol=1e-5)
    assert trees.sharpest(true, loss)[0] == 1


def test_a_damaged_file_is_no_endless_loop():
    x, y = samples(2, 50)
    found = trees.fit("forest", x, y, seed=0, classes=2).trees()
    found.children[:] = torch.arange(len(found.children)).roll(1).unsqueeze(1)
    with pytest.raises(InputError, match="damaged"):
        found.leaves(x[:1])


def test_a_mixed_table_has_a_forest():
    rng = np.random.default_rng(0)
    job = rng.choice(list("abcd"), 200)
    y = np.isin(job, ["a", "c"])
    frame = pd.DataFrame({"job": job, "age": rng.normal(size=200)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(Features(heads="linear")).fit(frame, y)
    assert [row["round"] for row in classifier.history_] == [
        "linear",
        "forest",
        "linear corrected",
        "forest corrected",
        "divide",
    ]


def grown(monkeypatch, x, y, **settings):
    """The kinds of trees that a run fits, one after the other."""
    seen, inner = [], trees.fit
    monkeypatch.setattr(trees, "fit", lambda kind, *rest, **more: (seen.append(kind), inner(kind, *rest, **more))[1])
    monkeypatch.setattr(trees, "_ROUNDS", 10)
    monkeypatch.setattr(trees, "_TREES", 20)
    NoisyLabelClassifier(Features(heads="linear", vote=False, correct=False, **settings)).fit(x, y)
    monkeypatch.undo()
    return seen


def test_boosting_is_tried_on_one_fold_which_is_then_not_fitted_again(monkeypatch):
    """It is left out where it has no weight, or many classes do not gain by it; and a trial costs nothing."""
    rng = np.random.default_rng(0)
    y = np.arange(1000) % 25
    linear = (4 * rng.normal(size=(25, 4))[y] + rng.normal(size=(1000, 4))).astype(np.float32)
    assert grown(monkeypatch, linear, y).count("boosting") == 1
    assert grown(monkeypatch, linear, y, trees="both").count("boosting") >= 5  # who asks gets it
    monkeypatch.setattr(trees, "pays", lambda *_: True)
    assert grown(monkeypatch, linear, y).count("boosting") == 1  # by its weight alone
    seen = []
    monkeypatch.setattr(Problem, "tried", lambda self, *_: seen.append(len(self.given)))
    assert "boosting" not in grown(monkeypatch, linear, y // 13)  # two classes are tried, too
    assert seen == [1000]
    boxes = rng.random((1000, 12)).astype(np.float32)
    rule = 5 * (boxes[:, 0] * 5).astype(int) + (boxes[:, 1] * 5).astype(int)  # of two columns among twelve
    seen = grown(monkeypatch, boxes, rule, again=False)
    assert seen.count("boosting") == 6  # five folds and the model


def test_a_fold_that_is_known_is_not_fitted():
    x, y = samples(2, 60)
    given = torch.from_numpy(y)
    deals, known = [torch.arange(60) % 3], {"seed": 7, "classes": 2}
    whole = trees.cross_probs("boosting", x, given, deals, **known)
    first = torch.full((20, 2), 0.5)
    found = trees.cross_probs("boosting", x, given, deals, first=first, **known)
    assert torch.equal(found[::3], first)
    assert torch.equal(found[1::3], whole[1::3])
