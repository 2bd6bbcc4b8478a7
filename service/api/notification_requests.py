"""What publishers, editors and their tools may say of an alert.

Read as `validation` reads everything: strictly, and refused with the field's name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from service.api.problems import FieldError
from service.api.reader_requests import (
    Invalid,
    Link,
    Locale,
    Said,
    Slug,
    Topics,
    characters,
    line,
    lines,
    refusal,
)
from service.model import times
from service.model.notifications import (
    MAX_PLAINTEXT,
    MAX_TTL,
    MIN_TTL,
    ROUND_THE_WORLD,
    Action,
    Audience,
    Content,
    Notification,
    SendAt,
    State,
    SubscriptionId,
)
from service.model.payload import Payload
from service.runtime import Runtime
from service.store.subscriptions import NotSubscribed

_DEFAULT_TTL = {"news": 4 * 3600, "breaking": 12 * 3600}  # seconds
_LONGEST_ID = 2**24 - 1  # what a receipt has room for; the widest an alert's id gets
_LONGEST_AHEAD = 366 * 86_400  # seconds


def read(said: dict[str, object], runtime: Runtime) -> CheckedAlert:
    """Check an alert that comes from one of our own pages, in the API's words; `Invalid`."""
    try:
        wanted = NewNotification.model_validate(said, context=runtime)
    except ValidationError as error:
        raise refusal(error) from None
    return wanted.accepted(runtime)


def _moment(text: str) -> str:
    if not times.is_wall(text):
        times.read(text)
    return text


class AudienceRequest(Said):
    """Whom an alert is for: `{"everyone": true}`, or any of `topics`."""

    everyone: bool | None = None
    topics: Annotated[Topics, Field(min_length=1)] | None = None
    exclude: Topics = Field(default_factory=list)
    locales: list[Locale] = Field(default_factory=list, max_length=100)

    @model_validator(mode="after")
    def _said(self) -> AudienceRequest:
        # Never implied: neither `false` nor nothing at all means anybody.
        if (self.everyone, self.topics is None) not in ((True, True), (None, False)):
            raise ValueError('must say either "everyone": true or "topics"')
        return self

    def audience(self) -> Audience:
        """Return the audience in the house's words."""
        return Audience(
            everyone=self.everyone is True,
            topics=tuple(self.topics or ()),
            exclude=tuple(self.exclude),
            locales=tuple(self.locales),
        )


class AudienceCounted(AudienceRequest):
    """An audience to be counted; with a running `story`, also its followers, but none who muted it.

    Of an alert the story is said beside the audience.
    """

    story: Slug | None = None

    def audience(self) -> Audience:
        """Return the audience in the house's words."""
        return replace(super().audience(), story=self.story or "")


class ActionWanted(Said):
    """A button under an alert."""

    title: Annotated[str, line(60), AfterValidator(characters)]
    url: Link


Title = Annotated[str, line(200), AfterValidator(characters)]
Body = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=1000),
    AfterValidator(lines),
]


Moment = Annotated[str, StringConstraints(max_length=100), AfterValidator(_moment)]


@dataclass(frozen=True, slots=True)
class CheckedAlert:
    """An alert as somebody wants it published: now, or later as `send_at` and `draft` say."""

    content: Content
    audience: Audience
    spread_minutes: int
    send_at: SendAt | None
    draft: bool


class _AlertSaid(Said):
    body: Body = ""
    icon: Link | None = None
    image: Link | None = None
    actions: list[ActionWanted] = Field(default_factory=list, max_length=2)
    kind: Literal["news", "breaking"] = "news"
    urgency: Literal["very-low", "low", "normal", "high"] = "high"
    ttl: Annotated[int, Field(ge=MIN_TTL, le=MAX_TTL)] | None = None
    lang: Locale | None = None
    story: Slug | None = None
    spread_minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    send_at: Moment | None = None
    late: Literal["draft", "send"] = "draft"
    local_time: bool = False
    draft: bool = False


