"""What the launcher is told: by the environment first, then by the `.env` files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from devserver.errors import LauncherError

BACKEND = Path(__file__).resolve().parent.parent
REPOSITORY = BACKEND.parent

DEFAULTS = {
    "ENVIRONMENT": "local",
    "LOG_FORMAT": "console",
    "FIRST_SUPERUSER": "admin@example.com",
    "HOST": "127.0.0.1",
    "PORT": "8000",
    "DATA_DIR": str(REPOSITORY / ".data"),
    "MAIL_SMTP_PORT": "1025",
    "MAIL_UI_PORT": "8025",
}


@dataclass(frozen=True)
class LauncherSettings:
    environment: Mapping[str, str]
    host: str
    port: int
    data_dir: Path
    mail_smtp_port: int
    mail_page_port: int

    def has(self, name: str) -> bool:
        """Whether there is a value; an empty one is none."""
        return bool(self.environment.get(name))

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def read_settings(
    environment: Mapping[str, str] = os.environ, folders: tuple[Path, ...] = (REPOSITORY, BACKEND)
) -> LauncherSettings:
    """Compose the settings; where several places set one, the last of these wins.

    Defaults, `.env` of the repository, `.env` of the backend, the environment. To the app, and so
    to us, an empty value is none.
    """
    files = [dotenv_values(folder / ".env", encoding="utf-8") for folder in folders]
    composed = dict(environment) | DEFAULTS
    for values in (*files, environment):
        composed |= {name: value for name, value in values.items() if value}
    return LauncherSettings(
        environment=composed,
        host=composed["HOST"],
        port=_port(composed, "PORT"),
        # A relative path is meant from the root of the repository, where `make run` is called.
        data_dir=REPOSITORY / Path(composed["DATA_DIR"]).expanduser(),
        mail_smtp_port=_port(composed, "MAIL_SMTP_PORT"),
        mail_page_port=_port(composed, "MAIL_UI_PORT"),
    )


def _port(values: Mapping[str, str], name: str) -> int:
    text = values[name]
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise LauncherError(f"{name}={text} is not a port, which is a number from 1 to 65535.")
    return int(text)
