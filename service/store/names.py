"""Tables of names: in records a small number stands for a name.

{g}:names:<kind>  hash: name -> number
"""

from __future__ import annotations

import threading
from typing import cast

from redis import Redis

from service.model.endpoints import Endpoint

# KEYS: table. ARGV: name, most entries. Returns the number of the name; 0 if the table is full.
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1]) + 1
if number > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""


class NameTable:
    """Names and their numbers, from 1. It only grows, so both directions are cached here."""

    def __init__(self, redis: Redis, kind: str, most: int) -> None:
        self._redis = redis
        self._key = f"{{g}}:names:{kind}"
        self._most = most
        self._script = redis.register_script(_NUMBER)
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def number(self, name: str, most: int | None = None) -> int:
        """Return the number of `name`; a new name gets one.

        0 for an empty name, and for a new name if the table has `most` entries already.
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
        """Return the name with this number; empty if there is none."""
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


class Names:
    """The four tables of names."""

    def __init__(self, redis: Redis) -> None:
        self.bases = NameTable(redis, "bases", 65_535)
        self.zones = NameTable(redis, "zones", 2_000)
        self.locales = NameTable(redis, "locales", 2_000)
        self.vapid_keys = NameTable(redis, "vapid", 255)

    def base(self, endpoint: Endpoint) -> int:
        """Return the number of an endpoint's base; 0 if the table is full.

        At most 500 bases may be hosts that anybody can make up under a wildcard, because each
        base has a bitmap.
        """
        most = 500 if endpoint.made_up else None
        return self.bases.number(endpoint.base, most)

    def locale(self, tag: str) -> int:
        """Return the number of a locale, or that of its language alone; 0 for none.

        Anybody can make up a locale: at most 500 are taken, beside the 676 languages of two
        letters.
        """
        language = tag[:2] if tag[2:3] in ("", "-") else ""
        return self.locales.number(tag, 500) or self.locales.number(language)
