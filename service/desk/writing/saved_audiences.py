"""Saved audiences: keeping who gets an alert under a name, and using it in another form."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.session import signed_in
from service.desk.writing.compose import compose_page
from service.desk.writing.editing import read_form
from service.desk.writing.forms import Form
from service.desk.writing.templates import templates_page
from service.desk.writing.unfinished import kept_or_answer
from service.domain.alerts.templates import TemplateRefused
from service.model.notifications import Notification
from service.model.roles import Role

_NOBODY = "Choose first who gets it: topics, a story, or everyone."


@bp.post("/unfinished/<key>/audience/use")
@allowed(ANY_EDITOR)
def use_audience(key: str) -> ResponseReturnValue:
    """Keep the form, with the saved audience that was chosen in it."""
    form, before = read_form(key)
    if id := request.form.get("saved_audience"):
        form = form.with_audience(runtime().saved_audiences.get(id).fields)
    return _kept(key, form, before)


@bp.post("/unfinished/<key>/audience/save")
@allowed(Role.SENDS)
def save_audience(key: str) -> ResponseReturnValue:
    """Keep the form, and save its audience under a name as well."""
    form, before = read_form(key)
    name = request.form.get("audience_name", "")
    try:
        if not form.names_an_audience:
            raise TemplateRefused(_NOBODY)
        saved = runtime().saved_audiences.add(name, form.audience_fields(), signed_in().email)
    except TemplateRefused as refused:
        errors = {"audience_name": str(refused)}
        return compose_page(form, key, before=before, errors=errors), 422
    return _kept(key, form, before, saved=saved.id)


def _kept(
    key: str, form: Form, before: Notification | None, saved: str | None = None
) -> ResponseReturnValue:
    if (answer := kept_or_answer(key, form, before)) is not None:
        return answer
    to = url_for("desk.unfinished", key=key, saved_audience=saved, _anchor="audience")
    return redirect(to, 303)


@bp.post("/audiences/<id>/rename")
@allowed(Role.SENDS)
def rename_audience(id: str) -> ResponseReturnValue:
    """Give a saved audience another name."""
    name = request.form.get("name", "")
    try:
        runtime().saved_audiences.rename(id, name)
    except TemplateRefused as refused:
        return templates_page(id, name, str(refused)), 422
    return redirect(url_for("desk.templates", _anchor="audiences"), 303)


@bp.post("/audiences/<id>/delete")
@allowed(Role.SENDS)
def delete_audience(id: str) -> ResponseReturnValue:
    """Delete a saved audience; a second click changes nothing."""
    runtime().saved_audiences.remove(id)
    return redirect(url_for("desk.templates", _anchor="audiences"), 303)
