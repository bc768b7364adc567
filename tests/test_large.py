"""Many rows: heads learn from some and judge all, neighbours come from an index, arrays stay on the disk."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from codivide import NoisyLabelClassifier
from codivide.audit.checks import CHECKS
from codivide.audit.material import Material
from codivide.core import neighbours as neighbours_module
from codivide.core.files import let_go
from codivide.core.index import Index
from codivide.core.neighbours import least, nearest
from codivide.data import duplicates, large_tables, packed
from codivide.data import groups as groups_module
from codivide.data import rows as rows_module
from codivide.data.arrays import array_rows
from codivide.data.options import ReadOptions
from codivide.data.rows import MemmapRows, TensorRows
from codivide.data.sources import load
from codivide.methods.features import large, neighbours
from codivide.methods.features.learn import learn
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.runs import label_table

ROWS, CLASSES = 900, 3
LIGHT = Features(heads="linear", trees="none", folds=3)


@pytest.fixture(scope="module")
def blobs():
    """A table with 20 % wrong labels, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, ROWS)
    x = (rng.normal(size=(ROWS, 8)) + 2 * np.eye(CLASSES, 8)[truth]).astype(np.float32)
    given = np.where(rng.random(ROWS) < 0.2, (truth + rng.integers(1, CLASSES, ROWS)) % CLASSES, truth)
    return Table(x, torch.from_numpy(given), tuple(range(CLASSES))), truth


def rank(learned, table, truth):
    given = table.given.numpy()
    known = given >= 0
    return roc_auc_score((given == truth)[known], learned.clean_prob.numpy()[known])


@pytest.mark.parametrize("division", ["calibrated", "gmm", "class_wise"])
def test_heads_learn_from_a_part_and_judge_all(blobs, monkeypatch, division):
    table, truth = blobs
    options = replace(LIGHT, division=division)
    whole = learn(table, options, 0)
    monkeypatch.setattr(large, "MOST", 300)
    part = learn(table, options, 0)
    assert part.report["learned_from"] == 300
    assert "learned_from" not in whole.report
    assert rank(part, table, truth) > rank(whole, table, truth) - 0.02 > 0.9
    for values in (part.probs, part.given_probs, part.seen, part.clean_prob):
        assert torch.isfinite(values).all()
    assert float((1 - part.clean_prob).mean()) == pytest.approx(0.2, abs=0.06)
    assert torch.equal(part.clean_prob, learn(table, options, 0).clean_prob)


def test_rows_without_a_label_and_confirmed_ones_are_as_in_small_tables(blobs, monkeypatch):
    table, truth = blobs
    monkeypatch.setattr(large, "MOST", 300)
    given, confirmed = table.given.clone(), torch.zeros(ROWS, dtype=torch.bool)
    given[:50] = -1
    confirmed[60:90] = True
    found = learn(replace(table, given=given, confirmed=confirmed), LIGHT, 0)
    assert found.clean_prob[:50].isnan().all()
    assert (found.clean_prob[60:90] == 1).all()
    assert (found.probs.argmax(1).numpy() == truth)[:50].mean() > 0.75
    assert found.clean_prob[90:].isfinite().all()


@pytest.mark.parametrize("division", ["calibrated", "gmm", "bmm", "class_wise"])
def test_where_nothing_can_be_learned_no_label_is_suspected(monkeypatch, division):
    monkeypatch.setattr(large, "MOST", 200)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    found = learn(Table(x, torch.from_numpy(rng.integers(0, 2, 600)), (0, 1)), replace(LIGHT, division=division), 0)
    assert "independent" in found.remarks
    assert (found.clean_prob == 0.5).all()


def test_all_rows_of_annotators_are_learned_from(blobs, monkeypatch):
    table, _ = blobs
    monkeypatch.setattr(large, "MOST", 300)
    every = torch.arange(ROWS)
    assert len(large.drawn(table, every, 0)) == 300
    assert len(large.drawn(replace(table, answers=torch.ones(ROWS, CLASSES)), every, 0)) == ROWS
    monkeypatch.setattr(large, "OF_A_CLASS", 200)
    assert len(large.drawn(table, every, 0)) == 600


