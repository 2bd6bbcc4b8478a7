"""Recipients of each send: the audience as it was when sending began, and who was reached.

The keys are described in batches.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import islice, product
from operator import and_, or_
from typing import cast

from redis import Redis

from service.model.notifications import Audience, Notification
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.store.alerts.audiences import SELECT, Audiences, is_kept
from service.store.layout.bitmaps import aligned, bitmap_key, marked, without
from service.store.layout.partitions import Partitions
from service.store.redis_servers.commands import some_at_once
from service.store.redis_servers.connection import WRITE_REFUSED
from service.store.redis_servers.scripts import Call, answers, run_each
from service.store.sending.batches import part_key

# KEYS: state, then those of select_audience. ARGV: audience. Returns how many recipients there are;
# the audience is frozen once only. The first write allocates.
_FREEZE = (
    SELECT
    + """
local recipients = redis.call('HGET', KEYS[1], 'recipients')
if recipients then return tonumber(recipients) end
redis.call('HSET', KEYS[1], 'recipients', 0)
recipients = select_audience(2, cjson.decode(ARGV[1]))
redis.call('HSET', KEYS[1], 'recipients', recipients)
return recipients
"""
)

# KEYS: state, audience. ARGV: number. Freezes an audience of that number alone, which is no reader.
# Returns how many recipients there are. The first write allocates.
_FREEZE_CANARY = """
if redis.call('HEXISTS', KEYS[1], 'recipients') == 1 then return 1 end
redis.call('HSET', KEYS[1], 'recipients', 1)
redis.call('SETBIT', KEYS[2], ARGV[1], 1)
return 1
"""

# KEYS: state, audience, two scratch keys, live, gone; then the bitmaps of readers that an earlier
# text reached. Adds these readers to the audience of a correction, unless it is closed. Returns how
# many recipients there are. The first write allocates.
_FREEZE_REACHED = """
local state, audience, scratch, other, live, gone = unpack(KEYS, 1, 6)
local known = redis.call('HMGET', state, 'closed', 'recipients')
if known[1] then return tonumber(known[2]) end
redis.call('BITOP', 'OR', scratch, unpack(KEYS, 7))
redis.call('BITOP', 'AND', scratch, scratch, live)
for _, without in ipairs({gone, audience}) do
  redis.call('BITOP', 'AND', other, scratch, without)
  redis.call('BITOP', 'XOR', scratch, scratch, other)
end
redis.call('BITOP', 'OR', audience, audience, scratch)
redis.call('DEL', scratch, other)
local recipients = redis.call('BITCOUNT', audience)
redis.call('HSET', state, 'recipients', recipients)
return recipients
"""

# KEYS: scratch, audience, done; then bitmaps of bases. Returns how many recipients at these bases
# have no outcome yet.
_WAITING = """
redis.call('DEL', KEYS[1])
redis.call('BITOP', 'OR', KEYS[1], unpack(KEYS, 4))
redis.call('BITOP', 'AND', KEYS[1], KEYS[1], KEYS[2])
local all = redis.call('BITCOUNT', KEYS[1])
redis.call('BITOP', 'AND', KEYS[1], KEYS[1], KEYS[3])
local done = redis.call('BITCOUNT', KEYS[1])
redis.call('DEL', KEYS[1])
return all - done
"""

# KEYS: two scratch keys; bitmaps of readers who got a text; bitmaps of readers who are left out;
# groups of others. ARGV: how many bitmaps of the first and of the second kind, and of each group.
# Returns how many readers got a text, and for each group how many in any of its bitmaps did. The
# first write allocates.
_ACCEPTED_IN = """
local got, both, last = KEYS[1], KEYS[2], 2 + tonumber(ARGV[1])
redis.call('BITOP', 'OR', got, unpack(KEYS, 3, last))
local found = {redis.call('BITCOUNT', got)}
for _ = 1, tonumber(ARGV[2]) do
  last = last + 1
  redis.call('BITOP', 'AND', both, got, KEYS[last])
  redis.call('BITOP', 'XOR', got, got, both)
