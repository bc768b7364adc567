"""The cache of decoded images: read back when nothing changed, never half, never needed."""

import errno
import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from codivide.core import files
from codivide.core.errors import InputError
from codivide.data import cache, images
from codivide.data.cache import Entry, decode_files
from codivide.data.options import ReadOptions
from codivide.data.rows import MemmapRows, TensorRows
from codivide.data.scratch import scratch


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for k in range(4):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def decoded_names(monkeypatch):
    """Names of the files that are decoded."""
    names = []

    def decode(path, shape, original=cache.decode_file):
        names.append(path.name)
        return original(path, shape)

    monkeypatch.setattr(cache, "decode_file", decode)
    return names


def read(source, **options):
    entries = [Entry(path.name, path) for path in sorted(source.glob("*.png"))]
    return decode_files(entries, source, ReadOptions(**{"workers": 1, **options}))


def reds(decoded):
    return decoded.rows[torch.arange(len(decoded.rows))][:, 0, 0, 0].tolist()


def cache_files():
    return sorted(ReadOptions().cache.glob("*"))


def test_a_part_has_a_cache_of_its_own_beside_that_of_the_whole(source, decoded_names):
    entries = [Entry(path.name, path) for path in sorted(source.glob("*.png"))]
    part = [entries[1], entries[3]]
    assert reds(decode_files(part, source, ReadOptions(workers=1), part=True)) == [1, 3]
    assert decoded_names == ["1.png", "3.png"]
    assert reds(read(source)) == [0, 1, 2, 3]
    assert decoded_names == ["1.png", "3.png", "0.png", "2.png"]
    assert reds(decode_files(entries[1:3], source, ReadOptions(workers=1), part=True)) == [1, 2]
    assert reds(read(source)) == [0, 1, 2, 3]
    assert len(decoded_names) == 4
    assert len(cache_files()) == 2


def test_second_run_decodes_nothing(source, decoded_names):
    assert reds(read(source)) == [0, 1, 2, 3]
    assert len(decoded_names) == 4
    again = read(source)
    assert isinstance(again.rows, TensorRows)
    assert reds(again) == [0, 1, 2, 3]
    assert len(decoded_names) == 4


def test_only_what_changed_is_decoded(source, decoded_names):
    read(source)
    decoded_names.clear()
    Image.new("RGB", (8, 8), (9, 0, 0)).save(source / "1.png")
    os.utime(source / "1.png", ns=(1, 1))
    assert reds(read(source)) == [0, 9, 2, 3]
    assert decoded_names == ["1.png"]
    (source / "0.png").unlink()
    Image.new("RGB", (8, 8), (7, 0, 0)).save(source / "5.png")
    assert reds(read(source)) == [9, 2, 3, 7]
    assert decoded_names == ["1.png", "5.png"]
    assert len(cache_files()) == 1


def test_one_image_of_another_size_changes_all(source, decoded_names):
    read(source)
    Image.new("RGB", (9, 9), (9, 0, 0)).save(source / "1.png")
    os.utime(source / "1.png", ns=(1, 1))
    assert read(source).rows.shape == (3, 224, 224)
    assert len(decoded_names) == 8


def test_image_sizes_are_kept_apart(source):
    assert read(source, image_size=4).rows.shape == (3, 4, 4)
    assert read(source).rows.shape == (3, 8, 8)
    assert len(cache_files()) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)


def grow(path):
    path.write_bytes(b"\0" * 7 + path.read_bytes())


def rubbish(path):
    path.write_bytes(b"rubbish")


@pytest.mark.parametrize("harm", [cut, flip, grow, rubbish])
def test_a_damaged_cache_is_made_again(source, decoded_names, harm):
    read(source)
    (path,) = cache_files()
    harm(path)
    with pytest.warns(UserWarning, match="damaged"):
        assert reds(read(source)) == [0, 1, 2, 3]
    assert len(decoded_names) == 8
    assert reds(read(source)) == [0, 1, 2, 3]


