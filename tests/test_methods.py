"""The common suite: what every method in METHODS must do.

Methods that train networks run through ``train``; ``features`` and ``auto``, which do not, through the classifier. One
method: ``pytest tests/test_methods.py -k NAME``.
"""

import contextlib
import copy
import functools
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor

from codivide import NoisyLabelClassifier, train
from codivide.bench.recipes import RECIPES
from codivide.cli.inspect import settings_page
from codivide.cli.method_flags import described
from codivide.data.arrays import from_arrays
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, default_plan
from codivide.methods import METHODS
from codivide.training.checkpoint import Checkpoint
from codivide.training.run import Run
from codivide.training.samples import Data
from tests import toys

ROOT = Path(__file__).parents[1]

#: The accuracy that a method must pass on the toy, where that is not 0.9: a method that is meant to be weak has a line
#: here, with the reason. It must find wrong labels all the same.
LEAST: dict[str, float] = {}

every_method = pytest.mark.parametrize("name", METHODS)
every_trained = pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.trains])
every_other = pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if not cls.trains])
every_semi_supervised = pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.semi_supervised])


@dataclass
class Result:
    """What the suite looks at, of a method of either kind."""

    state: Mapping[str, Tensor]  # everything that two runs of the same bits share
    given: Tensor  # labels, as they are after the run
    clean_prob: Tensor
    predicted: Tensor


def quick(name):
    """A method that does all it can within a few epochs, and at little cost."""
    method = METHODS[name]()
    short = {"warmup": 2, "fast": 2}
    return replace(method, **{f.name: short[f.name] for f in fields(method) if f.name in short})


def run_of(name, problem=None, epochs=5, **settings):
    problem = problem or toys.toy()
    return train(quick(name), problem.data, toys.build, toys.plan(epochs, **settings))


def result_of(name, problem=None, epochs=5, *, seed=0, **settings):
    """A whole run of a method on a problem; the others need 20 labels to hold out, else "auto" decides nothing."""
    problem = problem or toys.toy(120 if METHODS[name].trains else 240)
    if not METHODS[name].trains:
        return classified(name, problem, epochs, seed)
    run = run_of(name, problem, epochs, seed=seed, **settings)
    state = toys.state(run)
    clean_prob = run.method.clean_prob(run)
    with torch.no_grad():
        logits = torch.stack([net.eval()(problem.data.x.data) for net in run.method.members(run)]).mean(0)
    return Result(state, run.data.y, clean_prob, logits.argmax(1))


def classified(name, problem, epochs, seed):
    """The same through the classifier."""
    network = {} if name == "features" else {"net": "mlp", "epochs": epochs, "lr": 0.05, "precision": "fp32"}
    classifier = NoisyLabelClassifier(METHODS[name](), random_state=seed, **network)
    x = problem.data.x.data.numpy()
    given = problem.data.y.numpy().copy()
    classifier.fit(x, given)
    probs = torch.from_numpy(classifier.predict_proba(x))
    clean_prob = torch.tensor(classifier.clean_proba_, dtype=torch.float64)
    return Result({"probs": probs, "clean_prob": clean_prob}, torch.from_numpy(given), clean_prob, probs.argmax(1))


def own_plan(name):
    """The weights of unlabelled losses are made for an optimizer; the toy's rate is too high for two on some chips."""
    if name in ("pencil", "promix"):
        return {"lr": 0.03}
    return METHODS[name].settings if METHODS[name].semi_supervised else {}


def accuracy(result, problem):
    return (result.predicted == problem.truth).float().mean()


class Stop(Exception):
    """What a run is killed with."""


def killed_at(epoch):
    def stop(run):
        if run.epoch == epoch:
            raise Stop

    return stop


@functools.cache
def straight(name):
    """What is the same of every run of a method; for several tests that change nothing of it."""
    return result_of(name).state


