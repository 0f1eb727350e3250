"""What the files of exports hold, as programs of others read them; and what e-mail says."""

import csv
import datetime as dt
import io
from collections.abc import Iterable
from typing import Any

import openpyxl
import pypdf
import pytest
from openpyxl.utils.escape import unescape

from darkroom_api.exports import csv_file, excel_file, pdf_file
from darkroom_api.exports.table import Column, Row, Table, no_formula, no_formulas, one_line
from darkroom_api.exports.values import encoded, plain
from darkroom_api.mail.address import is_address
from darkroom_api.mail.message import Envelope, compose

COLUMNS = (
    Column("name", "Name", 20),
    Column("day", "Day", 10, "date"),
    Column("moment", "Moment", 19, "moment"),
    Column("count", "Count", 6, "number"),
)
NEW_DAY = dt.datetime(2026, 1, 2, tzinfo=dt.UTC).replace(tzinfo=None)
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def a_table(rows: Iterable[Row], total: int, columns: tuple[Column, ...] = COLUMNS) -> Table:
    return Table("Studies", columns, total, rows, MOMENT, "admin")


def names(*values: str) -> Table:
    return a_table([[value] for value in values], len(values), COLUMNS[:1])


def sheet_of(table: Table) -> Any:
    book = openpyxl.load_workbook(io.BytesIO(b"".join(excel_file.content(table))))
    return book.active


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\u00a0=1"]
HARMLESS = ["", "Doe^Jane", "1=1", "a-b", "'=1", "=".join("ab")]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_none_any_more(text: str) -> None:
    assert no_formula(text) == f"'{one_line(text)}"
    content = b"".join(csv_file.content(names(text))).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert rows[1][0].startswith("'")
    cell = sheet_of(names(text))["A2"]
    assert (cell.data_type, cell.value, cell.quotePrefix) == ("s", one_line(text), True)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert no_formula(text) == text


def test_a_row_is_looked_at_as_each_of_its_texts_is() -> None:
    texts = [*FORMULAS, *HARMLESS, "a;=1", "a\nb", "\n", "\u00e9\u672c", "a\x00b"]
    for one in texts:
        for other in texts:
            row = ["", one, "Doe^Jane", other]
            assert no_formulas(row) == [no_formula(text) for text in row]


def test_a_line_that_is_written_at_once_is_that_of_the_csv_module() -> None:
    texts = [*FORMULAS, *HARMLESS, "a;=1", "a,b", 'a"b', "a\nb", "\u00e9\u672c", "a b", "\uff0b1"]
    for one in texts:
        for other in texts:
            expected = io.StringIO()
            row = ["Doe^Jane", no_formula(one), no_formula(other)]
            csv.writer(expected, lineterminator="\r\n").writerow(row)
            made = a_table([["Doe^Jane", one, other]], 1, COLUMNS[:1] * 3)
            lines = b"".join(csv_file.content(made)).decode("utf-8-sig").partition("\r\n")[2]
            assert lines == expected.getvalue()


ODD = [
    'a "quoted", one',
    "<b>&amp;</b>",
    "_x0041_ and _xZZZZ_",
    "  blanks  ",
    "Müller^Zoë",
    "山田^太郎=やまだ",
    "김^희중",
    "שלום",
    "\U0001f480 skull",
    "\x00\x1b[31m\x7f\ufffe",
    "x" * 40_000,
]


@pytest.mark.parametrize("text", ODD)
def test_every_text_is_one_that_others_read(text: str) -> None:
    content = b"".join(csv_file.content(names(text))).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(content, newline="")))[1] == [one_line(text)]
    assert unescape(sheet_of(names(text))["A2"].value) == one_line(text)[:32_767]
    document = pypdf.PdfReader(io.BytesIO(b"".join(pdf_file.content(names(text)))))
    assert len(document.pages) == 1
    if text == "Müller^Zoë":
        assert text in document.pages[0].extract_text()


