"""What editors type at the desk, as they typed it, and what is said of it where it is wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import abort, request

from service.api.fields import Invalid
from service.model import times
from service.model.notifications import ROUND_THE_WORLD, Content, Notification, SendAt, State

# Over how long an alert may be spread: what the form sends, and the minutes that it means.
SPREADS: dict[str, int | None] = {"": None, "10": 10, "30": 30, "60": 60, "120": 120}
# What the API says of something empty is right, but not how one would put it to an editor.
_EMPTY = {
    "title": "Write a title.",
    "url": "Paste the address of the story.",
    "audience": "Tick a topic, or choose everyone.",
}


def spreads(planned: Notification | None) -> dict[str, int | None]:
    """Return what can be chosen: the usual, and what an alert that is planned has already."""
    minutes = planned.spread_minutes if planned else 0
    return SPREADS | ({str(minutes): minutes} if minutes else {})


def read_nonce() -> str:
    """Return what stands for the intention behind a form, however often that arrives."""
    given = request.form.get("nonce", "")
    return given if re.fullmatch(r"[\w-]{16,64}", given, re.ASCII) else abort(400)


@dataclass(frozen=True, slots=True)
class Form:
    """An alert, to be sent `when`: "now", "at" a wall clock's time in a zone, or "draft".

    `local`: that time by each reader's own clock. `story` is a running one, `new_story` as it was
    typed. Of one that is planned already, `changes` says which state of it was opened.
    """

    title: str = ""
    body: str = ""
    url: str = ""
    audience: str = "topics"
    topics: tuple[str, ...] = ()
    story: str = ""
    new_story: str = ""
    kind: str = "news"
    spread: str = ""
    when: str = "now"
    at: str = ""
    local: str = ""
    zone: str = "UTC"
    changes: str = ""

    @classmethod
    def of(cls, planned: Notification) -> Form:
        """Return the form with what is planned."""
        content, audience = planned.content, planned.audience
        send_at = planned.send_at if planned.state is State.SCHEDULED else None
        zone = (send_at and send_at.zone) or "UTC"
        return cls(
            title=content.title,
            body=content.body,
            url=content.url,
            audience="everyone" if audience.everyone else "topics",
            topics=audience.topics,
            story=audience.story,
            kind=content.kind,
            spread=str(planned.spread_minutes or ""),
            when="at" if send_at else "draft",
            at=_wall(send_at, zone) if send_at else "",
            local="yes" if planned.wall else "",
            zone=zone,
            changes=str(planned.changes),
        )

    @classmethod
    def read(cls) -> Form:
        """Read the form of this request."""
        form = request.form
        return cls(
            **_texts(),
            audience=form.get("audience", "topics"),
            topics=tuple(dict.fromkeys(form.getlist("topic"))),
            story=form.get("story", ""),
            new_story=form.get("new_story", "").strip(),
            kind=form.get("kind", "news"),
            spread=form.get("spread", ""),
            when=form.get("when", "now"),
            at=form.get("at", ""),
            local=form.get("local", ""),
            zone=form.get("zone") or "UTC",
            changes=form.get("changes", ""),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the alert as the API takes it."""
        everyone = self.audience == "everyone"
        return {
            "title": self.title,
            "body": self.body,
            "url": self.url,
            "kind": self.kind,
            "spread_minutes": SPREADS.get(self.spread, self.spread),
            "audience": {"everyone": True} if everyone else {"topics": list(self.topics)},
            # As it would be written: “Ferry aground” is ferry-aground.
            "story": "-".join(self.new_story.lower().split()) or self.story or None,
            "send_at": self._send_at if self.when == "at" else None,
            "local_time": self.when == "at" and bool(self.local),
            "draft": {"now": False, "at": False, "draft": True}.get(self.when, self.when),
        }

    def change_of(self, planned: Notification) -> dict[str, Any]:
        """Return it as the API takes a change: what the form does not know stays as it is."""
        said = self.as_json()
        audience = planned.audience
        said["audience"] |= {"exclude": list(audience.exclude), "locales": list(audience.locales)}
        if self.spread == str(planned.spread_minutes):
            said["spread_minutes"] = planned.spread_minutes
        if self.when == "now":
            said["draft"] = True  # until it is sent, which is another call
        # The form's time is by the minute, and says nothing of a clock that shows it twice.
        before = planned.send_at if planned.state is State.SCHEDULED else None
        if self.when == "at" and before and self._is_at(before):
            said["send_at"] = times.write(before)
        return said

    @property
    def _send_at(self) -> str:
        return self.at if self.local else f"{self.at}[{self.zone}]"

    def _is_at(self, send_at: SendAt) -> bool:
        known = self._moment is not None and bool(self.local) == bool(send_at.wall)
        return known and self.at == _wall(send_at, self.zone)

    @property
    def _moment(self) -> float | None:
        """The time in seconds since 1970 UTC; None where it is no time."""
        try:
            read = times.read_wall if self.local else times.read
            return read(self._send_at).at
        except ValueError:
            return None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the fields to send again."""
        for name, value in asdict(self).items():
            if name != "topics":
                yield name, value
        for slug in self.topics:
            yield "topic", slug

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong with which field."""
        given = {"title": self.title, "url": self.url, "audience": self.topics}
        errors = _complaints(invalid, given)
        if "send_at" in errors:
            errors["send_at"] = self._complaint_of_time()
        return errors

    @property
    def names_two_stories(self) -> bool:
        """Whether it would both go on with a running story and begin another."""
        return bool(self.story and self.new_story)

    def _complaint_of_time(self) -> str:
        moment = self._moment
        if moment is None:
            return "Choose a day and a time."
        if moment + (ROUND_THE_WORLD if self.local else 0) <= time.time():
            return "That has passed. Choose a later time, or send it now."
        return "That is more than a year away."


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


def _wall(send_at: SendAt, zone: str) -> str:
    """Return what a clock shows then, of that zone or of a reader's own.

    As `<input type="datetime-local">` has it.
    """
    if send_at.wall:
        return send_at.wall[:16]
    return f"{datetime.fromtimestamp(send_at.at, ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


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
