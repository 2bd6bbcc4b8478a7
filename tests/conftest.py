"""Fixtures for all tests: Redis, push service, installations; and a last line on skipped tests."""

from __future__ import annotations

import gc
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, settings

from service.domain.people import editors
from service.model.time import clock
from service.store import Store, connect
from tests.support.browser import programs
from tests.support.client import Client, make_app, open_client
from tests.support.desk.pages import FAST_HASHER
from tests.support.network.newspaper import Newspaper
from tests.support.processes import compiled
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.second import SECOND_REDIS, second_redis
from tests.support.redis_servers.server import Proxy, RedisServer, connections_closed
from tests.support.redis_servers.users import create_users, refused
from tests.support.seeded import READERS

# Fixtures that start processes of an installation, or with which a test starts them.
_STARTING = {"installation", "reading", "spawn", "stoppress", "wordpress"}

# For tests in browsers, which are in several folders.
pytest_plugins = ["tests.support.browser.fixtures"]


# No deadlines, because the machine may be busy and no test is about how long something takes.
settings.register_profile(
    "patient", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", settings.get_profile("patient"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))


def pytest_configure() -> None:
    """Prepare this process and those that it starts."""
    # What nohup or a shell's & sets would let processes under test ignore signals.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # To read the system's 140 certificates takes 25 ms each time. No test calls a real host.
    os.environ["SSL_CERT_FILE"] = os.devnull
    editors._hasher = FAST_HASHER
    compiled.share()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while tests are collected, and then never among the tests themselves."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that start processes, because `make quick` leaves them out."""
    if not _STARTING.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker("processes")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long tests and with those in browsers, and let one process start Firefox.

    Each process of a run gets as many tests of this list as the others. One that has done its own
    takes some from the end of another's. A Firefox costs 6 s of CPU to start and end, and some all
    the time.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    kinds: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        kinds[_kind(item)].append(item)
    # Tests that start processes wait for most of their time, those in browsers do not.
    half = processes // 2
    begin: list[list[pytest.Item]] = [[] for _ in range(processes)]
    _spread(kinds["long"] + kinds["processes"], begin[: max(1, half)])
    _spread(kinds["headless"], begin[half:-1] or begin[:1])
    begin[-1] += kinds["firefox"]
    rest = iter(kinds["rest"])
    sizes = [(len(items) + one) // processes for one in range(processes)]  # as xdist divides them
    items.clear()
    for first, size in zip(begin, sizes, strict=True):
        items += [*first, *islice(rest, max(0, size - len(first)))]
    items += rest


def _kind(item: pytest.Item) -> str:
    if item.get_closest_marker("long"):
        return "long"
    fixtures = getattr(item, "fixturenames", ())
    if not {"firefox", "chromium"}.isdisjoint(fixtures):
        return "firefox"
    if "headless_chromium" in fixtures:
        return "headless"
    return "processes" if item.get_closest_marker("processes") else "rest"


def _spread(items: list[pytest.Item], over: list[list[pytest.Item]]) -> None:
    """Give each of these lists as many of the items, neighbours to the same one."""
    size = -(-len(items) // len(over))
    for number, one in enumerate(over):
        one += items[number * size : (number + 1) * size]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis as `stoppress up` runs it, which all tests of this process use."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may stop, fill up and break."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(own_redis: RedisServer) -> Iterator[Proxy]:
    """An address that leads to that Redis, or to another one."""
    with Proxy(own_redis) as proxy:
        yield proxy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `redis` on the second Redis too, where a run has one."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    asks = "redis" in marks and "long" not in marks and "redis_database" in metafunc.fixturenames
    if asks and SECOND_REDIS in os.environ:
        on = [pytest.param(f"{which}_database", id=f"{which} Redis") for which in ("own", "second")]
        metafunc.parametrize("redis_database", on, indirect=True)


class Database(NamedTuple):
    """A database that the tests of this process share, one after another."""

    url: str
    client: redis.Redis
    server: RedisServer | None  # None: a server that others use too


@pytest.fixture(scope="session")
def own_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of `REDIS_URL`, or that of `redis_server`."""
    named = os.environ.get("REDIS_URL")
    server = None if named else request.getfixturevalue("redis_server")
    url = empty_database(named) if named else server.url
    with redis.Redis.from_url(url) as client:
        yield Database(url, client, server)


@pytest.fixture(scope="session")
def second_database() -> Iterator[Database]:
    """The database of this process's second Redis."""
    with second_redis() as server, server.client() as client:
        yield Database(server.url, client, server)


@pytest.fixture
def redis_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that is empty before and after a test."""
    database: Database = request.getfixturevalue(getattr(request, "param", "own_database"))
    database.client.flushdb()
    database.client.acl_log_reset()
    yield database
    database.client.flushdb()
    assert refused(database.client) == [], "a process may not do what it did"


@pytest.fixture
def redis_url(redis_database: Database) -> str:
    """An empty Redis database."""
    return redis_database.url


@pytest.fixture
def whole_redis(redis_database: Database) -> RedisServer:
    """The server of `redis_url`, which nothing but this test uses: it may fill it up."""
    return redis_database.server or pytest.skip("others use the Redis of REDIS_URL")


@pytest.fixture
def one_partition(redis_url: str) -> None:
    """Let the store have one partition, whose number is 0: readers then have the numbers 0, 1…"""
    Store(connect(redis_url), 1)


@pytest.fixture
def client(redis_url: str) -> Client:
    """A client of an installation with two topics."""
    return open_client(redis_url)


@pytest.fixture
def push() -> Iterator[PushService]:
    """A strict push service."""
    with PushService() as service:
        yield service


@pytest.fixture
def paper() -> Iterator[Newspaper]:
    """The newspaper's web server, which has no page yet."""
    with Newspaper() as paper:
        yield paper


@pytest.fixture
def installation(redis_url: str, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose processes the test starts as it needs them."""
    with Installation(redis_url, push, tmp_path) as installation:
        yield installation


@pytest.fixture
def reading(installation: Installation) -> Installation:
    """An installation with readers, a worker and a clock."""
    installation.seed(READERS)
    installation.worker()
    installation.clock()
    return installation


@pytest.fixture
def client_with(redis_url: str) -> Callable[..., Client]:
    """Open an installation with these settings in this process, without topics."""
    return lambda **settings: Client(make_app(redis_url, **settings))


@pytest.fixture
def store(redis_url: str) -> Store:
    """An empty store."""
    return Store(connect(redis_url))


def empty_database(url: str) -> str:
    """Find an empty database of a server whose other databases may hold real data.

    Each process of a test run looks only at its own share of the numbers.
    """
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option and not option.startswith("db=")]
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    this_one = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    numbers = range(this_one, 16, processes)
    for number in numbers:
        candidate = f"{address}?{'&'.join([*options, f'db={number}'])}"
        with redis.Redis.from_url(candidate) as client:
            if not client.dbsize():
                create_users(client)
                return candidate
    raise pytest.UsageError(f"REDIS_URL: none of its databases {[*numbers]} is empty")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print last how many browser tests were skipped, and how to install their browsers."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # one of the processes of a run, which reports to another
        return
    skipped = reporter.stats.get("skipped", [])
    if browsers := sum("browser" in report.keywords for report in skipped):
        reporter.write_line(
            f"{browsers} browser tests were skipped; to run them: {programs.REMEDY}"
        )


@pytest.fixture(autouse=True)
def _as_if_alone() -> Iterator[None]:
    """Begin with the host's time, and close every connection to Redis that is left open."""
    clock._measured = None
    with connections_closed():
        yield
