"""The guides of docs/ops/deploying.md, followed: their commands are read out of the document."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from service.local.redis_server import answers, find_servers
from service.model.keys import from_b64url
from tests.support import ROOT
from tests.support.hosts.guides import commands, section
from tests.support.hosts.own_root import PATH, OwnRoot
from tests.support.hosts.units import RunningUnit
from tests.support.inputs import LATE_NEWS
from tests.support.processes.installation import wait_until
from tests.support.push_service import PushService
from workers.trials.installation import trial_settings
from workers.trials.processes import free_port, running, wait_for

pytestmark = pytest.mark.processes

PROGRAM = "/opt/stop-press/.venv/bin/stoppress"
GUIDES_REDIS = "redis://127.0.0.1:6379"
SETTINGS = "/etc/stop-press/settings.env"


@pytest.fixture
def redis_address() -> Iterator[str]:
    """The address of a Redis that is configured as docs/operations.md says, and empty."""
    port = str(free_port())
    options = ["--port", port, "--bind", "127.0.0.1", "--appendonly", "yes"]
    options += ["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
    with tempfile.TemporaryDirectory(prefix="stoppress-test-") as folder:
        files = ["--dir", folder, "--logfile", f"{folder}/redis.log"]
        with running([find_servers()[-1].binary, *options, *files]) as server:
            url = f"redis://127.0.0.1:{port}"
            wait_for(lambda: answers(url), server)
            yield url


@pytest.fixture
def root(tmp_path: Path) -> Iterator[OwnRoot]:
    """A root of the test's own."""
    with OwnRoot(tmp_path / "root") as made:
        yield made


def curl(port: int, path: str, body: object = None, token: str = "") -> str | None:
    """Call as the proxy in front would; None if that is no success."""
    given = ["--header", "X-Forwarded-Proto: https", "--header", "X-Forwarded-For: 127.0.0.9"]
    if token:
        given += ["--header", f"Authorization: Bearer {token}"]
    if body is not None:
        given += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    address = f"http://127.0.0.1:{port}{path}"
    done = subprocess.run(
        ["curl", "--silent", "--fail-with-body", "--max-time", "60", *given, address],
        capture_output=True,
        text=True,
    )
    return done.stdout if done.returncode == 0 else None


def alert(push: PushService, port: int, token: str) -> None:
    """A reader subscribes, an alert is published, and it arrives; all of it by curl."""
    site = curl(port, "/api/v1/site")
    assert site
    reader = push.subscribe(from_b64url(json.loads(site)["vapid_public_key"]))
    given = {"subscription": reader.as_json()}
    assert curl(port, "/api/v1/subscriptions", given)
    assert curl(port, "/api/v1/notifications", LATE_NEWS, token)
    (message,) = push.wait_for(1, timeout=100)
    assert b"Late news" in reader.decrypt(message.body)


class SmallServer:
    """A server on which a guide was followed, and its units."""

    def __init__(self, root: OwnRoot, folder: Path) -> None:
        self.root, self.log = root, folder / "log"
        self.units: list[RunningUnit] = []

    def follow(self, script: str, redis_address: str, push: PushService, **more: str) -> None:
        """Do what the guide says, with this Redis, and with the push service of the test."""
        self.root.path("/etc/push-services.pem").write_text(push.ca_file.read_text())
        assert GUIDES_REDIS in script
        self.root.run(script.replace(GUIDES_REDIS, redis_address))
        ours = {
            "PUSH_SERVICES": push.origin,
            "PUSH_CA_BUNDLE": "/etc/push-services.pem",
            "PUSH_PROXY": "none",
            "QUIET_HOURS": "none",
            **more,
        }
        with self.root.path(SETTINGS).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in ours.items())

    def verify(self) -> None:
        """Let systemd look at the units where the guide has put them."""
        units = self.root.run("cd /etc/systemd/system; ls stoppress*").split()
        found = " ".join(one.replace("@.", "@8001.") for one in units)
        self.root.run(f"cd /etc/systemd/system; systemd-analyze verify --man=no {found} 2>&1")

    def start(self) -> None:
        """Start what the guide enables."""
        enabled = self.root.path("/enabled").read_text().split()
        self.units = [RunningUnit(self.root, one, self.log) for one in enabled]
        for unit in self.units:
            unit.start()

    def wait_until_ready(self, *ports: int) -> None:
        """Wait until web processes respond; what ends meanwhile is started again."""

        def ready() -> bool:
            for unit in self.units:
                unit.go_on()
            return all(curl(port, "/readyz") is not None for port in ports)

        try:
            wait_until(ready, 100, every=0.2)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None

    def rights(self, path: str) -> tuple[int, str]:
        """Who owns a file, and its mode."""
        found = self.root.path(path).stat()
        return found.st_uid, f"{found.st_mode & 0o777:o}"

    def may(self, unit: RunningUnit, test: str, path: str) -> bool:
        """Whether a unit's user could do this with a file, by the file's rights."""
        user, group = unit.user
        who = f"setpriv --reuid={user} --regid={group} --clear-groups"
        return self.root.run(f"{who} test -{test} {path} && echo yes || echo no") == "yes\n"


@pytest.fixture
def server(root: OwnRoot, tmp_path: Path) -> Iterator[SmallServer]:
    """A server whose units end with the test."""
    with ExitStack() as stack:
        made = SmallServer(root, tmp_path)
        yield made
        for unit in made.units:
            if unit.process is not None and unit.process.poll() is None:
                stack.callback(unit.stop)


