"""The desk: the pages on which editors write an alert, send it, and watch it go out."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

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
from flask_login import current_user, logout_user
from flask_wtf.csrf import CSRFError
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from werkzeug.exceptions import HTTPException, NotFound

from service import desk_forms, editors, submissions, validation
from service.calls import runtime
from service.desk_forms import CorrectionForm, Form
from service.models import Audience, Content, Notification
from service.publishing import Conflict, Idempotency, UnknownNotification
from service.reports import FILTERS, Report, describe, service_name

_PAGE = 30  # alerts on one page of the list
_HTMX = "htmx-2.0.11.min.js"

bp = Blueprint(
    "desk",
    __name__,
    url_prefix="/desk",
    template_folder="../web",
    static_folder="../web/desk/static",
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
    if request.endpoint in _OPEN_TO_ALL or current_user.is_authenticated:
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
    editor = editors.check_password(runtime(), email, request.form.get("password", ""))
    if editor is None:
        error = "That e-mail address and password do not belong together."
        return render_template("desk/sign_in.html", email=email, error=error), 422
    editors.start_session(editor)
    return redirect(_local(request.args.get("next", "")), 303)


@bp.route("/welcome/<token>", methods=["GET", "POST"])
def welcome(token: str) -> ResponseReturnValue:
    """Let in whoever holds a one-time link. Looking does not use it up: mail programs do look."""
    link = editors.find_link(runtime(), token)
    error, status = None, 200
    if link is not None and request.method == "POST":
        given = (request.form.get("email", ""), request.form.get("password", ""))
        try:
            editor = editors.use_link(runtime(), link, *given)
        except editors.EditorError as problem:
            error, status = str(problem), 422
        else:
            if editor is not None:
                editors.start_session(editor)
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
        shortest=editors.SHORTEST_PASSWORD,
    )
    return page, status


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    logout_user()
    return redirect(url_for("desk.sign_in"), 303)


# Writing and sending ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A form that can be sent: what it says, whom it reaches, and how many that is now."""

    content: Content
    audience: Audience
    spread_minutes: int
    reach: int


@bp.get("/new")
def compose() -> ResponseReturnValue:
    """Show the form for a new alert."""
    return _compose(Form())


@bp.post("/new")
def review() -> ResponseReturnValue:
    """Show what would be sent, and to how many; or what is wrong, or the form again (Back)."""
    form, nonce = Form.read(), desk_forms.nonce()
    if request.form.get("step") == "edit":
        return _compose(form, nonce=nonce)
    checked = _check(form)
    if not isinstance(checked, Draft):
        return _compose(form, nonce=nonce, errors=checked), 422
    return render_template(
        "desk/confirm.html",
        form=form,
        nonce=nonce,
        content=checked.content,
        spread_minutes=checked.spread_minutes,
        audience=_describe(checked.audience),
        reach=checked.reach,
    )


@bp.get("/reach")
def reach() -> ResponseReturnValue:
    """Say how many browsers would get it: the part of the form that follows the ticks."""
    everyone = request.args.get("audience") == "everyone"
    return render_template("desk/reach.html", reach=_reach(everyone, request.args.getlist("topic")))


@bp.post("/alerts")
def send() -> ResponseReturnValue:
    """Send it, once however often this arrives: the form's nonce stands for the intention."""
    form, nonce = Form.read(), desk_forms.nonce()
    checked = _check(form)
    if not isinstance(checked, Draft):
        return _compose(form, nonce=nonce, errors=checked), 422
    body = json.dumps(form.as_json(), sort_keys=True).encode()
    key = Idempotency(f"desk {current_user.email}", nonce, body)
    try:
        published = runtime().publishing.publish(
            checked.content,
            checked.audience,
            by=current_user.email,
            spread_minutes=checked.spread_minutes,
            idempotency=key,
        )
    except Conflict:
        notice = (
            "This form has sent an alert already, with other words; it is in the list of alerts."
            " Nothing was sent just now. Review it again to send these words as another alert."
        )
        return _compose(form, notice=notice), 409
    return redirect(url_for("desk.alert", id=published.id), 303)


def _compose(
    form: Form, *, nonce: str = "", errors: dict[str, str] | None = None, notice: str = ""
) -> str:
    return render_template(
        "desk/compose.html",
        form=form,
        nonce=nonce or secrets.token_urlsafe(16),
        errors=errors or {},
        notice=notice,
        topics=runtime().store.house.topics().values(),
        spreads=desk_forms.SPREADS,
        reach=_reach(form.audience == "everyone", form.topics),
    )


