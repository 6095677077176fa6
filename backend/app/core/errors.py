"""The error family: what a client may be told, one class per meaning.

AppError
├── BadRequest               400 bad_request
│   └── InvalidHost              invalid_host
├── Unauthenticated          401 unauthenticated        (auth/errors.py refines it)
├── Forbidden                403 forbidden              (auth/errors.py refines it)
├── NotFound                 404 not_found
├── NotAcceptable            406 not_acceptable
├── Conflict                 409
│   ├── AlreadyExists            already_exists
│   ├── InUse                    in_use
│   ├── InvalidTransition        invalid_transition
│   └── IdempotencyInProgress    idempotency_in_progress
├── VersionMismatch          412 version_mismatch
├── UriTooLong               414 uri_too_long
├── UnsupportedMediaType     415 unsupported_media_type
├── Unprocessable            422
│   ├── ValidationFailed         validation_failed
│   └── IdempotencyKeyReused     idempotency_key_reused
├── RateLimited              429 rate_limited
└── Unavailable              503 unavailable

Rooms add their own in their `errors.py`; `core/problems.py` renders them all (RFC 9457).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one part of a request; `pointer` is a JSON pointer into it (RFC 6901)."""

    detail: str
    pointer: str


class AppError(Exception):
    """Base of every expected failure. `detail` is for people and never holds input values."""

    keeps_work: ClassVar[bool] = False
    """Whether the transaction commits all the same, since the refusal itself changed something."""
    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,  # noqa: ANN401 - members a problem may add, such as `reason`
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extensions = extensions


class BadRequest(AppError):
    status, code, title = 400, "bad_request", "The request is malformed."


class InvalidHost(BadRequest):
    code, title = "invalid_host", "This is not the host that was asked for."


class Unauthenticated(AppError):
    status, code, title = 401, "unauthenticated", "Authentication is required."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "You are not allowed to do this."


class NotFound(AppError):
    status, code, title = 404, "not_found", "There is no such thing here."


class NotAcceptable(AppError):
    status, code, title = 406, "not_acceptable", "It cannot be had in any form that you accept."


class Conflict(AppError):
    status = 409


class AlreadyExists(Conflict):
    code, title = "already_exists", "It exists already."


class InUse(Conflict):
    code, title = "in_use", "It is still in use."


class InvalidTransition(Conflict):
    code, title = "invalid_transition", "Its state does not allow this."


class IdempotencyInProgress(Conflict):
    code = "idempotency_in_progress"
    title = "The first request with this Idempotency-Key is still running."


class VersionMismatch(AppError):
    status, code, title = 412, "version_mismatch", "It has changed since you read it."


class UriTooLong(AppError):
    status, code, title = 414, "uri_too_long", "The path and its parameters are too long."


class UnsupportedMediaType(AppError):
    status, code, title = 415, "unsupported_media_type", "The body is not `application/json`."


class Unprocessable(AppError):
    status = 422


class ValidationFailed(Unprocessable):
    code, title = "validation_failed", "The request is not valid."

    @classmethod
    def at(cls, pointer: str, detail: str) -> "ValidationFailed":
        return cls(errors=[FieldError(detail, pointer)])


class IdempotencyKeyReused(Unprocessable):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request."


class RateLimited(AppError):
    """Raised with `Retry-After`, `RateLimit` and `RateLimit-Policy`: see core/rate_limit.py."""

    status, code, title = 429, "rate_limited", "Too many requests; try again later."


class Unavailable(AppError):
    status, code, title = 503, "unavailable", "The service cannot answer right now."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})
