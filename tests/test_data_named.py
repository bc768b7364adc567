"""Public data sets in their published formats."""

import gzip
import os
import pickle
import struct

import numpy as np
import pytest
import scipy.io
import torch

from codivide.core.errors import InputError
from codivide.data import named
from codivide.data.sources import ReadOptions, load

GEN = np.random.default_rng(0)


def write_cifar(root, count=10):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    labels = np.arange(6 * count) % 10
    pixels = GEN.integers(0, 256, (6 * count, 3072), dtype=np.uint8)
    records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        records[k * count : (k + 1) * count].tofile(folder / f"{name}.bin")
    return labels, pixels.reshape(-1, 3, 32, 32)


def get(name, root):
    return named.load(name, root, download=False)


def every(rows):
    return rows[torch.arange(len(rows))].numpy()


def test_digits():
    loaded = load("digits")
    assert (loaded.x.shape, loaded.x.dtype) == ((1, 8, 8), torch.uint8)
    assert (len(loaded.y), len(loaded.test.y)) == (1437, 360)
    assert (loaded.augment, loaded.classes, loaded.name) == ("shift", tuple(range(10)), "digits")
    assert every(loaded.x).max() == 255
    assert np.bincount(loaded.test.y).min() >= 35
    again = load("digits", options=ReadOptions(augment="none"))
    assert np.array_equal(again.y, loaded.y)
    assert again.augment == again.test.augment == "none"


def test_cifar10(tmp_path):
    labels, pixels = write_cifar(tmp_path)
    loaded = get("cifar10", tmp_path)
    assert np.array_equal(every(loaded.x), pixels[:50])
    assert np.array_equal(every(loaded.test.x), pixels[50:])
    assert np.array_equal(np.r_[loaded.y, loaded.test.y], labels)
    assert loaded.classes[3] == "cat"
    with open(tmp_path / "cifar-10-batches-bin" / "test_batch.bin", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"test_batch.bin is damaged"):
        get("cifar10", tmp_path)


def test_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("\n".join(f"name{k}" for k in range(100)) + "\n")
    for part in ("train", "test"):
        records = GEN.integers(0, 100, (20, 3074), dtype=np.uint8)
        records[:, 1] = np.arange(20)
        records.tofile(folder / f"{part}.bin")
    loaded = get("cifar100", tmp_path)
    assert loaded.y.tolist() == list(range(20))
    assert (len(loaded.classes), loaded.classes[5]) == (100, "name5")
    assert np.array_equal(every(loaded.test.x), records[:, 2:].reshape(-1, 3, 32, 32))
    (tmp_path / "CIFAR-N").mkdir()
    noisy = {"clean_label": np.arange(20), "noisy_label": np.arange(20)[::-1].copy()}
    torch.save(noisy, tmp_path / "CIFAR-N" / "CIFAR-100_human.pt")
    human = get("cifar100n", tmp_path)
    assert (human.y.tolist(), human.truth.tolist()) == (list(range(20))[::-1], list(range(20)))


@pytest.mark.parametrize(
    ("name", "folder", "augment"), [("mnist", "MNIST", "shift"), ("fashion_mnist", "FashionMNIST", "photo")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, name, folder, augment, packed):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    images, labels = GEN.integers(0, 256, (12, 28, 28), dtype=np.uint8), (np.arange(12) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        files = {
            f"{part}-images-idx3-ubyte": struct.pack(">IIII", 2051, *images.shape) + images.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">II", 2049, 12) + labels.tobytes(),
        }
        for file, data in files.items():
            (raw / f"{file}{'.gz' if packed else ''}").write_bytes(gzip.compress(data) if packed else data)
    loaded = get(name, tmp_path)
    assert np.array_equal(every(loaded.x)[:, 0], images)
    assert (loaded.test.y.tolist(), loaded.augment) == (labels.tolist(), augment)
    broken = raw / f"t10k-images-idx3-ubyte{'.gz' if packed else ''}"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=name if packed else "is damaged"):
        get(name, tmp_path)


def test_svhn(tmp_path):
    (tmp_path / "SVHN").mkdir()
    images = GEN.integers(0, 256, (32, 32, 3, 11), dtype=np.uint8)
    for part in ("train", "test"):
        scipy.io.savemat(tmp_path / "SVHN" / f"{part}_32x32.mat", {"X": images, "y": np.arange(11)[:, None].clip(1)})
    loaded = get("svhn", tmp_path)
    assert np.array_equal(every(loaded.x)[4], images[..., 4].transpose(2, 0, 1))
    assert loaded.y.tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def write_human(root, labels, **changes):
    (root / "CIFAR-N").mkdir()
    held = {"clean_label": labels, "worse_label": (labels + 1) % 10, **changes}
    torch.save(held, root / "CIFAR-N" / "CIFAR-10_human.pt")
    return held


