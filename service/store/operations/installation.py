"""The installation: layout of the store, fingerprints of its keys, the clock that leads.

{g}:layout        hash: version, partitions, and since version 2 their numbers (partitions.py);
                  which conversions were made (conversion.py); `synthetic` if `stoppress seed`
                  filled the store (seeds.py)
{g}:keys          hash: `secret`, the fingerprint of SECRET_KEY; `backup`, a `Backup` as JSON;
                  `vapid`, the public halves of the workers' VAPID keys as JSON, the current first
{g}:keys:retired  set: public halves of VAPID keys that were retired
{g}:clock         name of the clock that leads; a lease
{g}:clock:ticked  when a clock last did its work (seconds since 1970)
{g}:origins:refused  sorted set: origins that call us and are not in SITE_ORIGINS, scored with when
{g}:origins:seen     sorted set: those that are in it, scored with when a page of theirs called last
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import REFUSED_ORIGINS_KEPT, SEEN_ORIGINS_KEPT
from service.model.time import clock
from service.store.layout.partitions import Partitions
from service.store.operations.conversion import CONVERSION, NEEDED
from service.store.operations.losses import numbers_made

_LAYOUT = "{g}:layout"
_KEYS = "{g}:keys"
_RETIRED = "{g}:keys:retired"
_LEADER, _TICKED = "{g}:clock", "{g}:clock:ticked"
_REFUSED, _SEEN = "{g}:origins:refused", "{g}:origins:seen"
_MOST_REFUSED = 20  # origins; anybody can make them up
_MOST_SEEN = 100  # origins

# KEYS: leading clock, time of its last work. ARGV: name, lease in ms. Returns 1 if the clock with
# that name leads from now on. A lease of more than twice that is from before Redis' clock was set
# back, and would last for as long as it was ahead. The first write frees.
_LEAD = """
local leader = redis.call('GET', KEYS[1])
local may_hold = redis.call('PTTL', KEYS[1]) <= 2 * ARGV[2]
if leader and leader ~= ARGV[1] and may_hold then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], redis.call('TIME')[1])
return 1
"""


_SHARED_LOST = (
    "the store has readers, but what all its partitions share is gone, such as alerts, topics and"
    " editors. Restore the data of the node with slot 7233, or empty the whole store to begin anew"
)


class LayoutError(Exception):
    """A store that this code cannot use; the message says why in one line."""


class Layout(NamedTuple):
    """How the data of a store is laid out, and by which releases it can be read."""

    partitions: Partitions
    needs: int  # the last conversion that a release has to know to read it


class Backup(NamedTuple):
    """What `stoppress keys backup` printed last."""

    at: float  # seconds since 1970
    secret: str  # fingerprint of SECRET_KEY
    vapid: list[str]  # public halves of the VAPID keys


class Installation:
    """Facts about the installation as a whole."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lead = redis.register_script(_LEAD)

    def lead(self, name: str, lease_ms: int) -> bool:
        """Whether the clock called `name` leads for that long; of several clocks one does."""
        return bool(self._lead(keys=[_LEADER, _TICKED], args=[name, lease_ms]))

    def leader(self) -> str:
        """Return the name of the clock that leads; empty if none does."""
        return (cast("bytes | None", self._redis.get(_LEADER)) or b"").decode()

    def clock_age(self) -> float:
        """Return how many seconds ago a clock last did its work; infinity for never."""
        ticked = cast("bytes | None", self._redis.get(_TICKED))
        # Redis' clock may have been set back since.
        return float(abs(self._redis.time()[0] - int(ticked))) if ticked else math.inf

    def remember_layout(self, new: Partitions) -> Layout:
        """Return the layout of this store; a new store takes these partitions.

        `LayoutError` if what looks like a new store has readers.
        """
        written = {
            "version": new.version,
            "partitions": len(new),
            "numbers": " ".join(map(str, new)),
            "needs": NEEDED,
            "converted": CONVERSION,
        }
        kept = cast("list[bytes | None]", self._redis.hmget(_LAYOUT, *written))
        if None in kept[:2]:  # only a new store is written to, since a full Redis refuses the write
            # In this order: what another process has just begun has its layout before its readers.
            if any(numbers_made(self._redis, new)) and not self._redis.exists(_LAYOUT):
                raise LayoutError(_SHARED_LOST)
            with self._redis.pipeline() as pipe:
                for field, value in written.items():
                    pipe.hsetnx(_LAYOUT, field, str(value))
                pipe.hmget(_LAYOUT, *written)
                kept = pipe.execute()[-1]
        version, count = int(cast(bytes, kept[0])), int(cast(bytes, kept[1]))
        # A later version, which is refused, may write them otherwise.
        numbers = map(int, (kept[2] or b"").split()) if version == 2 else range(count)
        return Layout(Partitions(version, tuple(numbers)), int(kept[3] or 0))

    def remember_secret(self, fingerprint: str) -> str:
        """Return the fingerprint of this store's SECRET_KEY; a new store takes the one given."""
        kept = cast("bytes | None", self._redis.hget(_KEYS, "secret"))
        if kept is None:
            self._redis.hsetnx(_KEYS, "secret", fingerprint)
            kept = cast(bytes, self._redis.hget(_KEYS, "secret"))
        return kept.decode()

    def replace_secret(self, fingerprint: str) -> None:
        """Take another SECRET_KEY: the one before is still set too, or nothing depends on it."""
        self._redis.hset(_KEYS, "secret", fingerprint)

    def announce_vapid_keys(self, publics: list[str]) -> None:
        """Store the public halves of the VAPID keys that workers hold, the current one first."""
        self._redis.hset(_KEYS, "vapid", json.dumps(publics))

    def vapid_keys(self) -> list[str]:
        """Return the public halves that workers have announced; empty before the first worker."""
        kept = cast("bytes | None", self._redis.hget(_KEYS, "vapid"))
        return [] if kept is None else cast("list[str]", json.loads(kept))

    def retire_vapid_key(self, public: str) -> None:
        """Note that no reader may be subscribed with this VAPID key any more."""
        self._redis.sadd(_RETIRED, public)

    def retired_vapid_keys(self) -> set[str]:
        """Return the public halves of the VAPID keys that were retired."""
        return {key.decode() for key in cast("set[bytes]", self._redis.smembers(_RETIRED))}

    def note_backup(self, backup: Backup) -> None:
        """Note that the keys were printed for a backup."""
        self._redis.hset(_KEYS, "backup", json.dumps(backup))

    def backup(self) -> Backup | None:
        """Return the last backup of the keys."""
        row = cast("bytes | None", self._redis.hget(_KEYS, "backup"))
        return None if row is None else Backup(*json.loads(row))

    def note_refused_origin(self, origin: str) -> None:
        """Note that a page of another origin than `SITE_ORIGINS` calls us; the oldest give way."""
        self._note_origin(_REFUSED, origin, _MOST_REFUSED, REFUSED_ORIGINS_KEPT)

    def note_seen_origin(self, origin: str) -> None:
        """Note that a page of this origin, which is in `SITE_ORIGINS`, has called us."""
        self._note_origin(_SEEN, origin, _MOST_SEEN, SEEN_ORIGINS_KEPT)

    def _note_origin(self, key: str, origin: str, most: int, kept: int) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(key, {origin: clock.time()})
            pipe.zremrangebyrank(key, 0, -most - 1)
            pipe.expire(key, kept)
            pipe.execute()

    def seen_origins(self) -> dict[str, float]:
        """Return these origins and when each called last, the latest first."""
        since = clock.time() - SEEN_ORIGINS_KEPT
        rows = self._redis.zrevrangebyscore(_SEEN, "+inf", since, withscores=True)
        return {origin.decode(): at for origin, at in cast("list[tuple[bytes, float]]", rows)}

    def refused_origins(self) -> list[str]:
        """Return these origins, the latest first."""
        since = clock.time() - REFUSED_ORIGINS_KEPT
        rows = cast("list[bytes]", self._redis.zrevrangebyscore(_REFUSED, "+inf", since))
        return [row.decode() for row in rows]

    def mark_synthetic(self) -> None:
        """Note that the subscriptions of this store are pretended."""
        self._redis.hset(_LAYOUT, "synthetic", "1")

    def unmark_synthetic(self) -> None:
        """Note that no subscription of this store is pretended any more."""
        self._redis.hdel(_LAYOUT, "synthetic")

    def synthetic(self) -> bool:
        """Whether `stoppress seed` filled this store."""
        return bool(self._redis.hexists(_LAYOUT, "synthetic"))
