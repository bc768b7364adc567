"""Lists of image files and of images that Pillow has opened, and names of files in other places."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from codivide import NoisyLabelClassifier
from codivide.audit.clean import clean
from codivide.audit.material import from_run
from codivide.core.errors import InputError, TrainingWarning
from codivide.data.loaded import Skipped, left_out
from codivide.data.sources import ReadOptions, load, read_inputs

UINT8 = torch.uint8
LABELS = ["cat", "dog"] * 6


def pixels(size=(10, 12)):
    return np.random.default_rng(0).integers(0, 256, (12, *size, 3), dtype=np.uint8)


def every(rows):
    return rows[torch.arange(len(rows))].numpy()


@pytest.fixture
def files(tmp_path):
    paths = []
    for k, image in enumerate(pixels()):
        paths.append(tmp_path / f"{LABELS[k]}s are here {k}.{'PNG' if k % 2 else 'png'}")
        Image.fromarray(image).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    "form", [list, tuple, pd.Series, lambda paths: list(map(str, paths)), lambda paths: np.array(list(map(str, paths)))]
)
def test_files_in_a_list_are_images_and_no_texts(files, form):
    order = np.random.default_rng(1).permutation(12)
    given = [LABELS[k] for k in order]
    loaded = load(form([files[k] for k in order]), given)
    assert loaded.encoder is None
    assert [loaded.classes[k] for k in loaded.y] == given
    assert list(loaded.ids) == [str(files[k]) for k in order]
    assert np.array_equal(every(loaded.x), pixels()[order].transpose(0, 3, 1, 2))
    rows, names, _ = read_inputs(form([files[k] for k in order]), loaded.x.shape, UINT8)
    assert np.array_equal(every(rows), every(loaded.x))
    assert names == list(loaded.ids)


def test_labels_stay_with_their_files_where_one_cannot_be_read(files):
    files[3].write_bytes(b"no image")
    y = np.array([[k % 2, k % 2, 1] for k in range(12)])
    for given in (np.arange(12) % 2, y):
        loaded = load(files, given)
        assert [Path(name) for name in loaded.ids] == files[:3] + files[4:]
        assert [loaded.classes[k] for k in loaded.y] == [0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1]
        assert [item.path for item in loaded.skipped] == [str(files[3])]
    assert loaded.annotations.names == ("0", "1", "2")
    assert len(loaded.annotations.labels) == 11


def test_what_is_wrong_with_a_list_of_files_is_said(files):
    with pytest.raises(InputError, match="needs y, one label a file"):
        load(files)
    with pytest.raises(InputError, match="X has 12 rows, y has 11"):
        load(files, LABELS[:-1])
    with pytest.raises(InputError, match="comes twice, in rows 0 and 12"):
        load([*files, files[0]], [*LABELS, "dog"])
    with pytest.raises(InputError, match=r"none of its 12 files is there; .* paths are relative to"):
        load([f"elsewhere/{path.name}" for path in files], LABELS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "HSV"])
def test_images_of_pillow_are_read_as_they_look(mode):
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], dtype=np.uint8)
    solid = [Image.fromarray(np.full((8, 8, 3), colours[k % 3], dtype=np.uint8)) for k in range(12)]
    images = [image.quantize(4) if mode == "P" else image.convert(mode) for image in solid]
    array = np.empty(12, dtype=object)
    array[:] = images
    for form in (images, tuple(images), pd.Series(images), array):
        loaded = load(form, LABELS)
        assert loaded.x.shape == (3, 8, 8)
        assert np.abs(every(loaded.x).mean((2, 3)) - colours[np.arange(12) % 3]).max() <= 3
        rows, _, _ = read_inputs(form, (3, 8, 8), UINT8)
        assert np.array_equal(every(rows), every(loaded.x))


def test_images_of_pillow_may_differ_in_size_and_colour_and_are_upright():
    images = [Image.new("L" if k % 2 else "RGB", (20 + k, 30), 255) for k in range(12)]
    assert load(images, LABELS).x.shape == (3, 224, 224)
    assert load(images, LABELS, options=ReadOptions(image_size=16)).x.shape == (3, 16, 16)
    turned = Image.fromarray(pixels()[0])
    turned.getexif()[0x0112] = 6
    found = every(load([turned] * 12, LABELS).x)[0]
    assert np.array_equal(found.transpose(1, 2, 0), np.rot90(pixels()[0], -1))
    with pytest.raises(InputError, match="row 5 of the data set is a NoneType"):
        load([*images[:5], None, *images[6:]], LABELS)


def test_names_of_image_files_are_no_features(files, tmp_path):
    names = [path.name for path in files]
    frame = pd.DataFrame({"filename": names, "width": range(12), "label": LABELS})
    loaded = load(frame)
    assert loaded.x.shape == (1,)
    assert loaded.encoder.left_out[0]["name"] == "filename"
    with pytest.raises(InputError, match="names of image files; to learn from the images, call the column 'path'"):
        load(frame[["filename"]], LABELS)
    frame[["filename", "label"]].to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(InputError, match="names of image files"):
        load(tmp_path / "few.csv")
    with pytest.raises(InputError, match=r"column of the table can be used \('image': holds images"):
        load(pd.DataFrame({"image": [Image.new("RGB", (8, 8))] * 12}), LABELS)


def test_a_column_image_may_name_files_or_be_a_feature(files, tmp_path):
    frame = pd.DataFrame({"image": [path.name for path in files], "label": LABELS})
    frame.to_csv(tmp_path / "named.csv", index=False)
    assert np.array_equal(every(load(tmp_path / "named.csv").x), pixels().transpose(0, 3, 1, 2))
    frame.assign(image=range(12), other=1.5).to_csv(tmp_path / "number.csv", index=False)
    assert np.array_equal(every(load(tmp_path / "number.csv").x)[:, 0], range(12))


def test_a_frame_of_paths_is_trained_on_and_predicted_on(files):
    frame = pd.DataFrame({"path": files, "label": LABELS})
    loaded = load(frame)
    assert np.array_equal(every(loaded.x), pixels().transpose(0, 3, 1, 2))
    rows, _, _ = read_inputs(frame[["path"]], loaded.x.shape, UINT8)
    assert np.array_equal(every(rows), every(loaded.x))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (pixels()[0], r"looks like one image with 3 channels: give X\[None\]"),
        ([pixels()[0], pixels()[1][:5]], r"row 0 has the shape \(10, 12, 3\), row 1 has \(5, 12, 3\)"),
        ({"image": pixels()}, "objects of type dict"),
        ([], "X has 0 sample"),
        ([object(), object()], "objects of type object"),
    ],
)
def test_what_is_no_list_of_samples_is_an_input_error(x, words):
    with pytest.raises(InputError, match=words):
        load(x, [0, 1])


def test_files_that_are_left_out_are_counted_by_reason():
    bad = [Skipped("a.png", "empty file"), *(Skipped(f"b{k}.png", "not an image") for k in range(1_200))]
    said = "left out 1,201 files: 1,200 (not an image; the first: b0.png), 1 (empty file; the first: a.png)"
    assert left_out(bad) == said
    assert left_out(bad[:1]) == "left out 1 file, the first: a.png (empty file)"
    assert left_out([Skipped("c.png", f"decoder error {k}") for k in range(6)]).endswith(", 2 for other reasons")


def test_the_estimator_says_what_was_left_out_and_what_is_empty(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(80) % 2
    images = (120 * y[:, None, None, None] + generator.integers(0, 60, (80, 8, 8, 3))).astype(np.uint8)
    paths = [tmp_path / f"{k}.png" for k in range(80)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    paths[7].write_bytes(b"")
    with pytest.warns(TrainingWarning, match=r"left out 1 file, the first: .*7\.png \(empty file\)"):
        clf = NoisyLabelClassifier("cross_entropy", epochs=1).fit(paths, y)
    assert len(clf.labels_) == 79
    assert clf.labels_["given"].tolist() == [k % 2 for k in range(80) if k != 7]
    texts = ["good film", "bad film"] * 40
    with pytest.warns(TrainingWarning, match="3 of 80 texts are empty"):
        NoisyLabelClassifier("cross_entropy", epochs=1).fit([None, "", " ", *texts[3:]], y)


def test_ids_that_name_no_rows_are_said_where_they_are_predicted(tmp_path):
    pd.DataFrame({"id": ["a", "b", "a"], "x": range(3), "y": range(3)}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.warns(
        UserWarning, match=r"1 ids come again or are missing \(the first in row 2\), so rows are named by"
    ):
        _, names, _ = read_inputs(tmp_path / "new.csv", (2,), torch.float32)
    assert names == [0, 1, 2]


def test_float_images_of_another_scale_are_said(recwarn):
    x = pixels((12, 12)).repeat(4, axis=0) / 255
    clf = NoisyLabelClassifier("cross_entropy", epochs=1).fit(x, LABELS * 4)
    recwarn.clear()
    clf.predict(x)
    clf.predict(x[:1] / 8)  # a dark one
    assert not any("another scale" in str(one.message) for one in recwarn)
    for factor in (255, 1 / 255):
        with pytest.warns(UserWarning, match="values of another scale than those of the training"):
            clf.predict(x * factor)


@pytest.mark.parametrize("relative", [False, True])
def test_a_run_on_a_list_is_cleaned_without_naming_a_source(files, tmp_path, monkeypatch, relative):
    monkeypatch.chdir(files[0].parent)
    listed = [path.relative_to(files[0].parent) for path in files] if relative else files
    NoisyLabelClassifier("cross_entropy", epochs=1, out=tmp_path / "run").fit(listed, LABELS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    clean(tmp_path / "run", tmp_path / "names", drop_below=0.0)
    clean(tmp_path / "run", tmp_path / "copies", drop_below=0.0, files="copy")
    names = pd.read_csv(tmp_path / "names/labels_clean.csv")
    assert sorted(names["path"]) == sorted(map(str, files))
    copied = sorted(path.read_bytes() for path in (tmp_path / "copies").rglob("*.[pP][nN][gG]"))
    assert copied == sorted(path.read_bytes() for path in files)


@pytest.mark.parametrize("relative", [False, True])
def test_the_audit_of_a_run_on_a_list_of_files_shows_them(files, tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    given = [Path(path.name) for path in files] if relative else files
    y = [None, *LABELS[1:]]
    NoisyLabelClassifier("cross_entropy", net="mlp", epochs=1, out=tmp_path / "run").fit(given, y)
    monkeypatch.chdir("/")  # the record says where the names start
    found = from_run(tmp_path / "run")
    assert not any("cannot be shown" in said for said in found.remarks)
    assert np.array_equal(every(found.rows), pixels().transpose(0, 3, 1, 2))
    files[3].unlink()
    gone = from_run(tmp_path / "run")
    assert any("1 of 12 images is gone" in said for said in gone.remarks)
    assert np.array_equal(every(gone.rows), np.delete(pixels().transpose(0, 3, 1, 2), 3, axis=0))
    for path in files:
        path.unlink(missing_ok=True)
    assert any("no file has" in said for said in from_run(tmp_path / "run").remarks)
