"""The loop: batches, schedules, averages, precision, checkpoints."""

import json
import math
import signal
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import codivide.core.files
import codivide.training.optimizers
import codivide.training.run
import codivide.training.steps
from codivide import Batch, InputError, Plan, Run, TrainingWarning, train
from codivide.core.device import resolve_precision
from codivide.data.rows import TensorRows
from codivide.fit.job import default_plan
from codivide.methods import METHODS
from codivide.training import layers, nets, targets
from codivide.training.checkpoint import Checkpoint, read_header
from codivide.training.plan import learning_rate
from codivide.training.run import Method
from codivide.training.samples import Data
from tests import toys
from tests.forked import children, forked


def make_run(n=50, method=None, **settings) -> Run:
    data = toys.toy(n).data
    return Run(method or Method(), data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")


def test_one_pass_visits_every_sample_once():
    run = make_run(50)
    ids = torch.cat([batch.id for batch in run.batches()])
    assert sorted(ids.tolist()) == list(range(50))


@pytest.mark.parametrize(("n", "sizes"), [(33, [16, 17]), (17, [17]), (32, [16, 16]), (2, [2]), (1, [2])])
def test_a_last_batch_of_one_never_reaches_batch_norm(n, sizes):
    run = make_run(40)
    where = torch.zeros(40, dtype=torch.bool)
    where[:n] = True
    batches = list(run.batches(where))
    assert [len(batch.id) for batch in batches] == sizes
    assert {int(i) for batch in batches for i in batch.id} == set(range(n))


def test_an_empty_set_gives_no_batch():
    run = make_run(10)
    assert list(run.batches(torch.zeros(10, dtype=torch.bool))) == []


def test_a_number_of_steps_goes_on_past_the_end():
    run = make_run(20)
    assert len(list(run.batches(steps=5))) == 5


def test_batches_carry_rows_labels_and_one_tensor_per_view():
    run = make_run(20)
    for batch in run.batches(views=("plain", "weak", "weak")):
        assert torch.equal(batch.y, run.data.y[batch.id])
        assert torch.equal(batch.x[0], run.data.x[batch.id])
        assert not torch.equal(batch.x[1], batch.x[2])


def test_pairs_are_one_pass_over_the_first_and_the_second_starts_again():
    run = make_run(100)
    first = torch.arange(100) < 90
    pairs = list(run.pairs(first, ~first))
    assert sorted(torch.cat([a.id for a, _ in pairs]).tolist()) == list(range(90))
    counts = np.bincount(torch.cat([b.id for _, b in pairs]).numpy() - 90, minlength=10)
    assert counts.min() >= len(pairs) - 1
    assert all((b.id >= 90).all() for _, b in pairs)


def test_pairs_with_an_empty_second_part():
    run = make_run(20)
    everything = torch.ones(20, dtype=torch.bool)
    for _, other in run.pairs(everything, ~everything, ("weak", "weak")):
        assert len(other.id) == 0
        assert [tuple(x.shape) for x in other.x] == [(0, 6), (0, 6)]


def test_measure_is_in_order_and_in_evaluation_mode():
    run = make_run(50)
    loud = run.measure(0, lambda logits, batch: logits)
    run.nets[0].eval()
    with torch.no_grad():
        expected = run.nets[0](run.data.x[torch.arange(50)])
    assert torch.allclose(loud, expected, atol=1e-6)
    ids = run.measure(0, lambda logits, batch: batch.id)
    assert ids.tolist() == list(range(50))


def test_probs_in_training_mode_are_one_forward_a_view():
    run = make_run(40)
    views = [run.data.x[torch.arange(10)], run.data.x[torch.arange(10, 30)]]
    run.nets[0][3].p = 0.0
    before = run.nets[0][1].num_batches_tracked.item()
    ours = run.probs(0, views, training=True)
    assert run.nets[0][1].num_batches_tracked.item() == before + 2
    run.nets[0].train()
    for view, probs in zip(views, ours, strict=True):
        assert torch.allclose(probs, torch.softmax(run.nets[0](view), 1), atol=1e-6)
    fused = run.probs(0, views)
    run.nets[0].eval()
    for view, probs in zip(views, fused, strict=True):
        assert torch.allclose(probs, torch.softmax(run.nets[0](view), 1), atol=1e-6)
    assert run.probs(0, [views[0][:0]])[0].shape == (0, 3)


def test_probs_of_the_average_are_its_own_and_leave_it_in_evaluation_mode():
    for average in (0.9, 0.0):  # without a weight average it is the network
        run = make_run(40, average=average)
        for batch in run.batches(steps=3):
            run.update(targets.sample_loss(run.logits(0, batch.x[0]), batch.y).mean(), 0)
        view = run.data.x[torch.arange(8)]
        ours = run.probs(0, [view], average=True)[0]
        assert run.nets[0].training
        assert run.averages[0].training == (not average)
        assert torch.allclose(ours, torch.softmax(run.average(0).eval()(view), 1), atol=1e-6)
        other = torch.softmax(run.nets[0].eval()(view), 1)
        assert torch.allclose(ours, other, atol=1e-6) == (not average)


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({"schedule": "constant"}, {0: 1, 99: 1}),
        ({"schedule": "step", "milestones": (50, 75)}, {0: 1, 49.9: 1, 50: 0.1, 75: 0.01}),
        ({"schedule": "cosine"}, {0: 1, 50: 0.5, 100: 0}),
        ({"schedule": "cosine", "milestones": (80,)}, {0: 1, 40: 0.5, 80: 0, 100: 0.5 * (1 - 0.5**0.5)}),
        ({"schedule": "one_cycle"}, {0: 1 / 25, 30: 1, 100: 1e-4}),
    ],
)
def test_schedules(settings, points):
    plan = Plan(epochs=100, lr=2.0, **settings)
    for epoch, factor in points.items():
        assert learning_rate(plan, epoch) == pytest.approx(2.0 * factor, abs=1e-12)


