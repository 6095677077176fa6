"""What Settings accept and refuse."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr, ValidationError

from app.config import Environment, Settings
from app.core.words import speaks

STRONG = {
    "SECRET_KEY": "k" * 32,
    "FIRST_SUPERUSER_PASSWORD": "a long enough password",
    "POSTGRES_PASSWORD": "another password",
}
NOT_LOCAL = [e for e in Environment if e is not Environment.LOCAL]
SECRETS = [
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
]
LISTS = {
    "ALLOWED_HOSTS": ("a.example", "*.b.example"),
    "TRUSTED_PROXIES": ("10.0.0.0/8", "2001:db8::1"),
    "BACKEND_CORS_ORIGINS": ("http://a.example", "http://b.example"),
    "ALLOWED_EMAIL_DOMAINS": ("a.example", "b.example"),
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "SENTRY_TRACES_Sample_Rate"):
        monkeypatch.delenv(name, raising=False)


def settings(**values: Any) -> Settings:
    """Settings from these values and the defaults, whatever `.env` files lie around."""
    return Settings(_env_file=None, **values)


def refusal(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**values)
    return str(caught.value)


# --- Secrets ---------------------------------------------------------------------------------


def test_a_developer_needs_to_set_nothing() -> None:
    assert settings().ENVIRONMENT is Environment.LOCAL


@pytest.mark.parametrize("environment", NOT_LOCAL)
def test_strong_secrets_are_accepted(environment: Environment) -> None:
    assert settings(ENVIRONMENT=environment, **STRONG).ENVIRONMENT is environment


def test_there_are_secrets_to_check() -> None:
    assert {"SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "SENTRY_DSN"} <= set(SECRETS)


@pytest.mark.parametrize("environment", NOT_LOCAL)
@pytest.mark.parametrize("name", SECRETS)
def test_a_placeholder_is_refused_by_the_name_of_its_variable(
    name: str, environment: Environment
) -> None:
    message = refusal(ENVIRONMENT=environment, **STRONG | {name: "changethis"})

    assert f"{name} still holds the placeholder" in message
    assert not any(f"{other} still" in message for other in SECRETS if other != name)


@pytest.mark.parametrize("name", SECRETS)
def test_a_placeholder_is_accepted_locally(name: str) -> None:
    value = getattr(settings(**{name: "changethis"}), name)

    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == "changethis"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("RATE_LIMIT_STORAGE_URL", "redis://:changethis@redis:6379/1"),
        ("SENTRY_DSN", "https://changethis@sentry.example.com/1"),
    ],
)
def test_a_placeholder_inside_a_url_is_refused(name: str, url: str) -> None:
    message = refusal(ENVIRONMENT="production", **STRONG | {name: url})

    assert f"{name} still holds the placeholder" in message
    assert url not in message


def test_defaults_are_placeholders_where_something_must_be_chosen() -> None:
    message = refusal(ENVIRONMENT="production")

    assert "SECRET_KEY still" in message
    assert "FIRST_SUPERUSER_PASSWORD still" in message


@pytest.mark.parametrize("environment", NOT_LOCAL)
def test_a_short_key_is_refused(environment: Environment) -> None:
    message = refusal(ENVIRONMENT=environment, **STRONG | {"SECRET_KEY": "s3cr3t" * 5})

    assert "SECRET_KEY is shorter than 32 bytes" in message
    assert "s3cr3t" not in message


def test_the_length_of_a_key_is_counted_in_bytes() -> None:
    assert settings(ENVIRONMENT="staging", **STRONG | {"SECRET_KEY": "é" * 16})


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_shown(name: str) -> None:
    hush = "do-not-tell-changethis"

    message = refusal(ENVIRONMENT="production", **STRONG | {name: hush})

    assert hush not in message
    assert hush not in repr(settings(**{name: hush}))
    assert not any(strong in message for strong in STRONG.values())


def test_a_refused_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "my-password-in-the-wrong-line")

    message = refusal()

    assert "POSTGRES_PORT" in message
    assert "my-password-in-the-wrong-line" not in message


@pytest.mark.parametrize("environment", NOT_LOCAL)
def test_cheap_password_hashes_are_for_tests(environment: Environment) -> None:
    assert "BCRYPT_ROUNDS" in refusal(ENVIRONMENT=environment, **STRONG, BCRYPT_ROUNDS=9)
    assert settings(ENVIRONMENT=environment, **STRONG, BCRYPT_ROUNDS=10)
    assert settings(BCRYPT_ROUNDS=4)


# --- Where values come from ------------------------------------------------------------------


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("PROJECT_NAME=file\nCACHE_PREFIX=file\n", encoding="utf-8")
    monkeypatch.setenv("PROJECT_NAME", "environment")

    read = Settings(_env_file=file)

    assert (read.PROJECT_NAME, read.CACHE_PREFIX) == ("environment", "file")


@pytest.mark.parametrize("name", ["POSTGRES_PORT", "SENTRY_DSN", "ALLOWED_HOSTS", "LOG_FILE"])
def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")

    assert getattr(settings(), name) == Settings.model_fields[name].default


def test_unknown_names_are_somebody_elses(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PGADMIN_PORT=5050\n", encoding="utf-8")

    assert not hasattr(Settings(_env_file=file), "PGADMIN_PORT")


@pytest.mark.parametrize("name", ["SENTRY_TRACES_SAMPLE_RATE", "SENTRY_TRACES_Sample_Rate"])
def test_the_sample_rate_has_two_spellings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "0.25")

    assert settings().SENTRY_TRACES_SAMPLE_RATE == 0.25


@pytest.mark.parametrize("rate", ["-0.1", "1.1", "nan"])
def test_the_sample_rate_is_a_share(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    monkeypatch.setenv("SENTRY_TRACES_SAMPLE_RATE", rate)

    assert "SENTRY_TRACES_SAMPLE_RATE" in refusal()


def test_settings_are_frozen() -> None:
    made = settings()

    with pytest.raises(ValidationError, match="frozen"):
        made.PROJECT_NAME = "another"  # type: ignore[misc]  # that is the test


# --- Lists and origins -----------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("form", ['["{}", "{}"]', "{},{}", " {} , {}, "])
def test_lists_are_json_or_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.setenv(name, form.format(*LISTS[name]))

    assert getattr(settings(), name) == LISTS[name]


@pytest.mark.parametrize("text", ['["unfinished', "[1]", '[["nested"]]', '["a"] b'])
def test_a_list_that_begins_as_json_must_be_json(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", text)

    message = refusal()

    assert "ALLOWED_HOSTS" in message
    assert text not in message


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/", "https://app.example.com"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80/", "http://app.example.com"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("*", "*"),
    ],
)
def test_origins_are_spelt_as_browsers_do(written: str, origin: str) -> None:
    made = settings(BACKEND_CORS_ORIGINS=written)

    assert (origin,) == made.BACKEND_CORS_ORIGINS


@pytest.mark.parametrize(
    "written",
    [
        "https://app.example.com/path",
        "https://app.example.com?query",
        "https://app.example.com#fragment",
        "https://user@app.example.com",
        "https://app.example.com:port",
        "https://",
        "app.example.com",
        "ftp://app.example.com",
        "https://*.example.com/*",
        "null",
    ],
)
def test_what_is_no_origin_is_refused(written: str) -> None:
    assert "BACKEND_CORS_ORIGINS" in refusal(BACKEND_CORS_ORIGINS=written)


def test_the_frontend_is_an_origin_once() -> None:
    made = settings(
        FRONTEND_HOST="https://App.example.com/",
        BACKEND_CORS_ORIGINS="https://app.example.com,https://admin.example.com",
    )

    assert made.cors_origins == ("https://app.example.com", "https://admin.example.com")


@pytest.mark.parametrize(
    ("frontend", "origin"),
    [
        ("http://localhost:5173", "http://localhost:5173"),
        ("https://example.com/booking", "https://example.com"),
        ("https://example.com:8443/booking/", "https://example.com:8443"),
        ("http://[::1]:5173", "http://[::1]:5173"),
    ],
)
def test_the_frontend_may_live_below_a_path(frontend: str, origin: str) -> None:
    assert settings(FRONTEND_HOST=frontend).cors_origins == (origin,)


def test_cookies_need_exact_origins() -> None:
    assert "USE_CREDENTIALS" in refusal(USE_CREDENTIALS=True, BACKEND_CORS_ORIGINS="*")
    assert settings(USE_CREDENTIALS=True, BACKEND_CORS_ORIGINS="https://a.example")
    assert settings(USE_CREDENTIALS=False, BACKEND_CORS_ORIGINS="*")


@pytest.mark.parametrize(
    "host", ["http://a.example", "a.example:80", "a b", "*.", "a.*", "*a.example", "::1", "[::1"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    assert "ALLOWED_HOSTS" in refusal(ALLOWED_HOSTS=["a.example", host])


@pytest.mark.parametrize(
    "network", ["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "proxy.example", "*", "Unix", "10.0.0.1:80"]
)
def test_what_is_no_network_refuses_to_start(network: str) -> None:
    message = refusal(TRUSTED_PROXIES=["10.0.0.0/8", network])

    assert "TRUSTED_PROXIES" in message
    assert network not in message.replace("(10.0.0.0/8) or unix", "")


def test_proxies_are_networks_addresses_and_sockets() -> None:
    made = settings(TRUSTED_PROXIES="10.0.0.0/8,2001:db8::1,unix")

    assert [str(network) for network in made.trusted_networks] == ["10.0.0.0/8", "2001:db8::1/128"]


# --- The rest --------------------------------------------------------------------------------


def test_the_database_is_reached_by_host() -> None:
    url = settings(
        POSTGRES_SERVER="db.example", POSTGRES_PORT=6432, POSTGRES_PASSWORD="p@ss/w:rd%"
    ).SQLALCHEMY_DATABASE_URI

    assert (url.drivername, url.host, url.port) == ("postgresql+asyncpg", "db.example", 6432)
    assert url.password == "p@ss/w:rd%"
    assert "p@ss" not in str(url)
    assert not url.query


def test_the_database_is_reached_by_socket() -> None:
    url = settings(POSTGRES_SERVER="/run/a folder", POSTGRES_PORT=5433).SQLALCHEMY_DATABASE_URI

    assert url.host is None
    assert url.query == {"host": "/run/a folder"}
    assert url.port == 5433
    assert url.password is None


@pytest.mark.parametrize("name", ["UTC", "Europe/Paris", "Australia/Lord_Howe"])
def test_zones_have_names(name: str) -> None:
    assert settings(BUSINESS_TIME_ZONE=name).business_zone == ZoneInfo(name)


@pytest.mark.parametrize("name", ["Mars/Phobos", "europe/paris", "+02:00", "../UTC", "/etc/passwd"])
def test_what_names_no_zone_is_refused(name: str) -> None:
    assert "BUSINESS_TIME_ZONE" in refusal(BUSINESS_TIME_ZONE=name)


@pytest.mark.parametrize("path", ["/api/v1", "/api", "/a/b-c/d_e.f"])
def test_base_paths(path: str) -> None:
    assert path == settings(API_V1_STR=path).API_V1_STR


@pytest.mark.parametrize("path", ["api/v1", "/api/v1/", "/", "/api//v1", "/API"])
def test_what_is_no_base_path_is_refused(path: str) -> None:
    assert "API_V1_STR" in refusal(API_V1_STR=path)


@pytest.mark.parametrize(
    ("text", "minutes"), [("1440, 60", (1440, 60)), ("[30]", (30,)), ("[]", ()), ("5", (5,))]
)
def test_reminders_are_minutes(
    monkeypatch: pytest.MonkeyPatch, text: str, minutes: tuple[int, ...]
) -> None:
    monkeypatch.setenv("REMINDER_MINUTES", text)
    assert minutes == settings().REMINDER_MINUTES


@pytest.mark.parametrize("wrong", ["0", "soon", "[-5]", "525601", "1," * 11])
def test_what_is_no_time_before_a_booking_is_refused(wrong: str) -> None:
    assert "REMINDER_MINUTES" in refusal(REMINDER_MINUTES=wrong)


@pytest.mark.parametrize("tag", ["en", "fr-CA", "de", "es-MX"])
def test_locales_are_those_that_there_are_words_for(tag: str) -> None:
    assert speaks(settings(DEFAULT_LOCALE=tag).DEFAULT_LOCALE)
    assert "DEFAULT_LOCALE" in refusal(DEFAULT_LOCALE="pt")


def test_tls_begins_once() -> None:
    assert "MAIL_STARTTLS" in refusal(MAIL_STARTTLS=True, MAIL_SSL_TLS=True)


@pytest.mark.parametrize("environment", Environment)
def test_docs_are_for_developers(environment: Environment) -> None:
    served = settings(ENVIRONMENT=environment, **STRONG).serves_docs

    assert served is (environment in {"local", "development"})


@pytest.mark.parametrize("name", ["LOG_ROTATION", "LOG_RETENTION"])
def test_a_rotation_that_cannot_be_read_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None, **{name: "now and then"})
