"""What the API answers: JSON as its models; what callers may say is in `validation`.

The description of the API is made from them, and the tests hold every answer they see against
them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TopicShown(_Answer):
    """A topic that readers can follow; `default`: ticked beforehand."""

    slug: str
    name: str
    description: str
    default: bool


class Prompt(_Answer):
    """When a page asks its reader by itself: on which view of a page, after how many seconds."""

    page_views: int
    delay_seconds: int


class QuietHoursShown(_Answer):
    """When no alerts are wanted, by the reader's own clock."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")


class Defaults(_Answer):
    """What holds for readers who chose nothing else; null: no quiet hours, no limit."""

    quiet_hours: QuietHoursShown | None
    daily_limit: int | None


class Site(_Answer):
    """What a page needs to know before it asks its reader."""

    name: str
    vapid_public_key: str
    topics: list[TopicShown]
    prompt: Prompt
    defaults: Defaults


class Credentials(_Answer):
    """The id of a subscription, and the token with which its browser changes or ends it.

    While it is not `confirmed` its reader is sent nothing but the welcome, once a day at most: each
    time that the browser checks in.
    """

    id: str
    token: str
    confirmed: bool


class Preferences(_Answer):
    """What holds for a reader: what was chosen, and else the newsroom's defaults.

    `quiet_hours`, `daily_limit` and `paused_until` are null for none; a pause lasts until the end
    of its hour. `wording` is the version of the words with which this reader was asked.
    """

    id: str
    topics: list[str]
    locale: str
    timezone: str
    quiet_hours: QuietHoursShown | None
    daily_limit: int | None
    allow_breaking: bool
    paused_until: str | None
    receipts: bool
    confirmed: bool
    muted_stories: list[str]
    followed_stories: list[str]
    wording: int
    subscribed_on: str


class PreferencesChanged(Preferences):
    """What a reader chose; `id` and `token` are new ones where the endpoint is another."""

    token: str


class AlertShown(_Answer):
    """An alert as a reader was shown it, or would have been."""

    title: str
    body: str
    url: str
    story: str | None
    sent_at: str


class Missed(_Answer):
    """The last alerts that went to an audience in which this reader is now, newest first."""

    alerts: list[AlertShown]


class TestSent(_Answer):
    """A test is going out; `recipients` is 0 where the push service calls this browser gone."""

    status: Literal["sending"]
    recipients: int


class KeysShown(_Answer):
    """The browser's half of the encryption."""

    p256dh: str
    auth: str


class Export(Preferences):
    """Everything that is stored about a reader.

    `left_to_the_newsroom`: of the preferences those that the newsroom's defaults decide.
    `alerts_held`: those held until quiet hours end, for two days. `alerts_counted`: how many
    alerts counted on each of the last days, as 20260329.
    """

    left_to_the_newsroom: list[Literal["quiet_hours", "daily_limit"]]
    last_seen_on: str
    endpoint: str
    keys: KeysShown
    vapid_public_key: str
    called_gone_by_its_push_service: bool
    alerts_handed_over: list[AlertShown]
    alerts_held: list[AlertShown]
    alerts_counted: dict[str, int]


Status = Literal["draft", "scheduled", "sending", "paused", "sent", "cancelled", "expired"]


class Published(_Answer):
    """An alert that is going out, or will; `recipients` is how many browsers matched."""

    id: str
    status: Status
    recipients: int


class Outcomes(_Answer):
    """How many recipients ended how. `accepted`: a push service took the message."""

    accepted: int
    gone: int
    refused: int
    expired: int
    skipped: int
    cancelled: int


class Receipts(_Answer):
    """How many browsers reported what, to about one in a hundred."""

    shown: int
    clicked: int
    dismissed: int


class LimitShown(_Answer):
    """A push service that keeps readers waiting, and why; with a pace, until when."""

    service: str
    why: str
    waiting: int
    resting_until: str | None
    per_minute: int | None
    last_reader_at: str | None
    will_expire: int


class Skipped(_Answer):
    """Why readers were not sent it.

    It is held until their `quiet` hours end, they had as many as they want today, or they paused.
    In a wave that brings what was held: all of that is `over`.
    """

    quiet: int
    limit: int
    paused: int
    over: int