def test_one_cycle_rises_then_falls():
    plan = Plan(epochs=10, lr=1.0, schedule="one_cycle")
    rates = [learning_rate(plan, p / 10) for p in range(101)]
    top = int(np.argmax(rates))
    assert top == 30
    assert all(np.diff(rates[: top + 1]) > 0)
    assert all(np.diff(rates[top:]) < 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": -1},
        {"lr": math.nan},
        {"average": 1.0},
        {"freeze": -1},
        {"optimizer": "adam"},
    ],
)
def test_a_wrong_plan_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Plan(**wrong)


def test_average_is_the_closed_form_for_parameters_and_buffers():
    decay = 0.8
    run = make_run(40, average=decay)
    seen = [{k: v.clone() for k, v in run.nets[0].state_dict().items()}]
    for batch in run.batches():
        run.update(run.observe(batch, run.logits(0, batch.x[0])).mean(), 0)
        seen.append({k: v.clone() for k, v in run.nets[0].state_dict().items()})
    steps = len(seen) - 1
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        expected = decay**steps * seen[0][name]
        for k in range(1, steps + 1):
            expected = expected + (1 - decay) * decay ** (steps - k) * seen[k][name]
        assert torch.allclose(run.average(0).state_dict()[name], expected, atol=1e-5)
    assert run.average(0).state_dict()["1.num_batches_tracked"] == steps


def test_a_loss_that_is_not_finite_changes_nothing():
    run = make_run(20)
    before = toys.state(run)
    with pytest.warns(TrainingWarning, match="not finite"):
        run.update(run.logits(0, run.data.x[torch.arange(4)]).sum() * torch.nan, 0)
    assert run.skipped_updates == 1
    changed = toys.same(before, toys.state(run))
    assert not any(name.endswith("weight") for name in changed)


def defer(monkeypatch):
    """Treat the CPU as a GPU: nothing is read before the epoch closes, and fused kernels skip."""
    for module in (codivide.training.run, codivide.training.optimizers, codivide.training.steps):
        monkeypatch.setattr(module, "defers", lambda device: True)


