"""The description of the API (OpenAPI 3.1), made from its routes and the models of `validation`.

`OPERATIONS` says what the routes cannot: what a call takes and gives. The models here are those
of the answers; the tests hold every answer they see against them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from flask import Flask
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import models_json_schema

from service import submissions, validation


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


@dataclass(frozen=True)
class Operation:
    """One call. `gives` is by status; None stands for an empty answer."""

    gives: dict[int, type[BaseModel] | None]
    takes: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    security: Literal["reader", "editor"] | None = None
    parameters: tuple[dict[str, Any], ...] = ()


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "schema": schema}


_MEDIA_TYPES = {ProblemShown: "application/problem+json", Metrics: "text/plain"}
_WITH_BODY = (400, 413, 415, 422, 429)
_OF_READERS = (401, 404)
_OF_EDITORS = (401, 403, 429)
_IDEMPOTENCY = _parameter("Idempotency-Key", "header", {"type": "string", "maxLength": 255})
_LIMIT = _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 100})
_CURSOR = _parameter("cursor", "query", {"type": "string"})

OPERATIONS = {
    "api.readers.site": Operation({200: Site}),
    "api.readers.subscribe": Operation(
        {200: Credentials, 201: Credentials},
        validation.NewSubscription,
        (*_WITH_BODY, 404, 409, 410),
    ),
    "api.readers.preferences": Operation(
        {200: Preferences}, problems=_OF_READERS, security="reader"
    ),
    "api.readers.change_preferences": Operation(
        {200: PreferencesChanged},
        validation.ChangedPreferences,
        (*_WITH_BODY, *_OF_READERS, 409),
        "reader",
    ),
    "api.readers.unsubscribe": Operation(
        {204: None}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.missed": Operation({200: Missed}, problems=(*_OF_READERS, 429), security="reader"),
    "api.readers.send_test": Operation(
        {202: TestSent}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.export": Operation({200: Export}, problems=(*_OF_READERS, 429), security="reader"),
    "api.readers.report": Operation({204: None}, validation.NewReceipts, _WITH_BODY),
    "api.notifications.publish": Operation(
        {202: Published},
        submissions.NewNotification,
        (*_WITH_BODY, *_OF_EDITORS, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.notifications.latest": Operation(
        {200: NotificationList},
        problems=(*_OF_EDITORS, 422),
        security="editor",
        parameters=(_LIMIT, _CURSOR),
    ),
    "api.notifications.show": Operation(
        {200: NotificationShown}, problems=(*_OF_EDITORS, 404), security="editor"
    ),
    **{
        f"api.notifications.{name}": Operation(
            {202: StateShown}, problems=(*_OF_EDITORS, 404, 409), security="editor"
        )
        for name in ("send", "cancel", "pause", "resume")
    },
    "api.notifications.change": Operation(
        {200: NotificationShown},
        submissions.ChangedNotification,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
    ),
    "api.notifications.remove": Operation(
        {204: None}, problems=(*_OF_EDITORS, 404, 409), security="editor"
    ),
    "api.notifications.correct": Operation(
        {202: Published},
        submissions.Correction,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.notifications.test": Operation(
        {202: Published},
        submissions.TestTo,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.audience": Operation(
        {200: Reach}, submissions.AudienceCounted, (*_WITH_BODY, *_OF_EDITORS), "editor"
    ),
    "api.topics": Operation({200: TopicList}, problems=_OF_EDITORS, security="editor"),
    "api.topic": Operation({200: TopicShown}, problems=(*_OF_EDITORS, 404), security="editor"),
    "api.add_topic": Operation(
        {201: TopicShown}, validation.NewTopic, (*_WITH_BODY, *_OF_EDITORS, 409), "editor"
    ),
    "api.change_topic": Operation(
        {200: TopicShown}, validation.ChangedTopic, (*_WITH_BODY, *_OF_EDITORS, 404), "editor"
    ),
    "api.remove_topic": Operation({204: None}, problems=(*_OF_EDITORS, 404), security="editor"),
    "api.stories": Operation({200: StoryList}, problems=_OF_EDITORS, security="editor"),
    "api.close_story": Operation({204: None}, problems=(*_OF_EDITORS, 404), security="editor"),
    "api.description": Operation({200: Description}),
    "health.alive": Operation({200: Alive}),
    "health.ready": Operation({200: Ready}),
    "health.metrics": Operation({200: Metrics}, problems=(401, 403), security="editor"),
}

_MEANINGS = {
    200: "Done",
    201: "Made",
    202: "Taken on",
    204: "Done",
    400: "Not JSON",
    401: "No token, or none that is known",
    403: "The token lacks the scope",
    404: "There is no such thing",
    409: "It does not fit what is there; nothing was changed",
    410: "This reader left",
    413: "The body is too large",
    415: "The body is not of JSON's type",
    422: "A field cannot be accepted; `errors` says which",
    429: "Too fast; `Retry-After` says how long to wait",
    500: "Something went wrong here",
    503: "The store is away or full",
}


def document(app: Flask) -> dict[str, Any]:
    """Return the description of every route in `OPERATIONS`, with the address it has in `app`."""
    models: set[type[BaseModel]] = {ProblemShown}
    for operation in OPERATIONS.values():
        models.update(model for model in (operation.takes, *operation.gives.values()) if model)
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint in OPERATIONS:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            summary = app.view_functions[rule.endpoint].__doc__ or ""
            described = _operation(rule.endpoint, summary, sorted(rule.arguments))
            paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stop Press", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "reader": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that was given when this browser subscribed.",
                },
                "editor": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token: `stoppress token add NAME` makes one.",
                },
            },
        },
    }


def _operation(endpoint: str, summary: str, arguments: list[str]) -> dict[str, Any]:
    operation = OPERATIONS[endpoint]
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in arguments
    ]
    answers: dict[int, type[BaseModel] | None] = {
        **operation.gives,
        **dict.fromkeys((*operation.problems, 500, 503), ProblemShown),
    }
    described: dict[str, Any] = {
        "operationId": endpoint.rpartition(".")[2],
        "summary": summary.rstrip("."),
        "parameters": [*in_path, *operation.parameters],
        "responses": {
            str(status): {"description": _MEANINGS[status], **_content(model)}
            for status, model in sorted(answers.items())
        },
    }
    if operation.takes is not None:
        described["requestBody"] = {"required": True, **_content(operation.takes)}
    if operation.security is not None:
        described["security"] = [{operation.security: []}]
    return described


def _content(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    media_type = _MEDIA_TYPES.get(model, "application/json")
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"content": {media_type: {"schema": schema}}}
