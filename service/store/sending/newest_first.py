"""Recipients of a send without an outcome, the most recently seen first.

The batch `recent` is sent in this order: a push service that takes 1,000 messages a minute needs
sixteen hours for a million readers, and regular readers should not be the last to know.
"""

from __future__ import annotations

import re
from collections import deque
from typing import cast

from redis import Redis

from service.model.time import clock
from service.store.layout.bitmaps import bitmap_key, month_of, without
from service.store.sending.batches import part_key

_MONTHS = 12  # one after the other; readers last seen before them come at the end
_STRETCH = 65_536  # bytes of a bitmap read at once
_SOME = 2048  # numbers returned at once, roughly


class NewestFirst:
    """One pass over the recipients without an outcome.

    A reader who visits the site meanwhile moves to a month that this pass has behind it. So the
    last stretch asks for no month and finds every recipient without an outcome; it must not begin
    before all recipients found so far have theirs.
    """

    def __init__(self, redis: Redis, id: int, partition: int) -> None:
        self._redis = redis
        self._keys = [part_key(partition, id, what) for what in ("audience", "done")]
        self._seen = [
            bitmap_key(partition, "seen", month)
            for month in _latest_months(int(clock.time() // 86_400))
        ]
        self._months: deque[str | None] = deque([*self._seen, None])
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether every recipient was returned."""
        return not self._months

    @property
    def on_last_stretch(self) -> bool:
        """Whether the next recipients are those of no particular month."""
        return len(self._months) == 1 and not self._at

    def some(self) -> list[int]:
        """Return more recipients; none only at the end, or before the last stretch."""
        found: list[int] = []
        while self._months and not found and not (found := self._stretch(self._months[0])):
            if self.on_last_stretch:
                break
        return found

    def _stretch(self, seen: str | None) -> list[int]:
        """Return the recipients in the next bytes of this month's bitmap."""
        first, last = self._at, self._at + _STRETCH - 1
        with self._redis.pipeline(transaction=False) as pipe:
            for key in [*self._keys, seen] if seen else self._keys:
                pipe.getrange(key, first, last)
            audience, done, *months = cast("list[bytes]", pipe.execute())
        size = len(audience)
        bits = without(audience, done)
        for month in months:
            bits &= int.from_bytes(month[:size].ljust(size, b"\0"), "big")
        found: list[int] = []
        for byte in re.finditer(rb"[^\0]", bits.to_bytes(size, "big")):
            if len(found) >= _SOME:
                self._at = first + byte.start()
                return found
            number = 8 * (first + byte.start())
            found += [number + bit for bit in range(8) if byte[0][0] & 0x80 >> bit]
        self._at += _STRETCH
        if size < _STRETCH:
            self._months.popleft()
            self._at = 0
        return found


def _latest_months(day: int) -> list[str]:
    """Return the last months, newest first, as of a day counted from 1970-01-01."""
    return list(dict.fromkeys(month_of(day - ago) for ago in range(0, 31 * _MONTHS, 7)))[:_MONTHS]
