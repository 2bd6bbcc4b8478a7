"""A Redis Cluster, or a Valkey one, as if it were one Redis (decision 83).

All our keys carry a hash tag and no command has keys of two, so the first key says which node to
ask. That node may answer that another serves this slot now (`MOVED`), or this key while the slot
moves (`ASK`), or that of the keys of a script some have moved and some have not (`TRYAGAIN`). It
has then done nothing, so the command is sent again without doubt.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    NoPermissionError,
    NoScriptError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from service.model.redis_urls import ClusterUrl

T = TypeVar("T")

_ONCE = Retry(NoBackoff(), 0)

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


class NodeAway(ConnectionError):
    """A node that the cluster announces cannot be reached."""

    def __init__(self, address: Address, error: RedisError) -> None:
        super().__init__(f"{address}: {error}")
        self.address = address


class Nodes:
    """Which node serves each slot, as the cluster last said; shared by all clients of a process.

    The nodes are asked again after a call has failed, at most each quarter of a second. One thread
    asks; the others go on with what was known, if anything was.
    """

    def __init__(self, url: ClusterUrl, pool: Callable[[Address], ConnectionPool]) -> None:
        """Begin with the nodes of `url`; `pool` makes connections to one, that wait `ANSWER`."""
        self._first = [Address(host.strip("[]"), port) for host, port in url.nodes]
        self._pool = pool
        self._lock = threading.Lock()
        self._serving: dict[int, Address] = {}
        self._known: list[Address] = []  # replicas as well
        self._led_to: set[Address] = set()  # by nodes whose slots are moving
        self._doubted = True
        self._suspect: Address | None = None
        self._asked_at = -_EVERY
        self._why: RedisError = NotCovered("no node of the cluster serves any data")

    def serving(self, slot: int) -> Address:
        """Return the node that serves a slot; `RedisError` if none is known."""
        try:
            return self._table()[slot]
        except KeyError:
            self.doubt()
            raise NotCovered("no node of the cluster serves a part of the data") from None

    def masters(self) -> list[Address]:
        """Return all nodes that serve slots, or are about to."""
        return sorted({*self._table().values()} | self._led_to)

    def check(self) -> None:
        """Raise the `RedisError` that says what keeps us from using the whole cluster."""
        if len(self._table()) < SLOTS:
            raise NotCovered("no node of the cluster serves a part of the data")
        for address in self.masters():
            with self._client(address) as node:
                try:
                    node.ping()
                except NoPermissionError:
                    pass
                except (ConnectionError, TimeoutError) as error:
                    raise NodeAway(address, error) from None

    def doubt(self, suspect: Address | None = None) -> None:
        """Ask again before the next call, and last the node that did not answer as it should."""
        self._doubted, self._suspect = True, suspect

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
        return self._doubted and time.monotonic() >= self._asked_at + _EVERY

    def _ask(self) -> None:
        """Ask nodes until one knows who serves each slot; else believe the one that knows most.

        A node that has left the cluster, or has just been made, knows of no slots.
        """
        until = time.monotonic() + _ALL
        serving, known = self._serving, self._known
        self._doubted = False
        errors: list[RedisError] = []
        for address in self._in_turn():
            with _noting(errors):
                found = _read_slots(self._slots_of(address), address.host)
                if len(found[0]) >= len(serving):
                    serving, known = found
                if len(found[0]) == SLOTS:
                    break
            if time.monotonic() > until:
                break
        self._asked_at = time.monotonic()
        self._serving, self._known = serving, known
        if len(serving) < SLOTS:
            self._doubted = True
        else:
            self._led_to.clear()
        if not serving and errors:
            self._why = errors[0]

    def _in_turn(self) -> list[Address]:
        """Return all nodes by chance, those that we know now first, and last the suspected one."""
        known = random.sample(self._known, len(self._known))
        first = random.sample(self._first, len(self._first))
        return sorted(dict.fromkeys([*known, *first]), key=lambda one: one == self._suspect)

    def _slots_of(self, address: Address) -> Any:
        with self._client(address) as client:
            try:
                return client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise NotCluster("it is no cluster") from None
                raise

    @contextmanager
    def _client(self, address: Address) -> Iterator[Redis]:
        with Redis(connection_pool=self._pool(address)) as client:
            try:
                yield client
            finally:
                client.connection_pool.disconnect()


@contextmanager
def _noting(errors: list[RedisError]) -> Iterator[None]:
    """Note an error, and go on."""
    try:
        yield
    except RedisError as error:
        errors.append(error)


def _read_slots(said: Any, asked: str) -> tuple[dict[int, Address], list[Address]]:
    """Read what `CLUSTER SLOTS` says: who serves each slot, and all nodes; `asked` said it."""
    serving: dict[int, Address] = {}
    known: dict[Address, None] = {}
    for first, last, *nodes in said:
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


@lru_cache(maxsize=1024)
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


def _slot(command: Sequence[Any]) -> int | None:
    """Return the slot of a command by its first key; None if it has none."""
    for part in command[1:]:
        text = part.decode(errors="replace") if isinstance(part, bytes) else part
        if isinstance(text, str) and text.startswith("{"):
            return _slot_of_tag(text[1:].partition("}")[0])
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
        renew: Callable[[Redis], None],
    ) -> None:
        """Reach a node by `connect`, whose clients do not repeat: `retry` does that here.

        `renew` has a client of a node open its connections anew before it uses them. No connection
        of the `pool` is ever made: redis-py asks it how to encode.
        """
        super().__init__(connection_pool=pool)
        self.nodes = nodes
        self._connect = connect
        self._retry = retry
        self._renew = renew
        self._clients: dict[Address, Redis] = {}

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that serves its key; `RedisError`."""
        return self._execute(args, options, self._retry)

    def execute_once(self, *args: Any, **options: Any) -> Any:
        """Do the same without trying again: the caller does that."""
        return self._execute(args, options, _ONCE)

    def _execute(self, args: Sequence[Any], options: dict[str, Any], retry: Retry) -> Any:
        def call(node: Redis, asking: bool) -> Any:
            if not asking:
                return node.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            with node.pipeline(transaction=False) as pipe:  # one connection
                pipe.execute_command("ASKING")  # type: ignore[no-untyped-call]
                pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
                return pipe.execute()[1]

        slot = _slot(args)
        return self._call(_WHOLE if slot is None else slot, call, retry)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002
        """Return a pipeline; one that is a transaction has keys of one slot."""
        return _ClusterPipeline(self, transaction)

    def script_load(self, script: Any) -> Any:
        """Load a script at all nodes that answer."""
        for node in self.masters():
            with suppress(ConnectionError, TimeoutError):
                node.script_load(script)
        text = script.encode() if isinstance(script, str) else script
        return hashlib.sha1(text).hexdigest()  # noqa: S324 - Redis names scripts so

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

    def at(self, key: str, call: Callable[[Redis, bool], T], *, once: bool = False) -> T:
        """Have `call` done with a client of the node that serves a key.

        If its second argument is true, that node takes a command for the key only after `ASKING`
        on the same connection. `once`: not again if its response was lost.
        """
        return self._call(cast(int, _slot(("", key))), call, _ONCE if once else self._retry)

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

    def lost(self, address: Address) -> None:
        """Note that a node did not answer: what else is open to it may be dead as well."""
        self.nodes.doubt(address)
        self._renew(self.node(address))

    def exchange(self, exchange: Callable[[], None]) -> None:
        """Repeat an exchange with several nodes as patiently as a call."""
        self._retry.call_with_retry(exchange, _nothing)

    def _call(self, slot: int, call: Callable[[Redis, bool], T], retry: Retry) -> T:
        return retry.call_with_retry(lambda: self._follow(slot, call), _nothing)

    def _ask(self, address: Address, asking: bool, call: Callable[[Redis, bool], T]) -> T:
        node = self.node(address)
        try:
            return call(node, asking)
        except (ConnectionError, TimeoutError):
            self.lost(address)
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
                asking = not isinstance(error, MovedError)
                if error.host == "?":  # a node without a name: the others know its number
                    self.nodes.doubt()
                    time.sleep(_AGAIN)
                    address, asking = self.nodes.serving(slot), False
                    continue
                # Of itself a node may say only the port.
                address = Address(error.host or address.host, error.port)
                if asking:
                    self.nodes.lead_to(address)
                else:
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
        slots = _slots([args for args, _ in commands])
        if scripts:
            self._load([*scripts], {*slots})
        if self._whole:
            (slot,) = {*slots}
            return self._cluster.transact(slot, commands, raise_on_error)
        known = {script.sha: script.script for script in scripts}
        exchange = _Exchange(self._cluster, commands, slots, known)
        self._cluster.exchange(exchange.run)
        responses = [exchange.responses[at] for at in range(len(commands))]
        if raise_on_error:
            self.raise_first_error(commands, responses)  # type: ignore[no-untyped-call]
        return responses

    def _load(self, scripts: Sequence[Any], slots: set[int]) -> None:
        """Have the nodes know the scripts: a missing one would run later than what follows it."""
        for address in {self._cluster.nodes.serving(slot) for slot in slots}:
            node = self._cluster.node(address)
            with suppress(ConnectionError, TimeoutError):  # the exchange meets it again
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

    def __init__(
        self,
        cluster: Cluster,
        commands: Sequence[Any],
        slots: Sequence[int],
        scripts: Mapping[str, Any],
    ) -> None:
        self._cluster, self._commands, self._slots = cluster, commands, slots
        self._scripts = scripts  # by what names them
        self.responses: dict[int, Any] = {}

    def run(self) -> None:
        """Send what has no response yet.

        A lost connection is raised when the other nodes have answered. A node that is silent is
        raised at once, because a page must not wait for each of several.
        """
        parts: defaultdict[Address, list[int]] = defaultdict(list)
        for at, slot in enumerate(self._slots):
            if at not in self.responses:
                parts[self._cluster.nodes.serving(slot)].append(at)
        failures: list[ConnectionError] = []
        sent: list[_Part] = []
        try:
            for address, commands in parts.items():
                with self._noting(failures, address):
                    sent.append(self._send(address, commands))
            while sent:
                with self._noting(failures, sent[-1].address):
                    self._read(sent[-1])
                sent[-1].release()
                sent.pop()
        finally:
            for part in sent:  # whose responses nobody will read
                part.connection.disconnect()
                part.release()
        if failures:
            raise failures[0]
        self._redirected()

    @contextmanager
    def _noting(self, failures: list[ConnectionError], address: Address) -> Iterator[None]:
        """Note a lost connection to one node, and go on with the others."""
        try:
            yield
        except ConnectionError as error:
            failures.append(error)
            self._cluster.lost(address)
        except TimeoutError:
            self._cluster.lost(address)
            raise

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
        """Send alone what was done nowhere: its slot has moved or is moving, or a script was new.

        It may so be done after commands that stood behind it; those for one key keep their order.
        """
        missed = [at for at, response in self.responses.items() if self._was_missed(at, response)]
        for at in missed:  # none of them stays, should one of them fail now
            if isinstance(self.responses.pop(at), NoScriptError):
                self._cluster.script_load(self._scripts[self._commands[at][0][1]])
        for at in sorted(missed):
            args, options = self._commands[at]
            self.responses[at] = _or_refusal(self._cluster.execute_once, *args, **options)

    def _was_missed(self, at: int, response: Any) -> bool:
        if isinstance(response, NoScriptError):
            return self._commands[at][0][1] in self._scripts
        return isinstance(response, AskError | TryAgainError)


def _or_refusal(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a call returns, or the error that a node responded with."""
    try:
        return call(*args, **options)
    except ResponseError as error:
        return error
