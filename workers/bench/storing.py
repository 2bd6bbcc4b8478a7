"""How fast publishing and subscribing are, and how much memory a subscription takes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from service.local import pretend_readers
from service.local.redis_server import Server, answers, find_servers, server_argv, socket_url
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience, Topic
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.redis_servers.connection import servers
from workers.bench.clients import Responses, p99, send_all
from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import (
    CONTENT,
    TOPICS,
    BenchInstallation,
    check_signals,
    installation,
)
from workers.trials.processes import free_port, listens, running, wait_for
from workers.trials.push_service import any_sink
from workers.trials.redis_cluster import redis_cluster

_TIMES = 9  # a short time is measured this often
_RECORDS = 20_000  # ids with records; the others only have their bits in the bitmaps
_ORIGIN = "https://fcm.googleapis.com"
_AT_ONCE = 1000  # readers who are removed in one call
_REQUESTS = 10_000  # new subscriptions, at most
_TURNS = 9  # in which they and calls of an empty route are sent


# Publishing -------------------------------------------------------------------------------------


def publish(bench: Bench) -> Iterator[Figure]:
    """Publish to ten million ids through the API; only the first of them have records."""
    responded, first = [], []
    settings = {"PREPARE_KEYS": "no", "WEB_CONCURRENCY": "1"}
    with any_sink(bench.folder) as sink, installation(bench, [sink], **settings) as ours:
        records = min(_RECORDS, bench.recipients, bench.ids)
        ours.seed(records)
        pretend_readers.stretch(ours.runtime.store, bench.ids)
        token = ours.api_token()
        ours.web()
        with ours.workers(bench.workers):
            connection = HTTPConnection("127.0.0.1", ours.port, timeout=60)
            with bench.bar("publishing", _TIMES) as step:
                for number in range(_TIMES + 1):
                    times = _publish(ours, connection, token)
                    if number:  # the first one opens the connections
                        responded.append(times[0])
                        first.append(times[1])
                    step(number)
            connection.close()
        wanted = Audience(topics=TOPICS[:3], exclude=TOPICS[3:])
        counted = [_seconds(ours, wanted) for _ in range(_TIMES)]
    yield Figure("publishing, response, median of 9", _median_ms(responded), "ms", most=50)
    yield Figure("  worst", max(responded) * 1e3, "ms")
    yield Figure("  first push recorded, median", _median_ms(first), "ms", most=1000)
    yield Figure("  worst", max(first) * 1e3, "ms", most=1000)
    yield Figure("audience: 3 topics, 1 excluded", _median_ms(counted), "ms", most=20)


def _publish(
    ours: BenchInstallation, connection: HTTPConnection, token: str
) -> tuple[float, float]:
    """Publish, wait for the first push and cancel; return the seconds to response and push."""
    body = {"title": CONTENT.title, "url": CONTENT.url, "audience": {"everyone": True}}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.close()  # the server may end one that has waited since the last alert
    connection.connect()
    start = time.monotonic()
    connection.request("POST", "/api/v1/notifications", json.dumps(body), headers)
    response = connection.getresponse()
    published = json.loads(response.read())
    responded = time.monotonic() - start
    if response.status >= 300:
        raise BenchError(f"publishing failed: {response.status}, {published.get('detail')}")
    first = ours.first_accepted(int(published["id"])) - start
    ours.stop(int(published["id"]))
    return responded, first


def _seconds(ours: BenchInstallation, audience: Audience) -> float:
    start = time.monotonic()
    ours.runtime.publishing.reach(audience)
    return time.monotonic() - start


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


# Memory -----------------------------------------------------------------------------------------


def memory(bench: Bench) -> Iterator[Figure]:
    """Measure each installed Redis, configured as `stoppress up` has it and as it comes.

    With `masters`, measure the preferred one, configured as `stoppress up` has it, as a cluster.
    """
    if bench.masters:
        with redis_cluster(bench.folder, bench.masters) as (url, _):
            yield from _memory(bench, url, f"{find_servers()[0]}, {bench.masters} masters")
        return
    for server in find_servers():
        for ours in (True, False):
            how = "as `stoppress up` has it" if ours else "as it comes"
            folder = bench.folder / f"{server}{how}".replace(" ", "-").replace("`", "")
            folder.mkdir(mode=0o700)
            with _redis(folder, server, ours) as url:
                yield from _memory(bench, url, f"{server} {how}")


@contextmanager
def _redis(folder: Path, server: Server, ours: bool) -> Iterator[str]:
    """Run a Redis; yield its address."""
    socket, data = folder / "redis.sock", folder / "data"
    data.mkdir(mode=0o700)
    argv = server_argv(server, data, socket)
    if not ours:
        at = argv.index("--hash-max-ziplist-entries")
        argv = argv[:at] + argv[at + 4 :]
    url = socket_url(socket)
    with running(argv, {"LC_ALL": "C"}) as process:
        wait_for(lambda: answers(url), process)
        yield url


def _memory(bench: Bench, url: str, name: str) -> Iterator[Figure]:
    store = Store(connect(url))
    try:
        for slug in TOPICS:
            store.topics.add(Topic(slug, slug.title()))
        empty = _used(store)
        _seed(bench, store, bench.recipients, f"seeding {name}")
        # With fewer readers the index has as many buckets, so that each reader takes more.
        most = 350 if bench.recipients >= 1_000_000 else None
        yield Figure(name, (_used(store) - empty) / bench.recipients, "bytes", most=most)
        if bench.churn:
            yield from _churn(bench, store, empty)
    finally:
        store.redis.close()


def _churn(bench: Bench, store: Store, empty: int) -> Iterator[Figure]:
    """Add twice as many readers as there are, then remove as many, spread over all."""
    _seed(bench, store, 2 * bench.recipients, "seeding twice as many", first=bench.recipients)
    ids = [
        SubscriptionId(partition, number)
        for partition in store.partitions
        for number in range(int(store.redis.get(f"{{{partition}}}:made") or 0))
    ]
    _remove(bench, store, [id for at, id in enumerate(ids) if at % 3])
    yield Figure("  after 3 ids for each", (_used(store) - empty) / bench.recipients, "bytes")
    _remove(bench, store, ids[::3])
    yield Figure("  left by a removed reader", (_used(store) - empty) / len(ids), "bytes")


def _remove(bench: Bench, store: Store, ids: list[SubscriptionId]) -> None:
    with bench.bar("removing", len(ids)) as step:
        for done in range(0, len(ids), _AT_ONCE):
            store.subscriptions.remove_all(ids[done : done + _AT_ONCE])
            step(done)


def _seed(bench: Bench, store: Store, count: int, what: str, first: int = 0) -> None:
    public = b64url(VapidKey.generate().public)
    with bench.bar(what, count) as step:
        for stored in pretend_readers.seed(
            store, count, origins=[_ORIGIN], vapid_key=public, topics=TOPICS, first=first
        ):
            step(stored)


def _used(store: Store) -> int:
    return sum(int(one.info("memory")["used_memory"]) for one in servers(store.redis))


# Subscribing ------------------------------------------------------------------------------------

# The cheapest route of the same server, for comparison. gunicorn loads it from a file, because our
# own code below `workers` does not import Flask.
_EMPTY = """
from flask import Flask