def test_dates_and_numbers_are_such_in_excel() -> None:
    rows: list[Row] = [
        ["a", dt.date(2026, 1, 2), MOMENT, 7],
        ["b", None, None, None],
        ["c", dt.date(1850, 1, 2), LAST, 0],
    ]
    sheet = sheet_of(a_table(rows, 3))
    found = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    assert found[0] == ["a", NEW_DAY, MOMENT.replace(tzinfo=None), 7]
    assert found[1] == ["b", None, None, None]
    assert found[2][1] == "1850-01-02"  # before Excel's calendar
    assert found[2][2] == LAST.replace(tzinfo=None)
    assert sheet.auto_filter.ref == "A1:D4"


@pytest.mark.parametrize("total", [0, 1, 3, 1000])
def test_fewer_rows_than_were_found_are_no_broken_file(total: int) -> None:
    """Studies may be deleted while the file is made."""
    table = names(*["a"] * max(0, total - 2))
    made = a_table(table.rows, total, COLUMNS[:1])
    assert sheet_of(made)["A1"].value == "Name"


def test_excel_and_csv_are_written_while_rows_come() -> None:
    """However many there are, few are in memory."""
    for module in (csv_file, excel_file):
        taken = 0

        def rows() -> Iterable[Row]:
            nonlocal taken
            for taken in range(5000):
                yield [str(taken)]

        pieces = module.content(a_table(rows(), 5000, COLUMNS[:1]))
        next(pieces)
        next(pieces)
        assert taken <= 1000


def test_a_long_pdf_has_numbered_pages_each_with_the_heading() -> None:
    table = names(*[f"Patient^{number}" for number in range(300)])
    document = pypdf.PdfReader(io.BytesIO(b"".join(pdf_file.content(table))))
    pages = len(document.pages)
    assert pages > 4
    for number, page in enumerate(document.pages, 1):
        text = page.extract_text()
        assert f"Page {number} of" in text
        assert str(pages) in text.rpartition("of")[2]
        assert "Name" in text
    whole = "".join(page.extract_text() for page in document.pages)
    assert all(f"Patient^{number}" in whole for number in range(300))


def test_a_text_that_is_wider_than_its_column_goes_on_below() -> None:
    wide = (Column("a", "A", 10), Column("b", "B", 60))
    rows: list[Row] = [["one two three four five six", "x"], ["W" * 500, "y"]]
    document = pypdf.PdfReader(io.BytesIO(b"".join(pdf_file.content(a_table(rows, 2, wide)))))
    text = document.pages[0].extract_text().replace("\n", " ")
    assert "six" in text
    assert "\u2026" in text


def test_values_of_a_statement_come_through() -> None:
    values = [
        [b"\x00\xff", b""],
        dt.date(2026, 1, 2),
        dt.time(1, 2, 3, 4),
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "text",
        7,
        None,
        ["a", "b"],
        True,
    ]
    assert plain(encoded(values)) == values
    with pytest.raises(TypeError):
        encoded({"a": 1})


ENVELOPE = Envelope("darkroom@clinic.example", "a@clinic.example", "id", MOMENT)


def test_no_value_of_an_e_mail_ends_a_header() -> None:
    values = {
        "count": 2,
        "lane": "PACS\r\nBcc: everybody@example\r\n\r\nbody",
        "what": "transmit",
        "reason": "a\nb",
        "jobs": ["1"],
        "url": "",
    }
    message = compose("job_failed", values, ENVELOPE)
    assert message["Bcc"] is None
    assert message["Subject"] == "2 jobs failed: PACS Bcc: everybody@example body"
    assert message.as_bytes() == compose("job_failed", values, ENVELOPE).as_bytes()
    assert message["Message-ID"] == "<id@clinic.example>"


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("a@b.example", True),
        ("Dr.Smith+x@clinic.example", True),
        ("a@localhost", True),
        ("", False),
        ("a", False),
        ("a@b@c", False),
        ("a@b.example\r\nBcc: x@y", False),
        ("a b@c.example", False),
        ("A <a@b.example>", False),
        ("a@-b.example", False),
        ("zoë@b.example", False),
        ("a" * 250 + "@b.example", False),
        ("a" * 65 + "@b.example", False),
        ("a..b@c.example", False),
        (".a@b.example", False),
        ("a,b@c.example", False),
    ],
)
def test_what_is_an_address(address: str, good: bool) -> None:
    assert is_address(address) is good
