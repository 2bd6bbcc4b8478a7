"""Reads a feed: RSS, RDF and Atom by feedparser, JSON Feed by itself (decision 106).

Strangers write feeds. `read_feed` takes any bytes, never raises, opens no file and no connection,
and works on a bounded number of items with bounded texts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import feedparser
from lxml import etree

from service.model.language.languages import browser_language
from service.model.language.links import web_address
from service.model.language.texts import is_visible, one_line
from service.model.newsroom.articles import LONGEST_SECTION, LONGEST_TEXT, LONGEST_TITLE
from service.model.newsroom.feeds import MOST_ITEMS, FeedFault, FeedItem, FeedReading
from service.model.payload import shortened
from workers.fetching.article import plain
from workers.fetching.feed_dates import date_of
from workers.fetching.feed_text import LARGEST, CannotRead, RawFeed, mended, text_of
from workers.fetching.json_feed import json_feed

_LONGEST_BEGINNING = 120  # characters of a text that takes the place of a title
_LONGEST_GUID = 500
_LONGEST_HEADER = 300
_MOST_CATEGORIES = 20
_WITHIN_LINE = re.compile(
    r"</?(?:a|abbr|b|cite|code|em|font|i|ins|mark|q|s|small|span|strong|sub|sup|time|u)"
    r"(?:\s[^<>]{0,1000})?>",
    re.IGNORECASE,
)
# “The post … appeared first on …” of WordPress, in any language: two links at the end.
_APPEARED_FIRST = re.compile(
    r"<p>[^<]{0,60}<a\b[^<>]{0,500}>[^<]{0,300}</a>[^<]{1,60}<a\b[^<>]{0,500}>[^<]{0,300}</a>"
    r"[^<]{0,30}</p>\s*\Z"
)
_LINK_HEADER = re.compile(r"<([^<>]{1,2000})>\s{0,9};([^<]{0,500})")
_REL = re.compile(r"""\brel\s{0,9}=\s{0,9}["']?([\w\s-]{1,100})""", re.IGNORECASE)


def read_feed(
    body: bytes, address: str, content_type: str = "", headers: Mapping[str, str] | None = None
) -> FeedReading:
    """Return what the feed at this address says. The caller adds the status of the response.

    A body of `LARGEST` bytes was cut off: its whole items are read. `headers` have names in lower
    case.
    """
    given = headers or {}
    try:
        text, is_cut = text_of(body, content_type), len(body) >= LARGEST
        if text.lstrip("\ufeff \t\r\n").startswith("{"):
            found = json_feed(text, is_cut=is_cut)
        else:
            found = _parsed(mended(text, is_cut=is_cut), address)
    except CannotRead as error:
        feeds = _named_feeds(text, address) if error.fault is FeedFault.NOT_A_FEED else ()
        return FeedReading(address, fault=error.fault, feeds=feeds)
    links = [*found.links, *_links_of(given.get("link", ""))]
    hub, topic = (_first_link(links, rel, address) for rel in ("hub", "self"))
    items = [_item(one, address) for one in found.entries]
    return FeedReading(
        address,
        title=shortened(plain(found.title), LONGEST_TITLE),
        language=browser_language(found.language),
        etag=_to_send_back(given.get("etag", "")),
        modified=_to_send_back(given.get("last-modified", "")),
        hub=hub,
        topic=topic or address,
        minutes=int(found.minutes) if re.fullmatch("[0-9]{1,4}", found.minutes) else 0,
        items=tuple(_newest(items)),
    )


def _to_send_back(header: str) -> str:
    """Return a header if it may stand in a request; else nothing, so that none is conditional."""
    fits = header.isascii() and header.isprintable() and len(header) <= _LONGEST_HEADER
    return header if fits else ""


def _parsed(feed: str, address: str) -> RawFeed:
    """Read XML that `mended` returned."""
    headers = {"content-location": address, "content-type": "application/xml; charset=utf-8"}
    try:
        # As a file object: feedparser would take bytes for the name of a file, and open that.
        found = feedparser.parse(io.BytesIO(feed.encode()), response_headers=headers)
    except Exception as error:  # whatever a stranger's feed makes the parser raise
        raise CannotRead(FeedFault.BROKEN) from error
    if found.bozo and not found.entries:
        raise CannotRead(FeedFault.BROKEN)
    about = found.feed
    links = [(str(one.get("rel")), str(one.get("href") or "")) for one in about.get("links", ())]
    title, language, ttl = (str(about.get(name) or "") for name in ("title", "language", "ttl"))
    return RawFeed(found.entries, title, language, ttl, links)


