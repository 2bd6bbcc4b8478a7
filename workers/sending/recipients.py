"""Which recipients of a batch are next: those whose push services have room for a message now."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Final

from service.model.notifications import Outcome
from service.model.subscriptions import Record, SubscriptionId
from service.store.layout.records import Records
from workers.sending.admission import Admission
from workers.sending.destinations import Base, Bases
from workers.sending.health import Health
from workers.sending.lease import Lease
from workers.sending.send import Row

_log = logging.getLogger(__name__)

READ_AHEAD: Final = 128  # records read at once
TOO_SOON: Final = 0.02  # seconds between two looks for more where a pace allows few messages


class Recipients:
    """Hands out the recipients of leased batches."""

    def __init__(
        self, records: Records, admission: Admission, bases: Bases, health: Health
    ) -> None:
        self._records = records
        self._admission = admission
        self._bases = bases
        self._health = health

    def may_start(self, lease: Lease) -> bool:
        """Whether `take` may return recipients of a batch now, or have some wait."""
        return bool(
            lease.ready
            or lease.todo
            or lease.may_find_more
            or (lease.waits and lease.may_wake)
            or any(self._may_leave(self._bases[base]) for base in lease.held_back)
        )

    def _may_leave(self, base: Base) -> bool:
        """Whether recipients held back at `base` may be sent to, or have to wait longer."""
        return self._rests_until(base) > 0 or self._room(base, 1) > 0

    def take(self, lease: Lease, most: int) -> list[Row]:
        """Return recipients whose push services have room, and count that room as taken."""
        rows: list[Row] = []
        while len(rows) < most and (some := self._next(lease, most - len(rows))):
            self._health.started(self._bases[some[0][1].base].service, len(some))
            rows += some
        return rows

    def _next(self, lease: Lease, most: int) -> list[Row]:
        """Return recipients at one base, whose push service has room for them."""
        if lease.waits and lease.may_wake:
            lease.wake()
        if lease.newest is not None and lease.may_find_more:
            lease.todo.extend(n for n in lease.newest.some() if not lease.waiting(n))
            lease.find_at = time.monotonic() + TOO_SOON
        return self._next_held_back(lease, most) or self._next_ready(lease, most)

    def _next_held_back(self, lease: Lease, most: int) -> list[Row]:
        """Return recipients who were held back and whose push service has room again."""
        for number, rows in list(lease.held_back.items()):
            base = self._bases[number]
            if (until := self._rests_until(base)) > 0:
                lease.rest(number, until)
                del lease.held_back[number]
            elif room := self._room(base, min(most, len(rows))):
                taken = [rows.popleft() for _ in range(room)]
                if not rows:
                    del lease.held_back[number]
                return taken
        return []

    def _next_ready(self, lease: Lease, most: int) -> list[Row]:
        """Return the first ready recipients whose push service has room; those before wait."""
        while lease.ready or lease.todo:
            if not lease.ready:
                self._read_ahead(lease)
                continue
            row = lease.ready.popleft()
            number = row[1].base
            if number in lease.held_back:  # which has no room, as was just seen
                lease.held_back[number].append(row)
                continue
            base = self._bases[number]
            if (until := self._rests_until(base)) > 0:
                lease.rest(number, until)
            elif room := self._room(base, most):
                rows = [row]
                while len(rows) < room and lease.ready and lease.ready[0][1].base == number:
                    rows.append(lease.ready.popleft())
                return rows
            else:
                lease.held_back[number] = deque([row])
        return []

    def _room(self, base: Base, wanted: int) -> int:
        """How many of `wanted` messages `base` takes; where nothing may be sent, all of them."""
        service = base.service
        if not base.allowed or (service.rest is not None and self._health.is_dead(service)):
            return wanted
        return min(wanted, self._health.room(service))

    def _rests_until(self, base: Base) -> float:
        """Return until when recipients at `base` wait, in seconds since 1970; 0 if they do not.

        Those at a dead host do not wait, because they are refused.
        """
        if base.service.rest is None or self._health.is_dead(base.service):
            return 0.0
        return self._health.rests_until(base.service)

    def _read_ahead(self, lease: Lease) -> None:
        """Read the next records; make those recipients ready who may get the alert now."""
        numbers = [lease.todo.popleft() for _ in range(min(READ_AHEAD, len(lease.todo)))]
        found: dict[int, Record | None] = (
            dict(self._records.read(lease.batch.partition, numbers))
            if lease.send.canary is None
            else dict.fromkeys(numbers, lease.send.canary)
        )
        rows: list[Row] = []
        for number in numbers:
            if number not in found:
                lease.note(number, Outcome.GONE, None)  # they left after the audience was frozen
            elif (record := found[number]) is not None:
                if (self._bases[record.base].origin in lease.paced) == (lease.newest is not None):
                    rows.append((number, record))
                elif lease.newest is None:
                    lease.left = True
            else:
                id = SubscriptionId(lease.batch.partition, number)
                _log.error("subscription %s: a record of another version; not sent", id)
                lease.note(number, Outcome.REFUSED, None)
        self._admission.admit(lease, rows)
