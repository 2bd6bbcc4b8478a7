"""Links: how an editor's or a page's spelling becomes a web address, and what readers open."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urljoin, urlsplit, urlunsplit

from service.model.network.addresses import bracketed, host_name

LONGEST = 2000  # characters
_LONGEST_HOST = 253  # characters (RFC 1035)
_PORTS = {"http": 80, "https": 443}
# What a URL may have beside letters and digits (RFC 3986); `%` begins what is encoded already.
_KEPT = "%!$&'()*+,;=:@/~-._"
_INVISIBLE = re.compile(r"[\x00-\x20\x7f]+")
# A host of two names or more, and then a path, or nothing more.
_WITHOUT_SCHEME = re.compile(r"[^\s/:@?#]+\.[^\s/:@?#.]+(:\d+)?(?=[/?#]|$)")
_SIGN_IN = re.compile(
    r"(wp-)?(log-?in|sign-?in|sign-?on|sso|oauth2?|authori[sz]e|anmelden|anmeldung|connexion"
    r"|iniciar-sesion|inloggen|accedi|vhod)(\.\w+)?"
)
_PREVIEW = ("preview", "is_preview", "_preview")  # parameters; WordPress has the first


def with_scheme(text: str) -> str:
    """Return a link as it was typed, or copied from a browser that hides `https://`."""
    return f"https://{text}" if _WITHOUT_SCHEME.match(text) else text


def web_address(text: str, base: str = "") -> str:
    """Return an http or https address in its usual form; empty if it is none.

    `text` may be relative to `base`. What has to be encoded in a URL is encoded, as browsers do it.
    """
    if len(text) > LONGEST:
        return ""
    try:
        parts = urlsplit(urljoin(base, _INVISIBLE.sub(" ", text).strip()))
        host = (parts.hostname or "").rstrip(".")
        if len(host) > _LONGEST_HOST:
            return ""
        if not host.isascii():
            host = host.encode("idna").decode()
        port = parts.port
    except ValueError:  # UnicodeError is one
        return ""
    usual = bracketed(host)
    if parts.scheme not in _PORTS or "@" in parts.netloc or host_name(usual) != usual or not host:
        return ""
    place = usual if port in (None, _PORTS[parts.scheme]) else f"{usual}:{port}"
    path, query, fragment = (
        quote(part, safe=_KEPT + more, errors="replace")  # half a character, too
        for part, more in ((parts.path or "/", ""), (parts.query, "?[]"), (parts.fragment, "?[]"))
    )
    made = urlunsplit((parts.scheme, place, path, query, fragment))
    return made if len(made) <= LONGEST else ""


class Origin(NamedTuple):
    """Where a web address leads."""

    scheme: str
    host: str  # without brackets
    port: int

    @classmethod
    def of(cls, address: str) -> Origin:
        """Return the origin of an address that `web_address` returned."""
        parts = urlsplit(address)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as the header `Host` has them."""
        default = self.port == _PORTS[self.scheme]
        return bracketed(self.host) if default else f"{bracketed(self.host)}:{self.port}"


def is_preview(address: str) -> bool:
    """Whether an address has `preview=true`, which only the newsroom can open."""
    pairs = (pair.partition("=") for pair in urlsplit(address).query.split("&"))
    return any(
        name.lower() in _PREVIEW and value.lower() in ("true", "1") for name, _, value in pairs
    )


def asks_to_sign_in(address: str) -> bool:
    """Whether an address looks like that of a page to sign in."""
    return any(_SIGN_IN.fullmatch(part) for part in urlsplit(address).path.lower().split("/"))


# LINK_PARAMETERS ---------------------------------------------------------------------------------

_ID = "{id}"
_LONGEST_PARAMETERS = 300  # characters
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r"[^\s&#=?{}]+=(?:[^\s&#{}]|\{id\})*")


def read_parameters(text: str) -> str:
    """Check parameters for links, `utm_source=push&utm_campaign={id}`; return them encoded."""
    pairs = text.split("&") if text else []
    fit = all(_PARAMETER.fullmatch(pair) and pair.isprintable() for pair in pairs)
    if not fit or len(text) > _LONGEST_PARAMETERS or _BAD_ESCAPE.search(text):
        raise ValueError("must be parameters such as utm_source=push&utm_campaign={id}")
    return quote(text, safe=f"{_KEPT}?{_ID}")


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """What is added to links that lead to the newsroom's own sites, as readers open them."""

    text: str = ""  # as `read_parameters` returned it
    origins: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names of the parameters, decoded."""
        return [_name(pair) for pair in self.text.split("&") if pair]

    def or_own(self, text: str) -> LinkParameters:
        """Return an alert's own parameters in place of these, if it has any."""
        return replace(self, text=text) if text else self

    def added_to(self, link: str, id: int | None) -> str:
        """Return a link with the parameters that it does not have yet.

        `id` is that of the alert, and of a corrected alert the one that it had at first; None: the
        alert has none yet.
        """
        if not self.text or not self._is_ours(link):
            return link
        page, hash, fragment = link.partition("#")
        start, _, query = page.partition("?")
        known = {_name(pair) for pair in query.split("&")}
        new = [pair for pair in self.text.split("&") if _name(pair) not in known]
        if id is not None:
            new = [pair.replace(_ID, str(id)) for pair in new]
        if not new:
            return link
        between = "&" if query and not query.endswith("&") else ""
        return f"{start}?{query}{between}{'&'.join(new)}{hash}{fragment}"

    def _is_ours(self, link: str) -> bool:
        address = web_address(link)
        return bool(address) and str(Origin.of(address)) in self.origins


NO_PARAMETERS = LinkParameters()


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
