"""Who may use the desk and the API: editors, sign-in links, sessions, API tokens, guesses.

{g}:editors           hash: e-mail address -> password hash, empty before the first sign-in
{g}:people            hash: e-mail address -> role, and who added the editor when, as JSON. Editors
                      of earlier releases have none, and manage
{g}:signed_in         hash: e-mail address -> when that editor last signed in, seconds since 1970
{g}:tokens            hash: digest of an API token -> name, scopes, date and who made it, as JSON
{g}:tokens:used       hash: digest of an API token -> when it was last used, to the minute
{g}:link:<email>      digest of that editor's one-time sign-in link, the latest one; ends by itself.
                      The one without an address is for the first editor
{g}:session:<digest>  a session as JSON; ends by itself
{g}:sessions:<email>  digests of that editor's sessions, by their last visit; one that has ended is
                      in it for a day at most. Ends by itself
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
from service.model.stored import known_fields
from service.store.people.passkeys import EDITORS, PASSKEYS
from service.store.people.two_step import TWO_STEP, begun_key
from service.store.redis_servers.commands import some_at_once
from service.store.redis_servers.connection import WRITE_REFUSED
from service.store.redis_servers.scripts import COUNT

_PEOPLE = "{g}:people"
_SIGNED_IN = "{g}:signed_in"
_TOKENS = "{g}:tokens"
_USED = "{g}:tokens:used"
_PERSON_VERSION = 1

# KEYS: editors, people. ARGV: email, password hash, what `people` holds of the editor. The first
# editor manages. Returns 0 if there is such an editor. The first write allocates.
_ADD = """
local person = cjson.decode(ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 0 then person.role = 'manages' end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(person))
return 1
"""

# KEYS: editors, people, signed_in. Whether nobody would manage without an editor. Another editor
# who manages counts, but one who has never signed in does not stand in for one who has. Who signs
# in in other ways may have no password; of an editor of earlier releases that may be all.
_IS_LAST = """
local function manages(email)
  local person = redis.call('HGET', KEYS[2], email)
  return not person or cjson.decode(person).role == 'manages'
end
local function was_here(email, hash)
  return hash ~= '' or redis.call('HEXISTS', KEYS[3], email) == 1
end
local function is_last(email)
  local hash = redis.call('HGET', KEYS[1], email)
  if not hash or not manages(email) then return false end
  local here = was_here(email, hash)
  local kept = redis.call('HGETALL', KEYS[1])
  for i = 1, #kept, 2 do
    local stands_in = not here or was_here(kept[i], kept[i + 1])
    if kept[i] ~= email and stands_in and manages(kept[i]) then return false end
  end
  return true
end
"""

# KEYS: editors, people, signed_in. ARGV: email, the role's word, what `people` is to hold of an
# editor of an earlier release. The first write allocates.
_SET_ROLE = f"""
{_IS_LAST}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'unknown' end
if ARGV[2] ~= 'manages' and is_last(ARGV[1]) then return 'last' end
local person = cjson.decode(redis.call('HGET', KEYS[2], ARGV[1]) or ARGV[3])
person.role = ARGV[2]
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(person))
return 'done'
"""

# KEYS: editors, people, signed_in, two_step, link, passkeys, then what else is the editor's: the
# sessions, paired browsers and so on. ARGV: email. The first write frees.
_REMOVE = f"""
{_IS_LAST}
if is_last(ARGV[1]) then return 'last' end
local gone = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('DEL', KEYS[5])
local passkeys = redis.call('HGETALL', KEYS[6])
for at = 1, #passkeys, 2 do
  if cjson.decode(passkeys[at + 1]).email == ARGV[1] then
    redis.call('HDEL', KEYS[6], passkeys[at])
  end
