"""The consensus of several annotators against the equations written as loops, and in every form of data."""

import json
import sys
from math import exp, log

import numpy as np
import pandas as pd
import pytest
import torch

import codivide
from codivide import NoisyLabelClassifier
from codivide.audit.consensus import of_table
from codivide.cli.app import main
from codivide.core.errors import InputError, TrainingWarning
from codivide.data import annotators
from codivide.data.experiment import part
from codivide.data.loaded import subset
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.noise import consensus
from codivide.noise.annotator_model import Asked, Model
from codivide.noise.settle import held_out, settle
from codivide.noise.votes import Votes


def answers(samples=40, annotators=6, classes=3, asked=0.6, right=0.7, seed=0):
    """``[N, A]`` answers of annotators of equal skill, and the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, samples)
    wrong = (truth[:, None] + generator.integers(1, classes, (samples, annotators))) % classes
    y = np.where(generator.random((samples, annotators)) < right, truth[:, None], wrong)
    return np.where(generator.random((samples, annotators)) < asked, y, -1), truth


def rules(samples=300, annotators=8, classes=2, seed=0):
    """Annotators of one label each, who answer rarely where it is wrong, and the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, samples)
    label = np.arange(annotators) % classes
    fires = generator.random((samples, annotators)) < np.where(truth[:, None] == label, 0.5, 0.05)
    return np.where(fires, label, -1), truth


# The model in loops. Singles: annotators of one label, whose silence counts.


def naive_confusion(y, q, prior):
    samples, annotators = y.shape
    classes = q.shape[1]
    theta = np.zeros((annotators, classes, classes))
    for a in range(annotators):
        for k in range(classes):
            for label in range(classes):
                hits = sum(q[i, k] for i in range(samples) if y[i, a] == label)
                theta[a, k, label] = hits + prior[k, label]
            theta[a, k] /= theta[a, k].sum()
    return theta


def naive_shares(q):
    classes = q.shape[1]
    return np.array([(sum(q[:, k]) + 1) / (len(q) + classes) for k in range(classes)])


def naive_start(y, classes):
    counts = [sum(int(v == label) for row in y for v in row) for label in range(classes)]
    q = np.zeros((len(y), classes))
    for i, row in enumerate(y):
        for label in range(classes):
            votes = sum(int(v == label) for v in row)
            q[i, label] = (votes + counts[label] / sum(counts)) / (sum(int(v >= 0) for v in row) + 1)
    return q


def naive_passes(y, q, prior, iterations):
    """Beliefs, matrices, shares and log posteriors after some passes, in which no silence counts."""
    samples, classes = q.shape
    trace = []
    for _ in range(iterations):
        theta, pi = naive_confusion(y, q, prior), naive_shares(q)
        value = sum(log(share) for share in pi)
        value += sum(prior[k, m] * log(t[k, m]) for t in theta for k in range(classes) for m in range(classes))
        q = q.copy()
        for i in range(samples):
            joint = [log(pi[k]) for k in range(classes)]
            for a in range(y.shape[1]):
                if y[i, a] >= 0:
                    joint = [joint[k] + log(theta[a, k, y[i, a]]) for k in range(classes)]
            total = sum(exp(v) for v in joint)
            value += log(total)
            q[i] = [exp(v) / total for v in joint]
        trace.append(value)
        if len(trace) > 1 and trace[-1] - trace[-2] <= 1e-9 * abs(trace[-1]):
            break
    return q, theta, pi, trace


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_the_plain_model_is_the_equations(iterations):
    y, _ = answers()
    y = y[(y >= 0).any(1)]
    found = consensus.dawid_skene(Votes.of(y, 3), shared=False, silence="ignore", iterations=iterations)
    prior = np.full((3, 3), 0.01)
    q, _, pi, trace = naive_passes(y, naive_start(y, 3), prior, iterations)
    assert np.allclose(found.probs, q, atol=1e-10)
    assert np.allclose(found.prior, pi, atol=1e-10)
    assert np.allclose(found.confusion, naive_confusion(y, q, prior), atol=1e-10)
    assert np.allclose(found.trace, trace, atol=1e-8)


def test_the_shared_matrix_is_that_of_one_annotator_who_gave_all_answers():
    y, _ = answers(seed=1)
    y = y[(y >= 0).any(1)]
    start = naive_start(y, 3)

    def alike(q):
        table = np.zeros((3, 3))
        for k in range(3):
            for label in range(3):
                table[k, label] = sum(q[i, k] for i in range(len(y)) for v in y[i] if v == label) + 1 / 3
        return table / table.sum(1, keepdims=True)

    q, last = start, -np.inf
    for _ in range(200):
        shared, pi = alike(q), naive_shares(q)
        value = np.log(pi).sum() + (np.log(shared) / 3).sum()
        new = np.zeros_like(q)
        for i in range(len(y)):
            joint = np.array([log(pi[k]) + sum(log(shared[k, v]) for v in y[i] if v >= 0) for k in range(3)])
            value += log(np.exp(joint).sum())
            new[i] = np.exp(joint) / np.exp(joint).sum()
        q = new
        if value - last <= 1e-9 * abs(value):
            break
        last = value
    expected, *_ = naive_passes(y, start, 2 * 3 * shared, 4)
    found = consensus.dawid_skene(Votes.of(y, 3), strength=2, silence="ignore", iterations=4)
    assert np.allclose(found.probs, expected, atol=1e-6)


def test_rules_are_judged_by_when_they_answer():
    """One pass of the step on ``rho`` and of the beliefs that silence belongs to, in loops."""
    y, _ = rules(samples=60, annotators=4)
    given = Votes.of(y, 2)
    asked = Asked(given, silence=True)
    model = Model(asked, shared=True, strength=1.0)
    q = naive_start_with_silence(y)
    assert np.allclose(asked.start, q)
    rho = np.zeros((4, 2))
    for a in range(4):
        for k in range(2):
            fired = sum(q[i, k] for i in range(60) if y[i, a] >= 0)
            rho[a, k] = (fired + model.fires[a, k]) / (sum(q[:, k]) + model.fires[a, k] + model.misses[a, k])
    assert np.allclose(model.rho, rho)
    pi = naive_shares(q)
    beliefs, _ = model.expect()
    for i in range(60):
        joint = [
            log(pi[k]) + sum(log(rho[a, k]) if y[i, a] >= 0 else log(1 - rho[a, k]) for a in range(4)) for k in range(2)
        ]
        total = sum(exp(v) for v in joint)
        assert np.allclose(beliefs[i], [exp(v) / total for v in joint])


