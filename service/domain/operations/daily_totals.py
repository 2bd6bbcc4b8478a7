"""Totals of each day: readers, alerts and clicks. They are counts only, and kept for years.

The clock writes them down. No reader's request and no send costs more for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

from service.domain.alerts.figures import AlertFigures, Figures, counts
from service.model.network.endpoints import SILENT
from service.model.notifications import Notification
from service.model.retention import ACCEPTED_KEPT, DAY
from service.model.stored import known_fields
from service.model.time import clock
from service.store import Store
from service.store.alerts.receipt_counts import Tally
from service.store.alerts.recipients import MOST_HAD
from service.store.operations.daily_totals import DayRow

_EVERY = 300.0  # seconds between two looks
_PATIENCE = 0.25  # seconds of each second of the clock
_LOOKS_BACK = 30  # days that are counted when a release with totals is started first
_DAY = timedelta(days=1)
_COUNTED_AFTER = 2 * _DAY  # from its beginning
ENDED = ("left", "lost", "gone", "unproven", "retired")  # why subscriptions ended
EVERYONE = ""  # stands for the topics of an alert to everyone


class Clicks(NamedTuple):
    """Alerts, the browsers that could report on them, and those that clicked."""

    alerts: int = 0
    may_report: int = 0
    clicked: int = 0

    def plus(self, other: Sequence[int]) -> Clicks:
        """Return the sum."""
        return Clicks(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def rate(self) -> float | None:
        """Share of the browsers that clicked; None: none could report."""
        return self.clicked / self.may_report if self.may_report else None


@dataclass
class DayOfAlerts:
    """What became of the alerts that began on one day, in UTC, or on several."""

    all: Clicks = Clicks()
    handed_over: int = 0
    hours: dict[int, Clicks] = field(default_factory=dict)  # by the hour in which they began
    topics: dict[str, Clicks] = field(default_factory=dict)
    # How many readers had no alert, one alert and so on; the last one: so many or more. Empty: not
    # counted yet.
    had: list[int] = field(default_factory=list)

    def add(self, other: DayOfAlerts) -> None:
        """Add another day."""
        self.all = self.all.plus(other.all)
        self.handed_over += other.handed_over
        for hour, clicks in other.hours.items():
            self.hours[hour] = self.hours.get(hour, Clicks()).plus(clicks)
        for topic, clicks in other.topics.items():
            self.topics[topic] = self.topics.get(topic, Clicks()).plus(clicks)
        if other.had:
            before = self.had or [0] * len(other.had)
            self.had = [a + b for a, b in zip(before, other.had, strict=True)]


@dataclass
class Day:
    """One day, or several from that on."""

    date: date
    readers: int | None = None  # at its end, or now; None: nobody looked
    joined: int | None = None  # None: it is not known how many there were before
    ended: dict[str, int] = field(default_factory=dict)  # by why; empty where `joined` is None
    unconfirmed: int | None = None
    imported: int = 0  # of those who joined
    alerts: DayOfAlerts = field(default_factory=DayOfAlerts)


class DailyTotals:
    """The totals of one installation."""

    def __init__(self, store: Store, figures: AlertFigures) -> None:
        self._store = store
        self._figures = figures
        self._next = 0.0  # by the monotonic clock

    # -- what the clock does -----------------------------------------------------------------------

    def keep(self, now: float) -> None:
        """Write down how many readers there are, and count the alerts of a day that is over."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY  # also if Redis is full, and refuses it
        subscriptions = self._store.subscriptions
        readers = {
            "readers": subscriptions.count(),
            "unconfirmed": subscriptions.count("unconfirmed"),
            "ended": self._store.departures.counts(),
        }
        today = _date(now)
        self._store.daily_totals.put_readers(_number(today), readers)
        until = time.monotonic() + _PATIENCE
        while (behind := self._count_next(today)) and time.monotonic() < until:
            pass
        if behind:
            self._next = 0.0

    def _count_next(self, today: date) -> bool:
        """Count the alerts of the first day that is not counted; whether more days are left.

        A day is counted one day after its end, when most clicks have come.
        """
        counted = self._counted()
        following = today - _LOOKS_BACK * _DAY if counted is None else counted + _DAY
        last = today - _COUNTED_AFTER
        if following > last:
            return False
        alerts = self._begun(following, following)
        found = self._by_day(alerts).get(following, DayOfAlerts())
        if (today - following).days * DAY < ACCEPTED_KEPT:
            found.had = self._store.recipients.had(alerts)
        self._store.daily_totals.put_alerts(_number(following), asdict(found) if alerts else None)
        return following < last

    def add_imported(self, readers: int) -> None:
        """Count readers that an import has brought just now."""
        self._store.daily_totals.add_imported(_number(today()), readers)

    # -- what the pages show -----------------------------------------------------------------------

    def days(self, last: date, count: int) -> list[Day]:
        """Return so many days up to and including `last`."""
        dates = [last - ago * _DAY for ago in range(count, -1, -1)]
        rows = self._store.daily_totals.days([_number(one) for one in dates])
        found = list(_days(dates, rows))[1:]
        counted = self._counted() or date.min
        first = max(dates[1], counted + _DAY)
        since = self._by_day(self._begun(first, last))
        for day, row in zip(found, rows[1:], strict=True):
            if row.alerts is not None:
                day.alerts = _alerts_of(row.alerts)
            elif day.date > counted:
                day.alerts = since.get(day.date, day.alerts)
            elif day.readers is not None:
                day.alerts.had = [day.readers] + [0] * MOST_HAD
        return found

    def _counted(self) -> date | None:
        number = self._store.daily_totals.counted()
        return None if number is None else datetime.strptime(str(number), "%Y%m%d").date()

    def _begun(self, first: date, last: date) -> list[Notification]:
        begun = self._store.notifications.begun(_start(first), _start(last) + DAY)
        return [one for one in begun if counts(one)]

    def _by_day(self, alerts: Sequence[Notification]) -> dict[date, DayOfAlerts]:
        found: dict[date, DayOfAlerts] = {}
        for figures in self._figures.all(alerts):
            if figures.handed_over:
                audience = figures.notification.audience
                topics = self._store.topics.current(audience.topics or audience.all_topics)
                day = found.setdefault(_began(figures.notification).date(), DayOfAlerts())
                day.add(_one(figures, topics or (EVERYONE,)))
        return found


