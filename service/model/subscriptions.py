"""Subscriptions: the public id, the record as it is packed, and what a browser asks for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from service.model.network.endpoints import Endpoint
from service.model.preferences import Preferences

# A public id as a regular expression of ECMA-262, for the API's description.
ID_PATTERN = "^(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]{0,9})$"


class SubscriptionId(NamedTuple):
    """The public id of a subscription: its partition and its number there, `0-48210`."""

    partition: int
    number: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> SubscriptionId:
        """Read a public id; `ValueError` for any other text."""
        partition, dash, number = text.partition("-")
        if not (dash and text.isascii() and partition.isdigit() and number.isdigit()):
            raise ValueError("not a subscription id")
        parsed = cls(int(partition), int(number))
        if str(parsed) != text or parsed.number >= 1 << 32 or parsed.partition > 255:
            raise ValueError("not a subscription id")
        return parsed


# Version, base, VAPID key, zone and locale in 12 bits each, day created, day last seen,
# preferences, wording, p256dh without its 0x04, auth. Then the rest of the endpoint.
_RECORD = struct.Struct(">BHB3sHH5sB64s16s")
_RECORD_VERSION = 3  # service/store/operations/conversion.py converts 1 and 2 at start


# A tuple, since one is made for every message: a frozen dataclass takes five times as long.
class Record(NamedTuple):
    """A subscription as it is stored; names are numbers of the store's tables, 0 for none.

    FCM's endpoints make it 249 bytes. One byte more, and Redis, which packs buckets of records,
    takes the next size of its allocator (measured: 64 bytes more for each subscription).
    """

    base: int
    rest: str  # of the endpoint, after its base
    p256dh: bytes
    auth: bytes
    vapid_key: int
    zone: int
    locale: int
    created: int  # day since 1970-01-01 UTC
    seen: int  # day of the last visit
    preferences: bytes = Preferences().pack()
    wording: int = 0  # version of the words with which this reader was asked

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
        """Read a stored record; `ValueError` for a version that this code does not know."""
        if data[0] != _RECORD_VERSION:
            raise ValueError(f"a subscription record of version {data[0]}, not {_RECORD_VERSION}")
        _, base, key, names, created, seen, preferences, wording, p256dh, auth = (
            _RECORD.unpack_from(data)
        )
        zone, locale = divmod(int.from_bytes(names, "big"), 1 << 12)
        return cls(
            base,
            data[_RECORD.size :].decode(),
            b"\x04" + p256dh,
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
    """A stored subscription with its names."""

    id: SubscriptionId
    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str  # public half, base64url
    topics: frozenset[str]
    locale: str
    zone: str
    created: int  # day since 1970-01-01 UTC
    seen: int  # day of the last visit
    preferences: Preferences = Preferences()
    wording: int = 0  # version of the words with which this reader was asked
    muted: frozenset[str] = frozenset()  # running stories
    followed: frozenset[str] = frozenset()  # running stories


class SubscriptionRequest(NamedTuple):
    """What a browser asks for; None leaves a preference as it is."""

    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_key: str  # public half, base64url
    topics: frozenset[str] | None = None
    locale: str | None = None
    zone: str | None = None
    chosen: Mapping[str, Any] | None = None  # fields of `Preferences` with their new values
    wording: int | None = None
    muted: frozenset[str] | None = None
    followed: frozenset[str] | None = None
    must_confirm: bool = False  # a new reader gets nothing but tests before confirming

    def over(self, before: Subscription) -> SubscriptionRequest:
        """Return the same request, with the preferences of `before` where this one has None.

        Whether `before` was confirmed stays behind: the new endpoint may be another reader's.
        """
        names = ("topics", "locale", "zone", "wording", "muted", "followed")
        kept: dict[str, Any] = {
            name: getattr(before, name) for name in names if getattr(self, name) is None
        }
        chosen = asdict(before.preferences) | dict(self.chosen or {})
        chosen.pop("confirmed")
        return self._replace(**kept, chosen=chosen)
