"""Co-teaching, Co-teaching+ and JoCoR: which samples are kept, exchanged and learned from, by hand-made losses."""

import math

import numpy as np
import pytest
import torch

from codivide import Data, InputError, Run, TrainingWarning, train
from codivide.data.rows import TensorRows
from codivide.fit.job import default_plan
from codivide.methods import METHODS
from codivide.methods._small_loss import disagreement
from codivide.methods.co_teaching import CoTeaching
from codivide.methods.co_teaching_plus import CoTeachingPlus
from codivide.methods.jocor import JoCoR
from codivide.noise import selections
from codivide.training import targets
from tests import toys

FAMILY = [CoTeaching, CoTeachingPlus, JoCoR]


class Bench:
    """A run whose two networks are tables of logits; row = sample. Records every update instead of making it."""

    def __init__(self, method, tables, labels, epoch=100, epochs=200):
        self.tables = [torch.as_tensor(table, dtype=torch.float32).requires_grad_() for table in tables]
        n, classes = self.tables[0].shape
        x = torch.arange(n).float().repeat(6, 1).T.contiguous()
        views = dict.fromkeys(("plain", "weak", "strong"), lambda rows, generator: rows)
        data = Data(TensorRows(x), torch.as_tensor(labels), tuple(range(classes)), views)
        self.run = Run(method, data, toys.build, toys.plan(epochs, batch_size=64), torch.device("cpu"), "fp32")
        method.start(self.run)
        self.run.epoch = epoch
        self.run.logits = lambda i, x: self.tables[i][x[:, 0].long()]
        self.run.update = self.update
        self.updates = []

    def update(self, loss, *nets):
        """Which rows of each network's table the loss reaches, and with what gradient."""
        gradients = torch.autograd.grad(loss, self.tables, retain_graph=True, allow_unused=True)
        rows = [() if g is None else tuple(g.abs().sum(1).nonzero().flatten().tolist()) for g in gradients]
        self.updates.append((nets, loss.item(), rows))


def table(losses, labels, classes=3):
    """Logits whose cross-entropies on the labels are these: the label against one other class."""
    logits = np.full((len(losses), classes), -60.0)
    for row, (loss, label) in enumerate(zip(losses, labels, strict=True)):
        logits[row, label] = -loss
        logits[row, (label + 1) % classes] = math.log(1 - math.exp(-loss))
    return logits


LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
FIRST = [0.1, 0.2, 0.3, 0.4, 0.5, 2.1, 2.2, 2.3, 2.4, 2.5]
SECOND = [2.5, 0.3, 2.4, 0.1, 2.3, 0.4, 2.2, 0.5, 2.1, 0.2]


def test_the_hand_made_logits_have_the_losses():
    logits = torch.tensor(table(FIRST, LABELS)).float()
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS), reduction="none")
    assert losses.tolist() == pytest.approx(FIRST, abs=1e-4)


def test_each_net_learns_from_the_small_losses_of_its_peer():
    bench = Bench(CoTeaching(forget_rate=0.6), [table(FIRST, LABELS), table(SECOND, LABELS)], LABELS)
    bench.run.method.epoch(bench.run)
    (nets_a, loss_a, rows_a), (nets_b, loss_b, rows_b) = bench.updates
    assert (nets_a, nets_b) == ((0,), (1,))
    assert rows_a == [(1, 3, 5, 9), ()]  # the four smallest of the second network
    assert rows_b == [(), (0, 1, 2, 3)]
    assert loss_a == pytest.approx(np.mean([FIRST[k] for k in (1, 3, 5, 9)]), abs=1e-4)
    assert loss_b == pytest.approx(np.mean([SECOND[k] for k in (0, 1, 2, 3)]), abs=1e-4)


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize(("exponent", "rise"), [(1.0, 10), (2.0, 10), (0.5, 3)])
def test_the_kept_share_falls_to_one_minus_the_forget_rate(cls, exponent, rise):
    bench = Bench(cls(forget_rate=0.4, rise=rise, exponent=exponent), [np.eye(3), np.eye(3)], [0, 1, 2])
    for t in range(15):
        bench.run.epoch = t
        assert bench.run.method.kept_share(bench.run) == pytest.approx(1 - 0.4 * min(t**exponent / rise, 1))


