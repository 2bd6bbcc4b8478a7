"""The desk's blueprint: the check who may use a page, and the answers when something is wrong.

Each module of pages adds its routes to `bp`; `service/desk/__init__.py` names these modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    redirect,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException, NotFound

from service.api import problems
from service.api.hosts import WrongHost, check_page
from service.current import runtime
from service.desk.permissions import ANY_EDITOR, EVERYBODY, allowed, lately, may, needed, rule_of
from service.desk.session import (
    WHY_SIGN_IN,
    current_editor,
    is_plain_loopback,
    keep_typed,
    show_once,
    signed_in,
    signed_in_lately,
)
from service.desk.words import FIELDS, FILTERS, PREVIEWS, TITLE_SHOWN, TYPED, either
from service.domain.alerts.publishing import UnknownNotification
from service.domain.alerts.templates import UnknownTemplate
from service.domain.alerts.topics import UnknownTopic
from service.domain.newsroom.feeds import UnknownFeed
from service.domain.newsroom.publish_hooks import UnknownHook
from service.domain.newsroom.webhooks import UnknownWebhook
from service.domain.people.editors import UnknownEditor
from service.domain.store_errors import is_away
from service.model.roles import Role

_HTMX = "htmx-2.0.11.min.js"
_MOST_NAMED = 5  # editors
_AGAIN = (
    "Sign in again before you do this, so that nobody does it at a desk that you left open. Then"
    " press the button once more."
)
_ASKED = " If {name} does not ask who you are, use your password, a passkey or a sign-in link."
_MAY_NOT = {
    Role.SENDS: "You may write drafts. To send, correct or stop an alert, ask {who}.",
    Role.MANAGES: "To change settings, topics, or who may use the desk and the API, ask {who}.",
}

_NOTHING_DONE = "Your session had ended, so nothing was done. Sign in, then do it again."

bp = Blueprint(
    "desk",
    __name__,
    url_prefix="/desk",
    template_folder="../../web",
    static_folder="../../web/desk/static",
)

for _name, _filter in FILTERS.items():
    bp.add_app_template_filter(_filter, _name)
for _name, _words in {"PREVIEWS": PREVIEWS, "TITLE_SHOWN": TITLE_SHOWN, "FIELDS": FIELDS}.items():
    bp.add_app_template_global(_words, _name)  # type: ignore[arg-type]  # any value will do


@bp.before_request
def _from_our_own_pages() -> None:
    if request.method == "POST":
        check_page()


@bp.before_request
def _require_role() -> ResponseReturnValue | None:
    rule = rule_of(request.endpoint or "")
    if rule is EVERYBODY:
        return None
    if current_editor() is None:
        if _was_pressed():
            show_once(WHY_SIGN_IN, _NOTHING_DONE)
        if "HX-Request" in request.headers:
            # A page whose session has ended is reloaded, which leads to the sign-in; but not while
            # an alert is written or confirmed: its form asks for the password over the page.
            over_the_page = request.endpoint in ("desk.reach", "desk.check_link")
            headers = {} if over_the_page else {"HX-Refresh": "true"}
            return "", 401, headers
        return _to_sign_in()
    role = needed(rule)
    return _sign_in_again() if may(role) else _may_not(role)


def _sign_in_again() -> ResponseReturnValue | None:
    """Lead through the sign-in back to the page, if the session is too old for what is asked."""
    endpoint = lately(request.endpoint or "")
    if not endpoint or signed_in_lately(runtime().editors.with_id(signed_in().id)):
        return None
    page = url_for(endpoint, **(request.view_args or {}))
    keep_typed(page)
    provider = runtime().provider
    show_once(WHY_SIGN_IN, _AGAIN + (_ASKED.format(name=provider.name) if provider else ""))
    return redirect(url_for("desk.sign_in", next=page), 303)


def _to_sign_in() -> ResponseReturnValue:
    """Lead to the sign-in, and from there to the page asked for, or to that with the form."""
    to = _page_before() if request.method == "POST" else request.full_path.rstrip("?")
    return redirect(url_for("desk.sign_in", next=to))


def _was_pressed() -> bool:
    """Whether an editor expects that this request does something.

    A script that sends something by itself asks the editor by itself (`session.js`).
    """
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    pressed = mode == "navigate" or "HX-Request" in request.headers
    return request.method == "POST" and pressed and request.endpoint != "desk.sign_out"


def _page_before() -> str:
    """Return the page of ours with the form that was sent; empty if that cannot be opened again."""
    urls = current_app.create_url_adapter(request)
    try:
        before = urlsplit(request.referrer or "")
        if before.netloc != request.host or request.endpoint == "desk.sign_out":
            return ""
        endpoint = urls.match(before.path, "GET")[0] if urls else "desk.missing"
    except (HTTPException, ValueError):  # callers may send any text
        return ""
    if endpoint == "desk.missing":
        return ""
    return before.path + (f"?{before.query}" if before.query else "")


def _may_not(role: Role) -> ResponseReturnValue:
    """Refuse a request that takes this role, and name editors who have it."""
    others = [one.email for one in runtime().editors.all() if one.role >= role]
    named = [*others[:_MOST_NAMED], *(["others"] if len(others) > _MOST_NAMED else [])]
    text = f"{_MAY_NOT[role].format(who=either(named))} Nothing was sent or changed."
    return notice(403, "Your role does not include this", text)


@bp.get(f"/{_HTMX}")
@allowed(EVERYBODY)
def htmx() -> Response:
    """Serve the library that refreshes parts of pages; its name changes with its version."""
    return send_from_directory("../web/vendor", _HTMX, max_age=365 * 86_400)


# When something is wrong --------------------------------------------------------------------------


@bp.route("/<path:_rest>")
@allowed(ANY_EDITOR)
def missing(_rest: str) -> ResponseReturnValue:
    """Answer for every address under the desk that has no page."""
    abort(404)


@bp.errorhandler(UnknownNotification)
@bp.errorhandler(UnknownEditor)
@bp.errorhandler(UnknownFeed)
@bp.errorhandler(UnknownHook)
@bp.errorhandler(UnknownTemplate)
@bp.errorhandler(UnknownTopic)
@bp.errorhandler(UnknownWebhook)
@bp.errorhandler(NotFound)
def _not_found(_: Exception) -> ResponseReturnValue:
    if "HX-Request" in request.headers:
        # An open page of a deleted alert is reloaded, and then shows this notice.
        return "", 404, {"HX-Refresh": "true"}
    return notice(
        404,
        "Page not found",
        "The address may be wrong, or what it belongs to may have been deleted.",
    )


@bp.app_errorhandler(NotFound)
def _no_such_address(error: NotFound) -> ResponseReturnValue:
    """Answer for an address outside the desk; a program gets no page."""
    if "text/html" in request.headers.get("Accept", "") and not problems.is_of_programs():
        return notice(404, "Page not found", "The address may be wrong.")
    return cast(ResponseReturnValue, problems.respond(error))


@bp.errorhandler(CSRFError)
def _form_expired(_: CSRFError) -> ResponseReturnValue:
    if request.endpoint == "desk.sign_in" and current_editor() is not None:
        # Signed in meanwhile in another tab, after which this tab's form is no longer valid.
        return redirect(local(request.args.get("next", "")), 303)
    if request.endpoint == "desk.welcome" and current_editor() is not None:
        return redirect(request.path, 303)  # which says whether the link still works
    if current_editor() is None and (answer := _require_role()) is not None:
        return answer  # signed out in another tab
    text = "Nothing was sent or changed. Go back, reload the page and do it again."
    if not request.is_secure and not is_plain_loopback(current_app):
        text += " If the address begins with http://, sign in at the one with https://: over an"
        text += " unprotected connection your browser keeps no session."
    return notice(400, "Your session has expired", text)


@bp.errorhandler(WrongHost)
def _wrong_host(error: WrongHost) -> ResponseReturnValue:
    return notice(400, "The desk is not at this address", error.description or "")


@bp.errorhandler(HTTPException)
def _refused(error: HTTPException) -> ResponseReturnValue:
    return notice(error.code or 500, "This is not possible", error.description or error.name)


@bp.errorhandler(RedisError)
def redis_away(error: RedisError) -> ResponseReturnValue:
    """Say that nothing can be read or stored at the moment."""
    # Without its message, which may repeat what was to be stored.
    current_app.logger.error("%s: %s", request.endpoint, type(error).__name__)
    sent = _sent_form()
    then = "press “Try again” here" if sent else "reload this page"
    return notice(
        503,
        "Redis does not respond" if is_away(error) else "Redis cannot store anything",
        "The desk needs Redis, its database. Ask your operator to look at it, then"
        f" {then}. An alert that is being sent continues by itself.",
        sent,
    )


def _sent_form() -> list[tuple[str, str]]:
    """Return the fields of a form that an editor has sent, so that nothing typed is lost.

    Not of one with a password, nor if a script has sent it, which keeps what was typed itself.
    """
    by_script = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
    fields = list(request.form.items(multi=True))
    if by_script or "HX-Request" in request.headers or {"password", "code"} & {*request.form}:
        return []
    return fields if any(name in TYPED for name, _ in fields) else []


def local(path: str) -> str:
    """Return `path` if it cannot lead to another site, else the desk's front page."""
    # Browsers read a backslash as a slash, and skip tabs and line ends.
    safe = re.fullmatch(r"/(?!/)[!-\[\]-~]*", path)
    return path if safe else url_for("desk.alerts")


def notice(
    status: int, heading: str, text: str, sent: Sequence[tuple[str, str]] = ()
) -> ResponseReturnValue:
    """Answer with a page of one message; `sent` are the fields of a form to be sent again."""
    # Not by render_template, which asks the store who is signed in: Redis may be down.
    page = current_app.jinja_env.get_template("desk/notice.html")
    return page.render(heading=heading, text=text, sent=sent, typed=TYPED), status
