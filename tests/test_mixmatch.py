"""MixMatch against algorithm 1 written plainly, its ramp, its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codivide import Run
from codivide.methods import METHODS
from codivide.training import mixing, mixmatch
from tests import toys
from tests.test_semi_supervised import pair, softmax, start

MixMatch = METHODS["mixmatch"]


@pytest.mark.parametrize("interleave", [True, False])
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("augmentations", [1, 2, 3])
def test_the_loss_is_algorithm_1(augmentations, ratio, interleave):
    method = MixMatch(augmentations=augmentations, ratio=ratio, interleave=interleave, weight=30.0)
    run = start(method, epochs=4)
    known, unknown = pair(run)
    run.epoch, run.fraction, net = 1, 0.5, run.nets[0]
    size_u = 16 * ratio
    total = 16 + augmentations * size_u

    state = run.gen.get_state()
    shares = mixing.shares(0.75, 2, run.gen, total).numpy()
    order = torch.randperm(total, generator=run.gen).numpy()
    run.gen.set_state(state)

    guesses = [softmax(net, x) for x in unknown.x]
    target_u = np.zeros((size_u, 3))
    for b in range(size_u):
        mean = sum(g[b] for g in guesses) / augmentations
        target_u[b] = mean**2 / np.sum(mean**2)
    x = np.concatenate([known.x[0].numpy(), *(v.numpy() for v in unknown.x)])
    target = np.concatenate([np.eye(3)[known.y], *[target_u] * augmentations])
    mixed_x, mixed_t = np.zeros_like(x), np.zeros_like(target)
    for i in range(total):
        share = max(shares[i, 0], 1 - shares[i, 0])
        mixed_x[i] = share * x[i] + (1 - share) * x[order[i]]
        mixed_t[i] = share * target[i] + (1 - share) * target[order[i]]

    p = np.zeros((total, 3))
    batches = 1 + augmentations * ratio if interleave else 1
    for k in range(batches):
        p[k::batches] = softmax(net, torch.from_numpy(mixed_x[k::batches]).float())
    loss_x = -sum(mixed_t[i] @ np.log(p[i]) for i in range(16)) / 16
    loss_u = sum(np.sum((mixed_t[i] - p[i]) ** 2) / 3 for i in range(16, total)) / (total - 16)
    expected = loss_x + 30 * (1.5 / 4) * loss_u
    assert method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


def test_a_share_for_every_row_never_below_a_half():
    x, target = torch.arange(400.0)[:, None], torch.eye(2).repeat(200, 1)
    mixed = mixmatch.mixmatch(
        [x], target, [x[:0]], target[:0], alpha=0.75, generator=torch.Generator().manual_seed(0), per_sample=True
    )
    generator = torch.Generator().manual_seed(0)
    shares = mixing.shares(0.75, 2, generator, 400)
    order = torch.randperm(400, generator=generator)
    got = ((mixed.x - x[order]) / (x - x[order])).flatten()
    moved = order != torch.arange(400)
    assert torch.allclose(got[moved], shares.amax(1).float()[moved], atol=1e-2)
    assert got[moved].min() > 0.49
    assert len(got[moved].round(decimals=2).unique()) > 30  # one for the batch would give a single one


def test_the_guess_carries_no_gradient_and_is_one_for_all_views():
    run = start(MixMatch())
    _, unknown = pair(run)
    guess = run.method.guess(run, unknown)
    assert guess.shape == (16, 3)
    assert not guess.requires_grad
    assert torch.allclose(guess.sum(1), torch.ones(16))
    assert run.nets[0].training


def test_guessing_records_no_statistics_and_learning_does():
    run = start(MixMatch())
    norm, (known, unknown) = run.nets[0][1], pair(run)
    before = norm.running_mean.clone()
    run.method.guess(run, unknown)
    assert torch.equal(norm.running_mean, before)
    assert norm.num_batches_tracked == 0
    run.method.pair_loss(run, known, unknown)
    assert norm.num_batches_tracked == 3  # interleaved: one of each size
    replace(run.method, interleave=False).pair_loss(run, known, unknown)
    assert norm.num_batches_tracked == 4


def test_lambda_rises_over_1024_thousand_images_or_the_run_where_it_is_shorter():
    long = start(MixMatch(steps=1024), batch_size=64, epochs=1024)  # 65,536 of 1024 images each
    for epoch, share in ((0, 0), (4, 0.25), (16, 1), (500, 1)):
        long.epoch = epoch
        assert long.method.weight_now(long) == pytest.approx(75 * share)
    short = start(MixMatch(steps=10), epochs=8)
    for epoch, share in ((0, 0), (2, 0.25), (8, 1)):
        short.epoch = epoch
        assert short.method.weight_now(short) == pytest.approx(75 * share)
        assert replace(short.method, rampup=0.5).weight_now(short) == pytest.approx(75 * min(2 * share, 1))


def test_without_mixing_it_is_cross_entropy_and_squared_error():
    run = start(MixMatch(alpha=0.0, weight=1.0, rampup=0.0, interleave=False))
    known, unknown = pair(run)
    target = run.method.guess(run, unknown).repeat(2, 1).numpy()
    p = softmax(run.nets[0], torch.cat([known.x[0], *unknown.x]))
    expected = -np.log(p[np.arange(16), known.y]).mean() + np.square(p[16:] - target).mean()
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


def test_losses_are_those_of_plain_labelled_samples_in_evaluation_mode():
    run = start(MixMatch(steps=2))
    run.method.epoch(run)
    run.memory["loss_sum"].zero_()
    run.method.look(run)
    assert run.nets[0].training
    p = softmax(run.nets[0].eval(), run.data.x[torch.arange(40)])
    expected = -np.log(p[np.arange(40), run.data.y[:40]])
    assert np.allclose(run.memory["loss_sum"][:40].numpy(), expected, atol=1e-4)
    assert (run.memory["loss_sum"][40:] == 0).all()
    assert run.memory["loss_count"][:40].tolist() == [2.0] * 40


def test_fully_labelled_without_the_labelled_among_the_unlabelled_learns_on_mixtures():
    run = start(MixMatch(include_labelled=False, steps=2), toys.toy(64))
    run.method.epoch(run)
    assert isinstance(run, Run)
    assert run.step == 2
    assert "loss_u" not in run._sums