def naive_start_with_silence(y):
    silent = (y < 0).all(1)
    q = np.zeros((len(y), 2))
    counts = np.array([(y == 0).sum(), (y == 1).sum()])
    q[silent] = counts / counts.sum()
    q[~silent] = naive_start(y, 2)[~silent]
    return q


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{}, {"shared": False}, {"silence": "ignore"}, {"strength": 20.0}])
def test_the_posterior_never_falls(seed, settings):
    for y in (answers(seed=seed)[0], answers(asked=0.15, classes=5, annotators=20, seed=seed)[0], rules(seed=seed)[0]):
        trace = consensus.dawid_skene(Votes.of(y), **settings).trace
        assert len(trace) > 1
        assert (np.diff(trace) >= -1e-9 * abs(trace[-1])).all()


def test_permuting_annotators_permutes_the_result():
    for y in (answers(annotators=9)[0], rules()[0]):
        order = np.random.default_rng(1).permutation(y.shape[1])
        one, other = consensus.dawid_skene(Votes.of(y)), consensus.dawid_skene(Votes.of(y[:, order]))
        assert np.allclose(one.probs, other.probs, atol=1e-6)
        for name in ("confusion", "quality", "agreement"):
            assert np.allclose(getattr(one, name)[order], getattr(other, name), atol=1e-6), name


def test_permuting_samples_and_classes_permutes_the_result():
    y, _ = answers(samples=60)
    order = np.random.default_rng(1).permutation(60)
    one, other = consensus.dawid_skene(Votes.of(y, 3)), consensus.dawid_skene(Votes.of(y[order], 3))
    assert np.allclose(one.probs[order], other.probs, atol=1e-6)
    turned = consensus.dawid_skene(Votes.of(np.where(y < 0, -1, (y + 1) % 3), 3))
    assert np.allclose(np.roll(one.probs, 1, axis=1), turned.probs, atol=1e-6)


def test_perfect_annotators_give_the_truth():
    y, truth = answers(samples=200, right=1.0, asked=0.5)
    for found in (consensus.dawid_skene(Votes.of(y)), consensus.majority(Votes.of(y))):
        labelled = found.labels >= 0
        assert (found.labels[labelled] == truth[labelled]).all()
        assert (found.labels[~labelled] == -1).all()
        assert found.quality.min() > 0.9
        assert np.allclose(found.confusion, np.eye(3), atol=0.1)


def test_an_adversary_helps_and_a_guesser_does_not_hurt():
    y, truth = answers(samples=400, annotators=7, asked=1.0, right=0.75)
    generator = np.random.default_rng(5)
    y[:, 0] = (truth + 1) % 3
    y[:, 1] = generator.integers(0, 3, 400)
    y[:, 2] = (truth + 1) % 3
    found = consensus.dawid_skene(Votes.of(y))
    voted = consensus.majority(Votes.of(y))
    assert (found.labels == truth).mean() > 0.97
    assert (found.labels == truth).mean() > (voted.labels == truth).mean()
    assert found.quality[0] < 0.1
    assert found.quality[1] == pytest.approx(1 / 3, abs=0.08)
    assert found.quality[3:].min() > 0.65
    assert found.agreement[1] == pytest.approx(1 / 3, abs=0.08)


def test_rules_do_not_end_in_one_class():
    y, truth = rules(samples=1000)
    covered = (y >= 0).any(1)
    found = consensus.dawid_skene(Votes.of(y))
    plain = consensus.dawid_skene(Votes.of(y), silence="ignore")
    assert (found.labels[covered] == truth[covered]).mean() > 0.85
    assert len(np.unique(plain.labels[covered])) == 1  # why silence counts
    assert found.quality.min() > 0.7
    assert (found.labels[~covered] == -1).all()


def test_few_answers_are_judged_like_the_average():
    y, _ = answers(samples=300, annotators=6, asked=1.0, right=0.8)
    y[:, 0] = -1
    y[0, 0], y[1, 0] = 0, 1
    found = consensus.dawid_skene(Votes.of(y))
    assert abs(found.quality[0] - np.median(found.quality)) < 0.15
    assert np.abs(found.confusion[0] - found.confusion[1:].mean(0)).max() < 0.35


def test_someone_who_answered_nothing():
    y, _ = answers()
    y[:, 2] = -1
    found = consensus.dawid_skene(Votes.of(y))
    assert found.votes.counts[2] == 0
    assert np.isnan(found.agreement[2])
    assert np.isnan(found.quality[2])
    assert found.annotators()[2] == {"name": "2", "labels": 0, "quality": None, "agreement": None, "copies": []}
    json.dumps(found.annotators(), allow_nan=False)


def test_nobody_answered_anything():
    for judge in (consensus.majority, consensus.dawid_skene):
        found = judge(Votes.of(np.full((5, 2), -1), 3))
        assert (found.labels == -1).all()
        assert np.allclose(found.probs, 1 / 3)


def test_ties_go_to_the_commoner_class_then_to_the_first():
    y = np.array([[0, 1, -1], [1, 1, -1], [2, 0, -1], [-1, -1, -1], [2, 2, 1], [1, 2, -1]])
    found = consensus.majority(Votes.of(y, 3))
    # Answers in all: 0 twice, 1 five times, 2 four times.
    assert found.labels.tolist() == [1, 1, 2, -1, 2, 1]
    assert consensus.majority(Votes.of(np.array([[1, 0], [0, 1]]))).labels.tolist() == [0, 0]
    assert np.allclose(found.probs[4], [0, 1 / 3, 2 / 3])


def test_the_same_answers_give_the_same_bits():
    y, _ = answers(samples=100)
    one, other = (consensus.dawid_skene(Votes.of(y)) for _ in range(2))
    assert np.array_equal(one.probs, other.probs)
    assert one.trace == other.trace


def test_taking_rows():
    y, _ = answers()
    found = consensus.dawid_skene(Votes.of(y))
    rows = [5, 0, 5, 39]
    taken = found.take(rows)
    assert np.array_equal(taken.matrix, y[rows])
    assert np.array_equal(taken.labels, found.labels[rows])
    assert np.array_equal(taken.quality, found.quality)
    assert np.array_equal(found.matrix, y)


