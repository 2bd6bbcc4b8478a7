"""What is the same for many messages: of one alert, its text and headers; the push services."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.domain.waves import MOST_HELD, newer_of_story, wave_may_send
from service.model.delivery_rules import DeliveryRules
from service.model.endpoints import origin_of
from service.model.notifications import Notification, State
from service.model.payload import Payload, combined
from service.model.subscriptions import Record, SubscriptionId
from service.runtime import Runtime
from service.store.held_alerts import Brought
from workers.sending import wire
from workers.sending.health import Health, Service

_READ_AGAIN = 1.0  # seconds
_MOST_HEADERS = 1000  # of as many origins, keys and ends of readers' days


@dataclass(frozen=True, slots=True)
class Base:
    """Where endpoints begin: `origin` and `path`; and whose they are."""

    number: int
    origin: str
    path: str
    allowed: bool
    service: Service


class Bases(dict[int, Base]):
    """The bases by their number in the store, looked up there when they are first needed."""

    def __init__(self, runtime: Runtime, health: Health) -> None:
        super().__init__()
        self._names = runtime.store.names
        self._endpoints = runtime.endpoints
        self._health = health

    def __missing__(self, number: int) -> Base:
        """Look a base up."""
        url = self._names.bases.name(number)
        origin = origin_of(url)
        service = self._health.of(origin, self._endpoints.service(origin))
        allowed = self._endpoints.allows(origin)
        base = self[number] = Base(number, origin, url[len(origin) :], allowed, service)
        return base

    def vapid_key(self, number: int) -> str:
        """Return the public VAPID key with that number in the store."""
        return self._names.vapid_keys.name(number)


Rows: TypeAlias = Sequence[tuple[int, Record]]


def _of_story(runtime: Runtime, notification: Notification) -> list[Notification]:
    """Return the latest alerts of the same story that began before this one."""
    if not notification.story:
        return []
    return [
        one
        for one in runtime.publishing.started(MOST_HELD)
        if one.story == notification.story and one.id < notification.id and not one.urgent
    ]


class Digest:
    """What was held while readers slept: a single alert comes as it was, several as one."""

    def __init__(self, runtime: Runtime, wave: Notification) -> None:
        self._runtime = runtime
        self._wave = wave
        self._alerts: dict[int, Notification] = {}
        # By alert those that come instead of it.
        self._newer: dict[int, dict[int, Notification]] = {}
        self._made: dict[tuple[tuple[int, ...], str], Payload] = {}
        self._read_at = -math.inf

    def _read(self) -> None:
        """Take over what was corrected or cancelled within the last second."""
        if time.monotonic() - self._read_at < _READ_AGAIN:
            return
        self._read_at, self._made = time.monotonic(), {}
        latest = self._runtime.publishing.started(MOST_HELD)
        quarter = self._wave.audience.waking or 0
        self._alerts = {
            one.id: one
            for one in latest
            if one.state is not State.CANCELLED and wave_may_send(quarter, one)
        }
        self._newer = {
            id: {newer.id: newer for newer in newer_of_story(one, latest)}
            for id, one in self._alerts.items()
        }

    def held(self, partition: int, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Return which alerts are held for each of these readers, if any is.

        Not those instead of which a newer one of the story came by itself.
        """
        self._read()
        store = self._runtime.store
        held = store.held_alerts.of(partition, numbers, self._alerts)
        newer = [self._newer[id] for id in {id for ids in held.values() for id in ids}]
        some = {id: one for these in newer for id, one in these.items()}
        for number, alerts in store.recipients.told(partition, [*held], some.values()).items():
            had = {one.id for one in alerts}
            held[number] = [id for id in held[number] if not had & self._newer[id].keys()]
        return {number: ids for number, ids in held.items() if ids}

    def _brings(self, held: Sequence[int]) -> dict[int, int]:
        """Return which alerts are shown of those held, each with the one that was held.

        A correction and what it corrects are one, with the words that hold now; of a story there is
        only the latest.
        """
        self._read()
        found: dict[int, int] = {}
        for id in sorted(id for id in held if id in self._alerts):
            root = self._alerts.get(self._alerts[id].corrects or id, self._alerts[id])
            if self._newer[id].keys().isdisjoint(held):
                found[root.id] = id
        return dict(sorted(found.items()))

    def message(
        self, id: SubscriptionId, held: Sequence[int], record: Record
    ) -> tuple[Brought, bytes] | None:
        """Return what of what is held for a reader is brought, and what its browser receives.

        None where nothing of it is left.
        """
        shown = self._brings(held)
        if not shown:
            return None
        language = self._runtime.store.names.locales.name(record.locale)[:2]
        told = tuple(shown.values())
        key = tuple(shown), language
        if key not in self._made:
            texts = [self._alerts[one] for one in shown]
            self._made[key] = combined(self._wave, texts, language, self._runtime.config.public_url)
        # Who is shown a single alert reports of that one; of several, of the wave.
        about = told[0] if len(told) == 1 else self._wave.id
        alerts = tuple((one, self._alerts[one].revision) for one in shown)
        brought = Brought(alerts, tuple(held), told)
        receipt = self._runtime.tokens.receipt(about, id) if record.may_report else None
        return brought, self._made[key].carrying(receipt)


