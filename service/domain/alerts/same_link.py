"""Finds alerts with the same link, and publishes one only where there is none."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from service.domain.alerts.requests import Conflict
from service.model.alert_log import LogEntry
from service.model.language.links import web_address
from service.model.notifications import Notification, Outcome, State
from service.model.retention import LINK_KEPT
from service.model.time import clock
from service.model.time.times import iso
from service.store import Store
from service.store.alerts.notifications import IdempotencyRecord, LinkClaim, LinkTaken

_MOST_SENT_BEFORE = 100  # alerts that are looked through for an editor


class SameLink:
    """Finds alerts with the same link.

    A link with another fragment, without the slash at its end, or with its host in capital letters,
    leads to the same page; one with other parameters does not. Alerts that ended before they
    reached anybody do not count.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def latest(self, url: str, *, but: int | None = None) -> Notification | None:
        """Return the latest alert that was or will be sent with this link, if there is one.

        Drafts do not count unless they wait for a second person, nor does the alert `but`.
        """
        sent_before = self._store.notifications.started(_MOST_SENT_BEFORE)
        for one in (*self._planned(), *sent_before):
            if one.id != but and self._leads_to(one, url):
                return one
        return None

    def claim(self, new: Notification) -> LinkClaim:
        """Return what lets the store publish one alert a day with this link; `Conflict`.

        Beside what `latest` finds, that alert counts which had the claim before, also a draft.
        `new` may also be a planned alert with its changes; as it is stored, it does not count.
        """
        url, now = new.content.url, clock.time()
        digest = hashlib.sha256(_page(url).encode()).hexdigest()[:32]
        holder = self._store.notifications.holder_of_link(digest)
        held = self._store.notifications.all([holder] if holder else [])
        begun = self._store.notifications.begun(now - LINK_KEPT, now + 1)
        due = now if new.send_at is None else new.send_at.at
        for one in (*held, *self._planned(), *begun):
            is_near = one.id != new.id and abs(time_of(one) - due) < LINK_KEPT
            if is_near and self._leads_to(one, url):
                raise Conflict(one.id, _taken(one))
        return LinkClaim(digest, holder, LINK_KEPT)

    def publish(
        self, one: Notification, kept: IdempotencyRecord | None, entry: LogEntry | None
    ) -> dict[str, Any] | None:
        """Store an alert unless another one has its link; `Conflict`. Of two such calls one wins.

        The store refuses the alert if its link was claimed after `claim` looked; then look again.
        """
        while True:
            try:
                claim = self.claim(one)
            except Conflict:
                # It may be this very request, sent twice at once.
                before = kept and self._store.notifications.remembered(kept.digest)
                if before:
                    return before
                raise
            with suppress(LinkTaken):
                return self._store.notifications.publish(one, kept, None, entry, claim)

    def change(
        self, before: Notification, after: Notification, now: float, entry: LogEntry | None
    ) -> bool:
        """Replace a planned alert unless another one has its link; `Conflict`, else as the store.

        Of two such calls one wins, as in `publish`.
        """
        while True:
            claim = self.claim(after)
            with suppress(LinkTaken):
                return self._store.notifications.change(before, after, now, entry, claim)

    def _planned(self) -> list[Notification]:
        plan = self._store.planned.read()
        return self._store.notifications.all([*plan.of("waits"), *plan.scheduled])

    def _leads_to(self, one: Notification, url: str) -> bool:
        is_same = one.corrects is None and _page(one.text.url) == _page(url)
        return is_same and not self._ended_unseen(one)

    def _ended_unseen(self, one: Notification) -> bool:
        if one.state not in (State.CANCELLED, State.EXPIRED):
            return False
        return not self._store.progress(one.id).of(Outcome.ACCEPTED)


def time_of(one: Notification) -> float:
    """Return when an alert was sent, will be, or was written, if that is not known."""
    planned = one.send_at.at if one.send_at is not None and one.planned else one.created_at
    return one.started_at or planned


def _taken(one: Notification) -> str:
    what = f"was sent at {iso(time_of(one))}"
    if one.state is State.SCHEDULED:
        what = f"is planned for {iso(time_of(one))}"
    elif one.state is State.DRAFT:
        what = "is a draft"
    return f"Alert {one.id} has the same link, and {what}. Nothing was published (`once_per_link`)."


def _page(url: str) -> str:
    page = url.partition("#")[0]
    return (web_address(page) or page).rstrip("/")
