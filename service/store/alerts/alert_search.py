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
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from service.model.notifications import Notification, State
from service.store.alerts.notifications import STARTED, Notifications, alert_key

SEARCHED = "{g}:searched"
_VERSION = b"1"  # of a row; a row of another one is made anew
_AT_ONCE = 1000  # alerts that Redis is asked for in one command or script: about a millisecond
BETWEEN = b"\x1f"  # fields of a row; no text has it
_BEGINS = _VERSION + BETWEEN

# KEYS: alerts. Returns their states.
_STATES = """
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HGET', KEYS[i], 'state') or '' end
return found
"""


def row_of(one: Notification) -> bytes:
    """Return what an alert is searched by: version, kind, topics, author, texts.

    The slugs of topics have spaces around them; there are none if the audience is everyone.
    """
    topics = "".join(f" {slug} " for slug in (*one.audience.topics, *one.audience.all_topics))
    text = f"{one.content.title}\n{one.content.body}"
    if (other := one.second_text) is not None:
        text += f"\n{other.title}\n{other.body}"
    return BETWEEN.join(
        (_VERSION, one.content.kind.encode(), topics.encode(), folded(one.created_by), folded(text))
    )


def folded(text: str) -> bytes:
    """Return a text so that case, and how an accent is written, make no difference."""
    return unicodedata.normalize("NFC", text).casefold().encode().replace(BETWEEN, b" ")


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

    def rows(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield these alerts, whose sending has begun, each with its row.

        Rows are neither taken apart here nor kept: some thousand lists of fields at once set off
        Python's garbage collector, which takes up to 100 ms.
        """
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            stored = cast("list[bytes | None]", self._redis.hmget(SEARCHED, some))
            pairs = zip(some, stored, strict=True)
            rows = {id: row for id, row in pairs if row and row.startswith(_BEGINS)}
            rows |= self._make([id for id in some if id not in rows])
            yield from ((id, rows[id]) for id in some if id in rows)

    def _make(self, missing: Sequence[int]) -> dict[int, bytes]:
        if not missing:
            return {}
        made = {one.id: row_of(one) for one in self._notifications.all(missing)}
        with suppress(RedisError):  # a full Redis is searched all the same
            self._redis.hset(SEARCHED, mapping=made)  # type: ignore[arg-type]
        return made

    def in_state(self, ids: Sequence[int], state: State) -> list[int]:
        """Return those of these alerts that are in a state."""
        parts = [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]
        states = chain.from_iterable(
            cast("list[bytes]", self._states(keys=[alert_key(id) for id in part])) for part in parts
        )
        wanted = state.value.encode()
        return [id for id, found in zip(ids, states, strict=True) if found == wanted]
