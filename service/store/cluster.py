"""A Redis Cluster, or a Valkey one, as if it were one Redis (decision 83).

All our keys carry a hash tag and no command has keys of two, so the first key says which node to
ask. That node may answer that another serves this slot now (`MOVED`), or this key while the slot
moves (`ASK`), or that of the keys of a script some have moved and some have not (`TRYAGAIN`). It
has then done nothing, so the command is sent again without doubt.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from service.model.redis_urls import ClusterUrl

T = TypeVar("T")

SLOTS = 16_384
ANSWER = 0.5  # seconds that a node has to say which node serves which slots
_ALL = 1.0  # seconds that all of them have together
_EVERY = 0.25  # seconds between two such questions of one process
_REDIRECTIONS = 8  # of one command, from node to node
_AGAIN = 0.05  # seconds until keys that are being moved are asked for again
_MOVING = 1.0  # seconds until a call ends that meets such keys


class NotCluster(RedisError):
    """What answers is a Redis alone."""


class NotCovered(ConnectionError):
    """No node serves a slot, or none is known to."""


class SlotMoves(ConnectionError):
    """A slot is on its way from one node to another, and took longer than we wait."""


class Address(NamedTuple):
    """Where a node is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Nodes:
    """Which node serves each slot, as the cluster last said; shared by all clients of a process.

    The nodes are asked again after a call has failed, at most each quarter of a second, and without
    having the other threads wait.
    """

    def __init__(self, url: ClusterUrl, pool: Callable[[Address], ConnectionPool]) -> None:
        """Begin with the nodes of `url`; `pool` makes connections to one, that wait `ANSWER`."""
        self._first = [Address(host.strip("[]"), port) for host, port in url.nodes]
        self._pool = pool
        self._lock = threading.Lock()
        self._serving: dict[int, Address] = {}
        self._known: list[Address] = []  # replicas as well
        self._doubted = True
        self._suspect: Address | None = None
        self._asked_at = -_EVERY

    def serving(self, slot: int) -> Address:
        """Return the node that serves a slot; `RedisError` if none is known."""
        self._renew()
        try:
            return self._serving[slot]
        except KeyError:
            self.doubt()
            raise NotCovered("no node of the cluster serves a part of the data") from None

    def masters(self) -> list[Address]:
        """Return all nodes that serve slots."""
        self._renew()
        return sorted({*self._serving.values()})

    def covered(self) -> int:
        """Return how many slots are served."""
        self._renew()
        return len(self._serving)

    def doubt(self, suspect: Address | None = None) -> None:
        """Ask again before the next call, and last the node that did not answer as it should."""
        self._doubted, self._suspect = True, suspect

    def move(self, slot: int, to: Address) -> None:
        """Note that a slot is served by another node now, and ask about the others."""
        self._serving[slot] = to
        self.doubt()

    def _renew(self) -> None:
        if not self._doubted or time.monotonic() < self._asked_at + _EVERY:
            return
        # Until an answer is there, what was known is as good as any.
        if self._lock.acquire(blocking=not self._serving):
            try:
                if self._doubted:
                    self._ask()
            finally:
                self._lock.release()

    def _ask(self) -> None:
        until, why = time.monotonic() + _ALL, None
        known = random.sample(self._known, len(self._known))
        asked = [*dict.fromkeys([*known, *self._first])]
        for address in sorted(asked, key=lambda one: one == self._suspect):
            if time.monotonic() > until:
                break
            try:
                self._serving, self._known = _read_slots(self._slots_of(address), address.host)
            except RedisError as error:
                why = why or error
            else:
                self._doubted = False
                break
        self._asked_at = time.monotonic()
        if not self._serving:
            raise why or ConnectionError("no node of the cluster answers")

    def _slots_of(self, address: Address) -> Any:
        with Redis(connection_pool=self._pool(address)) as client:
            try:
                return client.execute_command("CLUSTER SLOTS")
            except ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise NotCluster("it is no cluster") from None
                raise
            finally:
                client.connection_pool.disconnect()


def _read_slots(said: Any, asked: str) -> tuple[dict[int, Address], list[Address]]:
    """Read what `CLUSTER SLOTS` says: who serves each slot, and all nodes.

    A node that does not know its own address says none: then it is the one that was `asked`.
    """
    serving: dict[int, Address] = {}
    known: dict[Address, None] = {}
    for first, last, *nodes in said:
        addresses = [
            Address(host.decode() if host not in (None, b"", b"?") else asked, port)
            for host, port, *_ in nodes
        ]
        known |= dict.fromkeys(addresses)
        serving |= dict.fromkeys(range(first, last + 1), addresses[0])
    return serving, list(known)


