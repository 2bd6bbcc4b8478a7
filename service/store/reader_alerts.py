"""Welcomes and tests that are active: where each goes, so that no place gets all the room.

{g}:readers_alerts:<group>  hash: id of the alert -> the push service or the host where it goes
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from service.store.commands import some_at_once
from service.store.notifications import Notifications


class ActiveReaderAlerts:
    """The alerts of readers' own that are being sent."""

    def __init__(self, redis: Redis, notifications: Notifications) -> None:
        self._redis = redis
        self._notifications = notifications

    def add(self, id: int, name: str, group: str) -> None:
        """Note an alert of a group that goes to the place called `name`."""
        self._redis.hset(_key(group), str(id), name)

    def names(self, group: str) -> list[str]:
        """Return where the active alerts of a group go; forget those that are over."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(_key(group)))
        active = {str(id).encode() for id in self._notifications.active()} if rows else set()
        for over in some_at_once(rows.keys() - active):
            self._redis.hdel(_key(group), *over)
        return [name.decode() for id, name in rows.items() if id in active]


def _key(group: str) -> str:
    return f"{{g}}:readers_alerts:{group}"
