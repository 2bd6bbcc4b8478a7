"""Sends batches: leases them, keeps the window full, judges answers, writes checkpoints.

A worker has at most one window (`PUSH_WINDOW`) of messages under way or not yet recorded: what a
`kill -9` can make arrive twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from service.endpoints import origin_of
from service.keys import b64url
from service.models import Batch, Notification, Outcome, Record, State, SubscriptionId
from service.payload import Payload
from service.runtime import Runtime
from service.store.sending import Retry
from workers import policy, wire
from workers.transport import Answer, Transport

LEASE = 8.0  # seconds; with the clock's second and a job's start well under the promised 15
RENEW = 2.0  # seconds between two signs of life for a lease
CHECK = 0.5  # seconds between two looks at whether to go on
CHECKPOINT = 64  # answers; with 192 under way they make up the window of 256
LINGER = 0.2  # seconds an answer may wait to be recorded
READ_AHEAD = 512  # records read at once
ASK_AGAIN = 0.1  # seconds until Redis is asked again for a batch when it had none


@dataclass(slots=True)
class _Base:
    """What is the same for all recipients at one base; the headers for a second at a time."""

    number: int
    url: str
    origin: str
    service: str
    allowed: bool
    headers: dict[int, tuple[float, list[str]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Recipient:
    """One message under way."""

    lease: _Lease
    number: int
    base: _Base


@dataclass(slots=True)
class _Service:
    """How a push service (one base) fares within a lease.

    `again` says that somebody there must be tried again, not before `not_before`.
    """

    answered: bool = False
    failed_in_a_row: int = 0
    stopped: bool = False
    again: bool = False
    not_before: float = 0.0


@dataclass(slots=True)
class _Lease:
    """A batch this worker holds, and what has become of it so far. Times are monotonic."""

    batch: Batch
    owner: str
    until: float
    todo: deque[int]
    earlier: dict[int, Retry]
    services: defaultdict[int, _Service] = field(default_factory=lambda: defaultdict(_Service))
    ready: deque[tuple[int, Record]] = field(default_factory=deque)
    held_back: deque[tuple[int, Record]] = field(default_factory=deque)
    results: dict[tuple[Outcome, str], list[int]] = field(default_factory=dict)
    unrecorded: int = 0
    recorded_at: float = 0.0
    under_way: int = 0
    lost: bool = False

    @property
    def unfinished(self) -> bool:
        return bool(self.todo or self.ready or self.held_back)

    @property
    def startable(self) -> bool:
        return self.unfinished and not self.lost

    def note(self, number: int, outcome: Outcome, service: str) -> None:
        self.results.setdefault((outcome, service), []).append(number)
        self.unrecorded += 1


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a worker process keeps from job to job: its parts, its connections, its signatures."""

    name: str
    runtime: Runtime
    transport: Transport
    signers: Mapping[str, wire.VapidSigner]

    @classmethod
    def open(cls, name: str, runtime: Runtime) -> Workshop:
        """Set up shop in this process, after it was forked."""
        config = runtime.config
        return cls(
            name=name,
            runtime=runtime,
            transport=Transport(
                streams=config.push_window,
                ca_bundle=config.push_ca_bundle,
                plain_origins=runtime.endpoints.plain_origins,
            ),
            signers={
                b64url(key.public): wire.VapidSigner(key, runtime.vapid_subject)
                for key in runtime.vapid_keys
            },
        )


