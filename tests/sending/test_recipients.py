"""Which recipients of a batch a worker sends to next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

from service.model.notifications import Batch
from service.model.subscriptions import Record
from service.store import Store
from tests.support.health import ACCEPTED, READER, worker
from workers.sending.destinations import Base
from workers.sending.lease import Lease
from workers.sending.recipients import Recipients
from workers.sending.send import Rows

APPLE, MOZILLA = 1, 2
FIRST = 16  # messages under way at a push service that has not answered yet


class _Records:
    """Every third reader is at Mozilla."""

    def read(self, _partition: int, numbers: Sequence[int]) -> Iterator[tuple[int, Record]]:
        for number in numbers:
            base = MOZILLA if number % 3 == 0 else APPLE
            yield number, Record(base, "", b"", b"", 0, 0, 0, 0, 0)


class _Admission:
    """Admits everybody."""

    def admit(self, lease: Lease, rows: Rows) -> None:
        lease.ready.extend(rows)


def test_recipients_who_wait_for_room_are_taken_once_and_in_their_order(store: Store) -> None:
    health, readers = worker(store), range(300)
    apple = health.of("https://web.push.apple.com", "apple")
    mozilla = health.of("https://updates.push.services.mozilla.com", "mozilla")
    bases = {
        number: Base(number, service.origin, "/", True, service)
        for number, service in ((APPLE, apple), (MOZILLA, mozilla))
    }
    recipients = Recipients(*cast(Any, (_Records(), _Admission(), bases, health)))
    lease = Lease(
        send=cast(Any, SimpleNamespace(canary=None)),
        batch=Batch(0, 0, 299),
        owner="",
        until=0.0,
        todo=deque(readers),
        sparse=True,
        paced=frozenset(),
        undone=300,
    )
    taken = [number for number, _ in recipients.take(lease, 1000)]
    assert taken == sorted(taken)
    assert len(taken) == 2 * FIRST
    assert recipients.take(lease, 1000) == [], "both have as many under way as they may"
    while lease.held_back:
        for service in (apple, mozilla):
            for _ in range(min(5, service.under_way)):
                health.answered(service, READER, ACCEPTED, 201)
        taken += [number for number, _ in recipients.take(lease, 7)]
    at_mozilla = [number for number in taken if number % 3 == 0]
    assert at_mozilla == sorted(at_mozilla)
    at_apple = [number for number in taken if number % 3]
    assert at_apple == sorted(at_apple)
    assert sorted(taken) == [*readers]
