"""The doctor's checks of Redis: version, time, durability, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis, RedisError

from service.cli.doctor.findings import Finding, Level
from service.cli.terminal import size
from service.config import Config
from service.model.sentinel_url import is_sentinel_url, parse_sentinel_url
from service.model.spans import span
from service.store import connect
from service.store.sentinel import Sentinels

_OLDEST_REDIS = (6, 2)
_PACKED = 512  # bytes; records up to this size stay packed in their bucket
_BUCKET = 256  # records in one hash
_SKEW = 1.0, 30.0  # seconds of difference between clocks: a warning, a failure
_FULL = 0.8, 0.95  # of maxmemory: a warning, a failure


def check_redis(config: Config) -> Iterator[Finding]:
    """Check the store's Redis, and the queue's if that is another; raises `RedisError`."""
    store = connect(config.store_url or config.redis_url)
    if config.store_url and config.store_url != config.redis_url:
        yield from _check_server("Queue's Redis", connect(config.redis_url))
    for url in sorted({*config.addresses.values()}):
        if is_sentinel_url(url):
            yield _sentinels(url)
    yield from _check_server("Redis", store)
    if config.store_wait_replicas:
        yield _replicas(config.store_wait_replicas, store.info("replication"))
    yield _durability(store.info("persistence"))
    yield _memory(store.info("memory"))
    yield _packing(store)


def _sentinels(url: str) -> Finding:
    what, sentinels = "Sentinel", Sentinels(parse_sentinel_url(url))
    answers = sentinels.ask()
    sentinels.close()
    named = sentinels.named(answers)
    states = [answer.masters.get(sentinels.name, {}) for answer in answers]
    without = [answer.sentinel for answer, state in zip(answers, states, strict=True) if not state]
    if without:
        return Finding(
            "warn",
            what,
            f"{len(without)} of {len(answers)} do not answer, or do not know the master:"
            f" {', '.join(without)}. A failover needs most of the sentinels.",
        )
    if not any(state["num-slaves"] for state in states):
        return Finding("warn", what, "The master has no replica: add one that can take over.")
    status = f"{len(answers)} sentinels say that {named.host}:{named.port} is the master."
    return Finding("ok", what, status)


def _check_server(what: str, redis: Redis) -> Iterator[Finding]:
    asked_at, began = time.time(), time.monotonic()
    seconds, micros = redis.time()
    took = time.monotonic() - began
    about = redis.info("server")
    version = str(about.get("valkey_version") or about["redis_version"])
    product = "Valkey" if "valkey_version" in about else "Redis"
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_REDIS:
        yield Finding("fail", what, f"{product} {version} is too old: install 6.2 or later.")
    else:
        yield Finding("ok", what, f"{product} {version} answers.")
    if redis.info("replication").get("role") == "slave":
        yield Finding(
            "fail",
            what,
            "It is a replica, which accepts nothing new: REDIS_URL and STORE_URL must lead to the"
            " master.",
        )
    off = asked_at + took / 2 - seconds - micros / 1e6
    warning, failure = _SKEW
    if abs(off) >= warning:
        level: Level = "fail" if abs(off) >= failure else "warn"
        side = "ahead of" if off > 0 else "behind"
        yield Finding(
            level,
            "Time",
            f"This host's clock is {span(abs(off))} {side} that of {what}, by which alerts are"
            " sent. Set both by NTP.",
        )
    else:
        yield Finding("ok", "Time", f"This host and {what} agree.")


def _replicas(wanted: int, replication: dict[str, Any]) -> Finding:
    what, found = "Replicas", int(replication.get("connected_slaves", 0))
    status = f"{found} connected, {wanted} must have what is stored (STORE_WAIT_REPLICAS)."
    if found < wanted:
        todo = " Until there are enough, nobody can subscribe or publish."
        return Finding("fail", what, status + todo)
    if found == wanted:
        todo = " Add one: while one of these is away, nobody can subscribe or publish."
        return Finding("warn", what, status + todo)
    return Finding("ok", what, status)


def _durability(persistence: dict[str, Any]) -> Finding:
    what = "Durability"
    if not persistence["aof_enabled"]:
        return Finding(
            "fail",
            what,
            "Redis keeps no append-only file, so a crash loses readers. Set `appendonly yes` in"
            " redis.conf, and run CONFIG SET appendonly yes now.",
        )
    if "err" in (persistence["aof_last_write_status"], persistence["aof_last_bgrewrite_status"]):
        return Finding(
            "fail",
            what,
            "Redis cannot write its append-only file: check its disk space and its log.",
        )
    return Finding("ok", what, "Redis appends every write to a file.")


def _memory(memory: dict[str, Any]) -> Finding:
    what, policy = "Memory", memory["maxmemory_policy"]
    if policy != "noeviction":
        return Finding(
            "fail",
            what,
            f"Redis may delete readers when it is full ({policy}). Set `maxmemory-policy"
            " noeviction` in redis.conf, and run CONFIG SET now.",
        )
    used, most = memory["used_memory"], memory["maxmemory"]
    status = f"{size(used)} used"
    if not most:
        # Rewriting the append-only file may take as much again.
        of, warning, failure = memory["total_system_memory"], 0.4, 0.8
        status += f" of the {size(of)} of Redis' machine."
    else:
        of, (warning, failure) = most, _FULL
        status += f" of {size(of)} (maxmemory)."
    if used < warning * of:
        return Finding("ok", what, status)
    todo = " Give Redis more: once it is full, readers cannot subscribe and editors cannot publish."
    return Finding("fail" if used >= failure * of else "warn", what, status + todo)


def _packing(redis: Redis) -> Finding:
    what = "Record size"
    todo = (
        f"Set `hash-max-listpack-value {_PACKED}` (`hash-max-ziplist-value` before Redis 7) in"
        " redis.conf, which saves about 50 bytes a reader."
    )
    try:
        found = redis.config_get("hash-max-*")
    except RedisError:
        return Finding("warn", what, f"Redis does not allow CONFIG GET. {todo}")
    limits = {str(name).rpartition("-")[2]: int(value or 0) for name, value in found.items()}
    if limits["entries"] < _BUCKET:
        return Finding(
            "warn",
            what,
            f"Redis packs only up to {limits['entries']} entries of a hash, so each reader takes"
            f" twice the memory. Set `hash-max-listpack-entries {2 * _BUCKET}` in redis.conf.",
        )
    if limits["value"] < _PACKED:
        return Finding("warn", what, todo)
    return Finding("ok", what, "Redis packs readers' records.")
