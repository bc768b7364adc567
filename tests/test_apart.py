"""Small groups that lie apart, and what is usual."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codivide import Features, NoisyLabelClassifier, load_model
from codivide.audit.checks import outliers
from codivide.audit.material import Material
from codivide.data.arrays import array_rows
from codivide.data.looks import measure
from codivide.noise.apart import ALONE, RANGES, Apart
from codivide.runs import label_table


def planted(share: float, seed: int = 0, count: int = 600) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Samples of five classes, and a tight group that is none; points, labels (of the group at random), who it is."""
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 5, count)
    deviation = 1 / np.arange(1, 41)  # as of features: few directions hold most of what varies
    points = rng.normal(size=(count, 40)) * deviation + 2 * np.eye(40)[given]
    size = int(share * count)
    group = 2 * np.eye(40)[20] + rng.normal(size=(size, 40)) * 0.2 * deviation
    whole = np.concatenate([points, group])
    labels = np.concatenate([given, rng.integers(0, 5, size)])
    order = rng.permutation(len(whole))
    return torch.from_numpy(whole[order]).float(), labels[order], order >= count


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_a_small_group_apart_is_found_and_those_of_classes_are_not(share):
    points, labels, group = planted(share)
    before = outliers.find(points, None, 5)
    assert before is not None
    assert not np.isin(np.flatnonzero(group), before.rows).any()  # they are near each other
    found = outliers.with_groups(before, points, labels)
    flag = np.isin(np.arange(len(points)), found.rows)
    assert flag[group].all()
    assert flag[~group].mean() < 0.02
    assert found.severity[group].min() > np.median(found.severity[~group])
    assert (np.diff(found.severity[found.rows]) <= 0).all()


@pytest.mark.parametrize("count", [200, 300, 500])
def test_of_few_samples_hardly_one_is_apart_and_a_group_still_is(count):
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(count, 128)) / np.arange(1, 129) ** 0.4  # one class, nothing apart
    usual = Apart.of(torch.from_numpy(plain).float(), np.zeros(count, dtype=np.int64))
    assert (usual.usual > usual.fence).mean() < 0.02
    points, labels, group = planted(0.04, count=count)
    usual = Apart.of(points, labels)
    assert (usual.distance(points) > usual.fence)[group].all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_one_class_with_a_long_tail_hardly_one_is_apart(seed):
    tail = np.random.default_rng(seed).standard_t(3, size=(400, 128)) / np.arange(1, 129) ** 0.4
    usual = Apart.of(torch.from_numpy(tail).float(), np.zeros(400, dtype=np.int64))
    low, high = np.quantile(usual.usual, [0.25, 0.75])
    assert (usual.usual > high + RANGES * (high - low)).mean() > 0.02  # by the fence of several classes
    assert (usual.usual > usual.fence).mean() < 0.01


def test_the_fewer_classes_the_farther_is_the_fence():
    points, labels, _ = planted(0.0)
    ranges = [Apart.of(points, given).ranges for given in (labels * 0, labels % 2, labels % 3, labels)]
    assert ranges[0] == ALONE
    assert ranges[0] > ranges[1] > ranges[2] > ranges[3] == RANGES
    assert Apart.of(points, np.where(np.arange(len(labels)) < 6, 1, 0)).ranges > 3.4  # a few of another count little


def test_what_many_are_is_how_they_are():
    points, labels, _ = planted(0.1)
    before = outliers.find(points, None, 5)
    assert before is not None
    assert outliers.with_groups(before, points, labels) is before
    assert outliers.with_groups(before, points[:199], labels[:199]) is before  # too few


def test_groups_are_looked_for_among_photos_alone():
    points, labels, group = planted(0.05)
    names = [str(k) for k in range(5)]
    table = label_table.build(range(len(labels)), labels, labels, np.full(len(labels), 0.5), names)
    material = Material("data", "features", table, tuple(names), points=points)
    flag = outliers.CHECK.find(material).columns["is_outlier_issue"]
    assert not flag[group].any()
    flag = outliers.CHECK.find(replace(material, of_photos=True)).columns["is_outlier_issue"]
    assert flag[group].all()


def test_new_samples_are_compared_with_what_is_usual():
    points, labels, group = planted(0.0)
    usual = Apart.of(points, labels)
    assert not group.any()
    np.testing.assert_allclose(np.sort(usual.distance(points)), usual.usual)
    other = planted(0.1, seed=1)
    distance = usual.distance(other[0])
    assert distance[other[2]].min() > np.quantile(distance[~other[2]], 0.9)
    assert len(usual.distance(points[:0])) == 0


