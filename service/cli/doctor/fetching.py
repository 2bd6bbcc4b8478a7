"""How the doctor reads the publisher's page, and what that page names.

As for the articles that editors link to (decision 90), an address is checked when it is connected
to, and a page of strangers leads into no private network.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ssl import SSLCertVerificationError

import requests

from service.cli.doctor.calls import certificate_fault, in_time
from service.cli.doctor.session import NAME_UNKNOWN, NOT_PUBLIC, NotConnected, Session
from service.config import Config
from service.model.language.graphemes import cut
from service.model.language.links import Origin, web_address
from service.model.network.addresses import is_public

_SECONDS = 10.0  # for one request, all in all
_LARGEST = 2 << 20  # bytes
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
SHOWN = 80  # characters of what a stranger's server says


class CannotFetch(Exception):
    """An address that gives no response; the message says why."""


@dataclass(frozen=True)
class Fetched:
    """A response."""

    address: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body; what has to be found in it is ASCII."""
        return self.body.decode("utf-8", "replace")

    @property
    def kind(self) -> str:
        """Its media type."""
        return cut(self.headers.get("content-type", "").partition(";")[0].strip().lower(), SHOWN)

    @property
    def redirects_to(self) -> str:
        """Where it leads; empty if it is no redirect."""
        to = self.headers.get("location", "") if self.status in _REDIRECTS else ""
        return web_address(to, self.address) if to else ""


@dataclass(frozen=True)
class Fetching:
    """Reads public addresses, and those at `named` origins, which the operator chose."""

    config: Config
    named: Collection[str]

    def get(self, address: str, *, by: str, **headers: str) -> Fetched:
        """Return the response of an address that a page at `by` names; it follows no redirect."""
        return self._ask("GET", address, by, headers)

    def preflight(self, address: str, *, by: str) -> Fetched:
        """Ask as a browser does before a page at the origin `by` may post JSON (Fetch, CORS)."""
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        return self._ask("OPTIONS", address, by, {"Origin": by, **asked})

    def page(self, address: str) -> Fetched:
        """Return the page of an address that the operator named, after redirects."""
        by, named = str(Origin.of(address)), address
        for _ in range(_MOST_REDIRECTS):
            try:
                found = self.get(address, by=by, Accept="text/html")
            except CannotFetch as error:
                led = "" if address == named else f"it leads to {address}, and "
                raise CannotFetch(f"{led}{error}") from None
            if not found.redirects_to:
                return found
            by, address = str(Origin.of(address)), found.redirects_to
        raise CannotFetch("it redirects again and again")

    def _ask(self, method: str, address: str, by: str, headers: Mapping[str, str]) -> Fetched:
        try:
            return in_time(_SECONDS, lambda: self._response(method, address, by, headers))
        except (OSError, CannotFetch, ValueError) as error:  # as requests raises them
            raise CannotFetch(_why(error)) from None

    def _response(self, method: str, address: str, by: str, headers: Mapping[str, str]) -> Fetched:
        usual = web_address(address)
        if not usual:
            raise CannotFetch("it is no http or https address")
        sent = {"User-Agent": "StopPress", "Connection": "close", **headers}
        # A session each: a server may close a connection just when the next request goes there.
        with (
            self._session(str(Origin.of(usual)), inward=by in self.named) as session,
            session.request(method, usual, headers=sent, timeout=_SECONDS, stream=True) as response,
        ):
            body = b""
            for some in response.iter_content(1 << 16):
                body += some
                if len(body) >= _LARGEST:
                    break
            return Fetched(usual, response.status_code, response.headers, body)

    def _session(self, origin: str, *, inward: bool) -> Session:
        may = inward and origin in self.named
        session = Session(lambda address: may or is_public(address))
        session.trust_env = False  # our own settings say which proxy to use
        trusted = ssl.get_default_verify_paths()  # the system's, as browsers and web have them
        session.verify = trusted.cafile or trusted.capath or True
        if proxy := self.config.proxy_to(origin):
            session.proxies = {"http": proxy, "https": proxy}
        return session


def _why(error: Exception) -> str:
    if isinstance(error, CannotFetch):
        return str(error)
    if isinstance(error, (TimeoutError, requests.Timeout)):
        return "no answer within ten seconds"
    for one in _with_reasons(error):
        if isinstance(one, SSLCertVerificationError):
            return certificate_fault(one)
        if isinstance(one, NotConnected):
            found = (known for known in (NAME_UNKNOWN, NOT_PUBLIC) if known in str(one))
            return next(found, "it cannot be connected to")
    return "it gives no response that can be read"


def _with_reasons(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
