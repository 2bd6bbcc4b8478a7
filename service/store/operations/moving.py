"""What moves to another installation beside readers and topics: their numbers, alerts, totals.

{g}:layout  its field `moved` is the id of the export from which this store was filled

Nothing that is there already is overwritten, so that to read an export once more does no harm.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, cast

from redis import Redis

from service.model.retention import DAY, JOINED_KEPT_DAYS
from service.store.alerts.notifications import STARTED, WAVES, alert_key
from service.store.layout.departures import ENDED
from service.store.layout.joined import DAYS_KNOWN, days_key, moved_key, span_of
from service.store.layout.partitions import Partitions
from service.store.readers.stories import STORIES
from service.store.readers.subscriptions import made_key
from service.store.readers.topics import MERGED

_LAYOUT, _LAST_ALERT, _COUNTED = "{g}:layout", "{g}:n", "{g}:totals"
_LEFT_BEHIND = (b"log", b"call")  # fields of an alert that say something to its own store only
_TABLES = {"ended": ENDED, "stories": STORIES, "merged_topics": MERGED}
_AT_ONCE = 100  # alerts, or dates
_YEARS = 10  # of daily totals

Line = dict[str, Any]


class MovingRows:
    """Reads and writes these as documents."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self._partitions = partitions

    # -- the store as a whole ----------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether no reader ever subscribed here, and no alert was ever sent."""
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.get(made_key(partition))
            pipe.zcard(STARTED)
            return not any(map(int, filter(None, pipe.execute())))

    def moved_from(self) -> str:
        """Return the id of the export from which this store was filled; may be empty."""
        kept = cast("bytes | None", self._redis.hget(_LAYOUT, "moved"))
        return (kept or b"").decode()

    def begin(self, export: str, partitions: Partitions, last_alert: int, known: int) -> None:
        """Let this store, which is empty, have the partitions of an export, and its ids.

        `known`: the day from which on it is known when readers subscribed (joined.py).
        """
        layout: Mapping[Any, Any] = {
            "version": partitions.version,
            "partitions": len(partitions),
            "numbers": " ".join(map(str, partitions)),
            "moved": export,
        }
        with self._redis.pipeline() as pipe:
            pipe.hset(_LAYOUT, mapping=layout)
            pipe.set(_LAST_ALERT, last_alert)
            pipe.set(DAYS_KNOWN, known)
            pipe.execute()

    def last_alert(self) -> int:
        """Return the last id of an alert that was given out."""
        return int(cast("bytes | None", self._redis.get(_LAST_ALERT)) or 0)

    # -- reading -----------------------------------------------------------------------------------

    def partitions(self) -> Iterator[Line]:
        """Yield how many numbers each partition has given out, and when."""
        for partition in self._partitions:
            rows = self._redis.zrange(days_key(partition), 0, -1, withscores=True)
            days = [
                [int(day), int(number)] for number, day in cast("list[tuple[bytes, float]]", rows)
            ]
            made = cast("bytes | None", self._redis.get(made_key(partition)))
            spans = cast("list[bytes]", self._redis.zrange(moved_key(partition), 0, -1))
            moved = [span_of(one) for one in spans]
            yield {"partition": partition, "made": int(made or 0), "days": days, "moved": moved}

    def tables(self) -> Iterator[Line]:
        """Yield how readers ended, the running stories, and the topics that lead to others."""
        for name, key in _TABLES.items():
            row = cast("dict[bytes, bytes]", self._redis.hgetall(key))
            yield {"table": name, "fields": _texts(row)}

    def days(self, last: date) -> Iterator[Line]:
        """Yield the totals of each day up to this one, the latest first."""
        counted = self._redis.get(_COUNTED)
        dates = [f"{last - timedelta(ago):%Y%m%d}" for ago in range(366 * _YEARS)]
        for at in range(0, len(dates), _AT_ONCE):
            some = dates[at : at + _AT_ONCE]
            with self._redis.pipeline(transaction=False) as pipe:
                for one in some:
                    pipe.hgetall(f"{_COUNTED}:{one}")
                rows = pipe.execute()
            for one, row in zip(some, rows, strict=True):
                if row:
                    yield {"date": one, "fields": _texts(row), "counted": int(counted or 0)}

    def alerts(self, events: Sequence[str], *, waves: bool = False) -> Iterator[Line]:
        """Yield the alerts that are finished, the latest first, with what browsers reported.

        A correction is left out as long as the alert that it corrects is not finished. `waves`:
        those that brought held alerts; an alert's report names them.
        """
        key, first = WAVES if waves else STARTED, 0
        while ids := self._redis.zrevrange(key, first, first + _AT_ONCE - 1, withscores=True):
            for id, began in cast("list[tuple[bytes, float]]", ids):
                if line := self._alert(int(id), began, events):
                    yield line
            first += _AT_ONCE

    def _alert(self, id: int, began: float, events: Sequence[str]) -> Line | None:
        key = alert_key(id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(key)
            pipe.hgetall(f"{key}:tallies")
            pipe.pttl(f"{key}:tallies")
            for event in events:
                pipe.get(f"{key}:{event}")
            row, tallies, kept, *counts = pipe.execute()
        if b"report" not in row:
            return None
        corrects = json.loads(row[b"doc"])["corrects"]
        if corrects is not None and not self._redis.hexists(alert_key(corrects), "report"):
            return None  # without the alert itself, nobody could read it
        return {
            "alert": id,
            "began": began,
            "fields": _texts({name: row[name] for name in row if name not in _LEFT_BEHIND}),
            "tallies": _texts(tallies),
            "browsers": {
                event: base64.b64encode(count).decode()  # a HyperLogLog, as Redis has it
                for event, count in zip(events, counts, strict=True)
                if count
            },
            "kept_ms": max(0, kept),
        }

    # -- writing -----------------------------------------------------------------------------------

    def put_partition(self, line: Line) -> None:
        """Let the numbers of a partition begin behind those of the export."""
        partition, made = int(line["partition"]), int(line["made"])
        if int(cast("bytes | None", self._redis.get(made_key(partition))) or 0) >= made:
            return
        with self._redis.pipeline() as pipe:
            pipe.set(made_key(partition), made)
            for day, number in line["days"]:
                pipe.zadd(days_key(partition), {str(int(number)): int(day)})
            for first, last in line.get("moved", ()):  # an earlier release does not write them
                pipe.zadd(moved_key(partition), {f"{int(first)}-{int(last)}": int(last)})
            pipe.expire(moved_key(partition), JOINED_KEPT_DAYS * DAY)
            pipe.execute()

    def put_table(self, line: Line) -> None:
        """Store the rows of a table that are not there."""
        self._put_fields(_TABLES[line["table"]], line["fields"])

    def put_day(self, line: Line) -> None:
        """Store the totals of a day."""
        self._put_fields(f"{_COUNTED}:{int(line['date'])}", line["fields"])
        if int(line["counted"]):
            self._redis.set(_COUNTED, int(line["counted"]), nx=True)

    def put_alert(self, line: Line, among: str = STARTED) -> None:
        """Store an alert and what browsers reported of it, unless it is there."""
        id, kept = int(line["alert"]), int(line["kept_ms"])
        key = alert_key(id)
        counts = {event: base64.b64decode(text) for event, text in line["browsers"].items()}
        self._put_fields(key, line["fields"])
        with self._redis.pipeline() as pipe:
            if kept:
                for event, count in counts.items():
                    pipe.set(f"{key}:{event}", count, px=kept, nx=True)
                for field, value in line["tallies"].items():
                    pipe.hsetnx(f"{key}:tallies", field, str(value))
                pipe.pexpire(f"{key}:tallies", kept)
            pipe.zadd(among, {str(id): float(line["began"])}, nx=True)
            pipe.execute()

    def put_wave(self, line: Line) -> None:
        """Store a wave in the same way."""
        self.put_alert(line, WAVES)

    def _put_fields(self, key: str, fields: Mapping[str, str]) -> None:
        with self._redis.pipeline() as pipe:
            for field, value in fields.items():
                pipe.hsetnx(key, field, str(value))
            pipe.execute()


def _texts(row: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in row.items()}
