"""Probabilities in files on the command line: which row and column belongs to which label, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from codivide import InputError, noise_report
from codivide.audit import from_probs
from codivide.audit.probs_files import bring
from codivide.cli.app import main
from codivide.data.options import DEFAULT

NAMES = ["cat", "dog", "eel"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """120 labels, 12 of them wrong, with the probabilities of a good classifier in files of many forms."""
    monkeypatch.chdir(tmp_path)
    truth = np.arange(120) % 3
    y = np.where(np.arange(120) % 10 == 0, (truth + 1) % 3, truth)
    probs = np.random.default_rng(0).uniform(0.02, 0.1, (120, 3))
    probs[np.arange(120), truth] = 0
    probs[np.arange(120), truth] = 1 - probs.sum(1)
    ids = [f"s{k}" for k in range(120)]
    labels = np.array(NAMES)[y]
    pd.DataFrame({"id": ids, "label": labels}).to_csv("labels.csv", index=False)
    pd.DataFrame({"kind": labels, "story": [f"a text {k}" for k in range(120)]}).to_csv("stories.csv", index=False)
    pd.DataFrame({"label": y}).to_csv("numbers.csv", index=False)
    np.save("probs.npy", probs)
    np.savez("probs.npz", ids=np.arange(120), pred_probs=probs)
    table = pd.DataFrame(probs, columns=NAMES).assign(id=ids, label="of no use")
    table[["eel", "id", "label", "cat", "dog"]].sample(frac=1, random_state=0).to_csv("probs.csv", index=False)
    pd.DataFrame(probs, columns=["0", "1", "2"]).to_parquet("numbers.parquet")
    return labels, probs


def codivide(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


@pytest.mark.parametrize("file", ["probs.npy", "probs.npz", "probs.csv"])
def test_every_form_says_what_python_says(made, monkeypatch, capsys, file):
    labels, probs = made
    assert codivide(monkeypatch, "noise", "labels.csv", "--probs", file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    held = pd.DataFrame(probs, columns=NAMES)[["eel", "cat", "dog"] if file == "probs.csv" else NAMES]
    assert told == noise_report(None, labels, pred_probs=held).to_dict()


def test_an_audit_is_cleaned_and_asked_for_its_noise(made, monkeypatch, capsys):
    labels, probs = made
    assert codivide(monkeypatch, "audit", "labels.csv", "--probs", "probs.csv", "--out", "audited") == 0
    said = capsys.readouterr().out
    assert "12 of 120 labels look wrong" in said
    found = from_probs(labels, probs, ids=[f"s{k}" for k in range(120)])
    table = pd.read_csv("audited/labels.csv")
    compared = ["id", "given", "suggested"]
    assert table[compared].to_numpy().tolist() == found.labels[compared].to_numpy().tolist()
    assert (pd.Series(["audited/report.html", "audited/labels.csv"]).map(lambda name: name in said)).all()
    held = pd.DataFrame(probs, columns=NAMES)[["eel", "cat", "dog"]]
    assert noise_report("audited") == noise_report(None, labels, pred_probs=held)
    assert codivide(monkeypatch, "noise", "audited", "--json") == 0
    assert json.loads(capsys.readouterr().out) == noise_report("audited").to_dict()
    assert codivide(monkeypatch, "clean", "audited", "--out", "cleaned") == 0
    cleaned = pd.read_csv("cleaned/labels_clean.csv")
    changed = np.flatnonzero(cleaned["label"] != labels)
    assert len(changed) > 6
    assert (changed % 10 == 0).all()  # those that are wrong
    assert cleaned["id"].tolist() == [f"s{k}" for k in range(120)]
    with pytest.raises(InputError, match="give nothing else"):
        noise_report("audited", labels)


def test_of_several_models_the_mean_counts_whatever_the_order_of_their_columns(made):
    labels, probs = made
    other = np.roll(probs, 1, axis=0)[:, [2, 0, 1]]  # of the row before, whose class is the one before
    pd.DataFrame(other, columns=NAMES).to_csv("other.csv", index=False)
    brought = bring("labels.csv", ["probs.csv", "probs.npy", "other.csv"], DEFAULT)
    assert brought.reading.classes == ("eel", "cat", "dog")
    expected = ((2 * probs + other) / 3)[:, [2, 0, 1]]
    assert np.allclose(brought.reading.probs, expected, atol=1e-12)
    assert [brought.reading.classes[k] for k in brought.reading.given] == labels.tolist()
    assert bring("numbers.csv", ["numbers.parquet", "probs.npy"], DEFAULT).reading.probs == pytest.approx(probs)


def test_rows_of_other_samples_are_left_out_and_counted(made, monkeypatch, capsys):
    pd.read_csv("labels.csv").head(90).to_csv("few.csv", index=False)
    assert codivide(monkeypatch, "noise", "few.csv", "--probs", "probs.csv", "--json") == 0
    said = capsys.readouterr()
    assert "30 rows of probs.csv are of no sample in few.csv and are left out" in said.err
    assert json.loads(said.out)["samples"] == 90


def test_texts_are_shown_and_groups_count_once(made, monkeypatch):
    table = pd.read_csv("stories.csv").assign(patient=np.arange(120) // 2)
    table.to_csv("stories.csv", index=False)
    words = ["--label", "kind", "--text", "story", "--group", "patient", "--probs", "probs.npy", "--out", "audited"]
    assert codivide(monkeypatch, "audit", "stories.csv", *words) == 0
    facts = json.loads(Path("audited/facts.json").read_text())
    assert facts["issues"][0]["text"].startswith("a text ")
    assert any("120 labels in 60 groups" in reason for reason in facts["noise"]["trust"]["reasons"])


def write_photos(folder, names):
    """A photo of its own for each name."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (4 * k, 20, 30)).save(folder / name)


