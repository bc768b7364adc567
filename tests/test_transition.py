"""Transition matrices: estimates against loops and against known noise; the two corrections that use them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from codivide import InputError, Run, TrainingWarning, train
from codivide.methods import METHODS
from codivide.noise import synthetic, transition
from codivide.training import losses
from tests import toys

ASKEW = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.7, 0.2], [0.0, 0.1, 0.9]])
BOTH = pytest.mark.parametrize("name", ["forward_correction", "backward_correction"])


def noisy(count: int = 30_000) -> tuple[Tensor, Tensor, Tensor]:
    """What a perfect network says of given labels, P(given | x), where most samples surely are of one class."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.arange(count) % 3
    belief = torch.softmax(12 * torch.eye(3)[truth] + 2 * torch.randn(count, 3, generator=generator), 1)
    given = torch.multinomial(ASKEW[truth], 1, generator=generator).squeeze(1)
    return belief @ ASKEW, given, truth


def random_probs(count: int, classes: int, seed: int = 0) -> Tensor:
    return torch.softmax(2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)), 1)


def test_normalise():
    counts = torch.tensor([[2.0, 6.0, 0.0], [0.0, 0.0, 0.0], [float("nan"), -1.0, 3.0]])
    assert transition.normalise(counts).tolist() == [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("percentile", [None, 100.0, 97.0, 60.0])
def test_anchor_is_the_rule(percentile):
    probs = random_probs(101, 4)
    expected = []
    for c in range(4):
        order = sorted(range(101), key=lambda n, c=c: float(probs[n, c]))
        expected.append(order[{None: 100, 100.0: 100, 97.0: 97, 60.0: 60}[percentile]])
    got = transition.anchor(probs, percentile)
    assert torch.allclose(got, probs[expected] / probs[expected].sum(1, keepdim=True))


def test_a_percentile_leaves_outliers_out():
    probs = torch.tensor([[0.7, 0.3]]).repeat(100, 1)
    probs[50:] = torch.tensor([0.2, 0.8])
    probs[0], probs[99] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(transition.anchor(probs), torch.eye(2))
    assert torch.allclose(transition.anchor(probs, 97.0), torch.tensor([[0.7, 0.3], [0.2, 0.8]]))


def naive_joint(probs: np.ndarray, given: list[int]) -> np.ndarray:
    classes = probs.shape[1]
    threshold = [np.mean([p[c] for p, g in zip(probs, given, strict=True) if g == c]) for c in range(classes)]
    joint = np.zeros((classes, classes))
    for p, g in zip(probs, given, strict=True):
        reached = [c for c in range(classes) if p[c] >= threshold[c]]
        if g >= 0 and reached:
            joint[max(reached, key=lambda c: p[c]), g] += 1
    for g in range(classes):
        joint[:, g] *= given.count(g) / joint[:, g].sum()
    return joint


def test_the_confident_joint_is_the_rule():
    probs = random_probs(300, 3)
    given = (torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(0))).squeeze(1)
    given[::10] = -1
    got = transition.confident_joint(probs, given)
    assert got.numpy() == pytest.approx(naive_joint(probs.numpy(), given.tolist()), rel=1e-4)
    assert got.sum(0).tolist() == pytest.approx(torch.bincount(given[given >= 0]).tolist())  # calibrated


@pytest.mark.parametrize("how", ["anchor", "percentile", "confident_joint"])
def test_an_estimate_finds_the_noise(how):
    probs, given, _ = noisy()
    if how == "confident_joint":
        got = transition.normalise(transition.confident_joint(probs, given))
    else:
        got = transition.anchor(probs, 97.0 if how == "percentile" else None)
    assert (got - ASKEW).abs().max() < 0.03


def test_estimates_survive_what_is_missing():
    identity = torch.eye(3)
    nothing, nobody = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert torch.equal(transition.anchor(nothing), identity)
    assert torch.equal(transition.normalise(transition.confident_joint(nothing, nobody)), identity)
    probs, given, _ = noisy(300)
    probs[5] = torch.nan
    assert torch.isfinite(transition.anchor(probs)).all()
    without = torch.where(given == 1, -1, given)  # no label names class 1
    joint = transition.confident_joint(probs, without)
    assert torch.isfinite(joint).all()
    assert joint[1].sum() == 0
    assert transition.normalise(joint)[1].tolist() == [0, 1, 0]
    flat = torch.full((6, 3), 1 / 3)
    assert torch.isfinite(transition.confident_joint(flat, torch.tensor([0, 1, 2, 0, 1, 2]))).all()


