"""Texts that a spreadsheet would calculate, in the files that people open with one."""

import csv
import io

import pytest

from darkroom_api.exports.table import no_formula


def cells(text: str, separator: str) -> list[str]:
    """Return what a spreadsheet takes for cells, whose list separator this is."""
    line = io.StringIO()
    csv.writer(line).writerow(["A1", no_formula(text), "CT"])
    return next(csv.reader(io.StringIO(line.getvalue(), newline=""), delimiter=separator))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "  @SUM(A1)",
        "\x00=1+1",
        "\x1b\uff1d1",
        "\t=1",
        "DOE;=1+1",
        "DOE; \x07-1",
        'DOE;"=1+1',
        'DOE";=1+1;+2',
        "DOE;\uff0b1",
        "DOE\t=1",
    ],
)
def test_no_cell_is_a_formula_whatever_separates_cells(text: str, separator: str) -> None:
    for cell in cells(text, separator):
        assert cell.lstrip(' "')[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20")


@pytest.mark.parametrize("text", ["M\u00fcller^J\u00f6rg", "3 mm; axial", "a=b", "2026-01-02"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert no_formula(text) == text
