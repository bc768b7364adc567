"""Rows of data: what to train so that a number of a paper, or a line of our own comparison, comes out.

A recipe is one experiment without its seed. ``RECIPES`` holds all of them by name; the first part of a name is its
group, which is how tables are made.
"""

from __future__ import annotations

from codivide.bench.recipes.baselines import ROWS as _BASELINES
from codivide.bench.recipes.choose import ROWS as _CHOOSE
from codivide.bench.recipes.dividemix import ROWS as _DIVIDEMIX
from codivide.bench.recipes.mixup import ROWS as _MIXUP
from codivide.bench.recipes.papers import ROWS as _PAPERS
from codivide.bench.recipes.protocol import ROWS as _PROTOCOL
from codivide.bench.recipes.recipe import Recipe
from codivide.bench.recipes.semi import ROWS as _SEMI

RECIPES: dict[str, Recipe] = {}
for _recipe in (*_PROTOCOL, *_SEMI, *_DIVIDEMIX, *_BASELINES, *_MIXUP, *_PAPERS, *_CHOOSE):
    if _recipe.name in RECIPES:
        raise ValueError(f"two recipes are called {_recipe.name}")
    RECIPES[_recipe.name] = _recipe

__all__ = ["RECIPES", "Recipe"]