class WaveShown(_Answer):
    """An alert that brought what was held until then, and to how many browsers this one of it."""

    id: str
    at: str
    alone: int
    together: int


class HeldShown(_Answer):
    """What came of those `skipped` for `quiet` hours: how many wait, and until when.

    The others have it since by `waves`: `alone`, as it was, and they report to this alert; or
    `together` with others in one message, whose receipts are the wave's.
    """

    waiting: int
    first_at: str | None
    last_at: str | None
    alone: int
    together: int
    waves: list[WaveShown]


class ProgressShown(_Answer):
    """How far an alert has come. Times are UTC; `started_at` is null before it is sent.

    `outcomes` say what became of its audience when it was sent, and `held` what came since to those
    who had quiet hours then: by a wave, of which they are `outcomes` too.

    `receipts` are estimates, with their standard errors in `receipts_error`: browsers are counted
    to about 0.8 %, and of a large audience only some report what they show or dismiss.
    """

    recipients: int
    done: int
    outcomes: Outcomes
    skipped: Skipped
    held: HeldShown
    by_service: dict[str, dict[str, int]]
    receipts: Receipts
    receipts_error: Receipts
    limits: list[LimitShown]
    started_at: str | None
    finished_at: str | None
    rate_per_second: float


class ActionShown(_Answer):
    """A button under an alert."""

    title: str
    url: str


class AudienceShown(_Answer):
    """Whom an alert is for; `subscription` alone is a test to one browser.

    `waking` alone are those whose quiet hours ended with that quarter hour, counted from 1970: they
    get what was held for them.
    """

    everyone: bool = True
    topics: list[str] = []
    exclude: list[str] = []
    locales: list[str] = []
    subscription: str = ""
    waking: int = 0


class TextShown(_Answer):
    """What a reader is shown."""

    title: str
    body: str
    url: str


class NotificationShown(_Answer):
    """An alert, and how far it has come.

    `missed` is a draft that nobody was there to send at its `send_at`, or within 15 minutes of it.
    """

    id: str
    status: Status
    title: str
    body: str
    url: str
    icon: str | None
    image: str | None
    actions: list[ActionShown]
    kind: str
    urgency: str
    ttl: int
    lang: str | None
    audience: AudienceShown
    story: str | None
    spread_minutes: int | None
    send_at: str | None
    local_time: bool
    time_zone: str | None
    late: Literal["draft", "send"]
    missed: bool
    corrects: str | None
    corrections: list[str]
    text_now: TextShown
    created_at: str
    created_by: str
    progress: ProgressShown


class NotificationList(_Answer):
    """Alerts, newest first; `next_cursor` leads to older ones, null where there are none.

    What brings what was held is not among them: `held` of an alert names it.
    """

    notifications: list[NotificationShown]
    next_cursor: str | None


class StateShown(_Answer):
    """What an alert is doing now."""

    id: str
    status: Status


class Reach(_Answer):
    """How many browsers an audience has at this moment."""

    recipients: int


class TopicList(_Answer):
    """The topics that readers can follow, in the order in which they were made."""

    topics: list[TopicShown]


class LatestShown(_Answer):
    """The latest alert of a story."""

    id: str
    title: str
    url: str
    sent_at: str


class StoryShown(_Answer):
    """A running story, its latest alert, and how many browsers follow it."""

    slug: str
    latest: LatestShown
    followers: int


class StoryList(_Answer):
    """The stories that are open, the one with the latest alert first."""

    stories: list[StoryShown]


class Description(RootModel[dict[str, Any]]):
    """This document."""


class Alive(_Answer):
    """The process answers."""

    status: Literal["alive"]


class Ready(_Answer):
    """Redis takes what is new; so many workers are registered."""

    status: Literal["ready"]
    workers: int


class Metrics(RootModel[str]):
    """Figures in Prometheus' text format."""


class FieldErrorShown(_Answer):
    """What is wrong with one field; one within another is `outer.inner`."""

    field: str
    detail: str


class ProblemShown(_Answer):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorShown] = []
