"""What editors type at the desk, as they typed it, and what is said of it where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from flask import abort, request

from service.models import Content
from service.validation import Invalid

# Over how long an alert may be spread: what the form sends, and the minutes that it means.
SPREADS = {"": None, "10": 10, "30": 30, "60": 60, "120": 120}
# What the API says of something empty is right, but not how one would put it to an editor.
_EMPTY = {
    "title": "Write a title.",
    "url": "Paste the address of the story.",
    "audience": "Tick a topic, or choose everyone.",
}


def nonce() -> str:
    """Return what stands for the intention behind a form, however often that arrives."""
    given = request.form.get("nonce", "")
    return given if re.fullmatch(r"[\w-]{16,64}", given, re.ASCII) else abort(400)


@dataclass(frozen=True, slots=True)
class Form:
    """A new alert."""

    title: str = ""
    body: str = ""
    url: str = ""
    audience: str = "topics"
    topics: tuple[str, ...] = ()
    kind: str = "news"
    spread: str = ""

    @classmethod
    def read(cls) -> Form:
        """Read the form of this request."""
        form = request.form
        return cls(
            **_texts(),
            audience=form.get("audience", "topics"),
            topics=tuple(dict.fromkeys(form.getlist("topic"))),
            kind=form.get("kind", "news"),
            spread=form.get("spread", ""),
        )

    def as_json(self) -> dict[str, object]:
        """Return the alert as the API takes it."""
        everyone = self.audience == "everyone"
        return {
            "title": self.title,
            "body": self.body,
            "url": self.url,
            "kind": self.kind,
            "spread_minutes": SPREADS.get(self.spread, self.spread),
            "audience": {"everyone": True} if everyone else {"topics": list(self.topics)},
        }

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the fields to send again."""
        for name, value in asdict(self).items():
            if name != "topics":
                yield name, value
        for slug in self.topics:
            yield "topic", slug

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong with which field."""
        return _complaints(invalid, {"title": self.title, "url": self.url, "audience": self.topics})


@dataclass(frozen=True, slots=True)
class CorrectionForm:
    """Another text for an alert, whole; `reached`: "replace" what its readers have, or "leave"."""

    title: str
    body: str
    url: str
    reached: str = "replace"

    @classmethod
    def of(cls, text: Content) -> CorrectionForm:
        """Return the form with what is to be corrected."""
        return cls(text.title, text.body, text.url)

    @classmethod
    def read(cls) -> CorrectionForm:
        """Read the form of this request."""
        return cls(**_texts(), reached=request.form.get("reached", "replace"))

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong with which field."""
        return _complaints(invalid, {"title": self.title, "url": self.url})


def _texts() -> dict[str, str]:
    form = request.form
    return {
        "title": form.get("title", "").strip(),
        # Forms send every line end as two characters (HTML, form submission).
        "body": form.get("body", "").replace("\r\n", "\n").strip(),
        "url": form.get("url", "").strip(),
    }


def _complaints(invalid: Invalid, given: Mapping[str, object]) -> dict[str, str]:
    errors = {error.field.partition(".")[0]: error.detail for error in invalid.errors}
    empty = {field: _EMPTY[field] for field, value in given.items() if not value}
    return errors | {field: words for field, words in empty.items() if field in errors}
