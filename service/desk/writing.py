"""Writing at the desk: what is sent now or later, or kept as a draft, and what is planned."""

from __future__ import annotations

import json
import secrets
import time
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
from service.domain.forecast import forecast
from service.domain.publishing import Conflict, Idempotency, RunningStory, UnknownNotification
from service.model.notifications import Audience, Notification, State

_USED = (
    "This form has made an alert already, with other words; it is in the list of alerts. Nothing"
    " was sent just now. Review it again to make these words another alert."
)
_CHANGED = (
    "Somebody else has changed this alert meanwhile. Nothing was changed just now: review these"
    " words to put them in the place of the others."
)
_TWO_STORIES = "Choose a running story or begin a new one, not both."
_SENT = "This alert was sent meanwhile, without these words. Readers get them by a correction."
_ENDED = (
    "Somebody has deleted or cancelled this alert meanwhile. Nothing was sent just now: review"
    " these words to make them another alert."
)


# A new alert ------------------------------------------------------------------------------------


@bp.get("/new")
def compose() -> ResponseReturnValue:
    """Show the form for a new alert."""
    return _compose(Form())


@bp.post("/new")
def review() -> ResponseReturnValue:
    """Show what would be sent, and to how many; keep a draft; or show the form again (Back)."""
    form = Form.read()
    if form.when == "draft" and not _back():
        return send()
    return _review(form)


@bp.post("/alerts")
def send() -> ResponseReturnValue:
    """Take it, once however often this arrives: the form's nonce stands for the intention."""
    form, nonce = Form.read(), read_nonce()
    body = json.dumps(form.as_json(), sort_keys=True).encode()
    key = Idempotency(f"desk {signed_in().email}", nonce, body)
    try:
        published = runtime().publishing.answered(key)
        if published is None:
            wanted = _check(form)
            if not isinstance(wanted, CheckedAlert):
                return _compose(form, nonce=nonce, errors=wanted), 422
            published = runtime().publishing.publish(
                wanted.content,
                wanted.audience,
                by=signed_in().email,
                spread_minutes=wanted.spread_minutes,
                send_at=wanted.send_at,
                draft=wanted.draft,
                idempotency=key,
            )
    except Conflict:
        return _compose(form, notice=_USED), 409
    return redirect(url_for("desk.alert", id=published.id), 303)


# What is planned --------------------------------------------------------------------------------


@bp.get("/alerts/<int:id>/edit")
def edit(id: int) -> ResponseReturnValue:
    """Show the form with an alert that is planned."""
    before = runtime().publishing.to_change(id)
    return _compose(Form.of(before), before=before)


@bp.post("/alerts/<int:id>/edit")
def review_change(id: int) -> ResponseReturnValue:
    """Show what would become of it, as for a new one."""
    form = Form.read()
    if form.when == "draft" and not _back():
        return save(id)
    before = _as_opened(id, form)
    return _overtaken(id, form) if before is None else _review(form, before)


@bp.post("/alerts/<int:id>")
def save(id: int) -> ResponseReturnValue:
    """Change what is planned, or send it; a second click finds that done, and is led to it."""
    form = Form.read()
    before = _as_opened(id, form)
    if before is None:
        return _overtaken(id, form)
    wanted = _check(form, before)
    if not isinstance(wanted, CheckedAlert):
        return _compose(form, before=before, errors=wanted), 422
    try:
        runtime().publishing.change(
            before,
            wanted.content,
            wanted.audience,
            spread_minutes=wanted.spread_minutes,
            send_at=wanted.send_at,
            draft=form.when == "draft",
        )
    except (Conflict, UnknownNotification):
        return _overtaken(id, form)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.get("/alerts/<int:id>/send")
def confirm(id: int) -> ResponseReturnValue:
    """Ask whether what is planned is to be sent now."""
    before = runtime().publishing.to_change(id)
    return _review(replace(Form.of(before), when="now"), before)


@bp.post("/alerts/<int:id>/delete")
def delete(id: int) -> ResponseReturnValue:
    """Forget what is planned."""
    with suppress(UnknownNotification):  # the second of two clicks
        runtime().publishing.remove(id)
    return redirect(url_for("desk.alerts"), 303)


