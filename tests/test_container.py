"""The image of docs/ops/container is built, and each of its services runs as compose.yaml says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from service.model.keys import from_b64url
from tests.support import ROOT
from tests.support.hosts.guides import commands
from tests.support.hosts.hosts import Network
from tests.support.hosts.image import Container, Image
from tests.support.inputs import LATE_NEWS
from tests.support.processes.installation import wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import find_tls_server
from workers.trials.processes import running

pytestmark = [pytest.mark.soak, pytest.mark.processes, pytest.mark.timeout(900)]

FILES = ROOT / "docs" / "ops" / "container"
ADDRESSES = {
    **{"redis": "10.0.0.2", "web": "10.0.0.3", "worker": "10.0.0.4", "clock": "10.0.0.5"},
    **{"fetch": "10.0.0.6", "push": "10.0.0.7", "proxy": "10.0.0.8"},
}


class Composed:
    """What `docker compose up -d` would run."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        """Follow the guide with files in `folder`."""
        yaml = pytest.importorskip("yaml", reason="needs PyYAML, which schemathesis brings")
        compose: dict[str, Any] = yaml.safe_load((FILES / "compose.yaml").read_text())
        self.image = Image(FILES / "Containerfile", folder / "image")
        network = stack.enter_context(Network())
        hosts = {name: network.host(name, address) for name, address in ADDRESSES.items()}
        with hosts["push"].entered():
            self.push = stack.enter_context(PushService(host=ADDRESSES["push"]))
        self._prepare(folder)
        self.log = folder / "log"
        self.containers: dict[str, Container] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # The machine's Redis 7, with the files in a folder of the test, stands in for its image.
        _, *options = compose["services"]["redis"]["command"]
        options += ["--protected-mode", "no", "--dir", str(folder), "--logfile", "redis.log"]
        argv = hosts["redis"].argv(find_tls_server().binary, *options)
        stack.enter_context(running(argv))
        for name in compose["services"].keys() - {"redis"}:
            one = Container(self.image, hosts[name], compose, name, folder)
            self.containers[name] = one
            self.processes[name] = one.start(self.log)
        stack.callback(self.close)
        stack.enter_context(hosts["proxy"].entered())

    def _prepare(self, folder: Path) -> None:
        """Do what the guide says before `docker compose up -d`."""
        (guide,) = commands("Containers")
        before, up, self.then = guide.partition("docker compose up -d\n")
        assert up
        program = folder / "bin" / "stoppress"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec chroot {self.image.root} stoppress "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        subprocess.run(["sh", "-euc", before], cwd=folder, env={"PATH": path}, check=True)
        settings = {
            "TRUSTED_PROXIES": "1",
            "SITE_URL": "https://push.paper.example",
            "SITE_ORIGINS": "https://paper.example",
            "VAPID_SUBJECT": "mailto:push@paper.example",
            "PUSH_SERVICES": self.push.origin,
            "PUSH_CA_BUNDLE": "/etc/push-services.pem",
            "PUSH_PROXY": "none",
            "QUIET_HOURS": "none",
            "WEB_CONCURRENCY": "1",
            "WORKER_CONCURRENCY": "1",
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (folder / "settings.env").write_text("".join(lines))
        trusted = self.image.root / "etc" / "push-services.pem"
        trusted.write_text(self.push.ca_file.read_text())
        (self.image.root / "etc" / "hosts").touch()
        known = [f"{address} {name}\n" for name, address in ADDRESSES.items()]
        (folder / "hosts").write_text("".join(["127.0.0.1 localhost\n", *known]))

    def ready(self) -> bool:
        """Whether web is ready; what has ended is started again (`restart: always`)."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                self.processes[name] = self.containers[name].start(self.log)
        return self.call("GET", "/readyz")[0] == 200

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Call web as a proxy in front would, and return status and body."""
        headers = {"Content-Type": "application/json", "Host": "push.paper.example"}
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.9"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = HTTPConnection(ADDRESSES["web"], 8000, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()
        return response.status, json.loads(text) if text[:1] == b"{" else text

    def exec(self, line: str) -> subprocess.CompletedProcess[str]:
        """Do what `docker compose exec` does."""
        found = re.fullmatch(r"docker compose exec (\w+) (.+)\n", line)
        assert found, line
        return self.containers[found[1]].run(*found[2].split())

    def close(self) -> None:
        """End what has not ended."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    """The containers, running."""
    with ExitStack() as stack:
        yield Composed(stack, tmp_path)


def test_the_image_is_built_and_its_containers_send_an_alert(composed: Composed) -> None:
    one = composed
    try:
        wait_until(one.ready, 100, every=0.2)
    except AssertionError:
        raise AssertionError(one.log.read_text()) from None

    # Each is the user of the Containerfile, and may write in /tmp alone.
    for name, container in one.containers.items():
        for path in ("/", "/opt/stop-press", "/usr/local/bin", "/run", "/run/secrets", "/var"):
            assert container.run("touch", f"{path}/mine").returncode, (name, path)
        assert container.run("touch", "/tmp/mine").returncode == 0, name
        assert container.run("id", "--user").stdout == f"{one.image.user}\n" != "0\n"
        assert "CapBnd:\t0000000000000000" in container.run("cat", "/proc/self/status").stdout
    assert one.containers["fetch"].run("ls", "/run/secrets").stdout == ""
    assert one.containers["web"].run("ls", "/run/secrets").stdout == "secret_key\n"

    # The doctor finds only that the test's network leads nowhere, and its addresses are made up.
    said = one.exec(one.then).stdout
    failed = re.findall(r"^fail +(\S+(?: \S+)*)  ", said, flags=re.M)
    assert failed == ["VAPID_SUBJECT", "Web", "Way out"], said

    # An alert goes through all of them.
    made = one.exec(one.then.replace(" doctor", " token add curl --scope send"))
    token = made.stdout.split()[-1]
    _, site = one.call("GET", "/api/v1/site")
    reader = one.push.subscribe(from_b64url(site["vapid_public_key"]))
    given = {"subscription": reader.as_json()}
    assert one.call("POST", "/api/v1/subscriptions", given)[0] == 201
    assert one.call("POST", "/api/v1/notifications", LATE_NEWS, token)[0] in (201, 202)
    (message,) = one.push.wait_for(1, timeout=100)
    assert b"Late news" in reader.decrypt(message.body)

    # The health check says when web has ended.
    web = one.containers["web"]
    assert web.run(*one.image.health).returncode == 0
    for name, process in one.processes.items():
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) in (0, -signal.SIGTERM), (name, one.log.read_text())
    assert web.run(*one.image.health).returncode != 0
