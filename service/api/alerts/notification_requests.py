"""What editors and their tools send to publish an alert, to change it, or to try it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from service.api.alerts.audience_requests import AudienceRequest, check_audience
from service.api.alerts.content import ContentRequest, SecondTextRequest, Title
from service.api.alerts.repeats import RepeatRequest
from service.api.fields import Invalid, Link, RequestModel, Slug, pattern, read_fields
from service.api.problems import FieldError
from service.model.notifications import (
    DEFAULT_TTL,
    MAX_PLAINTEXT,
    MIN_TTL,
    ROUND_THE_WORLD,
    Audience,
    Content,
    Notification,
    SendAt,
    State,
)
from service.model.payload import LARGE, Payload
from service.model.subscriptions import ID_PATTERN, Subscription
from service.model.time import clock, times
from service.model.time.repeats import Repeat
from service.model.two_texts import SecondText
from service.runtime import Runtime
from service.store.readers.subscriptions import NotSubscribed

_LONGEST_ID = 2**32 - 1  # what a receipt has room for (model/tokens.py)
_LONGEST_AHEAD = 366 * 86_400  # seconds


class Plan(TypedDict):
    """When and how an alert is sent, as `Publishing` takes it."""

    spread_minutes: int
    send_at: SendAt | None
    draft: bool
    second_text: SecondText | None
    repeat: Repeat | None


@dataclass(frozen=True, slots=True)
class CheckedAlert:
    """An alert that can be published: now, or later as `send_at` and `draft` say."""

    content: Content
    audience: Audience
    spread_minutes: int
    send_at: SendAt | None
    draft: bool
    second_text: SecondText | None = None
    repeat: Repeat | None = None
    once_per_link: bool = False
    warnings: tuple[tuple[str, str], ...] = ()  # field and sentence of each

    @property
    def plan(self) -> Plan:
        """When and how it is sent."""
        return Plan(
            spread_minutes=self.spread_minutes,
            send_at=self.send_at,
            draft=self.draft,
            second_text=self.second_text,
            repeat=self.repeat,
        )

    def describes(self, one: Notification) -> bool:
        """Whether a notification is as this says: nothing would change."""
        is_draft = one.state is State.DRAFT and not one.waits_for_approval
        given = (self.content, self.audience, self.spread_minutes, self.send_at)
        there = (one.content, one.audience, one.spread_minutes, one.send_at)
        same = given == there and self.is_repeated_as(one)
        return same and (self.second_text, self.draft) == (one.second_text, is_draft)

    def is_repeated_as(self, one: Notification) -> bool:
        """Whether a notification repeats as this says."""
        rules = [repeat and repeat.rule for repeat in (self.repeat, one.repeats)]
        return rules[0] == rules[1]

    @property
    def text_b(self) -> Content:
        """The content with the second text, if it has one."""
        return self.content.with_text(self.second_text)


def read(fields: dict[str, object], runtime: Runtime) -> CheckedAlert:
    """Check an alert by the API's rules, also one that our own pages send; `Invalid`."""
    return read_fields(NewNotification, fields, runtime).accepted(runtime)


def _time(value: str) -> str:
    if not times.is_wall(value):
        times.read(value)
    return value


Time = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_time),
    pattern(times.PATTERN),
]


