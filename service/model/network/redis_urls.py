"""Addresses that name several servers: sentinels that know a master, or nodes of a cluster.

`redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/database][?options]`
`redis+cluster://[user:password@]host[:port][,host[:port]...][?options]`

User and password are those of Redis. `sentinel_username` and `sentinel_password` among the options
are those of the sentinels. With `rediss` every connection is by TLS.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from service.model.network.addresses import host_name

_SERVERS = r"://(?P<user>[^@/?#]*@)?(?P<hosts>[^@/?#]+)"
_OPTIONS = r"(?:\?(?P<options>[^#]*))?"
_SENTINEL = re.compile(
    rf"(?P<scheme>rediss?)\+sentinel{_SERVERS}"
    rf"/(?P<master>[A-Za-z0-9._-]+)(?:/(?P<database>\d{{0,4}}))?{_OPTIONS}"
)
_CLUSTER = re.compile(rf"(?P<scheme>rediss?)\+cluster{_SERVERS}/?{_OPTIONS}")
_HOST = re.compile(r"(?P<host>\[[^]]*\]|[^]:[]+)(?::(?P<port>\d{1,5}))?")
_OURS = {"sentinel_username": "username", "sentinel_password": "password"}


class SentinelUrl(NamedTuple):
    """What such an address says, in addresses that redis-py reads."""

    master: str  # its name at the sentinels
    redis: str  # how to speak to the master; only its host is made up
    sentinels: dict[str, str]  # host:port -> the address of that sentinel


class ClusterUrl(NamedTuple):
    """What an address of a cluster says."""

    redis: str  # how to speak to each node, as redis-py reads it; only its host is made up
    nodes: list[tuple[str, int]]  # host and port of those that are asked first


def is_sentinel_url(url: str) -> bool:
    """Whether this is meant as an address of sentinels."""
    return url.startswith(("redis+sentinel://", "rediss+sentinel://"))


def is_cluster_url(url: str) -> bool:
    """Whether this is meant as an address of a cluster."""
    return url.startswith(("redis+cluster://", "rediss+cluster://"))


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Read an address of sentinels; `ValueError`, whose message does not repeat it."""
    if not (found := _SENTINEL.fullmatch(url)):
        raise ValueError("must be redis+sentinel://[user:password@]host[:port][,host...]/master")
    scheme = found["scheme"]
    options = parse_qsl(found["options"] or "")
    rest = [(name, value) for name, value in options if name not in _OURS]
    redis = f"{scheme}://{found['user'] or ''}master.invalid/{found['database'] or ''}"
    own = [(_OURS[name], value) for name, value in options if name in _OURS]
    own += [(name, value) for name, value in rest if name.startswith("ssl_")]
    return SentinelUrl(
        master=found["master"],
        redis=_with(redis, rest),
        sentinels={
            f"{host}:{port}": _with(f"{scheme}://{host}:{port}", own)
            for host, port in _servers(found["hosts"], "sentinel", 26379)
        },
    )


def parse_cluster_url(url: str) -> ClusterUrl:
    """Read an address of a cluster; `ValueError`, whose message does not repeat it."""
    if not (found := _CLUSTER.fullmatch(url)):
        raise ValueError(
            "must be redis+cluster://[user:password@]host[:port][,host...], without a database"
        )
    redis = f"{found['scheme']}://{found['user'] or ''}node.invalid"
    options = parse_qsl(found["options"] or "")
    if any(name == "db" for name, _ in options):
        raise ValueError("must name no database, since a cluster has one")
    return ClusterUrl(_with(redis, options), _servers(found["hosts"], "node", 6379))


def _servers(text: str, what: str, port: int) -> list[tuple[str, int]]:
    return [_server(one.strip(), what, port) for one in text.split(",")]


def _server(text: str, what: str, usual: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or usual) if found else 0
    if not found or not host_name(found["host"]) or not 1 <= port <= 65535:
        raise ValueError(f"must name each {what} as host or host:port, with commas in between")
    return found["host"], port


def _with(url: str, options: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(options)}" if options else url
