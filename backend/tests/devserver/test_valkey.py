from pathlib import Path

import pytest
import redis

from devserver.errors import LauncherError
from devserver.valkey import EmbeddedValkey

pytest_plugins = ["tests.devserver.fixtures"]


def connect(server: EmbeddedValkey) -> "redis.Redis":
    return redis.Redis(unix_socket_path=server.environment["REDIS_HOST"])


def test_data_survives_a_restart(folder: Path) -> None:
    server = EmbeddedValkey(folder / "a folder, it's mine")
    with server, connect(server) as client:
        client.set("answer", 42)
    with server, connect(server) as client:
        assert client.get("answer") == b"42"


def test_an_ephemeral_server_forgets(folder: Path) -> None:
    server = EmbeddedValkey(folder / "valkey", ephemeral=True)
    with server, connect(server) as client:
        client.set("answer", 42)
    with server, connect(server) as client:
        assert client.get("answer") is None


def test_a_password_that_was_meant_for_another_server_does_not_matter(folder: Path) -> None:
    with EmbeddedValkey(folder / "valkey", ephemeral=True) as server:
        path = server.environment["REDIS_HOST"]
        with redis.Redis(unix_socket_path=path, password="from-a-dotenv-file") as client:
            assert client.ping()


def test_a_second_server_on_the_folder_is_refused(folder: Path) -> None:
    with EmbeddedValkey(folder / "valkey", ephemeral=True) as server:
        with pytest.raises(LauncherError, match="Another launcher"):
            EmbeddedValkey(folder / "valkey", ephemeral=True).start()
        with connect(server) as client:
            assert client.ping()
