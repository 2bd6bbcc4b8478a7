"""The API: what readers' browsers, editors' tools and monitors call (design, section 5).

A route reads what was said, calls one function, and answers. Refusals are problem documents.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar, cast

from flask import Blueprint, Response, current_app, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from service import openapi, validation
from service.metrics import CONTENT_TYPE, House
from service.models import Notification, Outcome, SubscriptionId, Topic
from service.problems import FieldError, Problem, respond
from service.publishing import Conflict, Idempotency, UnknownNotification
from service.runtime import Runtime
from service.store.subscriptions import (
    HasLeft,
    KnownWithOtherKeys,
    NotSubscribed,
    Subscription,
)
from service.tokens import digest

M = TypeVar("M", bound=BaseModel)

READERS_BODY = 8 * 1024  # bytes; a subscription is less than one
_PAGE = 20  # notifications of a list, unless asked for more
_LONGEST_PAGE = 100
_NO_ID = 1 << 53  # larger than any notification's
# What `optin.js` goes by: on the second page view, after 20 s (design, section 5).
_PROMPT = {"page_views": 2, "delay_seconds": 20}

bp = Blueprint("api", __name__, url_prefix="/api/v1")
readers = Blueprint("readers", __name__)
health = Blueprint("health", __name__)


def runtime() -> Runtime:
    """Return the parts of this process."""
    return cast(Runtime, current_app.extensions["stoppress"])


# Who calls, and what is said --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose API token a call carries, and the digest by which it is known."""

    name: str
    digest: str


def bearer_token() -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 section 2.1)."""
    given = request.authorization
    if given is None or given.type != "bearer":
        return None
    return given.token or None


def _caller(*scopes: str) -> Caller:
    """Return who calls; 401 without a token that we know, 403 where none of `scopes` is its own.

    A token without scopes may do everything.
    """
    token = bearer_token()
    known = runtime().store.house.token(digest(token)) if token else None
    if not token or known is None:
        raise _unauthorized("This needs an API token: stoppress token add NAME makes one.")
    if known["scopes"] and not set(scopes) & set(known["scopes"]):
        raise Problem(403, f"This token lacks the scope {' or '.join(scopes)}.")
    return Caller(known["name"], digest(token))


def _own_subscription(id: str) -> Subscription:
    """Return the subscription whose reader calls; any other token finds none."""
    token = bearer_token()
    if token is None:
        raise _unauthorized("This needs the token that was given when this browser subscribed.")
    try:
        parsed = SubscriptionId.parse(id)
    except ValueError:
        raise NotSubscribed from None
    subscription = runtime().store.subscriptions.get(parsed)
    if not runtime().tokens.is_reader(token, subscription.id, subscription.auth):
        raise NotSubscribed
    return subscription


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _body(model: type[M]) -> M:
    if request.mimetype != "application/json":
        raise Problem(415, "The body must be of Content-Type: application/json.")
    return validation.parse(model, request.get_data(), runtime())


def _idempotency(caller: Caller) -> Idempotency | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise Problem(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return Idempotency(caller.digest, key, request.get_data())


@bp.after_request
def _not_kept(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


# Readers' browsers ------------------------------------------------------------------------------


@readers.before_request
def _small() -> None:
    request.max_content_length = READERS_BODY


@readers.after_request
def _let_publishers_pages_call(response: Response) -> Response:
    """Let pages of `SITE_ORIGINS` read the answer (Fetch, CORS protocol); no cookies."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if origin in runtime().config.site_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = "7200"
    return response


@readers.get("/site")
def site() -> ResponseReturnValue:
    """Say what a page needs to know before it asks its reader."""
    # Short: with a key that is no longer ours a browser would subscribe in vain.
    cache = {"Cache-Control": "public, max-age=300, stale-while-revalidate=300"}
    return (
        {
            "name": runtime().config.site_name,
            "vapid_public_key": runtime().vapid_public_key,
            "topics": [_topic(topic) for topic in runtime().store.house.topics().values()],
            "prompt": _PROMPT,
        },
        200,
        cache,
    )


