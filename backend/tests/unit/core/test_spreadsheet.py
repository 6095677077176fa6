"""CSV that a spreadsheet shows and does not compute."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.spreadsheet import lines


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1"),
        *("\uff1d1+1", "\uff20SUM(A1)", "\u00a0=1", "\ufeff=1", "\u3000 \uff0b1"),
    ],
)
def test_what_would_be_a_formula_is_text(text: str) -> None:
    [_, [cell]] = read("".join(lines([["name"], [text]])))
    assert cell == f"'{text}"


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert list(lines([["a", "b", "c"], [-1, 0.5, None]])) == ["a,b,c\r\n", "-1,0.5,\r\n"]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_every_cell_is_read_as_it_was_written(cells: list[str]) -> None:
    [_, row] = read("".join(lines([["x"] * len(cells), cells])))
    assert [cell.removeprefix("'") for cell in row] == [cell.removeprefix("'") for cell in cells]
