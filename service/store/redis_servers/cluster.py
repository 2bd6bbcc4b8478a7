"""A Redis Cluster, or a Valkey one, as if it were one Redis (decision 83).

All our keys carry a hash tag and no command has keys of two, so the first key says which node to
ask. That node may answer that another serves this slot now (`MOVED`), or this key while the slot
moves (`ASK`), or that of the keys of a script some have moved and some have not (`TRYAGAIN`). It
has then done nothing, so the command is sent again without doubt.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.commands.core import Script
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    NoScriptError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from service.store.redis_servers.cluster_nodes import Address, Nodes

T = TypeVar("T")

ONCE = Retry(NoBackoff(), 0)

_REDIRECTIONS = 8  # of one command, from node to node
_AGAIN = 0.05  # seconds until keys that are being moved are asked for again
_MOVING = 1.0  # seconds until a call ends that meets such keys


class SlotMoves(ConnectionError):
    """A slot is on its way from one node to another, and took longer than we wait."""


@lru_cache(maxsize=1024)
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


def _slot_of(key: str) -> int:
    return _slot_of_tag(key[1:].partition("}")[0])


def _slot(command: Sequence[Any], otherwise: int) -> int:
    """Return the slot of a command by its first key; `otherwise` if it has none."""
    for part in command[1:]:
        text = part.decode(errors="replace") if isinstance(part, bytes) else part
        if isinstance(text, str) and text.startswith("{"):
            return _slot_of(text)
    return otherwise


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
        self.texts: dict[str, Any] = {}  # of our scripts, by their SHA-1

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that serves its key; `RedisError`."""
        return self._execute(args, options, self._retry)

    def execute_once(self, *args: Any, **options: Any) -> Any:
        """Do the same without trying again: the caller does that."""
        return self._execute(args, options, ONCE)

    def _execute(self, args: Sequence[Any], options: dict[str, Any], retry: Retry) -> Any:
        def call(node: Redis, asking: bool) -> Any:
            try:
                return send(node, asking)
            except NoScriptError:  # the node that says so may not be in our table yet
                if (text := self.texts.get(args[1])) is None:
                    raise
                node.script_load(text)
                return send(node, asking)

        def send(node: Redis, asking: bool) -> Any:
            if not asking:
                return node.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            with node.pipeline(transaction=False) as pipe:  # one connection
                pipe.execute_command("ASKING")  # type: ignore[no-untyped-call]
                pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
                return pipe.execute()[1]

        return self._call(_slot(args, _WHOLE), call, retry)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002
        """Return a pipeline; one that is a transaction has keys of one slot."""
        return _ClusterPipeline(self, transaction)

    def register_script(self, script: Any) -> Script:
        """Make a script, and know its text."""
        made = super().register_script(script)
        self.texts[made.sha] = made.script
        return made

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
        return self._call(_slot_of(key), call, ONCE if once else self._retry)

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
        self._retry.call_with_retry(exchange, lambda _: None)

    def _call(self, slot: int, call: Callable[[Redis, bool], T], retry: Retry) -> T:
        return retry.call_with_retry(lambda: self._follow(slot, call), lambda _: None)

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
        exchange = _Exchange(self._cluster, commands, slots)
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
        slots.append(_slot(command, slots[-1] if slots else _WHOLE))
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
    ) -> None:
        self._cluster, self._commands, self._slots = cluster, commands, slots
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
        """Send the commands again that no node has run, each alone.

        Their slot has moved or is moving, or the node did not know their script. Such a command may
        run after later ones of the pipeline; commands for one key keep their order.
        """
        missed = [at for at, response in self.responses.items() if self._was_missed(at, response)]
        for at in missed:  # none of them stays, should one of them fail now
            del self.responses[at]
        for at in sorted(missed):
            args, options = self._commands[at]
            self.responses[at] = _or_refusal(self._cluster.execute_once, *args, **options)

    def _was_missed(self, at: int, response: Any) -> bool:
        if isinstance(response, NoScriptError):
            return self._commands[at][0][1] in self._cluster.texts
        return isinstance(response, AskError | TryAgainError)


def _or_refusal(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a call returns, or the error that a node responded with."""
    try:
        return call(*args, **options)
    except ResponseError as error:
        return error
