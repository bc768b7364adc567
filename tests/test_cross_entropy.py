"""Cross-entropy: label smoothing, and early stopping on held-out given labels."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from codivide import Run, TrainingWarning, train
from codivide.methods import METHODS
from codivide.methods._held_out import stratified
from codivide.noise import mixtures
from codivide.training import targets
from codivide.training.checkpoint import Checkpoint
from tests import toys

CrossEntropy = METHODS["cross_entropy"]


def start(method, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    torch.manual_seed(0)
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    return run


def test_smooth_is_the_equation_and_its_limits():
    target = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.2, 0.3, 0.5, 0.0]])
    got = targets.smooth(target, 0.2)
    for b in range(2):
        for c in range(4):
            assert float(got[b, c]) == pytest.approx(0.8 * float(target[b, c]) + 0.2 / 4)
    assert torch.equal(targets.smooth(target, 0.0), target)
    assert torch.equal(targets.smooth(target, 1.0), torch.full((2, 4), 0.25))


def test_label_smoothing_is_that_of_torch_in_loss_and_gradient():
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    target = targets.smooth(targets.one_hot(labels, 4), 0.3)
    ours = targets.soft_cross_entropy(logits, target)
    theirs = F.cross_entropy(logits, labels, label_smoothing=0.3)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    (mine,), (yours,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    assert torch.allclose(mine, yours, atol=1e-7)


def test_without_smoothing_loss_and_gradient_are_torchs_bit_for_bit():
    run = start(CrossEntropy())
    run.nets[0][3].p = 0.0
    batch = next(run.batches())
    run.nets[0].eval()  # so that the second forward sees the same statistics
    loss = CrossEntropy().loss(run, 0, batch)
    expected = F.cross_entropy(run.nets[0](batch.x[0]), batch.y, reduction="none").mean()
    assert torch.equal(loss, expected)
    for mine, yours in zip(
        torch.autograd.grad(loss, run.nets[0].parameters()),
        torch.autograd.grad(expected, run.nets[0].parameters()),
        strict=True,
    ):
        assert torch.equal(mine, yours)


def test_smoothing_in_the_method_changes_the_loss_but_not_what_is_observed():
    seen = {}
    for amount in (0.0, 0.4):
        run = start(CrossEntropy(label_smoothing=amount))
        loss = run.method.loss(run, 0, next(run.batches()))
        seen[amount] = (float(loss.detach()), run.remember("loss_sum").clone())
    assert seen[0.0][0] != seen[0.4][0]
    assert torch.equal(seen[0.0][1], seen[0.4][1])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_the_held_out_part_has_its_share_of_every_class(share):
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate((400, 100, 37, 2, 1))] + [torch.full((50,), -1)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    mask = stratified(labels, share, generator)
    assert not mask[labels < 0].any()
    for c, n in enumerate((400, 100, 37, 2)):
        assert abs(int(mask[labels == c].sum()) - share * n) <= 1
        assert int((~mask)[labels == c].sum()) >= 1
    assert not mask[labels == 4].any()  # the only one of its class
    assert int(mask.sum()) == pytest.approx(share * 539, abs=0.51)
    assert not torch.equal(mask, stratified(labels, share, generator))


def test_the_held_out_part_is_random_within_a_class():
    labels = torch.zeros(40, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    times = sum(stratified(labels, 0.25, generator).int() for _ in range(400))
    assert (times - 100).abs().max() < 45  # five deviations


def test_held_out_samples_are_never_trained_on():
    method = CrossEntropy(validation=0.2)
    run = start(method, toys.toy(120, unlabelled=20))
    held = run.remember("held_out").clone()
    assert int(held.sum()) == 20
    trained: list[int] = []
    original = method.loss

    def spy(run, i, batch):
        assert run.nets[0].training
        trained.extend(batch.id.tolist())
        return original(run, i, batch)

    method.loss = spy
    for _ in range(3):
        method.epoch(run)
        run.close_epoch(0.0)
    assert set(trained) == set(((run.data.y >= 0) & ~held).nonzero().flatten().tolist())
    assert len(trained) == 3 * 80
    assert torch.equal(held, run.remember("held_out"))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_noisy_epoch_is_kept(average):
    """Weights after every epoch against the held-out labels: the first best one is what classifies."""
    method, problem = CrossEntropy(validation=0.3), toys.toy(90, noise=0.5)
    states, accuracies = [], []

    def watch(run):
        net = run.average(0)
        held = run.remember("held_out")
        training = net.training
        with torch.no_grad():
            agreed = net.eval()(run.data.x.data[held]).argmax(1) == run.data.y[held]
        net.train(training)
        states.append({k: v.clone() for k, v in net.state_dict().items()})
        accuracies.append(float(agreed.float().mean()))

    run = train(method, problem.data, toys.build, toys.plan(12, average=average), watch=watch)
    assert [row["validation_accuracy"] for row in run.history] == pytest.approx(accuracies)
    best = accuracies.index(max(accuracies))
    assert best != len(accuracies) - 1  # else this test would see nothing
    assert int(run.remember("best_epoch")) == best + 1
    (member,) = method.members(run)
    assert toys.same(member.state_dict(), states[best]) == []
    assert toys.same(member.state_dict(), states[-1]) != []


def test_the_choice_of_the_epoch_sees_no_more_than_held_out_labels():
    """Other samples may be anything; the same weights on the same held-out part are judged the same."""
    method, problem = CrossEntropy(validation=0.25), toys.toy()
    run = start(method, problem)
    held = run.remember("held_out")
    seen = []
    original = run.fetch
    run.fetch = lambda ids, views: seen.extend([*ids.tolist(), views]) or original(ids, views)
    before = run.gen.get_state()
    method.judge(run, held)
    assert set(seen) == {("plain",), *held.nonzero().flatten().tolist()}
    assert torch.equal(run.gen.get_state(), before)
    assert run.nets[0].training
    assert int(run.nets[0][1].num_batches_tracked) == 0


def test_patience_ends_training_but_not_the_run():
    settings = {"validation": 0.3, "patience": 2}
    run = train(CrossEntropy(**settings), toys.toy(90, noise=0.6).data, toys.build, toys.plan(14))
    stopped = [row.get("stopped", 0.0) for row in run.history]
    best = int(run.remember("best_epoch"))
    assert run.epoch == 14
    assert stopped == [0.0] * (best + 2) + [1.0] * (14 - best - 2)
    assert run.step == (best + 2) * -(-63 // 16)
    patient = train(CrossEntropy(validation=0.3), toys.toy(90, noise=0.6).data, toys.build, toys.plan(14))
    assert patient.step == 14 * -(-63 // 16)


@pytest.mark.parametrize("patience", [0, 1])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_early_stopping_resumes_bit_for_bit(tmp_path, stop_after, patience):
    method, problem = CrossEntropy(validation=0.2, patience=patience), toys.toy(90, noise=0.5)

    def everything(run):
        best = {f"best.{k}": v for k, v in method.members(run)[0].state_dict().items()}
        return toys.state(run) | best | {"clean_prob": method.clean_prob(run)}

    straight = train(method, problem.data, toys.build, toys.plan(6))

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == stop_after + 1:
            raise Stop

    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        train(method, problem.data, toys.build, toys.plan(6), watch=stop, checkpoint=Checkpoint(path))
    resumed = train(method, problem.data, toys.build, toys.plan(6), checkpoint=Checkpoint(path, resume=True))
    assert toys.same(everything(straight), everything(resumed)) == []
    clock = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in clock} for row in straight.history] == [
        {k: v for k, v in row.items() if k not in clock} for row in resumed.history
    ]


def test_too_few_labels_to_hold_out_are_all_trained_on_with_a_warning():
    problem = toys.toy(3, noise=0.0)  # one of each class
    with pytest.warns(TrainingWarning, match="too few labels to hold any out"):
        run = train(CrossEntropy(validation=0.5), problem.data, toys.build, toys.plan(3))
    assert (run.remember("loss_count") == 3).all()
    assert run.method.members(run) == [run.nets[0]]
    assert run.method.clean_prob(run).isfinite().all()


def test_held_out_samples_are_divided_by_themselves():
    problem = toys.toy(600)
    method = CrossEntropy(validation=0.3)
    run = train(method, problem.data, toys.build, toys.plan(12))
    held, wrong = run.remember("held_out"), problem.data.y != problem.truth
    clean_prob = method.clean_prob(run)
    mean = run.remember("loss_sum") / run.remember("loss_count")
    assert (run.remember("loss_count") == 12).all()
    for part in (held, ~held):
        assert torch.equal(clean_prob[part], mixtures.gmm(mean[part]).clean_prob)
        assert clean_prob[part & ~wrong].mean() > clean_prob[part & wrong].mean() + 0.3


def test_without_validation_nothing_is_kept_and_nothing_is_drawn():
    problem = toys.toy()
    run = start(CrossEntropy(), problem)
    assert run.attached == {}
    assert set(run.memory) == {"loss_sum", "loss_count"}
    assert torch.equal(run.gen.get_state(), torch.Generator().manual_seed(0).get_state())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.method.epoch(run)
    assert run.method.members(run) == [run.nets[0]]


def test_at_most_half_can_be_held_out():
    from codivide import InputError

    with pytest.raises(InputError, match="validation"):
        replace(CrossEntropy(), validation=0.6)
