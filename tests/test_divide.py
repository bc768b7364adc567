"""The mixture against scikit-learn's, and on input that breaks mixtures."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from codivide.noise import mixtures


def shapes(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    clean, wrong = int(0.6 * n), n - int(0.6 * n)
    return {
        "two groups": np.concatenate([rng.gamma(1, 0.1, clean), rng.normal(2.5, 0.5, wrong)]),
        "cross-entropy": np.concatenate([rng.exponential(0.3, clean), 3 + rng.gamma(2, 0.6, wrong)]),
        "overlapping": np.concatenate([rng.normal(1, 0.5, clean), rng.normal(2, 0.7, wrong)]),
        "one hump": rng.normal(1, 0.3, n),
        "long tail": rng.exponential(1, n),
    }


def sklearn_posterior(loss: np.ndarray, seed: int = 0, means: np.ndarray | None = None) -> np.ndarray:
    scaled = ((loss - loss.min()) / (loss.max() - loss.min()))[:, None]
    start = None if means is None else means[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed, means_init=start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 10 iterations are the paper's setting, converged or not
        return mixture.fit(scaled).predict_proba(scaled)[:, mixture.means_.argmin()]


@pytest.mark.parametrize("shape", shapes(10).keys())
def test_gmm_agrees_with_sklearn_within_its_own_spread(shape):
    loss = shapes(20_000)[shape].astype(np.float32)
    ours = mixtures.gmm(torch.from_numpy(loss)).clean_prob.numpy()
    runs = np.stack([sklearn_posterior(loss.astype(np.float64), seed) for seed in range(6)])
    spread = (runs.max(0) - runs.min(0)).max()
    nearest = min(np.abs(run - ours).max() for run in runs)
    assert nearest <= max(spread, 5e-4)


@pytest.mark.parametrize("shape", ["two groups", "cross-entropy", "overlapping"])
def test_gmm_agrees_with_sklearn_from_the_same_means(shape):
    loss = shapes(20_000)[shape].astype(np.float32)
    # scikit-learn takes weights and variances from its own clusters, so the means are all that can be handed over;
    # from the same clusters everything is the same.
    scaled = (loss - loss.min()) / (loss.max() - loss.min())
    ours = mixtures.gmm(torch.from_numpy(loss)).clean_prob.numpy()
    cut = np.sort(scaled)
    between = np.cumsum(cut)[:-1] ** 2 / np.arange(1, len(cut))
    between += (cut.sum() - np.cumsum(cut)[:-1]) ** 2 / np.arange(len(cut) - 1, 0, -1)
    k = int(between.argmax()) + 1
    groups = [cut[:k].astype(np.float64), cut[k:].astype(np.float64)]
    reference = naive_em(scaled.astype(np.float64), groups)
    assert np.abs(ours - reference).max() < 5e-4


def naive_em(x: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    weight = [len(g) / len(x) for g in groups]
    mean = [g.mean() for g in groups]
    variance = [g.var() + 5e-4 for g in groups]
    before = -np.inf
    for _ in range(10):
        density = np.stack(
            [
                w * np.exp(-((x - m) ** 2) / 2 / v) / np.sqrt(2 * np.pi * v)
                for w, m, v in zip(weight, mean, variance, strict=True)
            ]
        )
        posterior = density / density.sum(0)
        now = np.log(density.sum(0)).mean()
        for c in range(2):
            size = posterior[c].sum()
            weight[c], mean[c] = size / len(x), (posterior[c] * x).sum() / size
            variance[c] = (posterior[c] * (x - mean[c]) ** 2).sum() / size + 5e-4
        if abs(now - before) < 1e-2:
            break
        before = now
    density = np.stack(
        [w * np.exp(-((x - m) ** 2) / 2 / v) / np.sqrt(v) for w, m, v in zip(weight, mean, variance, strict=True)]
    )
    return density[int(np.argmin(mean))] / density.sum(0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("two groups", True), ("cross-entropy", True), ("one hump", False), ("long tail", False)],
)
@pytest.mark.parametrize("n", [300, 5_000, 200_000])
def test_separates_is_honest(shape, expected, n):
    for seed in range(3):
        assert mixtures.gmm(torch.from_numpy(shapes(n, seed)[shape])).separates is expected


@given(
    st.lists(
        st.one_of(
            st.floats(0, 20),
            st.just(float("nan")),
            st.just(float("inf")),
            st.just(-float("inf")),
            st.just(3e38),
        ),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_gmm_never_fails(values):
    loss = torch.tensor(values)
    division = mixtures.gmm(loss)
    assert division.clean_prob.shape == loss.shape
    assert torch.isfinite(division.clean_prob).all()
    assert ((division.clean_prob >= 0) & (division.clean_prob <= 1)).all()
    assert (division.clean_prob[loss.isnan() | (loss == torch.inf)] == 0).all()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 50])
def test_nothing_to_divide_is_all_clean(values):
    division = mixtures.gmm(torch.tensor(values))
    assert (division.clean_prob == 1).all()
    assert not division.separates


def test_one_huge_outlier_does_not_swallow_the_split():
    loss = torch.from_numpy(shapes(5_000)["two groups"]).float()
    plain = mixtures.gmm(loss).clean_prob
    spoiled = mixtures.gmm(torch.cat([loss, torch.tensor([1e6])]))
    assert spoiled.clean_prob[-1] < 0.01
    assert ((spoiled.clean_prob[:-1] > 0.5) == (plain > 0.5)).float().mean() > 0.99
    assert spoiled.separates


def test_clean_prob_does_not_depend_on_order_or_scale():
    loss = torch.from_numpy(shapes(3_000)["cross-entropy"]).float()
    order = torch.randperm(len(loss), generator=torch.Generator().manual_seed(0))
    expected = mixtures.gmm(loss).clean_prob
    assert torch.allclose(mixtures.gmm(loss[order]).clean_prob, expected[order], atol=1e-5)
    assert torch.allclose(mixtures.gmm(7 * loss + 3).clean_prob, expected, atol=1e-4)


def test_unit_range():
    scaled = mixtures.unit_range(torch.tensor([2.0, 4.0, 3.0, torch.nan, torch.inf]))
    assert scaled[:3].tolist() == [0, 1, 0.5]
    assert scaled[3].isnan()
    assert scaled[4] == torch.inf
    assert mixtures.unit_range(torch.ones(3)).tolist() == [0, 0, 0]


def test_a_lost_class_is_divided_by_its_own_losses():
    rng = np.random.default_rng(0)
    easy, hard_clean, hard_wrong = rng.normal(0.1, 0.05, 400), rng.normal(2.0, 0.1, 80), rng.normal(3.0, 0.1, 20)
    loss = torch.from_numpy(np.concatenate([easy, hard_clean, hard_wrong]))
    given_labels = torch.tensor([0] * 400 + [1] * 100)
    prob = mixtures.gmm(loss).clean_prob
    assert (prob[400:] < 0.5).all()
    restored, lost = mixtures.restore_classes(prob, loss, given_labels, 3, 0.5)
    assert lost == [1]  # class 2 was never given
    assert torch.equal(restored[:400], prob[:400])
    assert (restored[400:480] > 0.5).all()
    assert (restored[480:] < 0.5).all()


def test_a_lost_class_keeps_a_tenth_at_least():
    prob = torch.tensor([0.99] * 20 + [0.1] * 20)
    loss = torch.cat([torch.zeros(20), torch.linspace(1, 2, 20)])
    restored, lost = mixtures.restore_classes(prob, loss, torch.arange(40) // 20, 2, 0.98)
    assert lost == [1]
    assert (restored[20:22] > 0.98).all()


def test_without_any_clean_label_nothing_is_restored():
    prob = torch.zeros(4)
    restored, lost = mixtures.restore_classes(prob, torch.rand(4), torch.tensor([0, 1, 0, 1]), 2, 0.5)
    assert torch.equal(restored, prob)
    assert lost == []


def test_class_wise_is_a_mixture_for_every_class_that_is_large_enough():
    generator = torch.Generator().manual_seed(0)
    given_labels = torch.randint(0, 3, (600,), generator=generator)
    given_labels[:4] = 3  # too few for a mixture of their own
    loss = torch.randn(600, generator=generator).abs() * 0.2 + (torch.rand(600, generator=generator) < 0.4) * 2
    answer = mixtures.class_wise(loss, given_labels, classes=5)
    for c in range(3):
        members = given_labels == c
        assert torch.equal(answer.clean_prob[members], mixtures.gmm(loss[members]).clean_prob)
    assert torch.equal(answer.clean_prob[:4], mixtures.gmm(loss).clean_prob[:4])
    assert answer.separates


def test_class_wise_does_not_call_a_hard_class_wrong():
    generator = torch.Generator().manual_seed(1)
    labels, wrong = torch.arange(900) % 3, torch.rand(900, generator=generator) < 0.3
    loss = 0.3 * torch.rand(900, generator=generator) + wrong * 1.0 + (labels == 2) * 3.0
    whole, each = mixtures.gmm(loss).clean_prob > 0.5, mixtures.class_wise(loss, labels, 3).clean_prob > 0.5
    assert not whole[labels == 2].any()
    assert torch.equal(each, ~wrong)


def test_class_wise_separates_when_most_labels_lie_in_classes_that_do():
    generator = torch.Generator().manual_seed(2)
    two = torch.where(torch.rand(900, generator=generator) < 0.4, 3.0, 0.2)
    two = two + 0.1 * torch.randn(900, generator=generator)
    one = 3.2 + 0.1 * torch.randn(900, generator=generator)
    for share, expected in ((600, True), (300, False)):
        labels = (torch.arange(900) >= share).long()
        assert mixtures.class_wise(torch.where(labels == 0, two, one), labels, 2).separates is expected


@pytest.mark.parametrize("least", [1, 10])
def test_class_wise_survives_what_breaks_mixtures(least):
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    loss = torch.tensor([0.1, torch.nan, torch.inf, 0.1, 0.1, 5.0])
    prob = mixtures.class_wise(loss, labels, 4, least).clean_prob
    assert ((prob >= 0) & (prob <= 1)).all()
    assert prob[1] == prob[2] == 0
    assert len(mixtures.class_wise(loss[:0], labels[:0], 4).clean_prob) == 0


def test_wrong_events_divide_by_how_often_a_label_was_missed():
    generator = np.random.default_rng(0)
    wrong = generator.random(2000) < 0.4
    counts = torch.from_numpy(np.where(wrong, generator.binomial(20, 0.9, 2000), generator.binomial(20, 0.15, 2000)))
    answer = mixtures.wrong_events(counts, 20)
    assert ((answer.clean_prob > 0.5).numpy() == ~wrong).mean() > 0.99
    assert torch.equal(answer.clean_prob, mixtures.gmm(counts / 20).clean_prob)
    assert answer.separates


def test_wrong_events_of_samples_seen_unequally_often_are_shares():
    counts, epochs = torch.tensor([1.0, 5.0, 0.0, 8.0]), torch.tensor([2, 10, 0, 10])
    assert torch.equal(mixtures.event_rate(counts, epochs), torch.tensor([0.5, 0.5, 0.0, 0.8]))
    assert torch.equal(mixtures.wrong_events(torch.zeros(5), 0).clean_prob, torch.ones(5))