def test_wrong_answers_are_refused():
    with pytest.raises(ValueError, match="matrix of integers"):
        Votes.of(np.zeros(3))
    with pytest.raises(ValueError, match="class 3"):
        Votes.of(np.array([[3, 0]]), 3)
    with pytest.raises(ValueError, match="strength"):
        consensus.dawid_skene(Votes.of(answers()[0]), strength=0)


def test_many_answers_take_little_memory_and_time():
    generator = np.random.default_rng(0)
    items = np.repeat(np.arange(5_000), 3)
    who = generator.integers(0, 2_000, 15_000)
    given = Votes(items, who, generator.integers(0, 4, 15_000), tuple(map(str, range(2_000))), 5_000, 4)
    assert consensus.dawid_skene(given, iterations=5).probs.shape == (5_000, 4)


# The model is chosen, copies count once, and what matters is said


def copied(samples=400, seed=0):
    """Three annotators of 80 %, one of 60 % whose column comes twice."""
    y, truth = answers(samples, 4, 2, asked=1.0, right=0.8, seed=seed)
    generator = np.random.default_rng(seed + 100)
    y[:, 3] = np.where(generator.random(samples) < 0.6, truth, 1 - truth)
    return np.column_stack([y, y[:, 3]]), truth


@pytest.mark.parametrize("seed", range(3))
def test_copied_answers_count_once_and_it_is_said(seed):
    y, truth = copied(seed=seed)
    given = Votes.of(y)
    found = settle(given)
    plain = consensus.dawid_skene(given)
    once = settle(Votes.of(y[:, :4]))
    assert found.groups == ((3, 4),)
    assert (plain.labels == truth).mean() < 0.7  # why it matters
    assert (found.labels == once.labels).mean() == 1
    assert (found.labels == truth).mean() > (consensus.majority(given).labels == truth).mean()
    assert found.quality[3:].max() < found.quality[:3].min()  # judged without each other
    assert plain.quality[3:].min() > 0.9
    assert np.allclose(found.quality[:4], once.quality, atol=1e-9)
    assert "'3', '4' give the same answer on 100 % of 400" in found.remarks[0]
    assert [each["copies"] for each in found.annotators()] == [[], [], [], ["4"], ["3"]]


@pytest.mark.parametrize(("classes", "seed"), [(5, 0), (10, 0), (10, 1)])
def test_copies_that_pass_for_the_truth_do_not_make_the_honest_look_like_copies(classes, seed):
    """Two equal answers outvote three honest ones who err apart; all of these then agree beyond that "truth"."""
    right = np.array([0.8, 0.8, 0.8, 0.6])
    y, truth = answers(200, 4, classes, asked=1.0, right=right, seed=seed)
    found = settle(Votes.of(np.column_stack([y, y[:, 3]])))
    assert found.groups == ((3, 4),)
    assert (found.labels == truth).mean() > 0.9


@pytest.mark.parametrize(
    ("classes", "honest", "right", "follow"), [(2, 3, 0.6, 1.0), (3, 3, 0.5, 1.0), (4, 4, 0.5, 0.9)]
)
def test_as_many_copies_as_honest_annotators_count_once(classes, honest, right, follow):
    y, truth = answers(400, honest, classes, asked=1.0, right=0.8)
    generator = np.random.default_rng(1)
    source = np.where(generator.random(400) < right, truth, (truth + generator.integers(1, classes, 400)) % classes)
    repeats = generator.random((400, honest)) < follow
    copies = np.where(repeats, source[:, None], generator.integers(0, classes, repeats.shape))
    found = settle(Votes.of(np.column_stack([y, copies]), classes))
    assert found.groups == (tuple(range(honest, 2 * honest)),)
    assert (found.labels == truth).mean() > 0.85  # 0.5 where the copies pass for the truth
    assert found.quality[honest:].max() < found.quality[:honest].min()


def colluding(seed=0):
    """Five honest annotators of 75 %, and four who say what one bad source says."""
    y, truth = answers(400, 5, 3, asked=0.8, right=0.75, seed=seed)
    generator = np.random.default_rng(seed + 200)
    source = np.where(generator.random(400) < 0.4, truth, generator.integers(0, 3, 400))
    follow = generator.random((400, 4)) < 0.9
    others = np.where(follow, source[:, None], generator.integers(0, 3, (400, 4)))
    return np.column_stack([y, np.where(generator.random((400, 4)) < 0.8, others, -1)]), truth


def test_colluding_annotators_count_once():
    y, truth = colluding()
    given = Votes.of(y)
    found = settle(given)
    asked = found.labels >= 0
    assert found.groups == ((5, 6, 7, 8),)
    assert (found.labels == truth)[asked].mean() > 0.85
    assert (consensus.majority(given).labels == truth)[asked].mean() < 0.8
    assert found.quality[5:].max() < found.quality[:5].min()


@pytest.mark.parametrize("right", [(0.9, 0.9), (0.93, 0.8, 0.85), (0.95,) * 5])
def test_few_honest_annotators_of_many_unequal_classes_are_no_copies(right):
    rng = np.random.default_rng(0)
    truth = rng.choice(12, 1500, p=np.arange(12, 0, -1) / 78)
    told = np.where(rng.random((1500, len(right))) < right, truth[:, None], rng.integers(0, 12, (1500, len(right))))
    y = np.where(rng.random(told.shape) < 0.5, told, -1)  # many samples have one answer
    found, asked = settle(Votes.of(y, 12)), (y >= 0).any(1)
    assert not found.groups
    assert (found.labels == truth)[asked].mean() > np.mean(right) - 0.04


@pytest.mark.parametrize("other", [0.6, 0.9])
def test_one_of_many_unequal_classes_who_copies_is_found(other):
    rng = np.random.default_rng(1)
    truth = rng.choice(12, 1500, p=np.arange(12, 0, -1) / 78)
    right = (0.9, 0.8, 0.85, other)
    told = np.where(rng.random((1500, 4)) < right, truth[:, None], rng.integers(0, 12, (1500, 4)))
    y = np.where(rng.random(told.shape) < 0.6, told, -1)
    found = settle(Votes.of(np.column_stack([y, y[:, 3]]), 12))
    assert found.groups == ((3, 4),)


@pytest.mark.parametrize("right", [0.8, np.array([0.95, 0.93, *[1 / 3] * 5, 0.4])])
def test_honest_annotators_and_experts_among_guessers_are_no_copies(right):
    for seed in range(2):
        y, truth = answers(300, 8, 3, asked=0.8, right=right, seed=seed)
        found = settle(Votes.of(y))
        assert found.groups == ()
        assert (found.labels == truth)[found.labels >= 0].mean() > 0.88