class FanOut:
    """The sending of one notification by one worker, for as long as there is something due.

    `may_go_on` is asked every half second. Whatever the end, every message under way is waited
    for and recorded, and every batch is given back.
    """

    def __init__(
        self, shop: Workshop, notification: Notification, may_go_on: Callable[[], bool]
    ) -> None:
        runtime = shop.runtime
        self._shop = shop
        self._notification = notification
        self._may_go_on = may_go_on
        self._window = runtime.config.push_window
        self._endpoints = runtime.endpoints
        self._house = runtime.store.house
        self._sending = runtime.store.sending
        self._subscriptions = runtime.store.subscriptions
        self._payload = Payload(notification, runtime.config.public_url)
        topic = f"notification {notification.id}"
        self._topic = wire.collapse_topic(runtime.tokens.topic_key, topic)
        self._leases: list[_Lease] = []
        self._under_way: Counter[str] = Counter()
        self._bases: dict[int, _Base] = {}
        self._going_on = True
        self._failed = False
        self._claims = 0
        self._checked_at = self._asked_at = time.monotonic()

    def run(self) -> None:
        """Send until nothing is due, or until told to stop.

        Whatever fails, what is under way is waited for and recorded before it is raised.
        """
        try:
            self._send()
        except Exception:
            self._going_on, self._failed = False, True
            with suppress(Exception):
                self._send()
            raise

    def _send(self) -> None:
        while True:
            self._look_up()
            self._fill_window()
            if self._under_way.total():
                for answer in self._shop.transport.poll(0.05):
                    self._take(answer)
            self._record_and_release()
            if not self._leases and not (self._going_on and self._claim()):
                return

    # -- starting --------------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Ask every half second whether this is still wanted and nothing else waits."""
        now = time.monotonic()
        if self._going_on and now - self._checked_at >= CHECK:
            self._checked_at = now
            state = self._sending.state(self._notification.id)
            self._going_on = state is State.SENDING and self._may_go_on()

    def _claim(self) -> bool:
        """Lease another batch; False where none is due."""
        for partition in self._sending.partitions:
            now = time.monotonic()
            # A name for each claim: a lease that ran out cannot give back the one that followed it.
            self._claims += 1
            owner = f"{self._shop.name}:{self._claims}"
            batch = self._sending.claim(self._notification.id, partition, owner, int(LEASE * 1000))
            if batch is not None:
                self._leases.append(
                    _Lease(
                        batch=batch,
                        owner=owner,
                        until=now + LEASE,
                        todo=deque(self._sending.pending(self._notification.id, batch)),
                        earlier=self._sending.retries(self._notification.id, batch),
                        recorded_at=now,
                    )
                )
                return True
        self._asked_at = time.monotonic()
        return False

    def _fill_window(self) -> None:
        while self._going_on and self._room():
            lease = next((lease for lease in self._leases if lease.startable), None)
            if lease is None:
                # The next batch begins while the answers to the last are still under way.
                if time.monotonic() - self._asked_at < ASK_AGAIN or not self._claim():
                    return
                continue
            if time.monotonic() >= lease.until:
                lease.lost = True
            elif (row := self._next(lease)) is not None:
                self._start(lease, *row)

    def _room(self) -> int:
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        room = self._window - self._under_way.total() - unrecorded
        return min(room, self._shop.transport.free)

    def _next(self, lease: _Lease) -> tuple[int, Record] | None:
        """Return a recipient to start with; None when this look found nobody.

        A push service may fill half the window while this batch has others to send to.
        """
        if not lease.ready and lease.todo:
            self._read_ahead(lease)
        while lease.ready:
            number, record = lease.ready.popleft()
            if self._under_way[self._base(record.base).service] < self._window // 2:
                return number, record
            lease.held_back.append((number, record))
            if not lease.ready and lease.todo:
                self._read_ahead(lease)
        return lease.held_back.popleft() if lease.held_back else None

    def _read_ahead(self, lease: _Lease) -> None:
        numbers = [lease.todo.popleft() for _ in range(min(READ_AHEAD, len(lease.todo)))]
        found = dict(self._subscriptions.records(lease.batch.partition, numbers))
        for number in numbers:
            record = found.get(number)
            if record is None:
                # They left after the audience was frozen.
                lease.note(number, Outcome.GONE, "")
            else:
                lease.ready.append((number, record))

    def _start(self, lease: _Lease, number: int, record: Record) -> None:
        if self._must_wait(lease, record.base):
            return
        base = self._base(record.base)
        now = time.time()
        if now > self._notification.last_start:
            lease.note(number, Outcome.EXPIRED, base.service)
            return
        id = SubscriptionId(lease.batch.partition, number)
        receipt = self._shop.runtime.tokens.receipt(self._notification.id, id)
        message = self._payload.carrying(receipt)
        try:
            lines = self._header_lines(base, record.vapid_key, now)
            body = wire.encrypt(message, record.p256dh, record.auth)
        except ValueError:
            # Checked when it was stored: only a changed PUSH_SERVICES or key set comes here.
            lease.note(number, Outcome.REFUSED, base.service)
            return
        recipient = _Recipient(lease, number, base)
        self._shop.transport.start(recipient, base.url + record.rest, lines, body)
        lease.under_way += 1
        self._under_way[base.service] += 1

    def _base(self, number: int) -> _Base:
        base = self._bases.get(number)
        if base is None:
            url = self._house.bases.name(number)
            origin = origin_of(url)
            service, allowed = self._endpoints.service(origin), self._endpoints.allows(origin)
            base = self._bases[number] = _Base(number, url, origin, service, allowed)
        return base

    def _must_wait(self, lease: _Lease, base: int) -> bool:
        """Whether a push service is left in peace for a while, as far as this batch goes."""
        service = lease.services[base]
        earlier = lease.earlier.get(base)
        if earlier is not None and earlier.at > time.time() * 1000:
            service.stopped = service.again = True
        return service.stopped

    def _header_lines(self, base: _Base, vapid_key: int, now: float) -> list[str]:
        """Return the headers; `ValueError` where we may not send, or cannot sign."""
        made_at, lines = base.headers.get(vapid_key, (0.0, []))
        if not 0 <= now - made_at < 1:
            signer = self._shop.signers.get(self._house.vapid_keys.name(vapid_key))
            if signer is None or not base.allowed:
                raise ValueError("not a push service, or not a VAPID key, that is ours to use")
            left = self._notification.deadline - now
            urgency = self._notification.content.urgency
            lines = wire.headers(signer.header(base.origin, now), left, urgency, self._topic)
            base.headers[vapid_key] = now, lines
        return lines

    # -- answers ---------------------------------------------------------------------------------

    def _take(self, answer: Answer[_Recipient]) -> None:
        recipient = answer.key
        lease = recipient.lease
        lease.under_way -= 1
        base = recipient.base
        self._under_way[base.service] -= 1
        service = lease.services[base.number]
        earlier = lease.earlier.get(base.number)
        verdict = policy.judge(answer, base.service, earlier.attempts if earlier else 0)
        if verdict.outcome is not None:
            lease.note(recipient.number, verdict.outcome, base.service)
            service.answered = True
            service.failed_in_a_row = 0
            return
        service.again = True
        if verdict.retry_after is not None:
            service.not_before = max(service.not_before, time.time() + verdict.retry_after)
        if verdict.slow_service:
            service.failed_in_a_row += 1
            enough = service.failed_in_a_row >= policy.FAILURES_IN_A_ROW
            service.stopped |= enough or verdict.retry_after is not None

    def _record_and_release(self) -> None:
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        for lease in list(self._leases):
            over = not lease.under_way and not (lease.startable and self._going_on)
            now = time.monotonic()
            due = lease.unrecorded and (
                over
                or lease.unrecorded >= CHECKPOINT
                or unrecorded >= CHECKPOINT
                or now - lease.recorded_at >= LINGER
            )
            if due or now - lease.recorded_at >= RENEW:
                self._record(lease)
            if over:
                self._release(lease)
                self._leases.remove(lease)

    def _record(self, lease: _Lease) -> None:
        now = time.monotonic()
        held = self._sending.record(
            self._notification.id, lease.batch, lease.owner, int(LEASE * 1000), lease.results
        )
        lease.results = {}
        lease.unrecorded = 0
        lease.recorded_at = now
        if held and not lease.lost:
            lease.until = now + LEASE
        else:
            lease.lost = True

    def _release(self, lease: _Lease) -> None:
        retries = {
            base: self._retry(lease.earlier.get(base), service)
            for base, service in lease.services.items()
            if service.again
        }
        wait: int | None = None
        if self._failed:
            wait = 1000  # what failed may have been reading it: nothing in it is taken for done
        elif lease.unfinished:
            wait = 0
        elif retries:
            first = min(retry.at for retry in retries.values())
            wait = max(0, first - int(time.time() * 1000))
        self._sending.release(
            self._notification.id, lease.batch, lease.owner, wait_ms=wait, retries=retries
        )

    @staticmethod
    def _retry(earlier: Retry | None, service: _Service) -> Retry:
        """Say when a push service is tried again; one that answered is not backed off from."""
        now = time.time()
        if earlier is not None and earlier.at > now * 1000:
            return earlier
        attempts = 0 if earlier is None or service.answered else earlier.attempts
        pause = policy.pause(attempts, service.not_before - now, random.random)
        return Retry(attempts + 1, int((now + pause) * 1000))
