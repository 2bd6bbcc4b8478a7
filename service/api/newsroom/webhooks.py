"""The API's calls about webhooks, which hear of alerts and of how many readers come and go."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field, StringConstraints

from service.api import paging
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import HOOK, Invalid, RequestModel, ResponseModel, pattern
from service.api.problems import FieldError, respond
from service.api.responses import WarningShown
from service.current import runtime
from service.domain.newsroom.webhooks import Shown, WrongWebhook, ended_words, result_words
from service.model.time.times import iso

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")

_Event = Literal[  # `EVENTS`
    "alert.sent",
    "alert.finished",
    "alert.corrected",
    "alert.cancelled",
    "readers.joined",
    "readers.left",
]
_Events = Annotated[
    list[_Event], Field(min_length=1, max_length=20, json_schema_extra={"uniqueItems": True})
]
_Address = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), pattern(r"^\s*(https?://)?[^\s/]+")
]


class NewWebhook(RequestModel):
    """An address that is called when one of these events happens."""

    address: _Address
    events: _Events


class ChangedWebhook(RequestModel):
    """Changes to a webhook; a field that is null or missing stays as it is.

    One that was ended begins anew with another address, or with `paused` false.
    """

    address: _Address | None = None
    events: _Events | None = None
    paused: bool | None = None


class ResultShown(ResponseModel):
    """What came of one attempt; `status` 0 means that no response came."""

    at: str
    type: str
    attempt: int
    status: int
    detail: str
    again_at: str | None


class WebhookShown(ResponseModel):
    """A webhook, how many events wait for it, and its last results, the latest first.

    An `ended` webhook hears nothing until it is changed; `detail` says why.
    """

    id: str
    address: str
    events: list[str]
    status: Literal["active", "failing", "paused", "ended"]
    detail: str
    waiting: int
    created_at: str
    created_by: str
    results: list[ResultShown]


class WebhookList(ResponseModel):
    """The webhooks, the oldest first; `next_cursor` leads to further ones."""

    webhooks: list[WebhookShown]
    next_cursor: str | None = Field(default=None)


class Secret(ResponseModel):
    """The secret with which calls are signed; no later response has it."""

    id: str
    secret: str


class AddedWebhook(Secret):
    """A new webhook's secret; `warnings` says if its address cannot be reached from here."""

    warnings: list[WarningShown]


_BY = tools("webhooks")


@bp.get("")
@call(
    by=_BY,
    gives={200: WebhookList},
    parameters=paging.parameters(pattern=HOOK),
)
def webhooks() -> WebhookList:
    """List the webhooks."""
    found = [shown(one) for one in runtime().webhooks.all()]
    page, next_cursor = paging.named(found, lambda one: one.id, HOOK)
    return WebhookList(webhooks=[*page], next_cursor=next_cursor)


@bp.get("/<hook>")
@call(by=_BY, gives={200: WebhookShown}, problems=(404,))
def webhook(hook: str) -> WebhookShown:
    """Show one webhook."""
    return shown(runtime().webhooks.get(hook))


@bp.post("")
@call(by=_BY, takes=NewWebhook, gives={201: AddedWebhook}, problems=(409,))
def add_webhook(requested: NewWebhook) -> tuple[AddedWebhook, dict[str, str]]:
    """Add a webhook, which hears what happens from now on; the response has its secret."""
    made, secret = runtime().webhooks.add(
        requested.address, requested.events, by=calling_tool().name
    )
    detail = runtime().webhooks.warning(made.address)
    warnings = [WarningShown(field="address", detail=detail)] if detail else []
    shown = AddedWebhook(id=made.id, secret=secret, warnings=warnings)
    return shown, {"Location": url_for("api.webhooks.webhook", hook=made.id)}


@bp.patch("/<hook>")
@call(by=_BY, takes=ChangedWebhook, gives={200: WebhookShown}, problems=(404,))
def change_webhook(requested: ChangedWebhook, hook: str) -> WebhookShown:
    """Change a webhook's address or events, pause it, or let it go on."""
    runtime().webhooks.change(
        hook, address=requested.address, events=requested.events, paused=requested.paused
    )
    return shown(runtime().webhooks.get(hook))


@bp.post("/<hook>/rotate")
@call(by=_BY, gives={200: Secret}, problems=(404,))
def rotate_webhook(hook: str) -> Secret:
    """Make a new secret. For a day calls are signed with the one before it, too."""
    return Secret(id=hook, secret=runtime().webhooks.rotate(hook))


@bp.post("/<hook>/test")
@call(by=_BY, gives={202: None}, problems=(404,))
def test_webhook(hook: str) -> None:
    """Call a webhook once with an event of the type `test`; its results then say how that went."""
    runtime().webhooks.test(hook)


@bp.delete("/<hook>")
@call(by=_BY, gives={204: None}, problems=(404,))
def remove_webhook(hook: str) -> None:
    """Remove a webhook, and what waits for it."""
    runtime().webhooks.remove(hook)


@bp.errorhandler(WrongWebhook)
def _refuse(error: WrongWebhook) -> ResponseReturnValue:
    return respond(Invalid([FieldError(error.field, str(error))]))


def shown(one: Shown) -> WebhookShown:
    """Show a webhook."""
    hook, health = one.webhook, one.health
    return WebhookShown(
        id=hook.id,
        address=hook.address,
        events=list(hook.events),
        status=one.status,
        detail=ended_words(health),
        waiting=one.waiting,
        created_at=iso(hook.created_at),
        created_by=hook.created_by,
        results=[
            ResultShown(
                at=iso(result.at),
                type=result.type,
                attempt=result.attempt,
                status=result.status,
                detail=result_words(result),
                again_at=iso(result.again_at) if result.again_at else None,
            )
            for result in health.results
        ],
    )
