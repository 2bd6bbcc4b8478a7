"""Calls of several threads that share an exchange with Redis: each gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, ResponseError

from service.store import PAGE, connect
from service.store.redis_servers import shared_exchanges
from service.store.redis_servers.connection import AT_ONCE, Client, Silent
from service.store.redis_servers.shared_exchanges import SharedExchanges
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import Proxy, RedisServer

_SCRIPT = "return {redis.call('INCR', KEYS[1]), ARGV[1]}"
_THREADS = 8


class Asking:
    """Threads that run a script through a client of a web process; it notes each exchange."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.redis = connect(url, PAGE)
        self.shared = SharedExchanges(self.redis.register_script(_SCRIPT))
        self.exchanges: list[int] = []  # how many calls each has
        self._pool = ThreadPoolExecutor(_THREADS)
        together = Client.execute_together

        def noted(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
            self.exchanges.append(len(commands))
            return together(client, commands)

        monkeypatch.setattr(Client, "execute_together", noted)

    def ask(self, word: str, key: str = "times") -> Future[Any]:
        """Run it in a thread, and return when it is in an exchange or has joined those who wait."""
        known = len(self.exchanges) + len(self.shared._gathered)
        asking = self._pool.submit(self.shared.run, [key], [word])
        wait_until(
            lambda: asking.done() or len(self.exchanges) + len(self.shared._gathered) > known
        )
        return asking

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def asking_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Asking]]:
    opened: list[Asking] = []

    def at(url: str) -> Asking:
        opened.append(Asking(url, monkeypatch))
        return opened[-1]

    yield at
    for one in opened:
        one.close()


@pytest.mark.redis
def test_each_of_many_threads_gets_the_answer_to_its_own_call(
    redis_url: str, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(redis_url)
    words = [str(number) for number in range(400)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda word: asking.shared.run(["times"], [word]), words))
    assert [word.decode() for _, word in found] == words
    assert sorted(number for number, _ in found) == list(range(1, 401))
    assert max(asking.exchanges) <= AT_ONCE


def test_calls_that_come_while_one_waits_are_made_together(
    proxy: Proxy, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(proxy.url)
    asking.shared.run(["times"], ["known"])
    with proxy.frozen():
        first = asking.ask("first")
        others = [asking.ask(word) for word in ("second", "third")]
    assert [one.result() for one in (first, *others)] == [
        [2, b"first"],
        [3, b"second"],
        [4, b"third"],
    ]
    assert asking.exchanges == [1, 1, 2]


def test_an_error_of_one_call_is_no_error_of_another(
    proxy: Proxy, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(proxy.url)
    asking.redis.set("text", "no number")
    with proxy.frozen():
        first = asking.ask("first")
        wrong, right = asking.ask("wrong", "text"), asking.ask("right")
    assert first.result() == [1, b"first"]
    with pytest.raises(ResponseError, match="not an integer"):
        wrong.result()
    assert right.result() == [2, b"right"]


def test_a_script_that_redis_has_forgotten_is_run_once_for_each_call(
    proxy: Proxy, own_redis: RedisServer, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(proxy.url)
    asking.redis.ping()
    with proxy.frozen():
        asked = [asking.ask(word) for word in ("first", "second", "third")]
        with own_redis.client() as admin:
            admin.script_flush()
    assert sorted(one.result()[0] for one in asked) == [1, 2, 3]


def test_calls_whose_connection_is_lost_are_made_over_another(
    proxy: Proxy, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(proxy.url)
    asking.shared.run(["times"], ["known"])
    with proxy.frozen():
        asked = [asking.ask(word) for word in ("first", "second", "third")]
        with proxy.cut():
            pass
    assert {one.result()[1] for one in asked} == {b"first", b"second", b"third"}


def test_calls_that_are_made_together_fail_for_the_same_reason(
    proxy: Proxy, asking_at: Callable[[str], Asking]
) -> None:
    asking = asking_at(proxy.url)
    asking.shared.run(["times"], ["known"])
    with proxy.frozen():
        _, second, third = (asking.ask(word) for word in ("first", "second", "third"))
        with proxy.cut():
            error = second.exception()
            assert isinstance(error, ConnectionError)
            assert third.exception() is error


def test_a_redis_that_is_silent_leaves_a_thread_to_others(
    proxy: Proxy, asking_at: Callable[[str], Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_exchanges, "SOON", 0.01)
    asking = asking_at(proxy.url)
    asking.shared.run(["times"], ["known"])
    with proxy.frozen():
        asked = [asking.ask(str(number)) for number in range(AT_ONCE)]
        late = asking.ask("late")
        with pytest.raises(Silent):
            late.result()
        assert not any(one.done() for one in asked), "these may wait for as long as one call may"
    # Those who waited behind it are answered, or told at once that Redis is silent.
    assert asked[0].result() == [2, b"0"]
    assert len(asking.shared.run(["times"], ["again"])) == 2


def test_who_shares_an_exchange_that_is_broken_off_gets_an_error(
    proxy: Proxy, asking_at: Callable[[str], Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = asking_at(proxy.url)
    asking.shared.run(["times"], ["known"])
    made = threading.Event()
    together = Client.execute_together

    def broken(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        answers = together(client, commands)
        if len(commands) == 2:
            made.set()
            raise SystemExit
        return answers

    monkeypatch.setattr(Client, "execute_together", broken)
    with proxy.frozen():
        first = asking.ask("first")
        leads, shares = asking.ask("leads"), asking.ask("shares")
    assert made.wait(30)
    assert first.result() == [2, b"first"]
    assert isinstance(leads.exception(), SystemExit)
    assert isinstance(shares.exception(), ConnectionError)
    assert asking.shared.run(["times"], ["again"]) == [5, b"again"]


def test_a_client_that_shares_nothing_runs_the_script_too(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        shared = SharedExchanges(redis.register_script(_SCRIPT))
        assert shared.run(["times"], ["alone"]) == [1, b"alone"]
