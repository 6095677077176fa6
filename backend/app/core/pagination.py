"""Keyset pagination: pages stay stable while rows are added, and page 1,000 costs what page 1 does.

A list is ordered by one named column and, for ties, by id, both in the same direction. A cursor
holds the sort and the last row's values; it is opaque to clients.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.errors import ValidationFailed

# A name of 200 characters, each of four bytes, in base 64, leaves room to spare.
_MAXIMUM_CURSOR_LENGTH = 2000
DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200

ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


@dataclass(frozen=True, slots=True)
class PageRequest:
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


async def page_request(
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=_MAXIMUM_CURSOR_LENGTH)] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


Paging = Annotated[PageRequest, Depends(page_request)]


def sorted_by(*names: str) -> Any:  # noqa: ANN401 - what FastAPI's own `Query` is said to give
    """The parameter `sort` of a list whose `Keyset` has these columns."""
    orders = [order for name in names for order in (name, f"-{name}")]
    return Query(description="`-`: descending.", json_schema_extra={"enum": orders})


@dataclass(frozen=True, slots=True)
class Keyset:
    """How one resource may be sorted: names that clients use, and the columns behind them."""

    id: InstrumentedAttribute[UUID] | ColumnElement[int]
    columns: Mapping[str, InstrumentedAttribute[Any] | ColumnElement[Any]]

    async def page(
        self,
        session: AsyncSession,
        statement: Select[Any],
        request: PageRequest,
        *,
        sort: str,
        build: Callable[[Any], ItemT],
    ) -> Page[ItemT]:
        """One page of `statement`, in one round trip.

        Raises:
            ValidationFailed: the sort is unknown, or the cursor is not one of this list's.
        """
        name = sort.removeprefix("-")
        if name not in self.columns:
            raise ValidationFailed.at("#/sort", f"one of {', '.join(sorted(self.columns))}")
        column, descending = self.columns[name], sort.startswith("-")
        keys = tuple_(column, self.id)
        if request.cursor is not None:
            last = tuple_(*self._decode(request.cursor, sort, column), types=keys.type.types)
            statement = statement.where(keys < last if descending else keys > last)
        order = (column.desc(), self.id.desc()) if descending else (column.asc(), self.id.asc())
        rows = (
            await session.execute(
                statement.add_columns(column.label("_sort_key"), self.id.label("_sort_id"))
                .order_by(*order)
                .limit(request.limit + 1)
            )
        ).all()
        shown = rows[: request.limit]
        more = len(rows) > request.limit
        cursor = _encode(sort, shown[-1]._mapping) if more else None  # noqa: SLF001 - Row's API
        return Page(items=[build(row) for row in shown], next_cursor=cursor)

    def _decode(
        self, cursor: str, sort: str, column: InstrumentedAttribute[Any] | ColumnElement[Any]
    ) -> tuple[object, object]:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            wanted, value, last_id = json.loads(base64.b64decode(padded, b"-_", validate=True))
            if wanted != sort:
                raise ValueError
            kinds = column.type.python_type, self.id.type.python_type
            return _typed(value, kinds[0]), _typed(last_id, kinds[1])
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
            raise ValidationFailed.at("#/cursor", "not a cursor of this list") from None


def _typed(value: object, kind: type) -> object:
    """Restore a sort key from its JSON form, refusing all that this column cannot hold."""
    if kind is datetime and isinstance(value, str):
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError
        return instant
    if kind is date and isinstance(value, str):
        return date.fromisoformat(value)
    if kind is str and isinstance(value, str) and "\0" not in value:
        value.encode()
        return value
    if kind is UUID and isinstance(value, str):
        return UUID(value)
    if kind is int and type(value) is int and abs(value) < 2**63:
        return value
    raise ValueError


def _encode(sort: str, row: Mapping[Any, Any]) -> str:
    value, last_id = row["_sort_key"], row["_sort_id"]
    text = json.dumps(
        [
            sort,
            value.isoformat() if isinstance(value, date) else value,
            str(last_id) if isinstance(last_id, UUID) else last_id,
        ],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def everything(items: Sequence[ItemT]) -> Page[ItemT]:
    """A list that is always short enough for one page."""
    return Page(items=list(items), next_cursor=None)
