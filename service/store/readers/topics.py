"""Topics: the subjects that readers can follow.

{g}:topics          hash: slug -> the topic as JSON
{g}:topics:made     how many topics were ever made, which gives a new one its place
{g}:topics:merged   hash: slug of a topic that was merged -> slug of the one that has its followers
{g}:topics:merging  hash: such a slug -> when it was merged (seconds since 1970), until each process
                    knows it, and its followers' bits are where they belong (decision 98)
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.notifications import Audience, Topic
from service.model.stored import known_fields
from service.store.layout.bitmaps import bitmap_key, counts
from service.store.layout.partitions import Partitions
from service.store.redis_servers.scripts import run_each

_TOPICS, MERGED, _MERGING = "{g}:topics", "{g}:topics:merged", "{g}:topics:merging"
# Each page that asks its reader loads all topics, and nobody reads through more of them.
MOST_TOPICS = 100

# KEYS: topics, merged. ARGV: slug, topic, most topics. The slug of a topic that was merged is not
# free. The first write allocates.
_ADD = """
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
"""

# KEYS: topics. ARGV: slug, the fields that change. A topic that was removed stays so. The first
# write allocates.
_CHANGE = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept then return 0 end
local row = cjson.decode(kept)
for name, value in pairs(cjson.decode(ARGV[2])) do row[name] = value end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(row))
return 1
"""

# KEYS: topics. ARGV: slugs in their new order. The first write frees.
_ARRANGE = """
redis.call('HDEL', KEYS[1], '')
for place, slug in ipairs(ARGV) do
  local kept = redis.call('HGET', KEYS[1], slug)
  if kept then
    local row = cjson.decode(kept)
    row.order = place
    redis.call('HSET', KEYS[1], slug, cjson.encode(row))
  end
end
"""

# KEYS: topics, merged, merging. ARGV: slug. Slugs that lead to it end too. The first write frees.
_REMOVE = """
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
local merged = redis.call('HGETALL', KEYS[2])
for i = 1, #merged, 2 do
  if merged[i + 1] == ARGV[1] then
    redis.call('HDEL', KEYS[2], merged[i])
    redis.call('HDEL', KEYS[3], merged[i])
  end
end
return removed
"""

# KEYS: topics, merged, merging. ARGV: slug that ends, slug of the topic that gets its followers.
# Returns 1 if the one leads to the other from now on, also after an earlier call. The first write
# frees.
_MERGE = """
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] and 1 or 0
end
local merged = redis.call('HGETALL', KEYS[2])
for i = 1, #merged, 2 do
  if merged[i + 1] == ARGV[1] then redis.call('HSET', KEYS[2], merged[i], ARGV[2]) end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], redis.call('TIME')[1])
return 1
"""

# Moves the followers of a topic that was merged. KEYS: bitmap of the topic that gets them, bitmap
# of the one that ended. Repeated, it does nothing. The first write allocates.
_MOVE = """
if redis.call('EXISTS', KEYS[2]) == 0 then return end
redis.call('BITOP', 'OR', KEYS[1], KEYS[1], KEYS[2])
redis.call('DEL', KEYS[2])
"""
_KNOWN_FOR = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class _Seen:
    """The topics as this process last read them."""

    at: float = -math.inf  # by the monotonic clock
    slugs: Set[str] = frozenset()
    merged: Mapping[str, str] = field(default_factory=dict)  # where each of these slugs leads
    merging: Mapping[str, float] = field(default_factory=dict)


