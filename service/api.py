"""The API: what readers' browsers, editors' tools and monitors call (design, section 5).

A route reads what was said, calls one function, and answers. Refusals are problem documents.
"""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, current_app, request, url_for
from flask.typing import ResponseReturnValue

from service import api_notifications, openapi, submissions, validation
from service.calls import bearer_token, body, caller, runtime, unauthorized
from service.metrics import CONTENT_TYPE, House
from service.models import SubscriptionId, Topic
from service.problems import Problem, respond
from service.publishing import Conflict, UnknownNotification
from service.store.subscriptions import (
    HasLeft,
    KnownWithOtherKeys,
    NotSubscribed,
    Subscription,
)

READERS_BODY = 8 * 1024  # bytes; a subscription is less than one
# What `optin.js` goes by: on the second page view, after 20 s (design, section 5).
_PROMPT = {"page_views": 2, "delay_seconds": 20}

bp = Blueprint("api", __name__, url_prefix="/api/v1")
readers = Blueprint("readers", __name__)
health = Blueprint("health", __name__)


def _own_subscription(id: str) -> Subscription:
    """Return the subscription whose reader calls; any other token finds none."""
    token = bearer_token()
    if token is None:
        raise unauthorized("This needs the token that was given when this browser subscribed.")
    try:
        parsed = SubscriptionId.parse(id)
    except ValueError:
        raise NotSubscribed from None
    subscription = runtime().store.subscriptions.get(parsed)
    if not runtime().tokens.is_reader(token, subscription.id, subscription.auth):
        raise NotSubscribed
    return subscription


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
    response.headers.add("Vary", "Origin")
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
    said, house = body(validation.NewSubscription), runtime()

    def is_owner(id: SubscriptionId, auth: bytes) -> bool:
        token = bearer_token()
        return token is not None and house.tokens.is_reader(token, id, auth)

    subscription, new = house.store.subscriptions.subscribe(
        said.wish(house.vapid_public_key), refresh=said.refresh, is_owner=is_owner
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
    said = body(validation.ChangedPreferences)
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
    """Count what a browser reports of alerts; a forgery counts nothing and is answered alike."""
    opened = (
        (runtime().tokens.open_receipt(one.token), one.event)
        for one in body(validation.NewReceipts).all()
    )
    runtime().publishing.count_receipts((*who, event) for who, event in opened if who is not None)
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


# Editors' tools: audiences and topics ------------------------------------------------------------


@bp.post("/audience")
def audience() -> ResponseReturnValue:
    """Count the browsers that an audience has at this moment."""
    caller("read", "send")
    wanted = body(submissions.AudienceWanted).audience()
    return {"recipients": runtime().publishing.reach(wanted)}, 200


@bp.get("/topics")
def topics() -> ResponseReturnValue:
    """List the topics that readers can follow."""
    caller("read", "send", "topics")
    return {"topics": [_topic(topic) for topic in runtime().store.house.topics().values()]}, 200


@bp.get("/topics/<slug>")
def topic(slug: str) -> ResponseReturnValue:
    """Show one topic."""
    caller("read", "send", "topics")
    return _topic(_known_topic(slug)), 200


@bp.post("/topics")
def add_topic() -> ResponseReturnValue:
    """Offer readers a new topic."""
    caller("topics")
    new = body(validation.NewTopic).topic()
    if not runtime().store.house.add_topic(new):
        raise Problem(409, "There is a topic with that slug already; PATCH changes its words.")
    return _topic(new), 201, {"Location": url_for("api.topic", slug=new.slug)}


@bp.patch("/topics/<slug>")
def change_topic(slug: str) -> ResponseReturnValue:
    """Change the words of a topic."""
    caller("topics")
    changed = body(validation.ChangedTopic).topic(_known_topic(slug))
    runtime().store.house.change_topic(changed)
    return _topic(changed), 200


@bp.delete("/topics/<slug>")
def remove_topic(slug: str) -> ResponseReturnValue:
    """Take a topic away, and forget who followed it."""
    caller("topics")
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
    """Say that Redis takes what is new, and how many workers there are; 503 where it does not."""
    runtime().store.check_writable()
    return {"status": "ready", "workers": runtime().dispatch.workers()}, 200


@health.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Show the state of the house in Prometheus' text format."""
    caller("read")
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
bp.register_blueprint(api_notifications.bp)
