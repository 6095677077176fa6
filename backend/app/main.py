"""The application: settings → middleware → routers → lifespan.

`python -m app.server` serves the app made from the environment (so does `uvicorn app.main:app`,
without what `server.py` adds); `create_app` makes others.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from app.admin.routes import router as admin
from app.auth.api_key_authenticator import ApiKeyAuthenticator
from app.auth.api_key_routes import router as api_keys
from app.auth.authenticator import Authenticator
from app.auth.callers import Callers
from app.auth.codes import TotpSecrets
from app.auth.dependencies import current_session
from app.auth.link_tokens import LinkTokens
from app.auth.mfa_routes import router as mfa
from app.auth.routes import router as auth
from app.auth.tokens import RefreshTokens, TokenSigner
from app.availability.personal_data import TimeOffOfPeople
from app.availability.routes import asking
from app.availability.routes import router as availability
from app.availability.time_off_routes import router as time_off
from app.bookings.action_routes import router as booking_actions
from app.bookings.commitments import BookingCommitments
from app.bookings.feed_routes import router as feeds
from app.bookings.hold_routes import router as holds
from app.bookings.limits import limits as booking_limits
from app.bookings.manage_routes import router as manage
from app.bookings.personal_data import (
    BookingsOfGuests,
    BookingsOfPeople,
    FeedsOfPeople,
    SeriesOfPeople,
    WaitlistOfPeople,
)
from app.bookings.routes import router as bookings
from app.bookings.series_routes import router as series
from app.bookings.waitlist_routes import router as waitlist
from app.catalog.resource_routes import router as resources
from app.catalog.routes import locations, services
from app.config import UNIX_SOCKETS, Environment, Settings
from app.core.caching import AnswerCache
from app.core.clock import Clock, system_clock
from app.core.docs import add_docs
from app.core.exchange import Field
from app.core.health import Health
from app.core.jobs import running
from app.core.life import Life, heeding_signals
from app.core.logging import configure_logging, write_lines
from app.core.metrics import forget_the_dead
from app.core.middleware.access_log import AccessLog
from app.core.middleware.answer_headers import AnswerHeaders
from app.core.middleware.body_limit import BodyLimitMiddleware
from app.core.middleware.bounds import check_bounds
from app.core.middleware.cors import CorsPolicy
from app.core.middleware.edge import EdgeMiddleware
from app.core.middleware.head import HeadMiddleware
from app.core.middleware.hosts import HostCheck
from app.core.middleware.measuring import Measuring, Usage
from app.core.middleware.proxies import ProxyCheck
from app.core.middleware.rate_limit import RateLimitMiddleware
from app.core.middleware.request_line import RequestLines
from app.core.middleware.security_headers import security_headers
from app.core.middleware.time_limit import TimeLimitMiddleware
from app.core.middleware.tracing import Begin, TracingMiddleware
from app.core.middleware.transaction_retry import TransactionRetryMiddleware
from app.core.migrations import migration_head
from app.core.openapi import describe
from app.core.personal_data import AnswersToPeople, EventsAboutPeople, PersonalData
from app.core.problems import add_problem_handlers, escaped_problem
from app.core.rate_limit import Policy, RateLimiter
from app.core.redis import create_redis
from app.core.reporting import load_tracing, report_request, sentry_transaction, start_reporting
from app.core.scrape import QueueWatch
from app.core.scrape import router as scrape
from app.core.security import PasswordHasher
from app.core.system import VERSION, probes
from app.core.system import router as system
from app.core.together import Rounds
from app.core.unit_of_work import should_retry
from app.core.verified_addresses import AddressListener
from app.database import Database
from app.jobs import job_runner
from app.notifications.personal_data import NotificationsToPeople, PreferencesOfPeople
from app.notifications.routes import router as notifications
from app.providers.personal_data import CalendarsOfPeople
from app.providers.routes import assignments, providers
from app.schedules.override_routes import router as overrides
from app.schedules.routes import router as schedules
from app.server import TERMS, Terms
from app.webhooks.event_routes import router as events
from app.webhooks.routes import deliveries
from app.webhooks.routes import router as webhooks

CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-API-Key",
    "X-Hold-Secret",
    "X-Request-ID",
)
EXPOSED_HEADERS = (
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Cache",
    "X-Request-ID",
)

# Who keeps what about people, in the order in which it is forgotten. Kept answers go last: whoever
# was changing something when the erasure began has been waited for by then.
PERSONAL_DATA: tuple[PersonalData, ...] = (
    BookingsOfPeople(),
    SeriesOfPeople(),
    WaitlistOfPeople(),
    FeedsOfPeople(),
    TimeOffOfPeople(),  # while the calendar still says whose it is
    CalendarsOfPeople(),
    NotificationsToPeople(),
    PreferencesOfPeople(),
    EventsAboutPeople(),
    AnswersToPeople(),
)


ADDRESS_LISTENERS: tuple[AddressListener, ...] = (BookingsOfGuests(),)


def create_app(settings: Settings | None = None, *, clock: Clock = system_clock) -> FastAPI:
    """An application of its own: settings, connections and caches are shared with no other."""
    settings = settings or Settings()
    configure_logging(settings)
    start_reporting(settings, release=VERSION)
    app = FastAPI(
        title=settings.PROJECT_NAME,
        version=VERSION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        # The redirect would lead to whatever the Host header says.
        redirect_slashes=False,
        openapi_url="/openapi.json" if settings.serves_docs else None,
    )
    app.state.settings = settings
    app.state.clock = clock
    app.state.personal_data = PERSONAL_DATA
    app.state.address_listeners = ADDRESS_LISTENERS
    # What the rooms below ask of bookings: see the `commitments.py` of each.
    app.state.commitments = BookingCommitments(clock)
    add_problem_handlers(app)
    _add_middleware(app, settings)
    _add_routers(app, settings)
    add_docs(app, settings)
    describe(app, settings, needing_session=current_session)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    """Open what the requests share, and close it when the last one has been answered."""
    state, settings = app.state, app.state.settings
    state.database = Database.from_settings(settings)
    if settings.ENABLE_TRACING:
        state.tracing.watch(state.database.engine)
    state.redis = create_redis(settings)
    state.rate_limiter = RateLimiter.from_settings(settings)
    state.password_hasher = PasswordHasher(rounds=settings.BCRYPT_ROUNDS)
    state.signer = TokenSigner(settings)
    state.refresh_tokens = RefreshTokens(settings)
    state.link_tokens = LinkTokens(settings)
    state.totp_secrets = TotpSecrets(settings)
    state.authenticator = Authenticator(
        state.database,
        state.signer,
        state.clock,
        require_mfa_for_admins=settings.REQUIRE_MFA_FOR_ADMINS,
    )
    state.api_key_authenticator = ApiKeyAuthenticator(
        state.database, state.clock, require_mfa_for_admins=settings.REQUIRE_MFA_FOR_ADMINS
    )
    keys = state.api_key_authenticator if settings.API_KEYS_ENABLED else None
    state.callers = Callers(state.signer, state.clock, keys)
    state.answers = AnswerCache.from_settings(settings, state.redis)
    state.outlines = Rounds()
    state.offer_versions = Rounds()
    if settings.ENABLE_METRICS:
        forget_the_dead()
        state.queue_watch = QueueWatch(state.database)
    life = Life()
    state.health = Health(state.database.pulse, state.redis, migration_head(), life)
    state.jobs = job_runner(settings, state.database, state.clock)
    life.when_ending(state.jobs.stop)
    terms = Terms(
        header_seconds=settings.REQUEST_HEADER_TIMEOUT, headers=_security_headers(settings)
    )
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(heeding_signals(life, settings.SHUTDOWN_DELAY))
            await stack.enter_async_context(state.database.watched())
            if settings.JOBS_IN_PROCESS:
                await stack.enter_async_context(running(state.jobs))
            yield {TERMS: terms}
    finally:
        await state.health.aclose()
        state.password_hasher.close()
        if state.rate_limiter is not None:
            await state.rate_limiter.aclose()
        await state.redis.aclose()
        await state.database.dispose()
        if settings.ENABLE_TRACING:
            state.tracing.close()


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The layers between the server and the router, outside in, as a request passes them.

    Every answer, a 500 included, carries a request id, the security headers and those of CORS.
    """
    cors = CorsPolicy(
        settings.cors_origins,
        methods=CORS_METHODS,
        request_headers=CORS_HEADERS,
        exposed_headers=EXPOSED_HEADERS,
        credentials=settings.USE_CREDENTIALS,
    )
    measuring = [Measuring(_pools(app))] if settings.ENABLE_METRICS else []
    logging = [_access_log(settings)] if settings.REQUEST_LOGGING else []
    app.user_middleware += [
        *(Middleware(TracingMiddleware, begin=begin) for begin in _tracers(app, settings)),
        Middleware(
            EdgeMiddleware,
            render=escaped_problem,
            report=report_request,
            arrivals=[counted.arrive for counted in measuring],
            observers=[*measuring, *logging],
            checks=[
                AnswerHeaders(security=_security_headers(settings), cors=cors),
                check_bounds,
                HostCheck(settings.ALLOWED_HOSTS),
                *([_proxies(settings)] if settings.TRUSTED_PROXIES else []),
                cors.answer_preflight,
            ],
        ),
        Middleware(
            BodyLimitMiddleware,
            max_body_size=settings.MAX_REQUEST_SIZE,
            seconds=settings.REQUEST_BODY_TIMEOUT,
        ),
        Middleware(TimeLimitMiddleware, seconds=settings.REQUEST_TIMEOUT),
        *([_rate_limits(settings)] if settings.RATE_LIMIT_ENABLED else []),
        Middleware(HeadMiddleware),
        Middleware(TransactionRetryMiddleware, is_retryable=should_retry),
    ]


