"""Who may use the desk and the API: editors, sign-in links, sessions, API tokens, guesses.

{g}:editors           hash: e-mail address -> password hash, empty before the first sign-in
{g}:tokens            hash: digest of an API token -> name, scopes and date as JSON
{g}:link:<email>      digest of that editor's one-time sign-in link, the latest one; ends by itself.
                      The one without an address is for the first editor
{g}:session:<digest>  a session as JSON; ends by itself
{g}:guesses:<code>    attempts to sign in; ends by itself
{g}:known:<code>      an editor signed in from this network lately; ends by itself
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from redis import Redis

from service.model.retention import (
    NETWORK_KEPT,
    SESSION_IDLE,
    SESSION_KEPT,
    SIGN_IN_LINK_KEPT,
)
from service.store.commands import some_at_once
from service.store.connection import WRITE_REFUSED

_EDITORS = "{g}:editors"
_TOKENS = "{g}:tokens"

# KEYS: session. ARGV: email, stamp, seconds it may be idle, seconds it lasts. The first write
# allocates.
_START = """
local session = {email = ARGV[1], stamp = ARGV[2], ends = redis.call('TIME')[1] + ARGV[4]}
redis.call('SET', KEYS[1], cjson.encode(session), 'EX', math.min(ARGV[3], ARGV[4]))
"""

# KEYS: session. ARGV: seconds it may be idle. Lets it live on, but not beyond its end. The first
# write frees, or needs no memory.
_PROLONG = """
local kept = redis.call('GET', KEYS[1])
if not kept then return end
local left = cjson.decode(kept).ends - redis.call('TIME')[1]
redis.call('EXPIRE', KEYS[1], math.floor(math.min(ARGV[1], left)))
"""

# KEYS: session, link, editors. ARGV: as for _START, then the link's digest, the new password hash
# (empty: keep the old one), and whether the link is for the first editor. Returns 0 if the link
# was used or replaced meanwhile, or there is an editor by now. The first write allocates.
_USE_LINK = f"""
if redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
if ARGV[7] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
{_START}
if ARGV[6] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[6]) end
redis.call('DEL', KEYS[2])
return 1
"""

# KEYS: counter. ARGV: seconds. Returns how often it was counted in them. The first write allocates.
_COUNT = """
local times = redis.call('INCR', KEYS[1])
if times == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return times
"""


class Session(NamedTuple):
    """A stored session."""

    email: str
    stamp: str  # of the password with which it began


class Access:
    """Editors, sign-in links, sessions and API tokens; of secrets only digests are stored."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._start = redis.register_script(_START)
        self._prolong = redis.register_script(_PROLONG)
        self._use_link = redis.register_script(_USE_LINK)
        self._count = redis.register_script(_COUNT)

    # -- editors ---------------------------------------------------------------------------------

    def editors(self) -> dict[str, str]:
        """Return all editors in order: e-mail address -> password hash, empty before the first."""
        kept = cast(dict[bytes, bytes], self._redis.hgetall(_EDITORS))
        return dict(sorted((email.decode(), hash.decode()) for email, hash in kept.items()))

    def has_editors(self) -> bool:
        """Whether there is an editor."""
        return bool(self._redis.exists(_EDITORS))

    def password_hash(self, email: str) -> str | None:
        """Return an editor's password hash, empty before the first sign-in; None: no editor."""
        found = cast("bytes | None", self._redis.hget(_EDITORS, email))
        return None if found is None else found.decode()

    def add_editor(self, email: str, password_hash: str = "") -> None:
        """Store an editor, at first without a password; a known one stays as it is."""
        self._redis.hsetnx(_EDITORS, email, password_hash)

    def remove_editor(self, email: str) -> bool:
        """Remove an editor and the sign-in link; False if there is no such editor."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_EDITORS, email)
            pipe.delete(_link_key(email))
            return bool(pipe.execute()[0])

    # -- sign-in links ---------------------------------------------------------------------------

    def keep_sign_in_link(self, digest: str, email: str) -> None:
        """Store the digest of a link's secret; the editor's earlier link ends."""
        self._redis.set(_link_key(email), digest, ex=SIGN_IN_LINK_KEPT)

    def sign_in_link(self, digest: str) -> str | None:
        """Return whose link this is, empty for the first editor; None: no such link."""
        for emails in some_at_once(["", *self.editors()]):
            kept = self._redis.mget([_link_key(email) for email in emails])
            for email, one in zip(emails, kept, strict=True):
                if one == digest.encode():
                    return email
        return None

    def link_seconds(self, emails: Sequence[str]) -> list[int]:
        """Return for how many seconds the link of each editor still works; 0: there is none."""
        with self._redis.pipeline(transaction=False) as pipe:
            for email in emails:
                pipe.ttl(_link_key(email))
            return [max(0, seconds) for seconds in (pipe.execute() if emails else [])]

    def use_sign_in_link(
        self, link: str, email: str, password_hash: str, session: str, stamp: str, *, first: bool
    ) -> bool:
        """Use a link up, set the password (empty: keep it) and start a session, or do nothing.

        `link` and `session` are digests. False if the link no longer works: it was used or replaced
        meanwhile, or was for the `first` editor and there is one by now.
        """
        keys = [_session_key(session), _link_key("" if first else email), _EDITORS]
        args: list[str | int] = [email, stamp, SESSION_IDLE, SESSION_KEPT]
        args += [link, password_hash, int(first)]
        return bool(self._use_link(keys=keys, args=args))

    # -- sessions --------------------------------------------------------------------------------

    def start_session(self, digest: str, email: str, stamp: str) -> None:
        """Store a session; it ends by itself."""
        self._start(keys=[_session_key(digest)], args=[email, stamp, SESSION_IDLE, SESSION_KEPT])

    def session(self, digest: str, *, prolong: bool) -> Session | None:
        """Return a session; None if it has ended. `prolong`: its editor has just done something."""
        key = _session_key(digest)
        kept = cast("bytes | None", self._redis.get(key))
        if kept is None:
            return None
        if prolong:
            with suppress(*WRITE_REFUSED):  # a Redis that takes no writes can still be read
                self._prolong(keys=[key], args=[SESSION_IDLE])
        row = json.loads(kept)
        return Session(row["email"], row["stamp"])

    def end_session(self, digest: str) -> None:
        """End a session."""
        self._redis.delete(_session_key(digest))

    # -- guesses ---------------------------------------------------------------------------------

    def count_guess(self, code: str, seconds: int) -> int:
        """Count one guess under a code; return how many there were in so many seconds.

        `RedisError` if Redis cannot count: then nobody may guess.
        """
        return cast(int, self._count(keys=[_guesses_key(code)], args=[seconds]))

    def note_success(self, network: str, guesses: Iterable[str]) -> None:
        """Note that an editor signed in from a network, and forget the guesses under these codes.

        The code `network` stands for both, the editor and the network.
        """
        with self._redis.pipeline() as pipe:
            pipe.delete(*map(_guesses_key, guesses))
            pipe.set(f"{{g}}:known:{network}", "", ex=NETWORK_KEPT)
            pipe.execute()

    def knows_network(self, code: str) -> bool:
        """Whether that editor signed in from that network lately."""
        return bool(self._redis.exists(f"{{g}}:known:{code}"))

    # -- API tokens ------------------------------------------------------------------------------

    def add_token(self, digest: str, name: str, scopes: Iterable[str], created_at: float) -> None:
        """Store the digest of an API token."""
        row = {"name": name, "scopes": sorted(scopes), "created_at": created_at}
        self._redis.hset(_TOKENS, digest, json.dumps(row))

    def token(self, digest: str) -> dict[str, Any] | None:
        """Return `name`, `scopes` and `created_at` of an API token; None: no such token."""
        row = cast("bytes | None", self._redis.hget(_TOKENS, digest))
        return None if row is None else cast(dict[str, Any], json.loads(row))

    def tokens(self) -> dict[str, dict[str, Any]]:
        """Return the same of every API token, by its digest."""
        kept = cast(dict[bytes, bytes], self._redis.hgetall(_TOKENS))
        return {digest.decode(): json.loads(row) for digest, row in kept.items()}

    def remove_token(self, digest: str) -> bool:
        """Forget an API token; False if there is no such token."""
        return bool(self._redis.hdel(_TOKENS, digest))


def _link_key(email: str) -> str:
    return f"{{g}}:link:{email}"


def _session_key(digest: str) -> str:
    return f"{{g}}:session:{digest}"


def _guesses_key(code: str) -> str:
    return f"{{g}}:guesses:{code}"
