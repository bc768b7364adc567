"""DivideMix against algorithm 1 written plainly, its guards, and what each variant changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from codivide import Data, InputError, Run, TrainingWarning, train
from codivide.bench.recipes import RECIPES
from codivide.methods import DivideMix
from codivide.methods.dividemix import PAPER
from codivide.noise import mixtures
from codivide.training import mixmatch as semi
from codivide.training import targets as maths
from codivide.training.checkpoint import Checkpoint
from tests import toys


def start(method: DivideMix, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def posterior(losses: torch.Tensor, run: Run) -> torch.Tensor:
    return mixtures.restore_classes(mixtures.gmm(losses).clean_prob, losses, run.data.y, 3, 0.5).clean_prob


@pytest.mark.parametrize(
    ("training_mode", "epoch", "rows"),
    [(True, 2, 64), (True, 6, 64), (True, 30, 64), (False, 2, 64), (False, 6, 64), (False, 30, 64), (True, 30, 32)],
)
def test_the_loss_is_algorithm_1(training_mode, epoch, rows):
    """Of 64 mixed rows; of the 32 near labelled samples alone, as in the authors' scripts for photos."""
    method = DivideMix(warmup=2, rampup=16, lambda_u=25, alpha=4, guess_in_training_mode=training_mode)
    method.learn_unlabelled = rows == 64
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
        logits = net(torch.from_numpy(mixed[:rows]).float())
    log_p = functional.log_softmax(logits, 1).numpy()
    p = np.exp(log_p)
    loss_x = -sum((target[i] * log_p[i]).sum() for i in range(32)) / 32
    loss_u = sum(((p[i] - target[i]) ** 2).mean() for i in range(32, rows)) / 32
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
    monkeypatch.setattr(run, "measure", lambda i, fn, **how: hard)
    with pytest.warns(TrainingWarning, match="no label 'c' was found clean; divided that class by itself"):
        method.divide(run, 0)
    assert (run.remember("clean_prob.0")[problem.data.y == 2] > 0.5).any()


def test_the_papers_settings_keep_the_mixtures_division_bit_for_bit(monkeypatch):
    """A class that the mixture leaves without a clean label stays so; the posterior is the mixture's."""
    problem = toys.toy()
    hard = torch.where(problem.data.y == 2, 5.0, 0.1) + 0.05 * torch.rand(120)
    expected = mixtures.gmm(mixtures.unit_range(hard)).clean_prob
    restored = {}
    for name, method in (("paper", DivideMix(**PAPER)), ("ours", DivideMix())):
        run = start(replace(method, warmup=0), problem)
        monkeypatch.setattr(run, "measure", lambda i, fn, **how: hard)
        with pytest.warns(TrainingWarning, match="no label 'c' was found clean"):
            run.method.divide(run, 0)
        restored[name] = run.remember("clean_prob.0").clone()
    assert torch.equal(restored["paper"], expected)
    assert not (expected[problem.data.y == 2] > 0.5).any()
    changed = restored["ours"] != expected
    assert changed.any()
    assert (problem.data.y[changed] == 2).all()


def test_no_published_row_restores_classes_and_our_own_comparisons_do():
    rows = [recipe for recipe in RECIPES.values() if recipe.method == "dividemix"]
    ours = ("first", "main-", "choose-", "semi-")
    for recipe in rows:
        off = recipe.hyper.get("restore_classes") is False
        assert off != recipe.group.startswith(ours), recipe.name
    assert sum(recipe.group.startswith("augdesc") for recipe in rows) > 20


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


def half_and_half(method, **settings):
    """A run, and one pair of batches of the first and the second half of the samples."""
    run = start(method, **settings)
    first = torch.arange(120) < 60
    return run, *next(run.pairs(first, ~first, method.views()[0]))


