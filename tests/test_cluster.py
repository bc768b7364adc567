"""Tasks on a cluster: the same answers in the same order, also when a worker dies."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from codivide import InputError
from codivide.bench import runner
from codivide.bench.recipes import RECIPES
from codivide.core import cluster
from codivide.data import networks
from codivide.data.encoder import Encoding
from codivide.data.rows import TensorRows
from codivide.methods.features import own, trees


def squared(number):
    return number * number


def refused(number):
    raise InputError(f"{number} is refused")


def dying_once(folder, number):
    """A worker that is killed while it works on 3, the first time."""
    mark = Path(folder) / "died"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_without_a_cluster_tasks_run_here():
    with cluster.connected(None):
        assert not cluster.is_there()
        assert list(cluster.spread(squared, range(4))) == [0, 1, 4, 9]


def test_a_cluster_without_ray_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="pip install ray"), cluster.connected("auto"):
        pass


class Halves:
    """An encoder's network that halves."""

    @staticmethod
    def features(images):
        return images.flatten(1).float() / 2


def opened(name, device, side):
    return networks.Opened(Halves.features, batch=7)


@pytest.fixture(scope="module")
def two_workers():
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:  # as its runtime_env, Ray would start all workers a second time
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def connected(two_workers, monkeypatch):
    import ray

    monkeypatch.setattr(cluster, "_ray", ray)


@pytest.mark.slow
@pytest.mark.process
def test_a_worker_that_is_killed_loses_no_answer(connected, tmp_path):
    assert list(cluster.spread(partial(dying_once, str(tmp_path)), range(8))) == [n * n for n in range(8)]
    assert (tmp_path / "died").exists()
    with pytest.raises(InputError, match=r"^0 is refused$"):
        list(cluster.spread(refused, range(2)))


@pytest.mark.process
def test_encoding_and_cross_fitting_have_the_same_numbers(connected, monkeypatch, tmp_path):
    def everything(folder):
        network = networks.Network(opened, lambda name: [])
        images = TensorRows(torch.arange(40 * 3 * 4, dtype=torch.uint8).view(40, 3, 2, 2))
        encoded = networks.ImageNet("halves", (3, 2, 2), network).encode(images, Encoding(cache=folder, progress=False))
        rng = np.random.default_rng(0)
        x, given, fold = rng.normal(size=(90, 4)).astype(np.float32), np.arange(90) % 3, np.arange(90) // 18
        labels, folds = torch.from_numpy(given), torch.from_numpy(fold)
        forest = trees.cross_probs("forest", x, labels, [folds, folds.flip(0)], seed=0, classes=3)
        mine = own.cross_probs(DecisionTreeClassifier(random_state=0), x, given, fold, classes=(0, 1, 2))
        return encoded[torch.arange(40)], forest, torch.from_numpy(mine)

    there = everything(tmp_path / "there")
    monkeypatch.setattr(cluster, "_ray", None)
    for ours, theirs in zip(everything(tmp_path / "here"), there, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.process
def test_recipes_are_run_by_the_workers(connected, monkeypatch, tmp_path):
    some = next(recipe for recipe in RECIPES.values() if recipe.method == "cross_entropy")
    small = {"data": "digits", "noise": "symmetric:0.4", "limit": 200, "net": "mlp", "plan": {"epochs": 2}, "hyper": {}}
    recipe = replace(some, name="try/digits", labels_per_class=None, augment="none", **small)
    written = runner.work([recipe], [0, 1], tmp_path / "results", tmp_path / "runs")
    assert [path.exists() for path in written] == [True, True]
    monkeypatch.setattr(cluster, "_ray", None)
    (alone,) = runner.work([recipe], [1], tmp_path / "own", tmp_path / "own-runs")
    ours, theirs = (
        (tmp_path / folder / "try" / "digits_s1" / "labels.csv").read_bytes() for folder in ("runs", "own-runs")
    )
    assert alone.exists()
    assert ours == theirs
