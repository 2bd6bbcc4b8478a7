"""Checks what the store has counted: against itself, and against what push services took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from service.model.notifications import Notification, Outcome
from service.store import Store
from service.store.layout.bitmaps import bitmap_key, numbers_in
from service.store.sending.batches import part_key
from tests.support.lives.readers import Reader, of_story
from tests.support.lives.witness import Witness


def check_books(store: Store, witness: Witness, alerts: list[Notification]) -> None:
    """Check the books of all alerts."""
    active = set(store.notifications.active())
    for one in alerts:
        if one.planned:
            assert one.id not in active, "a planned alert is being sent"
            continue
        assert one.over or one.id in active, (one.id, one.state, "nobody goes on with it")
        _check_counts(store, witness, one)
        if one.finished_at is None:
            for partition in store.partitions:
                _check_partition(store, one, partition)


def _check_counts(store: Store, witness: Witness, one: Notification) -> None:
    """Check that each recipient has one outcome at most, and that all have one in the end."""
    progress = store.progress(one.id)
    done = sum(progress.outcomes.values())
    assert done == progress.done
    assert done <= progress.recipients, one.id
    if one.finished_at is not None:
        assert done == progress.recipients, (one.id, progress)
        assert one.over
    took, perhaps = witness.accepted[one.id], witness.unknown[one.id]
    accepted = progress.of(Outcome.ACCEPTED)
    assert len(took) <= accepted <= len(took | perhaps), (one.id, progress, took, perhaps)


def _check_partition(store: Store, one: Notification, partition: int) -> None:
    """Check that the keys of an alert that is not over agree with each other."""
    redis = store.redis
    state = redis.hgetall(part_key(partition, one.id))
    if b"recipients" not in state:
        assert not redis.exists(*(part_key(partition, one.id, key) for key in ("done", "batches")))
        return
    audience, done, rest = (
        _bits(store, partition, one.id, what) for what in ("audience", "done", "rest")
    )
    counts: Counter[Any] = Counter()
    for field, value in state.items():
        counts[b"outcomes" if b" " in field else field] += int(value) if value.isdigit() else 0
    if b"closed" in state:
        assert counts[b"outcomes"] == counts[b"recipients"]
        return
    assert done <= audience
    assert rest.isdisjoint(audience)  # those who wait for the better one of two texts
    assert counts[b"recipients"] == len(audience) + len(rest)
    assert counts[b"outcomes"] == len(done), (one.id, partition, state, done)
    batches = {
        name.decode() for name in redis.zrange(part_key(partition, one.id, "batches"), 0, -1)
    }
    leases = {name.decode() for name in redis.hkeys(part_key(partition, one.id, "leases"))}
    assert leases <= batches
    if b"planned" in state:
        spans = [tuple(map(int, name.split("-"))) for name in batches if "-" in name]
        for number in audience - done:
            holding = sum(first <= number <= last for first, last in spans)
            assert holding == 1, (one.id, partition, number, batches, "in one batch")


def _bits(store: Store, partition: int, id: int, what: str) -> set[int]:
    return _numbers(store, part_key(partition, id, what))


def _numbers(store: Store, key: str) -> set[int]:
    bits = store.redis.get(key) or b""
    return set(numbers_in(int.from_bytes(bits, "big"), 8 * len(bits), 0))


class Audiences:
    """Checks that each frozen audience has exactly the readers who belonged to it just then."""

    def __init__(self, store: Store, readers: Mapping[int, Reader]) -> None:
        self._store, self._readers = store, readers
        self._frozen: set[tuple[int, int]] = set()  # alert and partition
        self._here: set[int] = set()  # readers whom no push service has called gone
        self._at = 0.0

    def check(self, alerts: list[Notification], now: float) -> None:
        """Check the audiences that were frozen since the last check."""
        before, since = self._here, self._at
        self._here, self._at = self._are_here(), now
        for one in alerts:
            if one.corrects is None and not one.wave and one.finished_at is None:
                for partition in self._newly_frozen(one.id):
                    found = _bits(self._store, partition, one.id, "audience")
                    found |= _bits(self._store, partition, one.id, "rest")
                    for reader in self._readers.values():
                        # Not those who changed something, or were called gone, since then.
                        if reader.id.partition == partition and reader.changed_at < since:
                            here = {reader.number in some for some in (before, self._here)}
                            self._check_reader(one, reader, here, reader.id.number in found)

    @staticmethod
    def _check_reader(one: Notification, reader: Reader, here: set[bool], is_in: bool) -> None:
        belongs = one.audience.includes(reader.topics, "en", **of_story(reader.story))
        if here == {True}:
            assert is_in == belongs, (one.id, one.audience, reader)
        elif here == {False}:
            assert not is_in, (one.id, reader, "is not here")

    def _newly_frozen(self, id: int) -> list[int]:
        partitions = []
        for partition in self._store.partitions:
            key = part_key(partition, id)
            frozen, closed = self._store.redis.hmget(key, "recipients", "closed")
            if frozen and (id, partition) not in self._frozen:
                self._frozen.add((id, partition))
                partitions += [] if closed else [partition]
        return partitions

    def _are_here(self) -> set[int]:
        kinds = {
            partition: _numbers(self._store, bitmap_key(partition, "live"))
            - _numbers(self._store, bitmap_key(partition, "gone"))
            for partition in self._store.partitions
        }
        return {
            one.number for one in self._readers.values() if one.id.number in kinds[one.id.partition]
        }


def check_days(store: Store, readers: Iterable[Reader]) -> None:
    """Check what counts against each reader's day, once all alerts are over."""
    for reader in readers:
        for date, counted in reader.counted.items():
            wanted = {(reader.id.partition, date): [reader.id.number]}
            (had,) = store.daily_counts.had(wanted)[reader.id.partition, date]
            most = len(counted | reader.further[date])
            assert len(counted) <= had <= most, (reader, date, had)
