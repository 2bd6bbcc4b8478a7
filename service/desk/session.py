"""Sessions of editors at the desk: a cookie that no script can read, and what is stored of it.

The cookie is Flask's signed one. It holds a random id; whose session that is, and whether it has
ended, is known to the store alone (decision 64).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from werkzeug.datastructures import MultiDict

from service.domain.people.editors import Editor, Editors, Halfway
from service.domain.people.passkeys import Challenge
from service.domain.people.provider import Began
from service.model.network import user_agents
from service.model.network.addresses import host_name, is_loopback
from service.model.retention import MINUTE, SESSION_KEPT
from service.model.time import clock
from service.model.tokens import digest
from service.runtime import Runtime

_LATELY = 10 * MINUTE
_APART = 2  # seconds
_MOST_TYPED = 1000  # characters; browsers keep no cookie of more than 4096


def init_app(app: Flask, runtime: Runtime) -> None:
    """Set up sessions for the editors of `runtime`."""
    current, *previous = runtime.config.secret_key
    app.secret_key = current
    app.config.update(
        # After SECRET_KEY was changed, cookies and forms signed with the one before still work.
        SECRET_KEY_FALLBACKS=previous,
        WTF_CSRF_SECRET_KEY=[*previous, current],  # itsdangerous signs with the last
        SESSION_COOKIE_NAME="stoppress",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=SESSION_KEPT,
        # Flask would send the cookie with every response, and then caches could share nothing that
        # readers' browsers fetch.
        SESSION_REFRESH_EACH_REQUEST=False,
        # A form is accepted as long as the session lasts, so that an editor may think for an hour.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.session_interface = _Cookies()
    app.extensions["stoppress.editors"] = runtime.editors
    app.extensions["stoppress.desk_url"] = runtime.config.public_url
    app.jinja_env.globals["current_editor"] = current_editor
    app.jinja_env.globals["passkeys_possible"] = runtime.passkeys.possible
    # What pages call the provider; empty: there is none.
    app.jinja_env.globals["provider_name"] = runtime.provider.name if runtime.provider else ""


# What `shown_once` calls the sentence why an editor has to sign in, or sign in otherwise.
WHY_SIGN_IN = "sign-in"


class _Signer(TimestampSigner):
    """Dates a cookie by the time that all hosts share, because one from the future is refused.

    The clocks of two processes are still apart by some hundredths of a second, so that one may read
    in a second what the other has dated in the next.
    """

    _ahead = 0

    def get_timestamp(self) -> int:
        return int(clock.time()) + self._ahead

    def unsign(self, *args: Any, **kwargs: Any) -> Any:
        self._ahead = _APART
        return super().unsign(*args, **kwargs)


class _Cookies(SecureCookieSessionInterface):
    """Flask's cookies, and `Secure` under a name that no other host can set (RFC 6265bis).

    Only a browser on this machine that meets us without TLS gets them without: Safari would
    otherwise keep none.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # The API has no sessions, and opening one takes time on each call of a reader's browser.
        return None if request.path.startswith("/api/") else super().open_session(app, request)

    def get_cookie_name(self, app: Flask) -> str:
        name = super().get_cookie_name(app)
        return name if is_plain_loopback(app) else f"__Host-{name}"

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = _Signer
        return serializer

    def get_cookie_secure(self, app: Flask) -> bool:
        return not is_plain_loopback(app)


def is_plain_loopback(app: Flask) -> bool:
    """Whether this request came over plain HTTP from a browser on this machine.

    A proxy that ends TLS may pass requests on to a loopback address too; there SITE_URL is another.
    """
    ours = urlsplit(app.extensions["stoppress.desk_url"])
    return (
        ours.scheme == request.scheme == "http"
        and is_loopback(ours.hostname or "")
        and is_loopback(host_name(request.host))
    )


