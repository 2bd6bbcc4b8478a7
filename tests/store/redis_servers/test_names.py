"""Names of Redis servers whose name server is silent, late, or names a dead server first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import RedisError

from service.domain.store_errors import in_one_line
from service.store import PAGE, connect
from service.store.redis_servers.connection import knock
from service.store.redis_servers.names import NameServerSilent
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import Proxy, RedisServer

NAME = "redis.paper.example"


class NameServer:
    """Leads `NAME` to 127.0.0.1, or to `addresses`, while it is not silent."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = 0
        self.addresses = ["127.0.0.1"]

    def look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        """As `socket.getaddrinfo`."""
        assert host == NAME, "no test asks a real name server"
        self.asked += 1
        if not self.answers.wait(30):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (one, port)) for one in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """A name server, which is silent at first."""
    made, real = NameServer(), socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **named: Any) -> Any:
        ours = made.look_up if host == NAME else real
        return ours(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield made
    made.answers.set()


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a Redis by its name."""
    with RedisServer() as server, Proxy(server) as proxy:
        yield proxy.url.replace("127.0.0.1", NAME)


def test_pages_do_not_wait_for_a_silent_name_server(names: NameServer, url: str) -> None:
    def ask(_: int) -> str:
        with connect(url, PAGE) as redis, pytest.raises(RedisError) as caught:
            redis.ping()
        return in_one_line(caught.value)

    with ThreadPoolExecutor(4) as pool:
        said = {*pool.map(ask, range(4))}
    assert said == {"Redis cannot be reached: the name server does not answer"}
    assert names.asked == 1, "callers share a look-up"
    for address in (url, url.replace("redis://", "redis+cluster://").removesuffix("/0")):
        with pytest.raises(NameServerSilent):
            knock(address)


def test_late_answer_is_used_once(names: NameServer, url: str) -> None:
    with connect(url, PAGE) as redis:
        with pytest.raises(NameServerSilent):
            redis.ping()
        names.answers.set()
        wait_until(lambda: not any(one.name == "look-up" for one in threading.enumerate()))
        asked = names.asked
        with connect(url) as other:
            assert other.ping()
            assert names.asked == asked
            other.connection_pool.disconnect()
        with connect(url) as anew:
            assert anew.ping()
        assert names.asked == asked + 1, "the name may lead elsewhere now"


def test_server_that_refuses_is_no_way_to_the_next_one(names: NameServer, url: str) -> None:
    names.answers.set()
    names.addresses = ["127.0.0.99", "127.0.0.1"]
    with connect(url, PAGE) as redis:
        assert redis.ping()
    names.addresses = ["127.0.0.99"]
    with connect(url, PAGE) as redis, pytest.raises(RedisError, match="refused"):
        redis.ping()


def test_host_without_another_thread_looks_the_name_up_all_the_same(
    names: NameServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "look-up":
            raise RuntimeError("can't start new thread")
        start(thread)

    names.answers.set()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with connect(url, PAGE) as redis:
        assert redis.ping()
