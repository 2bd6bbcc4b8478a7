"""What readers' browsers send: subscriptions, preferences, receipts.

Only the browser's own `PushSubscription` may have further members, because browsers may add some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote

from flask import current_app, has_request_context
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from service.api import rate_limits
from service.api.fields import (
    MOST_TOPICS,
    RequestModel,
    Stories,
    Topics,
    Unfit,
    installation,
    pattern,
    text,
)
from service.api.rate_limits import per_address
from service.domain.operations.unknown_values import LOCALES, PUSH_SERVICES, TIME_ZONES
from service.domain.sending.receipts import CONVERTED, EVENTS
from service.model.keys import any_base64, b64url, on_p256
from service.model.language.languages import browser_language
from service.model.network.endpoints import Endpoint, UnknownPushService
from service.model.operations.screen import read_ago
from service.model.preferences import MOST_A_DAY, NO_QUIET, UNLIMITED, Quiet, quarter_of
from service.model.subscriptions import Subscription, SubscriptionRequest
from service.model.time import clock, times
from service.runtime import Runtime

LONGEST_PAUSE = 366 * 86_400  # seconds

# As base64, or as its bytes: in a list, or by index in an object.
_Key = str | list[int] | dict[str, Any]


# A browser's subscription -----------------------------------------------------------------------


# Several a minute of one caller, so that nobody can count up values that readers never name.
_COUNTED = per_address(5, "unknown values")


class OutsideFlask(Exception):
    """What is to be done needs Flask's request, and there is none."""


def _unknown(kind: str, value: object, info: ValidationInfo) -> None:
    """Count for the operators what a browser named and we do not know; `OutsideFlask`."""
    if not has_request_context():
        raise OutsideFlask
    if rate_limits.fits(_COUNTED) and (new := installation(info).unknown_values.note(kind, value)):
        current_app.logger.warning("unknown %s, named by a reader's browser: %s", kind, new)


def _endpoint(value: object, info: ValidationInfo) -> Endpoint:
    try:
        return installation(info).endpoints.parse(text(value))
    except UnknownPushService as error:
        _unknown(PUSH_SERVICES, error.host, info)
        raise


def _bytes(value: object) -> bytes:
    """Return a browser's key: base64 in any spelling, or the bytes as numbers.

    `JSON.stringify` writes an `Uint8Array` as an object with its indexes, a `Buffer` with `data`. A
    form on the way leaves `%2B`, or a space, for `+`.
    """
    if isinstance(value, dict):
        value = value.get("data", [value.get(str(index)) for index in range(len(value))])
    try:
        if isinstance(value, list) and value:
            return bytes(value)
        spelled = text(value)
        if "%" in spelled:
            spelled = unquote(spelled)
        return any_base64(spelled.strip().replace(" ", "+"))
    except (ValueError, TypeError):
        raise ValueError("must be base64") from None


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


def _vapid_key(value: object, info: ValidationInfo) -> str | None:
    """Return the key with which a browser subscribed; None if it does not say."""
    if value is None or value == "":
        return None
    public = b64url(_bytes(value))
    if not installation(info).keys.accepts(public):
        raise ValueError("is not a key of this site: subscribe with the key from /api/v1/site")
    return public


def _locale(value: object, info: ValidationInfo) -> str | None:
    return _said_by_browser(LOCALES, browser_language, value, info)


def _zone(value: object, info: ValidationInfo) -> str | None:
    return _said_by_browser(TIME_ZONES, times.browser_zone, value, info)


def _said_by_browser(
    kind: str, read: Callable[[str], str], value: object, info: ValidationInfo
) -> str | None:
    """Read what a browser says by itself. What is unknown is dropped: no reader typed it."""
    if isinstance(value, list) and value:
        value = value[0]  # `navigator.languages`
    if value is None:
        return None
    known = read(value) if isinstance(value, str) else ""
    if not known:
        _unknown(kind, value, info)
    return known or None


class PushKeys(BaseModel):
    """The browser's half of the encryption (Push API section 8.1)."""

    p256dh: Annotated[bytes, PlainValidator(_p256dh, json_schema_input_type=_Key)]
    auth: Annotated[bytes, PlainValidator(_auth, json_schema_input_type=_Key)]


