"""The desk: the pages on which editors watch alerts go out, stop them, and correct them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from werkzeug.exceptions import HTTPException, NotFound

from service.api import notification_requests, reader_requests
from service.api.auth import runtime
from service.desk import forms
from service.desk.forms import CorrectionForm
from service.desk.report import FILTERS, Report, describe, service_name
from service.desk.session import current_editor, end_session, signed_in, start_session
from service.domain.editors import SHORTEST_PASSWORD, EditorError
from service.domain.publishing import Conflict, Idempotency, UnknownNotification
from service.domain.receipts import estimates
from service.domain.waves import Held
from service.model.notifications import Audience, Notification

_PAGE = 30  # alerts on one page of the list
_HTMX = "htmx-2.0.11.min.js"

bp = Blueprint(
    "desk",
    __name__,
    url_prefix="/desk",
    template_folder="../../web",
    static_folder="../../web/desk/static",
)

for _name, _filter in FILTERS.items():
    bp.add_app_template_filter(_filter, _name)
_USED = (
    "This form has corrected the alert already, with other words. Nothing was changed just now."
    " Send it again to make these words another correction."
)
_OPEN_TO_ALL = {"desk.static", "desk.htmx", "desk.sign_in", "desk.welcome"}


# Who may come in --------------------------------------------------------------------------------


@bp.before_request
def _only_editors() -> ResponseReturnValue | None:
    if request.endpoint in _OPEN_TO_ALL or current_editor() is not None:
        return None
    if "HX-Request" in request.headers:
        # A page whose session ended is loaded anew, which leads to the sign-in.
        return "", 401, {"HX-Refresh": "true"}
    return redirect(url_for("desk.sign_in", next=request.full_path.rstrip("?")))


@bp.after_request
def _keep_private(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def _local(path: str) -> str:
    """Return `path` if it cannot lead to another site, else the desk's front page."""
    # Browsers read a backslash as a slash, and skip tabs and line ends.
    safe = re.fullmatch(r"/(?!/)[!-\[\]-~]*", path)
    return path if safe else url_for("desk.alerts")


@bp.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    """Sign an editor in by e-mail and password."""
    if request.method == "GET":
        return render_template("desk/sign_in.html", email="", error=None)
    email = request.form.get("email", "")
    editor = runtime().editors.check_password(email, request.form.get("password", ""))
    if editor is None:
        error = "That e-mail address and password do not belong together."
        return render_template("desk/sign_in.html", email=email, error=error), 422
    start_session(editor)
    return redirect(_local(request.args.get("next", "")), 303)


@bp.route("/welcome/<token>", methods=["GET", "POST"])
def welcome(token: str) -> ResponseReturnValue:
    """Let in whoever holds a one-time link. Looking does not use it up: mail programs do look."""
    link = runtime().editors.find_link(token)
    error, status = None, 200
    if link is not None and request.method == "POST":
        given = (request.form.get("email", ""), request.form.get("password", ""))
        try:
            editor = runtime().editors.use_link(link, *given)
        except EditorError as problem:
            error, status = str(problem), 422
        else:
            if editor is not None:
                start_session(editor)
                first = not runtime().publishing.latest(1)
                return redirect(url_for("start.start" if first else "desk.alerts"), 303)
            link = None
    if link is None:
        return _notice(
            410,
            "This link is used up",
            "A sign-in link works once, for 24 hours. Whoever runs Stop Press gets you another"
            " with “stoppress editor add” and your e-mail address.",
        )
    page = render_template(
        "desk/welcome.html",
        link=link,
        email=request.form.get("email", ""),
        error=error,
        shortest=SHORTEST_PASSWORD,
    )
    return page, status


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    end_session()
    return redirect(url_for("desk.sign_in"), 303)


# Watching ---------------------------------------------------------------------------------------


def report_of(notification: Notification, *, receipts: bool = True) -> Report:
    """Return an alert as the pages show it; without `receipts` as a list does."""
    publishing = runtime().publishing
    audience = "whoever has what it corrects"
    return Report(
        notification=notification,
        audience=audience if notification.corrects else describe_audience(notification.audience),
        progress=publishing.progress(notification.id),
        receipts=(
            estimates(publishing.receipts(notification.id), notification.reporting)
            if receipts
            else {}
        ),
        now=time.time(),
        limits=publishing.limits(notification) if receipts else [],
        held=publishing.held(notification) if notification.finished_at else Held(),
    )


