"""Writing an alert at the desk: it is kept while it is typed, reviewed, and sent or saved.

A form has a key from the start. It is the address of the form, the name under which the store keeps
what was typed, and the idempotency key of the alert that the form sends.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

from flask import abort, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf

from service.api.alerts import references
from service.api.alerts.notification_requests import CheckedAlert
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.fields import is_nonce, read_nonce
from service.desk.permissions import (
    ANY_EDITOR,
    EVERYBODY,
    allowed,
    may,
    to_finish_a_form,
    to_keep_a_draft,
)
from service.desk.session import current_editor, signed_in
from service.desk.writing.compose import (
    check,
    compose_page,
    is_asked_in_vain,
    leaves_at,
    not_asked_page,
    review_page,
)
from service.desk.writing.editing import (
    ENDED,
    others_did,
    overtaken,
    read_form,
    save_changes,
)
from service.desk.writing.folds import fold_words, size_words
from service.desk.writing.forms import Form
from service.domain.alerts.publishing import KeyReused, PlanWithdrawn, UnknownNotification
from service.domain.alerts.templates import UnknownTemplate
from service.domain.alerts.unfinished import AlreadySent, ChangedElsewhere, TooLong, sent_by
from service.model.notifications import Audience, Notification
from service.model.roles import Role

_USED = (
    "You have already sent this form with a different text; that alert is in the list. Nothing was"
    " sent this time. Review the form again to send this text as another alert."
)
_ELSEWHERE = (
    "You have changed this alert in another window meanwhile. That text is kept until you review"
    " this one, which replaces it."
)
_TOO_LONG = "This is too long to be kept. Shorten it, please."


@bp.get("/new")
@allowed(ANY_EDITOR)
def compose() -> ResponseReturnValue:
    """Lead to the form for a new alert, which may begin as another one, a template, an audience."""
    begins: dict[str, Any] = {
        name: request.args.get(name) for name in ("again", "template", "audience")
    }
    key = secrets.token_urlsafe(16)
    return redirect(url_for("desk.unfinished", key=key, **begins))


@bp.get("/unfinished/<key>")
@allowed(ANY_EDITOR)
def unfinished(key: str) -> ResponseReturnValue:
    """Show the form as it was left; one that was sent leads to its alert."""
    form, before, revision = _opened(key)
    if runtime().unfinished.is_anothers(key, signed_in().email):
        return compose()
    if before is not None and not before.planned:
        return overtaken(before.id, form, key, revision)
    if form.changes and before is None:
        return compose_page(form, key, notice=ENDED, revision=revision)
    if before is not None and form.changes != str(before.changes):
        return overtaken(before.id, form, key, revision)
    if (
        sent := runtime().publishing.responses.sent_as(sent_by(signed_in().email, key))
    ) is not None:
        return redirect(url_for("desk.alert", id=sent))
    return compose_page(form, key, before=before, done=_saved(), revision=revision)


@bp.post("/unfinished/<key>")
@allowed(to_finish_a_form)
def finish(key: str) -> ResponseReturnValue:
    """Keep the form and lead to its review; one that says “not yet” becomes a draft."""
    form, before = read_form(key)
    if form.when == "draft":
        return _publish(form, key) if before is None else save_changes(before.id, form, key)
    answer = kept_or_answer(key, form, before)
    return redirect(url_for("desk.review", key=key), 303) if answer is None else answer


def kept_or_answer(key: str, form: Form, before: Notification | None) -> ResponseReturnValue | None:
    """Keep a form; return the answer if it cannot be kept."""
    try:
        _keep(key, form, before.id if before else None)
    except AlreadySent:
        return redirect(url_for("desk.unfinished", key=key), 303)
    except ChangedElsewhere:
        return compose_page(form, key, before=before, notice=_ELSEWHERE), 409
    except TooLong:
        found = check(form, before)
        errors = found if isinstance(found, dict) else {}
        return compose_page(form, key, before=before, errors=errors, notice=_TOO_LONG), 422
    return None


@bp.get("/unfinished/<key>/review")
@allowed(ANY_EDITOR)
def review(key: str) -> ResponseReturnValue:
    """Show what would be sent and to how many, or what is wrong."""
    form, before, revision = _opened(key)
    if not revision or (before is not None and form.changes != str(before.changes)):
        return redirect(url_for("desk.unfinished", key=key))
    back = url_for("desk.unfinished", key=key)
    return review_page(form, key, back=back, before=before, revision=revision)


@bp.post("/unfinished/<key>/discard")
@allowed(ANY_EDITOR)
def discard(key: str) -> ResponseReturnValue:
    """Forget an unfinished alert."""
    runtime().unfinished.remove(key, signed_in().email)
    return redirect(url_for("desk.alerts"), 303)


@bp.post("/alerts")
@allowed(to_keep_a_draft)
def send() -> ResponseReturnValue:
    """Publish the alert, once however often the form arrives: its nonce makes it one request."""
    return _publish(Form.read(), read_nonce())


def _publish(form: Form, key: str) -> ResponseReturnValue:
    email = signed_in().email
    once = sent_by(email, key, json.dumps(form.as_json(), sort_keys=True).encode())
    try:
        published = runtime().publishing.responses.earlier(once)
        if published is None:
            checked = check(form)
            if not isinstance(checked, CheckedAlert):
                return compose_page(form, key, errors=checked), 422
            if is_asked_in_vain(form, checked):
                return not_asked_page(form, key, checked)
            checked = replace(checked, send_at=leaves_at(form, checked))
            published = references.publish(runtime(), checked, once, email)
    except KeyReused:
        return compose_page(form, secrets.token_urlsafe(16), notice=_USED), 409
    except PlanWithdrawn:
        return compose_page(form, secrets.token_urlsafe(16), notice=ENDED), 409
    runtime().unfinished.remove(key, email)
    return redirect(url_for("desk.alert", id=published.id), 303)


def _opened(key: str) -> tuple[Form, Notification | None, int]:
    """Return a form as it was left, the planned alert that it changes if any, and its revision."""
    if not is_nonce(key):
        abort(404)
    kept = runtime().unfinished.get(key, signed_in().email)
    alert = kept.alert if kept else request.args.get("alert", type=int)
    before = None
    if alert is not None:
        try:
            before = runtime().publishing.get(alert)
        except UnknownNotification:
            if kept is None:
                raise
    if kept is not None:
        return Form.kept(kept.fields), before, kept.revision
    if before is not None:
        return Form.of(before), before, 0
    return _begun(), None, 0


def _begun() -> Form:
    """Return the form of a new alert: empty, or as another alert, a template or an audience."""
    form = Form()
    if id := request.args.get("audience"):
        form = form.with_audience(runtime().saved_audiences.get(id).fields)
    elif id := request.args.get("template"):
        form = Form.kept(runtime().templates.get(id).fields).as_new()
    elif "again" in request.args:
        form = _again(request.args.get("again", type=int))
    if form.story and form.story not in runtime().stories.slugs():
        form = replace(form, story="")  # it would begin again
    return form if may(Role.SENDS) else replace(form, when="draft")


def _again(id: int | None) -> Form:
    """Return the form of a new alert with the latest texts, settings and audience of this one."""
    one = runtime().publishing.get(id or 0)
    if one.wave or one.to_one:
        raise UnknownNotification
    # Once a text is chosen or corrected, there is no second one.
    second = one.second_text if one.text == one.content else None
    if one.audience.last_seen_until:  # no editor can choose these readers
        one = replace(one, audience=Audience())
    return Form.of(replace(one, content=one.text, second_text=second)).as_new()


def _saved() -> str:
    """Say that the form, or its audience, was just saved, if the address names what was saved."""
    template, audience = request.args.get("saved"), request.args.get("saved_audience")
    try:
        if template:
            name = runtime().templates.get(template).name
            return f"Saved as the template “{name}”. The alert is not sent yet."
        if audience:
            name = runtime().saved_audiences.get(audience).name
            return f"Saved as the audience “{name}”. The alert is not sent yet."
    except UnknownTemplate:  # deleted since, on a page that is loaded again
        pass
    return ""


# While it is typed --------------------------------------------------------------------------------


@bp.post("/unfinished/<key>/save")
@allowed(ANY_EDITOR)
def keep(key: str) -> ResponseReturnValue:
    """Keep the form as it is typed, and say what other editors do with the same alert (JSON)."""
    form, alert = Form.read(), request.form.get("alert", type=int)
    try:
        revision = _keep(key, form, alert)
    except AlreadySent:
        return jsonify(location=url_for("desk.unfinished", key=key)), 410
    except ChangedElsewhere:
        kept = runtime().unfinished.get(key, signed_in().email)
        return jsonify(revision=kept.revision if kept else 0), 409
    except TooLong:
        return jsonify(detail=_TOO_LONG), 413
    notice, changes = ("", []) if alert is None else others_did(alert, form)
    return jsonify(
        revision=revision,
        others=[] if alert is None else runtime().unfinished.others(alert, signed_in().email),
        notice=notice,
        changes=changes,
        folds=fold_words(form),
        size=size_words(form),
    )


@bp.get("/session")
@allowed(EVERYBODY)
def session() -> ResponseReturnValue:
    """Say who is signed in, with a token for the forms of that session (JSON)."""
    editor = current_editor()
    return jsonify(editor=editor.email if editor else None, csrf_token=generate_csrf())


def _keep(key: str, form: Form, alert: int | None) -> int:
    if not is_nonce(key):
        abort(404)
    unfinished, email = runtime().unfinished, signed_in().email
    revision = request.form.get("revision", 0, type=int)
    try:
        return unfinished.save(
            key,
            email,
            form.fields(),
            revision=revision,
            alert=alert,
            changes=form.opened_version,
        )
    except ChangedElsewhere:
        kept = unfinished.get(key, email)
        if kept is None or kept.fields != json.loads(json.dumps(form.fields())):
            raise
        return kept.revision  # the same text, such as from a double click