def _links_of(header: str) -> Iterator[tuple[str, str]]:
    """Yield the relations and addresses of the header `Link`."""
    for found in _LINK_HEADER.finditer(header[:8000]):
        rel = _REL.search(found[2])
        for one in rel[1].lower().split() if rel else ():
            yield one, found[1]


def _first_link(links: Iterable[tuple[str, str]], rel: str, base: str) -> str:
    made = (web_address(one, base) for kind, one in links if kind == rel and one.strip())
    return next(filter(None, made), "")


def _newest(items: list[FeedItem]) -> Iterable[FeedItem]:
    """Return at most MOST_ITEMS items in their order, the newest of those with a date."""
    late = sorted(range(len(items)), key=lambda at: -(items[at].date or float("inf")))
    return [items[at] for at in sorted(late[:MOST_ITEMS])]


# An item -----------------------------------------------------------------------------------------


def _item(entry: dict[str, Any], base: str) -> FeedItem:
    content = (one.get("value") for one in entry.get("content") or ())
    text = next(filter(None, map(_plain, (entry.get("summary"), *content))), "")
    title = _plain(entry.get("title"))
    if not title:
        title = shortened(text, _LONGEST_BEGINNING)
    tags = (plain(str(tag.get("term") or "")) for tag in entry.get("tags") or ())
    categories = (shortened(one, LONGEST_SECTION) for one in tags if one)
    detail = entry.get("title_detail") or {}
    return FeedItem(
        guid=one_line(str(entry.get("id") or "")[:_LONGEST_GUID]).text,
        link=_link(entry, base),
        title=shortened(title, LONGEST_TITLE),
        text="" if text == title else shortened(text, LONGEST_TEXT),
        picture=next(_pictures(entry, base), ""),
        language=browser_language(str(entry.get("language") or detail.get("language") or "")),
        categories=tuple(dict.fromkeys(categories))[:_MOST_CATEGORIES],
        published=date_of(entry, "published") or date_of(entry, "created"),
        updated=date_of(entry, "updated"),
    )


def _plain(html: object) -> str:
    """Return a text without tags; a tag within a line leaves no space."""
    text = plain(_WITHIN_LINE.sub("", _APPEARED_FIRST.sub("", str(html or ""))))
    return text if is_visible(text) else ""


def _link(entry: dict[str, Any], base: str) -> str:
    # In a feed that FeedBurner hands on, `feedburner_origlink` is the newspaper's own address.
    named = (str(entry.get(name) or "").strip() for name in ("feedburner_origlink", "link"))
    return next((made for one in named if one and (made := web_address(one, base))), "")


def _pictures(entry: dict[str, Any], base: str) -> Iterator[str]:
    """Yield the addresses of pictures; browsers load only those of https into an alert."""
    named = [one.get("url") for one in entry.get("media_content") or () if _is_picture(one)]
    named += [
        one.get("href")
        for one in entry.get("links") or ()
        if one.get("rel") == "enclosure" and _is_picture(one)
    ]
    named += [one.get("url") for one in entry.get("media_thumbnail") or ()]
    image = entry.get("image")
    named += [image.get("href")] if isinstance(image, Mapping) else []
    for one in named:
        address = web_address(str(one).strip(), base) if one else ""
        if address.startswith("https:"):
            yield address


def _is_picture(media: Mapping[str, Any]) -> bool:
    kind = str(media.get("medium") or media.get("type") or "").lower()
    if not kind:
        return re.search(r"\.(mp[34]|m4[av]|webm|ogg|mov|pdf)$", str(media.get("url"))) is None
    return kind.startswith("image")


# A page that is no feed ---------------------------------------------------------------------------


class _Page:
    """Takes the feeds that an HTML page names from lxml's parser."""

    def __init__(self) -> None:
        self.base = ""
        self.feeds: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Take a start tag."""
        if tag == "base":
            self.base = self.base or attributes.get("href", "")
        kind = attributes.get("type", "").lower().partition(";")[0].strip()
        if tag == "link" and "alternate" in attributes.get("rel", "").lower() and kind in _KINDS:
            self.feeds.append(attributes.get("href", ""))

    def close(self) -> None:
        """End; the parser calls it."""


_KINDS = ("application/rss+xml", "application/atom+xml", "application/feed+json")
_MOST_NAMED = 10


def _named_feeds(text: str, address: str) -> tuple[str, ...]:
    page = _Page()
    parser = etree.HTMLParser(target=page, encoding="utf-8", no_network=True)
    with suppress(etree.LxmlError, AssertionError):
        parser.feed(text.encode("utf-8", "replace"))
        parser.close()
    base = web_address(page.base, address) or address
    found = (web_address(one, base) for one in page.feeds if one)
    return tuple(dict.fromkeys(filter(None, found)))[:_MOST_NAMED]
