"""Editors' own browsers, to which the desk sends tests of alerts. In the slot `{g}`.

pairing:<digest>       a code that pairs one browser, as JSON: its editor and, once a browser has
                       used it, that browser; ends by itself
paired:<subscription>  the editor whose browser it is, as JSON; ends by itself after the last test
paired:by:<digest>     set: subscriptions of an editor's browsers, also of some that are not paired
                       any more; ends by itself
paired:sent:<digest>   how often an editor has sent tests lately; ends by itself
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.retention import (
    MINUTE,
    PAIRED_KEPT,
    PAIRING_CODE_KEPT,
    PAIRING_KEPT,
)
from service.model.stored import known_fields
from service.model.tokens import digest
from service.store.redis_servers.scripts import COUNT

_VERSION = 1

# KEYS: pairing. ARGV: what is to be stored of the browser, as JSON; seconds until its editor must
# have confirmed. Returns the editor; nothing if the code was used or has ended. The first write
# allocates.
_CLAIM = """
local kept = redis.call('GET', KEYS[1])
local pairing = kept and cjson.decode(kept)
if not pairing or pairing.browser then return false end
pairing.browser = cjson.decode(ARGV[1])
redis.call('SET', KEYS[1], cjson.encode(pairing), 'EX', ARGV[2])
return pairing.by
"""

# KEYS: pairing, paired, the editor's browsers. ARGV: what the code was when it was read, the
# subscription, what is to be stored of it, most browsers of one editor, seconds they are kept.
# Returns `paired`; `over` if the code has changed or ended; `full`. The first write allocates.
_CONFIRM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'over' end
local known = redis.call('SISMEMBER', KEYS[3], ARGV[2])
if redis.call('SCARD', KEYS[3]) - known >= tonumber(ARGV[4]) then return 'full' end
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[5])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[5])
redis.call('DEL', KEYS[1])
return 'paired'
"""

# KEYS: paired, the editor's browsers. ARGV: editor, now, seconds it is kept. The first write
# overwrites.
_NOTE_USE = """
local kept = redis.call('GET', KEYS[1])
local row = kept and cjson.decode(kept)
if not row or row.by ~= ARGV[1] then return end
row.used_at = tonumber(ARGV[2])
redis.call('SET', KEYS[1], cjson.encode(row), 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""

# KEYS: the editor's browsers, paired. ARGV: editor, subscription. The first write frees.
_UNPAIR = """
redis.call('SREM', KEYS[1], ARGV[2])
local kept = redis.call('GET', KEYS[2])
if kept and cjson.decode(kept).by == ARGV[1] then redis.call('DEL', KEYS[2]) end
"""


class PairedRow(NamedTuple):
    """A browser of an editor. Times are seconds since 1970."""

    subscription: str
    stamp: str  # of its endpoint and keys: other keys are another browser
    browser: str  # its name and system; empty: not known
    by: str = ""  # the editor; empty before the editor has confirmed
    paired_at: int = 0  # before that: when the browser has used the code
    used_at: int = 0  # the last test; 0: none yet


class Pairing(NamedTuple):
    """A code that has not ended."""

    by: str  # the editor who made it
    browser: PairedRow | None  # that has used it
    text: str  # as it is stored


class PairedBrowsers:
    """The browsers of all editors, and the codes that pair others."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = redis.register_script(_CLAIM)
        self._confirm = redis.register_script(_CONFIRM)
        self._note_use = redis.register_script(_NOTE_USE)
        self._unpair = redis.register_script(_UNPAIR)
        self._count = redis.register_script(COUNT)

    # -- codes -----------------------------------------------------------------------------------

    def begin(self, code: str, by: str) -> None:
        """Store a code of an editor."""
        kept = json.dumps({"v": _VERSION, "by": by})
        self._redis.set(_pairing_key(code), kept, ex=PAIRING_CODE_KEPT)

    def pairing(self, code: str) -> Pairing | None:
        """Return what is known of a code; None if it has ended."""
        kept = cast("bytes | None", self._redis.get(_pairing_key(code)))
        if kept is None:
            return None
        row = json.loads(kept)
        browser = _row(row["browser"]) if "browser" in row else None
        return Pairing(row["by"], browser, kept.decode())

    def claim(self, code: str, browser: PairedRow) -> str | None:
        """Use a code up for a browser and return its editor; None if it was used or has ended."""
        args: list[str | int] = [_text(browser), PAIRING_KEPT]
        found = cast("bytes | None", self._claim(keys=[_pairing_key(code)], args=args))
        return None if found is None else found.decode()

    def confirm(self, code: str, pairing: Pairing, row: PairedRow, most: int) -> str:
        """Store the browser that has used a code: `paired`, `over` or `full`.

        `pairing` is what was read of the code; `full` if its editor has so many browsers.
        """
        keys = [_pairing_key(code), _paired_key(row.subscription), _browsers_of(row.by)]
        args: list[str | int] = [pairing.text, row.subscription, _text(row), most, PAIRED_KEPT]
        return cast(bytes, self._confirm(keys=keys, args=args)).decode()

    def end(self, code: str) -> None:
        """End a code, whether or not a browser has used it."""
        self._redis.delete(_pairing_key(code))

    # -- paired browsers -------------------------------------------------------------------------

    def of(self, by: str) -> list[PairedRow]:
        """Return the browsers of an editor."""
        names = sorted(cast("set[bytes]", self._redis.smembers(_browsers_of(by))))
        found = [(name.decode(), self.find(name.decode())) for name in names]
        for name, row in found:
            if row is None or row.by != by:
                self.unpair(by, name)  # it has ended, or is another editor's by now
        return [row for _, row in found if row is not None and row.by == by]

    def find(self, subscription: str) -> PairedRow | None:
        """Return a paired browser by its subscription."""
        kept = cast("bytes | None", self._redis.get(_paired_key(subscription)))
        return None if kept is None else _row(json.loads(kept))

    def unpair(self, by: str, subscription: str) -> None:
        """Forget a browser, if it is this editor's."""
        keys = [_browsers_of(by), _paired_key(subscription)]
        self._unpair(keys=keys, args=[by, subscription])

    def keys_of(self, by: str) -> list[str]:
        """Return the keys of an editor's browsers, for the script that removes the editor."""
        return [_browsers_of(by), *(_paired_key(row.subscription) for row in self.of(by))]

    def forget(self, subscription: str) -> None:
        """Forget a browser, no matter which editor paired it."""
        if (row := self.find(subscription)) is not None:
            self.unpair(row.by, subscription)

    def note_use(self, row: PairedRow, now: int) -> None:
        """Note that a test was sent to a browser."""
        keys = [_paired_key(row.subscription), _browsers_of(row.by)]
        self._note_use(keys=keys, args=[row.by, now, PAIRED_KEPT])

    def count(self, by: str) -> int:
        """Count that an editor sends tests; return how often that was within a minute."""
        return cast(int, self._count(keys=[f"{{g}}:paired:sent:{_code(by)}"], args=[MINUTE]))


def _code(by: str) -> str:
    return digest(by)[:32]


def _pairing_key(code: str) -> str:
    return f"{{g}}:pairing:{digest(code)}"


def _paired_key(subscription: str) -> str:
    return f"{{g}}:paired:{subscription}"


def _browsers_of(by: str) -> str:
    return f"{{g}}:paired:by:{_code(by)}"


def _text(row: PairedRow) -> str:
    return json.dumps({"v": _VERSION, **row._asdict()})


def _row(stored: dict[str, Any]) -> PairedRow:
    return PairedRow(**known_fields(PairedRow, stored))