def test_photos_in_folders_go_by_their_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names = [f"{name}/{k}.png" for name in ("cat", "dog") for k in range(12)]
    write_photos(tmp_path / "photos", names)
    cat = np.where(np.arange(24) < 12, 0.9, 0.1)
    cat[0] = 0.1
    table = pd.DataFrame({"dog": 1 - cat, "cat": cat, "path": names})[::-1]
    table.to_csv("probs.csv", index=False)
    assert codivide(monkeypatch, "audit", "photos", "--probs", "probs.csv", "--out", "audited") == 0
    issue = json.loads((tmp_path / "audited/facts.json").read_text())["issues"][0]
    assert issue["id"] == "cat/0.png"
    assert issue["thumbnail"].startswith("data:image")


def test_an_audit_knows_where_its_photos_lie(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names = [f"{kind}/{k}.png" for kind in ("cat", "dog") for k in range(30)]
    write_photos(tmp_path / "photos", names)
    right = np.arange(60) // 30
    right[[3, 40]] = 1 - right[[3, 40]]
    probs = np.where(np.arange(2) == right[:, None], 0.97, 0.03)
    pd.DataFrame(probs, columns=["cat", "dog"]).assign(path=names).to_csv("probs.csv", index=False)
    table = pd.DataFrame({"path": [f"photos/{name}" for name in names], "animal": [name[:3] for name in names]})
    table.to_csv("list.csv", index=False)
    pd.DataFrame(probs, columns=["cat", "dog"]).assign(path=table["path"]).to_csv("listed.csv", index=False)
    for source, file, flags in (("photos", "probs.csv", []), ("list.csv", "listed.csv", ["--label", "animal"])):
        out, place = f"of_{file}", tmp_path / source
        assert codivide(monkeypatch, "audit", source, "--probs", file, "--out", out, *flags) == 0
        monkeypatch.chdir(tmp_path.parent)
        command = ["clean", tmp_path / out, "--relabel-above", 0.5, "--copy", "--out"]
        assert codivide(monkeypatch, *command, tmp_path / f"{out}_clean") == 0
        monkeypatch.chdir(tmp_path)
        told = capsys.readouterr().err
        assert f"images are those in {place}" in told
        assert "other contents" not in told
        changes = pd.read_csv(f"{out}_clean/CHANGES.csv")
        assert changes["label"].tolist() == ["dog", "cat"]
        copied = pd.read_csv(f"{out}_clean/labels_clean.csv").set_index("id")["path"]
        moved = tmp_path / f"{out}_clean" / copied[changes["path"][0]]
        assert moved.parent.name == "dog"
        assert moved.read_bytes() == (tmp_path / "photos/cat/3.png").read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/cat/5.png")
    assert codivide(monkeypatch, "clean", "of_probs.csv", "--relabel-above", 0.5, "--out", "again") == 0
    assert "1 of 60 images has other contents than the audit saw, the first: cat/5.png" in capsys.readouterr().err
    (tmp_path / "photos").rename(tmp_path / "pictures")
    assert codivide(monkeypatch, "clean", "of_probs.csv", "--relabel-above", 0.5, "--out", "gone") == 2
    assert "photos, is not there; give --source" in capsys.readouterr().err
    assert codivide(monkeypatch, "clean", "of_probs.csv", "--source", "pictures", "--out", "moved") == 0
    assert "images are those" not in capsys.readouterr().err


def wrong(change):
    probs = np.load("probs.npy")
    change(probs)
    np.save("wrong.npy", probs)
    return ["--probs", "wrong.npy"]


def tabled(name, change):
    change(pd.read_csv("probs.csv")).to_csv(name, index=False)
    return ["--probs", name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda: ["--probs", "no.npy"], "--probs no.npy: there is no such file"),
        (lambda: ["--probs", "labels.csv"], "labels.csv has no column of a class (columns: label, id)"),
        (lambda: wrong(lambda p: p.__setitem__((7, 1), np.nan)), "wrong.npy: row 7 is"),
        (lambda: wrong(lambda p: p.__imul__(100)), "these are percentages: divide by 100"),
        (lambda: wrong(lambda p: p.__setitem__(5, [3.0, -1.0, 2.0])), "wrong.npy: row 5 is [ 3. -1.  2.]"),
        (lambda: tabled("few.csv", lambda t: t[t["id"] != "s9"]), "few.csv has no row of id 's9', which labels.csv"),
        (lambda: tabled("two.csv", lambda t: pd.concat([t, t[:1]])), "two.csv: id"),
        (lambda: tabled("odd.csv", lambda t: t.rename(columns={"cat": "ant"})), "'cat'"),
        (lambda: tabled("nan.csv", lambda t: t.assign(cat=np.nan)), "nan.csv: row 0 is"),
        (
            lambda: tabled("blank.csv", lambda t: t.assign(cat=t["cat"].where(t.index != 4))),
            "'cat' of row 4 holds",
        ),
        (lambda: tabled("two.csv", lambda t: t.drop(columns="cat")), "add the column of the class that is missing"),
        (lambda: tabled("place.csv", lambda t: t.assign(place=t.index)), "column 'place' holds other numbers"),
        (lambda: wrong(lambda p: p.__imul__(1000).round(out=p)), "divide counts"),
        (
            lambda: tabled("word.csv", lambda t: t.assign(cat="high")),
            "where it names the rows, call it id",
        ),
        (lambda: ["--probs", "probs.npy", "--classes", "cat,dog"], "'eel' in row 2 is not one of the 2 classes"),
        (lambda: ["--probs", "probs.npy", "--classes", "cat,dog,eel,ant"], "3 columns, but there are 4 classes"),
        (lambda: ["--probs", "probs.npy", "--classes", "cat,dog,cat"], "error: --classes holds a name twice"),
        (lambda: ["--probs", "probs.npy", "--label", "kind"], "labels.csv has no column 'kind'"),
        (lambda: ["--probs", "numbers.csv"], "numbers.csv"),
        (lambda: ["--classes", "cat,dog,eel"], "--classes goes with --probs"),
        (lambda: ["--probs", "probs.npy", "--drop", "id"], "--drop does not go with --probs"),
        (lambda: ["--probs", "raw.csv"], "the first line of raw.csv holds probabilities, not names"),
        (lambda: ["--probs", "short.npy"], "short.npy has 100 rows, but labels.csv has 120"),
        (lambda: ["--probs", "turned.npy"], "rows are samples and columns are classes, so transpose it"),
        (lambda: ["--probs", "moved.npy"], "Give --classes in the order of the columns"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_file(made, monkeypatch, capsys, words, said):
    _, probs = made
    np.savetxt("raw.csv", probs, delimiter=",")
    np.save("short.npy", probs[:100])
    np.save("turned.npy", probs.T)
    np.save("moved.npy", probs[:, [1, 2, 0]])
    assert codivide(monkeypatch, "noise", "labels.csv", *words()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "pred_probs" not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["labels.csv", "--probs", "probs.npy"], "give --out, a new folder"),
        (["labels.csv", "--probs", "probs.npy", "--out", "."], "--out . exists"),
        (["labels.csv", "--label", "kind"], "--label goes with --probs"),
        (["no.csv", "--probs", "probs.npy", "--out", "new"], "no.csv"),
    ],
)
def test_an_audit_needs_a_new_folder(made, monkeypatch, capsys, words, said):
    assert codivide(monkeypatch, "audit", *words) == 2
    assert said in capsys.readouterr().err


