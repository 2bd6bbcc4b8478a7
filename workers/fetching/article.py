"""Reads of an article's page what it says of itself: `og:`, `twitter:`, JSON-LD and the like.

Strangers write these pages. `read_article` takes any bytes, never raises, and its time grows with
their number only (decision 90).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from lxml import etree

from service.model.language.languages import browser_language
from service.model.language.links import web_address
from service.model.language.texts import one_line
from service.model.newsroom.articles import LONGEST_SECTION, LONGEST_TEXT, LONGEST_TITLE, Article
from service.model.payload import shortened
from workers.fetching.charset import decoded
from workers.fetching.linked_data import NewsItem, news_item

_LONGEST_VALUE = 4000  # characters of a value that are looked at
_LONGEST_SCRIPT = 1 << 19
_MOST_SCRIPTS = 20
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,1000}>|<!--[^<>]{0,1000}-->")
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# What stands between a title and the newspaper's name.
_BEFORE_NAME = r"\s*[|\u2013\u2014\u00b7\u2022\u00ab\u00bb:-]\s*"


def read_article(document: bytes, address: str, content_type: str = "") -> Article:
    """Return what a page at this address says of itself."""
    page = _read(decoded(document, content_type))
    base = web_address(page.base, address) or address
    names, item = page.names, page.item
    pictures = _pictures(page, base)
    # Browsers load no other picture into an alert.
    picture = next((one for one in pictures if one.startswith("https:")), "")
    canonical = _first_address((page.canonical, *names.get("og:url", ())), base)
    return Article(
        title=shortened(_title(page), LONGEST_TITLE),
        text=shortened(
            _first_text(
                *(names.get(name) for name in ("og:description", "twitter:description")),
                [item.description],
                names.get("description"),
            ),
            LONGEST_TEXT,
        ),
        picture=picture,
        only_http_picture=bool(pictures) and not picture,
        section=shortened(
            _first_text(names.get("article:section"), [item.section]), LONGEST_SECTION
        ),
        language=_language(page),
        address=canonical,
        asks_to_sign_in=page.asks_for_password and not _is_article(page),
        for_subscribers=item.is_free is False,
    )


# The page ----------------------------------------------------------------------------------------


class _Page:
    """Takes a page's tags from the parser, without a tree of them; see `_read`."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}  # of `<meta>`: the values of each name, in order
        self.title = ""
        self.language = ""
        self.base = ""
        self.canonical = ""
        self.item = NewsItem()
        self.asks_for_password = False
        self._scripts = 0
        self._text: list[str] | None = None  # of the title or a script that is being read
        self._length = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Take a start tag."""
        if tag == "meta":
            self._meta(attributes)
        elif tag == "title" and not self.title:
            self._text, self._length = [], 0
        elif tag == "script":
            kind = attributes.get("type", "").lower()
            if "ld+json" in kind and self._scripts < _MOST_SCRIPTS:
                self._scripts += 1
                self._text, self._length = [], 0
        elif tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            self.canonical = self.canonical or attributes.get("href", "")
        elif tag == "base":
            self.base = self.base or attributes.get("href", "")
        elif tag == "html":
            self.language = self.language or attributes.get("lang", "")
        elif tag == "input" and attributes.get("type", "").lower() == "password":
            self.asks_for_password = True

    def data(self, text: str) -> None:
        """Take the text within a tag."""
        if self._text is not None and self._length < _LONGEST_SCRIPT:
            self._text.append(text)
            self._length += len(text)

    def end(self, tag: str) -> None:
        """Take an end tag."""
        if self._text is None or tag not in ("title", "script"):
            return
        text, self._text = "".join(self._text), None
        if tag == "title":
            self.title = text
        else:
            self.item = self.item.completed_by(news_item(text))

    def close(self) -> None:
        """End; the parser calls it."""

    def _meta(self, attributes: Mapping[str, str]) -> None:
        name = attributes.get("property") or attributes.get("name") or ""
        name = name or attributes.get("itemprop") or attributes.get("http-equiv") or ""
        value = attributes.get("content", "")
        if value and len(name) < 60:
            values = self.names.setdefault(name.strip().lower(), [])
            if len(values) < 10:
                values.append(value)


def _read(text: str) -> _Page:
    page = _Page()
    # In an encoding that is fixed here, so that no `<meta charset>` counts any more.
    parser = etree.HTMLParser(target=page, encoding="utf-8", no_network=True)
    # lxml raises for a page that is empty or nested too deeply, once it has handed on what it read.
    with suppress(etree.LxmlError, AssertionError):
        parser.feed(text.encode("utf-8", "replace"))
        parser.close()
    return page


# What it says ------------------------------------------------------------------------------------


def plain(value: str) -> str:
    """Return a value without entities, tags and what no screen shows.

    The parser has decoded entities once. Some systems write them twice, so what still looks like
    one is decoded once more.
    """
    text = value[:_LONGEST_VALUE]
    for _ in range(2):
        text = _TAG.sub(" ", _ENTITY.sub(lambda found: html.unescape(found[0]), text))
    return re.sub(" {2,}", " ", one_line(text).text)


def _first_text(*candidates: Iterable[str] | None) -> str:
    found = (plain(value) for values in candidates for value in values or ())
    return next(filter(None, found), "")


def _first_address(candidates: Iterable[str], base: str) -> str:
    found = (web_address(one.replace("&amp;", "&"), base) for one in candidates if one.strip())
    return next(filter(None, found), "")


def _title(page: _Page) -> str:
    names = page.names
    found = _first_text(
        names.get("og:title"), names.get("twitter:title"), [page.item.headline], [page.title]
    )
    paper = _first_text(names.get("og:site_name"), [page.item.publisher])
    if paper:
        shorter = re.sub(f"{_BEFORE_NAME}{re.escape(paper)}$", "", found, flags=re.IGNORECASE)
        found = shorter or found
    return found


def _pictures(page: _Page, base: str) -> list[str]:
    names = page.names
    candidates: list[str] = []
    for name in ("og:image:secure_url", "og:image", "og:image:url", "twitter:image"):
        candidates += names.get(name, ())
    candidates += (*names.get("twitter:image:src", ()), *page.item.pictures)
    found = (web_address(one.replace("&amp;", "&"), base) for one in candidates if one.strip())
    return [one for one in found if one]


def _language(page: _Page) -> str:
    names = page.names
    candidates = (page.language, *names.get("og:locale", ()), page.item.language)
    candidates += tuple(names.get("content-language", ()))
    found = (browser_language(one[:100].strip()) for one in candidates)
    return next(filter(None, found), "")


def _is_article(page: _Page) -> bool:
    kinds = page.names.get("og:type", ())
    return page.item.is_article or any(kind.strip().lower() == "article" for kind in kinds)
