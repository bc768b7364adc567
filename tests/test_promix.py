"""ProMix: its selections by small exact cases, the loss by loops, the ramps and the guards."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, train
from codivide.methods.promix import ProMix
from codivide.noise import mixtures, selections
from codivide.training import mixmatch, targets
from tests import toys


def start(method, problem=None, **plan) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**plan), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0
    return run


def test_small_losses_are_selected_class_by_class():
    loss = torch.tensor([3.0, 1.0, 2.0, 9.0, 7.0, 8.0, 0.1, float("nan"), 0.2])
    given = torch.tensor([0, 0, 0, 1, 1, 1, -1, 2, 2])
    # eight labels in three classes: ceil(.5 * 8 / 3) = 2 of each
    assert selections.small_loss(loss, given, 3, 0.5).tolist() == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
    ]
    assert selections.small_loss(loss, given, 3, 0.0).sum() == 3  # at least one of each
    assert selections.small_loss(loss, given, 3, 1.0).tolist() == [True] * 6 + [False, True, True]
    assert selections.small_loss(loss, given, 3, 3 / 8).tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]


def test_balanced_sets_keep_the_same_number_of_every_class():
    given = torch.arange(40) % 4
    kept = selections.small_loss(torch.rand(40), given, 4, 0.31)
    assert torch.bincount(given[kept]).tolist() == [math.ceil(0.31 * 10)] * 4


def test_a_match_is_sure_and_right():
    probs = torch.tensor([[0.995, 0.005], [0.995, 0.005], [0.7, 0.3], [0.99, 0.01], [0.995, 0.005]])
    given = torch.tensor([0, 1, 0, 0, -1])
    assert selections.matched(probs, given, 0.99).tolist() == [True, False, False, False, False]
    assert selections.matched(probs, given, 0.5).tolist() == [True, False, True, True, False]


def test_agreement_adds_the_surest_until_the_share_is_reached():
    first = torch.tensor([[0.96, 0.04], [0.99, 0.01], [0.98, 0.02], [0.99, 0.01], [0.99, 0.01], [0.6, 0.4]])
    second = torch.tensor([[0.97, 0.03], [0.99, 0.01], [0.98, 0.02], [0.01, 0.99], [0.99, 0.01], [0.99, 0.01]])
    kept = torch.tensor([False, False, False, False, True, False])
    all_of_them = selections.agreed(first, second, kept, 0.95, 1.0)
    assert all_of_them.tolist() == [True, True, True, False, False, False]
    half = selections.agreed(first, second, kept, 0.95, 0.5)  # three of six, of which one is kept already
    assert half.tolist() == [False, True, True, False, False, False]
    assert not selections.agreed(first, second, kept, 0.95, 0.1).any()
    assert not selections.agreed(first, second, torch.ones(6, dtype=torch.bool), 0.95, 0.9).any()


def test_debiasing_is_the_closed_form():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    mean = torch.tensor([0.5, 0.25, 0.2, 0.05])
    p, expected = torch.softmax(logits, 1).numpy(), np.zeros((5, 4))
    for b in range(5):
        weights = [p[b, c] / float(mean[c]) ** 0.8 for c in range(4)]
        expected[b] = np.array(weights) / sum(weights)
    assert np.allclose(torch.softmax(targets.debias(logits, mean, 0.8), 1).numpy(), expected, atol=1e-6)
    assert torch.equal(targets.debias(logits, mean, 0.0), logits.float())
    uniform = torch.softmax(targets.debias(logits, torch.full((4,), 0.25), 0.8), 1)
    assert torch.allclose(uniform, torch.softmax(logits.float(), 1), atol=1e-6)
    back = targets.debias(targets.debias(logits, mean, 0.8), mean, -0.8)
    assert torch.allclose(back, logits.float(), atol=1e-5)
    assert torch.isfinite(targets.debias(logits, torch.tensor([1.0, 0, 0, 0]), 0.8)).all()


def naive_two_view(logits, target, where, weight):
    total, count, n = 0.0, 0, len(target)
    for b in range(n):
        if where[b]:
            for row, share in ((b, 1.0), (b + n, weight)):
                p = np.exp(logits[row] - logits[row].max())
                total -= share * sum(t * math.log(q) for t, q in zip(target[b], p / p.sum(), strict=True))
            count += 1
    return total / max(count, 1)


def test_the_loss_of_two_views_is_a_mean_over_the_mask():
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    target = torch.softmax(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), 1)
    where = torch.tensor([True, False, True, True])
    found = targets.two_view_loss(logits, target, where, 0.3).item()
    assert found == pytest.approx(naive_two_view(logits.numpy(), target.numpy(), where, 0.3), rel=1e-5)
    leaf = logits.clone().requires_grad_()
    nothing = targets.two_view_loss(leaf, target, torch.zeros(4, dtype=torch.bool), 0.3)
    nothing.backward()
    assert nothing.item() == 0
    assert leaf.grad.abs().max() == 0


@pytest.mark.parametrize("epoch", [1, 9])
def test_the_loss_of_a_network_is_the_sum_of_its_parts(epoch):
    method = ProMix(warmup=1, rampup=4, lambda_u=0.1, tau=0.9)
    run = start(method, epochs=10)
    run.epoch = epoch
    run.remember("means.0").copy_(torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]))
    batch = next(run.batches(None, ("weak", "strong")))
    kept = torch.arange(16) % 3 > 0
    target = targets.one_hot(batch.y, 3)
    net, head = run.nets[0], run.attached["head.0"].net
    state = run.gen.get_state()
    share, rows = mixmatch.mix_share(4, run.gen), kept.nonzero().flatten()
    order = torch.randperm(len(rows), generator=run.gen)
    run.gen.set_state(state)

    def both(x):
        with torch.no_grad():
            hidden = net[2](net[1](net[0](x)))
            return net[4](hidden).double().numpy(), head(hidden).double().numpy()

    main, auxiliary = both(torch.cat(batch.x))
    kept_mean, rest_mean = (0.8 * np.log(row) for row in run.remember("means.0").double().numpy())
    weight = min(epoch / 4, 1)
    expected = sum(naive_two_view(z + kept_mean, target.numpy(), kept, weight) for z in (main, auxiliary))
    guess = np.exp((main[:16] - rest_mean) * 2)  # debiased, then sharpened with T = .5
    guess /= guess.sum(1, keepdims=True)
    expected += 0.1 * min(epoch / 8, 1) * naive_two_view(auxiliary + rest_mean, guess, ~kept, weight)
    x, y = batch.x[0][rows], target[rows]
    mixed, mixed_y = (share * a + (1 - share) * a[order] for a in (x, y))
    for z in both(mixed):
        stacked = np.concatenate([z, z]) + kept_mean
        expected += weight * naive_two_view(stacked, mixed_y.numpy(), np.ones(len(rows), bool), 0.0)

    seen = run.features(0, torch.cat(batch.x))
    assert method.net_loss(run, 0, batch.x[0], seen, target=target, kept=kept).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_guesses_for_the_rest_never_reach_the_main_head():
    method = ProMix(warmup=0, rampup=0, lambda_u=1.0)
    run = start(method)
    batch = next(run.batches(None, ("weak", "strong")))
    seen = run.features(0, torch.cat(batch.x))
    nothing = torch.zeros(16, dtype=torch.bool)
    method.net_loss(run, 0, batch.x[0], seen, target=targets.one_hot(batch.y, 3), kept=nothing).backward()
    assert run.nets[0][4].weight.grad is None or run.nets[0][4].weight.grad.abs().max() == 0
    assert run.attached["head.0"].net.weight.grad.abs().max() > 0
    assert run.nets[0][0].weight.grad.abs().max() > 0  # the shared features learn


def test_matches_and_agreement_join_the_base_set(monkeypatch):
    method = ProMix(warmup=0, agreement=2, tau=0.9)
    run = start(method, epochs=5)
    seen = {}
    monkeypatch.setattr(
        ProMix,
        "net_loss",
        lambda self, run, i, x, views, *, target, kept: seen.update({i: (target, kept)}) or views[0].sum() * 0,
    )
    batch = next(run.batches(None, ("weak", "strong")))
    sure = targets.one_hot((batch.y + (torch.arange(16) >= 4)) % 3, 3) * 10  # four say the label, twelve another
    monkeypatch.setattr(run, "features", lambda i, x: (torch.cat([sure, sure]), torch.zeros(32, 16)))
    base = [torch.arange(16) == 15, torch.arange(16) == 14]
    for epoch, chosen in ((2, 5), (3, int(0.9 * 16))):
        run.epoch = epoch
        method.batch_loss(run, batch, base)
        for i in range(2):
            target, kept = seen[i]
            assert kept.sum() == chosen
            assert kept[:4].all()
            assert torch.equal(target[:4], targets.one_hot(batch.y[:4], 3))
            assert torch.equal(target[15 - i], targets.one_hot(batch.y, 3)[15 - i])
            assert torch.equal(target[5:14].argmax(1), sure[5:14].argmax(1))  # their own prediction


def test_running_means_follow_their_parts():
    method = ProMix(warmup=0, momentum=0.9, tau=1.0, agreement=0)
    run = start(method)
    batch = next(run.batches(None, ("weak", "strong")))
    kept = torch.arange(16) < 6
    with torch.no_grad():
        p = torch.softmax(run.features(0, torch.cat(batch.x))[0][:16], 1)
    method.batch_loss(run, batch, [kept, torch.ones(16, dtype=torch.bool)])
    for row, part in ((0, kept), (1, ~kept)):
        expected = 0.9 * torch.full((3,), 1 / 3) + 0.1 * p[part].mean(0)
        assert torch.allclose(run.remember("means.0")[row], expected, atol=1e-5)
    assert torch.allclose(run.remember("means.1")[1], torch.full((3,), 1 / 3))  # no rest, no change


def test_the_share_of_small_losses_rises_over_the_ramp():
    method = ProMix(warmup=0, rho_start=0.2, rho=0.6, rampup=4)
    run = start(method)
    for epoch, share in ((0, 0.2), (2, 0.4), (4, 0.6), (9, 0.6)):
        run.epoch = epoch
        assert int(method.select(run, 0).sum()) == 3 * math.ceil(share * 40 - 1e-9)


def test_an_unset_ramp_is_a_twelfth_of_the_run():
    run = start(ProMix(), epochs=24)
    run.epoch = 1
    assert ProMix().ramp(run) == 0.5
    assert ProMix().ramp(run, 2) == 0.25
    assert ProMix(rampup=10).ramp(run) == 0.1


def test_the_rest_weighs_nothing_after_its_ramp_where_the_authors_code_is_followed(monkeypatch):
    run = start(ProMix(), epochs=24)
    found = {}
    for keep in (True, False):
        method = ProMix(keep_rest=keep, lambda_u=0.4)
        found[keep] = []
        for epoch in (0, 1, 3, 4, 23):
            run.epoch = epoch
            found[keep].append(method.weight_of_the_rest(run))
    assert found[True] == pytest.approx([0, 0.1, 0.3, 0.4, 0.4])
    assert found[False] == pytest.approx([0, 0.1, 0.3, 0, 0])
    seen = []
    monkeypatch.setattr(ProMix, "weight_of_the_rest", lambda self, run: seen.append(run.epoch) or 0.0)
    method = ProMix(warmup=0)
    run = start(method)
    method.epoch(run)
    assert seen


@pytest.mark.parametrize("kept", [0, 1])
def test_a_batch_with_hardly_a_selected_sample_still_learns(kept):
    method = ProMix(warmup=0, tau=1.0, lambda_u=0.0)
    run = start(method)
    batch = next(run.batches(None, ("weak", "strong")))
    loss = method.batch_loss(run, batch, [torch.arange(16) < kept] * 2)
    run.update(loss, 0, 1, "head.0", "head.1")
    assert run.skipped_updates == 0


def test_all_of_both_networks_learns_in_one_pass_and_samples_without_a_label_are_never_matched():
    problem = toys.toy(90, unlabelled=30)
    method = ProMix(warmup=0)
    run = start(method, problem)
    assert not method.select(run, 0)[60:].any()
    parts = [*run.nets, run.attached["head.0"].net, run.attached["head.1"].net]
    before = [next(net.parameters()).clone() for net in parts]
    method.epoch(run)
    assert run.step == 6  # batches of 16 of all 90
    assert all(not torch.equal(old, next(net.parameters())) for old, net in zip(before, parts, strict=True))


def test_clean_prob_is_the_mixture_on_the_mean_probability_of_the_label():
    problem = toys.toy(60, unlabelled=10)
    run = train(ProMix(warmup=1), problem.data, toys.build, toys.plan(3))
    run.method.select(run, 0)
    with torch.no_grad():
        p = torch.softmax(run.nets[0].eval()(problem.data.x.data), 1)[torch.arange(60), problem.data.y]
    assert torch.allclose(run.remember("given_prob.0")[:50], p[:50], atol=1e-5)
    mean = sum(run.remember(f"given_prob.{i}")[:50] for i in range(2)) / 2
    prob = run.method.clean_prob(run)
    assert torch.allclose(prob[:50], mixtures.gmm(-mean).clean_prob, atol=1e-5)
    assert prob[50:].isnan().all()
