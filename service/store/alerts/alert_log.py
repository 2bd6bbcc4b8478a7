"""The log of alerts: who did what with each, and when. In the slot `{g}`.

log      stream: the entries of all alerts, each as JSON
n:<id>   its field `log`: the stream's ids of the entries of this alert (notifications.py)

The scripts that do something with an alert add its entry (`NOTE`): there is one for all that was
done, and none for what was not. An import of readers adds its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, cast

from redis import Redis

from service.model.alert_log import LogEntry
from service.model.stored import known_fields

LOG = "{g}:log"
_AT_ONCE = 500  # entries that are read in one call

# Adds an entry, if there is one: a welcome, a test or a wave has none.
NOTE = """
local function note(log, alert, entry)
  if entry == '' then return end
  local id = redis.call('XADD', log, '*', 'entry', entry)
  redis.call('HSET', alert, 'log', (redis.call('HGET', alert, 'log') or '') .. id .. ' ')
end
"""


def packed(entry: LogEntry | None) -> str:
    """Return an entry as the scripts take it."""
    if entry is None:
        return ""
    given = {one.name: value for one in fields(entry) if (value := getattr(entry, one.name))}
    given["alert"] = entry.alert
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


class AlertLog:
    """Reads the log, and forgets what is old."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def of(self, alert: int) -> list[LogEntry]:
        """Return the entries of an alert that are still kept, the oldest first."""
        ids = cast("bytes | None", self._redis.hget(f"{{g}}:n:{alert}", "log")) or b""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids.split():
                pipe.xrange(LOG, id, id)
            return [_entry(*row) for rows in pipe.execute() for row in rows]

    def all(self, before: str = "") -> Iterator[LogEntry]:
        """Yield the entries of all alerts, the latest first, from the one before `before` on."""
        last = f"({before}" if before else "+"
        while rows := cast(list[Any], self._redis.xrevrange(LOG, last, "-", count=_AT_ONCE)):
            yield from (_entry(*row) for row in rows)
            last = f"({rows[-1][0].decode()}"

    def after(self, id: str, most: int) -> list[LogEntry]:
        """Return up to `most` entries from the one after `id` on, the oldest first."""
        rows = cast(list[Any], self._redis.xrange(LOG, f"({id}", "+", count=most))
        return [_entry(*row) for row in rows]

    def note(self, entry: LogEntry) -> None:
        """Add an entry that is about no alert."""
        self._redis.xadd(LOG, {"entry": packed(entry)})

    def forget(self, before: float) -> None:
        """Drop the entries from before a time, in seconds since 1970."""
        self._redis.xtrim(LOG, minid=str(int(before * 1000)), approximate=False)


def _entry(id: bytes, fields: dict[bytes, bytes]) -> LogEntry:
    given = json.loads(fields[b"entry"])
    given["texts"] = {name: tuple(both) for name, both in given.get("texts", {}).items()}
    given["others"] = tuple(given.get("others", ()))
    at = int(id.partition(b"-")[0]) / 1000
    return LogEntry(**known_fields(LogEntry, given) | {"at": at, "id": id.decode()})