def spy_on_guesses(monkeypatch, run):
    """What ``run.probs`` is asked and answers, and what ``mixmatch.mixmatch`` gets."""
    asked, mixed = [], []
    probs, mixmatch = run.probs, semi.mixmatch

    def spy_probs(i, views, *, training=False, average=False):
        answer = probs(i, views, training=training, average=average)
        asked.append((i, views, training, average, answer))
        return answer

    def spy_mixmatch(*parts, **settings):
        mixed.append(parts)
        return mixmatch(*parts, **settings)

    monkeypatch.setattr(run, "probs", spy_probs)
    monkeypatch.setattr(semi, "mixmatch", spy_mixmatch)
    return asked, mixed


@pytest.mark.parametrize("variant", [{"networks": 1}, {"co_divide": False}])
def test_self_divide_learns_from_its_own_split(variant, monkeypatch):
    method = DivideMix(warmup=0, **variant)
    run = start(method)
    splits = {}
    monkeypatch.setattr(DivideMix, "learn", lambda self, run, i, prob: splits.update({i: prob.clone()}))
    method.epoch(run)
    assert list(splits) == list(range(len(run.nets))) == list(range(variant.get("networks", 2)))
    for i, split in splits.items():
        losses = run.measure(i, lambda logits, batch: functional.cross_entropy(logits, batch.y, reduction="none"))
        assert torch.allclose(split, posterior(losses, run), atol=1e-5)


@pytest.mark.parametrize("variant", [{"networks": 1}, {"co_guess": False}])
def test_without_a_peer_the_learning_network_guesses_alone(variant, monkeypatch):
    method = DivideMix(warmup=0, **variant)
    run, known, unknown = half_and_half(method)
    asked, mixed = spy_on_guesses(monkeypatch, run)
    method.mixed_loss(run, 0, known, unknown, torch.ones(16))
    assert [i for i, *_ in asked] == [0]
    first, second = asked[0][4][:2]
    mean = (first + second) / 2
    assert torch.allclose(mixed[0][3], mean**2 / (mean**2).sum(1, keepdim=True), atol=1e-6)


def test_without_refinement_the_given_labels_stay_and_labelled_samples_are_not_guessed(monkeypatch):
    method = DivideMix(warmup=0, refine=False)
    run, known, unknown = half_and_half(method)
    asked, mixed = spy_on_guesses(monkeypatch, run)
    method.mixed_loss(run, 0, known, unknown, torch.full((16,), 0.6))
    assert torch.equal(mixed[0][1], torch.eye(3)[known.y])
    assert [len(views) for _, views, *_ in asked] == [2, 2]
    assert all(torch.equal(a, b) for a, b in zip(asked[0][1], unknown.x, strict=True))


@pytest.mark.parametrize(
    ("variant", "guessed", "learned"),
    [
        ({"augmentations": 1}, 1, 1),
        ({"guess_augmentations": 1}, 1, 2),
        ({"guess_augmentations": 3}, 3, 2),
        ({"augmentations": 3, "learning_view": "weak"}, 3, 3),
        ({"guess_augmentations": 1, "learning_view": "strong"}, 1, 2),
    ],
)
def test_views_to_guess_on_and_to_learn_from_are_counted_apart(variant, guessed, learned, monkeypatch):
    method = DivideMix(warmup=0, **variant)
    run, known, unknown = half_and_half(method)
    asked, mixed = spy_on_guesses(monkeypatch, run)
    method.mixed_loss(run, 0, known, unknown, torch.ones(16))
    assert [len(views) for _, views, *_ in asked] == [2 * guessed, guessed]  # both parts, then the peer's
    assert len(mixed[0][0]) == len(mixed[0][2]) == learned
    shared = sum(any(x is y for y in asked[1][1]) for x in mixed[0][2])
    assert shared == (0 if "learning_view" in variant else min(guessed, learned))


MARKS = {"plain": 0.0, "weak": 1.0, "strong": 2.0}