@readers.post("/subscriptions")
def subscribe() -> ResponseReturnValue:
    """Store a browser's consent, or note that it checked in."""
    said = _body(validation.NewSubscription)
    token = bearer_token()

    def is_owner(id: SubscriptionId, auth: bytes) -> bool:
        return token is not None and runtime().tokens.is_reader(token, id, auth)

    subscription, new = runtime().store.subscriptions.subscribe(
        said.wish(runtime().vapid_public_key), refresh=said.refresh, is_owner=is_owner
    )
    return _credentials(subscription), 201 if new else 200


@readers.get("/subscriptions/<id>")
def preferences(id: str) -> ResponseReturnValue:
    """Say what a reader chose."""
    return _preferences(_own_subscription(id)), 200


@readers.patch("/subscriptions/<id>")
def change_preferences(id: str) -> ResponseReturnValue:
    """Change what a reader chose; with another endpoint, id and token are new ones."""
    before = _own_subscription(id)
    said = _body(validation.ChangedPreferences)
    wish = said.wish(before, runtime().vapid_public_key)
    after = runtime().store.subscriptions.change(before.id, wish)
    return _preferences(after) | _credentials(after), 200


@readers.delete("/subscriptions/<id>")
def unsubscribe(id: str) -> ResponseReturnValue:
    """End a subscription: no alert is sent to it from now on."""
    runtime().store.subscriptions.remove(_own_subscription(id).id)
    return "", 204


@readers.post("/receipts")
def report() -> ResponseReturnValue:
    """Count what a browser reports of an alert; a forgery counts nothing and is answered alike."""
    said = _body(validation.Receipt)
    opened = runtime().tokens.open_receipt(said.token)
    if opened is not None:
        notification, subscription = opened
        runtime().publishing.count_receipt(notification, said.event, subscription)
    return "", 204


def _credentials(subscription: Subscription) -> dict[str, Any]:
    token = runtime().tokens.reader(subscription.id, subscription.auth)
    return {"id": str(subscription.id), "token": token}


def _preferences(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": str(subscription.id),
        "topics": sorted(subscription.topics),
        "locale": subscription.locale,
        "timezone": subscription.zone,
    }


# Editors' tools: notifications ------------------------------------------------------------------


@bp.post("/notifications")
def publish() -> ResponseReturnValue:
    """Publish an alert; `recipients` is how many browsers match at this moment."""
    caller = _caller("send")
    content, audience = _body(validation.NewNotification).accepted(runtime())
    published = runtime().publishing.publish(
        content, audience, by=caller.name, idempotency=_idempotency(caller)
    )
    answer = {"id": str(published.id), "status": "sending", "recipients": published.recipients}
    return answer, 202, {"Location": url_for("api.notification", id=published.id)}


@bp.get("/notifications")
def notifications() -> ResponseReturnValue:
    """List what was published, newest first."""
    _caller("read", "send")
    limit = _query_number("limit", _PAGE, most=_LONGEST_PAGE)
    before = _query_number("cursor", _NO_ID, most=_NO_ID)
    found = runtime().publishing.latest(limit + 1, before)
    return (
        {
            "notifications": [_notification(one) for one in found[:limit]],
            "next_cursor": str(found[limit - 1].id) if len(found) > limit else None,
        },
        200,
    )


@bp.get("/notifications/<int:id>")
def notification(id: int) -> ResponseReturnValue:
    """Show an alert and how far it has come."""
    _caller("read", "send")
    return _notification(runtime().publishing.get(id)), 200


@bp.post("/notifications/<int:id>/cancel")
def cancel(id: int) -> ResponseReturnValue:
    """Stop an alert: a second from now no message of it leaves."""
    _caller("send")
    runtime().publishing.cancel(id)
    return {"id": str(id), "status": runtime().publishing.get(id).state.value}, 202