def start_session(session_id: str) -> None:
    """Sign an editor in, with a new cookie. Of the old one only an unsent form stays."""
    _begin_cookie()
    session.permanent = True
    session["editor"] = session_id
    g.pop("editor", None)


def _begin_cookie() -> None:
    typed = session.get("typed")
    end_session()
    if typed is not None:
        session["typed"] = typed


def end_session() -> None:
    """Sign the editor out: neither this cookie nor a copy of it works any more."""
    if session_id := session.get("editor"):
        _editors().end_session(session_id)
    session.clear()
    g.editor = None


def current_editor() -> Editor | None:
    """Return the editor who is signed in, if one is; looked up once in each request."""
    if "editor" not in g:
        session_id = session.get("editor")
        # An open page that refreshes parts of itself does not mean that its editor is there.
        active = "HX-Request" not in request.headers
        g.editor = _editors().of_session(session_id, active=active) if session_id else None
    editor: Editor | None = g.editor
    return editor


def signed_in() -> Editor:
    """Return the editor who is signed in, on a page that only editors reach."""
    editor = current_editor()
    assert editor is not None  # noqa: S101 - `_require_role` has checked it
    return editor


def start_halfway(began: Halfway) -> None:
    """Remember in the cookie that an editor's password was right; a code has to follow."""
    _begin_cookie()
    session["halfway"] = list(began)


def halfway() -> Halfway | None:
    """Return who has entered the right password in this browser, and no code yet."""
    kept = session.get("halfway")
    return Halfway(*kept) if kept else None


def start_provider_sign_in(began: Began, to: str) -> None:
    """Remember in the cookie that this browser has gone to the provider, and what comes after."""
    session["provider"] = [list(began), to]


def provider_sign_in() -> tuple[Began | None, str]:
    """Return what `start_provider_sign_in` put into the cookie, and take it out."""
    began, to = session.pop("provider", None) or (None, "")
    return None if began is None else Began(*began), to


def start_challenge(challenge: Challenge) -> None:
    """Remember in the cookie what a passkey is to sign in this browser."""
    session["challenge"] = list(challenge)


def challenge() -> Challenge | None:
    """Return what `start_challenge` put into the cookie, and take it out."""
    kept = session.pop("challenge", None)
    return None if kept is None else Challenge(*kept)


def own_session() -> str:
    """Return the digest of the session of this request."""
    return digest(session.get("editor", ""))


def signed_in_lately(one: Editor) -> bool:
    """Whether the session of this request is one of this editor's and has just begun.

    A session that a provider began because it knew the browser does not count: a stranger who finds
    the desk open can begin such a session.
    """
    return any(it.is_new(_LATELY) for it in one.sessions if it.digest == own_session())


def keep_typed(page: str) -> None:
    """Keep the form of this request for its editor, who signs in again, and for nobody else."""
    fields = [pair for pair in request.form.items(multi=True) if pair[0] != "csrf_token"]
    if len(json.dumps(fields)) <= _MOST_TYPED:
        session["typed"] = [page, signed_in().email, fields]


def typed() -> MultiDict[str, str]:
    """Return the form of this request, or the one that `keep_typed` kept for this page."""
    page, email, fields = session.get("typed") or ("", "", [])
    if request.form or page != request.path:
        return request.form
    del session["typed"]
    own = email == signed_in().email
    return MultiDict([(name, text) for name, text in fields if own])


def browser_name() -> str:
    """Return the browser and the system of this request, as far as they are known to us."""
    return user_agents.browser_name(request.headers.get("User-Agent", ""))


def show_once(what: str, secret: str) -> None:
    """Keep a secret in this editor's own cookie, for the page that follows this request."""
    session["once"] = [what, secret]


def shown_once(what: str) -> str:
    """Return the secret that this page alone is to show; empty if there is none."""
    kept, secret = session.get("once") or ("", "")
    if kept != what:
        return ""
    del session["once"]
    return str(secret)


def _editors() -> Editors:
    editors: Editors = current_app.extensions["stoppress.editors"]
    return editors