@lru_cache(maxsize=1024)
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


def _slot(command: Sequence[Any]) -> int | None:
    """Return the slot of a command by its first key; None if it has none."""
    for part in command[1:]:
        text = part.decode(errors="replace") if isinstance(part, bytes) else part
        if isinstance(text, str) and text.startswith("{"):
            return _slot_of_tag(text[1 : text.index("}")])
    return None


# Of what has no key: the time of the installation, above all.
_WHOLE = _slot_of_tag("g")


class Cluster(Redis):
    """Sends each command to the node that serves its key."""

    def __init__(
        self,
        nodes: Nodes,
        connect: Callable[[Address], Redis],
        pool: ConnectionPool,
        retry: Retry,
    ) -> None:
        """Reach a node by `connect`, whose clients do not repeat: `retry` does that here.

        No connection of the `pool` is ever made. redis-py asks it how to encode.
        """
        super().__init__(connection_pool=pool)
        self.nodes = nodes
        self._connect = connect
        self._retry = retry
        self._clients: dict[Address, Redis] = {}

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that serves its key; `RedisError`."""

        def call(node: Redis, asking: bool) -> Any:
            if not asking:
                return node.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            with node.pipeline(transaction=False) as pipe:  # one connection
                pipe.execute_command("ASKING")  # type: ignore[no-untyped-call]
                pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
                return pipe.execute()[1]

        slot = _slot(args)
        return self._call(_WHOLE if slot is None else slot, call, self._retry)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002
        """Return a pipeline; one that is a transaction has keys of one slot."""
        return _ClusterPipeline(self, transaction)

    def script_load(self, script: Any) -> Any:
        """Load a script at all nodes that answer."""
        sha: Any = None
        for node in self.masters():
            with suppress(ConnectionError):
                sha = node.script_load(script)
        return sha

    def close(self) -> None:
        """End all connections; another call opens new ones."""
        for node in [*self._clients.values()]:
            node.close()
        super().close()

    def masters(self) -> list[Redis]:
        """Return a client for each node that serves slots."""
        return [self.node(address) for address in self.nodes.masters()]

    def node(self, address: Address) -> Redis:
        """Return the client for one node."""
        # Two threads may both make one: the second is kept, the first does its call.
        return self._clients.get(address) or self._clients.setdefault(
            address, self._connect(address)
        )

    def at(self, key: str, call: Callable[[Redis], T], *, once: bool = False) -> T:
        """Have `call` done with a client of the node that serves a key.

        `once`: not again if its response was lost.
        """
        retry = Retry(NoBackoff(), 0) if once else self._retry
        return self._call(cast(int, _slot(("", key))), lambda node, _: call(node), retry)

    def transact(self, slot: int, commands: Sequence[Any], raise_on_error: bool) -> list[Any]:
        """Run the commands of one slot as a transaction."""

        def call(node: Redis, asking: bool) -> list[Any]:
            with node.pipeline() as pipe:
                pipe.command_stack = [*commands]
                if asking:  # it holds until the transaction ends
                    pipe.connection = node.connection_pool.get_connection()
                    pipe.connection.send_command("ASKING")  # type: ignore[no-untyped-call]
                    pipe.connection.read_response()
                return pipe.execute(raise_on_error)

        return self._call(slot, call, self._retry)

    def exchange(self, exchange: Callable[[], None]) -> None:
        """Repeat an exchange with several nodes as patiently as a call."""
        self._retry.call_with_retry(exchange, _nothing)

    def _call(self, slot: int, call: Callable[[Redis, bool], T], retry: Retry) -> T:
        return retry.call_with_retry(lambda: self._follow(slot, call), _nothing)

    def _ask(self, address: Address, asking: bool, call: Callable[[Redis, bool], T]) -> T:
        try:
            return call(self.node(address), asking)
        except (ConnectionError, TimeoutError):
            self.nodes.doubt(address)
            raise

    def _follow(self, slot: int, call: Callable[[Redis, bool], T]) -> T:
        """Call the node that serves a slot, or those to which it sends us."""
        address, asking = self.nodes.serving(slot), False
        until = time.monotonic() + _MOVING
        redirected = 0
        while redirected < _REDIRECTIONS and time.monotonic() < until:
            try:
                return self._ask(address, asking, call)
            except TryAgainError:  # noqa: PERF203 (it is why there is a loop)
                time.sleep(_AGAIN)
                address, asking = self.nodes.serving(slot), False
            except AskError as error:
                redirected += 1
                # Of itself a node may say only the port.
                address = Address(error.host or address.host, error.port)
                asking = not isinstance(error, MovedError)
                if not asking:
                    self.nodes.move(slot, address)
        raise SlotMoves("a part of the data moves to another node")


def _nothing(_error: Exception) -> None:
    """Be what redis-py calls before it tries again."""


class _ClusterPipeline(Pipeline):
    """Commands for several nodes: sent to all of them, then the responses are read."""

    def __init__(self, cluster: Cluster, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster, self._whole = cluster, transaction

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run the commands and return what each responds; `RedisError`."""
        commands, scripts = self.command_stack, self.scripts
        self.reset()
        if not commands:
            return []
        if scripts:
            self._load([*scripts])
        slots = _slots([args for args, _ in commands])
        if self._whole:
            (slot,) = {*slots}
            return self._cluster.transact(slot, commands, raise_on_error)
        exchange = _Exchange(self._cluster, commands, slots)
        self._cluster.exchange(exchange.run)
        responses = [exchange.responses[at] for at in range(len(commands))]
        if raise_on_error:
            self.raise_first_error(commands, responses)  # type: ignore[no-untyped-call]
        return responses

    def _load(self, scripts: Sequence[Any]) -> None:
        """Have all nodes know the scripts: a missing one would run later than what follows it."""
        for node in self._cluster.masters():
            with suppress(ConnectionError):
                known = node.script_exists(*(script.sha for script in scripts))
                for script, there in zip(scripts, known, strict=True):
                    if not there:
                        node.script_load(script.script)


