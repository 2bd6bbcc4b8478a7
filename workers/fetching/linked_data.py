"""Reads JSON-LD: the `NewsArticle` that a page describes for search engines."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from workers.fetching.feed_text import legal

_MOST_NODES = 2000  # that are looked at
_LONGEST_LIST = 200
_MOST_TEXTS, _LONGEST_TEXT = 10, 4000
_WRAPPING = re.compile(r"(?:<!--|(?://|/\*)?\s{0,9}<!\[CDATA\[(?:\s{0,9}\*/)?)")
_SPARE_COMMA = re.compile(r",(?=\s{0,100}[}\]])")
# Where a node keeps others that describe the same page.
_WITHIN = ("@graph", "mainEntity", "mainEntityOfPage")
# A number may have so many digits that Python takes long to read it, and none is needed here.
_decoder = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


@dataclass(frozen=True, slots=True)
class NewsItem:
    """An article as JSON-LD describes it; empty where it says nothing."""

    headline: str = ""
    description: str = ""
    section: str = ""
    language: str = ""
    publisher: str = ""
    pictures: tuple[str, ...] = ()
    is_article: bool = False
    is_free: bool | None = None

    def completed_by(self, other: NewsItem) -> NewsItem:
        """Return it with what only another description of the page says."""
        if not self.is_article:
            return other
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        empty = [name for name, value in kept.items() if value in ("", (), None)]
        if other.is_article:
            kept |= {name: getattr(other, name) for name in empty}
        return NewsItem(**kept)


def news_item(text: str) -> NewsItem:
    """Return the first article in a script of JSON-LD; an empty item if there is none."""
    for node in _nodes(_parsed(text)):
        if any(kind.endswith(("Article", "Posting")) for kind in _kinds(node)):
            return _item(node)
    return NewsItem()


def _parsed(text: str) -> Any:
    """Return what JSON says, also JSON with the usual faults; None if it cannot be read."""
    text = text.lstrip()
    if wrapping := _WRAPPING.match(text):
        text = text[wrapping.end() :].lstrip()
    found = _read(text)
    return _read(_SPARE_COMMA.sub("", text)) if found is None else found


def _read(text: str) -> Any:
    try:
        return _decoder.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _nodes(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects that describe a page, the outermost first."""
    todo = deque([document])
    for _ in range(_MOST_NODES):
        if not todo:
            return
        one = todo.popleft()
        if isinstance(one, list):
            todo.extend(one[:_LONGEST_LIST])
        elif isinstance(one, dict):
            yield one
            todo.extend(one[name] for name in _WITHIN if name in one)


def _kinds(node: dict[str, Any]) -> list[str]:
    return [re.split("[/:#]", kind)[-1] for kind in _texts(node.get("@type"))]


def _item(node: dict[str, Any]) -> NewsItem:
    def first(name: str) -> str:
        return next(_texts(node.get(name), "@value", "alternateName", "name"), "")

    def addresses(name: str) -> Iterator[str]:
        return _texts(node.get(name), "url", "contentUrl", "@id")

    free = first("isAccessibleForFree").lower()
    return NewsItem(
        headline=first("headline") or first("name"),
        description=first("description"),
        section=first("articleSection"),
        language=first("inLanguage"),
        publisher=first("publisher"),
        pictures=(*addresses("image"), *addresses("thumbnailUrl")),
        is_article=True,
        is_free={"true": True, "false": False}.get(free.rpartition("/")[2]),
    )


def _texts(value: Any, *names: str) -> Iterator[str]:
    """Yield the texts in a value: a text, an object with one of these names, or a list of both."""
    for one in (value if isinstance(value, list) else [value])[:_MOST_TEXTS]:
        if isinstance(one, bool):
            yield str(one)
        elif isinstance(one, dict):
            named = (one.get(name) for name in names)
            yield from (legal(found[:_LONGEST_TEXT]) for found in named if isinstance(found, str))
        elif isinstance(one, str):
            yield legal(one[:_LONGEST_TEXT])