class PushSubscription(BaseModel):
    """What `PushSubscription.toJSON()` returns; the keys may stand beside the endpoint."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    endpoint: Annotated[Endpoint, PlainValidator(_endpoint, json_schema_input_type=str)]
    keys: PushKeys

    @model_validator(mode="before")
    @classmethod
    def _keys_beside(cls, given: Any) -> Any:
        if isinstance(given, dict) and "keys" not in given and {"p256dh", "auth"} & given.keys():
            return {**given, "keys": given}
        return given


# Preferences ------------------------------------------------------------------------------------


_QUARTER = pattern("^([01][0-9]|2[0-3]):(00|15|30|45)$")


def _quarter(value: str) -> str:
    quarter_of(value)
    return value


def _pause(value: str) -> str:
    """Accept an exact time, at most a year from now (RFC 3339).

    A time that has passed means no pause: it may have passed while the reader looked at the page.
    """
    until = times.read(value)
    if until.zone:
        raise ValueError("must be a time with an offset, such as 2026-03-29T18:00:00+02:00")
    if until.at - clock.time() > LONGEST_PAUSE:
        raise ValueError("must be within a year from now")
    return value


class QuietHours(RequestModel):
    """When a reader wants no alerts, by the reader's own clock, in quarter hours."""

    start: Annotated[str, AfterValidator(_quarter), _QUARTER, Field(alias="from")]
    end: Annotated[str, AfterValidator(_quarter), _QUARTER, Field(alias="to")]

    @model_validator(mode="after")
    def _not_empty(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError("must not begin and end at the same time; send null for none")
        return self

    def quiet(self) -> Quiet:
        """Return them as the model has them."""
        return Quiet(quarter_of(self.start), quarter_of(self.end))


class _Preferences(RequestModel):
    """What a reader may choose; a missing field stays as it is.

    Null means none for `quiet_hours`, `daily_limit` and `paused_until`; elsewhere it changes
    nothing. `paused_for` is a pause in seconds from now, whatever the browser's clock says; where
    both are sent, it counts.
    """

    topics: Topics | None = None
    # What a browser says by itself.
    locale: Annotated[str | None, PlainValidator(_locale, json_schema_input_type=Any)] = None
    timezone: Annotated[str | None, PlainValidator(_zone, json_schema_input_type=Any)] = None
    vapid_public_key: Annotated[
        str | None, PlainValidator(_vapid_key, json_schema_input_type=_Key | None)
    ] = None
    quiet_hours: QuietHours | None = None
    daily_limit: Annotated[int, Field(ge=1, le=MOST_A_DAY)] | None = None
    allow_breaking: bool | None = None
    paused_until: (
        Annotated[
            str, StringConstraints(max_length=100), AfterValidator(_pause), pattern(times.PATTERN)
        ]
        | None
    ) = None
    paused_for: Annotated[int, Field(ge=1, le=LONGEST_PAUSE)] | None = None
    receipts: bool | None = None
    muted_stories: Stories | None = None
    followed_stories: Stories | None = None

    def _chosen(self) -> Mapping[str, Any]:
        """Return the fields of `Preferences` that change, with their new values."""
        chosen: dict[str, Any] = {}
        given = self.model_fields_set
        if "quiet_hours" in given:
            chosen["quiet"] = self.quiet_hours.quiet() if self.quiet_hours else NO_QUIET
        if "daily_limit" in given:
            chosen["daily_limit"] = self.daily_limit or UNLIMITED
        if "paused_until" in given:
            until = times.read(self.paused_until).at if self.paused_until else 0
            chosen["paused_until"] = int(until) if until > clock.time() else 0
        if self.paused_for is not None:
            chosen["paused_until"] = int(clock.time()) + self.paused_for
        for name in ("allow_breaking", "receipts"):
            if (value := getattr(self, name)) is not None:
                chosen[name] = value
        return chosen

    def _request(
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
            chosen=self._chosen(),
            muted=None if self.muted_stories is None else frozenset(self.muted_stories),
            followed=None if self.followed_stories is None else frozenset(self.followed_stories),
            wording=wording,
        )


class NewSubscription(_Preferences):
    """A browser subscribes, or checks in; a missing field stays as it is.

    `wording` is the version of the words with which the reader was asked. With `refresh` the
    browser only checks in: a reader who left is not subscribed again.
    """

    subscription: PushSubscription
    wording: Annotated[int, Field(ge=0, le=255)] | None = None
    refresh: bool = False

    def requested(self, vapid_key: str) -> SubscriptionRequest:
        """Return what the store is asked for; `vapid_key` is used where the browser names none."""
        return self._request(self.subscription, self.vapid_public_key or vapid_key, self.wording)


_OF_PAGES = frozenset(("subscription", "refresh", "topics", "locale", "timezone")) | {
    *("vapid_public_key", "receipts", "wording")
}


class _Context(NamedTuple):
    context: Runtime


def as_pages_send_it(given: Any, runtime: Runtime) -> tuple[SubscriptionRequest, bool]:
    """Read a new subscription without pydantic; `OutsideFlask` for what is wrong or unusual.

    What this accepts `NewSubscription` accepts too, and reads alike. The bool is `refresh`.
    """
    info: Any = _Context(runtime)
    try:
        browser, keys = given["subscription"], given["subscription"]["keys"]
        topics, receipts, wording = map(given.get, ("topics", "receipts", "wording"))
        refresh = given.get("refresh", False)
        if not (
            given.keys() <= _OF_PAGES
            and (topics is None or (type(topics) is list and len(topics) <= MOST_TOPICS))
            and (receipts is None or type(receipts) is bool)
            and (wording is None or (type(wording) is int and 0 <= wording <= 255))
            and type(refresh) is bool
        ):
            raise OutsideFlask
        slugs = frozenset(topics or ())
        if len(slugs) < len(topics or ()) or not runtime.topics.exist(slugs):
            raise OutsideFlask
        request = SubscriptionRequest(
            endpoint=runtime.endpoints.parse(browser["endpoint"]),
            p256dh=_p256dh(keys["p256dh"]),
            auth=_auth(keys["auth"]),
            vapid_key=_vapid_key(given.get("vapid_public_key"), info) or runtime.keys.current,
            topics=None if topics is None else slugs,
            locale=_locale(given.get("locale"), info),
            zone=_zone(given.get("timezone"), info),
            chosen={} if receipts is None else {"receipts": receipts},
            wording=wording,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise OutsideFlask from None
    return request, refresh


class ChangedPreferences(_Preferences):
    """A reader changes their preferences, or their browser its subscription."""

    subscription: PushSubscription | None = None

    def requested(self, before: Subscription, vapid_key: str) -> SubscriptionRequest:
        """Return what the store is asked for; `vapid_key` is used where the browser names none."""
        if self.subscription is None:
            keys = PushKeys.model_construct(p256dh=before.p256dh, auth=before.auth)
            same = PushSubscription.model_construct(endpoint=before.endpoint, keys=keys)
            return self._request(same, before.vapid_key)
        moved = self.subscription.endpoint != before.endpoint
        assumed = vapid_key if moved else before.vapid_key
        return self._request(self.subscription, self.vapid_public_key or assumed)


# Pairing ----------------------------------------------------------------------------------------


class NewPairing(RequestModel):
    """A code with which an editor pairs this browser; `agreed` once its reader has said yes."""

    code: Annotated[str, StringConstraints(max_length=100)]
    agreed: bool = False


# Questions --------------------------------------------------------------------------------------


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must begin with /")
    return text


_Path = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_path), pattern("^/")]


