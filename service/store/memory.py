"""The memory of Redis, as far as it tells: some services hide it."""

from __future__ import annotations

from typing import NamedTuple

from redis import Redis
from redis.exceptions import ResponseError


class Memory(NamedTuple):
    """Bytes that Redis uses, and may use for data."""

    used: int
    most: int  # `maxmemory`; 0: no limit is known


def memory_of(redis: Redis) -> Memory | None:
    """Return the memory of this Redis; None if it does not tell."""
    try:
        info = redis.info("memory")
    except ResponseError:
        return None
    used = info.get("used_memory")
    return None if used is None else Memory(int(used), int(info.get("maxmemory", 0)))