app = Flask(__name__)

@app.post("/api/v1/subscriptions")
def empty():
    return {"id": "0-0", "token": "x"}, 201
"""


def subscribe(bench: Bench) -> Iterator[Figure]:
    """Measure new subscriptions at one web process, beside a route that does nothing.

    As many readers are subscribed before as the bench has recipients.
    Each request names another reader's address, as a trusted proxy does, so that no rate limit
    applies.
    """
    requests = min(_REQUESTS, bench.recipients)
    with installation(bench, WEB_CONCURRENCY="1", TRUSTED_PROXIES="1") as ours:
        with bench.bar("seeding", bench.recipients) as step:
            ours.seed_more(bench.recipients, [_ORIGIN], step=step)
        ours.web()
        new = _subscriptions(requests, first=bench.recipients)
        subscribing, nothing = [], []
        with _empty_route(bench, ours) as port:
            # In turns, so that a change of the machine's own speed hits both.
            for turn in range(_TURNS):
                some = new[turn::_TURNS]
                subscribing.append(send_all(bench, "subscribing", ours.port, some))
                nothing.append(send_all(bench, "an empty route", port, some))
        stored = ours.runtime.store.subscriptions.count()
    shares = [100 * a.rate / b.rate for a, b in zip(subscribing, nothing, strict=True)]
    yield Figure(f"new subscriptions, median of {_TURNS}", _median_rate(subscribing), "/s")
    yield Figure("  99th percentile of 8 at once", p99(subscribing) * 1e3, "ms")
    yield Figure("an empty Flask JSON route there", _median_rate(nothing), "/s")
    yield Figure("  99th percentile", p99(nothing) * 1e3, "ms")
    yield Figure("  subscribing to that, median", statistics.median(shares), "%", least=50)
    yield Figure("subscriptions stored", stored)


def _median_rate(responses: list[Responses]) -> float:
    return statistics.median(one.rate for one in responses)


@contextmanager
def _empty_route(bench: Bench, ours: BenchInstallation) -> Iterator[int]:
    """Run the server of our web process with `_EMPTY` instead; yield its port."""
    port = free_port()
    (bench.folder / "empty.py").write_text(_EMPTY)
    (web,) = ours.processes
    argv = Path(f"/proc/{web.pid}/cmdline").read_text().rstrip("\0").split("\0")
    argv[argv.index("service.app:serve()")] = "empty:app"
    argv = [word.replace(str(ours.port), str(port)) for word in argv]
    with running([*argv, f"--chdir={bench.folder}"]) as process:
        wait_for(lambda: listens(port), process)
        yield port


def _subscriptions(count: int, first: int) -> list[bytes]:
    """Return requests for new subscriptions, each from another address."""
    requests = []
    for number in range(first, first + count):
        p256dh, auth = pretend_readers.keys(number)
        request = {
            "subscription": {
                "endpoint": _ORIGIN + pretend_readers.path(number),
                "expirationTime": None,
                "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
            },
            "topics": [TOPICS[number % len(TOPICS)]],
            "locale": "en-GB",
            "timezone": "Europe/Riga",
        }
        body = json.dumps(request).encode()
        head = (
            "POST /api/v1/subscriptions HTTP/1.1\r\nHost: push.example\r\n"
            f"X-Forwarded-For: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}\r\n"
            "X-Forwarded-Proto: https\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    check_signals()
    return requests
