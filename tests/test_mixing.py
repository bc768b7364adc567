"""Every rule of mixing against loops, its limits and its gradient."""

import numpy as np
import pytest
import torch

from codivide.training import mixing, mixmatch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("samples", [2, 3, 5])
def test_shares_have_the_moments_of_a_dirichlet(alpha, samples):
    """Mean 1/k and variance (k - 1) / (k^2 (k a + 1)); for k = 2 that is Beta(a, a): 1/2 and 1 / (4 (2 a + 1))."""
    drawn = mixing.shares(alpha, samples, generator(), rows=40_000)
    assert drawn.shape == (40_000, samples)
    assert torch.allclose(drawn.sum(1), torch.ones(40_000).double())
    assert float(drawn.min()) >= 0
    variance = (samples - 1) / (samples**2 * (samples * alpha + 1))
    error = (variance / 40_000) ** 0.5
    assert torch.allclose(drawn.mean(0), torch.full((samples,), 1 / samples).double(), atol=4 * error)
    assert torch.allclose(drawn.var(0), torch.full((samples,), variance).double(), rtol=0.05)
    covariance = float(torch.cov(drawn[:, :2].T)[0, 1])
    assert covariance == pytest.approx(-variance / (samples - 1), rel=0.05)


def test_shares_of_two_follow_the_beta_distribution_function():
    from scipy.stats import beta, kstest

    for alpha in (0.4, 1.0, 32.0):
        drawn = mixing.shares(alpha, 2, generator(1), rows=5000)[:, 0].numpy()
        assert kstest(drawn, beta(alpha, alpha).cdf).pvalue > 0.001


def test_limits_of_alpha():
    source = generator()
    before = source.get_state()
    assert mixing.shares(0.0, 3, source, rows=2).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert mixing.shares(5.0, 1, source).tolist() == [[1]]
    assert torch.equal(source.get_state(), before)  # nothing was drawn
    tiny = mixing.shares(1e-8, 3, generator(), rows=50)
    assert torch.allclose(tiny.max(1).values, torch.ones(50).double())
    assert set(tiny.argmax(1).tolist()) == {0, 1, 2}
    assert torch.allclose(mixing.shares(1e6, 4, generator(), rows=9), torch.full((9, 4), 0.25).double(), atol=3e-3)


def test_the_share_of_mixmatch_is_the_larger_of_two():
    for alpha in (0.5, 4.0):
        assert mixmatch.mix_share(alpha, generator(3)) == float(mixing.shares(alpha, 2, generator(3)).max()) >= 0.5


def test_largest_keeps_one_label():
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.5, 0.5, 0.0], [0.1, 0.1, 0.8]])
    assert mixing.largest(weights).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("alike", [True, False])
def test_combine_is_the_sum_written_as_loops(shape, samples, alike):
    values = torch.randn(7, *shape, generator=generator())
    rows = torch.randint(7, (5, samples), generator=generator(1))
    weights = mixing.shares(1.0, samples, generator(2), rows=1 if alike else 5)
    mixed = mixing.combine(values, rows, weights)
    assert mixed.dtype == values.dtype
    for b in range(5):
        expected = np.zeros(shape)
        for j in range(samples):
            expected = expected + float(weights[0 if alike else b, j]) * values[rows[b, j]].numpy()
        assert np.allclose(mixed[b].numpy(), expected, atol=1e-6)


def test_combine_with_all_weight_on_the_first_gives_its_bits():
    values = torch.randn(6, 3, 4, 4).to(memory_format=torch.channels_last)
    rows = torch.stack([torch.arange(6), torch.arange(6).flip(0)], 1)
    mixed = mixing.combine(values, rows, mixing.shares(0.0, 2, generator()))
    assert torch.equal(mixed, values)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_gradients_flow_to_every_mixed_value_in_its_share():
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[0, 1, 1], [2, 0, 3]])
    weights = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: mixing.combine(v, rows, weights), values)
    mixing.combine(values, rows, weights).sum().backward()
    assert torch.allclose(values.grad[:, 0], torch.tensor([1.1, 0.5, 0.1, 0.3]).double())


def test_shuffled_permutes_each_group_among_itself():
    groups = torch.tensor([2, 0, 0, 1, 2, 2, 0, 1, 5, 0])
    seen = set()
    for seed in range(200):
        order = mixing.shuffled(groups, generator(seed))
        assert torch.equal(groups[order], groups)
        assert sorted(order.tolist()) == list(range(10))
        seen.add(tuple(order.tolist()))
    assert len(seen) > 120  # of 4! 2! 3! = 288 orders


def test_shuffled_reaches_every_order_of_a_group_equally_often():
    groups = torch.tensor([1, 0, 1, 1])
    orders = [tuple(mixing.shuffled(groups, generator(seed)).tolist()) for seed in range(1200)]
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 6
    assert all(140 < count < 260 for count in counts.values())  # 200 each, four deviations either way


def test_shuffled_in_one_group_is_a_random_permutation():
    order = mixing.shuffled(torch.zeros(9, dtype=torch.int64), generator(4))
    assert torch.equal(order, torch.randperm(9, generator=generator(4)))


@pytest.mark.parametrize("elements", [1, 40, 1 << 20])  # blocks of 1, of 8 and of all samples
def test_nearest_is_brute_force(elements):
    x = 3 + torch.randn(60, 5, generator=generator(), dtype=torch.float64)
    ids = torch.randperm(60, generator=generator(1))[:45]
    looked = []

    def look(some):
        looked.append(len(some))
        return x[some]

    near = mixing.nearest(look, ids, 7, elements)
    assert max(looked) <= max(1, elements // 5)
    assert near.shape == (45, 7)
    for row, i in enumerate(ids.tolist()):
        others = sorted((float(((x[i] - x[j]) ** 2).sum()), j) for j in ids.tolist() if j != i)
        assert near[row].tolist() == [j for _, j in others[:7]]


def test_nearest_gives_fewer_where_there_are_fewer():
    x = torch.tensor([[0.0], [1.0], [5.0]])
    assert mixing.nearest(lambda ids: x[ids], torch.arange(3), 200).tolist() == [[1, 2], [0, 2], [1, 0]]
    assert mixing.nearest(lambda ids: x[ids], torch.tensor([2]), 200).shape == (1, 0)
    assert mixing.nearest(lambda ids: x[ids], torch.tensor([], dtype=torch.int64), 200).shape == (0, 0)


def test_nearest_never_answers_the_sample_itself_when_others_equal_it():
    x = torch.ones(5, 2)
    near = mixing.nearest(lambda ids: x[ids], torch.arange(5), 4)
    assert all(set(near[i].tolist()) == set(range(5)) - {i} for i in range(5))


def test_drawn_takes_every_choice_equally_often_and_never_a_missing_one():
    choices = torch.tensor([[4, 5, 6, 7], [8, 9, -1, -1], [-1, -1, -1, -1]], dtype=torch.int32)
    drawn = mixing.drawn(choices, torch.tensor([0, 1, 2]), 3000, generator())
    assert drawn.shape == (3, 3000)
    assert drawn.dtype == torch.int64
    assert [set(row.tolist()) for row in drawn] == [{4, 5, 6, 7}, {8, 9}, {2}]
    assert torch.bincount(drawn[0]).tolist()[4:] == pytest.approx([750] * 4, abs=100)