@pytest.fixture
def deferring(monkeypatch):
    defer(monkeypatch)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_numbers_that_are_read_late_are_the_same(monkeypatch, optimizer):
    method, data = METHODS["elr"](), toys.toy().data
    settings = {"optimizer": optimizer, "lr": 0.01, "average": 0.9}
    at_once = train(method, data, toys.build, toys.plan(**settings))
    defer(monkeypatch)
    monkeypatch.setattr(codivide.training.run, "_KEPT", 3)
    late = train(method, data, toys.build, toys.plan(**settings))
    for ours, theirs in zip(late.history, at_once.history, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    for name, value in toys.state(at_once).items():
        if name.endswith("weight"):  # the bias before batch normalisation has no gradient but rounding
            assert torch.allclose(toys.state(late)[name], value, atol=1e-5), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_loss_that_is_not_finite_changes_nothing_where_numbers_are_read_late(deferring, optimizer, steps_before):
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(make_run(20, optimizer=optimizer, average=0.9))
    for run in runs:
        run.nets[0].eval()  # else batch normalisation and dropout tell the two apart
        for _ in range(steps_before):
            run.update(run.logits(0, run.data.x[torch.arange(4)]).square().sum(), 0)
    runs[0].update(runs[0].logits(0, runs[0].data.x[torch.arange(4)]).sum() * torch.nan, 0)
    assert toys.same(toys.state(runs[0]), toys.state(runs[1])) == []
    for run in runs:
        run.update(run.logits(0, run.data.x[torch.arange(4)]).square().sum(), 0)
    assert toys.same(toys.state(runs[0]), toys.state(runs[1])) == []
    with pytest.warns(TrainingWarning, match="not finite"):
        runs[0].settle()
    assert runs[0].skipped_updates == 1


def test_a_run_goes_on_where_numbers_are_read_late(monkeypatch, tmp_path):
    method, data, path = METHODS["elr_plus"](), toys.toy().data, tmp_path / "run.safetensors"
    settings = {"average": 0.9, "freeze": 1}
    straight = train(method, data, toys.build, toys.plan(**settings))
    with pytest.raises(KeyboardInterrupt):
        train(method, data, toys.build, toys.plan(**settings), watch=_stop_in(2), checkpoint=Checkpoint(path))
    defer(monkeypatch)
    resumed = train(method, data, toys.build, toys.plan(**settings), checkpoint=Checkpoint(path, resume=True))
    for name, value in toys.state(straight).items():
        assert torch.allclose(toys.state(resumed)[name].float(), value.float(), atol=1e-4), name


def _stop_in(epoch):
    def watch(run):
        if run.epoch == epoch:
            raise KeyboardInterrupt

    return watch


def test_a_run_that_diverges_is_one_error():
    with pytest.warns(TrainingWarning), pytest.raises(InputError, match="diverged: no loss of epoch"):
        train(Method(), toys.toy().data, toys.build, toys.plan(6, lr=1e38))


def test_precision_auto_is_for_images_only():
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu, images=False) == "fp32"
    assert resolve_precision("bf16", cpu, images=False) == "bf16"
    assert resolve_precision("fp32", cpu, images=True) == "fp32"
    mps = torch.device("mps")
    assert resolve_precision("auto", mps, images=True) == "fp32"
    with pytest.raises(InputError, match="mps"):
        resolve_precision("bf16", mps, images=True)


def test_bf16_runs_in_bf16_and_keeps_parameters_and_logits_in_float32():
    data = toys.toy(40).data
    run = Run(Method(), data, toys.build, toys.plan(), torch.device("cpu"), "bf16")
    dtypes = []
    run.nets[0][0].register_forward_hook(lambda module, args, out: dtypes.append(out.dtype))
    logits = run.logits(0, data.x[torch.arange(4)])
    assert dtypes == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert {p.dtype for p in run.nets[0].parameters()} == {torch.float32}


def test_channels_last_is_applied():
    data = Data(TensorRows(torch.randn(8, 3, 8, 8)), torch.arange(8) % 2, ("a", "b"), toys.VIEWS)

    def build():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    run = Run(Method(), data, build, toys.plan(), torch.device("cpu"), "fp32")
    assert run.nets[0][0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resume_is_bit_identical(tmp_path, optimizer):
    settings = {"optimizer": optimizer, "average": 0.9, "lr": 0.01, "schedule": "cosine", "epochs": 6}
    data = toys.toy().data
    straight = train(METHODS["cross_entropy"](), data, toys.build, toys.plan(**settings))

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == 4:
            raise Stop

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):  # after epoch 4, before its checkpoint: epoch 3 is the last that counts
        train(
            METHODS["cross_entropy"](), data, toys.build, toys.plan(**settings), watch=stop, checkpoint=Checkpoint(path)
        )
    assert read_header(path)["epoch"] == 3
    torch.manual_seed(12345)  # the world outside has moved on
    resumed = train(
        METHODS["cross_entropy"](), data, toys.build, toys.plan(**settings), checkpoint=Checkpoint(path, resume=True)
    )
    assert toys.same(toys.state(straight), toys.state(resumed)) == []
    for row in straight.history + resumed.history:
        del row["seconds"]
    assert straight.history == resumed.history


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"lr": 0.2}, "plan.lr"),
        ({"seed": 1}, "plan.seed"),
        ({"epochs": 9, "schedule": "cosine"}, "plan."),
    ],
)
def test_resume_refuses_another_plan(tmp_path, change, names):
    data, path = toys.toy().data, tmp_path / "c.safetensors"
    train(METHODS["cross_entropy"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path))
    with pytest.raises(InputError, match=names):
        train(
            METHODS["cross_entropy"](),
            data,
            toys.build,
            toys.plan(**{"epochs": 2, **change}),
            checkpoint=Checkpoint(path, resume=True),
        )


