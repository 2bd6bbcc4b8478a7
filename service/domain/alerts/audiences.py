"""Audiences that cannot be selected any more: by topics, or by what readers did or got."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

from service.domain.alerts.requests import Conflict
from service.model.notifications import Audience, Notification, SendAt
from service.model.retention import ACCEPTED_KEPT, DAY
from service.model.time import clock
from service.store import Store
from service.store.alerts.audiences import is_remembered

_EPOCH = date(1970, 1, 1)
_KEPT_DAYS = ACCEPTED_KEPT // DAY
_NEVER = 366 * 300  # a day, counted from 1970


class Refusal(NamedTuple):
    """What is wrong with an audience."""

    field: str  # of `Audience`
    detail: str


class AudienceConditions:
    """Says whether an audience can be selected, so that none is selected wrongly."""

    def __init__(self, store: Store, *, keeps_clicks: bool) -> None:
        self._store = store
        self.keeps_clicks = keeps_clicks

    def refused(self, audience: Audience, at: float) -> Refusal | None:
        """Return why an alert that is sent at that time cannot have this audience."""
        if (refusal := self._ended_topics(audience)) is not None:
            return refusal
        if not audience.narrowed:
            return None
        story = audience.followers_of
        if story and story not in self._store.stories.slugs():
            return Refusal("followers_of", f"There is no running story “{story}”.")
        if audience.clicked and not self.keeps_clicks:
            detail = (
                "Who clicked an alert is not kept here. Your operator can switch it on"
                " (CLICK_AUDIENCES)."
            )
            return Refusal("clicked", detail)
        if audience.new_within_days and (detail := self._unknown_days(audience, at)):
            return Refusal("new_within_days", detail)
        since = self._store.clicks.known_since() if audience.clicked else 0.0
        named = {"not_reached_by": audience.not_reached_by, "clicked": audience.clicked}
        for field, ids in named.items():
            found = {one.id: one for one in self._store.notifications.all(ids)}
            for id in ids:
                if detail := _unknown_alert(id, found.get(id), at):
                    return Refusal(field, detail)
                if field == "clicked" and (found[id].started_at or 0.0) < since:
                    return Refusal(field, _before(id, since))
        return None

    def _ended_topics(self, audience: Audience) -> Refusal | None:
        """Return why an audience is another one since a topic was removed or merged.

        Without a topic whose followers it leaves out, an alert would reach readers who were not to
        get it. An audience of several topics only gets smaller when one of them is removed.
        """
        if not (audience.topics or audience.all_topics or audience.exclude):
            return None
        known = self._store.topics.all()
        now = self._store.topics.current_audience(audience)
        for field, slugs in (("exclude", now.exclude), ("all_topics", now.all_topics)):
            if unknown := [slug for slug in slugs if slug not in known]:
                return Refusal(field, _no_topic(unknown[0]))
        if audience.topics and not audience.story and known.keys().isdisjoint(now.topics):
            return Refusal("topics", _no_topic(now.topics[0]))
        both = {*now.topics, *now.all_topics} & {*now.exclude}
        if both and not {*audience.topics, *audience.all_topics} & {*audience.exclude}:
            name = known[min(both)].name
            detail = (
                f"It is for followers of “{name}” and leaves them out, because topics were merged."
            )
            return Refusal("exclude", detail)
        return None

    def _unknown_days(self, audience: Audience, at: float) -> str:
        """Say since when it is known when readers subscribed, if that is not long enough."""
        known = self._store.joined.known_since()
        most = int(at // DAY) - known
        if audience.new_within_days <= most:
            return ""
        if known > _NEVER:
            return (
                "It is not known yet when readers subscribed. Ask your operator to restart Stop"
                " Press."
            )
        since = f"{_EPOCH + timedelta(known):%-d %B %Y}"
        if most < 1:
            return f"When readers subscribed is known from {since} on. Choose this a day later."
        days = "1 day" if most == 1 else f"{most} days"
        return f"When readers subscribed is known since {since}. Choose {days} at most."

    def check(self, one: Notification, send_at: SendAt | None) -> None:
        """Raise `Conflict` if an alert cannot be sent now, or at its time, to its audience."""
        now = clock.time()
        refusal = self.refused(one.audience, max(now, send_at.at) if send_at else now)
        if refusal is not None:
            raise Conflict(one.id, f"{refusal.detail} Change the audience.")

    def outdated(self, id: int) -> bool:
        """Whether an alert that is due cannot have its audience any more."""
        one = self._store.notifications.get(id)
        return one is not None and self.refused(one.audience, clock.time()) is not None

    def alerts(self, most: int) -> list[Notification]:
        """Return the latest alerts of which it is known who got or clicked them."""
        now = clock.time()
        return [
            one
            for one in self._store.notifications.started(most)
            if _is_root(one) and is_remembered(one, now)
        ]


def _no_topic(slug: str) -> str:
    return f"There is no topic “{slug}” any more."


def _is_root(one: Notification) -> bool:
    """Whether it is an alert that editors know, and no correction."""
    return not (one.wave or one.audience.subscription or one.corrects)


def _before(id: int, since: float) -> str:
    """Say since when clicks are kept, which is not long enough for an alert."""
    if math.isinf(since):
        return (
            "It is not known yet since when it is kept who clicks. Ask your operator to restart"
            " Stop Press."
        )
    began = f"{datetime.fromtimestamp(since, timezone.utc):%-d %B %Y, %H:%M} UTC"
    return f"Who clicks an alert is kept since {began}. It began before: leave out alert {id}."


def _unknown_alert(id: int, one: Notification | None, at: float) -> str:
    """Say why it is not known who got an alert; nothing if it is."""
    if one is None or one.wave or one.audience.subscription:
        return f"There is no alert {id}."
    if one.corrects:
        return f"Alert {id} is a correction. Name the alert that it corrects, {one.corrects}."
    if one.planned:
        return f"Alert {id} is not sent yet."
    if one.finished_at is None or not one.over:
        return f"Alert {id} is still being sent. Wait until that is over, or cancel it."
    if not is_remembered(one, max(at, clock.time())):
        return (
            f"It is known for {_KEPT_DAYS} days who got or clicked an alert. That time is over, or"
            f" will be when this one is sent: leave out alert {id}."
        )
    return ""