def test_human_labels(tmp_path):
    labels = write_cifar(tmp_path)[0][:50]
    write_human(tmp_path, labels)
    loaded = get("cifar10n:worse", tmp_path)
    assert np.array_equal(loaded.y, (labels + 1) % 10)
    assert np.array_equal(loaded.truth, labels)
    assert (loaded.name, loaded.test.truth) == ("cifar10n:worse", None)
    with pytest.raises(InputError, match="no arrays aggre_label"):
        get("cifar10n:aggre", tmp_path)


def test_human_labels_as_npz(tmp_path):
    labels = write_cifar(tmp_path)[0][:50]
    (tmp_path / "CIFAR-N").mkdir()
    np.savez(tmp_path / "CIFAR-N" / "cifar10n.npz", clean_label=labels, aggre_label=labels)
    assert np.array_equal(get("cifar10n:aggre", tmp_path).y, labels)


def test_human_labels_in_another_order_are_refused(tmp_path):
    labels = write_cifar(tmp_path)[0][:50]
    write_human(tmp_path, labels[::-1].copy())
    with pytest.raises(InputError, match="not in the order of the images"):
        get("cifar10n:worse", tmp_path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_that_a_label_file_holds_is_run(tmp_path, legacy):
    path = tmp_path / "evil.pt"
    torch.save({"clean_label": Evil(tmp_path / "ran")}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"evil.pt is refused: it holds more than arrays"):
        named.read_label_file(path)
    path.write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"evil.pt (is refused|cannot be read)"):
        named.read_label_file(path)
    np.savez(tmp_path / "evil.npz", clean_label=np.array([Evil(tmp_path / "ran")], dtype=object))
    with pytest.raises(InputError, match=r"evil.npz cannot be read"):
        named.read_label_file(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_and_other_things_are_no_labels(tmp_path):
    torch.save({"a": np.arange(3), "b": "text"}, tmp_path / "a.pt")
    assert list(named.read_label_file(tmp_path / "a.pt")) == ["a"]
    torch.save({"a": np.array([0.5])}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a.pt is refused.*Float64DType"):
        named.read_label_file(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(InputError, match="holds a list"):
        named.read_label_file(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"c.pt"):
        named.read_label_file(tmp_path / "c.pt")


def test_missing_sets_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"missing: cifar-10-batches-bin/data_batch_1.bin.*Set CODIVIDE_DATA"):
        get("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match=r"a pickle, which codivide never opens.*cifar-10-binary.tar.gz"):
        get("cifar10", tmp_path)
    write_cifar(tmp_path)
    with pytest.raises(InputError, match=r"CIFAR-10_human.pt.*noisylabels.com"):
        get("cifar10n:worse", tmp_path)


def test_names_have_neighbours():
    with pytest.raises(InputError, match="Did you mean 'cifar10n:worse'"):
        named.load("cifar10n:worst")
    with pytest.raises(InputError, match=r"'cifra10'. Did you mean 'cifar10'"):
        load("cifra10")
    with pytest.raises(InputError, match=r"no file, folder or public data set '/no/where'. Public data sets: "):
        load("/no/where")


def test_a_folder_of_the_same_name_needs_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.warns(UserWarning, match=r"\./digits"):
        assert load("digits").name == "digits"
    with pytest.raises(InputError, match="holds no images"):
        load("./digits")


def test_where_sets_are(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_DATA", str(tmp_path))
    assert named.data_root() == tmp_path
    monkeypatch.delenv("CODIVIDE_DATA")
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "c"))
    assert named.data_root() == tmp_path / "c" / "data"
    assert "cifar10n:worse" in named.names()


@pytest.mark.data
def test_real_cifar10_and_its_human_labels(data_root):
    worse = named.load("cifar10n:worse", data_root, download=False)
    assert (worse.x.shape, len(worse.x), len(worse.test.x)) == ((3, 32, 32), 50_000, 10_000)
    assert np.bincount(worse.truth).tolist() == [5000] * 10
    assert np.bincount(worse.test.y).tolist() == [1000] * 10
    assert np.mean(worse.y != worse.truth) == pytest.approx(0.4021, abs=1e-3)
    with np.load(data_root / "CIFAR-N" / "cifar10n.npz") as held:
        published = named.read_label_file(data_root / "CIFAR-N" / "CIFAR-10_human.pt")
        assert all(np.array_equal(labels, held[name]) for name, labels in published.items())


@pytest.mark.data
def test_real_fashion_mnist(data_root):
    loaded = named.load("fashion_mnist", data_root, download=False)
    assert (loaded.x.shape, len(loaded.x), len(loaded.test.x)) == ((1, 28, 28), 60_000, 10_000)
    assert np.bincount(loaded.y).tolist() == [6000] * 10
    assert every(loaded.test.x)[:100].mean() == pytest.approx(73, abs=10)
