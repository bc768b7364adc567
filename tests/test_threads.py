"""How many threads a run takes."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch

from codivide.cli.app import main
from codivide.core import threads


@pytest.mark.parametrize(
    ("cores", "quota", "load", "taken"),
    [
        (8, "max 100000", 0.0, 8),
        (8, "200000 100000", 0.4, 2),
        (2, "max 100000", 0.9, 1),
        (2, "50000 100000", 0.0, 1),
        (4, "", 9.0, 1),
    ],
)
def test_what_is_free(cores, quota, load, taken, tmp_path, monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert threads.free(load).threads == taken


@pytest.mark.parametrize(
    ("before", "after", "others"),
    [
        ((0.0, 10.0, 0.0), (2.0, 13.0, 1.0), 1.0),  # three busy seconds in two, one of them our own
        ((0.0, 10.0, 0.0), (2.0, 11.0, 1.0), 0.0),
        ((0.0, 10.0, 0.0), (0.1, 10.2, 0.0), None),  # too short
        (None, (2.0, 11.0, 1.0), None),
    ],
)
def test_what_others_take(before, after, others):
    moments = [moment and threads._Moment(*moment) for moment in (before, after)]
    assert threads._taken_by_others(*moments) == others


def test_a_command_that_has_ended_takes_no_core(monkeypatch, tmp_path):
    """The load of the last minute counts it still."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (1.2, 0.5, 0.3), raising=False)
    for others, taken in ((0.1, 2), (0.9, 1), (1.9, 1), (None, 1)):
        monkeypatch.setattr(threads, "_taken_by_others", lambda begin, end, others=others: others)
        assert threads.free().threads == taken


@pytest.fixture
def own_threads(monkeypatch):
    """The number that torch uses is that of before, afterwards."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads._Chosen, "threads", None)
    yield
    torch.set_num_threads(before)


def test_a_busy_machine_is_said(own_threads, monkeypatch):
    monkeypatch.setattr(threads, "free", lambda: threads.Free(1, 2, 7.5))
    said = threads.take()
    assert "1 of 2 cores" in said
    assert "load 7.5" in said
    assert torch.get_num_threads() == 1
    assert threads.take(2) is None
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads.take(2) is None
    assert "began with 1 thread and goes on with 2" in threads.take(1)
    assert torch.get_num_threads() == 2


def test_a_resumed_run_takes_as_many_as_it_began_with(own_threads, tmp_path, monkeypatch):
    words = ["fit", "digits", "--out", tmp_path / "run", "--limit", "200", "--method", "cross_entropy", "--epochs", "1"]
    for taken, more in ((1, []), (2, ["--resume"])):
        monkeypatch.setattr(threads, "free", lambda taken=taken: threads.Free(taken, 2, 0.0))
        monkeypatch.setattr("sys.argv", ["codivide", *map(str, words), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (None, 0, 3)  # one epoch is too little, which the code may say
        assert torch.get_num_threads() == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["threads"] == 1


# --- small tables


def held():
    """The threads that torch and every other library of threads would take."""
    import_module("sklearn.utils")  # it brings its own library of threads
    from threadpoolctl import threadpool_info

    return torch.get_num_threads(), {item["filepath"]: item["num_threads"] for item in threadpool_info()}


@pytest.fixture
def two_threads(own_threads):
    """Two threads for all."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(2)
    with threadpool_limits(2):
        yield


@pytest.mark.parametrize(
    ("size", "asked", "load", "taken"),
    [(10, "", 0, 1), (threads.SMALL + 1, "", 0, 2), (threads.SMALL + 1, "", 5, 1), (10, "2", 0, 2)],
)
def test_a_small_table_takes_one_thread_and_gives_back_what_was(two_threads, monkeypatch, size, asked, load, taken):
    monkeypatch.setattr(threads, "free", lambda: threads.Free(1 if load else 8, 8, load))
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    before, inside = held(), []
    assert {before[0], *before[1].values()} == {2}

    def fail():
        with threads.alone(size):
            inside.append(held())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    ((first, others),) = inside
    assert {first, *others.values()} == {taken}
    assert held() == before


def test_a_process_takes_the_same_number_to_its_end(two_threads, monkeypatch):
    """Else two fits on a machine that others use would differ in the last bits."""
    seen = []
    for free in (1, 2):
        monkeypatch.setattr(threads, "free", lambda free=free: threads.Free(free, 2, 0.0))
        with threads.alone(threads.SMALL + 1):
            seen.append(torch.get_num_threads())
    assert seen == [1, 1]
    threads.take()  # as the command line does when it starts
    with threads.alone(threads.SMALL + 1):
        assert torch.get_num_threads() == 2


def test_the_learners_of_small_tables_take_one_thread(two_threads, monkeypatch):
    """What scikit-learn's boosting and torch may take while the heads are fitted."""
    from codivide import NoisyLabelClassifier, NoisyLabelRegressor, NoisyMultiLabelClassifier, noise_report
    from codivide.methods.features import linear, number_heads

    seen = []
    for module in (linear, number_heads):
        inner = module.fit
        monkeypatch.setattr(module, "fit", lambda *a, inner=inner, **k: (seen.append(held()), inner(*a, **k))[1])
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = (x > 0).astype(int)
    for fit in (
        lambda: NoisyLabelClassifier("features").fit(x, y[:, 0]),
        lambda: NoisyLabelRegressor().fit(x, x[:, 0]),
        lambda: NoisyMultiLabelClassifier().fit(x, y),
        lambda: noise_report(x, y[:, 0]),
    ):
        seen.clear()
        fit()
        assert seen
        assert {number for first, others in seen for number in (first, *others.values())} == {1}
        assert held()[0] == 2


def test_the_model_of_the_noise_takes_one_thread_for_few_labels(two_threads, monkeypatch):
    """Two threads waited for each other for twice the time of all that ``clean`` does."""
    from codivide import noise_report
    from codivide.noise import latent

    seen, inner = [], latent.minimize
    monkeypatch.setattr(latent, "minimize", lambda *a, **k: (seen.append(held()), inner(*a, **k))[1])
    labels = np.random.default_rng(0).integers(3, size=90)
    before = held()
    noise_report(None, labels, pred_probs=0.7 * np.eye(3)[labels] + 0.1)
    assert seen
    assert {count for first, others in seen for count in (first, *others.values())} == {1}
    assert held() == before