def _as_opened(id: int, form: Form) -> Notification | None:
    """Return what is planned, if nothing has happened to it since the form was opened."""
    try:
        found = runtime().publishing.get(id)
    except UnknownNotification:
        return None
    return found if found.planned and form.changes == str(found.changes) else None


def _overtaken(id: int, form: Form) -> ResponseReturnValue:
    """Lead to an alert that this form has changed already; say what else happened to it."""
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
        wanted = _changed(form, one)
    except fields.Invalid:
        return False
    said = (wanted.content, wanted.audience, wanted.spread_minutes)
    if said != (one.content, one.audience, one.spread_minutes):
        return False
    if form.when == "now":
        return not one.planned and one.state is not State.CANCELLED
    send_at = one.send_at if one.state is State.SCHEDULED else None
    if send_at and wanted.send_at and send_at.wall:
        # Where some clocks show it already, it is begun at once, and that moves on.
        send_at = replace(send_at, at=wanted.send_at.at)
    return one.planned and wanted.send_at == send_at


# Both -------------------------------------------------------------------------------------------


@bp.get("/reach")
def reach() -> ResponseReturnValue:
    """Say how many browsers would get it: the part of the form that follows the ticks."""
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
    wanted = _check(form, before)
    if not isinstance(wanted, CheckedAlert):
        return _compose(form, nonce=nonce, before=before, errors=wanted), 422
    now = time.time()
    story = _running(wanted.audience.story)
    # Nobody follows a story that is not running.
    known = wanted.audience if story else replace(wanted.audience, story="")
    return render_template(
        "desk/confirm.html",
        form=form,
        nonce=nonce,
        before=before,
        wanted=wanted,
        audience=describe_audience(known),
        story=story,
        reach=runtime().publishing.reach(wanted.audience),
        forecast=forecast(
            runtime().store,
            runtime().config.defaults,
            wanted.content,
            wanted.audience,
            wanted.send_at,
            now,
        ),
        now=now,
    )


def _running(slug: str) -> RunningStory | None:
    return next((one for one in runtime().publishing.stories() if one.slug == slug), None)


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
        form=form,
        nonce=nonce or secrets.token_urlsafe(16),
        before=before,
        exceptions=before and describe_audience(before.audience),
        errors=errors or {},
        notice=notice,
        topics=runtime().store.topics.all().values(),
        spreads=spreads(before),
        stories=runtime().publishing.stories(),
        reach=_reach(
            form.audience == "everyone", form.topics, form.new_story or form.story, before
        ),
    )


def _check(form: Form, before: Notification | None = None) -> CheckedAlert | dict[str, str]:
    """Return what can be sent, now or later, or what is wrong with which field."""
    try:
        if before is None:
            wanted = notification_requests.read(form.as_json(), runtime())
        else:
            wanted = _changed(form, before)
    except fields.Invalid as invalid:
        return form.complaints(invalid)
    if form.names_two_stories:
        return {"story": _TWO_STORIES}
    if form.when == "now" and not runtime().publishing.reach(wanted.audience):
        return {"audience": "Nobody would get it: no browser is subscribed to that yet."}
    return wanted


def _changed(form: Form, before: Notification) -> CheckedAlert:
    said = json.dumps(form.change_of(before)).encode()
    change = fields.parse(notification_requests.ChangedNotification, said, runtime())
    return change.accepted(before, runtime())


def _reach(
    everyone: bool, slugs: Sequence[str], story: str, before: Notification | None
) -> int | None:
    """Return how many browsers that is; None where nobody was chosen."""
    known = runtime().store.topics.all()
    topics = tuple(slug for slug in dict.fromkeys(slugs) if slug in known)
    if not (everyone or topics):
        return None
    audience = before.audience if before else Audience()
    # A new story has no followers; nor has one whose name is not possible.
    running = story if story in runtime().store.stories.slugs() else ""
    topics = () if everyone else topics
    audience = replace(audience, everyone=everyone, topics=topics, story=running)
    return runtime().publishing.reach(audience)
