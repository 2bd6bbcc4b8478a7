"""Connections to Redis: how long we wait for it, and what becomes of them when it moves.

**When it moves.** A failover makes a master a replica, while connections to it stay open. It then
refuses to write, and reading from it shows old data. So the first such refusal ends every
connection of this process that was made before it: the next ones look for the address anew. Where
Sentinel names the master (sentinel.py), so does its naming another. In a cluster (cluster.py) a
node says which other one to ask.

**When its host, or ours, is cut off.** Nothing says so: no answer comes, and what we wrote is sent
again and again. So the kernel gives up when we do (sockets.py), and a command whose caller was told
that it failed is not done minutes later. An idle connection is asked after 30 seconds (redis-py).

**When it is silent.** Pages must not wait for a Redis that is frozen, and must leave web threads to
pages that need no Redis. A `Guard` has calls fail at once while an earlier one got no response.
names.py does the same for a silent name server.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from hiredis import pack_command
from redis import ConnectionPool, DriverInfo, Redis, RedisError
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import (
    AbstractConnection,
    Connection,
    HiredisRespSerializer,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from service.model.network.redis_urls import (
    is_cluster_url,
    is_sentinel_url,
    parse_cluster_url,
    parse_sentinel_url,
)
from service.store.redis_servers.cluster import ONCE, Cluster
from service.store.redis_servers.cluster_nodes import ANSWER, Address, Nodes, asking, knock_at
from service.store.redis_servers.names import Named, NamedTls
from service.store.redis_servers.sentinel import IsSentinel, Master, look_for_master
from service.store.redis_servers.sockets import KernelTimeouts, give_up_with_us

T = TypeVar("T")

# Calls of one process that may wait for Redis at once: one less than a web process has threads
# (decision 142).
AT_ONCE = 7
SOON = 0.5  # seconds after which further calls do not queue behind calls without a response
_REST = 1.0  # seconds after a time-out until one call tries again
_MOVES = 1.0  # seconds; Redis does not move more often than that
_DRIVER = DriverInfo()  # shared: else each connection reads its version from a file


class Patience(NamedTuple):
    """How long a kind of process waits for Redis."""

    seconds: float  # for a connection, and for each response
    retries: int  # after a lost connection; for pages not after a time-out
    guarded: bool = False


PAGE = Patience(2.0, 1, guarded=True)
# Counting a call is not worth longer: one page may wait for both, and answers within three seconds.
COUNTER = Patience(0.5, 1, guarded=True)
COMMAND = Patience(5.0, 1)
WORKER = Patience(5.0, 30)  # about a minute in all


class NotMaster(ConnectionError):
    """This connection leads to a replica: the master is elsewhere, or will be."""


class Silent(RedisTimeoutError):
    """Redis did not respond to an earlier call, so this one was not made."""


# What a script raises where Redis reads and does not write: full, with a full disk, or a replica.
WRITE_REFUSED = (ResponseError, NotMaster)

_MOVED = re.compile(r"\b(READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|UNBLOCKED) ")
# Within a script, where `cluster-allow-reads-when-down` lets it begin.
_DOWN = "while the cluster is down"
_CODES = {
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
}


class _Line:
    """All connections of this process to one address."""

    def __init__(self, url: str) -> None:
        self.generation = 0
        self._moved_at = 0.0
        by_sentinel = is_sentinel_url(url)
        self.master = Master(parse_sentinel_url(url), self._leave) if by_sentinel else None

    def moved(self) -> None:
        """End the connections that were made before now."""
        if time.monotonic() - self._moved_at >= _MOVES:
            self._leave()

    def _leave(self) -> None:
        self._moved_at = time.monotonic()
        self.generation += 1


_lines: dict[str, _Line] = {}
_clusters: dict[str, Nodes] = {}


class Guard:
    """Lets few calls at once wait for Redis, and only one after it did not respond in time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.waiting: dict[object, float] = {}  # connections, and since when
        self._queued = 0  # calls that wait for one of these to end
        self._silent = False
        self._rests_until = 0.0

    def enter(self, connection: object) -> None:
        """Begin a call; `Silent` if it should not be made."""
        with self._lock:
            while connection not in self.waiting and len(self.waiting) >= self._most():
                patience = min(self.waiting.values(), default=0.0) + SOON - time.monotonic()
                if self._silent or patience <= 0:
                    raise Silent("Redis has not responded to an earlier call")
                self._queued += 1
                self._changed.wait(patience)
                self._queued -= 1
            self.waiting[connection] = time.monotonic()

    def _most(self) -> int:
        if not self._silent:
            return AT_ONCE
        return 1 if time.monotonic() >= self._rests_until else 0

    def leave(self, connection: object, *, silent: bool | None = None) -> None:
        """End a call; `silent` says whether it got no response, None that nobody knows."""
        with self._lock:
            self.waiting.pop(connection, None)
            if silent is not None:
                self._silent = silent
            if silent:
                self._rests_until = time.monotonic() + _REST
            if self._queued:
                self._changed.notify()


