"""Push endpoints: the allow-list that keeps strangers from making us call other servers.

Hosts are parsed and compared by label, never matched by a pattern over the whole URL. An endpoint
is stored byte for byte, split into a *base* (origin and known path prefix, a number in the store)
and the *rest*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from urllib.parse import urlsplit

MAX_LENGTH = 2048

# Host, or `*.` and a domain for all its subdomains; and the company that runs the service.
KNOWN_HOSTS = (
    ("fcm.googleapis.com", "google"),
    ("jmt17.google.com", "google"),
    ("*.push.services.mozilla.com", "mozilla"),
    ("*.push.apple.com", "apple"),
    ("*.notify.windows.com", "microsoft"),
)
# Hosts under a wildcard that the browsers of that company really use.
_USUAL_HOSTS = ("updates.push.services.mozilla.com", "web.push.apple.com")
OTHER = "other"
# Common beginnings of paths; in the base they save ten bytes in each of a million records.
KNOWN_PREFIXES = ("/fcm/send/", "/wp/", "/wpush/v2/", "/wpush/v1/", "/w/?token=")


class EndpointError(ValueError):
    """An endpoint that is refused; the message says why, and repeats nothing of the endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A push endpoint that the policy allows."""

    base: str
    rest: str

    @property
    def url(self) -> str:
        """The endpoint as the browser gave it, byte for byte."""
        return self.base + self.rest

    @property
    def origin(self) -> str:
        """Scheme, host and port: VAPID's `aud` (RFC 8292 section 2)."""
        return origin_of(self.base)


def origin_of(base: str) -> str:
    """Return the origin of a base."""
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def wildcard_of(origin: str) -> str:
    """Return the wildcard under which anybody can make up such an origin; may be empty."""
    host = origin.partition("://")[2]
    if host in _USUAL_HOSTS:
        return ""
    return next((k for k, _ in KNOWN_HOSTS if k[0] == "*" and host.endswith(k[1:])), "")


def any_may_name(origin: str) -> bool:
    """Whether anybody can make up such an origin, because a wildcard allows it."""
    return bool(wildcard_of(origin))


class EndpointPolicy:
    """The allow-list: the known push services and the origins of `PUSH_SERVICES`."""

    def __init__(self, push_services: tuple[str, ...] = ()) -> None:
        self.extra_origins = frozenset(push_services)

    @property
    def plain_origins(self) -> frozenset[str]:
        """Origins of `PUSH_SERVICES` without TLS, for tests on one machine."""
        return frozenset(o for o in self.extra_origins if o.startswith("http://"))

    def parse(self, url: str) -> Endpoint:
        """Return an endpoint, split for the store; `EndpointError` says what is wrong with it."""
        if len(url) > MAX_LENGTH:
            raise EndpointError(f"must not be longer than {MAX_LENGTH} characters")
        if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
            raise EndpointError("must be a URL of plain ASCII characters")
        scheme, _, rest = url.partition("://")
        origin = f"{scheme}://{rest.partition('/')[0]}"
        if not self.allows(origin):
            self._refuse(url)
        if "#" in url or not url.startswith(origin + "/"):
            raise EndpointError("must have a path and no fragment")
        path = url[len(origin) :]
        if path == "/":
            raise EndpointError("names no subscription")
        prefix = next((p for p in KNOWN_PREFIXES if path.startswith(p) and path != p), "/")
        return Endpoint(origin + prefix, path[len(prefix) :])

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
        if port is not None:
            raise EndpointError("must use the standard port 443")
        raise EndpointError("is not at a push service that this site sends to")

    def allows(self, origin: str) -> bool:
        """Whether messages may be sent to this origin; every send asks again."""
        scheme, _, host = origin.partition("://")
        return origin in self.extra_origins or (scheme == "https" and self._known(host) is not None)

    def service(self, origin: str) -> str:
        """Return who runs an origin: google, mozilla, apple, microsoft or other."""
        return self._known(origin.partition("://")[2]) or OTHER

    @staticmethod
    @lru_cache(maxsize=1024)
    def _known(host: str) -> str | None:
        for known, service in KNOWN_HOSTS:
            if host == known or (known.startswith("*.") and host.endswith(known[1:])):
                return service if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) else None
        return None
