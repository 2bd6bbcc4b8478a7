"""What is stored of one subscription, and where: its record, from a wish and back, and its keys.

r:<bucket>   hash of 256 packed records: number % 256 -> `Record`, names as numbers of tables
e:<2 bytes>  hash, a bucket of the endpoint index: the rest of an endpoint's digest -> number
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from service.model.endpoints import Endpoint
from service.model.notifications import Record, SubscriptionId
from service.model.preferences import Choice
from service.store.installation import House

BUCKET = 256  # records in one hash


class StoreFull(Exception):
    """A table of the store has no room for another name."""


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
    choice: Choice = Choice()
    wording: int = 0
    muted: frozenset[str] = frozenset()
    followed: frozenset[str] = frozenset()


class Wish(NamedTuple):
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

    def over(self, before: Subscription) -> Wish:
        """Return the same wish where what it leaves as it is was chosen `before`, elsewhere."""
        names = ("topics", "locale", "zone", "wording", "muted", "followed")
        kept: dict[str, Any] = {
            name: getattr(before, name) for name in names if getattr(self, name) is None
        }
        return self._replace(**kept, chosen=asdict(before.choice) | dict(self.chosen or {}))


def records_key(id: SubscriptionId) -> str:
    """Return the hash of the 256 records among which this one is."""
    return f"{{{id.partition}}}:r:{id.number // BUCKET}"


def digest_of(url: str) -> bytes:
    """Return the ten bytes under which an endpoint is found again."""
    return hashlib.sha256(url.encode()).digest()[:10]


def index_key(partition: int, digest: bytes) -> str:
    """Return the bucket of the endpoint index, one of 65,536."""
    return f"{{{partition}}}:e:{digest[:2].hex()}"


def keys_of(record: Record) -> tuple[bytes, bytes]:
    """Return the browser's half of the encryption."""
    return record.p256dh, record.auth


def record_of(house: House, wish: Wish, before: Record | None = None) -> Record:
    """Return the record of a wish, over what was stored before."""
    today = int(time.time() // 86_400)
    kept_zone, kept_locale = (before.zone, before.locale) if before else (0, 0)
    # A browser that still has the keys it had was not subscribed anew, whichever VAPID key is
    # today's: the push service goes on to take the one it was made with.
    if before is not None and keys_of(before) == (wish.p256dh, wish.auth):
        vapid_key = before.vapid_key
    else:
        vapid_key = house.vapid_keys.number(wish.vapid_key)
    choice = Choice.unpack(before.choice) if before else Choice(confirmed=not wish.must_confirm)
    if wish.chosen:
        choice = replace(choice, **wish.chosen)
    wording = before.wording if before else 0
    base = house.base(wish.endpoint)
    if not base:
        raise StoreFull("the table of push services is full")
    return Record(
        base=base,
        rest=wish.endpoint.rest,
        p256dh=wish.p256dh,
        auth=wish.auth,
        vapid_key=vapid_key,
        zone=kept_zone if wish.zone is None else house.zones.number(wish.zone),
        locale=kept_locale if wish.locale is None else house.locale(wish.locale),
        created=before.created if before else today,
        seen=today,
        choice=choice.pack(),
        wording=wording if wish.wording is None else wish.wording,
    )


def endpoint_of(house: House, record: Record) -> Endpoint:
    """Return the endpoint of a record."""
    return Endpoint(house.bases.name(record.base), record.rest)


def subscription_of(
    house: House,
    id: SubscriptionId,
    record: Record,
    topics: frozenset[str],
    muted: frozenset[str],
    followed: frozenset[str],
) -> Subscription:
    """Return a record with its names, and with what only bitmaps know."""
    return Subscription(
        id=id,
        endpoint=endpoint_of(house, record),
        p256dh=record.p256dh,
        auth=record.auth,
        vapid_key=house.vapid_keys.name(record.vapid_key),
        topics=topics,
        locale=house.locales.name(record.locale),
        zone=house.zones.name(record.zone),
        created=record.created,
        seen=record.seen,
        choice=Choice.unpack(record.choice),
        wording=record.wording,
        muted=muted,
        followed=followed,
    )
