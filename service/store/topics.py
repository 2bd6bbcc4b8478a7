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

from service.model.notifications import Topic

_TOPICS = "{g}:topics"
_KNOWN_FOR = 1.0  # seconds


class Topics:
    """All topics."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
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
        """Store a new topic; False if the slug is taken."""
        order = self._redis.incr("{g}:topics:made")
        return bool(self._redis.hsetnx(_TOPICS, topic.slug, _row(topic, order)))

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
