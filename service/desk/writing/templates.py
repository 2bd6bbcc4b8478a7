"""Templates of alerts: saving a form under a name, and the page that lists them."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.alerts.one_alert import describe_audience
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.session import signed_in
from service.desk.writing.compose import audience_of, compose_page
from service.desk.writing.editing import read_form
from service.desk.writing.forms import Form
from service.desk.writing.unfinished import kept_or_answer
from service.domain.alerts.templates import TemplateRefused
from service.model.roles import Role


@bp.get("/templates")
@allowed(ANY_EDITOR)
def templates() -> ResponseReturnValue:
    """List the templates and the saved audiences."""
    return templates_page()


@bp.post("/unfinished/<key>/template")
@allowed(Role.SENDS)
def save_template(key: str) -> ResponseReturnValue:
    """Keep the form, and save it as a template as well."""
    form, before = read_form(key)
    if (answer := kept_or_answer(key, form, before)) is not None:
        return answer
    name = request.form.get("template_name", "")
    try:
        saved = runtime().templates.add(name, form.as_new().fields(), signed_in().email)
    except TemplateRefused as refused:
        errors = {"template_name": str(refused)}
        return compose_page(form, key, before=before, errors=errors), 422
    return redirect(url_for("desk.unfinished", key=key, saved=saved.id), 303)


@bp.post("/templates/<id>/rename")
@allowed(Role.SENDS)
def rename_template(id: str) -> ResponseReturnValue:
    """Give a template another name."""
    name = request.form.get("name", "")
    try:
        runtime().templates.rename(id, name)
    except TemplateRefused as refused:
        return templates_page(id, name, str(refused)), 422
    return redirect(url_for("desk.templates"), 303)


@bp.post("/templates/<id>/delete")
@allowed(Role.SENDS)
def delete_template(id: str) -> ResponseReturnValue:
    """Delete a template; a second click changes nothing."""
    runtime().templates.remove(id)
    return redirect(url_for("desk.templates"), 303)


def templates_page(wrong: str = "", name: str = "", error: str = "") -> str:
    """Show templates and saved audiences; for `wrong`, one of them, a name was refused."""
    empty = Form()
    return render_template(
        "desk/templates.html",
        templates=runtime().templates.all(),
        audiences=[
            (one, describe_audience(audience_of(empty.with_audience(one.fields), as_saved=True)))
            for one in runtime().saved_audiences.all()
        ],
        wrong=wrong,
        name=name,
        error=error,
    )
