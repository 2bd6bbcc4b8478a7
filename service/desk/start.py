"""The start page: from nothing to an alert on this browser's screen, each step with its state."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, abort, current_app, g, render_template, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError

from service.api import fields
from service.api.alerts import notification_requests
from service.config import EXAMPLE_NAME
from service.current import runtime
from service.desk.blueprint import redis_away
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed, may
from service.desk.session import current_editor
from service.desk.words import outcome_words
from service.domain.alerts.publishing import UnknownNotification
from service.domain.alerts.stops import EverythingStopped
from service.domain.operations.pretend_readers import Mixture
from service.domain.people.paired_browsers import TooManyTests
from service.domain.readers.reader_alerts import TooManyActive
from service.model.notifications import Audience, Outcome
from service.model.roles import Role
from service.model.time import clock
from service.model.time.spans import span
from service.store.readers.subscriptions import NotSubscribed

bp = Blueprint("start", __name__, template_folder="../../web")


@bp.app_template_global("pretend_readers")
def pretend_readers() -> Mixture | None:
    """Return how many readers are pretended, for an editor who is signed in, if any is."""
    if "pretend_readers" not in g:  # a list asks for each of its rows
        signed_in = current_editor() is not None and "REHEARSAL" not in current_app.config
        g.pretend_readers = runtime().pretend_readers.mixture() if signed_in else None
    found: Mixture | None = g.pretend_readers
    return found


@bp.app_template_global("nobody_clicks")
def nobody_clicks() -> bool:
    """Whether all readers are pretended: no browser shows or clicks anything."""
    if "REHEARSAL" in current_app.config:
        return True
    readers = pretend_readers()
    return readers is not None and not readers.real


@bp.get("/")
@allowed(EVERYBODY)
def start() -> ResponseReturnValue:
    """Show the steps; the first two to an editor who manages."""
    manages = current_editor() is not None and may(Role.MANAGES)
    return render_template(
        "desk/start.html",
        has_editors=runtime().editors.exist(),
        setup=_setup() if manages else None,
    )


@bp.get("/start/setup")
@allowed(Role.MANAGES)
def setup() -> ResponseReturnValue:
    """Return the HTML of the first two steps, which say whether they are done."""
    if current_editor() is None:
        abort(401)
    if not may(Role.MANAGES):
        abort(403)
    parts = ("named", "installed")
    found = _setup()
    return {
        part: render_template("desk/start_setup.html", part=part, setup=found) for part in parts
    }


@dataclass(frozen=True, slots=True)
class _Setup:
    """How far the newsroom's site is set up."""

    name: str  # of the newspaper; empty while it has the name of our example
    origins: tuple[str, ...]
    seen: str  # the origin of which a page called last
    seen_ago: float  # seconds


def _setup() -> _Setup:
    config = runtime().config
    seen = {
        origin: at
        for origin, at in runtime().seen_origins.latest().items()
        if origin in config.site_origins
    }
    latest = next(iter(seen), "")
    ago = clock.time() - seen[latest] if latest else 0.0
    name = config.site_name if config.site_name != EXAMPLE_NAME else ""
    return _Setup(name, config.site_origins, latest, max(0.0, ago))


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
    published = runtime().paired_browsers.send_here(editor.email, reader, content)
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


@bp.errorhandler(403)
def _may_not(_: Exception) -> ResponseReturnValue:
    return {"detail": "Your role does not include this."}, 403


@bp.errorhandler(UnknownNotification)
def _unknown(_: Exception) -> ResponseReturnValue:
    return {"detail": "There is no such alert."}, 404


@bp.errorhandler(EverythingStopped)
def _stopped(_: Exception) -> ResponseReturnValue:
    return {"detail": "Everything is stopped. An editor releases it at the desk."}, 503


@bp.errorhandler(TooManyTests)
@bp.errorhandler(TooManyActive)
def _too_many(_: Exception) -> ResponseReturnValue:
    return {"detail": "Many tests were sent within a minute. Wait a minute, please."}, 429


@bp.errorhandler(RedisError)
def _away(error: RedisError) -> ResponseReturnValue:
    if request.endpoint == "start.start":
        return redis_away(error)
    return {"detail": "Redis does not respond, so nothing can be sent at the moment."}, 503
