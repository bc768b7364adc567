"""Pixels beside the features of an encoder: heads of their own, and one model of all columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codivide import load_model
from codivide.audit.target_judging import load_targets
from codivide.data import encode
from codivide.data.loaded import Loaded
from codivide.data.looks import in_grey
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.sources import load
from codivide.fit.estimate import features_seconds, of_photos
from codivide.methods.features import number_heads
from codivide.methods.features.learn import _plain, learn
from codivide.methods.features.matrix import Scale
from codivide.methods.features.model import FeatureModel
from codivide.methods.features.number_heads import LINEAR
from codivide.methods.features.numbers import Numbers, learn_numbers
from codivide.methods.features.options import ASIDE, Features
from codivide.methods.features.pacing import Clock, Rounds
from codivide.methods.features.perceptron import Perceptron
from codivide.methods.features.problem import Problem
from codivide.methods.features.sides import Sides
from codivide.methods.features.table import Table
from codivide.methods.features.tags import Tags, learn_tags

QUICK = {"hidden": 8, "updates": 30}


def samples(count: int, features: float, pixels: float) -> tuple[np.ndarray, torch.Tensor]:
    """Three classes in 6 features and 9 pixels, by how far their means are apart in each."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    means = rng.normal(size=(3, 15)) * np.r_[np.full(6, features), np.full(9, pixels)]
    x = means[y] + rng.normal(size=(count, 15)) * np.r_[np.full(6, 3.0), np.full(9, 0.2)]
    return x.astype(np.float32), torch.from_numpy(y)


def test_the_scale_of_a_side_is_that_of_its_columns_alone() -> None:
    x, _ = samples(80, 1, 1)
    x[0, 12] = 1e6  # far out
    part, alone = Scale.fit(x).part(6, 15), Scale.fit(x[:, 6:])
    assert np.allclose(part.apply(x[:, 6:]), alone.apply(x[:, 6:]), atol=1e-6)
    assert part.stretched == alone.stretched == [6]
    assert torch.equal(part.ends, alone.ends)


def test_a_model_of_all_columns_says_what_the_heads_of_each_side_say() -> None:
    x, given = samples(90, 1, 0.3)
    problem = Problem(Table(x, given, (0, 1, 2), pixels=9), Features(**QUICK), 0, Clock(None))
    identity = torch.eye(3)
    for number, end in enumerate(("", ASIDE)):
        side = problem.sides.each[number]
        _, penalty, near = problem.trial(f"linear{end}", identity, None, 1e-2)
        linear, mlp = problem.linear(f"linear{end}", identity, penalty, near), problem.mlp(f"mlp{end}", identity)
        logits = linear.fitted.logits(side.x)[:, -1]
        entry, *others = mlp.member.tensors
        places = problem.sides.each[0].directions.shape[1]
        own = entry[:places] if number == 0 else entry[places:] * 2.0**-10
        assert float(entry.abs().sum()) > 0
        assert entry.count_nonzero() == own.count_nonzero()  # nothing is learned of the other side
        hidden = Perceptron(*(value.unsqueeze(0) for value in (own, *others))).forward(side.coordinates)[0]
        for head, expected in ((linear, logits), (mlp, hidden)):
            model = FeatureModel(problem.scale, problem.directions, [head.member], torch.ones(3), 0.0, (0, 1, 2))
            assert torch.allclose(model.predict(x), torch.softmax(expected, 1), atol=1e-4)
            changed = x.copy()
            changed[:, slice(6, 15) if number == 0 else slice(0, 6)] = 0  # what the head does not see
            assert torch.allclose(model.predict(changed), model.predict(x), atol=1e-4)


def test_neighbours_are_those_of_the_features() -> None:
    x, given = samples(60, 1, 0.3)
    problem = Problem(Table(x, given, (0, 1, 2), pixels=9), Features(**QUICK), 0, Clock(None))
    model = FeatureModel(problem.scale, problem.directions, [], torch.ones(3), 0.0, (0, 1, 2))
    alone = torch.nn.functional.normalize(problem.sides.each[0].coordinates)
    points = torch.nn.functional.normalize(torch.from_numpy(problem.scale.apply(x)) @ model.directions)
    assert torch.allclose(points @ points.T, alone @ alone.T, atol=1e-4)
    padded = torch.nn.functional.normalize(problem.coordinates)
    assert torch.allclose(padded @ padded.T, alone @ alone.T, atol=1e-5)


@pytest.mark.parametrize(("features", "pixels"), [(4.0, 0.0), (0.0, 0.2)])
def test_held_out_labels_weigh_the_sides(features: float, pixels: float) -> None:
    x, given = samples(240, features, pixels)
    learned = learn(Table(x, given, (0, 1, 2), pixels=9), Features(**QUICK), 0)
    heads = [head for head in learned.report["heads"] if head["pool"] == "plain"]
    assert [head["head"] for head in heads] == ["linear", "mlp", f"linear{ASIDE}", f"mlp{ASIDE}"]
    weight = sum(head["weight"] for head in heads if head["head"].endswith(ASIDE))
    assert (weight > 0.7) == (pixels > 0)
    assert (weight < 0.3) == (features > 0)
    assert (learned.model.predict(x).argmax(1) == given).double().mean() > 0.8
    assert len(learned.records) == Features(**QUICK).rounds(("linear", "mlp") * 2)


