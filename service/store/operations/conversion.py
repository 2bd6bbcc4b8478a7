"""Data of earlier releases, converted once when a process starts, before anything reads it.

Every other file of this folder knows only what the present release writes. Fields of {g}:layout:

  converted   which conversion was the last, so that a later start asks one question
  converting  the process that converts now, and until when it may (seconds since 1970); a lease
  needs       the last conversion that a release has to know to read this store

One process converts, and the others wait for it. It may be killed at any point: when its lease
has ended, another goes through everything again, and leaves alone what is converted already. One
that was stopped for longer than its lease gives up. Processes that began before may write
meanwhile: a value is replaced only if it is still the one that was read. Memory is bounded, because
one stretch of data is read at a time. A million records take 10 s of CPU here (measured).
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TypeAlias, cast

from redis import Redis

from service.model.subscriptions import SubscriptionId
from service.store.layout.partitions import Partitions
from service.store.layout.records import BUCKET, records_key

CONVERSION = 1  # the number of the conversion below; add one with each further one
NEEDED = 0  # that of the last one after which releases before it cannot read the store
_LEASE = 10  # seconds
_LAYOUT = "{g}:layout"
_BUCKETS = 16  # read at once
_NOTIFICATIONS = 1000  # read at once

# A hash, and the fields in it with their old and new values.
_Changes: TypeAlias = tuple[str, Mapping[bytes, tuple[bytes, bytes]]]

# KEYS: a hash. ARGV: field, value as it was read ('': none), new value; and so on. Replaces values
# that are still as they were read. The first write frees, so that a full Redis is converted too.
_REPLACE = """
redis.call('HDEL', KEYS[1], '')
for i = 1, #ARGV, 3 do
  local field, before, after = unpack(ARGV, i, i + 2)
  local now = redis.call('HGET', KEYS[1], field) or ''
  if now == before then redis.call('HSET', KEYS[1], field, after) end
