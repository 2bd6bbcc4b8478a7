"""Feeds that the newsroom watches, and what fetch processes are asked to read for them.

{g}:feeds              set of the ids of feeds
{g}:feeds:due          sorted set: id of a feed -> when it is to be read next
{g}:feeds:asked        hash: id of a feed -> id of the request that is under way, and when it began
{g}:feeds:hubs         hash: id of a feed -> id of the request that asks its hub to call us, until
                       its answer was taken
{g}:feed:<id>          hash: `made`, who added it when; `rules`, what its editor wants; `state`, how
                       it goes; `reading`, as it was last; `hub`, the subscription at its hub;
                       `pinged`, when that called last; `asked`, when it was asked for last
{g}:feed:<id>:items    what is remembered of its items, as JSON
{g}:feed:<id>:log      stream: what became of its latest items
{g}:feed:<id>:leaving  the subscription at the hub of a feed that was removed; it ends by itself
{g}:feed-request:<id>  hash: `asked`, what a fetch process is to do, as JSON; `result`, what came of
                       it. It ends by itself. Fetch processes see none of the other keys

All times are seconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis
from redis.typing import EncodableT

from service.model.retention import FEED_LEAVING_KEPT, FEED_REQUEST_KEPT
from service.store.redis_servers.scripts import KEEP_RESULT

MOST_FEEDS = 100
MOST_LOGGED = 200  # entries for each feed
LOST = 60  # seconds after which a request without a result is made again
BETWEEN = 2  # seconds between two readings that a hub asks for
_ID = re.compile("[0-9a-f]{12}")
_IDS, _DUE, _ASKED = "{g}:feeds", "{g}:feeds:due", "{g}:feeds:asked"
_HUBS = "{g}:feeds:hubs"

# KEYS: ids, due, feed. ARGV: id, made, rules, now, most feeds, the ids that the caller has seen.
# Returns 0 if there is no room, -1 if there is a feed that the caller has not seen. The first write
# allocates.
_ADD = """
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if not string.find(ARGV[6], id, 1, true) then return -1 end
end
redis.call('HSET', KEYS[3], 'made', ARGV[2], 'rules', ARGV[3])
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
return 1
"""

# KEYS: due, asked, feed. ARGV: id, rules as they were read, new rules, when it is read next ('': as
# before; '-': not at all), the state with which it begins anew ('': it goes on); what the feed has
# then is known and not alerted. Returns 0 if the rules are others by now. The first write
# allocates.
_CHANGE = """
if redis.call('HGET', KEYS[3], 'rules') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[3], 'rules', ARGV[3])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[3], 'state', ARGV[5])
  redis.call('HDEL', KEYS[3], 'reading', 'pinged', 'asked')
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[4] == '-' then redis.call('ZREM', KEYS[1], ARGV[1])
elseif ARGV[4] ~= '' then redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1]) end
return 1
"""

# KEYS: ids, due, asked, feed, items, log, leaving, hubs. ARGV: id, seconds for which its hub is
# known. Returns its subscription at a hub, if there is one. The first write frees.
_REMOVE = """
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[8], ARGV[1])
local hub = redis.call('HGET', KEYS[4], 'hub')
redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
if hub then redis.call('SET', KEYS[7], hub, 'EX', ARGV[2]) end
return hub
"""

# KEYS: due, asked, feed, request. ARGV: id, id of the request, what is to be done, now, seconds
# after which a request is lost, seconds for which this one is kept. Returns 0 if one is under way,
# or the feed is not to be read. The first write allocates.
_ASK = """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local before = redis.call('HGET', KEYS[2], ARGV[1])
local at = before and tonumber(string.match(before, ' (.*)$'))
if at and ARGV[4] - at < tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[4], 'asked', ARGV[3])
redis.call('EXPIRE', KEYS[4], ARGV[6])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. ARGV[4])
redis.call('HSET', KEYS[3], 'asked', ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[4] + ARGV[5], ARGV[1])
return 1
"""

# KEYS: due, asked, feed, request, items, log. ARGV: id, id of the request, state, reading ('': as
# before), items ('': as before), when it is read next ('-': not at all), seconds between readings
# for a hub, entries that the log keeps, new entries. Returns 0 if another request has taken its
# place. The first write frees.
_TAKE = """
local asked = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local request, at = string.match(asked, '^(%S+) (.*)$')
if request ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('UNLINK', KEYS[4])
redis.call('HSET', KEYS[3], 'state', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[3], 'reading', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('SET', KEYS[5], ARGV[5]) end
local pinged = tonumber(redis.call('HGET', KEYS[3], 'pinged') or 0)
if ARGV[6] == '-' then redis.call('ZREM', KEYS[1], ARGV[1])
elseif pinged > tonumber(at) then redis.call('ZADD', KEYS[1], at + ARGV[7], ARGV[1])
else redis.call('ZADD', KEYS[1], ARGV[6], ARGV[1]) end
for entry = 9, #ARGV do
  redis.call('XADD', KEYS[6], 'MAXLEN', ARGV[8], '*', 'entry', ARGV[entry])
end
return 1
"""

# KEYS: due, feed. ARGV: id, now, seconds between readings for a hub. A feed that is not read at all
# stays so. The first write allocates.
_PING = """
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due then return 0 end
redis.call('HSET', KEYS[2], 'pinged', ARGV[2])
local asked = tonumber(redis.call('HGET', KEYS[2], 'asked') or 0)
local at = math.max(tonumber(ARGV[2]), asked + ARGV[3])
if at < tonumber(due) then redis.call('ZADD', KEYS[1], at, ARGV[1]) end
return 1
"""

# KEYS: feed. ARGV: the subscription at its hub as it was read, or ''; as it is now. Returns 0 if it
# is another by now, or the feed was removed. The first write allocates.
_SET_HUB = """
if redis.call('HEXISTS', KEYS[1], 'rules') == 0 then return 0 end
if (redis.call('HGET', KEYS[1], 'hub') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'hub', ARGV[2])
return 1
"""


class FeedRow(NamedTuple):
    """A feed as it is stored; each part is JSON, and "" if there is none."""

    id: str
    made: str
    rules: str
    state: str
    hub: str
    due: float | None  # when it is read next; None: not at all
    asked: float | None  # since when it is being read; None: it is not


class UnderWay(NamedTuple):
    """A request that is under way for a feed."""

    feed: str  # its id
    request: str
    at: float  # when it was made
    result: str | None


class FeedRequests:
    """What fetch processes are asked to do, and what came of it. A fetch process has only this."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keep = redis.register_script(KEEP_RESULT)

    def get(self, id: str) -> str | None:
        """Return what is to be done; None if that is done, or has ended."""
        asked, result = cast(
            "list[bytes | None]", self._redis.hmget(_request(id), "asked", "result")
        )
        return None if asked is None or result is not None else asked.decode()

    def keep(self, id: str, result: str) -> None:
        """Store what came of it, unless it has ended meanwhile."""
        self._keep(keys=[_request(id)], args=["result", result, FEED_REQUEST_KEPT])

    def put(self, id: str, asked: str, feed: str = "") -> None:
        """Store what a hub is to be asked; its answer is taken if it is about a `feed`."""
        with self._redis.pipeline() as pipe:
            if feed:
                pipe.hset(_HUBS, feed, id)
            pipe.hset(_request(id), "asked", asked)
            pipe.expire(_request(id), FEED_REQUEST_KEPT)
            pipe.execute()


class Feeds:
    """All feeds, by id."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.requests = FeedRequests(redis)
        self._add, self._change = redis.register_script(_ADD), redis.register_script(_CHANGE)
        self._remove, self._ask = redis.register_script(_REMOVE), redis.register_script(_ASK)
        self._take, self._ping = redis.register_script(_TAKE), redis.register_script(_PING)
        self._set_hub = redis.register_script(_SET_HUB)

    # -- what editors do -------------------------------------------------------------------------

    def add(self, id: str, made: str, rules: str, now: float, seen: Iterable[str]) -> bool | None:
        """Store a new feed, which is to be read at once; False if there are `MOST_FEEDS`.

        None if there is a feed that was not `seen`: one with the same address, perhaps.
        """
        args: list[EncodableT] = [id, made, rules, now, MOST_FEEDS, " ".join(seen)]
        added = self._add(keys=[_IDS, _DUE, _key(id)], args=args)
        return None if added == -1 else bool(added)

    def change(
        self, id: str, before: str, rules: str, *, due: float | str | None = "", anew: str = ""
    ) -> bool:
        """Replace the rules that were read; False if they are others by now.

        `due` is when it is read next, None: not at all, "": as before. `anew` is the state with
        which it begins anew.
        """
        when = "-" if due is None else due
        args: list[EncodableT] = [id, before, rules, when, anew]
        return bool(self._change(keys=[_DUE, _ASKED, _key(id)], args=args))

    def remove(self, id: str) -> str:
        """Forget a feed; return its subscription at a hub as JSON, or ""."""
        more = [_key(id, part) for part in ("items", "log", "leaving")]
        keys = [_IDS, _DUE, _ASKED, _key(id), *more, _HUBS]
        hub = cast("bytes | None", self._remove(keys=keys, args=[id, FEED_LEAVING_KEPT]))
        return hub.decode() if hub else ""

    def get(self, id: str) -> FeedRow | None:
        """Return a feed, if there is one; `id` may be anything."""
        return next(iter(self._rows([id])), None) if _ID.fullmatch(id) else None

    def ids(self) -> list[str]:
        """Return the ids of all feeds."""
        return sorted(one.decode() for one in cast("set[bytes]", self._redis.smembers(_IDS)))

    def all(self) -> list[FeedRow]:
        """Return all feeds."""
        return self._rows(self.ids())

    def _rows(self, ids: Sequence[str]) -> list[FeedRow]:
        if not ids:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(_key(id), "made", "rules", "state", "hub")
                pipe.zscore(_DUE, id)
                pipe.hget(_ASKED, id)
            found = iter(pipe.execute())
        rows = []
        for id, parts, due, asked in zip(ids, found, found, found, strict=True):
            if parts[1] is not None:
                made, rules, state, hub = (part.decode() if part else "" for part in parts)
                at = None if asked is None else float(asked.split(b" ")[1])
                rows.append(FeedRow(id, made, rules, state, hub, due, at))
        return rows

    def reading(self, id: str) -> str:
        """Return the latest reading of a feed as JSON; "" if it was not read yet."""
        found = cast("bytes | None", self._redis.hget(_key(id), "reading"))
        return found.decode() if found else ""

    def items(self, id: str) -> str:
        """Return what is remembered of the items of a feed, as JSON; "" for nothing."""
        found = cast("bytes | None", self._redis.get(_key(id, "items")))
        return found.decode() if found else ""

    def log(self, id: str, most: int = MOST_LOGGED) -> list[str]:
        """Return what became of the latest items, the last one first; each is JSON."""
        rows = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]",
            self._redis.xrevrange(_key(id, "log"), count=most),
        )
        return [row[b"entry"].decode() for _, row in rows]

    # -- what the clock does ---------------------------------------------------------------------

    def due(self, now: float) -> list[str]:
        """Return the ids of the feeds that are due, also of those that are being read."""
        found = cast("list[bytes]", self._redis.zrangebyscore(_DUE, "-inf", now))
        return [id.decode() for id in found]

    def ask(self, id: str, request: str, asked: str, now: float) -> bool:
        """Have a feed read; False if that is under way, or it is not to be read."""
        keys = [_DUE, _ASKED, _key(id), _request(request)]
        args: list[EncodableT] = [id, request, asked, now, LOST, FEED_REQUEST_KEPT]
        return bool(self._ask(keys=keys, args=args))

    def under_way(self) -> list[UnderWay]:
        """Return the requests that are under way, with their results."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_ASKED))
        if not rows:
            return []
        asked = [(id.decode(), *row.decode().split(" ")) for id, row in rows.items()]
        with self._redis.pipeline(transaction=False) as pipe:
            for _, request, _ in asked:
                pipe.hget(_request(request), "result")
            results = cast("list[bytes | None]", pipe.execute())
        return [
            UnderWay(id, request, float(at), _text(result))
            for (id, request, at), result in zip(asked, results, strict=True)
        ]

    def take(
        self,
        one: UnderWay,
        state: str,
        *,
        due: float | None,
        reading: str = "",
        items: str = "",
        log: Sequence[str] = (),
    ) -> bool:
        """Store what came of a request, which ends; False if it has ended already.

        `due` is when the feed is read next, None: not at all.
        """
        keys = [_DUE, _ASKED, _key(one.feed), _request(one.request)]
        keys += [_key(one.feed, part) for part in ("items", "log")]
        when = "-" if due is None else due
        args: list[EncodableT] = [one.feed, one.request, state, reading, items, when]
        return bool(self._take(keys=keys, args=[*args, BETWEEN, MOST_LOGGED, *log]))

    # -- hubs ------------------------------------------------------------------------------------

    def ping(self, id: str, now: float) -> bool:
        """Have a feed read at once, or soon if that was just done; False if it is not read."""
        return bool(self._ping(keys=[_DUE, _key(id)], args=[id, now, BETWEEN]))

    def hub_answers(self) -> list[tuple[str, str]]:
        """Return each feed whose hub was asked, with its answer, and forget that; "" for none.

        One that has not answered yet is left out. What is cut off here is asked again later.
        """
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_HUBS))
        if not rows:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for request in rows.values():
                pipe.hmget(_request(request.decode()), "asked", "result")
            found = cast("list[list[bytes | None]]", pipe.execute())
        over = [
            (feed.decode(), _text(result) or "")
            for feed, (asked, result) in zip(rows, found, strict=True)
            if result is not None or asked is None
        ]
        if over:
            self._redis.hdel(_HUBS, *(feed for feed, _ in over))
        return over

    def set_hub(self, id: str, before: str, after: str) -> bool:
        """Replace the subscription at its hub that was read; False if it is another by now."""
        return bool(self._set_hub(keys=[_key(id)], args=[before, after]))

    def leaving(self, id: str) -> str:
        """Return the subscription at the hub of a feed that was removed lately, or ""."""
        if not _ID.fullmatch(id):
            return ""
        found = cast("bytes | None", self._redis.get(_key(id, "leaving")))
        return found.decode() if found else ""


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode(errors="replace")


def _key(id: str, part: str = "") -> str:
    return f"{{g}}:feed:{id}:{part}" if part else f"{{g}}:feed:{id}"


def _request(id: str) -> str:
    return f"{{g}}:feed-request:{id}"