class _Alert(ContentRequest):
    story: Slug | None = None
    spread_minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    second_text: SecondTextRequest | None = None
    send_at: Time | None = None
    late: Literal["draft", "send"] = "draft"
    local_time: bool = False
    draft: bool = False
    repeat: RepeatRequest | None = None

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Return field and sentence of each thing that its writer should know."""
        yield from super().warnings()
        if self.second_text is not None:
            yield from self.second_text.warnings()


_NOT_BREAKING = "Is not possible for breaking news, which goes to everyone at once."
_NOT_WITH = "Is not possible together with `{}`."
_DECIDED_TOO_LATE = (
    "The alert would expire (`ttl`) before it is decided which text all others get: decide earlier."
)
_SAME_TEXT = "Is the same as the first text. Change its title or its body."
_SPREAD_TWICE = "`local_time` already spreads the alert over a day: leave out one of the two."


def _reference(text: str) -> str:
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("must be visible ASCII characters without spaces, such as story-4711")
    return text


_Reference = Annotated[
    str, StringConstraints(max_length=255), AfterValidator(_reference), pattern("^[!-~]+$")
]


def _if(field: str, value: bool | str, then: JsonDict) -> JsonDict:
    given: JsonDict = {"properties": {field: {"const": value}}, "required": [field]}
    return {"if": given, "then": then}


_TIME_GIVEN: JsonDict = {"required": ["send_at"], "properties": {"send_at": {"type": "string"}}}
_NO_TIME: JsonDict = {"properties": {"send_at": {"type": "null"}}}
_NO_SPREAD: JsonDict = {"properties": {"spread_minutes": {"type": "null"}}}
_SECOND_TEXT: JsonDict = {
    "required": ["second_text"],
    "properties": {"second_text": {"type": "object"}},
}
_REPEATS: JsonDict = {"required": ["repeat"], "properties": {"repeat": {"type": "object"}}}
_IN_A_ZONE: JsonDict = {
    **_TIME_GIVEN,
    "anyOf": [
        {"properties": {"send_at": {"pattern": r"\["}}},
        {"required": ["local_time"], "properties": {"local_time": {"const": True}}},
    ],
}
_AT_ONCE: JsonDict = {
    "properties": {
        "kind": {"const": "news"},
        "spread_minutes": {"type": "null"},
        "local_time": {"const": False},
    }
}


class NewNotification(_Alert):
    """An alert to publish.

    `ttl` is in seconds, 4 hours where it is missing, 12 for breaking news. `lang` is the language
    of the text (BCP 47), the site's own where it is missing.

    `send_at` schedules the alert: RFC 3339 with an offset, or a local time with its zone,
    `2026-03-29T02:30[Europe/Berlin]` (RFC 9557). `late` decides what happens to an alert that
    could not be sent within 15 minutes of `send_at`: it becomes a draft, or is sent all the same.
    With `local_time` each reader gets the alert when their own clock shows `send_at`, which then
    has neither offset nor zone; a reader whose clock showed it more than 15 minutes before the
    alert began gets it only with `late`: `send`. A `draft` waits until an editor or a tool sends
    it.

    With a `second_text` two texts are tried on a part of the audience before all others get the
    better one; not for breaking news, nor together with `spread_minutes` or `local_time`.

    With `repeat`, and a `send_at` that names its zone or has `local_time`, the alert repeats. The
    next occurrence is always a scheduled alert of its own. A change of that holds for all later
    ones, too; to delete it ends the series, and to cancel it does not.

    A `reference` is the caller's own id of what the alert is about. A further call with it changes
    the alert while that is planned, and gives 409 once it was sent; it takes the place of an
    `Idempotency-Key`. With `once_per_link` the call gives 409 if an alert with the same link was
    sent, or is planned, less than 24 hours before or after this one.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                _if("late", "send", _TIME_GIVEN),
                _if("local_time", True, _TIME_GIVEN),
                _if("local_time", True, _NO_SPREAD),
                _if("draft", True, _NO_TIME),
                {"if": _SECOND_TEXT, "then": _AT_ONCE},
                {"if": _REPEATS, "then": _IN_A_ZONE},
            ]
        }
    )

    title: Title
    url: Link
    audience: AudienceRequest
    reference: _Reference | None = None
    once_per_link: bool = False

    def accepted(self, runtime: Runtime) -> CheckedAlert:
        """Return the alert as the model has it; `Invalid` where it cannot be sent like that."""
        content = self.content(runtime.config.site_language, runtime.config.site_icon)
        spread, send_at = self.spread_minutes or 0, self._send_at()
        large = check_size(content, self.story or "", runtime)
        if spread and self.local_time:
            raise Invalid([FieldError("spread_minutes", _SPREAD_TWICE)])
        if spread * 60 + MIN_TTL > content.ttl:
            detail = (
                "The alert would expire (`ttl`) before the last reader gets it: spread it over"
                " less time."
            )
            raise Invalid([FieldError("spread_minutes", detail)])
        audience = replace(self.audience.audience(), story=self.story or "")
        check_audience(audience, runtime, send_at.at if send_at else None)
        second, further = self._second_text(content, runtime)
        repeat = self.repeat.checked(send_at, audience, second) if self.repeat else None
        warnings = (*self.warnings(), *large, *further)
        once, draft = self.once_per_link, self.draft
        return CheckedAlert(
            content, audience, spread, send_at, draft, second, repeat, once, warnings
        )

    def _second_text(
        self, content: Content, runtime: Runtime
    ) -> tuple[SecondText | None, list[tuple[str, str]]]:
        """Return the second text, and a warning if it is long; `Invalid`."""
        if self.second_text is None:
            return None, []
        if content.kind == "breaking":
            raise Invalid([FieldError("second_text", _NOT_BREAKING)])
        for other in ("spread_minutes", "local_time"):
            if getattr(self, other):
                raise Invalid([FieldError("second_text", _NOT_WITH.format(other))])
        one = self.second_text.second_text()
        if (one.title, one.body) == (content.title, content.body):
            raise Invalid([FieldError("second_text.title", _SAME_TEXT)])
        if one.decide_after_minutes * 60 + MIN_TTL > content.ttl:
            raise Invalid([FieldError("second_text.decide_after_minutes", _DECIDED_TOO_LATE)])
        return one, check_size(
            content.with_text(one), self.story or "", runtime, field="second_text.body"
        )

    def _send_at(self) -> SendAt | None:
        if self.send_at is None:
            for field, given in (("late", self.late == "send"), ("local_time", self.local_time)):
                if given:
                    raise Invalid([FieldError(field, "Is only possible together with `send_at`.")])
            return None
        if self.draft:
            detail = "A draft is not scheduled: leave out `send_at` or `draft`."
            raise Invalid([FieldError("send_at", detail)])
        send_at = replace(self._parsed(self.send_at), however_late=self.late == "send")
        now = clock.time()
        if send_at.wall and send_at.at <= now < send_at.at + ROUND_THE_WORLD:
            send_at = replace(send_at, at=now + 1)  # on some clocks it is still to come
        ahead = send_at.at - now
        if ahead <= 0:
            detail = "Is in the past. Leave it out to send the alert now."
            raise Invalid([FieldError("send_at", detail)])
        if ahead > _LONGEST_AHEAD:
            detail = "Is more than a year away. Choose an earlier time."
            raise Invalid([FieldError("send_at", detail)])
        return send_at

    def _parsed(self, value: str) -> SendAt:
        try:
            return times.read_wall(value) if self.local_time else times.read(value)
        except ValueError as error:
            detail = f"{str(error)[0].upper()}{str(error)[1:]}."
            raise Invalid([FieldError("send_at", detail)]) from None


