"""INCV: the estimate of the noise, who is selected and removed, and Co-teaching on what is selected."""

import math

import numpy as np
import pytest
import torch

from codivide import Data, Run, TrainingWarning, train
from codivide.methods.iterative_cv import IterativeCV, wrong_share
from tests import toys

CANDIDATE, SELECTED, REMOVED = 0, 1, 2


def start(method=None, data=None, epochs=30, **settings):
    method = method or IterativeCV()
    run = Run(method, data or toys.toy().data, toys.build, toys.plan(epochs, **settings), torch.device("cpu"), "fp32")
    method.start(run)
    return run


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_the_share_of_wrong_labels_is_found_from_the_agreement(classes):
    for wrong in np.linspace(0, (classes - 1) / classes, 9):
        agreed = 0.0  # a network that errs as the labels do, and independently of them
        for truth_to_label in range(classes):
            for truth_to_said in range(classes):
                a = 1 - wrong if truth_to_label == 0 else wrong / (classes - 1)
                b = 1 - wrong if truth_to_said == 0 else wrong / (classes - 1)
                agreed += a * b * (truth_to_label == truth_to_said)
        assert wrong_share(agreed, classes) == pytest.approx(wrong, abs=1e-6)


def test_an_agreement_below_chance_and_one_class_have_an_answer():
    assert wrong_share(0.0, 10) == pytest.approx(0.9)
    assert wrong_share(0.3, 1) == 0.0


@pytest.mark.parametrize(("kind", "among"), [("symmetric", 2), ("asymmetric", 1)])
def test_the_forget_rate_is_the_share_of_wrong_labels_among_those_agreed_with(kind, among):
    run = start(IterativeCV(noise_type=kind))
    run.remember("noise", per_sample=False).fill_(0.3)
    assert run.method.tau(run) == pytest.approx(0.09 / (0.09 + among * 0.49))
    assert IterativeCV(forget_rate=0.2).tau(run) == 0.2


@pytest.mark.parametrize(
    ("noise", "kind", "ratio"),
    [(0.2, "symmetric", 0.25), (0.9, "symmetric", 2.0), (1.0, "symmetric", 2.0), (0.2, "asymmetric", 0.0)],
)
def test_what_is_removed_for_each_one_selected(noise, kind, ratio):
    assert IterativeCV(noise_type=kind).removed(noise) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("epochs", "length", "end"), [(600, 50, 400), (300, 25, 200), (12, 1, 8), (5, 1, 2), (2, 0, 0), (1, 0, 0)]
)
def test_the_epochs_are_shared_by_iterations_and_co_teaching(epochs, length, end):
    run = start(epochs=epochs)
    assert run.method.stages(run) == (length, end)


def test_the_halves_hold_every_class_alike_and_groups_stay_whole():
    problem = toys.toy(300)
    groups = torch.arange(300) // 2
    data = Data(problem.data.x, problem.data.y, problem.data.classes, problem.data.views, groups=groups)
    for run in (start(), start(data=data)):
        run.remember("part")[:40] = SELECTED
        run.method.deal(run)
        half, given = run.remember("half"), run.data.y
        candidates = run.remember("part") == CANDIDATE
        for label in range(3):
            there = candidates & (given == label)
            assert abs(int(half[there].sum()) - int(there.sum()) / 2) <= (1 if run.data.groups is None else 12)
    assert torch.equal(half[::2][20:], half[1::2][20:])


def test_selection_takes_what_is_agreed_with_and_removes_the_largest_losses():
    run = start(data=toys.toy(12).data)
    part, half, agrees, losses = (run.remember(name) for name in ("part", "half", "agrees", "held_loss"))
    part[:2] = SELECTED
    half.copy_(torch.tensor([0, 0] + 5 * [0] + 5 * [1]))
    agrees[torch.tensor([2, 3, 7, 8, 9, 10])] = True
    losses.copy_(torch.arange(12.0))
    run.remember("noise", per_sample=False).fill_(1 / 3)  # one removed for two selected
    run.method.select(run, 1)
    assert part.tolist() == 2 * [SELECTED] + [1, 1, 0, 0, REMOVED] + [1, 1, 1, 1, REMOVED]
    # of four agreed with, two are removed: the largest losses, even one that was agreed with, is selected all the same
    assert run.remember("noise", per_sample=False).item() == pytest.approx(1 / 3)