def test_groups_are_drawn_whole(blobs, monkeypatch):
    table, _ = blobs
    monkeypatch.setattr(large, "MOST", 300)
    given = table.given.clone()
    given[::7] = -1
    labelled, groups = (given >= 0).nonzero().flatten(), torch.arange(ROWS) % 190
    rows = large.drawn(replace(table, given=given, groups=groups), labelled, 0)
    rest = labelled[~torch.isin(labelled, rows)]
    assert 300 <= len(rows) < 305
    assert torch.equal(rows, rows.unique())
    assert not torch.isin(groups[rest], groups[rows]).any()


def test_the_rest_has_probabilities_of_the_given_labels_as_the_part_has(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4)).astype(np.float32)
    truth = (x[:, 0] * x[:, 1] > 0).astype(int)  # trees learn it, a line does not
    given = torch.from_numpy(np.where(rng.random(2000) < 0.3, 1 - truth, truth))
    table = Table(x, given, (0, 1))
    monkeypatch.setattr(large, "MOST", 1000)
    found = learn(table, Features(heads="linear", folds=3), 0)
    part = large.drawn(table, torch.arange(2000), 0)
    rest = torch.ones(2000, dtype=torch.bool).index_fill_(0, part, value=False)
    losses = [-float(found.seen[rows].log().mean()) for rows in (part, rest)]
    assert losses[1] < losses[0] + 0.02
    assert float(found.given_probs[rest].amax(1).mean()) < float(found.given_probs[part].amax(1).mean()) + 0.08


def test_an_index_finds_nearly_all_neighbours_and_none_of_the_same_group():
    points = torch.nn.functional.normalize(torch.randn(4000, 6))
    rows, groups = np.arange(0, 4000, 40), torch.arange(4000) // 2
    exact, _ = nearest(points, rows, np.arange(4000), 10, groups=groups)
    found = Index(points).nearest(rows, 10, groups)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(exact, found, strict=True)]) > 9
    assert not (groups.numpy()[found] == groups.numpy()[rows][:, None]).any()
    assert np.array_equal(found, Index(points).nearest(rows, 10, groups))


def test_shares_of_an_index_are_nearly_those_of_an_exact_search(blobs, monkeypatch):
    table, _ = blobs
    asked = torch.from_numpy(table.x), table.given, CLASSES
    exact = neighbours.shares(*asked, torch.Generator())
    monkeypatch.setattr(neighbours, "FROM", 100)
    monkeypatch.setattr(neighbours, "_AT_ONCE", 128)
    assert (neighbours.shares(*asked, torch.Generator()) - exact).abs().mean() < 0.02


def test_rows_of_large_groups_have_neighbours_of_other_groups(monkeypatch):
    """Of an index all that are asked for are of the group, which is no neighbour."""
    groups = torch.arange(2000) // 100
    points = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))[groups]
    points = points + 0.01 * torch.randn(2000, 6, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(neighbours, "FROM", 100)
    near = neighbours.found(points, torch.Generator(), groups, most=10).long()
    assert (near >= 0).all()
    assert not (groups[near] == groups[:, None]).any()


def test_large_arrays_of_a_file_stay_on_the_disk(tmp_path, monkeypatch):
    x, y = np.arange(60, dtype=np.float32).reshape(12, 5), np.arange(12) % 2
    np.savez(tmp_path / "plain.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "packed.npz", x=x, y=y)
    small = load(tmp_path / "plain.npz", options=ReadOptions())
    monkeypatch.setattr(packed, "_LARGE", 100)
    mapped = load(tmp_path / "plain.npz", options=ReadOptions())
    assert isinstance(packed.read_npz(tmp_path / "plain.npz")["x"], np.memmap)
    assert not isinstance(packed.read_npz(tmp_path / "packed.npz")["x"], np.memmap)
    rows = MemmapRows(packed.read_npz(tmp_path / "plain.npz")["x"])
    assert np.shares_memory(raw(rows), rows.data)  # no copy of all
    ids = torch.tensor([3, 0, 11])
    assert torch.equal(mapped.x[ids], small.x[ids])
    assert np.array_equal(mapped.y, small.y)
    whole = NoisyLabelClassifier(LIGHT).fit(
        x,
        y,
    )
    assert np.array_equal(whole.clean_proba_, NoisyLabelClassifier(LIGHT).fit(tmp_path / "plain.npz").clean_proba_)


def test_a_cut_off_array_is_refused(tmp_path, monkeypatch):
    from codivide import InputError

    monkeypatch.setattr(packed, "_LARGE", 100)
    path = tmp_path / "cut.npz"
    np.savez(path, x=np.zeros((100, 5), dtype=np.float32), y=np.arange(100) % 2)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"cut\.npz cannot be read"):
        load(path, options=ReadOptions())


def test_of_a_long_table_only_equal_rows_are_copies(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 9)).astype(np.float32)
    x[1], x[2] = x[0], x[0] + 1e-4
    assert duplicates.find(TensorRows(torch.from_numpy(x)))[0].rows == (0, 1, 2)
    monkeypatch.setattr(duplicates, "MOST_NEAR", 30)
    assert duplicates.find(TensorRows(torch.from_numpy(x)))[0].rows == (0, 1)


