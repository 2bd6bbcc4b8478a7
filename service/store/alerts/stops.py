"""The switch that stops everything. In the slot `{g}`.

stop  hash: `id`, that of the log's entry, and `by`; there is one while everything is stopped
log   stream: has an entry of each stop and each release (alert_log.py)
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from service.model.alert_log import LogEntry
from service.model.stop import Stop
from service.store.alerts.alert_log import LOG, packed
from service.store.redis_servers.replicas import Replicas

_STOP = "{g}:stop"

# KEYS: stop, log. ARGV: who stops; entry of the log. If everything is stopped already, nothing
# changes. Returns id and name of the stop that holds. The first write frees, so that a full Redis
# keeps nobody from stopping.
_HOLD = """
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 0 then
  local id = redis.call('XADD', KEYS[2], '*', 'entry', ARGV[2])
  redis.call('HSET', KEYS[1], 'id', id, 'by', ARGV[1])
end
return redis.call('HMGET', KEYS[1], 'id', 'by')
"""

# KEYS: stop, log. ARGV: id of the stop, '' for whichever holds; entry of the log. Returns 1 if this
# call released it, else 0. The first write frees.
_RELEASE = """
local id = redis.call('HGET', KEYS[1], 'id')
if not id or (ARGV[1] ~= '' and ARGV[1] ~= id) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[2], '*', 'entry', ARGV[2])
return 1
"""


class Stops:
    """Stops everything, and releases it."""

    def __init__(self, redis: Redis, replicas: Replicas) -> None:
        self._redis = redis
        self._replicas = replicas
        self._hold = redis.register_script(_HOLD)
        self._release = redis.register_script(_RELEASE)

    def holds(self) -> bool:
        """Whether everything is stopped; each worker asks four times a second."""
        return bool(self._redis.exists(_STOP))

    def current(self) -> Stop | None:
        """Return the stop that holds now."""
        row = cast("list[bytes | None]", self._redis.hmget(_STOP, "id", "by"))
        return None if row[0] is None else _stop(row)

    def hold(self, by: str, entry: LogEntry) -> Stop:
        """Stop everything; return the stop that holds, which may be another editor's."""
        row = self._hold(keys=[_STOP, LOG], args=[by, packed(entry)])
        self._replicas.keep(_STOP, "id")
        return _stop(cast("list[bytes | None]", row))

    def release(self, id: str, entry: LogEntry) -> bool:
        """End the stop with this id, or with '' whichever holds; True for the call that did."""
        return bool(self._release(keys=[_STOP, LOG], args=[id, packed(entry)]))


def _stop(row: list[bytes | None]) -> Stop:
    id, by = ((part or b"").decode() for part in row)
    return Stop(id, int(id.partition("-")[0]) / 1000, by)
