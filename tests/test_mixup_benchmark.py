"""The decision picture and the attacks of benchmarks/mixup.py."""

import json
import sys

import pytest
import torch

from benchmarks import mixup as script
from codivide.data.sources import load

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def digits():
    """A classifier of digits, with test images in 0 to 1."""
    loaded = load("digits")
    model = script.trained(script.METHODS["ERM"], loaded, "mlp", 4, 0)
    x = loaded.test.x[torch.arange(60)].float() / 255
    return model, x, torch.from_numpy(loaded.test.y[:60])


@pytest.mark.parametrize("iterations", [1, 5])
def test_an_attack_moves_each_pixel_by_a_step_at_most_and_raises_the_error(digits, iterations):
    model, x, y = digits
    moved = script.attack(model, x, y, 0.1, iterations)
    assert (moved - x).abs().max() <= 0.1 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert script.error(model, moved, y) > script.error(model, x, y)
    assert torch.equal(script.attack(model, x, y, 0.0, iterations), x)


def test_fgsm_is_the_sign_of_the_gradient(digits):
    model, x, y = digits
    asked = x.clone().requires_grad_()
    logits = model.members[0].eval()(model.views.plain(asked, torch.Generator()))
    torch.nn.functional.cross_entropy(logits.float(), y).backward()
    expected = (x + 0.05 * asked.grad.sign()).clamp(0, 1)
    assert torch.equal(script.attack(model, x, y, 0.05, 1), expected)


def test_the_commands_write_picture_and_numbers(tmp_path, monkeypatch, capsys):
    words = ["all", "--data", "digits", "--samples", "60", "--test-samples", "30", "--epochs", "2", "--net", "mlp"]
    monkeypatch.setattr(sys, "argv", ["mixup.py", *words, "--out", str(tmp_path), "--pictures", str(tmp_path)])
    script.main()
    assert (tmp_path / "mixup_decision.png").read_bytes()[:4] == b"\x89PNG"
    record = json.loads((tmp_path / "adversarial.json").read_text())
    for row in record["numbers"].values():
        assert set(row) == {"clean", "white-box FGSM", "black-box FGSM", "white-box I-FGSM", "black-box I-FGSM"}
        assert all(0 <= value <= 1 for value in row.values())
    assert record["commit"]
    assert "white-box" in capsys.readouterr().out