def _check(form: Form) -> Draft | dict[str, str]:
    """Return what can be sent, or what is wrong with which field."""
    try:
        wanted = submissions.read(form.as_json(), runtime())
    except validation.Invalid as invalid:
        return form.complaints(invalid)
    recipients = runtime().publishing.reach(wanted.audience)
    if not recipients:
        return {"audience": "Nobody would get it: no browser is subscribed to that yet."}
    return Draft(wanted.content, wanted.audience, wanted.spread_minutes, recipients)


def _reach(everyone: bool, slugs: tuple[str, ...] | list[str]) -> int | None:
    """Return how many browsers that is; None where nobody was chosen."""
    known = runtime().store.house.topics()
    topics = tuple(slug for slug in dict.fromkeys(slugs) if slug in known)
    if not (everyone or topics):
        return None
    audience = Audience(everyone=True) if everyone else Audience(topics=topics)
    return runtime().publishing.reach(audience)


# Watching ---------------------------------------------------------------------------------------


def _report(notification: Notification, *, receipts: bool = True) -> Report:
    publishing = runtime().publishing
    audience = "whoever has what it corrects"
    return Report(
        notification=notification,
        audience=audience if notification.corrects else _describe(notification.audience),
        progress=publishing.progress(notification.id),
        receipts=publishing.receipts(notification.id) if receipts else {},
        now=time.time(),
        limits=publishing.limits(notification) if receipts else [],
    )


def _describe(audience: Audience) -> str:
    return describe(audience, runtime().store.house.topics())


@bp.get("/")
def alerts() -> ResponseReturnValue:
    """List what was sent, newest first, below what waits for a person's word."""
    return _alerts()


def _alerts(notice: str = "") -> str:
    before = request.args.get("before", type=int)
    found = runtime().publishing.latest(_PAGE, before)
    service = runtime().endpoints.service
    return render_template(
        "desk/alerts.html",
        reports=[_report(notification, receipts=False) for notification in found],
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
    return render_template(
        "desk/alert.html",
        report=_report(one),
        root=publishing.get(one.corrects) if one.corrects else None,
        corrections=[_report(publishing.get(id), receipts=False) for id in one.corrections],
        notice=notice,
    )


@bp.get("/alerts/<int:id>/progress")
def progress(id: int) -> ResponseReturnValue:
    """Show the part of that page that follows the numbers; have it load anew for the rest."""
    report = _report(runtime().publishing.get(id))
    same = request.args.get("stage", report.stage) == report.stage
    headers = {} if report.live and same else {"HX-Refresh": "true"}
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
    return _correction(root, CorrectionForm.of(root.text))


@bp.post("/alerts/<int:id>/correct")
def correct(id: int) -> ResponseReturnValue:
    """Correct it, once however often this arrives: the form's nonce stands for the intention."""
    form, nonce = CorrectionForm.read(), desk_forms.nonce()
    root = runtime().publishing.root(id)
    if root.over and form.reached == "leave":
        notice = "By now it is over: whoever gets it has the old words. They can only be replaced."
        return _correction(root, form, notice=notice), 409
    said = json.dumps(asdict(form)).encode()
    key = Idempotency(f"desk {current_user.email}", nonce, f"correct {root.id} ".encode() + said)
    try:
        wanted = validation.parse(submissions.Correction, said, runtime())
        published = runtime().publishing.correct(
            root.id,
            title=wanted.title,
            body=wanted.body,
            url=wanted.url,
            replace=wanted.reached == "replace",
            by=current_user.email,
            idempotency=key,
            check=lambda text: wanted.check(text, runtime()),
        )
    except validation.Invalid as invalid:
        return _correction(root, form, nonce=nonce, errors=form.complaints(invalid)), 422
    except Conflict as conflict:
        used = runtime().store.notifications.remembered(key.digest) is not None
        return _correction(root, form, notice=_USED if used else str(conflict)), 409
    to = root.id if wanted.reached == "leave" else published.id
    return redirect(url_for("desk.alert", id=to), 303)


def _correction(
    root: Notification,
    form: CorrectionForm,
    *,
    nonce: str = "",
    errors: dict[str, str] | None = None,
    notice: str = "",
) -> str:
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
