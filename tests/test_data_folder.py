"""Folders of classes, manifests and tables of features."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from codivide.audit import facts
from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.data import cache, experiment, images
from codivide.data.images import on_disk, written
from codivide.data.source import Part
from codivide.data.sources import ReadOptions, load, load_raw


def picture(path, red=0, size=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (red, 0, 0)).save(path, format="PNG")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for k, name in enumerate(["cat/1.png", "cat/2.png", "dog/1.png"]):
        picture(root / name, k)
    return root


def reds(loaded):
    return loaded.x[torch.arange(len(loaded.x))][:, 0, 0, 0].tolist()


def test_one_sub_folder_a_class(root):
    loaded = load(root)
    assert loaded.classes == ("cat", "dog")
    assert loaded.ids == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert loaded.y.tolist() == [0, 0, 1]
    assert reds(loaded) == [0, 1, 2]
    assert (loaded.x.shape, loaded.augment, loaded.name) == ((3, 8, 8), "photo", "root")
    assert loaded.truth is None
    assert load(str(root)).ids == loaded.ids


def test_names_of_every_kind_and_files_of_no_interest(root):
    odd = ["dog/naïve ☃ 猫.png", f"dog/{'x' * 240}.png", "dog/deep/er/a b.JPG", "dog/-rf.png", 'dog/a,b"c.png']
    for name in odd:
        picture(root / name)
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "._1.png", ".hidden/1.png", "__MACOSX/1.png"):
        (root / "dog" / name).parent.mkdir(exist_ok=True)
        (root / "dog" / name).write_text("x")
    (root / ".git").mkdir()
    (root / "README.md").touch()
    loaded = load(root)
    assert sorted(loaded.ids) == sorted(["cat/1.png", "cat/2.png", "dog/1.png", *odd])
    assert loaded.skipped == ()


def test_files_that_are_not_read_are_counted_by_suffix(root, monkeypatch):
    for name in ("cat/2.heic", "cat/3.HEIC", "notes.txt", ".DS_Store", "__MACOSX/x.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    monkeypatch.setattr(images, "reads_heic", lambda: False)
    said, _ = load(root).said
    assert said.startswith("files that are not read: .heic 2, .txt 1 (HEIC needs the package pillow-heif")


def test_deep_and_nearly_constant_images_are_said(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        path = tmp_path / "photos" / ("cat" if k % 2 else "dog") / f"{k}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        values = rng.integers(0, 4096, (8, 8), dtype=np.uint16) if k else np.full((8, 8), 4095, np.uint16)
        Image.fromarray(values).save(path)
    for _ in range(2):  # decoded, and from the cache
        loaded = load(tmp_path / "photos")
        assert loaded.said == (
            "images of 12 bits a value, read by that depth: 4",
            "images that are nearly of one colour: 1 (dog/0.png)",
        )
        assert int(loaded.x[torch.arange(4)].amax((1, 2, 3)).min()) > 200


def rename(path, name):
    """Give a file or folder a name of bytes that need not be UTF-8."""
    target = Path(os.fsdecode(os.fsencode(path.parent) + b"/" + name))
    if sys.platform != "linux":
        pytest.skip("only Linux takes any bytes for a name")
    path.rename(target)
    return target


def test_names_that_are_no_utf8(root, tmp_path, monkeypatch, capsys):
    for k, name in enumerate(("dog/x.png", "dog/bad.png", "ant/1.png")):
        picture(root / name, 3 + k)
    rename(root / "dog" / "x.png", b"\xff.png")
    (root / "dog" / "bad.png").write_text("no image")
    rename(root / "dog" / "bad.png", b"caf\xe9.png")
    rename(root / "ant", b"fourmi\xe8re")
    root = rename(root, b"r\xf6ot")
    loaded = load(root)
    assert loaded.name == r"r\xf6ot"
    assert loaded.classes == ("cat", "dog", r"fourmi\xe8re")
    assert loaded.ids == ["cat/1.png", "cat/2.png", "dog/1.png", r"dog/\xff.png", r"fourmi\xe8re/1.png"]
    assert loaded.skipped == ((r"dog/caf\xe9.png", "not an image"),)
    run = tmp_path / "run"
    fit = ["fit", str(root), "--out", str(run), "--method", "cross_entropy", "--epochs", "1", "--net", "mlp"]
    for words in (fit, ["predict", str(run), str(root), "--out", str(tmp_path / "p.csv")]):
        monkeypatch.setattr("sys.argv", ["codivide", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0, capsys.readouterr().err
    assert pd.read_csv(run / "labels.csv")["path"].tolist() == loaded.ids
    assert pd.read_parquet(run / "labels.parquet")["given"].tolist()[-1] == r"fourmi\xe8re"
    assert pd.read_csv(run / "skipped.csv")["path"].tolist() == [r"dog/caf\xe9.png"]
    assert sorted(pd.read_csv(tmp_path / "p.csv").iloc[:, 0]) == sorted(loaded.ids)


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_on_names_that_are_no_utf8_is_cleaned_and_trains_again(root, tmp_path, monkeypatch, copied):
    for k, name in enumerate(("dog/x.png", "dog/y.png", "cat/z.png")):
        picture(root / name, 3 + k)
    rename(root / "dog" / "x.png", b"\xff.png")
    rename(root / "cat" / "z.png", b"caf\xe9 \xc3\xa9.png")  # one é of Latin-1, one of UTF-8
    root = rename(root, b"r\xf6ot")
    run, run2, cleaned = tmp_path / "run", tmp_path / "run2", tmp_path / "cleaned"
    fast = ["--method", "cross_entropy", "--epochs", "1", "--net", "mlp"]

    def codivide(*words):
        monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    assert codivide("fit", root, "--out", run, *fast) in (0, 3)
    keep = ["--drop-below", "0", *(["--copy"] if copied else [])]
    assert codivide("clean", run, "--out", cleaned, *keep) == 0
    table = pd.read_csv(cleaned / "labels_clean.csv")
    assert table["id"].tolist() == load(root).ids
    assert table["id"].tolist()[2:] == [r"cat/caf\xe9 é.png", "dog/1.png", "dog/y.png", r"dog/\xff.png"]
    assert codivide("fit", cleaned / "labels_clean.csv", "--out", run2, *fast) in (0, 3)
    before, after = (pd.read_csv(folder / "labels.csv") for folder in (run, run2))
    assert after["given"].tolist() == before["given"].tolist()
    assert reds(load(cleaned / "labels_clean.csv")) == reds(load(root)) == [0, 1, 5, 2, 4, 3]
    files = facts.originals(run2)
    assert len(files) == len(table)
    assert all(path.is_file() for path in [*files.values(), *facts.originals(run).values()])


def test_a_name_that_holds_an_escape_comes_before_a_byte(tmp_path):
    picture(tmp_path / "x.png")
    byte = rename(tmp_path / "x.png", b"\xff.png")
    assert on_disk(tmp_path, r"\xff.png") == byte
    assert on_disk(tmp_path, r"\xfe.png") == tmp_path / r"\xfe.png"  # there is neither
    picture(tmp_path / r"\xff.png")
    assert on_disk(tmp_path, r"\xff.png") == tmp_path / r"\xff.png"


def test_names_that_are_written_alike(root):
    picture(root / "dog" / r"\xff.png")
    picture(root / "dog" / "x.png")
    rename(root / "dog" / "x.png", b"\xff.png")
    with pytest.raises(InputError, match=r"two files are both written 'dog/.*xff.png': rename one"):
        load(root)
    picture(root / r"\xff" / "1.png")
    picture(root / "emu" / "1.png")
    rename(root / "emu", b"\xff")
    with pytest.raises(InputError, match=r"two folders in .*root are both written .*: rename one"):
        load(root)


@pytest.mark.parametrize("name", ["plain", "naïve ☃ 猫", r"back\slash", ""])
def test_names_that_are_written_as_they_are(name):
    assert written(name) == name
    assert written(f"{name}\udce9") == rf"{name}\xe9"
    assert written(f"{name}\ud83d") == rf"{name}\ud83d"  # half of a pair


def test_loops_of_links_end(root, tmp_path):
    (root / "cat" / "self").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "nowhere").symlink_to("nowhere")
    (root / "loop").symlink_to(root)
    (root / "circle").symlink_to("circle")
    picture(tmp_path / "elsewhere" / "3.png")
    (root / "fox").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "broken.png").symlink_to("gone.png")
    loaded = load(root)
    assert loaded.classes == ("cat", "dog", "fox")
    assert [name for name in loaded.ids if name.startswith("cat/")][:2] == ["cat/1.png", "cat/2.png"]
    assert "fox/3.png" in loaded.ids
    assert len(set(loaded.ids)) == len(loaded.ids) < 9
    assert ("cat/broken.png", "no such file") in loaded.skipped


def test_bad_files_are_listed_with_their_class_kept_in_step(root):
    (root / "cat" / "1.png").write_text("not an image")
    (root / "cat" / "3.png").touch()
    loaded = load(root)
    assert loaded.ids == ["cat/2.png", "dog/1.png"]
    assert loaded.y.tolist() == [0, 1]
    assert reds(loaded) == [1, 2]
    assert loaded.skipped == (("cat/1.png", "not an image"), ("cat/3.png", "empty file"))


def test_an_empty_class_stays_a_class(root):
    (root / "eel").mkdir()
    with pytest.warns(UserWarning, match="'eel' holds no images"):
        assert load(root).classes == ("cat", "dog", "eel")


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled", "Unlabelled"])
@pytest.mark.parametrize("options", [ReadOptions(), ReadOptions(unlabelled=None)])
def test_an_unlabelled_folder(root, name, options):
    picture(root / name / "1.png")
    picture(root / name / "deeper" / "2.png")
    loaded = load(root, options=options)
    assert loaded.classes == ("cat", "dog")
    assert [loaded.y[loaded.ids.index(file)] for file in (f"{name}/1.png", f"{name}/deeper/2.png")] == [-1, -1]
    assert sorted(loaded.y.tolist()) == [-1, -1, 0, 0, 1]


def test_an_empty_unlabelled_folder_is_no_class(root, recwarn):
    (root / "unlabelled").mkdir()
    assert load(root).classes == ("cat", "dog")
    assert [str(w.message) for w in recwarn if "no images" in str(w.message)] == []


def test_nothing_but_unlabelled_images_is_one_error(tmp_path):
    picture(tmp_path / "unlabelled" / "1.png")
    with pytest.raises(InputError, match="holds no class: all of its images are in unlabelled"):
        load(tmp_path)


def test_an_unlabelled_folder_within_or_beside_train(tmp_path):
    names = ["train/a/1.png", "train/b/2.png", "train/unlabeled/3.png", "unlabeled/4.png", "unlabelled/5.png"]
    for k, name in enumerate([*names, "test/b/6.png", "test/unlabelled/7.png"]):
        picture(tmp_path / "r" / name, k)
    loaded = load(tmp_path / "r")
    assert (loaded.classes, loaded.ids, loaded.y.tolist()) == (("a", "b"), names, [0, 1, -1, -1, -1])
    assert reds(loaded) == [0, 1, 2, 3, 4]
    assert sorted(zip(loaded.test.ids, loaded.test.y.tolist(), strict=True)) == [
        ("test/b/6.png", 1),
        ("test/unlabelled/7.png", -1),
    ]
    truth = load(tmp_path / "r", truth={"unlabeled/4.png": "b"}).truth
    assert truth.tolist() == [-1, -1, -1, 1, -1]


def test_numbers_as_folder_names_stay_names(root):
    for name in ("-1", "1"):
        picture(root / name / "1.png")
    assert load(root, options=ReadOptions(unlabelled=None)).classes == ("-1", "1", "cat", "dog")


@pytest.mark.parametrize("name", ["None", "nan", "-1"])
def test_a_folder_name_that_means_no_label_is_refused(root, name):
    picture(root / name / "1.png")
    with pytest.raises(InputError, match=f"'{name}' means 'no label' in tables; rename the folder"):
        load(root)


def test_train_and_test_folders(tmp_path):
    for k, name in enumerate(["train/a/1.png", "train/b/2.png", "test/b/3.png", "val/a/4.png"]):
        picture(tmp_path / "r" / name, k)
    with pytest.warns(UserWarning, match="val is not used"):
        loaded = load(tmp_path / "r")
    assert loaded.ids == ["train/a/1.png", "train/b/2.png"]
    assert loaded.test.ids == ["test/b/3.png"]
    assert (loaded.test.y.tolist(), loaded.test.classes) == ([1], ("a", "b"))
    assert (reds(loaded), reds(loaded.test)) == ([0, 1], [2])
    picture(tmp_path / "r" / "test" / "c" / "5.png")
    with (
        pytest.warns(UserWarning, match="val"),
        pytest.raises(InputError, match=r"label 'c'.*test/c/5.png.*not one of"),
    ):
        load(tmp_path / "r")


def test_validation_stands_in_for_a_missing_test_folder(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "valid/a/3.png"):
        picture(tmp_path / name)
    assert load(tmp_path).test.ids == ["valid/a/3.png"]


def test_parts_of_other_names(tmp_path):
    for name in ("Training/a/1.png", "Training/b/2.png", "Validation/a/3.png", "Validation/b/4.png"):
        picture(tmp_path / "r" / name)
    loaded = load(tmp_path / "r")
    assert (loaded.classes, loaded.test.ids) == (("a", "b"), ["Validation/a/3.png", "Validation/b/4.png"])
    picture(tmp_path / "r" / "drawings" / "5.png")
    with pytest.raises(InputError, match=r"parts and no classes; move the others away \(drawings\)"):
        load(tmp_path / "r")


def test_classes_that_hold_the_same_sub_folders_are_said(tmp_path):
    for name in ("2023/a/1.png", "2023/b/2.png", "2024/a/3.png", "2024/b/4.png"):
        picture(tmp_path / name)
    with pytest.warns(UserWarning, match=r"2023 and 2024 hold the same sub-folders \(a, b\) and count as one class"):
        assert load(tmp_path).classes == ("2023", "2024")


def test_train_may_be_a_class(tmp_path):
    for name in ("train/1.png", "bus/2.png"):
        picture(tmp_path / name)
    assert load(tmp_path).classes == ("bus", "train")


def test_truth_by_path_by_mapping_and_in_order(root, tmp_path):
    (tmp_path / "truth.csv").write_text("path,label\ndog/1.png,cat\ncat/1.png,cat\n")
    assert load(root, truth=tmp_path / "truth.csv").truth.tolist() == [0, -1, 0]
    assert load(root, truth={"cat/2.png": "dog"}).truth.tolist() == [-1, 1, -1]
    assert load(root, truth=["cat", "dog", "dog"]).truth.tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"not '2.png'"):
        load(root, truth={"2.png": "dog"})
    (tmp_path / "twice.csv").write_text("path,label\ncat/1.png,cat\ncat/1.png,cat\ndog/1.png,cat\ndog/1.png,dog\n")
    with pytest.raises(InputError, match=r"row 3 \(line 5\) says 'dog' of 'dog/1.png', and a row before 'cat'"):
        load(root, truth=tmp_path / "twice.csv")
    with pytest.raises(InputError, match=r"true label: label 'cow'.*cat/2.png"):
        load(root, truth={"cat/2.png": "cow"})


def test_folders_that_are_no_data_set(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no images"):
        load(tmp_path / "empty")
    picture(tmp_path / "flat" / "1.png")
    with pytest.raises(InputError, match="1 image but no sub-folders"):
        load(tmp_path / "flat")
    picture(tmp_path / "one" / "cat" / "1.png")
    with pytest.raises(InputError, match="one class only"):
        load(tmp_path / "one")
    with pytest.raises(InputError, match="y must be None"):
        load(root, [0, 1, 1])
    picture(root / "loose.png")
    with pytest.warns(UserWarning, match="1 image lies directly .* in no class, and is left out"):
        load(root)


def test_known_classes_give_the_order(root):
    loaded = load(root, classes=("dog", "cat"))
    assert (loaded.classes, loaded.y.tolist()) == (("dog", "cat"), [1, 1, 0])


def manifest(root, text, name="m.csv"):
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_manifest(root):
    path = manifest(
        root,
        "path,label,split,true_label\n"
        "cat/1.png,3,train,3\ncat/2.png,,train,5\ndog/1.png,5,,5\ngone.png,5,train,3\ncat/../cat/1.png,3,test,3\n",
    )
    loaded = load(path)
    assert loaded.ids == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert loaded.classes == (3, 5)
    assert loaded.y.tolist() == [0, -1, 1]
    assert loaded.truth.tolist() == [0, 1, 1]
    assert reds(loaded) == [0, 1, 2]
    assert loaded.test.ids == ["cat/../cat/1.png"]
    assert loaded.test.y.tolist() == [0]
    assert loaded.skipped == (("gone.png", "no such file"),)


def test_a_parquet_manifest_with_absolute_paths(root):
    paths = [str(root / name) for name in ("cat/1.png", "dog/1.png")]
    pd.DataFrame({"path": paths, "label": pd.Categorical(["no", "yes"])}).to_parquet(root / "m.parquet")
    loaded = load(root / "m.parquet")
    assert (loaded.ids, loaded.classes) == (paths, ("no", "yes"))


def test_labels_of_a_manifest_stay_as_written(root):
    loaded = load(manifest(root, "\ufeffpath, label\ncat/1.png,007\ncat/2.png,NA\ndog/1.png,NaN\n"))
    assert loaded.classes == ("007", "NA")
    assert loaded.y.tolist() == [0, 1, -1]


@pytest.mark.parametrize("missing", ["", " ", "nan", "None", "-1", "-1.0"])
@pytest.mark.parametrize("kind", ["manifest", "features"])
def test_rows_without_a_label(root, missing, kind):
    names = ["cat/1.png", "cat/2.png", "dog/1.png"]
    column, values = ("path", names) if kind == "manifest" else ("age", ["1", "2", "3"])
    for labels in (("no", "yes"), ("0", "1")):
        rows = zip(values, (labels[1], missing, labels[0]), strict=True)
        text = f"{column},label\n" + "".join(f"{value},{label}\n" for value, label in rows)
        loaded = load(manifest(root, text))
        assert [str(name) for name in loaded.classes] == list(labels)
        assert loaded.y.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2.0, np.nan, 7.0], (2, 7)),
        ([2.0, -1.0, 7.0], (2.0, 7.0)),
        (["a", None, "b"], ("a", "b")),
        (["a", "", "b"], ("a", "b")),
        (pd.array([2, None, 7], dtype="Int64"), (2, 7)),
        (pd.Categorical(["a", None, "b"]), ("a", "b")),
    ],
)
def test_rows_of_a_parquet_file_without_a_label(root, labels, classes):
    paths = ["cat/1.png", "cat/2.png", "dog/1.png"]
    for column in ({"path": paths}, {"age": [1, 2, 3]}):
        pd.DataFrame({**column, "label": labels}).to_parquet(root / "m.parquet")
        loaded = load(root / "m.parquet")
        assert (loaded.classes, loaded.y.tolist()) == (classes, [0, -1, 1])


def test_whole_numbers_that_pandas_wrote_with_a_point(root):
    paths = ["cat/1.png", "cat/2.png", "dog/1.png"]
    pd.DataFrame({"path": paths, "label": [3, None, 5]}).to_csv(root / "m.csv", index=False)
    assert "3.0" in (root / "m.csv").read_text()
    loaded = load(root / "m.csv")
    assert (loaded.classes, loaded.y.tolist()) == ((3, 5), [0, -1, 1])
    for text in ("cat/1.png,1.0\ncat/2.png,2.0\ndog/1.png,2.0\n", "cat/1.png,1.0\ncat/2.png,1.1\ndog/1.png,\n"):
        assert load(manifest(root, "path,label\n" + text)).classes[0] == "1.0"  # a name, as written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,lable\na.png,1\n", r"no column 'label' \(columns: path, lable\)"),
        ("path,label\n", "no rows"),
        ("", "has no rows: it is empty"),
        ("path,label\ncat/1.png,a\ncat/1.png,b\n", "'cat/1.png' comes twice, in rows 0 and 1"),
        ("path,label\ncat/1.png,a\n./cat/1.png,b\n", r"'./cat/1.png' comes twice, in rows 0 \(as 'cat/1.png'\) and 1"),
        ("path,label\ncat/1.png,a\n,b\n", r"row 1 \(line 3\) has no path"),
        ("path,label,split\ncat/1.png,a,trian\n", r"row 0 \(line 2\) has split 'trian'"),
        ("path,label,split\ncat/1.png,a,test\n", "no row of split 'train'"),
        ("path,label\ncat/1.png,a\ncat/2.png,a\n", "one class only"),
        ("path,label\ncat/1.png,-1\ncat/2.png,1\n", "unlabelled=None"),
        ("path,label,split\ncat/1.png,a,\ncat/2.png,b,\ndog/1.png,c,test\n", "label 'c' in row 2 .dog/1.png."),
        (
            "path,label\nx.png,a\ny.png,b\n",
            "none of its 2 files is there; the first is looked for as .*x.png, since paths are relative to",
        ),
        ("label,age\na,\nb,\n", r"no column of the table can be used \('age': all cells are empty\)"),
        ("label\na\nb\n", "neither a column 'path' or 'text' nor other columns to learn from"),
        ("label,age\na,1,2,3\nb\n", r"lines have more fields than the header has names \(label, age\)"),
    ],
)
def test_bad_tables(root, text, message):
    with pytest.raises(InputError, match=message):
        load(manifest(root, text))


def test_files_that_are_no_tables(root):
    (root / "m.csv").write_bytes(b"path,label\n\xff\xfe,\x00\n")
    (root / "m.parquet").write_bytes(b"PAR1 or so")
    (root / "m.npz").write_bytes(b"PK or so")
    (root / "m.doc").touch()
    for name, message in (("m.csv", "cannot be read"), ("m.parquet", "cannot be read"), ("m.npz", "cannot be read")):
        with pytest.raises(InputError, match=message):
            load(root / name)
    with pytest.raises(InputError, match="is no data set: use a folder"):
        load(root / "m.doc")


def test_a_table_of_features(tmp_path):
    text = "id,label,age,height,split,true_label\nu1,yes,1,2.5,train,yes\nu2,no,3,1,train,yes\nu3,no,5,6,test,no\n"
    loaded = load(manifest(tmp_path, text))
    assert loaded.x[torch.tensor([0, 1])].tolist() == [[1, 2.5], [3, 1]]
    assert (list(loaded.ids), loaded.classes, loaded.y.tolist()) == (["u1", "u2"], ("no", "yes"), [1, 0])
    assert (loaded.truth.tolist(), loaded.augment) == ([1, 1], "jitter")
    assert loaded.test.x[torch.tensor([0])].tolist() == [[5, 6]]
    assert loaded.test.truth.tolist() == [0]
    pd.read_csv(tmp_path / "m.csv").to_parquet(tmp_path / "m.parquet")
    assert np.array_equal(load(tmp_path / "m.parquet").y, loaded.y)


@pytest.mark.data
def test_the_folder_of_photos(data_root):
    loaded = load(data_root / "photos", truth=data_root / "photos_truth.csv")
    assert len(loaded.y) == len(loaded.ids) == len(loaded.x) == 5000
    assert len(loaded.classes) == 10
    assert (loaded.x.shape, loaded.skipped) == ((3, 32, 32), ())
    assert np.mean(loaded.y != loaded.truth) == pytest.approx(0.40, abs=0.01)


@pytest.mark.parametrize("form", ["folder", "manifest"])
def test_of_a_part_no_other_training_image_is_read(tmp_path, monkeypatch, form):
    names = [f"{split}/{label}/{k}.png" for split in ("train", "test") for label in ("a", "b") for k in range(12)]
    for k, name in enumerate(names):
        picture(tmp_path / "set" / name, k)
    source = tmp_path / "set"
    if form == "manifest":
        parts = [name.split("/") for name in names]
        table = pd.DataFrame({"path": names, "label": [p[1] for p in parts], "split": [p[0] for p in parts]})
        table.assign(true_label=table["label"], patient=range(48)).to_csv(source / "m.csv", index=False)
        source = source / "m.csv"
    options = ReadOptions(workers=1, group="patient" if form == "manifest" else None)
    expected = experiment.part(load_raw(source, options=replace(options, cache_dir=tmp_path / "other")), 7, 3)
    opened, decode = [], cache.decode_file
    monkeypatch.setattr(cache, "decode_file", lambda path, shape: opened.append(path) or decode(path, shape))
    found = load_raw(source, options=options, part=Part(7, 3))
    assert len(opened) == 7 + 24
    assert found.ids == expected.ids
    for name in ("y", "truth", "groups"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    rows = torch.arange(7)
    assert torch.equal(found.x[rows], expected.x[rows])
    assert found.test.ids == expected.test.ids
