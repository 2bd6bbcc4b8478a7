"""What editors sign in with after the password: a secret that an app makes codes of.

{g}:two_step          hash: e-mail address -> a row as JSON: the sealed secret, the last half minute
                      for which a code was accepted, digests of the recovery codes that are left
{g}:two_step:<email>  a sealed secret of which no code was entered yet; ends by itself
"""

from __future__ import annotations

import json
from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import TWO_STEP_BEGUN_KEPT

TWO_STEP = "{g}:two_step"
_VERSION = 1

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
    """What is stored of an editor who signs in in two steps."""

    secret: str  # sealed
    step: int  # the last half minute since 1970 for which a code was accepted
    codes: tuple[str, ...]  # digests of the recovery codes that are left


class TwoStepRows:
    """The rows of all editors, and the secrets that are to become some."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._use = redis.register_script(_USE)

    def find(self, email: str) -> TwoStepRow | None:
        """Return the row of an editor; None if there is none."""
        kept = cast("bytes | None", self._redis.hget(TWO_STEP, email))
        return None if kept is None else _read(kept)

    def emails(self) -> set[str]:
        """Return who has a row."""
        return {email.decode() for email in cast("list[bytes]", self._redis.hkeys(TWO_STEP))}

    def begin(self, email: str, secret: str) -> None:
        """Store a sealed secret for some minutes."""
        self._redis.set(_begun_key(email), secret, ex=TWO_STEP_BEGUN_KEPT)

    def begun(self, email: str) -> str | None:
        """Return the secret that was stored for some minutes; None if there is none."""
        kept = cast("bytes | None", self._redis.get(_begun_key(email)))
        return None if kept is None else kept.decode()

    def add(self, email: str, row: TwoStepRow) -> None:
        """Store the row of an editor in place of the secret."""
        with self._redis.pipeline() as pipe:
            pipe.hset(TWO_STEP, email, json.dumps({"v": _VERSION, **row._asdict()}))
            pipe.delete(_begun_key(email))
            pipe.execute()

    def use_code(self, email: str, step: int, secret: str) -> bool:
        """Accept the code of a half minute; False if it or a later one was accepted before.

        `secret` is the sealed secret as it is to be kept from now on.
        """
        return bool(self._use(keys=[TWO_STEP], args=[email, step, "", secret]))

    def use_recovery_code(self, email: str, digest: str, secret: str) -> bool:
        """Accept a recovery code; False if there is no such code, or it was used before."""
        return bool(self._use(keys=[TWO_STEP], args=[email, 0, digest, secret]))

    def remove(self, email: str) -> None:
        """Delete the row of an editor."""
        self._redis.hdel(TWO_STEP, email)


def _begun_key(email: str) -> str:
    return f"{{g}}:two_step:{email}"


def _read(text: bytes) -> TwoStepRow:
    row = json.loads(text)
    codes = tuple(row["codes"])  # Lua writes an empty list as an empty object
    return TwoStepRow(row["secret"], int(row["step"]), codes)
