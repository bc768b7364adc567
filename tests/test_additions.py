"""The additions that CONTRIBUTING shows, each tried as it stands there: one file, one line, nothing else."""

import re
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
import typer
from torch import Tensor

import codivide
from codivide import InputError, NoisyLabelClassifier
from codivide.audit import checks
from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.cli import app, inspect
from codivide.core.types import Floats, Singles
from codivide.data import sources
from codivide.data.arrays import from_arrays
from codivide.data.encoder import EncoderKind, Encoding
from codivide.data.inputs import from_memory
from codivide.data.loaded import Loaded
from codivide.data.pretrained import ENCODERS
from codivide.data.rows import Rows, TensorRows
from codivide.data.source import Inputs, Reading, Source, Wanted
from codivide.noise.rules import RULES, Judgeable, Rule
from codivide.runs.label_table import Column
from codivide.training.plan import Plan

pytestmark = pytest.mark.long  # whole runs

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: What the examples take from elsewhere, by the names that they call it.
NAMES = {"ENCODERS": ENCODERS, "Floats": Floats, "RULES": RULES, "Singles": Singles, "np": np, "torch": torch}
NAMES |= {"Annotated": Annotated, "Any": Any, "Sequence": Sequence, "from_arrays": from_arrays, "typer": typer}
NAMES |= {"from_memory": from_memory, "Rule": Rule, "Judgeable": Judgeable, "Path": Path}
KINDS = (Check, Column, EncoderKind, Encoding, Found, Inputs, Loaded, Material, Reading, Rows, Source, Tensor)
NAMES |= {kind.__name__: kind for kind in (*KINDS, TensorRows, Wanted)}


def example(kind: str) -> dict[str, Any]:
    """The names that a block of CONTRIBUTING defines."""
    (block,) = re.findall(rf"```python\n# {kind}\n(.*?)```", TEXT, flags=re.DOTALL)
    names = dict(NAMES)
    exec(compile(block, f"CONTRIBUTING.md, {kind}", "exec"), names)
    return names


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    return (rng.normal(size=(60, 3)) + 4 * y[:, None] + 3).astype(np.float32), y


def test_a_rule():
    try:
        example("rule")
        found = codivide.score_labels("largest", ["x", "y"], pred_probs=[[0.9, 0.1], [0.2, 0.8]])
    finally:
        RULES.pop("largest", None)
    assert found == pytest.approx([0.9, 0.8])


def test_a_source(monkeypatch, tmp_path, blobs):
    x, y = blobs
    path = tmp_path / "a.lines"
    path.write_text("".join(f"{'ab'[k]} {' '.join(map(str, row))}\n" for row, k in zip(x, y, strict=True)))
    with pytest.raises(InputError, match="is no data set"):
        NoisyLabelClassifier("features").fit(path)
    monkeypatch.setattr(sources, "SOURCES", (example("source")["LINES"], *sources.SOURCES))
    assert NoisyLabelClassifier("features").fit(path).predict(path).tolist() == ["a", "b"] * 30


def test_an_encoder():
    texts = ["a b c d e f", "abcdefghijk", "b c d e f g", "bcdefghijkl"] * 6
    try:
        example("encoder")
        found = NoisyLabelClassifier("features", encoder="lengths").fit(texts, ["apart", "joined"] * 12)
        assert found.predict(texts[:2]).tolist() == ["apart", "joined"]
    finally:
        ENCODERS.pop("lengths", None)


def test_a_kind_of_issue_and_its_columns(monkeypatch, blobs):
    x, y = blobs
    x[7] = 0.01
    monkeypatch.setattr(checks, "CHECKS", (*checks.CHECKS, example("check")["SHORT"]))
    found = NoisyLabelClassifier("features").fit(x, y)
    assert found.labels_["is_short_issue"][7]
    assert found.labels_["short_score"].idxmin() == 7
    assert "Short rows" in {check["title"] for check in found.audit().facts["checks"]}


def test_a_command(monkeypatch, tmp_path, blobs, capsys):
    run = tmp_path / "run"
    fit = NoisyLabelClassifier("features", out=run).fit(*blobs)
    monkeypatch.setattr(inspect, "count", example("command")["count"], raising=False)
    monkeypatch.setitem(app.COMMANDS, "count", "inspect")
    monkeypatch.setattr("sys.argv", ["codivide", "count", str(run)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    assert (stopped.value.code, capsys.readouterr().out.strip()) == (0, str(len(fit.label_issues_)))


def test_a_field_of_the_plan_is_missed_where_nobody_can_set_it():
    wider = make_dataclass("Wider", [("momenta", int, field(default=1))], bases=(Plan,), frozen=True)
    asked = {item.name for item in fields(wider) if item.name not in codivide.training.plan.NOT_ASKED}
    parameters = set(NoisyLabelClassifier().get_params()) | {"seed"}  # which scikit-learn calls random_state
    assert asked - parameters == {"momenta"}
