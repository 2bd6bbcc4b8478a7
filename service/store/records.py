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
from service.model.preferences import Preferences
from service.store.installation import Installation

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


def record_of(
    installation: Installation, requested: SubscriptionRequest, before: Record | None = None
) -> Record:
    """Return the record of a wish, over what was stored before."""
    today = int(time.time() // 86_400)
    kept_zone, kept_locale = (before.zone, before.locale) if before else (0, 0)
    # A browser that still has the keys it had was not subscribed anew, whichever VAPID key is
    # today's: the push service goes on to take the one it was made with.
    if before is not None and keys_of(before) == (requested.p256dh, requested.auth):
        vapid_key = before.vapid_key
    else:
        vapid_key = installation.vapid_keys.number(requested.vapid_key)
    preferences = (
        Preferences.unpack(before.preferences)
        if before
        else Preferences(confirmed=not requested.must_confirm)
    )
    if requested.chosen:
        preferences = replace(preferences, **requested.chosen)
    wording = before.wording if before else 0
    base = installation.base(requested.endpoint)
    if not base:
        raise StoreFull("the table of push services is full")
    return Record(
        base=base,
        rest=requested.endpoint.rest,
        p256dh=requested.p256dh,
        auth=requested.auth,
        vapid_key=vapid_key,
        zone=kept_zone if requested.zone is None else installation.zones.number(requested.zone),
        locale=kept_locale if requested.locale is None else installation.locale(requested.locale),
        created=before.created if before else today,
        seen=today,
        preferences=preferences.pack(),
        wording=wording if requested.wording is None else requested.wording,
    )


def endpoint_of(installation: Installation, record: Record) -> Endpoint:
    """Return the endpoint of a record."""
    return Endpoint(installation.bases.name(record.base), record.rest)


def subscription_of(
    installation: Installation,
    id: SubscriptionId,
    record: Record,
    topics: frozenset[str],
    muted: frozenset[str],
    followed: frozenset[str],
) -> Subscription:
    """Return a record with its names, and with what only bitmaps know."""
    return Subscription(
        id=id,
        endpoint=endpoint_of(installation, record),
        p256dh=record.p256dh,
        auth=record.auth,
        vapid_key=installation.vapid_keys.name(record.vapid_key),
        topics=topics,
        locale=installation.locales.name(record.locale),
        zone=installation.zones.name(record.zone),
        created=record.created,
        seen=record.seen,
        preferences=Preferences.unpack(record.preferences),
        wording=record.wording,
        muted=muted,
        followed=followed,
    )
