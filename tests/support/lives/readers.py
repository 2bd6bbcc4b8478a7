"""Readers whose lives a test plays: what each has chosen, and what it was shown."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from service.local import pretend_readers
from service.model.network.endpoints import EndpointPolicy
from service.model.preferences import NO_QUIET, Preferences
from service.model.subscriptions import SubscriptionId, SubscriptionRequest

ORIGINS = ("https://fcm.googleapis.com", "https://updates.push.services.mozilla.com")
STORY = "ferry"
_PATHS = ("/fcm/send/", "/wpush/v2/")


@dataclass
class Shown:
    """A text of an alert that a push service took for a reader."""

    root: int
    text: int
    by: int  # the alert, correction or wave that was sent
    at: float
    is_certain: bool  # False: the worker did not live to record it, or no answer came


@dataclass
class Reader:
    """One browser."""

    number: int
    id: SubscriptionId
    keys: int
    zone: str
    topics: frozenset[str]
    preferences: Preferences
    story: str = ""  # "followed" or "muted"
    is_here: bool = True
    changed_at: float = 0.0
    shown: list[Shown] = field(default_factory=list)
    # By date, the alerts that count against the daily limit.
    counted: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    # By date, further alerts of a story: one counts if it was admitted before another arrived.
    further: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    # Stories, each with the date on which an alert of it began that this reader got: no other alert
    # of it counts on that date.
    stories: set[tuple[str, int]] = field(default_factory=set)

    def sleeps(self, at: float) -> bool:
        """Whether it is quiet time on this reader's own clock."""
        there = datetime.fromtimestamp(at, ZoneInfo(self.zone))
        return (self.preferences.quiet or NO_QUIET).covers(there.hour * 4 + there.minute // 15)

    def date(self, at: float) -> int:
        """The date on this reader's own clock, such as 20310330."""
        return int(datetime.fromtimestamp(at, ZoneInfo(self.zone)).strftime("%Y%m%d"))


def request(number: int, keys: int, vapid_key: str, **preferences: Any) -> SubscriptionRequest:
    """What the browser of a reader asks for, with its nth pair of keys."""
    service = number % len(ORIGINS)
    url = f"{ORIGINS[service]}{_PATHS[service]}reader-{number}"
    p256dh, auth = pretend_readers.keys(number + 100 * keys)
    return SubscriptionRequest(EndpointPolicy().parse(url), p256dh, auth, vapid_key, **preferences)


def of_story(how: str) -> dict[str, frozenset[str]]:
    """What a browser asks for whose reader follows or mutes the only story, or neither."""
    return {kind: frozenset({STORY} if kind == how else ()) for kind in ("followed", "muted")}


def number_in(path: str) -> int:
    """The number of the reader to whose endpoint a message goes."""
    return int(path.rpartition("-")[2])
