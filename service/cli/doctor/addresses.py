"""The doctor's checks of our own addresses and the publisher's, as browsers meet them."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from service.cli.doctor.calls import OTHER_NAME, certificate_fault, in_time
from service.cli.doctor.findings import Finding, Level, fail, ok, warn
from service.model.network.addresses import host_name
from service.model.network.block_lists import is_blocked
from service.runtime import Runtime

_MOST_NAMED = 5  # origins
_ANSWER = 10.0  # seconds that our own web processes have to answer
_NOBODY = "the proxy in front finds no web process: start stoppress web, or correct the proxy"
_BY_STATUS = {
    400: "let the proxy in front pass the header Host on",
    404: "perhaps another server answers there: check SITE_URL and the proxy in front",
    502: _NOBODY,
    504: _NOBODY,
}
# Top-level domains that receive no mail (RFC 2606, 6761, 6762; ICANN).
_RESERVED = ("example", "test", "invalid", "localhost", "local", "internal")


class _NoRedirects(HTTPRedirectHandler):
    """Leaves a redirect as it is: another server would answer for ours."""

    def redirect_request(self, *_: object) -> None:
        """Make no request of it."""


@dataclass(frozen=True)
class Addresses:
    """The checks of addresses."""

    runtime: Runtime

    def findings(self) -> Iterator[Finding]:
        """Run them."""
        yield from self.subject()
        yield from self.site()
        yield from self.web()
        yield from self.proxies()

    @property
    def trial(self) -> bool:
        """Whether only browsers on this machine can reach this installation."""
        return is_here(self.runtime.config.public_url)

    @property
    def level_if_missing(self) -> Level:
        """The level of a missing setting that only a real site needs."""
        return "warn" if self.trial else "fail"

    def subject(self) -> Iterator[Finding]:
        """Check the newsroom's contact address for push services; Apple rejects made-up ones."""
        what, subject = "VAPID_SUBJECT", self.runtime.config.vapid_subject
        todo = "Set an address that you read, such as mailto:push@your.domain."
        if not subject:
            yield Finding(
                self.level_if_missing,
                what,
                f"Not set, so Apple may reject every alert to Safari. {todo}",
            )
        elif not _is_reachable(subject):
            yield Finding(
                self.level_if_missing,
                what,
                f"{subject} receives no mail, so Apple rejects it. {todo}",
            )
        else:
            yield ok(what, f"{subject}")

    def site(self) -> Iterator[Finding]:
        """Check the address of this service and those of the newsroom's sites."""
        config = self.runtime.config
        url = config.public_url
        if self.trial:
            yield warn(
                "SITE_URL", f"{url} works on this machine only: set the address that readers use."
            )
        elif not url.startswith("https://"):
            yield fail(
                "SITE_URL",
                f"{url} is not https, so browsers have no push: put TLS in front of it, and set"
                " SITE_URL to the https address.",
            )
        elif is_blocked(url):
            yield warn(
                "SITE_URL",
                f"{url} is blocked in browsers with an ad blocker, because of its name: choose"
                " another, such as alerts.your.domain (docs/site.md).",
            )
        else:
            yield ok("SITE_URL", url)
        origins = config.site_origins
        plain = [o for o in origins if o.startswith("http://") and not is_here(o)]
        if not origins:
            yield Finding(
                self.level_if_missing,
                "SITE_ORIGINS",
                "Not set, so only the demo pages can subscribe readers. Set your sites' origins.",
            )
        elif plain:
            yield warn(
                "SITE_ORIGINS", f"{plain[0]} is not https, so readers cannot subscribe there."
            )
        else:
            yield ok("SITE_ORIGINS", ", ".join(origins))
        refused = self.runtime.refused_origins.latest()
        strange = [one for one in refused if one not in origins and not self._is_own(one)]
        for origin in strange[:_MOST_NAMED]:
            yield warn(
                "SITE_ORIGINS",
                f"A page of {origin} has our script, and its readers cannot subscribe: add this"
                " origin if it is yours.",
            )

    def _is_own(self, origin: str) -> bool:
        """Whether an origin is that of our own pages, as browsers see it."""
        config = self.runtime.config
        ours = (urlsplit(config.public_url).netloc, *config.trusted_hosts)
        return host_name(urlsplit(origin).netloc) in map(host_name, ours)

    def proxies(self) -> Iterator[Finding]:
        """Check that the web processes know of the proxy that ends TLS in front of them."""
        config = self.runtime.config
        own = [one for one in self.runtime.refused_origins.latest() if self._is_own(one)]
        # Without TLS there may be no proxy, and any caller can send us such an origin. To trust a
        # proxy that is not there would let callers choose their addresses.
        if own and not config.trusted_proxies and config.public_url.startswith("https:"):
            yield fail(
                "Proxies",
                f"Calls of {own[0]} reach the web processes as another origin's, because they do"
                " not trust the proxy in front of them, and all readers look like one caller to"
                " them: set TRUSTED_PROXIES to the number of proxies, such as 1.",
            )

    def web(self) -> Iterator[Finding]:
        """Call the web processes as a reader's browser would, and check that they have our key."""
        what, url = "Web", self.runtime.config.public_url
        try:
            in_time(_ANSWER, lambda: _get(f"{url}/readyz"))
            # A cache in front of us may keep this response for five minutes, unless its URL is new.
            # With our own origin, which they take for a strange one if TRUSTED_PROXIES is missing.
            page = f"{url}/api/v1/site?doctor={time.time()}"
            site = json.loads(in_time(_ANSWER, lambda: _get(page, origin=url)))
            key = site["vapid_public_key"]
        except HTTPError as error:
            error.close()
            path = urlsplit(error.url).path
            todo = _BY_STATUS.get(error.code, "see the log of stoppress web")
            if 300 <= error.code < 400:
                todo = "it leads elsewhere, so set SITE_URL to the address that answers itself"
            yield fail(what, f"{url}{path} answers {error.code}; {todo}.")
        except OSError as error:
            yield fail(what, _unreachable(url, getattr(error, "reason", error)))
        except (HTTPException, KeyError, RecursionError, TypeError, ValueError):
            yield fail(what, f"The server at {url} is not Stop Press: check SITE_URL.")
        else:
            if key == self.runtime.keys.current:
                yield ok(what, f"{url} answers.")
            else:
                yield fail(
                    what,
                    f"{url} hands out another VAPID key than the first of VAPID_PRIVATE_KEY here,"
                    " so new readers get no alerts once that key is gone: restart its processes"
                    " with the same settings.",
                )


