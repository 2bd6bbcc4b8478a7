"""Network addresses: which ones a push service may have, and which count as one caller."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

# What no public server has (IANA's registries of special-purpose addresses). Written out, because
# `ipaddress` answers otherwise from one version of Python to the next.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a carrier's customers; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata and name server, in an otherwise public network
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # Oracle's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")
)
# The last 32 bits are an IPv4 address to which a gateway connects (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::\d{1,5})?", re.ASCII)

# Names that only one network, or one machine, knows (RFC 6761, RFC 6762, RFC 8375).
_LOCAL_NAMES = (".local", ".internal", ".lan", ".home.arpa", ".test", ".localhost")


def is_public(address: str) -> bool:
    """Whether this is the address of a server on the public internet.

    Only such a server can be a push service that a stranger named. An address that stands for an
    IPv4 address (mapped, or reached by NAT64) is judged by that one.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped
        if inner is None and found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is None:
            return found in _PUBLIC_6 and not any(found in net for net in _NOT_PUBLIC_6)
        found = inner
    return not any(found in net for net in _NOT_PUBLIC_4)


@lru_cache(maxsize=256)  # a browser's host is the same on each call
def host_name(host: str) -> str:
    """Return the name in `name:port`, or the address, in lower case; empty if it is no host."""
    found = _HOST.fullmatch(host.lower())
    name = found[1] if found else ""
    try:
        if name.startswith("["):
            IPv6Address(name[1:-1])
    except ValueError:
        return ""
    return name


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: an IPv6 address has brackets there."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's own; `host` may have brackets."""
    host = host.strip("[]").lower()
    if host == "localhost":
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def is_local_name(host: str) -> bool:
    """Whether a host is known in one network only: a private address, or a name of no domain."""
    host = host.strip("[]").lower().rstrip(".")
    try:
        return not is_public(str(ip_address(host)))
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_NAMES)


def network_of(address: str) -> str:
    """Return the network that counts as one caller: an IPv6 subscriber has at least a /64.

    Some proxies write a port behind the address (`203.0.113.7:1234`, `[2001:db8::1]:1234`), which
    is another for each connection.
    """
    text = address.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if ":" not in text:
        return text.partition("%")[0]  # IPv4, in its one spelling; a Unix socket has no address
    try:
        found = IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    # A server that listens on IPv6 for both sees IPv4 callers so, all in one IPv6 network; and one
    # that has only IPv6 sees those of a translator so (RFC 7755).
    ipv4 = IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else found.ipv4_mapped
    return str(ipv4 or ip_network((int(found) >> 64 << 64, 64)))
