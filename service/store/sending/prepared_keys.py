"""Keys prepared for future messages, stored by bucket: 256 subscriptions, as records are.

  k:<bucket>  string: history (16), how many keys (2), then the keys as the workers sealed them
  k           hash: history, how many keys are `ready` under it, and the `next` bucket to look at

A string counts only under the history in which it was stored (history.py), so that no key that an
append-only file, a failover or a restored copy brings back is handed out a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from redis import Redis

from service.store.layout.bitmaps import bitmap_key, without
from service.store.layout.partitions import Partitions
from service.store.layout.records import BUCKET
from service.store.redis_servers.connection import at
from service.store.redis_servers.history import HISTORY
from service.store.redis_servers.memory import memory_of
from service.store.redis_servers.scripts import Call, run_each

_ROOM = 0.8  # of `maxmemory`; the rest is kept free, so that readers can still subscribe

# Defines drop_prepared(keys, counter), also for other scripts of the partition.
DROP = """
local function drop_prepared(keys, counter)
  local history, count = string.match(redis.call('GETRANGE', keys, 0, 17), '^(%x+)(..)$')
  redis.call('DEL', keys)
  if history and redis.call('HGET', counter, 'history') == history then
    redis.call('HINCRBY', counter, 'ready', -struct.unpack('>I2', count))
  end
end
"""

# KEYS: keys of a bucket, counter. Returns the keys and drops them. The first write frees.
_TAKE = (
    HISTORY
    + DROP
    + """
local kept = redis.call('GET', KEYS[1])
if not kept then return false end
drop_prepared(KEYS[1], KEYS[2])
return string.sub(kept, 1, 16) == history and string.sub(kept, 19)
"""
)

# KEYS: keys of a bucket, counter. ARGV: how many, sealed keys. Returns 0 if the bucket has keys
# already. The first write allocates.
_STORE = (
    HISTORY
    + """
if history == '' or redis.call('GETRANGE', KEYS[1], 0, 15) == history then return 0 end
redis.call('SET', KEYS[1], history .. struct.pack('>I2', ARGV[1]) .. ARGV[2])
if redis.call('HGET', KEYS[2], 'history') ~= history then
  redis.call('HSET', KEYS[2], 'history', history, 'ready', 0)
end
redis.call('HINCRBY', KEYS[2], 'ready', ARGV[1])
return 1
"""
)

# KEYS: keys of some buckets. Returns how many are ready in each.
_COUNT = (
    HISTORY
    + """
local counts = {}
for i, key in ipairs(KEYS) do
  local head = redis.call('GETRANGE', key, 0, 17)
  local counted = #head == 18 and string.sub(head, 1, 16) == history
  counts[i] = counted and struct.unpack('>I2', head, 17) or 0
end
return counts
"""
)

# KEYS: counter. Returns how many keys are ready in all.
_READY = (
    HISTORY
    + """
local known = redis.call('HMGET', KEYS[1], 'history', 'ready')
return known[1] == history and tonumber(known[2]) or 0
"""
)

# KEYS: counter, ids made. ARGV: how many buckets to look at, subscriptions in each. Returns the
# first of them and how many buckets there are; none if this server keeps no keys.
_NEXT = (
    HISTORY
    + """
