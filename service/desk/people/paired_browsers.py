"""Send to me first: editors pair their own browsers, which get an alert before readers do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from flask import abort, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from service.api.alerts.notification_requests import CheckedAlert, document_size
from service.current import runtime
from service.desk.blueprint import bp, local
from service.desk.people.editors import note
from service.desk.people.qr_code import qr_code
from service.desk.permissions import ANY_EDITOR, allowed, for_oneself
from service.desk.session import show_once, signed_in
from service.desk.words import number, plural
from service.desk.writing.compose import SENT_TO_ME, check
from service.desk.writing.forms import Form
from service.domain.alerts.publishing import UnknownNotification
from service.domain.alerts.stops import EverythingStopped
from service.domain.people.paired_browsers import (
    MOST_PAIRED,
    CodeOver,
    TooManyPaired,
    TooManyTests,
)
from service.domain.readers.reader_alerts import TooManyActive
from service.model.language.languages import supported_language, texts
from service.model.network.addresses import is_local_name, is_loopback
from service.model.notifications import MAX_PLAINTEXT, Content, Notification
from service.model.payload import shortened
from service.model.time import clock

_TTL = 600  # seconds: the editor waits for it
_OVER = "The code has ended. Make another, and scan it within two minutes."
_FULL = f"You have paired {MOST_PAIRED} browsers, as many as there may be. Unpair one first."
_TOO_MANY = "You have sent many tests within a minute. Wait a minute, please."
_STOPPED = "Nothing was sent, because everything is stopped."
_NONE = "Nothing was sent: no browser of yours is paired any more."
_TOO_LONG = "Nothing was sent: the alert leaves no room to mark it as a test. Shorten a link."
_FAULTY = "Nothing was sent: something in the alert is wrong now. Go back and review it again."


# Pairing ------------------------------------------------------------------------------------------


@bp.post("/account/browsers/code")
@allowed(ANY_EDITOR)
def begin_pairing() -> ResponseReturnValue:
    """Make a code that pairs a browser with this editor."""
    session["pairing"] = runtime().paired_browsers.begin(signed_in().email, _code())
    return redirect(url_for("desk.pairing"), 303)


@bp.get("/account/browsers/pair")
@allowed(ANY_EDITOR)
def pairing() -> ResponseReturnValue:
    """Show the code, and then the browser that has used it."""
    return _pairing_page()


@bp.get("/account/browsers/pair/state")
@allowed(ANY_EDITOR)
def pairing_state() -> ResponseReturnValue:
    """Return the part of that page which changes, once it does: a browser has used the code."""
    state = _state()
    return ("", 204) if state["link"] else render_template("desk/pairing_state.html", **state)


def _pairing_page(error: str = "") -> str:
    state = _state()
    return render_template("desk/pairing.html", **{**state, "error": error or state["error"]})


def _state() -> dict[str, Any]:
    """Return what the page shows: the link of a code, the browser that has used it, or an error."""
    code = _code()
    try:
        browser = runtime().paired_browsers.waiting(code, signed_in().email)
    except CodeOver:
        return {"link": "", "browser": None, "error": _OVER if code else ""}
    front = runtime().config.front_page
    link, no_way = f"{front}#stop-press=pair&code={code}", _no_way_for_a_phone(front)
    if browser is not None:
        ago = int(clock.time()) - browser.paired_at
        return {"link": "", "browser": browser, "ago": ago, "error": ""}
    return {
        "link": link,
        "picture": "" if no_way else qr_code(link, "QR code for your phone"),
        "no_way": no_way,
        "one_network": is_local_name(urlsplit(front).hostname or ""),
        "browser": None,
        "error": "",
    }


def _no_way_for_a_phone(page: str) -> str:
    """Return why a phone cannot be paired at this address; empty if it may be possible."""
    parts = urlsplit(page)
    host = parts.hostname or ""
    if is_loopback(host) or host.endswith(".localhost"):
        return f"A phone cannot open {page}: there “{host}” is the phone itself."
    if parts.scheme != "https":
        return f"A phone cannot subscribe at {page}: browsers allow alerts only over https."
    return ""


@bp.post("/account/browsers/pair")
@allowed(ANY_EDITOR)
def end_pairing() -> ResponseReturnValue:
    """Pair the browser that has used the code, if the editor says that it is the own one."""
    code, email = _code(), signed_in().email
    if request.form.get("own") != "yes":
        runtime().paired_browsers.refuse(code, email)
        note("refused to pair a browser")
    else:
        try:
            runtime().paired_browsers.confirm(code, email)
        except CodeOver:
            return _pairing_page(_OVER), 409
        except TooManyPaired:
            return _pairing_page(_FULL), 409
        note("paired a browser")
    session.pop("pairing", None)
    return redirect(url_for("desk.person", id=signed_in().id, _anchor="browsers"), 303)


@bp.post("/people/<id>/browsers/unpair")
@allowed(for_oneself)
def unpair(id: str) -> ResponseReturnValue:
    """Send no more tests to a browser of an editor."""
    one = runtime().editors.with_id(id)
    runtime().paired_browsers.unpair(one.email, request.form.get("browser", ""))
    note(f"unpaired a browser of {one.email}")
    return redirect(url_for("desk.person", id=id, _anchor="browsers"), 303)


def _code() -> str:
    return str(session.get("pairing", ""))


# Sending ------------------------------------------------------------------------------------------


@bp.post("/send-to-me")
@allowed(ANY_EDITOR)
def send_to_me() -> ResponseReturnValue:
    """Send what the confirmation shows to the editor's own browsers; it says what happened."""
    words = _sent_to_me(Form.read(), _before())
    if "HX-Request" in request.headers:
        return render_template("desk/sent_to_me.html", words=words)
    show_once(SENT_TO_ME, words)
    return redirect(local(request.args.get("next", "")), 303)


def _sent_to_me(form: Form, before: Notification | None) -> str:
    checked = check(form, before)
    if not isinstance(checked, CheckedAlert):
        return _FAULTY
    try:
        # Both of two texts, each as an alert of its own.
        tests = [as_test(text) for text in dict.fromkeys((checked.content, checked.text_b))]
        if None in tests:
            return _TOO_LONG
        email = signed_in().email
        sent = max(runtime().paired_browsers.send(email, test) for test in filter(None, tests))
    except (TooManyTests, TooManyActive):
        return _TOO_MANY
    except EverythingStopped:
        return _STOPPED
    return f"Sent to {number(sent)} {plural(sent, 'browser', 'browsers')}." if sent else _NONE


def _before() -> Notification | None:
    """Return the planned alert that is changed or sent, if it is one."""
    id = request.args.get("alert", type=int)
    try:
        return None if id is None else runtime().publishing.get(id)
    except UnknownNotification:
        return abort(404)


def as_test(content: Content) -> Content | None:
    """Return an alert as its editor gets it: with a first line of text that says that it is a test.

    None if no room is left for that line.

    The title stays as it is, so that each system cuts it off where it does for readers.
    """
    mark = texts(supported_language(content.lang or ""))["alerts"]["test"]
    test = replace(content, kind="news", urgency="high", ttl=_TTL)

    def with_text(text: str) -> Content:
        return replace(test, body=f"{mark}\n{text}".rstrip())

    body = content.body
    while (over := document_size(with_text(body), "", runtime()) - MAX_PLAINTEXT) > 0:
        if not body:
            return None
        # No character takes more than six bytes, so this never cuts off too much at once.
        body = shortened(body, max(0, len(body) - max(1, over // 6)))
    return with_text(body)
