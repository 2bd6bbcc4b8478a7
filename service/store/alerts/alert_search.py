"""What alerts are searched by. In the slot `{g}`.

searched    hash: id -> kind, topics, author and texts of an alert whose sending has begun

From then on these never change: a correction is an alert of its own. So no script that sends an
alert writes a row. One that is missing is made from the alert by the first search that needs it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple, TypeAlias, cast

from redis import Redis
from redis.exceptions import RedisError

from service.model.notifications import Notification, State
from service.store.alerts.notifications import STARTED, Notifications, alert_key

SEARCHED = "{g}:searched"
_VERSION = "1"  # of a row; a row of another one is made anew
_AT_ONCE = 1000  # alerts that Redis is asked for in one command or script: about a millisecond
_BETWEEN = "\x1f"  # fields of a row; no text has it
_BEGINS = f"{_VERSION}{_BETWEEN}".encode()

# KEYS: alerts. Returns their states.
_STATES = """
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HGET', KEYS[i], 'state') or '' end
return found
"""


class SearchRow(NamedTuple):
    """What an alert is searched by; texts as `folded` returns them."""

    kind: str
    topics: str  # slugs with spaces around each; empty: everyone
    by: str
    text: str  # title and text

    @classmethod
    def of(cls, one: Notification) -> SearchRow:
        """Return the row of an alert."""
        topics = "".join(f" {slug} " for slug in (*one.audience.topics, *one.audience.all_topics))
        text = f"{one.content.title}\n{one.content.body}"
        if (other := one.second_text) is not None:
            text += f"\n{other.title}\n{other.body}"
        return cls(one.content.kind, topics, folded(one.created_by), folded(text))


Found: TypeAlias = tuple[int, SearchRow]


def folded(text: str) -> str:
    """Return a text so that case, and how an accent is written, make no difference."""
    return unicodedata.normalize("NFC", text).casefold().replace(_BETWEEN, " ")


class SearchRows:
    """Reads what alerts are searched by."""

    def __init__(self, redis: Redis, notifications: Notifications) -> None:
        self._redis = redis
        self._notifications = notifications
        self._states = redis.register_script(_STATES)

    def began(self, since: float, until: float) -> list[int]:
        """Return the alerts whose sending began in this time (s since 1970), the latest first."""
        limits = f"({until * 1000}", since * 1000
        found = cast("list[bytes]", self._redis.zrevrangebyscore(STARTED, *limits))
        return [int(id) for id in found]

    def rows(self, ids: Sequence[int], words: Sequence[str] = ()) -> Iterator[Found]:
        """Yield these alerts, whose sending has begun, each with its row.

        A stored row that lacks one of these words is not taken apart, and no rows are kept: some
        thousand at once set off Python's garbage collector, which takes up to 100 ms.
        """
        wanted = [word.encode() for word in words]
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            stored = cast(
                "list[bytes | None]", self._redis.hmget(SEARCHED, [str(id) for id in some])
            )
            rows = [row if row and row.startswith(_BEGINS) else None for row in stored]
            found = list(zip(some, rows, strict=True))
            made = self._make([id for id, row in found if row is None])
            for id, row in found:
                if row is None and id in made:
                    yield id, made[id]
                elif row is not None and all(word in row for word in wanted):
                    yield id, _read(row)

    def _make(self, missing: Sequence[int]) -> dict[int, SearchRow]:
        if not missing:
            return {}
        made = {one.id: SearchRow.of(one) for one in self._notifications.all(missing)}
        with suppress(RedisError):  # a full Redis is searched all the same
            packed = {str(id): _BETWEEN.join((_VERSION, *row)) for id, row in made.items()}
            self._redis.hset(SEARCHED, mapping=packed)  # type: ignore[arg-type]
        return made

    def in_state(self, ids: Sequence[int], state: State) -> list[int]:
        """Return those of these alerts that are in a state."""
        parts = [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]
        states = chain.from_iterable(
            cast("list[bytes]", self._states(keys=[alert_key(id) for id in part])) for part in parts
        )
        wanted = state.value.encode()
        return [id for id, found in zip(ids, states, strict=True) if found == wanted]


def _read(row: bytes) -> SearchRow:
    return SearchRow(*row.decode().split(_BETWEEN)[1:])
