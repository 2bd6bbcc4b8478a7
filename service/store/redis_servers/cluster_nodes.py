"""Which node of a Redis Cluster serves which slots, as the nodes say (decision 83)."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis import ConnectionPool, Redis, RedisError
from redis.exceptions import (
    ConnectionError,
    InvalidResponse,
    NoPermissionError,
    ResponseError,
)

from service.model.network.addresses import bracketed
from service.model.network.redis_urls import ClusterUrl

ANSWER = 0.5  # seconds that a node has to say which node serves which slots
_SLOTS = 16_384
_EVERY = 0.25  # seconds between two such questions of one process
_REST = 4  # times as long as a question took: silent nodes must not hold up each call


class NotCluster(RedisError):
    """What answers is a Redis alone."""


class NotCovered(ConnectionError):
    """No node serves a slot, or none is known to."""

    def __init__(self) -> None:
        super().__init__("no node of the cluster serves a part of the data")


class Address(NamedTuple):
    """Where a node is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class ServerFails(RedisError):
    """A server that its cluster or its sentinels announce cannot be used; `cause` says why."""

    def __init__(self, address: Address, cause: RedisError) -> None:
        super().__init__(f"{address}: {cause}")
        self.address, self.cause = address, cause


def knock_at(server: Redis, address: Address) -> None:
    """Raise `ServerFails` if a server that was announced cannot be used."""
    try:
        server.ping()
    except NoPermissionError:
        pass
    except RedisError as error:
        raise ServerFails(address, error) from None


class Nodes:
    """Which node serves each slot, as the cluster last said; shared by all clients of a process.

    The nodes are asked again after a call has failed, at most each quarter of a second. One thread
    asks; the others go on with what was known, if anything was. A node that failed is asked after
    all others, so that each has its turn: also those of the address, when all others have gone.
    """

    def __init__(self, url: ClusterUrl, pool: Callable[[Address], ConnectionPool]) -> None:
        """Begin with the nodes of `url`; `pool` makes connections to one, that wait `ANSWER`."""
        self._first = [Address(host.strip("[]"), port) for host, port in url.nodes]
        self._pool = pool
        self._lock = threading.Lock()
        self._serving: dict[int, Address] = {}
        self._known: list[Address] = []  # replicas as well
        self._led_to: set[Address] = set()  # by nodes whose slots are moving
        self._failed: dict[Address, float] = {}  # when a node last did not answer
        self._doubted = True
        self._ask_at = 0.0
        self._why: RedisError = NotCovered()

    def serving(self, slot: int) -> Address:
        """Return the node that serves a slot; `RedisError` if none is known."""
        try:
            return self._table()[slot]
        except KeyError:
            self.doubt()
            raise NotCovered() from None

    def masters(self) -> list[Address]:
        """Return all nodes that serve slots, or are about to."""
        return sorted({*self._table().values()} | self._led_to)

    def replicas(self) -> list[Address]:
        """Return all nodes that could take over from a master."""
        self.doubt()  # replicas come and go without an error
        masters = {*self.masters()}
        return sorted({*self._known} - masters)

    def check(self) -> None:
        """Raise the `RedisError` that says what keeps us from using the whole cluster."""
        if len(self._table()) < _SLOTS:
            raise NotCovered()
        for address in self.masters():
            with asking(self._pool(address)) as node:
                knock_at(node, address)

    def doubt(self, suspect: Address | None = None) -> None:
        """Ask again before the next call, and last the node that did not answer as it should."""
        self._doubted = True
        if suspect:
            self._failed[suspect] = time.monotonic()

    def move(self, slot: int, to: Address) -> None:
        """Note that a slot is served by another node now, and ask about the others."""
        self._serving[slot] = to
        self.doubt()

    def lead_to(self, address: Address) -> None:
        """Note a node to which a slot is moving: it needs our scripts, too."""
        self._led_to.add(address)

    def _table(self) -> dict[int, Address]:
        if self._is_due() and self._lock.acquire(blocking=not self._serving):
            try:
                if self._is_due():  # still
                    self._ask()
            finally:
                self._lock.release()
        if not self._serving:
            raise self._why
        return self._serving

    def _is_due(self) -> bool:
        return self._doubted and time.monotonic() >= self._ask_at

    def _ask(self) -> None:
        """Ask nodes until one knows who serves each slot; else believe the one that knows most.

        A node that has left the cluster, or has just been made, knows of no slots.
        """
        began = time.monotonic()
        serving, known = self._serving, self._known
        self._doubted = False
        errors: list[RedisError] = []
        for address in self._in_turn():
            try:
                found = self._slots_of(address)
            except RedisError as error:
                errors.append(error)
                self._failed[address] = time.monotonic()
                if serving and time.monotonic() - began >= ANSWER:
                    break  # what is known has to do
                continue
            self._failed.pop(address, None)
            if len(found[0]) >= len(serving):
                serving, known = found
            if len(found[0]) == _SLOTS:
                break
        now = time.monotonic()
        self._ask_at = now + max(_EVERY, _REST * min(ANSWER, now - began))
        self._serving, self._known = serving, known
        if len(serving) < _SLOTS:
            self._doubted = True
        else:
            self._led_to.clear()
        if not serving and errors:
            self._why = errors[0]

    def _in_turn(self) -> list[Address]:
        """Return all nodes by chance, those that we know now first; last those that failed."""
        known = random.sample(self._known, len(self._known))
        first = random.sample(self._first, len(self._first))
        nodes = dict.fromkeys([*known, *first])
        return sorted(nodes, key=lambda one: self._failed.get(one, -math.inf))

    def _slots_of(self, address: Address) -> tuple[dict[int, Address], list[Address]]:
        with asking(self._pool(address)) as client:
            try:
                response = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if "cluster support disabled" in str(error) or "unknown command" in str(error):
                    raise NotCluster("it is no cluster") from None
                raise
            return _read_slots(response, address.host)


@contextmanager
def asking(pool: ConnectionPool) -> Iterator[Redis]:
    """Make a client for a few questions, whose connection ends with them."""
    with Redis(connection_pool=pool) as client:
        try:
            yield client
        except (AttributeError, LookupError, TypeError, ValueError):
            # redis-py raises whatever it meets in what another server answers.
            raise InvalidResponse("it answers as no Redis does") from None
        finally:
            pool.disconnect()


def _read_slots(response: Any, asked: str) -> tuple[dict[int, Address], list[Address]]:
    """Read the response of `asked` to `CLUSTER SLOTS`: who serves each slot, and all nodes."""
    serving: dict[int, Address] = {}
    known: dict[Address, None] = {}
    for first, last, *nodes in response:
        addresses = [_address_of(node, asked) for node in nodes]
        known |= dict.fromkeys(addresses)
        serving |= dict.fromkeys(range(first, last + 1), addresses[0])
    return serving, list(known)


def _address_of(node: Sequence[Any], asked: str) -> Address:
    """Read the address of a node.

    One that does not know its own says none: then it is the one that was asked. One without the
    name by which it should be called says `?`: then its number stands beside it.
    """
    host, port, *_ = node
    if host == b"?" and len(node) > 3:
        more = node[3] if isinstance(node[3], dict) else dict(zip(node[3][::2], node[3][1::2]))  # noqa: B905
        host = more.get(b"ip")
    return Address(host.decode() if host not in (None, b"", b"?") else asked, port)
