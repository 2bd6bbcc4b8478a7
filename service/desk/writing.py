"""Writing alerts at the desk: sending them now or later, keeping drafts, changing both."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api import fields, notification_requests
from service.api.notification_requests import CheckedAlert
from service.current import runtime
from service.desk.alerts import describe_audience, report_of
from service.desk.blueprint import bp
from service.desk.correcting import correction_page
from service.desk.forms import CorrectionForm, Form, read_nonce, spreads
from service.desk.session import signed_in
from service.domain.publishing import (
    Conflict,
    Idempotency,
    KeyReused,
    PlanWithdrawn,
    UnknownNotification,
)
from service.domain.stories import RunningStory
from service.model import clock
from service.model.notifications import DEFAULT_TTL, Audience, Notification, SendAt, State

_USED = (
    "You have already sent this form with a different text; that alert is in the list. Nothing was"
    " sent this time. Review the form again to send this text as another alert."
)
_CHANGED = (
    "Another editor has changed this alert meanwhile. Your changes were not saved. Review them to"
    " replace the other editor's."
)
_TWO_STORIES = "Choose a running story or start a new one, not both."
_SENT = "This alert was sent meanwhile, without your changes. To send them, correct the alert."
_ENDED = (
    "Another editor has deleted or cancelled this alert meanwhile. Nothing was sent. Review the"
    " form to send this text as a new alert."
)


# A new alert --------------------------------------------------------------------------------------


@bp.get("/new")
def compose() -> ResponseReturnValue:
    """Show the form for a new alert."""
    return _compose(Form())


@bp.post("/new")
def review() -> ResponseReturnValue:
    """Show what would be sent and to how many; keep a draft; or show the form again (Back)."""
    form = Form.read()
    if form.when == "draft" and not _back():
        return send()
    return _review(form)


@bp.post("/alerts")
def send() -> ResponseReturnValue:
    """Publish the alert, once however often the form arrives: its nonce makes it one request."""
    form, nonce = Form.read(), read_nonce()
    body = json.dumps(form.as_json(), sort_keys=True).encode()
    key = Idempotency(f"desk {signed_in().email}", nonce, body)
    try:
        published = runtime().publishing.earlier_response(key)
        if published is None:
            checked = _check(form)
            if not isinstance(checked, CheckedAlert):
                return _compose(form, nonce=nonce, errors=checked), 422
            published = runtime().publishing.publish(
                checked.content,
                checked.audience,
                by=signed_in().email,
                spread_minutes=checked.spread_minutes,
                send_at=_leaves_at(form, checked),
                draft=checked.draft,
                idempotency=key,
            )
    except KeyReused:
        return _compose(form, notice=_USED), 409
    except PlanWithdrawn:
        return _compose(form, notice=_ENDED), 409
    return redirect(url_for("desk.alert", id=published.id), 303)


# A planned alert ----------------------------------------------------------------------------------


@bp.get("/alerts/<int:id>/edit")
def edit(id: int) -> ResponseReturnValue:
    """Show the form filled with a planned alert."""
    before = runtime().publishing.to_change(id)
    if before.waits_for_undo:  # its page says how to take it back
        return redirect(url_for("desk.alert", id=id))
    return _compose(Form.of(before), before=before)


@bp.post("/alerts/<int:id>/edit")
def review_change(id: int) -> ResponseReturnValue:
    """Show what would be sent, as for a new alert."""
    form = Form.read()
    if form.when == "draft" and not _back():
        return save(id)
    before = _as_opened(id, form)
    return _overtaken(id, form) if before is None else _review(form, before)


@bp.post("/alerts/<int:id>")
def save(id: int) -> ResponseReturnValue:
    """Change a planned alert, or send it; a second click only leads to its page."""
    form = Form.read()
    before = _as_opened(id, form)
    if before is None:
        return _overtaken(id, form)
    checked = _check(form, before)
    if not isinstance(checked, CheckedAlert):
        return _compose(form, before=before, errors=checked), 422
    try:
        runtime().publishing.change(
            before,
            checked.content,
            checked.audience,
            by=signed_in().email,
            spread_minutes=checked.spread_minutes,
            send_at=_leaves_at(form, checked),
            draft=form.when == "draft",
        )
    except (Conflict, UnknownNotification):
        return _overtaken(id, form)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.get("/alerts/<int:id>/send")
def confirm(id: int) -> ResponseReturnValue:
    """Ask whether to send a planned alert now."""
    before = runtime().publishing.to_change(id)
    if before.waits_for_undo:
        return redirect(url_for("desk.alert", id=id))
    return _review(replace(Form.of(before), when="now"), before)


@bp.post("/alerts/<int:id>/delete")
def delete(id: int) -> ResponseReturnValue:
    """Delete a planned alert."""
    with suppress(UnknownNotification):  # the second of two clicks
        runtime().publishing.remove(id, by=signed_in().email)
    return redirect(url_for("desk.alerts"), 303)


def _as_opened(id: int, form: Form) -> Notification | None:
    """Return the planned alert, if nobody has changed it since the form was opened."""
    try:
        found = runtime().publishing.get(id)
    except UnknownNotification:
        return None
    return found if found.planned and form.changes == str(found.changes) else None


def _overtaken(id: int, form: Form) -> ResponseReturnValue:
    """Answer a form whose alert has changed: lead to it if by this form, else say what happened."""
    try:
        one = runtime().publishing.get(id)
    except UnknownNotification:
        return _compose(form, notice=_ENDED), 409
    if _is_done(form, one):
        return redirect(url_for("desk.alert", id=id), 303)
    if one.planned:
        return _compose(replace(form, changes=str(one.changes)), before=one, notice=_CHANGED), 409
    if report_of(one).correctable:
        words = CorrectionForm(form.title, form.body, form.url)
        return correction_page(one, words, notice=_SENT), 409
    return _compose(form, notice=_ENDED), 409


def _is_done(form: Form, one: Notification) -> bool:
    try:
        checked = _changed(form, one)
    except fields.Invalid:
        return False
    contents = (checked.content, checked.audience, checked.spread_minutes)
    if contents != (one.content, one.audience, one.spread_minutes):
        return False
    if form.when == "now":
        return one.waits_for_undo or not (one.planned or one.state is State.CANCELLED)
    send_at = one.send_at if one.state is State.SCHEDULED else None
    if send_at and checked.send_at and send_at.wall:
        # If some readers' clocks show that time already, the alert starts at once, so `at` moves.
        send_at = replace(send_at, at=checked.send_at.at)
    return one.planned and checked.send_at == send_at


# Parts of both ------------------------------------------------------------------------------------


@bp.get("/reach")
def reach() -> ResponseReturnValue:
    """Return the part of the form that says how many browsers would get the alert."""
    id = request.args.get("id", type=int)
    before = None if id is None else runtime().publishing.get(id)
    everyone = request.args.get("audience") == "everyone"
    story = request.args.get("new_story", "").strip() or request.args.get("story", "")
    found = _reach(everyone, request.args.getlist("topic"), story, before)
    return render_template("desk/reach.html", reach=found)


def _back() -> bool:
    return request.form.get("step") == "edit"


def _review(form: Form, before: Notification | None = None) -> ResponseReturnValue:
    nonce = read_nonce() if request.method == "POST" else ""
    if _back():
        return _compose(form, nonce=nonce, before=before)
    checked = _check(form, before)
    if not isinstance(checked, CheckedAlert):
        return _compose(form, nonce=nonce, before=before, errors=checked), 422
    now = clock.time()
    story = _running(checked.audience.story)
    # A story that is not running has no followers to mention.
    known = checked.audience if story else replace(checked.audience, story="")
    return render_template(
        "desk/confirm.html",
        form=form,
        nonce=nonce,
        before=before,
        checked=checked,
        audience=describe_audience(known),
        story=story,
        reach=runtime().publishing.reach(checked.audience),
        same_link=runtime().publishing.with_link(
            checked.content.url, but=before.id if before else None
        ),
        forecast=runtime().forecaster.forecast(
            checked.content, checked.audience, checked.send_at, now
        ),
        now=now,
    )


def _running(slug: str) -> RunningStory | None:
    return next((one for one in runtime().stories.running() if one.slug == slug), None)


def _compose(
    form: Form,
    *,
    nonce: str = "",
    before: Notification | None = None,
    errors: dict[str, str] | None = None,
    notice: str = "",
) -> str:
    return render_template(
        "desk/compose.html",
        form=replace(form, zone=form.zone or "UTC"),
        nonce=nonce or secrets.token_urlsafe(16),
        before=before,
        exceptions=before and describe_audience(before.audience),
        errors=errors or {},
        notice=notice,
        topics=runtime().topics.all().values(),
        spreads=spreads(before),
        ttl=DEFAULT_TTL,
        stories=runtime().stories.running(),
        reach=_reach(
            form.audience == "everyone", form.topics, form.new_story or form.story, before
        ),
    )


def _check(form: Form, before: Notification | None = None) -> CheckedAlert | dict[str, str]:
    """Return the checked alert, or what is wrong by field."""
    try:
        if before is None:
            checked = notification_requests.read(form.as_json(), runtime())
        else:
            checked = _changed(form, before)
    except fields.Invalid as invalid:
        return form.complaints(invalid)
    if form.names_two_stories:
        return {"story": _TWO_STORIES}
    if form.when == "now" and not runtime().publishing.reach(checked.audience):
        return {"audience": "No browser would get it, because none is subscribed to this yet."}
    return checked


def _leaves_at(form: Form, checked: CheckedAlert) -> SendAt | None:
    """Return when an alert leaves: as chosen, or once nobody can take it back any more."""
    if form.when != "now":
        return checked.send_at
    config, now = runtime().config, clock.time()
    breaking = checked.content.kind == "breaking"
    seconds = config.undo_breaking_seconds if breaking else config.undo_seconds
    return SendAt(now + seconds, sent_at=now) if seconds else None


def _changed(form: Form, before: Notification) -> CheckedAlert:
    body = json.dumps(form.change_of(before)).encode()
    change = fields.parse(notification_requests.ChangedNotification, body, runtime())
    return change.accepted(before, runtime())


def _reach(
    everyone: bool, slugs: Sequence[str], story: str, before: Notification | None
) -> int | None:
    """Return how many browsers that is; None if neither a topic nor everyone is chosen."""
    known = runtime().topics.all()
    topics = tuple(slug for slug in dict.fromkeys(slugs) if slug in known)
    if not (everyone or topics):
        return None
    audience = before.audience if before else Audience()
    # A new story has no followers, and neither has an impossible name.
    running = story if story in runtime().stories.slugs() else ""
    topics = () if everyone else topics
    audience = replace(audience, everyone=everyone, topics=topics, story=running)
    return runtime().publishing.reach(audience)