end
for i = 3, #ARGV do
  local first, any = last + 1, KEYS[last + 1]
  last = last + tonumber(ARGV[i])
  if last > first then
    any = both
    redis.call('BITOP', 'OR', any, unpack(KEYS, first, last))
  end
  redis.call('BITOP', 'AND', both, got, any)
  found[#found + 1] = redis.call('BITCOUNT', both)
end
redis.call('DEL', got, both)
return found
"""

# Alerts of a day that are told apart; one less than a power of two.
MOST_HAD = 15


class Recipients:
    """The frozen audiences."""

    def __init__(self, redis: Redis, partitions: Partitions, audiences: Audiences) -> None:
        self._redis = redis
        self._audiences = audiences
        self._partitions = partitions
        self._freeze = redis.register_script(_FREEZE)
        self._freeze_canary = redis.register_script(_FREEZE_CANARY)
        self._freeze_reached = redis.register_script(_FREEZE_REACHED)
        self._waiting = redis.register_script(_WAITING)
        self._accepted_in = redis.register_script(_ACCEPTED_IN)

    def freeze(
        self, id: int, audience: Audience, partitions: Iterable[int], started_at: float
    ) -> dict[int, int]:
        """Freeze the audience, in each partition once only; return how many recipients each has."""
        partitions = list(partitions)
        one = audience.subscription if audience.canary else None
        if one is not None and one.partition in partitions:
            keys = [part_key(one.partition, id), part_key(one.partition, id, "audience")]
            self._freeze_canary(keys=keys, args=[one.number])
        past = self._audiences.past(audience, started_at)
        calls: list[Call] = []
        for partition in partitions:
            frozen, scratch = (part_key(partition, id, what) for what in ("audience", "scratch"))
            keys, args = self._audiences.selection(partition, audience, past, frozen, scratch)
            calls.append(([part_key(partition, id), *keys], args))
        return dict(zip(partitions, run_each(self._redis, self._freeze, calls), strict=True))

    def freeze_reached(
        self, id: int, root: int, revision: int, partitions: Iterable[int]
    ) -> dict[int, int]:
        """Freeze the audience of a correction: readers who got a text of `root` before `revision`.

        Another call adds readers that the text has reached since. Returns how many each partition
        has now.
        """
        partitions = list(partitions)
        calls: list[Call] = []
        for partition in partitions:
            kinds = ("", "audience", "scratch", "scratch:other")
            keys = [part_key(partition, id, what) for what in kinds]
            keys += [bitmap_key(partition, "live"), bitmap_key(partition, "gone")]
            keys += [part_key(partition, root, f"accepted:{r}") for r in range(revision)]
            calls.append((keys, ()))
        found = run_each(self._redis, self._freeze_reached, calls)
        return dict(zip(partitions, found, strict=True))

    def reached(self, id: int, revision: int) -> int:
        """Return how many readers got a text before `revision`, and would get a correction now.

        This only reads, because the desk shows it even while Redis refuses writes.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.get(bitmap_key(partition, "live"))
                pipe.get(bitmap_key(partition, "gone"))
                for earlier in range(revision):
                    pipe.get(part_key(partition, id, f"accepted:{earlier}"))
            rows = iter([row or b"" for row in pipe.execute()])
        total = 0
        for _ in self._partitions:
            live, gone, *texts = islice(rows, 2 + revision)
            left = without(live, gone)
            accepted = 0
            for text in texts:
                accepted |= int.from_bytes(text[: len(live)].ljust(len(live), b"\0"), "big")
            total += (left & accepted).bit_count()
        return total

    def undone(self, id: int) -> dict[int, bytes]:
        """Return by partition the bitmap of recipients without an outcome."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                # In this order, so that an outcome that is recorded in between counts.
                pipe.get(part_key(partition, id, "audience"))
                pipe.get(part_key(partition, id, "done"))
            rows = [row or b"" for row in cast("list[bytes | None]", pipe.execute())]
        return {
            partition: without(audience, done).to_bytes(len(audience), "big")
            for partition, audience, done in zip(
                self._partitions, rows[::2], rows[1::2], strict=True
            )
        }

    def waiting(self, id: int, bases: Sequence[int]) -> int:
        """Return how many recipients at these bases have no outcome yet."""
        calls: list[Call] = []
        for partition, some in product(self._partitions, list(some_at_once(bases))):
            keys = [f"{{{partition}}}:scratch:{uuid.uuid4().hex}"]
            keys += [part_key(partition, id, what) for what in ("audience", "done")]
            calls.append((keys + [bitmap_key(partition, "base", base) for base in some], ()))
        total = 0
        found = answers(self._redis, self._waiting, calls)
        for (all_keys, _), answer in zip(calls, found, strict=True):
            if isinstance(answer, WRITE_REFUSED):  # the desk shows it all the same
                _, (audience, done, *others) = aligned(self._redis, all_keys[1:])
                total += (audience & ~done & reduce(or_, others, 0)).bit_count()
            else:
                total += cast(int, answer)
        return total

    def received(
        self, partition: int, numbers: Sequence[int], alerts: Iterable[Notification]
    ) -> dict[int, list[Notification]]:
        """Return by reader which of these alerts their push service accepted."""
        bitmaps = {
            part_key(partition, alert.id, f"accepted:{revision}"): alert
            for alert in alerts
            for revision in range(alert.revision + 1)
        }
        return marked(self._redis, bitmaps, numbers)

    def accepted(self, alerts: Sequence[Notification], reader: SubscriptionId) -> list[bool]:
        """Return for each alert whether this reader's push service accepted a text of it."""
        with self._redis.pipeline(transaction=False) as pipe:
            for one in alerts:
                for revision in range(one.revision + 1):
                    key = part_key(reader.partition, one.id, f"accepted:{revision}")
                    pipe.getbit(key, reader.number)
            bits = iter(pipe.execute())
        return [sum(next(bits) for _ in range(one.revision + 1)) > 0 for one in alerts]

    def accepted_any(self, id: int, revisions: int, ids: Iterable[SubscriptionId]) -> bool:
        """Whether a push service accepted a text of this notification for any of these."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition, number in ids:
                for revision in range(revisions + 1):
                    pipe.getbit(part_key(partition, id, f"accepted:{revision}"), number)
            return any(pipe.execute())

    def had(self, alerts: Sequence[Notification]) -> list[int]:
        """Return how many readers got none of these alerts, one of them and so on.

        The last number is of readers who got `MOST_HAD` or more. Each partition is counted in
        binary, in planes of one bit for each reader.
        """
        found = [0] * (MOST_HAD + 1)
        for partition in self._partitions:
            keys = [bitmap_key(partition, "live")]
            revisions = [range(one.revision + 1) for one in alerts]
            for one, some in zip(alerts, revisions, strict=True):
                keys += [part_key(partition, one.id, f"accepted:{revision}") for revision in some]
            _, (live, *bitmaps) = aligned(self._redis, keys)
            rest = iter(bitmaps)
            planes, most = [0] * MOST_HAD.bit_length(), 0
            for some in revisions:
                carry = reduce(or_, islice(rest, len(some)), 0) & live & ~most
                for at, plane in enumerate(planes):
                    planes[at], carry = plane ^ carry, plane & carry
                most |= reduce(and_, planes)
            for number in range(MOST_HAD + 1):
                readers = live
                for at, plane in enumerate(planes):
                    readers &= plane if number >> at & 1 else ~plane
                found[number] += readers.bit_count()
        return found

    def accepted_in(
        self,
        one: Notification,
        groups: Sequence[Sequence[tuple[str, object]]],
        left_out: Sequence[int],
    ) -> list[int]:
        """Return how many readers in each group of bitmaps, by kind and name, got a notification.

        Readers at the bases `left_out` do not count. Empty if it is not kept any more who got it,
        or if Redis refuses to count.
        """
        if not is_kept(one, clock.time()):
            return []
        calls: list[Call] = []
        for partition in self._partitions:
            scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
            keys = [scratch, f"{scratch}:other"]
            keys += [part_key(partition, one.id, f"accepted:{r}") for r in range(one.revision + 1)]
            keys += [bitmap_key(partition, "base", base) for base in left_out]
            keys += [bitmap_key(partition, *bitmap) for some in groups for bitmap in some]
            calls.append((keys, (one.revision + 1, len(left_out), *map(len, groups))))
        found = answers(self._redis, self._accepted_in, calls)
        if any(isinstance(answer, Exception) for answer in found):
            return []
        total, *each = (sum(counts) for counts in zip(*found, strict=True))
        return each if total else []
