"""The doctor against broken installations: each is found, and said in sentences that say what to do.

A row of the table breaks one thing of a newsroom where all is well: a real Redis, our own web
process over TLS, a proxy that leads to push services, and the newspaper's own web server. All that
the doctor then finds is in the row, sentence by sentence; `…` stands for what differs.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from werkzeug.serving import make_server

from service.app import create_app
from service.config import Config
from service.domain.daily_totals import today
from service.domain.job_queue import JOB, QUEUE, note_alive
from service.domain.processes import RELEASE
from service.local import pretend_readers
from service.model import clock
from service.model.notifications import Audience, Content
from service.model.subscriptions import SubscriptionRequest
from service.runtime import Runtime
from service.store.batches import part_key
from service.store.notifications import SCHEDULED
from service.store.processes import Process
from tests.support.doctor import KEY, doctor, findings
from tests.support.feeds import pretend_a_fetch_process
from tests.support.newspaper import Newspaper, redirect, response
from tests.support.proxy import ConnectProxy
from tests.support.push_service.certificates import Authority
from tests.support.redis_server import RedisServer
from workers.trials.processes import free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

pytestmark = pytest.mark.processes

SERVICE = "127.0.0.2"  # is not this machine to the doctor, and leads nowhere else
PUSH_SERVICES = ("fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com")
OPT_IN = """{ import("%s/optin.js").catch(() => {}); }"""
FOUND = tuple[str, str, str]  # level, thing, sentence


@dataclass
class Newsroom:
    """A newsroom where all is well, until a row of the table breaks something."""

    server: RedisServer
    paper: Newspaper
    proxy: PushProxy
    service: str  # its address
    passed_on: set[str]  # headers that a proxy in front of the web process takes off
    environment: dict[str, str]
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def runtime(self) -> Runtime:
        return Runtime.open(Config.read(self.environment))

    @property
    def redis(self) -> Redis:
        return self.stack.enter_context(self.server.client())

    def set(self, **settings: str) -> None:
        self.environment.update(settings)

    def redis_setting(self, name: str, value: str) -> None:
        before = self.redis.config_get(name)[name]
        self.redis.config_set(name, value)
        self.stack.callback(self.redis.config_set, name, before)

    def page(self, head: str = "", tag: str = "", **fields: str) -> None:
        """Serve the front page with another tag, more in its head, or more fields."""
        code = OPT_IN % self.service
        usual = f'<script data-worker="/sw.js">{code}</script>'
        links = '<link rel="manifest" href="/site.webmanifest">' if "manifest" not in head else ""
        text = f"<!doctype html><title>Paper</title>{links}{head}{tag or usual}<p>News"
        self.paper.pages["/"] = response(text.encode(), **fields)

    def worker(self, text: str = "", kind: str = "text/javascript", **fields: str) -> None:
        text = text or f'importScripts("{self.service}/sw.js");'
        self.paper.pages["/sw.js"] = response(text.encode(), kind=kind, **fields)

    def manifest(self, **changes: Any) -> None:
        icons = [{"src": "/icon.png", "sizes": "192x192"}]
        document = {"name": "Paper", "display": "standalone", "start_url": "/", "icons": icons}
        body = json.dumps({**document, **changes}).encode()
        self.paper.pages["/site.webmanifest"] = response(body, kind="application/manifest+json")

    def subscribe(self, number: int = 1) -> None:
        runtime = self.runtime
        endpoint = runtime.endpoints.parse(f"https://fcm.googleapis.com/fcm/send/{number}")
        keys = pretend_readers.keys(number)
        request = SubscriptionRequest(endpoint, *keys, runtime.keys.current)
        runtime.store.subscriptions.subscribe(request)

    def publish(self, **options: Any) -> int:
        content = Content(title="Storm reaches the coast", url="https://paper.example/storm")
        everyone = Audience(everyone=True)
        return self.runtime.publishing.publish(content, everyone, by="a test", **options).id

    def process(self, kind: str, host: str, **changes: Any) -> None:
        """Let a process have given a sign of life."""
        runtime = self.runtime
        row = Process(kind, host, runtime.shared, runtime.job_queue.server(), version=RELEASE)
        runtime.store.processes.beat(f"{kind} {host}", replace(row, **changes))

    def is_well(self) -> None:
        """Let all be as it should be, and all processes have given a sign of life."""
        self.server.flush()
        self.page()
        self.worker()
        self.manifest()
        self.paper.pages["/icon.png"] = response(b"PNG", kind="image/png")
        runtime = self.runtime
        runtime.keys.note_backup()
        for kind in ("web", "worker", "clock"):
            self.process(kind, "paper-1")
        runtime.store.installation.lead("a test", 1000)
        self.redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:test")
        note_alive(self.redis, "rq:worker:test")
        pretend_a_fetch_process(self.redis)

    def found(self) -> list[FOUND]:
        """What the doctor finds that is not in order."""
        by_thing = findings(self.environment, site=f"{self.paper.origin}/")
        every = (one for some in by_thing.values() for one in some)
        return [(one.level, one.what, one.says) for one in every if one.level != "ok"]


class PushProxy(ConnectProxy):
    """Leads to push services, which are one port of this machine."""

    host, port = SERVICE, 0

    def connect(self, client: socket.socket, host: str, port: int, before: bytes = b"") -> None:
        super().connect(client, self.host, self.port, before)


@pytest.fixture(scope="module")
def rooms(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    folder = tmp_path_factory.mktemp("newsroom")
    authority = Authority("A test's CA")
    (folder / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in PUSH_SERVICES]
    (folder / "own.pem").write_bytes(authority.issue([*names, x509.IPAddress(ip_address(SERVICE))]))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "own.pem")
    port = free_port()
    with Newspaper() as paper, PushProxy() as proxy:
        environment = {
            "REDIS_URL": server.url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": KEY.text,
            "VAPID_SUBJECT": "mailto:push@newsroom.org",
            "SITE_URL": f"https://{SERVICE}:{port}",
            "SITE_ORIGINS": paper.origin,
            "PUSH_CA_BUNDLE": str(folder / "ca.pem"),
            "PUSH_PROXY": proxy.url,
            "NO_PROXY": "127.0.0.0/8",
            "DATA_DIR": str(folder / "none"),
        }
        server.flush()
        app, taken_off = create_app(Config.read(environment)), set[str]()
        web = make_server(SERVICE, port, without(app.wsgi_app, taken_off), True, ssl_context=tls)
        proxy.port = port
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        address = environment["SITE_URL"]
        yield Newsroom(server, paper, proxy, address, taken_off, environment, folder)
        web.shutdown()
        thread.join()
        web.server_close()


def without(app: WSGIApplication, taken_off: set[str]) -> WSGIApplication:
    """A proxy in front of an application, which takes some headers off its responses."""

    def call(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            kept = [(name, value) for name, value in headers if name not in taken_off]
            return start_response(status, kept, *error)

        return app(environ, start)

    return call


@pytest.fixture
def newsroom(
    rooms: Newsroom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Newsroom]:
    monkeypatch.setenv("SSL_CERT_FILE", rooms.environment["PUSH_CA_BUNDLE"])
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path),))
    (tmp_path / "UTC").touch()
    year = datetime.fromtimestamp(clock.time(), timezone.utc).year
    (tmp_path / "tzdata.zi").write_text(f"# version {year}a\n")
    rooms.passed_on.clear()
    with ExitStack() as stack:
        made = replace(rooms, environment={**rooms.environment}, folder=tmp_path, stack=stack)
        made.is_well()
        yield made


def test_nothing_is_found_where_all_is_well(newsroom: Newsroom) -> None:
    assert newsroom.found() == []
