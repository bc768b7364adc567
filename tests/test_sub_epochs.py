"""Sub-epochs of equal classes, the best epoch of each network by a validation part, and the five likeliest classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codivide import InputError, Plan, train
from codivide.data.arrays import from_arrays
from codivide.data.corrections import confirm, parse
from codivide.data.fingerprint import fingerprint
from codivide.fit.execute import execute
from codivide.fit.job import Job
from codivide.methods import CrossEntropy, DivideMix
from codivide.methods.dividemix import PAPER
from codivide.training.checkpoint import Checkpoint
from tests import toys


def drawn(method, problem, epochs=4, **settings):
    """The samples of every epoch."""
    seen = []
    run = train(
        method,
        problem.data,
        toys.build,
        toys.plan(epochs, **settings),
        watch=lambda run: seen.append(run.active.clone()),
    )
    return run, seen


def test_a_sub_epoch_has_as_many_of_every_class_and_each_has_others():
    problem = toys.toy(300, unlabelled=30)
    rare = (problem.data.y == 2).nonzero().flatten()[5:]
    labels = problem.data.y.clone()
    labels[rare] = -1
    problem = toys.Toy(replace(problem.data, y=labels), problem.truth)
    run, seen = drawn(CrossEntropy(), problem, sub_epoch=60)
    for mask in seen:
        assert torch.bincount(labels[mask], minlength=3).tolist() == [20, 20, 5]  # all of the rare class
        assert (labels[mask] >= 0).all()
    assert not torch.equal(seen[0], seen[1])
    assert run.step == 4 * 3  # 45 samples in batches of 16
    prob = run.clean_prob()
    assert torch.equal(prob.isnan(), labels < 0)


def test_without_one_an_epoch_is_everything():
    plain, _ = drawn(CrossEntropy(), toys.toy())
    assert plain.active.all()
    every, _ = drawn(CrossEntropy(), toys.toy(), sub_epoch=0)
    assert toys.same(toys.state(plain), toys.state(every)) == []
    with pytest.raises(InputError, match="sub_epoch is -1"):
        Plan(sub_epoch=-1)


@pytest.mark.parametrize("division", ["mixture", "class_wise", "wrong_events"])
def test_dividemix_divides_the_sub_epoch_alone(division, monkeypatch):
    problem = toys.toy(300)
    method = DivideMix(**{**PAPER, "warmup": 1, "division": division})
    looked = []
    original = DivideMix.learn

    def learn(self, run, i, clean_prob):
        looked.append((run.active.clone(), (clean_prob.isnan()).clone(), run.epoch))
        original(self, run, i, clean_prob)

    monkeypatch.setattr(DivideMix, "learn", learn)
    run, _ = drawn(method, problem, sub_epoch=90)
    for active, unjudged, epoch in looked:
        assert active.sum() == 90
        assert not unjudged[active].any()
        if epoch == 1:
            assert unjudged[~active].all()
    for row in run.history[1:]:
        assert row["labelled_0"] + row["unlabelled_0"] == 90
    assert not run.clean_prob().isnan().any()


def test_a_resumed_run_draws_what_the_straight_one_draws(tmp_path):
    problem, plan = toys.toy(300), toys.plan(4, sub_epoch=60)
    straight = train(DivideMix(warmup=1), problem.data, toys.build, plan)

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == 3:
            raise Stop

    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        train(DivideMix(warmup=1), problem.data, toys.build, plan, watch=stop, checkpoint=Checkpoint(path))
    resumed = train(DivideMix(warmup=1), problem.data, toys.build, plan, checkpoint=Checkpoint(path, resume=True))
    assert toys.same(toys.state(straight), toys.state(resumed)) == []


def blobs(classes=3, n=120, seed=0):
    """Rows around a centre for each class, a third of the labels wrong, with a clean validation and a test part."""
    rng = np.random.default_rng(seed)

    def part(count):
        truth = np.arange(count) % classes
        return (2.5 * np.eye(classes, classes + 3)[truth] + 0.7 * rng.normal(size=(count, classes + 3))).astype(
            np.float32
        ), truth

    x, truth = part(n)
    given = np.where(rng.random(n) < 0.33, rng.integers(0, classes, n), truth)
    loaded = from_arrays(x, given, classes=range(classes), truth=truth)
    held, test = (from_arrays(*part(60), classes=range(classes)) for _ in range(2))
    return replace(loaded, validation=held, test=test)


def job(method, epochs=5, **plan):
    return Job(method, Plan(epochs=epochs, batch_size=16, lr=0.1, precision="fp32", **plan), "mlp", evaluate_every=1)


def test_each_network_is_kept_at_its_best_epoch_on_the_validation_part(monkeypatch):
    loaded = blobs()
    seen = []
    from codivide.fit import selection

    original = selection.Selection.accuracy

    def accuracy(self, model, member):
        found = original(self, model, member)
        seen.append((found, {name: value.clone() for name, value in member.state_dict().items()}))
        return found

    monkeypatch.setattr(selection.Selection, "accuracy", accuracy)
    outcome = execute(job(DivideMix(warmup=2)), loaded)
    for i, member in enumerate(outcome.model.members):
        mine = seen[i::2]
        best = max(range(5), key=lambda epoch: mine[epoch][0])
        assert outcome.summary["validation"]["epochs"][i] == best + 1
        assert outcome.summary["validation"]["accuracy"][i] == pytest.approx(mine[best][0])
        assert all(torch.equal(value, mine[best][1][name]) for name, value in member.state_dict().items())
    assert outcome.history[0]["validation_accuracy"] == pytest.approx((seen[0][0] + seen[1][0]) / 2)
    right = outcome.model.logits(loaded.test.x).argmax(1).numpy() == loaded.test.y
    assert outcome.summary["test_accuracy"]["last"] == pytest.approx(right.mean())
    assert "validation" not in execute(job(DivideMix(warmup=2)), replace(loaded, validation=None)).summary


def test_what_was_best_outlives_an_interruption(tmp_path):
    loaded = blobs()
    straight = execute(job(DivideMix(warmup=2)), loaded, tmp_path / "straight")

    class Stop(Exception):
        pass

    def stop(run, row):
        if row["epoch"] == 4:
            raise Stop

    with pytest.raises(Stop):
        execute(job(DivideMix(warmup=2)), loaded, tmp_path / "run", progress=stop)
    resumed = execute(job(DivideMix(warmup=2)), loaded, tmp_path / "run", resume=True)
    assert resumed.summary["validation"] == straight.summary["validation"]
    assert torch.equal(resumed.model.logits(loaded.test.x), straight.model.logits(loaded.test.x))


def test_the_five_likeliest_are_looked_at_with_ten_classes():
    loaded = blobs(classes=12, n=240)
    outcome = execute(job(CrossEntropy(), epochs=2), loaded)
    order = outcome.model.logits(loaded.test.x).argsort(1, descending=True)[:, :5].numpy()
    hit = np.mean([label in row for label, row in zip(loaded.test.y, order, strict=True)])
    assert outcome.summary["test_top5_accuracy"]["last"] == pytest.approx(hit)
    assert outcome.summary["test_top5_accuracy"]["best"] >= hit
    assert hit > outcome.summary["test_accuracy"]["last"]
    assert "test_top5_accuracy" not in execute(job(CrossEntropy(), epochs=1), blobs()).summary


def test_a_validation_part_is_part_of_what_a_run_is_known_by():
    loaded = blobs()
    other = replace(loaded, validation=replace(loaded.validation, y=(loaded.validation.y + 1) % 3))
    first, second = fingerprint(loaded), fingerprint(other)
    assert {name for name in first if first[name] != second[name]} == {"validation part"}
    assert "validation part" not in fingerprint(replace(loaded, validation=None))
    with pytest.raises(InputError, match="no sample of the validation data"):
        execute(job(CrossEntropy()), replace(loaded, validation=replace(loaded.validation, y=np.full(60, -1))))


def test_decisions_with_a_new_class_reach_the_validation_part():
    loaded = blobs()
    text = f"id,given,decision,label,time\n{loaded.ids[0]},{loaded.classes[loaded.y[0]]},relabel,9,\n"
    decided = confirm(loaded, parse(text, "c.csv", ""), new_classes=True)
    assert decided.validation.classes == decided.classes == (0, 1, 2, 9)
