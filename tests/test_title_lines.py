"""A title above the header of a CSV file or a sheet: left out where that is sure, else the error says what to do."""

from __future__ import annotations

import openpyxl
import pandas as pd
import pytest

from codivide import InputError
from codivide.data.asked import said_of
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


def workbook(path, above, header, rows):
    """A workbook of one sheet, its cells as they are."""
    sheet = openpyxl.Workbook()
    for row in [*above, header, *rows]:
        sheet.active.append(row)
    sheet.save(path)
    return path


CELLS = [[k, k % 3 + 0.5, "ab"[k % 2]] for k in range(12)]


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ([["Sales 2024"]], "row 1 left out as a title ('Sales 2024'): the header is in row 2"),
        ([["Sales"], [], ["all regions"], []], "rows 1 to 4 left out as a title ('Sales'): the header is in row 5"),
        ([[None, "Sales"]], "row 1 left out as a title ('Sales'): the header is in row 2"),
        ([[], []], None),  # nothing but empty rows
        ([], None),
    ],
)
def test_the_title_of_a_sheet_is_left_out_and_said(tmp_path, above, said):
    rows = [[None if (k, cell) == (3, 0.5) else cell for cell in row] for k, row in enumerate(CELLS)]  # a gap
    loaded = load(workbook(tmp_path / "rows.xlsx", above, ["age", "income", "label"], rows))
    plain = load(workbook(tmp_path / "plain.xlsx", [], ["age", "income", "label"], rows))
    assert (loaded.columns, loaded.classes, len(loaded.y)) == (plain.columns, ("a", "b"), 12)
    assert [text for text in loaded.said if "title" in text] == [text for text in (said,) if text]


def test_of_two_columns_the_title_of_a_sheet_must_be_sure(tmp_path):
    rows = [[k, "ab"[k % 2]] for k in range(12)]
    assert load(workbook(tmp_path / "a.xlsx", [["Sales"]], ["age", "label"], rows)).columns == ("age",)
    unnamed = workbook(tmp_path / "b.xlsx", [], ["label", None], [["ab"[k % 2], k] for k in range(12)])
    assert len(load(unnamed).y) == 12  # a column without a name


def test_what_may_be_the_title_of_a_sheet_is_an_error_that_says_what_to_do(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [["Report"]], ["text", "note", "label"], [["hi", "x", "a"], ["bye", "y", "b"]])
    with pytest.raises(InputError, match=r"row 1 has one cell \('Report'\).*delete what is above row 2"):
        load(path)


def test_merged_cells_over_several_rows_are_said(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [], ["age", "income", "label"], CELLS)
    book = openpyxl.load_workbook(path)
    for cells in ("C2:C3", "A5:B5", "C6:C9"):
        book.active.merge_cells(cells)
    book.save(path)
    loaded = load(path)
    assert any("2 times cells of several rows are merged (the first: C2:C3)" in text for text in loaded.said)
    assert int((loaded.y < 0).sum()) == 4


HEADER = "age,income,label\n"


