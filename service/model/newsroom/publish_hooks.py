"""Publish hooks: a CMS that cannot call the API calls an address of ours when it publishes a story.

What its document has where, an editor has said: a field is named by a JSON pointer (RFC 6901) or by
names with dots between them. A link may also be an address with such places in it, as in
`https://paper.example/news/{entry.slug}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from service.model.stored import Stored, known_fields

FIELDS = ("title", "url", "body", "image", "section", "story")  # that a document may have
NEEDED = ("title", "url")
ADDRESSES = ("url", "image")  # which may be made of places in the document
MADE = re.compile(r"https?://(?:[^{}]|\{[^{}]+\})+")
EVERYONE, NOBODY = "*", ""  # who gets a story whose section has no topic
_PLACE = re.compile(r"\{([^{}]*)\}")
_MOST_SECTIONS = 50  # of one story
_NAMES = ("slug", "name", "title", "value")  # of an object, what may be the name of a section


@dataclass(frozen=True, slots=True)
class PublishHook(Stored):
    """A publish hook as an editor has set it up."""

    id: str
    name: str
    secret: str  # sealed
    header: str = ""  # with an HMAC-SHA256 of the body; empty: signed as Standard Webhooks says
    paths: dict[str, str] = field(default_factory=dict)  # some of `FIELDS`: where each is
    topics: dict[str, str] = field(default_factory=dict)  # by section, in lower case
    otherwise: str = NOBODY  # `EVERYONE`, a topic's slug, or `NOBODY`
    draft: bool = True
    lang: str = ""
    created_at: float = 0.0  # seconds since 1970
    created_by: str = ""

    @classmethod
    def from_json(cls, text: bytes) -> PublishHook:
        """Read what is stored."""
        return cls(**known_fields(cls, json.loads(text)))

    def text(self, name: str, document: Any) -> str:
        """Return a field of a document as text; empty if it is not there, or something else."""
        path = self.paths.get(name, "")
        if "{" not in path:
            return _text(at(document, path)) if path else ""
        parts = {part: _text(at(document, part)) for part in _PLACE.findall(path)}
        if not all(parts.values()):
            return ""
        return _PLACE.sub(lambda found: quote(parts[found[1]], safe="/"), path)

    def topics_of(self, document: Any) -> list[str]:
        """Return the topics of a document's sections, each once."""
        found = at(document, self.paths["section"]) if self.paths.get("section") else None
        named = (self.topics.get(section.strip().lower()) for section in _names(found))
        return list(dict.fromkeys(topic for topic in named if topic))


@dataclass(frozen=True, slots=True)
class HookCall:
    """A call of a publish hook, and what came of it."""

    at: float
    status: int
    detail: str
    alert: int = 0  # 0: none


def at(document: Any, path: str) -> Any:
    """Return what a document has at a place; None if it has nothing there."""
    if path.startswith("/"):
        parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    else:
        parts = path.split(".")
    found = document
    for part in parts:
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isascii() and part.isdigit() and len(part) < 5:
            found = found[int(part)] if int(part) < len(found) else None
        else:
            return None
    return found


def _text(found: Any) -> str:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return str(found).strip() if isinstance(found, str) or is_number else ""


def _names(found: Any) -> Iterator[str]:
    """Yield the texts in a value: a text, a number, an object with a name, or a list of these."""
    for one in (found if isinstance(found, list) else [found])[:_MOST_SECTIONS]:
        value = one
        if isinstance(one, dict):
            value = next((one[name] for name in _NAMES if isinstance(one.get(name), str)), None)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            yield str(value)
