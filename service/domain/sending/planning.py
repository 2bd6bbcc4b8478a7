"""From a published notification to its end: plan it, find what is due, wake workers, finish it.

All state is in the store. `advance` reads the state of a notification and does the next step:
workers call it when they have finished something, and the clock calls it every second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from redis.exceptions import RedisError

from service.domain.sending.job_queue import JobQueue
from service.domain.sending.push_services import UNDER_WAY
from service.domain.sending.two_texts import TwoTexts
from service.model.notifications import QUIET, Batch, Notification, Outcome, Progress, State
from service.model.operations import traces
from service.model.operations.process_log import log_alert
from service.model.time import clock
from service.model.two_texts import outside_sample
from service.store import Store
from service.store.layout.records import BUCKET
from service.store.redis_servers.connection import WRITE_REFUSED
from service.store.sending.batches import NO_BATCHES, Look

BATCH_RECIPIENTS = 2048  # measured: decision 5
# Seconds. If a spread send is later than this, its other batches are put off by as much. Another
# clock needs four seconds to take over, which must not count as late.
_LATE = 5.0
_TO_SPARE = 5.0  # seconds between the last batch of a spread send and its deadline


class Planning:
    """Lays out the batches of a notification, finds due ones, and finishes it when none is left."""

    def __init__(
        self,
        store: Store,
        jobs: JobQueue,
        ended: Callable[[Notification, Progress], None] = lambda _one, _progress: None,
    ) -> None:
        """Plan; `ended` is called by the process that finished a notification."""
        self._store = store
        self._jobs = jobs
        self._ended = ended
        self.two_texts = TwoTexts(store)

    def begin(self, notification: Notification) -> None:
        """Wake a worker for a notification that is stored, if it is to be sent now."""
        log_alert(notification, "alert %s is %s", notification.state.value)
        if notification.state is State.SENDING:
            with suppress(RedisError):  # it is stored by now: the clock wakes workers instead
                self._jobs.wake(1, at_front=notification.urgent)
                if notification.story:
                    self._store.stories.close_silent()

    def plan(self, notification: Notification) -> None:
        """Freeze the audience and cut into batches what has no outcome and is in no batch."""
        sending, id = self._store.batches, notification.id
        span = traces.begin_for(notification, "plan alert")
        root = self._store.notifications.get(notification.corrects or 0)
        # Until then a reader may still get the old text, and must get the correction after it.
        settled = root is None or self._is_settled(notification, root)
        counts = self._freeze(notification, root, sending.partitions)
        beside = self._sample_or_rest(notification) if notification.second_text else NO_BATCHES
        settled = settled and not notification.sampling
        spread_ms = min(notification.spread_minutes * 60_000, _time_left_ms(notification))
        batches = {
            partition: cut_beside(
                beside.get(partition, ()),
                partition,
                undone,
                counts[partition],
                spread_ms,
                at / len(counts),
            )
            for at, (partition, undone) in enumerate(self._store.recipients.undone(id).items())
        }
        sending.lay_out(id, batches, final=settled, beside=beside)
        if settled:  # else it is planned again in a moment
            log_alert(notification, "alert %s is planned for %s readers", sum(counts.values()))
            span.note({"stoppress.recipients": sum(counts.values())})
            span.end()

    def _sample_or_rest(self, one: Notification) -> Mapping[int, list[str]]:
        """Limit the audience to the sample of two texts, or add all others once that is over.

        Returns by partition the batches that the sample still has then.
        """
        rows, other = self._store.two_texts, one.second_text
        if other is None or not one.sampling:
            return rows.add_rest(one.id)
        percent = other.sample_percent
        rest = {
            partition: outside_sample(one.id, partition, bits, percent)
            for partition, bits in rows.frozen(one.id).items()
        }
        rows.keep_sample(one.id, percent, rest)
        return {}

    def _rest_waits(self, one: Notification, looks: Mapping[int, Look]) -> bool:
        """Whether a text was chosen, and the readers outside of the sample are not planned yet.

        A planner that had not heard of the decision may take them out of an audience while another
        one plans it for the last time.
        """
        if one.second_text is None or one.sampling or one.state is not State.SENDING:
            return False
        still_open = any(look.open for look in looks.values())
        return still_open or self._store.two_texts.rest_waits(one.id)

    def _freeze(
        self, notification: Notification, root: Notification | None, partitions: Iterable[int]
    ) -> dict[int, int]:
        """Freeze the audience of a notification, or of a correction of `root`; return its sizes."""
        recipients, id = self._store.recipients, notification.id
        if root is None:
            began = notification.started_at or notification.created_at
            return recipients.freeze(id, notification.audience, partitions, began)
        return recipients.freeze_reached(id, root.id, root.revision, partitions)

    def _is_settled(self, correction: Notification, root: Notification) -> bool:
        started = correction.started_at or correction.created_at
        if clock.time() > started + UNDER_WAY:
            return True
        active = self._store.notifications.all(self._store.notifications.active())
        return root.finished_at is not None and not any(one.wave for one in active)

    def sending(self) -> list[tuple[Notification, bool]]:
        """Return what is being sent, planned by now, and whether batches of it are due.

        That is nothing while everything is stopped. What Redis refuses to plan, such as a new alert
        while it is full, is left out; its error is raised if nothing else is being sent.
        """
        found: list[tuple[Notification, bool]] = []
        if self._store.stops.holds():
            return found
        refused: list[Exception] = []
        for id in self._store.notifications.active():
            with _going_on(refused):
                found += self._being_sent(id)
        if refused and not found:
            raise refused[0]
        return found

    def _being_sent(self, id: int) -> list[tuple[Notification, bool]]:
        """Return the notification if it is being sent, planned by now, and whether batches are due.

        Else nothing.
        """
        notification = self._store.notifications.get(id)
        if notification is None or notification.state is not State.SENDING:
            return []
        if clock.time() > notification.last_start:
            return []  # `advance` counts the recipients that are left as expired
        if notification.spread_minutes:
            self._keep_even(notification)
        looks = self._store.batches.looks(id)
        unplanned = not all(look.planned for look in looks.values())
        if unplanned or self._rest_waits(notification, looks):
            self.plan(notification)
            looks = self._store.batches.looks(id)
        return [(notification, any(look.due for look in looks.values()))]

    def _keep_even(self, notification: Notification) -> None:
        """Keep the pace of a spread send after a pause, or after an hour without workers."""
        self._store.batches.put_off(
            notification.id, late_ms=int(_LATE * 1000), within_ms=_time_left_ms(notification)
        )

    def advance(self, id: int) -> None:
        """Do the next step for a notification; safe to call at any time."""
        if (notification := self._store.notifications.get(id)) is not None:
            self._advance(notification)

    def _advance(self, notification: Notification) -> None:
        sending, id = self._store.batches, notification.id
        looks = sending.looks(id)
        if self._rest_waits(notification, looks):
            self.plan(notification)
            looks = sending.looks(id)
        stopped = notification.state is State.CANCELLED
        expired = clock.time() > notification.last_start
        undone = Outcome.CANCELLED if stopped else Outcome.EXPIRED if expired else None
        if undone is None and self._waits_for_editor(notification):
            return
        if undone or all(look.planned for look in looks.values()):
            if expired and not stopped:
                root = self._store.notifications.get(notification.corrects or 0)
                # No worker planned it in time: its recipients are counted as expired.
                self._freeze(notification, root, [p for p, one in looks.items() if not one.planned])
            history = self._store.notifications.history()
            idle = [p for p, look in looks.items() if undone or not look.batches]
            left = {*idle} - sending.close(id, idle, undone)
            if left and undone is None and not notification.sampling:
                # Plan again: the audience of a correction may still grow, or Redis has lost the
                # outcome of a recipient whose batch is gone.
                self.plan(notification)
                left -= sending.close(id, left, undone)
                looks = sending.looks(id)
            if len(idle) == len(looks) and not left:
                self._finish(notification, history)
                return
        if undone is None and notification.state is State.SENDING and not self._store.stops.holds():
            work = sum(look.due if look.planned else 1 for look in looks.values())
            self._jobs.wake(work, at_front=notification.urgent)

    def _waits_for_editor(self, notification: Notification) -> bool:
        """Whether a notification is paused, and also held: then it does not end by itself.

        A wave would send it, while an editor was told that nothing of it leaves.
        """
        if notification.state is not State.PAUSED:
            return False
        return self._store.outcomes.progress(notification.id).skipped(QUIET) > 0

    def advance_all(self) -> None:
        """Do the next step for each unfinished notification: what the clock does every second.

        If Redis refuses something for one of them, its error is raised when all others are done.
        """
        refused: list[Exception] = []
        sampling = []
        for id in self._store.notifications.active():
            with _going_on(refused):
                if (one := self._store.notifications.get(id)) is not None:
                    sampling += [one] if one.sampling else []
                    self._advance(one)
        for one in sampling:
            with _going_on(refused):
                if not self._store.stops.holds() and self.two_texts.decide_due(one):
                    self.advance(one.id)
        if refused:
            raise refused[0]

    def _finish(self, notification: Notification, history: bytes) -> None:
        progress = self._store.outcomes.progress(notification.id)
        state = notification.state
        if state is not State.CANCELLED:
            missed = progress.of(Outcome.EXPIRED) and not progress.of(Outcome.ACCEPTED)
            state = State.EXPIRED if missed else State.SENT
        id = notification.id
        # First, because nobody comes back to a notification that is finished.
        if not notification.to_one:
            self._store.gone.tried(id, range(notification.revision + 1))
        self._store.outcomes.forget(id)
        now = clock.time()
        if self._store.outcomes.finish(id, state, now, progress, history):
            self._ended(replace(notification, state=state, finished_at=now), progress)
            log_alert(notification, "alert %s is over: %s", state.value)


@contextmanager
def _going_on(refused: list[Exception]) -> Iterator[None]:
    """Go on with other notifications if Redis refuses something for one, and keep its error."""
    try:
        yield
    except WRITE_REFUSED as error:
        refused.append(error)


def _time_left_ms(notification: Notification) -> int:
    """Return the ms within which all batches of a spread send must be due."""
    return max(0, int((notification.last_start - _TO_SPARE - clock.time()) * 1000))


def cut_beside(
    batches: Iterable[str],
    partition: int,
    audience: bytes,
    recipients: int,
    spread_ms: int,
    later: float,
) -> Iterator[tuple[Batch, int]]:
    """Cut an audience as `cut` does, but only between these batches and around them.

    Batches begin and end with a bucket unless the alert is spread.
    """
    bounds = (name.split("-") for name in batches if "-" in name)
    after = 0
    for first, last in sorted((int(first), int(last)) for first, last in bounds):
        yield from cut(partition, audience, recipients, spread_ms, later, after, first // 8)
        after = last // 8 + 1
    yield from cut(partition, audience, recipients, spread_ms, later, after)


def cut(
    partition: int,
    audience: bytes,
    recipients: int,
    spread_ms: int = 0,
    later: float = 0.0,
    first: int = 0,
    end: int | None = None,
) -> Iterator[tuple[Batch, int]]:
    """Cut a frozen audience of so many recipients into batches, each with the ms until it is due.

    A batch is whole buckets with about `BATCH_RECIPIENTS`, and due at once. With `spread_ms`,
    batches are smaller and due one after the other, about a second apart; `later` is the part of
    its own time by which each is delayed, so that partitions do not all send at once. Only the
    bytes of the audience from `first` until before `end` are cut.
    """
    step, most = BUCKET // 8, BATCH_RECIPIENTS
    if spread_ms:
        step, most = 1, min(most, max(1, recipients * 1000 // spread_ms))
    end = len(audience) if end is None else min(end, len(audience))
    start: int | None = None
    before = here = 0
    for at in range(first, end, step):
        more = int.from_bytes(audience[at : min(at + step, end)], "big").bit_count()
        if not more:
            continue
        if start is not None and here + more > most:
            yield (
                Batch(partition, start, at * 8 - 1),
                int(spread_ms * (before + later * here) / recipients),
            )
            start, before, here = None, before + here, 0
        if start is None:
            start = at * 8
        here += more
    if start is not None:
        last = -(-end // step) * step * 8 - 1
        yield Batch(partition, start, last), int(spread_ms * (before + later * here) / recipients)