def test_texts_with_other_line_ends_of_unicode_hide_no_comment(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("# by hand, in May, again\ntext,label\n" + "one\u2028two words,a\nthree\x0cfour words,b\n" * 6)
    found = load(path)
    assert (len(found.y), found.classes) == (12, ("a", "b"))
    assert found.said[0].startswith("1 line that begins with # above the header left out")


@pytest.mark.parametrize(
    ("comments", "said"),
    [
        ("# made by hand\n", "1 line that begins with # above the header left out ('# made by hand')"),
        ("# a, b, c and d\n#\n\n# beta\n", "4 lines that begin with # above the header left out ('# a, b, c and d')"),
        ("# May, 2024, v2\n", "1 line that begins with # above the header left out ('# May, 2024, v2')"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_comments_above_the_header_are_left_out_and_said(tmp_path, comments, said, delimiter):
    path = tmp_path / "rows.csv"
    path.write_text(comments.replace(",", delimiter) + (HEADER + ROWS).replace(",", delimiter))
    loaded = load(path)
    assert (loaded.columns, loaded.classes, len(loaded.y)) == (("age", "income"), ("a", "b"), 12)
    assert loaded.said[0] == said.replace(",", delimiter)
    assert as_written(path)["income"].tolist()[:2] == ["0.5", "1.5"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("#age,income,label\n" + ROWS, ["#age", "income", "label"]),
        ("#name,income,label\nbob,none,a\n" + ROWS, ["#name", "income", "label"]),  # a word among numbers
        ("# beta\n#age,income,label\n" + ROWS, ["#age", "income", "label"]),
        ("age,income,label\n#" + ROWS, ["age", "income", "label"]),
        ("#text\n#one\n#two\n", ["#text"]),
    ],
)
def test_a_header_that_begins_with_the_sign_of_a_comment_stays(tmp_path, text, columns):
    (tmp_path / "rows.csv").write_text(text)
    assert list(read_table(tmp_path / "rows.csv").columns) == columns


@pytest.mark.parametrize(
    ("comments", "said"),
    [
        ("# end of file\n", "1 line that begins with # at the end left out ('# end of file')"),
        ("# 12 rows\r\n\r\n# a, b, c, d\r\n\r\n", "2 lines that begin with # at the end left out ('# 12 rows')"),
        ("#", "1 line that begins with # at the end left out ('#')"),
        ("# by hand, in May\n#12, rounded\n", "2 lines that begin with # at the end left out ('# by hand, in May')"),
        ("# made, by hand, in May\n", "1 line that begins with # at the end left out ('# made, by hand, in May')"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_comments_below_the_rows_are_left_out_and_said(tmp_path, comments, said, delimiter):
    path = tmp_path / "rows.csv"
    path.write_bytes((HEADER + ROWS + comments).replace(",", delimiter).encode())
    loaded = load(path)
    assert (loaded.columns, loaded.classes, len(loaded.y)) == (("age", "income"), ("a", "b"), 12)
    assert loaded.said[0] == said.replace(",", delimiter)
    assert len(as_written(path)) == 12


@pytest.mark.parametrize("last", ["#ootd,US,c\n" * 5, "#ootd,Malta,a\n" * 5])
def test_last_rows_of_a_new_class_or_place_stay(tmp_path, last):
    (tmp_path / "rows.csv").write_text("text,place,label\n" + "good,US,a\nbad,UK,b\n" * 30 + last)
    assert len(read_table(tmp_path / "rows.csv")) == 65


def test_a_comment_below_rows_whose_first_column_is_the_label(tmp_path):
    (tmp_path / "rows.csv").write_text("label,text\n" + "a,good\nb,bad\n" * 30 + "# made by hand, in May\n")
    assert len(read_table(tmp_path / "rows.csv")) == 60


def test_a_comment_below_rows_of_which_some_begin_with_its_sign(tmp_path):
    text = "text,label\n" + "good,a\n#mood,a\nbad,b\n" * 3
    (tmp_path / "rows.csv").write_text(text + "# by hand, in May\n")
    assert read_table(tmp_path / "rows.csv")["text"].tolist() == ["good", "#mood", "bad"] * 3
    (tmp_path / "rows.csv").write_text(
        text + "# a mood,a\n" + "# by hand, in May\n"
    )  # the last line but one may be a row
    assert read_table(tmp_path / "rows.csv")["text"].tolist() == [*["good", "#mood", "bad"] * 3, "# a mood"]


@pytest.mark.parametrize(
    "text",
    [
        "text,label\n" + "good,a\nbad,b\n" * 3 + "#ootd,a\n",  # a row like the others
        "text,label\n" + "good,a\nbad,b\n" * 3 + "#ootd,\n",  # a row without a label
        "text\n" + "good\nbad\n" * 3 + "#ootd\n",
        "text,label\n" + "good,a\nbad,b\n" * 3 + "# by hand, b\n",  # the column of texts may hold anything
        "text,label\n" + "good,a\nbad,b\n" * 3 + "#ootd,c\n",  # a third class
        "text,label\n" + "#mood,a\nbad,b\n" * 3 + "#ootd,in May\n",  # others begin so
        "age,label\n" + "41,a\n28,b\n" * 3 + "#N/A,a\n",
        "age,label\n" + "41,a\n28,b\n" * 3 + "#12,\n",
        "label,text\n" + "a,good\nb,bad\n" * 3 + 'a,"so\n#ootd"\n',  # a text of two lines
        "label,text\n" + "a,good\nb,bad\n" * 3 + 'a,"so\n#ootd\nwell"\n',
    ],
)
def test_a_last_row_that_begins_with_the_sign_of_a_comment_stays(tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    assert len(read_table(tmp_path / "rows.csv")) == 7


@pytest.mark.parametrize("last", ["#61,old,a\n", "#61,1.5,a\n", "#61,old,a\n# end of file\n"])
def test_a_last_row_of_numbers_that_begins_with_the_sign_of_a_comment_is_kept_and_said(tmp_path, last):
    (tmp_path / "rows.csv").write_text(HEADER + ROWS + last)
    loaded = load(tmp_path / "rows.csv")
    assert (len(loaded.y), loaded.classes) == (13, ("a", "b"))
    row = last.partition("\n")[0]
    assert loaded.said[0].startswith(f"1 line that begins with # at the end read as a row ({row!r})")
    assert len(loaded.said) == 1 + ("end" in last)


def test_a_last_row_whose_text_begins_with_the_sign_of_a_comment_is_not_said(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 3 + "#ootd,a\n")
    assert load(tmp_path / "rows.csv").said == ()


def test_words_that_no_column_holds_are_a_comment_without_blanks_too(tmp_path):
    (tmp_path / "rows.csv").write_text(HEADER + ROWS + "#end,of,file\n")
    assert len(load(tmp_path / "rows.csv").y) == 12


def test_a_comment_above_a_last_row_that_begins_as_it_does_is_read_and_said(tmp_path):
    (tmp_path / "rows.csv").write_text(HEADER + ROWS + "# two more\n#61,old,a\n")
    table = read_table(tmp_path / "rows.csv")
    assert len(table) == 14
    assert said_of(table)[0].startswith("2 lines that begin with # at the end read as rows ('# two more')")
