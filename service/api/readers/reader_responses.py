"""What routes return to readers' browsers; what they return to others is in responses.py."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.api.fields import ResponseModel


class TopicShown(ResponseModel):
    """A topic that readers can follow; `default` means that it is ticked beforehand."""

    slug: str
    name: str
    description: str
    default: bool


class Prompt(ResponseModel):
    """When a page asks its reader by itself: on which page view, and after how many seconds.

    `texts` are the newsroom's own words: the `question`, also as the `line` with which the panel
    begins, and its buttons `yes` and `later`.
    """

    page_views: int
    delay_seconds: int
    texts: dict[str, str]


class QuietHoursShown(ResponseModel):
    """When a reader wants no alerts, by the reader's own clock."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")


class Defaults(ResponseModel):
    """What holds for readers who chose nothing; null means no quiet hours, or no limit."""

    quiet_hours: QuietHoursShown | None
    daily_limit: int | None


class Site(ResponseModel):
    """What a page needs to know before it asks its reader.

    `alerts_a_day` is how many a reader of the topics ticked beforehand got lately, null while
    nothing is known. `welcome` says that a new reader is sent a welcome.
    """

    name: str
    vapid_public_key: str
    topics: list[TopicShown]
    prompt: Prompt
    defaults: Defaults
    alerts_a_day: int | None
    welcome: bool


class Credentials(ResponseModel):
    """The id of a subscription, and the token with which its browser changes or ends it.

    A reader who is not `confirmed` is sent nothing but the welcome, at most once a day, when the
    browser checks in.
    """

    id: str
    token: str
    confirmed: bool


class Preferences(ResponseModel):
    """What holds for a reader: the reader's own choice, else the newsroom's default.

    Null means none for `quiet_hours`, `daily_limit` and `paused_until`; a pause lasts until the end
    of its hour. `wording` is the version of the words with which the reader was asked.
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
    """The preferences as they are now; `id` and `token` are new ones if the endpoint changed."""

    token: str


class AlertShown(ResponseModel):
    """An alert as a reader was shown it, or would have been."""

    title: str
    body: str
    url: str
    story: str | None
    sent_at: str


class Missed(ResponseModel):
    """The last alerts to audiences that this reader belongs to now, newest first."""

    alerts: list[AlertShown]


class TestSent(ResponseModel):
    """A test is on its way; `recipients` is 0 if the push service calls this browser gone."""

    status: Literal["sending"]
    recipients: int


class PairingShown(ResponseModel):
    """Who wants to send tests of alerts to this browser."""

    site: str
    editor: str


class PairedShown(ResponseModel):
    """The editor who sends tests of alerts to this browser, and when the last one was sent."""

    editor: str
    browser: str
    paired_at: str
    used_at: str | None


class KeysShown(ResponseModel):
    """The browser's half of the encryption."""

    p256dh: str
    auth: str


class Export(Preferences):
    """Everything that is stored about a reader.

    `left_to_the_newsroom` names the preferences for which the newsroom's defaults hold.
    `alerts_held` are kept until quiet hours end, for two days. `alerts_clicked` are kept for seven
    days, and only where CLICK_AUDIENCES is on. `alerts_counted` says how many
    alerts counted on each of the last days, written as 20260329.
    """

    left_to_the_newsroom: list[Literal["quiet_hours", "daily_limit"]]
    last_seen_on: str
    endpoint: str
    keys: KeysShown
    vapid_public_key: str
    called_gone_by_its_push_service: bool
    new_push_service_accepted_nothing: bool
    taken_over_and_no_alert_accepted_yet: bool
    subscribed_minutes_ago: bool
    alerts_handed_over: list[AlertShown]
    alerts_held: list[AlertShown]
    alerts_clicked: list[AlertShown]
    alerts_counted: dict[str, int]
    paired: PairedShown | None
