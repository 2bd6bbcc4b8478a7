"""Addresses of a Redis whose master Sentinel names.

`redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/database][?options]`

User and password are those of Redis. `sentinel_username` and `sentinel_password` among the options
are those of the sentinels. `rediss+sentinel://` means TLS to both.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from service.model.addresses import host_name

_PORT = 26379
_FORM = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<user>[^@/?#]*@)?(?P<hosts>[^@/?#]+)"
    r"/(?P<master>[A-Za-z0-9._-]+)(?:/(?P<database>\d{0,4}))?(?:\?(?P<options>[^#]*))?"
)
_HOST = re.compile(r"(?P<host>\[[^]]*\]|[^]:[]+)(?::(?P<port>\d{1,5}))?")
_OURS = {"sentinel_username": "username", "sentinel_password": "password"}


class SentinelUrl(NamedTuple):
    """What such an address says, in addresses that redis-py reads."""

    master: str  # its name at the sentinels
    redis: str  # how to speak to the master; only its host is made up
    sentinels: dict[str, str]  # host:port -> the address of that sentinel


def is_sentinel_url(url: str) -> bool:
    """Whether this is meant as such an address."""
    return url.startswith(("redis+sentinel://", "rediss+sentinel://"))


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Read such an address; `ValueError`, whose message does not repeat it."""
    if not (found := _FORM.fullmatch(url)):
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
            host: _with(f"{scheme}://{host}", own) for host in map(_host, found["hosts"].split(","))
        },
    )


def _host(text: str) -> str:
    found = _HOST.fullmatch(text.strip())
    port = int(found["port"] or _PORT) if found else 0
    if not found or not host_name(found["host"]) or not 1 <= port <= 65535:
        raise ValueError("must name each sentinel as host or host:port, with commas in between")
    return f"{found['host']}:{port}"


def _with(url: str, options: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(options)}" if options else url
