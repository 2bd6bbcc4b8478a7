"""Whom of those just read an alert may reach now, each counted for their day."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from service.model.delivery_rules import OVER, Ruling
from service.model.notifications import LIMIT, Outcome
from service.runtime import Runtime
from workers.sending.lease import Lease
from workers.sending.send import Digest, Rows


class Admission:
    """Lets readers of a batch through, as they chose."""

    def __init__(self, runtime: Runtime) -> None:
        self._daily = runtime.store.daily

    def admit(self, lease: Lease, rows: Rows) -> None:
        """Keep those whom the alert may reach now, each counted for their day."""
        now, rules = time.time(), lease.send.rules
        limited: dict[int, list[tuple[int, int]]] = {}
        told = lease.send.told_on(lease.batch.partition, rows)
        for number, record in rows:
            ruling = rules.of(record, now)
            if lease.pass_over(number, ruling):
                continue
            if ruling.waits_until:
                lease.later = min(lease.later, ruling.waits_until)
            else:
                lease.ready.append((number, record))
                # A story counts once a day.
                if ruling.limit and ruling.day not in told.get(number, ()):
                    limited.setdefault(ruling.day, []).append((number, ruling.limit))
        for date, some in limited.items():
            self._count(lease, date, some)
        if lease.send.digest is not None:
            self._find_held(lease, lease.send.digest)
        else:
            numbers = [number for number, _ in lease.ready]
            lease.receipts |= lease.send.receipts(lease.batch.partition, numbers)

    def _find_held(self, lease: Lease, digest: Digest) -> None:
        """Look up what a wave brings to each reader; what was held may have been cancelled."""
        lease.held |= digest.held(lease.batch.partition, [number for number, _ in lease.ready])
        for number in (number for number, _ in lease.ready if number not in lease.held):
            lease.pass_over(number, OVER)
        lease.ready = deque(row for row in lease.ready if row[0] in lease.held)

    def _count(self, lease: Lease, date: int, limited: Sequence[tuple[int, int]]) -> None:
        """Count an alert for each reader's day; those who had as many as they want get none."""
        numbers, limits = zip(*limited, strict=True)
        id, partition = lease.send.id, lease.batch.partition
        counted = self._daily.count(id, partition, date, numbers, limits)
        fits = dict(zip(numbers, counted, strict=True))
        lease.counted |= {number: date for number in numbers if fits[number]}
        full = Ruling(0.0, Outcome.SKIPPED, LIMIT)
        for number in (number for number in numbers if not fits[number]):
            lease.pass_over(number, full)
        lease.ready = deque(row for row in lease.ready if fits.get(row[0], True))

    def take_back(self, lease: Lease) -> None:
        """Let those who were counted, and not reached, not be counted."""
        for date, numbers in lease.uncounted.items():
            self._daily.take_back(lease.send.id, lease.batch.partition, date, numbers)
        lease.uncounted = {}