class Send:
    """One alert as this worker sends it; it replaces what it corrects, or the last of its story.

    `due` says that it may have a batch to lease, `leases` is how many of them are held here.
    """

    def __init__(self, runtime: Runtime, notification: Notification) -> None:
        self.id = notification.id
        self.urgent = notification.urgent
        self.correctable = notification.audience.subscription is None
        self.due = False
        self.going_on = True
        self.leases = 0
        self.rules = DeliveryRules(
            notification, runtime.config.defaults, runtime.store.names.zones.name
        )
        self._recipients = runtime.store.recipients
        self._of_story = _of_story(runtime, notification)
        self._tokens = runtime.tokens
        self._public_url = runtime.config.public_url
        replaced = f"notification {notification.corrects or notification.id}"
        if notification.story:
            replaced = f"story {notification.story}"
        self.digest = Digest(runtime, notification) if notification.wave else None
        self._topic = wire.collapse_topic(self._tokens.topic_key, replaced)
        self._made: dict[tuple[str, wire.VapidSigner, float], tuple[float, wire.Headers]] = {}
        self._take_over(notification)

    def told_on(self, partition: int, rows: Rows) -> dict[int, set[int]]:
        """Return on which dates of their own clock readers got this alert's story already."""
        records = dict(rows)
        if not self._of_story:
            return {}
        told = self._recipients.told(partition, list(records), self._of_story)
        return {
            number: {self.rules.date(records[number], one.started_at or 0.0) for one in alerts}
            for number, alerts in told.items()
        }

    def read(self, notification: Notification) -> None:
        """Take over what may have changed: a correction's text."""
        if notification.revision != self.revision:
            self._take_over(notification)

    def _take_over(self, notification: Notification) -> None:
        self.revision = notification.revision
        self.last_start = notification.last_start
        self._urgency = notification.text.urgency
        self._payload = Payload(notification, self._public_url)

    def receipts(self, partition: int, numbers: Sequence[int]) -> dict[int, str]:
        """Return what each of these readers' browsers reports with."""
        made = self._tokens.receipts(self.id, partition, numbers)
        return dict(zip(numbers, made, strict=True))

    def message(self, receipt: str, record: Record) -> bytes:
        """Return what a browser is to receive, but in a wave: that is `digest`'s."""
        return self._payload.carrying(receipt if record.may_report else None)

    def headers(
        self, origin: str, signer: wire.VapidSigner, now: float, expires: float
    ) -> wire.Headers:
        """Return the headers for an origin: the same object for a second, since TTL is in them."""
        key = origin, signer, expires
        made_at, headers = self._made.get(key, (0.0, ()))
        if not 0 <= now - made_at < 1:
            if len(self._made) > _MOST_HEADERS:
                self._made.clear()
            authorization = signer.header(origin, now)
            headers = wire.headers(authorization, expires - now, self._urgency, self._topic)
            self._made[key] = now, headers
        return headers
