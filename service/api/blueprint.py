"""The API as one blueprint: its parts, and what holds for all of their responses."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from service.api import openapi
from service.api.alerts import notifications, searching, templates, topics
from service.api.newsroom import feeds, newsroom, publish_hook_setup, publish_hooks, webhooks
from service.api.operations import operations
from service.api.problems import Problem, respond
from service.api.readers import readers
from service.domain.alerts.publishing import Conflict, PlanWithdrawn, UnknownNotification
from service.domain.alerts.stops import EverythingStopped
from service.domain.alerts.templates import TemplateRefused, UnknownTemplate
from service.domain.alerts.topics import MergedTopic, UnknownTopic
from service.domain.newsroom.feeds import FeedChanged, UnknownFeed
from service.domain.newsroom.publish_hooks import UnknownHook
from service.domain.newsroom.webhooks import UnknownWebhook
from service.domain.people.paired_browsers import CodeOver
from service.domain.readers.reader_alerts import TooManyActive
from service.domain.sending.job_queue import ForeignJob, UnknownJob
from service.domain.too_many import TooMany
from service.store.readers.subscriptions import HasLeft, KnownWithOtherKeys, NotSubscribed

PARTS = (
    *(readers.bp, notifications.bp, topics.bp, newsroom.bp, feeds.bp, webhooks.bp),
    *(publish_hooks.bp, publish_hook_setup.bp, templates.bp, searching.bp),
    *(operations.bp, openapi.bp),
)
bp = Blueprint("api", __name__, url_prefix="/api/v1")
for _part in PARTS:
    bp.register_blueprint(_part)

_REFUSALS: dict[type[Exception], tuple[int, str]] = {
    HasLeft: (410, "This reader has unsubscribed. Ask before you subscribe this browser again."),
    # 404, not 410: nobody has left (decision 8).
    NotSubscribed: (404, "There is no such subscription, or the token is not its own."),
    KnownWithOtherKeys: (
        409,
        "This endpoint is subscribed with other keys, and nothing was changed. Send its reader's"
        " token, as `Authorization: Bearer <token>`, to prove that it is the same browser.",
    ),
    UnknownNotification: (404, "There is no such alert."),
    PlanWithdrawn: (
        410,
        "The alert of this reference or Idempotency-Key was planned, and deleted or cancelled"
        " since. Nothing was sent now: use another key to publish it again.",
    ),
    UnknownFeed: (404, "There is no such feed."),
    FeedChanged: (409, "This feed was changed meanwhile. Read it again."),
    UnknownTemplate: (404, "There is no such template or saved audience."),
    UnknownHook: (404, "There is no publish hook at this address."),
    UnknownWebhook: (404, "There is no such webhook."),
    UnknownJob: (404, "No failed job has this id. It may have been retried or thrown away."),
    ForeignJob: (409, "This job is not ours, so it is not run again. It can be thrown away."),
    UnknownTopic: (404, "This site has no topic with this slug."),
    CodeOver: (
        410,
        "This code was used, or has ended. Make another at the desk, which works for two minutes.",
    ),
    EverythingStopped: (503, "Nothing is sent at the moment. Try again later."),
    TooManyActive: (429, "Many alerts are being sent at the moment. Try again in a minute."),
}
# These say in words what to do.
_IN_WORDS = (MergedTopic, TemplateRefused, TooMany)


@bp.after_request
def _no_caching(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _refuse(error: Exception) -> ResponseReturnValue:
    return respond(Problem(*_REFUSALS[type(error)]))


def _refuse_in_words(error: Exception) -> ResponseReturnValue:
    return respond(Problem(409, str(error)))


def _conflict(error: Conflict) -> ResponseReturnValue:
    return respond(Problem(409, str(error), alert=error.id))


for _kind in _REFUSALS:
    bp.register_error_handler(_kind, _refuse)
for _kind in _IN_WORDS:
    bp.register_error_handler(_kind, _refuse_in_words)
bp.register_error_handler(Conflict, _conflict)
