"""The doctor's checks of Redis: version, time, durability, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from redis import Redis, RedisError
from redis.exceptions import ResponseError

from service.cli.doctor.findings import Finding, Level, fail, ok, warn
from service.config import Config
from service.domain.store_errors import why_unreachable
from service.model.network.redis_urls import is_cluster_url, is_sentinel_url, parse_sentinel_url
from service.model.operations.sizes import size
from service.model.time.spans import span
from service.store import connect
from service.store.redis_servers.cluster import Cluster
from service.store.redis_servers.cluster_nodes import Address, ServerFails
from service.store.redis_servers.connection import knock_at_one, servers
from service.store.redis_servers.sentinel import Sentinels

_OLDEST_REDIS = (6, 2)
_PACKED = 512  # bytes; records up to this size stay packed in their bucket
_BUCKET = 256  # records in one hash
_SKEW = 1.0, 30.0  # seconds of difference between clocks: a warning, a failure
_LATE = 10  # seconds without a word of a replica, which speaks each second
_BEHIND = 1 << 20  # bytes that a replica lacks
_VOTING = 3  # masters, of which one may die
_FULL = 0.8, 0.95  # of maxmemory: a warning, a failure
_UNKNOWN = "could not be checked, because Redis does not tell"


def check_redis(config: Config) -> Iterator[Finding]:
    """Check the store's Redis, and the queue's if that is another; raises `RedisError`."""
    store = connect(config.store_url or config.redis_url)
    if config.store_url and config.store_url != config.redis_url:
        yield from _check_server("Queue's Redis", connect(config.redis_url))
    for url in sorted({*config.addresses.values()}):
        if is_sentinel_url(url):
            yield _sentinels(url)
            yield from _failover(url, _replicas_at(_info(connect(url), "replication")))
    if not is_cluster_url(config.store_url):
        yield from _check_node(store, config.store_wait_replicas)
        return
    yield from _failover(config.store_url, cast(Cluster, store).nodes.replicas())
    nodes = servers(store)
    found = [_check_reachable(node, config.store_wait_replicas) for node in nodes]
    yield from _of_nodes(nodes, found)
    yield _cluster(nodes)
    yield from _slots_on_their_way(nodes)


def _check_reachable(node: Redis, wait_replicas: int) -> list[Finding]:
    try:
        return [*_check_node(node, wait_replicas)]
    except RedisError as error:
        return [fail("Redis", f"It {why_unreachable(error)}.")]


def _check_node(redis: Redis, wait_replicas: int) -> Iterator[Finding]:
    yield from _check_server("Redis", redis)
    replication = _info(redis, "replication")
    if wait_replicas:
        yield _replicas(wait_replicas, replication)
    yield from _lag(replication)
    yield _durability(redis, _info(redis, "persistence"), replication)
    memory = _info(redis, "memory")
    yield _eviction(str(memory.get("maxmemory_policy", "")))
    yield _memory(memory)
    yield _packing(redis)


def _of_nodes(nodes: list[Redis], found: list[list[Finding]]) -> Iterator[Finding]:
    """Say what is well of all nodes once, and what is not with the node's address."""
    bad = {finding.what for findings in found for finding in findings if finding.level != "ok"}
    yield from (finding for finding in found[0] if finding.what not in bad)
    for node, findings in zip(nodes, found, strict=True):
        for finding in findings:
            if finding.level != "ok":
                yield Finding(finding.level, finding.what, f"{_address(node)}: {finding.says}")


def _address(node: Redis) -> str:
    options = node.connection_pool.connection_kwargs
    return str(Address(options["host"], options["port"]))


def _replicas_of(node: Redis) -> int | None:
    try:
        return _info(node, "replication").get("connected_slaves")
    except RedisError:  # of which another finding speaks
        return None


def _cluster(nodes: list[Redis]) -> Finding:
    what, replicas = "Cluster", [_replicas_of(node) for node in nodes]
    if len(nodes) < _VOTING:
        return warn(
            what,
            f"Masters: {len(nodes)}. When one dies, no replica takes over, because most of the"
            f" masters must agree. Have {_VOTING}, unless your service replaces a dead master.",
        )
    alone = [_address(node) for node, count in zip(nodes, replicas, strict=True) if count == 0]
    if alone:
        return warn(
            what,
            f"{len(alone)} of {len(nodes)} masters have no replica that could take over:"
            f" {', '.join(alone)}.",
        )
    if None in replicas:
        return warn(what, f"{len(nodes)} masters. Whether each has a replica {_UNKNOWN}.")
    return ok(what, f"{len(nodes)} masters have all the data, each with a replica.")


