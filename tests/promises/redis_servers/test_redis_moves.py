"""Redis becomes a replica, is a cluster, or freezes, while processes hold connections to it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis.exceptions import ResponseError

from service.cli import main
from service.config import ConfigError
from service.domain.store_errors import Unreachable, in_one_line
from service.runtime import Runtime, check_redis
from service.store import COMMAND, PAGE, connect
from service.store.redis_servers.connection import AT_ONCE, Guard, Silent
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.cluster import ClusterNode
from tests.support.redis_servers.server import Proxy, RedisServer
from tests.support.redis_servers.under_way import publish
from workers.sending.prepared_keys import Filler, Pool

pytestmark = pytest.mark.processes


class Pair:
    """Two Redises behind one address; connections to the first stay open when it is replaced."""

    def __init__(self, stack: ExitStack) -> None:
        self.first, self.second = (stack.enter_context(RedisServer()) for _ in range(2))
        self.address, self._to_first, self._to_second = (
            stack.enter_context(Proxy(server)) for server in (self.first, self.first, self.second)
        )
        self.second.follow(self._to_first)

    def fail_over(self) -> None:
        """Make the second the master, and the first its replica."""
        self.second.promote()
        self.first.follow(self._to_second)
        self.address.lead_to(self.second)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


@pytest.fixture
def moving(pair: Pair, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    """An installation on the pair, with all its processes."""
    with Installation(pair.address.url, push, tmp_path) as installation:
        yield installation


@pytest.mark.soak
def test_publishing_goes_on_when_the_master_becomes_a_replica(
    moving: Installation, pair: Pair, push: PushService
) -> None:
    push.answer_with(lambda _message: Answer(201, delay=0.02))
    moving.seed(600)
    worker, clock, address = moving.worker(), moving.clock(), moving.web()
    token = moving.api_token()
    prepared = moving.runtime.store.prepared_keys
    wait_until(lambda: prepared.ready() == 600)
    first = publish(address, token)
    moving.over(first)
    wait_until(lambda: prepared.ready() == 600)

    pair.fail_over()
    second = wait_until(lambda: published(address, token), timeout=20)
    # This process only reads, so it may still be connected to the replica, which lags.
    wait_until(lambda: moving.runtime.store.notifications.get(second))
    moving.over(second)
    assert moving.outcomes(second) == {"accepted": 600}
    wait_until(lambda: moving.runtime.store.installation.clock_age() < 3)
    assert (worker.poll(), clock.poll()) == (None, None), "nothing was started again"
    keys = Counter(message.body[21:86] for message in push.received)
    assert len(keys) == len(push.received), "no prepared key was used twice"


def published(address: str, token: str) -> int:
    """The id of an alert that could be published now, else 0."""
    with suppress(OSError):
        return publish(address, token)
    return 0


def test_first_refusal_ends_all_connections_that_lead_to_the_replica(pair: Pair) -> None:
    reading, writing = connect(pair.address.url, PAGE), connect(pair.address.url, COMMAND)
    reading.set("seen", "first")
    writing.ping()
    pair.fail_over()
    writing.set("seen", "second")  # refused by the first, and sent to the second
    with pair.first.client() as first:
        first.replicaof("127.0.0.1", "1")  # it hears nothing more from the second
    writing.set("seen", "third")
    assert reading.get("seen") == b"third"


def test_prepared_keys_of_before_a_failover_are_not_used_after_it(
    moving: Installation, pair: Pair
) -> None:
    moving.seed(64)
    filler = Filler(moving.runtime)
    filler._go_round()
    pool = Pool(moving.runtime)
    partitions = moving.runtime.store.partitions
    taken = {partition: pool.take(partition, 0) for partition in partitions}
    assert sum(map(len, taken.values())) == 64
    pair.fail_over()
    for partition in partitions:
        pool.put_back(partition, 0, dict(taken[partition]))  # or lost with the old master
        assert pool.take(partition, 0) in ({}, taken[partition])
        assert pool.take(partition, 0) == {}


@pytest.mark.parametrize("setting", ["REDIS_URL", "STORE_URL"])
def test_a_cluster_that_is_not_named_as_one_is_refused_in_one_line(
    setting: str, redis_url: str, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClusterNode() as node:  # it need not know the others to be refused
        changed = {**installation.environment, "REDIS_URL": redis_url, setting: node.url}
        with pytest.raises(ConfigError) as refused:
            Runtime.open(type(installation.config).read(changed))
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        by_command = CliRunner().invoke(main, ["token", "add", "Prometheus"])
    assert str(refused.value).startswith(f"{setting}: Redis is a node of a cluster")
    assert by_command.exit_code == 2
    assert by_command.output == f"stoppress: {refused.value}\n"


# A Redis that is frozen --------------------------------------------------------------------------


@contextmanager
def frozen_web(server: RedisServer, push: PushService, folder: Path) -> Iterator[tuple[str, Proxy]]:
    """The address of web processes, and what may freeze their Redis."""
    with Proxy(server) as proxy, Installation(server.url, push, folder) as installation:
        installation.environment["REDIS_URL"] = proxy.url
        address, started = installation.web(), installation.runtime.store.processes.alive
        wait_until(lambda: len(started()) == installation.config.web_concurrency)
        yield address, proxy


def test_pages_that_need_no_redis_do_not_wait_behind_60_callers_of_a_frozen_one(
    whole_redis: RedisServer, push: PushService, tmp_path: Path
) -> None:
    done: list[str] = []
    with frozen_web(whole_redis, push, tmp_path) as (address, proxy):

        def ask(path: str) -> None:
            done.append(f"{path} {status(address + path)}")

        with proxy.frozen():
            callers = [threading.Thread(target=ask, args=("/readyz",)) for _ in range(60)]
            for caller in callers:
                caller.start()
            for path in ("/healthz", "/optin.js"):
                ask(path)
            at_work = sum(caller.is_alive() for caller in callers)
            ask("/api/v1/site")
            for caller in callers:
                caller.join()
        assert at_work > 0, "some callers still wait for Redis"
        assert {"/healthz 200", "/optin.js 200", "/api/v1/site 200"} < {*done}
        assert done.count("/readyz 503") == 60
        wait_until(lambda: status(f"{address}/readyz") == 200)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_few_calls_wait_for_a_silent_redis_and_the_others_fail_at_once() -> None:
    guard = Guard()
    for caller in range(AT_ONCE):
        guard.enter(caller)
    with pytest.raises(Silent):
        guard.enter("another")  # after half a second
    guard.leave(0, silent=True)
    with pytest.raises(Silent):
        guard.enter("another")
    for caller in range(1, AT_ONCE):
        guard.leave(caller, silent=False)
    guard.enter("another")


def test_a_process_that_starts_says_which_redis_does_not_answer(
    installation: Installation, tmp_path: Path
) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    with pytest.raises(Unreachable, match="STORE_URL: Redis cannot be reached: there is no such"):
        Runtime.open(
            type(installation.config).read({**installation.environment, "STORE_URL": nowhere})
        )


@contextmanager
def without_master(server: RedisServer) -> Iterator[None]:
    """A replica without its master, which must not say what it knew."""
    with server.client() as admin, server.read_only():
        admin.config_set("replica-serve-stale-data", "no")
        yield


@pytest.mark.parametrize("fault", [RedisServer.stuck, RedisServer.disk_full, without_master])
def test_a_process_waits_at_its_start_for_what_redis_may_get_over(
    fault: Callable[[RedisServer], AbstractContextManager[None]],
    installation: Installation,
) -> None:
    with RedisServer() as server:
        config = replace(installation.config, store_url=server.url)
        with fault(server), pytest.raises(Unreachable, match="STORE_URL: Redis "):
            check_redis(config)
        check_redis(config)


def test_a_script_that_an_operator_ends_is_said_in_one_line() -> None:
    with RedisServer() as server, server.client() as admin, server.client() as client:
        admin.config_set("lua-time-limit", "10")

        def killed() -> bool:
            with suppress(ResponseError):  # none runs yet
                return bool(admin.script_kill())
            return False

        killer = threading.Thread(target=wait_until, args=(killed,))
        killer.start()
        with pytest.raises(ResponseError) as ended:
            client.eval("while true do end", 0)
        killer.join()
    assert in_one_line(ended.value).startswith("Redis has ended a script of ours")


def test_redis_that_lets_in_no_stranger_says_so() -> None:
    words = "DENIED Redis is running in protected mode because protected mode is enabled and no"
    assert "protected mode" in in_one_line(ResponseError(words))
