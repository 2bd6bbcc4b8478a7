"""Totals of each day, in UTC. They are counts only, and kept for years. All in the slot `{g}`.

{g}:totals:<date>  hash, a date being a number such as 20260329. `readers`: how many there were when
                   the day was last looked at, and how many subscriptions had ended until then;
                   `alerts`: what became of the alerts that began on that day, both as JSON;
                   `imported`: how many readers an import brought
{g}:totals         the last date whose alerts are counted
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from redis import Redis

_COUNTED = "{g}:totals"


class DayRow(NamedTuple):
    """What is stored of a day."""

    readers: dict[str, Any] | None
    alerts: dict[str, Any] | None
    imported: int


class DailyTotals:
    """Reads and writes the totals."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put_readers(self, date: int, readers: Mapping[str, Any]) -> None:
        """Store how many readers there are on a day."""
        self._redis.hset(_key(date), "readers", json.dumps(readers))

    def put_alerts(self, date: int, alerts: Mapping[str, Any] | None) -> None:
        """Store what became of the alerts of a day, if there were any; it is counted then."""
        with self._redis.pipeline() as pipe:
            if alerts is not None:
                pipe.hset(_key(date), "alerts", json.dumps(alerts))
            pipe.set(_COUNTED, date)
            pipe.execute()

    def add_imported(self, date: int, readers: int) -> None:
        """Count readers that an import has brought on a day."""
        self._redis.hincrby(_key(date), "imported", readers)

    def counted(self) -> int | None:
        """Return the last date whose alerts are counted."""
        date = cast("bytes | None", self._redis.get(_COUNTED))
        return None if date is None else int(date)

    def days(self, dates: Sequence[int]) -> list[DayRow]:
        """Return what is stored of each of these dates."""
        with self._redis.pipeline(transaction=False) as pipe:
            for date in dates:
                pipe.hmget(_key(date), "readers", "alerts", "imported")
            rows = cast("list[list[bytes | None]]", pipe.execute())
        return [
            DayRow(_document(readers), _document(alerts), int(imported or 0))
            for readers, alerts, imported in rows
        ]


def _document(text: bytes | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def _key(date: int) -> str:
    return f"{{g}}:totals:{date}"