def test_once_is_one_answer_of_a_group_a_sample_and_class():
    given = Votes.of(np.array([[0, 0, 1, -1], [1, 1, 1, 0], [-1, 2, 2, 2]]))
    once = consensus.Fit.of(given, groups=[(1, 2)]).once(given)
    assert sorted(zip(once.items.tolist(), once.annotators.tolist(), once.labels.tolist(), strict=True)) == [
        (0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1, 3, 0), (2, 1, 2), (2, 3, 2)
    ]  # fmt: skip


def test_the_held_out_likelihood_is_that_of_answers_that_were_not_fitted():
    y, _ = answers(60, 5, 3)
    given = Votes.of(y, 3)
    (found,) = held_out(given, [("coin", 4.0)])
    order = np.lexsort((given.annotators, given.items))
    fold = np.empty(len(order), dtype=int)
    fold[order] = np.random.default_rng(0).permutation(len(order)) % 3
    for answer in (0, 7, 50):
        hidden = fold == fold[answer]
        seen = y.copy()
        seen[given.items[hidden], given.annotators[hidden]] = -1
        fitted = consensus.Fit.of(Votes.of(seen, 3), alike="coin", strength=4.0, iterations=60, tolerance=1e-6)
        q = fitted.probs(60)
        i, a, label = given.items[answer], given.annotators[answer], given.labels[answer]
        assert found[answer] == pytest.approx(log(sum(q[i, k] * fitted.model.theta[a, k, label] for k in range(3))))


def test_few_answers_are_a_vote_of_equals_and_many_are_not():
    few, _ = answers(60, 6, 3, asked=0.4, seed=2)
    assert "alike" in settle(Votes.of(few)).rule
    many, _ = answers(600, 8, 3, asked=1.0, right=np.array([0.95, 0.9, *[1 / 3] * 6]))
    assert "by their own answers, and by the errors that all make as by" in settle(Votes.of(many)).rule


def test_silence_that_counts_and_labels_that_nobody_gave_are_said():
    y, _ = rules()
    found = settle(Votes.of(y))
    assert found.silent == tuple(range(8))
    assert "silent on a sample was counted" in found.remarks[0]
    given = [set(row[row >= 0].tolist()) for row in y]
    unsaid = sum(bool(said) and label not in said for said, label in zip(given, found.labels.tolist(), strict=True))
    assert (f"of {unsaid} samples the consensus is a class that none" in " ".join(found.remarks)) == (unsaid > 0)


def test_where_only_one_class_is_ever_answered_silence_says_nothing():
    generator = np.random.default_rng(0)
    y = np.where(generator.random((1000, 6)) < 0.3, 1, -1)
    found = settle(Votes.of(y, 2))
    answered = (y >= 0).any(1)
    assert (found.labels[answered] == 1).all()
    assert found.silent == ()
    assert "their silence was not counted" in found.remarks[0]


def test_a_consensus_of_one_class_says_that_there_is_nothing_to_agree_on(tmp_path, monkeypatch, capsys):
    y = np.array([["spam", ""], ["spam", "spam"], ["", ""], ["", "spam"]])
    with pytest.raises(InputError, match=r"every answer is 'spam'.*classes=\[\.\.\.\] names"):
        codivide.consensus(y)
    found = codivide.consensus(y, classes=["ham", "spam"])
    assert found.labels.tolist() == ["spam", "spam", None, "spam"]
    assert "their silence was not counted" in found.remarks[0]
    pd.DataFrame(y, columns=["label_a", "label_b"]).assign(id=range(4)).to_csv(tmp_path / "rules.csv", index=False)
    monkeypatch.setattr("sys.argv", ["codivide", "consensus", str(tmp_path / "rules.csv")])
    with pytest.raises(SystemExit):
        main()
    assert "every answer is 'spam', so there is nothing to agree on" in " ".join(capsys.readouterr().err.split())


def test_an_annotator_without_an_answer_is_named():
    y, _ = answers()
    y[:, 2] = -1
    found = settle(Votes.of(y, names=["a", "b", "ghost", "d", "e", "f"]))
    assert found.remarks[-1] == "annotators 'ghost' have 0 answers and cannot be judged"
    with pytest.warns(TrainingWarning, match="'2' have 0 answers"):
        clf = NoisyLabelClassifier(codivide.Features(heads="linear", correct=False)).fit(
            np.random.default_rng(0).random((40, 3)), y
        )
    assert np.isnan(clf.annotator_quality_["quality"][2])
    assert clf.annotator_quality_["labels"][2] == 0


# With a classifier


def hints(truth, classes, right, seed=0):
    """Probabilities of a classifier that is right so often and says so."""
    generator = np.random.default_rng(seed)
    says = np.where(generator.random(len(truth)) < right, truth, generator.integers(0, classes, len(truth)))
    probs = np.full((len(truth), classes), (1 - right) / classes)
    probs[np.arange(len(truth)), says] += right
    return probs


def test_a_classifier_counts_as_far_as_it_explains_the_answers():
    y, truth = answers(600, 6, 3, asked=0.4, right=0.7)
    given = Votes.of(y, 3)
    alone = settle(given)
    good, useless = settle(given, hints(truth, 3, 0.8)), settle(given, hints(truth[::-1], 3, 0.8))
    asked = alone.labels >= 0
    assert (good.labels == truth)[asked].mean() > (alone.labels == truth)[asked].mean() + 0.03
    assert good.classifier > 0.7
    assert useless.classifier < 0.2
    assert abs((useless.labels == truth)[asked].mean() - (alone.labels == truth)[asked].mean()) < 0.02
    assert (good.labels[~asked] == -1).all()


def test_with_a_classifier_is_bayes_rule():
    y, truth = answers(200, 6, 3, asked=0.5)
    given, probs = Votes.of(y, 3), hints(truth, 3, 0.7)
    alone, both = settle(given), settle(given, probs)
    share = probs.mean(0)
    for i in (0, 3, 77):
        weights = [alone.probs[i, k] * (probs[i, k] / share[k]) ** both.classifier for k in range(3)]
        assert np.allclose(both.probs[i], np.array(weights) / sum(weights), atol=1e-4)


