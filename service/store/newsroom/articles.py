"""Links that editors wrote, and what the pages behind them say of themselves.

{g}:article:<id>  hash: `link`; `asked`, in seconds since 1970; once the page was read, `reading` as
                  JSON. It ends by itself, an hour after the last of these
"""

from __future__ import annotations

from typing import NamedTuple, cast

from redis import Redis

from service.model.retention import ARTICLE_KEPT, ARTICLE_NEW
from service.store.redis_servers.scripts import KEEP_RESULT

# KEYS: article. ARGV: link, seconds for which it counts as new, seconds for which it is kept.
# Returns 0 if it was asked for lately. The first write allocates.
_ASK = """
local asked, now = redis.call('HGET', KEYS[1], 'asked'), redis.call('TIME')[1]
if asked and now - asked < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'link', ARGV[1], 'asked', now)
redis.call('HDEL', KEYS[1], 'reading')
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Asked(NamedTuple):
    """A link that was asked for."""

    link: str
    reading: str | None  # as JSON; None: it was not read yet


class Articles:
    """Links and what came of reading them, by id."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ask = redis.register_script(_ASK)
        self._keep = redis.register_script(KEEP_RESULT)

    def ask(self, id: str, link: str) -> bool:
        """Note that a link is to be read; False if that was asked within a minute."""
        return bool(self._ask(keys=[_key(id)], args=[link, ARTICLE_NEW, ARTICLE_KEPT]))

    def get(self, id: str) -> Asked | None:
        """Return what was asked for under an id; None if it has ended, or was never asked."""
        kept = cast("list[bytes | None]", self._redis.hmget(_key(id), "link", "reading"))
        link, reading = kept
        if link is None:
            return None
        return Asked(link.decode(), None if reading is None else reading.decode(errors="replace"))

    def keep(self, id: str, reading: str) -> None:
        """Store what came of reading it, unless it has ended meanwhile."""
        self._keep(keys=[_key(id)], args=["reading", reading, ARTICLE_KEPT])


def _key(id: str) -> str:
    return f"{{g}}:article:{id}"