def test_a_crash_midway_leaves_no_cache(source, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            read(source)
    assert cache_files() == []
    assert reds(read(source)) == [0, 1, 2, 3]


def test_what_a_killed_run_left_is_removed_after_a_day(source):
    read(source)
    (path,) = cache_files()
    for name, age in (("old", 2 * cache.DAY), ("new", 0)):
        left = path.with_name(f"{path.stem}{name}.part")
        left.touch()
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    (source / "0.png").unlink()
    read(source)
    assert [file.name.endswith("new.part") for file in cache_files()].count(True) == 1
    assert len(cache_files()) == 2


def test_two_at_once(source):
    results = []
    threads = [threading.Thread(target=lambda: results.append(reds(read(source)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 1, 2, 3]] * 4
    assert len(cache_files()) == 1


def test_without_a_writable_folder_images_stay_in_memory(source, tmp_path, decoded_names):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not kept for the next run"):
        assert reds(read(source, cache_dir=tmp_path / "file" / "cache")) == [0, 1, 2, 3]


def test_a_full_disk_leaves_images_in_memory_or_says_so(source, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert reds(read(source)) == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"cache limit.*No space left.*CODIVIDE_CACHE"):
        read(source, cache_limit=100)
    assert cache_files() == []


def test_over_the_limit_the_cache_is_mapped(source, decoded_names):
    decoded = read(source, cache_limit=100)
    assert isinstance(decoded.rows, MemmapRows)
    assert reds(decoded) == [0, 1, 2, 3]
    assert isinstance(read(source, cache_limit=100).rows, MemmapRows)
    assert len(decoded_names) == 4


def test_scratch_over_the_limit_is_a_file_that_goes_away(tmp_path):
    options = ReadOptions(cache_limit=100)
    assert not isinstance(scratch((100,), np.uint8, options.encoding), np.memmap)
    data = scratch((3, 50), np.float32, options.encoding)
    assert isinstance(data, np.memmap)
    data[:] = 3
    assert data.sum() == 450
    assert cache_files() == []
    with pytest.raises(InputError, match="cache limit"):
        scratch((2**20,) * 3, np.uint8, options.encoding)


def test_bad_files_are_listed_until_there_are_too_many(source, decoded_names):
    (source / "2.png").write_text("not me")
    whole = (source / "3.png").read_bytes()
    (source / "3.png").write_bytes(whole[:45])
    for _ in range(2):
        decoded = read(source)
        assert decoded.kept.tolist() == [0, 1]
        assert reds(decoded) == [0, 1]
        assert [bad.path for bad in decoded.skipped] == ["2.png", "3.png"]
        assert decoded.skipped[0].reason == "not an image"
    assert decoded_names.count("3.png") == 1
    with pytest.raises(InputError, match=r"2 of 4 images cannot be read \(at most 1.*2.png: not an image"):
        read(source, max_bad=1)
    for path in source.glob("*.png"):
        path.write_text("nor me")
    with pytest.raises(InputError, match=r"4 of 4 images cannot be read.*and 1 more"):
        read(source)


def test_a_file_that_comes_back_is_noticed(source):
    away = source / "1.png"
    entries = [Entry(path.name, path) for path in sorted(source.glob("*.png"))]
    data = away.read_bytes()
    away.unlink()
    assert decode_files(entries, source, ReadOptions()).skipped == (("1.png", "no such file"),)
    away.write_bytes(data)
    assert reds(decode_files(entries, source, ReadOptions())) == [0, 1, 2, 3]


TROUBLE = {
    "Input/output error": OSError(errno.EIO, "Input/output error"),
    "Too many open files": OSError(errno.EMFILE, "Too many open files"),
    "out of memory": MemoryError(),
    "out of memory error when reading image file": OSError("out of memory error when reading image file"),
}


@pytest.fixture
def troubled(monkeypatch):
    """A function that makes every read of 1.png fail from a number of them on, up to another."""
    original = images._open

    def arrange(trouble, first, last):
        count = 0

        def open_or_fail(path):
            nonlocal count
            count += path.name == "1.png"
            if path.name == "1.png" and first <= count < last:
                raise trouble
            return original(path)

        monkeypatch.setattr(images, "_open", open_or_fail)

    return arrange


@pytest.mark.parametrize("reason", TROUBLE)
@pytest.mark.parametrize("first", [1, 2], ids=["looking", "decoding"])
def test_trouble_that_passes_is_no_verdict(source, troubled, decoded_names, reason, first):
    (source / "bad.png").write_text("no image")
    troubled(TROUBLE[reason], first, 99)
    for _ in range(2):  # the second time from a cache that holds the others
        assert dict(read(source).skipped) == {"1.png": reason, "bad.png": "not an image"}
    troubled(None, 99, 99)
    decoded_names.clear()
    assert reds(read(source)) == [0, 1, 2, 3]
    assert set(decoded_names) == {"1.png"}
    decoded_names.clear()
    assert dict(read(source).skipped) == {"bad.png": "not an image"}
    assert decoded_names == []
    assert len(cache_files()) == 1


@pytest.mark.parametrize("first", [1, 2], ids=["looking", "decoding"])
def test_trouble_of_a_moment_loses_nothing(source, troubled, first):
    troubled(OSError(errno.EIO, "Input/output error"), first, first + 1)
    assert reds(read(source)) == [0, 1, 2, 3]
    entries = [Entry("1", source / "1.png")]
    troubled(MemoryError(), 1, 2)
    assert reds(cache.decode_now(entries, (3, 8, 8), ReadOptions())) == [1]


def test_a_file_that_may_not_be_read_is_tried_again(source, troubled):
    refused = PermissionError(errno.EACCES, "Permission denied")
    troubled(refused, 1, 1000)
    assert dict(read(source).skipped) == {"1.png": "Permission denied"}
    troubled(refused, 1, 1)  # it may be read again
    assert reds(read(source)) == [0, 1, 2, 3]