def test_the_public_function_takes_answers_and_probabilities():
    y, truth = answers(300, 5, 3, asked=0.6)
    frame = pd.DataFrame(named(y), columns=["ann", "ben", "cem", "dia", "eli"])
    plain = codivide.consensus(frame)
    covered = np.array([label is not None for label in plain.labels])
    assert np.array_equal(covered, (y >= 0).any(1))
    assert plain.classes == tuple(NAMES)
    assert plain.annotators["name"].tolist() == ["ann", "ben", "cem", "dia", "eli"]
    assert np.isnan(plain.confidence[~covered]).all()
    probs = pd.DataFrame(hints(truth, 3, 0.8)[:, [2, 0, 1]], columns=["eel", "cat", "dog"])
    both = codivide.consensus(frame, probs)
    assert both.classes == ("eel", "cat", "dog")
    right = (both.labels == NAMES[truth])[covered].mean()
    assert right > (plain.labels == NAMES[truth])[covered].mean()
    assert both.classifier > 0.5


@pytest.mark.parametrize(
    ("y", "probs", "words"),
    [
        ([0, 1, 0], None, r"shape \(3,\); it must be \[samples, annotators\]"),
        ([[0, 1], [1, 1], [0, 0]], [[0.5, 0.5]], "pred_probs has 1 rows, but y has 3"),
        ([[0, 1], [1, 1], [0, 0]], [[0.5, 0.7]] * 3, "row 0"),
    ],
)
def test_wrong_input_of_the_public_function(y, probs, words):
    with pytest.raises(InputError, match=words):
        codivide.consensus(y, probs)


# In data


NAMES = np.array(["cat", "dog", "eel"])


def test_a_classifier_helps_to_judge_annotators_whom_answers_alone_do_not_tell_apart():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    y = np.stack([truth, rng.integers(0, 3, 300)], axis=1)
    probs = np.where(truth[:, None] == np.arange(3), 0.9, 0.05)
    plain, helped = (codivide.consensus(y, given).annotators.set_index("name") for given in (None, probs))
    for column in ("quality", "agreement"):
        assert abs(plain[column]["0"] - plain[column]["1"]) < 0.2
        assert helped[column]["0"] > helped[column]["1"] + 0.3


def test_a_consensus_of_numbers_is_an_array_that_a_classifier_takes():
    y = np.array([[0, 2], [2, 2], [0, 0], [2, 1]] * 5)
    found = codivide.consensus(y)
    assert found.labels.dtype.kind == "i"
    assert codivide.consensus(np.array(["no", "yes", "maybe"])[y]).labels.dtype.kind == "U"
    y[0] = -1
    assert codivide.consensus(y).labels.tolist()[0] is None


def named(y, missing=None):
    return [[missing if v < 0 else NAMES[v] for v in row] for row in y]


def test_every_form_of_labels():
    y, _ = answers()
    y[3] = -1
    x = np.random.default_rng(0).random((40, 4))
    expected = settle(Votes.of(y, 3))
    texts = named(y)
    floats = np.where(y < 0, np.nan, y)
    forms = {
        "array": y,
        "int8": y.astype(np.int8),
        "floats": floats,
        "tensor": torch.from_numpy(y),
        "masked": np.ma.masked_less(y, 0),
        "rows": y.tolist(),
        "texts": texts,
        "objects": np.array(texts, dtype=object),
        "empty texts": np.array(named(y, "")),
        "frame": pd.DataFrame(texts),
        "frame of numbers": pd.DataFrame(floats),
        "frame of nullable numbers": pd.DataFrame(floats).astype("Int64"),
        "frame of mixed columns": pd.DataFrame(floats).astype({0: "Int64"}),
    }
    for name, form in forms.items():
        loaded = load(x, form)
        assert np.array_equal(loaded.y, expected.labels), name
        assert loaded.y[3] == -1
        assert np.array_equal(loaded.annotations.matrix, y), name
        assert [str(c) for c in loaded.classes] in ([*"012"], NAMES.tolist()), name
    frame = load(x, pd.DataFrame(texts, columns=[f"worker {k}" for k in range(6)]))
    assert frame.annotations.names[2] == "worker 2"
    assert load(x, y[:, :1].ravel()).annotations is None


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.eye(4)[[0, 1, 2, 3, 1]], ["one-hot", "argmax"]),
        ([[1, 2], [1, 2], [1], [1, 2], [1, 2]], ["row 2", "1 label,"]),
        ([[1, 2], [1, "x"], [1, 2], [1, 2], [1, 2]], ["row 1, annotator 1", "'x'"]),
        ([[1, 2], [1, 2], [1, 1.5], [1, 2], [1, 2]], ["row 2, annotator 1", "1.5"]),
        ([[1, 1]] * 5, ["one class only"]),
        ([[-1, None]] * 5, ["no label at all"]),
        ([[1, 2]] * 4, ["5 rows", "4"]),
    ],
)
def test_bad_labels_are_named(y, words):
    with pytest.raises(InputError) as error:
        load(np.zeros((5, 2)), y)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [["a"], ["b", "c"], ["a"]],
            "labels: row 1 has 2 labels, the first 1: a list is read as one label an annotator",
        ),
        ([["a", "b"], ["c"]], "labels: row 1 has 1 label, the first 2: a list is read as one label an annotator"),
        (
            [[k % 3 == j for j in range(3)] for k in range(9)],
            "looks one-hot: give one column with the class of each row",
        ),
    ],
)
@pytest.mark.parametrize("command", ["noise", "fit"])
def test_lists_in_a_file_are_refused_in_the_words_of_the_command_line(
    rows, said, command, tmp_path, monkeypatch, capsys
):
    lines = [json.dumps({"text": f"story {k}", "label": row}) for k, row in enumerate(rows)]
    (tmp_path / "lists.jsonl").write_text("\n".join(lines))
    out = ["--out", str(tmp_path / "run")] if command == "fit" else []
    monkeypatch.setattr(sys, "argv", ["codivide", command, str(tmp_path / "lists.jsonl"), *out])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert "NoisyMultiLabelClassifier" not in told
    assert "looks one-hot" in told or "; several labels a row are for codivide fit with --task multilabel" in told


