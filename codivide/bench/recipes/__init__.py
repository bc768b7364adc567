"""Rows of data: what to train so that a number of a paper, or a line of our own comparison, comes out.

A recipe is one experiment without its seed. ``RECIPES`` holds all of them by name; the first part of a name is its
group, which is how tables are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from codivide.bench.recipes.baselines import ROWS as _BASELINES
from codivide.bench.recipes.choose import ROWS as _CHOOSE
from codivide.bench.recipes.dividemix import ROWS as _DIVIDEMIX
from codivide.bench.recipes.mixup import ROWS as _MIXUP
from codivide.bench.recipes.own import read_recipes
from codivide.bench.recipes.papers import ROWS as _PAPERS
from codivide.bench.recipes.photos import ROWS as _PHOTOS
from codivide.bench.recipes.protocol import ROWS as _PROTOCOL
from codivide.bench.recipes.recipe import Recipe
from codivide.bench.recipes.semi import ROWS as _SEMI
from codivide.bench.recipes.students import ROWS as _STUDENTS
from codivide.core.errors import unknown

#: Papers train in float32, and so do their rows, unless asked otherwise (``codivide bench run --precision``).
_AS_PUBLISHED = [
    replace(row, plan={"precision": "fp32", **row.plan})
    for row in (*_SEMI, *_DIVIDEMIX, *_BASELINES, *_MIXUP, *_PHOTOS, *_PAPERS)
    if not row.name.startswith("semi-")
]
_OURS = (*_PROTOCOL, *(row for row in _SEMI if row.name.startswith("semi-")))

RECIPES: dict[str, Recipe] = {}
for _recipe in (*_OURS, *_AS_PUBLISHED, *_STUDENTS, *_CHOOSE):
    if _recipe.name in RECIPES:
        raise ValueError(f"two recipes are called {_recipe.name}")
    RECIPES[_recipe.name] = _recipe


def find(pattern: str, recipes: Mapping[str, Recipe] = RECIPES) -> list[Recipe]:
    """Recipes whose name is, or matches, a pattern such as ``first/*``, in their order; InputError when none does."""
    found = [recipe for name, recipe in recipes.items() if fnmatchcase(name, pattern)]
    if not found:
        raise unknown("recipe", pattern, recipes, shown="codivide bench list")
    return found


__all__ = ["RECIPES", "Recipe", "find", "read_recipes"]
