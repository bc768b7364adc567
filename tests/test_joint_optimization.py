"""Joint optimization: its three losses, what replaces a label and when, and the two stages of a run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from benchmarks import joint_optimization as figures
from codivide import InputError, Run, TrainingWarning, train
from codivide.fit.job import default_plan
from codivide.methods import JointOptimization
from codivide.training import targets
from tests import toys


def softmax(rows: np.ndarray) -> np.ndarray:
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def start(method=None, problem=None, **settings) -> Run:
    method, problem = method or JointOptimization(), problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    return run


def one_hot(labels, classes=3):
    return targets.one_hot(labels, classes)


def test_the_divergence_is_the_mean_kl_over_rows_with_a_label_and_its_gradient_is_prediction_minus_label():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator, requires_grad=True)
    y = torch.softmax(torch.randn(5, 4, generator=generator), 1)
    y[1], y[2] = torch.tensor([0.0, 1, 0, 0]), 0.0
    value = targets.label_divergence(logits, y)
    s = softmax(logits.detach().double().numpy())
    rows = [0, 1, 3, 4]
    assert value.item() == pytest.approx(rel_entr(y.numpy()[rows], s[rows]).sum() / 4, rel=1e-5)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = np.where(np.arange(5)[:, None] == 2, 0.0, (s - y.numpy()) / 4)
    assert np.allclose(gradient.numpy(), expected, atol=1e-6)


def test_the_divergence_is_zero_at_the_label_and_without_labels_and_finite_at_certainty():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert targets.label_divergence(logits, torch.softmax(logits, 1)).item() == pytest.approx(0, abs=1e-6)
    assert targets.label_divergence(logits, torch.zeros(3, 4)).item() == 0
    certain = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    value = targets.label_divergence(certain, torch.tensor([[0.0, 1.0, 0.0]]))
    value.backward()
    assert value.item() == pytest.approx(1e4)
    assert torch.isfinite(certain.grad).all()


@pytest.mark.parametrize("second", [False, True])
def test_the_loss_is_the_papers_in_the_first_stage_and_the_divergence_alone_in_the_second(second):
    method = JointOptimization(alpha=1.2, beta=0.8, window=3)
    run = start(method, toys.toy(120, unlabelled=30), epochs=16)
    labels = run.remember("labels")
    labels[:60] = torch.softmax(torch.randn(60, 3, generator=torch.Generator().manual_seed(2)), 1)
    run.epoch = 12 if second else 4
    batch = next(run.batches())
    state = {k: v.clone() for k, v in run.nets[0].state_dict().items()}
    s = softmax(run.logits(0, batch.x[0]).detach().double().numpy())
    run.nets[0].load_state_dict(state)
    y = labels[batch.id].double().numpy()
    known = y.sum(1) > 0
    assert 0 < known.sum() < 16
    l_c = rel_entr(y[known], s[known]).sum() / known.sum()
    l_p = sum(1 / 3 * math.log(1 / 3 / s[:, c].mean()) for c in range(3))
    l_e = -np.mean([sum(p * math.log(p) for p in row) for row in s])
    expected = l_c if second else l_c + 1.2 * l_p + 0.8 * l_e
    assert method.loss(run, 0, batch).item() == pytest.approx(expected, rel=1e-4)
    kept = run.remember("predictions")
    assert np.allclose(kept[batch.id, 1].numpy(), 0 if second else s, atol=1e-6)  # epoch 4, place 4 % 3
    assert (kept[:, [0, 2]] == 0).all()


def test_soft_labels_are_the_mean_of_the_last_predictions_seen_while_training():
    seen: list[torch.Tensor] = []  # one [N, C] an epoch
    after: list[torch.Tensor] = []

    class Spy(JointOptimization):
        def loss(self, run, i, batch):
            if len(seen) == run.epoch:
                seen.append(torch.zeros(40, 3))
            assert run.nets[0].training
            logits = run.logits(i, batch.x[0])
            seen[-1][batch.id] = torch.softmax(logits.detach(), 1)
            run.logits = lambda i, x: logits  # dropout would draw other numbers
            loss = super().loss(run, i, batch)
            del run.logits
            return loss

    def watch(run):
        after.append(run.remember("labels").clone())

    problem = toys.toy(40, unlabelled=4)
    train(Spy(first_share=1.0, window=3, update_from=2), problem.data, toys.build, toys.plan(6), watch=watch)
    given = one_hot(problem.data.y)
    assert torch.equal(after[0], given)
    for epoch in range(1, 6):
        expected = torch.stack(seen[max(0, epoch - 2) : epoch + 1]).mean(0)
        assert torch.allclose(after[epoch], expected, atol=1e-6)


def fill(run, mean):
    """Predictions whose mean is ``mean``."""
    held = run.remember("predictions")
    held[:] = mean.unsqueeze(1).expand_as(held)


def test_hard_labels_are_the_likeliest_class_of_the_mean():
    run = start(JointOptimization(labels="hard", window=2), toys.toy(3))
    held = run.remember("predictions")
    held[0] = torch.tensor([[0.4, 0.6, 0.0], [0.5, 0.1, 0.4]])
    held[1, 0] = torch.tensor([0.1, 0.2, 0.7])  # the other place is still empty
    before = run.remember("labels")[2].clone()
    run.method.replace(run)
    assert run.remember("labels").tolist() == [[1, 0, 0], [0, 0, 1], before.tolist()]


def test_hard_k_replaces_exactly_the_k_most_different_labels():
    problem = toys.toy(30, noise=0.0)
    y = problem.data.y
    mean = one_hot(y) * 0.8 + 0.1
    different = torch.arange(10)
    agreement = torch.linspace(0.05, 0.3, 10)[torch.randperm(10, generator=torch.Generator().manual_seed(0))]
    for row in different.tolist():
        mean[row] = (1 - agreement[row]) * one_hot((y[row : row + 1] + 1) % 3) + agreement[row] * one_hot(
            y[row : row + 1]
        )
    for k in (1, 4, 10, 50):
        run = start(JointOptimization(labels="hard_k", k=k), problem)
        fill(run, mean)
        changed = run.method.replace(run)
        moved = (run.remember("labels") != one_hot(y)).any(1)
        assert int(moved.sum()) == min(k, 10)
        assert set(moved.nonzero().flatten().tolist()) == set(agreement.argsort()[:k].tolist())
        assert torch.equal(run.remember("labels").argmax(1)[moved], (y[moved] + 1) % 3)
        assert changed.item() == pytest.approx(min(k, 10) / 30)


def test_samples_without_a_label_get_one_at_the_first_update_beyond_the_k():
    problem = toys.toy(30, noise=0.0, unlabelled=6)
    mean = one_hot((problem.truth + 1) % 3) * 0.8 + 0.1
    run = start(JointOptimization(labels="hard_k", k=2), problem)
    assert (run.remember("labels")[24:] == 0).all()
    fill(run, mean)
    changed = run.method.replace(run)
    labels = run.remember("labels")
    assert int((labels[:24].argmax(1) != problem.data.y[:24]).sum()) == 2
    assert torch.equal(labels[24:], one_hot((problem.truth[24:] + 1) % 3))
    assert changed.item() == pytest.approx(2 / 24)


def test_predictions_that_are_not_finite_replace_nothing():
    run = start()
    batch = next(run.batches())
    before = run.remember("labels").clone()
    with torch.no_grad():
        run.nets[0][0].weight.fill_(torch.nan)
    run.method.loss(run, 0, batch)
    run.method.replace(run)
    assert torch.equal(run.remember("labels"), before)
    assert torch.isfinite(run.method.clean_prob(run)).all()


def test_the_second_stage_starts_from_new_weights_on_labels_that_stay():
    weights, rows = [], []

    class Spy(JointOptimization):
        def loss(self, run, i, batch):
            weights.append((run.epoch, run.nets[0][0].weight.detach().clone(), len(run.optimizers[0].state)))
            return super().loss(run, i, batch)

    def watch(run):
        rows.append({name: run.remember(name).clone() for name in ("labels", "predictions")})

    run = train(Spy(), toys.toy(48).data, toys.build, toys.plan(8), watch=watch)
    first = Spy().first_epochs(run)
    assert first == 5
    end, begin = weights[3 * first - 1], weights[3 * first]
    assert (end[0], begin[0]) == (4, 5)
    assert begin[2] == 0  # a new optimizer, without momentum
    assert (end[1] - begin[1]).abs().max() > 5 * (end[1] - weights[3 * first - 2][1]).abs().max()
    assert not torch.equal(rows[3]["labels"], rows[4]["labels"])
    for later in rows[5:]:
        assert all(torch.equal(later[name], rows[4][name]) for name in later)
    assert ["changed" in row for row in run.history] == [False] + [True] * 4 + [False] * 3
    assert all(("prior" in row) == (i < 5) for i, row in enumerate(run.history))


def test_the_rate_of_the_papers_run():
    method = JointOptimization(second_lr=0.2)
    run = start(method, epochs=320)
    for epoch, expected in (
        (0, 0.1),
        (199, 0.1),
        (200, 0.2),
        (239, 0.2),
        (240, 0.02),
        (279, 0.02),
        (280, 0.002),
        (319, 0.002),
    ):
        run.epoch = epoch
        assert method.rate(run) == pytest.approx(expected)
    assert (method.first_epochs(run), method.first_update(run)) == (200, 70)
    automatic = JointOptimization()
    run.epoch = 200
    assert automatic.rate(run) == pytest.approx(2 * 0.1)


@pytest.mark.parametrize(
    ("epochs", "share", "expected"),
    [(1, 0.625, 1), (2, 0.625, 1), (2, 0.99, 1), (5, 0.625, 3), (8, 1.0, 8), (8, 0.01, 1)],
)
def test_both_stages_have_an_epoch_where_there_are_two(epochs, share, expected):
    method = JointOptimization(first_share=share)
    assert method.first_epochs(start(method, epochs=epochs)) == expected


def test_labels_that_would_never_be_replaced_are_said_so():
    problem = toys.toy(32)
    with pytest.warns(TrainingWarning, match="no label is replaced"):
        run = train(JointOptimization(update_from=9), problem.data, toys.build, toys.plan(4))
    assert torch.equal(run.remember("labels"), one_hot(problem.data.y))


def test_clean_prob_is_what_the_stored_soft_label_gives_to_the_given_one():
    problem = toys.toy(48, unlabelled=8)
    run = train(JointOptimization(), problem.data, toys.build, toys.plan(6))
    stored, y = run.remember("labels"), problem.data.y
    prob = run.method.clean_prob(run)
    assert torch.allclose(prob[:40], stored[:40].gather(1, y[:40, None])[:, 0], atol=1e-6)
    assert prob[40:].isnan().all()


def test_an_unknown_kind_of_labels_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown labels 'sotf'. Did you mean 'soft'\? Known are soft, hard"):
        JointOptimization(labels="sotf")
    with pytest.raises(InputError, match="window"):
        JointOptimization(window=0)


def test_it_wants_a_high_constant_rate():
    plan = default_plan(100, JointOptimization())
    assert (plan.lr, plan.schedule) == (0.1, "constant")


@pytest.mark.long
def test_the_script_makes_every_figure_from_its_own_runs(tmp_path):
    setup = figures.Setup("digits", 48, 20, epochs=3, noise=(0.4, 0.8), net="mlp", batch_size=16, k=4)
    found = {}
    for name in figures.FIGURES:
        figures.make(name, setup, tmp_path, tmp_path)
        assert (tmp_path / f"joint_{name}.png").read_bytes()[:4] == b"\x89PNG"
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert record["settings"]["samples"] == 48
        assert "commit" in record
        found[name] = record["numbers"]
    assert set(found["rates"]) == {"0.4", "0.8"}
    assert set(found["rates"]["0.4"]) == {"0.2", "0.02"}
    assert found["rates"]["0.4"]["0.2"] != found["rates"]["0.4"]["0.02"]
    assert [len(values) for values in found["losses"].values()] == [3, 3]
    assert set(found["recovery"]) == {"soft", "hard", "hard_k"}
    for rate in (0.4, 0.8):
        pairs = found["pseudo"][f"{rate}"] | found["updated"][f"{rate}"]
        wrong = {name: numbers["wrong"] for name, numbers in pairs.items()}
        assert wrong["true"] == 0 < wrong["updated"]
        assert wrong["symmetric noise"] == figures.errors(figures.spoiled(setup, rate)) > 0.2
        assert all(len(numbers["loss"]) == 3 for numbers in pairs.values())
    assert "48 images of digits, mlp, 3 epochs" in figures.caption(setup)


def test_recovery_accuracy_of_the_script_is_the_share_of_right_labels_after_each_epoch():
    setup = figures.Setup("digits", 48, 20, epochs=5, noise=(0.4,), net="mlp", batch_size=16)
    noisy = figures.spoiled(setup, 0.4)
    run, recovered = figures.joint(setup, noisy)
    assert len(recovered) == 5
    assert recovered[0] == pytest.approx(1 - figures.errors(noisy))  # given labels, until epoch 2
    last = (run.remember("labels").argmax(1).numpy() == noisy.truth).mean()
    assert recovered[-1] == pytest.approx(last)
    assert run.plan.lr == 0.1


def test_the_prior_is_that_of_the_equation():
    """``sum_c pi_c log(pi_c / mean s_c)`` as a loop, for three priors; 0 where the mean prediction is the prior."""
    generator = torch.Generator().manual_seed(3)
    probs = torch.softmax(torch.randn(8, 3, generator=generator), 1)
    skewed = toys.toy()
    skewed = toys.Toy(replace(skewed.data, y=torch.tensor([0] * 60 + [1] * 40 + [2] * 15 + [-1] * 5)), skewed.truth)
    for prior, expected in {
        "uniform": [1 / 3, 1 / 3, 1 / 3],
        "given": [60 / 115, 40 / 115, 15 / 115],
        "5,3,2": [0.5, 0.3, 0.2],
        "1,1,0": [0.5, 0.5, 0.0],
    }.items():
        held = start(JointOptimization(prior=prior), skewed).memory["prior"]
        assert held.tolist() == pytest.approx(expected)
        mean = probs.double().numpy().mean(0)
        loop = sum(p * math.log(p / m) for p, m in zip(expected, mean, strict=True) if p)
        assert targets.prior_kl(probs, held).item() == pytest.approx(loop, rel=1e-5)
    assert targets.prior_kl(held.expand(4, 3), held).item() == pytest.approx(0, abs=1e-6)
    assert targets.prior_kl(probs).item() == targets.prior_kl(probs, torch.full((3,), 1 / 3)).item()


@pytest.mark.parametrize(
    ("prior", "message"),
    [("even", "'uniform', 'given' or shares"), ("1,-1,1", "shares by class"), ("0,0,0", "shares by class")],
)
def test_a_prior_that_is_none_is_refused_at_once(prior, message):
    with pytest.raises(InputError, match=message):
        JointOptimization(prior=prior)


def test_a_prior_of_other_classes_is_refused_before_training():
    with pytest.raises(InputError, match="2 shares, but there are 3 classes"):
        start(JointOptimization(prior="0.5,0.5"))


def test_a_prior_moves_the_predictions_to_it():
    """Mostly wrong labels of two classes that are rarely there: the prior says how rare."""
    problem = toys.toy(120, noise=0.0)
    data = replace(problem.data, y=torch.randint(0, 3, (120,), generator=torch.Generator().manual_seed(0)))
    ends = {}
    for prior in ("uniform", "8,1,1"):
        method = JointOptimization(alpha=20.0, prior=prior, first_share=1.0)
        run = train(method, data, toys.build, toys.plan(6))
        ends[prior] = torch.softmax(run.measure(0, lambda logits, batch: logits), 1).mean(0)
    assert ends["8,1,1"][0] > 0.6 > 0.5 > ends["uniform"][0]
