from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.models import Service
from app.core.errors import ValidationFailed
from app.core.pagination import _MAXIMUM_CURSOR_LENGTH, Keyset, _encode

KEYSET = Keyset(Service.id, {"name": Service.name, "created_at": Service.created_at})
instants = st.datetimes(timezones=st.just(UTC))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)


def there_and_back(sort: str, value: object, row_id: UUID) -> tuple[str, tuple[object, UUID]]:
    cursor = _encode(sort, {"_sort_key": value, "_sort_id": row_id})
    column = KEYSET.columns[sort.removeprefix("-")]
    return cursor, KEYSET._decode(cursor, sort, column)


@given(names, st.uuids(), st.sampled_from(["name", "-name"]))
def test_a_cursor_gives_back_the_name_it_was_made_of(name: str, row_id: UUID, sort: str) -> None:
    cursor, decoded = there_and_back(sort, name, row_id)
    assert decoded == (name, row_id)
    assert len(cursor) <= _MAXIMUM_CURSOR_LENGTH
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(instants, st.uuids())
def test_a_cursor_gives_back_the_instant_to_the_microsecond(value: datetime, row_id: UUID) -> None:
    assert there_and_back("created_at", value, row_id)[1] == (value, row_id)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode("latin-1")))
def test_anything_else_is_refused_in_one_way(junk: str) -> None:
    for sort, column in KEYSET.columns.items():
        with pytest.raises(ValidationFailed) as refusal:
            KEYSET._decode(junk, sort, column)
        assert [error.pointer for error in refusal.value.errors] == ["#/cursor"]


@pytest.mark.parametrize(("made_for", "used_for"), [("name", "-name"), ("name", "created_at")])
def test_a_cursor_is_bound_to_its_sort(made_for: str, used_for: str) -> None:
    row: dict[str, Any] = {"_sort_key": "a", "_sort_id": UUID(int=1)}
    column = KEYSET.columns[used_for.removeprefix("-")]
    with pytest.raises(ValidationFailed):
        KEYSET._decode(_encode(made_for, row), used_for, column)
