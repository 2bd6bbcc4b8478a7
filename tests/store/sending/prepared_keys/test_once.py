"""Each prepared key is used once, whatever is killed, lost or restored.

Run as a program, this file is one of the processes that take keys, use them and are killed.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from service.config import Config
from service.runtime import Runtime
from service.store import WORKER
from service.store.layout.records import BUCKET
from tests.support.prepared_keys import READERS, fill, publics, take_all
from tests.support.processes.installation import Installation, wait_until
from tests.support.redis_servers.server import Proxy, RedisServer
from workers.sending.prepared_keys import Filler, Pool
from workers.sending.wire import PreparedKey

pytestmark = pytest.mark.processes


def use_keys(into: Path) -> None:
    """Take keys for ever and write the used ones to a file; fill the pool meanwhile."""
    runtime = Runtime.open(Config.read(os.environ))
    pool = Pool(runtime)
    filler = Filler(runtime)
    filler.start()
    with into.open("ab", buffering=0) as file:
        while True:
            with filler.aside():
                bucket = random.randrange(READERS // BUCKET)
                keys = pool.take(0, bucket)
                wanted = random.choice((1, 100, 256))
                used = [keys.pop(n) for n in random.sample(sorted(keys), min(wanted, len(keys)))]
                file.write(b"".join(key.public for key in used))
                os.fsync(file.fileno())
                pool.put_back(0, bucket, keys)
            time.sleep(random.random() * 0.02)


@pytest.mark.parametrize("workers", [5, pytest.param(8, marks=pytest.mark.soak)])
def test_no_two_messages_have_the_same_key_though_workers_are_killed(
    installation: Installation, pool: Pool, tmp_path: Path, workers: int
) -> None:
    files = [tmp_path / f"used-{n}" for n in range(workers)]
    for number, file in enumerate(files):
        installation.start("-m", "tests.store.sending.prepared_keys.test_once", str(file))
        if number >= 3:
            used = files[number - 3]
            wait_until(lambda used=used: used.exists() and used.stat().st_size > 6400, timeout=120)
            installation.end(installation.processes[0], signal.SIGKILL)
    while installation.processes:
        installation.end(installation.processes[0], signal.SIGKILL)
    used: list[bytes] = []
    for file in files:
        written = file.read_bytes() if file.exists() else b""
        used += [written[at : at + 64] for at in range(0, len(written) - 63, 64)]
    used += [key.public for key in take_all(pool).values()]
    assert len(used) > (workers - 3) * 100
    assert len(set(used)) == len(used)


def test_restored_copy_of_redis_files_brings_no_key_back(
    apart: tuple[RedisServer, Installation],
) -> None:
    server, installation = apart
    pool = Pool(installation.runtime)
    installation.runtime.store.redis.config_set("appendfsync", "always")
    fill(installation.runtime)
    with server.losing_power():
        used = publics(take_all(pool))
    prepared = installation.runtime.store.prepared_keys
    assert installation.runtime.store.redis.exists("{0}:k:0", "{0}:k:1") == 2
    assert prepared.ready() == 0
    assert prepared.counts(0, range(2)) == [0, 0]
    fill(installation.runtime)
    again = publics(take_all(pool))
    assert len(again) == READERS
    assert used.isdisjoint(again)


def test_failover_and_back_brings_no_key_back(
    apart: tuple[RedisServer, Installation],
) -> None:
    first, installation = apart
    with ExitStack() as stack:
        second = stack.enter_context(RedisServer())
        ways = [stack.enter_context(Proxy(server)) for server in (first, second)]
        ports = [int(way.url.rpartition(":")[2]) for way in ways]
        admins = [stack.enter_context(server.client()) for server in (first, second)]
        for admin in admins:
            admin.config_set("repl-diskless-sync-delay", "0")

        def follow(who: redis.Redis, port: int) -> None:
            who.replicaof("127.0.0.1", str(port))
            wait_until(lambda: who.info("replication")["master_link_status"] == "up")

        follow(admins[1], ports[0])
        fill(installation.runtime)
        installation.runtime.store.redis.wait(1, 0)
        admins[1].replicaof("NO", "ONE")
        # The first does not know yet that it was replaced.
        used = publics(take_all(Pool(installation.runtime)))
        assert len(used) == READERS
        there = Runtime.open(Config.read({**installation.environment, "REDIS_URL": second.url}))
        assert admins[1].exists("{0}:k:0") == 1
        assert Pool(there).take(0, 0) == {}
        follow(admins[0], ports[1])
        admins[0].replicaof("NO", "ONE")
        assert admins[0].exists("{0}:k:1") == 1
        assert Pool(installation.runtime).take(0, 1) == {}


@contextmanager
def losing_the_first_answer(server: RedisServer, to: bytes) -> Iterator[str]:
    """The URL of a Redis whose connection ends instead of answering the first command `to`."""
    lost = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as redis:
            redis.connect(str(server.socket))
            while asked := client.recv(1 << 20):
                redis.sendall(asked)
                answer = redis.recv(1 << 20)
                if to in asked and not lost.is_set():
                    lost.set()
                    return
                client.sendall(answer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        assert lost.is_set()
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()


def test_keys_are_not_stored_again_when_the_response_was_lost(
    apart: tuple[RedisServer, Installation],
) -> None:
    server, installation = apart
    fill(installation.runtime)
    keys = Pool(installation.runtime).take(0, 0)
    few = {number: keys[number] for number in range(10)}
    with losing_the_first_answer(server, b"EVAL\r\n") as url:
        config = Config.read({**installation.environment, "REDIS_URL": url})
        other = Runtime.open(config, WORKER)
        taken: list[dict[int, PreparedKey]] = []
        # A patient client tries again after a while, in which another process takes the keys.
        taker = threading.Thread(
            target=lambda: taken.append(
                wait_until(lambda: Pool(installation.runtime).take(0, 0), every=0)
            )
        )
        taker.start()
        assert not Pool(other).put_back(0, 0, dict(few))
        taker.join()
    assert taken == [few]
    assert Pool(installation.runtime).take(0, 0) == {}


if __name__ == "__main__":
    use_keys(Path(sys.argv[1]))
