"""What the list of alerts shows of each, read for many alerts in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.model.notifications import Progress
from service.store.alerts.notifications import ACTIVE, STARTED, alert_key
from service.store.alerts.outcomes import final_progress

_OTHER_EVENTS = ("shown", "dismissed")


class Reported(NamedTuple):
    """What browsers have reported of an alert."""

    clicked: int  # browsers, to about 1 %
    anything: bool  # whether any browser reported anything that is still kept


class AlertRows:
    """Reads rows of the list."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def reports(self, ids: Sequence[int]) -> list[Progress | None]:
        """Return the final report of each; None for one that is not finished."""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(alert_key(id), "report")
            found = cast("list[bytes | None]", pipe.execute())
        return [None if text is None else final_progress(text) for text in found]

    def reported(self, ids: Sequence[int]) -> list[Reported]:
        """Return what browsers have reported of each."""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.pfcount(f"{alert_key(id)}:clicked")
                pipe.exists(*(f"{alert_key(id)}:{event}" for event in _OTHER_EVENTS))
            found = cast("list[int]", pipe.execute())
        pairs = zip(found[::2], found[1::2], strict=True)
        return [Reported(clicked, bool(clicked or others)) for clicked, others in pairs]

    def unfinished(self) -> list[int]:
        """Return the alerts that are being sent, the latest first; no waves, nor readers' tests."""
        active = [int(id) for id in cast("set[bytes]", self._redis.smembers(ACTIVE))]
        with self._redis.pipeline(transaction=False) as pipe:
            for id in active:
                pipe.zscore(STARTED, str(id))
            scores = cast("list[float | None]", pipe.execute())
        began = {id: score for id, score in zip(active, scores, strict=True) if score is not None}
        return sorted(began, key=began.__getitem__, reverse=True)
