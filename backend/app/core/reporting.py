"""Errors that nobody foresaw, and traces, for Sentry: where SENTRY_DSN is set.

Sentry's integrations collect whatever they find and clean it afterwards. They are left out: an
event holds what is put in here by name, so that a field which is added somewhere tomorrow stays at
home. The package is an optional extra, and is not even imported without a DSN.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from starlette.types import Scope

from app.config import Settings
from app.core.context import current_request_id
from app.core.exchange import exchange_of
from app.core.middleware.access_log import route_template
from app.core.middleware.tracing import Finish
from app.core.redaction import mask

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

    from app.core.tracing import Tracing

_sentry: Any = None


class MissingExtra(RuntimeError):
    """A setting asks for a package that is not installed."""

    def __init__(self, setting: str, extra: str) -> None:
        super().__init__(f"{setting} is set, and needs: pip install 'oneslot[{extra}]'")


def start_reporting(settings: Settings, *, release: str) -> None:
    """Report to SENTRY_DSN from now on, or no longer if there is none.

    Raises:
        MissingExtra: the package is not installed.
    """
    global _sentry  # noqa: PLW0603 - Sentry's own client is one per process as well
    if settings.SENTRY_DSN is None:
        _sentry = None
        return
    try:
        sentry = importlib.import_module("sentry_sdk")
    except ImportError:
        raise MissingExtra("SENTRY_DSN", "sentry") from None
    sentry.init(
        settings.SENTRY_DSN.get_secret_value(),
        environment=settings.SENTRY_ENVIRONMENT or settings.ENVIRONMENT.value,
        release=release,
        traces_sample_rate=settings.SENTRY_TRACES_SAMPLE_RATE,
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        server_name="",
        max_breadcrumbs=0,
        before_send=_without_people,
    )
    _sentry = sentry


def load_tracing(service: str, version: str) -> "Tracing":
    """OpenTelemetry's tracer.

    Raises:
        MissingExtra: the packages are not installed.
    """
    try:
        tracing = importlib.import_module("app.core.tracing")
    except ImportError:
        raise MissingExtra("ENABLE_TRACING", "otel") from None
    tracer: Tracing = tracing.Tracing(service, version)
    return tracer


def report(error: BaseException, **tags: str | None) -> None:
    """Report an error with these tags and the request's id; nothing where nobody wants to know."""
    if _sentry is None:
        return
    with _sentry.new_scope() as scope:
        for name, value in {"request_id": current_request_id(), **tags}.items():
            if value is not None:
                scope.set_tag(name, value)
        if tags.get("user_id") is not None:
            scope.set_user({"id": tags["user_id"]})
        _sentry.capture_exception(error)


def report_request(scope: Scope, error: Exception) -> None:
    """Report an error with which a request ended."""
    user_id = scope.get("state", {}).get("user_id")
    route = route_template(scope)
    who = str(user_id) if user_id is not None else None
    report(error, method=scope["method"], route=route, user_id=who)


@contextmanager
def sentry_transaction(scope: Scope) -> Iterator[Finish]:
    """A request as a transaction, which continues the caller's trace."""
    exchange = exchange_of(scope)
    headers = {
        name: value.decode("latin-1")
        for name in ("sentry-trace", "baggage")
        if (value := exchange.one(name.encode())) is not None
    }
    with (
        _sentry.isolation_scope(),
        _sentry.start_transaction(_sentry.continue_trace(headers, op="http.server")) as running,
    ):

        def finish(name: str, status: int) -> None:
            running.name, running.source = name, "route"
            running.set_http_status(status)

        yield finish


def _without_people(event: "Event", _hint: "Hint") -> "Event":
    """An error's text may quote what somebody typed."""
    return cast("Event", _masked(event))


def _masked(value: object) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        # A frame's code is ours, and so is where it is.
        return {name: inner if name in _OURS else _masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value


_OURS = frozenset(
    {"abs_path", "contexts", "event_id", "filename", "module", "sdk", "timestamp", "trace_id"}
    | {"context_line", "pre_context", "post_context", "tags", "user"}
)
