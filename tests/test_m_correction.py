"""M-correction against its equations written plainly: targets, mixing, warm-up and the mixture's place."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, TrainingWarning, train
from codivide.methods.m_correction import MCorrection
from codivide.noise import mixtures
from codivide.training import mixmatch, targets
from tests import toys


def start(method: MCorrection, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def naive_loss(run: Run, method: MCorrection, batch, warm: bool, temperature: float = 1.0) -> float:
    """Each half of a pair with its own corrected label; the draws and forwards in the method's order."""
    net, x, n = run.nets[0], batch.x[0], len(batch.id)
    z = np.zeros((n, 3))
    if not warm:
        with torch.no_grad():
            p = torch.softmax(net(x).double(), 1).numpy()
        for b in range(n):
            if method.dynamic:
                z[b] = p[b] ** (1 / temperature) / sum(p[b] ** (1 / temperature))
            else:
                z[b] = np.eye(3)[p[b].argmax()] if method.hard else p[b]
    order = torch.randperm(n, generator=run.gen).tolist()
    share = mixmatch.mix_share(method.alpha, run.gen)
    w = 1 - run.remember("clean_prob")[batch.id].double().numpy()
    given = np.eye(3)[batch.y.numpy()]
    inputs = np.zeros(x.shape)
    for b, other in enumerate(order):
        keep = share
        if method.dynamic and not warm:
            keep = (1 - w[b]) / ((1 - w[b]) + (1 - w[other]))
        inputs[b] = keep * x[b].numpy() + (1 - keep) * x[other].numpy()
    with torch.no_grad():
        log_p = torch.log_softmax(net(torch.from_numpy(inputs).float()), 1).double().numpy()
    total = 0.0
    for b, other in enumerate(order):
        half = 0.5 if method.dynamic and not warm else share
        for weight, k in ((half, b), (1 - half, other)):
            corrected = given[k] if warm else (1 - w[k]) * given[k] + w[k] * z[k]
            total -= weight * (corrected * log_p[b]).sum() / n
    mean = np.exp(log_p).mean(0)
    penalty = sum(1 / 3 * math.log(1 / 3 / mean[c]) for c in range(3))
    return total if warm else total + method.prior * penalty


@pytest.mark.parametrize(
    "fields",
    [{}, {"hard": False}, {"alpha": 1.0, "prior": 3.0}, {"alpha": 0.0, "prior": 0.0}, {"dynamic": True}],
    ids=str,
)
@pytest.mark.parametrize("warm", [True, False])
def test_the_loss_is_the_equation(fields, warm):
    method = MCorrection(warmup=2, **fields)
    run = start(method, epochs=9)
    generator = torch.Generator().manual_seed(1)
    run.remember("clean_prob").copy_(0.05 + 0.9 * torch.rand(120, generator=generator))
    run.epoch = 1 if warm else 4
    batch = next(run.batches(run.data.y >= 0))
    state = run.gen.get_state()
    weights = {k: v.clone() for k, v in run.nets[0].state_dict().items()}
    expected = naive_loss(run, method, batch, warm, temperature=1 - 0.999 / 2)
    run.gen.set_state(state)
    run.nets[0].load_state_dict(weights)
    with torch.no_grad():
        assert method.loss(run, 0, batch).item() == pytest.approx(expected, rel=1e-4)


def test_targets_between_given_label_and_prediction():
    method = MCorrection()
    run = start(method)
    batch = next(run.batches(run.data.y >= 0))
    given = targets.one_hot(batch.y, 3)
    with torch.no_grad():
        hard = targets.one_hot(run.logits(0, batch.x[0]).argmax(1), 3)
    ones = torch.ones(len(batch.id))
    assert torch.equal(method.corrected(run, 0, batch.x[0], given, ones), given)
    assert torch.equal(method.corrected(run, 0, batch.x[0], given, 0 * ones), hard)
    half = method.corrected(run, 0, batch.x[0], given, 0.25 * ones)
    assert torch.allclose(half, 0.25 * given + 0.75 * hard)
    assert not half.requires_grad