end
"""

# KEYS: {g}:layout. ARGV: a process, its lease in seconds. Returns 1 if it may convert from now on,
# because no other does. The first write frees.
_LEAD = """
local now = tonumber(redis.call('TIME')[1])
local held = redis.call('HGET', KEYS[1], 'converting') or ''
local by, till = string.match(held, '^(%S+) (%d+)$')
if by and by ~= ARGV[1] and tonumber(till) > now then return 0 end
redis.call('HDEL', KEYS[1], 'converting')
redis.call('HSET', KEYS[1], 'converting', ARGV[1] .. ' ' .. now + ARGV[2])
return 1
"""

# Records begin with their version, 1 byte. Then, in versions 1 and 2: base and VAPID key; zone,
# locale, days of subscribing and of the last visit, 2 bytes each. In version 2: begin and end of
# quiet hours, daily limit, flags, a byte each, 255 for no choice; the hour when a pause ends; the
# wording. Then, in both: keys and rest of the endpoint.
_HEAD = struct.Struct(">xHBHHHH")
_CHOSEN = struct.Struct(">BBBBHB")
# In version 3 zone and locale are 12 bits each; begin, end, limit, flags and pause 7, 7, 4, 6 and
# 16, with all bits set for no choice.
_HEAD_3 = struct.Struct(">BHB3sHH5sB")


def converted_record(packed: bytes) -> bytes:
    """Return a record of version 1 or 2 as one of version 3; any other as it is."""
    version = packed[0]
    if version not in (1, 2):
        return packed
    base, key, zone, locale, created, seen = _HEAD.unpack_from(packed)
    start = end = limit = 255
    flags = pause = wording = 0
    size = _HEAD.size
    if version == 2:
        start, end, limit, flags, pause, wording = _CHOSEN.unpack_from(packed, size)
        size += _CHOSEN.size
    bits = min(start, 127) << 33 | min(end, 127) << 26 | min(limit, 15) << 22 | flags << 16 | pause
    names = (zone << 12 | locale).to_bytes(3, "big")
    preferences = bits.to_bytes(5, "big")
    head = _HEAD_3.pack(3, base, key, names, created, seen, preferences, wording)
    return head + packed[size:]


def converted_document(text: bytes) -> bytes:
    """Return a notification's document with the fields that it lacks; one with all as it is.

    Before there were stories and shares of reporting readers, every alert had none and all of them.
    """
    document = json.loads(text)
    if {"story", "reporting"} <= document.keys():
        return text
    return json.dumps({"story": "", "reporting": 1.0} | document).encode()


class BeingConverted(Exception):
    """A store that another process is converting; the message is one line."""


def convert(redis: Redis, partitions: Partitions) -> None:
    """Convert what earlier releases left in this store, unless that was done; `BeingConverted`."""
    if int(_field(redis, "converted") or 0) >= CONVERSION:
        return
    conversion = _Conversion(redis)
    conversion.keep_lease()
    last = _field(redis, "converted")
    if int(last or 0) < CONVERSION:  # the process that led before may have ended well
        conversion.run(partitions, last)
    redis.hdel(_LAYOUT, "converting")


def _field(redis: Redis, name: str) -> bytes:
    return cast("bytes | None", redis.hget(_LAYOUT, name)) or b""


class _Conversion:
    """Reads stretches of data, and replaces the values that change by conversion."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._name = uuid.uuid4().hex
        self._lead = redis.register_script(_LEAD)
        self._replace = redis.register_script(_REPLACE)

    def run(self, partitions: Partitions, last: bytes) -> None:
        """Convert everything after the conversion `last`, and note that it is done."""
        needs = _field(self._redis, "needs")
        if int(needs or 0) < NEEDED:  # before the first value is one that they cannot read
            self.replace([(_LAYOUT, {b"needs": (needs, b"%d" % NEEDED)})])
        for partition in partitions:
            self.records(partition)
        self.notifications()
        self.replace([(_LAYOUT, {b"converted": (last, b"%d" % CONVERSION)})])

    def keep_lease(self) -> None:
        """Let no other process convert for a while; `BeingConverted` if one does."""
        if not self._lead(keys=[_LAYOUT], args=[self._name, _LEASE]):
            raise BeingConverted("another process is converting what an earlier release has stored")

    def records(self, partition: int) -> None:
        """Convert the records of a partition."""
        made = self._number(f"{{{partition}}}:made")
        ids = [SubscriptionId(partition, number) for number in range(0, made, BUCKET)]
        for at in range(0, len(ids), _BUCKETS):
            self.keep_lease()
            keys = [records_key(id) for id in ids[at : at + _BUCKETS]]
            with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hgetall(key)
                buckets = cast("list[dict[bytes, bytes]]", pipe.execute())
            self.replace(
                (key, {field: (row, converted_record(row)) for field, row in bucket.items()})
                for key, bucket in zip(keys, buckets, strict=True)
            )

    def notifications(self) -> None:
        """Convert the documents of all notifications."""
        last = self._number("{g}:n")
        for first in range(1, last + 1, _NOTIFICATIONS):
            self.keep_lease()
            keys = [f"{{g}}:n:{id}" for id in range(first, min(first + _NOTIFICATIONS, last + 1))]
            with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, "doc")
                docs = cast("list[bytes | None]", pipe.execute())
            self.replace(
                (key, {b"doc": (doc, converted_document(doc))})
                for key, doc in zip(keys, docs, strict=True)
                if doc is not None
            )

    def replace(self, changes: Iterable[_Changes]) -> None:
        """Replace each old value by the new one where they differ, a hash at a time."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key, values in changes:
                differ = [(field, *both) for field, both in values.items() if both[0] != both[1]]
                if differ:
                    self._replace(keys=[key], args=[*chain.from_iterable(differ)], client=pipe)
            pipe.execute()

    def _number(self, key: str) -> int:
        return int(cast("bytes | None", self._redis.get(key)) or 0)
