"""Arrays, tensors, data frames and sparse matrices to rows, without a copy where the layout already fits."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_array
from torch import Tensor

from codivide.core.errors import InputError, option
from codivide.core.files import let_go
from codivide.core.types import Labels
from codivide.data import annotators
from codivide.data.images import DEPTHS, as_bytes, depth_of, of_depths
from codivide.data.labels import NO_Y, LabelNotes, encode, notes
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.rows import CHUNK, IndexedRows, MemmapRows, Rows, SparseRows, TensorRows
from codivide.data.views import AUGMENTS

CHANNELS = (1, 3, 4)
_FILLED = ". A data frame, pandas.DataFrame(X), may have empty cells"
_NARROW = 8  # pixels of height from which on a width of 3 or 4 is taken for channels


def from_arrays(
    x: object,
    y: object,
    *,
    options: ReadOptions = DEFAULT,
    classes: Sequence[Any] | None = None,
    truth: object = None,
    ids: Sequence[str | int] | None = None,
    name: str = "arrays",
    names_of_annotators: Sequence[str] | None = None,
) -> Loaded:
    """A data set from samples and labels in memory.

    Args:
        x: images ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``, or features ``[N, D]`` (dense, sparse or a
            data frame), or rows that are already read.
        y: labels ``[N]``, see :func:`codivide.data.labels.encode`, or ``[N, A]`` of several annotators.
        options: the value that means "no label", and the views.
        classes: the classes in order, where they are known.
        truth: true labels ``[N]`` where known.
        ids: what names each row; None: its number.
        name: what to call the data in a record.
        names_of_annotators: where there are several; None: the columns of a data frame, else their numbers.

    Returns:
        The data set.

    Raises:
        InputError: anything wrong with ``x``, ``y`` or their lengths.
    """
    if y is None:
        raise InputError(_of_dicts(x) or NO_Y)
    rows = x if isinstance(x, TensorRows | MemmapRows | SparseRows | IndexedRows) else array_rows(x, advice=_FILLED)
    names = None if ids is None or isinstance(ids, range) else ids
    check_length(y, "y", len(rows))
    consensus, read = None, LabelNotes()
    if annotators.several(y):
        consensus, found = annotators.from_matrix(y, names_of_annotators).settle(options, classes)
        indices = consensus.labels
    else:
        indices, found = encode(y, classes=classes, names=names, **options.of_labels)
        read = notes(y, merge=options.merge_labels, keep_na=options.keep_na)
    check_length(indices, "y", len(rows))
    return Loaded(
        x=rows,
        y=indices,
        classes=found,
        ids=range(len(rows)) if ids is None else ids,
        augment=choose_augment(options.augment, rows.shape),
        truth=true_indices(truth, len(rows), found, options, names),
        name=name,
        annotations=consensus,
        labels_read=read,
        said=_said_of_depths(x),
        columns=tuple(str(column) for column in x.columns) if isinstance(x, pd.DataFrame) else None,
    )


def true_indices(
    truth: object,
    count: int,
    classes: Sequence[Any],
    options: ReadOptions = DEFAULT,
    names: Sequence[object] | None = None,
) -> Labels | None:
    """True labels as class indices ``[N]`` (-1: not known), or None where there are none.

    Raises:
        InputError: another length than ``count``, or a label that is not in ``classes``; the name of a file, which only
            image files can have.
    """
    if truth is None:
        return None
    if isinstance(truth, str | Path):
        raise InputError(
            f"true labels in a file of their own ({truth}) are for images in files: a table has them in a column "
            "true_label, and an .npz file in an array true_y"
        )
    check_length(truth, "the true labels", count)
    return encode(truth, classes=classes, what="true label", names=names, **options.of_labels)[0]


def choose_augment(wanted: str, shape: tuple[int, ...]) -> str:
    """Which views suit samples of a shape.

    Args:
        wanted: "auto", or one of the others, which is returned as it is.
        shape: shape of one sample.

    Returns:
        "jitter" for features, "shift" for one channel, else "photo".

    Raises:
        InputError: no such kind of views.
    """
    if wanted in AUGMENTS:
        return wanted
    if wanted != "auto":
        raise InputError(f"unknown augment {wanted!r}: choose one of auto, {', '.join(AUGMENTS)}")
    return "jitter" if len(shape) == 1 else "shift" if shape[0] == 1 else "photo"


def array_rows(x: object, what: str = "X", advice: str = "") -> Rows:
    """Samples in memory as rows.

    Args:
        x: see :func:`from_arrays`; lists are made an array first.
        what: what to call it in a message.
        advice: what to do about empty cells, after the message.

    Returns:
        Rows ``[N, C, H, W]`` uint8 or float32, or ``[N, D]`` float32.

    Raises:
        InputError: a shape, dtype or value that cannot be learned from; it names the first bad row and column.
    """
    if isinstance(x, Tensor) and x.is_sparse:
        x = x.detach().cpu().coalesce()
        x = sparse.coo_matrix((x.values().numpy(), x.indices().numpy()), shape=tuple(x.shape))
    if sparse.issparse(x):
        return _sparse_rows(x, what)
    if isinstance(x, list | tuple) and not x:
        raise InputError(f"{what} has 0 sample(s): the list is empty")
    if isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1):
        try:
            x = np.asarray(list(x))
        except ValueError as error:
            raise InputError(_unequal(x, what) or f"{what} is a list of unequal samples: {error}") from error
    if isinstance(x, pd.DataFrame):
        if len(x.columns) and all(isinstance(kind, pd.SparseDtype) for kind in x.dtypes):  # such as get_dummies(sparse)
            return _sparse_rows(_of_sparse_columns(x), what)
        return _feature_rows(x, [str(column) for column in x.columns], what)
    if _stays(x):
        return _feature_rows(x, None, what)
    if isinstance(x, Tensor) and x.ndim in (3, 4):
        return _image_rows(x.detach(), what)
    array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if array.dtype == object and array.ndim < 2 and array.size:
        held = type(array.reshape(-1)[0])
        more = f". Make a data frame of records and dicts: pandas.DataFrame({what})" if held is dict else ""
        raise InputError(f"{what} holds objects of type {held.__name__}, which are no samples that can be read{more}")
    if array.ndim not in (3, 4):
        return _feature_rows(array, None, what, advice)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} has dtype {array.dtype}; images must be uint8 or float")
    return _image_rows(_as_tensor(array), what)


def first_bad(data: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity in ``[N, D]`` float data, or None; holds one chunk at a time."""
    for start in range(0, len(data), CHUNK):
        good = np.isfinite(data[start : start + CHUNK])
        if not good.all():
            row, column = np.argwhere(~good)[0]
            return start + int(row), int(column)
        let_go(data)
    return None


