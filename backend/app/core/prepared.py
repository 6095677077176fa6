"""Statements of the hot paths: made ready once, and given to the driver itself.

SQLAlchemy writes them; asyncpg runs them. What lies between, for each statement and each row,
costs several times what asyncpg itself does (benchmarks/README.md), and the hot paths have no use
for it. A statement runs in the transaction of the session it is given, or, given the pool of
readers, by itself on one of its connections.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Readers

__all__ = ["Prepared", "Readers", "Row"]

_dialect: Any = dialect.dialect
_DIALECT = _dialect(dbapi=_dialect.import_dbapi())
_DRIVER = "driver"


class Row(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """A row whose columns are attributes as well."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the column holds
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def _asdict(self) -> dict[str, Any]:
        """The columns by their names, as SQLAlchemy's rows give them."""
        return dict(self.items())


class Prepared:
    """A statement whose text and parameters are settled when the module is imported.

    Lists of values (`IN`) have no settled text: pass one array, with `= ANY`.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT)
        self.text: str = compiled.string
        self._settled: dict[str, Any] = dict(compiled.params)
        processors = compiled._bind_processors  # noqa: SLF001 - no other way to what SQLAlchemy sends
        self._parameters = [(name, processors.get(name)) for name in compiled.positiontup]

    async def all(
        self, where: AsyncSession | Readers, parameters: Mapping[str, Any]
    ) -> Sequence[Any]:
        """The rows, in one round trip (and one more when a connection prepares it)."""
        arguments = self.arguments(parameters)
        if isinstance(where, AsyncSession):
            connection = await _driver(where)
            rows: Sequence[Any] = await connection.fetch(self.text, *arguments, record_class=Row)
            return rows
        return await where.fetch(self.text, *arguments, record_class=Row)

    async def first(
        self, where: AsyncSession | Readers, parameters: Mapping[str, Any]
    ) -> Any | None:  # noqa: ANN401 - a row
        rows = await self.all(where, parameters)
        return rows[0] if rows else None

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values in the order in which the text names them."""
        arguments: list[Any] = []
        for name, process in self._parameters:
            value = parameters[name] if name in parameters else self._settled[name]
            arguments.append(value if process is None else process(value))
        return arguments


async def _driver(session: AsyncSession) -> Any:  # noqa: ANN401 - asyncpg's connection or a proxy
    """The driver's connection of a session, whose transaction has begun.

    SQLAlchemy begins it with the first statement that it sends itself: without care, what is sent
    past it would be committed at once, and outlive a rollback.
    """
    transaction = session.sync_session.get_transaction()
    known = session.info.get(_DRIVER)
    if known is not None and transaction is not None and known[0] is transaction:
        return known[1]
    connection = await session.connection()
    adapter: Any = (await connection.get_raw_connection()).dbapi_connection
    if adapter._transaction is None:  # noqa: SLF001 - tests/unit/core/test_prepared.py guards it
        try:
            await adapter._start_transaction()  # noqa: SLF001 - as its own cursors do
        except dialect.AsyncAdapt_asyncpg_dbapi.Error as error:
            # SQLAlchemy's clothes for what the driver said, which elsewhere here go without them.
            raise (error.__cause__ or error) from None
    driver = adapter.driver_connection
    session.info[_DRIVER] = (session.sync_session.get_transaction(), driver)
    return driver
