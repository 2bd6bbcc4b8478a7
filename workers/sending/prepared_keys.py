"""Keys derived before there is anything to send: the pool of them, and who fills it in idle time.

A message to a reader needs a key pair that no other message had (RFC 8291 section 3.1), not one
made after the editor's click. Derived beforehand, it leaves a third of the work to the send.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis import RedisError

from service.runtime import Runtime
from service.store.bitmaps import numbers_in
from service.store.records import BUCKET
from workers.sending import wire
from workers.sending.wire import PreparedKey

_STRETCH: Final = 64  # buckets that a worker looks at in one go; the next one takes others
_REST: Final = 3.0  # seconds until it is looked again whether there is something to derive
_LEAST_REST: Final = 20  # and at least so many times as long as looking took
_NONCE: Final = 12  # bytes
_BITMAP: Final = BUCKET // 8  # bytes: of whom in the bucket there are keys
_KEY: Final = struct.Struct("8s64s32s")


class Pool:
    """The keys that are ready. Each is handed out once, whatever is killed, lost or restored.

    Before the first message to somebody of a bucket: `keys = pool.take(partition, bucket)`.
    For each message: `key = keys.pop(number, None)`; good if `key.fits(p256dh, auth)`, and then
    only for this one. At the end what was not popped may go back: `pool.put_back(…, keys)`.
    Both together are 0.6 ms of work: worth it for eight messages to a bucket, not for fewer.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.enabled = runtime.config.prepare_keys
        self._prepared = runtime.store.prepared
        self._cipher = AESGCM(runtime.tokens.preparing_key)

    def take(self, partition: int, bucket: int) -> dict[int, PreparedKey]:
        """Take what is ready for the subscriptions `bucket * BUCKET` on, by their numbers.

        It is then the caller's: it is in no store any more, and a kill loses it. A key may have
        been made for keys that the reader has changed since.
        """
        sealed = self._prepared.take(partition, bucket) if self.enabled else None
        if sealed is None:
            return {}
        try:
            packed = self._cipher.decrypt(
                sealed[:_NONCE], sealed[_NONCE:], _name(partition, bucket)
            )
        except InvalidTag:
            return {}  # of another SECRET_KEY, or another bucket
        return dict(
            zip(
                numbers_in(int.from_bytes(packed[:_BITMAP], "big"), BUCKET, bucket * BUCKET),
                map(PreparedKey._make, _KEY.iter_unpack(packed[_BITMAP:])),
                strict=True,
            )
        )

    def put_back(self, partition: int, bucket: int, keys: dict[int, PreparedKey]) -> bool:
        """Let others have `keys`, none of which was used. They are taken out of `keys`.

        False where there are others by now, or Redis cannot take them: then they are lost.
        """
        mine = dict(keys)
        keys.clear()  # first: whatever happens next, they are not put back a second time
        with suppress(RedisError):
            return bool(mine) and self.store(partition, bucket, mine)
        return False

    def store(self, partition: int, bucket: int, keys: Mapping[int, PreparedKey]) -> bool:
        """Keep keys as `put_back` does; `RedisError` where that cannot be done now."""
        bits = 0
        for number in keys:
            bits |= 1 << BUCKET - 1 - number % BUCKET
        packed = b"".join(chain.from_iterable(map(keys.__getitem__, sorted(keys))))
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(
            nonce, bits.to_bytes(_BITMAP, "big") + packed, _name(partition, bucket)
        )
        return self._prepared.store(partition, bucket, len(keys), nonce + sealed)


def _name(partition: int, bucket: int) -> bytes:
    """Return what a bucket's keys are sealed to, so that they open nowhere else."""
    return struct.pack(">BI", partition, bucket)


class Filler:
    """Fills the pool in a thread of a worker, while that has no job and nothing is being sent.

    It gives way within one derivation (0.1 ms) to a job of this process, and within a bucket
    (30 ms) to a notification that becomes active anywhere.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._pool = Pool(runtime)
        self._store = runtime.store
        self._prepared = runtime.store.prepared
        self._subscriptions = runtime.store.subscriptions
        self._at_work = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prepare keys", daemon=True)

    def start(self) -> None:
        """Begin; where it is switched off, give the memory back instead."""
        self._thread.start()

    def stop(self) -> None:
        """End; whoever ends the process need not wait for more than this."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(0.1)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep out of the way of what runs meanwhile."""
        self._at_work.set()
        try:
            yield
        finally:
            self._at_work.clear()

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities are those of processes only
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._ended.is_set():
            began = time.monotonic()
            derived = 0
            with suppress(RedisError):
                if not self._pool.enabled:
                    self._prepared.clear(BUCKET)
                    return
                derived = self._go_round()
            if not derived:
                self._ended.wait(max(_REST, _LEAST_REST * (time.monotonic() - began)))

    def _go_round(self) -> int:
        """Look at as many buckets as there are; return how many keys were derived."""
        derived = 0
        for partition in self._prepared.partitions:
            looked_at, buckets = 0, 1
            while looked_at < buckets and self._may_go_on() and self._prepared.has_room():
                stretch, buckets = self._prepared.next(partition, _STRETCH, BUCKET)
                looked_at += _STRETCH
                derived += self._fill_stretch(partition, stretch)
        return derived

    def _fill_stretch(self, partition: int, stretch: range) -> int:
        readers = self._subscriptions.reachable(partition, stretch)
        ready = self._prepared.counts(partition, stretch)
        lacking = [
            (bucket, bitmap)
            for bucket, bitmap, count in zip(stretch, readers, ready, strict=True)
            if bitmap.bit_count() > count
        ]
        # In an order of its own: where others fill the same stretch, few are derived twice.
        random.shuffle(lacking)
        return sum(self._fill(partition, bucket, bitmap) for bucket, bitmap in lacking)

    def _fill(self, partition: int, bucket: int, readers: int) -> int:
        """Derive what a bucket lacks; return how many keys that was."""
        if not self._may_go_on():
            return 0
        kept = self._pool.take(partition, bucket)
        keys: dict[int, PreparedKey] = {}
        derived = 0
        numbers = numbers_in(readers, BUCKET, bucket * BUCKET)
        for number, record in self._subscriptions.records(partition, numbers):
            if record is None:
                continue
            key = kept.get(number)
            if key is not None and key.fits(record.p256dh, record.auth):
                keys[number] = key
            elif not self._interrupted:
                with suppress(ValueError):  # checked when they were stored; skipped all the same
                    keys[number] = wire.derive(record.p256dh, record.auth)
                    derived += 1
        stored = keys and self._pool.store(partition, bucket, keys)
        return derived if stored else 0

    @property
    def _interrupted(self) -> bool:
        return self._at_work.is_set() or self._ended.is_set()

    def _may_go_on(self) -> bool:
        return not self._interrupted and not self._store.notifications.active()