def _unequal(x: Any, what: str) -> str | None:
    """Which samples of a list have other shapes; None where that cannot be told."""
    shapes = [np.shape(sample) if isinstance(sample, np.ndarray | Tensor) else None for sample in x]
    other = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is None or shapes[0] is None or shapes[other] is None:
        return None
    return (
        f"{what} is a list of unequal samples: row 0 has the shape {tuple(shapes[0])}, row {other} has "
        f"{tuple(shapes[other] or ())}; make them alike, or give images as those of Pillow or as files, which are"
    )


def check_length(labels: Any, what: str, count: int) -> None:
    """InputError where labels are listed, and not as many as samples."""
    if sparse.issparse(labels):
        raise InputError(f"{what} is a sparse matrix: give an array with one class a row, {what}.toarray().ravel()")
    listed = isinstance(labels, list | tuple) or (hasattr(labels, "__len__") and np.ndim(labels) > 0)
    size = len(labels) if listed else None
    if size is not None and size != count:
        raise InputError(f"X and {what} differ in length: X has {count} rows, {what} has {size}")


def _of_column(x: Any) -> str:
    """Which column of a data frame is the first that holds no numbers; empty where all do."""
    for name, column in x.items() if isinstance(x, pd.DataFrame) else ():
        if pd.to_numeric(column, errors="coerce").isna().sum() > column.isna().sum():
            return f"column {str(name)!r}: "
    return ""


