"""The fan-out: leases batches of what is due, keeps the window full, judges answers, records.

One turn of the loop in `FanOut._send`: look for work, start messages, take answers, record them. Of
the store it needs five things:

- `Planning.sending`: the alerts that are being sent, and whether they have batches to lease;
- `Batches.claim_any` and `release`: a lease of a batch, which other workers then leave alone;
- `Records.read`: the recipients of a batch;
- `Outcomes.record`: writes outcomes down, extends the lease, and says whether it still holds;
- `Planning.advance`: closes an alert of which no batch is left.

A worker has at most one window (`PUSH_WINDOW`) of messages under way or not yet recorded, and at a
push service no more under way than its delay needs (`Health`). Those are the messages that may
arrive twice after a `kill -9`.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from service.domain.counting import status_class
from service.model.notifications import Outcome
from service.model.operations.measures import (
    CHECKPOINTS,
    MICRO,
    PUSH_ANSWERS,
    PUSH_RETRIES,
    WORKER_CPU,
)
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.runtime import Runtime
from service.store.redis_servers.connection import WRITE_REFUSED
from service.store.sending.batches import Recent
from service.store.sending.held_alerts import NOTHING
from service.store.sending.newest_first import NewestFirst
from workers.http.transport import Answer, NoRoom, Transport
from workers.sending import policy, wire
from workers.sending.admission import Admission
from workers.sending.destinations import Bases
from workers.sending.health import Health
from workers.sending.lease import Lease, is_sparse
from workers.sending.messages import Message, Messages
from workers.sending.prepared_keys import Pool
from workers.sending.recipients import TOO_SOON, Recipients
from workers.sending.send import Row, Send

# Seconds that a lease lasts. With the clock's second and a job's start this is well under the 15
# seconds in which we promise that another worker goes on.
LEASE = 8.0
RENEW = 2.0  # seconds until a lease is extended though there is nothing to record
CHECK = 0.25  # seconds between two looks at which alerts are to be sent
CHECKPOINT = 64  # outcomes that are recorded together
SMALLEST = 64  # with a full window, a checkpoint is the window divided by this
LINGER = 0.2  # seconds that an outcome may wait to be recorded
# Leases of one worker; more would only wait for a slow push service. A small alert has a batch in
# each of twelve partitions. Breaking alerts may have as many beside those of other alerts.
MOST_LEASES = 16
# Start a fourth of the free window at once, but `FEWEST` at least and `MOST` at most: the first
# ready messages need not wait for the rest, and answers that have come are taken in time.
FEWEST = 16
MOST = 64
LOOK_AHEAD = 0.1  # seconds until another batch is leased if the last one had nobody to start with
PARKED = 2.0  # seconds for which a batch is given back if its push services have no room
# Seconds until a batch is looked at again that left recipients to `Recent`. Normally the end of
# `Recent` brings it back earlier; this is for a store that lost that.
LEFT = 300.0
# Seconds for which a worker knows which readers subscribed only minutes ago. Those who subscribe
# meanwhile have higher numbers, so they count as young too.
YOUNG_KNOWN = 1.0


class FanOut:
    """Sends for one worker process. It lives from job to job, because its connections do."""

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        transport: Transport,
        signers: Mapping[str, wire.VapidSigner],
    ) -> None:
        store = runtime.store
        self._name = name
        self._runtime = runtime
        self._transport = transport
        self._window = runtime.config.push_window
        self._counting = runtime.counting
        self._worked = 0.0  # seconds of processor time of this thread that are counted
        self._planning = runtime.planning
        self._batches = store.batches
        self._outcomes = store.outcomes
        self._subscriptions = store.subscriptions
        self._admission = Admission(store.daily_counts)
        self._health = Health(
            store.push_services,
            self._window,
            transport.room,
            runtime.push_services.accepted_recently,
            runtime.push_services.answers_in_a_minute,
            runtime.push_services.others_answer,
        )
        bases = self._bases = Bases(store.names, runtime.endpoints, self._health)
        vapid_keys = store.names.vapid_keys
        self._recipients = Recipients(store.records, self._admission, bases, self._health)
        self._messages = Messages(Pool(runtime), bases, vapid_keys, self._health, signers)
        self._sends: dict[int, Send] = {}  # being sent, or with a lease here
        self._leases: list[Lease] = []
        self._under_way = 0  # messages
        self._answers: deque[Answer[Message]] = deque()  # that came and are not taken yet
        self._claims = 0
        self._going_on = False
        self._failed = False
        self._checked_at = 0.0
        self._took_at = 0.0  # by the monotonic clock, when recipients were last looked for
        # By partition, when the store was asked, and from which number on readers are young.
        self._young: dict[int, tuple[float, int]] = {}

    def run(self, may_go_on: Callable[[], bool]) -> None:
        """Send until nothing is due; `may_go_on` is asked several times a second.

        Before it returns or raises, the answers to all messages under way are awaited and recorded,
        and all batches are given back.
        """
        self._going_on, self._checked_at = True, 0.0
        self._worked = time.thread_time()
        self._bases.clear()  # a number may mean another push service days later
        self._health.forget_made_up()
        # Drop what became of connections since the last run: it says nothing about now.
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
            self._look_for_work(may_go_on)
            more = self._fill_window()
            self._take_answers(wait=not more)
            self._record_and_release()
            if not self._leases and not (self._going_on and self._claim()):
                return

    # -- look for work ---------------------------------------------------------------------------

    def _look_for_work(self, may_go_on: Callable[[], bool]) -> None:
        """Four times a second, see which alerts are to be sent and what other workers found out."""
        now = time.monotonic()
        if now - self._checked_at < CHECK:
            return
        self._checked_at = now
        self._count_work()
        self._going_on = self._going_on and may_go_on()
        if not self._going_on:
            return
        self._health.refresh()
        for lease in self._leases:
            lease.outdated = lease.outdated or lease.paced != self._health.paced
        self._update_sends()

    def _count_work(self) -> None:
        now = time.thread_time()
        self._counting.count(WORKER_CPU, times=int((now - self._worked) * MICRO))
        self._worked = now

    def _update_sends(self) -> None:
        active = {one.id: (one, due) for one, due in self._planning.sending()}
        for id, send in self._sends.items():
            # A paused or cancelled alert may still have batches that are due.
            send.going_on, send.due = id in active, False
        for id, (notification, due) in active.items():
            send = self._sends.get(id) or Send(self._runtime, notification)
            send.read(notification)
            send.due = due
            self._sends[id] = send
        leased = {lease.send.id for lease in self._leases}
        self._sends = {id: s for id, s in self._sends.items() if id in active or id in leased}

    # -- start messages --------------------------------------------------------------------------

    def _fill_window(self) -> bool:
        """Start some messages; return whether there may be more to start."""
        self._health.look_again()
        room = self._room()
        left = min(room, max(FEWEST, min(MOST, room // 4)))
        more = self._going_on and room > left
        while self._going_on and left > 0:
            lease = self._next_lease()
            if lease is None:
                return False
            if time.monotonic() >= lease.until:
                lease.lost = True
                continue
            rows = self._recipients.take(lease, left)
            self._took_at = time.monotonic()
            self._start(lease, rows)
            left -= len(rows)
        return more

    def _room(self) -> int:
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        return min(self._window - self._under_way - unrecorded, self._transport.free)

    def _next_lease(self) -> Lease | None:
        """Return a lease with recipients to start with: breaking alerts before all others."""
        for urgent in (True, False):
            for lease in self._leases:
                wanted = lease.send.urgent == urgent and lease.going_on
                if wanted and self._recipients.may_start(lease):
                    return lease
            if self._may_claim(urgent) and (claimed := self._claim(urgent)) is not None:
                return claimed
        return None

    def _may_claim(self, urgent: bool) -> bool:
        """Whether to look for another batch now.

        If recipients here wait for an answer of their push service, and the last batch had
        nothing to start, look only now and then: that answer mostly comes soon. However slow Redis
        is, answers and connections are taken before the next look.
        """
        held = [lease for lease in self._leases if lease.send.urgent == urgent]
        if not any(lease.held_back for lease in held) or held[-1].begun:
            return True
        return time.monotonic() - self._took_at >= LOOK_AHEAD

    def _claim(self, urgent: bool | None = None) -> Lease | None:
        """Lease another batch: of breaking alerts first, then of the alert with the fewest leases.

        `urgent` allows breaking alerts only, or only all others; None allows all.
        """
        due = [s for s in self._sends.values() if s.due and urgent in (None, s.urgent)]
        held = sum(lease.send.urgent or not urgent for lease in self._leases)
        if due and held >= MOST_LEASES and not self._park():
            return None
        for send in sorted(due, key=lambda send: (not send.urgent, send.leases)):
            if lease := self._claim_of(send):
                return lease
            send.due = False
        return None

    def _claim_of(self, send: Send) -> Lease | None:
        now = time.monotonic()
        # Each claim has its own name, so that a lease that ran out cannot release the next one.
        self._claims += 1
        paced = self._health.paced
        owner = f"{self._name}:{self._claims} {','.join(sorted(paced))}"
        claim = self._batches.claim_any(send.id, owner, int(LEASE * 1000))
        if claim is None:
            return None
        lease = Lease(
            send=send,
            batch=claim.batch,
            owner=owner,
            until=now + LEASE,
            todo=deque(claim.pending),
            sparse=is_sparse(claim.pending),
            paced=paced,
            undone=len(claim.pending),
            recorded_at=now,
            span=send.begin_span(),
        )
        if claim.retries:
            lease.keep_waiting(claim.retries)
        if paced and isinstance(claim.batch, Recent):
            partition = claim.batch.partition
            lease.newest = NewestFirst(self._runtime.store.redis, send.id, partition)
        send.leases += 1
        self._leases.append(lease)
        return lease

    def _park(self) -> bool:
        """Give back a batch that only waits for a slow push service; False if there is none."""
        for lease in reversed(self._leases):
            waits = lease.held_back and not self._recipients.may_start(lease)
            if waits and not lease.under_way and not lease.unrecorded:
                self._release(lease, PARKED)
                return True
        return False

    def _start(self, lease: Lease, rows: list[Row]) -> None:
        before = lease.under_way
        for message in self._messages.make(lease, rows):
            if time.monotonic() >= lease.until:
                # Making them took too long: Redis was away, or the process was stopped.
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
        lease.messages += lease.under_way - before
        self._transport.flush()

    def _put_back(self, message: Message) -> None:
        """Do not send a message that was made; another one is made for its recipient."""
        self._health.not_started(message.base.service)
        message.lease.ready.append((message.number, message.record))

    # -- take answers ----------------------------------------------------------------------------

    def _take_answers(self, *, wait: bool) -> None:
        """Take the answers that have come; if `wait`, wait a moment for the first."""
        self._health.ask_for_more()
        if self._transport.is_busy:
            self._answers += self._transport.poll(0.05 if wait else 0.0)
        elif wait and any(one.going_on and not one.unrecorded for one in self._leases):
            time.sleep(TOO_SOON)
        # If taking one fails, the others are taken before `run` raises.
        while self._answers:
            self._take(self._answers.popleft())
        for origin, why in self._transport.unreachable().items():
            self._health.unreachable(origin, why)

    def _take(self, answer: Answer[Message]) -> None:
        message = answer.key
        lease, base = message.lease, message.base
        lease.under_way -= 1
        self._under_way -= 1
        number, service = message.number, base.service.name
        took = answer.took
        self._counting.observe(PUSH_ANSWERS, took, service, status_class(answer.status))
        verdict = policy.judge(answer, service, lease.attempts(number), number in lease.small)
        id = SubscriptionId(lease.batch.partition, number)
        try:
            if not self._failed:
                self._health.answered(base.service, id, verdict, answer.status, took)
        finally:  # whatever Redis refused: without its outcome the message would be sent again
            self._conclude(id, message, verdict)

    def _conclude(self, id: SubscriptionId, message: Message, verdict: policy.Verdict) -> None:
        """Keep what became of a recipient."""
        lease, base, number = message.lease, message.base, message.number
        if verdict.at_once and not lease.lost:
            self._counting.count(PUSH_RETRIES, base.service.name, "not processed")
            lease.ready.append((number, message.record))
        elif verdict.too_large:
            self._send_smaller(message)
        elif (
            verdict.outcome is None
            or (verdict.rejected and base.service.rests_for_credentials)
            or (verdict.outcome is Outcome.GONE and self._may_be_hasty(id, message))
        ):
            self._try_again(message, verdict)
        else:
            accepted = verdict.outcome is Outcome.ACCEPTED and lease.send.correctable
            revision = message.revision if accepted else None
            delivery = message.delivery if accepted else NOTHING
            text = message.text if verdict.outcome is Outcome.ACCEPTED else ""
            lease.note(number, verdict.outcome, base, revision, delivery, text=text)

    def _send_smaller(self, message: Message) -> None:
        """Send a smaller message at once, if there is one; else the recipient is refused."""
        lease = message.lease
        if not self._messages.make_small(message):
            lease.note(message.number, Outcome.REFUSED, message.base)
        elif not lease.lost:
            lease.ready.append((message.number, message.record))

    def _may_be_hasty(self, id: SubscriptionId, message: Message) -> bool:
        """Whether a browser subscribed only minutes ago, so that "gone" may be a mistake."""
        today = int(clock.time() // 86_400)
        return (
            message.record.seen >= today - 1
            and message.lease.attempts(id.number) < policy.GONE_AFTER
            and id.number >= self._first_young(id.partition)
        )

    def _first_young(self, partition: int) -> int:
        """Ask the store once a second: a push service may call thousands gone in that time."""
        asked_at, first = self._young.get(partition, (-math.inf, 0))
        now = time.monotonic()
        if now - asked_at >= YOUNG_KNOWN:
            first = self._subscriptions.first_young(partition)
            self._young[partition] = now, first
        return first

    def _try_again(self, message: Message, verdict: policy.Verdict) -> None:
        """Let the recipient of a message wait."""
        lease, service, number = message.lease, message.base.service, message.number
        self._counting.count(PUSH_RETRIES, service.name, _why(verdict))
        attempts = lease.attempts(number)
        pause = policy.pause(attempts, verdict.retry_after, random.random)
        rests = self._health.rests_until(service) - clock.time()
        if not service.rests_for_credentials:
            attempts += 1
        lease.wait(number, message.base.number, attempts, max(pause, rests))

    # -- record and release ----------------------------------------------------------------------

    def _record_and_release(self) -> None:
        """Record outcomes when there are enough or they are old; give finished batches back."""
        unrecorded = sum(lease.unrecorded for lease in self._leases)
        # With a full window, every unrecorded outcome keeps a message from being started.
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
        self._counting.observe(CHECKPOINTS, time.monotonic() - now)
        lease.forget_results()
        self._admission.take_back(lease)
        lease.recorded_at = now
        if held and not lease.lost:
            lease.until = now + LEASE
        else:
            lease.lost = True

    def _release(self, lease: Lease, wait: float | None = None) -> None:
        """Give a batch back, due after `wait` seconds or when its first retry is."""
        if not lease.lost:  # if lost, the worker that has the batch now finds them counted
            for number in list(lease.counted):
                lease.take_back(number)
        self._admission.take_back(lease)
        if wait is None or self._failed:
            wait = self._due_in(lease)
        self._batches.release(
            lease.send.id,
            lease.batch,
            lease.owner,
            wait_ms=None if wait is None else int(wait * 1000),
            retries=lease.retries(),
            resting=lease.resting,
            left=lease.left,
            undone=lease.undone,
        )
        self._messages.put_back_keys(lease)
        self._leases.remove(lease)
        lease.send.leases -= 1
        lease.end_span(done=wait is None)
        if wait is None:
            lease.send.log_done(lease.batch)
        if wait is None and not lease.send.leases:
            with suppress(*WRITE_REFUSED):  # the clock does it in a second, and reports the error
                self._planning.advance(lease.send.id)

    def _due_in(self, lease: Lease) -> float | None:
        """Return the seconds until a batch is due again; None if nobody in it is left to try."""
        if self._failed:
            return 1.0  # reading the batch may have failed, so nobody in it counts as done
        if lease.unfinished:
            return 0.0
        now, passed = clock.time(), time.monotonic()
        waits = [wait.until - passed for wait in lease.waits.values() if not wait.is_over]
        rests = [until - now for until in lease.resting.values()]
        left = LEFT if lease.left else math.inf
        first = min([*waits, *rests, left, lease.later - now])
        return None if first == math.inf else max(0.0, first)


def _why(verdict: policy.Verdict) -> str:
    """Return why a recipient is tried again."""
    if verdict.outcome is Outcome.GONE:
        return "gone"
    if verdict.rejected:
        return "rejected"
    return "limited" if verdict.limited else "failed"