def describe_audience(audience: Audience) -> str:
    """Say whom an audience means."""
    return describe(audience, runtime().store.installation.topics())


@bp.get("/")
def alerts() -> ResponseReturnValue:
    """List what was sent, newest first, below what waits for a person's word."""
    return _alerts()


def _alerts(notice: str = "") -> str:
    before = request.args.get("before", type=int)
    found = runtime().publishing.started(_PAGE, before)
    planned = runtime().publishing.planned() if before is None else []
    service = runtime().endpoints.service
    return render_template(
        "desk/alerts.html",
        missed=[one for one in planned if one.missed],
        planned=[report_of(one, receipts=False) for one in planned if not one.missed],
        reports=[report_of(notification, receipts=False) for notification in found],
        older=found[-1].id if len(found) == _PAGE else None,
        doubts=[(service_name(service(one.origin)), one) for one in runtime().gone.doubts()],
        notice=notice,
    )


@bp.get("/alerts/<int:id>")
def alert(id: int) -> ResponseReturnValue:
    """Show how far an alert has come, or what became of it."""
    return _alert(id)


def _alert(id: int, notice: str = "") -> str:
    publishing = runtime().publishing
    one = publishing.get(id)
    if one.planned:
        return render_template("desk/planned.html", notice=notice, **_planned(one))
    report = report_of(one)
    return render_template(
        "desk/alert.html",
        report=report,
        brought=[
            (alert, sum(report.progress.brought[alert.id]))
            for alert in publishing.all(report.progress.brought)
        ],
        root=publishing.get(one.corrects) if one.corrects else None,
        corrections=[report_of(publishing.get(id), receipts=False) for id in one.corrections],
        notice=notice,
    )


def _planned(one: Notification) -> dict[str, Any]:
    reach = runtime().publishing.reach(one.audience)
    return {"report": report_of(one, receipts=False), "reach": reach}


@bp.get("/alerts/<int:id>/progress")
def progress(id: int) -> ResponseReturnValue:
    """Show the part of that page that follows the numbers; have it load anew for the rest."""
    one = runtime().publishing.get(id)
    report = report_of(one)
    same = request.args.get("stage", report.stage) == report.stage
    headers = {} if report.changing and same else {"HX-Refresh": "true"}
    if one.planned:
        return render_template("desk/planned_state.html", **_planned(one)), headers
    return render_template("desk/progress.html", report=report), headers