def test_the_rise_takes_ten_epochs_or_a_third():
    for epochs, expected in ((1, 1), (6, 2), (30, 10), (300, 10)):
        bench = Bench(CoTeaching(), [np.eye(3), np.eye(3)], [0, 1, 2], epochs=epochs)
        assert bench.run.method.rise_epochs(bench.run) == expected


def test_smallest_rounds_down_keeps_order_and_never_nothing():
    loss = torch.tensor([3.0, 1.0, torch.nan, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert selections.smallest(loss, 0.3).tolist() == [1, 3, 4]
    assert selections.smallest(loss, 0.39).tolist() == [1, 3, 4]
    assert selections.smallest(loss, 1 - 0.7).tolist() == [1, 3, 4]  # 0.30000000000000004 and 0.29999999999999999 alike
    assert selections.smallest(loss, 0.0).tolist() == [1]
    assert selections.smallest(loss, 1.0).tolist() == [1, 3, 4, 0, 5, 6, 7, 8, 9, 2]
    for count in range(1, 65):
        for share in (0.1, 0.2, 0.35, 0.55, 0.8):
            exact = max(1, round(share * 100) * count // 100)
            assert len(selections.smallest(torch.zeros(count), share)) == exact


@pytest.mark.parametrize("cls", FAMILY)
def test_samples_without_a_label_are_never_learned(cls):
    labels = [0, 1, -1, 0, -1, 2, 0, 1, 2, 0]
    bench = Bench(cls(forget_rate=0.0), [table(FIRST, LABELS), table(SECOND, LABELS)], labels)
    bench.run.method.epoch(bench.run)
    for _, _, rows in bench.updates:
        assert not {2, 4} & {k for part in rows for k in part}
    assert bench.updates


def disagreeing(places, losses=FIRST):
    """A second table that predicts another class than the first at these places."""
    logits = np.array(table(losses, LABELS))
    own = np.array(table(FIRST, LABELS)).argmax(1)
    for k in range(len(LABELS)):
        top, others = own[k], [c for c in range(3) if c != own[k]]
        wanted = others[0] if k in places else top
        logits[k] = [-5.0] * 3
        logits[k, wanted] = 0.1 * k
    return logits


def test_disagreement_is_that_of_the_arg_max():
    first, second = torch.tensor(table(FIRST, LABELS)), torch.tensor(disagreeing((2, 3, 8)))
    assert disagreement(first, second).tolist() == [2, 3, 8]
    assert disagreement(first, first * 3).tolist() == []


def test_plus_chooses_among_disagreements_and_counts_each_sample_as_before():
    where = (2, 3, 5, 6, 8)
    tables = [table(FIRST, LABELS), disagreeing(where)]
    bench = Bench(CoTeachingPlus(forget_rate=0.5, warmup=3), tables, LABELS)
    bench.run.method.epoch(bench.run)
    losses = [
        torch.nn.functional.cross_entropy(torch.tensor(t).float(), torch.tensor(LABELS), reduction="none").numpy()
        for t in tables
    ]
    small = [sorted(sorted(where, key=lambda k: loss[k])[:2]) for loss in losses]  # floor(0.5 * 5)
    for i, (nets, loss, rows) in enumerate(bench.updates):
        assert nets == (i,)
        assert rows[i] == tuple(small[1 - i])
        assert loss == pytest.approx(sum(losses[i][k] for k in small[1 - i]) / 5, rel=1e-4)  # Co-teaching keeps 5


def test_plus_is_co_teaching_while_it_warms_up():
    tables = [table(FIRST, LABELS), disagreeing((2,))]
    for epoch, same in ((2, True), (3, False)):
        plain = Bench(CoTeaching(forget_rate=0.3), tables, LABELS, epoch)
        plus = Bench(CoTeachingPlus(forget_rate=0.3, warmup=3), tables, LABELS, epoch)
        for bench in (plain, plus):
            bench.run.method.epoch(bench.run)
        assert (sorted(plain.updates[0][2]) == sorted(plus.updates[0][2])) is same


def test_plus_keeps_one_sample_of_one_disagreement():
    bench = Bench(CoTeachingPlus(forget_rate=0.5, warmup=0), [table(FIRST, LABELS), disagreeing((4,))], LABELS)
    bench.run.method.epoch(bench.run)
    assert bench.updates[0][2][0] == (4,)
    assert bench.updates[0][1] == pytest.approx(FIRST[4] / 5, abs=1e-4)
    assert bench.run.close_epoch(0.0)["disagreement"] == pytest.approx(0.1)


def test_plus_without_a_disagreement_exchanges_the_whole_batch_and_says_so():
    tables = [table(FIRST, LABELS), disagreeing(())]
    plain = Bench(CoTeaching(forget_rate=0.5), tables, LABELS)
    plus = Bench(CoTeachingPlus(forget_rate=0.5, warmup=0), tables, LABELS)
    plain.run.method.epoch(plain.run)
    with pytest.warns(TrainingWarning, match="agree on a whole batch"):
        plus.run.method.epoch(plus.run)
    assert [u[1] for u in plain.updates] == pytest.approx([u[1] for u in plus.updates])
    assert [set(u[2]) for u in plain.updates] == [set(u[2]) for u in plus.updates]


def numpy_joint(first, second, labels, agreement):
    def softmax(row):
        e = np.exp(row - row.max())
        return e / e.sum()

    out = []
    for a, b, y in zip(first, second, labels, strict=True):
        p, q = softmax(a), softmax(b)
        divergence = sum(p[c] * np.log(p[c] / q[c]) + q[c] * np.log(q[c] / p[c]) for c in range(len(p)))
        out.append((1 - agreement) * (-np.log(p[y]) - np.log(q[y])) + agreement * divergence)
    return np.array(out)


@pytest.mark.parametrize("agreement", [0.0, 0.65, 0.9, 1.0])
def test_the_joint_loss_is_the_papers(agreement):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 10, 3)) * 2
    losses = targets.joint_loss(torch.tensor(first), torch.tensor(second), torch.tensor(LABELS), agreement)
    assert losses.numpy() == pytest.approx(numpy_joint(first, second, LABELS, agreement), rel=1e-4, abs=1e-5)


def test_divergence_is_symmetric_zero_on_equals_and_finite_at_the_ends():
    first, second = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    there, back = targets.symmetric_divergence(first, second), targets.symmetric_divergence(second, first)
    assert torch.allclose(there, back)
    assert (there > 0).all()
    assert torch.allclose(targets.symmetric_divergence(first, first + 3), torch.zeros(8), atol=1e-6)
    far = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    loss = targets.symmetric_divergence(far, torch.tensor([[0.0, 1e4, 0.0]])).sum()
    (gradient,) = torch.autograd.grad(loss, far)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_the_gradient_of_the_joint_loss_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 4, 3))
    labels = [0, 2, 1, 1]
    tensor = torch.tensor(first, requires_grad=True)
    targets.joint_loss(tensor, torch.tensor(second), torch.tensor(labels), 0.7).sum().backward()
    step = 1e-5
    for row in range(4):
        for c in range(3):
            up, down = first.copy(), first.copy()
            up[row, c] += step
            down[row, c] -= step
            slope = (numpy_joint(up, second, labels, 0.7).sum() - numpy_joint(down, second, labels, 0.7).sum()) / 2e-5
            assert tensor.grad[row, c].item() == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_jocor_updates_both_nets_once_on_the_small_joint_losses():
    first, second = table(FIRST, LABELS), disagreeing((1, 7))
    bench = Bench(JoCoR(forget_rate=0.6, agreement=0.9), [first, second], LABELS)
    bench.run.method.epoch(bench.run)
    losses = numpy_joint(first, second, LABELS, 0.9)
    kept = sorted(losses.argsort()[:4])
    ((nets, loss, rows),) = bench.updates
    assert nets == (0, 1)
    assert loss == pytest.approx(losses[kept].mean(), rel=1e-4)
    assert rows == [tuple(kept), tuple(kept)]