def test_one_small_server_as_the_guide_has_it_sends_an_alert(
    server: SmallServer, redis_address: str, push: PushService
) -> None:
    install, doctor = commands("One small server, one unit")
    port = free_port()
    more = {"PORT": str(port), "WEB_CONCURRENCY": "1", "WORKER_CONCURRENCY": "1"}
    server.follow(install, redis_address, push, **more)
    server.verify()
    server.start()
    (unit,) = server.units
    user = unit.user[0]
    assert server.rights(SETTINGS) == (0, "640")
    assert server.rights(unit.state) == (user, "700")
    assert server.may(unit, "r", SETTINGS)
    for path in (
        SETTINGS,
        PROGRAM,
        "/opt/stop-press",
        "/opt/stop-press/service",
        "/etc/stop-press",
    ):
        assert not server.may(unit, "w", path), path

    server.wait_until_ready(port)
    assert server.rights(f"{unit.state}/keys.env") == (user, "600")
    assert doctor.endswith(" doctor\n")
    token = server.root.run(doctor.replace(" doctor\n", " token add curl --scope send\n")).split()[
        -1
    ]
    alert(push, port, token)
    assert unit.stop() == 0, server.log.read_text()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_unit_for_each_type_as_the_guide_has_it_sends_an_alert(
    server: SmallServer, redis_address: str, push: PushService
) -> None:
    install, look, *_ = commands("A unit for each type of process")
    ports = {"8001": free_port(), "8002": free_port()}
    for at, port in ports.items():
        install = install.replace(f"stoppress-web@{at}", f"stoppress-web@{port}")
    server.follow(install, redis_address, push)
    server.verify()
    server.start()
    keys = "/etc/stop-press/keys"
    assert server.rights(SETTINGS) == (0, "600")
    assert server.rights(keys) == (0, "700")
    for key in ("secret_key", "vapid_private_key"):
        assert server.rights(f"{keys}/{key}") == (0, "600")
    for unit in server.units:
        assert server.rights(unit.state) == (unit.user[0], "700")
        for path in (SETTINGS, f"{keys}/secret_key", f"{keys}/vapid_private_key"):
            assert not server.may(unit, "r", path), (unit.name, path)
        others = [one.state for one in server.units if one.user != unit.user]
        assert not any(server.may(unit, "x", path) for path in others), unit.name

    server.wait_until_ready(*ports.values())
    assert look.endswith(" config\n")
    said = "".join(server.root.run(look).split())
    assert "SECRET_KEY_FILE" in said
    for key in ("secret_key", "vapid_private_key"):
        secret = server.root.path(f"{keys}/{key}").read_text().rstrip("=\n").rpartition("=")[2]
        assert secret[:12] not in said, key
    token = server.root.run(look.replace(" config\n", " token add curl --scope send\n")).split()[-1]
    alert(push, ports["8001"], token)
    for unit in server.units:
        assert unit.stop() in (0, -15), (unit.name, server.log.read_text())


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_platform_that_reads_the_procfile_sends_an_alert_and_ends_within_its_30_seconds(
    redis_address: str, push: PushService, tmp_path: Path
) -> None:
    guide = section("A platform that reads the Procfile")
    named = dict(re.findall(r"`([A-Z_]+)=([^`]*)`", guide))
    assert {*named} == {"BIND", "TRUSTED_PROXIES", "DATA_DIR", "LOG_FORMAT"}
    environment = {
        **trial_settings(redis_address, tmp_path, [push.origin], push.ca_file),
        **named,
        "DATA_DIR": str(tmp_path / "data"),
        "SITE_URL": "https://push.paper.example",
        "WORKER_CONCURRENCY": "2",
        "QUIET_HOURS": "none",
        "PATH": f"{Path(sys.executable).parent}:{PATH}",
        "PYTHONPATH": str(ROOT),
    }
    lines = dict(line.split(": ") for line in (ROOT / "Procfile").read_text().splitlines())
    ports = {kind: free_port() for kind in lines}
    log = tmp_path / "log"
    started: dict[str, subprocess.Popen[bytes]] = {}

    def run(kind: str) -> None:
        with log.open("ab") as to:
            started[kind] = subprocess.Popen(
                ["sh", "-c", lines[kind]],
                env={**environment, "PORT": str(ports[kind])},
                cwd=ROOT,
                stdout=to,
                stderr=to,
                start_new_session=True,
            )

    def ready() -> bool:
        for kind, process in started.items():
            if process.poll() is not None:  # the platform starts it again
                run(kind)
        return curl(ports["web"], "/readyz") is not None

    try:
        for kind in lines:
            run(kind)
        wait_until(ready, 100, every=0.2)
        command = ["stoppress", "token", "add", "curl", "--scope", "send"]
        made = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        alert(push, ports["web"], made.stdout.split()[-1])
        for process in started.values():  # all that runs on the machine gets the signal
            os.killpg(process.pid, signal.SIGTERM)
        ended = {kind: process.wait(30) for kind, process in started.items()}
        assert set(ended.values()) <= {0, -signal.SIGTERM}, (ended, log.read_text())
    finally:
        for process in started.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for line in log.read_text().splitlines():
        assert "message" in json.loads(line), line
