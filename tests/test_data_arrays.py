"""Arrays of every layout and type to rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from codivide.core.errors import InputError
from codivide.data.arrays import array_rows, choose_augment
from codivide.data.loaded import subset
from codivide.data.rows import MemmapRows, SparseRows, TensorRows, copy_to, take
from codivide.data.sources import ReadOptions, load

GEN = np.random.default_rng(0)
IDS = torch.tensor([3, 0, 3])


@pytest.mark.parametrize(
    ("shape", "sample"),
    [
        ((4, 5, 6), (1, 5, 6)),
        ((4, 5, 6, 3), (3, 5, 6)),
        ((4, 3, 5, 6), (3, 5, 6)),
        ((4, 5, 6, 1), (1, 5, 6)),
        ((4, 1, 5, 6), (1, 5, 6)),
        ((4, 9, 8, 5), (5, 9, 8)),
        ((4, 5, 8, 9), (5, 8, 9)),
        ((4, 8, 8, 4), (4, 8, 8)),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_layouts(shape, sample, kind):
    x = (GEN.random(shape) * 255).astype(kind)
    rows = array_rows(x)
    assert rows.shape == sample
    assert len(rows) == 4
    batch = rows[IDS]
    assert batch.dtype == rows.dtype == (torch.uint8 if kind is np.uint8 else torch.float32)
    assert batch.is_contiguous()
    expected = x[IDS.numpy()]
    expected = expected[:, None] if x.ndim == 3 else expected
    if expected.shape[1:] != sample:
        expected = expected.transpose(0, 3, 1, 2)
    assert np.array_equal(batch.numpy(), expected.astype(batch.numpy().dtype))
    assert torch.equal(array_rows(torch.from_numpy(x))[IDS], batch)


def test_a_fitting_array_is_not_copied():
    for shape in ((4, 5, 6), (4, 5, 6, 3), (4, 3, 5, 6)):
        x = GEN.integers(0, 255, shape, dtype=np.uint8)
        rows = array_rows(x)
        assert isinstance(rows, TensorRows)
        assert np.shares_memory(rows.data.numpy(), x)
    features = GEN.random((4, 5), dtype=np.float32)
    assert np.shares_memory(array_rows(features).data.numpy(), features)


def test_read_only_reversed_and_strided_arrays():
    x = GEN.integers(0, 255, (4, 3, 5, 6), dtype=np.uint8)
    x.flags.writeable = False
    assert torch.equal(array_rows(x)[IDS], torch.tensor(x[[3, 0, 3]]))
    assert np.array_equal(array_rows(x[::-1])[IDS], x[::-1][[3, 0, 3]])
    assert np.array_equal(array_rows(x.transpose(0, 1, 3, 2))[IDS], x.transpose(0, 1, 3, 2)[[3, 0, 3]])
    assert np.array_equal(array_rows(x.astype(">f4"))[IDS], x[[3, 0, 3]])


def test_integer_bool_and_half_images():
    assert array_rows(np.full((2, 3, 3), 200)).dtype == torch.uint8
    assert array_rows(np.full((2, 3, 3), 200, np.uint16))[torch.tensor([0])].max() == 200
    assert array_rows(np.ones((2, 3, 3), bool))[torch.tensor([0])].min() == 255
    assert array_rows(torch.ones(2, 3, 3, dtype=torch.bfloat16)).dtype == torch.float32
    with pytest.raises(InputError, match="integers from -1 to 300"):
        array_rows(np.array([[[-1, 300]]]))


@pytest.mark.parametrize("shape", [(6, 9, 9), (6, 9, 9, 3), (6, 3, 9, 9)])
def test_arrays_of_more_than_eight_bits_are_read_as_files_of_them(shape, tmp_path):
    x = (GEN.integers(0, 4096, shape)).astype(np.uint16)
    x[0] = np.minimum(x[0], 200)  # of 8 bits: as it is
    x[1, 0, 0], x[2, 0, 0] = 5000, 65535
    loaded = load(x, [0, 1] * 3)
    assert loaded.said == tuple(
        f"images of {bits} bits a value, read by that depth: {n}" for bits, n in ((12, 3), (14, 1), (16, 1))
    )
    for row, most in enumerate((255, 16383, 65535, 4095, 4095, 4095)):
        image = torch.tensor(np.rint(x[row] * (255 / most)).astype(np.uint8))
        image = image[None] if len(shape) == 3 else image if shape[1] == 3 else image.permute(2, 0, 1)
        assert torch.equal(loaded.x[torch.tensor([row])][0], image)
        assert torch.equal(array_rows(torch.tensor(x[row : row + 1].astype(np.int32)))[torch.tensor([0])][0], image)
    if len(shape) == 3:
        for row, image in enumerate(x):
            (tmp_path / f"c{row % 2}").mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / f"c{row % 2}" / f"{row}.png")
        assert sorted(load(tmp_path).said) == sorted(loaded.said)
    with pytest.raises(InputError, match="integers from 0 to 65536; integer images must lie within 0 to 255, or"):
        array_rows(np.array([[[0, 65536]]]))


def test_numbers_with_gaps_say_that_a_data_frame_may_have_them():
    with pytest.raises(InputError, match=r"row 1, column 0.*A data frame, .*may have empty cells$"):
        load(np.array([[1.0], [np.nan]]), [0, 1])


def test_features_of_every_container():
    x = GEN.random((5, 3))
    for given_x in (x, x.tolist(), torch.from_numpy(x), pd.DataFrame(x, columns=list("abc")), x.astype(object)):
        rows = array_rows(given_x)
        assert rows.shape == (3,)
        assert np.allclose(rows[IDS].numpy(), x[[3, 0, 3]])
    for given_x in (sparse.csr_matrix(x), sparse.csc_array(x), sparse.coo_array(x), torch.from_numpy(x).to_sparse()):
        rows = array_rows(given_x)
        assert isinstance(rows, SparseRows)
        assert rows.dtype == torch.float32
        assert rows.to(torch.device("cpu")) is rows
        assert np.allclose(rows[IDS].numpy(), x[[3, 0, 3]])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "contains NaN: row 1, column 1"),
        (np.array([[1.0, np.inf]]), "contains inf.*row 0, column 1"),
        (pd.DataFrame({"age": [1.0], "height": [np.nan]}), "NaN: row 0, column 'height'"),
        (sparse.csr_matrix(np.array([[0, 1.0], [0, np.nan]])), "NaN: row 1, column 1"),
        (np.full((3, 4, 4), np.nan, np.float32), "NaN: image 0"),
        (np.array([[[1.0]], [[np.inf]]]), "inf: image 1"),
        (np.zeros(3), "Reshape your data"),
        (np.zeros((0, 3)), r"0 sample\(s\)"),
        (np.zeros((3, 0)), r"0 feature\(s\)"),
        (np.zeros((0, 3, 3)), r"0 sample\(s\)"),
        (np.ones((2, 2), complex), "[Cc]omplex data not supported"),
        (torch.ones(2, 2, 2, dtype=torch.complex64), "complex data not supported"),
        ([[1, 2], [3]], "unequal"),
        (np.array([["a", "b"]]), "could not convert string to float"),
        (np.zeros((1, 1, 1, 1, 1)), "dim 5|5 dim|<= 2"),
        (np.full((2, 2, 2), "a"), "must be uint8 or float"),
    ],
)
def test_bad_samples(x, message):
    with pytest.raises(InputError, match=message):
        array_rows(x)


def test_load_pairs_samples_with_labels():
    loaded = load(np.zeros((4, 3)), ["b", None, "a", "b"], truth=["a", "b", "a", "b"])
    assert loaded.classes == ("a", "b")
    assert loaded.y.tolist() == [1, -1, 0, 1]
    assert loaded.truth.tolist() == [0, 1, 0, 1]
    assert list(loaded.ids) == [0, 1, 2, 3]
    assert loaded.augment == "jitter"


@pytest.mark.parametrize("y", [[0, 1], np.array([0, 1]), torch.tensor([0, 1]), pd.Series([0, 1])])
def test_lengths_must_agree(y):
    with pytest.raises(InputError, match="X has 3 rows, y has 2"):
        load(np.zeros((3, 2)), y)
    with pytest.raises(InputError, match="X has 3 rows, the true labels has 2"):
        load(np.zeros((3, 2)), [0, 1, 1], truth=y)


def test_labels_are_needed_and_views_are_known():
    with pytest.raises(InputError, match="requires y to be passed, but the target y is None"):
        load(np.zeros((3, 2)))
    with pytest.raises(InputError, match="unknown augment 'photos'"):
        load(np.zeros((3, 2)), [0, 1, 1], options=ReadOptions(augment="photos"))


def test_views_follow_the_shape():
    assert [choose_augment("auto", shape) for shape in [(5,), (1, 8, 8), (3, 8, 8)]] == ["jitter", "shift", "photo"]
    assert choose_augment("none", (3, 8, 8)) == "none"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_a_selection_of_a_selection(ids):
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    rows = take(take(array_rows(x), [6, 5, 4, 3, 2, 1, 0]), ids)
    assert len(rows) == len(ids)
    assert np.array_equal(rows[torch.arange(len(ids))], x[::-1][ids])


def test_subset_keeps_everything_in_step():
    loaded = load(np.arange(8.0).reshape(4, 2), [0, 1, 0, -1], truth=[0, 0, 1, 1])
    part = subset(loaded, [3, 1])
    assert part.x[torch.tensor([0, 1])].tolist() == [[6, 7], [2, 3]]
    assert (part.y.tolist(), part.truth.tolist(), list(part.ids)) == ([-1, 1], [1, 0], [3, 1])
    assert take(loaded.x, range(4)) is loaded.x


def test_rows_of_a_memory_map(tmp_path):
    data = np.memmap(tmp_path / "a", dtype=np.uint8, mode="w+", shape=(5, 1, 2, 2))
    data[:] = GEN.integers(0, 255, data.shape)
    rows = MemmapRows(data)
    assert (rows.shape, rows.dtype, len(rows)) == ((1, 2, 2), torch.uint8, 5)
    assert np.array_equal(rows[IDS], data[[3, 0, 3]])
    assert rows.to(torch.device("cpu")) is rows


@pytest.mark.gpu
def test_rows_move_to_the_device():
    x = GEN.integers(0, 255, (3000, 4, 5, 3), dtype=np.uint8)
    rows = take(array_rows(x), np.arange(3000)[::-1])
    there = copy_to(rows, torch.device("cuda"))
    assert there[IDS].device.type == "cuda"
    assert torch.equal(there[IDS].cpu(), rows[IDS])


def test_a_file_of_true_labels_is_for_images(tmp_path):
    (tmp_path / "truth.csv").write_text("id,label\n0,1\n")
    with pytest.raises(InputError, match=r"a column true_label, and an \.npz file in an array true_y"):
        load(np.zeros((2, 3)), [0, 1], truth=tmp_path / "truth.csv")