def _failover(url: str, replicas: Sequence[Address]) -> Iterator[Finding]:
    """Name replicas that we could not use: users and passwords are not replicated."""
    for address in replicas:
        try:
            knock_at_one(url, address)
        except ServerFails as error:  # noqa: PERF203 (each is asked, whatever the others say)
            yield warn(
                "Failover",
                f"The replica {address} {why_unreachable(error.cause)}. Should it take over, nobody"
                " could subscribe and nothing would be sent. Each server needs the same users and"
                " passwords, and an address that our processes reach.",
            )


def _replicas_at(replication: dict[str, Any]) -> list[Address]:
    return [Address(str(one["ip"]), int(one["port"])) for one in _replicas_in(replication)]


def _replicas_in(replication: dict[str, Any]) -> list[dict[str, Any]]:
    named = (replication.get(f"slave{at}") for at in range(replication.get("connected_slaves", 0)))
    return [one for one in named if isinstance(one, dict)]


def _slots_on_their_way(nodes: list[Redis]) -> Iterator[Finding]:
    moving = sorted({int(slot) for node in nodes for slot in _moving(node)})
    if moving:
        yield warn(
            "Slots",
            f"{len(moving)} on the way from one node to another (the first is {moving[0]}). Until a"
            " slot has arrived, alerts and calls that need it may wait. If nobody moves data now, a"
            f" move was broken off: run redis-cli --cluster fix {_address(nodes[0])}",
        )


def _moving(node: Redis) -> list[str]:
    """Return the slots that this node hands over or takes over, as far as it tells."""
    try:
        known = node.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
    except RedisError:  # of a node that does not answer another finding speaks
        return []
    return [one["slot"] for row in known.values() for one in row["migrations"]]


def _sentinels(url: str) -> Finding:
    what, sentinels = "Sentinel", Sentinels(parse_sentinel_url(url))
    answers = sentinels.ask()
    sentinels.close()
    named = sentinels.named(answers)
    states = [answer.masters.get(sentinels.name, {}) for answer in answers]
    without = [answer.sentinel for answer, state in zip(answers, states, strict=True) if not state]
    if without:
        return warn(
            what,
            f"{len(without)} of {len(answers)} do not answer, or do not know the master:"
            f" {', '.join(without)}. A failover needs most of the sentinels.",
        )
    places = sorted({str(Address(state["ip"], state["port"])) for state in states})
    if len(places) > 1:
        return warn(
            what,
            f"They name different masters: {', '.join(places)}. If that lasts for more than a"
            " minute, one of them watches another Redis under this name: take it out of the"
            " address.",
        )
    if not any(state["num-slaves"] for state in states):
        return warn(what, "The master has no replica: add one that can take over.")
    status = f"{len(answers)} sentinels say that {Address(*named[:2])} is the master."
    return ok(what, status)


def _info(redis: Redis, section: str) -> dict[str, Any]:
    """Return what Redis says of itself; nothing if a service hides that."""
    try:
        return redis.info(section)
    except ResponseError:
        return {}


