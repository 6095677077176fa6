"""What the application says to Postgres for one request: to count round trips, and to say it again.

The application runs in this process for a moment. SQLAlchemy reports the statements it executes,
and those that pass it by are listened to; each is one round trip (once a connection has prepared
it). asyncpg reports the rest: BEGIN and COMMIT.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
from sqlalchemy import Engine, event

from app.config import Settings
from app.core.prepared import Prepared
from app.main import create_app


class Statement(NamedTuple):
    sql: str
    arguments: tuple[Any, ...]


class Wiretap:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._heard: list[Statement] = []

    def hear(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        self._heard.append(Statement(sql, tuple(arguments)))

    async def statements(
        self,
        method: str,
        path: str,
        *,
        expect: int,
        **options: Any,  # noqa: ANN401 - httpx's
    ) -> tuple[httpx.Response, list[Statement]]:
        """The answer to a request, and what was said for it."""
        self._heard.clear()
        response = await self._client.request(method, path, **options)
        if response.status_code != expect:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        # A transaction is begun on the wire just before its first statement, which is heard first.
        return response, sorted(self._heard, key=lambda said: not said.sql.startswith("BEGIN"))


@asynccontextmanager
async def tapped_application(environment: Mapping[str, str]) -> AsyncIterator[Wiretap]:
    known = {name: environment[name] for name in Settings.model_fields if name in environment}
    settings = Settings(_env_file=None, **known)  # type: ignore[arg-type]  # any setting, by name
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            tap = Wiretap(client)

            with _listening(app.state.database.engine.sync_engine, tap):
                yield tap


@contextmanager
def _listening(engine: Engine, tap: Wiretap) -> Iterator[None]:
    run = Prepared.all

    async def run_heard(self: Prepared, where: Any, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401
        tap.hear(self.text, self.arguments(parameters))
        return await run(self, where, parameters)

    @event.listens_for(engine, "before_cursor_execute")
    def executed(*details: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        _, _, sql, arguments, *_ = details
        tap.hear(sql, arguments)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's
        def logged(query: Any) -> None:  # noqa: ANN401 - asyncpg's
            if query.query.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
                tap.hear(query.query)

        connection.driver_connection.add_query_logger(logged)

    with patch.object(Prepared, "all", run_heard):
        yield
