"""How each kind of setting is read: a text becomes a checked value, or a `ValueError` in words."""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from redis.connection import ConnectionPool

from service.model.keys import any_base64, b64url, on_p256
from service.model.language.languages import language_tag
from service.model.language.links import web_address
from service.model.language.texts import is_visible, one_line
from service.model.network.addresses import bracketed, host_name, is_loopback
from service.model.network.endpoints import wildcard
from service.model.network.redis_urls import (
    is_cluster_url,
    is_sentinel_url,
    parse_cluster_url,
    parse_sentinel_url,
)
from service.model.preferences import MOST_A_DAY, NO_QUIET, UNLIMITED, Quiet
from service.setting_sources import path_of

_MOST_CONVERSIONS = 10
# With a public key, in older ones a secret one as well, and in the end the number of the project.
_DSN = re.compile(r"(https?://)[A-Za-z0-9]+(?::[A-Za-z0-9]+)?@([^\s/?#@]+(?:/[\w.~-]+)*/[0-9]+)")
_REDIS_URL = (
    "must be redis://[user:password@]host[:port][/database]; in a password, write / as %2F,"
    " ? as %3F, # as %23, @ as %40, [ as %5B, ] as %5D and % as %25"
)


def path(value: str) -> Path:
    """Return the absolute path; `~` is the home of this user."""
    return path_of(value).absolute()


