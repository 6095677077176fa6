"""The SQL of calendar feeds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    LargeBinary,
    ScalarSelect,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.models import User
from app.bookings.feed_models import CalendarFeed
from app.bookings.feed_schemas import Shows
from app.bookings.models import Booking
from app.bookings.repository import view_of
from app.bookings.rules import RELEASED, Status
from app.core.pagination import Keyset
from app.core.prepared import Prepared
from app.database import AnyRow, table
from app.providers.models import Provider

FEEDS = Keyset(CalendarFeed.id, {"created_at": CalendarFeed.created_at})

_BOOKINGS = view_of(table(Booking))
_moment = TIMESTAMP(timezone=True)


def feeds_of(user_id: UUID) -> Select[CalendarFeed]:
    return select(CalendarFeed).where(CalendarFeed.user_id == user_id)


async def lock_owner(session: AsyncSession, user_id: UUID) -> AnyRow | None:
    """How many `feeds` the account has, and the `calendar` it owns.

    Whoever makes another one for it at the same time waits. None: it is gone.
    """
    await session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    counted = select(func.count()).where(CalendarFeed.user_id == user_id).scalar_subquery()
    owned = select(Provider.id).where(Provider.user_id == user_id).scalar_subquery()
    statement = select(counted.label("feeds"), owned.label("calendar")).where(User.id == user_id)
    row: AnyRow | None = (await session.execute(statement)).one_or_none()
    return row


async def remove(session: AsyncSession, user_id: UUID, feed_id: UUID) -> CalendarFeed | None:
    """Delete one of the account's feeds; returns what it was."""
    return await session.scalar(
        delete(CalendarFeed)
        .where(CalendarFeed.id == feed_id, CalendarFeed.user_id == user_id)
        .returning(CalendarFeed)
    )


async def of_user(session: AsyncSession, user_id: UUID) -> Sequence[CalendarFeed]:
    return (await session.scalars(feeds_of(user_id).order_by(CalendarFeed.id))).all()


async def forget(session: AsyncSession, user_id: UUID) -> None:
    await session.execute(
        delete(CalendarFeed)
        .where(CalendarFeed.user_id == user_id)
        .execution_options(synchronize_session=False)
    )


# --- Reading ---------------------------------------------------------------------------------
def _live() -> ColumnElement[bool]:
    """What takes place, or has; what nobody has approved in time does not."""
    return and_(
        Booking.starts_at >= bindparam("begin", type_=_moment),
        Booking.starts_at < bindparam("end", type_=_moment),
        Booking.status.not_in([literal_column(f"'{status}'") for status in sorted(RELEASED)]),
        or_(
            Booking.status != literal_column(f"'{Status.PENDING}'"),
            Booking.expires_at > bindparam("now", type_=_moment),
        ),
    )


def _in_calendar(provider_id: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a column or a parameter
    """What one gives, alone or together with others."""
    together = and_(
        func.cardinality(Booking.provider_ids) > literal_column("1"),
        Booking.provider_ids.overlap(array([provider_id])),
    )
    return or_(Booking.provider_id == provider_id, together)


def _shown(whose: ColumnElement[bool]) -> Select[Any]:
    """The bookings of a feed, those first that come first."""
    return (
        _BOOKINGS.where(whose, _live())
        .order_by(Booking.starts_at, Booking.id)
        .limit(bindparam("most", type_=BigInteger()))
    )


_feed, _owner, _calendar = aliased(CalendarFeed), aliased(User), aliased(Provider)


def _fingerprint(whose: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Changes whenever one of the bookings of `_feed` does, or a name in one."""
    colleague = aliased(Provider)
    # Said twice: what stands in FROM is not seen by itself to belong to a feed.
    shown = _shown(whose).correlate(_feed, _calendar).subquery()
    colleagues = (
        select(func.max(colleague.updated_at))
        .where(
            func.cardinality(shown.c.provider_ids) > literal_column("1"),
            colleague.id == any_(shown.c.provider_ids),
        )
        .scalar_subquery()
    )
    said = func.concat_ws(" ", shown.c.id, shown.c.version, shown.c.named_at, colleagues)
    in_order: Any = aggregate_order_by(literal_column("','"), shown.c.starts_at, shown.c.id)
    return (
        select(func.md5(func.string_agg(said, in_order)))
        .correlate(_feed, _calendar)
        .scalar_subquery()
    )


_shows_calendar = _feed.shows == literal_column(f"'{Shows.CALENDAR}'")
_FEED = Prepared(
    select(
        _feed.id,
        _feed.user_id,
        _feed.shows,
        _calendar.id.label("calendar"),
        _calendar.display_name.label("calendar_name"),
        case(
            (_shows_calendar, _fingerprint(_in_calendar(_calendar.id))),
            else_=_fingerprint(Booking.customer_id == _feed.user_id),
        ).label("fingerprint"),
    )
    .select_from(_feed)
    .join(_owner, and_(_owner.id == _feed.user_id, _owner.is_active))
    .outerjoin(_calendar, _calendar.user_id == _feed.user_id)
    .where(
        _feed.digest == bindparam("digest", type_=LargeBinary()),
        or_(not_(_shows_calendar), _calendar.id.is_not(None)),
    )
)
_SHOWN = {
    Shows.BOOKINGS: Prepared(_shown(Booking.customer_id == bindparam("user_id", type_=Uuid()))),
    Shows.CALENDAR: Prepared(_shown(_in_calendar(bindparam("calendar", type_=Uuid())))),
}


async def feed(
    session: AsyncSession,
    digest: bytes,
    *,
    begin: datetime,
    end: datetime,
    now: datetime,
    most: int,
) -> AnyRow | None:
    """A feed with a fingerprint of all it shows.

    None: there is none, its owner has been disabled, or owns no calendar that it could show.
    """
    row: AnyRow | None = await _FEED.first(
        session, {"digest": digest, "begin": begin, "end": end, "now": now, "most": most}
    )
    return row


async def bookings(
    session: AsyncSession, feed: AnyRow, *, begin: datetime, end: datetime, now: datetime, most: int
) -> Sequence[AnyRow]:
    """What a feed shows, in order, as `repository.view` gives each."""
    parameters = {"user_id": feed.user_id, "calendar": feed.calendar}
    rows: Sequence[AnyRow] = await _SHOWN[Shows(feed.shows)].all(
        session, parameters | {"begin": begin, "end": end, "now": now, "most": most}
    )
    return rows
