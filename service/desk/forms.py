"""The desk's forms: the fields as an editor typed them, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from flask import abort, request

from service.api.fields import Invalid
from service.model import clock, times
from service.model.clocks import zone_of
from service.model.notifications import ROUND_THE_WORLD, Content, Notification, SendAt, State

# The choices of how long to spread an alert: what the form sends, and the minutes.
SPREADS: dict[str, int | None] = {"": None, "10": 10, "30": 30, "60": 60, "120": 120}
# For an empty field the API's message is correct, but not how to put it to an editor.
_EMPTY = {
    "title": "Write a title.",
    "url": "Paste the link to the story.",
    "audience": "Choose at least one topic, or everyone.",
}

# A host of two names or more, and then a path, or nothing more.
_WITHOUT_SCHEME = re.compile(r"[^\s/:@?#]+\.[^\s/:@?#.]+(:\d+)?(?=[/?#]|$)")

_NO_ZONE = (
    "Your browser’s time zone is not known here, so that the time is in UTC now. Check it, please."
)
_SPREAD_TWICE = "Each reader’s own time zone already spreads the alert. Choose “Do not spread”."
_SPREAD_TOO_LONG = "The alert would run out of time before the last reader gets it. Spread it less."


def spreads(planned: Notification | None) -> dict[str, int | None]:
    """Return the choices of a spread; a planned alert may have another one, from the API."""
    minutes = planned.spread_minutes if planned else 0
    return SPREADS | ({str(minutes): minutes} if minutes else {})


def read_nonce() -> str:
    """Return the nonce of this request's form: the same form sent twice has the same nonce."""
    given = request.form.get("nonce", "")
    return given if is_nonce(given) else abort(400)


