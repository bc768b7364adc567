"""The Beta mixture against plain expectation-maximisation, known posteriors, and input that breaks mixtures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from codivide.noise import mixtures


def skewed(n: int, wrong: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses from known Beta densities, and the true posterior of the low one."""
    rng = np.random.default_rng(seed)
    bad = rng.random(n) < wrong
    z = np.where(bad, rng.beta(6, 3, n), rng.beta(1, 8, n))
    low, high = (1 - wrong) * stats.beta.pdf(z, 1, 8), wrong * stats.beta.pdf(z, 6, 3)
    return z, low / (low + high)


def naive_bmm(loss: np.ndarray, steps: int = 10) -> np.ndarray:
    z = np.clip((loss - loss.min()) / (loss.max() - loss.min()), 1e-4, 1 - 1e-4)
    ordered = np.sort(z)
    errors = [ordered[:k].var() * k + ordered[k:].var() * (len(z) - k) for k in range(1, len(z))]
    cut = ordered[int(np.argmin(errors))]
    member = np.stack([z <= cut, z > cut]).astype(float)
    for _ in range(steps + 1):
        weight, a, b = np.zeros(2), np.zeros(2), np.zeros(2)
        for c in range(2):
            weight[c] = member[c].mean()
            mean = (member[c] * z).sum() / member[c].sum()
            variance = (member[c] * (z - mean) ** 2).sum() / member[c].sum()
            a[c] = mean * (mean * (1 - mean) / variance - 1)
            b[c] = a[c] * (1 - mean) / mean
        density = np.stack([weight[c] * stats.beta.pdf(z, a[c], b[c]) for c in range(2)])
        member = density / density.sum(0)
    return member[int(np.argmin(a / (a + b)))]


@pytest.mark.parametrize("wrong", [0.2, 0.5])
def test_bmm_is_expectation_maximisation_by_weighted_moments(wrong):
    loss = skewed(2_000, wrong)[0]
    ours, reference = mixtures.bmm(torch.from_numpy(loss)).clean_prob.numpy(), naive_bmm(loss)
    falling = loss < 0.9  # beyond, the bare posterior may rise again, and ours does not
    assert np.abs(ours - reference)[falling].max() < 5e-3


@pytest.mark.parametrize("wrong", [0.2, 0.5])
def test_a_trimmed_fit_is_that_of_the_losses_between_two_percentiles(wrong):
    loss = skewed(2_000, wrong)[0]
    loss[:3] = 40.0  # far out: they stretch the scale of all others
    low, high = np.sort(loss)[[round(0.05 * 1_999), round(0.95 * 1_999)]]
    inner = (loss >= low) & (loss <= high)
    ours = mixtures.bmm(torch.from_numpy(loss), trim=0.05).clean_prob.numpy()
    falling = inner & (loss < low + 0.9 * (high - low))
    assert np.abs(ours[falling] - naive_bmm(loss[inner])[falling[inner]]).max() < 2e-2
    assert np.ptp(ours[loss >= high]) < 1e-6  # what lies outside is judged as the edge
    assert np.ptp(ours[loss <= low]) < 1e-6
    assert np.abs(ours - mixtures.bmm(torch.from_numpy(loss)).clean_prob.numpy()).max() > 0.1


def test_a_trimmed_fit_of_a_few_or_of_equal_losses_takes_all():
    assert mixtures.bmm(torch.zeros(0), trim=0.05).clean_prob.shape == (0,)
    loss = torch.tensor([0.0] * 60 + [5.0] * 2)
    assert torch.equal(mixtures.bmm(loss, trim=0.05).clean_prob, mixtures.bmm(loss).clean_prob)
    assert mixtures.bmm(torch.tensor([1.0, 2.0]), trim=0.05).clean_prob.tolist() == [1, 1]


@pytest.mark.parametrize("wrong", [0.1, 0.4, 0.7])
def test_known_posteriors_of_skewed_losses_are_recovered_and_better_than_by_gaussians(wrong):
    loss, truth = skewed(20_000, wrong)
    beta = mixtures.bmm(torch.from_numpy(loss)).clean_prob.numpy()
    gauss = mixtures.gmm(torch.from_numpy(loss)).clean_prob.numpy()
    assert np.abs(beta - truth).mean() < 0.02
    assert np.abs(beta - truth).mean() < np.abs(gauss - truth).mean()


