"""Commands and processes that start without their Redis, or with wrong settings: one line each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from service.app import serve
from service.cli import main
from service.config import Config
from service.model.keys import VapidKey
from service.runtime import Runtime
from service.store import Store, connect
from service.store.operations.conversion import CONVERSION
from tests.support import ROOT
from tests.support.processes.forked import Forked
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import RedisServer
from workers.trials.processes import free_port

pytestmark = pytest.mark.processes

SECRET = "hunter2-is-no-password"
KEY = VapidKey.generate()

COMMANDS = {
    *("up", "web", "worker", "clock", "fetch", "doctor", "services", "rehearse"),
    *("services release https://push.example", "seed 1", "keys list", "keys retire x"),
    *("keys backup", "editor add nora@paper.example", "token add tool"),
}
OWN_REDIS = {"rehearse"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "SECRET_KEY": SECRET * 2,
        "VAPID_PRIVATE_KEY": KEY.text,
        "DATA_DIR": str(tmp_path / "data"),
        "PORT": str(free_port()),
        "WEB_CONCURRENCY": "1",
        "WORKER_CONCURRENCY": "1",
    }


def call(command: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run a command in this process; it ends before it would start others."""
    with monkeypatch.context() as patch:
        for name in ("REDIS_URL", "STORE_URL"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        return CliRunner().invoke(main, command.split())


def fault(result: Result) -> str:
    """The one line of a command that failed."""
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), "no exception is left to be printed"
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    return " ".join(result.output.split())


