"""What readers did with an alert, and what they usually do with alerts like it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from statistics import median
from typing import NamedTuple

from service.domain.sending.receipts import EVENTS, STEPS, Estimate, estimate, share_of, step
from service.model.network.endpoints import SILENT, EndpointPolicy, origin_of
from service.model.notifications import Notification, Outcome, Progress
from service.store import Store
from service.store.alerts.receipt_counts import Counted, Tally

_USUAL = 10  # alerts with which one is compared
_LOOKED_THROUGH = 50  # alerts read at once
_MOST_LOOKED_THROUGH = 200


class Row(NamedTuple):
    """What the browsers did that have a push service, a language and so on."""

    value: str
    accepted: int | None  # by language and topic only those that can report; None: not known
    reported: dict[str, Estimate | None]  # by event; None: they may not report it

    @property
    def click_rate(self) -> float | None:
        """Share of the browsers with the alert that clicked it; None: not known."""
        clicked = self.reported.get("clicked")
        return clicked.browsers / self.accepted if clicked and self.accepted else None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one alert."""

    notification: Notification
    progress: Progress
    counted: Counted
    # By language and topic: how many browsers have the alert and can report on it.
    able: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether any browser reported anything that is still kept."""
        return any(self.counted.events.values())

    @property
    def accepted(self) -> dict[str, int]:
        """How many messages were accepted, by push service; without those sent by waves."""
        outcomes = self.progress.outcomes.items()
        return {
            service: n for (outcome, service), n in outcomes if outcome is Outcome.ACCEPTED and n
        }

    @property
    def handed_over(self) -> int:
        """How many messages were accepted, those by waves included."""
        by_waves = sum(alone + together for _, alone, together in self.notification.waves)
        return sum(self.accepted.values()) + by_waves

    @property
    def may_report(self) -> int:
        """How many browsers have the alert and can report on it: those without Safari's.

        A wave that delivered nothing else reports on this alert, and its push services are taken to
        be those of the others.
        """
        accepted = self.accepted
        sent = sum(accepted.values())
        alone = sum(alone for _, alone, _ in self.notification.waves)
        reporting = sent - accepted.get(SILENT, 0)
        return round(reporting * (sent + alone) / sent) if sent else alone

    def rate(self, event: str) -> float | None:
        """Return which share of them reported an event; None: not known."""
        count, may_report = self.counted.events.get(event, 0), self.may_report
        if not (self.known and may_report):
            return None
        count -= self.counted.tallies.get(Tally(event, "service", SILENT), 0)
        # Estimates may add up to more than there are.
        return min(1.0, count / share_of(event, self.notification.reporting) / may_report)

    @property
    def click_rates(self) -> list[float]:
        """Which share of them had clicked by the end of each step."""
        whole, curve = self.rate("clicked") or 0.0, self.curve
        total = max(1, curve[-1])
        return [whole * clicked / total for clicked in curve]

    @property
    def curve(self) -> list[int]:
        """How many browsers had clicked by the end of each step."""
        tallies = self.counted.tallies
        clicks = (tallies.get(Tally("clicked", "after", str(minute)), 0) for minute in STEPS)
        return [*accumulate(clicks)]

    def steps(self, now: float) -> int:
        """Return how many steps of its curve have begun."""
        return STEPS.index(step(now - (self.notification.started_at or now))) + 1

    @property
    def hours(self) -> list[int]:
        """How many browsers clicked in each hour of their own day."""
        tallies = self.counted.tallies
        return [tallies.get(Tally("clicked", "hour", str(hour)), 0) for hour in range(24)]

    def rows(self, kind: str, events: Sequence[str] = EVENTS) -> list[Row]:
        """Return what was reported by push service, language or topic, the most clicks first."""
        accepted = self.accepted if kind == "service" else self.able.get(kind, {})
        rows = [
            Row(
                value,
                # A reader without a language is in no bitmap.
                accepted.get(value, 0) if accepted and value else None,
                {event: self._estimate(event, kind, value) for event in events},
            )
            for value in self.named(kind) | accepted.keys()
        ]
        return sorted(rows, key=_by_size)

    def named(self, kind: str) -> set[str]:
        """Return the push services, languages or topics of which anything was reported."""
        return {one.value for one in self.counted.tallies if one.kind == kind}

    def _estimate(self, event: str, kind: str, value: str) -> Estimate | None:
        count = self.counted.tallies.get(Tally(event, kind, value), 0)
        if not count and value == SILENT and kind == "service":
            return None
        share = share_of(event, self.notification.reporting)
        return estimate(count, share, self.counted.events.get(event, 0))


def _by_size(row: Row) -> tuple[int, int, str]:
    clicked = row.reported.get("clicked")
    return (-(clicked.browsers if clicked else -1), -(row.accepted or 0), row.value)


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual: of each figure the median of some alerts."""

    alerts: int
    handed_over: float
    rates: dict[str, float]  # by event
    left: float
    click_rates: list[float]  # by the end of each step