class _Packer:
    """Packs commands, in less than half the time that redis-py's looking at each word takes."""

    def __init__(self) -> None:
        self._careful: Any = HiredisRespSerializer()  # its types are wrong

    def pack(self, command: str | bytes, *words: Any) -> list[bytes]:
        """Return a command as Redis reads it; `DataError` for a word that it cannot read."""
        if isinstance(command, str) and " " not in command:  # some have two words: CONFIG GET
            try:
                return [pack_command((command, *words))]
            except TypeError:  # a kind of word that only redis-py knows
                pass
        packed: list[bytes] = self._careful.pack(command, *words)
        return packed


_OWN_PACKER: Any = {"command_packer": _Packer()}


class _Ours(AbstractConnection):
    """A connection that ends when it leads to a replica, and is not used while Redis is silent."""

    def __init__(self, *, line: _Line, guard: Guard | None, **options: Any) -> None:
        self._line, self._guard = line, guard
        self._generation = 0
        super().__init__(**options, **_OWN_PACKER)

    def _opened(self, sock: socket.socket) -> socket.socket:
        """Return a socket that was just connected as we use it."""
        # Only pages are many threads of one process. TLS has a socket of its own.
        if self._guard is None or type(sock) is not socket.socket:
            return sock
        return KernelTimeouts.of(sock, self.socket_timeout)

    def drop_if_moved(self) -> None:
        """Close a connection that was made before Redis moved; the next command opens another."""
        if self._line.master is not None:
            self._line.master.used()
        if self._generation != self._line.generation:
            self.disconnect()

    def connect(self) -> None:
        self.drop_if_moved()
        super().connect()  # type: ignore[no-untyped-call]

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if self._sock:
            return
        self._generation = self._line.generation
        if self._guard is None:
            super().connect_check_health(check_health, retry_socket_connect)
            return
        self._guard.enter(self)
        try:
            super().connect_check_health(check_health, retry_socket_connect)
        except RedisTimeoutError:
            self._guard.leave(self, silent=True)
            raise
        finally:
            self._guard.leave(self)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._guard is None:
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
            return
        self._guard.enter(self)
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
        if self not in self._guard.waiting:  # a check of the connection's health has left
            self._guard.enter(self)

    def read_response(self, *args: Any, **options: Any) -> Any:
        silent: bool | None = None
        try:
            response = super().read_response(*args, **options)
            silent = False
        except RedisTimeoutError:
            silent = True
            raise
        except ResponseError as error:
            silent = False
            if (code := _moved(error)) is None:
                raise
            self._line.moved()
            self.disconnect()
            raise NotMaster(code) from None
        finally:
            if self._guard is not None:
                self._guard.leave(self, silent=silent)
        return response

    def disconnect(self, *args: Any, **options: Any) -> None:
        super().disconnect(*args, **options)  # type: ignore[no-untyped-call]
        if self._guard is not None:
            self._guard.leave(self)


def _moved(error: ResponseError) -> str | None:
    """Return Redis' word for that it is not the master, if the error says so."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if _DOWN in str(error):
        return "CLUSTERDOWN"
    found = _MOVED.search(str(error))  # without a class, or within the error of a script
    return found[1] if found else None


class _Tcp(_Ours, Named):
    def _connect(self) -> Any:
        if self._line.master is not None:
            self.host, self.port, _ = self._line.master.address()
        sock = super()._connect()
        give_up_with_us(sock, self.socket_timeout)
        return self._opened(sock)


class _Tls(_Tcp, NamedTls):
    pass


class _Unix(_Ours, UnixDomainSocketConnection):
    def _connect(self) -> Any:
        return self._opened(super()._connect())  # type: ignore[no-untyped-call]


_OPTIONS = re.compile("db|username|password|client_name|socket_keepalive|ssl_.*")
_NAMED = {Connection: Named, SSLConnection: NamedTls}
_KINDS = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}


class Client(Redis):
    """Sends commands as redis-py does for half the CPU, without the bookkeeping of its pool.

    A connection that Redis has closed meanwhile is noticed when it is used, and opened again.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: list[_Ours] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return the response; `RedisError`."""

        def call(connection: Any) -> Any:
            connection.send_command(*args, **options)
            return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]

        return self._exchange(call)

    def execute_together(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one exchange, which is no transaction; `RedisError`.

        What Redis says of a single one is its response, an error too.
        """
        packed = b"".join(map(pack_command, commands))

        def call(connection: Any) -> list[Any]:
            connection.send_packed_command([packed])
            return [_response(connection) for _ in commands]

        responses: list[Any] = self._exchange(call)
        return responses

    def _exchange(self, call: Callable[[Any], Any]) -> Any:
        """Do `call` with a connection, once more with another one where this one is lost."""
        connection: Any
        try:
            connection = self._idle.pop()
        except IndexError:  # before long there is one for each thread
            connection = self.connection_pool.get_connection()
        else:
            connection.drop_if_moved()
        try:
            return connection.retry.call_with_retry(
                lambda: call(connection), lambda _: connection.disconnect()
            )
        except RedisError:
            raise
        except BaseException:  # the response may still come, and is for no other command
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)


