"""Push endpoints: the allow-list that keeps strangers from making us call other servers.

Hosts are parsed and compared by label, never matched by a pattern over the whole URL. An endpoint
is stored byte for byte, split into a *base* (origin and known path prefix, a number in the store)
and the *rest*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn
from urllib.parse import urlsplit

from service.model.network.addresses import is_public

MAX_LENGTH = 2048

# Host, or `*.` and a domain for all its subdomains; and the company that runs the service.
KNOWN_HOSTS = (
    ("fcm.googleapis.com", "google"),
    ("jmt17.google.com", "google"),
    ("*.push.services.mozilla.com", "mozilla"),
    ("*.push.apple.com", "apple"),
    ("*.notify.windows.com", "microsoft"),
)
# Where Safari shows an alert by itself (Declarative Web Push), no script runs that could report.
SILENT = "apple"
# Hosts that nobody can make up: those named above, and those under a wildcard that the browsers of
# that company really use.
_REAL_HOSTS = frozenset(host for host, _ in KNOWN_HOSTS if "*" not in host) | {
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
}
OTHER = "other"
# Common beginnings of paths; in the base they save ten bytes in each of a million records.
KNOWN_PREFIXES = ("/fcm/send/", "/wp/", "/wpush/v2/", "/wpush/v1/", "/w/?token=")
_PREFIX = re.compile(f"({'|'.join(map(re.escape, KNOWN_PREFIXES))})(?=.)")

# What browsers give while a subscription is being removed; it is never at a push service.
_REMOVED = "permanently-removed.invalid"
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without a backslash
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")


class EndpointError(ValueError):
    """An endpoint that is refused; the message says why, and repeats nothing of the endpoint."""

    kind = ""  # a name for pages, where a reader has to know


class UnknownPushService(EndpointError):
    """An endpoint at a push service that this site does not send to; `host` may have a port."""

    kind = "unknown-push-service"

    def __init__(self, host: str) -> None:
        super().__init__("your browser's push service is not known here")
        self.host = host


class RemovedEndpoint(EndpointError):
    """What some browsers give for some seconds after a subscription has ended."""

    kind = "ended-subscription"

    def __init__(self) -> None:
        super().__init__("your browser has just ended this subscription; subscribe once more")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A push endpoint that the policy allows."""

    base: str
    rest: str
    # The wildcard under which anybody can make up such a host; empty: nobody can.
    wildcard: str = field(default="", compare=False)

    @property
    def url(self) -> str:
        """The endpoint as the browser gave it, byte for byte."""
        return self.base + self.rest

    @property
    def origin(self) -> str:
        """Scheme, host and port: VAPID's `aud` (RFC 8292 section 2)."""
        return origin_of(self.base)


