"""Turns a feed, as strangers write it, into XML that any parser reads.

Newspapers' feeds have entities of HTML, ampersands, broken encodings and no end. A parser would
give up, or take long, so they are mended first, each in one pass over the text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.entities import html5
from itertools import islice
from typing import Any, Final

from service.model.newsroom.feeds import MOST_ITEMS, FeedFault
from workers.fetching.charset import decoded, named_encoding

LARGEST: Final = 4 << 20  # bytes of a feed; what is longer is cut off
_LONGEST_TEXT = 3000  # characters of one text in it; no alert needs more
_MOST_TAGS = 20_000  # that a parser is given
_LONGEST_TAG = 8000  # characters, with its attributes
_DEEPEST = 100  # tags within one another
LAST_ITEMS: Final = 50  # that are read of a feed with too many items, beside the first MOST_ITEMS
_LONGEST_DOCTYPE = 1 << 16

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in XML 1.0
_BEFORE_ROOT = re.compile(r"\s+|\ufeff|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_IN_DOCTYPE = re.compile(r""""[^"]*"|'[^']*'|<!--.{0,2000}?-->|[][>]""", re.DOTALL)
_DECLARED = re.compile(
    r"<!ENTITY\s{1,99}([\w.-]{1,99})\s{1,99}"
    r"""(?:"([^"]{0,200})"|'([^']{0,200})'|(?:SYSTEM|PUBLIC)\b)""",
)
_LONGEST_ENTITY = 20  # characters
_ROOT = re.compile(r"<((?:[\w.-]+:)?(rss|feed|rdf))(?=[\s>/])", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][\w.-]{0,98});)?")
_LONG_TEXT = re.compile(rf"(?<=>)[^<]{{{_LONGEST_TEXT},}}")
_ITEM = re.compile(r"<(?:[\w.-]{1,20}:)?(?:item|entry)(?=[\s>])", re.IGNORECASE)
_ITEM_END = re.compile(r"</(?:[\w.-]{1,20}:)?(?:item|entry)\s{0,9}>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)[^<>]*?(/?)>")
# An id that is no address is no link, whatever the feed says.
_NO_LINK = re.compile(r"<guid\b[^<>]*>(?!\s*(?:<!\[CDATA\[\s*)?https?://)", re.IGNORECASE)


