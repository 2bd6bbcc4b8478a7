"""Whether a Content-Security-Policy lets Stop Press work on a page (CSP Level 3)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import new as digest
from urllib.parse import urlsplit

from service.cli.doctor.page import Script
from service.model.language.links import Origin

# The directives that count where a page does not name the first, in their order.
_FALLBACK = {
    "script-src": ("script-src-elem", "script-src", "default-src"),
    "connect-src": ("connect-src", "default-src"),
    "worker-src": ("worker-src", "child-src", "script-src", "default-src"),
    "img-src": ("img-src", "default-src"),
    "manifest-src": ("manifest-src", "default-src"),
}
_HOST = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?(\*|[^:/]+)(?::([0-9]{1,5}|\*))?(/.*)?", re.I)
_HASH = re.compile(r"'(sha256|sha384|sha512)-([^']+)'", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """One policy of a page or of a worker's file at `origin`."""

    directives: Mapping[str, list[str]]
    origin: str

    def sources(self, directive: str) -> list[str] | None:
        """Return what a directive names; None: nothing limits it."""
        for name in _FALLBACK[directive]:
            if name in self.directives:
                return self.directives[name]
        return None

    def allows(self, directive: str, address: str) -> bool:
        """Whether a directive allows an address."""
        sources = self.sources(directive)
        return sources is None or any(_matches(one, address, self.origin) for one in sources)

    def is_strict(self) -> bool:
        """Whether scripts are trusted by nonce or hash, and by those that load them."""
        return "'strict-dynamic'" in (self.sources("script-src") or ())

    def allows_apps(self) -> bool:
        """Whether a `sandbox` leaves the page its scripts, and an origin that may have a worker."""
        needed = {"allow-scripts", "allow-same-origin"}
        return "sandbox" not in self.directives or needed <= {*self.directives["sandbox"]}

    def allows_worker(self, address: str) -> bool:
        """Whether a page may register this worker; a strict `script-src` does not allow any."""
        limits = ("worker-src", "child-src")
        if self.is_strict() and not any(name in self.directives for name in limits):
            return False
        return self.allows("worker-src", address)

    def allows_inline(self, script: Script) -> bool:
        """Whether a script within the page may run."""
        sources = self.sources("script-src")
        if sources is None or self._trusts(script, sources):
            return True
        closed = self.is_strict() or any(re.match("'(nonce|sha)", one) for one in sources)
        return "'unsafe-inline'" in sources and not closed

    def allows_loading(self, script: Script, address: str) -> bool:
        """Whether a script that may run itself, or that has this `src`, may load this address."""
        sources = self.sources("script-src")
        if sources is None or _has_nonce(script, sources):
            return True
        if self.is_strict():
            return not script.attributes.get("src") and self._trusts(script, sources)
        return self.allows("script-src", address)

    def allows_policy(self, name: str) -> bool:
        """Whether a script may make a Trusted Types policy of this name."""
        if "require-trusted-types-for" not in self.directives:
            return True
        names = self.directives.get("trusted-types")
        return names is None or name in names or "*" in names

    @staticmethod
    def _trusts(script: Script, sources: Iterable[str]) -> bool:
        hashes = (_HASH.fullmatch(one) for one in sources)
        return _has_nonce(script, sources) or any(
            found[2].replace("-", "+").replace("_", "/")
            == b64encode(digest(found[1].lower(), script.text.encode()).digest()).decode()
            for found in hashes
            if found
        )


def policies(header: str, metas: Iterable[str], origin: str) -> Iterator[Policy]:
    """Yield the policies of a header, which may have several, and of `<meta>` tags."""
    headers = header.split(",")
    for at, text in enumerate((*headers, *metas)):
        directives: dict[str, list[str]] = {}
        for part in text.split(";"):
            name, *sources = part.split() or [""]
            # Key words in lower case; nonces and hashes count as they are.
            plain = [one.lower() if re.fullmatch("'[a-zA-Z-]+'", one) else one for one in sources]
            directives.setdefault(name.lower(), plain)
        directives.pop("", None)
        if at >= len(headers):
            directives.pop("sandbox", None)  # of which browsers take no notice in a `<meta>`
        if directives:
            yield Policy(directives, origin)


def _has_nonce(script: Script, sources: Iterable[str]) -> bool:
    nonce = script.attributes.get("nonce", "")
    return bool(nonce) and f"'nonce-{nonce}'" in sources


def _matches(source: str, address: str, origin: str) -> bool:
    """Whether a source names an address (CSP Level 3, section 6.7.2)."""
    to, own = Origin.of(address), urlsplit(origin)
    if source == "'self'":
        return str(to) == origin
    if source == "*":
        return True
    if re.fullmatch("[a-zA-Z][a-zA-Z0-9+.-]*:", source):
        return _upgrades(source[:-1].lower(), to.scheme)
    found = _HOST.fullmatch(source)
    if found is None or source.startswith("'"):
        return False
    scheme, host, port, path = found.groups()
    if not _upgrades((scheme or own.scheme).lower(), to.scheme):
        return False
    if host.startswith("*"):
        fits = to.host.endswith(host[1:].lower())
    else:
        fits = to.host == host.strip("[]").lower()
    usual = {"http": 80, "https": 443}[to.scheme]
    fits_port = port == "*" or to.port == (int(port) if port else usual)
    at = urlsplit(address).path
    fits_path = not path or path == "/" or (at.startswith(path) if path[-1] == "/" else at == path)
    return fits and fits_port and fits_path


def _upgrades(named: str, used: str) -> bool:
    return named == used or (named, used) == ("http", "https")
