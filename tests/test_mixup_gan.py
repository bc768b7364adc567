"""The GAN example: its measure, its batch, and that it runs."""

import importlib.util
from pathlib import Path

import pytest
import torch

path = Path(__file__).parent.parent / "examples" / "mixup_gan.py"
spec = importlib.util.spec_from_file_location("mixup_gan", path)
gan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gan)


def test_the_real_distribution_covers_all_modes():
    points = gan.real(20_000, torch.Generator().manual_seed(0))
    found = gan.judge(points)
    assert found["modes"] == 8
    assert found["good"] == pytest.approx(1 - torch.tensor(-4.5).exp().item(), abs=0.003)  # of a 2-D Gaussian, 3 sigma


def test_collapse_and_misses_are_counted():
    one = gan.centres()[:1].repeat(2000, 1)
    assert gan.judge(one) == {"modes": 1, "good": 1.0}
    assert gan.judge(torch.zeros(2000, 2)) == {"modes": 0, "good": 0.0}
    few = torch.cat([one[:1976], gan.centres()[1:2].repeat(24, 1)])
    assert gan.judge(few)["modes"] == 1  # 24 are less than a tenth of 250
    assert gan.judge(torch.cat([few, gan.centres()[1:2]])[1:])["modes"] == 2


def test_shares_of_one_give_the_plain_batch():
    x, fake = torch.randn(5, 2), torch.randn(5, 2)
    batch, target = gan.mixed(x, fake, torch.ones(5, 1))
    assert torch.equal(batch, torch.cat([x, fake]))
    assert target.flatten().tolist() == [1] * 5 + [0] * 5
    batch, target = gan.mixed(x, fake, torch.full((5, 1), 0.25))
    assert torch.allclose(batch[:5], 0.25 * x + 0.75 * fake)
    assert torch.allclose(batch[5:], 0.75 * x + 0.25 * fake)
    assert target.flatten().tolist() == [0.25] * 5 + [0.75] * 5


def test_it_trains_and_draws():
    kept = {name: gan.train(alpha, 0, 12, 16)[0] for name, alpha in gan.VARIANTS.items()}
    assert list(kept["plain"]) == [10, 12]
    again, _ = gan.train(0.2, 0, 12, 16)
    assert torch.equal(again[12], kept["mixup"][12])
    assert not torch.equal(kept["plain"][12], kept["mixup"][12])
    axes = gan.picture(kept).axes
    assert len(axes) == 4
    assert [a.get_title() for a in axes] == ["iteration 10", "iteration 12", "", ""]
    assert torch.equal(torch.tensor(axes[3].lines[1].get_xydata()).float(), kept["mixup"][12][:1000])