def _without_values(error: Exception) -> str:
    """What scikit-learn says, without all the numbers of the array."""
    text = re.sub(r":\narray=.*\nReshape", ". Reshape", str(error), flags=re.DOTALL)
    return re.sub(r"(not supported)\n.*", r"\1", text, flags=re.DOTALL)


def _of_sparse_columns(x: pd.DataFrame) -> Any:
    """The matrix of a data frame whose columns are all sparse."""
    empty = [kind.fill_value == 0 for kind in x.dtypes if isinstance(kind, pd.SparseDtype)]
    held: Any = x.sparse
    return sparse.csr_matrix(held.to_coo().astype(np.float32) if all(empty) else held.to_dense().to_numpy())


def _sparse_rows(x: Any, what: str) -> SparseRows:
    try:
        csr = sparse.csr_matrix(check_array(x, accept_sparse="csr", dtype=np.float32, ensure_all_finite=False))
    except ValueError as error:
        raise InputError(f"{what}: {_without_values(error)}") from error
    rows = SparseRows(csr)
    csr = rows.data
    bad = np.flatnonzero(~np.isfinite(csr.data))
    if len(bad):
        row = int(np.searchsorted(csr.indptr, bad[0], side="right")) - 1
        raise _not_finite(csr.data[bad[0]], row, str(csr.indices[bad[0]]), what)
    return rows


def _of_dicts(x: Any) -> str | None:
    """What is said of a list of dicts, whose labels may be among them; None: it is none."""
    if not isinstance(x, list | tuple) or not x or not isinstance(x[0], dict):
        return None
    keys = ", ".join(map(str, x[0]))
    return (
        f"X is a list of dicts ({keys}): give a data frame, pandas.DataFrame(X), with labels in the column 'label' "
        f"or that of {option('label')}; or give samples that are arrays or images as X, and their labels as y"
    )


def _feature_rows(x: Any, columns: list[str] | None, what: str, advice: str = "") -> TensorRows | MemmapRows:
    try:
        data = x if _stays(x) else check_array(x, dtype=np.float32, order="C", ensure_all_finite=False)
    except ValueError as error:
        if columns == []:  # of which pandas says something else
            raise InputError(f"{what} has 0 feature(s): its shape is {np.shape(x)}, a row and no column") from error
        raise InputError(f"{what}: {_of_column(x)}{_without_values(error)}") from error
    except TypeError as error:  # records, or dicts
        raise InputError(
            f"{what} is no array of numbers: {error}. Make a data frame of records and dicts: pandas.DataFrame({what})"
        ) from error
    bad = first_bad(data)
    if bad is not None:
        row, column = bad
        said = _not_finite(data[bad], row, repr(columns[column]) if columns else str(column), what)
        raise InputError(f"{said}{advice}")
    return MemmapRows(data) if isinstance(data, np.memmap) else TensorRows(_as_tensor(data))


def _stays(x: Any) -> bool:
    """Whether features are mapped from a file as they are needed."""
    return isinstance(x, np.memmap) and x.ndim == 2 and x.dtype == np.float32 and x.flags.c_contiguous and x.size > 0


def _not_finite(value: float, row: int, column: str, what: str) -> InputError:
    found = "NaN" if np.isnan(value) else "inf or a value too large for float32"
    name = "Input X" if what == "X" else what  # as scikit-learn says it
    return InputError(f"{name} contains {found}: row {row}, column {column}. Remove the row or fill the value in")


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """The same memory as a tensor where torch allows it."""
    if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        wide = np.int32 if array.dtype == np.uint16 else np.int64
        array = array.astype(wide)  # torch has few operations for the other unsigned types
    if array.dtype == np.longdouble:
        array = array.astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to the rows
        return torch.from_numpy(array)


