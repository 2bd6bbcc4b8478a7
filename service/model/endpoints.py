"""Which push endpoints we store and send to: the guard against being made to call anything else.

Hosts are compared parsed and by label, never by a pattern over the whole URL. An endpoint is kept
byte for byte, split into a *base* (origin and known path prefix, a number in the store) and the
*rest*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from urllib.parse import urlsplit

MAX_LENGTH = 2048

# Host, or `*.` and a domain whose every subdomain counts; and whose service it is.
KNOWN_HOSTS = (
    ("fcm.googleapis.com", "google"),
    ("jmt17.google.com", "google"),
    ("*.push.services.mozilla.com", "mozilla"),
    ("*.push.apple.com", "apple"),
    ("*.notify.windows.com", "microsoft"),
)
# Those of a wildcard's hosts that are in every browser of their kind.
_USUAL_HOSTS = ("updates.push.services.mozilla.com", "web.push.apple.com")
OTHER = "other"
# Paths with which the endpoints of a service begin: ten bytes less in each of a million records.
KNOWN_PREFIXES = ("/fcm/send/", "/wp/", "/wpush/v2/", "/wpush/v1/", "/w/?token=")


class EndpointError(ValueError):
    """An endpoint we neither store nor send to; the message says why and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A push endpoint that the policy has let through."""

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
    """Return the origin with which a base begins."""
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def any_may_name(origin: str) -> bool:
    """Whether an origin is one of the many that a wildcard lets through, there or not."""
    host = origin.partition("://")[2]
    wild = any(known[0] == "*" and host.endswith(known[1:]) for known, _ in KNOWN_HOSTS)
    return wild and host not in _USUAL_HOSTS


class EndpointPolicy:
    """The allow-list: the known push services and the origins of `PUSH_SERVICES`."""

    def __init__(self, push_services: tuple[str, ...] = ()) -> None:
        self.extra_origins = frozenset(push_services)

    @property
    def plain_origins(self) -> frozenset[str]:
        """The listed origins that are reached without TLS: for tests on one machine."""
        return frozenset(o for o in self.extra_origins if o.startswith("http://"))

    def parse(self, url: str) -> Endpoint:
        """Return the endpoint split for the store; `EndpointError` says what is wrong with it."""
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
        """Say why an endpoint is none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise EndpointError("is not a URL") from None
        if "@" in parts.netloc:
            raise EndpointError("must not carry a user name or password")
        if not parts.path:
            raise EndpointError("must have a path and no fragment")
        # A host spelled unusually (capitals, a default port, a trailing dot) is nothing a
        # browser hands out, and only helps to get past a comparison.
        if parts.scheme != "https":
            raise EndpointError("must begin with https://")
        if port is not None:
            raise EndpointError("must use the standard port 443")
        raise EndpointError("is not at a push service that this site sends to")

    def allows(self, origin: str) -> bool:
        """Whether messages may be sent to this origin now: asked again at every send."""
        scheme, _, host = origin.partition("://")
        return origin in self.extra_origins or (scheme == "https" and self._known(host) is not None)

    def service(self, origin: str) -> str:
        """Whose push service an origin is: google, mozilla, apple, microsoft or other."""
        return self._known(origin.partition("://")[2]) or OTHER

    @staticmethod
    @lru_cache(maxsize=1024)
    def _known(host: str) -> str | None:
        for known, service in KNOWN_HOSTS:
            if host == known or (known.startswith("*.") and host.endswith(known[1:])):
                return service if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) else None
        return None
