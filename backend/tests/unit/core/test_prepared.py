"""What passes SQLAlchemy by must still live and die with the session's transaction."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import Integer, Uuid, bindparam, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB

from app.config import Settings
from app.core.prepared import Prepared
from app.database import Database, table
from app.schedules.models import Calendar

RAISE = Prepared(insert(table(Calendar)).values(subject_id=bindparam("subject_id", type_=Uuid())))
COUNT = Prepared(
    text("SELECT count(*) AS found FROM calendars WHERE subject_id = :subject_id").bindparams(
        bindparam("subject_id", type_=Uuid())
    )
)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings)
    yield database
    await database.dispose()


async def found(database: Database, subject_id: object) -> int:
    row = await COUNT.first(database.readers, {"subject_id": subject_id})
    assert row is not None
    count: int = row.found
    return count


async def test_what_it_wrote_first_is_rolled_back_with_the_session(database: Database) -> None:
    subject = uuid4()

    async def fail() -> None:
        async with database.transaction() as session:
            await RAISE.all(session, {"subject_id": subject})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await found(database, subject) == 0


async def test_what_it_wrote_is_committed_with_the_session_and_not_before(
    database: Database,
) -> None:
    subject = uuid4()
    async with database.transaction() as session:
        await RAISE.all(session, {"subject_id": subject})
        assert await found(database, subject) == 0
        assert await session.get(Calendar, subject) is not None
    assert await found(database, subject) == 1


async def test_after_a_rollback_it_begins_anew(database: Database) -> None:
    lost, kept = uuid4(), uuid4()
    async with database.transaction() as session:
        await RAISE.all(session, {"subject_id": lost})
        await session.rollback()
        await RAISE.all(session, {"subject_id": kept})
        assert await found(database, kept) == 0
    assert (await found(database, lost), await found(database, kept)) == (0, 1)


async def test_on_a_reading_session_each_statement_sees_what_is_committed(
    database: Database,
) -> None:
    subject = uuid4()
    async with database.reading() as reader:
        assert (await COUNT.all(reader, {"subject_id": subject}))[0].found == 0
        async with database.transaction() as session:
            await RAISE.all(session, {"subject_id": subject})
        assert (await COUNT.all(reader, {"subject_id": subject}))[0].found == 1


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match="read-only"):
        await RAISE.all(database.readers, {"subject_id": uuid4()})


async def test_values_and_rows_are_those_of_sqlalchemy(database: Database) -> None:
    both = Prepared(
        select(
            bindparam("given", type_=JSONB()).label("given"),
            bindparam("number", 7, type_=Integer()).label("number"),
        )
    )
    given = {"key": ["é", 1]}
    row = await both.first(database.readers, {"given": given})
    assert row is not None
    assert (row.given, row.number, row["number"]) == (given, 7, 7)
    async with database.reading() as session:
        row = await both.first(session, {"given": given})
        assert row is not None
        assert (row.given, row.number) == (given, 7)
        assert not hasattr(row, "other")
