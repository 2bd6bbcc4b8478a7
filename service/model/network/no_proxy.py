"""Which hosts are connected to without a proxy, as curl and Python read `NO_PROXY`."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def bypasses(rules: Collection[str], origin: str) -> bool:
    """Whether an origin needs no proxy.

    A rule is a domain, which means its subdomains too (with a dot or `*.` in front, or without);
    an address or a network of addresses; each with `:port` or without; or `*` for every host.
    """
    parts = urlsplit(origin)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return any(_matches(rule.lower(), host, port) for rule in rules)


def _matches(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    name, colon, number = rule.rpartition(":")
    if colon and number.isdecimal() and (name.count(":") == 0 or name.endswith("]")):
        if int(number) != port:
            return False
        rule = name
    rule = rule.strip("[]").removeprefix("*").strip(".")
    try:
        return ip_address(host) in ip_network(rule, strict=False)
    except ValueError:
        return bool(rule) and (host == rule or host.endswith(f".{rule}"))
