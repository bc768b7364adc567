"""Labels of every kind to indices and back."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import DataConversionWarning

from codivide.core.errors import InputError, speaking_flags
from codivide.data.labels import encode


@pytest.mark.parametrize(
    ("labels", "indices", "classes"),
    [
        ([3, 1, -1, 3], [1, 0, -1, 1], (1, 3)),
        (np.array([3, 1, 3], np.uint8), [1, 0, 1], (np.uint8(1), np.uint8(3))),
        (torch.tensor([5, -1, 2]), [1, -1, 0], (2, 5)),
        (["b", "a", "", None, "b"], [1, 0, -1, -1, 1], ("a", "b")),
        (["b", float("nan"), "a"], [1, -1, 0], ("a", "b")),
        (np.array(["b", "a", "nan", " "]), [1, 0, -1, -1], ("a", "b")),
        ([2.0, float("nan"), 7.0], [0, -1, 1], (2, 7)),
        (np.array([2.0, 7.0]), [0, 1], (2.0, 7.0)),
        ([True, False, None], [1, 0, -1], (False, True)),
        (pd.Series(["x", None, "y"]), [0, -1, 1], ("x", "y")),
        (pd.Series([1, None, 2], dtype="Int64"), [0, -1, 1], (1, 2)),
        (pd.Categorical(["u", None, "t"]), [1, -1, 0], ("t", "u")),
        (pd.Series(["u", None, "t"], dtype="category"), [1, -1, 0], ("t", "u")),
        (["cat", "-1", "dog"], [0, -1, 1], ("cat", "dog")),
        (["cat", " -1 ", "dog", "-1.0"], [0, -1, 1, -1], ("cat", "dog")),
        ([1.0, -1.0, None, 2.0], [0, -1, -1, 1], (1, 2)),
        (pd.Series([1.0, -1.0, None, 2.0], dtype=object), [0, -1, -1, 1], (1, 2)),
        (np.array([np.int64(4), np.int64(-1), np.int8(3)], dtype=object), [1, -1, 0], (3, 4)),
        ([pd.NA, 1, 2], [-1, 0, 1], (1, 2)),
        (pd.Series(["a", None, "b"], dtype="string"), [0, -1, 1], ("a", "b")),
        (np.ma.array([1, 2, 3, 1], mask=[0, 0, 1, 0]), [0, 1, -1, 0], (1, 2)),
        (np.ma.array(["a", "b", "c"], mask=[1, 0, 0]), [-1, 0, 1], ("b", "c")),
        ([torch.tensor(1), torch.tensor(0)], [1, 0], (0, 1)),
    ],
)
def test_table(labels, indices, classes):
    found, names = encode(labels)
    assert found.dtype == np.int64
    assert found.tolist() == indices
    assert names == classes
    assert [type(name) for name in names] == [type(name) for name in classes]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float64", "float32", "bool", "<U3"])
def test_classes_restore_the_dtype(dtype):
    values = np.array([1, 0, 1]).astype(dtype)
    assert np.asarray(encode(values)[1]).dtype.kind == values.dtype.kind
    assert dtype == "<U3" or np.asarray(encode(values)[1]).dtype == values.dtype


@given(st.lists(st.one_of(st.none(), st.integers(-5, 20)), min_size=2))
def test_decoding_gives_the_labels_back(labels):
    present = {label for label in labels if label not in (None, -1)}
    if len(present) < 2:
        with pytest.raises(InputError, match="class"):
            encode(labels)
        return
    indices, classes = encode(labels)
    assert list(classes) == sorted(present)
    for label, index in zip(labels, indices, strict=True):
        assert (index == -1) == (label in (None, -1))
        assert index == -1 or classes[index] == label


def test_minus_one_and_one():
    with pytest.raises(InputError, match="unlabelled=None"):
        encode([-1, 1, 1])
    with speaking_flags(), pytest.raises(InputError, match=r"call them 0 and 1 \(fit also takes --unlabelled none\)$"):
        encode([-1, 1, 1])
    with pytest.raises(InputError, match="unlabelled=None"):
        encode(np.array([-1.0, 1.0, np.nan]))
    indices, classes = encode([-1, 1, 1], unlabelled=None)
    assert indices.tolist() == [0, 1, 1]
    assert classes == (-1, 1)
    assert encode([-1, 1, 0], classes=(0, 1))[0].tolist() == [-1, 1, 0]


def test_another_value_may_mean_no_label():
    assert encode([99, 1, -1], unlabelled=99)[0].tolist() == [-1, 1, 0]
    assert encode(["99", "1", "-1"], unlabelled=99)[0].tolist() == [-1, 1, 0]
    assert encode([True, False, None], unlabelled=1)[0].tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([2, 2, -1], r"one class only \(2\)"),
        ([-1, None], "no label at all"),
        ([0.5, 1.0], "Unknown label type: continuous.*row 0 is 0.5"),
        ([1.0, np.inf], "row 1 is inf"),
        (["a", 3], "all numbers or all strings.*'a' in row 0 and 3 in row 1"),
        ([[1, 2], [3, 4]], "1d array"),
        ([2**70, 1], "64 bits"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "Unknown label type"),
        ([1j, 2j], "Unknown label type"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(InputError, match=message):
        encode(labels)


def test_given_classes():
    indices, classes = encode(["dog", "cat", None], classes=["dog", "cat", "fox"])
    assert indices.tolist() == [0, 1, -1]
    assert classes == ("dog", "cat", "fox")
    assert encode([1, 0], classes=["0", "1"])[0].tolist() == [1, 0]
    assert encode([None, -1], classes=[0, 1])[0].tolist() == [-1, -1]
    with pytest.raises(InputError, match=r"label 'dgo' in row 1 \(b.png\).*Did you mean 'dog'"):
        encode(["dog", "dgo"], classes=["dog", "cat"], names=["a.png", "b.png"])
    with pytest.raises(InputError, match="twice"):
        encode(["dog"], classes=["dog", "dog"])


def test_a_column_is_taken_with_the_warning_of_scikit_learn():
    with pytest.warns(DataConversionWarning):
        assert encode(np.array([[0], [1]]))[0].tolist() == [0, 1]


def test_several_labels_a_row_are_no_class():
    lists = pd.Series([None, ["a", "b"], ["a"]])
    with pytest.raises(InputError, match=r"row 1 is .'a', 'b'., which is not one class.*NoisyMultiLabelClassifier"):
        encode(lists)
    with speaking_flags(), pytest.raises(InputError, match=r"are for codivide fit with --task multilabel$"):
        encode(lists)
