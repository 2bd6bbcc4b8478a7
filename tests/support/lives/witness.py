"""Watches each message as it leaves, and what its push service made of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

from service.model.notifications import Notification, State
from service.model.time.clocks import QUARTER
from service.store import Store
from service.store.sending.batches import part_key
from tests.support.lives.killing import in_another_process
from tests.support.lives.push import Run, Sent
from tests.support.lives.readers import Reader, Shown, number_in

SOON = 1.1  # seconds within which a "stop" takes effect
_TITLE = re.compile(r"Alert (\d+) text (\d+)")
_SALT, _KEY = slice(0, 16), slice(21, 86)  # of an encrypted body
_STOPPED = (State.PAUSED, State.CANCELLED)


class Witness:
    """What was sent, as no part of the product knows it."""

    def __init__(
        self, store: Store, readers: Mapping[int, Reader], now: Callable[[], float]
    ) -> None:
        self._store, self.readers, self._now = store, readers, now
        self.roots: dict[int, int] = {}  # by the number in a title, the id of the alert
        self.stopped_at: dict[int, float] = {}  # by alert, while it is paused or cancelled
        self.all_stopped_at: float | None = None
        self.alerts: dict[int, Notification] = {}
        self._used: set[bytes] = set()  # keys and salts
        self.is_exact = True  # every count against a reader's day is known here
        # By what was sent, the readers for whom it was accepted, and those of whom nobody knows.
        self.accepted: dict[int, set[int]] = defaultdict(set)
        self.unknown: dict[int, set[int]] = defaultdict(set)

    # -- what editors did ------------------------------------------------------------------------

    def look(self, alerts: list[Notification]) -> None:
        """Take over what the desk says of all alerts by now."""
        self.alerts = {one.id: one for one in alerts}
        for id, one in self.alerts.items():
            if one.state not in _STOPPED:
                self.stopped_at.pop(id, None)
            elif id not in self.stopped_at:
                self.stopped_at[id] = self._now()
        if not self._store.stops.holds():
            self.all_stopped_at = None
        elif self.all_stopped_at is None:
            self.all_stopped_at = self._now()

    # -- a worker's run --------------------------------------------------------------------------

    def is_killed(self, run: Run) -> None:
        """Nobody knows of the messages of a worker that have no outcome."""
        self.is_exact = False
        for sent in run.under_way:
            self._show(sent, is_certain=False)
        self.loses_leases(run)

    def loses_leases(self, run: Run) -> None:
        """Another worker may send again to recipients without an outcome."""
        self.is_exact = False
        run.late |= {id(sent) for sent in run.under_way}
        for reader, one in run.shown:
            if one.is_certain and not self._is_recorded(one.by, reader):
                one.is_certain = False
                self.accepted[one.by].discard(reader.number)
                self.unknown[one.by].add(reader.number)

    def _is_recorded(self, id: int, reader: Reader) -> bool:
        partition, number = reader.id
        if self._store.redis.hexists(part_key(partition, id), "closed"):
            return True
        return bool(self._store.redis.getbit(part_key(partition, id, "done"), number))

    # -- a message -------------------------------------------------------------------------------

    def starts(self, sent: Sent) -> None:
        """Check that a message may leave."""
        for part in (sent.body[_SALT], sent.body[_KEY]):
            assert part not in self._used, "a key or a salt was used twice"
            self._used.add(part)
        reader = self.readers[number_in(sent.path)]
        self._check_wanted(sent)
        if reader.changed_at < sent.run.began:
            assert reader.is_here, "sent to a reader who left"
            self._check_reader(sent, reader)
        for root, text in shown_in(sent, self.roots):
            before = [one.text for one in reader.shown if one.root == root and one.is_certain]
            assert max(before, default=-1) < text, (root, text, reader)
            self._check_story(root, reader)

    def _check_wanted(self, sent: Sent) -> None:
        now, id = self._now(), sent.message.lease.send.id
        for one in (id, *sent.message.delivery.delivered):
            stopped = self.stopped_at.get(one)
            assert stopped is None or now - stopped < SOON, (one, "left after it was stopped")
            if (alert := self.alerts.get(one)) is not None and alert.corrects is not None:
                self._check_correction(alert)
        stopped = self.all_stopped_at
        assert stopped is None or now - stopped < SOON, "left although everything is stopped"

    def _check_story(self, root: int, reader: Reader) -> None:
        """Check that a reader has no newer alert of the story, which this one would replace."""
        here = self._alert(root)
        for one in reader.shown:
            other = self._alert(one.root)
            is_known = one.is_certain and self._now() - one.at > SOON
            counts = is_known and other.story == here.story != "" and here.started_at
            if counts and other.started_at and State.CANCELLED is not other.state:
                assert other.started_at <= here.started_at, (root, reader, "replaces a newer one")

    def _check_correction(self, one: Notification) -> None:
        """Check that a correction ends with its alert, unless it ended that or came after."""
        root = self.alerts[one.corrects or 0]
        retracts = one.mends is not None and one.mends.then == State.CANCELLED.value
        if root.state is State.CANCELLED and not retracts:
            at = self.stopped_at[root.id]
            followed = (one.started_at or one.created_at) >= at
            assert followed or self._now() - at < SOON, (one.id, "left after it was cancelled")

    def _check_reader(self, sent: Sent, reader: Reader) -> None:
        now, one = self._now(), self.alerts.get(sent.message.lease.send.id)
        preferences = reader.preferences
        assert preferences.paused_until <= now, "sent to a reader who paused"
        urgent = one is not None and one.urgent
        if not (urgent and preferences.allow_breaking):
            ends = now + int(sent.headers["ttl"]) - 61
            at = now
            while at <= ends or at == now:
                assert not reader.sleeps(at), (reader, sent.headers["ttl"], "in quiet hours")
                at += QUARTER

    def answered(self, sent: Sent, kind: str) -> None:
        """Note what a push service says of a message."""
        if kind in ("accepted", "lost"):
            self._show(sent, is_certain=kind == "accepted" and id(sent) not in sent.run.late)

    def _show(self, sent: Sent, *, is_certain: bool) -> None:
        reader, by = self.readers[number_in(sent.path)], sent.message.lease.send.id
        (self.accepted if is_certain else self.unknown)[by].add(reader.number)
        for root, text in shown_in(sent, self.roots):
            shown = Shown(root, text, by, self._now(), is_certain)
            reader.shown.append(shown)
            sent.run.shown.append((reader, shown))
        if is_certain:
            self._count(sent, reader)

    def _count(self, sent: Sent, reader: Reader) -> None:
        """Count an alert against a reader's day, and check that it fits."""
        one, limit = self._alert(sent.message.lease.send.id), reader.preferences.daily_limit
        if one.urgent or one.corrects:
            return
        date, counted = reader.date(self._now()), reader.counted[reader.date(self._now())]
        if reader.changed_at >= sent.run.began or reader.date(sent.run.began) != date:
            self.is_exact = False  # it may count by another limit, or for the day before
        elif (one.story, date) in reader.stories:
            reader.further[date].add(one.id)
        elif limit and one.id not in counted:
            assert len(counted) < limit or not self.is_exact, reader
            counted.add(one.id)
        for alert in [self._alert(id) for id in sent.message.delivery.delivered] or [one]:
            if alert.story and not (alert.urgent or alert.corrects):
                began = alert.started_at or alert.created_at
                reader.stories.add((alert.story, reader.date(began)))

    def _alert(self, id: int) -> Notification:
        """Return an alert as it is, also a wave that began since the last look."""
        if id not in self.alerts:
            with in_another_process():
                found = self._store.notifications.get(id)
            assert found is not None
            self.alerts[id] = found
        return self.alerts[id]


def shown_in(sent: Sent, roots: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the roots whose text is in a message, and which text of each it is."""
    found = _TITLE.findall(sent.message.plaintext.decode())
    return [(roots[int(number)], int(text)) for number, text in found]
