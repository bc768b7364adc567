"""Fit a data-driven mentor (MentorNet DD) to a set whose true labels are known, save it, and say what it does.

A student is trained with the predefined curriculum on labels whose truth is known: a set with both (cifar10n:worse),
or a trusted one to which noise is added. After each epoch the mentor's table gets every sample's loss; then the mentor
is fitted to it. Use the file on other data: ``codivide fit DATA --method mentornet --curriculum mentor.safetensors``.

    python benchmarks/mentor.py SOURCE [--noise symmetric:0.4] [--limit 5000] [--epochs 30] --out mentor.safetensors
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from codivide import Data, train
from codivide.core.device import resolve_device
from codivide.data.experiment import part, spoil
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.fit.job import default_plan
from codivide.methods._mentor_net import Recorder, features
from codivide.methods.mentornet import MentorNet
from codivide.training import nets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a set with true labels, or a trusted one if --noise is given")
    parser.add_argument("--noise", help="noise to add to the labels, as for `codivide fit`")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--net", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    loaded = spoil(part(load(args.source), args.limit, args.seed), args.noise, args.seed)
    if loaded.truth is None:
        parser.error(f"{args.source} has no true labels; give --noise to spoil trusted ones")
    method = MentorNet()
    plan = default_plan(len(loaded.y), method, epochs=args.epochs, seed=args.seed)
    name = nets.auto(loaded.x.shape, resolve_device(plan.device)) if args.net == "auto" else args.net
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, fit_views(loaded.x, loaded.augment).views())
    recorder = Recorder(torch.from_numpy(loaded.truth))
    train(method, data, lambda: nets.build(name, loaded.x.shape, len(loaded.classes)), plan, watch=recorder)
    mentor = recorder.fit(seed=args.seed)
    mentor.save(args.out)
    clean, rows = recorder.targets[-1] > 0, recorder.tables[-1]
    weights = mentor.weights(rows)
    difference = torch.linspace(-2, 2, 9)
    threshold, share = float(rows[0, 0] - rows[0, 1]), float(rows[0, 3])
    curve = mentor.weights(features((threshold + difference).clamp_min(0), threshold, torch.zeros(9), share))
    record = {
        "samples": len(clean),
        "clean": float(clean.float().mean()),
        "weight_of_clean": float(weights[clean].mean()),
        "weight_of_wrong": float(weights[~clean].mean()),
        "weight_by_difference": dict(zip(difference.tolist(), curve.tolist(), strict=True)),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
