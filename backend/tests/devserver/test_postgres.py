import os
import signal
from pathlib import Path

import pytest

from devserver import identity
from devserver.errors import LauncherError
from devserver.folders import LONGEST_SOCKET_PATH
from devserver.identity import NOBODY, Identity
from devserver.postgres import EmbeddedPostgres
from tests.devserver.support import eventually, is_running, sql

pytest_plugins = ["tests.devserver.fixtures"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")


def durability_of(server: EmbeddedPostgres) -> str:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    columns = ", ".join(f"current_setting('{name}')" for name in names)
    return sql(server.environment, f"SELECT {columns}")


def test_data_survives_a_restart_in_a_path_with_spaces(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "a folder, it's mine" / "postgres", ephemeral=True)
    with server:
        sql(server.environment, "CREATE TABLE kept AS SELECT 42 AS answer")
    with server:
        assert sql(server.environment, "SELECT answer FROM kept") == "42"


def test_the_app_gets_an_empty_utf8_database_and_its_extensions(folder: Path) -> None:
    with EmbeddedPostgres(folder / "postgres", ephemeral=True) as server:
        assert server.environment["POSTGRES_DB"] == "app"
        sql(server.environment, "CREATE EXTENSION btree_gist; CREATE EXTENSION citext")
        assert sql(server.environment, "SELECT current_user, current_database()") == "app|app"
        assert sql(server.environment, "SHOW server_encoding") == "UTF8"
        assert sql(server.environment, "SHOW timezone") == "UTC"
        assert sql(server.environment, "SHOW listen_addresses") == ""
        assert sql(server.environment, "SHOW max_connections") == "300"
        assert durability_of(server) == "off|off|off"  # only an ephemeral one may lose data


def test_a_dropped_database_is_created_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", ephemeral=True)
    with server:
        sql(server.environment | {"POSTGRES_DB": "postgres"}, "DROP DATABASE app")
    with server:
        assert sql(server.environment, "SELECT current_database()") == "app"


def test_a_killed_postmaster_is_started_again_with_its_data(folder: Path) -> None:
    with EmbeddedPostgres(folder / "postgres") as server:
        assert durability_of(server) == "on|on|on"
        sql(server.environment, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(server.process.pid or 0, signal.SIGKILL)
        assert eventually(lambda: server.process.exit_code is not None)
        server.start()
        assert sql(server.environment, "SELECT answer FROM kept") == "42"


@pytest.mark.parametrize("first_line", ["1", ""])
def test_a_pid_file_that_means_nothing_does_not_matter(folder: Path, first_line: str) -> None:
    server = EmbeddedPostgres(folder / "postgres", ephemeral=True)
    with server:
        pass
    # After a power cut the number may belong to anybody, here to init, or be gone.
    pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{first_line}\n{folder}/postgres/cluster\n")
    pid_file.chmod(0o600)
    with server:
        assert sql(server.environment, "SELECT 1") == "1"
    assert is_running(1)


def test_a_long_path_gets_a_short_private_socket(folder: Path) -> None:
    deep = folder.joinpath(*["a-rather-long-name-for-a-folder"] * 5)
    with EmbeddedPostgres(deep, ephemeral=True) as server:
        sockets = Path(server.environment["POSTGRES_SERVER"])
        assert len(str(sockets / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert sql(server.environment, "SELECT 1") == "1"
    assert not sockets.exists()


def test_a_second_server_on_the_folder_is_refused_and_harms_nothing(folder: Path) -> None:
    with EmbeddedPostgres(folder / "postgres", ephemeral=True) as server:
        second = EmbeddedPostgres(folder / "postgres", ephemeral=True)
        with pytest.raises(LauncherError, match=f"Another launcher.*{os.getpid()}"):
            second.start()
        second.stop()
        assert sql(server.environment, "SELECT 1") == "1"


def test_an_unfinished_cluster_is_not_used(folder: Path) -> None:
    unfinished = folder / "postgres" / "unfinished-by-a-killed-launcher"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(folder / "postgres", ephemeral=True) as server:
        assert sql(server.environment, "SELECT 1") == "1"
    assert not unfinished.exists()


def test_a_broken_cluster_is_reported_with_the_words_of_postgres(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", ephemeral=True)
    with server:
        pass
    (folder / "postgres" / "cluster" / "PG_VERSION").write_text("9.0\n")
    with pytest.raises(LauncherError, match="incompatible"):
        server.start()


def test_a_folder_without_the_programs_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(folder))
    with pytest.raises(LauncherError, match="POSTGRES_BIN"):
        EmbeddedPostgres(folder / "postgres").start()


@as_root
def test_root_without_namespaces_becomes_nobody_and_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster follows when the machine allows other means than last time."""
    server = EmbeddedPostgres(folder / "postgres", ephemeral=True)
    works = identity.namespace_works
    with monkeypatch.context() as blocked:
        blocked.setattr(identity, "namespace_works", lambda *_: False)
        with server:
            sql(server.environment, "CREATE TABLE kept AS SELECT 42 AS answer")
            assert (folder / "postgres" / "cluster").stat().st_uid == NOBODY
    if not works(Identity(owner=0, shim_mode="namespace"), Path("/bin/sh"), folder):
        pytest.skip("user namespaces are blocked here: the way back cannot be tried")
    with server:
        assert sql(server.environment, "SELECT answer FROM kept") == "42"
        assert (folder / "postgres" / "cluster").stat().st_uid == 0


@as_root
def test_root_does_not_take_an_ordinary_users_cluster(folder: Path) -> None:
    cluster = folder / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    os.chown(cluster, 12345, 12345)
    with pytest.raises(LauncherError, match="12345"):
        EmbeddedPostgres(folder / "postgres").start()
