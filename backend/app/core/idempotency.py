"""Idempotency keys: a request sent twice does its work once.

The first answer is kept in the transaction that does the work, so that a crash leaves both or
neither. While the first request runs, an advisory lock tells a second one so. Keys belong to a
caller and a route; the request itself is kept as a keyed digest only, since bodies hold secrets.
An answer that holds one is sealed: only who knows SECRET_KEY and sends the request again reads it.

Semantics: draft-ietf-httpapi-idempotency-key-header, and Stripe's API.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import (
    ARRAY,
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
from app.core.sealing import seal, unseal
from app.core.unit_of_work import TransactionConflict
from app.database import Base, table

LIFETIME = timedelta(hours=24)

KEY_PATTERN = r'^("[\x21\x23-\x7e]{1,255}"|[\x21\x23-\x7e]{1,255})$'
_KEY = re.compile(r'(?:"(?P<quoted>[\x21\x23-\x7e]{1,255})"|(?P<bare>[\x21\x23-\x7e]{1,255}))')
_KEPT_HEADERS = ("content-type", "etag", "location")
_SEALED = "x-sealed"
"""Among the kept headers: the body is sealed. It is not sent."""
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

    def __init__(self, row: Any, secret: str) -> None:  # noqa: ANN401 - of idempotency_keys
        super().__init__("replayed")
        headers = {**row.headers, "idempotency-replayed": "true"}
        body = row.body
        if headers.pop(_SEALED, None):
            body = unseal(body, secret=secret, purpose=_purpose(row.digest))
        self.response = Response(body, row.status, headers)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer first."""

    session: AsyncSession
    caller: str
    route: str
    key: str
    digest: bytes
    now: datetime
    secret: str = field(repr=False)
    is_sealed: bool = False

    async def remember(self, response: Response) -> None:
        """Keep the answer, in the transaction that did the work.

        Raises:
            TransactionConflict: another request answered first, unseen by this snapshot.
        """
        headers = {k: response.headers[k] for k in _KEPT_HEADERS if k in response.headers}
        body = bytes(response.body)
        if self.is_sealed:
            headers[_SEALED] = "true"
            body = seal(body, secret=self.secret, purpose=_purpose(self.digest))
        kept = await _REMEMBER.first(
            self.session,
            {
                "caller": self.caller,
                "route": self.route,
                "key": self.key,
                "digest": self.digest,
                "status": response.status_code,
                "headers": headers,
                "body": body,
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


def seal_answer(request: Request) -> None:
    """Keep the answer to this request sealed, for it holds a secret."""
    found = claim_of(request)
    if found is not None:
        request.scope["idempotency_claim"] = replace(found, is_sealed=True)


def _purpose(digest: bytes) -> bytes:
    return b"kept answer" + digest


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
    path: str = request.scope["path"]
    if token := request.path_params.get("token"):  # a secret link's
        path = path.replace(token, hashlib.sha256(token.encode(errors="replace")).hexdigest())
    route = f"{request.method} {path}"
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
        raise Replay(found, secret)
    if not found.free:
        raise IdempotencyInProgress
    request.scope["idempotency_claim"] = Claim(session, caller, route, key, digest, now, secret)


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
    await session.execute(
        delete(IdempotencyKey)
        .where(_is_callers(user_id) | _speaks_of([user_id]))
        .execution_options(synchronize_session=False)
    )


async def forget_about(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """Remove the answers that speak of these things of a person, without saying whose they are."""
    if ids:
        await session.execute(
            delete(IdempotencyKey)
            .where(_speaks_of(ids))
            .execution_options(synchronize_session=False)
        )


def _speaks_of(ids: Sequence[UUID]) -> ColumnElement[bool]:
    texts = literal([str(i).encode() for i in ids], ARRAY(LargeBinary()))
    wanted = func.unnest(texts).column_valued("wanted")
    found = func.pg_catalog.position(IdempotencyKey.body, wanted) > 0
    return select(wanted).where(found).exists()


def _is_callers(user_id: UUID) -> ColumnElement[bool]:
    """Whether a key is this person's, sent by themselves or by a program with an API key."""
    return _MINE.caller.startswith(str(user_id))


def _parse(header: str) -> str:
    match = _KEY.fullmatch(header.strip(" \t"))
    if match is None:
        raise ValidationFailed.at("#/Idempotency-Key", "1 to 255 visible characters")
    return match["quoted"] or match["bare"]
