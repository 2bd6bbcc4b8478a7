"""Which recipients of a batch are next: those whose push services have room for a message now."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Final

from service.model.notifications import Outcome
from service.model.subscriptions import SubscriptionId
from service.store.subscriptions import Subscriptions
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
        self, subscriptions: Subscriptions, admission: Admission, bases: Bases, health: Health
    ) -> None:
        self._subscriptions = subscriptions
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
        return self._rests_until(base) > 0 or self._has_room(base)

    def take(self, lease: Lease, most: int) -> list[Row]:
        """Return recipients whose push services have room, and count that room as taken."""
        rows: list[Row] = []
        while len(rows) < most and (row := self._next(lease)) is not None:
            self._health.started(self._bases[row[1].base].service)
            rows.append(row)
        return rows

    def _next(self, lease: Lease) -> Row | None:
        if lease.waits and lease.may_wake:
            lease.wake()
        if lease.newest is not None and lease.may_find_more:
            lease.todo.extend(n for n in lease.newest.some() if not lease.waiting(n))
            lease.find_at = time.monotonic() + TOO_SOON
        return self._next_ready(lease) or self._next_held_back(lease)

    def _next_ready(self, lease: Lease) -> Row | None:
        """Return the first ready recipient whose push service has room; those before it wait."""
        while lease.ready or lease.todo:
            if not lease.ready:
                self._read_ahead(lease)
                continue
            row = lease.ready.popleft()
            base = self._bases[row[1].base]
            if (until := self._rests_until(base)) > 0:
                lease.rest(base.number, until)
            elif self._has_room(base):
                return row
            else:
                lease.held_back.setdefault(base.number, deque()).append(row)
        return None

    def _next_held_back(self, lease: Lease) -> Row | None:
        """Return a recipient that was held back and whose push service has room again."""
        for number, rows in list(lease.held_back.items()):
            base = self._bases[number]
            if (until := self._rests_until(base)) > 0:
                lease.rest(number, until)
                del lease.held_back[number]
            elif self._has_room(base):
                row = rows.popleft()
                if not rows:
                    del lease.held_back[number]
                return row
        return None

    def _has_room(self, base: Base) -> bool:
        """Whether `base` has room; where nothing may be sent, none is needed."""
        return (
            not base.allowed
            or (base.service.rest is not None and self._health.is_dead(base.service))
            or self._health.has_room(base.service)
        )

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
        found = dict(self._subscriptions.records(lease.batch.partition, numbers))
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