def _unreachable(url: str, why: object) -> str:
    lost = "so readers cannot subscribe and editors cannot publish"
    if isinstance(why, ssl.SSLCertVerificationError):
        todo = "renew it"
        if certificate_fault(why) == OTHER_NAME:
            todo = "get one for that name, or correct SITE_URL"
        why_not = why.verify_message.rstrip(".")
        return f"Browsers do not trust the certificate of {url} ({why_not}), {lost}: {todo}."
    if isinstance(why, socket.gaierror):
        return f"The name of {url} is not known here, {lost}: correct SITE_URL or add the name."
    return (
        f"{url} does not answer from here, {lost}: start stoppress web, or check the proxy and"
        " SITE_URL."
    )


def _get(url: str, *, origin: str = "") -> bytes:
    request = Request(url, headers={"Origin": origin} if origin else {})  # noqa: S310 - our own
    with build_opener(_NoRedirects).open(request, timeout=_ANSWER) as response:
        body: bytes = response.read(1 << 20)
    return body


def is_here(url: str) -> bool:
    """Whether an address has one of the usual names of this machine."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _is_reachable(subject: str) -> bool:
    """Whether a VAPID subject names a domain that can receive mail."""
    https = subject.startswith("https:")
    host = urlsplit(subject).hostname or "" if https else subject.rpartition("@")[2].lower()
    labels = host.rstrip(".").split(".")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        reserved = labels[-1] in _RESERVED or (len(labels) > 1 and labels[-2] == "example")
        return len(labels) > 1 and not reserved
    return False
