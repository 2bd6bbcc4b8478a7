"""Tables of names: in records a small number stands for a name.

{g}:names:<kind>  hash: name -> number

Bases are freed when nobody is left there, since strangers can name hosts under a wildcard
(decision 76). A number is given again only after every process has forgotten what it meant.

{g}:hosts:unproven  hash: number -> when it was given (seconds since 1970), and the wildcard that
                    allows the host; until a push is accepted there
{g}:hosts:retired   hash: number -> when it was retired, and its name
{g}:hosts:free      set of numbers that may be given again
{g}:hosts:made      the highest number ever given
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection
from typing import NamedTuple, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.network.endpoints import Endpoint
from service.model.retention import NAMES_KNOWN
from service.model.time import clock
from service.store.redis_servers.commands import some_at_once

# KEYS: table. ARGV: name, most entries. Returns the number of the name; 0 if the table is full.
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1]) + 1
if number > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""


# KEYS: table, unproven, free, made. ARGV: name, wildcard that allows the host ('': none), most
# unproven bases under a wildcard, most bases, now. Returns the number of the base; 0 if there is no
# room. The first write allocates.
_BASE = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
if ARGV[2] ~= '' then
  local unproven = 0
  for _, row in ipairs(redis.call('HVALS', KEYS[2])) do
    if string.match(row, ' (.*)$') == ARGV[2] then unproven = unproven + 1 end
  end
  if unproven >= tonumber(ARGV[3]) then return 0 end
end
local made = math.max(tonumber(redis.call('GET', KEYS[4]) or 0), redis.call('HLEN', KEYS[1]))
number = tonumber(redis.call('SRANDMEMBER', KEYS[3]) or made + 1)
if number > tonumber(ARGV[4]) then return 0 end
redis.call('SET', KEYS[4], math.max(made, number))
redis.call('HSET', KEYS[1], ARGV[1], number)
redis.call('SREM', KEYS[3], number)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], number, ARGV[5] .. ' ' .. ARGV[2]) end
return number
"""

# KEYS: table, unproven, retired. ARGV: name, number, now. The first write frees.
_RETIRE = """
redis.call('HDEL', KEYS[2], ARGV[2])
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3] .. ' ' .. ARGV[1])
"""

# KEYS: retired, free. ARGV: number. The first write frees.
_RELEASE = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then redis.call('SADD', KEYS[2], ARGV[1]) end
"""

# KEYS: table, unproven, retired. ARGV: name, number, now, wildcard. The host has to prove itself
# again. Does nothing if a new number has the name. The first write allocates.
_RESTORE = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ' ' .. ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[2])
"""

MOST_UNPROVEN = 200  # bases under one wildcard; each has a bitmap as long as the highest id
_MOST_BASES = 65_535  # a record has two bytes for it
_UNPROVEN, _RETIRED = "{g}:hosts:unproven", "{g}:hosts:retired"
_FREE, _MADE = "{g}:hosts:free", "{g}:hosts:made"


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


class Unproven(NamedTuple):
    """A base at a host that anybody could make up, where no push was accepted yet."""

    since: int  # seconds since 1970
    wildcard: str  # that allows it


class Bases(NameTable):
    """The bases of endpoints. They can be freed, so that each process looks them up again."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, "bases", _MOST_BASES)
        self._base = redis.register_script(_BASE)
        self._retire = redis.register_script(_RETIRE)
        self._release = redis.register_script(_RELEASE)
        self._restore = redis.register_script(_RESTORE)
        self._loaded_at = -math.inf  # by the monotonic clock

    def of(self, endpoint: Endpoint) -> int:
        """Return the number of an endpoint's base; 0 if it is new and there is no room."""
        self._refresh()
        if endpoint.base not in self._numbers:
            args: list[EncodableT] = [endpoint.base, endpoint.wildcard]
            args += [MOST_UNPROVEN, _MOST_BASES]
            args.append(int(clock.time()))
            keys = [self._key, _UNPROVEN, _FREE, _MADE]
            number = int(cast(int, self._base(keys=keys, args=args)))
            if not number:
                return 0
            with self._lock:
                self._numbers[endpoint.base], self._names[number] = number, endpoint.base
        return self._numbers[endpoint.base]

    def is_new(self, endpoint: Endpoint) -> bool:
        """Whether no reader has an endpoint with this base."""
        self._refresh()
        if endpoint.base in self._numbers:
            return False
        return not self._redis.hexists(self._key, endpoint.base)

    def name(self, number: int) -> str:
        """Return the base with this number, also a retired one; empty if there is none."""
        self._refresh()
        return super().name(number)

    def unproven(self) -> dict[int, Unproven]:
        """Return the bases that have yet to prove that they are at a push service."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_UNPROVEN))
        found = {int(number): row.decode().split(" ", 1) for number, row in rows.items()}
        return {number: Unproven(int(since), under) for number, (since, under) in found.items()}

    def is_proven(self, number: int) -> bool:
        """Whether a push was accepted there, or nobody could have made up its host."""
        return not self._redis.hexists(_UNPROVEN, str(number))

    def prove(self, numbers: Collection[int]) -> None:
        """Note that a push was accepted at these bases."""
        for some in some_at_once(numbers):
            self._redis.hdel(_UNPROVEN, *map(str, some))

    def retire(self, number: int) -> None:
        """Take away the name of a base where nobody is left; a new reader there gets another."""
        if name := self.name(number):
            keys = [self._key, _UNPROVEN, _RETIRED]
            self._retire(keys=keys, args=[name, number, int(clock.time())])
            self._load()

    def retired(self) -> dict[int, int]:
        """Return the retired numbers, and when each was retired (seconds since 1970)."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_RETIRED))
        return {int(number): int(row.partition(b" ")[0]) for number, row in rows.items()}

    def release(self, number: int) -> None:
        """Let a retired number be given again."""
        self._release(keys=[_RETIRED, _FREE], args=[number])

    def restore(self, number: int, wildcard: str) -> None:
        """Give a retired base its name back, unless a new number has it."""
        args: list[EncodableT] = [self.name(number), number, int(clock.time()), wildcard]
        self._restore(keys=[self._key, _UNPROVEN, _RETIRED], args=args)

    def _refresh(self) -> None:
        if time.monotonic() - self._loaded_at > NAMES_KNOWN:
            self._load()

    def _load(self) -> None:
        retired = cast("dict[bytes, bytes]", self._redis.hgetall(_RETIRED))
        super()._load()
        with self._lock:
            for number, row in retired.items():
                self._names.setdefault(int(number), row.partition(b" ")[2].decode())
        self._loaded_at = time.monotonic()


class Names:
    """The four tables of names."""

    def __init__(self, redis: Redis) -> None:
        self.bases = Bases(redis)
        self.zones = NameTable(redis, "zones", 2_000)
        self.locales = NameTable(redis, "locales", 2_000)
        self.vapid_keys = NameTable(redis, "vapid", 255)

    def locale(self, tag: str) -> int:
        """Return the number of a locale, or that of its language alone; 0 for none.

        Anybody can make up a locale: at most 500 are taken, beside the 676 languages of two
        letters.
        """
        language = tag[:2] if tag[2:3] in ("", "-") else ""
        return self.locales.number(tag, 500) or self.locales.number(language)
