"""Results: a JSON file each, gathered into one Parquet file with nothing lost."""

import json
from dataclasses import replace

import pytest
from test_bench import QUICK, bench

from codivide.bench import runner, store
from codivide.core.errors import InputError

FOUND = {"seed": 3, "commit": "0123abcd", "versions": {"codivide": "0.1.0"}, "naïve": [0.1, None, 1e-300]}


def put(folder, name, record, indent=1):
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def test_what_is_gathered_is_read_as_it_was(tmp_path):
    names = ["first/a_s0", "first/a_s10", "first/b.lr=0.1_s0", "tune/first/a_s0", "alone"]
    texts = {name: put(tmp_path, name, FOUND | {"name": name}, i).read_bytes() for i, name in enumerate(names)}
    before = [store.read(tmp_path, pattern) for pattern in ("*", "first/*", "first/a_s*", "tune/first/*")]
    assert [len(found) for found in before] == [1, 3, 2, 1]
    assert store.gather(tmp_path) == (5, 5)
    assert [path.name for path in tmp_path.iterdir()] == [store.GATHERED]  # neither files nor empty folders are left
    assert [store.read(tmp_path, pattern) for pattern in ("*", "first/*", "first/a_s*", "tune/first/*")] == before
    assert {name: text.encode() for name, text in store._gathered(tmp_path).items()} == texts
    assert store.holds(tmp_path, "first/a_s0")
    assert not store.holds(tmp_path, "first/a_s1")
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / store.GATHERED).to_pylist()
    assert {(row["seed"], row["commit"], row["version"]) for row in rows} == {(3, "0123abcd", "0.1.0")}


def test_a_file_counts_instead_of_what_was_gathered_under_its_name(tmp_path):
    put(tmp_path, "a", {"seed": 0})
    put(tmp_path, "b", {"seed": 0})
    store.gather(tmp_path)
    put(tmp_path, "b", {"seed": 1})
    assert store.read(tmp_path) == {"a": {"seed": 0}, "b": {"seed": 1}}
    assert store.gather(tmp_path) == (1, 2)
    assert store.read(tmp_path) == {"a": {"seed": 0}, "b": {"seed": 1}}


def test_nothing_is_removed_where_something_cannot_be_gathered(tmp_path):
    with pytest.raises(InputError, match="no JSON files to gather"):
        store.gather(tmp_path)
    good = put(tmp_path, "good", {"seed": 0})
    wrong = put(tmp_path, "wrong", [1])
    with pytest.raises(InputError, match=r"wrong\.json cannot be read: it holds no JSON object"):
        store.gather(tmp_path)
    assert good.exists()
    wrong.unlink()
    (tmp_path / store.GATHERED).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"gathered\.parquet cannot be read"):
        store.gather(tmp_path)
    assert good.exists()


def test_a_bench_goes_on_from_what_was_gathered_and_its_table_stays(tmp_path, monkeypatch, capsys):
    one = replace(QUICK, published={})
    other = replace(one, name="quick/other")
    row = {"recipe": {"method": "auto"}, "training_seconds": 60}
    for recipe, seed in ((one, 0), (one, 1), (other, 0)):
        put(
            tmp_path,
            f"{recipe.name}_s{seed}",
            {"seed": seed, "test_accuracy": {"last": 0.5, "best": 0.6 + seed / 10}, **row},
        )
    monkeypatch.setattr(runner, "changed", lambda recipe, row: [])
    before = runner.table([one, other], tmp_path)
    assert "65.0 ± 7.1" in before
    assert bench(monkeypatch, "gather", "--results", str(tmp_path)) == 0
    assert f"3 results gathered; {tmp_path / store.GATHERED} holds 3" in capsys.readouterr().out.replace("\n", "")
    assert runner.table([one, other], tmp_path) == before
    monkeypatch.setattr(runner, "run", None)  # what is there is not computed again
    assert runner.work([one, other], [0], tmp_path, tmp_path / "runs") == []
