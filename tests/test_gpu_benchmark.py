"""The script for a machine with a GPU runs on a CPU, and its data file gives back what went in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pack import decode, encode

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("step", [1, 3, 5, 6])
def test_packed_images_are_off_by_half_a_step_at_most(step):
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8), dtype=np.uint8)
    images[0], images[1] = 0, 255
    images[2] = np.arange(64).reshape(8, 8) * 4
    found = decode(encode(images, step), 7, 8, step)
    assert found.dtype == np.uint8
    assert found.shape == images.shape
    assert np.abs(found.astype(int) - images).max() <= step // 2


@pytest.mark.slow
def test_every_stage_of_the_gpu_script_runs_on_a_cpu(tmp_path):
    words = ["--device", "cpu", "--dry", "--out", str(tmp_path), "--learners", "cross_entropy,dividemix"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["about"]["ended"]
    rows = [found[stage][name] for stage in ("parity", "speed", "accuracy") for name in found[stage]]
    assert [row for row in rows if isinstance(row, dict) and "error" in row] == []
    assert found["parity"]["fp32/cross_entropy"]["update"] == 0.0
    assert found["parity"]["summary"]["apart_or_failed"] == []
    assert found["speed"]["batch_8"]["images_per_second"] > 0
    assert found["accuracy"]["dividemix"]["curve"][-1]["test_accuracy"] >= 0