def resident(path):
    """Bytes of a mapped file that this process holds."""
    if sys.platform != "linux":
        pytest.skip("only Linux says what a process holds")
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        1024 * int(next(line for line in lines if line.startswith("Rss:")).split()[1])
        for head in lines
        if head.endswith(str(path))
    )


def test_few_pages_of_a_mapped_file_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_HELD", 2**20)
    values = np.random.default_rng(0).random((8192, 256), dtype=np.float32)  # 8 MB
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = array_rows(mapped)
    assert isinstance(rows, MemmapRows)
    for ids in torch.split(torch.arange(8192), 512):
        assert np.array_equal(rows[ids].numpy(), values[ids.numpy()])
        assert resident(tmp_path / "x.npy") < 5 * 2**20
    assert float(mapped.sum()) > 0
    assert resident(tmp_path / "x.npy") > 7 * 2**20
    let_go(np.asarray(mapped)[100:])  # a view of a view
    assert resident(tmp_path / "x.npy") < 3 * 2**20
    let_go(values)  # of what is no mapped file nothing happens


def test_rows_here_and_there_leave_few_pages_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_HELD", 2**24)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 20_000)
    values = rng.normal(size=(20_000, 512)).astype(np.float32)  # 40 MB, of which a page holds two rows
    values[:, 0] = truth
    np.save(tmp_path / "x.npy", values)
    path, rows = tmp_path / "x.npy", array_rows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    some = torch.from_numpy(np.sort(rng.permutation(20_000)[:1500]))

    def spread():
        for ids in torch.split(some, 500):
            assert np.array_equal(rows[ids].numpy(), values[ids.numpy()])

    def whole():
        assert np.array_equal(raw(rows, some), values[some.numpy()])

    def given_away():
        table = label_table.build(range(20_000), truth, truth, np.full(20_000, 0.9), ("0", "1"))
        (check,) = (one for one in CHECKS if one.name == "gives_away")
        (said,) = check.find(Material("data", "features", table, ("0", "1"), rows=rows)).said
        assert "give the label away: '0'" in said

    for read in (spread, whole, given_away):
        let_go(rows.data)
        read()
        assert resident(path) < 12 * 2**20, read.__name__


def test_written_pages_of_a_scratch_file_are_kept_when_they_are_let_go(tmp_path):
    shared = np.memmap(tmp_path / "s", np.float32, "w+", shape=(300, 40))
    own = np.memmap(tmp_path / "s", np.float32, "c", shape=(300, 40))
    shared[:] = 1
    own[:] = 2
    let_go(shared)
    let_go(own)
    assert (shared == 1).all()
    assert (own == 2).all()


def test_columns_of_a_table_are_read_some_at_a_time():
    rows = TensorRows(torch.arange(40 * 35, dtype=torch.float32).reshape(40, 35))
    assert np.array_equal(np.stack(list(groups_module._columns(rows))), rows.data.numpy().T)


