"""The API: what editors' tools and monitors call (design, section 5); its other calls beside it.

A route reads what was said, calls one function, and answers. Refusals are problem documents.
"""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, current_app, url_for
from flask.typing import ResponseReturnValue

from service.api import notification_requests, notifications, openapi, reader_requests, readers
from service.api.auth import body, caller, runtime
from service.api.monitoring import CONTENT_TYPE, Figures
from service.api.problems import Problem, respond
from service.domain.publishing import Conflict, RunningStory, UnknownNotification
from service.model.notifications import Topic
from service.model.times import iso
from service.store.subscriptions import HasLeft, KnownWithOtherKeys, NotSubscribed

bp = Blueprint("api", __name__, url_prefix="/api/v1")
health = Blueprint("health", __name__)


@bp.after_request
def _not_kept(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


# Editors' tools: audiences and topics ------------------------------------------------------------


@bp.post("/audience")
def audience() -> ResponseReturnValue:
    """Count the browsers that an audience has at this moment."""
    caller("read", "send")
    wanted = body(notification_requests.AudienceCounted).audience()
    return {"recipients": runtime().publishing.reach(wanted)}, 200


@bp.get("/topics")
def topics() -> ResponseReturnValue:
    """List the topics that readers can follow."""
    caller("read", "send", "topics")
    return {
        "topics": [_topic(topic) for topic in runtime().store.installation.topics().values()]
    }, 200


@bp.get("/topics/<slug>")
def topic(slug: str) -> ResponseReturnValue:
    """Show one topic."""
    caller("read", "send", "topics")
    return _topic(_known_topic(slug)), 200


@bp.post("/topics")
def add_topic() -> ResponseReturnValue:
    """Offer readers a new topic."""
    caller("topics")
    new = body(reader_requests.NewTopic).topic()
    if not runtime().store.installation.add_topic(new):
        raise Problem(409, "There is a topic with that slug already; PATCH changes its words.")
    return _topic(new), 201, {"Location": url_for("api.topic", slug=new.slug)}


@bp.patch("/topics/<slug>")
def change_topic(slug: str) -> ResponseReturnValue:
    """Change the words of a topic."""
    caller("topics")
    changed = body(reader_requests.ChangedTopic).topic(_known_topic(slug))
    runtime().store.installation.change_topic(changed)
    return _topic(changed), 200


@bp.delete("/topics/<slug>")
def remove_topic(slug: str) -> ResponseReturnValue:
    """Take a topic away, and forget who followed it."""
    caller("topics")
    known = runtime().store.installation.remove_topic(slug)
    # Of an unknown one too: an earlier call may have been cut off between the two.
    runtime().store.subscriptions.forget_topic(slug)
    if not known:
        raise _no_topic()
    return "", 204


def _known_topic(slug: str) -> Topic:
    known = runtime().store.installation.topics().get(slug)
    if known is None:
        raise _no_topic()
    return known


def _no_topic() -> Problem:
    return Problem(404, "This site has no such topic.")


def _topic(topic: Topic) -> dict[str, Any]:
    return {
        "slug": topic.slug,
        "name": topic.name,
        "description": topic.description,
        "default": topic.default,
    }


@bp.get("/stories")
def stories() -> ResponseReturnValue:
    """List the stories that are open, the one with the latest alert first."""
    caller("read", "send")
    return {"stories": [_story(one) for one in runtime().publishing.stories()]}, 200


@bp.delete("/stories/<slug>")
def close_story(slug: str) -> ResponseReturnValue:
    """Close a story: nobody follows or mutes it any more; a later alert opens it anew."""
    caller("send")
    if not runtime().store.stories.close(slug):
        raise Problem(404, "There is no open story with that slug.")
    return "", 204


def _story(one: RunningStory) -> dict[str, Any]:
    latest = one.latest
    return {
        "slug": one.slug,
        "latest": {
            "id": str(latest.id),
            "title": latest.text.title,
            "url": latest.text.url,
            "sent_at": iso(latest.started_at or latest.created_at),
        },
        "followers": one.followers,
    }


@bp.get("/openapi.json")
def description() -> ResponseReturnValue:
    """Describe this API (OpenAPI 3.1)."""
    return openapi.document(current_app), 200


# Monitors ---------------------------------------------------------------------------------------


@health.get("/healthz")
def alive() -> ResponseReturnValue:
    """Say that this process answers, whatever else is down."""
    return {"status": "alive"}, 200


@health.get("/readyz")
def ready() -> ResponseReturnValue:
    """Say that Redis takes what is new, and how many workers there are; 503 where it does not."""
    runtime().store.check_writable()
    return {"status": "ready", "workers": runtime().dispatch.workers()}, 200


@health.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Show the state of the house in Prometheus' text format."""
    caller("read")
    figures = cast(Figures, current_app.extensions["stoppress.metrics"])
    return Response(figures.exposition(), content_type=CONTENT_TYPE)


# Refusals ---------------------------------------------------------------------------------------


_REFUSALS: dict[type[Exception], tuple[int, str]] = {
    HasLeft: (410, "This reader left, and is not subscribed again without being asked."),
    # 404, not 410: nobody left, there is nothing to check in for (docs/decisions.md, 8).
    NotSubscribed: (404, "There is no such subscription, or this is not its token."),
    KnownWithOtherKeys: (
        409,
        "This endpoint is subscribed with other keys; nothing was changed. Its reader's token, as"
        " Authorization: Bearer, would prove that the same browser asks.",
    ),
    UnknownNotification: (404, "There is no such notification."),
}


def _refuse(error: Exception) -> ResponseReturnValue:
    return respond(Problem(*_REFUSALS[type(error)]))


def _conflict(error: Conflict) -> ResponseReturnValue:
    return respond(Problem(409, str(error)))


for _kind in _REFUSALS:
    bp.register_error_handler(_kind, _refuse)
bp.register_error_handler(Conflict, _conflict)
bp.register_blueprint(readers.bp)
bp.register_blueprint(notifications.bp)