@pytest.mark.long
@pytest.mark.parametrize(
    ("variant", "warmed", "guessed", "learned"),
    [
        ({}, "weak", "weak", "weak"),
        ({"learning_view": "strong"}, "weak", "weak", "strong"),  # AugDesc-WS, weak warm-up
        ({"learning_view": "strong", "warmup_view": "strong"}, "strong", "weak", "strong"),  # strong warm-up
        ({"guess_view": "strong"}, "weak", "strong", "strong"),
        ({"guess_view": "strong", "learning_view": "weak"}, "weak", "strong", "weak"),
        ({"guess_view": "plain", "warmup_view": "plain"}, "plain", "plain", "plain"),
    ],
)
def test_each_view_reaches_what_it_is_for_and_nothing_else(variant, warmed, guessed, learned, monkeypatch):
    problem = toys.toy()
    marking = {name: lambda x, generator, mark=mark: torch.full_like(x, mark) for name, mark in MARKS.items()}
    data = Data(problem.data.x, problem.data.y, problem.data.classes, marking)
    method = DivideMix(warmup=1, **variant)
    run = start(method, replace(problem, data=data))
    seen = {}
    logits = run.logits

    def spy(i, x, *, average=False):
        kind = "learned" if torch.is_grad_enabled() else "guessed" if run.nets[i].training else "evaluated"
        seen.setdefault((run.epoch, kind), set()).update(x.unique().tolist())
        return logits(i, x, average=average)

    monkeypatch.setattr(run, "logits", spy)
    method.epoch(run)
    assert seen == {(0, "learned"): {MARKS[warmed]}}
    run.epoch = 1
    splits = torch.where(torch.arange(120) < 60, 0.9, 0.1)
    method.learn(run, 0, splits)
    assert seen[1, "guessed"] == {MARKS[guessed]}
    assert seen[1, "learned"] == {MARKS[learned]}
    assert seen[1, "evaluated"] == {MARKS[guessed]}  # the peer's guesses
    method.divide(run, 0)
    assert seen[1, "evaluated"] == {MARKS[guessed], MARKS["plain"]}


def test_class_wise_division_judges_each_class_by_its_own_losses():
    method = DivideMix(warmup=0, division="class_wise")
    run = start(method)
    method.divide(run, 0)
    losses = run.measure(0, lambda logits, batch: functional.cross_entropy(logits, batch.y, reduction="none"))
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    for c in range(3):
        members = run.data.y == c
        expected = mixtures.gmm(scaled[members]).clean_prob
        assert torch.allclose(run.remember("clean_prob.0")[members], expected, atol=1e-4)


@pytest.mark.parametrize("division", ["wrong_events", "class_wise_events"])
def test_wrong_events_count_every_epoch_from_the_first_on(division, monkeypatch):
    problem = toys.toy(90, unlabelled=30)
    method = DivideMix(warmup=2, division=division)
    run = start(method, problem)
    wrong, logits = np.zeros(90), run.logits
    observed = []
    monkeypatch.setattr(run, "logits", lambda i, x, **other: observed.append(logits(i, x, **other)) or observed[-1])
    for run.epoch in (0, 1):
        for batch in run.batches(run.data.y >= 0):
            method.loss(run, 0, batch)
            for row, choice in zip(batch.id.tolist(), observed[-1].argmax(1).tolist(), strict=True):
                wrong[row] += choice != problem.data.y[row]
    run.epoch = 2
    method.divide(run, 0)
    run.nets[0].eval()
    with torch.no_grad():
        last = run.nets[0](problem.data.x.data).argmax(1)
    wrong[:60] += (last != problem.data.y).numpy()[:60]
    events = run.remember("events.0", 2)
    assert np.array_equal(events[:60, 0].numpy(), wrong[:60])
    assert (events[:60, 1] == 3).all()
    rate, y = torch.from_numpy(wrong[:60] / 3).float(), problem.data.y[:60]
    answer = mixtures.gmm(rate) if division == "wrong_events" else mixtures.class_wise(rate, y, 3)
    expected = mixtures.restore_classes(answer.clean_prob, rate, y, 3, 0.5).clean_prob
    assert torch.allclose(run.remember("clean_prob.0")[:60], expected, atol=1e-5)
    assert run.remember("clean_prob.0")[60:].isnan().all()