def origin_of(url: str) -> str:
    """Return the origin of an endpoint, or of a base."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def wildcard(text: str) -> str:
    """Return `https://*.up.example` in its usual form; `ValueError`.

    It stands for all subdomains of a domain, however deep, and not for the domain itself.
    """
    domain = re.fullmatch(r"https://\*\.([^/:*]+)(:\d{1,5})?/?", text.lower())
    if domain is None:
        raise ValueError("a wildcard must be the first part of an https host: https://*.up.example")
    if not _HOST.fullmatch(domain[1]) or "." not in domain[1] or re.search(r"\.\d+$", domain[1]):
        raise ValueError("a wildcard must be within a domain of two names, as in *.up.example")
    port = "" if domain[2] in (None, ":443") else domain[2]
    return f"https://*.{domain[1]}{port}"


class EndpointPolicy:
    """The allow-list: the known push services and those of `PUSH_SERVICES`."""

    def __init__(self, push_services: tuple[str, ...] = (), own: str = "") -> None:
        # Where our own web processes take the canary's messages, and nobody can subscribe.
        self.own = own
        self.extra_origins = frozenset(one for one in push_services if "*" not in one)
        # What may follow the subdomain: `.up.example`, or `.up.example:8443`.
        self._extra_domains = tuple(
            one.partition("*")[2] for one in push_services if one not in self.extra_origins
        )

    @property
    def plain_origins(self) -> frozenset[str]:
        """Origins without TLS: ours, and those of `PUSH_SERVICES`, for tests on one machine."""
        return frozenset(o for o in (*self.extra_origins, self.own) if o.startswith("http://"))

    def parse(self, url: str) -> Endpoint:
        """Return an endpoint, split for the store; `EndpointError` says what is wrong with it."""
        if len(url) > MAX_LENGTH:
            raise EndpointError(f"must not be longer than {MAX_LENGTH} characters")
        if not _PLAIN.fullmatch(url):
            raise EndpointError("must be a URL of plain ASCII characters")
        origin = origin_of(url)
        if not self.allows(origin):
            self._refuse(url)
        if "#" in url or not url.startswith(origin + "/"):
            raise EndpointError("must have a path and no fragment")
        path = url[len(origin) :]
        if path == "/":
            raise EndpointError("names no subscription")
        known = _PREFIX.match(path)
        prefix = known[0] if known else "/"
        return Endpoint(origin + prefix, path[len(prefix) :], self.wildcard_of(origin))

    def _refuse(self, url: str) -> NoReturn:
        """Raise the error that says what is wrong with this endpoint."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise EndpointError("is not a URL") from None
        if "@" in parts.netloc:
            raise EndpointError("must not carry a user name or password")
        if not parts.path:
            raise EndpointError("must have a path and no fragment")
        # No browser spells a host unusually (capitals, a default port, a trailing dot); it would
        # only help to get past a comparison.
        if parts.scheme != "https":
            raise EndpointError("must begin with https://")
        host = parts.hostname or ""
        if host == _REMOVED:
            raise RemovedEndpoint
        if self._known(host) and port is not None:
            raise EndpointError("must use the standard port 443")
        raise UnknownPushService(host if port is None else f"{host}:{port}")

    def allows(self, origin: str) -> bool:
        """Whether messages may be sent to this origin; every send asks again."""
        scheme, _, host = origin.partition("://")
        return (
            origin in self.extra_origins
            or (scheme == "https" and self._known(host) is not None)
            or bool(self._extra_domain(origin))
        )

    def _extra_domain(self, origin: str) -> str:
        scheme, _, host = origin.partition("://")
        if scheme != "https":
            return ""
        fits = (
            d for d in self._extra_domains if host.endswith(d) and _HOST.fullmatch(host[: -len(d)])
        )
        return next(fits, "")

    def wildcard_of(self, origin: str) -> str:
        """Return the wildcard under which anybody can make up such an origin; may be empty."""
        host = origin.partition("://")[2]
        if origin in self.extra_origins or host in _REAL_HOSTS:
            return ""
        known = (known for known, _ in KNOWN_HOSTS if known[0] == "*" and host.endswith(known[1:]))
        domain = next(known, "") or self._extra_domain(origin)
        return f"*{domain.removeprefix('*')}" if domain else ""

    def may_connect(self, origin: str, address: str) -> bool:
        """Whether to connect to an address that the host name of an allowed origin leads to now.

        A name can lead anywhere, also into our own network. Only an origin that a setting names,
        and not a wildcard, may be there.
        """
        return origin in (*self.extra_origins, self.own) or is_public(address)

    def service(self, origin: str) -> str:
        """Return who runs an origin: google, mozilla, apple, microsoft or other."""
        return self._known(origin.partition("://")[2]) or OTHER

    @staticmethod
    @lru_cache(maxsize=1024)
    def _known(host: str) -> str | None:
        for known, service in KNOWN_HOSTS:
            if host == known or (known.startswith("*.") and host.endswith(known[1:])):
                return service if "." in host and _HOST.fullmatch(host) else None
        return None