def test_an_audit_of_an_older_version_says_that_it_has_no_report(made):
    labels, probs = made
    from_probs(labels, probs, out="audited")
    Path("audited/noise.json").unlink()
    with pytest.raises(InputError, match=r"holds no noise\.json: an older version"):
        noise_report("audited")


def test_a_name_that_comes_twice_among_the_labels_tells_no_row(made, monkeypatch, capsys):
    table = pd.read_csv("labels.csv")
    table.loc[5, "id"] = "s4"
    table.to_csv("twice.csv", index=False)
    assert codivide(monkeypatch, "noise", "twice.csv", "--probs", "probs.csv") == 2
    assert "twice.csv: id 's4' comes twice, and rows of probs.csv go by it" in capsys.readouterr().err


def test_texts_that_come_twice_take_one_row_and_it_is_said(made):
    labels, probs = made
    texts = [f"a text {k}" for k in range(119)] + ["a text 0"]
    pd.DataFrame({"text": texts, "label": labels}).to_csv("texts.csv", index=False)
    pd.DataFrame(probs[:119], columns=NAMES).assign(text=texts[:119]).to_csv("of_texts.csv", index=False)
    with pytest.warns(UserWarning, match=r"1 sample of texts\.csv has the text of another and takes its row"):
        found = bring("texts.csv", [Path("of_texts.csv")], DEFAULT).reading
    np.testing.assert_allclose(found.probs[119], probs[0])


