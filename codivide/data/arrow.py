"""Tables of Arrow, and of libraries that speak it, as data frames of pandas."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pyarrow

INDEX = re.compile(r"__index_level_\d+__")


def as_pandas(values: Any) -> Any:
    """A table of another library (Arrow, polars, DuckDB) as a data frame of pandas; anything else as it is."""
    if isinstance(values, pd.DataFrame | pd.Series | pd.Index) or not hasattr(values, "__arrow_c_stream__"):
        return values
    try:
        return from_arrow(pyarrow.table(values))
    except (TypeError, ValueError):  # ArrowInvalid is one; a column alone
        return values


def from_arrow(table: Any) -> pd.DataFrame:
    """As a data frame; numbers of a class of Hugging Face become its name, -1 none."""
    index = [name for name in table.column_names if INDEX.fullmatch(name)]  # of a data frame, which no one has named
    found: pd.DataFrame = table.drop_columns(index).to_pandas(ignore_metadata=True)
    for name, names in _class_names(table.schema).items():
        if name in found and pd.api.types.is_numeric_dtype(found[name]):
            codes = found[name].tolist()
            found[name] = pd.Series([names[int(k)] if pd.notna(k) and k >= 0 else None for k in codes], dtype=object)
    return found


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes of each column, as Hugging Face's datasets keep them in the file."""
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = kept.get("info", {}).get("features", {}).items()
        return {name: list(kind["names"]) for name, kind in features if kind.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}  # something else's metadata: the numbers stay
