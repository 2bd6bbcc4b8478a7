"""Which alerts are planned, and which of them an editor has to decide about. In the slot `{g}`.

It reads `scheduled` (notifications.py), and of each draft whether it missed its time or has been
shown to a second person. The alerts themselves it leaves where they are: there may be thousands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from redis import Redis

from service.store.alerts.notifications import SCHEDULED, alert_key

_AT_ONCE = 1000  # drafts that one script looks at: a few milliseconds

# KEYS: drafts. Returns of each `missed`, `waits` for a second person, `sent back` by one, a
# `correction` that was taken back, or ''.
_KINDS = """
local found = {}
for i = 1, #KEYS do
  local missed, text = unpack(redis.call('HMGET', KEYS[i], 'missed', 'doc'))
  found[i] = missed and 'missed' or ''
  if text and not string.find(text, '"request": null', 1, true) then
    local request = cjson.decode(text).request
    if request and request ~= cjson.null then
      found[i] = (request.sent_back_by or '') == '' and 'waits' or 'sent back'
    end
  end
  if found[i] == '' and text and not string.find(text, '"corrects": null', 1, true) then
    found[i] = 'correction'
  end
end
return found
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ids of all planned alerts."""

    scheduled: list[int]  # the soonest first
    drafts: dict[int, str]  # the newest first, each with what `_KINDS` says of it

    def of(self, *kinds: str) -> list[int]:
        """Return the drafts of these kinds, in their order."""
        return [id for id, kind in self.drafts.items() if kind in kinds]

    @property
    def ids(self) -> list[int]:
        """All of them: what an editor has to decide about, scheduled ones, other drafts."""
        return [
            *(id for kind in ("missed", "waits") for id in self.of(kind)),
            *self.scheduled,
            *self.of("sent back", "correction", ""),
        ]


class Planned:
    """Reads which alerts are planned."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._kinds = redis.register_script(_KINDS)

    def read(self) -> Plan:
        """Return the ids of all planned alerts."""
        found = self._redis.zrange(SCHEDULED, 0, -1, withscores=True)
        rows = [(int(id), at) for id, at in cast("list[tuple[bytes, float]]", found)]
        drafts = sorted((id for id, at in rows if at == math.inf), reverse=True)
        kinds = [
            kind.decode()
            for at in range(0, len(drafts), _AT_ONCE)
            for kind in cast(
                "list[bytes]", self._kinds(keys=[*map(alert_key, drafts[at : at + _AT_ONCE])])
            )
        ]
        scheduled = [id for id, at in rows if at != math.inf]
        return Plan(scheduled, dict(zip(drafts, kinds, strict=True)))
