"""DivideMix against algorithm 1 written plainly, and its guards."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from codivide import Run, TrainingWarning, divide, semi, train
from codivide.methods import DivideMix
from tests import toys


def start(method: DivideMix, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def posterior(losses: torch.Tensor, run: Run) -> torch.Tensor:
    return divide.restore_classes(divide.gmm(losses).clean_prob, losses, run.data.y, 3, 0.5).clean_prob


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("epoch", [2, 6, 30])
def test_the_loss_is_algorithm_1(training_mode, epoch):
    method = DivideMix(warmup=2, rampup=16, lambda_u=25, alpha=4, guess_in_training_mode=training_mode)
    run = start(method)
    run.epoch = epoch
    prob = torch.rand(120, generator=torch.Generator().manual_seed(1))
    known, unknown = next(run.pairs(prob > 0.5, prob <= 0.5, ("weak", "weak")))
    run.fraction = 0.25
    net, peer = run.nets
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def softmax(module, x, training):
        module.train(training)
        with torch.no_grad():
            return torch.softmax(module(x), 1).numpy()

    state = run.gen.get_state()
    share = semi.mix_share(4, run.gen)
    order = torch.randperm(64, generator=run.gen).numpy()
    run.gen.set_state(state)

    w, given = prob[known.id].numpy(), np.eye(3)[known.y.numpy()]
    guessed = [softmax(net, x, training_mode) for x in (*unknown.x, *known.x)]
    others = [softmax(peer, x, False) for x in unknown.x]
    target_x, target_u = np.zeros((16, 3)), np.zeros((16, 3))
    for b in range(16):
        mean_u = (guessed[0][b] + guessed[1][b] + others[0][b] + others[1][b]) / 4
        target_u[b] = mean_u**2 / np.sum(mean_u**2)
        refined = w[b] * given[b] + (1 - w[b]) * (guessed[2][b] + guessed[3][b]) / 2
        target_x[b] = refined**2 / np.sum(refined**2)
    inputs = torch.cat([*known.x, *unknown.x]).numpy()
    targets = np.concatenate([target_x, target_x, target_u, target_u])
    mixed = np.stack([share * inputs[i] + (1 - share) * inputs[order[i]] for i in range(64)])
    target = np.stack([share * targets[i] + (1 - share) * targets[order[i]] for i in range(64)])
    net.train()
    with torch.no_grad():
        logits = net(torch.from_numpy(mixed).float())
    log_p = functional.log_softmax(logits, 1).numpy()
    p = np.exp(log_p)
    loss_x = -sum((target[i] * log_p[i]).sum() for i in range(32)) / 32
    loss_u = sum(((p[i] - target[i]) ** 2).mean() for i in range(32, 64)) / 32
    penalty = sum(1 / 3 * np.log(1 / 3 / p[:, c].mean()) for c in range(3))
    weight = 25 * min(max((epoch + 0.25 - 2) / 16, 0), 1)
    expected = loss_x + weight * loss_u + penalty

    net.load_state_dict(before)
    assert method.mixed_loss(run, 0, known, unknown, prob[known.id]).item() == pytest.approx(expected, rel=1e-5)


def test_guessing_moves_batch_norm_of_the_learning_net_only_in_training_mode():
    for training_mode, moved in ((True, 5), (False, 1)):  # four guesses and the mixed batch, or that alone
        method = DivideMix(warmup=0, guess_in_training_mode=training_mode)
        run = start(method)
        half = torch.arange(120) < 60
        known, unknown = next(run.pairs(half, ~half, ("weak", "weak")))
        method.mixed_loss(run, 0, known, unknown, torch.ones(16))
        assert int(run.nets[0][1].num_batches_tracked) == moved
        assert int(run.nets[1][1].num_batches_tracked) == 0


def test_each_net_learns_from_the_split_of_its_peer(monkeypatch):
    method = DivideMix(warmup=0)
    run = start(method)
    splits = {}
    monkeypatch.setattr(DivideMix, "learn", lambda self, run, i, prob: splits.update({i: prob.clone()}))
    method.epoch(run)
    for i in range(2):
        losses = run.measure(i, lambda logits, batch: functional.cross_entropy(logits, batch.y, reduction="none"))
        assert torch.allclose(splits[1 - i], posterior(losses, run), atol=1e-5)


def test_losses_are_averaged_over_the_last_epochs(monkeypatch):
    method = DivideMix(warmup=1, average_losses=3)
    run = start(method)
    monkeypatch.setattr(DivideMix, "learn", lambda *words: None)
    seen = []
    for epoch in range(1, 7):
        run.epoch = epoch
        with torch.no_grad():
            run.nets[0][0].weight.mul_(1.2).add_(0.05 * epoch)
        losses = run.measure(0, lambda logits, batch: functional.cross_entropy(logits, batch.y, reduction="none"))
        seen.append(((losses - losses.min()) / (losses.max() - losses.min())).numpy())
        method.divide(run, 0)
        expected = posterior(torch.from_numpy(np.mean(seen[-3:], axis=0)), run)
        assert torch.allclose(run.remember("clean_prob.0"), expected, atol=1e-4)


def test_the_warm_up_loss_adds_the_confidence_penalty():
    batch_of = {}
    for weight in (0.0, 2.0):
        method = DivideMix(confidence_penalty=weight)
        torch.manual_seed(0)
        run = start(method)
        batch = next(run.batches())
        batch_of[weight] = method.loss(run, 0, batch).item()
        with torch.no_grad():
            p = torch.softmax(run.logits(0, batch.x[0]), 1).numpy()
    penalty = np.mean([sum(q * np.log(q) for q in row) for row in p])
    assert batch_of[2.0] == pytest.approx(batch_of[0.0] + 2 * penalty, rel=1e-4)


def test_warm_up_is_a_third_of_a_short_run_and_ten_epochs_of_a_long_one():
    for epochs, expected in ((2, 1), (6, 2), (30, 10), (300, 10)):
        assert DivideMix().warmup_epochs(start(DivideMix(), epochs=epochs)) == expected
    assert DivideMix(warmup=30).warmup_epochs(start(DivideMix())) == 30


def test_warm_up_batches_are_twice_as_large():
    method = DivideMix(warmup=3)
    run = start(method)
    method.epoch(run)
    assert run.step == 2 * -(-120 // 32)


def test_no_clean_label_falls_back_to_all_labels_with_a_warning():
    method = DivideMix(warmup=0)
    run = start(method)
    with pytest.warns(TrainingWarning, match="no label was found clean"):
        method.learn(run, 0, torch.zeros(120))
    assert run.step == -(-120 // 32)


def test_all_labels_clean_go_on_without_an_unlabelled_part():
    method = DivideMix(warmup=0)
    run = start(method)
    before = run.nets[0][0].weight.clone()
    with pytest.warns(TrainingWarning, match="every label was found clean"):
        method.learn(run, 0, torch.ones(120))
    assert run.skipped_updates == 0
    assert not torch.equal(before, run.nets[0][0].weight)


@pytest.mark.parametrize("clean", [1, 119])
def test_a_part_of_one_sample_works(clean):
    problem = toys.toy()
    method = DivideMix(warmup=0)
    run = start(method, problem)
    prob = (torch.arange(120) < clean).float()
    method.learn(run, 0, prob)
    assert run.step == (1 if clean == 1 else -(-119 // 16))
    assert run.skipped_updates == 0


def test_a_lost_class_is_divided_by_itself_and_named(monkeypatch):
    problem = toys.toy()
    method = DivideMix(warmup=0)
    run = start(method, problem)
    hard = torch.where(problem.data.y == 2, 5.0, 0.1) + 0.05 * torch.rand(120)
    monkeypatch.setattr(run, "measure", lambda i, fn: hard)
    with pytest.warns(TrainingWarning, match="no label 'c' was found clean; divided that class by itself"):
        method.divide(run, 0)
    assert (run.remember("clean_prob.0")[problem.data.y == 2] > 0.5).any()


def test_samples_without_a_label_join_the_unlabelled_part():
    problem = toys.toy(90, unlabelled=30)
    method = DivideMix(warmup=0)
    run = start(method, problem)
    seen: dict[str, set[int]] = {"known": set(), "unknown": set()}
    original = method.mixed_loss

    def spy(run, i, known, unknown, prob):
        seen["known"] |= set(known.id.tolist())
        seen["unknown"] |= set(unknown.id.tolist())
        return original(run, i, known, unknown, prob)

    method.mixed_loss = spy
    run.remember("clean_prob.1")[:60] = 0.9
    method.learn(run, 0, run.remember("clean_prob.1"))
    assert seen["known"] == set(range(60))
    assert seen["unknown"] == set(range(60, 90))


def test_the_threshold_is_strict():
    method = DivideMix(warmup=0, threshold=0.5)
    run = start(method)
    prob = torch.full((120,), 0.5)
    prob[:60] = 0.6
    method.learn(run, 0, prob)
    row = run.close_epoch(0.0)
    assert row["labelled_0"] == 60
    assert row["unlabelled_0"] == 60


def test_one_record_an_epoch_holds_losses_sizes_and_the_ramp():
    run = train(DivideMix(warmup=1, rampup=2), toys.toy().data, toys.build, toys.plan(5))
    last = run.history[-1]
    for name in ("loss", "loss_u", "lambda_u", "labelled_0", "unlabelled_1", "separates_0", "lr"):
        assert name in last
    assert last["lambda_u"] == pytest.approx(25)
    assert 0 < run.history[1]["lambda_u"] < 25


def test_clean_prob_is_the_mean_of_both_posteriors():
    run = train(DivideMix(warmup=1), toys.toy().data, toys.build, toys.plan(3))
    both = [run.remember(f"clean_prob.{i}") for i in range(2)]
    assert torch.equal(run.method.clean_prob(run), torch.stack(both).mean(0))
