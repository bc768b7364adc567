"""The common suite: what every method in METHODS must do."""

import copy
import inspect
import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from codivide import NoisyLabelClassifier, train
from codivide.cli.flags import described
from codivide.methods import METHODS
from codivide.training.checkpoint import Checkpoint
from codivide.training.run import Data, Run
from tests import toys

every_method = pytest.mark.parametrize("name", METHODS)
every_semi_supervised = pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.semi_supervised])


def quick(name):
    """A method that does all it can within a few epochs."""
    method = METHODS[name]()
    return replace(method, warmup=2) if any(f.name == "warmup" for f in fields(method)) else method


def run_of(name, problem=None, epochs=5, **settings):
    problem = problem or toys.toy()
    return train(quick(name), problem.data, toys.build, toys.plan(epochs, **settings))


def own_plan(name):
    """The weights of unlabelled losses are made for an optimizer."""
    return METHODS[name].settings if METHODS[name].semi_supervised else {}


def accuracy(run, problem):
    with torch.no_grad():
        logits = torch.stack([net.eval()(problem.data.x.data) for net in run.method.members(run)]).mean(0)
    return (logits.argmax(1) == problem.truth).float().mean()


@every_method
def test_same_seed_same_bits_and_another_seed_others(name):
    first, second, other = run_of(name), run_of(name), run_of(name, seed=1)
    assert toys.same(toys.state(first), toys.state(second)) == []
    assert toys.same(toys.state(first), toys.state(other)) != []


@every_method
def test_resume_is_the_straight_run(name, tmp_path):
    straight = run_of(name)

    class Stop(Exception):
        pass

    for stop_after in (2, 4):

        def stop(run, at=stop_after):
            if run.epoch == at + 1:
                raise Stop

        path = tmp_path / f"{stop_after}.safetensors"
        problem = toys.toy()
        with pytest.raises(Stop):
            train(quick(name), problem.data, toys.build, toys.plan(5), watch=stop, checkpoint=Checkpoint(path))
        resumed = train(quick(name), problem.data, toys.build, toys.plan(5), checkpoint=Checkpoint(path, resume=True))
        assert toys.same(toys.state(straight), toys.state(resumed)) == []


@every_method
def test_labels_are_never_written(name):
    problem = toys.toy(unlabelled=12)
    before = problem.data.y.clone()
    run = run_of(name, problem)
    assert torch.equal(problem.data.y, before)
    assert torch.equal(run.data.y, before)


@every_method
def test_the_global_generators_are_untouched(name):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 (the global one is what must stay untouched)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run_of(name)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@every_method
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
    problem = toys.toy(600)
    run = run_of(name, problem, epochs=12, **own_plan(name))
    assert accuracy(run, problem) > 0.9
    prob, wrong = run.method.clean_prob(run), problem.data.y != problem.truth
    assert prob[~wrong].mean() > prob[wrong].mean() + 0.3
    assert ((prob >= 0) & (prob <= 1)).all()


@every_semi_supervised
def test_it_learns_from_few_labels(name):
    """95 % of the labels are missing, and none of those enters a loss on labels."""
    problem = toys.toy(600, noise=0.0, unlabelled=570)
    run = run_of(name, problem, epochs=12, **own_plan(name))
    assert accuracy(run, problem) > 0.9
    assert (run.memory["loss_count"][:30] > 0).all()
    assert (run.memory["loss_count"][30:] == 0).all()


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
    run = run_of(name, problem())
    assert run.epoch == 5
    assert all(torch.isfinite(p).all() for net in run.nets for p in net.parameters())
    prob = run.method.clean_prob(run)
    assert torch.equal(prob.isnan(), run.data.y < 0)


@every_method
def test_it_is_a_plain_value(name):
    method = quick(name)
    assert pickle.loads(pickle.dumps(method)) == method
    assert copy.deepcopy(method) == method
    assert repr(method).startswith(type(method).__name__ + "(")
    assert clone(NoisyLabelClassifier(method=method)).method == method


@every_method
def test_it_is_documented_and_short(name):
    cls = METHODS[name]
    source = Path(inspect.getfile(cls)).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    assert cls.summary
    assert cls.paper
    assert [item.name for item in fields(cls) if not described(cls).get(item.name)] == []