class CannotRead(Exception):
    """What came is no feed that can be read."""

    def __init__(self, fault: FeedFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class RawFeed:
    """What a parser found; the texts may have tags and entities."""

    entries: Sequence[dict[str, Any]]  # as feedparser has them, also of a JSON Feed
    title: str = ""
    language: str = ""
    minutes: str = ""
    links: Sequence[tuple[str, str]] = ()  # relation and address


def text_of(document: bytes, content_type: str) -> str:
    """Return a document as text, in the encoding that the document names, or else the server.

    Many servers name the same encoding for all files. If most of the text does not fit, it is read
    as Windows-1252.
    """
    if document[:4] in (b"<\0?\0", b"<\0r\0", b"<\0f\0"):
        text = document.decode("utf-16-le", "replace")
    elif document[:4] in (b"\0<\0?", b"\0<\0r", b"\0<\0f"):
        text = document.decode("utf-16-be", "replace")
    else:
        if named_encoding(document):
            content_type = ""
        elif "charset" not in content_type.lower():
            content_type = "application/xml; charset=utf-8"
        text = decoded(document, content_type)
        lost = text.count("\ufffd")
        if lost and lost > len(re.findall("[^\x00-\x7f\ufffd]", text)):
            text = document.decode("cp1252", "replace")
    return legal(text)


def legal(text: str) -> str:
    """Return a text without what XML forbids, such as half a character of UTF-16."""
    return _ILLEGAL.sub("", text)


def mended(text: str, *, is_cut: bool) -> str:
    """Return a feed of XML without its prolog, and with a bounded number of items, or raise.

    If it has more, the first and the last stay, because feeds may be in either order.
    """
    at, entities = _prolog(text)
    root = _ROOT.match(text, at)
    if root is None:
        raise CannotRead(FeedFault.NOT_A_FEED)
    feed = _whole(text[at:], root[1], is_cut=is_cut)
    items = [found.start() for found in _ITEM.finditer(feed)]
    if len(items) > MOST_ITEMS + LAST_ITEMS:
        feed = feed[: items[MOST_ITEMS]] + feed[items[-LAST_ITEMS] :]
    feed = _NO_LINK.sub('<guid isPermaLink="false">', feed)
    feed = legal("".join(_pieces(feed, entities)))
    if feed.count("<") > _MOST_TAGS:
        too_many = next(islice(re.finditer("<", feed), _MOST_TAGS, None)).start()
        feed = _whole(feed[:too_many], root[1], is_cut=True)
    _check_tags(feed)
    return feed


def _prolog(text: str) -> tuple[int, Mapping[str, str]]:
    """Return where the root begins, and the entities that a DOCTYPE before it declares."""
    at, entities = 0, dict[str, str]()
    while True:
        if found := _BEFORE_ROOT.match(text, at):
            at = found.end()
        elif text[at : at + 9].upper() == "<!DOCTYPE":
            end = _end_of_doctype(text, at)
            entities |= _declared(text[at:end])
            at = end
        else:
            return at, entities


def _end_of_doctype(text: str, at: int) -> int:
    depth = 0
    for found in _IN_DOCTYPE.finditer(text, at, at + _LONGEST_DOCTYPE):
        depth += {"[": 1, "]": -1}.get(found[0], 0)
        if found[0] == ">" and depth <= 0:
            return found.end()
    raise CannotRead(FeedFault.BROKEN)


def _declared(doctype: str) -> dict[str, str]:
    """Return the short entities that a DOCTYPE declares; those in other files become empty."""
    found = {one[1]: one[2] or one[3] or "" for one in _DECLARED.finditer(doctype)}
    for value in found.values():
        if any(name[1] in found for name in _REFERENCE.finditer(value)):
            raise CannotRead(FeedFault.ENTITIES)
    return {
        name: html.unescape(value) for name, value in found.items() if len(value) <= _LONGEST_ENTITY
    }


def _whole(feed: str, root: str, *, is_cut: bool) -> str:
    """Return a feed up to its end tag; a feed that was cut off ends after its last whole item."""
    if f"</{root}".lower() in feed[-1000:].lower():
        return feed
    ends = [found.end() for found in _ITEM_END.finditer(feed)]
    if not ends:
        raise CannotRead(FeedFault.TOO_LARGE if is_cut else FeedFault.BROKEN)
    channel = "</channel>" if root.lower() == "rss" else ""
    return f"{feed[: ends[-1]]}{channel}</{root}>"


def _pieces(feed: str, entities: Mapping[str, str]) -> Iterator[str]:
    """Yield a feed with CDATA as common text, long texts cut, and entities that XML knows."""

    def character(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "&amp;"
        text = html.unescape(found[0]) if name[0] == "#" else html5.get(f"{name};")
        text = entities.get(name, text)
        return f"&amp;{name};" if text is None else html.escape(text)

    at = 0
    while at < len(feed):
        start = feed.find("<![CDATA[", at)
        end = len(feed) if start < 0 else start
        yield _REFERENCE.sub(character, _LONG_TEXT.sub(_cut, feed[at:end]))
        if start < 0:
            return
        at = feed.find("]]>", start)
        at = len(feed) if at < 0 else at
        yield html.escape(feed[start + 9 : min(at, start + 9 + _LONGEST_TEXT)])
        at += 3


def _check_tags(feed: str) -> None:
    """Raise if a tag is so long, or so deep within others, that a parser takes long."""
    depth = 0
    for found in _TAG.finditer(feed):
        depth += 0 if found[2] else -1 if found[1] else 1
        if _ITEM_END.fullmatch(found[0]):
            depth = 0  # what was left open in it does not count
        if depth > _DEEPEST or len(found[0]) > _LONGEST_TAG:
            raise CannotRead(FeedFault.BROKEN)


def _cut(found: re.Match[str]) -> str:
    """Return the beginning of a text, and no part of an entity at its end."""
    return re.sub(r"&[^;\s]*$", "", found[0][:_LONGEST_TEXT])
