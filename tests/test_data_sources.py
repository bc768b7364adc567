"""Data sets of other libraries, packed arrays, and inputs at prediction time."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.data import packed, sources
from codivide.data.arrays import from_arrays
from codivide.data.columns import Columns
from codivide.data.inputs import from_memory
from codivide.data.rows import MemmapRows
from codivide.data.source import Source
from codivide.data.sources import ReadOptions, load, read_inputs
from codivide.data.tfidf import Tfidf

UINT8, FLOAT = torch.uint8, torch.float32


class Listed(Dataset):
    """Items of a list; an exception among them is raised. Counts how often it is asked."""

    def __init__(self, items):
        self.items = items
        self.asked = 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.asked += 1
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def plain(size=8, colour=(0, 0, 0), mode="RGB"):
    return Image.new(mode, (size, size), colour)


def every(rows):
    return rows[torch.arange(len(rows))]


class Jittered(Listed):
    """Items behind a random transform."""

    def __getitem__(self, index):
        sample, label = super().__getitem__(index)
        return sample + torch.rand(()), label


def test_a_random_transform_is_frozen_and_said():
    items = [(torch.zeros(3, 8, 8), k % 2) for k in range(4)]
    with pytest.warns(UserWarning, match=r"one random draw is frozen.*augment"):
        load(Jittered(items))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(Listed(items))
        load(Listed([(plain(colour=(k, 0, 0)), k % 2) for k in range(4)]))
        read_inputs(Jittered(items), (3, 8, 8), FLOAT)  # nothing is learned from these


def test_a_dataset_of_pictures_is_read_once():
    source = Listed([(plain(colour=(k, 0, 0)), ["b", "a"][k % 2]) for k in range(4)])
    loaded = load(source)
    assert (loaded.x.shape, loaded.classes, loaded.y.tolist()) == ((3, 8, 8), ("a", "b"), [1, 0, 1, 0])
    assert every(loaded.x)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert source.asked == 4 + 1  # the first once more, to see whether it is random


def test_a_dataset_whose_pictures_differ():
    grey = plain(colour=9, mode="L")
    assert load(Listed([(grey, 0), (grey, 1)])).x.shape == (1, 8, 8)
    late = load(Listed([(grey, 0), (plain(colour=(1, 2, 3)), 1), (grey, 0)]))
    assert every(late.x)[:, :, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3], [9, 9, 9]]
    assert load(Listed([(grey, 0), (plain(9), 1)])).x.shape == (3, 224, 224)
    assert load(Listed([(plain(100), 0), (plain(8), 1)])).x.shape == (3, 224, 224)
    assert load(Listed([(plain(100), 0), (plain(8), 1)]), options=ReadOptions(image_size=10)).x.shape == (3, 10, 10)


@pytest.mark.parametrize(
    ("shape", "sample"), [((5, 6), (1, 5, 6)), ((5, 6, 3), (3, 5, 6)), ((3, 5, 6), (3, 5, 6)), ((7,), (7,))]
)
def test_a_dataset_of_arrays(shape, sample):
    x = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    loaded = load(Listed([(row, torch.tensor(k % 2)) for k, row in enumerate(x)]))
    assert loaded.x.shape == sample
    assert loaded.x.dtype == (FLOAT if len(sample) == 1 else UINT8)
    expected = load(x, [0, 1, 0, 1])
    assert torch.equal(every(loaded.x), every(expected.x))
    assert torch.equal(every(load(TensorDataset(torch.from_numpy(x), torch.tensor([0, 1, 0, 1]))).x), every(expected.x))


def test_a_dataset_over_the_limit_is_mapped():
    items = [(np.full((5, 6, 3), k, np.uint8), k % 2) for k in range(4)]
    loaded = load(Listed(items), options=ReadOptions(cache_limit=10))
    assert isinstance(loaded.x, MemmapRows)
    assert every(loaded.x)[:, 2, 4, 5].tolist() == [0, 1, 2, 3]


def test_items_that_cannot_be_read_are_listed():
    items = [(plain(), 0), OSError("image file is truncated"), (plain(), 1)]
    loaded = load(Listed(items), truth=[1, 0, 1])
    assert list(loaded.ids) == [0, 2]
    assert loaded.skipped == (("row 1", "image file is truncated"),)
    assert loaded.truth.tolist() == [1, 1]
    with pytest.raises(InputError, match=r"1 of 3 images cannot be read.*row 1: image file is truncated"):
        load(Listed(items), options=ReadOptions(max_bad=0))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Listed([]), "empty"),
        (Listed([plain(), plain()]), "no labels"),
        (Listed([("a.png", 0)]), "row 0 of the data set is a str"),
        (Listed([(np.zeros(3), 0), (np.zeros(4), 1)]), r"row 1 of the data set is float32 of shape \(4,\)"),
        (Listed([(np.zeros((3, 3)), 0), (np.full((3, 3), np.nan), 1)]), "row 1 of the data set.*NaN"),
        (Stream(), "use a map-style data set"),
    ],
)
def test_bad_datasets(source, message):
    with pytest.raises(InputError, match=message):
        load(source)


def test_labels_come_with_the_dataset():
    with pytest.raises(InputError, match="y must be None"):
        load(Listed([(plain(), 0)]), [0])


@pytest.mark.parametrize("name", ["image", "pixel_values"])
def test_dicts_and_a_loader_of_them(name):
    items = Listed([{name: torch.full((3, 8, 8), float(k)), "label": k % 2} for k in range(6)])
    for source in (items, DataLoader(items, batch_size=4, shuffle=True)):
        loaded = load(source)
        assert loaded.y.tolist() == [0, 1] * 3
        assert every(loaded.x)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(
        InputError, match=r"a dict of photo, label: its sample .* must be called image or img.*label label"
    ):
        load(Listed([{"photo": torch.zeros(3, 8, 8), "label": 0}] * 2))


def test_a_list_of_dicts_is_said_to_be_a_data_frame():
    rows = [{"x": 0.5 * k, "z": "b", "label": "ab"[k % 2]} for k in range(20)]
    with pytest.raises(InputError, match=r"a list of dicts \(x, z, label\): give a data frame, pandas.DataFrame"):
        load(rows)
    assert load(pd.DataFrame(rows)).classes == ("a", "b")


def test_items_without_a_label():
    nothing = (
        plain(),
        (plain(),),
        (plain(), None),
        (plain(), float("nan")),
        (plain(), -1),
        (plain(), torch.tensor(-1)),
    )
    loaded = load(Listed([(plain(), 3), *nothing, (plain(), 5)]))
    assert (loaded.classes, loaded.y.tolist()) == ((3, 5), [0, -1, -1, -1, -1, -1, -1, 1])
    assert load(Listed([(plain(), "b"), (plain(), ""), (plain(), "a")])).y.tolist() == [1, -1, 0]
    with pytest.raises(InputError, match="no label at all"):
        load(Listed([(plain(), -1), (plain(), -1)]))


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled"])
def test_an_unlabelled_split_of_hugging_face(name):
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    parts = [[plain(colour=(10 * part + k, 0, 0)) for k in range(2)] for part in range(3)]
    train, test = (datasets.Dataset.from_dict({"img": p, "label": [1, 0]}, features=features) for p in parts[:2])
    for labels in ({"label": [1, -1]}, {}):  # whatever a split of that name holds, it has no labels
        kinds = datasets.Features({column: features[column] for column in ("img", *labels)})
        other = datasets.Dataset.from_dict({"img": parts[2], **labels}, features=kinds)
        loaded = load(datasets.DatasetDict({"train": train, name: other, "test": test}))
        assert (loaded.classes, loaded.y.tolist()) == (("no", "yes"), [1, 0, -1, -1])
        assert every(loaded.x)[:, 0, 0, 0].tolist() == [0, 1, 20, 21]
        assert loaded.test.y.tolist() == [1, 0]


def test_hugging_face(monkeypatch):
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    pictures = [plain(colour=(k, 0, 0)) for k in range(3)]
    table = datasets.Dataset.from_dict({"img": pictures, "label": [1, 0, -1]}, features=features)
    loaded = load(table)
    assert (loaded.classes, loaded.y.tolist()) == (("no", "yes"), [1, 0, -1])
    assert every(loaded.x)[:, 0, 0, 0].tolist() == [0, 1, 2]
    both = load(datasets.DatasetDict({"train": table, "test": table.select([1])}))
    assert both.test.y.tolist() == [0]
    rows, ids, _ = read_inputs(table, (1, 4, 4), UINT8)
    assert (rows.shape, ids) == ((1, 4, 4), [0, 1, 2])
    with pytest.raises(InputError, match=r"no column 'label' \(columns: text\)"):
        load(datasets.Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(InputError, match="without streaming"):
        load(table.to_iterable_dataset())


def promising(path, shape, content, compression):
    """An ``.npz`` file whose x says that it has a shape, whatever it holds."""
    header = str({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", compression) as archive:
        with archive.open("x.npy", "w") as file:
            file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content)
        with archive.open("y.npy", "w") as file:
            np.save(file, np.arange(4) % 2)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_says_to_be_larger_than_it_is_takes_no_room(tmp_path, monkeypatch, compression):
    promising(tmp_path / "a.npz", (10**9, 4), bytes(800), compression)
    monkeypatch.setattr(packed.np, "load", lambda *a, **k: pytest.fail("NumPy would make room for 32 GB"))
    with pytest.raises(InputError, match=r"a\.npz cannot be read: x\.npy says that it is \(1000000000, 4\)"):
        load(tmp_path / "a.npz")


def test_arrays_that_unpack_to_far_more_than_their_file_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((4000, 40)), y=np.arange(4000) % 2)
    assert load(tmp_path / "a.npz").x.shape == (40,)
    monkeypatch.setattr(packed, "_UNPACKED", 2**20)
    monkeypatch.setattr(packed, "_TIMES", 10)
    with pytest.raises(InputError, match=r"a\.npz unpacks to more than 1 MB.*numpy\.savez, which does not compress"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((4000, 40)), y=np.arange(4000) % 2)
    assert load(tmp_path / "b.npz").x.shape == (40,)


def test_npz(tmp_path):
    x, y = np.zeros((3, 4, 4), np.uint8), np.array(["a", "b", "a"])
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x[:1], y_test=y[1:2], true_y=y[::-1])
    loaded = load(tmp_path / "a.npz")
    assert (loaded.y.tolist(), loaded.truth.tolist(), loaded.test.y.tolist()) == ([0, 1, 0], [0, 1, 0], [1])
    for labels in ([0, -1, 1], [0, np.nan, 1], ["a", "", "b"], ["a", "-1", "b"]):
        np.savez(tmp_path / "missing.npz", x=x, y=np.array(labels))
        assert load(tmp_path / "missing.npz").y.tolist() == [0, -1, 1]
    np.savez(tmp_path / "b.npz", X=x)
    with pytest.raises(InputError, match=r"needs arrays x and y \(it has X\)"):
        load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=x, y=np.array([1, "a", None], dtype=object))
    with pytest.raises(InputError, match=r"Python objects, which are never opened; save texts as y.astype\(str\)"):
        load(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", x=x, y=y, x_test=x[:, :2], y_test=y)
    with pytest.raises(InputError, match=r"x_test has samples of shape \(1, 2, 4\) .* of \(1, 4, 4\)"):
        load(tmp_path / "d.npz")


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "in" / name for name in ("a.png", "b/c.png")]
    for k, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        plain(16, (k, 0, 0)).save(path)
    return paths


def test_files_and_folders_as_inputs(files, tmp_path):
    rows, ids, skipped = read_inputs(tmp_path / "in", (3, 8, 8), UINT8)
    assert (rows.shape, ids, skipped) == ((3, 8, 8), ["a.png", "b/c.png"], ())
    assert every(rows)[:, 0, 0, 0].tolist() == [0, 1]
    assert read_inputs(str(files[1]), (1, 4, 6), UINT8)[0].shape == (1, 4, 6)
    (tmp_path / "bad.png").touch()
    rows, ids, skipped = read_inputs([files[1].parent, tmp_path / "bad.png"], (3, 8, 8), UINT8)
    assert ids == [files[1].as_posix()]
    assert skipped == ((str(tmp_path / "bad.png"), "empty file"),)
    (tmp_path / "m.csv").write_text("path\nin/b/c.png\nin/a.png\n")
    assert read_inputs(tmp_path / "m.csv", (3, 8, 8), UINT8)[1] == ["in/b/c.png", "in/a.png"]


def test_arrays_as_inputs(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    rows, ids, _ = read_inputs(x, (3, 6, 6), UINT8)
    assert np.array_equal(every(rows), x.transpose(0, 3, 1, 2))
    assert ids == [0, 1, 2, 3, 4]
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", images=x)
    for name in ("x.npy", "x.npz"):
        assert torch.equal(every(read_inputs(tmp_path / name, (3, 6, 6), UINT8)[0]), every(rows))
    assert read_inputs(x, (1, 3, 4), UINT8)[0].shape == (1, 3, 4)
    assert torch.equal(every(read_inputs(x[..., 0], (3, 6, 6), UINT8)[0])[:, 2], torch.from_numpy(x[..., 0]))


def test_features_as_inputs(tmp_path):
    x = np.arange(6.0).reshape(3, 2)
    pd.DataFrame({"id": ["u", "v", "w"], "a": x[:, 0], "b": x[:, 1], "label": 1}).to_csv(tmp_path / "x.csv")
    frame = pd.read_csv(tmp_path / "x.csv", index_col=0)
    frame.to_csv(tmp_path / "x.csv", index=False)
    rows, ids, _ = read_inputs(tmp_path / "x.csv", (2,), FLOAT)
    assert (every(rows).tolist(), ids) == (x.tolist(), ["u", "v", "w"])
    for source in (x, x.tolist(), sparse.csr_matrix(x), torch.from_numpy(x), TensorDataset(torch.from_numpy(x))):
        assert every(read_inputs(source, (2,), FLOAT)[0]).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("source", "shape", "dtype", "message"),
    [
        (np.zeros((2, 3)), (5,), FLOAT, "X has 3 features, but the model is expecting 5 features as input"),
        (np.zeros((2, 3)), (3, 8, 8), UINT8, "takes images .* but X holds features"),
        (np.zeros((2, 3, 3)), (5,), FLOAT, "takes features .* but X holds images"),
        (np.zeros((2, 3, 3)), (1, 3, 3), UINT8, "trained on uint8 images .* but X holds float"),
        (np.zeros((2, 3, 3), np.uint8), (1, 3, 3), FLOAT, "trained on float images, but X holds uint8"),
        (np.zeros((2, 3, 3)), (1, 4, 4), FLOAT, "resize them first"),
        (np.zeros((2, 4, 4), np.uint8), (4, 8, 8), UINT8, "4 channels"),
        ("/no/where.png", (3, 8, 8), UINT8, "no file or folder '/no/where.png'"),
        ("/no/where.csv", (3,), FLOAT, "no file or folder '/no/where.csv'"),
        ([], (3, 8, 8), UINT8, "the list is empty"),
    ],
)
def test_inputs_that_do_not_fit(source, shape, dtype, message):
    with pytest.raises(InputError, match=message):
        read_inputs(source, shape, dtype)


def test_files_that_do_not_fit(files, tmp_path):
    with pytest.raises(InputError, match="takes 5 features, not image files"):
        read_inputs(files, (5,), FLOAT)
    with pytest.raises(InputError, match="trained on float images"):
        read_inputs(files, (3, 8, 8), FLOAT)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_inputs(tmp_path / "none", (3, 8, 8), UINT8)
    (tmp_path / "bad.png").touch()
    with pytest.raises(InputError, match=r"1 of 1 images cannot be read: .*bad.png: empty file"):
        read_inputs(tmp_path / "bad.png", (3, 8, 8), UINT8)


def toy_source():
    """Files of lines ``label number number``."""

    def numbers(path):
        words = [line.split() for line in Path(path).read_text().splitlines()]
        return np.array([line[1:] for line in words], dtype=np.float32), [line[0] for line in words]

    def labelled(path, reading):
        x, y = numbers(path)
        return from_arrays(x, y, options=reading.options, classes=reading.classes, truth=reading.truth, name="toy")

    return Source(
        "lines of numbers",
        lambda source: str(source).endswith(".toy"),
        labelled,
        lambda path, wanted: from_memory(numbers(path)[0], wanted),
    )


def test_a_source_is_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.toy"
    path.write_text("".join(f"{'ab'[k % 2]} {k % 2} {k / 40}\n" for k in range(40)))
    with pytest.raises(InputError, match="is no data set"):
        load(path)
    monkeypatch.setattr(sources, "SOURCES", (toy_source(), *sources.SOURCES))
    fit = ["fit", path, "--test", path, "--out", tmp_path / "run", "--method", "features"]
    for words in (fit, ["predict", tmp_path / "run", path, "--out", tmp_path / "p.csv"]):
        monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0, capsys.readouterr().err
    assert "test accuracy: 1.0000; balanced 1.0000" in capsys.readouterr().out  # of features there are no epochs
    assert pd.read_csv(tmp_path / "p.csv").iloc[:, 1].tolist() == ["a", "b"] * 20
    with pytest.raises(InputError, match="y must be None"):
        load(path, [0])
    with pytest.raises(InputError, match="label='genre': columns can be named for a table only"):
        load(path, options=ReadOptions(label="genre"))
    with pytest.raises(InputError, match="the model takes texts"):
        read_inputs(path, (3,), FLOAT, encoder=Tfidf.fit("tfidf", ["some words"]))


def test_every_kind_of_source_can_do_something():
    names = [kind.name for kind in sources.SOURCES]
    assert len(set(names)) == len(names)
    for kind in sources.SOURCES:
        assert kind.labelled or kind.inputs
        assert kind.inputs or not kind.texts
    alone = [kind.name for kind in sources.SOURCES if kind.inputs is None]
    assert alone == ["a public data set"]


def test_texts_for_a_model_that_takes_none():
    with pytest.raises(InputError, match="the model takes features, but X holds texts"):
        read_inputs(np.array(["a b", "c"]), (2,), FLOAT)
    with pytest.raises(InputError, match="the model takes images, but X holds texts"):
        read_inputs(pd.Series(["a b", "c"]), (3, 8, 8), UINT8)


def test_labels_whose_index_is_in_another_order_are_said(recwarn):
    x, y = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]}), pd.Series(["u", "v", "u", "v"])
    for rows, labels in ((x, y), (x[::-1], y[::-1]), (x, y.set_axis(list("abcd"))), (x.set_axis([7, 8, 9, 9]), y)):
        load(rows, labels)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"another order, and labels go by their place: y.loc\[X.index\]"):
        assert load(x, y[::-1]).y.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("columns", "shape", "message"),
    [
        ({"a": [1.0], "b": [2.0]}, (5,), "new.csv has 2 features, but the model is expecting 5"),
        ({"a": [1.0, 2.0], "b": [2.0, None]}, (2,), r"new.csv contains NaN: row 1, column 'b'"),
        ({"text": ["a b"]}, (2,), "new.csv .*text"),
    ],
)
def test_new_data_are_called_by_their_file(tmp_path, columns, shape, message):
    pd.DataFrame(columns).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(InputError, match=message) as caught:
        read_inputs(tmp_path / "new.csv", shape, torch.float32)
    assert "X" not in str(caught.value).replace(str(tmp_path), "")
    np.savez(tmp_path / "new.npz", x=np.zeros((2, 3, 3), dtype=np.float32))
    with pytest.raises(InputError, match=r"features .* but .*new.npz holds images"):
        read_inputs(tmp_path / "new.npz", shape, torch.float32)


def test_a_table_that_lacks_a_column_is_called_by_its_file(tmp_path):
    columns = Columns.fit("columns", pd.DataFrame({"job": ["tech", "cook"] * 9, "age": range(18)}))
    pd.DataFrame({"job": ["cook"]}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(
        InputError, match=r"new.csv needs one column for each that the model was trained on; 'age' is not there"
    ):
        read_inputs(tmp_path / "new.csv", (4,), torch.float32, encoder=columns)