@every_method
def test_same_seed_same_bits_another_seed_others_and_the_global_generators_are_untouched(name):
    first = straight(name)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 (the global one is what must stay untouched)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    second, other = result_of(name), result_of(name, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert toys.same(first, second.state) == []
    assert toys.same(first, other.state) != []


@every_trained
def test_resume_is_the_straight_run(name, tmp_path):
    for stop_after in (2, 4):
        path = tmp_path / f"{stop_after}.safetensors"
        problem = toys.toy()
        watch = killed_at(stop_after + 1)
        with pytest.raises(Stop):
            train(quick(name), problem.data, toys.build, toys.plan(5), watch=watch, checkpoint=Checkpoint(path))
        resumed = train(quick(name), problem.data, toys.build, toys.plan(5), checkpoint=Checkpoint(path, resume=True))
        assert toys.same(straight(name), toys.state(resumed)) == []


@pytest.mark.long
@every_other
def test_a_folder_is_gone_on_with_to_the_same_end(name, tmp_path):
    """They have no checkpoint of their own: ``auto`` keeps its stages', ``features`` begins again."""
    problem = toys.toy(240)
    loaded = from_arrays(problem.data.x.data.numpy(), problem.data.y.numpy())
    method = METHODS[name]()
    network = {} if name == "features" else {"epochs": 4, "lr": 0.05, "precision": "fp32"}
    job = Job(method, default_plan(len(loaded.y), method, **network), "auto" if name == "features" else "mlp")

    def go(folder, kill=None):
        seen = []

        def progress(run, row):
            seen.append(row)
            if len(seen) == kill:
                raise Stop

        return execute(job, loaded, folder, resume=True, begin=lambda name, epochs: progress)

    def state(outcome):
        prob = torch.tensor(outcome.table["clean_prob"].to_numpy(), dtype=torch.float64)
        return {"logits": outcome.model.logits(loaded.x), "clean_prob": prob}

    whole = state(go(tmp_path / "whole"))
    for kill in (2, 5):
        with pytest.raises(Stop):
            go(tmp_path / f"{kill}", kill)
        assert toys.same(whole, state(go(tmp_path / f"{kill}"))) == []


@every_method
def test_labels_are_never_written(name):
    problem = toys.toy(unlabelled=12)
    before = problem.data.y.clone()
    result = result_of(name, problem)
    assert torch.equal(problem.data.y, before)
    assert torch.equal(result.given, before)


@every_trained
def test_renaming_rows_with_the_batches_fixed_permutes_the_state(name, monkeypatch):
    """Row numbers are names: a method must not use them for anything but looking state up."""
    problem = toys.toy(60)
    rename = torch.randperm(60, generator=torch.Generator().manual_seed(5))  # new row of each old row
    back = rename.argsort()
    plain = run_of(name, problem)
    renamed = Data(
        type(problem.data.x)(problem.data.x.data[back]), problem.data.y[back], problem.data.classes, toys.VIEWS
    )
    original = Run._chosen

    def chosen(self, where):  # the same samples in the same order as in the plain run, under their new names
        where = torch.ones(60, dtype=torch.bool) if where is None else where
        return rename[original(self, where[rename])]

    monkeypatch.setattr(Run, "_chosen", chosen)
    moved = train(quick(name), renamed, toys.build, toys.plan(5))
    for key, value in plain.memory.items():
        if value.shape[:1] == (60,):
            assert torch.allclose(moved.memory[key][rename].nan_to_num(7), value.nan_to_num(7), atol=1e-3), key


@every_method
def test_it_learns_and_finds_wrong_labels(name):
    problem = toys.toy(600 if name == "backward_correction" else 400)  # its gradients are the noisiest
    result = result_of(name, problem, epochs=12, **own_plan(name))
    assert accuracy(result, problem) > LEAST.get(name, 0.9)
    prob = result.clean_prob
    wrong = problem.data.y != problem.truth
    assert prob[~wrong].mean() > prob[wrong].mean() + 0.3
    assert ((prob >= 0) & (prob <= 1)).all()


@every_semi_supervised
def test_it_learns_from_few_labels(name):
    """95 % of the labels are missing, and none of those enters a loss on labels."""
    problem = toys.toy(600, noise=0.0, unlabelled=570)
    result = result_of(name, problem, epochs=12, **own_plan(name))
    assert accuracy(result, problem) > 0.9
    assert (result.state["memory.loss_count"][:30] > 0).all()
    assert (result.state["memory.loss_count"][30:] == 0).all()


@every_method
@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(lambda: toys.toy(60, noise=0.0), id="no noise"),
        pytest.param(lambda: toys.toy(60, noise=1.0), id="all wrong"),
        pytest.param(lambda: toys.toy(9), id="nine samples"),
        pytest.param(lambda: toys.toy(60, unlabelled=40), id="mostly unlabelled"),
        pytest.param(lambda: toys.toy(17), id="one over the batch"),
    ],
)
def test_it_survives_hard_sets(name, problem):
    result = result_of(name, problem())
    values = [value for value in result.state.values() if value.is_floating_point()]
    assert len(result.predicted) == len(result.given)
    assert not any(value.isinf().any() for value in values)
    assert all(torch.isfinite(value).all() for key, value in result.state.items() if key.startswith(("net.", "probs")))
    assert torch.equal(result.clean_prob.isnan(), result.given < 0)


