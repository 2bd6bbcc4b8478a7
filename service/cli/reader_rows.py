"""A reader as a row of a file: how others write it, how we do, and how OneSignal does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from service.cli.terminal import date_of
from service.model import clock
from service.model.keys import b64url
from service.model.languages import browser_language
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.times import browser_zone, iso

# What other services and libraries call the fields; nested objects are joined with dots.
_NAMES = {
    "endpoint": ("endpoint", "identifier", "push_endpoint", "subscription_endpoint", "url"),
    "p256dh": ("p256dh", "web_p256", "key_p256dh", "p256dh_key", "public_key", "publickey"),
    "auth": ("auth", "web_auth", "key_auth", "auth_key", "auth_token", "authtoken", "auth_secret"),
    "locale": ("locale", "language", "lang"),
    "timezone": ("timezone_id", "timezone", "time_zone", "tz"),
    "topics": ("topics",),
}
# Where they are. WonderPush has the endpoint in `pushToken`, the keys beside or within it, and the
# rest in `device`.
_PREFIXES = (
    *("", "keys.", "subscription.", "subscription.keys.", "device.configuration."),
    *("pushtoken.", "pushtoken.keys.", "pushtoken.meta.", "pushtoken.meta.keys."),
    *("pushtoken.data.", "pushtoken.data.keys."),
)
_WITHIN = ("subscription", "push_subscription", "pushtoken.data", "endpoint")  # as a text, perhaps
# Further fields of our own exports, which the API takes as they are.
_PREFERENCES = (
    *("vapid_public_key", "quiet_hours", "daily_limit", "allow_breaking", "paused_until"),
    *("receipts", "wording"),
)
# Columns in which another service says that a reader has unsubscribed, or still has not.
_SAYS_NO = ("invalid_identifier", "unsubscribed", "is_unsubscribed", "deleted", "opted_out", "gone")
_SAYS_YES = ("subscribed", "is_subscribed", "is_active", "active", "enabled")
_SAYS_WHEN = ("unsubscribed_at", "deleted_at", "opted_out_at")
# Texts: WonderPush has preferences.subscriptionStatus, optIn or optOut.
_SAYS_STATUS = ("preferences.subscriptionstatus", "subscription_status", "status")
_NOT_ANY_MORE = ("optout", "opt_out", "unsubscribed", "softoptout", "inactive", "expired")
# OneSignal's device types: apps of all kinds, e-mail (11) and SMS (14).
_APPS = ("0", "1", "2", "3", "4", "6", "9", "10", "11", "13", "14")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def document_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row says of a reader, as the API takes it, with all topics that it names."""
    fields = _opened(fields)
    at = _places(tuple(fields))
    given = {name: _first(fields, at[name]) for name in _NAMES}
    document: dict[str, Any] = {
        "subscription": {
            "endpoint": given["endpoint"] or "",
            "keys": {name: given[name] for name in ("p256dh", "auth")},
        },
        "topics": _slugs(given["topics"]),
        "locale": _language(str(given["locale"] or "")),
        "timezone": _zone(str(given["timezone"] or "")),
    }
    return document | _as_exported(fields)


def missing_columns(fields: Mapping[str, Any]) -> list[str]:
    """Return the readers' keys for which a table has no column, by OneSignal's names."""
    fields = _opened(fields)
    if any(name in fields for name in _WITHIN if name != "endpoint"):
        return []  # which may have them as a text
    at = _places(tuple(fields))
    return [_NAMES[key][1] for key in ("p256dh", "auth") if not at[key]]


