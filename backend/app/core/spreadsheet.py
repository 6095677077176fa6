"""Rows as CSV (RFC 4180), for people who open them in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

MEDIA_TYPE = "text/csv"

# What spreadsheets take for the beginning of a formula (OWASP, CSV Injection); some also as wide
# as East Asian characters are.
_FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
_UNSEEN = " \u00a0\u200b\u3000\ufeff"
"""What may stand before it."""


def lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The rows, the first being the header, a line at a time; None is an empty cell.

    Text that a spreadsheet would compute gets an apostrophe before it. Numbers stay what they are.
    """
    line = io.StringIO()
    writer = csv.writer(line)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(_UNSEEN).startswith(_FORMULA) else text