def test_the_temperature_falls_from_one_to_a_thousandth_at_two_thirds():
    method = MCorrection(dynamic=True)
    run = start(method, epochs=300)
    seen = []
    for run.epoch in (105, 152, 200, 299):
        seen.append(method.temperature(run))
    assert seen == pytest.approx([1, 1 - 0.999 * 47 / 95, 0.001, 0.001])


def test_warm_up_is_the_papers_share_of_all_epochs():
    for epochs, expected in ((300, 105), (100, 35), (10, 4), (1, 1)):
        assert MCorrection().warmup_epochs(start(MCorrection(), epochs=epochs)) == expected
    assert MCorrection(warmup=7).warmup_epochs(start(MCorrection(warmup=7))) == 7


def test_warm_up_ends_soon_after_the_first_drop_of_the_learning_rate():
    for epochs, milestones, expected in ((300, (100, 250), 105), (70, (30,), 31), (10, (9,), 9)):
        run = start(MCorrection(), epochs=epochs, schedule="step", milestones=milestones)
        assert MCorrection().warmup_epochs(run) == expected


@pytest.mark.parametrize("trim", [0.0, 0.05])
def test_the_mixture_sees_all_labelled_samples_at_the_end_of_every_epoch_in_evaluation_mode(trim):
    problem = toys.toy(120, unlabelled=20)
    method = MCorrection(warmup=3, trim=trim)
    run = start(method, problem)
    assert torch.equal(method.clean_prob(run).isnan(), problem.data.y < 0)
    method.epoch(run)
    with torch.no_grad():
        logits = run.nets[0].eval()(problem.data.x.data[:100])
    losses = torch.nn.functional.cross_entropy(logits, problem.data.y[:100], reduction="none")
    assert torch.allclose(method.clean_prob(run)[:100], mixtures.bmm(losses, trim).clean_prob, atol=1e-3)
    assert method.clean_prob(run)[100:].isnan().all()


def test_samples_without_a_label_are_never_fetched_for_learning():
    run = start(MCorrection(), toys.toy(120, unlabelled=20))
    seen = set()
    original = run.method.loss

    def spy(run, i, batch):
        seen.update(batch.id.tolist())
        return original(run, i, batch)

    run.method.loss = spy
    run.method.fit_all(run, 0)
    assert seen == set(range(100))


def test_a_mixture_that_shows_one_group_is_said_only_when_it_begins_to_matter():
    run = start(MCorrection(warmup=2), toys.toy(9))
    run.method.divide(run)
    assert not run._warned
    run.epoch = 1
    with pytest.warns(TrainingWarning, match="do not show two groups"):
        run.method.divide(run)


def test_losses_that_are_not_finite_change_nothing_for_the_worse(monkeypatch):
    run = start(MCorrection())
    monkeypatch.setattr(run, "measure", lambda i, fn: torch.full((120,), torch.nan))
    run.epoch = 3
    with pytest.warns(TrainingWarning):
        run.method.divide(run)
    assert (run.method.clean_prob(run) == 0).all()
    assert torch.isfinite(run.method.loss(run, 0, next(run.batches())))


def test_the_record_holds_the_losses_and_whether_the_mixture_separates():
    run = train(MCorrection(warmup=1), toys.toy().data, toys.build, toys.plan(3))
    for name in ("loss", "cross_entropy", "separates"):
        assert name in run.history[-1]
    assert run.history[0]["loss"] == pytest.approx(run.history[0]["cross_entropy"])
    assert run.history[2]["loss"] != run.history[2]["cross_entropy"]


@pytest.mark.parametrize("fields", [{"hard": False}, {"dynamic": True}], ids=str)
def test_the_other_forms_learn_too(fields):
    problem = toys.toy(600)
    run = train(MCorrection(**fields), problem.data, toys.build, toys.plan(12))
    with torch.no_grad():
        right = run.nets[0].eval()(problem.data.x.data).argmax(1) == problem.truth
    prob, wrong = run.method.clean_prob(run), problem.data.y != problem.truth
    assert right.float().mean() > 0.9
    assert prob[~wrong].mean() > prob[wrong].mean() + 0.3
