"""Webhooks: which programs of the newsroom hear what happens, and how that goes."""

from __future__ import annotations

from contextlib import suppress

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.seen import CHANGED, is_seen
from service.desk.session import show_once, shown_once, signed_in
from service.domain.newsroom.webhooks import (
    NO_FETCH_PROCESS,
    UnknownWebhook,
    WrongWebhook,
    ended_words,
    result_words,
)
from service.domain.too_many import TooMany
from service.model.newsroom.webhooks import EVENTS
from service.model.roles import Role

_ONCE = "webhook"
_NOTHING = "Choose at least one event."
_NEW = ""  # stands for the form of a new webhook where a page shows what is wrong
_WORDS = {
    "alert.sent": "an alert begins to be sent",
    "alert.finished": "all browsers of an alert are accounted for",
    "alert.corrected": "an alert’s text is corrected",
    "alert.cancelled": "an alert is cancelled",
    "readers.joined": "how many readers have joined, every five minutes",
    "readers.left": "how many readers have left, every five minutes",
}


@bp.get("/webhooks")
@allowed(Role.MANAGES)
def webhooks() -> ResponseReturnValue:
    """List the webhooks with their last results."""
    return _page()


def _page(wrong: str | None = None, errors: dict[str, str] | None = None) -> str:
    """Show the page; `wrong` is the webhook whose form was refused, or `_NEW`."""
    return render_template(
        "desk/webhooks.html",
        webhooks=runtime().webhooks.all(),
        events=_WORDS,
        result_words=result_words,
        ended_words=ended_words,
        secret=shown_once(_ONCE),
        nobody="" if runtime().articles.has_readers() else NO_FETCH_PROCESS,
        wrong=wrong,
        errors=errors or {},
        address=request.form.get("address", ""),
        chosen=request.form.getlist("event"),
    )


@bp.post("/webhooks")
@allowed(Role.MANAGES)
def add_webhook() -> ResponseReturnValue:
    """Add a webhook; the page that follows shows its secret, and no later one does."""
    events = _events()
    if not events:
        return _page(_NEW, {"event": _NOTHING}), 422
    address = request.form.get("address", "")
    try:
        made, secret = runtime().webhooks.add(address, events, by=signed_in().email)
    except WrongWebhook as error:
        return _page(_NEW, {error.field: str(error)}), 422
    except TooMany as full:
        return _page(_NEW, {"address": str(full)}), 409
    note(f"added the webhook {made.id}")
    show_once(_ONCE, secret)
    return redirect(url_for("desk.webhooks"), 303)


@bp.post("/webhooks/<id>")
@allowed(Role.MANAGES)
def change_webhook(id: str) -> ResponseReturnValue:
    """Change a webhook's address and events."""
    events = _events()
    if not events:
        return _page(id, {"event": _NOTHING}), 422
    before, address = runtime().webhooks.get(id).webhook, request.form.get("address", "")
    if (address, {*events}) != (before.address, {*before.events}) and not is_seen(before):
        return _page(id, {"seen": CHANGED.format("webhook")}), 409
    try:
        runtime().webhooks.change(id, address=address, events=events)
    except WrongWebhook as error:
        return _page(id, {error.field: str(error)}), 422
    note(f"changed the webhook {id}")
    return _back(id)


@bp.post("/webhooks/<id>/pause")
@allowed(Role.MANAGES)
def pause_webhook(id: str) -> ResponseReturnValue:
    """Pause a webhook, or let it go on that was paused or has ended."""
    paused = request.form.get("paused") == "yes"
    runtime().webhooks.change(id, paused=paused)
    note(f"{'paused' if paused else 'resumed'} the webhook {id}")
    return _back(id)


@bp.post("/webhooks/<id>/test")
@allowed(Role.MANAGES)
def test_webhook(id: str) -> ResponseReturnValue:
    """Call a webhook once with a test."""
    runtime().webhooks.test(id)
    return _back(id, tested=id)


@bp.post("/webhooks/<id>/rotate")
@allowed(Role.MANAGES)
def rotate_webhook(id: str) -> ResponseReturnValue:
    """Make a new secret, which the page that follows shows; the one before counts for a day."""
    secret = runtime().webhooks.rotate(id)
    note(f"made a new secret for the webhook {id}")
    show_once(_ONCE, secret)
    return redirect(url_for("desk.webhooks"), 303)


@bp.post("/webhooks/<id>/remove")
@allowed(Role.MANAGES)
def remove_webhook(id: str) -> ResponseReturnValue:
    """Remove a webhook, and what waits for it."""
    with suppress(UnknownWebhook):  # the second of two clicks
        runtime().webhooks.remove(id)
        note(f"removed the webhook {id}")
    return redirect(url_for("desk.webhooks"), 303)


def _events() -> list[str]:
    return [one for one in EVENTS if one in request.form.getlist("event")]


def _back(id: str, tested: str | None = None) -> ResponseReturnValue:
    return redirect(url_for("desk.webhooks", tested=tested, _anchor=f"webhook-{id}"), 303)
