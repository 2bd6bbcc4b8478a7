"""What routes return: each view returns one of these models, which is then written as JSON.

The description of the API is made of the same models, and the tests check every response against
it. What readers' browsers get is in reader_responses.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, RootModel

from service.api.alerts.content import ContentShown
from service.api.alerts.repeats import RepeatShown
from service.api.fields import ResponseModel
from service.api.readers.reader_responses import TopicShown
from service.model.time.times import iso

# Text in the JSON. In the domain an id is a number, and a time is in seconds since 1970.
Id = Annotated[str, BeforeValidator(str)]
Time = Annotated[str, BeforeValidator(lambda at: iso(at) if isinstance(at, int | float) else at)]
# Null in the JSON is 0, or an empty text, in the domain.
OrNull = BeforeValidator(lambda value: value or None)


# For editors' tools: alerts ---------------------------------------------------------------------

Status = Literal["draft", "scheduled", "sending", "paused", "sent", "cancelled", "expired"]


class WarningShown(ResponseModel):
    """What the writer of an alert should know though it was accepted: of a field, or its status."""

    field: str
    detail: str


class Published(ResponseModel):
    """An alert that was accepted; `recipients` is how many browsers matched at that moment.

    `warnings` say where readers will not see a text as it was sent, or see what was not meant for
    them; of the field `status`, that it waits because everything is stopped; and of `audience`,
    that nobody gets it, because `recipients` is 0.
    """

    id: str
    status: Status
    recipients: int
    warnings: list[WarningShown]


class Outcomes(ResponseModel):
    """How many recipients ended with each outcome. `accepted`: a push service took the message."""

    accepted: int
    gone: int
    refused: int
    expired: int
    skipped: int
    cancelled: int


class Receipts(ResponseModel):
    """How many browsers reported each event, to about one in a hundred."""

    shown: int
    clicked: int
    dismissed: int


class LimitShown(ResponseModel):
    """A push service that keeps readers waiting.

    `why` is a status, "no answer" or "credentials". If the service has a pace (`per_minute`), we
    know when the last reader gets the alert.
    """

    service: str
    why: str
    waiting: int
    resting_until: Time | None
    per_minute: int | None
    last_reader_at: Time | None
    will_expire: int


class Skipped(ResponseModel):
    """Why readers were not sent the alert.

    `quiet`: it is held until their quiet hours end. `limit`: they had as many alerts as they want
    today. `paused`: they paused all alerts. `over`: they got a newer alert of the same story; in a
    wave, everything held for them is over.
    """

    quiet: int
    limit: int
    paused: int
    over: int


class WaveShown(ResponseModel):
    """A wave of held alerts, and to how many browsers it delivered this alert."""

    id: Id
    at: Time
    alone: int
    together: int


class HeldShown(ResponseModel):
    """What happened to readers who were `skipped` for `quiet` hours.

    `waiting` browsers still wait, the first until `first_at`, the last until `last_at`. The others
    got the alert by one of the `waves`: `alone`, as it was, so that they report to this alert; or
    `together` with others in one message, whose receipts count for the wave.
    """

    waiting: int
    first_at: Time | None
    last_at: Time | None
    alone: int
    together: int
    waves: list[WaveShown]


class OnScreenShown(ResponseModel):
    """How soon the alert was on screens, by browsers that report when they showed it.

    Of the `browsers` that showed it within `patience` seconds, `percent` showed it within
    `seconds`, which are those of the newsroom's promise (else 60); `error` is the standard error.
    Those that showed it `later` slept or were closed. `up_to` says how many showed it within so
    many seconds; `inf`: all. Null while no browser reports it, and for an alert that was paused or
    that takes its time.
    """

    seconds: int
    percent: int | None
    error: float
    browsers: int
    patience: int
    later: int
    up_to: dict[str, int]


class ProgressShown(ResponseModel):
    """How far an alert has come. Times are UTC; `started_at` is null before it is sent.

    `outcomes` say what happened to its audience when it was sent. `held` says what happened since
    to readers who had quiet hours then; they count among the `outcomes` of a wave too.

    `receipts` are estimates, with their standard errors in `receipts_error`: browsers are counted
    to about 0.8 %, and in a large audience only some report what they show or dismiss.
    `conversions` says how many browsers did what the newsroom counts, within a day after a click.
    `rate_per_second` is an average over the whole time.
    """

    recipients: int
    done: int
    outcomes: Outcomes
    skipped: Skipped
    held: HeldShown
    by_service: dict[str, dict[str, int]]
    receipts: Receipts
    receipts_error: Receipts
    on_screen: OnScreenShown | None
    conversions: dict[str, int]
    limits: list[LimitShown]
    started_at: str | None
    finished_at: str | None
    rate_per_second: float


class AudienceShown(ResponseModel):
    """Who an alert is for.

    `subscription` alone: a test to one browser. `waking` alone: a wave, for readers whose quiet
    hours ended with that quarter hour, counted from 1970. `last_seen_until`: only readers whose
    last visit was in that month, such as 202605, or before (RETIRE_AFTER_DAYS).
    """

    everyone: bool = True
    topics: list[str] = Field(default=[])
    exclude: list[str] = Field(default=[])
    locales: list[str] = Field(default=[])
    all_topics: list[str] = Field(default=[])
    followers_of: str = ""
    new_within_days: int = 0
    last_seen_until: str = ""
    not_reached_by: list[str] = Field(default=[])
    clicked: list[str] = Field(default=[])
    subscription: str = ""
    waking: int = 0


class TextShown(ResponseModel):
    """What a reader is shown; a click `opens` the link with LINK_PARAMETERS."""

    title: str
    body: str
    url: str
    opens: str


class TriedShown(ResponseModel):
    """What became of one of two texts in the sample.

    `accepted` counts browsers that report clicks, `silent` the others: Safari reports none.
    """

    accepted: int
    clicked: int
    silent: int
    share: float


class SecondTextShown(ResponseModel):
    """The second text of an alert, and how both do in the sample until one is `chosen`.

    In `chosen` and `tried`, A is the first text and B the second.

    `chosen_by` is null if the clock did it. `chance` is in what share of such tests chance alone
    makes a difference at least as large; null while nobody has clicked.
    """

    title: str
    body: str
    sample_percent: int
    decide_after_minutes: int
    chosen: str | None
    chosen_at: str | None
    chosen_by: str | None
    tried: dict[str, TriedShown]
    chance: float | None


class NotificationShown(ContentShown):
    """An alert, and how far it has come.

    `missed` marks a draft that could not be sent within 15 minutes of its `send_at`. `text_now` is
    what recipients get who have not been reached yet. `waits_for_approval` marks a draft that is
    sent once another editor approves it at the desk. The response to a change has `warnings`. A
    click `opens` the `url` with LINK_PARAMETERS.
    """

    id: str
    opens: str
    status: Status
    audience: AudienceShown
    story: str | None
    spread_minutes: int | None
    second_text: SecondTextShown | None
    send_at: str | None
    repeat: RepeatShown | None
    local_time: bool
    time_zone: str | None
    late: Literal["draft", "send"]
    missed: bool
    waits_for_approval: bool
    corrects: str | None
    corrections: list[str]
    text_now: TextShown
    created_at: str
    created_by: str
    progress: ProgressShown
    warnings: list[WarningShown] = Field(default=[])


class NotificationList(ResponseModel):
    """Alerts, newest first; `next_cursor` leads to older ones, and is null on the last page.

    Waves of held alerts are not listed: an alert's `held` names them.
    """

    notifications: list[NotificationShown]
    next_cursor: str | None


class StateShown(ResponseModel):
    """What an alert is doing now; `warnings`, if there are any, say why it waits."""

    id: str
    status: Status
    warnings: list[WarningShown] = Field(default=[])


# For editors' tools: audiences, topics, stories -------------------------------------------------


class Reach(ResponseModel):
    """How many browsers an audience has at this moment."""

    recipients: int


class TopicOfNewsroom(TopicShown):
    """A topic as the newsroom's tools see it; a `hidden` one is not offered to readers."""

    hidden: bool


class TopicList(ResponseModel):
    """The topics of the newsroom, in its order; `next_cursor` leads to further ones."""

    topics: list[TopicOfNewsroom]
    next_cursor: str | None = Field(default=None)


class TopicSaved(TopicOfNewsroom):
    """A topic as it is now; `warnings` say where a text is not as it was sent."""

    warnings: list[WarningShown]


class LatestShown(ResponseModel):
    """The latest alert of a story."""

    id: str
    title: str
    url: str
    sent_at: str


class StoryShown(ResponseModel):
    """A running story, its latest alert, and how many browsers follow it."""

    slug: str
    latest: LatestShown
    followers: int


class StoryList(ResponseModel):
    """The running stories; the story with the latest alert is first.

    `next_cursor` leads to further ones.
    """

    stories: list[StoryShown]
    next_cursor: str | None = Field(default=None)


# For monitors, and the description --------------------------------------------------------------


class Description(RootModel[dict[str, Any]]):
    """This document."""


class Alive(ResponseModel):
    """The process answers."""

    status: Literal["alive"]


class Ready(ResponseModel):
    """Redis accepts writes, and this many workers are registered."""

    status: Literal["ready"]
    workers: int


class Metrics(RootModel[str]):
    """Figures in Prometheus' text format."""