@bp.post("/audience")
def audience() -> ResponseReturnValue:
    """Count the browsers that an audience has at this moment."""
    _caller("read", "send")
    wanted = _body(validation.AudienceWanted).audience()
    return {"recipients": runtime().publishing.reach(wanted)}, 200


def _query_number(name: str, default: int, *, most: int) -> int:
    text = request.args.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,16}", text) or not 1 <= int(text) <= most:
        detail = f"Must be a whole number from 1 to {most}."
        raise validation.Invalid([FieldError(name, detail)])
    return int(text)


def _notification(one: Notification) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "status": one.state.value,
        **one.content.as_json(),
        "audience": one.audience.as_json(),
        "created_at": _iso(one.created_at),
        "created_by": one.created_by,
        "progress": _progress(one),
    }


def _progress(one: Notification) -> dict[str, Any]:
    progress = runtime().publishing.progress(one.id)
    by_service: dict[str, dict[str, int]] = {}
    for (outcome, service), count in progress.outcomes.items():
        if service:
            by_service.setdefault(service, {})[outcome.value] = count
    seconds = (one.finished_at or time.time()) - one.created_at
    return {
        "recipients": progress.recipients,
        "done": progress.done,
        "outcomes": {outcome.value: progress.of(outcome) for outcome in Outcome},
        "by_service": by_service,
        "receipts": runtime().publishing.receipts(one.id),
        "started_at": _iso(one.created_at),
        "finished_at": _iso(one.finished_at) if one.finished_at else None,
        # On average; within the first second, as if it were over.
        "rate_per_second": round(progress.done / max(1.0, seconds), 1),
    }


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


# Editors' tools: topics -------------------------------------------------------------------------


@bp.get("/topics")
def topics() -> ResponseReturnValue:
    """List the topics that readers can follow."""
    _caller("read", "send", "topics")
    return {"topics": [_topic(topic) for topic in runtime().store.house.topics().values()]}, 200


@bp.get("/topics/<slug>")
def topic(slug: str) -> ResponseReturnValue:
    """Show one topic."""
    _caller("read", "send", "topics")
    return _topic(_known_topic(slug)), 200


@bp.post("/topics")
def add_topic() -> ResponseReturnValue:
    """Offer readers a new topic."""
    _caller("topics")
    new = _body(validation.NewTopic).topic()
    if not runtime().store.house.add_topic(new):
        raise Problem(409, "There is a topic with that slug already; PATCH changes its words.")
    return _topic(new), 201, {"Location": url_for("api.topic", slug=new.slug)}


@bp.patch("/topics/<slug>")
def change_topic(slug: str) -> ResponseReturnValue:
    """Change the words of a topic."""
    _caller("topics")
    changed = _body(validation.ChangedTopic).topic(_known_topic(slug))
    runtime().store.house.change_topic(changed)
    return _topic(changed), 200


@bp.delete("/topics/<slug>")
def remove_topic(slug: str) -> ResponseReturnValue:
    """Take a topic away, and forget who followed it."""
    _caller("topics")
    known = runtime().store.house.remove_topic(slug)
    # Of an unknown one too: an earlier call may have been cut off between the two.
    runtime().store.subscriptions.forget_topic(slug)
    if not known:
        raise _no_topic()
    return "", 204


def _known_topic(slug: str) -> Topic:
    known = runtime().store.house.topics().get(slug)
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
    """Say that Redis answers, and how many workers are registered; 503 where it does not."""
    runtime().store.redis.ping()
    return {"status": "ready", "workers": runtime().dispatch.workers()}, 200


@health.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Show the state of the house in Prometheus' text format."""
    _caller("read")
    figures = cast(House, current_app.extensions["stoppress.metrics"])
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
bp.register_blueprint(readers)
