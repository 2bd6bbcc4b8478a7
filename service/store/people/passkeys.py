"""Passkeys of editors: the public halves of keys that their phones, computers and tokens keep.

{g}:passkeys            hash: id of a credential -> a row as JSON: the editor's address, a name, the
                        public key, how often its device says that it was used, when it was added
                        and last used
{g}:challenge:<digest>  a challenge that was answered; ends by itself
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.retention import CHALLENGE_KEPT
from service.model.stored import known_fields

PASSKEYS = "{g}:passkeys"
EDITORS = "{g}:editors"  # of `access.py`, whose script that removes an editor removes passkeys too
_VERSION = 1

# KEYS: passkeys, challenge, editors. ARGV: id, row, most passkeys of an editor, seconds. Returns
# 'added'; 'gone' if the editor was removed meanwhile, 'known' if there is such a credential, 'full'
# if the editor has so many, 'late' if the challenge was answered before. The first write allocates.
_ADD = """
local email = cjson.decode(ARGV[2]).email
if redis.call('HEXISTS', KEYS[3], email) == 0 then return 'gone' end
local kept, own = redis.call('HGETALL', KEYS[1]), 0
for at = 1, #kept, 2 do
  if kept[at] == ARGV[1] then return 'known' end
  if cjson.decode(kept[at + 1]).email == email then own = own + 1 end
end
if own >= tonumber(ARGV[3]) then return 'full' end
if not redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[4]) then return 'late' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'added'
"""

# KEYS: passkeys, challenge. ARGV: id, count, seconds. Returns 1 once for each challenge; 0 also if
# there is no such credential, or if the count is not higher than before. A device that counts
# nothing says 0 each time. The first write allocates.
_USE = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local row, count = kept and cjson.decode(kept), tonumber(ARGV[2])
if not row then return 0 end
if (count > 0 or row.uses > 0) and count <= row.uses then return 0 end
if not redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[3]) then return 0 end
row.uses, row.used_at = count, tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(row))
return 1
"""


class Passkey(NamedTuple):
    """A passkey of an editor. Times are seconds since 1970."""

    id: str  # base64url, as browsers call it
    email: str
    name: str
    public_key: str  # COSE, base64url
    uses: int  # as its device counts them; 0: the device counts nothing
    added_at: int
    used_at: int = 0  # 0: not yet


class PasskeyRows:
    """The passkeys of all editors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._use = redis.register_script(_USE)

    def all(self) -> list[Passkey]:
        """Return all passkeys, the first added first."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(PASSKEYS))
        found = [_read(id.decode(), text) for id, text in rows.items()]
        return sorted(found, key=lambda one: (one.added_at, one.id))

    def find(self, id: str) -> Passkey | None:
        """Return a passkey; None if there is none with this id."""
        kept = cast("bytes | None", self._redis.hget(PASSKEYS, id))
        return None if kept is None else _read(id, kept)

    def add(self, one: Passkey, challenge: str, most: int) -> str:
        """Store a passkey with which the challenge of this digest was answered.

        Returns `added`; or `gone` if there is no such editor, `known`, `full` if the editor has
        `most`, `late` if the challenge was answered before.
        """
        row: dict[str, Any] = {"v": _VERSION, **one._asdict()}
        del row["id"]
        args: list[str | int] = [one.id, json.dumps(row), most, CHALLENGE_KEPT]
        keys = [PASSKEYS, _key(challenge), EDITORS]
        return cast(bytes, self._add(keys=keys, args=args)).decode()

    def use(self, id: str, count: int, challenge: str) -> bool:
        """Note that a passkey has answered a challenge; False if that does not count."""
        keys = [PASSKEYS, _key(challenge)]
        return bool(self._use(keys=keys, args=[id, count, CHALLENGE_KEPT]))

    def remove(self, id: str) -> None:
        """Delete a passkey."""
        self._redis.hdel(PASSKEYS, id)


def _key(challenge: str) -> str:
    return f"{{g}}:challenge:{challenge}"


def _read(id: str, text: bytes) -> Passkey:
    row = json.loads(text)
    return Passkey(id, **known_fields(Passkey, row))
