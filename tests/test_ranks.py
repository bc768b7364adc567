"""Several processes train one run: all methods, interrupted and restarted, as good as one process."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from codivide import InputError, Plan
from codivide.methods import METHODS
from codivide.runs.folder import SavedRun
from codivide.training import ranks
from codivide.training.ranks import Ranks
from codivide.training.together import Alone, Together
from tests import pair
from tests.forked import children, forked

ROOT = Path(__file__).parents[1]
TRAINED = [name for name, cls in METHODS.items() if cls.trains]


def free_port() -> int:
    with socket.socket() as open_socket:
        open_socket.bind(("127.0.0.1", 0))
        return open_socket.getsockname()[1]


def together(count, work, cwd):
    """How several processes ended that do the same work as if torchrun had started them, the first of them first."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    ranks = [shared | {"RANK": str(rank)} for rank in range(count)]
    living = [children.start(work, cwd, environment=rank, patience=5) for rank in ranks]  # all methods, one by one
    ended = [child.end() for child in living]
    assert [child.code for child in ended] == [0] * count, [child.err[-3000:] for child in ended]
    return ended


def started(folder, count, names, *, samples, epochs, seeds=1):
    """What the first of several processes has printed of each method."""
    children.warm()
    first, *_ = together(count, lambda: pair.main(folder, samples, epochs, seeds, names), ROOT)
    return {(row := json.loads(line))["name"]: row for line in first.out.splitlines() if line.startswith("{")}


def wrong(name, row):
    """What is wrong with a method that several processes have trained."""
    digests = {digest for process in row["digests"] for digest in process}
    epochs = [record["epoch"] for record in row["history"]]
    faults = {
        "the processes differ, or the resumed run from the straight one": len(digests) != 1,
        "something is not finite": not all(result["finite"] for result in row["results"]),
        "an epoch has no loss": any("loss" not in record for record in row["history"]),
        "an epoch is missing": epochs != list(range(1, len(epochs) + 1)),
        "no step was taken": row["steps"] < len(epochs),
    }
    return [f"{name}: {fault}" for fault, is_there in faults.items() if is_there]


@forked
@pytest.mark.long
@pytest.mark.process
def test_two_processes_train_every_method_and_go_on_after_a_break(tmp_path):
    found = started(tmp_path, 2, TRAINED, samples=64, epochs=2)
    assert list(found) == TRAINED
    assert [fault for name, row in found.items() for fault in wrong(name, row)] == []


@forked
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_learn_as_one_does_within_the_noise_of_seeds(tmp_path, count):
    samples, epochs, seeds, worse = 120, 12, 3, []
    found = started(tmp_path, count, TRAINED, samples=samples, epochs=epochs, seeds=seeds)
    for name, row in found.items():
        alone = [pair.result(pair.trained(name, samples, epochs, seed)) for seed in range(seeds)]
        for measure in ("accuracy", "gap"):
            ours, theirs = ([result[measure] for result in results] for results in (row["results"], alone))
            error = statistics.stdev(ours) + statistics.stdev(theirs)  # of few seeds, so both and twice
            if statistics.mean(ours) < statistics.mean(theirs) - 2 * error - 0.03:
                worse.append((name, measure, ours, theirs))
    assert [fault for name, row in found.items() for fault in wrong(name, row)] == []
    assert worse == []


def torchrun(folder, out, *more, dying=None, script=("-m", "codivide")):
    """``torchrun`` with two processes on the same few images."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    command += ["--master-port", str(free_port()), *script, "fit", "digits", "--out", str(folder / out)]
    command += ["--noise", "symmetric:0.4", "--limit", "300", "--net", "mlp", *more]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env |= {} if dying is None else {"DYING": str(dying)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return SavedRun(folder / out), done


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_torchrun_restarts_when_one_is_killed_and_the_run_is_the_same(tmp_path, dying):
    asked = ("--method", "cross_entropy", "--epochs", "4")
    straight, _ = torchrun(tmp_path, "straight", *asked)
    killed, done = torchrun(tmp_path, "killed", *asked, dying=dying, script=(str(ROOT / "tests" / "dying.py"),))
    assert "exitcode: -9" in done.stderr
    for name in ("labels.csv", "model.safetensors", "predictions.npz"):
        assert (straight.path / name).read_bytes() == (killed.path / name).read_bytes(), name
    assert killed.summary["processes"] == 2


@pytest.mark.slow
def test_torchrun_chooses_tries_and_judges_as_one_process_does(tmp_path):
    run, _ = torchrun(tmp_path, "auto", "--method", "auto", "--epochs", "12")
    assert run.summary["choice"]["decision"]["method"] in METHODS
    assert run.summary["detection"]["auroc"] > 0.8
    audit = [sys.executable, "-m", "codivide", "audit", str(run.path)]
    subprocess.run(audit, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)


def test_samples_are_shared_out_once_and_for_all():
    parts = [Together(Ranks(rank, 3), 20, seed=0) for rank in range(3)]
    assert sorted(torch.cat([part.own(20) for part in parts]).tolist()) == list(range(20))
    assert {len(part.own(20)) for part in parts} == {6, 7}
    again = Together(Ranks(1, 3), 20, seed=0)
    assert torch.equal(again.own(20), parts[1].own(20))
    few = parts[0].own(20)[:1]
    assert torch.equal(parts[0].mine(torch.arange(20)), parts[0].own(20))
    assert torch.equal(parts[1].mine(few), few)  # it owns none of them, and has to join in
    assert [part.part(64) for part in parts] == [22] * 3
    with pytest.raises(InputError, match="too few for 3 processes"):
        Together(Ranks(0, 3), 5, seed=0)


def test_one_process_is_alone():
    alone, here = Alone(), ranks.here()
    assert (here.rank, here.count) == (0, 1)
    assert here.told({"a": 1}) == {"a": 1}
    assert here.heard([1.5]) == [[1.5]]
    assert torch.equal(here.joined(torch.arange(3), [3])[0], torch.arange(3))
    assert alone.part(64) == 64
    with ranks.joined("cpu") as joined:  # nobody started it with others
        assert joined == Ranks()


@forked
@pytest.mark.process
def test_no_process_leaves_before_all_are_connected(tmp_path):
    connected = tmp_path / "connected"

    def work():
        begin = ranks.dist.init_process_group

        def slowly(*args, **more):
            begin(*args, **more)
            if os.environ["RANK"] == "0":  # as between busy processes
                time.sleep(1)
                connected.touch()

        ranks.dist.init_process_group = slowly
        with ranks.joined("cpu"):
            pass
        assert connected.exists()

    together(2, work, tmp_path)


def test_a_machine_with_fewer_gpus_than_processes_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="finds 1 GPUs"), ranks.joined(Plan().device):
        pass