def test_the_forget_rate_is_estimated_while_the_share_rises_and_then_fixed():
    bench = Bench(CoTeaching(rise=3), [np.eye(3)[LABELS], np.eye(3)[LABELS]], LABELS, epoch=0)
    run, rates = bench.run, []
    for t in range(6):
        run.epoch = t
        wrong = min(t, 5)  # as many large losses as epochs done
        run.remember("loss_count").fill_(1)
        run.remember("loss_sum").copy_(torch.arange(10) / 100 + 5.0 * (torch.arange(10) < wrong))
        rates.append(run.method.tau(run))
    assert rates[0] == 0
    assert rates[1:4] == pytest.approx([0.1, 0.2, 0.3], abs=0.02)
    assert rates[4:] == [rates[3]] * 2


def test_a_given_forget_rate_is_used_as_it_is():
    bench = Bench(CoTeaching(forget_rate=0.25, rise=1), [np.eye(3)[LABELS]] * 2, LABELS)
    bench.run.remember("loss_count").fill_(1)
    bench.run.remember("loss_sum").copy_(5.0 * (torch.arange(10) < 6))
    assert bench.run.method.kept_share(bench.run) == 0.75
    assert "forget_rate" not in bench.run.close_epoch(0.0)


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_the_estimate_is_near_the_noise_rate(cls, noise):
    problem = toys.toy(300, noise)
    run = train(cls(), problem.data, toys.build, toys.plan(9))
    wrong = (problem.data.y != problem.truth).float().mean().item()
    assert run.history[-1]["forget_rate"] == pytest.approx(wrong, abs=0.1)
    assert run.history[-1]["kept"] == pytest.approx(1 - run.history[-1]["forget_rate"])