def test_several_labels_a_row_are_not_taken_for_annotators_in_silence(recwarn):
    rng = np.random.default_rng(0)
    y = (rng.random((200, 4)) < [0.2, 0.4, 0.3, 0.5]).astype(int)
    alike = [(y[:, j] == y[:, k]).mean() for j in range(4) for k in range(4) if j != k]
    share = y.mean(0)
    chance = [share[j] * share[k] + (1 - share[j]) * (1 - share[k]) for j in range(4) for k in range(4) if j != k]
    kappa = (np.mean(alike) - np.mean(chance)) / (1 - np.mean(chance))
    assert annotators._agreement(y.astype(float)) == pytest.approx(kappa)
    with pytest.warns(UserWarning, match="by chance; several labels a row are for NoisyMultiLabel"):
        load(np.zeros((200, 2)), y)
    recwarn.clear()
    load(np.zeros((200, 2)), np.where(rng.random((200, 4)) < 0.3, 1 - y[:, :1], y[:, :1]))
    assert not recwarn.list


def write(folder, frame, name="data.csv"):
    path = folder / name
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def features(samples):
    generator = np.random.default_rng(1)
    return pd.DataFrame({"id": [f"s{k}" for k in range(samples)], "a": generator.random(samples), "b": range(samples)})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_one_column_or_one_row_an_answer(tmp_path, suffix):
    y, _ = answers()
    expected = settle(Votes.of(y, 3))
    table = features(40)
    columns = {f"label_w{k}": [row[k] for row in named(y)] for k in range(6)}
    items, who = np.nonzero(y >= 0)
    order = np.random.default_rng(2).permutation(len(items))
    long = pd.DataFrame(
        {"id": [f"s{k}" for k in items], "annotator": [f"w{k}" for k in who], "label": NAMES[y[items, who]]}
    ).iloc[order]
    wide = write(tmp_path, table.assign(**columns), f"wide{suffix}")
    other = {name.replace("label_", "by_"): value for name, value in columns.items()}
    by_name = write(tmp_path, table.assign(label="cat", **other), f"named{suffix}")
    answered = write(tmp_path, long, f"answers{suffix}")
    alone = write(tmp_path, table, f"alone{suffix}")
    each = write(tmp_path, pd.DataFrame({"id": table["id"], **columns}).iloc[::-1], f"each{suffix}")
    joined = write(tmp_path, long.merge(table, on="id"), f"joined{suffix}")
    forms = {
        "columns": load(wide),
        "columns by name": load(by_name, options=ReadOptions(annotators=tuple(other))),
        "a table of answers": load(alone, options=ReadOptions(answers=answered)),
        "a table of answers, a column each": load(alone, options=ReadOptions(answers=each)),
        "a row an answer": load(joined),
    }
    for name, loaded in forms.items():
        place = [int(str(row)[1:]) for row in loaded.ids]
        assert loaded.classes == tuple(NAMES), name
        assert np.array_equal(loaded.y, expected.labels[place]), name
        assert loaded.x.shape == (2,), name
        assert sorted(word[-1] for word in loaded.annotations.names) == [*"012345"], name
        assert np.array_equal(loaded.x[torch.arange(len(place))][:, 1].numpy(), place), name
    assert forms["columns"].annotations.names[0] == "w0"
    assert forms["columns by name"].annotations.names[0] == "by_w0"


def test_tables_with_a_test_part_and_truth(tmp_path):
    y, truth = answers(samples=60)
    table = features(60).assign(
        split=["train"] * 40 + ["test"] * 20,
        true_label=NAMES[truth],
        **{f"label_{k}": [row[k] for row in named(y)] for k in range(6)},
    )
    loaded = load(write(tmp_path, table))
    assert loaded.annotations.matrix.shape == (40, 6)
    assert np.array_equal(loaded.truth, truth[:40])
    assert np.array_equal(loaded.test.y, truth[40:])
    assert loaded.test.annotations is None


def test_a_manifest_with_several_annotators(tmp_path):
    from PIL import Image

    y, _ = answers(samples=8, asked=1.0)
    for k in range(8):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    table = pd.DataFrame({"path": [f"{k}.png" for k in range(8)]} | {f"label_{a}": y[:, a] for a in range(6)})
    loaded = load(write(tmp_path, table))
    assert loaded.ids == [f"{k}.png" for k in range(8) if k != 3]
    assert np.array_equal(loaded.annotations.matrix, np.delete(y, 3, 0))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("id,annotator,label,a\n1,x,cat,0\n1,x,dog,0\n2,y,cat,0", ["row 1", "second answer", "'x'"]),
        ("id,annotator,label,a\n1,x,cat,0\n1,y,dog,1\n2,y,cat,0", ["row 1", "differ", "'a'"]),
        ("id,annotator,label,a\n1,x,cat,0\n,y,dog,1", ["row 1", "no id"]),
        ("id,annotator,label,a\n1,x,cat,0\n2,,dog,1", ["row 1", "no annotator"]),
        ("annotator,label,a\nx,cat,0\ny,dog,1", ["'annotator'", "id, path and text"]),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, words):
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(InputError) as error:
        load(tmp_path / "t.csv")
    assert all(word in str(error.value) for word in words), error.value


def test_bad_tables_of_answers_are_named(tmp_path):
    data = write(tmp_path, features(4))
    strange = write(tmp_path, pd.DataFrame({"id": ["s0", "s9"], "annotator": "x", "label": ["a", "b"]}), "a.csv")
    with pytest.raises(InputError, match=r"row 1 .* 's9', not in"):
        load(data, options=ReadOptions(answers=strange))
    neither = write(tmp_path, pd.DataFrame({"id": ["s0"], "anna": ["a"], "ben": ["b"]}), "n.csv")
    with pytest.raises(InputError, match=r"n.csv is no file of answers: .* label_NAME .* \(it has id, anna, ben\)"):
        load(data, options=ReadOptions(answers=neither))
    nameless = write(tmp_path, pd.DataFrame({"annotator": ["a"], "label": ["b"]}), "o.csv")
    with pytest.raises(InputError, match=r"o.csv needs one of id, path and text that .*a"):
        load(data, options=ReadOptions(answers=nameless))
    with pytest.raises(InputError, match="has no column 'w'"):
        load(data, options=ReadOptions(annotators=("a", "w")))
    with pytest.raises(InputError, match=r"pass labels \[N, annotators\]"):
        load(np.zeros((4, 2)), [0, 1, 0, 1], options=ReadOptions(annotators=("a", "b")))


def test_columns_called_label_are_features_where_there_is_a_label(tmp_path):
    table = pd.DataFrame({"label": ["a", "b"] * 3, "label_size": range(6), "label_count": range(6)})
    loaded = load(write(tmp_path, table))
    assert (loaded.annotations, loaded.x.shape) == (None, (2,))


