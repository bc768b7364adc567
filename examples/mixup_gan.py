"""mixup for the discriminator of a GAN, on a ring of 8 Gaussians: does it keep the generator from collapsing?

    OMP_NUM_THREADS=1 python examples/mixup_gan.py --out results/examples/mixup_gan.json \
        --picture docs/images/mixup_gan.png

After Zhang et al., ICLR 2018, arXiv:1710.09412 (stabilisation of GANs). Plain: the discriminator d learns 1 for real
samples x and 0 for fake ones g(z). mixup: it sees l x + (1 - l) g(z) and learns l, l ~ Beta(alpha, alpha); as alpha
goes to 0 this is plain training. The generator's step is the same in both: it maximises log d(g(z)). (In the paper's
formula the generator meets the mixed batch too; here only the discriminator changes.) Networks and budget are our own,
smaller ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.runs.plot import BLUE, GREY, STYLE, VERMILLION

MODES, RADIUS, SIGMA, NOISE = 8, 2.0, 0.05, 2
VARIANTS = {"plain": 0.0, "mixup": 0.2}  # alpha
SNAPSHOTS = (10, 100, 500, 1000, 2000, 4000)
SAMPLES = 2000  # drawn from the generator to judge it


def centres() -> Tensor:
    """The middles of the Gaussians, ``[8, 2]``."""
    angle = 2 * torch.pi * torch.arange(MODES) / MODES
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1)


def real(count: int, generator: torch.Generator) -> Tensor:
    """Samples ``[count, 2]`` of the ring."""
    mode = torch.randint(MODES, (count,), generator=generator)
    return centres()[mode] + SIGMA * torch.randn(count, 2, generator=generator)


def judge(samples: Tensor) -> dict[str, float]:
    """Good samples (share within 3 sigma of a mode) and modes covered (by a tenth of their fair share of good ones)."""
    distance, mode = torch.cdist(samples, centres()).min(1)
    good = distance < 3 * SIGMA
    counts = torch.bincount(mode[good], minlength=MODES)
    return {"modes": int((counts >= len(samples) / MODES / 10).sum()), "good": float(good.double().mean())}


def mixed(x: Tensor, fake: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Batch and target of the discriminator: the mix at ``share`` of the real one ``[B, 1]``, and at 1 - share.

    With shares of 1 this is the plain batch: all real ones with target 1, all fake ones with 0.
    """
    batch = torch.cat([share * x + (1 - share) * fake, (1 - share) * x + share * fake])
    return batch, torch.cat([share, 1 - share])


def net(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def train(alpha: float, seed: int, steps: int, size: int) -> tuple[dict[int, Tensor], float]:
    """Samples ``[2000, 2]`` of the generator at the snapshots and at the end, and seconds.

    Both variants with one seed start from the same weights.
    """
    torch.manual_seed(seed)
    maker, critic = net(NOISE, 2), net(2, 1)
    makes = torch.optim.Adam(maker.parameters(), 1e-3, betas=(0.5, 0.999))
    judges = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.999))
    gen = torch.Generator().manual_seed(seed)
    fixed = torch.randn(SAMPLES, NOISE, generator=torch.Generator().manual_seed(1000 + seed))
    beta = torch.distributions.Beta(alpha, alpha) if alpha else None
    kept: dict[int, Tensor] = {}
    began = time.perf_counter()
    for step in range(1, steps + 1):
        share = beta.sample((size, 1)) if beta is not None else torch.ones(size, 1)
        with torch.no_grad():
            fake = maker(torch.randn(size, NOISE, generator=gen))
        batch, target = mixed(real(size, gen), fake, share)
        loss = functional.binary_cross_entropy_with_logits(critic(batch), target)
        judges.zero_grad()
        loss.backward()
        judges.step()
        answer = critic(maker(torch.randn(size, NOISE, generator=gen)))
        loss = functional.softplus(-answer).mean()
        makes.zero_grad()
        loss.backward()
        makes.step()
        if step in SNAPSHOTS or step == steps:
            with torch.no_grad():
                kept[step] = maker(fixed)
    return kept, time.perf_counter() - began


def picture(samples: dict[str, dict[int, Tensor]]) -> Figure:
    """Samples at several iterations, one row a variant; the crosses are the modes."""
    names, moments = list(samples), list(next(iter(samples.values())))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.55 * len(moments) + 0.3, 3.5), layout="constrained")
        grid = figure.subplots(len(names), len(moments), squeeze=False, sharex=True, sharey=True)
        for k, (row, name, colour) in enumerate(zip(grid, names, (VERMILLION, BLUE), strict=False)):
            for axes, moment in zip(row, moments, strict=True):
                points = samples[name][moment]
                axes.plot(*centres().T, "x", color=GREY, markersize=5, zorder=1)
                axes.plot(*points[:1000].T, ".", color=colour, markersize=2, alpha=0.4, zorder=2, rasterized=True)
                axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if k == 0:
                    axes.set_title(f"iteration {moment:,}", loc="center", fontsize=9)
            row[0].set_ylabel(name, fontsize=10)
    return figure


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


def main() -> None:
    """Train both variants with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers here")
    parser.add_argument("--picture", type=Path, help="write the samples of the first seed here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=SNAPSHOTS[-1])
    parser.add_argument("--batch-size", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    first: dict[str, dict[int, Tensor]] = {}
    for seed in range(args.seeds):
        for name, alpha in VARIANTS.items():
            kept, seconds = train(alpha, seed, args.steps, args.batch_size)
            first.setdefault(name, kept)
            curve = {str(step): judge(points) for step, points in kept.items()}
            runs[name].append({"seed": seed, "seconds": round(seconds, 1), **curve[str(args.steps)], "curve": curve})
            print(name, {key: value for key, value in runs[name][-1].items() if key != "curve"}, flush=True)
    record = {
        "alpha": VARIANTS,
        "steps": args.steps,
        "batch_size": args.batch_size,
        "modes": MODES,
        "sigma": SIGMA,
        "radius": RADIUS,
        "summary": {
            name: {key: spread([float(run[key]) for run in rows]) for key in ("modes", "good")}
            for name, rows in runs.items()
        },
        "runs": runs,
        **environment(),
    }
    print(json.dumps(record["summary"], indent=1))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, json.dumps(record, indent=1) + "\n")
    if args.picture:
        picture(first).savefig(args.picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
