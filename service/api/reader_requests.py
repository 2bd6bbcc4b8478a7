"""What callers may say: JSON on one side, the words of the house on the other.

Strict: nothing is converted, and a field that is not known is refused, never stored and ignored.
Only in the browser's own `PushSubscription` are further members passed over: browsers may add
some. No message repeats what was sent.

Validators that need the house (its topics, its push services) find it as pydantic's context.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from service.api.problems import FieldError, Problem
from service.model import times
from service.model.endpoints import Endpoint
from service.model.keys import from_b64url, on_p256
from service.model.languages import language_tag
from service.model.notifications import Topic
from service.model.preferences import MOST_A_DAY, NO_QUIET, UNLIMITED, Quiet, quarter_of
from service.runtime import Runtime
from service.store.records import Subscription, SubscriptionRequest

M = TypeVar("M", bound=BaseModel)

LONGEST_PAUSE = 366 * 86_400  # seconds

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# What is said for each of pydantic's kinds of error; for any other, pydantic's own words.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field that this version knows",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


class Invalid(Problem):
    """What was said cannot be accepted; `errors` names each field."""

    def __init__(self, errors: list[FieldError]) -> None:
        field, detail = errors[0]
        others = f" ({len(errors) - 1} more under errors.)" if len(errors) > 1 else ""
        super().__init__(422, f"Nothing was done. {field}: {detail}{others}", errors=errors)


def parse(model: type[M], body: bytes, runtime: Runtime) -> M:
    """Read a JSON body; `Invalid`, or a `Problem` of 400 for what is no JSON object at all."""
    try:
        return model.model_validate_json(body, context=runtime)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> Problem:
    """Return what is answered to what pydantic refuses."""
    rows = error.errors(include_url=False, include_input=False)
    if rows[0]["type"] == "json_invalid":
        return Problem(400, "The body is not JSON.")
    if rows[0]["type"] == "model_type" and not rows[0]["loc"]:
        return Problem(400, "The body must be a JSON object.")
    return Invalid([_field_error(row) for row in rows])


def _field_error(row: ErrorDetails) -> FieldError:
    """Say what is wrong with one field; one within another is `outer.inner`."""
    words = _WORDS.get(row["type"], row["msg"]).format(**row.get("ctx", {}))
    return FieldError(".".join(map(str, row["loc"])), f"{words[0].upper()}{words[1:]}.")


def _installation(info: ValidationInfo) -> Runtime:
    return cast(Runtime, info.context)


# Single values ----------------------------------------------------------------------------------


def characters(text: str) -> str:
    """Refuse what no screen shows and some take for something else."""
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise ValueError("must not contain control characters")
    return text


def lines(text: str) -> str:
    """Refuse the same, but for ends of lines; those become one character."""
    text = text.replace("\r\n", "\n")
    characters(text.replace("\n", ""))
    return text


def _link(text: str) -> str:
    """Let through what every browser and `urlsplit` read alike."""
    if any(c.isspace() or unicodedata.category(c) in ("Cc", "Cs") or c in '\\"<>' for c in text):
        raise ValueError("must not contain spaces, quotes, backslashes or control characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        if ":" in host:
            ip_address(host)
    except ValueError:
        raise ValueError("is not a web address") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ValueError("must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password")
    if len(host) > 253 or (":" not in host and not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", host)):
        raise ValueError("names no host")
    return text


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", text):
        raise ValueError("must be up to 40 lower-case letters, digits and hyphens")
    return text


def _topics(slugs: list[str], info: ValidationInfo) -> list[str]:
    if len(set(slugs)) != len(slugs):
        raise ValueError("must not name a topic twice")
    if not _installation(info).store.installation.has_topics(set(slugs)):
        raise ValueError("names a topic that this site does not have")
    return slugs


def _stories(slugs: list[str], info: ValidationInfo) -> list[str]:
    if len(set(slugs)) != len(slugs):
        raise ValueError("must not name a story twice")
    if not set(slugs) <= _installation(info).store.stories.slugs():
        raise ValueError("names a story that is not running")
    return slugs


def _endpoint(value: object, info: ValidationInfo) -> Endpoint:
    return _installation(info).endpoints.parse(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _quarter(text: str) -> str:
    quarter_of(text)
    return text


def _pause(text: str) -> str:
    """Let through an exact moment, at most a year from now (RFC 3339).

    One that has passed is no pause: it may have while the reader was looking at it.
    """
    moment = times.read(text)
    if moment.zone:
        raise ValueError("must be a time with an offset, such as 2026-03-29T18:00:00+02:00")
    if moment.at - time.time() > LONGEST_PAUSE:
        raise ValueError("must be within a year from now")
    return text


def _bytes(value: object) -> bytes:
    """Decode a browser's key: base64url, with its padding or without."""
    try:
        return from_b64url(_text(value).rstrip("="))
    except ValueError:
        raise ValueError("must be base64url") from None


