"""The desk's forms: the fields as an editor typed them, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from service.api.alerts import saved_forms
from service.api.alerts.audience_requests import MOST_DAYS
from service.api.alerts.saved_forms import SPREADS
from service.api.fields import Invalid
from service.desk.fields import complaints_of, texts_of, with_plain_line_ends
from service.desk.writing import repeat_fields
from service.desk.writing.repeat_fields import RepeatFields
from service.model.language.languages import browser_language
from service.model.language.links import with_scheme
from service.model.language.slugs import slug_of
from service.model.notifications import (
    ROUND_THE_WORLD,
    Action,
    Content,
    Notification,
    SendAt,
)
from service.model.retention import DAY
from service.model.stored import known_fields
from service.model.time import clock, times
from service.model.time.clocks import zone_of

# How large a sample of two texts may be (percent), and for how long they are tried (minutes).
SAMPLES, WAITS = (5, 10, 20, 50), (5, 10, 15, 30, 60)
# How long an alert may be good for, in seconds.
LIFETIMES = {900, 3600, 4 * 3600, 12 * 3600, DAY, 3 * DAY, 7 * DAY}
# Fields with several values, each with the name under which the form sends them.
_OF_AUDIENCE = {
    "topics": "topic",
    "exclude": "exclude",
    "all_topics": "all_topic",
    "not_reached_by": "not_reached_by",
    "clicked": "clicked",
}
_SEVERAL = _OF_AUDIENCE | repeat_fields.SEVERAL
# Fields that say who gets the alert: what a saved audience keeps.
AUDIENCE = ("audience", "locales", "followers_of", "new_within_days", *_OF_AUDIENCE)
# Fields with one link.
_LINKS = ("icon", "badge", "image", "button1_url", "button2_url")

DAYS = f"Write the number of days in digits: 1 to {MOST_DAYS}, or nothing for all readers."
_NO_ZONE = (
    "Your browser’s time zone is not known here, so that the time is in UTC now. Check it, please."
)
_NO_SLUG = "Use Latin letters or digits in the name of the story, such as “Ferry aground”."
_NOT_BREAKING = "Breaking news goes to everyone at once, with one text. Choose “News”."
_NOT_SPREAD = "Two texts cannot be tried while the alert is spread. Choose “Do not spread”."
_NOT_LOCAL = "Two texts cannot be tried in each reader’s own time zone."
_NO_TITLE_B = "Write title B, or leave both fields of text B empty."
_DECIDED_TOO_LATE = (
    "The alert would run out of time before one of its texts is chosen. Choose it earlier."
)
_SPREAD_TWICE = "Each reader’s own time zone already spreads the alert. Choose “Do not spread”."
_SPREAD_TOO_LONG = "The alert would run out of time before the last reader gets it. Spread it less."


def spreads(planned: Notification | None) -> dict[str, int | None]:
    """Return the choices of a spread; a planned alert may have another one, from the API."""
    minutes = planned.spread_minutes if planned else 0
    return SPREADS | ({str(minutes): minutes} if minutes else {})


def samples(form: Form) -> list[int]:
    """Return the choices of how large a sample of two texts is; it may be another one."""
    return sorted({*SAMPLES, *_whole(form.sample)})


def waits(form: Form) -> list[int]:
    """Return the choices of how long two texts are tried; it may be another time."""
    return sorted({*WAITS, *_whole(form.decide_after)})


def _whole(text: str) -> list[int]:
    return [int(text)] if re.fullmatch("[0-9]{1,9}", text) else []


def lifetimes(form: Form) -> list[int]:
    """Return the choices of how long an alert is good for, in seconds; it may have another one."""
    return sorted({*LIFETIMES, *_whole(form.ttl)})


@dataclass(frozen=True, slots=True)
class Form(RepeatFields):
    """The form of an alert, new or planned."""

    title: str = ""
    body: str = ""
    url: str = ""
    audience: str = "topics"  # or "everyone"
    topics: tuple[str, ...] = ()
    story: str = ""  # a running story
    new_story: str = ""  # a name as it was typed
    exclude: tuple[str, ...] = ()  # topics whose followers are left out
    locales: str = ""  # tags of languages, with spaces or commas between them; empty: all
    all_topics: tuple[str, ...] = ()  # topics of which readers follow each
    followers_of: str = ""  # a running story whose followers alone get it
    new_within_days: str = ""  # as it was typed
    not_reached_by: tuple[str, ...] = ()  # numbers of alerts
    clicked: tuple[str, ...] = ()  # numbers of alerts
    kind: str = "news"
    ttl: str = ""  # seconds; empty: as usual for its kind
    urgency: str = "high"
    lang: str = ""  # tag of the text's language; empty: the site's own
    icon: str = ""
    badge: str = ""
    image: str = ""
    button1: str = ""
    button1_url: str = ""
    button2: str = ""
    button2_url: str = ""
    title_b: str = ""  # of a second text, which is tried against the first; empty: there is none
    body_b: str = ""
    sample: str = "10"  # percent of the audience that get either text
    decide_after: str = "15"  # minutes until one of them is chosen
    spread: str = ""
    when: str = "now"  # or "at", or "draft"
    at: str = ""  # a wall-clock time in `zone`
    local: str = ""  # "yes": `at` is meant in each reader's own time zone
    zone: str = "UTC"  # empty: the browser named one that is not known here
    changes: str = ""  # of a planned alert: which version of it was opened

    @classmethod
    def of(cls, planned: Notification) -> Form:
        """Return the form filled with a planned alert."""
        send_at = planned.send_at if planned.has_time else None
        zone = (send_at and send_at.zone) or "UTC"
        alert: dict[str, Any] = saved_forms.fields_of(
            planned.content, planned.audience, planned.second_text, planned.spread_minutes
        )
        return cls(
            **alert,
            when="at" if send_at else "draft",
            at=_wall(send_at, zone) if send_at else "",
            local="yes" if planned.wall else "",
            zone=zone,
            **repeat_fields.fields_of(planned.repeats),
            changes=str(planned.changes),
        )

    @classmethod
    def kept(cls, given: Mapping[str, Any]) -> Form:
        """Return the form that `fields` wrote, also if another release wrote it."""
        known = known_fields(cls, given)
        return cls(**known | {name: tuple(known.get(name, ())) for name in _SEVERAL})

    def as_new(self) -> Form:
        """Return the form of another alert that begins as this one, without its time."""
        spread = self.spread if self.spread in SPREADS else ""
        form = replace(self, spread=spread, when="now", at="", local="", zone="UTC", changes="")
        return replace(form, **repeat_fields.NONE)

    def with_audience(self, given: Mapping[str, Any]) -> Form:
        """Return the form with a saved audience."""
        empty = {name: getattr(Form(), name) for name in AUDIENCE}
        chosen = {name: getattr(Form.kept(empty | dict(given)), name) for name in AUDIENCE}
        return replace(self, **chosen)

    def audience_fields(self) -> dict[str, Any]:
        """Return what says who gets the alert, as a saved audience keeps it."""
        return {name: getattr(self, name) for name in AUDIENCE}

    @property
    def opened_version(self) -> int:
        """Which version of a planned alert was opened; 0 if the form does not say."""
        return int(self.changes) if re.fullmatch("[0-9]{1,9}", self.changes) else 0

    def fields(self) -> dict[str, Any]:
        """Return what was typed, as it is kept until the alert is sent."""
        return asdict(self)

    @classmethod
    def read(cls, form: MultiDict[str, str] | None = None) -> Form:
        """Read a form, by default that of this request."""
        form = request.form if form is None else form
        typed = {one.name: form[one.name].strip() for one in fields(cls) if one.name in form}
        several: dict[str, Any] = {name: _several(form, sent) for name, sent in _SEVERAL.items()}
        others = {
            **{name: with_scheme(typed.get(name, "")) for name in _LINKS},
            "body_b": with_plain_line_ends(form.get("body_b", "")),
            "zone": times.browser_zone(form.get("zone", "UTC") or "UTC"),
        }
        return cls(**(typed | texts_of(form) | several | others))

    def as_json(self) -> dict[str, Any]:
        """Return the alert as the API accepts it."""
        return {
            **saved_forms.alert_of(self.fields()),
            "send_at": self._send_at if self.when == "at" else None,
            "local_time": self.in_local_time,
            "repeat": self.repeat_as_json(),
            "draft": {"now": False, "at": False, "draft": True}.get(self.when, self.when),
        }

    @property
    def days_are_wrong(self) -> bool:
        """Whether the field has a text that is no whole number, or a number out of range."""
        days = self.new_within_days
        if not re.fullmatch("[0-9]{1,9}", days):
            return bool(days)
        return not 1 <= int(days) <= MOST_DAYS

    @property
    def names_an_audience(self) -> bool:
        """Whether it says who gets the alert; that is never everyone by itself."""
        chosen = self.topics or self.all_topics or self.followers_of
        return self.audience == "everyone" or bool(chosen)

    def change_of(self, planned: Notification) -> dict[str, Any]:
        """Return the change as the API accepts it."""
        change = self.as_json()
        if self.spread == str(planned.spread_minutes):
            change["spread_minutes"] = planned.spread_minutes
        if self.when == "now":
            change["draft"] = True  # the API sends it by another call
            if planned.repeats:
                change["repeat"] = None  # it goes on, after this one
        # The form has minutes only, and cannot tell two times apart when clocks are set back.
        before = planned.send_at if planned.has_time else None
        if self.when == "at" and before and self._is_at(before):
            change["send_at"] = times.write(before)
        return change

    @property
    def story_slug(self) -> str:
        """The slug of the story, running or new; may be empty."""
        return saved_forms.story_of(self.fields())

    @property
    def languages(self) -> tuple[str, ...]:
        """Tags of the languages whose readers alone get it, as far as they are tags."""
        return tuple(filter(None, map(browser_language, saved_forms.words(self.locales))))

    def content(self) -> Content:
        """Return the alert as far as it is written, unchecked."""
        return Content(
            title=self.title,
            url=self.url,
            body=self.body,
            icon=self.icon or None,
            badge=self.badge or None,
            image=self.image or None,
            actions=tuple(Action(**one) for one in saved_forms.buttons_of(self.fields())),
            lang=browser_language(self.lang) or None,
        )

    @property
    def has_second_text(self) -> bool:
        """Whether two texts are to be tried: title B is typed, or a text B other than text A."""
        return saved_forms.has_second_text(self.fields())

    @property
    def _send_at(self) -> str:
        if self.local:
            return self.at
        return self.at + (self.zone if self.zone[:1] in ("+", "-") else f"[{self.zone}]")

    def _is_at(self, send_at: SendAt) -> bool:
        known = self._moment is not None and bool(self.local) == bool(send_at.wall)
        return known and self.at == _wall(send_at, self.zone)

    @property
    def chosen_time(self) -> SendAt | None:
        """The time in the field “At”; None if it is not a time."""
        try:
            return (times.read_wall if self.local else times.read)(self._send_at)
        except ValueError:
            return None

    @property
    def _moment(self) -> float | None:
        """The same in seconds since 1970 UTC."""
        chosen = self.chosen_time
        return chosen.at if chosen else None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return the fields as hidden inputs of the confirmation page."""
        for name, value in asdict(self).items():
            if name not in _SEVERAL:
                yield name, value
        for name, sent in _SEVERAL.items():
            for value in getattr(self, name):
                yield sent, value

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong, by field."""
        given = {"title": self.title, "url": self.url, "audience": self.names_an_audience}
        errors = complaints_of(invalid, given)
        if "new_within_days" in errors and self.days_are_wrong:
            errors["new_within_days"] = DAYS
        if "send_at" in errors:
            errors["send_at"] = self._complaint_of_time()
        if "repeat" in errors:
            errors["repeat"] = self.complaint_of_repeat(
                errors["repeat"],
                has_time=self.when == "at",
                has_zone=bool(self.local) or self.zone[:1] not in ("+", "-"),
                has_second_text=self.has_second_text,
            )
        if "story" in errors and self.new_story and not slug_of(self.new_story):
            errors["story"] = _NO_SLUG
        if "spread_minutes" in errors:
            errors["spread_minutes"] = _SPREAD_TWICE if self.in_local_time else _SPREAD_TOO_LONG
        if "second_text" in errors:
            decided = any(one.field.endswith(".decide_after_minutes") for one in invalid.errors)
            words = _DECIDED_TOO_LATE if decided else errors["second_text"]
            errors["second_text"] = self._complaint_of_second_text(words)
        return errors

    @property
    def in_local_time(self) -> bool:
        """Whether it is sent when each reader's own clock shows a time."""
        return self.when == "at" and bool(self.local)

    @property
    def names_two_stories(self) -> bool:
        """Whether both a running story and a new one are given."""
        return bool(self.story and self.new_story)

    def _complaint_of_second_text(self, words: str) -> str:
        if self.kind == "breaking":
            return _NOT_BREAKING
        if self.spread:
            return _NOT_SPREAD
        if self.in_local_time:
            return _NOT_LOCAL
        return words if self.title_b else _NO_TITLE_B

    def _complaint_of_time(self) -> str:
        moment = self._moment
        if not (self.zone or self.local):
            return _NO_ZONE
        if moment is None:
            return "Choose a day and a time."
        if moment + (ROUND_THE_WORLD if self.local else 0) <= clock.time():
            return "This time has passed. Choose a later time, or send the alert now."
        return "This time is more than a year away."


def _wall(send_at: SendAt, zone: str) -> str:
    """Return the wall-clock time as `<input type="datetime-local">` has it."""
    if send_at.wall:
        return send_at.wall[:16]
    return f"{datetime.fromtimestamp(send_at.at, zone_of(zone)):%Y-%m-%dT%H:%M}"


def _several(form: MultiDict[str, str], name: str) -> tuple[str, ...]:
    """Return the values of a field, and of the one in which another is chosen."""
    given = [*form.getlist(name), *form.getlist(f"{name}_too")]
    return tuple(dict.fromkeys(filter(None, given)))
