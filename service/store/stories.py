"""Running stories: which are open, who follows one, and who does not want to hear of it.

  {g}:stories                    hash: slug -> id of its latest alert, and when that began (ms)
  followed:<slug>, muted:<slug>  bitmaps, in each partition (bitmaps.py)
The scripts that start an alert open its story (notifications.py).
"""

from __future__ import annotations

from typing import NamedTuple, cast

from redis import Redis

from service.store.bitmaps import bitmap_key

STORIES = "{g}:stories"
MOST_OPEN = 200  # each may have two bitmaps of up to 125 KB for a million readers


class OpenStory(NamedTuple):
    """A running story: the id of its latest alert, and when that began (ms since 1970)."""

    latest: int
    at: int


class Stories:
    """The stories that are open."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = range(partitions)

    def open(self) -> dict[str, OpenStory]:
        """Return them by slug, the one with the latest alert first."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(STORIES))
        found = {slug.decode(): OpenStory(*map(int, row.split(b" "))) for slug, row in rows.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].at, -item[1].latest)))

    def slugs(self) -> set[str]:
        """Return which are open."""
        return {slug.decode() for slug in cast("list[bytes]", self._redis.hkeys(STORIES))}

    def followers(self, slugs: list[str]) -> list[int]:
        """Return how many readers follow each of these."""
        with self._redis.pipeline(transaction=False) as pipe:
            for slug in slugs:
                for partition in self._partitions:
                    pipe.bitcount(bitmap_key(partition, "followed", slug))
            counts = cast("list[int]", pipe.execute()) if slugs else []
        parts = len(self._partitions)
        return [sum(counts[at : at + parts]) for at in range(0, len(counts), parts)]

    def close(self, slug: str) -> bool:
        """End a story, and forget who followed or muted it; False where it was not open.

        Bitmaps go in any case: an earlier call may have been cut off between the two.
        """
        closed = bool(self._redis.hdel(STORIES, slug))
        for partition in self._partitions:
            keys = [bitmap_key(partition, kind, slug) for kind in ("followed", "muted")]
            self._redis.unlink(*keys)
        return closed

    def close_silent(self) -> None:
        """Close those that were silent longest, where more than `MOST_OPEN` are open."""
        if self._redis.hlen(STORIES) > MOST_OPEN:
            for slug in list(self.open())[MOST_OPEN:]:
                self.close(slug)
