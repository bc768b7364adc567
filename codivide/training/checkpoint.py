"""A run on disk: one safetensors file with all tensors, and the rest as JSON in its header. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from codivide.core import files
from codivide.core.errors import InputError, anew
from codivide.core.files import read_tensors, reading, save_tensors
from codivide.data.fingerprint import digest
from codivide.training.optimizers import ready
from codivide.training.run import Run

FORMAT = 4  # 3: other shortcuts in preact_resnet18 and wrn_28_2
KIND = "run"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept while it trains, and whether to go on from there.

    Attributes:
        path: the file; it holds the run after its last whole epoch, and is written atomically.
        resume: go on from the file if it is there; else the run begins anew.
        identity: JSON values that the file must share to be resumed, besides method, plan and labels.
    """

    path: Path
    _: KW_ONLY
    resume: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)

    def saved(self) -> Path | None:
        """The file to go on from; None where the run begins anew."""
        return self.path if self.resume and self.path.exists() else None


def fingerprint(run: Run) -> dict[str, Any]:
    """What a checkpoint belongs to: a run with another value of any of these cannot go on from it."""
    confirmed = digest(run.confirmed.cpu().numpy()) if run.confirmed.any() else None
    plan = {f"plan.{name}": value for name, value in asdict(run.plan).items() if name != "device"}
    method = {f"method.{name}": value for name, value in asdict(run.method).items()}
    return {
        "method": type(run.method).__name__,
        **method,
        **plan,
        "precision": run.precision,
        "network": {name: [list(p.shape) for p in net.parameters()] for name, net, _ in _trained(run)},
        "samples": len(run.data),
        "classes": [str(name) for name in run.data.classes],
        **{name: json.loads(json.dumps(value, default=str)) for name, value in run.identity.items()},
        "labels": digest(run.data.y.cpu().numpy()),
        "confirmed labels": confirmed,
    }


def _trained(run: Run) -> list[tuple[str, nn.Module, torch.optim.Optimizer]]:
    """Every network by its number, and every attached module by its name."""
    numbered = [(str(i), net, run.optimizers[i]) for i, net in enumerate(run.nets)]
    return numbered + [(name, module.net, module.optimizer) for name, module in run.attached.items()]


def save(run: Run, path: Path) -> None:
    """Write the run after a whole epoch; the file that was there survives a kill or a full disk."""
    tensors: dict[str, Tensor] = {"generator": run.gen.get_state(), "global_generator": torch.get_rng_state()}
    if run.device.type == "cuda":
        tensors["cuda_generator"] = torch.cuda.get_rng_state(run.device)
    slots: dict[str, dict[str, dict[str, float]]] = {}
    for key, net, optimizer in _trained(run):
        tensors |= {f"net.{key}.{name}": value for name, value in net.state_dict().items()}
        state, slots[key] = _optimizer_state(optimizer)
        tensors |= {f"optimizer.{key}.{name}": value for name, value in state.items()}
    if run.plan.average:
        for i, average in enumerate(run.averages):
            tensors |= {f"average.{i}.{name}": value for name, value in average.state_dict().items()}
    tensors |= {f"memory.{name}": value for name, value in run.memory.items()}
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint(run),
        "epoch": run.epoch,
        "step": run.step,
        "skipped_updates": run.skipped_updates,
        "history": run.history,
        "optimizer_scalars": slots,
        "per_sample": sorted(run.per_sample),
    }
    save_tensors(path, tensors, KIND, header)


def _optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """What an optimizer remembers of its parameters: tensors as "index.name", and numbers by index and name."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, float]] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            elif value is not None:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, scalars


def read_header(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint; InputError when the file is not one."""
    return _of_format(path, files.read_header(path, KIND))


def read_precision(path: Path) -> Literal["bf16", "fp32"]:
    """The precision in which the run of a checkpoint trained; InputError when the file is not one."""
    with reading(path):
        return "bf16" if read_header(path)["fingerprint"]["precision"] == "bf16" else "fp32"


def _of_format(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path} has checkpoint format {header.get('format')}, this version of codivide reads {FORMAT}; "
            f"to start again, {anew()}"
        )
    return header


def load(run: Run, path: Path) -> None:
    """Put a saved state into a run that was built the same way.

    Raises:
        InputError: the file is no checkpoint, a damaged one, or one of another method, plan, network, data or format.
    """
    with reading(path):
        tensors, header = read_tensors(path, KIND)
        _check_fingerprint(run, _of_format(path, header)["fingerprint"], path)
        _restore(run, tensors, header)


def _restore(run: Run, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Put what a file holds into a run."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

    run.gen.set_state(tensors["generator"])
    torch.set_rng_state(tensors["global_generator"])
    if run.device.type == "cuda" and "cuda_generator" in tensors:
        torch.cuda.set_rng_state(tensors["cuda_generator"], run.device)
    for trained, net, optimizer in _trained(run):
        net.load_state_dict(part(f"net.{trained}."))
        state: dict[int, dict[str, Any]] = {}
        for name, value in part(f"optimizer.{trained}.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        for index, scalars in header["optimizer_scalars"][trained].items():
            state.setdefault(int(index), {}).update(scalars)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        ready(optimizer)
    if run.plan.average:
        for i, average in enumerate(run.averages):
            average.load_state_dict(part(f"average.{i}."))
    for name, value in part("memory.").items():
        if name not in run.memory:
            run.memory[name] = torch.empty_like(value, device=run.device)
        run.memory[name].copy_(value)
    run.per_sample |= set(header.get("per_sample", ()))
    run.epoch = header["epoch"]
    run.step = header["step"]
    run.skipped_updates = header["skipped_updates"]
    run.history = header["history"]


def _check_fingerprint(run: Run, theirs: Mapping[str, Any], path: Path) -> None:
    """InputError that names the first difference between a run and what a checkpoint belongs to."""
    ours = json.loads(json.dumps(fingerprint(run)))
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        if ours.get(name) != theirs.get(name):
            shown = "differs" if name == "network" else f"is {theirs.get(name)} there and {ours.get(name)} now"
            raise InputError(f"{path} belongs to another run: {name} {shown}; use the same settings to resume")