def test_losses_that_do_not_separate_are_named_a_guess():
    bench = Bench(CoTeaching(rise=2), [np.eye(3)[LABELS]] * 2, LABELS, epoch=2)
    bench.run.remember("loss_count").fill_(1)
    bench.run.remember("loss_sum").copy_(torch.linspace(0, 1, 10))
    with pytest.warns(TrainingWarning, match="forget_rate 0.* is a guess"):
        bench.run.method.tau(bench.run)


@pytest.mark.parametrize("cls", FAMILY)
def test_a_batch_with_a_loss_that_is_not_finite_makes_no_step(cls):
    broken = np.array(table(FIRST, LABELS))
    broken[7] = np.nan
    bench = Bench(cls(forget_rate=0.5), [broken, table(SECOND, LABELS)], LABELS)
    bench.run.method.epoch(bench.run)
    assert math.isnan(bench.updates[0][1])


@pytest.mark.parametrize("cls", FAMILY)
def test_forgetting_beats_learning_everything(cls):
    """Wrong labels that are forgotten keep a large loss; without forgetting they are learned."""
    problem = toys.toy(120, 0.3)
    wrong = problem.data.y != problem.truth
    gaps = []
    for rate in (0.0, 0.35):
        run = train(cls(forget_rate=rate), problem.data, toys.build, toys.plan(20))
        mean = run.memory["loss_sum"] / run.memory["loss_count"]
        gaps.append((mean[wrong].mean() - mean[~wrong].mean()).item())
    assert gaps[1] > 1.3 * gaps[0]


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("words", [{"forget_rate": 1.5}, {"rise": 0}, {"exponent": 0.0}])
def test_values_out_of_range_are_refused(cls, words):
    with pytest.raises(InputError):
        cls(**words)


def test_jocor_asks_for_adam_and_a_given_plan_wins():
    plan = default_plan(100, JoCoR(), epochs=3)
    assert (plan.optimizer, plan.lr) == ("adamw", 0.001)
    assert default_plan(100, JoCoR(), epochs=3, optimizer="sgd", lr=0.1).lr == 0.1
    assert default_plan(100, CoTeaching(), epochs=3).optimizer == "sgd"


def test_all_three_are_known_by_name():
    assert {METHODS[name] for name in ("co_teaching", "co_teaching_plus", "jocor")} == set(FAMILY)
