"""Duplicates and neighbours are those of naive loops, and what only looks alike is not taken for the same."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from codivide import Features, NoisyLabelClassifier
from codivide.audit import checks, neighbours
from codivide.audit.checks import outliers
from codivide.audit.checks.duplicates import ordered
from codivide.data import duplicates, encode
from codivide.data.arrays import array_rows
from codivide.data.duplicates import Group
from codivide.data.groups import together
from codivide.data.leaks import leaks
from codivide.data.loaded import subset
from codivide.data.options import ReadOptions
from codivide.data.own import Own
from codivide.data.rows import SparseRows
from codivide.data.sources import load
from codivide.runs import label_table


def alone(groups):
    """The groups without their copies."""
    return [group._replace(same=()) for group in groups]


def find(*given):
    return alone(duplicates.find(*given))


def scenes(count, side=32, channels=3, seed=0):
    """Smooth random images, uint8 [N, C, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(30, 220, (count, channels, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    return smooth.clamp(0, 255).round().to(torch.uint8).numpy()


def test_exact_copies_are_found_whatever_their_number():
    x = scenes(40)
    x[7], x[30], x[12] = x[3], x[3], x[11]
    assert find(array_rows(x)) == [Group((3, 7, 30), True), Group((11, 12), True)]


def test_minus_zero_is_zero():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    x[4] = x[1]
    x[1, 0], x[4, 0] = 0.0, -0.0
    assert find(array_rows(x)) == [Group((1, 4), True)]


def test_near_images_are_those_of_a_loop_over_all_pairs():
    x = scenes(150, side=40).astype(np.float64)
    rng = np.random.default_rng(1)
    for row in range(40):  # copies with growing noise: from surely near to surely not
        x[100 + row] = x[row] + rng.normal(0, 0.5 * row, x[row].shape)
    x[145] = 0.7 * x[60] + 20  # another light
    x = x.clip(0, 255).astype(np.uint8)

    seen = np.empty((150, 3, 32, 32))
    for i, j in itertools.product(range(32), range(32)):
        rows = slice(math.floor(i * 40 / 32), math.ceil((i + 1) * 40 / 32))
        columns = slice(math.floor(j * 40 / 32), math.ceil((j + 1) * 40 / 32))
        seen[:, :, i, j] = x[:, :, rows, columns].mean((2, 3), dtype=np.float64)
    seen = seen.reshape(150, -1) - seen.mean((1, 2, 3))[:, None]
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    expected = {(i, j) for i in range(150) for j in range(i + 1, 150) if seen[i] @ seen[j] >= 0.985}
    found = {pair for group in find(array_rows(x)) for pair in itertools.combinations(group.rows, 2)}
    assert (60, 145) in expected
    assert 10 < len(expected) < 60
    assert found == expected


def test_no_chain_joins_what_is_not_alike():
    near = [(0, 1), (1, 2), (2, 3)]
    digests = duplicates.digests(bytes([k]) for k in range(4))
    assert alone(duplicates._groups(digests, lambda once: near)) == [Group((0, 1), False), Group((2, 3), False)]


def test_an_exact_group_takes_near_ones_in():
    digests = duplicates.digests([b"a", b"b", b"a", b"b", b"c"])
    sought = []
    duplicates._groups(digests, lambda once: sought.extend(once.tolist()) or [])
    assert sought == [0, 1, 4]  # among rows that come once, and the first of the others
    assert alone(duplicates._groups(digests, lambda once: [(0, 1)])) == [Group((0, 1, 2, 3), False)]
    assert alone(duplicates._groups(digests, lambda once: [])) == [Group((0, 2), True), Group((1, 3), True)]


def test_flat_images_are_near_to_nothing_but_their_copies():
    x = np.zeros((6, 3, 16, 16), dtype=np.uint8)
    x += np.array([0, 10, 20, 30, 40, 10], dtype=np.uint8)[:, None, None, None]
    assert find(array_rows(x)) == [Group((1, 5), True)]


@pytest.mark.parametrize("columns", [3, 7, 8, 40])
def test_rows_are_near_only_where_there_are_enough_columns(columns):
    rng = np.random.default_rng(0)
    x = rng.normal(5, [1e-3, 1e3, *[1.0] * (columns - 2)], (300, columns)).astype(np.float32)
    x[200] = x[10] * np.float32(1 + 1e-6) + x.std(0) * 1e-4  # rounding
    x[201] = x[11] + x.std(0) * 0.5  # another row
    x[202] = x[12]
    expected = [Group((12, 202), True)]
    assert find(array_rows(x)) == ([Group((10, 200), False), *expected] if columns >= 8 else expected)


def test_a_constant_column_and_a_constant_table_do_no_harm():
    x = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    x[:, 4] = 1e9
    assert find(array_rows(x)) == []
    assert find(array_rows(np.ones((5, 10)))) == [Group((0, 1, 2, 3, 4), True)]


def test_sparse_rows_as_dense_ones():
    rng = np.random.default_rng(0)
    x = rng.random((120, 60)).astype(np.float32) * (rng.random((120, 60)) < 0.3)
    x[90] = x[5]
    x[91] = x[6] * np.float32(1.0005)
    rows = SparseRows(sparse.csr_matrix(x))
    assert find(rows) == [Group((5, 90), True), Group((6, 91), False)]
    dense = x / np.where(x.std(0) > 0, x.std(0), 1)
    np.testing.assert_allclose(duplicates.standardised(rows).toarray(), dense, rtol=1e-3, atol=1e-4)


def test_texts_alike_but_for_case_space_or_a_word():
    words = [f"word{k}" for k in range(30)]
    texts = ["Free  money\nnow", "free money now", " ".join(words), " ".join([*words[:29], "other"]), "else", ""]
    assert find(None, texts) == [Group((0, 1), True), Group((2, 3), False)]
    assert find(None, ["", ""]) == [Group((0, 1), True)]
    assert find(None) == []


def test_a_bit_differs_as_often_as_the_angle_says():
    """Charikar 2002: P(bit differs) = angle / pi; pairs beyond four standard deviations would be lost."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(400, 64))
    other = one + 0.15 * rng.normal(size=one.shape)
    one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other))
    cosine = (one * other).sum(1)
    unit = np.concatenate([one, other]).astype(np.float32)
    near = {tuple(pair) for pair in duplicates._pairs(unit, 0.985, bands=8).tolist()}
    expected = {(k, 400 + k) for k in np.flatnonzero(cosine >= 0.985 + 1e-6).tolist()}
    assert len(expected) > 150
    assert len(expected - near) <= 0.05 * len(expected)
    assert all(unit[i] @ unit[j] >= 0.985 for i, j in near)


def test_conflicting_labels_come_first():
    groups = [Group((0, 1), True), Group((2, 3, 4), False), Group((5, 6), True), Group((7, 8), False)]
    given = np.array([0, 0, 1, 1, 1, 0, 2, 1, -1])
    assert [g.rows for g in ordered(groups, given)] == [(5, 6), (0, 1), (2, 3, 4), (7, 8)]


def test_crowded_bands_take_linear_time():
    """All rows on one small cone: every band is full of them, and still each is compared with few."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(3000, 40))).astype(np.float32) + 30
    x[2000] = x[5] + 1e-5
    code = np.zeros((3000, 4), dtype=np.uint16)
    pairs = [len(part) for part in duplicates._alike(code, 0)]
    assert len(pairs) == duplicates._WINDOW
    assert sum(pairs) < 3000 * duplicates._WINDOW
    assert Group((5, 2000), False) in find(array_rows(x))


def naive_nearest(points, query, candidates, count):
    others = [c for c in candidates if c != query]
    distance = {c: math.dist(points[query], points[c]) for c in others}
    return sorted(others, key=lambda c: distance[c])[:count], distance


@pytest.mark.parametrize("count", [1, 4, 30])
def test_nearest_is_that_of_loops(count):
    points = torch.randn(700, 5, generator=torch.Generator().manual_seed(0))
    candidates = np.arange(0, 700, 31)
    queries = np.array([0, 31, 5, 699, *range(600)])
    found, distances = neighbours.nearest(points, queries, candidates, count)
    for row, query in enumerate(queries[:8].tolist()):
        expected, distance = naive_nearest(points.tolist(), query, candidates.tolist(), count)
        assert found[row].tolist()[: len(expected)] == expected
        assert (found[row, len(expected) :] == -1).all()
        np.testing.assert_allclose(distances[row, : len(expected)], [distance[c] for c in expected], atol=1e-3)


def test_nearest_without_candidates_finds_nothing():
    found, distances = neighbours.nearest(torch.zeros(3, 2), np.array([0, 1]), np.array([], dtype=np.int64), 2)
    assert (found == -1).all()
    assert np.isinf(distances).all()


def test_agreement_counts_labelled_neighbours_alone():
    points = torch.arange(8.0)[:, None]
    given = np.array([0, 0, 1, -1, 1, 1, 0, -1])
    assert neighbours.agreement(points, np.array([0, 4]), given) == [(2, 5), (2, 5)]


def test_outliers_are_far_and_unsure():
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(size=(500, 4)).astype(np.float32))
    best = rng.uniform(0.9, 1, 500)
    points[[10, 20, 30]] += 15
    points[30] += 15
    best[[10, 30, 40]] = [0.3, 0.4, 0.3]  # 20: very far, and sure; 40: unsure and near
    found = outliers.find(points, best, 4)
    assert found.rows.tolist() == [30, 10, 20]
    assert ((found.severity >= 0) & (found.severity <= 1)).all()
    assert {10, 20, 30} <= set(outliers.find(points, None, 4).rows.tolist())
    assert outliers.find(points[:10], best[:10], 4) is None


def twice(x, y):
    """Five samples with copies: two of another label, one of the same, one without a label, one twice of another."""
    rows = [*range(len(x)), 0, 1, 2, 3, 4, 4, 4]
    again = [x[k] for k in rows]
    labels = [*y, *(1 - y[:2]), y[2], -1, y[4], 1 - y[4], 1 - y[4]]
    return (np.stack(again) if isinstance(x, np.ndarray) else again), np.array(labels)


OF_KINDS = {
    "rows": np.random.default_rng(0).normal(size=(120, 4)),
    "texts": [f"word{k} and word{k + 7} say something" for k in range(120)],
    "images": scenes(120).transpose(0, 2, 3, 1),
}


@pytest.mark.parametrize("kind", OF_KINDS)
def test_copies_with_other_labels_are_counted_named_and_said(kind, monkeypatch):
    x, y = twice(OF_KINDS[kind], np.random.default_rng(1).integers(2, size=120))
    loaded = load(x, y, options=ReadOptions(encoder="none" if kind == "images" else "auto"))
    text = "8 samples are exact copies of others with another label, such as '0' and '120': at least 4 of these labels"
    assert [item["text"][: len(text)] for item in checks.of_data(loaded) if item["check"] == "duplicates"] == [text]
    sure, texts = np.full(len(y), 0.9), loaded.texts
    table = label_table.build(range(len(y)), loaded.y, loaded.y, sure, loaded.classes, texts=texts)
    monkeypatch.setattr(checks, "MOST_SAMPLES", 100)  # they were compared already, which is not done again
    monkeypatch.setattr(duplicates, "_find", None)
    asked, differ = [], checks.duplicates._differ
    monkeypatch.setattr(checks.duplicates, "_differ", lambda of, rows: asked.append(rows) or differ(of, rows))
    judged = checks.judge(table, loaded.classes, loaded, None)
    assert len(asked) == len(set(asked)) == 5  # each set once
    found = judged.table["is_conflicting_duplicate"].to_numpy(dtype=bool)
    assert np.flatnonzero(found).tolist() == [0, 1, 4, 120, 121, 124, 125, 126]
    assert [item["check"] for item in judged.findings].count("duplicates") == 1
    assert judged.remarks == ["more than 100 samples: outliers were not looked for (columns are empty)"]


def test_rows_that_are_equal_by_chance_are_not_called_wrong():
    rng = np.random.default_rng(0)
    loaded = load(rng.integers(3, size=(300, 4)).astype(np.float32), rng.integers(2, size=300))
    assert any(group.exact for group in duplicates.find(loaded.x))
    assert "duplicates" not in [item["check"] for item in checks.of_data(loaded)]


def test_wide_and_sparse_tables_get_few_directions():
    x = sparse.random(60, 3000, density=0.05, random_state=0, dtype=np.float32, format="csr")
    assert neighbours.plain_points(SparseRows(x)) is None
    points = neighbours.normalised(SparseRows(x))
    assert points.shape == (60, 256) or points.shape[1] <= 60
    assert torch.isfinite(points).all()


def pixels(images):
    """An encoder that sees single pixels, so that an image saved anew is not near by its features."""
    return images.reshape(len(images), -1)[:, ::61].astype(np.float32)


def saved_anew(images, seed=1):
    noise = np.random.default_rng(seed).integers(-6, 7, images.shape)
    return (images.astype(np.int64) + noise).clip(0, 255).astype(np.uint8)


def test_images_that_look_alike_are_known_to_do_so_when_features_take_their_place():
    x = scenes(40)
    x = np.concatenate([x, saved_anew(x[:6]), x[6:8]]).transpose(0, 2, 3, 1)
    loaded = load(x, np.arange(48) % 2, options=ReadOptions(encoder=Own(pixels)))
    assert len(loaded.x.shape) == 1
    assert [group.rows for group in duplicates.find(loaded.x)] == [(6, 46), (7, 47)]  # features tell exact copies alone
    found = duplicates.find(loaded.x, None, loaded.alike)
    assert [(group.rows, group.exact) for group in found] == [((k, 40 + k), k > 5) for k in range(8)]
    copies = together(loaded).copies
    assert [np.flatnonzero(copies == copies[40 + k]).tolist() for k in range(8)] == [[k, 40 + k] for k in range(8)]
    part = subset(loaded, [45, 3, 5])
    assert part.alike[0] == part.alike[2] != part.alike[1]
    assert load(x[:40], np.arange(40) % 2, options=ReadOptions(encoder=Own(pixels))).alike is None
    judged = NoisyLabelClassifier(Features(heads="linear"), encoder=pixels).fit(x, np.arange(48) % 2).labels_
    assert np.flatnonzero(judged["is_near_duplicate_issue"]).tolist() == [*range(8), *range(40, 48)]
    assert np.flatnonzero(judged["is_exact_duplicate"]).tolist() == [6, 7, 46, 47]


def test_images_of_the_training_part_that_were_saved_anew_are_leaks():
    x = scenes(30)
    raw = load(x.transpose(0, 2, 3, 1), np.arange(30) % 2)
    anew = np.concatenate([saved_anew(x[4:7]), scenes(3, seed=9)]).transpose(0, 2, 3, 1)
    whole = replace(raw, test=load(anew, np.arange(6) % 2))
    loaded = encode.of_images(whole, ReadOptions(encoder=Own(pixels)))
    found = leaks(loaded, loaded.test)
    assert found.test.tolist() == [4, 5, 6, -1, -1, -1]
    assert np.flatnonzero(found.training >= 0).tolist() == [4, 5, 6]
