"""A reader as a row of a file: how others write it, how we do, and how OneSignal does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Any

from service.cli.terminal import date_of
from service.local.reader_files import column_name, read_json
from service.model.keys import b64url
from service.model.language.languages import browser_language
from service.model.retention import DAY
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.time import clock
from service.model.time.times import browser_zone, iso

# What other services and libraries call the fields; nested objects are joined with dots.
_NAMES = {
    "endpoint": ("endpoint", "identifier", "push_endpoint", "subscription_endpoint", "url"),
    "p256dh": ("p256dh", "web_p256", "key_p256dh", "p256dh_key", "public_key", "publickey"),
    "auth": ("auth", "web_auth", "key_auth", "auth_key", "auth_token", "authtoken", "auth_secret"),
    "locale": ("locale", "language", "lang", "languages", "browser_language"),
    "timezone": ("timezone_id", "timezone", "time_zone", "tz"),
    "topics": ("topics",),
    "created": (
        *("created_at", "created", "createdat", "creation_date", "creationdate", "creation_time"),
        *("first_session", "first_session_at", "subscribed_at", "subscription_date"),
        *("registered_at", "date_created", "opted_in_at"),
    ),
    "active": ("last_active", "last_session", "last_seen", "updated_at", "updatedat", "updatedate"),
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
_URL = re.compile(r"https://([^/?#@]{1,255})(/.*)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{0,15})?(?:e\+?\d{1,2})?", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?", re.ASCII)
# OneSignal's device types: apps of all kinds, e-mail (11) and SMS (14).
_APPS = ("0", "1", "2", "3", "4", "6", "9", "10", "11", "13", "14")
# The oldest day on which a reader may have subscribed: the first of 2015, when browsers learned it.
_FIRST_DAY = 16_436
_MILLISECONDS_FROM = 1e11  # as seconds it would be the year 5138
# What programs write for nothing: pandas, MySQL, JavaScript.
_NOTHING = ("", "null", "none", "nan", "nat", "n/a", "undefined", r"\n")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def document_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row says of a reader, as the API takes it, with all topics that it names."""
    fields = _opened(fields)
    at = _places(tuple(fields))
    given = {name: _first(fields, at[name]) for name in _NAMES}
    document: dict[str, Any] = {
        "subscription": {
            "endpoint": _endpoint(given["endpoint"]),
            "keys": {name: given[name] for name in ("p256dh", "auth")},
        },
        "topics": _slugs(given["topics"]),
        "locale": _language(_one_of(given["locale"])),
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
    return bool(at) and not is_web and _word(fields.get("device_type")) in _APPS


def days_of(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Return the days on which a reader subscribed and last visited the site; 0: not known.

    Only our own exports have the second day, because other services count other visits.
    """
    try:
        created, seen = (_day(str(fields[name])) for name in ("subscribed_on", "seen_on"))
    except (KeyError, ValueError):
        names = _places(tuple(fields))["created"]
        day = int(_seconds(str(_first(fields, names) or "")) // DAY)
        return (day if _FIRST_DAY <= day <= int(clock.time() // DAY) else 0), 0
    return created, seen


def endpoint_in(fields: Mapping[str, Any]) -> str:
    """Return the endpoint of a row that says something of a reader: the keys, or that they left."""
    opened = _opened(fields)
    at = _places(tuple(opened))
    found = _first(opened, at["endpoint"])
    if not isinstance(found, str):
        return ""
    has_keys = _first(opened, at["p256dh"]) and _first(opened, at["auth"])
    return str(_endpoint(found)) if has_keys or is_unsubscribed(fields) else ""


def latest_time(fields: Mapping[str, Any]) -> float:
    """Return the latest time that a row tells of its reader, in seconds since 1970; 0: none."""
    at = _places(tuple(fields))
    return max(_seconds(str(_first(fields, at[kind]) or "")) for kind in ("active", "created"))


def has_column(fields: Mapping[str, Any], column: str) -> bool:
    """Whether a row has this column, or field within one, even if it is empty there."""
    return column in fields or _within(fields, column) is not None


def topic_names(fields: Mapping[str, Any], column: str) -> list[str]:
    """Return the names of topics in a column: as a text, a list, or tags with yes or no.

    A tag with a value of its own is `name=…`.
    """
    if not column:
        value = _first(fields, _places(tuple(fields))["topics"])
    else:
        value = fields[column] if column in fields else _within(fields, column)
    value = _loaded(value)
    if isinstance(value, dict):
        said = {str(name): str(kept).strip().lower() for name, kept in value.items()}
        no = ("", "none", "null", *_FALSE)
        return [n if kept in _TRUE else f"{n}=…" for n, kept in said.items() if kept not in no]
    if isinstance(value, list):
        return [str(one).strip() for one in value if isinstance(one, (str, int))]
    names = re.split(r"[,;|\n]+", str(value)) if value else []
    return [name for one in names if (name := one.strip())]


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
        return bool(names) and any(_word(fields[name]) in words for name in names)

    # OneSignal: less than 0, or the 31st bit, means that the reader has unsubscribed; 0, that the
    # browser was never allowed to show anything.
    types = _word(fields.get("notification_types"))
    gone = re.fullmatch("-?[0-9]{1,12}", types) and (int(types) <= 0 or int(types) & 1 << 31)
    when = _word(_first(fields, at["when"])) not in ("none", "0")
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
    for own in ("created", "active"):  # `created` within another object is that object's
        found[own] = _NAMES[own]
    found |= {"no": _SAYS_NO, "yes": _SAYS_YES, "when": _SAYS_WHEN, "status": _SAYS_STATUS}
    return {field: [name for name in names if name in known] for field, names in found.items()}


def _opened(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with the parts of a subscription that it has as a text of JSON."""
    for name in _WITHIN:
        text = fields.get(name)
        if isinstance(text, str) and text.startswith("{"):
            try:
                given: dict[str, Any] = read_json(text)
            except (ValueError, RecursionError):
                return fields
            keys = given.pop("keys", None)
            rest = {kept: fields[kept] for kept in fields if kept != name}
            return rest | given | (keys if isinstance(keys, dict) else {})
    return fields


def _endpoint(value: Any) -> Any:
    """Return an endpoint as browsers spell it: a spreadsheet or a library may have changed it."""
    if isinstance(value, str) and (found := _URL.fullmatch(value)):
        return f"https://{found[1].lower().removesuffix(':443')}{found[2]}"
    return value or ""


def _within(fields: Mapping[str, Any], column: str) -> Any:
    """Return what a row has in `tags.section`, or in all columns `tags.…`; None if nothing."""
    inner = {
        name[len(column) + 1 :]: fields[name] for name in fields if name.startswith(f"{column}.")
    }
    outer, _, name = column.rpartition(".")
    if inner or not outer:
        return inner or None
    whole = _loaded(fields.get(outer))
    named = {column_name(one): whole[one] for one in whole} if isinstance(whole, dict) else {}
    return named.get(name)


def _loaded(value: Any) -> Any:
    """Return a list or an object that stands in a column as a text of JSON."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return read_json(value)
    return value


def _one_of(value: Any) -> str:
    """Return a text, or the first of a list, which may be a text of JSON."""
    value = _loaded(value)
    return str((value[0] if value else "") if isinstance(value, list) else value or "")


def _seconds(text: str) -> float:
    """Read a time, as a date in whatever zone or as a number since 1970; 0 for anything else."""
    if found := _DATE.match(text):
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        with suppress(ValueError):
            at = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
            return at.timestamp()
        return 0.0
    with suppress(ValueError):
        number = float(text)
        if 0 < number < _MILLISECONDS_FROM * 1000:
            return number / 1000 if number >= _MILLISECONDS_FROM else number
    return 0.0


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that says something."""
    for name in names:
        value = fields[name]
        if isinstance(value, str):
            value = value.strip()
            if value.lower() in _NOTHING:
                continue
        if value:
            return value
    return None


def _word(value: object) -> str:
    """Return a word in lower case, or a whole number as its digits, also of `-2.0` or `1e1`."""
    text = str(value).strip().lower()
    if _NUMBER.fullmatch(text):
        with suppress(ValueError, OverflowError):
            number = float(text)
            return str(int(number)) if number == int(number) else text
    return text


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
    text = _word(text)
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