def optional_path(value: str) -> Path | None:
    """Return the path of a file of certificates (PEM), if one is given."""
    if not value:
        return None
    file = path(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise ValueError("the file has no certificates (PEM)") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return file


def words(value: str) -> tuple[str, ...]:
    """Return words that have spaces or commas between them."""
    return tuple(value.replace(",", " ").split())


def conversions(value: str) -> tuple[str, ...]:
    """Return the names of what readers may do after a click on an alert."""
    found = words(value)
    if len(found) > _MOST_CONVERSIONS:
        raise ValueError(f"must have at most {_MOST_CONVERSIONS} names")
    for name in found:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
            raise ValueError("must be words of lower-case letters, digits and hyphens")
    return found


def listens_on(value: str) -> str:
    """Check an address of this host, without a port."""
    value = re.sub(r"^\[([^][]*)\]$", r"\1", value)
    host = value.partition("%")[0]  # the interface of a link-local address may follow
    if host_name(bracketed(host)) != bracketed(host).lower():
        raise ValueError("must be an address of this host such as 0.0.0.0 or ::, without a port")
    return value


def hosts(value: str) -> tuple[str, ...]:
    """Check names of hosts."""
    names = words(value)
    if not all(map(host_name, names)):
        raise ValueError("each must be the name of a host, such as inside.example, or [::1]")
    return names


SHORTEST_SECRET = 32  # characters


def secret_keys(value: str) -> tuple[str, ...]:
    """Return the current key and, after a comma, the previous one if there is one."""
    keys = tuple(key.strip() for key in value.split(","))
    if any(len(key) < SHORTEST_SECRET for key in keys):
        # One key; one that an operator made up may have a comma in itself.
        return (value,) if value else ()
    if len(keys) > 2:
        raise ValueError("must be one key, or the new one, a comma and the previous one")
    return keys


def _vapid_public(word: str) -> str:
    try:
        point = any_base64(word)
    except ValueError:
        point = b""
    if len(point) != 65 or point[0] != 4 or not on_p256(point):
        raise ValueError("each must be the public half of a key, as `stoppress keys` prints it")
    return b64url(point)


def vapid_publics(value: str) -> tuple[str, ...]:
    """Return public VAPID keys in base64url, whatever base64 they come in."""
    return tuple(_vapid_public(word) for word in words(value))


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in this range."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def none_or_whole(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in this range, and of 0."""
    return lambda value: 0 if value == "0" else whole(least, most)(value)


def partitions(value: str) -> int | None:
    """Return a number of partitions; None if it is not set."""
    return whole(1, 255)(value) if value else None


def _either(yes: str, no: str) -> Callable[[str], bool]:
    def parse(value: str) -> bool:
        if value.lower() not in (yes, no):
            raise ValueError(f"must be {yes} or {no}")
        return value.lower() == yes

    return parse


yes_or_no, on_or_off = _either("yes", "no"), _either("on", "off")


def _origin(value: str) -> str:
    """Return `scheme://host[:port]` in lower case; a default port is dropped (RFC 6454)."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            "must begin with https:// and be a host alone, as in https://www.example.com"
        )
    if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin alone, without a path")
    if not parts.hostname.isascii():
        raise ValueError("must have its host as browsers send it, such as xn--mnchen-3ya.example")
    host = bracketed(parts.hostname)
    if host_name(host) != host or parts.port == 0:
        raise ValueError("must have the name of one host, such as https://www.example.com")
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def optional_origin(value: str) -> str:
    """Return an origin, if one is given."""
    return _origin(value) if value else ""


def picture(value: str) -> str:
    """Check the address of a picture; alerts show only what came by HTTPS."""
    if not value:
        return value
    parts = urlsplit(value)
    host = bracketed(parts.hostname or "")
    is_safe = value.startswith("https://") and "@" not in parts.netloc
    if not is_safe or host_name(host) != host:
        raise ValueError("must be an address such as https://www.paper.example/icon-192.png")
    if len(value) > 500 or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be an address of at most 500 characters, without spaces")
    if parts.path.lower().endswith((".svg", ".svgz")):
        raise ValueError("must be a PNG or another picture: browsers show no SVG in alerts")
    return value


def origins(value: str) -> tuple[str, ...]:
    """Return origins."""
    return tuple(_origin(word) for word in words(value))


_NO_PROXY_ADDRESS = (
    "must be an address such as http://proxy.example:3128 (PUSH_PROXY=none: no proxy); in a"
    " password, write / as %2F, ? as %3F, # as %23, [ as %5B and % as %25"
)


def proxy(value: str) -> str:
    """Check `http://[user:password@]host[:port]`; empty for `none`."""
    if value.lower() in ("", "none"):
        return ""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:  # whose message may repeat a password
        raise ValueError(_NO_PROXY_ADDRESS) from None
    rest = parts.path.strip("/") or parts.query or parts.fragment
    host = host_name(bracketed(parts.hostname or ""))
    if parts.scheme != "http" or not host or port == 0 or rest:
        raise ValueError(_NO_PROXY_ADDRESS)
    return f"http://{parts.netloc}" if port else f"http://{parts.netloc.rstrip(':')}:80"


def push_services(value: str) -> tuple[str, ...]:
    """Return origins of push services, and wildcards such as `https://*.up.example`."""
    hosts = (word if "://" in word else f"https://{word}" for word in words(value))
    found = tuple(wildcard(host) if "*" in host else _origin(host) for host in hosts)
    for origin in found:
        if origin.startswith("http://") and not is_loopback(urlsplit(origin).hostname or ""):
            raise ValueError("http:// is only for this machine, as http://127.0.0.1; use https://")
    return found


def redis_url(value: str) -> str:
    """Check an address of Redis; what is wrong with it is said without its password."""
    if is_cluster_url(value):
        raise ValueError(
            "the queue does not run on a cluster; give it a Redis of its own, and name the cluster"
            " in STORE_URL"
        )
    if is_sentinel_url(value):
        found = parse_sentinel_url(value)
        for address in (found.redis, *found.sentinels.values()):
            redis_url(address)
        return value
    if not value:
        return value
    scheme = value.partition(":")[0]
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(
            "must begin with redis://, rediss://, redis+sentinel:// or unix://; STORE_URL may also"
            " begin with redis+cluster://"
        )
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(_REDIS_URL) from None
    # A `/`, `?` or `#` in the password ends the address there, so that the rest follows it.
    cut = "@" in parts.path or ("@" in parts.query and "password=" not in parts.query)
    if parts.fragment or (cut and scheme != "unix"):
        raise ValueError(_REDIS_URL)
    if scheme != "unix" and not re.fullmatch(r"(/\d{0,4})?", parts.path):
        raise ValueError("must end with the number of a database, such as /0, or without one")
    try:
        # Without `driver_info` it would read its version from a file.
        connection = ConnectionPool.from_url(value, driver_info=None).make_connection()
    except Exception:  # redis-py raises whatever an option meets, and the text may repeat it
        raise ValueError(
            "has an option that redis-py does not know, or with a wrong value"
        ) from None
    # Without this check a process would wait for ever for a Redis that seems to be away.
    for name in ("ca_certs", "certfile", "keyfile"):
        file = getattr(connection, name, None)
        if file and not os.access(file, os.R_OK):
            raise ValueError(f"the file of its option ssl_{name} cannot be read")
    return value


def store_url(value: str) -> str:
    """Check the same of the store's Redis, which may be a cluster."""
    if not is_cluster_url(value):
        return redis_url(value)
    redis_url(parse_cluster_url(value).redis)
    return value


_SUBJECT = "must be mailto:you@your.domain or an https: address"


def subject(value: str) -> str:
    """Check VAPID's `sub` (RFC 8292 section 2.1); Apple refuses spaces and angle brackets."""
    if value and not re.fullmatch(r"mailto:[^\s<>@]+@[^\s<>@]+|https://[^\s<>]+", value):
        raise ValueError(_SUBJECT)
    if value.startswith("https:"):
        try:
            host = urlsplit(value).hostname
        except ValueError:
            host = None
        if not host or not host_name(bracketed(host)) or "@" in urlsplit(value).netloc:
            raise ValueError(_SUBJECT)
    return value


def one_of(*known: str) -> Callable[[str], str]:
    """Return a parser of these words."""

    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value.lower()

    return parse


def line(most: int) -> Callable[[str], str]:
    """Return a parser of one visible line of so many characters at most."""

    def parse(value: str) -> str:
        # Not `isprintable`: names in Persian, Hindi and Japanese have joiners and wide spaces.
        shown = one_line(value).text
        if len(shown) > most or re.search(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", value):
            raise ValueError(f"must be one line of at most {most} characters")
        if value and not is_visible(shown):
            raise ValueError("must have a character that readers see")
        return shown

    return parse


def issuer(value: str) -> str:
    """Check the address of an OpenID Connect provider (OpenID Connect Discovery 1.0)."""
    parts = urlsplit(value)
    host = bracketed(parts.hostname or "")
    if value and (not host_name(host) or not re.fullmatch(r"https?://[!-~]+", value)):
        raise ValueError("must be an address such as https://login.example/realms/paper")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be an address without a user, a ? and a #")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("http:// is only for this machine, as http://localhost; use https://")
    return value


def alert_webhook(value: str) -> str:
    """Check the address that is called when something is wrong; the operator's own."""
    address = web_address(value)
    if value and not address:
        raise ValueError("must be an address such as https://chat.example/hooks/…")
    return address


def webhook_secret(value: str) -> str:
    """Check a secret as Standard Webhooks writes it."""
    try:
        secret = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        secret = b""
    if value and not (value.startswith("whsec_") and 24 <= len(secret) <= 64):
        raise ValueError("must be whsec_ and then 24 to 64 bytes in base64")
    return value


def sentry_dsn(value: str) -> str:
    """Check the address of a project of Sentry."""
    found = _DSN.fullmatch(value)
    if value and not (found and web_address(f"{found[1]}{found[2]}")):
        raise ValueError("must be an address as Sentry shows it, https://KEY@HOST/NUMBER")
    return value


def collector(value: str) -> str:
    """Check the address of an OpenTelemetry collector, in which no password may stand."""
    if value and not (re.fullmatch(r"https?://[!-~]+", value) and web_address(value)):
        raise ValueError("must be an address such as http://localhost:4318, without a password")
    if "?" in value or "#" in value:
        raise ValueError("must have no ? and no #, because /v1/traces follows it")
    return value


def word(value: str) -> str:
    """Check an identifier or a secret of a client (RFC 6749 appendix A)."""
    if not re.fullmatch(r"[ -~]*", value):
        raise ValueError("must be one line of ASCII characters")
    return value


def language(value: str) -> str:
    """Return a language tag, if one is given."""
    return language_tag(value) if value else ""


def quiet(value: str) -> Quiet:
    """Return quiet hours."""
    try:
        return NO_QUIET if value == "none" else Quiet.parse(value)
    except ValueError:
        form = "must be two times of day in quarter hours, such as 22:00-07:00, or none"
        raise ValueError(form) from None


def limit(value: str) -> int:
    """Return a daily limit."""
    return UNLIMITED if value == "none" else whole(1, MOST_A_DAY)(value)