def _access_log(settings: Settings) -> AccessLog:
    lines = RequestLines(write_lines) if settings.LOG_FORMAT == "json" else None
    return AccessLog(lines=lines, least=settings.LOG_LEVEL)


def _security_headers(settings: Settings) -> tuple[Field, ...]:
    if not settings.ENABLE_SECURITY_HEADERS:
        return ()
    return security_headers(hsts=settings.ENVIRONMENT is not Environment.LOCAL)


def _tracers(app: FastAPI, settings: Settings) -> Iterator[Begin]:
    """Who wants to know of each request."""
    if settings.SENTRY_DSN is not None and settings.SENTRY_TRACES_SAMPLE_RATE > 0:
        yield sentry_transaction
    if settings.ENABLE_TRACING:
        app.state.tracing = tracing = load_tracing(settings.PROJECT_NAME, VERSION)
        yield tracing.request


def _pools(app: FastAPI) -> Usage:
    def usage() -> Mapping[str, Mapping[str, int]]:
        database: Database = app.state.database
        return database.usage()

    return usage


def _proxies(settings: Settings) -> ProxyCheck:
    return ProxyCheck(
        settings.trusted_networks, trusts_sockets=UNIX_SOCKETS in settings.TRUSTED_PROXIES
    )


def _rate_limits(settings: Settings) -> Middleware:
    general = Policy("default", settings.RATE_LIMIT_REQUESTS, settings.RATE_LIMIT_WINDOW)
    return Middleware(
        RateLimitMiddleware,
        prefix=settings.API_V1_STR,
        general=general,
        writing=booking_limits(settings),
    )


def _add_routers(app: FastAPI, settings: Settings) -> None:
    app.router.routes.extend(_api(settings.API_V1_STR, api_keys_enabled=settings.API_KEYS_ENABLED))
    app.include_router(probes)
    app.include_router(system)
    if settings.ENABLE_METRICS:
        app.include_router(scrape)


@cache
def _api(prefix: str, *, api_keys_enabled: bool) -> list[BaseRoute]:
    """The routes of the API, the busiest first: they are tried in this order.

    They are flat, for a tree of routers is matched once for each of its levels; and made once a
    process, since all that FastAPI works out about them is the same for every application.
    """
    routers = [
        asking,
        availability,
        bookings,
        holds,
        booking_actions,
        manage,
        series,
        waitlist,
        feeds,
        auth,
        mfa,
        notifications,
        services,
        locations,
        resources,
        providers,
        assignments,
        schedules,
        overrides,
        time_off,
        events,
        webhooks,
        deliveries,
        admin,
    ]
    if api_keys_enabled:
        routers.append(api_keys)
    api = APIRouter()
    for router in routers:
        api.include_router(router, prefix=prefix)
    return api.routes


def __getattr__(name: str) -> FastAPI:
    """`app`, made when it is asked for: importing this module reads no environment."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