def _p256dh(value: object) -> bytes:
    """Return a reader's public key: an uncompressed point on P-256 (RFC 8291 section 2.1)."""
    point = _bytes(value)
    if len(point) != 65 or point[0] != 4:
        raise ValueError("must be an uncompressed P-256 public key of 65 bytes")
    if not on_p256(point):
        raise ValueError("is not a point on the curve P-256")
    return point


def _auth(value: object) -> bytes:
    secret = _bytes(value)
    if len(secret) != 16:
        raise ValueError("must be 16 bytes")
    return secret


def _vapid_key(text: str, info: ValidationInfo) -> str:
    public = text.rstrip("=")
    if not _installation(info).takes_key(public):
        raise ValueError("is no key of this site: subscribe with the one that /api/v1/site says")
    return public


def line(most: int) -> StringConstraints:
    """Return what holds for a text of one line that must not be empty."""
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=most)


Link = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_link)]
Locale = Annotated[str, StringConstraints(max_length=35), AfterValidator(language_tag)]
Zone = Annotated[str, AfterValidator(times.zone)]
Slug = Annotated[str, AfterValidator(_slug)]
Topics = Annotated[list[str], Field(max_length=100), AfterValidator(_topics)]
Stories = Annotated[list[str], Field(max_length=50), AfterValidator(_stories)]
VapidPublicKey = Annotated[str, AfterValidator(_vapid_key)]
TopicName = Annotated[str, line(60), AfterValidator(characters)]
TopicDescription = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(characters),
]


# Readers' browsers ------------------------------------------------------------------------------


class Said(BaseModel):
    """What a caller may say, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class PushKeys(BaseModel):
    """The browser's half of the encryption (Push API section 8.1)."""

    p256dh: Annotated[bytes, PlainValidator(_p256dh, json_schema_input_type=str)]
    auth: Annotated[bytes, PlainValidator(_auth, json_schema_input_type=str)]