def test_resume_refuses_other_labels_methods_and_files(tmp_path):
    data, path = toys.toy().data, tmp_path / "c.safetensors"
    train(METHODS["cross_entropy"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path))
    with pytest.raises(InputError, match="labels"):
        train(
            METHODS["cross_entropy"](),
            toys.toy(noise=0.5).data,
            toys.build,
            toys.plan(2),
            checkpoint=Checkpoint(path, resume=True),
        )
    with pytest.raises(InputError, match="method"):
        train(METHODS["dividemix"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path, resume=True))
    path.write_bytes(b"\x80\x04 not a checkpoint")
    with pytest.raises(InputError, match="not a codivide checkpoint"):
        train(METHODS["cross_entropy"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path, resume=True))


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "c.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"run": json.dumps({"format": 999})})
    with pytest.raises(InputError, match="format 999"):
        read_header(path)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    data, path = toys.toy().data, tmp_path / "c.safetensors"
    train(METHODS["cross_entropy"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(codivide.core.files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train(METHODS["cross_entropy"](), data, toys.build, toys.plan(2), checkpoint=Checkpoint(path))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


@forked
@pytest.mark.process
def test_death_in_the_midst_of_writing_leaves_parts_that_are_swept(tmp_path):
    import resource  # Windows has none

    def write():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        tensors = {"x": torch.zeros(2_000_000)}
        codivide.core.files.save_tensors(tmp_path / "checkpoint.safetensors", tensors, "run", {})

    died = children.run(write, tmp_path)
    assert died.signal == signal.SIGXFSZ, died.err
    left = list(tmp_path.iterdir())
    assert left
    assert {codivide.core.files.part_of(path) for path in left} == {"checkpoint"}


def test_too_few_labels_are_one_error():
    data = toys.toy(10).data
    data = Data(data.x, torch.full((10,), -1), data.classes, data.views)
    with pytest.raises(InputError, match="fewer than two"):
        train(Method(), data, toys.build, toys.plan())


def test_an_unknown_device_is_one_error():
    with pytest.raises(InputError, match="nonsense"):
        train(Method(), toys.toy().data, toys.build, toys.plan(device="nonsense"))


def test_watch_sees_every_epoch_and_its_numbers_join_the_record():
    epochs = []

    def watch(run):
        epochs.append(run.epoch)
        return {"extra": run.epoch * 2.0}

    run = train(Method(), toys.toy().data, toys.build, toys.plan(3), watch=watch)
    assert epochs == [1, 2, 3]
    assert [row["extra"] for row in run.history] == [2, 4, 6]
    assert all(row["loss"] > 0 for row in run.history)


def test_reset_starts_a_network_again():
    run = make_run(40, average=0.5)
    for batch in run.batches():
        run.update(run.observe(batch, run.logits(0, batch.x[0])).mean(), 0)
    trained = run.nets[0][0].weight.clone()
    run.reset(0)
    assert not torch.equal(run.nets[0][0].weight, trained)
    assert torch.equal(run.average(0)[0].weight, run.nets[0][0].weight)
    assert run.optimizers[0].state == {}


def test_clean_prob_without_a_split_comes_from_the_loss_averaged_over_epochs():
    problem = toys.toy(600, noise=0.3, unlabelled=10)
    run = train(Method(), problem.data, toys.build, toys.plan(8))
    prob = Method().clean_prob(run)
    assert prob[-10:].isnan().all()
    wrong = (problem.data.y != problem.truth)[:-10]
    assert prob[:-10][~wrong].mean() > prob[:-10][wrong].mean() + 0.3


def test_batch_is_a_plain_tuple():
    assert Batch._fields == ("id", "x", "y")


def test_an_attached_module_learns_at_its_own_rate_and_resumes(tmp_path):
    class Headed(Method):
        paper, summary = "-", "a second head on the features"

        def start(self, run):
            super().start(run)
            run.attach("head", lambda: torch.nn.Linear(16, toys.CLASSES), lr=0.5)

        def loss(self, run, i, batch):
            logits, features = run.features(i, batch.x[0])
            second = run.attach("head", lambda: None)(features)
            return run.observe(batch, logits).mean() + targets.sample_loss(second, batch.y).mean()

        def fit_all(self, run, i, size=None):
            for batch in run.batches():
                run.update(self.loss(run, i, batch), i, "head")

    method, problem, path = Headed(), toys.toy(), tmp_path / "run.safetensors"
    straight = train(method, problem.data, toys.build, toys.plan(4))
    with pytest.raises(KeyboardInterrupt):
        train(method, problem.data, toys.build, toys.plan(4), watch=_stop_after(2), checkpoint=Checkpoint(path))
    resumed = train(method, problem.data, toys.build, toys.plan(4), checkpoint=Checkpoint(path, resume=True))
    ours, theirs = straight.attached["head"], resumed.attached["head"]
    assert torch.equal(ours.net.weight, theirs.net.weight)
    assert ours.optimizer.param_groups[0]["lr"] == 0.5 * straight.optimizers[0].param_groups[0]["lr"]
    with pytest.raises(RuntimeError, match="start"):
        straight.attach("late", lambda: torch.nn.Linear(2, 2))


def _stop_after(epoch):
    def watch(run):
        if run.epoch > epoch:
            raise KeyboardInterrupt

    return watch


def test_features_are_what_the_last_linear_layer_sees():
    run = train(Method(), toys.toy().data, toys.build, toys.plan(1))
    x = run.data.x.data
    run.nets[0].eval()
    logits, features = run.features(0, x)
    assert features.shape == (120, 16)
    assert torch.allclose(logits, layers.last_linear(run.nets[0])(features))
    assert torch.equal(logits, run.logits(0, x))
    with pytest.raises(InputError, match="no linear layer"):
        layers.last_linear(torch.nn.Conv1d(1, 1, 1))


def test_a_changed_layer_feeds_the_rest():
    run = train(Method(), toys.toy().data, toys.build, toys.plan(1))
    x, net = run.data.x.data, run.nets[0].eval()
    doubled = run.logits_changed(0, x, 2, lambda hidden: 2 * hidden)
    assert torch.allclose(doubled, net[4](2 * net[:3](x)))
    assert torch.equal(run.logits(0, x), net(x))  # the change is gone


def test_linear_schedule_and_warm_restarts():
    linear = Plan(epochs=10, lr=1.0, lr_min=0.2, schedule="linear", milestones=(6,))
    assert [learning_rate(linear, e) for e in (0, 6, 8, 10)] == pytest.approx([1, 1, 0.6, 0.2])
    cosine = Plan(epochs=20, lr=1.0, lr_min=0.2, schedule="cosine", period=5)
    assert [learning_rate(cosine, e) for e in (0, 2.5, 5, 7.5)] == pytest.approx([1, 0.6, 1, 0.6])


def test_a_method_has_its_own_rate_decay_and_settings():
    class Own(Method):
        settings: ClassVar = {"average": 0.9, "lr": 0.3}

        def rate(self, run):
            return 0.25

        def decay(self, run):
            return 0.0  # the average is the network

    plan = default_plan(100, Own(), lr=0.4, average=None)
    assert (plan.lr, plan.average) == (0.4, 0.9)
    run = train(Own(), toys.toy().data, toys.build, toys.plan(2, average=0.9))
    assert run.optimizers[0].param_groups[0]["lr"] == run.history[0]["lr"] == 0.25
    assert all(torch.equal(a, b) for a, b in zip(run.nets[0].parameters(), run.averages[0].parameters(), strict=True))


def test_a_frozen_body_stays_as_it_is_and_learns_later():
    problem, seen = toys.toy(), {}

    def watch(run):
        seen[run.epoch] = {name: value.clone() for name, value in run.nets[0].state_dict().items()}

    run = train(Method(), problem.data, toys.build, toys.plan(4, freeze=2, average=0.9), watch=watch)
    body = [name for name in seen[1] if not name.startswith("4.")]
    torch.manual_seed(0)
    first = toys.build().state_dict()
    for epoch in (1, 2):
        assert all(torch.equal(first[name], seen[epoch][name]) for name in body)
        assert not torch.equal(first["4.weight"], seen[epoch]["4.weight"])
    assert not any(torch.equal(seen[2][name], seen[4][name]) for name in seen[4])
    assert all(p.requires_grad for p in run.nets[0].parameters())
    assert not any(p.requires_grad for p in run.averages[0].parameters())


def test_a_frozen_body_gets_no_gradient_and_is_in_evaluation_mode_after_every_verb():
    run = make_run(40, freeze=1)
    net, x = run.nets[0], torch.ones(4, 6)
    for verb in (lambda: run.probs(0, [x], training=True), lambda: run.measure(0, lambda logits, batch: logits)):
        run.open_epoch()
        verb()
        assert [part.training for part in net] == [False, False, False, False, True]
        assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2
        assert run.features(0, x)[1].grad_fn is None  # nothing behind the head is on the tape
        assert run.logits(0, x).grad_fn is not None
        assert int(net[1].num_batches_tracked) == 0
    run.epoch = 1
    run.open_epoch()
    assert all(part.training for part in net)
    assert run.features(0, x)[1].grad_fn is not None


@pytest.mark.parametrize("name", ["resnet34", "timm:resnet10t"])
def test_the_head_of_a_named_net_learns_alone(name):
    net = nets.build(name, (3, 16, 16), 4, dropout=0.5, pretrained=False)
    layers.freeze(net, frozen=True)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {"head.1.weight", "head.1.bias"}
    body = set(layers.body(net))
    assert body.isdisjoint({net, net.head, *net.head})  # its dropout goes on with the head
    assert {net.stages, net.pool, *net.stages.modules()} <= body
    layers.freeze(net, frozen=False)
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resume_goes_on_frozen_or_not_as_the_epoch_has_it(tmp_path, stop_after):
    problem, path = toys.toy(), tmp_path / "run.safetensors"
    settings = {"epochs": 4, "freeze": 2, "optimizer": "adamw", "lr": 0.01}
    straight = train(Method(), problem.data, toys.build, toys.plan(**settings))
    with pytest.raises(KeyboardInterrupt):
        train(
            Method(),
            problem.data,
            toys.build,
            toys.plan(**settings),
            watch=_stop_after(stop_after),
            checkpoint=Checkpoint(path),
        )
    resumed = train(Method(), problem.data, toys.build, toys.plan(**settings), checkpoint=Checkpoint(path, resume=True))
    assert toys.same(toys.state(straight), toys.state(resumed)) == []


def test_the_average_answers_where_it_is_asked_for():
    run = make_run(40, average=0.5)
    for batch in run.batches():
        run.update(run.observe(batch, run.logits(0, batch.x[0])).mean(), 0)
    x = run.data.x[torch.arange(40)]
    expected = run.averages[0](x)
    assert torch.equal(run.measure(0, lambda logits, batch: logits, average=True), expected)
    first, second = run.probs(0, [x[:20], x[20:]], average=True)
    assert torch.allclose(torch.cat([first, second]), torch.softmax(expected, 1), atol=1e-6)
    assert run.nets[0].training
    assert not run.averages[0].training
    assert int(run.nets[0][1].num_batches_tracked) == 3  # asking changed no statistics
    assert not torch.allclose(run.probs(0, [x])[0], torch.softmax(expected, 1), atol=1e-4)


def test_a_hyper_parameter_may_count_the_networks_and_know_its_words():
    @dataclass
    class Several(Method):
        choices: ClassVar = {"kind": ("red", "blue")}
        kind: str = "red"
        many: int = 3

        def count(self):
            return self.many

    run = train(Several(), toys.toy().data, toys.build, toys.plan(1))
    assert len(run.nets) == len(run.method.members(run)) == 3
    assert all(int(net[1].num_batches_tracked) == 8 for net in run.nets)
    with pytest.raises(InputError, match=r"unknown kind 'blu'\. Did you mean 'blue'"):
        Several(kind="blu")