def _check_server(what: str, redis: Redis) -> Iterator[Finding]:
    asked_at, began = time.time(), time.monotonic()
    seconds, micros = redis.time()
    took = time.monotonic() - began
    about = _info(redis, "server")
    version = str(about.get("valkey_version") or about.get("redis_version", ""))
    product = "Valkey" if "valkey_version" in about else "Redis"
    if not version:
        yield warn(what, f"It answers. Its version {_UNKNOWN}; 6.2 or later is needed.")
    elif tuple(map(int, version.split(".")[:2])) < _OLDEST_REDIS:
        yield fail(what, f"{product} {version} is too old: install 6.2 or later.")
    else:
        yield ok(what, f"{product} {version} answers.")
    if _info(redis, "replication").get("role") == "slave":
        yield fail(
            what,
            "It is a replica, which accepts nothing new, so nobody can subscribe and nothing is"
            " sent: let REDIS_URL and STORE_URL lead to the master.",
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
        yield ok("Time", f"This host and {what} agree.")


def _replicas(wanted: int, replication: dict[str, Any]) -> Finding:
    what, found = "Replicas", int(replication.get("connected_slaves", 0))
    status = f"{found} connected, {wanted} must have what is stored (STORE_WAIT_REPLICAS)."
    if found < wanted:
        todo = " Until there are enough, nobody can subscribe or publish."
        return fail(what, status + todo)
    if found == wanted:
        todo = " Add one: while one of these is away, nobody can subscribe or publish."
        return warn(what, status + todo)
    return ok(what, status)


def _lag(replication: dict[str, Any]) -> Iterator[Finding]:
    """Say whether each replica has what the master has; a failover loses the rest."""
    what, written = "Replication", int(replication.get("master_repl_offset", 0))
    replicas = _replicas_in(replication)
    found = False
    for one in replicas:
        where, silent = f"The replica {one.get('ip')}:{one.get('port')}", int(one.get("lag", 0))
        lacks = written - int(one.get("offset", written))
        if one.get("state") != "online":
            says = f"{where} is still copying the data, and cannot take over yet."
        elif silent >= _LATE or lacks >= _BEHIND:
            late = f" has been silent for {span(silent)}, and" if silent >= _LATE else ""
            says = (
                f"{where}{late} lacks {size(lacks)} of what the master has, which a failover to it"
                " would lose: look at that host, and at the network to it."
            )
        else:
            continue
        found = True
        yield warn(what, says)
    if replicas and not found:
        yield ok(what, f"{len(replicas)} replicas have what the master has.")


def _durability(redis: Redis, persistence: dict[str, Any], replication: dict[str, Any]) -> Finding:
    what, replicas = "Durability", replication.get("connected_slaves", 0)
    if "aof_enabled" not in persistence:
        return warn(what, f"Whether Redis writes to a disk {_UNKNOWN}.")
    if not persistence["aof_enabled"] and replicas:
        return warn(
            what,
            f"Redis keeps no append-only file, only replicas ({replicas}): if all are lost at once,"
            " so are readers. Set `appendonly yes` if your service allows it.",
        )
    if not persistence["aof_enabled"]:
        return fail(
            what,
            "Redis keeps no append-only file, so a crash loses readers. Set `appendonly yes` in"
            " redis.conf and by CONFIG SET, or in the settings of your service.",
        )
    written = [persistence.get(f"aof_last_{name}_status") for name in ("write", "bgrewrite")]
    if "err" in written:
        return fail(
            what, "Redis cannot write its append-only file: check its disk space and its log."
        )
    if persistence.get("rdb_last_bgsave_status") == "err":
        return fail(
            what,
            "Redis could not save its last snapshot, and may refuse all writes until it can: check"
            " its disk space, the rights of its folder and its log.",
        )
    if _writes_when_it_likes(redis):
        return warn(
            what,
            "Redis leaves it to the system when its file gets onto the disk (appendfsync no), so a"
            " power cut loses what came in about the last 30 seconds. Set `appendfsync everysec`.",
        )
    return ok(what, "Redis appends every write to a file.")


def _writes_when_it_likes(redis: Redis) -> bool:
    try:
        return bool(redis.config_get("appendfsync").get("appendfsync") == "no")
    except ResponseError:  # the finding on the size of records says that Redis does not tell
        return False


def _eviction(policy: str) -> Finding:
    what = "Eviction"
    todo = (
        "Set `maxmemory-policy noeviction` in redis.conf and by CONFIG SET, or in the settings of"
        " your service."
    )
    if not policy:
        return warn(what, f"What Redis deletes when it is full {_UNKNOWN}. {todo}")
    if policy == "noeviction":
        return ok(what, "Redis deletes nothing when it is full.")
    # Readers' records have no lifetime, much of what is known of alerts and of sessions has one.
    lost = "held alerts, daily limits and sessions" if policy.startswith("volatile") else "readers"
    return fail(what, f"Redis may delete {lost} when it is full ({policy}). {todo}")


def _memory(memory: dict[str, Any]) -> Finding:
    what = "Memory"
    used, most = memory.get("used_memory"), memory.get("maxmemory")
    of = most or memory.get("total_system_memory")
    if used is None or not of:
        return warn(what, f"How full Redis is {_UNKNOWN}. Look at your service's page.")
    status = f"{size(used)} used"
    if not most:
        # Rewriting the append-only file may take as much again.
        warning, failure = 0.4, 0.8
        status += f" of the {size(of)} of Redis' machine."
    else:
        warning, failure = _FULL
        status += f" of {size(of)} (maxmemory)."
    if used < warning * of:
        return ok(what, status)
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
    except ResponseError:  # many services refuse CONFIG, or call it otherwise
        found = {}
    limits = {str(name).rpartition("-")[2]: int(value or 0) for name, value in found.items()}
    if not {"entries", "value"} <= limits.keys():
        return warn(what, f"How Redis packs records {_UNKNOWN}. {todo}")
    if limits["entries"] < _BUCKET:
        return warn(
            what,
            f"Redis packs only up to {limits['entries']} entries of a hash, so each reader takes"
            f" twice the memory. Set `hash-max-listpack-entries {2 * _BUCKET}` in redis.conf.",
        )
    if limits["value"] < _PACKED:
        return warn(what, todo)
    return ok(what, "Redis packs readers' records.")