def _slots(commands: Sequence[Sequence[Any]]) -> list[int]:
    """Return the slots of commands; one without a key goes where the one before it goes."""
    slots: list[int] = []
    for command in commands:
        slot = _slot(command)
        slots.append((slots[-1] if slots else _WHOLE) if slot is None else slot)
    return slots


class _Part(NamedTuple):
    """The commands of a pipeline that one node was sent."""

    address: Address
    node: Redis
    connection: Any
    commands: list[int]  # by their places in the pipeline

    def release(self) -> None:
        """Give the connection back."""
        self.node.connection_pool.release(self.connection)


class _Exchange:
    """The commands of a pipeline, and the responses that have come so far."""

    def __init__(self, cluster: Cluster, commands: Sequence[Any], slots: Sequence[int]) -> None:
        self._cluster, self._commands, self._slots = cluster, commands, slots
        self.responses: dict[int, Any] = {}

    def run(self) -> None:
        """Send what has no response yet; the first error of a connection is raised at the end."""
        parts: defaultdict[Address, list[int]] = defaultdict(list)
        for at, slot in enumerate(self._slots):
            if at not in self.responses:
                parts[self._cluster.nodes.serving(slot)].append(at)
        failures: list[RedisError] = []
        sent: list[_Part] = []
        try:
            for address, commands in parts.items():
                with self._noting(failures, address):
                    sent.append(self._send(address, commands))
            while sent:
                with self._noting(failures, sent[-1].address):
                    self._read(sent[-1])
                sent.pop().release()
        finally:
            for part in sent:  # whose responses nobody will read
                part.connection.disconnect()
                part.release()
        self._redirected()
        if failures:
            raise failures[0]

    @contextmanager
    def _noting(self, failures: list[RedisError], address: Address) -> Iterator[None]:
        """Note an error of one node, and go on with the others."""
        try:
            yield
        except RedisError as error:
            failures.append(error)
            self._cluster.nodes.doubt(address)

    def _send(self, address: Address, commands: list[int]) -> _Part:
        node = self._cluster.node(address)
        part = _Part(address, node, node.connection_pool.get_connection(), commands)
        try:
            packed = part.connection.pack_commands([self._commands[at][0] for at in commands])
            part.connection.send_packed_command(packed)
        except BaseException:
            part.connection.disconnect()
            part.release()
            raise
        return part

    def _read(self, part: _Part) -> None:
        try:
            for at in part.commands:
                args, options = self._commands[at]
                self.responses[at] = _or_refusal(
                    part.node.parse_response, part.connection, args[0], **options
                )
        except RedisError:
            part.connection.disconnect()
            raise

    def _redirected(self) -> None:
        """Send alone what was done nowhere, because its slot has moved or is moving."""
        for at, response in sorted(self.responses.items()):
            if isinstance(response, AskError | TryAgainError):
                del self.responses[at]
                args, options = self._commands[at]
                self.responses[at] = _or_refusal(self._cluster.execute_command, *args, **options)


def _or_refusal(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a call returns, or the error that a node responded with."""
    try:
        return call(*args, **options)
    except ResponseError as error:
        return error