def is_nonce(text: str) -> bool:
    """Whether this may be the key of a form."""
    return re.fullmatch(r"[\w-]{16,64}", text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an alert, new or planned."""

    title: str = ""
    body: str = ""
    url: str = ""
    audience: str = "topics"  # or "everyone"
    topics: tuple[str, ...] = ()
    story: str = ""  # a running story
    new_story: str = ""  # a name as it was typed
    kind: str = "news"
    spread: str = ""
    when: str = "now"  # or "at", or "draft"
    at: str = ""  # a wall-clock time in `zone`
    local: str = ""  # "yes": `at` is meant in each reader's own time zone
    zone: str = "UTC"  # empty: the browser named one that is not known here
    changes: str = ""  # of a planned alert: which version of it was opened

    @classmethod
    def of(cls, planned: Notification) -> Form:
        """Return the form filled with a planned alert."""
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
    def kept(cls, given: Mapping[str, Any]) -> Form:
        """Return the form that `fields` wrote, also if another release wrote it."""
        known = {one.name: given[one.name] for one in fields(cls) if one.name in given}
        return cls(**known | {"topics": tuple(known.get("topics", ()))})

    @property
    def opened_version(self) -> int:
        """Which version of a planned alert was opened; 0 if the form does not say."""
        return int(self.changes) if re.fullmatch("[0-9]{1,9}", self.changes) else 0

    def fields(self) -> dict[str, Any]:
        """Return what was typed, as it is kept until the alert is sent."""
        return asdict(self)

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
            zone=times.browser_zone(form.get("zone", "UTC") or "UTC"),
            changes=form.get("changes", ""),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the alert as the API accepts it."""
        everyone = self.audience == "everyone"
        return {
            "title": self.title,
            "body": self.body,
            "url": self.url,
            "kind": self.kind,
            "spread_minutes": SPREADS.get(self.spread, self.spread),
            "audience": {"everyone": True} if everyone else {"topics": list(self.topics)},
            # “Ferry aground” becomes ferry-aground.
            "story": "-".join(self.new_story.lower().split()) or self.story or None,
            "send_at": self._send_at if self.when == "at" else None,
            "local_time": self.when == "at" and bool(self.local),
            "draft": {"now": False, "at": False, "draft": True}.get(self.when, self.when),
        }

    def change_of(self, planned: Notification) -> dict[str, Any]:
        """Return the change as the API accepts it; what the form does not show stays as it is."""
        change = self.as_json()
        audience = planned.audience
        change["audience"] |= {"exclude": list(audience.exclude), "locales": list(audience.locales)}
        if self.spread == str(planned.spread_minutes):
            change["spread_minutes"] = planned.spread_minutes
        if self.when == "now":
            change["draft"] = True  # the API sends it by another call
        # The form has minutes only, and cannot tell two times apart when clocks are set back.
        before = planned.send_at if planned.state is State.SCHEDULED else None
        if self.when == "at" and before and self._is_at(before):
            change["send_at"] = times.write(before)
        return change

    @property
    def _send_at(self) -> str:
        if self.local:
            return self.at
        return self.at + (self.zone if self.zone[:1] in ("+", "-") else f"[{self.zone}]")

    def _is_at(self, send_at: SendAt) -> bool:
        known = self._moment is not None and bool(self.local) == bool(send_at.wall)
        return known and self.at == _wall(send_at, self.zone)

    @property
    def _moment(self) -> float | None:
        """The time in seconds since 1970 UTC; None if the field is not a time."""
        try:
            read = times.read_wall if self.local else times.read
            return read(self._send_at).at
        except ValueError:
            return None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the fields as hidden inputs of the confirmation page."""
        for name, value in asdict(self).items():
            if name != "topics":
                yield name, value
        for slug in self.topics:
            yield "topic", slug

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong, by field."""
        given = {"title": self.title, "url": self.url, "audience": self.topics}
        errors = _complaints(invalid, given)
        if "send_at" in errors:
            errors["send_at"] = self._complaint_of_time()
        if "spread_minutes" in errors:
            errors["spread_minutes"] = _SPREAD_TWICE if self.local else _SPREAD_TOO_LONG
        return errors

    @property
    def names_two_stories(self) -> bool:
        """Whether both a running story and a new one are given."""
        return bool(self.story and self.new_story)

    def _complaint_of_time(self) -> str:
        moment = self._moment
        if not (self.zone or self.local):
            return _NO_ZONE
        if moment is None:
            return "Choose a day and a time."
        if moment + (ROUND_THE_WORLD if self.local else 0) <= clock.time():
            return "This time has passed. Choose a later time, or send the alert now."
        return "This time is more than a year away."


@dataclass(frozen=True, slots=True)
class CorrectionForm:
    """The form of a correction: the whole new text."""

    title: str
    body: str
    url: str
    reached: str = "replace"  # or "leave": what to do for browsers that have the old text

    @classmethod
    def of(cls, text: Content) -> CorrectionForm:
        """Return the form filled with the current text."""
        return cls(text.title, text.body, text.url)

    @classmethod
    def read(cls) -> CorrectionForm:
        """Read the form of this request."""
        return cls(**_texts(), reached=request.form.get("reached", "replace"))

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong, by field."""
        return _complaints(invalid, {"title": self.title, "url": self.url})


def _wall(send_at: SendAt, zone: str) -> str:
    """Return the wall-clock time as `<input type="datetime-local">` has it."""
    if send_at.wall:
        return send_at.wall[:16]
    return f"{datetime.fromtimestamp(send_at.at, zone_of(zone)):%Y-%m-%dT%H:%M}"


def _texts() -> dict[str, str]:
    form = request.form
    return {
        "title": form.get("title", "").strip(),
        # Browsers send each line end as two characters (HTML standard, form submission).
        "body": form.get("body", "").replace("\r\n", "\n").strip(),
        "url": _link(form.get("url", "").strip()),
    }


def _link(text: str) -> str:
    """Return a link as it was typed, or copied from a browser that hides `https://`."""
    return f"https://{text}" if _WITHOUT_SCHEME.match(text) else text


def _complaints(invalid: Invalid, given: Mapping[str, object]) -> dict[str, str]:
    errors = {error.field.partition(".")[0]: error.detail for error in invalid.errors}
    empty = {field: _EMPTY[field] for field, value in given.items() if not value}
    return errors | {field: words for field, words in empty.items() if field in errors}