@every_method
def test_it_is_a_plain_value(name):
    method = quick(name)
    assert pickle.loads(pickle.dumps(method)) == method
    assert copy.deepcopy(method) == method
    assert repr(method).startswith(type(method).__name__ + "(")
    assert clone(NoisyLabelClassifier(method=method)).method == method
    assert method.settled() == method.settled().settled()
    assert method.settled().unsettled() == ()


@every_method
def test_it_is_documented(name):
    cls = METHODS[name]
    assert cls.summary
    assert cls.paper
    assert [item.name for item in fields(cls) if not described(cls).get(item.name)] == []
    assert (ROOT / f"docs/methods/{name}.md").read_text(encoding="utf-8").startswith("# ")


@every_method
def test_its_page_has_the_parts_of_all_pages(name):
    text = (ROOT / f"docs/methods/{name}.md").read_text(encoding="utf-8")
    parts = ["What it does", "When to use it", "Run it", "Settings", "Measured"]
    assert [title for title in re.findall(r"^## (.*)$", text, re.MULTILINE) if title in parts] == parts
    assert f'settings_page("{name}")' in text
    flags = re.findall(r"^\| `--(?:method-)?([\w-]+)` \| [^|]+ \| \S", settings_page(name), re.MULTILINE)
    assert flags == [item.name.replace("_", "-") for item in fields(METHODS[name])]
    published = any(recipe.published for recipe in RECIPES.values() if recipe.method == name)
    assert (f'published_page("{name}")' in text) == published
    for made in re.findall(r'METHODS\["\w+"\]\([^)]*\)', text):
        assert isinstance(eval(made, {"METHODS": METHODS}), METHODS[name])


def test_the_documentation_lists_every_method_and_nothing_else():
    pages = {path.stem for path in (ROOT / "docs/methods").glob("*.md")} - {"index"}
    in_menu = re.findall(r"methods/(\w+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(pages) == sorted(METHODS) == sorted(set(in_menu) - {"index"})
    assert len(in_menu) == len(METHODS) + 1
    index = (ROOT / "docs/methods/index.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python exec=.*?\n(.*?)```", index, flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})  # as mkdocs does
    for name in METHODS:
        assert f"[`{name}`]({name}.md)" in printed.getvalue()


def test_the_template_of_contributing_passes(monkeypatch, tmp_path):
    """The method that CONTRIBUTING adds as an example, with its line in LEAST."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n# codivide/methods/focal\.py\n(.*?)```", text, flags=re.DOTALL)
    (least,) = re.findall(r'`"focal": (0\.\d+),', text)
    path = tmp_path / "focal_of_contributing.py"
    path.write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(path.stem)
    monkeypatch.setitem(METHODS, "focal", module.Focal)
    monkeypatch.setitem(LEAST, "focal", float(least))
    test_same_seed_same_bits_another_seed_others_and_the_global_generators_are_untouched("focal")
    test_resume_is_the_straight_run("focal", tmp_path)
    test_it_learns_and_finds_wrong_labels("focal")
    test_it_is_a_plain_value("focal")
    assert [item.name for item in fields(module.Focal) if not described(module.Focal).get(item.name)] == []