@bp.post("/alerts/<int:id>/cancel")
def cancel(id: int) -> ResponseReturnValue:
    """Stop an alert."""
    runtime().publishing.cancel(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/pause")
def pause(id: int) -> ResponseReturnValue:
    """Hold an alert."""
    runtime().publishing.pause(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.post("/alerts/<int:id>/resume")
def resume(id: int) -> ResponseReturnValue:
    """Go on with an alert that is paused."""
    runtime().publishing.resume(id)
    return redirect(url_for("desk.alert", id=id), 303)


@bp.errorhandler(Conflict)
def _conflict(conflict: Conflict) -> ResponseReturnValue:
    """Show the alert of this request as it is now, and why it cannot be done."""
    return _alert((request.view_args or {})["id"], str(conflict)), 409


# Correcting -------------------------------------------------------------------------------------


@bp.get("/alerts/<int:id>/correct")
def write_correction(id: int) -> ResponseReturnValue:
    """Show the form for another text, with what readers are sent now."""
    root = runtime().publishing.root(id)
    return correction_page(root, CorrectionForm.of(root.text))


@bp.post("/alerts/<int:id>/correct")
def correct(id: int) -> ResponseReturnValue:
    """Correct it, once however often this arrives: the form's nonce stands for the intention."""
    form, nonce = CorrectionForm.read(), forms.nonce()
    root = runtime().publishing.root(id)
    if form.reached == "leave" and root.over and not runtime().publishing.held(root).waiting:
        notice = "By now it is over: whoever gets it has the old words. They can only be replaced."
        return correction_page(root, form, notice=notice), 409
    said = json.dumps(asdict(form)).encode()
    key = Idempotency(f"desk {signed_in().email}", nonce, f"correct {root.id} ".encode() + said)
    try:
        wanted = reader_requests.parse(notification_requests.Correction, said, runtime())
        published = runtime().publishing.correct(
            root.id,
            title=wanted.title,
            body=wanted.body,
            url=wanted.url,
            replace=wanted.reached == "replace",
            by=signed_in().email,
            idempotency=key,
            check=lambda root: wanted.check(root, runtime()),
        )
    except reader_requests.Invalid as invalid:
        return correction_page(root, form, nonce=nonce, errors=form.complaints(invalid)), 422
    except Conflict as conflict:
        used = runtime().store.notifications.remembered(key.digest) is not None
        return correction_page(root, form, notice=_USED if used else str(conflict)), 409
    to = root.id if wanted.reached == "leave" else published.id
    return redirect(url_for("desk.alert", id=to), 303)


def correction_page(
    root: Notification,
    form: CorrectionForm,
    *,
    nonce: str = "",
    errors: dict[str, str] | None = None,
    notice: str = "",
) -> str:
    """Show the form for another text of what was sent."""
    progress = runtime().publishing.progress(root.id)
    return render_template(
        "desk/correct.html",
        root=root,
        form=form,
        nonce=nonce or secrets.token_urlsafe(16),
        errors=errors or {},
        notice=notice,
        reached=runtime().publishing.reached(root),
        waiting=0 if root.over else progress.recipients - progress.done,
        held=runtime().publishing.held(root).waiting if root.over else 0,
    )


# Deciding whether readers are gone --------------------------------------------------------------


@bp.post("/gone/confirm")
def confirm_gone() -> ResponseReturnValue:
    """Delete those whom a push service calls gone."""
    return _decide(runtime().gone.confirm)


@bp.post("/gone/take-back")
def take_back() -> ResponseReturnValue:
    """Count those whom a push service calls gone in again."""
    return _decide(runtime().gone.take_back)


def _decide(decide: Callable[[str], None]) -> ResponseReturnValue:
    origin = request.form.get("origin", "")
    if origin not in {doubt.origin for doubt in runtime().gone.doubts()}:
        return _alerts("Somebody has decided about that already."), 409
    decide(origin)
    return redirect(url_for("desk.alerts"), 303)


# The library that refreshes parts of pages ------------------------------------------------------


@bp.get(f"/{_HTMX}")
def htmx() -> Response:
    """Serve the library that refreshes parts of pages; its name changes with its version."""
    return send_from_directory("../web/vendor", _HTMX, max_age=365 * 86_400)


# When something is wrong ------------------------------------------------------------------------


@bp.route("/<path:_rest>")
def missing(_rest: str) -> ResponseReturnValue:
    """Answer for every address under the desk that is none."""
    abort(404)


@bp.errorhandler(UnknownNotification)
@bp.errorhandler(NotFound)
def _not_found(_: Exception) -> ResponseReturnValue:
    if "HX-Request" in request.headers:
        # The page of an alert that somebody has deleted is loaded anew, to say so.
        return "", 404, {"HX-Refresh": "true"}
    return _notice(404, "There is no such page", "Perhaps a digit of its address went missing.")


@bp.errorhandler(CSRFError)
def _csrf(_: CSRFError) -> ResponseReturnValue:
    text = "Your session has ended, or the page is an old one. Nothing was done. Go back and reload"
    return _notice(400, "That did not come from this desk", f"{text} it, then try again.")


@bp.errorhandler(HTTPException)
def _refused(error: HTTPException) -> ResponseReturnValue:
    return _notice(error.code or 500, "That cannot be done", error.description or error.name)


@bp.errorhandler(RedisError)
def redis_away(error: RedisError) -> ResponseReturnValue:
    """Say plainly that nothing can be read or stored just now."""
    # Without its message, which may repeat what was to be stored.
    current_app.logger.error("%s: %s", request.endpoint, type(error).__name__)
    away = isinstance(error, (ConnectionError, TimeoutError))
    return _notice(
        503,
        "Redis is away" if away else "Redis takes nothing in",
        "The desk cannot do its work just now; whoever runs Stop Press has to look at Redis. What"
        " is being sent goes on by itself afterwards. Then reload this page to see.",
    )


def _notice(status: int, heading: str, text: str) -> ResponseReturnValue:
    # Not by render_template, which asks the store who is signed in: it may be what is away.
    page = current_app.jinja_env.get_template("desk/notice.html")
    return page.render(heading=heading, text=text), status