@pytest.mark.parametrize(("digits", "comma", "space"), [(4, ".", ""), (1, ".", " "), (2, ",", " ")])
def test_percent_signs_are_read(made, digits, comma, space):
    _, probs = made
    cells = pd.DataFrame(100 * probs, columns=NAMES).map(lambda p: f"{p:.{digits}f}".replace(".", comma) + space + "%")
    cells.to_csv("percent.csv", index=False, sep=";")
    found = bring("labels.csv", [Path("percent.csv")], DEFAULT).reading
    np.testing.assert_allclose(found.probs, probs, atol=0.02 * 0.1**digits)
    np.testing.assert_allclose(found.probs.sum(1), 1)


def test_percentages_that_are_no_whole_are_refused(made, monkeypatch, capsys):
    _, probs = made
    pd.DataFrame(90 * probs, columns=NAMES).map("{:.1f}%".format).to_csv("part.csv", index=False)
    assert codivide(monkeypatch, "noise", "labels.csv", "--probs", "part.csv") == 2
    assert "part.csv: row 0 is [" in capsys.readouterr().err


def test_the_first_name_that_a_file_has_is_told_where_one_is_missing(made, monkeypatch, capsys):
    table = pd.read_csv("probs.csv")
    table.assign(id="data/" + table["id"]).to_csv("placed.csv", index=False)
    assert codivide(monkeypatch, "noise", "labels.csv", "--probs", "placed.csv") == 2
    assert f"has no row of id 's0', which labels.csv has (its first is of 'data/{table['id'][0]}')" in (
        capsys.readouterr().err
    )


def test_noise_of_a_folder_counts_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place in range(20):
        Path("photos", NAMES[place % 2]).mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(place).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(image).save(f"photos/{NAMES[place % 2]}/{place}.png")
    Path("photos/cat/cut.png").write_bytes(b"")
    assert codivide(monkeypatch, "noise", "photos", "symmetric:0.5") == 0
    assert "left out 1 file, the first: cat/cut.png (empty file)" in capsys.readouterr().err