class NewQuestion(RequestModel):
    """A step of the question whether a reader wants alerts, on a page with this path."""

    page: _Path
    step: Literal["shown", "yes", "granted", "subscribed", "confirmed"]


# Receipts ---------------------------------------------------------------------------------------

_ReceiptToken = Annotated[str, StringConstraints(max_length=100)]


def _known_event(event: str, info: ValidationInfo) -> str:
    if event in EVENTS or installation(info).receipts.counts(event):
        return event
    if event.startswith(CONVERTED):
        raise ValueError("is none of this newsroom’s CONVERSIONS")
    raise ValueError("must be shown, clicked, dismissed, or converted:<name>")


_Event = Annotated[
    str,
    StringConstraints(max_length=60),
    AfterValidator(_known_event),
    pattern("^(shown|clicked|dismissed|converted:[a-z0-9][a-z0-9-]{0,39})$"),
]


# What a browser says by itself is never refused.
_Ago = Annotated[float | None, PlainValidator(read_ago, json_schema_input_type=Any)]


class Receipt(RequestModel):
    """What a browser reports of one alert.

    `converted:<name>` says that its reader did what CONVERSIONS names, within a day after a click.
    With `shown`, `seconds_ago` says for how long the alert has been on the screen.
    """

    token: _ReceiptToken
    event: _Event
    seconds_ago: _Ago = None


class NewReceipts(RequestModel):
    """What a browser reports: of one alert, or of several together."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["token", "event"],
                    "properties": {
                        "token": {"type": "string"},
                        "event": {"type": "string"},
                        "receipts": {"type": "null"},
                    },
                },
                {
                    "required": ["receipts"],
                    "properties": {
                        "token": {"type": "null"},
                        "event": {"type": "null"},
                        "receipts": {"type": "array"},
                    },
                },
            ]
        }
    )

    token: _ReceiptToken | None = None
    event: _Event | None = None
    seconds_ago: _Ago = None
    receipts: Annotated[list[Receipt], Field(min_length=1, max_length=50)] | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> NewReceipts:
        given = (self.token is not None, self.event is not None, self.receipts is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise Unfit("token", 'must have either "token" and "event", or "receipts"')
        return self

    def all(self) -> list[Receipt]:
        """Return every receipt."""
        if self.token is not None and self.event is not None:
            token, event, ago = self.token, self.event, self.seconds_ago  # all are checked
            return [Receipt.model_construct(token=token, event=event, seconds_ago=ago)]
        return self.receipts or []
