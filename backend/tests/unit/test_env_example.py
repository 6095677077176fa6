"""`.env.example` knows every setting, and nothing else."""

import re
from pathlib import Path

import pytest

from app.config import Environment, Settings

BACKEND = Path(__file__).resolve().parents[2]
EXAMPLE = BACKEND.parent / ".env.example"
COMPOSE = BACKEND.parent / "compose.yml"

# Read by the launcher or by compose.yml, and not by the application.
NOT_SETTINGS = {
    "ADMINER_PORT",
    "DATA_DIR",
    "HOST",
    "MAIL_SMTP_PORT",
    "MAIL_UI_PORT",
    "PGADMIN_DEFAULT_EMAIL",
    "PGADMIN_DEFAULT_PASSWORD",
    "PGADMIN_PORT",
    "PORT",
}
# With these, `make run` would start no server of its own.
ELSEWHERE = {"POSTGRES_SERVER", "REDIS_HOST", "MAIL_SERVER"}

LINES = EXAMPLE.read_text(encoding="utf-8").splitlines()
ASSIGNMENT = re.compile(r"(?P<off># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
ASSIGNMENTS = [match for line in LINES if (match := ASSIGNMENT.fullmatch(line))]
SETTINGS = [match for match in ASSIGNMENTS if match["name"] not in NOT_SETTINGS]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "SENTRY_TRACES_Sample_Rate"):
        monkeypatch.delenv(name, raising=False)


def test_names_every_setting_once_and_in_order() -> None:
    assert [match["name"] for match in SETTINGS] == list(Settings.model_fields)


def test_names_nothing_else_but_what_stands_around_the_api() -> None:
    others = [match["name"] for match in ASSIGNMENTS if match["name"] not in Settings.model_fields]

    assert sorted(others) == sorted(NOT_SETTINGS)


def test_names_whatever_compose_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE.read_text(encoding="utf-8")))

    assert asked
    assert asked <= {match["name"] for match in ASSIGNMENTS}


def test_leaves_the_servers_to_the_launcher_and_to_compose() -> None:
    assert {match["name"] for match in SETTINGS if match["off"]} == ELSEWHERE
    assert all(match["off"] for match in ASSIGNMENTS if match["name"] in NOT_SETTINGS)


def test_every_setting_has_its_comment() -> None:
    for match in ASSIGNMENTS:
        above = LINES[LINES.index(match.string) - 1]
        assert re.fullmatch(r"# .+\.", above), match["name"]


def test_settings_accept_it_and_find_their_defaults_there() -> None:
    example = Settings(_env_file=EXAMPLE).model_dump()
    defaults = Settings(_env_file=None).model_dump()

    # The containers' Postgres insists on a password; a trusted socket needs none.
    assert example.pop("POSTGRES_PASSWORD").get_secret_value() == "changethis"
    assert defaults.pop("POSTGRES_PASSWORD").get_secret_value() == ""
    assert example == defaults


@pytest.mark.parametrize("environment", [e for e in Environment if e is not Environment.LOCAL])
def test_its_secrets_do_for_nothing_but_local(environment: Environment) -> None:
    with pytest.raises(ValueError, match="SECRET_KEY still holds the placeholder"):
        Settings(_env_file=EXAMPLE, ENVIRONMENT=environment)


def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    everything = tmp_path / ".env"
    everything.write_text(
        "\n".join(f"{match['name']}={match['value']}" for match in ASSIGNMENTS), encoding="utf-8"
    )

    settings = Settings(_env_file=everything)

    assert settings.POSTGRES_SERVER == settings.REDIS_HOST == settings.MAIL_SERVER == "localhost"
