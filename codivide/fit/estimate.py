"""How long a run will take, as it is said before the long part of it."""

from __future__ import annotations

from collections.abc import Sequence

from codivide.methods.features import large
from codivide.methods.features.options import ASIDE, Features
from codivide.methods.features.problem import default_updates
from codivide.methods.features.trees import KINDS

MINUTES = 120.0  # seconds from which on minutes are said

# Seconds of the route for features on one quiet core: measured on tables of 2,000 and 10,000 rows with 20 and 200
# columns and 2 to 200 classes, and met by the runs in results/detection (700 to 10,000 samples, 124 to 3,897 features),
# within a factor of two. Heads are fitted six times: without each of five folds, and to all.
_ENCODED = 2_000  # features of a photo, about
_ALWAYS = 0.5
_SAMPLE = 2e-4  # neighbours, evidence, and the MLP's looks at all samples
_REST = 5e-4  # a sample that is only judged
_NUMBER, _SCORE = 2.5e-8, 1e-5  # linear heads: a feature of a sample and a class, of at least ten; a class of a sample
_UPDATES = 3  # as often as default_updates says: plainly, and through two matrices
_UPDATE, _UPDATE_CLASS, _UPDATE_COMPONENT, _COMPONENTS = 2e-3, 3e-5, 5e-6, 128
_FOREST, _FOREST_FEATURE = 5e-4, 4e-6  # a sample; a feature of it
_BOOSTED, _SLOWER = 1.6e-2, 6_000  # a feature of a class; samples that double it
_VOTES, _VOTE = 1e-4, 3e-5  # what trees say: of a sample; of a class of it
AGAIN = 1.5  # with a second round (where much is wrong): 5,000 photos 22.0 s for 14.8; tables 2.3 for 1.6


def features_seconds(samples: int, features: int, classes: int, kinds: Sequence[str]) -> float:
    """About how many seconds the route for features takes on a quiet core, without a second round.

    Args:
        samples: N.
        features: D; heads that see a part of them are counted as if they saw all.
        classes: C. Linear heads take longer for more than ten, and boosting grows a tree for each in every round.
        kinds: the heads that take part, see ``Features.kinds``.

    Example:
        >>> round(features_seconds(2_000, 20, 10, ("linear", "mlp")))
        6
    """
    learned = min(samples, max(large.MOST, large.OF_A_CLASS * classes))
    update = _UPDATE + _UPDATE_CLASS * classes + _UPDATE_COMPONENT * min(features, _COMPONENTS)
    boosted = features * (classes if classes > 2 else 1)
    heads = {
        "linear": learned * (_NUMBER * features * max(classes, 10) + _SCORE * classes),
        "mlp": _UPDATES * default_updates(learned) * update,
        "forest": learned * (_FOREST + _FOREST_FEATURE * features),
        "boosting": _BOOSTED * boosted * (1 + learned / _SLOWER),
    }
    votes = learned * (_VOTES + _VOTE * classes) if set(kinds) & set(KINDS) else 0.0
    rest = _REST * (samples - learned)
    of_kinds = sum(heads[kind.removesuffix(ASIDE)] for kind in kinds)
    return _ALWAYS + _SAMPLE * learned + of_kinds + votes + rest


def of_photos(samples: int, classes: int, encoding: float, *, pixels: bool) -> str:
    """What is said of photos, whose encoding takes so many seconds; their ``pixels`` have heads of their own or not."""
    kinds = Features().kinds(samples, _ENCODED, pixels=pixels)
    heads = features_seconds(samples, _ENCODED, classes, kinds)
    spent = rounds(heads, before=encoding)
    return f"encoding {samples:,} photos and training on their features take about {spent}"


def rounds(seconds: float, before: float = 0.0) -> str:
    """The time of one round of heads, which takes so many seconds, to that of two; after so many seconds before."""
    once, twice = duration(before + seconds), duration(before + AGAIN * seconds)
    unit = once.split()[-1]
    return once if once == twice else f"{once.removesuffix(f' {unit}') if twice.endswith(unit) else once} to {twice}"


def of_network(samples: int, scout: float, whole: float) -> str:
    """What is said of a network, whose scout and whole run take at most so many seconds."""
    return (
        f"a network on {samples:,} samples: short run and correction take up to about {duration(whole)}, "
        f"the short run up to {duration(scout)} of it; a budget limits this"
    )


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{seconds:.0f} s" if seconds < MINUTES else f"{seconds / 60:.0f} min"
