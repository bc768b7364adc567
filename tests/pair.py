"""One of several processes that train methods together; ``tests/test_ranks.py`` starts them.

Each line that the first prints is what the test looks at of one method.
"""

import hashlib
import json
import warnings
from dataclasses import fields, replace

import torch

from codivide import METHODS, Checkpoint, train
from codivide.training import ranks
from tests import toys


def trained(name, samples, epochs, seed=0, **more):
    """A run of a method that does all it can within a few epochs."""
    method = METHODS[name]()
    method = replace(method, warmup=1) if any(f.name == "warmup" for f in fields(method)) else method
    own = METHODS[name].settings if METHODS[name].semi_supervised else {}
    return train(method, toys.toy(samples).data, toys.build, toys.plan(epochs, batch_size=32, seed=seed, **own), **more)


class Stop(Exception):
    """What a run is broken off with."""


def stopped(run):
    if run.epoch == run.plan.epochs:
        raise Stop


def broken_off(name, samples, epochs, path, rank):
    """The same run, gone on with from the checkpoint before its last epoch."""
    if not rank:
        path.unlink(missing_ok=True)
    try:
        trained(name, samples, epochs, watch=stopped, checkpoint=None if rank else Checkpoint(path))
    except Stop:
        return trained(name, samples, epochs, checkpoint=None if rank else Checkpoint(path, resume=True))
    raise AssertionError("it was not broken off")


def digest(run):
    state = toys.state(run)
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def result(run):
    """How good a run has become."""
    truth = toys.toy(len(run.data)).truth
    with torch.no_grad():
        logits = torch.stack([net.eval()(run.data.x.data) for net in run.method.members(run)]).mean(0)
    clean, right = run.clean_prob(), run.data.y == truth
    return {
        "accuracy": float((logits.argmax(1) == truth).float().mean()),
        "gap": float(clean[right].mean() - clean[~right].mean()),
        "finite": bool(torch.isfinite(clean).all() and torch.isfinite(logits).all()),
    }


def main(folder, samples, epochs, seeds, names):
    """Train the methods, ``seeds`` times each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with ranks.joined("cpu") as here:
        for name in names:
            run = trained(name, samples, epochs)
            again = broken_off(name, samples, epochs, folder / "run.safetensors", here.rank)
            digests = here.heard([digest(run), digest(again)])
            results = [result(run), *(result(trained(name, samples, epochs, seed)) for seed in range(1, seeds))]
            if here.rank == 0:
                row = {"name": name, "digests": digests, "steps": run.step, "history": run.history, "results": results}
                print(json.dumps(row), flush=True)
