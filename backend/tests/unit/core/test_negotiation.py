"""What a client asks for is what it gets."""

import pytest

from app.core.errors import NotAcceptable
from app.core.negotiation import preferred

OFFERS = ("application/json", "text/csv")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/*", "text/csv"),
        ("application/json, text/csv", "application/json"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("*/*;q=0.1, text/csv", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("nonsense, text/csv;q=0.2", "text/csv"),
    ],
)
def test_the_best_form_is_chosen(accept: str | None, expected: str) -> None:
    assert preferred(accept, OFFERS) == expected


@pytest.mark.parametrize("accept", ["text/html", "text/csv;q=0", "text/csv;q=many", "text/csv;q=7"])
def test_a_client_that_takes_none_of_them_is_told(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        preferred(accept, OFFERS)