def _response(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _address(url: str) -> str:
    """Return an address of Redis with only those options that say where it is and who we are.

    The others may be meant for other programs, and would spoil what this module promises: a page
    must not wait for a minute because they say `socket_timeout=60`, nor the threads of a process
    for one another because they say `max_connections=1`.
    """
    if is_sentinel_url(url):
        url = parse_sentinel_url(url).redis
    elif is_cluster_url(url):
        url = parse_cluster_url(url).redis
    place, mark, query = url.partition("?")
    known = [(name, value) for name, value in parse_qsl(query) if _OPTIONS.fullmatch(name)]
    return f"{place}{mark}{urlencode(known)}"


def connect(url: str, patience: Patience = COMMAND) -> Redis:
    """Return a client for `url`, which waits for Redis as long as `patience` says."""
    backoff = ExponentialWithJitterBackoff(base=0.1, cap=2)
    retry = Retry(backoff, patience.retries)
    if patience.guarded:  # do not wait twice
        retry = Retry(backoff, patience.retries, supported_errors=(ConnectionError,))
    if is_cluster_url(url):
        return _connect_to_cluster(url, patience, retry)
    client = (Redis if patience is WORKER else Client).from_url(_address(url), driver_info=_DRIVER)
    _adapt(client.connection_pool, url, patience, retry)
    return client


def _adapt(pool: ConnectionPool, url: str, patience: Patience, retry: Retry) -> None:
    """Have a pool make connections of ours to the address `url`."""
    pool.connection_kwargs |= {
        "retry": retry,
        "health_check_interval": 15,
        "socket_timeout": patience.seconds,
        # A name may have two addresses, which are tried one after the other.
        "socket_connect_timeout": patience.seconds / 2,
    }
    pool.connection_class = _KINDS[pool.connection_class]
    pool.connection_kwargs["line"] = _lines.get(url) or _lines.setdefault(url, _Line(url))
    pool.connection_kwargs["guard"] = Guard() if patience.guarded else None


def _connect_to_cluster(url: str, patience: Patience, retry: Retry) -> Cluster:
    def node(address: Address) -> Redis:
        client = Client.from_url(_address(url), driver_info=_DRIVER)
        client.connection_pool.connection_kwargs |= address._asdict()
        _adapt(client.connection_pool, f"redis://{address}", patience, ONCE)
        return client

    nodes = _clusters.get(url) or _clusters.setdefault(url, _nodes(url))
    pool = ConnectionPool.from_url(_address(url), driver_info=_DRIVER)
    return Cluster(nodes, node, pool, retry, _renew)


def _renew(node: Redis) -> None:
    """Have a client of a node open its connections anew before it uses them."""
    node.connection_pool.connection_kwargs["line"].moved()


def _nodes(url: str) -> Nodes:
    return Nodes(parse_cluster_url(url), lambda address: _pool(url, ANSWER, address))


def _pool(url: str, seconds: float, address: Address | None = None) -> ConnectionPool:
    """Return a pool for questions that are not repeated; `address` replaces the one of `url`."""
    pool = ConnectionPool.from_url(_address(url), driver_info=_DRIVER)
    waiting = {"retry": ONCE, "socket_timeout": seconds, "socket_connect_timeout": seconds}
    pool.connection_kwargs |= waiting | (address._asdict() if address else {})
    pool.connection_class = _NAMED.get(pool.connection_class, pool.connection_class)
    return pool


def servers(redis: Redis) -> list[Redis]:
    """Return a client for each server that has a part of the data."""
    return redis.masters() if isinstance(redis, Cluster) else [redis]


def at(redis: Redis, key: str, call: Callable[[Redis, bool], T], *, once: bool = False) -> T:
    """Have `call` done with a client of the one server that has a key.

    If its second argument is true, that server takes a command for the key only after `ASKING` on
    the same connection. `once`: it repeats nothing whose response was lost.
    """
    return redis.at(key, call, once=once) if isinstance(redis, Cluster) else call(redis, False)


def knock_at_one(url: str, address: Address) -> None:
    """Raise `ServerFails` if one server of this Redis or cluster cannot be used."""
    with asking(_pool(url, 2, address)) as client:
        knock_at(client, address)


def knock(url: str) -> None:
    """Raise the `RedisError` that says why no Redis answers there, or why we cannot use it."""
    if is_cluster_url(url):
        _nodes(url).check()
        return
    master = Address(*look_for_master(url)[:2]) if is_sentinel_url(url) else None
    with asking(_pool(url, 2, master)) as client:
        if master:
            knock_at(client, master)
        with suppress(NoPermissionError):
            client.ping()
        try:
            about = client.info("server")
        except ResponseError:
            return  # some services allow no INFO
        if about.get("redis_mode") == "cluster":
            raise ClusterDownError("cluster")
        if about.get("redis_mode") == "sentinel":
            raise IsSentinel("sentinel")
