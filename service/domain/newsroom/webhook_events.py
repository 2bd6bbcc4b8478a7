"""What webhooks hear: the clock lays out each event for all that want it, once.

Nothing that changes an alert has to remember webhooks. The log of alerts has an entry of all that
is done with one (decision 87). The clock reads it on from where it was, and stores how far that is
together with the events; so an event is neither lost nor laid out twice when the clock is killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from service.model.alert_log import LogEntry
from service.model.newsroom.webhooks import READER_EVENTS, Waiting, Webhook
from service.model.notifications import Notification, Outcome, Progress
from service.model.stored import known_fields
from service.model.time.times import iso
from service.store import Store
from service.store.newsroom.webhooks import Kept

_READERS_EVERY = 300.0  # seconds
_ENTRIES = 200  # of the log, in one second
_BEGINS = ("sent", "started", "approved")


@dataclass(frozen=True, slots=True)
class _Event:
    key: str  # what tells it from all other events
    type: str
    at: float
    data: dict[str, Any]
    entry: str = ""  # of the log

    def for_webhook(self, id: str) -> Waiting:
        body = {"type": self.type, "timestamp": iso(self.at), "data": self.data}
        name = sha256(f"{id} {self.type} {self.key}".encode()).hexdigest()[:24]
        return Waiting(f"msg_{name}", self.type, json.dumps(body, ensure_ascii=False))


@dataclass
class _State:
    """How far events are laid out; stored as JSON."""

    cursor: str = "0-0"  # the last entry of the log that was read
    watched: list[int] = field(default_factory=list)  # alerts that began and did not finish yet
    # How many readers there were, how many had left until then by why, and when that was.
    readers: dict[str, Any] | None = None


class WebhookEvents:
    """Lays out events for the webhooks of one installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def lay_out(self, now: float) -> None:
        """Lay out what has happened since the last call: what the clock does every second."""
        kept = self._store.webhooks.kept()
        if not kept.webhooks:
            return
        state = _State(**known_fields(_State, json.loads(kept.state or "{}")))
        before = json.dumps(vars(state))
        found = [*self._of_log(state), *self._finished(state)]
        found += self._of_readers(state, _listening(kept), now)
        after = json.dumps(vars(state))
        if after != before:
            events = {one.id: list(_heard(one, found)) for one in _listening(kept)}
            events = {id: some for id, some in events.items() if some}
            self._store.webhooks.lay_out(kept.state, after, events, now)

    def _of_log(self, state: _State) -> Iterator[_Event]:
        """Yield the events of the log's new entries."""
        entries = self._store.alert_log.after(state.cursor, _ENTRIES)
        alerts = {one.id: one for one in self._store.notifications.all({e.alert for e in entries})}
        for entry in entries:
            state.cursor = entry.id
            one = alerts.get(entry.alert)
            if one is None or one.corrects is not None:  # deleted, or about all alerts
                continue
            if _begins(entry, one):
                if one.finished_at is None and one.id not in state.watched:
                    state.watched.append(one.id)
                yield self._event("alert.sent", str(one.id), one, entry.at, entry.id)
                if one.finished_at is not None:
                    yield self._event("alert.finished", str(one.id), one, one.finished_at, entry.id)
            elif entry.action in ("corrected", "cancelled"):
                yield self._event(f"alert.{entry.action}", entry.id, one, entry.at, entry.id)

    def _finished(self, state: _State) -> Iterator[_Event]:
        """Yield an event of each alert of which the last outcome is counted by now."""
        alerts = self._store.notifications.all(state.watched)
        state.watched = [one.id for one in alerts if one.finished_at is None]
        for one in alerts:
            if one.finished_at is not None:
                yield self._event("alert.finished", str(one.id), one, one.finished_at)

    def _of_readers(
        self, state: _State, listening: Sequence[Webhook], now: float
    ) -> Iterator[_Event]:
        """Yield how many readers have joined and left in the last minutes; never who."""
        if not any(set(READER_EVENTS) & set(one.events) for one in listening):
            state.readers = None
            return
        if state.readers is not None and now - state.readers["at"] < _READERS_EVERY:
            return
        before = state.readers
        ended, readers = self._store.departures.counts(), self._store.subscriptions.count()
        state.readers = {"at": now, "readers": readers, "ended": ended}
        if before is None:
            return
        # A store that was restored may have counted less.
        left = {why: max(0, n - before["ended"].get(why, 0)) for why, n in ended.items()}
        left = {why: n for why, n in left.items() if n}
        gone = sum(left.values())
        joined = max(0, readers - before["readers"] + gone)
        span = {"since": iso(before["at"]), "until": iso(now), "readers": readers}
        if joined:
            yield _Event(iso(now), "readers.joined", now, {"count": joined, **span})
        if gone:
            yield _Event(iso(now), "readers.left", now, {"count": gone, "by": left, **span})

    def _event(self, type: str, key: str, one: Notification, at: float, entry: str = "") -> _Event:
        return _Event(key, type, at, in_short(one, self._store.progress(one.id)), entry)


def _listening(kept: Kept) -> list[Webhook]:
    hooks = kept.webhooks.values()
    return [one for one in hooks if not (one.paused or kept.health_of(one.id).ended_at)]


def _heard(webhook: Webhook, events: Sequence[_Event]) -> Iterator[Waiting]:
    """Yield the events that a webhook wants, of those from when it was added on."""
    for event in events:
        is_earlier = event.entry and _order(event.entry) <= _order(webhook.since)
        if event.type in webhook.events and not is_earlier:
            yield event.for_webhook(webhook.id)


def _order(entry: str) -> tuple[int, int]:
    """Return what puts entries of the log into their order."""
    time, _, number = entry.partition("-")
    return int(time), int(number or 0)


def _begins(entry: LogEntry, one: Notification) -> bool:
    """Whether an alert began to be sent with this entry of the log.

    An alert that waits, for its time or because it can be taken back, begins with another entry:
    `started`.
    """
    if entry.action == "started":
        return True
    return entry.action in _BEGINS and one.send_at is None and not one.planned


def in_short(one: Notification, progress: Progress) -> dict[str, Any]:
    """Return an alert as `GET /api/v1/notifications/<id>` shows it, in short."""
    text = one.text
    return {
        "id": str(one.id),
        "status": one.state.value,
        "title": one.content.title,
        "body": one.content.body,
        "url": one.content.url,
        "kind": one.content.kind,
        "story": one.story or None,
        "audience": one.audience.as_json(),
        "text_now": {"title": text.title, "body": text.body, "url": text.url},
        "progress": {
            "recipients": progress.recipients,
            "done": progress.done,
            "outcomes": {outcome.value: progress.of(outcome) for outcome in Outcome},
            "started_at": iso(one.started_at) if one.started_at else None,
            "finished_at": iso(one.finished_at) if one.finished_at else None,
        },
    }
