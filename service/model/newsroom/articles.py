"""An article on the web: what its page says of itself, and what went wrong while it was read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TypeVar

from service.model.stored import Stored

T = TypeVar("T")

LONGEST_TITLE = 200  # characters, as many as an alert's title may have
LONGEST_TEXT = 300
LONGEST_SECTION = 100


@dataclass(frozen=True, slots=True)
class Article:
    """What a page says of itself; empty where it says nothing."""

    title: str = ""
    text: str = ""
    picture: str = ""  # an https address
    section: str = ""
    language: str = ""  # a language tag
    address: str = ""  # its canonical address
    asks_to_sign_in: bool = False  # it has a form for a password, and is no article
    for_subscribers: bool = False  # the newspaper says that it is not free
    only_http_picture: bool = False  # it names pictures, and none has an https address


class Fault(str, Enum):
    """Why a page could not be read."""

    NO_ADDRESS = "no address"  # not http or https, or not an address at all
    UNKNOWN_HOST = "unknown host"
    NOT_PUBLIC = "not public"  # its name leads to a private address
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TOO_LATE = "too late"
    REDIRECTS = "redirects"  # too many
    NO_HTTP = "no http"
    NO_WAY = "no way"  # no name server or proxy leads there from here


@dataclass(frozen=True, slots=True)
class Reading(Stored):
    """What came of reading a link."""

    address: str  # where it led in the end
    status: int = 0  # of the response; 0: none came
    fault: Fault | None = None
    article: Article = Article()

    @classmethod
    def from_json(cls, text: str) -> Reading:
        """Read what is stored; `ValueError` for anything else.

        The process that stores it parses what strangers write, so its word is checked too.
        """
        try:
            document = json.loads(text)
            if document["version"] != cls.VERSION:
                raise ValueError("another version")
            given, empty = document["article"], asdict(Article())
            article = {name: _like(value, given[name]) for name, value in empty.items()}
            fault = document["fault"]
            return cls(
                _like("", document["address"]),
                _like(0, document["status"]),
                None if fault is None else Fault(fault),
                Article(**article),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("no reading") from error


def _like(example: T, value: object) -> T:
    """Return a value of the same type as the example; `ValueError`."""
    if not isinstance(value, type(example)):
        raise ValueError("no reading")
    return value
