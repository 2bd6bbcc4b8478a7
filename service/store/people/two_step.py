"""What editors sign in with after the password: a secret that an app makes codes of.

{g}:two_step          hash: e-mail address -> a row as JSON: the sealed secret, the last half minute
                      for which a code was accepted, digests of the recovery codes that are left
{g}:two_step:<email>  a sealed secret of which no code was entered yet, or just now, and its sealed
                      recovery codes, as JSON; ends by itself
"""

from __future__ import annotations

import json
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import TWO_STEP_BEGUN_KEPT, TWO_STEP_REPEATED
from service.store.people.passkeys import EDITORS

TWO_STEP = "{g}:two_step"
_VERSION = 1

# KEYS: two_step, begun, editors. ARGV: email, row, seconds for which what was begun is kept.
# Returns 1, also if the same code has switched it on already and no other was entered since; 0 if
# something else was begun, or the editor was removed meanwhile. The first write allocates.
_SWITCH_ON = """
local begun, row = redis.call('GET', KEYS[2]), cjson.decode(ARGV[2])
if not begun or cjson.decode(begun).secret ~= row.secret then return 0 end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 0 then return 0 end
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  kept = cjson.decode(kept)
  return (kept.secret == row.secret and kept.step == row.step) and 1 or 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# KEYS: two_step. ARGV: email, half minute (0: a recovery code was given), digest of a recovery
# code, the secret as it is to be kept. Returns 1, once for each code. The first write allocates.
_USE = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local row = kept and cjson.decode(kept)
if not row then return 0 end
local step = tonumber(ARGV[2])
if step > 0 then
  if step <= row.step then return 0 end
  row.step = step
else
  local left = {}
  for _, code in ipairs(row.codes) do
    if code ~= ARGV[3] then left[#left + 1] = code end
  end
  if #left == #row.codes then return 0 end
  row.codes = left
end
row.secret = ARGV[4]
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(row))
return 1
"""


class TwoStepRow(NamedTuple):
    """The second step of an editor who has switched it on."""

    secret: str  # sealed
    step: int  # the last half minute since 1970 for which a code was accepted
    codes: tuple[str, ...]  # digests of the recovery codes that are left


class Begun(NamedTuple):
    """A second step that an editor sets up, and has not confirmed by a code yet."""

    secret: str  # sealed
    codes: str  # the recovery codes, sealed


class TwoStepRows:
    """The rows of all editors, and the second steps that are being set up."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._switch_on = redis.register_script(_SWITCH_ON)
        self._use = redis.register_script(_USE)

    def find(self, email: str) -> TwoStepRow | None:
        """Return the row of an editor; None if there is none."""
        kept = cast("bytes | None", self._redis.hget(TWO_STEP, email))
        return None if kept is None else _read(kept)

    def emails(self) -> set[str]:
        """Return who has a row."""
        return {email.decode() for email in cast("list[bytes]", self._redis.hkeys(TWO_STEP))}

    def begin(self, email: str, begun: Begun) -> None:
        """Store, for some minutes, a second step that an editor sets up."""
        kept = json.dumps({"v": _VERSION, **begun._asdict()})
        self._redis.set(begun_key(email), kept, ex=TWO_STEP_BEGUN_KEPT)

    def begun(self, email: str) -> Begun | None:
        """Return the second step that an editor sets up; None if there is none."""
        kept = cast("bytes | None", self._redis.get(begun_key(email)))
        if kept is None or not kept.startswith(b"{"):  # an earlier release stored the secret alone
            return None
        row = json.loads(kept)
        return Begun(row["secret"], row["codes"])

    def add(self, email: str, row: TwoStepRow) -> bool:
        """Switch on the second step that was set up; False if it is another one, or has ended.

        A call that is repeated with the same first code succeeds too, for some time.
        """
        kept = json.dumps({"v": _VERSION, **row._asdict()})
        args: list[str | int] = [email, kept, TWO_STEP_REPEATED]
        return bool(self._switch_on(keys=[TWO_STEP, begun_key(email), EDITORS], args=args))

    def use_code(self, email: str, step: int, secret: str) -> bool:
        """Accept the code of a half minute; False if it or a later one was accepted before.

        `secret` is the sealed secret as it is to be kept from now on.
        """
        return bool(self._use(keys=[TWO_STEP], args=[email, step, "", secret]))

    def use_recovery_code(self, email: str, digest: str, secret: str) -> bool:
        """Accept a recovery code; False if there is no such code, or it was used before."""
        return bool(self._use(keys=[TWO_STEP], args=[email, 0, digest, secret]))

    def remove(self, email: str) -> None:
        """Delete the row of an editor, and a second step that is being set up."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hdel(TWO_STEP, email)
            pipe.delete(begun_key(email))
            pipe.execute()


def begun_key(email: str) -> str:
    """Return the key of what an editor has begun."""
    return f"{{g}}:two_step:{email}"


def _read(text: bytes) -> TwoStepRow:
    row = json.loads(text)
    codes = tuple(row["codes"])  # Lua writes an empty list as an empty object
    return TwoStepRow(row["secret"], int(row["step"]), codes)