def test_conditioned_leaves_a_good_matrix_and_mends_a_singular_one():
    got, share = transition.conditioned(ASKEW)
    assert share == 0
    assert torch.equal(got, ASKEW)
    flat = torch.full((3, 3), 1 / 3)
    got, share = transition.conditioned(flat, 100.0)
    assert share == 0.05
    assert torch.allclose(got, 0.95 * flat + 0.05 * torch.eye(3))
    assert torch.allclose(got.sum(1), torch.ones(3))
    assert transition.conditioned(flat, 1.0)[1] == 1.0


def test_a_noise_and_a_file_name_the_same_matrix(tmp_path):
    run = start("forward_correction", transition="symmetric:0.3")
    expected = 0.7 * torch.eye(3) + 0.1
    assert torch.allclose(run.memory["transition"], expected)
    np.save(tmp_path / "t.npy", expected.numpy())
    np.savetxt(tmp_path / "t.csv", expected.numpy(), delimiter=",")
    for name in ("t.npy", "t.csv"):
        other = start("forward_correction", transition=str(tmp_path / name))
        assert torch.allclose(other.memory["transition"], expected)


def test_the_matrix_of_a_noise_is_what_apply_draws_from(tmp_path):
    labels = np.arange(60_000) % 10
    own = np.random.default_rng(0).dirichlet(np.ones(10), 10)
    np.savetxt(tmp_path / "own.csv", own, delimiter=",", fmt="%.4f")  # rows sum to 1 within the rounding alone
    for spec in ("symmetric:0.5", "symmetric-exclusive:0.5", "asymmetric:0.4", "pair:0.2", str(tmp_path / "own.csv")):
        parsed = synthetic.parse(spec)
        matrix = synthetic.matrix_of(parsed, synthetic.CIFAR10_CLASSES)
        drawn = synthetic.apply(parsed, labels, synthetic.CIFAR10_CLASSES, np.random.default_rng(0))
        assert synthetic.transition_matrix(labels, drawn, 10) == pytest.approx(matrix, abs=0.03)
        assert str(parsed) == spec
    assert matrix == pytest.approx(own, abs=1e-3)
    excel = tmp_path / "excel.csv"
    excel.write_text("0.8,0.2\n-0.2,1.2\n", encoding="utf-8-sig")
    with pytest.raises(InputError, match=r"excel\.csv: row 1, .* sum to 1, and the least is -0\.2"):
        synthetic.read_matrix(str(excel), ["cat", "dog"])
    with pytest.raises(InputError, match="no one transition matrix"):
        synthetic.matrix_of(synthetic.parse("instance:0.2"), synthetic.CIFAR10_CLASSES)


def test_the_names_of_cifar100_alone_tell_its_superclasses():
    names = ["apple", *(f"b{n:02d}" for n in range(98)), "worm"]
    matrix = synthetic.matrix_of(synthetic.parse("asymmetric:0.4"), names)
    same_superclass = np.equal.outer(synthetic.CIFAR100_SUPERCLASS, synthetic.CIFAR100_SUPERCLASS)
    assert (matrix[~same_superclass] == 0).all()
    assert matrix.diagonal() == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 0], [0, 1]], "there must be 3 rows of 3 numbers, in the order of the classes"),
        ([[1, 0, 0], [0.5, 0.2, 0], [0, 0, 1]], "is no distribution"),
        ([[1, 0, 0], [1.2, -0.2, 0], [0, 0, 1]], "is no distribution"),
    ],
)
def test_a_file_that_is_no_transition_matrix_is_refused(rows, message, tmp_path):
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",")
    with pytest.raises(InputError, match=message):
        start("forward_correction", transition=str(tmp_path / "t.csv"))


@pytest.mark.parametrize("text", ["nowhere.csv", "nowhere.npy", "symetric:0.5", "words.csv"])
def test_a_matrix_that_cannot_be_read_is_one_clear_error(text, tmp_path):
    (tmp_path / "words.csv").write_text("true,given\na,b\n")
    with pytest.raises(InputError):
        start("forward_correction", transition=str(tmp_path / text) if text == "words.csv" else text)


