"""Public sets of photos in their published layouts, as tiny trees: what is read, and what is said when files lack."""

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from codivide import InputError
from codivide.data import named, photo_sets
from codivide.data.options import ReadOptions
from codivide.data.source import Reading
from codivide.data.sources import load

WNIDS = [f"n{number:08d}" for number in (10, 20, 30)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def photo(path, colour):
    """A photo of one colour, by which a test knows it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (colour, 60, 200)).save(path, "PNG" if path.suffix == ".png" else "JPEG", quality=100)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read(name, **options):
    return load(name, options=ReadOptions(**{"image_size": 16, **options}))


def red(loaded):
    """The red of every photo."""
    return np.rint(loaded.x[torch.arange(len(loaded.y))][:, 0].float().mean((1, 2)).numpy()).astype(int).tolist()


def imagenet(root, flat=True):
    """Two training photos a class, and four for validation, of classes 2, 0, 1, 2."""
    for k, name in enumerate(WNIDS):
        for i in range(2):
            photo(root / "train" / name / f"{name}_{i}.JPEG", 40 * k + 10 * i)
    for i, k in enumerate((2, 0, 1, 2)):
        folder = root / "val" if flat else root / "val" / WNIDS[k]
        photo(folder / f"ILSVRC2012_val_{i + 1:08d}.JPEG", 150 + 10 * i)


def kaggle(root):
    lines = [f"ILSVRC2012_val_{i + 1:08d},{WNIDS[k]} 1 2 3 4 {WNIDS[0]} 1 2 3 4" for i, k in enumerate((2, 0, 1, 2))]
    write(root / "LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *reversed(lines)]))


def synsets(root):
    write(root / "imagenet_2012_validation_synset_labels.txt", "\n".join(WNIDS[k] for k in (2, 0, 1, 2)))


def devkit(root):
    place = root / "ILSVRC2012_devkit_t12" / "data"
    write(place / "ILSVRC2012_validation_ground_truth.txt", "7\n3\n5\n7\n")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    rows = np.array([(3, WNIDS[0]), (5, WNIDS[1]), (7, WNIDS[2]), (1001, "n99999999")], dtype=kind)
    scipy.io.savemat(place / "meta.mat", {"synsets": rows})


@pytest.mark.parametrize("truth", [None, kaggle, synsets, devkit])
def test_imagenet(data, truth):
    imagenet(data / "imagenet", flat=truth is not None)
    if truth is not None:
        truth(data / "imagenet")
    loaded = read("imagenet")
    assert loaded.classes == tuple(WNIDS)
    assert loaded.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert loaded.augment == "resized_crop"
    assert loaded.ids[0] == f"imagenet/train/{WNIDS[0]}/{WNIDS[0]}_0.JPEG"
    assert loaded.x.shape == (3, 16, 16)
    by_colour = dict(zip(red(loaded.test), loaded.test.y.tolist(), strict=True))
    assert len(by_colour) == 4
    assert [by_colour[colour] for colour in sorted(by_colour)] == [2, 0, 1, 2]
    assert loaded.name == "imagenet"
    assert read("imagenet", augment="photo").test.augment == "photo"


def test_imagenet_is_stored_at_256_pixels_and_cut_to_224(data):
    imagenet(data / "ILSVRC2012", flat=False)
    loaded = named.load("imagenet", data)
    assert loaded.x.shape == (3, 256, 256)


def clothing(root, annotations=""):
    """Three photos to train on, with labels partly wrong, and two each to validate and test."""
    place = root / annotations
    kinds = {"noisy_train": ("noisy", (0, 5, 13)), "clean_val": ("clean", (1, 2)), "clean_test": ("clean", (3, 4))}
    kv = {"noisy": [], "clean": []}
    for number, (split, (kind, labels)) in enumerate(kinds.items()):
        keys = [f"images/{number}/{i}.jpg" for i in range(len(labels))]
        write(place / f"{split}_key_list.txt", "\n".join(keys))
        kv[kind] += [f"{key} {label}" for key, label in zip(keys, labels, strict=True)]
        for i, key in enumerate(keys):
            photo(root / key, 100 * number + 10 * i)
    kv["clean"].append("images/0/0.jpg 7")  # also known rightly; training takes the noisy label
    for kind, lines in kv.items():
        write(place / f"{kind}_label_kv.txt", "\n".join(lines))


@pytest.mark.parametrize("annotations", ["", "annotations"])
def test_clothing1m(data, annotations):
    clothing(data / "clothing1m", annotations)
    loaded = read("clothing1m")
    assert loaded.classes == tuple(range(14))
    assert (loaded.y.tolist(), loaded.augment) == ([0, 5, 13], "crop")
    assert (loaded.validation.y.tolist(), loaded.test.y.tolist()) == ([1, 2], [3, 4])
    assert red(loaded.validation)[0] == pytest.approx(100, abs=3)
    assert red(loaded.test)[0] == pytest.approx(200, abs=3)


def webvision(root):
    rows = [
        ("google/q0001/a.jpg", 0),
        ("google/q0002/b.jpg", 49),
        ("google/q0003/c.jpg", 2),
        ("google/q0900/d.jpg", 50),
    ]
    write(root / "info" / "train_filelist_google.txt", "\n".join(f"{name} {label}" for name, label in rows))
    for i, (name, _) in enumerate(rows):
        photo(root / name, 10 * i)
    held = [("val000001.jpg", 2), ("val000002.jpg", 50)]
    write(root / "info" / "val_filelist.txt", "\n".join(f"{name} {label}" for name, label in held))
    for i, (name, _) in enumerate(held):
        photo(root / "val_images_256" / name, 100 + 10 * i)


def test_webvision(data):
    webvision(data / "webvision")
    mini = read("webvision:mini")
    assert mini.classes == tuple(range(50))
    assert (mini.y.tolist(), mini.test.y.tolist()) == ([0, 49, 2], [2])
    whole = read("webvision")
    assert whole.classes == (0, 2, 49, 50)
    assert (whole.y.tolist(), whole.test.y.tolist()) == ([0, 2, 1, 3], [1, 3])


def test_mini_webvision_is_tested_on_imagenet_too(data):
    webvision(data / "webvision")
    imagenet(data / "imagenet", flat=False)
    loaded = read("webvision:mini_ilsvrc")
    assert sorted(loaded.test.y.tolist()) == [0, 1, 2, 2]
    assert loaded.y.tolist() == [0, 49, 2]
    assert loaded.classes == tuple(range(50))


def food(root):
    write(root / "food101n" / "meta" / "classes.txt", "class_name\napple_pie\nwaffles\n")
    keys = ["apple_pie/a.jpg", "waffles/b.jpg", "waffles/c.png"]
    write(root / "food101n" / "meta" / "imagelist.tsv", "\n".join(["class_name/key", *keys]))
    for i, key in enumerate(keys):
        photo(root / "food101n" / "images" / key, 10 * i)
    write(root / "food-101" / "meta" / "test.txt", "waffles/1\napple_pie/2\n")
    for i, key in enumerate(("waffles/1", "apple_pie/2")):
        photo(root / "food-101" / "images" / f"{key}.jpg", 100 + 10 * i)


def test_food101n(data):
    food(data)
    loaded = read("food101n")
    assert loaded.classes == ("apple_pie", "waffles")
    assert (loaded.y.tolist(), loaded.test.y.tolist()) == ([0, 1, 1], [1, 0])


@pytest.mark.parametrize("name", photo_sets.names())
def test_a_set_that_is_not_there_is_named_with_its_place(data, name):
    data.mkdir()
    with pytest.raises(InputError, match=r"is not below .*data: put your copy in .*set CODIVIDE_DATA"):
        read(name)
    assert name in named.names()


LACKS = [
    ("imagenet", "train", "lacks the folder train with one folder a class"),
    ("imagenet", "val", "lacks the folder val"),
    ("imagenet", "LOC_val_solution.csv", "is flat, so its labels are needed: LOC_val_solution.csv, .*meta.mat"),
    ("clothing1m", "noisy_label_kv.txt", "lacks noisy_label_kv.txt or annotations/noisy_label_kv.txt"),
    ("clothing1m", "clean_val_key_list.txt", "lacks clean_val_key_list.txt"),
    ("webvision:mini", "info/val_filelist.txt", "lacks info/val_filelist.txt"),
    ("webvision:mini", "val_images_256", "lacks the folder val_images_256 or val_images or val"),
    ("food101n", "meta/classes.txt", "lacks meta/classes.txt"),
    ("food101n", "../food-101", "the test part of food101n is not below"),
    ("food101n", "../food-101/meta/test.txt", "food-101 in .* lacks meta/test.txt"),
]


@pytest.mark.parametrize(("name", "missing", "message"), LACKS, ids=[f"{name}-{file}" for name, file, _ in LACKS])
def test_what_a_copy_lacks_is_named(data, name, missing, message):
    folder = data / name.partition(":")[0]
    food(data)
    imagenet(data / "imagenet")
    kaggle(data / "imagenet")
    clothing(data / "clothing1m")
    webvision(data / "webvision")
    assert len(read(name).y) >= 3
    (folder / missing).resolve().rename(data / "gone")
    with pytest.raises(InputError, match=message):
        read(name)


def test_labels_that_do_not_fit_are_named(data):
    clothing(data / "clothing1m")
    write(data / "clothing1m" / "clean_label_kv.txt", "images/1/0.jpg 1")
    with pytest.raises(InputError, match=r"clean_val_key_list.txt lists images/1/1.jpg, of which clean_label_kv.txt"):
        read("clothing1m")
    imagenet(data / "imagenet")
    write(data / "imagenet" / "imagenet_2012_validation_synset_labels.txt", WNIDS[0])
    with pytest.raises(InputError, match="has 1 labels for 4 photos"):
        read("imagenet")
    write(data / "imagenet" / "imagenet_2012_validation_synset_labels.txt", "\n".join(["n77777777"] * 4))
    with pytest.raises(InputError, match="n77777777, which has no folder in train"):
        read("imagenet")
    write(data / "imagenet" / "LOC_val_solution.csv", "ImageId,PredictionString\n")
    with pytest.raises(InputError, match=r"has no line for ILSVRC2012_val_00000001\.JPEG"):
        read("imagenet")
    food(data)
    write(data / "food-101" / "meta" / "test.txt", "pho/1")
    with pytest.raises(InputError, match="names the class pho"):
        read("food101n")


def test_a_class_of_another_order_is_read_by_its_name(data):
    food(data)
    swapped = photo_sets.load("food101n", data, Reading(ReadOptions(image_size=16)))
    assert [swapped.classes[k] for k in swapped.y] == ["apple_pie", "waffles", "waffles"]