def test_averages_divide_and_guess_where_asked_and_always_predict(monkeypatch):
    for chosen in (False, True):
        method = DivideMix(warmup=0, average_guesses=chosen)
        run, known, unknown = half_and_half(method, average=0.5)
        for net in run.averages:
            torch.nn.init.normal_(net[0].weight)
        asked, _ = spy_on_guesses(monkeypatch, run)
        method.mixed_loss(run, 0, known, unknown, torch.ones(16))
        assert [(i, training, average) for i, _, training, average, _ in asked] == [
            (0, not chosen, chosen),
            (1, False, chosen),
        ]
        method.divide(run, 1)
        judge = run.averages[1] if chosen else run.nets[1].eval()
        with torch.no_grad():
            losses = maths.sample_loss(judge(run.data.x.data), run.data.y)
        assert torch.allclose(run.remember("clean_prob.1"), posterior(losses, run), atol=1e-5)
        assert method.members(run) == run.averages
        assert not any(net.training for net in run.averages)
    run = start(method)  # a plan without averages
    with pytest.warns(TrainingWarning, match="average_guesses needs an average"):
        method.divide(run, 0)


def test_one_network_may_classify_while_both_are_trained():
    for chosen in (0, 1):
        run = start(DivideMix(test_net=chosen))
        assert len(run.nets) == 2
        assert run.method.members(run) == [run.nets[chosen]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"networks": 1, "test_net": 1}, "test_net is 1, but there is only network 0"),
        ({"networks": 3}, "networks is 3"),
        ({"division": "classwise"}, "Did you mean 'class_wise'"),
        ({"learning_view": "stron"}, "Did you mean 'strong'"),
    ],
)
def test_a_variant_that_does_not_exist_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        DivideMix(**fields)


VARIANTS = (
    {"networks": 1, "refine": False, "division": "class_wise_events"},
    {"co_divide": False, "co_guess": False, "learning_view": "strong", "division": "class_wise"},
    {"average_guesses": True, "division": "wrong_events", "test_net": 1, "average_losses": 3},
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_resume_bit_for_bit(variant, tmp_path):
    problem, path, method = toys.toy(), tmp_path / "run.safetensors", DivideMix(warmup=2, **variant)
    plan = toys.plan(4, average=0.9, freeze=1)

    def stop(run):
        if run.epoch == 4:
            raise KeyboardInterrupt

    straight = train(method, problem.data, toys.build, plan)
    with pytest.raises(KeyboardInterrupt):
        train(method, problem.data, toys.build, plan, watch=stop, checkpoint=Checkpoint(path))
    resumed = train(method, problem.data, toys.build, plan, checkpoint=Checkpoint(path, resume=True))
    assert toys.same(toys.state(straight), toys.state(resumed)) == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("settings", [{"n": 9}, {"n": 40, "noise": 1.0}, {"n": 40, "noise": 0.0, "unlabelled": 30}])
def test_variants_survive_hard_sets(variant, settings):
    run = train(DivideMix(warmup=1, **variant), toys.toy(**settings).data, toys.build, toys.plan(3, average=0.9))
    assert torch.equal(run.method.clean_prob(run).isnan(), run.data.y < 0)
    assert run.skipped_updates == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_learn_and_find_wrong_labels(variant):
    problem = toys.toy(600)
    run = train(DivideMix(**variant), problem.data, toys.build, toys.plan(12, average=0.9))
    with torch.no_grad():
        logits = torch.stack([net.eval()(problem.data.x.data) for net in run.method.members(run)]).mean(0)
    assert (logits.argmax(1) == problem.truth).float().mean() > 0.9
    prob, wrong = run.method.clean_prob(run), problem.data.y != problem.truth
    assert prob[~wrong].mean() > prob[wrong].mean() + 0.3
