"""Subscriptions: the id, the packed record, all that is known of one, and what a browser asks."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from service.model.endpoints import Endpoint
from service.model.preferences import Preferences, of_six_bytes


class SubscriptionId(NamedTuple):
    """The public id of a subscription: its partition and its number there, `0-48210`."""

    partition: int
    number: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> SubscriptionId:
        """Read a public id; `ValueError` for anything that is not one."""
        partition, dash, number = text.partition("-")
        if not (dash and text.isascii() and partition.isdigit() and number.isdigit()):
            raise ValueError("not a subscription id")
        parsed = cls(int(partition), int(number))
        if str(parsed) != text or parsed.number >= 1 << 32 or parsed.partition > 255:
            raise ValueError("not a subscription id")
        return parsed


# Version, base, VAPID key, zone and locale in 12 bits each, day created, day last seen, what was
# chosen, wording, p256dh without its 0x04, auth.
_RECORD = struct.Struct(">BHB3sHH5sB64s16s")
_RECORD_VERSION = 3
# The second version had more bytes for the same, the first neither choice nor wording.
_RECORD_2 = struct.Struct(">BHBHHHH6sB64s16s")
_RECORD_1 = struct.Struct(">BHBHHHH64s16s")
_NO_CHOICE = Preferences().pack()


# A tuple, since one is made for every message: a frozen dataclass takes five times as long.
class Record(NamedTuple):
    """A subscription as it is stored: names are numbers of the store's tables, 0 for none.

    Days are counted from 1970-01-01 UTC. `choice` is a packed `Choice`, `wording` the version of
    the words with which this reader was asked. FCM's endpoints make it 249 bytes; above that, where
    buckets are packed, Redis takes the next size of its allocator (measured: 64 bytes more for each
    subscription).
    """

    base: int
    rest: str
    p256dh: bytes
    auth: bytes
    vapid_key: int
    zone: int
    locale: int
    created: int
    seen: int
    preferences: bytes = _NO_CHOICE
    wording: int = 0

    @property
    def may_report(self) -> bool:
        """Whether the browser may report what it shows; otherwise its alerts carry no receipt."""
        return Preferences.unpack(self.preferences).receipts

    def pack(self) -> bytes:
        """Return the bytes kept in Redis."""
        return (
            _RECORD.pack(
                _RECORD_VERSION,
                self.base,
                self.vapid_key,
                (self.zone << 12 | self.locale).to_bytes(3, "big"),
                self.created,
                self.seen,
                self.preferences,
                self.wording,
                self.p256dh[1:],
                self.auth,
            )
            + self.rest.encode()
        )

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Read a stored record; `ValueError` for one of another version."""
        if data[0] == _RECORD_VERSION:
            _, base, key, names, created, seen, preferences, wording, p256dh, auth = (
                _RECORD.unpack_from(data)
            )
            zone, locale = divmod(int.from_bytes(names, "big"), 1 << 12)
            rest = data[_RECORD.size :]
        elif data[0] == 2:
            _, base, key, zone, locale, created, seen, preferences, wording, p256dh, auth = (
                _RECORD_2.unpack_from(data)
            )
            rest, preferences = data[_RECORD_2.size :], of_six_bytes(preferences)
        elif data[0] == 1:
            _, base, key, zone, locale, created, seen, p256dh, auth = _RECORD_1.unpack_from(data)
            rest, preferences, wording = data[_RECORD_1.size :], _NO_CHOICE, 0
        else:
            raise ValueError(f"a subscription record of version {data[0]}, newer than this code")
        public = b"\x04" + p256dh
        return cls(
            base,
            rest.decode(),
            public,
            auth,
            key,
            zone,
            locale,
            created,
            seen,
            preferences,
            wording,
        )


class Subscription(NamedTuple):
    """A stored subscription with its names; dates are days since 1970-01-01."""

    id: SubscriptionId
    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str
    topics: frozenset[str]
    locale: str
    zone: str
    created: int
    seen: int
    preferences: Preferences = Preferences()
    wording: int = 0
    muted: frozenset[str] = frozenset()
    followed: frozenset[str] = frozenset()


class SubscriptionRequest(NamedTuple):
    """What a browser asks for; None leaves a preference as it is.

    `chosen` are fields of `Choice` with their new values, `wording` the version of the words with
    which the reader was asked. `muted` and `followed` are running stories. One that is new
    `must_confirm` before anything but tests is sent to it.
    """

    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str
    topics: frozenset[str] | None = None
    locale: str | None = None
    zone: str | None = None
    chosen: Mapping[str, Any] | None = None
    wording: int | None = None
    muted: frozenset[str] | None = None
    followed: frozenset[str] | None = None
    must_confirm: bool = False

    def over(self, before: Subscription) -> SubscriptionRequest:
        """Return the same wish where what it leaves as it is was chosen `before`, elsewhere."""
        names = ("topics", "locale", "zone", "wording", "muted", "followed")
        kept: dict[str, Any] = {
            name: getattr(before, name) for name in names if getattr(self, name) is None
        }
        return self._replace(**kept, chosen=asdict(before.preferences) | dict(self.chosen or {}))
