"""A feed: its items as they are now, what came of reading it, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from service.model.language.links import web_address
from service.model.language.texts import one_line
from service.model.newsroom.articles import LONGEST_TEXT, LONGEST_TITLE
from service.model.payload import shortened
from service.model.stored import Stored

F = TypeVar("F", bound="_Checked")

_LATEST = 1e11  # seconds since 1970
MOST_ITEMS = 200  # of one reading


class FeedFault(str, Enum):
    """Why a feed could not be read; the first nine as `articles.Fault` has them."""

    NO_ADDRESS = "no address"
    UNKNOWN_HOST = "unknown host"
    NOT_PUBLIC = "not public"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TOO_LATE = "too late"
    REDIRECTS = "redirects"
    NO_HTTP = "no http"
    NO_WAY = "no way"
    STATUS = "status"  # an HTTP status of 400 or more
    NOT_A_FEED = "not a feed"  # such as an HTML page
    TOO_LARGE = "too large"  # it was cut off, and no item of it is whole
    ENTITIES = "entities"  # it declares entities that contain one another, as an entity bomb does
    BROKEN = "broken"  # it begins as a feed and cannot be read on


class _Checked(Stored):
    """What is stored as JSON: a dataclass of texts, numbers, yes or no, and lists of texts."""

    __slots__ = ()

    @classmethod
    def from_json(cls: type[F], text: str) -> F:
        """Read what is stored; `ValueError` for anything else.

        The process that stores readings parses what strangers write, so its word is checked too.
        """
        try:
            document = json.loads(text)
            if document.pop("version") != cls.VERSION:
                raise ValueError("another version")
            return cls._of(document)
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no {cls.__name__}") from error

    @classmethod
    def _of(cls: type[F], document: dict[str, Any]) -> F:
        return cls(**{name: _checked(value, cls._kind(name)) for name, value in document.items()})

    @classmethod
    def _kind(cls, name: str) -> str:
        return str(cls.__dataclass_fields__[name].type)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class FeedItem(_Checked):
    """One entry of a feed; each of its texts is one line, cut, and without tags and entities."""

    guid: str = ""
    link: str = ""  # an absolute http or https address
    title: str = ""  # the text's beginning, if the feed gives no title
    text: str = ""
    picture: str = ""  # an https address
    language: str = ""  # a language tag
    categories: tuple[str, ...] = ()
    published: float | None = None  # seconds since 1970
    updated: float | None = None

    @classmethod
    def _of(cls, document: dict[str, Any]) -> FeedItem:
        rest = {name: _checked(value, cls._kind(name)) for name, value in document.items()}
        item = cls(**rest)
        addresses = [one for one in (item.link, item.picture) if one]
        if any(web_address(one) != one for one in addresses):
            raise ValueError("no web address")
        if len(item.title) > LONGEST_TITLE or len(item.text) > LONGEST_TEXT:
            raise ValueError("too long")
        return item

    @property
    def date(self) -> float | None:
        """When it was published; if the feed does not say that, when it was updated."""
        return self.updated if self.published is None else self.published


@dataclass(frozen=True, slots=True)
class FeedReading(_Checked):
    """What came of reading a feed."""

    address: str  # where it led in the end
    status: int = 0  # of the response; 0: none came
    fault: FeedFault | None = None
    unchanged: bool = False  # 304, or the same bytes
    title: str = ""
    language: str = ""  # a language tag
    etag: str = ""
    modified: str = ""  # the header `Last-Modified`
    hub: str = ""  # WebSub: the address of a hub
    topic: str = ""  # WebSub: how the hub knows the feed
    minutes: int = 0  # how long the feed asks not to be read again (`ttl` of RSS); 0: it does not
    feeds: tuple[str, ...] = ()  # addresses of feeds that an HTML page names, if this is one
    items: tuple[FeedItem, ...] = ()  # in the order of the feed

    @classmethod
    def _of(cls, document: dict[str, Any]) -> FeedReading:
        fault, items = document.pop("fault"), document.pop("items")
        if not isinstance(items, list) or len(items) > MOST_ITEMS:
            raise ValueError("no items")
        rest = {name: _checked(value, cls._kind(name)) for name, value in document.items()}
        return cls(
            **rest,
            fault=None if fault is None else FeedFault(fault),
            items=tuple(FeedItem._of(one) for one in items),
        )


@dataclass(frozen=True, slots=True)
class FeedRules(_Checked):
    """What becomes of a feed's items: an editor's choice.

    All alerts of feeds are news of normal urgency.
    """

    name: str = ""
    url: str = ""
    is_active: bool = True
    makes_drafts: bool = True  # False: alerts are sent at once
    everyone: bool = False
    topics: tuple[str, ...] = ()  # slugs
    # By a category of the feed, in lower case (`casefold`): the slug of the topic that is added.
    topic_by_category: Mapping[str, str] = field(default_factory=dict)
    gap_minutes: int = 0  # between two alerts, at least
    most_per_hour: int = 4  # alerts; 0: no limit
    most_per_day: int = 20
    newest_hours: int = 6  # items that were published longer ago are left out
    title_template: str = "{title}"
    text_template: str = "{text}"
    with_picture: bool = True
    language: str = ""  # a language tag; empty: what the item or the feed says
    minutes: int = 5  # between two looks at the feed
    link_parameters: str = ""  # of its alerts' links, encoded; empty: the newsroom's

    def topics_of(self, item: FeedItem) -> tuple[str, ...]:
        """Return the topics of an item's alert, each once."""
        found = (self.topic_by_category.get(one.casefold(), "") for one in item.categories)
        return tuple(dict.fromkeys((*self.topics, *filter(None, found))))

    def title_of(self, item: FeedItem) -> str:
        """Return the title of an item's alert."""
        made = self._filled(self.title_template, item)
        return shortened(made or item.title, LONGEST_TITLE)

    def text_of(self, item: FeedItem) -> str:
        """Return the text of an item's alert; empty if it has none."""
        return shortened(self._filled(self.text_template, item), LONGEST_TEXT)

    def _filled(self, template: str, item: FeedItem) -> str:
        values = {
            "title": item.title,
            "text": item.text,
            "category": item.categories[0] if item.categories else "",
            "feed": self.name,
        }

        def value(found: re.Match[str]) -> str:
            filled = values[found["name"]]
            return filled + (found["after"] or "") if filled else ""

        # In one pass, so that a brace in a stranger's text names nothing.
        return one_line(_PLACE.sub(value, template)).text


# A name in braces, and what divides it from the next: without a category, "{category}: {title}"
# becomes the title alone.
_PLACE = re.compile(r"\{(?P<name>title|text|category|feed)\}(?P<after>\s?[:|/·•–—-]\s)?")


def _checked(value: Any, kind: str) -> Any:
    """Return a value of JSON as the field of a dataclass keeps it; `ValueError`."""
    if kind == "tuple[str, ...]" and isinstance(value, list):
        return tuple(_checked(one, "str") for one in value)
    if kind == "Mapping[str, str]" and isinstance(value, dict):
        return {name: _checked(one, "str") for name, one in value.items()}
    if kind == "float | None":
        if value is not None and not (type(value) in (int, float) and abs(value) < _LATEST):
            raise ValueError("no time")
        return value
    if type(value).__name__ != kind:
        raise ValueError("another type")
    return value
