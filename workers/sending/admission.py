"""Which recipients may get an alert now: by their quiet hours, pauses and daily limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from service.model.delivery_rules import OVER, Ruling
from service.model.notifications import LIMIT, Outcome
from service.model.time import clock
from service.store.sending.daily_counts import DailyCounts
from workers.sending.lease import Lease
from workers.sending.send import Rows
from workers.sending.wave_digest import WaveDigest


class Admission:
    """Applies the readers' preferences to the recipients of a batch."""

    def __init__(self, daily: DailyCounts) -> None:
        self._daily = daily

    def admit(self, lease: Lease, rows: Rows) -> None:
        """Make those recipients ready who may get the alert now; note why the others do not.

        The alert counts against the day of readers with a daily limit, a story once a day.
        """
        now, rules = clock.time(), lease.send.rules
        limited: dict[int, list[tuple[int, int]]] = {}  # by date: reader and their limit
        days_of_story = lease.send.days_of_story(lease.batch.partition, rows)
        for number, record in rows:
            ruling = rules.of(record, now)
            if lease.pass_over(number, ruling):
                continue
            if ruling.waits_until:
                lease.later = min(lease.later, ruling.waits_until)
                continue
            lease.ready.append((number, record))
            if ruling.limit and ruling.day not in days_of_story.get(number, ()):
                limited.setdefault(ruling.day, []).append((number, ruling.limit))
        for date, some in limited.items():
            self._count(lease, date, some)
        if lease.send.digest is not None:
            self._find_held(lease, lease.send.digest)
        else:
            numbers = [number for number, _ in lease.ready]
            lease.receipts |= lease.send.receipts(lease.batch.partition, numbers)

    def _count(self, lease: Lease, date: int, limited: Sequence[tuple[int, int]]) -> None:
        """Count the alert against readers' days; those over their limit are not sent it."""
        numbers, limits = zip(*limited, strict=True)
        id, partition = lease.send.id, lease.batch.partition
        counted = self._daily.count(id, partition, date, numbers, limits)
        fits = dict(zip(numbers, counted, strict=True))
        lease.counted |= {number: date for number in numbers if fits[number]}
        over_limit = Ruling(0.0, Outcome.SKIPPED, LIMIT)
        for number in (number for number in numbers if not fits[number]):
            lease.pass_over(number, over_limit)
        lease.ready = deque(row for row in lease.ready if fits.get(row[0], True))

    def _find_held(self, lease: Lease, digest: WaveDigest) -> None:
        """Find the alerts that the wave delivers to each reader; all may have been cancelled."""
        lease.held |= digest.held(lease.batch.partition, [number for number, _ in lease.ready])
        for number in (number for number, _ in lease.ready if number not in lease.held):
            lease.pass_over(number, OVER)
        lease.ready = deque(row for row in lease.ready if row[0] in lease.held)

    def take_back(self, lease: Lease) -> None:
        """Take back the counts of readers who did not get the alert."""
        for date, numbers in lease.uncounted.items():
            self._daily.take_back(lease.send.id, lease.batch.partition, date, numbers)
        lease.uncounted = {}