def test_the_noise_is_estimated_once_from_the_first_half():
    run = start()
    best = run.remember("best_agreed", per_sample=False)
    for agreed in (0.5, 0.9):
        best.fill_(agreed)
        run.method.select(run, 0)
        assert run.remember("noise", per_sample=False).item() == pytest.approx(wrong_share(0.5, 3))
    assert not (run.remember("part") != CANDIDATE).any()


@pytest.mark.parametrize("wrong", [0.1, 0.3, 0.45])
def test_labels_that_go_to_one_other_class_are_estimated_and_forgotten_by_their_own_formula(wrong):
    run = start(IterativeCV(noise_type="asymmetric"))
    agreed = (1 - wrong) ** 2 + wrong**2  # both are right, or both are wrong in the one way there is
    run.remember("best_agreed", per_sample=False).fill_(agreed)
    run.method.select(run, 0)
    assert run.remember("noise", per_sample=False).item() == pytest.approx(wrong, abs=1e-4)
    assert run.method.tau(run) == pytest.approx(wrong**2 / agreed, abs=1e-4)


def test_a_half_is_judged_by_the_best_epoch(monkeypatch):
    run = start(data=toys.toy(20).data)
    run.remember("half").copy_(torch.arange(20) % 2)
    others = run.remember("half") == 1
    answers = [(0.5, 1.0), (1.0, 2.0), (0.0, 3.0)]  # share that agrees, and the loss, of three epochs
    for share, loss in answers:
        agrees = (torch.arange(20) < share * 20).float()
        judged = torch.stack([agrees, torch.full((20,), loss)], 1)
        monkeypatch.setattr(Run, "measure", lambda *given, judged=judged, **named: judged)
        run.method.validate(run, 0)
    assert run.remember("held_loss")[others].tolist() == 10 * [2.0]
    assert run.remember("held_loss")[~others].isnan().all()
    assert run.remember("agrees")[others].all()


def test_co_teaching_sees_the_selected_ones_alone_and_then_candidates_in_the_same_number_of_losses(monkeypatch):
    method = IterativeCV(forget_rate=0.25, rise=1)
    run = start(method, toys.toy(64).data, epochs=30, batch_size=16)
    run.remember("part").copy_(torch.tensor(32 * [SELECTED] + 16 * [CANDIDATE] + 16 * [REMOVED]))
    seen = []
    monkeypatch.setattr(
        IterativeCV, "exchange", lambda self, run, batch, losses, where, kept: seen.append((batch, len(where), kept))
    )
    began = 20
    for run.epoch in (21, 25):
        seen.clear()
        method.teach_each_other(run, began)
        ids = torch.cat([batch.id for batch, _, _ in seen])
        assert set(range(32)) <= set(ids.tolist()) <= set(range(48))
        assert ids.max() < (32 if run.epoch == 21 else 48)
        for batch, size, kept in seen:
            assert size == len(batch.id) == (16 if run.epoch == 21 else 24)
            assert kept * size == pytest.approx(0.75 * 16)


def test_a_run_selects_mostly_right_labels_and_its_estimate_of_the_noise_is_never_too_high():
    problem = toys.toy(600, noise=0.3)
    run = train(IterativeCV(), problem.data, toys.build, toys.plan(24))
    part, wrong = run.remember("part"), problem.data.y != problem.truth
    assert wrong[part == SELECTED].float().mean() < 0.05 < 0.25 < wrong.float().mean()
    assert wrong[part == REMOVED].float().mean() > 0.8
    estimate = float(run.remember("noise", per_sample=False))
    assert 0.1 < estimate < 0.05 + float(wrong.float().mean())  # a network that is not fooled agrees more often


def test_confirmed_labels_are_selected_and_nothing_selected_is_said():
    confirmed = torch.zeros(60, dtype=torch.bool)
    confirmed[:5] = True
    problem = toys.toy(60)
    data = Data(problem.data.x, problem.data.y, problem.data.classes, problem.data.views, confirmed)
    assert torch.equal(start(data=data).remember("part") == SELECTED, confirmed)
    with pytest.warns(TrainingWarning, match="no label was selected"):
        run = train(IterativeCV(), problem.data, toys.build, toys.plan(1))
    assert not math.isnan(run.clean_prob().mean())
