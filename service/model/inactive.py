"""Readers who have not visited for long: since when, and what they are asked (decision 125)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import Enum

from service.model.language.languages import texts
from service.model.notifications import Action, Content, Notification
from service.model.retention import DAY
from service.model.stored import Stored
from service.model.time.spans import span

_EPOCH = date(1970, 1, 1)
_MONTHS_BACK = 120
# Nobody is asked or retired if so many at once would be: in a newsroom that asks every month, a
# twentieth of the readers stops to visit, and not a fifth. Of few readers a fifth says nothing.
TOO_LARGE_A_SHARE = 0.2
TOO_MANY = 50
# Nor if no reader was seen for so many days: a page without our tag looks like that.
NOBODY_FOR = 7
_TTL = 28 * DAY  # the longest that push services keep a message


@dataclass(frozen=True, slots=True)
class InactivePolicy:
    """What the newsroom set."""

    after_days: int  # since the last visit, until a reader is asked; 0: nobody is
    answer_days: int  # that a reader has to answer
    site_name: str
    site_icon: str
    language: str
    front_page: str


@dataclass(frozen=True, slots=True)
class Round(Stored):
    """The latest time that readers were asked. Times are seconds since 1970."""

    until: str = ""  # the month of the last visit of the latest of them, `202605`; empty: none yet
    alert: int = 0  # id of the question; 0: this round is over
    noted_at: float = 0.0  # when it is noted who got the question; 0: not known yet
    retire_at: float = 0.0
    noted: bool = False
    passed: bool = False  # the brake has let so many be retired
    held: str = ""  # why nobody is asked or retired now, a `Brake`; empty: nothing is wrong


class Brake(str, Enum):
    """Why nobody is asked or retired."""

    NO_VISITS = "no visits"
    TOO_MANY = "too many"


def brake(inactive: int, readers: int, *, visits: bool) -> str:
    """Return why so many of the readers cannot be inactive (`Brake`); empty: they can.

    `visits`: whether any reader was seen in the last `NOBODY_FOR` days.
    """
    if not visits:
        return Brake.NO_VISITS.value
    if inactive > max(TOO_MANY, TOO_LARGE_A_SHARE * readers):
        return Brake.TOO_MANY.value
    return ""


def last_month(now: float, after_days: int) -> str:
    """Return the latest month in which no day is less than so many days ago."""
    since = _EPOCH + timedelta(days=int(now // DAY) - after_days)
    return f"{since.replace(day=1) - timedelta(days=1):%Y%m}"


def months_until(month: str) -> list[str]:
    """Return this month and those before it, for ten years."""
    at = int(month[:4]) * 12 + int(month[4:]) - 1
    return [f"{one // 12}{one % 12 + 1:02}" for one in range(at - _MONTHS_BACK, at + 1)]


def question(policy: InactivePolicy, language: str) -> Content:
    """Return what a reader is asked. Who presses anything of it opens the site, and so visits."""
    ours = texts(language)["alerts"]
    days = span(policy.answer_days * DAY, language)
    return Content(
        title=ours["still"],
        body=ours["unused"].format(site=policy.site_name, days=days),
        url=policy.front_page,
        icon=policy.site_icon or None,
        actions=(Action(ours["keep"], policy.front_page),),
        urgency="normal",
        ttl=_TTL,
        lang=language,
    )


def in_language(one: Notification, policy: InactivePolicy, language: str) -> Notification:
    """Return the question in a reader's language, unless an editor has corrected it."""
    if not one.audience.last_seen_until or one.revision:
        return one
    words = question(policy, language)
    return replace(one, content=replace(words, url=one.content.url, icon=one.content.icon))
