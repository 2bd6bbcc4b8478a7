"""All processes are started anew in turn, behind nginx, while readers subscribe and alerts go out.

Nobody sees an error, and every reader gets every alert once.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPException, HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from service.cli.run import is_ready, web_argv
from service.model.keys import b64url
from tests.support import ROOT
from tests.support.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.push_service.certificates import OURS, Authority
from workers.trials.processes import free_port
from workers.trials.push_service import find_nginx

NGINX = ROOT / ".venv" / "nginx" / "usr" / "sbin" / "nginx"
CONF = ROOT / "docs" / "ops" / "proxy" / "nginx.conf"
EVERYONE = {
    "title": "Late news",
    "body": "It has just come in.",
    "url": "https://paper.example/story",
    "audience": {"everyone": True},
}

pytestmark = pytest.mark.processes


def start_nginx(folder: Path, port: int, webs: list[int]) -> subprocess.Popen[bytes]:
    """Run nginx with the configuration that docs/ops has, on this port."""
    found = find_nginx()
    binary = NGINX if NGINX.exists() else found and found.binary
    if not binary:
        pytest.skip("needs nginx: make .venv/nginx unpacks it on Debian")
    text = CONF.read_text()
    for old, new in zip(re.findall(r"127\.0\.0\.1:(\d+)", text), webs, strict=True):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    text = re.sub(r"server \{\n  listen 80;.*?\n\}\n", "", text, flags=re.S)
    text = text.replace("listen [::]:443 ssl http2;", "").replace("listen 443", f"listen {port}")
    text = re.sub(r"(ssl_certificate\w*) /.*;", rf"\1 {folder}/certificate.pem;", text)
    (folder / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}"
        f" http {{ {folders}include {folder}/site.conf; }}"
    )
    options = ["-p", folder, "-e", folder / "errors", "-c", folder / "nginx.conf"]
    return subprocess.Popen([binary, *options])


class Newspaper:
    """Two web processes behind nginx, workers and clocks."""

    def __init__(self, installation: Installation, folder: Path, workers: int) -> None:
        self.installation = installation
        self.port = free_port()
        self.token = installation.api_token()
        self.webs: dict[int, Any] = {free_port(): None, free_port(): None}
        self.workers = [installation.worker() for _ in range(workers)]
        self.clocks = [installation.clock() for _ in range(2)]
        authority = Authority("a test")
        (folder / "certificate.pem").write_bytes(authority.issue(OURS))
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        for port in self.webs:
            self.start_web(port)
        self.nginx = start_nginx(folder, self.port, [*self.webs])
        self.faults: list[str] = []
        self.calls = Counter[str]()
        self._addresses = count(1)
        self._stop = threading.Event()
        wait_until(lambda: self._is_there())

    def _is_there(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start_web(self, port: int) -> None:
        one = self.installation
        config = replace(one.config, port=port, web_concurrency=1)
        private = one.environment
        public = ",".join(b64url(key.public) for key in one.config.vapid_private_key)
        others = {name: text for name, text in private.items() if name != "VAPID_PRIVATE_KEY"}
        one.environment = {**others, "VAPID_PUBLIC_KEY": public}
        self.webs[port] = one.start(*web_argv(config)[1:])
        one.environment = private
        wait_until(lambda: is_ready(config), 60)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call by nginx, each time from another address; note what is no success."""
        number = next(self._addresses)
        source = (f"127.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255 or 1}", 0)
        made = HTTPSConnection(
            "localhost", self.port, timeout=60, context=self.tls, source_address=source
        )
        given = {"Content-Type": "application/json", **headers}
        text = None if body is None else json.dumps(body)
        with closing(made) as connection:
            try:
                connection.request(method, path, text, given)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, HTTPException) as error:
                self.faults.append(f"{method} {path}: {type(error).__name__} {error}")
                return None
        self.calls[f"{method} {path}"] += 1
        if response.status >= 300:
            self.faults.append(f"{method} {path}: {response.status} {answer[:200]!r}")
            return None
        return json.loads(answer) if answer[:1] == b"{" else answer

    def publish(self, key: str) -> int:
        given = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        published = self.call("POST", "/api/v1/notifications", EVERYONE, **given)
        assert published, self.faults
        return int(published["id"])

    @contextmanager
    def load(self) -> Iterator[None]:
        """Meanwhile readers subscribe, read and open pages without a pause."""
        vapid, push = self.installation.vapid.public, self.installation.push
        made = [push.subscribe(vapid).as_json() for _ in range(20)]

        def subscribe(number: int) -> None:
            body = {"subscription": made[number % len(made)]}
            self.call("POST", "/api/v1/subscriptions", body)

        def read(_: int) -> None:
            self.call("GET", "/api/v1/site")
            self.call("GET", "/desk/sign-in")

        def go_on(do: Callable[[int], None]) -> None:
            for number in count():
                if self._stop.is_set():
                    return
                do(number)

        threads = [threading.Thread(target=go_on, args=[do]) for do in (subscribe, subscribe, read)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def restart_all(self) -> None:
        """End and start each process, one after the other."""
        for port, web in self.webs.items():
            self.installation.end(web)
            self.start_web(port)
        for at, worker in enumerate(self.workers):
            self.installation.end(worker)
            self.workers[at] = self.installation.worker()
        for at, one in enumerate(self.clocks):
            self.installation.end(one)
            self.clocks[at] = self.installation.clock()

    def close(self) -> None:
        self.nginx.send_signal(signal.SIGTERM)
        self.nginx.wait(30)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("rounds", "workers"),
    [(1, 1), (10, 4)],
    ids=["once", "ten times"],
)
def test_nobody_sees_that_every_process_is_started_anew(
    rounds: int, workers: int, redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with Installation(redis_url, push, tmp_path, TRUSTED_PROXIES="1") as installation:
        installation.seed(300 * rounds)
        with closing(Newspaper(installation, tmp_path, workers)) as paper:
            with paper.load():
                alerts = []
                for number in range(rounds):
                    alerts.append(paper.publish(f"round-{number}"))
                    paper.restart_all()
            assert paper.faults == []
            assert len(paper.calls) == 4
            for id in alerts:
                done = installation.over(id)
                found = installation.runtime.publishing.progress(done.id)
                assert installation.outcomes(id) == {"accepted": found.recipients}
    seeded = Counter(one.endpoint for one in push.received if "/wpush/" not in one.path)
    assert set(seeded.values()) == {rounds}, "each reader got each alert once"
