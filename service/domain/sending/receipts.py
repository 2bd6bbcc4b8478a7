"""Receipts: what browsers report of an alert, and how many browsers that stands for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from service.domain.sending.screens import Screens
from service.model.network.endpoints import SILENT, EndpointPolicy, origin_of
from service.model.operations.promises import is_promised
from service.model.operations.screen import seconds_until_shown
from service.model.preferences import Preferences
from service.model.retention import CLICKED_KEPT, DAY
from service.model.subscriptions import Record, Subscription, SubscriptionId
from service.model.time import clock
from service.model.time.clocks import QUARTER, hour
from service.model.two_texts import text_of
from service.store import Store
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from service.store.layout.bitmaps import month_of
from service.store.readers.subscriptions import NotSubscribed

EVENTS = ("shown", "clicked", "dismissed")
CONVERTED = "converted:"  # begins the events of what readers did on the site after a click
# A million browsers that report within seconds are a load of their own. Of a larger audience than
# this, so many browsers report that they have shown or dismissed the alert.
MOST_REPORTING = 250_000
_LEAST_REPORTING = 0.0001
COUNTING_ERROR = 0.0081  # standard error of Redis' HyperLogLog (PFCOUNT), at any number
_MOST_KNOWN = 1000  # alerts
_MOST_TOPICS = 20  # of an alert, each asked for with every receipt
_LOOKED_THROUGH = 50  # alerts, when a reader leaves
_LAST_STEP = 24 * 60  # minutes


class Report(NamedTuple):
    """What a browser reports of an alert."""

    id: int  # of the alert
    reader: SubscriptionId
    event: str
    ago: float | None = None  # for how many seconds the alert had been on the screen then


class _Alert(NamedTuple):
    """The parts of an alert that its tallies need."""

    began: float  # seconds since 1970
    topics: tuple[str, ...]  # of its audience, if there are several
    counts: bool  # False: it went to one browser
    two_texts: bool  # a sample of its readers gets either of them
    timed: bool  # it goes to all its readers as fast as possible


class Receipts:
    """The receipts of one installation, each browser counted once for each alert and event."""

    def __init__(
        self,
        store: Store,
        endpoints: EndpointPolicy,
        screens: Screens,
        kept: int,
        *,
        conversions: Sequence[str],
        keeps_clicks: bool,
        notes_visits: bool,
    ) -> None:
        """Keep counts for so many seconds after the last receipt; `conversions` are counted too.

        `notes_visits`: a click counts as a visit, because readers who do not visit are retired.
        """
        self._store = store
        self._endpoints = endpoints
        self._screens = screens
        self._kept = kept
        self._conversions = {name: f"{CONVERTED}{name}" for name in conversions}
        self._keeps_clicks = keeps_clicks
        self._notes_visits = notes_visits
        self._alerts: dict[int, _Alert] = {}  # those that were reported on lately

    def of(self, id: int) -> dict[str, int]:
        """Return how many browsers reported each event of a notification; see `estimates`."""
        return self._store.receipt_counts.events(id, EVENTS)

    def counts(self, event: str) -> bool:
        """Whether an event is counted."""
        return event in EVENTS or event in self._conversions.values()

    def conversions(self, id: int) -> dict[str, int]:
        """Return how many browsers reported each conversion of a notification, to about 1 %."""
        if not self._conversions:
            return {}
        found = self._store.receipt_counts.events(id, [*self._conversions.values()])
        return dict(zip(self._conversions, found.values(), strict=True))

    def count(self, receipts: Collection[Report]) -> None:
        """Count receipts.

        A receipt counts nothing if the notification or the subscription does not exist, or if the
        reader wants nothing counted. One that says "shown" or "clicked" confirms the reader, since
        the welcome has arrived then.
        """
        found = self._store.records.of({one.reader for one in receipts})
        readers = {id: record for id, record in found if record is not None}
        seen = {one.reader for one in receipts if one.event in ("shown", "clicked")}
        for subscription in seen & readers.keys():
            if not Preferences.unpack(readers[subscription].preferences).confirmed:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(subscription)
        if self._notes_visits:
            clicking = {one.reader for one in receipts if one.event == "clicked"}
            self._note_visits(clicking, readers)
        willing = [
            one
            for one in receipts
            if self.counts(one.event) and one.reader in readers and readers[one.reader].may_report
        ]
        alerts = {one.id: alert for one in willing if (alert := self._alert(one.id))}
        willing = [one for one in willing if one.id in alerts]
        if willing:
            self._count(willing, alerts, readers)

    def _note_visits(
        self, clicking: Collection[SubscriptionId], readers: Mapping[SubscriptionId, Record]
    ) -> None:
        """Note that readers came who clicked; once a month, for no more counts (`Retiring`)."""
        month = month_of(int(clock.time() // DAY))
        for one in clicking:
            if one in readers and month_of(readers[one].seen) != month:
                with suppress(NotSubscribed):
                    self._store.subscriptions.note_visit(one)

    def _count(
        self,
        receipts: Sequence[Report],
        alerts: Mapping[int, _Alert],
        readers: Mapping[SubscriptionId, Record],
    ) -> None:
        topics_of = {id: self._current(alert.topics) for id, alert in alerts.items()}
        asked = [(one.reader, slug) for one in receipts for slug in topics_of[one.id]]
        found = self._store.audiences.follows(asked) if asked else []
        follows = dict(zip(asked, found, strict=True))
        rows = []
        for id, one, event, ago in receipts:
            topics = [slug for slug in topics_of[id] if follows[one, slug]]
            tallies = self._tallies(alerts[id], event, readers[one], topics)
            seconds = None
            if event == "shown" and ago is not None and alerts[id].timed:
                seconds = seconds_until_shown(alerts[id].began, clock.time(), ago)
            if seconds is not None:
                tallies.append(self._screens.tally(seconds))
            rows.append(ReceiptRow(id, event, str(one), tallies, seconds))
            if event == "clicked" and self._keeps_clicks:
                self._keep_click(id, one, alerts[id])
            if event == "clicked" and alerts[id].two_texts:
                rows += self._of_text(id, one, readers[one])
        self._screens.count(rows, self._store.receipt_counts.count(rows, self._kept))

    def _current(self, topics: tuple[str, ...]) -> tuple[str, ...]:
        """Return the topics to which these slugs lead now, which have the followers."""
        return self._store.topics.current(topics) if topics else ()

    def _of_text(self, id: int, reader: SubscriptionId, record: Record) -> list[ReceiptRow]:
        """Return the row that counts a click for one of two texts, while they are tried.

        None for a browser whose push service is left out there.
        """
        sample = self._store.two_texts.sample(id)
        text = text_of(id, reader.partition, reader.number, sample) if sample else ""
        service = self._endpoints.service(origin_of(self._store.names.bases.name(record.base)))
        if not text or service == SILENT:
            return []
        return [ReceiptRow(id, f"clicked:{text}", str(reader))]

    def _keep_click(self, id: int, reader: SubscriptionId, alert: _Alert) -> None:
        """Note who clicked an alert, if an audience may still be made of it."""
        if alert.counts and alert.began > clock.time() - CLICKED_KEPT:
            self._store.clicks.mark(id, reader)

    def keep_or_forget_clicks(self) -> None:
        """Note since when the setting is on; forget who clicked what if it is off now."""
        if self._keeps_clicks:
            self._store.clicks.remember()
        else:
            self._store.clicks.forget()

    def _alert(self, id: int) -> _Alert | None:
        """Return the parts of a started alert, which do not change any more; None: not started."""
        if (known := self._alerts.get(id)) is not None:
            return known
        one = self._store.notifications.get(id)
        if one is None or one.started_at is None:
            return None
        if len(self._alerts) >= _MOST_KNOWN:
            self._alerts.clear()
        topics = one.audience.topics[:_MOST_TOPICS] if len(one.audience.topics) > 1 else ()
        alert = _Alert(
            one.started_at,
            topics,
            counts=one.audience.subscription is None,
            two_texts=bool(one.second_text),
            timed=is_promised(one),
        )
        self._alerts[id] = alert
        return alert

    def _tallies(
        self, alert: _Alert, event: str, reader: Record, topics: Sequence[str]
    ) -> list[Tally]:
        """Return the tallies in which a receipt counts."""
        if not alert.counts or event not in EVENTS:
            return []
        names = self._store.names
        service = self._endpoints.service(origin_of(names.bases.name(reader.base)))
        kinds = [("service", service)]
        if event != "dismissed":
            language = names.locales.name(reader.locale).partition("-")[0]
            kinds += [("language", language), *(("topic", slug) for slug in topics)]
        if event == "clicked":
            now = clock.time()
            there = hour(names.zones.name(reader.zone), int(now // QUARTER))
            kinds += [("hour", str(there)), ("after", str(step(now - alert.began)))]
        return [Tally(event, kind, value) for kind, value in kinds]

    def count_left(self, one: Subscription) -> None:
        """Count a reader who leaves after the last alert that this browser got within a day."""
        if not one.preferences.receipts:
            return
        since = clock.time() - DAY
        latest = [
            alert
            for alert in self._store.notifications.started(_LOOKED_THROUGH)
            if (alert.started_at or 0.0) > since and alert.audience.subscription is None
        ]
        had = self._store.recipients.accepted(latest, one.id)
        last = next((alert for alert, was in zip(latest, had, strict=True) if was), None)
        if last is not None:
            self._store.receipt_counts.count_left(last.corrects or last.id, self._kept)


def step(seconds: float) -> int:
    """Return the step of an alert's curve, as the minute after its start in which the step begins.

    A step has a minute, after ten minutes five, after an hour an hour. The last one has no end.
    """
    minutes = max(0, int(seconds // 60))
    for until, size in ((10, 1), (60, 5), (_LAST_STEP, 60)):
        if minutes < until:
            return minutes - minutes % size
    return _LAST_STEP


STEPS = sorted({step(60 * minute) for minute in range(_LAST_STEP + 1)})


def reporting(recipients: int) -> float:
    """Return the probability with which each of so many browsers reports what it shows.

    Rounded to 0.0001, because the payload has room for no more.
    """
    share = round(MOST_REPORTING / max(recipients, MOST_REPORTING), 4)
    return max(share, _LEAST_REPORTING)


class Estimate(NamedTuple):
    """How many browsers did something, estimated from their reports."""

    browsers: int
    error: float  # standard error, in browsers


def estimates(reported: dict[str, int], reporting: float) -> dict[str, Estimate]:
    """Return an estimate for each event, if each browser reports with this probability.

    Every browser reports a click. The error is that of sampling and that of counting together.
    """
    return {event: estimate(n, share_of(event, reporting)) for event, n in reported.items()}


def share_of(event: str, reporting: float) -> float:
    """Return the probability with which a browser reports an event."""
    return 1.0 if event == "clicked" else reporting


def estimate(reported: int, share: float, of: int | None = None) -> Estimate:
    """Return the estimate for so many reports, if each browser reports with this probability.

    A tally is a part of a count, which is `of`. Few receipts raise the HyperLogLog's count, and
    those raise it by several at once. The tally gets the same steps, so its error grows with both.
    """
    sampling = reported * (1 - share)  # variance of a binomial distribution
    counting = COUNTING_ERROR**2 * reported * (reported if of is None else of)
    return Estimate(round(reported / share), math.sqrt(sampling + counting) / share)
