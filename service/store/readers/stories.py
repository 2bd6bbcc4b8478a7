"""Running stories: which are open, and how many readers follow them.

  {g}:stories                    hash: slug -> id of its latest alert, and when that began (ms)
  followed:<slug>, muted:<slug>  bitmaps in each partition (bitmaps.py)

A script that starts an alert opens its story (notifications.py).
"""

from __future__ import annotations

from typing import NamedTuple, cast

from redis import Redis

from service.store.layout.bitmaps import bitmap_key, counts
from service.store.layout.partitions import Partitions

STORIES = "{g}:stories"
MOST_OPEN = 200  # each may have two bitmaps of up to 125 KB for a million readers


class OpenStory(NamedTuple):
    """A running story."""

    latest: int  # id of its latest alert
    at: int  # when that began, ms since 1970


class Stories:
    """All open stories."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions

    def open(self) -> dict[str, OpenStory]:
        """Return the open stories by slug, the one with the latest alert first."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(STORIES))
        found = {slug.decode(): OpenStory(*map(int, row.split(b" "))) for slug, row in rows.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].at, -item[1].latest)))

    def slugs(self) -> set[str]:
        """Return the slugs of the open stories."""
        return {slug.decode() for slug in cast("list[bytes]", self._redis.hkeys(STORIES))}

    def followers(self, slugs: list[str]) -> list[int]:
        """Return how many readers follow each of these stories."""
        return counts(self._redis, self._partitions, [("followed", slug) for slug in slugs])

    def close(self, slug: str) -> bool:
        """Close a story and drop its bitmaps; False if it was not open.

        The bitmaps go in any case, because an earlier call may have been interrupted in between.
        """
        closed = bool(self._redis.hdel(STORIES, slug))
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                for kind in ("followed", "muted"):
                    pipe.unlink(bitmap_key(partition, kind, slug))
            pipe.execute()
        return closed

    def close_silent(self) -> None:
        """Close the stories that were silent longest, if more than `MOST_OPEN` are open."""
        if self._redis.hlen(STORIES) > MOST_OPEN:
            for slug in list(self.open())[MOST_OPEN:]:
                self.close(slug)