class Topics:
    """All topics."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions
        self._add = redis.register_script(_ADD)
        self._change = redis.register_script(_CHANGE)
        self._arrange = redis.register_script(_ARRANGE)
        self._remove = redis.register_script(_REMOVE)
        self._merge = redis.register_script(_MERGE)
        self._move = redis.register_script(_MOVE)
        self._seen = _Seen()

    def all(self) -> dict[str, Topic]:
        """Return the topics by slug, in the newsroom's order."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in (_TOPICS, MERGED, _MERGING):
                pipe.hgetall(key)
            rows, merged, merging = cast("list[dict[bytes, bytes]]", pipe.execute())
        found = sorted(map(_read, rows.values()), key=lambda row: row["order"])
        topics = {row["slug"]: Topic(**known_fields(Topic, row)) for row in found}
        self._seen = _Seen(
            time.monotonic(),
            topics.keys(),
            {slug.decode(): to.decode() for slug, to in merged.items()},
            {slug.decode(): float(at) for slug, at in merging.items()},
        )
        return topics

    def has(self, slugs: Set[str]) -> bool:
        """Whether all of these are topics, or lead to topics.

        A new topic counts at once. One that another process removed may count for a second more:
        a reader who chooses it then follows a topic to which nobody can send.
        """
        if time.monotonic() - self._seen.at < _KNOWN_FOR and slugs <= self._seen.slugs:
            return True
        self.all()
        return slugs <= self._seen.slugs | self._seen.merged.keys()

    # -- slugs of topics that were merged ----------------------------------------------------------

    def merged(self) -> Mapping[str, str]:
        """Return the slugs that lead to another topic, each with the slug of that topic."""
        if time.monotonic() - self._seen.at >= _KNOWN_FOR:
            self.all()
        return self._seen.merged

    def merging(self) -> Mapping[str, float]:
        """Return those of them whose followers are being moved, each with when they were merged."""
        self.all()
        return self._seen.merging

    def current(self, slugs: Iterable[str]) -> tuple[str, ...]:
        """Return the slugs of the topics to which these lead, each once."""
        merged = self.merged()
        return tuple({merged.get(slug, slug): None for slug in slugs})

    def current_audience(self, audience: Audience) -> Audience:
        """Return an audience with the topics to which its slugs lead now."""
        if not (audience.topics or audience.all_topics or audience.exclude):
            return audience
        return replace(
            audience,
            topics=self.current(audience.topics),
            all_topics=self.current(audience.all_topics),
            exclude=self.current(audience.exclude),
        )

    def bitmaps(self, slug: str) -> list[str]:
        """Return the slugs in whose bitmaps a topic has followers: its own, and any being moved."""
        merged = self.merged()
        topic = merged.get(slug, slug)
        return [topic, *(one for one in self._seen.merging if merged.get(one) == topic)]

    def followed(self) -> dict[str, str]:
        """Return all slugs with a bitmap of followers, each with the topic that these follow.

        They are those of all topics, and of topics whose followers are being moved.
        """
        topics = self.all()
        merged, merging = self._seen.merged, self._seen.merging
        moving = {one: merged[one] for one in merging if merged.get(one) in topics}
        return {**{slug: slug for slug in topics}, **moving}

    # -- followers ---------------------------------------------------------------------------------

    def followers(self, slugs: Sequence[str]) -> dict[str, int]:
        """Return how many browsers follow each of these topics."""
        kinds = [("topic", slug) for slug in slugs]
        found = dict(zip(slugs, counts(self._redis, self._partitions, kinds), strict=True))
        bitmaps: dict[str, list[str]] = {}
        for slug, topic in self.followed().items():
            bitmaps.setdefault(topic, []).append(slug)
        several = {topic for topic in found if len(bitmaps.get(topic, ())) > 1}
        return found | {topic: self._follow_any(bitmaps[topic]) for topic in several}

    def _follow_any(self, slugs: Sequence[str]) -> int:
        """Return how many readers are in any of these topics' bitmaps."""
        total = 0
        for partition in self._partitions:
            keys = [bitmap_key(partition, "topic", slug) for slug in slugs]
            with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.get(key)
                rows = [row or b"" for row in cast("list[bytes | None]", pipe.execute())]
            size = max(map(len, rows))
            bits = (int.from_bytes(row.ljust(size, b"\0"), "big") for row in rows)
            total += reduce(or_, bits).bit_count()
        return total

    def forget_followers(self, slug: str) -> None:
        """Drop the followers of a topic that was deleted."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.unlink(bitmap_key(partition, "topic", slug))
            pipe.execute()

    def move_followers(self, slug: str, into: str) -> None:
        """Let the followers of a topic that was merged follow the other one."""
        names = (slug, into)
        run_each(
            self._redis,
            self._move,
            [
                ([bitmap_key(partition, "topic", one) for one in reversed(names)], [])
                for partition in self._partitions
            ],
        )

    # -- changing ----------------------------------------------------------------------------------

    def add(self, topic: Topic) -> bool:
        """Store a new topic; False if its slug is not free or there are `MOST_TOPICS`."""
        order = self._redis.incr("{g}:topics:made")
        args: list[EncodableT] = [topic.slug, _row(topic, order), MOST_TOPICS]
        added = bool(self._add(keys=[_TOPICS, MERGED], args=args))
        self._seen = _Seen()
        return added

    def change(self, slug: str, **fields: str | bool) -> bool:
        """Change some fields of a topic; False if there is none."""
        return bool(self._change(keys=[_TOPICS], args=[slug, json.dumps(fields)]))

    def arrange(self, slugs: Sequence[str]) -> None:
        """Put the topics into this order; one that is left out keeps its number."""
        self._arrange(keys=[_TOPICS], args=list(slugs))

    def remove(self, slug: str) -> bool:
        """Delete a topic; False if there was none. `forget_followers` drops its followers."""
        removed = bool(self._remove(keys=[_TOPICS, MERGED, _MERGING], args=[slug]))
        self._seen = _Seen()
        return removed

    def merge(self, slug: str, into: str) -> bool:
        """End a topic and let its slug lead to another one; False if one of them is unknown.

        `move_followers` moves the followers.
        """
        merged = bool(self._merge(keys=[_TOPICS, MERGED, _MERGING], args=[slug, into]))
        self._seen = _Seen()
        return merged

    def end_merge(self, slug: str) -> None:
        """Note that all followers of a merged topic are moved."""
        self._redis.hdel(_MERGING, slug)


def _read(row: bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(row))


def _row(topic: Topic, order: int) -> str:
    return json.dumps({**asdict(topic), "order": order})