def test_high_noise_with_a_skewed_clean_part_is_found_better_than_by_gaussians():
    rng = np.random.default_rng(0)
    loss = np.concatenate([rng.exponential(0.15, 2_000), rng.gamma(3, 0.5, 8_000)])
    clean = np.arange(10_000) < 2_000

    def balanced(division):
        found = division.clean_prob.numpy() > 0.5
        return (found[clean].mean() + (~found[~clean]).mean()) / 2

    assert balanced(mixtures.bmm(torch.from_numpy(loss))) > balanced(mixtures.gmm(torch.from_numpy(loss))) + 0.05


@pytest.mark.parametrize("wrong", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("low", [(1, 8), (5, 60), (0.3, 3)])
def test_clean_prob_never_rises_with_the_loss(wrong, low):
    rng = np.random.default_rng(1)
    n = 3_000
    loss = np.sort(np.where(rng.random(n) < wrong, rng.beta(2, 1.5, n), rng.beta(*low, n)))
    prob = mixtures.bmm(torch.from_numpy(loss)).clean_prob
    assert (prob.diff() <= 1e-6).all()
    assert prob[0] > 0.5 > prob[-1]


def test_clean_prob_does_not_depend_on_order_or_scale():
    loss = torch.from_numpy(skewed(3_000, 0.4)[0]).float()
    order = torch.randperm(len(loss), generator=torch.Generator().manual_seed(0))
    expected = mixtures.bmm(loss).clean_prob
    assert torch.allclose(mixtures.bmm(loss[order]).clean_prob, expected[order], atol=1e-5)
    assert torch.allclose(mixtures.bmm(7 * loss + 3).clean_prob, expected, atol=2e-3)


@given(
    st.lists(
        st.one_of(
            st.floats(0, 20), st.just(float("nan")), st.just(float("inf")), st.just(-float("inf")), st.just(3e38)
        ),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_bmm_never_fails(values):
    loss = torch.tensor(values)
    division = mixtures.bmm(loss)
    assert division.clean_prob.shape == loss.shape
    assert ((division.clean_prob >= 0) & (division.clean_prob <= 1)).all()
    assert (division.clean_prob[loss.isnan() | (loss == torch.inf)] == 0).all()
    assert (division.clean_prob[loss == -torch.inf] == 1).all()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 50])
def test_nothing_to_divide_is_all_clean(values):
    division = mixtures.bmm(torch.tensor(values))
    assert (division.clean_prob == 1).all()
    assert not division.separates


def test_two_piles_without_width_are_divided():
    division = mixtures.bmm(torch.tensor([0.1] * 60 + [2.0] * 40))
    assert (division.clean_prob[:60] > 0.99).all()
    assert (division.clean_prob[60:] < 0.01).all()
    assert division.separates


def test_when_the_low_component_dies_nothing_is_suspicious():
    division = mixtures.bmm(torch.tensor([0.0] + [5.0] * 500))
    assert (division.clean_prob == 1).all()
    assert not division.separates


def test_one_huge_outlier_does_not_swallow_the_split():
    loss = torch.from_numpy(skewed(5_000, 0.4)[0]).float()
    plain = mixtures.bmm(loss).clean_prob
    spoiled = mixtures.bmm(torch.cat([loss, torch.tensor([1e6])]))
    assert spoiled.clean_prob[-1] < 0.05
    assert ((spoiled.clean_prob[:-1] > 0.5) == (plain > 0.5)).float().mean() > 0.93  # the range is another


@pytest.mark.parametrize("n", [300, 5_000])
def test_separates_is_honest(n):
    rng = np.random.default_rng(0)
    apart = np.concatenate([rng.exponential(0.3, int(0.6 * n)), 3 + rng.gamma(2, 0.6, int(0.4 * n))])
    assert mixtures.bmm(torch.from_numpy(apart)).separates
    assert not mixtures.bmm(torch.from_numpy(rng.normal(1, 0.3, n))).separates
    assert not mixtures.bmm(torch.from_numpy(rng.exponential(1, n))).separates


def test_millions_of_losses_are_read_in_one_pass_and_are_the_same_as_a_part_of_them(monkeypatch):
    """The fit works on bins, however many losses there are."""
    passes = []
    histogram = mixtures._histogram

    def counted(loss, low, high):
        found = histogram(loss, low, high)
        passes.append((len(loss), len(found.size) <= mixtures._BINS))
        return found

    monkeypatch.setattr(mixtures, "_histogram", counted)
    loss = torch.from_numpy(skewed(50_000, 0.4)[0]).float()
    prob = mixtures.bmm(loss.repeat(60)).clean_prob
    assert passes == [(3_000_000, True)]
    assert torch.allclose(prob[:50_000], mixtures.bmm(loss).clean_prob, atol=1e-4)
