"""What hubs call: whether we mean a subscription, and that a feed has something new (WebSub).

Who calls is not known, and so nothing is believed: `service/domain/newsroom/feed_hubs.py`.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from service.api import rate_limits
from service.api.rate_limits import per_address
from service.current import runtime
from service.domain.newsroom.feed_hubs import NoSubscription
from service.model.time import clock

bp = Blueprint("hubs", __name__)

_RATE = per_address(300)
_LONGEST_CHALLENGE = 1000  # characters


@bp.get("/feeds/<feed>/<token>")
def confirm(feed: str, token: str) -> Response:
    """Tell a hub that we mean a subscription; 404 for one that we did not ask for.

    A hub also says here that it refuses.
    """
    rate_limits.check(_RATE)
    given = {name: request.args.get(f"hub.{name}", "") for name in ("mode", "topic", "challenge")}
    hubs = runtime().feeds.hubs
    if given["mode"] == "denied":
        return _denied(feed, token, given["topic"])
    lease = request.args.get("hub.lease_seconds", 0, type=int)
    if not given["challenge"] or len(given["challenge"]) > _LONGEST_CHALLENGE:
        abort(404)
    try:
        hubs.confirm(feed, token, given["mode"], given["topic"], max(0, lease), clock.time())
    except NoSubscription:
        abort(404)
    return Response(given["challenge"], mimetype="text/plain")


def _denied(feed: str, token: str, topic: str) -> Response:
    """Note that a hub refuses to call us."""
    try:
        runtime().feeds.hubs.denied(feed, token, topic, request.args.get("hub.reason", ""))
    except NoSubscription:
        abort(404)
    return Response(status=204)


@bp.post("/feeds/<feed>/<token>")
def ping(feed: str, token: str) -> Response:
    """Have a feed read at once. The body, whatever it is, is not read."""
    rate_limits.check(_RATE)
    try:
        runtime().feeds.hubs.ping(feed, token, clock.time())
    except NoSubscription as error:
        abort(410 if error.is_over else 404)
    return Response(status=202)