def test_one_side_is_as_it_was() -> None:
    x, _ = samples(50, 1, 1)
    scale, generator = Scale.fit(x), torch.Generator().manual_seed(0)
    sides = Sides.of(x, scale, 0, 8, generator)
    (only,) = sides.each
    assert sides.directions() is only.directions
    assert sides.places() is only.coordinates
    assert sides.inputs(only.directions, 0) is only.directions
    assert torch.equal(sides.weights(only.directions, 0), only.directions)


def test_heads_of_pixels_take_time() -> None:
    more, less = (features_seconds(500, 90, 3, Features().kinds(pixels=pixels)) for pixels in (True, False))
    assert more > less
    more, less = (of_photos(2_000, 10, 0.0, pixels=pixels) for pixels in (True, False))
    assert [int(said.split()[-4]) for said in (more, less)] == [14, 8]


@pytest.mark.parametrize("again", [False, True])
def test_every_head_that_a_budget_leaves_no_room_for_is_named(again: bool) -> None:
    x, given = samples(80, 1, 0.3)
    problem = Problem(Table(x, given, (0, 1, 2), pixels=9), Features(**QUICK), 0, Clock(0.0))
    pool = _plain(problem, Rounds(None), again=again)
    end = " again" if again else ""
    assert [head.name for head in pool.heads] == ["linear"]
    assert problem.clock.left_out == [f"mlp{end}, linear (pixels){end}, mlp (pixels){end}"]


@pytest.mark.parametrize("scale", [1.0, 1 / 255], ids=["to 255", "to 1"])
@pytest.mark.parametrize(
    ("coloured", "off", "expected"), [(0, 0, True), (0, 2, True), (2, 60, True), (3, 60, False), (200, 60, False)]
)
def test_images_are_grey_in_three_channels_too_and_few_may_have_colour(scale, coloured, off, expected) -> None:
    images = np.random.default_rng(0).integers(0, 190, (200, 1, 16, 16)).repeat(3, axis=1)
    images[:, 0, 0, 0] = images[:, 1, 0, 0] = images[:, 2, 0, 0] = 255
    images[: coloured or 200, 0] = np.minimum(images[: coloured or 200, 0] + off, 255)
    rows = TensorRows(torch.from_numpy(images * scale).to(torch.uint8 if scale == 1 else torch.float32))
    assert in_grey(rows) is expected
    assert in_grey(TensorRows(torch.zeros(4, 1, 16, 16)))
    assert in_grey(TensorRows(torch.zeros(4, 3, 16, 16)))


@pytest.mark.parametrize("kind", [LINEAR, f"{LINEAR}{ASIDE}"])
def test_a_head_of_numbers_sees_its_side_as_if_it_were_alone(kind: str) -> None:
    x, _ = samples(90, 1, 0.3)
    y = np.random.default_rng(1).normal(size=90)
    side = slice(0, 6) if kind == LINEAR else slice(6, 15)
    known = {"penalty": 1e-2, "seed": 0}
    head = number_heads.fit(kind, x, y, np.ones(90), scale=Scale.fit(x), pixels=9, **known)
    scale = Scale.fit(x[:, side])
    alone = number_heads.fit(LINEAR, np.ascontiguousarray(x[:, side]), y, np.ones(90), scale=scale, **known)
    assert np.allclose(head.predict(x, Scale.fit(x)), alone.predict(x[:, side], scale), atol=1e-5)


def test_numbers_that_pixels_tell_are_learned_from_them_and_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 60)).astype(np.float32)
    y = x[:, 40:] @ rng.normal(size=20) + 0.1 * rng.normal(size=200)
    found = learn_numbers(Numbers(x, y, pixels=20))
    assert found.report["pool"] == {LINEAR: 0.0, f"{LINEAR}{ASIDE}": 1.0}
    found.model.save(tmp_path / "m.safetensors")
    assert np.allclose(load_model(tmp_path / "m.safetensors").predict(x), found.model.predict(x))
    assert "pixels" not in "".join(learn_numbers(Numbers(x, y)).report["pool"])


def test_labels_that_pixels_tell_are_learned_from_them_and_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 300)).astype(np.float32)
    y = np.stack([x[:, 290] > 0, x[:, :2].sum(1) > 0], 1).astype(np.int64)
    found = learn_tags(Tags(x, y, ("p", "f"), pixels=10))
    assert found.model.share[0] > 0.9
    assert found.model.share[1] < 0.1
    said = found.model.probs(x)
    changed = x.copy()
    changed[:, :290] = 0
    assert np.abs(found.model.probs(changed) - said)[:, 0].max() < 0.1
    found.model.save(tmp_path / "m.safetensors")
    assert np.allclose(load_model(tmp_path / "m.safetensors").probs(x), said)
    assert learn_tags(Tags(x, y, ("p", "f"))).model.aside is None


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_grey_images_have_their_pixels_whatever_a_label_is(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def encoded(loaded: Loaded, options: ReadOptions) -> Loaded:
        asked.append(options.encoder)
        return loaded if options.encoder == "auto" else load(np.zeros((len(loaded.y), 1)), loaded.y)

    monkeypatch.setattr(encode, "of_images", encoded)
    rng = np.random.default_rng(0)
    y = rng.normal(size=20) if task == "regression" else rng.integers(0, 2, (20, 2))
    for channels in (1, 3):
        x = rng.integers(0, 256, (20, 32, 32, channels), dtype=np.uint8)
        load_targets(x, y, ReadOptions(task=task))
    assert [name for name in asked if name != "auto"] == ["efficientnet-lite0+pixels", "efficientnet-lite0"]
