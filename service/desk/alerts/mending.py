"""Something's wrong: the page that pauses an alert and shows what can be done, and retractions."""

from __future__ import annotations

from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api import fields
from service.api.alerts.correction_requests import Correction
from service.current import runtime
from service.desk.alerts.correcting import NOBODY_NEEDED, WITHDRAWN
from service.desk.alerts.correction_form import CorrectionForm, check_of, draft_of, text_page
from service.desk.alerts.one_alert import TAKEN_BACK
from service.desk.alerts.stopping import held_stop
from service.desk.blueprint import bp
from service.desk.fields import read_nonce
from service.desk.permissions import allowed
from service.desk.session import shown_once, signed_in
from service.domain.alerts.publishing import Conflict, KeyReused, PlanWithdrawn
from service.domain.alerts.requests import Idempotency
from service.model.language.languages import supported_language, texts
from service.model.notifications import Content, Notification, State
from service.model.roles import Role

_USED = (
    "You have already sent this form with a different text. Nothing was changed this time. Send it"
    " again to replace that text too."
)


@bp.post("/alerts/<int:id>/wrong")
@allowed(Role.SENDS)
def halt(id: int) -> ResponseReturnValue:
    """Pause an alert and its corrections, and lead to what can be done."""
    trouble = runtime().mending.halt(id, by=signed_in().email)
    return redirect(url_for("desk.wrong", id=trouble.root.id), 303)


@bp.get("/alerts/<int:id>/wrong")
@allowed(Role.SENDS)
def wrong(id: int) -> ResponseReturnValue:
    """Show what can be done about an alert, or the part of that page with its numbers."""
    trouble = runtime().mending.trouble(id)
    # What changes the sentence has the page reloaded, so that screen readers say it once.
    stage = f"{trouble.stage}.{int(held_stop() is not None)}{int(trouble.held > 0)}"
    if "HX-Request" in request.headers:
        same = request.args.get("stage") == stage
        page = render_template("desk/wrong_numbers.html", trouble=trouble)
        return page, {} if same else {"HX-Refresh": "true"}
    root, reached = trouble.root, trouble.reached
    return render_template(
        "desk/wrong.html",
        trouble=trouble,
        stage=stage,
        asks=runtime().approvals.needed(root.text, runtime().corrections.concerned(root, reached)),
        retraction=_retraction(root).title,
    )


@bp.post("/alerts/<int:id>/go-on")
@allowed(Role.SENDS)
def go_on(id: int) -> ResponseReturnValue:
    """Resume an alert and its corrections."""
    runtime().mending.go_on(id, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.get("/alerts/<int:id>/retract")
@allowed(Role.SENDS)
def write_retraction(id: int) -> ResponseReturnValue:
    """Show the text that takes the place of an alert, for the editor to change."""
    root = runtime().corrections.root(id)
    if draft := draft_of(root):
        if draft.state is not State.DRAFT:
            return redirect(url_for("desk.alert", id=draft.id))
        return _retraction_page(root, CorrectionForm.of_draft(draft), done=shown_once(TAKEN_BACK))
    return _retraction_page(root, _retraction(root))


@bp.post("/alerts/<int:id>/retract")
@allowed(Role.SENDS)
def retract(id: int) -> ResponseReturnValue:
    """Stop the alert and replace it, once however often the form arrives."""
    form, nonce = CorrectionForm.read(), read_nonce()
    root, body = runtime().corrections.root(id), form.as_json()
    once = Idempotency(f"desk {signed_in().email}", nonce, f"retract {root.id} ".encode() + body)
    asks = _asks(root, _without_extras(root, form))
    if "asked" in request.form and not asks:
        return _retraction_page(root, form, notice=NOBODY_NEEDED), 409
    if (draft := draft_of(root)) and draft.state is not State.DRAFT:
        return redirect(url_for("desk.alert", id=draft.id), 303)  # the second of two clicks
    try:
        requested = fields.parse(Correction, body, runtime())
        published = runtime().mending.retract(
            root.id,
            **requested.texts(),
            by=signed_in().email,
            idempotency=once,
            check=check_of(requested),
            # Where a second person decides, the alert is cancelled before they do.
            undo_seconds=0 if asks else runtime().config.undo_for(root.text.kind),
            draft=draft,
        )
    except fields.Invalid as invalid:
        errors = form.complaints(invalid)
        return _retraction_page(root, form, nonce=nonce, errors=errors), 422
    except KeyReused:
        return _retraction_page(root, form, notice=_USED), 409
    except PlanWithdrawn:
        return _retraction_page(root, form, notice=WITHDRAWN), 409
    except Conflict as conflict:
        return _retraction_page(root, form, notice=str(conflict)), 409
    return redirect(url_for("desk.alert", id=published.id), 303)


def _retraction(root: Notification) -> CorrectionForm:
    """Return a neutral text in the language of the alert; it leads to the front page."""
    config = runtime().config
    language = supported_language(root.text.lang or config.site_language or "en")
    url = config.front_page if config.site_origins else root.text.url
    return CorrectionForm(texts(language)["alerts"]["in_error"], "", url)


def _retraction_page(root: Notification, form: CorrectionForm, **said: Any) -> str:
    trouble = runtime().mending.trouble(root.id)
    text = _without_extras(trouble.root, form)
    return text_page(
        "desk/retract.html",
        trouble.root,
        form,
        **said,
        sends="desk.retract",
        content=text,
        reached=trouble.reached,
        asks=_asks(trouble.root, text),
        trouble=trouble,
    )


def _without_extras(root: Notification, form: CorrectionForm) -> Content:
    """Return the text of the retraction, which has no picture and no buttons."""
    return root.text.changed(title=form.title, body=form.body, url=form.url, bare=True)


def _asks(root: Notification, text: Content) -> bool:
    """Whether a retraction needs a second person."""
    return runtime().approvals.needed(text, runtime().corrections.reached(root))
