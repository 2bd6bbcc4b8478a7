"""The start page: from nothing to an alert on this browser's screen."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError

from service.api import fields, notification_requests
from service.current import runtime
from service.desk.blueprint import redis_away
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed
from service.desk.session import current_editor
from service.desk.words import outcome_words
from service.domain.publishing import UnknownNotification
from service.domain.stops import EverythingStopped
from service.model.notifications import Audience, Outcome
from service.model.spans import span
from service.store.subscriptions import NotSubscribed

bp = Blueprint("start", __name__, template_folder="../../web")


@bp.get("/")
@allowed(EVERYBODY)
def start() -> ResponseReturnValue:
    """Show the three steps."""
    return render_template("desk/start.html", has_editors=runtime().editors.exist())


@bp.post("/start/alerts")
@allowed(ANY_EDITOR)
def send() -> ResponseReturnValue:
    """Send the alert of step 2 to the browser that asks, and to no other.

    Its reader's token proves which one that is: an editor may write to all readers, but not to one
    whose number they have guessed or read somewhere.
    """
    editor = current_editor() or abort(401)
    form = request.form
    try:
        reader = runtime().subscriptions.of_reader(
            form.get("subscription", ""), form.get("token", "")
        )
    except NotSubscribed:
        return {"detail": "This browser is not subscribed. Subscribe it first."}, 422
    alert = {
        "title": request.form.get("title", ""),
        "body": request.form.get("body", ""),
        "url": f"{runtime().config.public_url}/demo/",
        "ttl": 600,
        "audience": {"everyone": True},
    }
    try:
        content = notification_requests.read(alert, runtime()).content
    except fields.Invalid as invalid:
        return {"detail": invalid.errors[0].detail}, 422
    audience = Audience(subscription=reader.id)
    if not runtime().publishing.reach(audience):
        return {"detail": "This browser is no longer subscribed. Subscribe it again."}, 409
    published = runtime().publishing.publish(content, audience, by=editor.email)
    return {"id": published.id}, 202


@bp.get("/start/alerts/<int:id>")
@allowed(ANY_EDITOR)
def follow(id: int) -> ResponseReturnValue:
    """Say how far that alert has come; `took`: the time from the click to its end, in words."""
    editor = current_editor() or abort(401)
    publishing = runtime().publishing
    notification = publishing.get(id)
    if notification.audience.subscription is None or notification.created_by != editor.email:
        raise UnknownNotification
    ends = [kind for kind, n in publishing.progress(id).outcomes.items() if n]
    finished = notification.finished_at
    return {
        "took": None if finished is None else span(finished - notification.created_at),
        "accepted": any(outcome is Outcome.ACCEPTED for outcome, _ in ends),
        "outcome": outcome_words(*ends[0]) if ends else None,
        "shown": runtime().receipts.of(id)["shown"] > 0,
    }


@bp.errorhandler(401)
def _signed_out(_: Exception) -> ResponseReturnValue:
    return {"detail": "You are signed out. Reload this page and sign in."}, 401


@bp.errorhandler(UnknownNotification)
def _unknown(_: Exception) -> ResponseReturnValue:
    return {"detail": "There is no such alert."}, 404


@bp.errorhandler(EverythingStopped)
def _stopped(_: Exception) -> ResponseReturnValue:
    return {"detail": "Everything is stopped. An editor releases it at the desk."}, 503


@bp.errorhandler(RedisError)
def _away(error: RedisError) -> ResponseReturnValue:
    if request.endpoint == "start.start":
        return redis_away(error)
    return {"detail": "Redis does not respond, so nothing can be sent at the moment."}, 503
