"""Idempotency keys: a request sent twice does its work once.

The first answer is kept in the transaction that does the work, so that a crash leaves both or
neither. While the first request runs, an advisory lock tells a second one so. Keys belong to a
caller and a route; the request itself is kept as a keyed digest only, since bodies hold secrets.

Semantics: draft-ietf-httpapi-idempotency-key-header, and Stripe's API.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Index,
    LargeBinary,
    SmallInteger,
    bindparam,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.responses import Response

from app.core.errors import (
    AppError,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ValidationFailed,
)
from app.core.prepared import Prepared
from app.core.unit_of_work import TransactionConflict
from app.database import Base, table

LIFETIME = timedelta(hours=24)

_KEY = re.compile(r'(?:"(?P<quoted>[\x21\x23-\x7e]{1,255})"|(?P<bare>[\x21\x23-\x7e]{1,255}))')
_KEPT_HEADERS = ("content-type", "etag", "location")
# Not 412: what the client has seen is not part of the request that the key names.
_FINAL_STATUSES = frozenset({404, 409, 410, 422})


class IdempotencyKey(Base):
    """The first answer to a request; read for 24 hours, then removed."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "expires_at"),)

    caller: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]


_MINE = table(IdempotencyKey).c
_NOW = bindparam("now", type_=_MINE.expires_at.type)
_CLAIM = Prepared(
    select(
        func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger())).label("free"), *_MINE
    )
    .select_from(select(1).subquery())
    .outerjoin(
        IdempotencyKey,
        (_MINE.caller == bindparam("caller"))
        & (_MINE.route == bindparam("route"))
        & (_MINE.key == bindparam("key"))
        & (_MINE.expires_at > _NOW),
    )
)
_INSERT = insert(table(IdempotencyKey)).values({name: bindparam(name) for name in _MINE.keys()})  # noqa: SIM118 - columns, no dict
_REMEMBER = Prepared(
    _INSERT.on_conflict_do_update(
        constraint="pk_idempotency_keys",
        # A key that outlived its day is free again.
        set_={
            name: _INSERT.excluded[name]
            for name in ("digest", "status", "headers", "body", "expires_at")
        },
        where=_MINE.expires_at <= _NOW,
    ).returning(_MINE.status)
)


class Replay(Exception):
    """The request was answered before; this is that answer."""

    def __init__(self, row: Any) -> None:  # noqa: ANN401 - a row of idempotency_keys
        super().__init__("replayed")
        headers = {**row.headers, "idempotency-replayed": "true"}
        self.response = Response(row.body, row.status, headers)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer first."""

    session: AsyncSession
    caller: str
    route: str
    key: str
    digest: bytes
    now: datetime

    async def remember(self, response: Response) -> None:
        """Keep the answer, in the transaction that did the work.

        Raises:
            TransactionConflict: another request answered first, unseen by this snapshot.
        """
        headers = {k: response.headers[k] for k in _KEPT_HEADERS if k in response.headers}
        kept = await _REMEMBER.first(
            self.session,
            {
                "caller": self.caller,
                "route": self.route,
                "key": self.key,
                "digest": self.digest,
                "status": response.status_code,
                "headers": headers,
                "body": bytes(response.body),
                "expires_at": self.now + LIFETIME,
                "now": self.now,
            },
        )
        if kept is None:
            raise TransactionConflict

    async def remember_refusal(self, response: Response) -> None:
        """Undo whatever the request did, and keep the refusal by itself."""
        await self.session.rollback()
        await self.remember(response)


def is_final(error: AppError) -> bool:
    """Whether the same request, sent again, must hear the same refusal."""
    return error.status in _FINAL_STATUSES


def claim_of(request: Request) -> Claim | None:
    return request.scope.get("idempotency_claim")


async def claim(
    request: Request, session: AsyncSession, *, header: str, caller: str, secret: str, now: datetime
) -> None:
    """Claim the key for this request, in one round trip.

    Raises:
        ValidationFailed: the key is malformed.
        IdempotencyInProgress: the first request with this key has not been answered yet.
        IdempotencyKeyReused: the key was used for another request.
        Replay: this request was answered before.
    """
    key = _parse(header)
    # The path, not its template: the object acted upon is part of what was asked.
    route = f"{request.method} {request.scope['path']}"
    what = b"\0".join((request.scope["query_string"], await request.body()))
    digest = hmac.digest(secret.encode(), what, hashlib.sha256)
    lock = hashlib.sha256(f"{caller}\0{route}\0{key}".encode()).digest()
    (found,) = await _CLAIM.all(
        session,
        {
            "lock": int.from_bytes(lock[:8], signed=True),
            "caller": caller,
            "route": route,
            "key": key,
            "now": now,
        },
    )
    if found.digest is not None:
        if not hmac.compare_digest(found.digest, digest):
            raise IdempotencyKeyReused
        raise Replay(found)
    if not found.free:
        raise IdempotencyInProgress
    request.scope["idempotency_claim"] = Claim(session, caller, route, key, digest, now)


async def keys_of(session: AsyncSession, user_id: UUID) -> list[dict[str, Any]]:
    """Which of this caller's requests are kept, without their answers."""
    rows = await session.execute(
        select(_MINE.route, _MINE.key, _MINE.status, _MINE.expires_at)
        .where(_is_callers(user_id))
        .order_by(_MINE.expires_at, _MINE.route, _MINE.key)
    )
    return [dict(row) for row in rows.mappings()]


async def forget(session: AsyncSession, user_id: UUID) -> None:
    """Remove the answers kept for this caller, and those to others that speak of them.

    Every answer about a person holds their id. There is no index for it: this reads a day's
    answers, which an erasure, rare as it is, can afford.
    """
    speaks_of_them = func.pg_catalog.position(
        IdempotencyKey.body, literal(str(user_id).encode(), LargeBinary)
    )
    await session.execute(
        delete(IdempotencyKey)
        .where(_is_callers(user_id) | (speaks_of_them > 0))
        .execution_options(synchronize_session=False)
    )


def _is_callers(user_id: UUID) -> ColumnElement[bool]:
    """Whether a key is this person's, sent by themselves or by a program with an API key."""
    return _MINE.caller.startswith(str(user_id))


def _parse(header: str) -> str:
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise ValidationFailed.at("#/Idempotency-Key", "1 to 255 visible characters")
    return match["quoted"] or match["bare"]
