"""What the doctor looks at in a publisher's page: its scripts, links and policies, by lxml."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from lxml import etree

from service.model.language.links import web_address


@dataclass
class Script:
    """A script of the page."""

    attributes: Mapping[str, str]
    text: str = ""


@dataclass
class Page:
    """Takes a page's tags from lxml's parser, without a tree of them (decision 90)."""

    address: str
    scripts: list[Script] = field(default_factory=list)
    links: list[Mapping[str, str]] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)  # of `<meta>`
    _base: str = ""
    _open: Script | None = None
    _within: int = 0  # tags whose scripts browsers do not run

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Take a start tag."""
        if tag in _INERT:
            self._within += 1
        elif tag == "script":
            self._open = Script(attributes)
            if not self._within:
                self.scripts.append(self._open)
        elif tag == "link":
            self.links.append(attributes)
        elif tag == "base":
            self._base = self._base or attributes.get("href", "")
        elif tag == "meta" and attributes.get("http-equiv", "").lower() == _POLICY:
            self.policies.append(attributes.get("content", ""))

    def data(self, text: str) -> None:
        """Take the text within a tag."""
        if self._open is not None:
            self._open.text += text

    def end(self, tag: str) -> None:
        """Take an end tag."""
        if tag in _INERT:
            self._within -= 1
        elif tag == "script":
            self._open = None

    def close(self) -> None:
        """End; the parser calls it."""

    def absolute(self, address: str) -> str:
        """Return an address as a browser reads it on this page; empty if it is none."""
        return web_address(address, web_address(self._base, self.address) or self.address)

    def linked(self, *relations: str) -> str:
        """Return the address of the first link with the first of these relations that there is."""
        for relation in relations:
            for link in self.links:
                if relation in link.get("rel", "").lower().split() and link.get("href"):
                    return self.absolute(link["href"])
        return ""


_INERT = ("noscript", "template")
_POLICY = "content-security-policy"


def read_page(document: bytes, address: str) -> Page:
    """Return what a page has."""
    page = Page(address)
    parser = etree.HTMLParser(target=page, no_network=True)
    # lxml raises for a page that is empty or nested too deeply, once it has handed on what it read.
    with suppress(etree.LxmlError, AssertionError):
        parser.feed(document)
        parser.close()
    return page