def test_arrays_in_a_file_and_a_part_of_them(tmp_path):
    y, truth = answers()
    who = [f"w{k}" for k in range(6)]
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((40, 3)), y=y, true_y=truth, annotators=who)
    loaded = load(tmp_path / "d.npz")
    assert loaded.annotations.names == tuple(who)
    few = part(loaded, 10, 0)
    rows = [int(row) for row in few.ids]
    assert np.array_equal(few.annotations.matrix, y[rows])
    assert np.array_equal(subset(loaded, [1]).annotations.labels, loaded.y[[1]])


def test_the_estimator_names_the_annotators():
    y, truth = answers(samples=60, right=0.8)
    x = np.eye(3)[truth] + np.random.default_rng(0).normal(0, 0.3, (60, 3))
    frame = pd.DataFrame(named(y), columns=[*"abcdef"])
    classifier = NoisyLabelClassifier("cross_entropy", epochs=3).fit(x, frame)
    found = classifier.annotator_quality_
    assert found["name"].tolist() == [*"abcdef"]
    assert found["labels"].tolist() == (y >= 0).sum(0).tolist()
    assert found["quality"].between(0, 1).all()
    assert set(classifier.labels_["given"].dropna()) <= set(NAMES)
    assert not hasattr(NoisyLabelClassifier("cross_entropy", epochs=1).fit(x, truth), "annotator_quality_")


