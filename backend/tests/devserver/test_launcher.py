"""The launcher itself, with a stand-in for the app: a server that knows `/health` only."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from devserver.credentials import local_secrets
from devserver.errors import LauncherError
from devserver.ports import listen, require_free
from devserver.settings import read_settings
from tests.devserver.support import BACKEND, eventually, gone

pytest_plugins = ["tests.devserver.fixtures"]

STAND_IN = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"items": [{"id": "a-service-id", "name": "Check-up"}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *_):
        pass

Path(os.environ["SEEN"]).write_text(json.dumps(dict(os.environ) | {"PID": os.getpid()}))
port = int(sys.argv[sys.argv.index("--port") + 1])
HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
# The `.env` files of whoever runs the tests are left out.
LAUNCH = """
import functools, sys
from devserver import launcher
launcher.read_settings = functools.partial(launcher.read_settings, folders=())
launcher.PREPARE = [sys.executable, "-c", sys.argv[1]]
launcher.SERVE = [sys.executable, "-c", sys.argv[2]]
sys.exit(launcher.main())
"""


OWN_SERVERS = {
    "POSTGRES_SERVER": "db.example.com",
    "REDIS_HOST": "cache.example.com",
    "MAIL_SERVER": "mail.example.com",
}


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


class Launched:
    """A launcher under test, and all that it has printed."""

    def __init__(
        self, folder: Path, *, prepare: str = "print('prepared')", **settings: str
    ) -> None:
        self._seen = folder / "seen.json"
        chosen = {"DATA_DIR": str(folder / "the data"), "PORT": str(free_port())}
        kept = {name: os.environ[name] for name in ("PATH", "POSTGRES_BIN") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, prepare, STAND_IN],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=BACKEND,
            env=kept | chosen | settings | {"SEEN": str(self._seen)},
        )
        self.printed = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line

    def is_up(self) -> bool:
        return (
            eventually(
                lambda: "Ctrl-C stops it all" in self.printed or self.process.poll() is not None
            )
            and self.process.poll() is None
        )

    def environment(self) -> Mapping[str, str]:
        """What the app got to see."""
        seen: dict[str, str] = json.loads(self._seen.read_text())
        return seen

    def ended(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def test_it_starts_everything_and_stops_it_cleanly(folder: Path) -> None:
    launched = Launched(folder)
    assert launched.is_up(), launched.printed
    seen = launched.environment()
    launched.process.send_signal(signal.SIGINT)
    assert launched.ended() == 0, launched.printed
    assert gone([seen["PID"]])
    assert seen["ENVIRONMENT"] == "local"
    assert seen["POSTGRES_SERVER"] == str(folder / "the data" / "postgres" / "run")
    assert seen["REDIS_HOST"] == str(folder / "the data" / "valkey" / "run" / "valkey.sock")
    assert seen["MAIL_SERVER"] == "127.0.0.1"
    kept = json.loads((folder / "the data" / "secrets.json").read_text())
    assert seen["SECRET_KEY"] == kept["SECRET_KEY"]
    assert "prepared" in launched.printed
    assert kept["FIRST_SUPERUSER_PASSWORD"] in launched.printed
    assert kept["SECRET_KEY"] not in launched.printed
    assert "service_id=a-service-id&start=" in launched.printed
    assert "Traceback" not in launched.printed


def test_servers_of_ones_own_are_used_instead(folder: Path) -> None:
    own = OWN_SERVERS | {"FIRST_SUPERUSER_PASSWORD": "chosen by hand"}
    launched = Launched(folder, **own)
    assert launched.is_up(), launched.printed
    seen = launched.environment()
    launched.process.terminate()
    assert launched.ended() == 0
    assert {name: seen[name] for name in own} == own
    assert "chosen by hand" not in launched.printed
    assert [path.name for path in (folder / "the data").iterdir()] == ["secrets.json"]


def test_the_death_of_the_api_ends_the_rest_and_is_told(folder: Path) -> None:
    launched = Launched(folder)
    assert launched.is_up(), launched.printed
    os.kill(int(launched.environment()["PID"]), signal.SIGKILL)
    assert launched.ended() == 1
    assert "The API ended unexpectedly" in launched.printed
    assert "Traceback" not in launched.printed
    assert not (folder / "the data" / "postgres" / "cluster" / "postmaster.pid").exists()


def test_a_database_that_cannot_be_prepared_is_told(folder: Path) -> None:
    prepare = "import sys; sys.exit('no migration today')"
    launched = Launched(folder, prepare=prepare, **OWN_SERVERS)
    assert launched.ended() == 1
    assert "no migration today" in launched.printed
    assert "could not be prepared" in launched.printed


def test_a_taken_port_is_told_before_anything_starts(folder: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        launched = Launched(folder, PORT=str(taken.getsockname()[1]))
        assert launched.ended() == 1
    assert "is taken" in launched.printed
    assert not (folder / "the data").exists()


def test_an_address_that_is_not_here_is_told() -> None:
    with pytest.raises(LauncherError, match="Cannot listen"):
        require_free("192.0.2.1", free_port())


def test_the_environment_wins_over_files_and_empty_values_are_none(folder: Path) -> None:
    backend = folder / "backend"
    backend.mkdir()
    (folder / ".env").write_text("PORT=1111\nHOST=::1\nPOSTGRES_SERVER=first\nREDIS_HOST=\n")
    (backend / ".env").write_text("POSTGRES_SERVER=second\nFIRST_SUPERUSER=\n")
    environment = {"PORT": "2222", "POSTGRES_SERVER": "", "MAIL_SERVER": "third"}
    settings = read_settings(environment, (folder, backend))
    assert settings.port == 2222
    assert settings.url == "http://[::1]:2222"
    assert settings.environment["POSTGRES_SERVER"] == "second"
    assert settings.environment["FIRST_SUPERUSER"] == "admin@example.com"
    assert settings.has("MAIL_SERVER")
    assert not settings.has("REDIS_HOST")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "²"])
def test_a_port_must_be_one(port: str) -> None:
    with pytest.raises(LauncherError, match=re.escape(f"PORT={port}")):
        read_settings({"PORT": port}, ())


def test_secrets_are_made_once_and_kept_private(folder: Path) -> None:
    made = local_secrets(folder / "new")
    assert local_secrets(folder / "new") == made
    assert len(made["SECRET_KEY"]) >= 32
    assert (folder / "new" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert local_secrets(folder / "other")["SECRET_KEY"] != made["SECRET_KEY"]
