"""Reads a JSON Feed (https://www.jsonfeed.org/version/1.1/)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from service.model.newsroom.feeds import MOST_ITEMS, FeedFault
from workers.fetching.feed_dates import moment
from workers.fetching.feed_text import LAST_ITEMS, CannotRead, RawFeed, legal

_MOST_TAGS = 50
_MOST_ATTACHMENTS = 10
_SIGN = "jsonfeed.org/version"
# A number may have so many digits that Python takes long to read it; ids are kept as they stand.
_decoder = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


def json_feed(text: str, *, is_cut: bool) -> RawFeed:
    """Return what a JSON Feed says; raise if it is none."""
    try:
        feed = _decoder.decode(text.strip("\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        broken = FeedFault.TOO_LARGE if is_cut else FeedFault.BROKEN
        raise CannotRead(broken if _SIGN in text[:1000] else FeedFault.NOT_A_FEED) from None
    items = feed.get("items")
    if _SIGN not in _text(feed, "version") or not isinstance(items, list):
        raise CannotRead(FeedFault.NOT_A_FEED)
    # The first and the last, because a feed may be in either order.
    some = items[:MOST_ITEMS] + items[MOST_ITEMS:][-LAST_ITEMS:]
    return RawFeed(
        [_entry(one) for one in some if isinstance(one, dict)],
        title=_text(feed, "title"),
        language=_text(feed, "language"),
        links=[*_hubs(feed), ("self", _text(feed, "feed_url"))],
    )


def _entry(item: dict[str, Any]) -> dict[str, Any]:
    published, updated = _text(item, "date_published"), _text(item, "date_modified")
    return {
        "id": _text(item, "id"),
        "link": _text(item, "url") or _text(item, "external_url") or _text(item, "id"),
        "title": _text(item, "title"),
        "summary": _text(item, "summary")
        or _text(item, "content_text")
        or _text(item, "content_html"),
        "language": _text(item, "language"),
        "image": {"href": _text(item, "image") or _text(item, "banner_image")},
        "links": list(_enclosures(item.get("attachments"))),
        "tags": [{"term": one} for one in _texts(item.get("tags"))],
        "published": published,
        "published_parsed": moment(published),
        "updated": updated,
        "updated_parsed": moment(updated),
    }


def _enclosures(attachments: Any) -> Iterator[dict[str, str]]:
    for one in attachments[:_MOST_ATTACHMENTS] if isinstance(attachments, list) else ():
        if isinstance(one, dict):
            kind, address = _text(one, "mime_type"), _text(one, "url")
            yield {"rel": "enclosure", "type": kind, "href": address}


def _hubs(feed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    hubs = feed.get("hubs")
    for one in hubs[:10] if isinstance(hubs, list) else ():
        if isinstance(one, dict) and _text(one, "type").lower() == "websub":
            yield "hub", _text(one, "url")


def _texts(values: Any) -> list[str]:
    some = values[:_MOST_TAGS] if isinstance(values, list) else []
    return [legal(one) for one in some if isinstance(one, str)]  # numbers are read as texts


def _text(of: dict[str, Any], name: str) -> str:
    value = of.get(name)
    return legal(value) if isinstance(value, str) else ""