def _image_rows(x: Tensor, what: str) -> TensorRows:
    if 0 in x.shape:
        raise InputError(f"{what} has 0 sample(s) or 0 pixels: its shape is {tuple(x.shape)}")
    return TensorRows(_layout(_image_type(_channels_first(x, what), what)))


def _channels_first(x: Tensor, what: str) -> Tensor:
    """``[N, C, H, W]`` as a view: an axis of 1, 3 or 4 is the channels; in doubt the first one, else the shorter."""
    if x.ndim == 3:
        if x.shape[2] in CHANNELS[1:] and x.shape[1] > _NARROW:
            raise InputError(
                f"{what} of shape {tuple(x.shape)} looks like one image with {x.shape[2]} channels: give {what}[None], "
                "with an axis for the samples"
            )
        return x.unsqueeze(1)
    first, last = x.shape[1] in CHANNELS, x.shape[3] in CHANNELS
    if first or (not last and x.shape[1] <= x.shape[3]):
        return x
    return x.permute(0, 3, 1, 2)


def _image_type(x: Tensor, what: str) -> Tensor:
    """uint8 as it is, bool as 0 and 255, other integers as uint8 by their depth, reals as finite float32."""
    if x.dtype == torch.uint8:
        return x
    if x.dtype == torch.bool:
        return x.to(torch.uint8) * 255
    if x.is_complex():
        raise InputError(f"{what}: complex data not supported")
    if not x.is_floating_point():
        return _by_depth(x, what)
    x = x.to(torch.float32)
    for start in range(0, len(x), CHUNK):
        good = torch.isfinite(x[start : start + CHUNK]).flatten(1)
        if not bool(good.all()):
            row = int(torch.argmin(good.all(1).to(torch.uint8)))
            value = x[start + row].flatten()[int(torch.argmin(good[row].to(torch.uint8)))]
            found = "NaN" if bool(torch.isnan(value)) else "inf"
            raise InputError(f"{what} contains {found}: image {start + row}")
    return x


def _by_depth(x: Tensor, what: str) -> Tensor:
    """Integer images as uint8: each by the bits that its largest value needs, as files of so many bits are read."""
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= 2 ** DEPTHS[-1]:
        raise InputError(
            f"{what} holds integers from {low} to {high}; integer images must lie within 0 to 255, or within 0 to "
            f"{2 ** DEPTHS[-1] - 1:,} where values have up to {DEPTHS[-1]} bits. Scale them, or pass floats"
        )
    if high < 2 ** DEPTHS[0]:
        return x.to(torch.uint8)
    found = torch.empty(x.shape, dtype=torch.uint8)
    for row, image in enumerate(x.cpu()):
        found[row] = torch.from_numpy(as_bytes(image.numpy(), 2.0 ** depth_of(image.numpy()) - 1))
    return found


def _said_of_depths(x: Any) -> tuple[str, ...]:
    """How many integer images in memory have values of more than 8 bits."""
    array = x.detach().cpu().numpy() if isinstance(x, Tensor) and not x.is_sparse else x
    if not isinstance(array, np.ndarray) or array.ndim not in (3, 4) or array.dtype.kind not in "iu":
        return ()
    depths = Counter(map(depth_of, array if array.dtype.itemsize > 1 else ()))
    return of_depths({bits: count for bits, count in depths.items() if bits > DEPTHS[0]})


def _layout(x: Tensor) -> Tensor:
    """The same memory where images lie one after the other, channels first or last; else a copy."""
    one_by_one = x.is_contiguous() or x.permute(0, 2, 3, 1).is_contiguous()
    return x if one_by_one else x.contiguous()
