"""Audiences: which browsers an expression means, as bitmaps; counted, or frozen for a send."""

from __future__ import annotations

import random
import uuid
from bisect import bisect_right
from itertools import accumulate
from typing import Any, cast

from redis import Redis

from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from service.store.bitmaps import bitmap_key
from service.store.names import Names

_BLOCK = 32  # bytes of a bitmap in which somebody who was drawn is looked for

# Leaves in KEYS[first + 1] who is meant: live, in any of the topics, in any of the locales and in
# none of the exclusions; or live, and following the story; but neither gone, nor unconfirmed, nor
# those who muted it.
# KEYS from `first`: scratch, destination, live, gone, unconfirmed, topics, locales, exclusions, and
# where there is a story who followed it, who muted it. ARGV from `arg`: everyone or not, how many
# topics, locales and exclusions, one number or '', a story or not.
# AND with NOT is done as XOR: BITOP NOT reaches only as far as its operand. Beyond the shortest of
# its operands, and of more than sixteen, BITOP takes a byte of each in turn, ten times as long: so
# bitmaps that are not there are left out, and of others (locales are as many as strangers name) few
# are put together at once.
SELECT = """
local function select_audience(first, arg)
  local scratch, destination, live = unpack(KEYS, first, first + 2)
  local counts = {tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])}
  local at = first + 5
  local function there(from, count)
    local found = {}
    for i = from, from + count - 1 do
      if redis.call('EXISTS', KEYS[i]) == 1 then found[#found + 1] = KEYS[i] end
    end
    return found
  end
  local function among(keys)
    redis.call('DEL', scratch)
    for i = 1, #keys, 15 do
      local some = {unpack(keys, i, math.min(i + 14, #keys))}
      if i > 1 then some[#some + 1] = scratch end
      redis.call('BITOP', 'OR', scratch, unpack(some))
    end
    redis.call('BITOP', 'AND', destination, destination, scratch)
  end
  local function without(keys)
    for _, key in ipairs(keys) do
      redis.call('BITOP', 'AND', scratch, destination, key)
      redis.call('BITOP', 'XOR', destination, destination, scratch)
    end
  end
  redis.call('BITOP', 'AND', destination, live, live)
  if ARGV[arg + 4] ~= '' then
    local there = redis.call('GETBIT', destination, ARGV[arg + 4])
    redis.call('DEL', destination)
    if there == 1 then redis.call('SETBIT', destination, ARGV[arg + 4], 1) end
  elseif ARGV[arg] ~= '1' then
    among(there(at, counts[1]))
  end
  at = at + counts[1]
  if counts[2] > 0 then among(there(at, counts[2])) end
  at = at + counts[2]
  if ARGV[arg + 5] == '1' then
    without(there(at, counts[3]))
    redis.call('BITOP', 'AND', scratch, KEYS[at + counts[3]], live)
    redis.call('BITOP', 'OR', destination, destination, scratch)
    without(there(at + counts[3] + 1, 1))
  else
    without(there(at, counts[3]))
  end
  without(there(first + 3, 2))
  redis.call('DEL', scratch)
  return redis.call('BITCOUNT', destination)
end
"""

# KEYS, ARGV: those of select_audience. Returns how many browsers that is.
_COUNT = (
    SELECT
    + """
local count = select_audience(1, 1)
redis.call('DEL', KEYS[2])
return count
"""
)

# KEYS, ARGV: those of select_audience. Returns the bitmap of those browsers.
_SELECTED = (
    SELECT
    + """
select_audience(1, 1)
local bits = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[2])
return bits or ''
"""
)


class Audiences:
    """Counts and freezes audiences."""

    def __init__(self, redis: Redis, partitions: int, names: Names) -> None:
        self._names = names
        self._partitions = range(partitions)
        self._count = redis.register_script(_COUNT)
        self._selected = redis.register_script(_SELECTED)

    def count(self, audience: Audience) -> int:
        """Return how many browsers an audience reaches now."""
        return sum(
            cast(int, self._count(keys=keys, args=args))
            for keys, args in (self._apart(partition, audience) for partition in self._partitions)
        )

    def draw(self, audience: Audience, most: int) -> tuple[int, list[SubscriptionId]]:
        """Return how many browsers an audience reaches now, and up to `most` drawn at random."""
        blocks: list[tuple[int, int, bytes]] = []
        for partition in self._partitions:
            keys, args = self._apart(partition, audience)
            bits = cast(bytes, self._selected(keys=keys, args=args))
            starts = range(0, len(bits), _BLOCK)
            blocks += [(partition, start, bits[start : start + _BLOCK]) for start in starts]
        sizes = (int.from_bytes(bits, "big").bit_count() for _, _, bits in blocks)
        upto = [0, *accumulate(sizes)]
        drawn = []
        for rank in random.sample(range(upto[-1]), min(most, upto[-1])):
            at = bisect_right(upto, rank) - 1
            partition, start, bits = blocks[at]
            ones = [bit for bit in range(8 * len(bits)) if bits[bit // 8] & 0x80 >> bit % 8]
            drawn.append(SubscriptionId(partition, 8 * start + ones[rank - upto[at]]))
        return upto[-1], drawn

    def _apart(self, partition: int, audience: Audience) -> tuple[list[str], list[Any]]:
        """Return the keys and arguments that leave an audience where nobody else does."""
        scratch = f"{{{partition}}}:scratch:{uuid.uuid4().hex}"
        return self.selection(partition, audience, scratch + ":to", scratch)

    def selection(
        self, partition: int, audience: Audience, destination: str, scratch: str
    ) -> tuple[list[str], list[Any]]:
        """Return the keys and arguments with which `SELECT` leaves an audience in `destination`."""
        one = audience.subscription
        if one is not None and one.partition != partition:
            audience = Audience()
        nobody = bitmap_key(partition, "locale", "nobody")  # an empty bitmap
        topics = [bitmap_key(partition, "topic", slug) for slug in audience.topics]
        if audience.waking is not None:
            topics = [bitmap_key(partition, "wake", audience.waking)]
        locales = [
            bitmap_key(partition, "locale", number)
            for name, number in (self._names.locales.all().items() if audience.locales else ())
            if any(name == asked or name.startswith(asked + "-") for asked in audience.locales)
        ]
        if audience.locales and not locales:
            locales = [nobody]  # nobody reads in that language yet
        exclude = [bitmap_key(partition, "topic", slug) for slug in audience.exclude]
        keys = [scratch, destination, bitmap_key(partition, "live"), bitmap_key(partition, "gone")]
        # A test, or the welcome itself, is for who has yet to confirm too.
        keys.append(nobody if one is not None else bitmap_key(partition, "unconfirmed"))
        only = audience.subscription.number if audience.subscription else ""
        counts = [len(topics), len(locales), len(exclude)]
        args = [int(audience.everyone), *counts, only, int(bool(audience.story))]
        story = [
            bitmap_key(partition, kind, audience.story)
            for kind in (("followed", "muted") if audience.story else ())
        ]
        return [*keys, *topics, *locales, *exclude, *story], args
