"""Settings: everything an operator can change, read once from the environment and `.env`.

Names are those of the environment variables. Durations carry their unit in the name or in the
description; sizes are bytes. Lists are given as JSON (`["a", "b"]`) or separated by commas.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AliasChoices,
    EmailStr,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL

from app.units import Rotation, duration, zone_names

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "changethis"
MINIMUM_SECRET_BYTES = 32
MINIMUM_BCRYPT_ROUNDS = 10
UNIX_SOCKETS = "unix"
"""In TRUSTED_PROXIES: whoever calls through a Unix socket, and so has no address."""

_LIST = TypeAdapter(list[str | int])
_ORIGIN = re.compile(r"(https?)://([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?")
_ALLOWED_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _split(value: object) -> object:
    """Accept both JSON lists and comma-separated text, the two ways people write lists in .env."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return _LIST.validate_json(text)
    return [item.strip() for item in text.split(",") if item.strip()]


StringList = Annotated[tuple[str, ...], NoDecode]


class Environment(StrEnum):
    LOCAL = "local"
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """All settings; immutable once built.

    Raises:
        pydantic.ValidationError: a value is malformed, or a secret is too weak for an
            environment other than `local`. The message names the variable, never its value.
    """

    model_config = SettingsConfigDict(
        env_file=(REPOSITORY_ROOT / ".env", REPOSITORY_ROOT / "backend" / ".env"),
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    # --- The project -------------------------------------------------------------------------
    PROJECT_NAME: str = Field("Oneslot", description="Shown in `GET /`, the docs and mails.")
    ENVIRONMENT: Environment = Field(
        Environment.LOCAL,
        description="local and development serve /docs; all but local refuse weak secrets.",
    )
    API_V1_STR: str = Field("/api/v1", pattern=r"^(/[a-z0-9._-]+)+$", description="Base path.")
    FRONTEND_HOST: HttpUrl = Field(
        HttpUrl("http://localhost:5173"),
        description="The single-page app: an allowed CORS origin, and where links in mails point.",
    )
    BACKEND_HOST: HttpUrl | None = Field(
        None, description="Where mail programs reach the API; default: FRONTEND_HOST."
    )
    BUSINESS_TIME_ZONE: str = Field("UTC", description="IANA zone used where nothing else says.")
    DEFAULT_LOCALE: str = Field(
        "en",
        pattern=r"^(en|fr|es|de)(-[A-Z]{2})?$",
        description="Language of mails to who has set none: en, fr, es or de, such as `fr-CA`.",
    )

    # --- Tokens and passwords ----------------------------------------------------------------
    SECRET_KEY: SecretStr = Field(
        SecretStr(PLACEHOLDER), description="Signs tokens; at least 32 bytes outside local."
    )
    ALGORITHM: Literal["HS256", "HS384", "HS512"] = Field(
        "HS256", description="The only signature algorithm accepted in tokens."
    )
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(15, ge=1, le=1440, description="Minutes.")
    REFRESH_TOKEN_EXPIRE_DAYS: int = Field(30, ge=1, le=365, description="Days.")
    BCRYPT_ROUNDS: int = Field(
        12, ge=4, le=16, description="Cost of a password hash: 2^n; at least 10 outside local."
    )
    PASSWORD_MIN_LENGTH: int = Field(12, ge=8, le=128, description="Characters.")
    FIRST_SUPERUSER: EmailStr = Field("admin@example.com", description="Created when missing.")
    FIRST_SUPERUSER_PASSWORD: SecretStr = Field(
        SecretStr(PLACEHOLDER), description="Used only when that user is first created."
    )
    INIT_RBAC_ON_STARTUP: bool = Field(
        True, description="The container's entry seeds permissions, roles and the superuser."
    )
    REQUIRE_MFA_FOR_ADMINS: bool = Field(
        False, description="Who may do more than providers reaches /auth/* only until they have it."
    )
    EMAIL_ENUMERATION_PROTECTION: bool | None = Field(
        None,
        description="Signup hides which addresses have accounts; default: in production.",
    )
    API_KEYS_ENABLED: bool = Field(False, description="Offer /auth/api-keys, accept X-API-Key.")

    # --- PostgreSQL --------------------------------------------------------------------------
    POSTGRES_SERVER: str = Field(
        "localhost", description="Host, or the absolute path of a Unix socket's directory."
    )
    POSTGRES_PORT: int = Field(5432, ge=1, le=65535, description="Port (also names the socket).")
    POSTGRES_USER: str = Field("app", description="Role that owns the database.")
    POSTGRES_PASSWORD: SecretStr = Field(SecretStr(""), description="Empty for trusted sockets.")
    POSTGRES_DB: str = Field("app", description="Database name.")
    POSTGRES_POOL_SIZE: int = Field(20, ge=1, le=200, description="Connections kept per process.")
    POSTGRES_MAX_OVERFLOW: int = Field(0, ge=0, le=200, description="More of them under load.")

    # --- Redis -------------------------------------------------------------------------------
    REDIS_HOST: str = Field("localhost", description="Host, or the absolute path of a socket.")
    REDIS_PORT: int = Field(6379, ge=1, le=65535, description="Port.")
    REDIS_PASSWORD: SecretStr = Field(SecretStr(""), description="Empty: no AUTH is sent.")
    REDIS_DB: int = Field(0, ge=0, description="Database number.")
    REDIS_SSL: bool = Field(False, description="TLS to Redis.")

    # --- Cache and limits --------------------------------------------------------------------
    CACHE_TTL: int = Field(300, ge=0, description="Seconds a cached answer may live; 0: no cache.")
    CACHE_PREFIX: str = Field("oneslot", description="First part of every Redis key.")
    RATE_LIMIT_ENABLED: bool = Field(True, description="Limit requests per caller.")
    RATE_LIMIT_REQUESTS: int = Field(300, ge=1, description="Requests per window and caller.")
    RATE_LIMIT_WINDOW: int = Field(60, ge=1, description="Seconds.")
    RATE_LIMIT_STORAGE_URL: SecretStr | None = Field(
        None, description="Another Redis for the counters; default: the one above."
    )

    # --- Logs, metrics, errors ---------------------------------------------------------------
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe level that is written."
    )
    LOG_FORMAT: Literal["json", "console"] = Field("json", description="One line an event.")
    LOG_FILE: Path | None = Field(None, description="Write here too; default: only stdout.")
    LOG_ROTATION: str = Field("100 MB", description="A size (`100 MB`) or a time (`1 day`).")
    LOG_RETENTION: str = Field("14 days", description="How long rotated files are kept.")
    REQUEST_LOGGING: bool = Field(True, description="One line per request.")
    ENABLE_METRICS: bool = Field(False, description="Serve GET /metrics for Prometheus.")
    ENABLE_TRACING: bool = Field(
        False, description="Trace with OpenTelemetry; OTEL_* say where to. Needs the extra `otel`."
    )
    SENTRY_DSN: SecretStr | None = Field(
        None, description="Report errors there. Needs the extra `sentry`."
    )
    SENTRY_TRACES_SAMPLE_RATE: float = Field(
        0.0,
        ge=0,
        le=1,
        validation_alias=AliasChoices("SENTRY_TRACES_SAMPLE_RATE", "SENTRY_TRACES_Sample_Rate"),
        description="Share of requests traced; also read as SENTRY_TRACES_Sample_Rate.",
    )
    SENTRY_ENVIRONMENT: str | None = Field(None, description="Default: ENVIRONMENT.")

    # --- The edge ----------------------------------------------------------------------------
    ENABLE_SECURITY_HEADERS: bool = Field(True, description="CSP, HSTS and their kin.")
    ALLOWED_HOSTS: StringList = Field(("*",), description="Host names answered; `*`: any.")
    TRUSTED_PROXIES: StringList = Field(
        (),
        description="Networks whose X-Forwarded-* headers are believed; `unix`: a socket's peers.",
    )
    MAX_REQUEST_SIZE: int = Field(1_048_576, ge=1024, description="Bytes of a request's body.")
    REQUEST_TIMEOUT: int = Field(30, ge=1, description="Seconds until 504 and rollback.")
    REQUEST_HEADER_TIMEOUT: int = Field(
        10, ge=1, description="Seconds for a request's headers to arrive, or the first to begin."
    )
    REQUEST_BODY_TIMEOUT: int = Field(10, ge=1, description="Seconds for its body to arrive.")
    SHUTDOWN_DELAY: int = Field(
        0,
        ge=0,
        le=8,
        description="Seconds after SIGTERM for which requests are still taken, while /health/ready "
        "sends load balancers elsewhere.",
    )
    BACKEND_CORS_ORIGINS: StringList = Field((), description="Origins besides FRONTEND_HOST.")
    USE_CREDENTIALS: bool = Field(False, description="CORS with cookies; never with `*`.")

    # --- Mail --------------------------------------------------------------------------------
    ALLOWED_EMAIL_DOMAINS: StringList = Field((), description="Domains accounts may come from.")
    ENFORCE_EMAIL_DOMAIN: bool = Field(False, description="Refuse all other domains.")
    MAIL_SERVER: str = Field("localhost", description="SMTP host.")
    MAIL_PORT: int = Field(1025, ge=1, le=65535, description="SMTP port.")
    MAIL_FROM: EmailStr = Field("no-reply@example.com", description="Sender's address.")
    MAIL_FROM_NAME: str | None = Field(None, description="Sender's name; default: PROJECT_NAME.")
    MAIL_USERNAME: str = Field("", description="Empty: no login.")
    MAIL_PASSWORD: SecretStr = Field(SecretStr(""), description="Its password.")
    MAIL_STARTTLS: bool = Field(False, description="Upgrade to TLS after connecting.")
    MAIL_SSL_TLS: bool = Field(False, description="TLS from the first byte.")
    MAIL_DEBUG: bool = Field(False, description="Log what the SMTP server answers to each mail.")
    SUPPRESS_SEND: bool = Field(False, description="Build mails, send none.")

    ACCOUNT_MAIL_DELAY_SECONDS: int = Field(
        5,
        ge=0,
        le=60,
        description="Links are mailed at a random moment within so many seconds, so that the "
        "work that follows an answer does not tell whether there is such an account.",
    )

    # --- Bookings ----------------------------------------------------------------------------
    HOLDS_PER_CALLER: int = Field(
        3, ge=1, le=100, description="Holds an account, or a visitor's network, has at a time."
    )
    WAITLIST_OFFER_MINUTES: int = Field(
        15, ge=1, le=1440, description="How long a time is kept for who waited for it."
    )

    REMINDER_MINUTES: Annotated[tuple[Annotated[int, Field(ge=1, le=525_600)], ...], NoDecode] = (
        Field(
            (1440, 60),
            max_length=10,
            description="Minutes before a booking to remind of it, where its service does not say.",
        )
    )
    GUEST_DATA_RETENTION_DAYS: int = Field(
        365,
        ge=0,
        le=36_500,
        description="Days after an appointment until its guest is forgotten; 0: never.",
    )

    # --- Jobs --------------------------------------------------------------------------------
    JOBS_IN_PROCESS: bool = Field(
        True, description="Run jobs inside the API; false: `python -m app.worker` does."
    )

    # --- Webhooks ----------------------------------------------------------------------------
    WEBHOOK_ALLOWED_NETWORKS: StringList = Field(
        (),
        description="Networks that webhooks may be sent to though they are not public, and without "
        "TLS.",
    )

    @field_validator(
        "ALLOWED_HOSTS",
        "TRUSTED_PROXIES",
        "WEBHOOK_ALLOWED_NETWORKS",
        "BACKEND_CORS_ORIGINS",
        "ALLOWED_EMAIL_DOMAINS",
        "REMINDER_MINUTES",
        mode="before",
    )
    @classmethod
    def _lists(cls, value: object) -> object:
        return _split(value)

    @field_validator("BACKEND_CORS_ORIGINS")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(origin) for origin in origins)

    @field_validator("ALLOWED_HOSTS")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host != "*" and not _ALLOWED_HOST.fullmatch(host.lower()):
                raise ValueError("a host is a name, *.name, an address or *, without a port")
        return hosts

    @field_validator("TRUSTED_PROXIES")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                _ = network == UNIX_SOCKETS or ip_network(network)
            except ValueError:
                raise ValueError("a proxy is an address, a network (10.0.0.0/8) or unix") from None
        return networks

    @field_validator("WEBHOOK_ALLOWED_NETWORKS")
    @classmethod
    def _targets(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError("an address or a network (10.0.0.0/8)") from None
        return networks

    @field_validator("LOG_ROTATION")
    @classmethod
    def _rotation(cls, text: str) -> str:
        Rotation.parse(text)
        return text

    @field_validator("LOG_RETENTION")
    @classmethod
    def _retention(cls, text: str) -> str:
        duration(text)
        return text

    @field_validator("BUSINESS_TIME_ZONE")
    @classmethod
    def _zone(cls, name: str) -> str:
        if name not in zone_names():
            raise ValueError("not an IANA time zone name")
        return name

    @model_validator(mode="after")
    def _credentials_need_exact_origins(self) -> Self:
        if self.USE_CREDENTIALS and "*" in self.BACKEND_CORS_ORIGINS:
            raise ValueError("BACKEND_CORS_ORIGINS: `*` is not allowed with USE_CREDENTIALS")
        if self.MAIL_STARTTLS and self.MAIL_SSL_TLS:
            raise ValueError("MAIL_STARTTLS and MAIL_SSL_TLS exclude each other")
        return self

    @model_validator(mode="after")
    def _secrets_are_strong(self) -> Self:
        """Refuse the placeholder everywhere but on a developer's machine."""
        if self.ENVIRONMENT is Environment.LOCAL:
            return self
        weak = [f"{name} still holds the placeholder" for name in self._placeholders()]
        if len(self.SECRET_KEY.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            weak.append(f"SECRET_KEY is shorter than {MINIMUM_SECRET_BYTES} bytes")
        if self.BCRYPT_ROUNDS < MINIMUM_BCRYPT_ROUNDS:
            weak.append(f"BCRYPT_ROUNDS is below {MINIMUM_BCRYPT_ROUNDS}")
        if weak:
            raise ValueError(f"{'; '.join(weak)}. ENVIRONMENT={self.ENVIRONMENT} needs real ones")
        return self

    def _placeholders(self) -> Iterable[str]:
        for name in type(self).model_fields:
            value: object = getattr(self, name)
            if isinstance(value, SecretStr) and PLACEHOLDER in value.get_secret_value():
                yield name

    # --- Derived ------------------------------------------------------------------------------
    @cached_property
    def SQLALCHEMY_DATABASE_URI(self) -> URL:  # noqa: N802 - a setting, though a computed one
        """The database's URL; a directory in POSTGRES_SERVER means its Unix socket."""
        socket = self.POSTGRES_SERVER.startswith("/")
        query: dict[str, Any] = {"host": self.POSTGRES_SERVER} if socket else {}
        return URL.create(
            "postgresql+asyncpg",
            username=self.POSTGRES_USER,
            password=self.POSTGRES_PASSWORD.get_secret_value() or None,
            host=None if socket else self.POSTGRES_SERVER,
            port=self.POSTGRES_PORT,
            database=self.POSTGRES_DB,
            query=query,
        )

    @cached_property
    def cors_origins(self) -> tuple[str, ...]:
        """FRONTEND_HOST and BACKEND_CORS_ORIGINS as browsers spell origins."""
        frontend = self.FRONTEND_HOST  # may have a path, which is no part of its origin
        own = _origin(f"{frontend.scheme}://{frontend.host}:{frontend.port}")
        return tuple(dict.fromkeys((own, *self.BACKEND_CORS_ORIGINS)))

    @cached_property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(n) for n in self.TRUSTED_PROXIES if n != UNIX_SOCKETS)

    @cached_property
    def webhook_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(network) for network in self.WEBHOOK_ALLOWED_NETWORKS)

    @cached_property
    def business_zone(self) -> ZoneInfo:
        return ZoneInfo(self.BUSINESS_TIME_ZONE)

    @property
    def hides_accounts(self) -> bool:
        """Whether signup keeps to itself which addresses have an account."""
        if self.EMAIL_ENUMERATION_PROTECTION is None:
            return self.ENVIRONMENT is Environment.PRODUCTION
        return self.EMAIL_ENUMERATION_PROTECTION

    @property
    def serves_docs(self) -> bool:
        return self.ENVIRONMENT in {Environment.LOCAL, Environment.DEVELOPMENT}


def _origin(url: str) -> str:
    """`https://App.example.com:443/` → `https://app.example.com`; `*` stays."""
    if url == "*":
        return url
    match = _ORIGIN.fullmatch(url.lower())
    if match is None:
        raise ValueError("an origin is scheme://host[:port] and nothing more")
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" + ("" if port in {None, _DEFAULT_PORTS[scheme]} else f":{port}")