if history == '' then return {0, 0} end
local buckets = math.ceil((redis.call('GET', KEYS[2]) or 0) / ARGV[2])
local first = tonumber(redis.call('HGET', KEYS[1], 'next') or 0)
if first >= buckets then first = 0 end
redis.call('HSET', KEYS[1], 'next', first + ARGV[1])
return {first, buckets}
"""
)


def keys_key(partition: int, bucket: int) -> str:
    """Return the string with the keys of one bucket."""
    return f"{{{partition}}}:k:{bucket}"


def counter_key(partition: int) -> str:
    """Return the hash that counts the keys of a partition."""
    return f"{{{partition}}}:k"


class PreparedKeys:
    """Sealed keys by bucket; each is handed out once, to one caller."""

    def __init__(self, redis: Redis, partitions: Partitions) -> None:
        self._redis = redis
        self.partitions = partitions
        self._take = redis.register_script(_TAKE)
        self._count = redis.register_script(_COUNT)
        self._ready = redis.register_script(_READY)
        self._next = redis.register_script(_NEXT)

    def take(self, partition: int, bucket: int) -> bytes | None:
        """Hand the keys of a bucket to the caller; None if there are none."""
        keys = [keys_key(partition, bucket), counter_key(partition)]
        return cast("bytes | None", self._take(keys=keys))

    def readers(self, partition: int, buckets: range) -> list[int]:
        """Return for each bucket a bitmap, as an integer, of readers who are live and not gone."""
        size = BUCKET // 8
        with self._redis.pipeline(transaction=False) as pipe:
            for kind in ("live", "gone"):
                key = bitmap_key(partition, kind)
                pipe.getrange(key, buckets.start * size, buckets.stop * size - 1)
            live, gone = (stretch.ljust(len(buckets) * size, b"\0") for stretch in pipe.execute())
        return [
            without(live[at : at + size], gone[at : at + size])
            for at in range(0, len(buckets) * size, size)
        ]

    def store(self, partition: int, bucket: int, count: int, sealed: bytes) -> bool:
        """Store `count` unused keys of a bucket; False if it has keys already.

        On `RedisError` nobody knows whether they are stored; never try again then.
        """
        keys = [keys_key(partition, bucket), counter_key(partition)]
        return bool(self._once(_STORE, keys, [count, sealed]))

    def counts(self, partition: int, buckets: Sequence[int]) -> list[int]:
        """Return how many keys are ready in each of these buckets."""
        keys = [keys_key(partition, bucket) for bucket in buckets]
        return cast("list[int]", self._count(keys=keys)) if keys else []

    def next(self, partition: int, most: int, size: int) -> tuple[range, int]:
        """Return up to `most` buckets of `size` to look at, and how many there are in all.

        Each caller gets other buckets, until all have had their turn.
        """
        keys = [counter_key(partition), f"{{{partition}}}:made"]
        first, buckets = cast("list[int]", self._next(keys=keys, args=[most, size]))
        return range(first, min(first + most, buckets)), buckets

    def ready(self) -> int:
        """Return how many keys are ready, in all partitions."""
        calls: list[Call] = [([counter_key(partition)], ()) for partition in self.partitions]
        return sum(run_each(self._redis, self._ready, calls))

    def has_room(self) -> bool:
        """Whether Redis has memory to spare, as far as it tells."""
        memory = memory_of(self._redis)
        return memory is None or not memory.most or memory.used < _ROOM * memory.most

    def clear(self, size: int) -> None:
        """Drop all keys, in buckets of `size`."""
        for partition in self.partitions:
            if not self._redis.exists(counter_key(partition)):
                continue
            made = int(cast("bytes | None", self._redis.get(f"{{{partition}}}:made")) or 0)
            with self._redis.pipeline(transaction=False) as pipe:
                for bucket in range(-(-made // size)):
                    pipe.unlink(keys_key(partition, bucket))
                pipe.unlink(counter_key(partition))
                pipe.execute()

    def _once(self, script: str, keys: list[str], args: list[Any]) -> Any:
        """Run a script at most once; redis-py repeats a script whose response was lost.

        By then another process may have taken what the first run stored.
        """

        def call(server: Redis, asking: bool) -> Any:
            connection = server.connection_pool.get_connection()
            try:
                if asking:
                    connection.send_command("ASKING")  # type: ignore[no-untyped-call]
                    connection.read_response()
                connection.send_command("EVAL", script, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
                return connection.read_response()
            finally:
                server.connection_pool.release(connection)

        return at(self._redis, keys[0], call, once=True)