def start(name: str, problem=None, epochs: int = 9, **fields) -> Run:
    problem = problem or toys.toy()
    method = METHODS[name](**fields)
    torch.manual_seed(0)
    run = Run(method, problem.data, toys.build, toys.plan(epochs), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    return run


@BOTH
def test_the_loss_is_cross_entropy_first_and_the_corrected_one_then(name):
    run = start(name, warmup=2)
    method, batch = run.method, next(run.batches())
    run.method.use(run, ASKEW)
    logits = run.nets[0](batch.x[0])
    plain = torch.nn.functional.cross_entropy(logits, batch.y)
    if name == "forward_correction":
        corrected = losses.forward_corrected(logits, batch.y, ASKEW).mean()
    else:
        corrected = losses.backward_corrected(logits, batch.y, torch.linalg.inv(ASKEW)).mean()
    assert (plain - corrected).abs() > 0.001
    for run.epoch, expected in ((0, plain), (1, plain), (2, corrected), (8, corrected)):
        assert method.loss(run, 0, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@BOTH
@pytest.mark.parametrize("restart", [True, False])
def test_the_matrix_is_estimated_once_after_the_warm_up(name, restart, monkeypatch):
    run = start(name, warmup=2, restart=restart, estimate="anchor")
    method = run.method
    resets, passes = [], []
    monkeypatch.setattr(Run, "reset", lambda self, i: resets.append((self.epoch, i)))
    monkeypatch.setattr(type(method), "fit_all", lambda self, run, i: passes.append(run.epoch))
    for run.epoch in range(5):
        before = run.memory["transition"].clone()
        method.epoch(run)
        if run.epoch == 2:
            probs = run.measure(0, lambda logits, batch: torch.softmax(logits, 1))
            expected = transition.anchor(probs)
            if name == "backward_correction":
                expected = transition.conditioned(expected)[0]
            assert torch.equal(run.memory["transition"], expected)
        else:
            assert torch.equal(run.memory["transition"], before)
    assert resets == ([(2, 0)] if restart else [])
    assert passes == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("samples", "epochs", "expected"), [(120, 9, 3), (120, 900, 188), (24_000, 90, 10), (120, 2, 1)]
)
def test_the_warm_up_is_long_enough_to_learn_from(samples, epochs, expected):
    run = start("forward_correction", toys.toy(samples), epochs)  # batches of 16
    assert run.method.warmup_epochs(run) == expected


@BOTH
def test_a_known_matrix_needs_no_warm_up(name, monkeypatch):
    run = start(name, transition="symmetric:0.3")
    monkeypatch.setattr(type(run.method), "estimated", None)
    monkeypatch.setattr(Run, "reset", None)
    run.method.epoch(run)
    assert torch.allclose(run.memory["transition"], 0.7 * torch.eye(3) + 0.1)


@pytest.mark.parametrize(
    ("fields", "filtered", "expected"),
    [
        ({}, 33, 97.0),
        ({}, 2, 100.0),
        ({"percentile": 80.0}, 33, 80.0),
        ({"percentile": 80.0}, 2, 80.0),
        ({"estimate": "anchor"}, 33, None),
    ],
)
def test_the_percentile_follows_the_number_of_classes_unless_it_is_given(fields, filtered, expected, monkeypatch):
    seen = []
    monkeypatch.setattr(transition, "anchor", lambda probs, percentile=None: seen.append(percentile) or torch.eye(3))
    monkeypatch.setattr("codivide.methods._correction._FILTERED_CLASSES", filtered)
    run = start("forward_correction", **fields)
    run.method.estimated(run)
    assert seen == [expected]


def test_a_class_without_a_label_gets_the_row_of_the_identity():
    problem = toys.toy()
    problem.data.y[problem.data.y == 1] = -1
    for how in ("percentile", "anchor", "confident_joint"):
        run = start("forward_correction", problem, estimate=how)
        assert run.method.estimated(run)[1].tolist() == [0, 1, 0]


def test_backward_inverts_the_matrix_and_mends_a_singular_one():
    run = start("backward_correction", transition="symmetric:0.3")
    product = run.memory["inverse"] @ run.memory["transition"]
    assert torch.allclose(product, torch.eye(3), atol=1e-5)
    with pytest.warns(TrainingWarning, match="nearly singular"):
        run = start("backward_correction", transition="symmetric:1")
    assert torch.isfinite(run.memory["inverse"]).all()


def test_forward_learns_where_most_labels_of_a_class_are_wrong(tmp_path):
    """Cross-entropy believes the majority of the labels; only the matrix tells that it is wrong."""
    problem = toys.toy(600, noise=0.0)
    flip = (problem.truth == 0) & (torch.rand(600, generator=torch.Generator().manual_seed(0)) < 0.65)
    problem.data.y[flip] = 1
    np.savetxt(tmp_path / "t.csv", [[0.35, 0.65, 0.0], [0, 1, 0], [0, 0, 1]], delimiter=",")
    accuracy = {}
    for method in (METHODS["cross_entropy"](), METHODS["forward_correction"](transition=str(tmp_path / "t.csv"))):
        run = train(method, problem.data, toys.build, toys.plan(12, lr=0.01))
        with torch.no_grad():
            right = run.nets[0].eval()(problem.data.x.data).argmax(1) == problem.truth
        accuracy[type(method).__name__] = float(right[problem.truth == 0].float().mean())
    assert accuracy["CrossEntropy"] < 0.3
    assert accuracy["ForwardCorrection"] > 0.9
