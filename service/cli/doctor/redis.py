"""The doctor on Redis: whether it keeps what it is told, and has room for more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis, RedisError

from service.cli.doctor.findings import Finding, Level
from service.cli.terminal import size
from service.config import Config
from service.model.spans import span
from service.store import connect

_OLDEST_REDIS = (6, 2)
_PACKED = 512  # bytes: records up to this stay packed in their bucket
_BUCKET = 256  # records in one hash
_SKEW = 1.0, 30.0  # seconds off at which clocks are worth a word, and a fault
_FULL = 0.8, 0.95  # of maxmemory


def look_at_redis(config: Config) -> Iterator[Finding]:
    """Look at the Redis of the store, and at the queue's where that is another; `RedisError`."""
    store = connect(config.store_url or config.redis_url)
    if config.store_url and config.store_url != config.redis_url:
        yield from _answers("Queue's Redis", connect(config.redis_url))
    yield from _answers("Redis", store)
    yield _durability(store.info("persistence"))
    yield _memory(store.info("memory"))
    yield _packing(store)


def _answers(what: str, redis: Redis) -> Iterator[Finding]:
    asked_at, began = time.time(), time.monotonic()
    seconds, micros = redis.time()
    took = time.monotonic() - began
    about = redis.info("server")
    version = str(about.get("valkey_version") or about["redis_version"])
    product = "Valkey" if "valkey_version" in about else "Redis"
    said = f"{product} {version} answers."
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_REDIS:
        yield Finding("fail", what, f"{product} {version} is too old: install 6.2 or later.")
    else:
        yield Finding("ok", what, said)
    off = asked_at + took / 2 - seconds - micros / 1e6
    worth_a_word, fault = _SKEW
    if abs(off) >= worth_a_word:
        level: Level = "fail" if abs(off) >= fault else "warn"
        side = "ahead of" if off > 0 else "behind"
        yield Finding(
            level,
            "Time",
            f"This host's clock is {span(abs(off))} {side} that of {what}: deadlines will be"
            " wrong. Keep both set by NTP.",
        )
    else:
        yield Finding("ok", "Time", f"This host and {what} agree on it.")


def _durability(persistence: dict[str, Any]) -> Finding:
    what = "Durability"
    if not persistence["aof_enabled"]:
        return Finding(
            "fail",
            what,
            "Redis keeps no append-only file: a crash loses readers. Set `appendonly yes` in"
            " redis.conf, and now by CONFIG SET appendonly yes.",
        )
    if "err" in (persistence["aof_last_write_status"], persistence["aof_last_bgrewrite_status"]):
        return Finding(
            "fail",
            what,
            "Redis cannot write its append-only file: see whether its disk is full, and its log.",
        )
    return Finding("ok", what, "Redis appends every write to a file.")


def _memory(memory: dict[str, Any]) -> Finding:
    what, policy = "Memory", memory["maxmemory_policy"]
    if policy != "noeviction":
        return Finding(
            "fail",
            what,
            f"Redis may throw readers away when it is full ({policy}). Set `maxmemory-policy"
            " noeviction` in redis.conf, and now by CONFIG SET.",
        )
    used, most = memory["used_memory"], memory["maxmemory"]
    said = f"{size(used)} used"
    if not most:
        # Rewriting the append-only file may take as much again.
        of, worth_a_word, fault = memory["total_system_memory"], 0.4, 0.8
        said += f" of the {size(of)} that Redis' machine has."
    else:
        of, (worth_a_word, fault) = most, _FULL
        said += f" of {size(of)} (maxmemory)."
    if used < worth_a_word * of:
        return Finding("ok", what, said)
    todo = " Give Redis more: once it is full nobody can subscribe and nothing can be published."
    return Finding("fail" if used >= fault * of else "warn", what, said + todo)


def _packing(redis: Redis) -> Finding:
    what = "Record size"
    todo = (
        f"Set `hash-max-listpack-value {_PACKED}` (`hash-max-ziplist-value` before Redis 7) in"
        " redis.conf: about 50 bytes less for each reader."
    )
    try:
        found = redis.config_get("hash-max-*")
    except RedisError:
        return Finding("warn", what, f"Redis does not show its configuration. {todo}")
    limits = {str(name).rpartition("-")[2]: int(value or 0) for name, value in found.items()}
    if limits["entries"] < _BUCKET:
        return Finding(
            "warn",
            what,
            f"Redis packs up to {limits['entries']} entries of a hash only: each reader costs twice"
            f" the memory. Set `hash-max-listpack-entries {2 * _BUCKET}` in redis.conf.",
        )
    if limits["value"] < _PACKED:
        return Finding("warn", what, todo)
    return Finding("ok", what, "Redis is set to pack readers' records.")
