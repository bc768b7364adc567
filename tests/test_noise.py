"""Label noise: rates, tables, simultaneity and what stays untouched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codivide.core.errors import InputError
from codivide.noise import synthetic

ROWS = 20_000
rates = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)


def balanced(classes: int, rows: int = ROWS) -> np.ndarray:
    return np.arange(rows, dtype=np.int64) % classes


def close(observed: float, expected: float, rows: int = ROWS) -> bool:
    """Within Bernstein's bound on a binomial share: 5 standard deviations and, near 0 and 1, a few rows."""
    return abs(observed - expected) <= 5 * np.sqrt(expected * (1 - expected) / rows) + 25 / 3 / rows


@quick
@given(rate=rates, classes=st.integers(2, 12), seed=seeds, keep=st.booleans())
def test_symmetric_rate(rate, classes, seed, keep):
    clean = balanced(classes)
    noisy = synthetic.symmetric(clean, rate, classes, np.random.default_rng(seed), keep_true=keep)
    expected = rate * (classes - 1) / classes if keep else rate
    assert close(synthetic.effective_rate(clean, noisy), expected)
    assert noisy.min() >= 0
    assert noisy.max() < classes


def test_symmetric_spreads_evenly():
    clean = balanced(5, 100_000)
    noisy = synthetic.symmetric(clean, 0.8, 5, np.random.default_rng(0), keep_true=False)
    matrix = synthetic.transition_matrix(clean, noisy, 5)
    np.testing.assert_allclose(matrix, np.full((5, 5), 0.2), atol=0.02)