class ChangedNotification(_Alert):
    """Changes to a draft or a scheduled alert; a missing field stays as it is.

    With a `send_at` a draft is scheduled; with null for it a scheduled alert is a draft again.
    Without a time an alert does not repeat any more; null for `repeat` ends that as well.
    """

    audience: AudienceRequest = Field(default_factory=AudienceRequest.model_construct)

    def accepted(self, before: Notification, runtime: Runtime) -> CheckedAlert:
        """Return the alert with these changes; `Invalid` where it cannot be sent like that.

        A field that the caller left out is not checked again. Since the alert was planned its time
        may have come, or a topic may have been deleted.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        fields = _request_for(before) | given | {"repeat": None}
        if "draft" not in given and "send_at" in given:
            fields["draft"] = given["send_at"] is None
        kept = before.send_at if before.has_time else None
        if fields["draft"] or "send_at" in given:
            kept = None
        if kept is not None:
            kept = self._kept(kept, fields)
            # It is checked as a draft, because its time may have come.
            fields |= {"draft": True, "send_at": None, "late": "draft", "local_time": False}
        elif fields["draft"] and not given.get("send_at"):
            fields |= {"send_at": None, "late": "draft", "local_time": False} | given
        default = DEFAULT_TTL[before.content.kind]
        if "kind" in given and "ttl" not in given and before.content.ttl == default:
            fields["ttl"] = None
        if "audience" not in given:
            fields["audience"] = {"everyone": True}
        try:
            checked = read(fields, runtime)
        except Invalid as invalid:
            raise _about(invalid, given) from None
        if "audience" not in given:
            audience = replace(before.audience, story=checked.audience.story)
            checked = replace(checked, audience=audience)
            if checked.send_at is not None:
                check_audience(audience, runtime, checked.send_at.at)
        if kept is not None:
            checked = replace(checked, send_at=kept, draft=False)
            if "audience" in given:
                check_audience(checked.audience, runtime, kept.at)
        if checked.send_at is None and not checked.draft:
            detail = "Must be true without `send_at`. To send the alert now, call POST …/send."
            raise Invalid([FieldError("draft", detail)])
        own = before.link_parameters
        large = check_size(checked.content, checked.audience.story, runtime, own=own)
        repeat = self._repeat(before, checked, given)
        return replace(checked, repeat=repeat, warnings=(*self.warnings(), *large))

    def _repeat(
        self, before: Notification, checked: CheckedAlert, given: Collection[str]
    ) -> Repeat | None:
        """Return how the alert repeats; `Invalid` if it cannot."""
        asked = self.repeat if "repeat" in given else RepeatRequest.of(before.repeats)
        if asked is None or (checked.send_at is None and "repeat" not in given):
            return None
        try:
            return asked.checked(checked.send_at, checked.audience, checked.second_text)
        except Invalid as invalid:
            raise _about(invalid, given) from None

    def _kept(self, at: SendAt, fields: dict[str, object]) -> SendAt:
        """Return the time that an alert keeps; `Invalid` for what does not go with it."""
        if fields["local_time"] is not bool(at.wall):
            raise Invalid([FieldError("local_time", "Send it together with `send_at`.")])
        if at.wall and fields["spread_minutes"]:
            raise Invalid([FieldError("spread_minutes", _SPREAD_TWICE)])
        if at.wall and fields["second_text"]:
            raise Invalid([FieldError("second_text", _NOT_WITH.format("local_time"))])
        return replace(at, however_late=fields["late"] == "send")


# By the field that an error names, others that it is about.
_GO_TOGETHER = {
    "spread_minutes": ("ttl", "kind"),
    "body": ("title", "url", "icon", "badge", "image", "actions", "story", "lang"),
    "second_text": ("kind", "spread_minutes", "local_time"),
    "second_text.title": ("second_text", "title", "body"),
    "second_text.body": ("second_text", "url", "icon", "badge", "image", "actions", "story"),
    "second_text.decide_after_minutes": ("second_text", "ttl"),
    "repeat": ("send_at", "audience", "draft"),
    "repeat.digest": ("second_text",),
}


def _about(invalid: Invalid, given: Collection[str]) -> Invalid:
    """Name a field that was sent, where fields do not go together."""
    errors = []
    for field, detail in invalid.errors:
        sent = (other for other in _GO_TOGETHER.get(field, ()) if other in given)
        was_sent = field.partition(".")[0] in given
        errors.append(FieldError(field if was_sent else next(sent, field), detail))
    return Invalid(errors)


def _request_for(planned: Notification) -> dict[str, object]:
    """Return the request that would publish a planned alert as it is."""
    at = planned.send_at if planned.has_time else None
    return {
        **planned.content.as_json(),
        "audience": planned.audience.as_json(),
        "story": planned.story or None,
        "spread_minutes": planned.spread_minutes or None,
        "second_text": asdict(planned.second_text) if planned.second_text else None,
        "send_at": times.write(at) if at else None,
        "late": "send" if at and at.however_late else "draft",
        "local_time": bool(at and at.wall),
        "draft": not planned.has_time,
    }


class TextChosen(RequestModel):
    """Which of an alert's two texts all others get: A is the first one, B the second."""

    text: Literal["A", "B"]


