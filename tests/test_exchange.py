"""Files of annotation tools and images in tables or archives: read, learned from, cleaned, and handed back."""

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from codivide import InputError
from codivide.cli.app import main
from codivide.data import annotation_tools
from codivide.data.options import ReadOptions
from codivide.data.sources import load, read_inputs

FEATURES = ("--method", "features", "--heads", "linear", "--folds", "2", "--no-correct")


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def pictures(count=24, side=12):
    """Files of images in memory: class a is light, class b dark; one label in eight is wrong."""
    rng = np.random.default_rng(0)
    truth = np.arange(count) % 2
    contents = []
    for k in range(count):
        pixels = np.clip(rng.normal(200 - 140 * truth[k], 20, (side, side, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        contents.append(file.getvalue())
    given = np.where(np.arange(count) % 8 == 3, 1 - truth, truth)
    return contents, [("a", "b")[k] for k in given]


def hugging_face_parquet(path, contents, labels, *, names=None, **more):
    """As Hugging Face writes images: bytes and path, and the classes in the metadata."""
    images = [{"bytes": content, "path": f"{k}.png"} for k, content in enumerate(contents)]
    table = pyarrow.table({"img": images, "label": labels, **more})
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}, "img": {"_type": "Image"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pyarrow.parquet.write_table(table, path)


def test_images_in_parquet_as_hugging_face_writes_them(tmp_path):
    contents, labels = pictures()
    codes = [["a", "b"].index(name) for name in labels[:-2]] + [-1, None]
    split = ["train"] * 18 + ["test"] * 6
    hugging_face_parquet(tmp_path / "t.parquet", contents, codes, names=["a", "b"], split=split)
    loaded = load(tmp_path / "t.parquet")
    assert loaded.x.shape == (3, 12, 12)
    assert loaded.classes == ("a", "b")
    assert [loaded.classes[k] for k in loaded.y] == labels[:18]
    assert loaded.test.y[-2:].tolist() == [-1, -1]
    assert loaded.sizes.tolist() == [[12, 12]] * 18
    rows, names, skipped = read_inputs(tmp_path / "t.parquet", loaded.x.shape, loaded.x.dtype)
    assert (len(rows), names[:2], skipped) == (24, [0, 1], ())


def test_a_damaged_image_in_a_table_is_left_out_and_named(tmp_path):
    contents, labels = pictures()
    contents[5] = contents[5][:60]
    contents[7] = None
    pd.DataFrame({"id": range(100, 124), "photo": contents, "label": labels}).to_parquet(tmp_path / "t.parquet")
    loaded = load(tmp_path / "t.parquet")
    assert list(loaded.ids) == [k for k in range(100, 124) if k not in (105, 107)]
    assert [bad.path for bad in loaded.skipped] == ["row 5", "row 7"]
    assert len(loaded.contents) == 22


def test_parquet_that_only_names_its_images_is_a_manifest(tmp_path):
    contents, labels = pictures()
    for k, content in enumerate(contents):
        (tmp_path / f"{k}.png").write_bytes(content)
    hugging_face_parquet(tmp_path / "t.parquet", [None] * 24, labels)
    assert list(load(tmp_path / "t.parquet").ids)[:2] == ["0.png", "1.png"]


def tar(path, samples):
    with tarfile.open(path, "w") as archive:
        for name, content in samples:
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def web_dataset(folder, contents, labels, per_shard=12):
    for shard in range(len(contents) // per_shard):
        rows = range(shard * per_shard, (shard + 1) * per_shard)
        files = [(f"{k:04d}.png", contents[k]) for k in rows] + [(f"{k:04d}.cls", labels[k]) for k in rows]
        tar(folder / f"data-{shard:03d}.tar", files)


@pytest.mark.parametrize("kind", ["pattern", "folder"])
def test_web_dataset_shards_through_every_command(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tars").mkdir()
    contents, labels = pictures(48)
    web_dataset(tmp_path / "tars", contents, labels)
    source = "tars/data-{000..003}.tar" if kind == "pattern" else "tars"
    loaded = load(source)
    assert (list(loaded.ids)[:2], len(loaded.y)) == (["0000", "0001"], 48)
    assert [loaded.classes[k] for k in loaded.y] == labels
    words = ("--method", "cross_entropy", "--net", "small_cnn", "--epochs", "1", "--batch-size", "16")
    assert command(monkeypatch, "fit", source, "--out", "run", *words) in (0, 3)
    assert command(monkeypatch, "audit", "run") == 0
    assert "data:image" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert command(monkeypatch, "predict", "run", source, "--out", "answers.csv") == 0
    assert len(pd.read_csv("answers.csv")) == 48
    assert command(monkeypatch, "clean", "run", "--out", "clean", "--drop-below", "0.0") == 0
    again = load("clean/labels_clean.parquet")  # trains again
    assert (again.x.shape, len(again.y)) == (loaded.x.shape, 48)
    assert "image" not in pd.read_csv("clean/labels_clean.csv")
    web_dataset(tmp_path / "tars", contents[::-1], labels)  # other images under the same names
    assert command(monkeypatch, "clean", "run", "--out", "no", "--drop-below", "0.0") == 2


def test_a_tar_of_other_things_is_one_clear_error(tmp_path):
    tar(tmp_path / "no.tar", [("readme.txt", "hello")])
    with pytest.raises(InputError, match="holds no images: a sample is files of one name"):
        load(tmp_path / "no.tar")
    (tmp_path / "bad.tar").write_bytes(b"\1" * 700)
    with pytest.raises(InputError, match=r"bad\.tar cannot be read"):
        load(tmp_path / "bad.tar")
    tar(tmp_path / "json.tar", [("1.png", pictures(1)[0][0]), ("1.json", "{no")])
    with pytest.raises(InputError, match=r"1\.json is no JSON"):
        load(tmp_path / "json.tar")
    tar(
        tmp_path / "good.tar",
        [(f"{k}.png", one) for k, one in enumerate(pictures(4)[0])]
        + [(f"{k}.json", json.dumps({"label": "xy"[k % 2], "camera": "c"})) for k in range(4)],
    )
    assert load(tmp_path / "good.tar").classes == ("x", "y")


def test_files_of_one_name_in_a_tar_are_counted_and_the_first_counts(tmp_path):
    contents, labels = pictures(6)
    files = [item for k in range(5) for item in ((f"{k}.png", contents[k]), (f"{k}.cls", labels[k]))]
    again = [("1.png", contents[5]), ("1.cls", "another"), ("2.seg.png", contents[5])]
    tar(tmp_path / "t.tar", files + again)
    loaded, plain = load(tmp_path / "t.tar"), tmp_path / "plain.tar"
    tar(plain, files)
    assert "t.tar: left out 3 files of samples that were there already (the first: 1.png)" in loaded.said[0]
    assert np.array_equal(loaded.contents, load(plain).contents)
    assert [loaded.classes[k] for k in loaded.y] == labels[:5]
    assert not load(plain).said


def test_shards_that_each_count_from_0_keep_all_their_samples(tmp_path):
    contents, labels = pictures(6)
    for shard in range(2):
        rows = range(3 * shard, 3 * shard + 3)
        tar(
            tmp_path / f"s-{shard}.tar",
            [(f"{k % 3}.{end}", c[k]) for k in rows for end, c in (("png", contents), ("cls", labels))],
        )
    loaded = load(tmp_path / "s-{0..1}.tar")
    assert list(loaded.ids) == ["s-0/0", "s-0/1", "s-0/2", "s-1/0", "s-1/1", "s-1/2"]
    assert [loaded.classes[k] for k in loaded.y] == labels
    assert any("that of the shard stands before each" in text for text in loaded.said)


def coco(folder, *, below=""):
    contents, labels = pictures()
    (folder / below).mkdir(parents=True, exist_ok=True)
    for k, content in enumerate(contents):
        (folder / below / f"{k}.png").write_bytes(content)
    found = {
        "images": [{"id": 10 + k, "file_name": f"{k}.png"} for k in range(24)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"id": k, "image_id": 10 + k, "category_id": 1 + (labels[k] == "b")} for k in range(23)],
    }
    found["annotations"].append(dict(found["annotations"][0]))  # a second box of the same category
    return found, labels


@pytest.mark.parametrize("below", ["", "images"])
def test_coco_with_one_category_an_image(tmp_path, monkeypatch, below):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    found, labels = coco(tmp_path, below=below)
    (tmp_path / "instances.json").write_text(json.dumps(found))
    loaded = load(tmp_path / "instances.json")
    assert [loaded.classes[k] for k in loaded.y[:23]] == labels[:23]
    assert loaded.y[23] == -1  # no annotation
    found["annotations"].append({"id": 99, "image_id": 13, "category_id": 1 + (labels[3] == "a")})
    (tmp_path / "several.json").write_text(json.dumps(found))
    with pytest.raises(
        InputError, match=r"1 of 24 images have several categories, such as '3\.png' \(a, b\).*Cut the boxes"
    ):
        load(tmp_path / "several.json")
    found["annotations"][-1]["image_id"] = 77
    (tmp_path / "strange.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="an annotation is of image 77, which is not listed"):
        load(tmp_path / "strange.json")


TEXTS = ["a good film", "what a bad film", "good, really good", "bad acting and bad music"] * 6
LABELS = ["pos", "neg", "pos", "neg"] * 6


def task(k, *labels):
    choice = [{"type": "choices", "value": {"choices": [label]}} for label in labels]
    return {"id": k, "data": {"review": TEXTS[k]}, "annotations": [{"completed_by": 1, "result": choice}]}


def test_label_studio_in(tmp_path):
    tasks = [task(k, LABELS[k]) for k in range(24)]
    tasks[3]["annotations"] = []
    tasks[4]["annotations"].insert(0, {"was_cancelled": True, "result": []})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    loaded = load(tmp_path / "export.json")
    assert loaded.texts[:2] == TEXTS[:2]
    assert [None if k < 0 else loaded.classes[k] for k in loaded.y] == [*LABELS[:3], None, *LABELS[4:]]
    assert "answers that do not count, since they are cancelled: 1" in loaded.said
    tasks[5] = task(5, "pos", "neg")
    (tmp_path / "several.json").write_text(json.dumps(tasks))
    with pytest.raises(InputError, match="task 5 has several choices"):
        load(tmp_path / "several.json")
    tasks[5] = {"id": 5, "data": {"review": "x"}, "annotations": [{"result": [{"type": "choices"}]}]}
    (tmp_path / "damaged.json").write_text(json.dumps(tasks))
    with pytest.raises(InputError, match="looks like an export of label studio, but is damaged"):
        load(tmp_path / "damaged.json")


def test_several_labels_a_sample_in(tmp_path):
    sets = [[label, "long"] if k % 3 == 0 else [label] for k, label in enumerate(LABELS)]
    (tmp_path / "studio.json").write_text(json.dumps([task(k, *names) for k, names in enumerate(sets)]))
    record = {"fields": {"text": "x"}, "suggestions": {}}
    records = [
        record | {"id": str(k), "fields": {"text": TEXTS[k]}, "responses": {"label": [{"value": names}]}}
        for k, names in enumerate(sets)
    ]
    (tmp_path / "argilla.json").write_text(json.dumps(records))
    several = ReadOptions(task="multilabel")
    for name in ("studio.json", "argilla.json"):
        loaded = load(tmp_path / name, options=several)
        assert [loaded.classes[k].split(";") for k in loaded.y] == sets
        with pytest.raises(
            InputError, match="one label a sample is read; several labels a row are for NoisyMultiLabelClassifier"
        ):
            load(tmp_path / name)


def test_coco_with_several_categories_an_image(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    found, labels = coco(tmp_path, below="")
    found["annotations"].append({"id": 99, "image_id": 13, "category_id": 1 + (labels[3] == "a")})
    (tmp_path / "several.json").write_text(json.dumps(found))
    loaded = load(tmp_path / "several.json", options=ReadOptions(task="multilabel"))
    assert [loaded.classes[k] for k in loaded.y[:23]] == [*labels[:3], "a;b", *labels[4:23]]
    assert loaded.y[23] == -1


def test_label_studio_with_several_people_is_a_table_of_answers(tmp_path):
    tasks = [task(k, LABELS[k]) for k in range(24)]
    for k, one in enumerate(tasks):
        other = "pos" if k == 1 else LABELS[k]
        one["annotations"] += [
            {"completed_by": {"id": 2, "email": "b@x"}, "result": [{"type": "choices", "value": {"choices": [other]}}]},
            {"completed_by": 3, "result": [{"type": "choices", "value": {"choices": [LABELS[k]]}}]},
        ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    loaded = load(tmp_path / "export.json")
    assert set(loaded.annotations.names) == {"1", "b@x", "3"}
    assert [loaded.classes[k] for k in loaded.y] == LABELS


def test_label_studio_names_files_of_its_own_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    contents, labels = pictures()
    tasks = []
    for k, content in enumerate(contents):
        (tmp_path / f"{k}.png").write_bytes(content)
        one = task(k % 24, labels[k]) | {"data": {"image": f"/data/local-files/?d={k}.png"}}
        tasks.append(one)
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert list(load(tmp_path / "export.json").ids)[:2] == ["0.png", "1.png"]


def test_argilla_in(tmp_path):
    records = [
        {
            "id": f"r{k}",
            "fields": {"text": TEXTS[k]},
            "responses": {"label": [{"value": LABELS[k], "user_id": "u"}]},
            "suggestions": {},
        }
        for k in range(24)
    ]
    records[2]["responses"] = {}
    records[2]["suggestions"] = {"label": {"value": "neg", "score": 0.4}}
    records[3]["responses"] = {}
    for k, status in ((4, "draft"), (5, "discarded")):
        records[k]["responses"]["label"] = [{"value": LABELS[k - 1], "user_id": "u", "status": status}]
    records[6]["responses"]["label"] += [{"value": "neg", "user_id": "v", "status": "draft"}]
    records[7]["responses"]["label"][0]["status"] = "submitted"
    for name, text in (("e.json", json.dumps(records)), ("e.jsonl", "\n".join(map(json.dumps, records)))):
        (tmp_path / name).write_text(text)
        loaded = load(tmp_path / name)
        assert list(loaded.ids)[:2] == ["r0", "r1"]
        wanted = [*LABELS[:2], "neg", None, None, None, *LABELS[6:]]
        assert [None if k < 0 else loaded.classes[k] for k in loaded.y] == wanted
        assert loaded.annotations is None  # whoever has only begun an answer is no annotator
        assert "answers that do not count, since they are drafts or discarded: 3" in loaded.said
        assert "samples without an answer of a person, whose label is the tool's suggestion: 1" in loaded.said


@pytest.mark.parametrize(("tool", "file"), [("label-studio", "label_studio.json"), ("argilla", "argilla.json")])
def test_labels_go_back_to_the_tool_and_come_in_again(tmp_path, monkeypatch, tool, file):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv("texts.csv", index=False)
    assert command(monkeypatch, "fit", "texts.csv", "--out", "run", *FEATURES) in (0, 3)
    assert command(monkeypatch, "clean", "run", "--out", "clean", "--export", tool, "--drop-below", "0.0") == 0
    again = load(tmp_path / "clean" / file)
    assert list(again.texts) == TEXTS
    assert [again.classes[k] for k in again.y] == LABELS
    assert command(monkeypatch, "clean", "run", "--out", "other", "--export", "label-studo") == 2
    assert not (tmp_path / "other").exists()


def test_labels_of_images_go_out_as_coco_and_come_in_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    contents, labels = pictures()
    for k, content in enumerate(contents):
        Path(f"{k:02d}.png").write_bytes(content)
    labels[5] = ""  # nobody has labelled it
    pd.DataFrame({"path": [f"{k:02d}.png" for k in range(len(labels))], "label": labels}).to_csv("m.csv", index=False)
    words = ("--method", "cross_entropy", "--net", "small_cnn", "--epochs", "1", "--batch-size", "16")
    assert command(monkeypatch, "fit", "m.csv", "--out", "run", *words) in (0, 3)
    limits = ("--drop-below", "0.0", "--relabel-above", "1.0")
    assert command(monkeypatch, "clean", "run", "--out", "clean", "--export", "coco", *limits) == 0
    Path("clean/coco.json").rename("coco.json")
    again, cleaned = load("coco.json"), pd.read_csv("clean/labels_clean.csv", keep_default_na=False)
    assert list(again.ids) == cleaned["path"].tolist()
    assert ["" if k < 0 else again.classes[k] for k in again.y] == cleaned["label"].tolist()
    assert annotation_tools.coco(["a.png", "b.png"], [["sky", "sea"], []])["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2},
        {"id": 2, "image_id": 1, "category_id": 1},
    ]
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv("texts.csv", index=False)
    assert command(monkeypatch, "fit", "texts.csv", "--out", "words", *FEATURES) in (0, 3)
    assert command(monkeypatch, "clean", "words", "--out", "no", "--export", "coco") == 2
    assert "it is for image files" in capsys.readouterr().err
    assert not Path("no").exists()


def test_photos_that_are_gone_or_were_replaced_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    contents, labels = pictures()
    for k, (content, label) in enumerate(zip(contents, labels, strict=True)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k:02d}.png").write_bytes(content)
    words = ("--method", "cross_entropy", "--net", "small_cnn", "--epochs", "1", "--batch-size", "16")
    assert command(monkeypatch, "fit", "photos", "--out", "run", *words) in (0, 3)
    capsys.readouterr()
    assert command(monkeypatch, "audit", "run") == 0
    assert "images" not in capsys.readouterr().err
    first = next((tmp_path / "photos" / "a").glob("*.png"))
    first.write_bytes(contents[1])
    assert command(monkeypatch, "audit", "run") == 0
    assert f"1 of 24 images has other contents than the run saw, the first: a/{first.name}" in capsys.readouterr().err
    assert command(monkeypatch, "clean", "run", "--out", "clean", "--drop-below", "0.0") == 0
    assert "1 of 24 images has other contents" in capsys.readouterr().err
    (tmp_path / "photos" / "b" / "01.png").unlink()
    assert command(monkeypatch, "audit", "run") == 0
    assert "1 of 24 images is gone, the first: b/01.png" in capsys.readouterr().err
    assert command(monkeypatch, "fit", "clean", "--out", "again") == 2
    assert "give clean/labels_clean.csv" in capsys.readouterr().err


def test_photos_that_came_later_or_were_moved_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "photos"
    for k, (content, label) in enumerate(zip(*pictures(), strict=True)):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{k:02d}.png").write_bytes(content)
    (root / "a" / "broken.png").write_bytes(b"no image")
    first, second, third = sorted((root / "a").glob("[0-9]*.png"))[:3]
    head = "id,given,decision,label,time\n"
    Path("junk.csv").write_text(f"{head}a/{third.name},a,junk,,\n")
    words = (
        "--method",
        "features",
        "--heads",
        "linear",
        "--trees",
        "none",
        "--folds",
        "2",
        "--no-correct",
        "--no-vote",
    )
    assert command(monkeypatch, "fit", "photos", "--out", "run", *words, "--corrections", "junk.csv") in (0, 3)
    capsys.readouterr()
    assert command(monkeypatch, "audit", "run") == 0
    assert "more than the run saw" not in capsys.readouterr().err  # what cannot be read and what is junk is not new
    (root / "c").mkdir()
    for k in range(2):
        Image.new("RGB", (32, 32), (9, 9, 40 * k)).save(root / "c" / f"{k}.png")
    first.rename(root / "b" / first.name)
    new, moved = "photos has 2 images more than the run saw, the first: c/0.png", f"a/{first.name} is b/{first.name}"
    assert command(monkeypatch, "audit", "run") == 0
    assert new in capsys.readouterr().err
    assert command(monkeypatch, "clean", "run", "--out", "listed", "--drop-below", "0") == 0
    said = capsys.readouterr().err
    assert new in said
    assert f"images lies in another folder now, the first: {moved}" in said
    assert command(monkeypatch, "clean", "run", "--out", "copied", "--drop-below", "0", "--copy") == 2
    said = capsys.readouterr().err
    assert f"a/{first.name} is not there any more" in said
    assert moved in said
    Path("c.csv").write_text(f"{head}a/{second.name},a,keep,,\na/{first.name},a,accept,b,\na/none.png,a,keep,,\n")
    assert command(monkeypatch, "fit", "photos", "--corrections", "c.csv", "--out", "again", *words) == 2
    said = capsys.readouterr().err
    assert f"line 3: no sample of this run has the id 'a/{first.name}'; is it 'b/{first.name}' now?" in said
    assert "(so of 1 more)" in said


def test_names_of_tables_and_columns_in_messages(tmp_path):
    pd.DataFrame({"age": range(24), "job": TEXTS, "label": LABELS}).to_csv(tmp_path / "mixed.csv.gz", index=False)
    assert load(tmp_path / "mixed.csv.gz").name == "mixed"
    with pytest.raises(InputError, match=r"columns=\['age'\] leaves out 'job', which text= names"):
        load(tmp_path / "mixed.csv.gz", options=ReadOptions(text="job", columns=("age",)))
    assert load(tmp_path / "mixed.csv.gz", options=ReadOptions(text="job")).texts is not None