def today() -> date:
    """Return the date, in UTC."""
    return _date(clock.time())


def counted_on(day: date) -> date:
    """Return the date on which a day is counted."""
    return day + _COUNTED_AFTER


def sum_of(days: Sequence[Day]) -> Day:
    """Return several days as one, that begins with the first of them."""
    total = Day(days[0].date)
    for day in days:
        if day.readers is not None:
            total.readers, total.unconfirmed = day.readers, day.unconfirmed
        if day.joined is not None:
            total.joined = (total.joined or 0) + day.joined
        for why, n in day.ended.items():
            total.ended[why] = total.ended.get(why, 0) + n
        total.imported += day.imported
        total.alerts.add(day.alerts)
    return total


def _one(figures: Figures, topics: Sequence[str]) -> DayOfAlerts:
    """Return one alert, to these topics, as a day has it."""
    one, counted = figures.notification, figures.counted
    clicks = Clicks(1)
    if figures.known:
        silent = counted.tallies.get(Tally("clicked", "service", SILENT), 0)
        clicks = Clicks(1, figures.may_report, counted.events["clicked"] - silent)
    return DayOfAlerts(
        all=clicks,
        handed_over=figures.handed_over,
        hours={_began(one).hour: clicks},
        topics=dict.fromkeys(topics, clicks),
    )


def _days(dates: Sequence[date], rows: Sequence[DayRow]) -> Iterator[Day]:
    """Return what is known of the readers of each day.

    Who joined is what makes the numbers add up, because nothing is counted when a reader joins. If
    nobody looked on a day, its readers count for the next one.
    """
    before: dict[str, int] | None = None
    ended_before: dict[str, int] = {}
    for one, row in zip(dates, rows, strict=True):
        day = Day(one, imported=row.imported)
        if row.readers is not None:
            readers, ended = row.readers["readers"], row.readers["ended"]
            day.readers, day.unconfirmed = readers, row.readers["unconfirmed"]
            if before is not None:
                # A store that was restored may have counted less.
                day.ended = {
                    why: max(0, ended.get(why, 0) - ended_before.get(why, 0)) for why in ENDED
                }
                day.joined = max(0, readers - before["readers"] + sum(day.ended.values()))
            before, ended_before = row.readers, ended
        yield day


def _alerts_of(document: dict[str, object]) -> DayOfAlerts:
    """Read what `asdict` wrote; leave out what only a newer release knows."""
    known = DayOfAlerts(**known_fields(DayOfAlerts, document))
    known.all = _clicks_of(known.all)
    known.hours = {int(hour): _clicks_of(row) for hour, row in known.hours.items()}
    known.topics = {topic: _clicks_of(row) for topic, row in known.topics.items()}
    return known


def _clicks_of(row: Sequence[int]) -> Clicks:
    return Clicks(*row[: len(Clicks._fields)])


def _began(one: Notification) -> datetime:
    return datetime.fromtimestamp(one.started_at or one.created_at, timezone.utc)


def _start(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()


def _date(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, timezone.utc).date()


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