@pytest.mark.parametrize("candidates", [np.arange(90), np.arange(0, 90, 2)])
def test_the_nearest_are_the_same_with_few_distances_at_once(monkeypatch, candidates):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32))
    whole = nearest(points, np.arange(90), candidates, 4)
    monkeypatch.setattr(neighbours_module, "_MOST", 200)
    for one, other in zip(whole, nearest(points, np.arange(90), candidates, 4), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """A table in Parquet with a test part, and columns about its rows."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(80, 9)), columns=[f"x{k}" for k in range(9)])
    table["Label"] = np.where(table["x0"] > 0, "yes", "no")
    table["split"] = ["test" if k % 4 == 0 else "train" for k in range(80)]
    table["patient"] = [f"p{k // 2}" for k in range(80)]
    table["ID"] = [f"s{k}" for k in range(80)]
    path = tmp_path_factory.mktemp("parquet") / "t.parquet"
    table.to_parquet(path, index=False, row_group_size=30)
    return path


@pytest.mark.parametrize("words", [{}, {"columns": ("x1", "x3")}, {"drop": ("x4",)}])
def test_a_large_parquet_file_is_mapped_and_reads_as_a_small_one(parquet, monkeypatch, tmp_path, words):
    options = ReadOptions(group="patient", cache_dir=tmp_path, **words)
    small = load(parquet, options=options)
    monkeypatch.setattr(large_tables, "LARGE", 100)
    monkeypatch.setattr(large_tables, "_AT_ONCE", 7)
    mapped = load(parquet, options=options)
    assert isinstance(small.x, TensorRows)
    assert isinstance(mapped.x.rows, MemmapRows)
    assert isinstance(mapped.x.rows.data, np.memmap)
    for one, other in ((small, mapped), (small.test, mapped.test)):
        every = torch.arange(len(one.y))
        assert torch.equal(one.x[every], other.x[every])
        assert one.y.tolist() == other.y.tolist()
        assert (list(one.ids), one.columns, one.classes) == (list(other.ids), other.columns, other.classes)
    assert small.contents.tolist() == mapped.contents.tolist()
    assert small.groups.tolist() == mapped.groups.tolist()
    assert not list(tmp_path.iterdir())


def test_a_column_of_a_large_file_that_holds_the_labels_is_named(parquet, monkeypatch, tmp_path):
    table = pd.read_parquet(parquet)
    table["x9"] = (table["Label"] == "yes") * 1.5
    table.to_parquet(tmp_path / "t.parquet", index=False)
    monkeypatch.setattr(large_tables, "LARGE", 100)
    mapped = load(tmp_path / "t.parquet", options=ReadOptions(group="patient", cache_dir=tmp_path))
    assert isinstance(mapped.x.rows, MemmapRows)
    assert mapped.labels_read.columns == ("x9",)


@pytest.mark.parametrize("columns", [(), ("x0", "x1", "confidence")])
def test_what_codivide_wrote_about_labels_is_no_feature_of_a_large_file_either(parquet, monkeypatch, tmp_path, columns):
    table = pd.read_parquet(parquet)
    table.insert(table.columns.get_loc("Label") + 1, "confidence", np.linspace(0, 1, 80).round(4))
    table["probability"] = np.linspace(0, 1, 80)  # of the user's own
    table.to_parquet(tmp_path / "t.parquet", index=False)
    options = ReadOptions(group="patient", cache_dir=tmp_path / "cache", columns=columns)
    small = load(tmp_path / "t.parquet", options=options)
    monkeypatch.setattr(large_tables, "LARGE", 100)
    mapped = load(tmp_path / "t.parquet", options=options)
    assert isinstance(mapped.x.rows, MemmapRows)
    assert (mapped.columns, mapped.said) == (small.columns, small.said)
    assert ("confidence" in mapped.columns, "probability" in mapped.columns) == (bool(columns), not columns)


@pytest.mark.parametrize("change", ["gap", "text", "no labels", "numbers"])
def test_other_tables_are_read_into_memory(parquet, monkeypatch, tmp_path, change):
    table = pd.read_parquet(parquet)
    if change == "gap":
        table.loc[3, "x2"] = np.nan
    elif change == "text":
        table["x2"] = "word"
    elif change == "no labels":
        table = table.drop(columns="Label")
    else:
        table["x2"] = np.arange(80) % 7
    table.to_parquet(tmp_path / "t.parquet", index=False)
    monkeypatch.setattr(large_tables, "LARGE", 100)
    assert large_tables.apart(tmp_path / "t.parquet", ReadOptions(cache_dir=tmp_path)) is None
    assert large_tables.apart(tmp_path / "no.parquet", ReadOptions()) is None
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert large_tables.apart(tmp_path / "bad.parquet", ReadOptions()) is None


@pytest.mark.parametrize("width", [64, 160, 161, 1600])
def test_the_smallest_values_are_those_of_topk(width):
    values = torch.rand(7, width, generator=torch.Generator().manual_seed(0))
    values[2] = torch.inf if width < 1600 else values[2].round(decimals=2)  # as near as others, all or some
    values[3, 10:] = torch.inf
    found, columns = least(values.clone(), 5)
    assert torch.equal(found, values.topk(5, dim=1, largest=False)[0])
    assert torch.equal(values.gather(1, columns), found)
    assert all(len(set(row)) == 5 for row in columns.tolist())
