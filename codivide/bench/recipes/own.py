"""Recipes of the user's own, from a file: rows, what they share, and sweeps over settings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from codivide.bench.measures import STATISTICS
from codivide.bench.recipes.recipe import Recipe
from codivide.core.errors import InputError, unknown
from codivide.core.files import reading

_ROWS, _SWEEP = "rows", "sweep"
_FIELDS = [item.name for item in fields(Recipe) if item.name != "name"]
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("hyper", "plan", "published", _SWEEP), (dict,)),
    **dict.fromkeys(("image_size", "limit", "labels_per_class", "labels", "evaluate_every"), (int,)),
    "dropout": (int, float),
    "oracle": (list,),
}
_WORDS = {dict: "a table", int: "a whole number", float: "a number", list: "a list", str: "a text"}


def read_recipes(path: Path | str) -> dict[str, Recipe]:
    """The recipes of a TOML or JSON file by name, "GROUP/ROW".

    A group is a table: fields of ``Recipe`` that its rows share, and ``rows``, by name. ``hyper`` and ``plan`` of a row
    are put over those of its group. ``sweep``, of a group or a row, has a list of values for each name: a field such as
    "noise", one of the plan as "plan.lr", else a hyper-parameter. Every combination is a recipe, and named after it.

    Args:
        path: such as ``mine.toml``.

    Raises:
        InputError: what is wrong in which row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.toml"
        >>> _ = file.write_text('''
        ... [mine]
        ... data = "digits"
        ... plan = {epochs = 3}
        ... rows.plain = {method = "cross_entropy"}
        ... rows.gce = {method = "gce", sweep = {q = [0.5, 0.7]}}
        ... ''')
        >>> list(read_recipes(file))
        ['mine/plain', 'mine/gce,q=0.5', 'mine/gce,q=0.7']
    """
    path = Path(path)
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin with a mark
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path} has no group of recipes: begin with [NAME] and rows (see docs/howto/experiments.md)")
    recipes: dict[str, Recipe] = {}
    for group, shared in found.items():
        if not isinstance(shared, dict) or not isinstance(shared.get(_ROWS), dict) or not shared[_ROWS]:
            raise InputError(f"{path}: {group} has no rows; add one, such as [{group}.rows.plain]")
        common = _checked({name: value for name, value in shared.items() if name != _ROWS}, f"{path}, {group}")
        for name, row in shared[_ROWS].items():
            where = f"{path}, {group}.rows.{name}"
            if not isinstance(row, dict):
                raise InputError(f"{where} is {row!r}; it must be a table, such as {{method = 'gce'}}")
            for recipe in _recipes(f"{group}/{name}", common, _checked(row, where), where):
                recipes[recipe.name] = recipe
    return recipes


def _recipes(name: str, common: Mapping[str, Any], own: Mapping[str, Any], where: str) -> Iterator[Recipe]:
    """One row, or one for each combination of its sweep."""
    values = {**common, **own}
    for part in ("hyper", "plan", _SWEEP):
        values[part] = {**common.get(part, {}), **own.get(part, {})}
    sweep = values.pop(_SWEEP)
    for chosen in product(*sweep.values()):
        setting = dict(zip(sweep, chosen, strict=True))
        row = values | {key: value for key, value in setting.items() if key in _FIELDS}
        if missing := [key for key in ("method", "data") if key not in row]:
            raise InputError(f"{where} has no {' and no '.join(missing)}")
        said = [f"{key}={value}".replace(":", "-") for key, value in setting.items()]
        named = ",".join([name, *said])
        if not re.fullmatch(r"[\w.+-]+/[\w.+=,-]+", named):
            raise InputError(
                f"{where}: {named!r} may have letters, digits and _ . + - alone, since files are called so"
            )
        rest = {key: value for key, value in setting.items() if key not in _FIELDS}
        yield replace(varied(Recipe(name, **row), rest), name=named)


def _checked(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Fields of a recipe, and a sweep; InputError for another name or type, or a statistic that nobody reports."""
    for name, value in values.items():
        if name not in (*_FIELDS, _SWEEP):
            raise unknown(f"entry of {where}:", name, [*_FIELDS, _ROWS, _SWEEP])
        _check_type(name, value, where)
    for name, several in values.get(_SWEEP, {}).items():
        if not isinstance(several, list) or not several:
            raise InputError(f"{where}: sweep has a list of values for each name, such as {{q = [0.5, 0.7]}}")
        for value in several if name in _FIELDS else ():
            _check_type(name, value, where)
    for name in values.get("published", {}):
        if name not in (*STATISTICS, "spread"):
            raise unknown(f"statistic of {where}:", name, [*STATISTICS, "spread"])
    return values | ({"oracle": tuple(values["oracle"])} if "oracle" in values else {})


def _check_type(name: str, value: Any, where: str) -> None:
    kinds = _KINDS.get(name, (str,))
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InputError(f"{where}: {name} is {value!r}; it must be {_WORDS[kinds[-1]]}")
    if isinstance(value, int) and value < 1 and kinds[-1] is int:
        raise InputError(f"{where}: {name} is {value}; it must be at least 1")


def varied(recipe: Recipe, setting: Mapping[str, Any]) -> Recipe:
    """The recipe with these hyper-parameters, and fields of the plan as "plan.NAME"."""
    hyper = {name: value for name, value in setting.items() if not name.startswith("plan.")}
    plan = {name.removeprefix("plan."): value for name, value in setting.items() if name.startswith("plan.")}
    return replace(recipe, hyper={**recipe.hyper, **hyper}, plan={**recipe.plan, **plan})