def test_every_command_refuses_a_strange_address_of_redis_without_its_password(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**environment, "REDIS_URL": f"redis://:{SECRET}/pw@host/0"}
    for command in COMMANDS:
        assert "REDIS_URL: must be redis://" in fault(call(command, given, monkeypatch)), command


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_missing_file_of_redis_certificates_is_named_and_not_waited_for(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    given = {**environment, "REDIS_URL": f"rediss://localhost:1/0?{option}=/none.pem"}
    said = fault(call("worker", given, monkeypatch))
    assert f"REDIS_URL: the file of its option {option} cannot be read" in said


def test_every_command_says_that_redis_refuses_the_password(
    environment: dict[str, str], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis.client() as admin:
        admin.config_set("requirepass", "another")
    given = {**environment, "REDIS_URL": f"{own_redis.url}?password={SECRET}"}
    for command in COMMANDS - OWN_REDIS - {"keys backup"}:  # that one prints the keys all the same
        said = fault(call(command, given, monkeypatch))
        assert "REDIS_URL: Redis refuses our password" in said, command


def test_every_command_refuses_the_store_of_a_later_release_in_one_line(
    environment: dict[str, str], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**environment, "REDIS_URL": own_redis.url}
    with own_redis.client() as client:
        Store(client)
        before = {**client.hgetall("{g}:layout"), b"needs": b"%d" % (CONVERSION + 1)}
        client.hset("{g}:layout", mapping=before)
        more = {"status", "stop", "topics", "feeds", "webhooks", "stories"}
        # A fetch process sees nothing of it but pages to read.
        for command in COMMANDS - OWN_REDIS - {"fetch", "keys backup"} | more:
            result = call(command, given, monkeypatch)
            assert "a later release of Stop Press has written this store" in fault(result), command
            assert result.exit_code == (1 if command == "doctor" else 2), command
        assert client.hgetall("{g}:layout") == before
        assert client.dbsize() == 1, "nothing was written"


@pytest.mark.parametrize("kind", ["worker", "clock"])
def test_process_refuses_the_store_of_a_later_release_in_one_line(
    kind: str, environment: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    Store(connect(redis_url)).redis.hset("{g}:layout", "needs", CONVERSION + 1)
    said = tmp_path / "said"
    process = Forked(["-m", f"workers.{kind}"], {**environment, "REDIS_URL": redis_url}, said)
    assert process.wait(60) == 2
    (line,) = said.read_text().splitlines()
    assert f"{kind}: a later release of Stop Press has written this store" in line


def test_every_command_says_that_it_cannot_use_its_data_folder(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "data")
    for command in COMMANDS:
        said = fault(call(command, {**environment, "DATA_DIR": folder}, monkeypatch))
        assert f"DATA_DIR:cannotuse{folder}" in said.replace(" ", ""), command


@pytest.mark.parametrize("command", ["up", "web"])
def test_a_host_without_a_folder_for_temporary_files_is_told_so(
    command: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_none() -> str:
        raise FileNotFoundError(ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("service.cli.run.gettempdir", find_none)
    result = call(command, environment, monkeypatch)
    assert result.exit_code == 2
    assert "stoppress: TMPDIR: no folder" in fault(result)


def test_a_command_without_redis_fails_in_one_line_and_does_not_wait(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**environment, "REDIS_URL": f"unix://{tmp_path}/no.sock"}
    for command in COMMANDS - OWN_REDIS - {"up", "web", "worker", "clock", "fetch", "keys backup"}:
        said = fault(call(command, given, monkeypatch))
        assert "REDIS_URL: Redis cannot be reached: there is no such socket" in said, command


def test_an_error_that_nobody_foresaw_is_one_line_without_what_it_says(
    environment: dict[str, str], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(Runtime, "start", fail)
    said = fault(call("services", {**environment, "REDIS_URL": own_redis.url}, monkeypatch))
    assert said.startswith("stoppress: unexpected KeyError at ")


@contextmanager
def started(
    arguments: list[str], own_redis: RedisServer, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run Python with these arguments on that Redis: the process, and the lines of its errors."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**environment, "REDIS_URL": own_redis.url},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process, process.stderr
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    "command",
    [
        "worker",
        *(pytest.param(one, marks=pytest.mark.soak) for one in ("up", "fetch", "web", "clock")),
    ],
)
def test_a_process_that_starts_before_its_redis_waits_and_says_so(
    command: str, environment: dict[str, str]
) -> None:
    server = RedisServer()
    server.directory.mkdir()
    with started(["-m", "service.cli", command], server, environment) as (process, lines):
        line = lines.readline()
        while " is set, and ignored" in line:
            line = lines.readline()
        lines.close()
        assert f"{command}: waiting, because REDIS_URL: Redis cannot be reached" in line
        with server:
            runtime = Runtime.open(Config.read({**environment, "REDIS_URL": server.url}))
            wanted = {"web", "worker", "clock", "fetch"} if command == "up" else {command}
            wait_until(lambda: wanted <= running(runtime), timeout=60)
            process.terminate()
            process.wait(timeout=30)


def running(runtime: Runtime) -> set[str]:
    """The kinds of processes that run."""
    kinds = {one.kind for one in runtime.store.processes.alive()}
    return kinds | ({"fetch"} if runtime.articles.has_readers() else set())


# Redis goes away in the moment after a process has opened the installation.
GONE_AFTER_THE_START = """
import sys
from contextlib import suppress
from service.runtime import Runtime
from service.store.redis_servers.connection import Patience
start = Runtime.start
def start_and_lose(*given, **named):
    runtime = start(*given, **named)
    with suppress(Exception):
        runtime.store.redis.shutdown(nosave=True)
    return runtime
Runtime.start = start_and_lose
import workers.{kind} as process
from workers import jobs, rq_worker
# Else it waits for a minute before it says so.
process.WORKER = jobs.WORKER = rq_worker.WORKER = Patience(0.2, 0)
sys.exit(process.main())
"""


@pytest.mark.parametrize("kind", ["worker", pytest.param("clock", marks=pytest.mark.soak)])
def test_a_process_whose_redis_goes_away_while_it_starts_says_so_and_goes_on(
    kind: str, own_redis: RedisServer, environment: dict[str, str]
) -> None:
    program = GONE_AFTER_THE_START.format(kind=kind)
    with started(["-c", program], own_redis, environment) as (process, lines):
        for line in (lines.readline(), lines.readline()):
            assert f"{kind}: Redis cannot be reached: there is no such socket" in line
        assert process.poll() is None


def test_a_web_process_whose_redis_goes_away_while_it_starts_serves_what_needs_no_redis(
    own_redis: RedisServer, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Runtime.start

    def start_and_lose(*given: Any) -> Runtime:
        runtime = start(*given)
        own_redis.stop()
        return runtime

    monkeypatch.setattr(Runtime, "start", start_and_lose)
    for name, value in {**environment, "REDIS_URL": own_redis.url}.items():
        monkeypatch.setenv(name, value)
    app = serve().test_client()
    assert app.get("/healthz").status_code == 200
    assert app.get("/readyz").status_code == 503


@pytest.mark.soak
def test_a_command_waits_while_redis_loads_its_data_and_says_so(
    environment: dict[str, str], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**environment, "REDIS_URL": own_redis.url}
    with own_redis.loading():
        result = call("token add tool", given, monkeypatch)
    assert result.exit_code == 0
    assert "stoppress: waiting, because REDIS_URL: Redis is loading its data" in result.output
