"""A Redis Cluster on this machine: how free ports are found, and how its nodes are joined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from service.local.redis_server import find_servers, server_argv, socket_url
from workers.trials.processes import HOST, free_port, hold, running, wait_for

NODE_TIMEOUT = 1000  # ms without an answer until the others take a node for dead
_PATIENCE = 30.0  # seconds for nodes to know each other


def free_port_with_bus() -> int:
    """Return a free port; nodes speak to each other at the one ten thousand above it."""
    while True:
        port = free_port()
        if hold(port + 10_000):
            return port


def options(port: int, node_timeout: int = NODE_TIMEOUT) -> list[str]:
    """Return what makes a Redis a node of a cluster."""
    return [
        *("--port", str(port), "--cluster-enabled", "yes"),
        *("--cluster-node-timeout", str(node_timeout)),
    ]


def ask(node: Redis, *command: object) -> Any:
    """Ask or tell a node something about its cluster."""
    return node.execute_command("CLUSTER", *command)  # type: ignore[no-untyped-call]


def join(nodes: Sequence[Redis], masters: int) -> None:
    """Make new nodes one cluster, whose first ones serve equal ranges of the slots."""
    for epoch, node in enumerate(nodes, start=1):
        ask(node, "SET-CONFIG-EPOCH", epoch)
    size = REDIS_CLUSTER_HASH_SLOTS / masters
    for number, node in enumerate(nodes[:masters]):
        share = range(round(number * size), round((number + 1) * size))
        ask(node, "ADDSLOTS", *share)
    ports = [_port(node) for node in nodes]
    for (_, one), (port, _) in combinations(zip(ports, nodes, strict=True), 2):
        ask(one, "MEET", HOST, port)
    deadline = time.monotonic() + _PATIENCE
    while not all(_knows_all(node, len(nodes)) for node in nodes):
        if time.monotonic() > deadline:
            raise TimeoutError("the nodes of a cluster do not find each other")
        time.sleep(0.05)


def _port(node: Redis) -> int:
    ports = node.config_get("*port")
    return int(ports["port"] or 0) or int(ports["tls-port"] or 0)


def _knows_all(node: Redis, count: int) -> bool:
    lines = ask(node, "NODES").splitlines()
    return len(lines) == count and not any(b"handshake" in line for line in lines)


@contextmanager
def redis_cluster(folder: Path, masters: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Run a cluster without replicas; yield its address, and the process ids of its nodes."""
    with ExitStack() as stack:
        processes, clients, ports = [], [], []
        for number in range(masters):
            directory = folder / f"node-{number}"
            directory.mkdir(mode=0o700)
            path, port = directory / "redis.sock", free_port_with_bus()
            argv = [*server_argv(find_servers()[0], directory, path), *options(port)]
            process = stack.enter_context(running(argv, {"LC_ALL": "C"}))
            client = stack.enter_context(Redis.from_url(socket_url(path)))
            wait_for(path.exists, process)
            processes.append(process)
            clients.append(client)
            ports.append(port)
        join(clients, masters)
        wait_for(lambda: all(_is_well(client) for client in clients), *processes)
        address = ",".join(f"{HOST}:{port}" for port in ports)
        yield f"redis+cluster://{address}", tuple(process.pid for process in processes)


def _is_well(node: Redis) -> bool:
    return b"cluster_state:ok" in bytes(ask(node, "INFO"))
