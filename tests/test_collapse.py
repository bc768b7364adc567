"""A network that predicts one class, or far fewer than are labelled: found while training, named in the summary."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from codivide import METHODS, TrainingWarning
from codivide.cli.output import say_outcome
from codivide.data.sources import load
from codivide.fit import execute as execution
from codivide.fit.execute import execute
from codivide.fit.job import Job, default_plan
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.features.options import Features
from codivide.noise.learning_curves import collapse
from codivide.training import nets

CLASSES = 4
TRAINED = [name for name, cls in METHODS.items() if cls.trains]


def blobs(unlabelled=0):
    generator = np.random.default_rng(0)
    y = np.arange(160) % CLASSES
    x = 3 * np.eye(CLASSES, 6)[y] + generator.normal(size=(160, 6))
    return load(x.astype(np.float32), np.where(np.arange(160) < unlabelled, -1, y))


def job(name, epochs=10, **other):
    method = METHODS[name]()
    return Job(method, default_plan(160, method, epochs=epochs, batch_size=32, lr=0.02, device="cpu"), "mlp", **other)


@pytest.mark.parametrize(
    ("said", "given", "found"),
    [
        ([50, 50], [50, 50], None),
        ([100, 0], [50, 50], 1),
        ([100, 0], [90, 10], 1),  # a single class, whatever the shares
        ([99, 1], [90, 10], None),  # a rare class that is not learned is no collapse
        ([0, 100], [0, 100], None),  # nothing else has a label
        ([40, 40, 40, 40, 0, 0, 0, 0, 0, 0], [16] * 10, 4),
        ([32, 32, 32, 32, 32, 0, 0, 0, 0, 0], [16] * 10, None),
        ([1000, 1], [500, 501], 1),
    ],
)
def test_what_counts_as_a_collapse(said, given, found):
    text = collapse(np.repeat(np.arange(len(said)), said), np.repeat(np.arange(len(given)), given), len(given))
    assert (text is None) == (found is None)
    if found:
        assert f"predicts {found} of {len(given)} labelled classes" in text
        assert "lower lr" in text


class Stuck(nn.Module):
    """Logits that say class 0 whatever the input, from the start or once the network has been used so often."""

    def __init__(self, after):
        super().__init__()
        self.after, self.seen = after, 0

    def forward(self, logits):
        self.seen += self.training
        return logits if self.seen < self.after else 0 * logits + torch.eye(CLASSES)[0]


def build_stuck(monkeypatch, after=0):
    original = nets.build

    def build(*words, **named):
        net = original(*words, **named)
        net.head = nn.Sequential(*net.head, Stuck(after))
        return net

    monkeypatch.setattr(nets, "build", build)


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_says_that_its_network_has_collapsed(name, monkeypatch):
    build_stuck(monkeypatch)
    with pytest.warns(TrainingWarning, match="collapsed: it predicts 1 of 4 labelled classes") as seen:
        outcome = execute(job(name), blobs(unlabelled=80 if METHODS[name].semi_supervised else 0))
    assert sum("collapsed" in str(warning.message) for warning in seen) == 1
    assert outcome.summary["collapsed"] is True
    (text,) = [text for text in outcome.summary["warnings"] if "collapsed" in text]
    assert text.startswith("epoch 2: ")  # the first look after a fifth of the epochs
    assert "collapse" in outcome.history[1]["warnings"]


def test_a_collapse_on_the_way_is_found_while_training(monkeypatch, tmp_path):
    build_stuck(monkeypatch, after=25)  # five passes of five batches
    with pytest.warns(TrainingWarning, match="epoch 6: the network has collapsed"):
        execute(job("cross_entropy"), blobs(), tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "collapse" in row.get("warnings", {})] == [6]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["collapsed"] is True


def test_without_a_record_the_end_is_looked_at(monkeypatch):
    build_stuck(monkeypatch)
    with pytest.warns(TrainingWarning, match="epoch 3: the network has collapsed"):
        outcome = execute(job("cross_entropy", epochs=3, record_learning=False), blobs())
    assert outcome.summary["collapsed"] is True
    assert any("collapsed" in text for text in outcome.summary["warnings"])


@pytest.mark.parametrize("record", [True, False])
def test_of_a_run_that_stopped_the_last_epoch_that_trained_is_named(monkeypatch, record):
    build_stuck(monkeypatch, after=10)  # two passes of five batches: the third epoch is the first that is stuck
    method = CrossEntropy(last_epoch=3)
    stopped = replace(job("cross_entropy", epochs=6, record_learning=record), method=method)
    with pytest.warns(TrainingWarning, match="^epoch 3: the network has collapsed"):
        outcome = execute(stopped, blobs())
    assert [row["epoch"] for row in outcome.history if "stopped" in row] == [4, 5, 6]
    assert sum("collapsed" in text for text in outcome.summary["warnings"]) == 1


def test_a_sound_run_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        outcome = execute(job("cross_entropy"), blobs())
    assert outcome.summary["collapsed"] is False
    assert outcome.summary["warnings"] == []


@pytest.mark.long
def test_the_route_for_features_says_it_too(monkeypatch):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 5)).astype(np.float32), np.arange(300) % 2
    sound = execute(Job(Features(), default_plan(300, Features(), seed=0)), load(x + 3 * y[:, None], y))
    assert sound.summary["collapsed"] is False
    monkeypatch.setattr(execution.learning_curves, "collapse", lambda *seen: f"one class. {seen[-1]}")
    found = execute(Job(Features(), default_plan(300, Features(), seed=0)), load(x + 3 * y[:, None], y))
    assert found.summary["collapsed"] is True
    assert "one class. It takes more labels of each class" in str(found.summary["warnings"])  # and no other lr


def test_the_closing_lines_name_the_collapse_and_what_to_do(monkeypatch, capsys, tmp_path):
    build_stuck(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = execute(job("backward_correction", epochs=4), blobs())
    say_outcome(outcome.summary, tmp_path, 1.0)
    said = " ".join(capsys.readouterr().out.split())
    assert "collapsed: " in said
    assert "it predicts 1 of 4 labelled classes" in said
    assert "Use a lower lr" in said
    assert "do not use" in said
