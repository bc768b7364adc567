"""UNICON: divergence, threshold and class-balanced selection by loops, the contrastive loss, the step, the guards."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as torch_functional

from codivide import Run, train
from codivide.methods.unicon import UNICON
from codivide.noise import selections
from codivide.training import mixmatch
from codivide.training import targets as functional
from tests import toys


def start(method, problem=None, **plan) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**plan), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0
    return run


def draw_probs(batch=7, classes=4, seed=0):
    return torch.softmax(2 * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed)).double(), 1)


def naive_divergence(p, q):
    total = 0.0
    for a, b in ((p, q), (q, p)):
        total += sum(x * math.log2(x / ((x + y) / 2)) for x, y in zip(a, b, strict=True) if x > 0) / 2
    return total


def test_the_divergence_is_the_equation_symmetric_and_in_bits():
    p, q = draw_probs(), draw_probs(seed=1)
    found = functional.jensen_shannon(p, q)
    assert found.tolist() == pytest.approx(
        [naive_divergence(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    )
    assert torch.allclose(found, functional.jensen_shannon(q, p))
    assert ((found > 0) & (found < 1)).all()
    labels = functional.one_hot(torch.arange(7) % 4, 4).double()
    one_hot = functional.jensen_shannon(p, labels)
    assert one_hot.tolist() == pytest.approx(
        [naive_divergence(a, b) for a, b in zip(p.tolist(), labels.tolist(), strict=True)]
    )


def test_the_divergence_runs_from_0_to_1():
    a, b = torch.eye(3)[[0, 1]], torch.eye(3)[[1, 1]]
    assert functional.jensen_shannon(a, b).tolist() == [1, 0]
    p = draw_probs()
    assert functional.jensen_shannon(p, p).abs().max() < 1e-12


def naive_selection(d, y, classes, tau, d_mu):
    mean, least = np.mean(d), np.min(d)
    cut = mean - (mean - least) / tau if mean >= d_mu else mean
    count = max(sum(x < cut for x in d) // classes, 1)
    kept = set()
    for c in range(classes):
        members = sorted((i for i in range(len(d)) if y[i] == c), key=lambda i: d[i])
        kept |= set(members[:count])
    return kept, cut


@given(st.integers(0, 10_000), st.sampled_from([2.0, 5.0, math.inf]), st.sampled_from([0.0, 0.45, 0.7, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_selection_is_the_rule(seed, tau, d_mu):
    generator = torch.Generator().manual_seed(seed)
    d, y = torch.rand(50, generator=generator).double(), torch.randint(0, 4, (50,), generator=generator)
    found = selections.class_balanced(d, y, 4, tau=tau, d_mu=d_mu)
    kept, cut = naive_selection(d.tolist(), y.tolist(), 4, tau, d_mu)
    assert set(found.kept.nonzero().flatten().tolist()) == kept
    assert found.threshold == pytest.approx(cut)


def test_the_threshold_falls_from_the_mean_only_where_the_mean_is_large():
    y = torch.arange(8) % 2
    low = torch.tensor([0.0, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.6])
    assert selections.class_balanced(low, y, 2).threshold == pytest.approx(0.35)
    high = 0.4 + low
    assert selections.class_balanced(high, y, 2).threshold == pytest.approx(0.75 - (0.75 - 0.4) / 5)
    assert selections.class_balanced(high, y, 2, tau=1.0).threshold == pytest.approx(0.4)


def test_every_class_keeps_the_same_number_even_where_one_is_harder():
    y = torch.arange(90) % 3
    easy = torch.rand(90, generator=torch.Generator().manual_seed(0)) * 0.5
    hard = torch.where(y == 2, 0.5 + easy, easy)  # no divergence of class 2 is below the threshold
    kept = selections.class_balanced(hard, y, 3).kept
    counts = torch.bincount(y[kept], minlength=3).tolist()
    assert len(set(counts)) == 1
    assert counts[0] > 5
    assert hard[kept & (y == 2)].max() <= hard[~kept & (y == 2)].min()


def test_odd_sets_are_selected_too():
    empty = selections.class_balanced(torch.zeros(0), torch.zeros(0, dtype=torch.long), 3)
    assert not len(empty.kept)
    assert selections.class_balanced(torch.full((9,), 0.3), torch.arange(9) % 3, 3).kept.all()  # nothing is suspicious
    rare = torch.tensor([0] * 8 + [1])  # four of nine are below the mean: one of each of three classes
    assert selections.class_balanced(torch.arange(9) / 9, rare, 3).kept.nonzero().flatten().tolist() == [0, 8]
    flat = torch.tensor([0.0] * 8 + [1.0])  # eight below: two of each of three classes, but class 1 has only one
    assert selections.class_balanced(flat, rare, 3).kept.nonzero().flatten().tolist() == [0, 1, 8]
    broken = torch.tensor([0.1, float("nan"), 0.2, 0.9])
    assert not selections.class_balanced(broken, torch.zeros(4, dtype=torch.long), 1).kept[1]


def test_the_contrastive_loss_is_the_equation():
    a = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).double()
    b = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).double()
    z = [v / np.linalg.norm(v) for v in torch.cat([a, b]).numpy()]
    total = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        others = sum(math.exp(z[i] @ z[j] / 0.3) for j in range(10) if j != i)
        total += -math.log(math.exp(z[i] @ z[partner] / 0.3) / others) / 10
    assert functional.contrast(a, b, 0.3).item() == pytest.approx(total, rel=1e-5)
    assert functional.contrast(a, a, 0.01).item() < functional.contrast(a, b, 0.01).item()
    leaf = a.float().requires_grad_()
    functional.contrast(leaf, torch.zeros(5, 6), 0.05).backward()
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize(("epoch", "form"), [(2, "paper"), (30, "paper"), (30, "code")])
def test_the_step_is_mixmatch_on_strong_views_plus_the_contrast(epoch, form):
    method = UNICON(warmup=2, rampup=16, lambda_u=30, lambda_c=0.025, form=form)
    run = start(method)
    run.epoch = epoch
    run.remember("divergence").copy_(torch.rand(120, generator=torch.Generator().manual_seed(1)))
    half = torch.arange(120) < 60
    known, unknown = next(run.pairs(half, ~half, ("weak", "weak", "strong", "strong")))
    run.fraction = 0.25
    net, peer = run.nets
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = run.gen.get_state()
    share = mixmatch.mix_share(4, run.gen)
    order = torch.randperm(64, generator=run.gen)
    run.gen.set_state(state)

    with torch.no_grad():
        u1, u2, x1, x2 = (torch.softmax(net(x), 1) for x in (*unknown.x[:2], *known.x[:2]))
        peer.eval()
        other = torch.softmax(peer(torch.cat(unknown.x[:2])), 1).chunk(2)
    d = run.remember("divergence")[known.id]
    if form == "code":
        d = d * math.log(2)
        assert (d < 0.5).sum() > (run.remember("divergence")[known.id] < 0.5).sum()
    target_u, target_x = torch.zeros(16, 3), torch.zeros(16, 3)
    for b in range(16):
        mean = (u1[b] + u2[b] + other[0][b] + other[1][b]) / 4
        target_u[b] = mean**2 / (mean**2).sum()
        w = 1.0 if d[b] < 0.5 else 1 - float(d[b])
        mixed = w * torch.eye(3)[known.y[b]] + (1 - w) * (x1[b] + x2[b]) / 2
        target_x[b] = mixed**2 / (mixed**2).sum()
    inputs = torch.cat([*known.x[2:], *unknown.x[2:]])
    targets = torch.cat([target_x, target_x, target_u, target_u])
    with torch.no_grad():
        log_p = torch_functional.log_softmax(net(share * inputs + (1 - share) * inputs[order]), 1)
        target = share * targets + (1 - share) * targets[order]
        hidden = net[3](net[2](net[1](net[0](torch.cat(unknown.x[2:])))))
        head = run.attached["projection.0"].net
        z = head(hidden)
        if form == "code":  # one linear layer, and each view is normalised by its own statistics
            z = torch.cat([(v - v.mean(0)) / (v.var(0, correction=0) + 1e-5).sqrt() for v in head[0](hidden).chunk(2)])
    loss_x = -(target[:32] * log_p[:32]).sum() / 32
    loss_u = ((log_p[32:].exp() - target[32:]) ** 2).mean()
    penalty = sum(math.log(1 / 3 / log_p.exp()[:, c].mean()) / 3 for c in range(3))
    weight = 30 * min(max((epoch + 0.25 - 2) / 16, 0), 1)
    expected = loss_x + weight * loss_u + penalty + 0.025 * functional.contrast(z[:16], z[16:], 0.05)
    net.load_state_dict(before)
    assert method.mixed_loss(run, 0, known, unknown).item() == pytest.approx(float(expected), rel=1e-4)


def test_both_networks_measure_and_the_second_learns_from_a_fresh_selection(monkeypatch):
    method = UNICON(warmup=0)
    run = start(method)
    with torch.no_grad():
        for net in run.nets:
            net.eval()
        mean = sum(torch.softmax(net(run.data.x.data), 1) for net in run.nets) / 2
    d = functional.jensen_shannon(mean, functional.one_hot(run.data.y, 3))
    assert torch.equal(method.select(run), selections.class_balanced(d, run.data.y, 3).kept)
    assert torch.allclose(run.remember("divergence"), d, atol=1e-6)
    assert all(net.training for net in run.nets)
    calls = []
    monkeypatch.setattr(UNICON, "select", lambda self, run: calls.append("select"))
    monkeypatch.setattr(UNICON, "learn", lambda self, run, i, kept: calls.append(i))
    method.epoch(run)
    assert calls == ["select", 0, "select", 1]


def test_the_projection_is_trained_and_its_size_is_the_field():
    method = UNICON(warmup=0, projection=5)
    run = start(method)
    head = run.attached["projection.0"].net
    assert head[2].weight.shape == (5, 16)
    before = head[2].weight.clone()
    run.remember("divergence").fill_(0.2)
    half = torch.arange(120) < 60
    method.learn(run, 0, half)
    assert not torch.equal(before, head[2].weight)
    assert run.skipped_updates == 0


def test_the_authors_code_divides_by_natural_logarithms_and_has_larger_batches_of_the_rest(monkeypatch):
    method = UNICON(warmup=0, form="code")
    run = start(method)
    d = torch.cat([torch.linspace(0.6, 0.7, 30), torch.linspace(0.95, 1.0, 90)])  # in bits; their mean is above .7
    monkeypatch.setattr(Run, "measure", lambda self, i, score: d.clone())
    kept = method.select(run)
    nats = d.double() * math.log(2)
    share = float((nats < nats.mean()).double().mean())
    assert share == pytest.approx(0.25)
    assert torch.equal(kept, selections.class_balanced(nats, run.data.y, 3, d_mu=1.0).kept)  # never lowered
    assert run.logged("threshold") == pytest.approx(float(nats.mean()))
    assert method.size_of_the_rest(run) == int(16 / (2 * share)) == 32
    assert UNICON().size_of_the_rest(run) is None
    seen = []
    monkeypatch.setattr(UNICON, "mixed_loss", lambda self, run, i, known, unknown: seen.append(len(unknown.id)))
    monkeypatch.setattr(Run, "update", lambda *_: None)
    method.learn(run, 0, kept)
    assert seen[0] == 32
    run.remember("divergence").fill_(0.2)  # nothing lies below the mean
    assert method.size_of_the_rest(run) is None


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("kept", [1, 119, 120])
def test_parts_of_one_sample_and_an_empty_rest(kept, form):
    method = UNICON(warmup=0, form=form)
    run = start(method)
    run.remember("divergence").fill_(0.2)
    method.learn(run, 0, torch.arange(120) < kept)
    assert run.skipped_updates == 0
    assert run.step > 0


def test_clean_prob_puts_kept_labels_above_a_half_and_is_missing_without_a_label():
    problem = toys.toy(90, unlabelled=15)
    run = train(UNICON(warmup=1), problem.data, toys.build, toys.plan(4))
    prob, kept = run.method.clean_prob(run), run.remember("kept")
    assert prob[75:].isnan().all()
    assert not kept[75:].any()
    assert (prob[kept] >= 0.5).all()
    assert (prob[:75][~kept[:75]] <= 0.5).all()
    assert torch.equal(prob[:75], (kept[:75] + 1 - run.remember("divergence")[:75]) / 2)
