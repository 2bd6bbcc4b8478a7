"""Prepared keys: keys derived in idle time, so that two thirds of a send's work are done before.

Each message needs a key pair of its own (RFC 8291 section 3.1), but that may be made before the
editor's click. `Pool` keeps the keys, `Filler` derives them.
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
from service.store.layout.bitmaps import numbers_in
from service.store.layout.records import BUCKET
from workers.sending import wire
from workers.sending.wire import PreparedKey

_STRETCH: Final = 64  # buckets that a worker looks at together; the next worker takes others
_REST: Final = 3.0  # seconds between two looks for keys to derive, but
_LEAST_REST: Final = 20  # at least this many times as long as the last look took
_NONCE: Final = 12  # bytes
_BITMAP: Final = BUCKET // 8  # bytes; a bit for each subscription in the bucket that has a key
_KEY: Final = struct.Struct("8s64s32s")


class Pool:
    """The keys that are ready. Each is handed out once, whatever is killed, lost or restored.

    Before the first message to a bucket, call `keys = pool.take(partition, bucket)`. For each
    message, `key = keys.pop(number, None)`; use it, for this message only, if it
    `fits(p256dh, auth)`. At the end, `pool.put_back(…, keys)` gives back the unused keys. Taking
    and giving back cost 0.6 ms, which is worth it from eight messages per bucket on.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.enabled = runtime.config.prepare_keys
        self._prepared = runtime.store.prepared_keys
        # Sealed under the first, and opened by any: the other one is of the previous SECRET_KEY.
        self._ciphers = [AESGCM(key) for key in runtime.tokens.preparing_keys]

    @property
    def has_previous_key(self) -> bool:
        """Whether keys may be sealed under the previous SECRET_KEY."""
        return len(self._ciphers) > 1

    def take(self, partition: int, bucket: int) -> dict[int, PreparedKey]:
        """Take the keys that are ready for a bucket of subscriptions, by their numbers.

        The store has them no longer, so a kill loses them. The reader may have changed their own
        keys since one was made: see `PreparedKey.fits`.
        """
        sealed = self._prepared.take(partition, bucket) if self.enabled else None
        if sealed is None:
            return {}
        packed = self._open(sealed, _name(partition, bucket))
        if packed is None:
            return {}  # sealed under a foreign SECRET_KEY, or for another bucket
        return dict(
            zip(
                numbers_in(int.from_bytes(packed[:_BITMAP], "big"), BUCKET, bucket * BUCKET),
                map(PreparedKey._make, _KEY.iter_unpack(packed[_BITMAP:])),
                strict=True,
            )
        )

    def _open(self, sealed: bytes, name: bytes) -> bytes | None:
        for cipher in self._ciphers:
            with suppress(InvalidTag):
                return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name)
        return None

    def put_back(self, partition: int, bucket: int, keys: dict[int, PreparedKey]) -> bool:
        """Give back unused keys, and empty `keys`.

        False if the bucket has other keys by now, or Redis cannot take them: they are then lost.
        """
        mine = dict(keys)
        keys.clear()  # first, so that they are never put back twice, whatever happens next
        with suppress(RedisError):
            return bool(mine) and self.store(partition, bucket, mine)
        return False

    def store(self, partition: int, bucket: int, keys: Mapping[int, PreparedKey]) -> bool:
        """Store keys as `put_back` does; `RedisError` if Redis cannot take them."""
        bits = 0
        for number in keys:
            bits |= 1 << BUCKET - 1 - number % BUCKET
        packed = b"".join(chain.from_iterable(map(keys.__getitem__, sorted(keys))))
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[0].encrypt(
            nonce, bits.to_bytes(_BITMAP, "big") + packed, _name(partition, bucket)
        )
        return self._prepared.store(partition, bucket, len(keys), nonce + sealed)


def _name(partition: int, bucket: int) -> bytes:
    """Return the associated data of a bucket's keys: they open in no other bucket."""
    return struct.pack(">BI", partition, bucket)


class Filler:
    """Fills the pool in a thread of a worker while it has no job and nothing is being sent.

    It stops for a job of this process within one derivation (0.1 ms), and for a notification that
    becomes active anywhere within one bucket (30 ms).
    """

    def __init__(self, runtime: Runtime) -> None:
        self._pool = Pool(runtime)
        self._store = runtime.store
        self._prepared = runtime.store.prepared_keys
        self._records = runtime.store.records
        # The first round seals all keys anew, so that none is lost with the previous SECRET_KEY.
        self._seal_anew = self._pool.has_previous_key
        self._at_work = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prepare keys", daemon=True)

    def start(self) -> None:
        """Begin; with PREPARE_KEYS off, delete the prepared keys instead."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits at most 0.1 s."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(0.1)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Pause while the caller works."""
        self._at_work.set()
        try:
            yield
        finally:
            self._at_work.clear()

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere only a process has a priority
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
        """Look at each bucket once; return how many keys were derived."""
        derived = 0
        for partition in self._prepared.partitions:
            looked_at, buckets = 0, 1
            while looked_at < buckets and self._may_go_on() and self._prepared.has_room():
                stretch, buckets = self._prepared.next(partition, _STRETCH, BUCKET)
                looked_at += _STRETCH
                derived += self._fill_stretch(partition, stretch)
            if looked_at < buckets or not self._may_go_on():
                return derived
        self._seal_anew = False
        return derived

    def _fill_stretch(self, partition: int, stretch: range) -> int:
        readers = self._prepared.readers(partition, stretch)
        ready = self._prepared.counts(partition, stretch)
        lacking = [
            (bucket, bitmap)
            for bucket, bitmap, count in zip(stretch, readers, ready, strict=True)
            if bitmap.bit_count() > count or (count and self._seal_anew)
        ]
        # In random order, so that workers that fill the same stretch derive few keys twice.
        random.shuffle(lacking)
        return sum(self._fill(partition, bucket, bitmap) for bucket, bitmap in lacking)

    def _fill(self, partition: int, bucket: int, readers: int) -> int:
        """Derive the keys that a bucket lacks; return how many."""
        if not self._may_go_on():
            return 0
        kept = self._pool.take(partition, bucket)
        keys: dict[int, PreparedKey] = {}
        derived = 0
        numbers = numbers_in(readers, BUCKET, bucket * BUCKET)
        for number, record in self._records.read(partition, numbers):
            if record is None:
                continue
            key = kept.get(number)
            if key is not None and key.fits(record.p256dh, record.auth):
                keys[number] = key
            elif not self._interrupted:
                with suppress(ValueError):  # never, as keys are checked when they are stored
                    keys[number] = wire.derive(record.p256dh, record.auth)
                    derived += 1
        stored = keys and self._pool.store(partition, bucket, keys)
        return derived if stored else 0

    @property
    def _interrupted(self) -> bool:
        return self._at_work.is_set() or self._ended.is_set()

    def _may_go_on(self) -> bool:
        return not self._interrupted and not self._store.notifications.active()