class TestTo(RequestModel):
    """The browser that a test of an alert is sent to."""

    subscription_id: Annotated[str, pattern(ID_PATTERN)]

    def subscription(self, runtime: Runtime) -> Subscription:
        """Return the subscription; `Invalid` if there is no such subscription."""
        try:
            return runtime.subscriptions.get(self.subscription_id)
        except NotSubscribed:
            detail = "There is no such subscription."
            raise Invalid([FieldError("subscription_id", detail)]) from None


_LARGE = (
    "The alert is {by} bytes too long for Firefox on Android and some other browsers. They show it"
    " without picture and buttons, and with a shorter text."
)


def document_size(content: Content, story: str, runtime: Runtime, own: str = "") -> int:
    """Return the bytes of the document that an alert becomes at most.

    `own` are link parameters that it has in place of the newsroom's.
    """
    longest = Notification(
        *(_LONGEST_ID, content, Audience(everyone=True, story=story), State.SENDING),
        *(clock.time(), ""),
        reporting=0.1234,
        link_parameters=own,
    )
    return Payload(longest, runtime.config.public_url, runtime.config.opened_links).size


def check_size(
    content: Content, story: str, runtime: Runtime, field: str = "body", own: str = ""
) -> list[tuple[str, str]]:
    """Raise `Invalid` if an alert is too long to be pushed; return a warning if it is for some."""
    size = document_size(content, story, runtime, own)
    over = size - MAX_PLAINTEXT
    if over > 0:
        by = f"{over} byte{'s' if over > 1 else ''}"
        detail = f"The alert is {by} too long to be pushed. Shorten a text or a link."
        raise Invalid([FieldError(field, detail)])
    return [(field, _LARGE.format(by=size - LARGE))] if size > LARGE else []