class NewNotification(_AlertSaid):
    """An alert to publish. `ttl` is in seconds; without it 4 hours, for breaking news 12.

    `lang` is the language of its words (BCP 47); without it the site's, where that is set.
    With `send_at` it is sent then: RFC 3339 with an offset, or a wall clock's time with its zone,
    `2026-03-29T02:30[Europe/Berlin]` (RFC 9557). `late` says what becomes of it where nobody was
    there to send it within 15 minutes. With `local_time` each reader has it when their own clock
    shows `send_at`, which then has neither offset nor zone. A `draft` is sent when somebody says
    so.
    """

    title: Title
    url: Link
    audience: AudienceRequest

    def accepted(self, runtime: Runtime) -> CheckedAlert:
        """Return the alert in the house's words; `Invalid` where it cannot be sent like that."""
        content = self._content(runtime.config.site_language)
        spread, send_at = self.spread_minutes or 0, self._send_at()
        check_size(content, self.story or "", runtime)
        if spread and self.local_time:
            detail = "Readers' own clocks spread it already: leave out one of the two."
            raise Invalid([FieldError("spread_minutes", detail)])
        if spread * 60 + MIN_TTL > content.ttl:
            detail = "The alert would run out of time (`ttl`) before the last reader has it."
            raise Invalid([FieldError("spread_minutes", detail)])
        audience = replace(self.audience.audience(), story=self.story or "")
        return CheckedAlert(content, audience, spread, send_at, self.draft)

    def _send_at(self) -> SendAt | None:
        if self.send_at is None:
            for field, said in (("late", self.late == "send"), ("local_time", self.local_time)):
                if said:
                    raise Invalid([FieldError(field, "Says something only beside `send_at`.")])
            return None
        if self.draft:
            detail = "A draft waits until somebody sends it: leave out one of the two."
            raise Invalid([FieldError("send_at", detail)])
        send_at = replace(self._moment(self.send_at), however_late=self.late == "send")
        now = time.time()
        if send_at.wall and send_at.at <= now < send_at.at + ROUND_THE_WORLD:
            send_at = replace(send_at, at=now + 1)  # by some clocks it is still ahead
        ahead = send_at.at - now
        if ahead <= 0:
            detail = "Has passed already. Leave it out to send the alert now."
            raise Invalid([FieldError("send_at", detail)])
        if ahead > _LONGEST_AHEAD:
            raise Invalid([FieldError("send_at", "Is more than a year away.")])
        return send_at

    def _moment(self, text: str) -> SendAt:
        try:
            return times.read_wall(text) if self.local_time else times.read(text)
        except ValueError as error:
            detail = f"{str(error)[0].upper()}{str(error)[1:]}."
            raise Invalid([FieldError("send_at", detail)]) from None

    def _content(self, site_language: str) -> Content:
        return Content(
            title=self.title,
            url=self.url,
            body=self.body,
            icon=self.icon,
            image=self.image,
            actions=tuple(Action(action.title, action.url) for action in self.actions),
            kind=self.kind,
            urgency=self.urgency,
            ttl=_DEFAULT_TTL[self.kind] if self.ttl is None else self.ttl,
            lang=self.lang or site_language or None,
        )


class ChangedNotification(_AlertSaid):
    """Other words, another audience or time for what was not sent yet; what is missing stays.

    With a `send_at` a draft is scheduled; with null for it what was scheduled is a draft again.
    """

    title: Title | None = None
    url: Link | None = None
    audience: AudienceRequest | None = None

    def accepted(self, before: Notification, runtime: Runtime) -> CheckedAlert:
        """Return the alert as it will be; `Invalid` where it cannot be sent like that."""
        given = self.model_dump(exclude_unset=True)
        said = _as_said(before) | given
        if "draft" not in given and "send_at" in given:
            said["draft"] = given["send_at"] is None
        if said["draft"] and not given.get("send_at"):
            said["send_at"], said["late"] = None, given.get("late", "draft")
            said["local_time"] = given.get("local_time", False)
        default = _DEFAULT_TTL[before.content.kind]
        if "kind" in given and "ttl" not in given and before.content.ttl == default:
            said["ttl"] = None
        wanted = read(said, runtime)
        if wanted.send_at is None and not wanted.draft:
            detail = "Must be true without a `send_at`: POST …/send is what sends it now."
            raise Invalid([FieldError("draft", detail)])
        return wanted


def _as_said(one: Notification) -> dict[str, object]:
    """Return an alert that is planned in the words in which it could be published."""
    at = one.send_at if one.state is State.SCHEDULED else None
    return {
        **one.content.as_json(),
        "audience": one.audience.as_json(),
        "story": one.story or None,
        "spread_minutes": one.spread_minutes or None,
        "send_at": times.write(at) if at else None,
        "late": "send" if at and at.however_late else "draft",
        "local_time": bool(at and at.wall),
        "draft": one.state is State.DRAFT,
    }


class Correction(Said):
    """Another text for an alert; what is missing stays. `reached`: what of those who have it."""

    title: Title | None = None
    body: Body | None = None
    url: Link | None = None
    reached: Literal["replace", "leave"] = "replace"

    def check(self, root: Notification, runtime: Runtime) -> None:
        """Raise `Invalid` where it changes nothing, or makes the alert too long to be pushed."""
        before, given = root.text, {"title": self.title, "body": self.body, "url": self.url}
        changes = {name: text for name, text in given.items() if text is not None}
        if all(getattr(before, name) == text for name, text in changes.items()):
            raise Invalid([FieldError("title", "Nothing would change: say what is to be other.")])
        check_size(replace(before, **changes), root.story, runtime)  # type: ignore[arg-type]


class TestTo(Said):
    """To which browser an alert is to be sent as a test."""

    subscription_id: str

    def subscription(self, runtime: Runtime) -> SubscriptionId:
        """Return the subscription; `Invalid` where there is none."""
        try:
            id = SubscriptionId.parse(self.subscription_id)
            runtime.store.subscriptions.get(id)
        except (ValueError, NotSubscribed):
            detail = "There is no such subscription."
            raise Invalid([FieldError("subscription_id", detail)]) from None
        return id


def check_size(content: Content, story: str, runtime: Runtime) -> None:
    """Raise `Invalid` where a text is too long to be pushed."""
    audience = Audience(everyone=True, story=story)
    widest = Notification(
        _LONGEST_ID, content, audience, State.SENDING, time.time(), "", reporting=0.1234
    )
    over = Payload(widest, runtime.config.public_url).size - MAX_PLAINTEXT
    if over > 0:
        by = f"{over} byte{'s' if over > 1 else ''}"
        detail = f"The alert is {by} too long to be pushed: shorten a text or a link."
        raise Invalid([FieldError("body", detail)])