@quick
@given(rate=rates, seed=seeds)
def test_asymmetric_flips_simultaneously(rate, seed):
    clean = balanced(10)
    noisy = synthetic.asymmetric(clean, rate, synthetic.CIFAR10_MAPPING, np.random.default_rng(seed))
    matrix = synthetic.transition_matrix(clean, noisy, 10)
    for source in range(10):
        target = synthetic.CIFAR10_MAPPING.get(source)
        if target is None:
            assert matrix[source, source] == 1
        else:  # cat -> dog -> cat must not happen: cat keeps exactly 1 - rate, and only the image is reached
            assert close(matrix[source, target], rate, ROWS // 10)
            assert matrix[source, source] + matrix[source, target] == pytest.approx(1)
    assert close(synthetic.effective_rate(clean, noisy), rate / 2)


def test_asymmetric_at_full_rate_is_the_mapping():
    clean = balanced(10, 1000)
    noisy = synthetic.asymmetric(clean, 1.0, synthetic.CIFAR10_MAPPING, np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, [synthetic.CIFAR10_MAPPING.get(label, label) for label in clean])


@quick
@given(rate=rates, classes=st.integers(2, 9), seed=seeds)
def test_pair_flip(rate, classes, seed):
    clean = balanced(classes)
    noisy = synthetic.pair_flip(clean, rate, classes, np.random.default_rng(seed))
    assert close(synthetic.effective_rate(clean, noisy), rate)
    assert set(np.unique((noisy - clean) % classes)) <= {0, 1}


def test_from_matrix_reproduces_its_matrix():
    generator = np.random.default_rng(0)
    matrix = generator.dirichlet(np.ones(6), 6)
    matrix[2] = [0, 0.5, 0, 0.5, 0, 0]  # trailing zeros must never be drawn
    clean = balanced(6, 120_000)
    noisy = synthetic.from_matrix(clean, matrix, generator)
    observed = synthetic.transition_matrix(clean, noisy, 6)
    np.testing.assert_allclose(observed, matrix, atol=0.02)
    assert not observed[matrix == 0].any()


@pytest.mark.parametrize("matrix", [[[0.5, 0.4], [0, 1]], [[1.5, -0.5], [0, 1]], [[1, 0]], [[np.nan, 1], [0, 1]]])
def test_from_matrix_refuses(matrix):
    with pytest.raises(InputError):
        synthetic.from_matrix(balanced(2, 4), np.array(matrix), np.random.default_rng(0))


@quick
@given(rate=rates, seed=seeds)
def test_instance_dependent_rate(rate, seed):
    generator = np.random.default_rng(seed)
    clean = balanced(4, 4000)
    noisy = synthetic.instance_dependent(clean, generator.normal(size=(4000, 8)), rate, 4, generator)
    assert close(synthetic.effective_rate(clean, noisy), rate, 4000)


def test_instance_dependent_follows_the_sample():
    """The same sample twice mostly flips to the same class; independent noise would agree a third of the time."""
    generator = np.random.default_rng(0)
    half = generator.normal(size=(5000, 64))
    clean = np.zeros(10_000, dtype=np.int64)
    noisy = synthetic.instance_dependent(clean, np.concatenate([half, half]), 0.5, 4, generator)
    first, second = noisy[:5000], noisy[5000:]
    both = (first > 0) & (second > 0)
    assert (first[both] == second[both]).mean() > 0.8


def test_instance_dependent_takes_images():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (500, 3, 8, 8), dtype=np.uint8)
    clean = balanced(3, 500)
    noisy = synthetic.instance_dependent(clean, images, 0.3, 3, generator)
    assert 0.2 < synthetic.effective_rate(clean, noisy) < 0.4


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_unlabelled_input_and_seed(kind):
    clean = balanced(5, 2000)
    clean[::3] = -1
    before = clean.copy()
    features = np.random.default_rng(1).normal(size=(2000, 6))
    spec = synthetic.NoiseSpec(kind, 0.5)
    once, again = (synthetic.apply(spec, clean, "abcde", np.random.default_rng(7), features=features) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(once == -1, clean == -1)
    assert once.dtype == np.int64
    assert 0.2 < synthetic.effective_rate(clean, once) < 0.6


@pytest.mark.parametrize("kind", ["symmetric", "symmetric-exclusive", "asymmetric", "pair"])
def test_a_row_keeps_its_noise_when_others_change(kind):
    clean = balanced(5, 1000)
    fewer = clean.copy()
    fewer[::2] = -1
    spec = synthetic.NoiseSpec(kind, 0.5)
    whole = synthetic.apply(spec, clean, range(5), np.random.default_rng(3))
    part = synthetic.apply(spec, fewer, range(5), np.random.default_rng(3))
    np.testing.assert_array_equal(part[1::2], whole[1::2])


def test_cifar10_mapping_by_name():
    named = {synthetic.CIFAR10_CLASSES[a]: synthetic.CIFAR10_CLASSES[b] for a, b in synthetic.CIFAR10_MAPPING.items()}
    expected = {"truck": "automobile", "bird": "airplane", "cat": "dog", "dog": "cat", "deer": "horse"}
    assert named == expected
    shuffled = synthetic.CIFAR10_CLASSES[::-1]
    clean = balanced(10, 100)
    noisy = synthetic.apply(synthetic.parse("asymmetric:1"), clean, shuffled, np.random.default_rng(0))
    for given_label, written in zip(clean, noisy, strict=True):
        assert shuffled[written] == expected.get(shuffled[given_label], shuffled[given_label])


def test_cifar100_superclasses():
    table = np.array(synthetic.CIFAR100_SUPERCLASS)
    np.testing.assert_array_equal(np.bincount(table), np.full(20, 5))
    beaver, dolphin, otter, seal, whale = 4, 30, 55, 72, 95  # alphabetical positions of the aquatic mammals
    assert len({int(table[fine]) for fine in (beaver, dolphin, otter, seal, whale)}) == 1
    cycle = synthetic.cifar100_superclass_cycle()
    assert sorted(cycle) == sorted(cycle.values()) == list(range(100))
    assert all(table[source] == table[target] and source != target for source, target in cycle.items())
    assert cycle[beaver] == dolphin
    assert cycle[whale] == beaver


def test_asymmetric_mapping_is_chosen_by_the_data():
    clean = balanced(100, 1000)
    full = synthetic.NoiseSpec("asymmetric", 1.0)
    generator = np.random.default_rng(0)
    inside = synthetic.apply(full, clean, range(100), generator, dataset="cifar100")
    np.testing.assert_array_equal(inside, [synthetic.cifar100_superclass_cycle()[label] for label in clean])
    np.testing.assert_array_equal(synthetic.apply(full, clean, range(100), generator), (clean + 1) % 100)
    ten = synthetic.apply(full, balanced(10, 50), range(10), generator, dataset="cifar10")
    np.testing.assert_array_equal(ten[:10], [0, 1, 0, 5, 7, 3, 6, 7, 8, 1])


def test_transition_matrix_and_rate_by_hand():
    clean = np.array([0, 0, 0, 1, -1, 1])
    noisy = np.array([0, 1, 1, 1, 0, -1])
    np.testing.assert_allclose(synthetic.transition_matrix(clean, noisy, 3), [[1 / 3, 2 / 3, 0], [0, 1, 0], [0, 0, 1]])
    assert synthetic.effective_rate(clean, noisy) == 0.5
    assert synthetic.effective_rate(np.array([-1]), np.array([0])) == 0.0


def test_parse():
    assert synthetic.parse(" symmetric:0.4 ") == synthetic.NoiseSpec("symmetric", 0.4)
    assert str(synthetic.parse("symmetric-exclusive:0.45")) == "symmetric-exclusive:0.45"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("symetric:0.4", "'symmetric'"),
        ("pairs:0.1", "'pair'"),
        ("symmetric", "needs a rate"),
        ("pair:x", "needs a rate"),
        ("pair:1.5", "between 0 and 1"),
        ("pair:nan", "between 0 and 1"),
        ("", "unknown noise"),
    ],
)
def test_parse_refuses(text, hint):
    with pytest.raises(InputError, match=hint):
        synthetic.parse(text)


def test_bad_input_is_named():
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="row 2"):
        synthetic.symmetric(np.array([0, 1, 5]), 0.1, 3, generator)
    with pytest.raises(InputError, match="at least 2 classes"):
        synthetic.pair_flip(np.zeros(3, dtype=np.int64), 0.1, 1, generator)
    with pytest.raises(InputError, match="samples themselves"):
        synthetic.apply(synthetic.parse("instance:0.2"), balanced(2, 4), "ab", generator)
    with pytest.raises(InputError, match="3 rows"):
        synthetic.instance_dependent(balanced(2, 4), np.zeros((3, 2)), 0.1, 2, generator)


def test_nothing_to_do():
    generator = np.random.default_rng(0)
    empty = np.array([], dtype=np.int64)
    assert len(synthetic.symmetric(empty, 0.5, 3, generator)) == 0
    assert len(synthetic.asymmetric(empty, 0.5, {0: 1}, generator)) == 0
    unlabelled = np.full(4, -1)
    np.testing.assert_array_equal(synthetic.asymmetric(unlabelled, 1.0, {0: 1}, generator), unlabelled)
