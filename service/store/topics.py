"""Topics: the subjects that readers can follow.

{g}:topics       hash: slug -> the topic as JSON
{g}:topics:made  how many topics were ever made, which gives each its place
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Set
from typing import cast

from redis import Redis
from redis.typing import EncodableT

from service.model.notifications import Topic

_TOPICS = "{g}:topics"
# Each page that asks its reader loads all topics, and nobody reads through more of them.
MOST_TOPICS = 100

# KEYS: topics. ARGV: slug, topic, most topics. The first write allocates.
_ADD = """
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
"""
_KNOWN_FOR = 1.0  # seconds


class Topics:
    """All topics."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._seen: tuple[float, Set[str]] = (-math.inf, frozenset())  # when, which slugs

    def all(self) -> dict[str, Topic]:
        """Return the topics by slug, the oldest first."""
        rows = cast(dict[bytes, bytes], self._redis.hgetall(_TOPICS))
        found = sorted((json.loads(row) for row in rows.values()), key=lambda row: row["order"])
        topics = {
            row["slug"]: Topic(row["slug"], row["name"], row["description"], row["default"])
            for row in found
        }
        self._seen = (time.monotonic(), topics.keys())
        return topics

    def has(self, slugs: Set[str]) -> bool:
        """Whether all of these are topics.

        A new topic counts at once. One that another process removed may count for a second more:
        a reader who chooses it then follows a topic to which nobody can send.
        """
        at, seen = self._seen
        known = time.monotonic() - at < _KNOWN_FOR and slugs <= seen
        return known or slugs <= self.all().keys()

    def add(self, topic: Topic) -> bool:
        """Store a new topic; False if the slug is taken or if there are `MOST_TOPICS`."""
        order = self._redis.incr("{g}:topics:made")
        args: list[EncodableT] = [topic.slug, _row(topic, order), MOST_TOPICS]
        return bool(self._add(keys=[_TOPICS], args=args))

    def change(self, topic: Topic) -> None:
        """Replace name, description and default of a topic; slug and place stay."""
        row = cast("bytes | None", self._redis.hget(_TOPICS, topic.slug))
        if row is not None:
            self._redis.hset(_TOPICS, topic.slug, _row(topic, json.loads(row)["order"]))

    def remove(self, slug: str) -> bool:
        """Delete a topic; False if there was none. `Subscriptions.forget_topic` drops followers."""
        removed = bool(self._redis.hdel(_TOPICS, slug))
        self._seen = (-math.inf, frozenset())
        return removed


def _row(topic: Topic, order: int) -> str:
    return json.dumps(
        {
            "slug": topic.slug,
            "name": topic.name,
            "description": topic.description,
            "default": topic.default,
            "order": order,
        }
    )
