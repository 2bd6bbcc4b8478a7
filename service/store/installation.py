"""What a newsroom sets up once: topics, editors, API tokens, key fingerprints, tables of names."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Set
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.endpoints import Endpoint, any_may_name
from service.model.notifications import Topic

_LAYOUT = "{g}:layout"
_KEYS = "{g}:keys"
_RETIRED = "{g}:keys:retired"
_TOPICS = "{g}:topics"
_EDITORS = "{g}:editors"
_TOKENS = "{g}:tokens"
_TICKED = "{g}:clock:ticked"
_TOPICS_KNOWN_FOR = 1.0  # seconds

# KEYS: table. ARGV: name, most entries. Returns its number; 0 where the table is full.
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1]) + 1
if number > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""

# KEYS: who leads, when it last did. ARGV: name, ms. Returns 1 for the one that leads from now on.
# The first write frees: the clock goes on under `maxmemory`.
_LEAD = """
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], redis.call('TIME')[1])
return 1
"""


class Names:
    """A table of names and their numbers, from 1, that only grows; both ways, cached here."""

    def __init__(self, redis: Redis, kind: str, most: int = 65_535) -> None:
        self._redis = redis
        self._key = f"{{g}}:names:{kind}"
        self._most = most
        self._script = redis.register_script(_NUMBER)
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def number(self, name: str, most: int | None = None) -> int:
        """Return the number of `name`, given one if it is new; 0 for an empty name or no room.

        There is room for a new one where fewer than `most` are there.
        """
        if not name:
            return 0
        if name not in self._numbers:
            number = int(cast(int, self._script(keys=[self._key], args=[name, most or self._most])))
            if not number:
                return 0
            with self._lock:
                self._numbers[name], self._names[number] = number, name
        return self._numbers[name]

    def name(self, number: int) -> str:
        """Return the name with that number, or nothing where there is none."""
        if number and number not in self._names:
            self._load()
        return self._names.get(number, "")

    def all(self) -> dict[str, int]:
        """Return every name with its number, as of now."""
        self._load()
        return dict(self._numbers)

    def _load(self) -> None:
        table = cast(dict[bytes, bytes], self._redis.hgetall(self._key))
        numbers = {name.decode(): int(number) for name, number in table.items()}
        with self._lock:
            self._numbers = numbers
            self._names = {number: name for name, number in numbers.items()}


class Backup(NamedTuple):
    """When `stoppress keys backup` was last run, in seconds since 1970, and what it printed.

    `secret` is SECRET_KEY's fingerprint, `vapid` the public halves of the VAPID keys.
    """

    at: float
    secret: str
    vapid: list[str]


class Installation:
    """The small things of the installation, all in the slot of `{g}`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lead = redis.register_script(_LEAD)
        self._topics_seen: tuple[float, Set[str]] = (-math.inf, frozenset())  # when, which
        self.bases = Names(redis, "bases")
        self.zones = Names(redis, "zones", 2_000)
        self.locales = Names(redis, "locales", 2_000)
        self.vapid_keys = Names(redis, "vapid", 255)

    def base(self, endpoint: Endpoint) -> int:
        """Return the number of an endpoint's base; 0 where there is no room for it.

        Of hosts that anybody may invent under a wildcard 500 at most: each is a bitmap.
        """
        most = 500 if any_may_name(endpoint.origin) else None
        return self.bases.number(endpoint.base, most)

    def locale(self, tag: str) -> int:
        """Return the number of a locale, or of its language alone; 0 for none or no room.

        Anybody may name what nobody speaks: 500 at most, and the 676 languages of two letters.
        """
        language = tag[:2] if tag[2:3] in ("", "-") else ""
        return self.locales.number(tag, 500) or self.locales.number(language)

    def lead(self, name: str, lease_ms: int) -> bool:
        """Whether the clock called `name` leads for that long; one of several does."""
        return bool(self._lead(keys=["{g}:clock", _TICKED], args=[name, lease_ms]))

    def clock_age(self) -> float:
        """Return how many seconds ago a clock last did its work; infinity for never."""
        ticked = cast("bytes | None", self._redis.get(_TICKED))
        return max(0.0, self._redis.time()[0] - int(ticked)) if ticked else math.inf

    # -- layout and keys -------------------------------------------------------------------------

    def remember_layout(self, version: int, partitions: int) -> tuple[int, int]:
        """Return the version and partitions of this store; a new one takes those given."""
        kept = cast("list[bytes | None]", self._redis.hmget(_LAYOUT, "version", "partitions"))
        if None in kept:  # a write, which a full Redis refuses, only where there is nothing yet
            with self._redis.pipeline() as pipe:
                pipe.hsetnx(_LAYOUT, "version", str(version))
                pipe.hsetnx(_LAYOUT, "partitions", str(partitions))
                pipe.hmget(_LAYOUT, "version", "partitions")
                kept = pipe.execute()[-1]
        return int(cast(bytes, kept[0])), int(cast(bytes, kept[1]))

    def remember_secret(self, fingerprint: str) -> str:
        """Return the fingerprint of this store's SECRET_KEY; a new store takes the one given."""
        kept = cast("bytes | None", self._redis.hget(_KEYS, "secret"))
        if kept is None:
            self._redis.hsetnx(_KEYS, "secret", fingerprint)
            kept = cast(bytes, self._redis.hget(_KEYS, "secret"))
        return kept.decode()

    def replace_secret(self, fingerprint: str) -> None:
        """Take another SECRET_KEY: only for a store in which nothing depends on the old one."""
        self._redis.hset(_KEYS, "secret", fingerprint)

    def retire_vapid_key(self, public: str) -> None:
        """Note that nobody is to be subscribed with this VAPID key any more."""
        self._redis.sadd(_RETIRED, public)

    def retired_vapid_keys(self) -> set[str]:
        """Return the public halves of the VAPID keys that were retired."""
        return {key.decode() for key in cast("set[bytes]", self._redis.smembers(_RETIRED))}

    def note_backup(self, backup: Backup) -> None:
        """Remember that the keys were written down somewhere."""
        self._redis.hset(_KEYS, "backup", json.dumps(backup))

    def backup(self) -> Backup | None:
        """Return which keys were last written down."""
        row = cast("bytes | None", self._redis.hget(_KEYS, "backup"))
        return None if row is None else Backup(*json.loads(row))

    def mark_synthetic(self) -> None:
        """Note that the subscriptions of this store are pretended."""
        self._redis.hset(_LAYOUT, "synthetic", "1")

    def synthetic(self) -> bool:
        """Whether `stoppress seed` filled this store."""
        return bool(self._redis.hexists(_LAYOUT, "synthetic"))

    # -- topics ----------------------------------------------------------------------------------

    def topics(self) -> dict[str, Topic]:
        """Return the topics by slug, in the order in which they were made."""
        rows = cast(dict[bytes, bytes], self._redis.hgetall(_TOPICS))
        found = sorted((json.loads(row) for row in rows.values()), key=lambda said: said["order"])
        topics = {
            said["slug"]: Topic(said["slug"], said["name"], said["description"], said["default"])
            for said in found
        }
        self._topics_seen = (time.monotonic(), topics.keys())
        return topics

    def has_topics(self, slugs: Set[str]) -> bool:
        """Whether all of these are topics.

        A new one is at once; one that another process removes may be for a second longer. A
        reader who chooses it then follows what nobody can send to.
        """
        at, seen = self._topics_seen
        known = time.monotonic() - at < _TOPICS_KNOWN_FOR and slugs <= seen
        return known or slugs <= self.topics().keys()

    def add_topic(self, topic: Topic) -> bool:
        """Store a new topic; False where the slug is taken."""
        order = self._redis.incr("{g}:topics:made")
        return bool(self._redis.hsetnx(_TOPICS, topic.slug, _topic_row(topic, order)))

    def change_topic(self, topic: Topic) -> None:
        """Replace the words of a topic; it keeps its slug and its place."""
        row = cast("bytes | None", self._redis.hget(_TOPICS, topic.slug))
        if row is not None:
            self._redis.hset(_TOPICS, topic.slug, _topic_row(topic, json.loads(row)["order"]))

    def remove_topic(self, slug: str) -> bool:
        """Forget a topic; its followers are forgotten by `Subscriptions.forget_topic`."""
        removed = bool(self._redis.hdel(_TOPICS, slug))
        self._topics_seen = (-math.inf, frozenset())
        return removed

    # -- editors and API tokens ------------------------------------------------------------------

    def editors(self) -> list[str]:
        """Return the e-mail addresses of those who may use the desk."""
        return sorted(email.decode() for email in cast(list[bytes], self._redis.hkeys(_EDITORS)))

    def password_hash(self, email: str) -> str | None:
        """Return an editor's password hash, empty before the first sign-in; None: no such one."""
        found = cast("bytes | None", self._redis.hget(_EDITORS, email))
        return None if found is None else found.decode()

    def set_password_hash(self, email: str, password_hash: str) -> None:
        """Store an editor, new or known."""
        self._redis.hset(_EDITORS, email, password_hash)

    def keep_signin(self, digest: str, email: str, seconds: int) -> None:
        """Keep a one-time sign-in link: the digest of its secret, and whom it lets in."""
        self._redis.set(f"{{g}}:signin:{digest}", email, ex=seconds)

    def signin(self, digest: str) -> str | None:
        """Return whom a link would let in, without using it up."""
        found = cast("bytes | None", self._redis.get(f"{{g}}:signin:{digest}"))
        return None if found is None else found.decode()

    def use_signin(self, digest: str) -> bool:
        """Use a link up; True for the one call that did."""
        return bool(self._redis.delete(f"{{g}}:signin:{digest}"))

    def add_token(self, digest: str, name: str, scopes: Iterable[str], created_at: float) -> None:
        """Keep an API token by its digest."""
        row = {"name": name, "scopes": sorted(scopes), "created_at": created_at}
        self._redis.hset(_TOKENS, digest, json.dumps(row))

    def token(self, digest: str) -> dict[str, Any] | None:
        """Return `name`, `scopes` and `created_at` of an API token."""
        row = cast("bytes | None", self._redis.hget(_TOKENS, digest))
        return None if row is None else cast(dict[str, Any], json.loads(row))


def _topic_row(topic: Topic, order: int) -> str:
    return json.dumps(
        {
            "slug": topic.slug,
            "name": topic.name,
            "description": topic.description,
            "default": topic.default,
            "order": order,
        }
    )