def empty_fields(fields: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """Return what a document lacks without which there is no reader, by the row's own names."""
    given = document["subscription"]
    values = {"endpoint": given["endpoint"], **given["keys"]}
    at = _places(tuple(_opened(fields)))
    return [at[name][0] if at[name] else name for name, value in values.items() if not value]


def is_app(fields: Mapping[str, Any]) -> bool:
    """Whether OneSignal says that a row is an app, an address or a number, and no browser."""
    at = _places(tuple(fields))["endpoint"]
    is_web = str(_first(fields, at) or "").startswith("https://")
    return bool(at) and not is_web and str(fields.get("device_type", "")).strip() in _APPS


def days_of(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Return the days of a reader of our own export: subscribed, came last; 0: not known."""
    try:
        created, seen = (_day(str(fields[name])) for name in ("subscribed_on", "seen_on"))
    except (KeyError, ValueError):
        return 0, 0
    return created, seen


def id_of(fields: Mapping[str, Any]) -> SubscriptionId | None:
    """Return the id of a reader of our own export."""
    try:
        return SubscriptionId.parse(str(fields.get("id", "")))
    except ValueError:
        return None


def is_unsubscribed(fields: Mapping[str, Any]) -> bool:
    """Whether another service says that a reader has unsubscribed."""
    at = _places(tuple(fields))

    def said(kind: str, words: Sequence[str]) -> bool:
        names = at[kind]
        return bool(names) and any(str(fields[name]).lower() in words for name in names)

    # OneSignal: less than 0, or the 31st bit, means that the reader has unsubscribed; 0, that the
    # browser was never allowed to show anything.
    types = str(fields.get("notification_types", "")).strip()
    gone = re.fullmatch("-?[0-9]{1,12}", types) and (int(types) <= 0 or int(types) & 1 << 31)
    when = _first(fields, at["when"]) not in (None, "0")
    no = said("no", _TRUE) or said("yes", _FALSE) or said("status", _NOT_ANY_MORE)
    return bool(gone) or when or no


def exported(one: Subscription, *, gone: bool) -> dict[str, Any]:
    """Return a reader as a line of our export."""
    preferences = one.preferences
    row: dict[str, Any] = {
        "id": str(one.id),
        "subscription": {
            "endpoint": one.endpoint.url,
            "keys": {"p256dh": b64url(one.p256dh), "auth": b64url(one.auth)},
        },
        "vapid_public_key": one.vapid_key,
        "topics": sorted(one.topics),
        "locale": one.locale or None,
        "timezone": one.zone or None,
        "subscribed_on": date_of(one.created),
        "seen_on": date_of(one.seen),
        "confirmed": preferences.confirmed,
        "gone": gone,
        "wording": one.wording,
        "allow_breaking": preferences.allow_breaking,
        "receipts": preferences.receipts,
        "muted_stories": sorted(one.muted),
        "followed_stories": sorted(one.followed),
    }
    # What is missing is left to the newsroom; null means none.
    if preferences.quiet is not None:
        start, _, end = str(preferences.quiet).partition("-")
        row["quiet_hours"] = {"from": start, "to": end} if start != end else None
    if preferences.daily_limit is not None:
        row["daily_limit"] = preferences.daily_limit or None
    if preferences.paused_until > clock.time():
        row["paused_until"] = iso(preferences.paused_until)
    return row


ONESIGNAL = (
    *("id", "identifier", "session_count", "language", "timezone", "game_version", "device_os"),
    *("device_type", "device_model", "ad_id", "tags", "last_active", "playtime", "amount_spent"),
    *("created_at", "invalid_identifier", "badge_count", "notification_types", "web_auth"),
    "web_p256",
)


def as_onesignal(one: Subscription, *, gone: bool) -> list[str]:
    """Return a reader as a row of OneSignal's export; topics are tags."""
    row = {
        "id": str(one.id),
        "identifier": one.endpoint.url,
        "language": one.locale,
        "timezone": one.zone,
        "device_type": "5",  # a browser
        "tags": json.dumps(dict.fromkeys(sorted(one.topics), "1")),
        "last_active": f"{date_of(one.seen)} 00:00:00",
        "created_at": f"{date_of(one.created)} 00:00:00",
        "invalid_identifier": "t" if gone else "f",
        "notification_types": "1",
        "web_auth": b64url(one.auth),
        "web_p256": b64url(one.p256dh),
    }
    return [row.get(name, "") for name in ONESIGNAL]


@lru_cache(maxsize=256)
def _places(columns: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """Return where rows with these columns have each field; most rows of a file are alike."""
    known = set(columns)
    found: dict[str, Sequence[str]] = {
        field: [f"{prefix}{name}" for prefix in _PREFIXES for name in names]
        for field, names in _NAMES.items()
    }
    found["endpoint"] = [*found["endpoint"], "pushtoken.data"]
    found |= {"no": _SAYS_NO, "yes": _SAYS_YES, "when": _SAYS_WHEN, "status": _SAYS_STATUS}
    return {field: [name for name in names if name in known] for field, names in found.items()}


def _opened(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with the parts of a subscription that it has as a text of JSON."""
    for name in _WITHIN:
        text = fields.get(name)
        if isinstance(text, str) and text.startswith("{"):
            try:
                given: dict[str, Any] = json.loads(text)
            except (ValueError, RecursionError):
                return fields
            keys = given.pop("keys", None)
            rest = {kept: fields[kept] for kept in fields if kept != name}
            return rest | given | (keys if isinstance(keys, dict) else {})
    return fields


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that says something."""
    for name in names:
        value = fields[name]
        if value and value != "null" and value != "NULL":
            return value
    return None


def _as_exported(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preferences of a row that `stoppress export` has written."""
    if "subscribed_on" not in fields:
        return {}
    found = {name: fields[name] for name in _PREFERENCES if name in fields}
    if "quiet_hours.from" in fields:
        found["quiet_hours"] = {end: fields[f"quiet_hours.{end}"] for end in ("from", "to")}
    for name in ("muted_stories", "followed_stories"):
        if isinstance(fields.get(name), list) and fields[name]:
            found[name] = fields[name]
    return found


def _slugs(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(one) for one in value]
    return re.split(r"[\s,;|]+", str(value)) if value else []


@lru_cache(maxsize=1024)
def _language(text: str) -> str | None:
    return browser_language(text) or None


@lru_cache(maxsize=1024)
def _zone(text: str) -> str | None:
    return browser_zone(text) or _zone_of_seconds(text) or None


def _zone_of_seconds(text: str) -> str:
    """Return the zone that is so many seconds ahead of UTC, as OneSignal says it; else empty."""
    if not re.fullmatch("-?[0-9]{1,5}", text) or int(text) % 900:
        return ""
    minutes = abs(int(text)) // 60
    sign = "-" if text.startswith("-") else "+"
    return browser_zone(f"{sign}{minutes // 60:02}:{minutes % 60:02}")


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    """Return a date as a day counted from 1970-01-01."""
    day = date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()
    if not 0 < day <= int(clock.time() // 86_400):
        raise ValueError("not a day that has been")
    return day
