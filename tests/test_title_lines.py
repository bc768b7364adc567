"""A title above the header of a CSV file: it is left out where that is sure, else the error says what to do."""

from __future__ import annotations

import pandas as pd
import pytest

from codivide import InputError
from codivide.data.sources import load
from codivide.data.tables import as_written, read_table

ROWS = "".join(f"{k},{k % 3}.5,{'ab'[k % 2]}\n" for k in range(12))


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Sales 2024\n", "line 1 left out as a title ('Sales 2024'): the header is in line 2"),
        (
            '"Sales, 2024\nby region"\n\n',
            "lines 1 to 3 left out as a title ('Sales, 2024\\nby region'): the header is in line 4",
        ),
        ("Sales,,\nall regions,,\n", "lines 1 to 2 left out as a title ('Sales'): the header is in line 3"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_title_is_left_out_and_said(tmp_path, title, said, delimiter):
    title = title if title.startswith('"') else title.replace(",", delimiter)
    path = tmp_path / "rows.csv"
    path.write_text(title + ("age,income,label\n" + ROWS).replace(",", delimiter))
    loaded = load(path)
    assert (loaded.columns, loaded.classes, len(loaded.y)) == (("age", "income"), ("a", "b"), 12)
    assert loaded.said[0] == said
    assert as_written(path)["income"].tolist()[:2] == ["0.5", "1.5"]


@pytest.mark.parametrize("text", ["My report\ntext,label\nhi there,a\nbye,b\n", "text\nhello, you\nbye, you\nno, no\n"])
def test_what_may_be_a_title_is_an_error_that_says_what_to_do(tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(
        InputError, match=r"line 1 has one cell \('(My report|text)'\).*delete what is above line 2.*quotes"
    ):
        load(tmp_path / "rows.csv")


@pytest.mark.parametrize(
    "text",
    [
        "text\na; b\nc; d\ne; f\n",  # one column
        "a,b,c\n1,,\n2,,\n3,4,5\n",  # a row of one cell is no title
        ",x,y\n0,1,2\n1,2,3\n",  # a data frame's index has no name
        "label,\na,1\nb,2\n",
        "a\n1\n2\n",
    ],
)
def test_other_tables_are_read_as_pandas_reads_them(tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    table = read_table(tmp_path / "rows.csv")
    expected = pd.read_csv(tmp_path / "rows.csv")
    assert (list(table.columns), len(table)) == (list(expected.columns), len(expected))
