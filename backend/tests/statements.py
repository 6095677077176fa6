"""What the application says to Postgres, for tests that count round trips."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from sqlalchemy import event

from app.core.prepared import Prepared


@contextmanager
def statements(app: FastAPI) -> Iterator[list[str]]:
    """All that is sent while the block lasts, but for BEGIN, COMMIT and ROLLBACK."""
    sent: list[str] = []
    run = Prepared.all

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    async def run_noted(self: Prepared, where: Any, parameters: Mapping[str, Any]) -> Any:
        sent.append(self.text)
        return await run(self, where, parameters)

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with patch.object(Prepared, "all", run_noted):
            yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
