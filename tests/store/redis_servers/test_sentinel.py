"""Finding the master by real sentinels."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.exceptions import InvalidResponse

from service.config import Config, ConfigError
from service.domain.store_errors import Unreachable
from service.runtime import check_redis
from service.store import PAGE, WORKER, connect
from service.store.redis_servers.connection import knock
from service.store.redis_servers.sentinel import look_for_master
from tests.support.network.relay import Port
from tests.support.processes.installation import wait_until
from tests.support.push_service.certificates import make_certificates
from tests.support.redis_servers.sentinels import MASTER, Node, Passwords, Tls, Watched
from workers.trials.processes import free_port

pytestmark = pytest.mark.processes


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as watched:
        yield watched


def refusal(url: str, kind: type[Exception] = ConfigError) -> str:
    with pytest.raises(kind) as refused:
        check_redis(Config.read({"REDIS_URL": url}))
    return str(refused.value)


class Saying(Port):
    """A port that answers each request with the same."""

    def __init__(self, words: bytes) -> None:
        super().__init__()
        self._words = words

    def serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            while client.recv(1000):
                client.sendall(self._words)
        client.close()


NO_SENTINELS = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"+OK\r\n",
    b"*1\r\n*2\r\n$4\r\nname\r\n$8\r\nmymaster\r\n",
)


def test_the_master_is_found_and_what_is_wrong_is_said_in_one_line(watched: Watched) -> None:
    knock(watched.url())
    for patience in (PAGE, WORKER):
        with connect(watched.url(), patience) as client:
            client.set("seen", patience.seconds)
    with watched.master.client() as there:
        assert float(there.get("seen") or 0) == WORKER.seconds

    said = refusal(watched.url("another"))
    assert said.startswith("REDIS_URL: Redis cannot be found, because its sentinels know no master")
    plain = f"redis+sentinel://127.0.0.1:{watched.master.port}/{MASTER}"
    assert "should be a sentinel is none" in refusal(plain)
    sentinel = f"127.0.0.1:{watched.sentinels[0].port}"
    assert "REDIS_URL: Redis is a sentinel: write redis+s" in refusal(f"redis://{sentinel}")
    with pytest.raises(ConfigError, match="STORE_URL: Redis is no cluster"):
        settings = {"REDIS_URL": watched.url(), "STORE_URL": f"redis+cluster://{sentinel}"}
        check_redis(Config.read(settings))
    for words in NO_SENTINELS:
        with Saying(words) as other:
            said = refusal(f"redis+sentinel://{other.address}/{MASTER}")
            assert "should be a sentinel is none" in said, words
            assert "Redis is no Redis" in refusal(f"redis://{other.address}")
            with pytest.raises(InvalidResponse):
                knock(f"redis+cluster://{other.address}")
            url = watched.url().replace("//", f"//{other.address},")
            assert look_for_master(url).port == watched.master.port
    closed = free_port()
    with watched.sentinels[0].client() as one:
        for name, host in (("away", "127.0.0.1"), ("away6", "::1")):
            one.execute_command("SENTINEL MONITOR", name, host, closed, 1)
    for name, host in (("away", "127.0.0.1"), ("away6", "[::1]")):
        said = refusal(watched.url(name), Unreachable)
        assert "Redis cannot be reached: the connection is refused" in said
        assert f"(at {host}:{closed}, as its cluster or its sentinels announce it)" in said
    nobody = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/{MASTER}"
    said = refusal(nobody, Unreachable)
    assert said.endswith("none of its sentinels answers: the connection is refused")

    for node in watched.nodes:  # so that no other can be chosen
        node.kill()
    wait_until(lambda: "has no master now" in refusal(watched.url(), Unreachable))


def test_user_and_password_are_those_of_redis_and_the_sentinels_have_their_own() -> None:
    passwords = Passwords("news", "look")
    with Watched(replicas=0, sentinels=1, passwords=passwords) as watched:
        knock(watched.url(user=":news@", sentinel_password="look"))
        for wrong in ({}, {"sentinel_password": "another"}):
            said = refusal(watched.url(user=":news@", **wrong))
            assert "its sentinels refuse our user or password" in said
        for user in ("", ":another@"):
            said = refusal(watched.url(user=user, sentinel_password="look"))
            assert said.startswith("REDIS_URL: Redis refuses our password")


def test_clients_leave_a_master_that_was_replaced_and_still_takes_writes(watched: Watched) -> None:
    reading, writing = connect(watched.url(), PAGE), connect(watched.url(), WORKER)
    writing.set("seen", "first")
    assert reading.get("seen") == b"first"
    old = watched.master
    for sentinel in watched.sentinels:
        sentinel.hurry()  # at their own pace: else the old master refuses writes too early
    new = watched.fail_over(lambda _: watched.sentinels[0].fail_over())
    time.sleep(2)
    writing.set("seen", "second")
    assert reading.get("seen") == b"second"
    with old.client() as there:
        assert there.get("seen") == b"first"
        there.set("seen", "lost")  # it still takes writes
    with new.client() as there:
        assert there.get("seen") == b"second"


def test_a_sentinel_that_names_the_master_of_before_is_not_believed(watched: Watched) -> None:
    stale = watched.sentinels[0]
    client = connect(watched.url(), PAGE)
    client.set("seen", "first")
    stale.kill()
    new = watched.fail_over(lambda _: watched.sentinels[1].fail_over())
    wait_until(lambda: is_written(client, new, "second"))
    # Started again without the others, it goes on naming what it knew at its end.
    for other in watched.sentinels[1:]:
        other.pause()
    try:
        stale.start()
        stale.hurry()  # at its own pace: else it makes the new master a replica at once
        before = stale.master()
        assert before != new.port
        for _ in range(20):
            assert is_written(client, new, "third")
            time.sleep(0.1)
    finally:
        for other in watched.sentinels[1:]:
            other.resume()
    assert look_for_master(watched.url()).port == new.port


def is_written(client: Redis, node: Node, value: str) -> bool:
    """Whether this node has what the client writes now."""
    with suppress(RedisError), node.client() as there:
        there.set("seen", "")
        client.set("seen", value)
        return there.get("seen") == value.encode()
    return False


def test_sentinels_and_servers_are_reached_by_tls_and_a_failover_is_followed(
    tmp_path: Path,
) -> None:
    ca_file, certificates = make_certificates(tmp_path)
    with Watched(sentinels=1, tls=Tls(ca_file, certificates["good"])) as watched:
        url = watched.url(ssl_ca_certs=str(ca_file))
        knock(url)
        client = connect(url)
        client.set("seen", "before")
        client.wait(1, 1000)
        watched.fail_over()
        assert wait_until(lambda: answer(client)) == b"before"
        assert "its certificate is not trusted" in refusal(watched.url(), Unreachable)


def answer(client: Redis) -> bytes | None:
    with suppress(RedisError):
        return client.get("seen")
    return None
