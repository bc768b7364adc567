"""A table that was sorted or changed after a run saw it is noticed by whoever reads it again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from codivide import InputError, NoisyLabelClassifier
from codivide.cli import app
from codivide.data.sources import load
from codivide.runs.folder import CONTENTS, SavedRun

QUICK = ["--heads", "linear", "--trees", "none", "--folds", "2", "--no-correct", "--no-vote"]
WORDS = {"cat": ["purr", "whiskers", "mouse"], "dog": ["bark", "bone", "walk"]}


def frame(kind: str, ids: bool = False) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    label = np.repeat(["cat", "dog"], 20)
    if kind == "text":
        texts = [" ".join(generator.choice(WORDS[name], 6)) + f" {k}" for k, name in enumerate(label)]
        table = pd.DataFrame({"text": texts, "label": label})
    else:
        x = generator.normal(size=(40, 3)) + (label == "dog")[:, None] * 3
        table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(label=label)
    return table.assign(id=[f"s{k}" for k in range(40)]) if ids else table


def main(words: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["codivide", *words])
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, x=table[["a", "b", "c"]].to_numpy(np.float32), y=table["label"].to_numpy(str))
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
    return path


def fit(path: Path) -> Path:
    assert main(["fit", str(path), "--method", "features", *QUICK, "--out", str(path.parent / "run")]) == 0
    return path.parent / "run"


def commands(run: Path) -> list[list[str]]:
    return [["clean", str(run), "--out", str(run.parent / "cleaned")], ["audit", str(run)]]


SORTED = "its rows are in another order (what was row 0 is row 39 now)"


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npz", "text.csv"])
def test_a_sorted_table_is_noticed(name, tmp_path, capsys):
    table = frame("text" if name == "text.csv" else "row")
    path = write(table, tmp_path / name)
    run = fit(path)
    for command in commands(run):
        assert main(command) == 0
    write(table.iloc[::-1], path)
    (tmp_path / "cleaned" / "CHANGES.csv").rename(tmp_path / "before.csv")
    capsys.readouterr()
    for command in [[*commands(run)[0][:-1], str(tmp_path / "other")], commands(run)[1]]:
        assert main(command) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{path} is no longer what the run {run} saw: {SORTED}; bring back the file" in said
    assert not (tmp_path / "other").exists()
    assert main(["noise", str(run)]) == 0
    assert SORTED in " ".join(capsys.readouterr().err.split())


def changed(table: pd.DataFrame, how: str) -> pd.DataFrame:
    table = table.copy()
    if how == "put in":
        return pd.concat([table.iloc[:1].assign(a=9.0), table], ignore_index=True)
    if how == "taken out":
        return table.drop(index=3)
    if how == "cut":
        return table.iloc[:35]
    if how == "value":
        table.loc[4, "a"] += 1
    if how == "values":
        table.loc[4:6, "a"] += 1
    if how == "label":
        table.loc[[7, 9], "label"] = "dog"
    return table


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("put in", "rows were put in, taken out or moved (what was row 0 is row 1 now)"),
        ("taken out", "rows were put in, taken out or moved (what was row 4 is row 3 now)"),
        ("cut", "row 35 and 4 more are not there any more"),
        ("value", "row 4 is of other values"),
        ("values", "row 4 and 2 more are of other values"),
        ("label", "row 7 and 1 more are of another label (of the first: 'cat' then, 'dog' now)"),
    ],
)
def test_the_error_says_what_has_changed(how, said, tmp_path, capsys):
    path = write(frame("row"), tmp_path / "t.csv")
    run = fit(path)
    write(changed(frame("row"), how), path)
    for command in commands(run):
        capsys.readouterr()
        assert main(command) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_ids_may_stand_in_any_order(tmp_path, capsys):
    table = frame("row", ids=True)
    path = write(table, tmp_path / "t.csv")
    run = fit(path)
    write(table.iloc[::-1], path)
    assert all(main(command) == 0 for command in commands(run))
    cleaned = pd.read_csv(tmp_path / "cleaned" / "labels_clean.csv").set_index("id")
    np.testing.assert_allclose(cleaned[["a", "b", "c"]], table.set_index("id").loc[cleaned.index, ["a", "b", "c"]])
    table.loc[0, "a"] += 1
    write(table, path)
    assert main([*commands(run)[0][:-1], str(tmp_path / "other")]) == 2
    assert "row s0 is of other values" in " ".join(capsys.readouterr().err.split())


def test_ids_that_come_again_name_no_rows(tmp_path, capsys):
    table = frame("row").assign(id=[k // 2 for k in range(40)])  # such as of a patient
    run = fit(write(table, tmp_path / "t.csv"))
    said = "20 ids come again or are missing (the first in row 1), so rows are named by their numbers;"
    assert said in " ".join(capsys.readouterr().err.split())
    assert SavedRun(run).labels["id"].tolist() == list(range(40))
    assert all(main(command) == 0 for command in commands(run))
    cleaned = pd.read_csv(tmp_path / "cleaned" / "labels_clean.csv").set_index("id")
    np.testing.assert_allclose(cleaned["a"], table.loc[cleaned.index, "a"])


def test_a_longer_table_is_remarked_and_another_place_is_read(tmp_path, capsys):
    table = frame("row")
    path = write(table, tmp_path / "t.csv")
    run = fit(path)
    copy = write(table, tmp_path / "copy.csv")
    write(pd.concat([table, changed(table, "value").iloc[4:5]]), path)
    command = commands(run)[0]
    assert main(command) == 0
    assert "has 1 row more than the run saw; it is left out" in " ".join(capsys.readouterr().err.split())
    write(table.iloc[::-1], path)
    assert main([*command[:-1], str(tmp_path / "other"), "--source", str(copy)]) == 0
    first, second = ((tmp_path / name / "labels_clean.csv").read_bytes() for name in ("cleaned", "other"))
    assert first == second


def test_what_an_experiment_did_to_the_labels_is_no_change(tmp_path):
    path = write(frame("row"), tmp_path / "t.csv")
    spoiled = ["--noise", "symmetric:0.3", "--limit", "30"]
    assert main(["fit", str(path), "--out", str(tmp_path / "run"), *spoiled]) in (0, 3)
    assert all(main(command) == 0 for command in commands(tmp_path / "run"))


def test_decisions_on_other_rows_are_refused(tmp_path, capsys):
    table = frame("row")
    path = write(table, tmp_path / "t.csv")
    run = fit(path)
    decided = run / "corrections.csv"
    decided.write_text("id,given,decision,label\n3,cat,junk,\n")
    again = ["fit", str(path), "--corrections", str(decided), "--out"]
    assert main([*again, str(tmp_path / "run2")]) == 0
    order = np.r_[np.arange(20)[::-1], np.arange(20, 40)]  # row 3 is another sample of the same label
    write(table.iloc[order], path)
    assert main([*again, str(tmp_path / "run3")]) == 2
    assert "its rows are in another order (what was row 0 is row 19 now)" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run3").exists()
    with pytest.raises(InputError, match="another order"):
        NoisyLabelClassifier().fit(path, corrections=decided)


def test_decisions_of_a_run_that_read_the_table_otherwise_say_so(tmp_path, capsys):
    table = frame("id")
    table["label"] = np.where(np.arange(len(table)) == 1, table["label"].str.upper(), table["label"])
    path = write(table.assign(more=np.arange(len(table)) % 7), tmp_path / "t.csv")
    run = tmp_path / "run"
    assert main(["fit", str(path), "--merge-labels", "--out", str(run)]) == 0
    name, label = pd.read_csv(run / "labels.csv", dtype=str).loc[3, ["id", "given"]]
    decided = run / "corrections.csv"
    decided.write_text(f"id,given,decision,label\n{name},{label},junk,\n")
    capsys.readouterr()
    again = ["fit", str(path), "--corrections", str(decided)]
    assert main([*again, "--merge-labels", "--out", str(tmp_path / "same")]) == 0
    assert "read the data with" not in capsys.readouterr().err
    assert main([*again, "--drop", "more", "--out", str(tmp_path / "other")]) == 0  # other columns are no other rows
    said = " ".join(capsys.readouterr().err.split())
    assert f"the run {run}, of which these decisions are, read the data with no --drop, --merge-labels" in said


def test_the_hash_is_of_what_a_row_holds(tmp_path):
    table = frame("row")
    loaded = load(write(table, tmp_path / "t.csv"))
    assert loaded.contents.dtype == np.uint64
    assert len(set(loaded.contents.tolist())) == 40
    again = load(write(table.assign(label=table["label"].to_numpy()[::-1]), tmp_path / "u.parquet"))
    np.testing.assert_array_equal(loaded.contents, again.contents)  # labels and the kind of file do not count
    run = fit(tmp_path / "t.csv")
    np.testing.assert_array_equal(np.load(run / CONTENTS), loaded.contents)
    assert json.loads((run / "config.json").read_text())["samples"] == len(SavedRun(run).contents)


def test_a_table_with_columns_of_any_kind_that_has_changed(tmp_path):
    """Its cells are compared, and not what an encoder makes of them, which all rows change."""
    table = frame("numbers").assign(job=np.where(np.arange(40) % 3 == 0, "smith", "baker"))
    table.loc[3, "a"] = np.nan
    path = write(table, tmp_path / "t.csv")
    run = fit(path)
    more = pd.concat([table, table.assign(a=np.nan, job="cook").head(2)], ignore_index=True)
    write(more, path)
    assert main(["clean", str(run), "--out", str(tmp_path / "more")]) == 0
    assert len(pd.read_csv(tmp_path / "more" / "labels_clean.csv")) == 40
    for changed in (table.iloc[::-1], table.assign(job=table["job"].where(table.index != 5, "cook")), table.iloc[1:]):
        write(changed, path)
        assert main(["clean", str(run), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