def two_colleagues(rows=240):
    """Features of two classes, and labels of the careful and of the hasty, who answered fewer rows."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, rows)
    x = truth[:, None] * 3.0 + generator.normal(0, 1, (rows, 3))
    careful, hasty = (np.where(generator.random(rows) < wrong, 1 - truth, truth) for wrong in (0.05, 0.3))
    hasty = np.where(generator.random(rows) < 0.3, -1, hasty)
    return x, pd.DataFrame({"hasty": hasty, "careful": careful})


def test_answers_that_nobody_shares_say_nothing_of_an_annotator():
    _, y = two_colleagues()
    found = codivide.consensus(y)
    quality, agreement = (found.annotators.set_index("name")[name] for name in ("quality", "agreement"))
    assert abs(quality["hasty"] - quality["careful"]) < 0.03  # nobody can tell
    assert agreement["hasty"] == pytest.approx(agreement["careful"], abs=0.03)
    assert any("do not rank them" in text for text in found.remarks)
    assert not any("do not rank them" in text for text in codivide.consensus(answers()[0]).remarks)


def test_who_answered_alone_has_no_agreement():
    y = np.array([[0, 0, -1], [1, 1, -1], [0, 0, -1], [-1, -1, 1], [-1, -1, 0]])
    agreement = consensus.dawid_skene(Votes.of(y)).agreement
    assert np.isnan(agreement[2])
    assert (agreement[:2] > 0.5).all()


def test_the_table_of_annotators_leaves_empty_what_nobody_can_tell(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.csv").write_text("id,label_anna,label_ben,label_cem\n1,a,a,\n2,b,b,\n3,a,b,\n4,,,a\n5,,,b\n")
    monkeypatch.setattr("sys.argv", ["codivide", "consensus", str(tmp_path / "a.csv")])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert "cem" in said
    assert "nan" not in said


def test_features_tell_which_of_two_colleagues_is_better():
    x, y = two_colleagues()
    quality = NoisyLabelClassifier("features").fit(x, y).annotator_quality_.set_index("name")["quality"]
    assert quality["careful"] > quality["hasty"] + 0.1


def test_the_command_line_ranks_annotators_and_says_when_it_cannot(tmp_path, monkeypatch, capsys):
    x, y = two_colleagues(80)
    table = pd.DataFrame(x, columns=[*"pqr"]).assign(label_hasty=y["hasty"], label_careful=y["careful"])
    path = write(tmp_path, table)
    for method, told in (("features", "careful 0."), ("cross_entropy", "do not rank them")):
        more = ["--epochs", "1"] if method == "cross_entropy" else []
        words = ["codivide", "fit", str(path), "--method", method, *more, "--out", str(tmp_path / method)]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit):
            main()
        said = "".join(capsys.readouterr())
        assert "quality of the annotators, the best first" in said
        assert told in said
        assert ("do not rank them" in said) == (method == "cross_entropy")


def test_the_command_line_names_the_annotators(tmp_path, monkeypatch, capsys):
    y, _ = answers(samples=30)
    table = features(30).assign(**{f"by{k}": [row[k] for row in named(y)] for k in range(6)})
    path = write(tmp_path, table)

    def fit(*words):
        line = ["codivide", "fit", str(path), "--method", "cross_entropy", "--epochs", "1", *words]
        monkeypatch.setattr("sys.argv", [*line, "--out", str(tmp_path / "run")])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, "".join(capsys.readouterr())

    assert fit("--annotators", "by0")[0] == 2
    assert "no such file" in fit("--annotators", "missing.csv")[1]
    code, said = fit("--annotators", ",".join(f"by{k}" for k in range(6)))
    assert code in (0, 3), said  # one epoch is little
    assert "6 annotators" in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [row["name"] for row in summary["annotators"]] == [f"by{k}" for k in range(6)]
    assert {"name", "labels", "quality"} <= set(summary["annotators"][0])


@pytest.mark.data
def test_music_genre(data_root):
    with np.load(data_root / "crowd" / "music_genre.npz") as held:
        y, truth = held["crowd"], held["y_train_true"]
    given = Votes.of(y.astype(np.int64), 10)
    voted, plain, ours = (
        (found.labels == truth).mean()
        for found in (
            consensus.majority(given),
            consensus.dawid_skene(given, shared=False),
            consensus.dawid_skene(given),
        )
    )
    assert plain >= voted
    assert ours >= plain
    quality = consensus.dawid_skene(given).quality
    known = np.array([(y[y[:, a] >= 0, a] == truth[y[:, a] >= 0]).mean() for a in range(44)])
    often = given.counts >= 20
    assert np.corrcoef(quality[often], known[often])[0, 1] > 0.7


def crowd_table(folder, *, long=False):
    """Answers of two good people and a guesser in a table, and probabilities of a classifier in another order."""
    rng = np.random.default_rng(0)
    truth = rng.choice(["cat", "dog"], 200)
    ids = [f"s{k}" for k in range(200)]
    table = pd.DataFrame({"id": ids})
    for name, skill in (("anna", 0.85), ("ben", 0.75), ("cem", 0.0)):
        says = np.where(rng.random(200) < skill, truth, rng.choice(["cat", "dog"], 200))
        table[f"label_{name}"] = np.where(rng.random(200) < 0.7, says, None)
    if long:
        table = table.melt("id", var_name="annotator", value_name="label").dropna()
    table.to_csv(folder / "answers.csv", index=False)
    sure = rng.uniform(0.6, 1.0, 200)
    cat = np.where(truth == "cat", sure, 1 - sure)
    probs = pd.DataFrame({"id": ids, "dog": 1 - cat, "cat": cat})
    probs.sample(frac=1, random_state=0).to_csv(folder / "probs.csv", index=False)
    return pd.Series(truth, index=ids)


@pytest.mark.parametrize("long", [False, True])
def test_the_command_asks_annotators_and_classifier(tmp_path, monkeypatch, capsys, long):
    truth = crowd_table(tmp_path, long=long)
    right = []
    for more in ([], ["--probs", "probs.csv"]):
        out = f"labels{len(more)}.csv"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["codivide", "consensus", "answers.csv", *more, "--out", out])
        with pytest.raises(SystemExit) as done:
            main()
        assert not done.value.code
        found = pd.read_csv(tmp_path / out).set_index("id")
        right.append((found["label"] == truth[found.index]).mean())
    assert right[1] > right[0] + 0.05
    said = capsys.readouterr().out
    assert "anna" in said
    assert "the classifier counts, too, with weight" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["probs.csv"], "one label a sample"),
        (["answers.csv", "--probs", "few.csv"], "has no row of id 's3'"),
        (["answers.csv", "--probs", "twice.csv"], "'s0' comes twice"),
        (["answers.csv", "--probs", "short.csv"], "pred_probs has 3 rows, but y has 200"),
        (["answers.csv", "--out", "probs.csv"], "exists"),
    ],
)
def test_the_command_says_what_does_not_fit(tmp_path, monkeypatch, capsys, words, message):
    crowd_table(tmp_path)
    probs = pd.read_csv(tmp_path / "probs.csv").sort_values("id", key=lambda ids: ids.str[1:].astype(int))
    probs[:3].to_csv(tmp_path / "few.csv", index=False)
    probs[:3].drop(columns="id").to_csv(tmp_path / "short.csv", index=False)
    pd.concat([probs, probs[:1]]).to_csv(tmp_path / "twice.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["codivide", "consensus", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_column_of_ids_is_no_annotator():
    answers = pd.DataFrame(np.random.default_rng(0).integers(0, 3, (40, 3)), columns=["anna", "ben", "cy"])
    for ids in (range(100, 140), [f"s{k}" for k in range(40)]):
        with pytest.raises(InputError, match="annotator 'id' gives 40 answers, all different"):
            codivide.consensus(answers.map(str if isinstance(ids, list) else int).assign(id=ids))
    assert codivide.consensus(answers).classes == (0, 1, 2)


def as_answers(table):
    return table.rename(columns={"id": "item", "annotator": "worker_id"})


def test_answers_that_are_read_as_samples_of_their_own_are_said(tmp_path, recwarn):
    y, _ = answers()
    items, who = np.nonzero(y >= 0)
    long = pd.DataFrame({"id": items, "annotator": who, "label": NAMES[y[items, who]]})
    path = write(tmp_path, as_answers(long), "answers.csv")
    load(path)
    text = " ".join(str(one.message) for one in recwarn)
    assert (
        f"'worker_id' and 'item' look like those of one answer a row: {len(long)} answers on {len(set(items))} samples"
        in text
    )
    recwarn.clear()
    load(write(tmp_path, as_answers(long.merge(features(40).assign(id=range(40)), on="id")), "joined.csv"))
    assert any("'worker_id' and 'item' look like" in str(one.message) for one in recwarn)
    recwarn.clear()
    rows = pd.DataFrame({"user": np.arange(40) % 8, "age": np.arange(40) % 7, "label": NAMES[np.arange(40) % 3]})
    load(write(tmp_path, rows.assign(seen=np.random.default_rng(0).random(40)), "users.csv"))
    assert not any("answer" in str(one.message) for one in recwarn)


def test_columns_of_labels_beside_one_called_label_are_said(tmp_path):
    y, _ = answers()
    wide = features(40).assign(
        label=NAMES[np.arange(40) % 3], **{f"label_{k}": [row[k] for row in named(y)] for k in range(3)}
    )
    with pytest.warns(
        UserWarning, match=r"since there is a column 'label'.*give y=X\[\['label_0', 'label_1', 'label_2'\]\]"
    ):
        load(write(tmp_path, wide, "both.csv"))


def test_what_a_table_of_answers_lacks_is_named(tmp_path):
    y, _ = answers()
    items, who = np.nonzero(y >= 0)
    long = pd.DataFrame({"id": items, "annotator": who, "label": NAMES[y[items, who]]})
    with pytest.raises(InputError, match="but not one of id, path and text, which names the sample"):
        load(write(tmp_path, long.rename(columns={"id": "item"}), "item.csv"))
    with pytest.raises(InputError, match="'annotator', but not 'label'"):
        load(write(tmp_path, long.rename(columns={"label": "answer"}).assign(x=1), "answer.csv"))
    timed = write(tmp_path, long.assign(time=range(len(long)), x=1), "time.csv")
    with pytest.raises(InputError, match=r"leave it out: drop=\['time'\]"):
        load(timed)
    found = of_table(timed, ReadOptions())[1]
    plain = of_table(write(tmp_path, long, "plain.csv"), ReadOptions())[1]
    assert found.labels.tolist() == plain.labels.tolist()


def test_annotators_who_share_no_sample_are_named():
    y, _ = answers(asked=1.0)
    assert not any("share no sample" in remark for remark in codivide.consensus(y).remarks)
    apart = np.where(np.arange(6) == np.arange(40)[:, None] % 6, y, -1)
    said = codivide.consensus(apart).remarks
    assert any("'0', '1', '2', '3', '4' and 1 more share no sample with another" in remark for remark in said)
    apart[:, :5] = y[:, :5]
    apart[:, 5] = -1
    more = np.vstack([apart, np.where(np.arange(6) == 5, y, -1)])
    assert any("annotators '5' share no sample" in remark for remark in codivide.consensus(more).remarks)
