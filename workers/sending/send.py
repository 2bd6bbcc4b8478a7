"""One alert as a worker sends it: its text and its headers, the same for many messages."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeAlias

from service.domain.sending.waves import MOST_HELD, newer_of_story
from service.model.delivery_rules import DeliveryRules
from service.model.inactive import in_language
from service.model.language.languages import supported_language
from service.model.notifications import Batch, Notification
from service.model.operations import traces
from service.model.operations.process_log import log_alert
from service.model.payload import Payload
from service.model.subscriptions import Record
from service.model.two_texts import A, B, text_of
from service.runtime import Runtime, inactive_policy
from workers.sending import wire
from workers.sending.wave_digest import WaveDigest

_MOST_HEADERS = 1000  # kept; each is for an origin, a key and an end of readers' days
_READ_AGAIN = 1.0  # seconds until other alerts of its story are read again

Row: TypeAlias = tuple[int, Record]  # a recipient: number in the partition, record
Rows: TypeAlias = Sequence[Row]


class Send:
    """One alert that is being sent. It replaces the alert it corrects, or the last of its story."""

    def __init__(self, runtime: Runtime, notification: Notification) -> None:
        self.id = notification.id
        self.urgent = notification.urgent
        self.correctable = notification.audience.subscription is None
        is_canary = notification.audience.canary
        self.canary = runtime.canary.record() if is_canary else None  # what its recipient has
        self.due = False  # it may have a batch to lease
        self.going_on = True  # it was neither paused nor cancelled
        self.leases = 0  # batches of it that this worker holds
        self.digest = WaveDigest(runtime, notification) if notification.wave else None
        self._recipients = runtime.store.recipients
        self._tokens = runtime.tokens
        self._runtime = runtime
        self._notification = notification
        self._earlier_of_story: list[Notification] = []
        self._newer_of_story: list[Notification] = []
        self._story_read_at = -math.inf  # by the monotonic clock
        replaced = f"notification {notification.corrects or notification.id}"
        if notification.story:
            replaced = f"story {notification.story}"
        self._topic = wire.collapse_topic(self._tokens.topic_key, replaced)
        # A plain dict, because every message asks it: a TTLCache takes 20 times as long (measured).
        self._made: dict[tuple[str, wire.VapidSigner, float], tuple[float, wire.Headers]] = {}
        self._take_over(notification)

    def log_done(self, batch: Batch) -> None:
        """Log that no recipient of a batch is left to try."""
        line = "alert %s: batch %s of partition %s is done"
        log_alert(self._notification, line, batch, batch.partition)

    def begin_span(self) -> traces.Span:
        """Begin the span of a batch."""
        return traces.begin_for(self._notification, "send batch")

    def read(self, notification: Notification) -> None:
        """Take over the text that was corrected or chosen, and settings changed at the desk."""
        known = (self.revision, self._decision, self._config)
        if known != (notification.revision, notification.decision, self._runtime.config):
            self._take_over(notification)

    def _take_over(self, notification: Notification) -> None:
        self.revision = notification.revision
        self._decision = notification.decision
        self.last_start = notification.last_start
        self._config = config = self._runtime.config
        self.rules = DeliveryRules(
            notification, config.defaults, self._runtime.store.names.zones.name
        )
        self._urgency = notification.text.urgency
        self._payload = Payload(notification, config.public_url, config.opened_links)
        # What readers who do not visit are asked, by language.
        self._asked: dict[str, Payload] = {}
        self._asks = notification if notification.audience.last_seen_until else None
        # Two texts: what the sample gets, and its percent of the audience.
        self._tried: dict[str, Payload] = {}
        self._sample, self._sampling = 0, notification.sampling
        if notification.second_text is not None and not notification.revision:
            self._sample = notification.second_text.sample_percent
            for text, content in ((A, notification.content), (B, notification.text_b)):
                one = replace(notification, content=content, decision=None)
                self._tried[text] = Payload(one, config.public_url, config.opened_links)

    def days_of_story(self, partition: int, rows: Rows) -> dict[int, set[int]]:
        """Return by reader the dates, on their own clock, of earlier alerts of the same story."""
        self._read_story()
        if not self._earlier_of_story:
            return {}
        records = dict(rows)
        received = self._recipients.received(partition, list(records), self._earlier_of_story)
        return {
            number: {self.rules.date(records[number], one.started_at or 0.0) for one in alerts}
            for number, alerts in received.items()
        }

    def outdated(self, partition: int, rows: Rows) -> Collection[int]:
        """Return the readers who got a newer alert of the same story, which this would replace."""
        self._read_story()
        if not self._newer_of_story:
            return ()
        numbers = [number for number, _ in rows]
        return self._recipients.received(partition, numbers, self._newer_of_story)

    def _read_story(self) -> None:
        """Read the other alerts of its story, once a second, because newer ones may begin."""
        one = self._notification
        if not one.story or time.monotonic() - self._story_read_at < _READ_AGAIN:
            return
        self._story_read_at = time.monotonic()
        latest = self._runtime.publishing.started(MOST_HELD)
        alert = next((other for other in latest if other.id == one.corrects), one)
        # At a local time it begins for each reader anew, perhaps after alerts that began later.
        self._newer_of_story = [] if alert.wall else newer_of_story(one, latest)
        # Those that began before it, but breaking ones and corrections, which count against no
        # daily limit.
        self._earlier_of_story = [
            other
            for other in latest
            if other.story == one.story
            and _place(other) < _place(one)
            and not (other.urgent or other.corrects)
        ]

    def receipts(self, partition: int, numbers: Sequence[int]) -> dict[int, str]:
        """Return by reader the token with which their browser reports."""
        made = self._tokens.receipts(self.id, partition, numbers)
        return dict(zip(numbers, made, strict=True))

    def text_of(self, partition: int, number: int) -> str | None:
        """Return which of two texts a reader in the sample gets; empty for all other readers.

        None for a reader who has to wait, because it is not known here yet which text was chosen.
        """
        if not self._sample:
            return ""
        text = text_of(self.id, partition, number, self._sample)
        return text if text or not self._sampling else None

    def message(
        self, receipt: str, record: Record, *, text: str = "", small: bool = False
    ) -> bytes:
        """Return the plaintext for a browser; in a wave, `digest` makes it instead."""
        payload = self._tried[text] if text else self._payload
        if self._asks is not None:
            locale = self._runtime.store.names.locales.name(record.locale)
            payload = self._asked_in(self._asks, locale or self._config.site_language)
        if small:
            payload = payload.small()
        return payload.carrying(receipt if record.may_report else None)

    def _asked_in(self, question: Notification, locale: str) -> Payload:
        language, config = supported_language(locale), self._config
        if language not in self._asked:
            one = in_language(question, inactive_policy(config), language)
            self._asked[language] = Payload(one, config.public_url, config.opened_links)
        return self._asked[language]

    def headers(
        self, origin: str, signer: wire.VapidSigner, now: float, expires: float
    ) -> wire.Headers:
        """Return the headers for an origin: the same object for a second, as they contain TTL."""
        key = origin, signer, expires
        made_at, headers = self._made.get(key, (0.0, ()))
        if not 0 <= now - made_at < 1:
            if len(self._made) > _MOST_HEADERS:
                self._made.clear()
            authorization = signer.header(origin, now)
            headers = wire.headers(authorization, expires - now, self._urgency, self._topic)
            self._made[key] = now, headers
        return headers


def _place(one: Notification) -> tuple[float, int]:
    """Return its place in time; a draft has its id long before it begins."""
    return one.started_at or one.created_at, one.id