class AlertFigures:
    """The figures of an installation's alerts."""

    def __init__(self, store: Store, endpoints: EndpointPolicy) -> None:
        self._store = store
        self._endpoints = endpoints

    def of(self, one: Notification) -> Figures:
        """Return all figures of an alert that was begun."""
        found = self.all([one])[0]
        return replace(found, able=self._able(found)) if found.known else found

    def _able(self, figures: Figures) -> dict[str, dict[str, int]]:
        """Return by language and topic how many browsers have an alert and can report on it.

        Only of languages and topics in which any has, because each other one of hundreds of locales
        would cost as much. Empty once it is not kept any more which readers got it.
        """
        names, alert, languages = self._store.names, figures.notification, figures.named("language")
        locales = {
            locale: number
            for locale, number in names.locales.all().items()
            if locale.partition("-")[0] in languages
        }
        topics = sorted(figures.named("topic"))
        groups: list[list[tuple[str, object]]] = [[("locale", one)] for one in locales.values()]
        groups += [[("topic", one) for one in self._store.topics.bitmaps(slug)] for slug in topics]
        silent = [
            number
            for base, number in names.bases.all().items()
            if self._endpoints.service(origin_of(base)) == SILENT
        ]
        counts = iter(self._store.recipients.accepted_in(alert, groups, silent))
        able: dict[str, dict[str, int]] = {"language": {}, "topic": {}}
        for locale, n in zip(locales, counts, strict=False):
            language = locale.partition("-")[0]
            able["language"][language] = able["language"].get(language, 0) + n
        able["topic"].update(zip(topics, counts, strict=False))
        return {kind: {one: n for one, n in some.items() if n} for kind, some in able.items()}

    def all(self, alerts: Sequence[Notification]) -> list[Figures]:
        """Return the figures of several alerts, read at once."""
        ids = [one.id for one in alerts]
        reports = self._store.alert_rows.reports(ids)
        counted = self._store.receipt_counts.all(ids, EVENTS)
        merged = self._store.topics.merged()
        return [
            Figures(
                one, report or self._store.outcomes.progress(one.id), _by_current(counts, merged)
            )
            for one, report, counts in zip(alerts, reports, counted, strict=True)
        ]

    def usual(self, one: Notification) -> Usual | None:
        """Return what is usual for the last alerts of the same topic; None if there are none.

        For an alert without a topic they are the last ones to everyone. Alerts whose receipts are
        not kept any more do not count.
        """
        found: list[Figures] = []
        for some in self._like(one):
            found += [figures for figures in self.all(some) if figures.may_report and figures.known]
            if len(found) >= _USUAL:
                break
        return _usual(found[:_USUAL]) if found else None

    def _like(self, one: Notification) -> Iterator[list[Notification]]:
        before: int | None = one.id
        for _ in range(0, _MOST_LOOKED_THROUGH, _LOOKED_THROUGH):
            page = self._store.notifications.started(_LOOKED_THROUGH, before)
            if not page:
                return
            before = page[-1].id
            yield [other for other in page if counts(other) and _same_topic(one, other)]


def _by_current(counted: Counted, merged: Mapping[str, str]) -> Counted:
    """Add up the tallies of topics that were merged, under the slug of the topic that is left.

    A browser that followed both counts twice, but never more than all do.
    """
    if merged.keys().isdisjoint(one.value for one in counted.tallies if one.kind == "topic"):
        return counted
    tallies: dict[Tally, int] = {}
    for tally, n in counted.tallies.items():
        if tally.kind == "topic":
            current = tally._replace(value=merged.get(tally.value, tally.value))
            most = counted.events.get(tally.event, n)
            tallies[current] = min(most, tallies.get(current, 0) + n)
        else:
            tallies[tally] = n
    return counted._replace(tallies=tallies)


def counts(one: Notification) -> bool:
    """Whether an alert is one of an editor or a tool to readers, and no correction."""
    audience = one.audience
    return one.corrects is None and audience.subscription is None and audience.waking is None


def topics_of(one: Notification) -> set[str]:
    """Return the topics whose followers got an alert; none if it was not sent to any topic."""
    return {*one.audience.topics, *one.audience.all_topics}


def _same_topic(one: Notification, other: Notification) -> bool:
    """Whether both have a topic in common, or the first has none and the other went to everyone."""
    if topics := topics_of(one):
        return not topics.isdisjoint(topics_of(other))
    return other.audience.everyone and not other.audience.narrowed


def _usual(found: Sequence[Figures]) -> Usual:
    rates = {event: [figures.rate(event) or 0.0 for figures in found] for event in EVENTS}
    steps = zip(*(figures.click_rates for figures in found), strict=True)
    return Usual(
        alerts=len(found),
        handed_over=median([figures.handed_over for figures in found]),
        rates={event: median(some) for event, some in rates.items()},
        left=median([figures.counted.left for figures in found]),
        click_rates=[median(some) for some in steps],
    )
