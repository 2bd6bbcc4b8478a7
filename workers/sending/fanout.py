"""Sends what is due: leases batches, keeps the window full, judges answers, writes checkpoints.

A worker has at most one window (`PUSH_WINDOW`) of messages under way or not yet recorded: what a
`kill -9` can make arrive twice.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from service.model.notifications import Outcome
from service.model.subscriptions import Record, SubscriptionId
from service.runtime import Runtime
from service.store.batches import Recent
from service.store.held_alerts import NOTHING
from service.store.newest_first import NewestFirst
from workers.http.transport import Answer, NoRoom, Transport
from workers.sending import policy, wire
from workers.sending.admission import Admission
from workers.sending.health import Health
from workers.sending.lease import Lease, is_sparse
from workers.sending.messages import Message, Messages
from workers.sending.send import Base, Bases, Rows, Send

_log = logging.getLogger(__name__)

LEASE = 8.0  # seconds; with the clock's second and a job's start well under the promised 15
RENEW = 2.0  # seconds between two signs of life for a lease
CHECK = 0.25  # seconds between two looks at what is to be sent
CHECKPOINT = 64  # answers that are recorded together
SMALLEST = 64  # or that part of the window, where it is full
LINGER = 0.2  # seconds an answer may wait to be recorded
READ_AHEAD = 128  # records read at once
# Of one worker; more only wait for a slow push service. Of breaking alerts as many beside others.
MOST_LEASES = 8
TOO_SOON = 0.02  # seconds between two looks for more where a pace allows little
# Messages that are started together: of the places that are free a fourth, so that where answers
# come at once many are, and where they are late what is ready soon leaves; but no fewer than this.
FEWEST = 16
LOOK_AHEAD = 0.1  # seconds until another batch is begun where the last had nobody to start with
PARKED = 2.0  # seconds for which a batch is given back whose push services are all at their limit
# Seconds until a batch is looked at again of which some are left to `Recent`. That one's end is
# what brings it back: this is for a store that lost it.
LEFT = 300.0


class FanOut:
    """The sending of one worker process: lives from job to job, as its connections do."""

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        transport: Transport,
        signers: Mapping[str, wire.VapidSigner],
    ) -> None:
        self._name = name
        self._runtime = runtime
        self._transport = transport
        self._window = runtime.config.push_window
        self._dispatch = runtime.dispatch
        self._sending = runtime.store.sending
        self._outcomes = runtime.store.outcomes
        self._subscriptions = runtime.store.subscriptions
        self._admission = Admission(runtime)
        self._health = Health(
            runtime.store.services,
            self._window,
            transport.room,
            runtime.push_services.accepted_recently,
            runtime.push_services.answers_in_a_minute,
        )
        self._bases = Bases(runtime, self._health)
        self._messages = Messages(runtime, self._bases, self._health, signers)
        self._sends: dict[int, Send] = {}
        self._leases: list[Lease] = []
        self._under_way = 0
        self._claims = 0
        self._going_on = False
        self._failed = False
        self._checked_at = 0.0
        self._claimed_at = 0.0

    def run(self, may_go_on: Callable[[], bool]) -> None:
        """Send until nothing is due; `may_go_on` is asked several times a second.

        Whatever the end, every message under way is waited for and recorded, and every batch is
        given back; what failed is raised after that.
        """
        self._going_on, self._checked_at = True, 0.0
        # What became of connections since the last run says nothing of now.
        self._transport.poll(0.0)
        self._transport.unreachable()
        try:
            self._send(may_go_on)
        except Exception:
            self._going_on, self._failed = False, True
            with suppress(Exception):
                self._send(lambda: False)
            raise

    def close(self) -> None:
        """Give up the connections."""
        self._transport.close()

    def _send(self, may_go_on: Callable[[], bool]) -> None:
        while True:
            self._look_up(may_go_on)
            more = self._fill_window()
            self._health.ask_for_more()
            if self._transport.is_busy:
                for answer in self._transport.poll(0.0 if more else 0.05):
                    self._take(answer)
                for origin in self._transport.unreachable():
                    self._health.unreachable(origin)
            elif not more and any(one.going_on and not one.unrecorded for one in self._leases):
                time.sleep(TOO_SOON)
            self._record_and_release()
            if not self._leases and not (self._going_on and self._claim()):
                return

    # -- what to send ----------------------------------------------------------------------------

    def _look_up(self, may_go_on: Callable[[], bool]) -> None:
        """See what is to be sent now, and whether it is ours to go on."""
        now = time.monotonic()
        if now - self._checked_at < CHECK:
            return
        self._checked_at = now
        self._going_on = self._going_on and may_go_on()
        if not self._going_on:
            return
        self._health.refresh()
        for lease in self._leases:
            lease.outdated = lease.outdated or lease.paced != self._health.paced
        wanted = {one.id: (one, due) for one, due in self._dispatch.sending()}
        for id, send in self._sends.items():
            # What was paused or cancelled may still have batches that are due.
            send.going_on, send.due = id in wanted, False
        for id, (notification, due) in wanted.items():
            send = self._sends.get(id) or Send(self._runtime, notification)
            send.read(notification)
            send.due = due
            self._sends[id] = send
        busy = {lease.send.id for lease in self._leases}
        self._sends = {id: s for id, s in self._sends.items() if id in wanted or id in busy}

    def _next_lease(self) -> Lease | None:
        """Return a lease with somebody to start with: breaking alerts before all others."""
        for urgent in (True, False):
            for lease in self._leases:
                if lease.send.urgent == urgent and lease.going_on and self._startable(lease):
                    return lease
            if self._may_claim(urgent) and (claimed := self._claim(urgent)) is not None:
                return claimed
        return None

    def _startable(self, lease: Lease) -> bool:
        return bool(
            lease.ready
            or lease.todo
            or lease.may_find_more
            or any(self._may_leave(lease, self._bases[base]) for base in lease.held_back)
        )

    def _may_leave(self, lease: Lease, base: Base) -> bool:
        """Whether recipients at `base` that were held back may be sent to, or put off, now."""
        return self._waits_until(lease, base) > 0 or self._has_room(base)

    def _may_claim(self, urgent: bool) -> bool:
        """Whether to look for more while some wait for their push service's next answer.

        At once where the last look was worth it; else slowly, since that answer mostly comes soon.
        """
        held = [lease for lease in self._leases if lease.send.urgent == urgent]
        if not any(lease.held_back for lease in held) or held[-1].begun:
            return True
        return time.monotonic() - self._claimed_at >= LOOK_AHEAD

    def _claim(self, urgent: bool | None = None) -> Lease | None:
        """Lease another batch, of the alert of which this worker holds the fewest."""
        due = [s for s in self._sends.values() if s.due and urgent in (None, s.urgent)]
        held = sum(lease.send.urgent or not urgent for lease in self._leases)
        if due and held >= MOST_LEASES and not self._park():
            return None
        for send in sorted(due, key=lambda send: (not send.urgent, send.leases)):
            for partition in self._sending.partitions:
                if lease := self._claim_of(send, partition):
                    return lease
            send.due = False
        return None

    def _claim_of(self, send: Send, partition: int) -> Lease | None:
        now = time.monotonic()
        # A name for each claim: a lease that ran out cannot give back the one that followed it.
        self._claims += 1
        paced = self._health.paced
        owner = f"{self._name}:{self._claims} {','.join(sorted(paced))}"
        claim = self._sending.claim(send.id, partition, owner, int(LEASE * 1000))
        if claim is None:
            return None
        lease = Lease(
            send=send,
            batch=claim.batch,
            owner=owner,
            until=now + LEASE,
            todo=deque(claim.pending),
            sparse=is_sparse(claim.pending),
            earlier=claim.retries,
            paced=paced,
            undone=len(claim.pending),
            recorded_at=now,
        )
        if paced and isinstance(claim.batch, Recent):
            lease.newest = NewestFirst(self._runtime.store.redis, send.id, partition)
        self._claimed_at = now
        send.leases += 1
        self._leases.append(lease)
        return lease

    def _park(self) -> bool:
        """Make place for another batch: give one back that only waits for a slow push service."""
        for lease in reversed(self._leases):
            waits = lease.held_back and not self._startable(lease)
            if waits and not lease.under_way and not lease.unrecorded:
                self._release(lease, PARKED)
                return True
        return False

    # -- starting --------------------------------------------------------------------------------

    def _fill_window(self) -> bool:
        """Start some messages; whether there may be more to start."""
        self._health.look_again()
        room = self._room()
        left = min(room, max(FEWEST, room // 4))
        more = self._going_on and room > left
        while self._going_on and left > 0:
            lease = self._next_lease()
            if lease is None:
                return False
            if time.monotonic() >= lease.until:
                lease.lost = True
                continue
            rows = self._rows(lease, left)
            self._start(lease, rows)
            left -= len(rows)
        return more

    def _room(self) -> int:
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        return min(self._window - self._under_way - unrecorded, self._transport.free)

    def _rows(self, lease: Lease, most: int) -> list[tuple[int, Record]]:
        """Return recipients whose push services have room, which they take."""
        rows: list[tuple[int, Record]] = []
        while len(rows) < most and (row := self._next(lease)) is not None:
            self._health.started(self._bases[row[1].base].service)
            rows.append(row)
        return rows

    def _next(self, lease: Lease) -> tuple[int, Record] | None:
        """Return a recipient whose push service has room; None when this look found nobody."""
        if lease.newest is not None and lease.may_find_more:
            lease.todo.extend(lease.newest.some())
            lease.find_at = time.monotonic() + TOO_SOON
        while lease.ready or lease.todo:
            if not lease.ready:
                self._read_ahead(lease)
                continue
            row = lease.ready.popleft()
            base = self._bases[row[1].base]
            if (until := self._waits_until(lease, base)) > 0:
                lease.wait(base.number, until)
            elif self._has_room(base):
                return row
            else:
                lease.held_back.setdefault(base.number, deque()).append(row)
        for number, rows in list(lease.held_back.items()):
            base = self._bases[number]
            if (until := self._waits_until(lease, base)) > 0:
                lease.wait(number, until)
                del lease.held_back[number]
            elif self._has_room(base):
                row = rows.popleft()
                if not rows:
                    del lease.held_back[number]
                return row
        return None

    def _has_room(self, base: Base) -> bool:
        """Whether a message may be made for a recipient at `base`, or that it gets none noted."""
        return not base.allowed or self._health.has_room(base.service)

    def _waits_until(self, lease: Lease, base: Base) -> float:
        """Return until when recipients at `base` wait, as far as this batch goes; or 0."""
        until = self._health.rests_until(base.service) if base.service.rest else 0.0
        earlier = lease.earlier.get(base.number)
        if earlier is not None and earlier.at > time.time() * 1000:
            until = max(until, earlier.at / 1000)
        return until

    def _read_ahead(self, lease: Lease) -> None:
        numbers = [lease.todo.popleft() for _ in range(min(READ_AHEAD, len(lease.todo)))]
        found = dict(self._subscriptions.records(lease.batch.partition, numbers))
        rows: list[tuple[int, Record]] = []
        for number in numbers:
            if number not in found:
                # They left after the audience was frozen.
                lease.note(number, Outcome.GONE, None)
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

    def _start(self, lease: Lease, rows: Rows) -> None:
        for message in self._messages.make(lease, rows):
            if time.monotonic() >= lease.until:
                # Making them took that long: Redis was away, or the process was stopped.
                lease.lost = True
                self._put_back(message)
                continue
            base, path = message.base, message.base.path + message.record.rest
            try:
                self._transport.start(message, base.origin, path, message.headers, message.body)
            except NoRoom:
                self._put_back(message)
                self._health.found_no_room(base.service)
            else:
                lease.under_way += 1
                self._under_way += 1
        self._transport.flush()

    def _put_back(self, message: Message) -> None:
        """Do not send a message that was made; its recipient gets another one."""
        self._health.not_started(message.base.service)
        message.lease.ready.append((message.number, message.record))

    # -- answers ---------------------------------------------------------------------------------

    def _take(self, answer: Answer[Message]) -> None:
        message = answer.key
        lease, base = message.lease, message.base
        lease.under_way -= 1
        self._under_way -= 1
        verdict = policy.judge(answer, base.service.name, lease.attempts(base.number))
        id = SubscriptionId(lease.batch.partition, message.number)
        self._health.answered(base.service, id, verdict, answer.status)
        if verdict.at_once and not lease.lost:
            lease.ready.append((message.number, message.record))
        elif verdict.outcome is None or (verdict.rejected and base.service.rests_for_credentials):
            self._try_again(lease, base, verdict)
        else:
            accepted = verdict.outcome is Outcome.ACCEPTED and lease.send.correctable
            revision = message.revision if accepted else None
            brought = message.brought if accepted else NOTHING
            lease.note(message.number, verdict.outcome, base, revision, brought)

    def _try_again(self, lease: Lease, base: Base, verdict: policy.Verdict) -> None:
        """Let the recipients of this batch at `base` wait that had no outcome yet."""
        now = time.time()
        if not base.service.rests_for_credentials:
            lease.tried.add(base.number)
        pause = policy.pause(lease.attempts(base.number), verdict.retry_after, random.random)
        lease.wait(base.number, max(now + pause, self._health.rests_until(base.service)))

    # -- recording -------------------------------------------------------------------------------

    def _record_and_release(self) -> None:
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        # Where the window is full, what is not recorded keeps another message from being started.
        enough = CHECKPOINT if self._room() > 0 else self._window // SMALLEST
        for lease in list(self._leases):
            over = not lease.under_way and not (self._going_on and lease.going_on)
            now = time.monotonic()
            due = lease.unrecorded and (
                over or unrecorded >= enough or now - lease.recorded_at >= LINGER
            )
            if due or now - lease.recorded_at >= RENEW:
                self._record(lease)
            if over:
                self._release(lease)

    def _record(self, lease: Lease) -> None:
        now = time.monotonic()
        held = self._outcomes.record(
            lease.send.id,
            lease.batch,
            lease.owner,
            int(LEASE * 1000),
            lease.results,
        )
        lease.results = {}
        lease.unrecorded = 0
        self._admission.take_back(lease)
        lease.recorded_at = now
        if held and not lease.lost:
            lease.until = now + LEASE
        else:
            lease.lost = True

    def _release(self, lease: Lease, wait: float | None = None) -> None:
        """Give a batch back, after `wait` seconds or when the first in it may be tried again."""
        now = time.time()
        for number in list(lease.counted):
            if not lease.lost:  # else whoever has the batch now finds them counted
                lease.take_back(number)
        self._admission.take_back(lease)
        if self._failed:
            wait = 1.0  # what failed may have been reading it: nothing in it is taken for done
        elif wait is None and lease.unfinished:
            wait = 0.0
        elif wait is None and (lease.again or lease.left or lease.later < math.inf):
            left = [now + LEFT] if lease.left else []
            wait = max(0.0, min([*lease.again.values(), *left, lease.later]) - now)
        self._sending.release(
            lease.send.id,
            lease.batch,
            lease.owner,
            wait_ms=None if wait is None else int(wait * 1000),
            retries=lease.retries(),
            left=lease.left,
            undone=lease.undone,
        )
        self._messages.put_back_keys(lease)
        self._leases.remove(lease)
        lease.send.leases -= 1
        if wait is None and not lease.send.leases:
            self._dispatch.advance(lease.send.id)
