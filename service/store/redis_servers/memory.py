"""Redis' memory and replicas, and whether it writes to a disk, as far as it tells.

Some services hide them. Of a cluster the memory is that of the fullest node: once that is full,
nothing new can be stored there.
"""

from __future__ import annotations

from typing import NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from service.store.redis_servers.connection import servers


class Memory(NamedTuple):
    """Bytes that Redis uses, and may use for data."""

    used: int
    most: int  # `maxmemory`; 0: no limit is known
    machine: int = 0  # that of its machine; 0: not known


class Following(NamedTuple):
    """The replicas of Redis."""

    replicas: int
    lag: int  # seconds since the slowest of them said that it has what was written


def memory_of(redis: Redis) -> Memory | None:
    """Return the memory of this Redis; None if it does not tell."""
    all_servers = servers(redis)
    known = [memory for server in all_servers if (memory := _of_one(server, len(all_servers) > 1))]
    return max(
        known, key=lambda one: (one.used / one.most if one.most else 0, one.used), default=None
    )


def _of_one(server: Redis, has_others: bool) -> Memory | None:
    try:
        info = server.info("memory")
    except ResponseError:
        return None
    except (ConnectionError, TimeoutError):
        if has_others:  # a node that is away does not make the others less full
            return None
        raise
    used = info.get("used_memory")
    if used is None:
        return None
    most, machine = (int(info.get(name, 0)) for name in ("maxmemory", "total_system_memory"))
    return Memory(int(used), most, machine)


def is_kept_on_disk(redis: Redis) -> bool | None:
    """Whether each node of this Redis appends its writes to a file; None if none of them tells."""
    known = [kept for server in servers(redis) if (kept := _is_kept(server)) is not None]
    return all(known) if known else None


def _is_kept(server: Redis) -> bool | None:
    try:
        info = server.info("persistence")
    except (ResponseError, ConnectionError, TimeoutError):
        return None
    if "aof_enabled" not in info:
        return None
    return bool(info["aof_enabled"]) and info.get("aof_last_write_status") != "err"


def following(redis: Redis) -> Following | None:
    """Return the replicas of this Redis, of all its nodes together; None if it does not tell."""
    rows = []
    for server in servers(redis):
        try:
            info = server.info("replication")
        except (ResponseError, ConnectionError, TimeoutError):
            return None
        named = (info.get(f"slave{n}") for n in range(info.get("connected_slaves", 0)))
        rows += [row for row in named if isinstance(row, dict)]
    return Following(len(rows), max((int(row.get("lag", 0)) for row in rows), default=0))