def test_no_labels_and_constant_points_are_no_error():
    points, labels, _ = planted(0.02)
    assert np.isfinite(Apart.of(points, np.full(len(labels), -1)).usual).all()
    assert np.isfinite(Apart.of(torch.ones(300, 7), np.zeros(300, dtype=np.int64)).usual).all()


POINTS, LABELS, GROUP = planted(0.05)


def looked_up(images):
    """Of each image the point whose number its first two values are."""
    return POINTS.numpy()[images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]]


def test_a_model_of_photos_scores_new_ones_and_keeps_that(tmp_path, monkeypatch):
    monkeypatch.setattr(outliers, "MOST_APART", 0.2)  # most directions of these points are noise
    photos = np.random.default_rng(0).integers(0, 256, (len(POINTS), 6, 6, 3))
    photos[:, 0, 0, 0], photos[:, 0, 0, 1] = np.divmod(np.arange(len(POINTS)), 256)
    photos = photos.astype(np.uint8)
    some, others = ~GROUP & (np.arange(len(GROUP)) % 4 > 0), ~GROUP & (np.arange(len(GROUP)) % 4 == 0)
    learned, of = [], Apart.of
    monkeypatch.setattr(Apart, "of", lambda *given: learned.append(given) or of(*given))
    clf = NoisyLabelClassifier(Features(heads="linear"), encoder=looked_up).fit(photos[some], LABELS[some])
    assert len(learned) == 1  # once a run
    score = clf.model_.outlier_score(photos)
    assert score[GROUP].max() < 0.05
    assert np.median(score[others]) > 4 * score[GROUP].max()
    replace(clf.model_, encoder=None).save(tmp_path / "model.safetensors")
    kept = load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(kept.outlier_score(POINTS.numpy()), score)
    table = NoisyLabelClassifier(Features(heads="linear")).fit(POINTS.numpy()[some], LABELS[some])
    assert table.model_.outlier_score(POINTS.numpy()) is None


def test_what_is_usual_is_saved():
    points, labels, _ = planted(0.02)
    usual = Apart.of(points, labels)
    again = Apart.of_tensors(usual.tensors())
    assert again is not None
    np.testing.assert_array_equal(again.distance(points), usual.distance(points))
    assert again.fence == usual.fence
    older = usual.tensors()
    del older["ranges"]  # as before there was one
    assert Apart.of_tensors(older) is not None
    assert Apart.of_tensors({}) is None
    assert usual.score(points).min() < 0.01


def pictures(kind: str, count: int = 100) -> np.ndarray:
    """Images ``[N, 24, 24, 3]`` uint8: soft shapes, or stripes of one pixel; numbers 3 and 50 are noise."""
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(24), np.arange(24))
    waves = [rng.uniform(0.2, 0.9, 3) for _ in range(count)]
    soft = np.stack([np.sin(a * across + c) + np.cos(b * down) for a, b, c in waves])
    striped = np.stack([(across + down * int(10 * a)) % 2 * 2.0 - 1 for a, _, _ in waves])
    shapes = {"soft": soft, "striped": striped}[kind][..., None].repeat(3, 3)
    shapes = 128 + 50 * shapes + rng.normal(0, 3, shapes.shape)
    shapes[[3, 50]] = rng.uniform(0, 255, (2, 24, 24, 3))
    return shapes.clip(0, 255).astype(np.uint8)


def test_an_image_of_noise_is_an_outlier_wherever_its_features_lie():
    points, labels, _ = planted(0.0, count=100)
    looks = measure(array_rows(pictures("soft")))
    table = label_table.build(range(100), labels, labels, np.full(100, 0.5), list("abcde"))
    material = Material("data", "features", table, tuple("abcde"), points=points, of_photos=True)
    before = outliers.CHECK.find(material)
    found = outliers.CHECK.find(replace(material, looks_seen=looks))
    assert not {3, 50} & set(before.rows.tolist())
    assert set(found.rows.tolist()) - set(before.rows.tolist()) == {3, 50}
    assert found.columns["is_outlier_issue"][[3, 50]].all()
    assert (found.columns["outlier_score"][[3, 50]] == 0).all()


def test_sharp_images_are_no_noise_where_all_are_sharp():
    found = outliers.Outliers(np.array([7]), np.linspace(0, 1, 100))
    assert outliers.with_noise(found, measure(array_rows(pictures("striped"))).sharpness) is found
    assert outliers.with_noise(found, np.full(100, np.nan)) is found  # too small to be told
