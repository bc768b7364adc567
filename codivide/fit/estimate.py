"""How long a run will take, as it is said before the long part of it."""

from __future__ import annotations

# Seconds of the route for features on one quiet AVX2 core, from the runs in results/detection (700 to 10,000 samples,
# 124 to 3,897 features, 2 to 10 classes), which they meet within a factor of two.
_ENCODED = 2_000  # features of a photo, about
_ALWAYS = 2.0
_SAMPLE = 1e-3  # networks and neighbours
_NUMBER = 2.5e-7  # linear heads: a feature of a sample, for up to ten classes


def features_seconds(samples: int, features: int, classes: int) -> float:
    """About how many seconds the route for features takes on a quiet core.

    Args:
        samples: N.
        features: D.
        classes: C; linear heads take longer for more than ten.
    """
    return _ALWAYS + samples * (_SAMPLE + _NUMBER * features * max(classes, 10) / 10)


def of_photos(samples: int, classes: int, encoding: float) -> str:
    """What is said of photos, whose encoding takes so many seconds."""
    whole = encoding + features_seconds(samples, _ENCODED, classes)
    return f"encoding {samples:,} photos and training on their features take about {duration(whole)}"


def of_network(samples: int, scout: float, whole: float) -> str:
    """What is said of a network, whose scout and whole run take at most so many seconds."""
    return (
        f"a network on {samples:,} samples: short run and correction take up to about {duration(whole)}, "
        f"the short run up to {duration(scout)} of it; a budget limits this"
    )


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
