"""A newsroom in which the doctor finds nothing, with a real Redis, web process, proxy and site."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from redis import Redis
from werkzeug.serving import make_server

from service.app import create_app
from service.config import Config
from service.domain.operations.processes import RELEASE
from service.domain.sending.job_queue import FETCH_QUEUE, QUEUE
from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Audience, Content
from service.model.subscriptions import SubscriptionRequest
from service.runtime import Runtime
from service.store.operations.processes import Process
from tests.support.doctor.run import KEY, findings
from tests.support.network.newspaper import Newspaper, response
from tests.support.network.proxy import ConnectProxy
from tests.support.network.relay import Port
from tests.support.processes.installation import wait_until
from tests.support.push_service.certificates import Authority
from tests.support.redis_servers.server import Proxy, RedisServer
from workers.trials.processes import free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SERVICE = "127.0.0.2"  # is not this machine to the doctor, and leads nowhere else
TICKED = "{g}:clock:ticked"
PUSH_SERVICES = ("fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com")
T = TypeVar("T")


@dataclass
class Newsroom:
    """A newsroom where all is well, until a test breaks something."""

    server: RedisServer
    paper: Newspaper
    proxy: PushProxy
    ours: str  # the address of Stop Press
    taken_off: set[str]  # headers that a proxy in front of the web process takes off
    environment: dict[str, str]
    folder: Path
    alive: Process = Process("", "", {})
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime.open(Config.read(self.environment))

    @cached_property
    def redis(self) -> Redis:
        client: Redis = self.closing(self.server.client())
        return client

    def closing(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that is left when the row is over."""
        return self.stack.enter_context(context)

    def set(self, **settings: str) -> None:
        """Change settings of this command alone."""
        self.environment.update(settings)

    def set_all(self, **settings: str) -> None:
        """Change settings of all processes, and start them again."""
        self.set(**settings)
        del self.runtime
        self.all_run()

    def change_redis(self, name: str, value: str) -> None:
        before = self.redis.config_get(name)[name]
        self.redis.config_set(name, value)
        self.stack.callback(self.redis.config_set, name, before)

    def replica(self) -> tuple[RedisServer, Proxy]:
        """Add a replica to Redis, and return it with what is between them."""
        redis = self.redis
        self.stack.callback(wait_until, lambda: not redis.info("replication")["connected_slaves"])
        between, replica = Proxy(self.server), RedisServer()
        self.closing(between)
        self.closing(replica).follow(between)
        return replica, between

    @property
    def code(self) -> str:
        """What a tag of the newspaper's pages does."""
        return f'{{ import("{self.ours}/optin.js").catch(() => {{}}); }}'

    def page(self, head: str = "", tag: str = "", **fields: Any) -> None:
        """Serve the front page with another tag, more in its head, or more fields."""
        usual = f'<script data-worker="/sw.js">{self.code}</script>'
        links = '<link rel="manifest" href="/site.webmanifest">' if "manifest" not in head else ""
        text = f"<!doctype html><title>Paper</title>{links}{head}{tag or usual}<p>News"
        self.paper.pages["/"] = response(text.encode(), **fields)

    def worker(self, text: str = "", kind: str = "text/javascript", **fields: Any) -> None:
        text = text or f'importScripts("{self.ours}/sw.js");'
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
        """Let a process have given a sign of life, which a slow machine does not outlive."""
        described = json.dumps(asdict(replace(self.alive, kind=kind, host=host, **changes)))
        self.redis.hset("{g}:processes", f"{kind} {host}", f"{soon()} {described}")

    def all_run(self) -> None:
        """Let all processes run with the settings as they are now."""
        runtime = self.runtime
        queue = runtime.job_queue.server()
        self.alive = Process("", "", runtime.shared, queue, version=RELEASE)
        for kind in ("web", "worker", "clock"):
            self.process(kind, "paper-1")

    def is_well(self) -> None:
        """Let all be as it should be."""
        self.server.flush()
        self.page()
        self.worker()
        self.manifest()
        self.paper.pages["/icon.png"] = response(b"PNG", kind="image/png")
        self.all_run()
        self.runtime.keys.note_backup()
        # The doctor calls a clock dead after ten seconds; this one has nine more.
        self.redis.set(TICKED, int(time.time()) + 9)
        for queue in (QUEUE, FETCH_QUEUE):
            self.redis.sadd(f"rq:workers:{queue}", f"rq:worker:{queue}")
            self.redis.set(f"stoppress:alive:rq:worker:{queue}", RELEASE)
            self.redis.hset(f"rq:worker:{queue}", mapping={"hostname": "paper-1", "pid": 0})

    def found(self, *, with_page: bool) -> list[str]:
        """What the doctor finds that is not in order, a line each."""
        page = f"{self.paper.origin}/" if with_page else None
        every = [one for some in findings(self.environment, site=page).values() for one in some]
        return [f"{one.level}  {one.what}  {one.says}" for one in every if one.level != "ok"]


def soon() -> int:
    """A time when the test is over, however slow the machine is."""
    return int(time.time()) + 600


class PushProxy(ConnectProxy):
    """Leads to push services, which are one port of this machine."""

    to = (SERVICE, 0)

    def connect(self, client: socket.socket, host: str, port: int, before: bytes = b"") -> None:
        super().connect(client, *self.to, before)


class Portal(Port):
    """Answers all connections by a page to sign in, as networks in hotels do."""

    def serve(self, client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(b"HTTP/1.1 302 Sign in\r\n\r\n")
        client.close()


@contextmanager
def running_newsroom(server: RedisServer, folder: Path) -> Iterator[Newsroom]:
    """The web server, Stop Press and push services of a newsroom, in this process."""
    authority = Authority("A test's CA")
    (folder / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in PUSH_SERVICES]
    (folder / "own.pem").write_bytes(authority.issue([*names, x509.IPAddress(ip_address(SERVICE))]))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "own.pem")
    port = free_port()
    with Newspaper() as paper, PushProxy() as proxy:
        proxy.to = (SERVICE, port)
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
        public = {"VAPID_PRIVATE_KEY": "", "VAPID_PUBLIC_KEY": b64url(KEY.public)}
        app, taken_off = create_app(Config.read(environment | public)), set[str]()
        web = make_server(SERVICE, port, without(app.wsgi_app, taken_off), True, ssl_context=tls)
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