end
for at = 7, #KEYS do redis.call('DEL', KEYS[at]) end
return gone == 1 and 'done' or 'unknown'
"""

# KEYS: session, the editor's sessions, signed_in, editors. ARGV: email, stamp, seconds it may be
# idle, seconds it lasts, digest, browser, by what the editor signed in. The first write allocates.
_START = """
local now = redis.call('TIME')[1]
local session = {email = ARGV[1], stamp = ARGV[2], ends = now + ARGV[4]}
session.browser, session.by = ARGV[6], ARGV[7]
redis.call('SET', KEYS[1], cjson.encode(session), 'EX', math.min(ARGV[3], ARGV[4]))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], now)
"""

# KEYS and ARGV: as for _START. Returns 0 if there is no such editor, or no longer.
_START_KNOWN = f"""
if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return 0 end
{_START}
return 1
"""

# KEYS: session, the editor's sessions. ARGV: seconds it may be idle, digest. Lets it live on, but
# not beyond its end. The first write frees, or needs no memory.
_PROLONG = """
local kept = redis.call('GET', KEYS[1])
if not kept then return end
local now = redis.call('TIME')[1]
local left = cjson.decode(kept).ends - now
redis.call('EXPIRE', KEYS[1], math.floor(math.min(ARGV[1], left)))
redis.call('ZADD', KEYS[2], now, ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
"""

# KEYS: link, editors. ARGV: digest, email (empty: the link is for the first editor), seconds.
# Returns 0 if there is no such editor, or no longer. The first write allocates.
_KEEP_LINK = """
if ARGV[2] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""

# KEYS: as for _START, then link, people. ARGV: as for _START, then the link's digest, the new
# password hash (empty: keep the old one), and what `people` is to hold of the first editor (empty:
# the link is not for the first one). Returns 0 if the link was used or replaced meanwhile, or
# there is an editor by now. The first write allocates.
_USE_LINK = f"""
if redis.call('GET', KEYS[5]) ~= ARGV[8] then return 0 end
if ARGV[10] ~= '' and redis.call('EXISTS', KEYS[4]) == 1 then return 0 end
{_START}
if ARGV[9] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[9]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[6], ARGV[1], ARGV[10]) end
redis.call('DEL', KEYS[5])
return 1
"""

# KEYS: a counter of guesses. The first write allocates.
_TAKE_BACK = """
if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('INCRBY', KEYS[1], -1) end
"""

# KEYS: tokens, used. ARGV: digest, time. The first write allocates.
_NOTE_USE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
"""


class Person(NamedTuple):
    """What is stored of an editor beside the password; by default, of one of an earlier release."""

    role: str = "manages"  # the word of a `Role`
    added_at: int = 0  # seconds since 1970; 0: not known
    added_by: str = ""  # an editor's address; empty: the operator

    def as_json(self) -> str:
        """Return it as it is stored."""
        return json.dumps({"v": _PERSON_VERSION, **self._asdict()})

    @classmethod
    def read(cls, text: bytes | None) -> Person:
        """Read what `as_json` wrote; fields that an earlier release lacks have their defaults."""
        row = json.loads(text) if text else {}
        return cls(**known_fields(cls, row))


class Session(NamedTuple):
    """A stored session."""

    email: str
    stamp: str  # of the editor, by the password with which it began
    ends: int = 0  # seconds since 1970
    browser: str = ""  # its name and system
    digest: str = ""
    by: str = ""  # by what the editor signed in; empty: an earlier release started it
    seen_at: int = 0  # the last visit; only `sessions` knows


class Access:
    """Editors, sign-in links, sessions and API tokens; of secrets only digests are stored."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._set_role = redis.register_script(_SET_ROLE)
        self._remove = redis.register_script(_REMOVE)
        self._start = redis.register_script(_START_KNOWN)
        self._prolong = redis.register_script(_PROLONG)
        self._keep_link = redis.register_script(_KEEP_LINK)
        self._use_link = redis.register_script(_USE_LINK)
        self._count = redis.register_script(COUNT)
        self._take_back = redis.register_script(_TAKE_BACK)
        self._note_use = redis.register_script(_NOTE_USE)

    # -- editors ---------------------------------------------------------------------------------

    def editors(self) -> dict[str, str]:
        """Return all editors in order: e-mail address -> password hash, empty before the first."""
        kept = cast(dict[bytes, bytes], self._redis.hgetall(EDITORS))
        return dict(sorted((email.decode(), hash.decode()) for email, hash in kept.items()))

    def people(self, emails: Iterable[str]) -> list[tuple[Person, int]]:
        """Return what is stored of these editors, and when each last signed in; 0: not known."""
        people = cast(dict[bytes, bytes], self._redis.hgetall(_PEOPLE))
        signed_in = cast(dict[bytes, bytes], self._redis.hgetall(_SIGNED_IN))
        return [
            (Person.read(people.get(email)), int(signed_in.get(email, 0)))
            for email in (email.encode() for email in emails)
        ]

    def has_editors(self) -> bool:
        """Whether there is an editor."""
        return bool(self._redis.exists(EDITORS))

    def find(self, email: str) -> tuple[str, Person] | None:
        """Return an editor's password hash, empty before the first sign-in, and the rest."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(EDITORS, email)
            pipe.hget(_PEOPLE, email)
            hash, person = cast("list[bytes | None]", pipe.execute())
        return None if hash is None else (hash.decode(), Person.read(person))

    def password_hash(self, email: str) -> str | None:
        """Return an editor's password hash, empty before the first sign-in; None: no editor."""
        found = self.find(email)
        return None if found is None else found[0]

    def add_editor(self, email: str, password_hash: str = "", person: Person | None = None) -> bool:
        """Store an editor, at first without a password; False for a known one, who stays as is."""
        args = [email, password_hash, (person or Person()).as_json()]
        return bool(self._add(keys=[EDITORS, _PEOPLE], args=args))

    def set_role(self, email: str, role: str) -> str:
        """Change a role: "done"; "unknown": no such editor; "last": nobody else manages."""
        args = [email, role, Person().as_json()]
        keys = [EDITORS, _PEOPLE, _SIGNED_IN]
        return cast(bytes, self._set_role(keys=keys, args=args)).decode()

    def remove_editor(self, email: str, browsers: Iterable[str] = ()) -> str:
        """Remove an editor with all that is stored; returns the same as `set_role`.

        `browsers`: keys of the paired ones. What is left of an unknown editor goes too.
        """
        keys = [EDITORS, _PEOPLE, _SIGNED_IN, TWO_STEP, _link_key(email), PASSKEYS]
        sessions = cast("list[bytes]", self._redis.zrange(_sessions_key(email), 0, -1))
        keys += [_sessions_key(email), *(_session_key(one.decode()) for one in sessions)]
        keys += [begun_key(email), *browsers]
        return cast(bytes, self._remove(keys=keys, args=[email])).decode()

    # -- sign-in links ---------------------------------------------------------------------------

    def keep_sign_in_link(self, digest: str, email: str) -> bool:
        """Store the digest of a link's secret; the editor's earlier link ends.

        False: there is no such editor, or no longer. The first editor's address is empty.
        """
        args: list[str | int] = [digest, email, SIGN_IN_LINK_KEPT]
        return bool(self._keep_link(keys=[_link_key(email), EDITORS], args=args))

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
        self, link: str, session: Session, password_hash: str, first: Person | None = None
    ) -> bool:
        """Use a link up, set the password (empty: keep it) and start a session, or do nothing.

        `link` is a digest; `first` is what to store of the first editor, if the link is for that
        one. False if the link no longer works: it was used or replaced meanwhile, or was for the
        first editor and there is one by now.
        """
        keys, args = _starting(session)
        keys += [_link_key("" if first else session.email), _PEOPLE]
        args += [link, password_hash, first.as_json() if first else ""]
        return bool(self._use_link(keys=keys, args=args))

    # -- sessions --------------------------------------------------------------------------------

    def start_session(self, session: Session) -> bool:
        """Store a session, which ends by itself; False: there is no such editor, or no longer."""
        keys, args = _starting(session)
        return bool(self._start(keys=keys, args=args))

    def session(self, digest: str, *, prolong: bool) -> Session | None:
        """Return a session; None if it has ended. `prolong`: its editor has just done something."""
        key = _session_key(digest)
        kept = cast("bytes | None", self._redis.get(key))
        if kept is None:
            return None
        session = _read_session(digest, kept)
        if prolong:
            with suppress(*WRITE_REFUSED):  # a Redis that takes no writes can still be read
                self._prolong(keys=[key, _sessions_key(session.email)], args=[SESSION_IDLE, digest])
        return session

    def sessions(self, emails: Sequence[str]) -> list[Session]:
        """Return the sessions of these editors, of each the last visited first.

        One that began under an earlier release is among them from its next visit on.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for email in emails:
                pipe.zrange(_sessions_key(email), 0, -1, desc=True, withscores=True)
            found = [pair for pairs in (pipe.execute() if emails else []) for pair in pairs]
        with self._redis.pipeline(transaction=False) as pipe:
            for digest, _ in found:
                pipe.get(_session_key(digest.decode()))
            kept = pipe.execute() if found else []
        return [
            _read_session(digest.decode(), text)._replace(seen_at=int(seen))
            for (digest, seen), text in zip(found, kept, strict=True)
            if text is not None
        ]

    def end_sessions(self, digests: Iterable[str]) -> None:
        """End sessions."""
        # Not as one transaction, of which a full Redis would refuse every command.
        with self._redis.pipeline(transaction=False) as pipe:
            for digest in digests:
                pipe.delete(_session_key(digest))
            pipe.execute()

    # -- guesses ---------------------------------------------------------------------------------

    def count_guess(self, code: str, seconds: int) -> int:
        """Count one guess under a code; return how many there were in so many seconds.

        `RedisError` if Redis cannot count: then nobody may guess.
        """
        return cast(int, self._count(keys=[_guesses_key(code)], args=[seconds]))

    def take_back_guess(self, code: str) -> None:
        """Count one guess less under a code: it was right."""
        self._take_back(keys=[_guesses_key(code)])

    def forget_guesses(self, codes: Iterable[str]) -> None:
        """Begin to count anew under these codes."""
        self._redis.delete(*map(_guesses_key, codes))

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

    def add_token(
        self, digest: str, name: str, scopes: Iterable[str], created_at: float, by: str = ""
    ) -> None:
        """Store the digest of an API token; `by` is the editor who makes it, if one does."""
        row = {"name": name, "scopes": sorted(scopes), "created_at": created_at, "by": by}
        self._redis.hset(_TOKENS, digest, json.dumps(row))

    def token(self, digest: str) -> dict[str, Any] | None:
        """Return `name`, `scopes`, `created_at` and, if it is no older token, `by` of a token."""
        row = cast("bytes | None", self._redis.hget(_TOKENS, digest))
        return None if row is None else cast(dict[str, Any], json.loads(row))

    def tokens(self) -> dict[str, dict[str, Any]]:
        """Return the same of every API token, by its digest."""
        kept = cast(dict[bytes, bytes], self._redis.hgetall(_TOKENS))
        return {digest.decode(): json.loads(row) for digest, row in kept.items()}

    def remove_token(self, digest: str) -> bool:
        """Forget an API token; False if there is no such token."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hdel(_TOKENS, digest)
            pipe.hdel(_USED, digest)
            return bool(pipe.execute()[0])

    def note_use(self, digest: str, now: int) -> None:
        """Note when an API token was used."""
        with suppress(*WRITE_REFUSED):  # a tool may call while Redis is full
            self._note_use(keys=[_TOKENS, _USED], args=[digest, now])

    def tokens_used(self) -> dict[str, int]:
        """Return when each API token was last used, in seconds since 1970, by its digest."""
        kept = cast(dict[bytes, bytes], self._redis.hgetall(_USED))
        return {digest.decode(): int(at) for digest, at in kept.items()}


def _link_key(email: str) -> str:
    return f"{{g}}:link:{email}"


def _session_key(digest: str) -> str:
    return f"{{g}}:session:{digest}"


def _sessions_key(email: str) -> str:
    return f"{{g}}:sessions:{email}"


def _starting(session: Session) -> tuple[list[str], list[str | int]]:
    """Return keys and arguments of _START."""
    keys = [_session_key(session.digest), _sessions_key(session.email), _SIGNED_IN, EDITORS]
    ends: list[str | int] = [SESSION_IDLE, SESSION_KEPT]
    rest = [session.digest, session.browser, session.by]
    return keys, [session.email, session.stamp, *ends, *rest]


def _read_session(digest: str, text: bytes) -> Session:
    row = json.loads(text)
    # Earlier releases stored neither of these.
    browser, by = row.get("browser", ""), row.get("by", "")
    return Session(row["email"], row["stamp"], int(row["ends"]), browser, digest, by)


def _guesses_key(code: str) -> str:
    return f"{{g}}:guesses:{code}"