class PushSubscription(BaseModel):
    """What `PushSubscription.toJSON()` gives."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    endpoint: Annotated[Endpoint, PlainValidator(_endpoint, json_schema_input_type=str)]
    keys: PushKeys


class QuietHours(Said):
    """When a reader wants no alerts, by the reader's own clock, in quarter hours."""

    start: Annotated[str, AfterValidator(_quarter), Field(alias="from")]
    end: Annotated[str, AfterValidator(_quarter), Field(alias="to")]

    @model_validator(mode="after")
    def _last(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError("must not end when they begin; null is for none")
        return self

    def quiet(self) -> Quiet:
        """Return them in the house's words."""
        return Quiet(quarter_of(self.start), quarter_of(self.end))


class _Preferences(Said):
    """What a reader may choose; what is missing stays as it is.

    Null is none for `quiet_hours`, `daily_limit` and `paused_until`; elsewhere it changes nothing.
    """

    topics: Topics | None = None
    locale: Locale | None = None
    timezone: Zone | None = None
    vapid_public_key: VapidPublicKey | None = None
    quiet_hours: QuietHours | None = None
    daily_limit: Annotated[int, Field(ge=1, le=MOST_A_DAY)] | None = None
    allow_breaking: bool | None = None
    paused_until: (
        Annotated[str, StringConstraints(max_length=100), AfterValidator(_pause)] | None
    ) = None
    receipts: bool | None = None
    muted_stories: Stories | None = None
    followed_stories: Stories | None = None

    def chosen(self) -> Mapping[str, Any]:
        """Return the fields of `Choice` that are to be other, with their new values."""
        chosen: dict[str, Any] = {}
        said = self.model_fields_set
        if "quiet_hours" in said:
            chosen["quiet"] = self.quiet_hours.quiet() if self.quiet_hours else NO_QUIET
        if "daily_limit" in said:
            chosen["daily_limit"] = self.daily_limit or UNLIMITED
        if "paused_until" in said:
            until = times.read(self.paused_until).at if self.paused_until else 0
            chosen["paused_until"] = int(until) if until > time.time() else 0
        for name in ("allow_breaking", "receipts"):
            if (value := getattr(self, name)) is not None:
                chosen[name] = value
        return chosen

    def _wish(
        self, browser: PushSubscription, vapid_key: str, wording: int | None = None
    ) -> SubscriptionRequest:
        return SubscriptionRequest(
            endpoint=browser.endpoint,
            p256dh=browser.keys.p256dh,
            auth=browser.keys.auth,
            vapid_key=vapid_key,
            topics=None if self.topics is None else frozenset(self.topics),
            locale=self.locale,
            zone=self.timezone,
            chosen=self.chosen(),
            muted=None if self.muted_stories is None else frozenset(self.muted_stories),
            followed=None if self.followed_stories is None else frozenset(self.followed_stories),
            wording=wording,
        )


class NewSubscription(_Preferences):
    """A browser subscribes, or checks in; what is missing stays as it is.

    `wording` is the version of the words with which its reader was asked.
    """

    subscription: PushSubscription
    wording: Annotated[int, Field(ge=0, le=255)] | None = None
    refresh: bool = False

    def requested(self, vapid_key: str) -> SubscriptionRequest:
        """Return what the store is asked for; `vapid_key` where the browser names none."""
        return self._wish(self.subscription, self.vapid_public_key or vapid_key, self.wording)


class ChangedPreferences(_Preferences):
    """A reader changes their mind, or their browser its subscription."""

    subscription: PushSubscription | None = None

    def requested(self, before: Subscription, vapid_key: str) -> SubscriptionRequest:
        """Return what the store is asked for; `vapid_key` where the browser names none."""
        if self.subscription is None:
            kept = PushKeys.model_construct(p256dh=before.p256dh, auth=before.auth)
            same = PushSubscription.model_construct(endpoint=before.endpoint, keys=kept)
            return self._wish(same, before.vapid_key)
        moved = self.subscription.endpoint != before.endpoint
        assumed = vapid_key if moved else before.vapid_key
        return self._wish(self.subscription, self.vapid_public_key or assumed)


_ReceiptToken = Annotated[str, StringConstraints(max_length=100)]
_Event = Literal["shown", "clicked", "dismissed"]


class Receipt(Said):
    """What a browser reports of one alert."""

    token: _ReceiptToken
    event: _Event


class NewReceipts(Said):
    """What a browser reports: of one alert, or of several together."""

    token: _ReceiptToken | None = None
    event: _Event | None = None
    receipts: Annotated[list[Receipt], Field(min_length=1, max_length=50)] | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> NewReceipts:
        given = (self.token is not None, self.event is not None, self.receipts is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError('must have either "token" and "event", or "receipts"')
        return self

    def all(self) -> list[Receipt]:
        """Return one row for each."""
        if self.token is not None and self.event is not None:
            return [Receipt(token=self.token, event=self.event)]
        return self.receipts or []


# Topics -----------------------------------------------------------------------------------------


class NewTopic(Said):
    """A topic that readers can follow from now on; `default`: ticked beforehand."""

    slug: Slug
    name: TopicName
    description: TopicDescription = ""
    default: bool = False

    def topic(self) -> Topic:
        """Return the topic in the house's words."""
        return Topic(self.slug, self.name, self.description, self.default)


class ChangedTopic(Said):
    """Other words for a topic; what is null or missing stays. Its slug is for good."""

    name: TopicName | None = None
    description: TopicDescription | None = None
    default: bool | None = None

    def topic(self, before: Topic) -> Topic:
        """Return the topic as it will be."""
        return Topic(
            before.slug,
            before.name if self.name is None else self.name,
            before.description if self.description is None else self.description,
            before.default if self.default is None else self.default,
        )
