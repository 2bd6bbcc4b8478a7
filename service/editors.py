"""Who may use the desk: editors, their passwords, one-time sign-in links, and their sessions."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from flask import Flask, Response, session
from flask_login import LoginManager, login_user

from service.runtime import Runtime
from service.tokens import digest

LINK_KEPT = 24 * 3600  # seconds
SHORTEST_PASSWORD = 12  # characters; NIST SP 800-63B asks for 8, and for no other rule
LONGEST_PASSWORD = 200
_SESSION_KEPT = timedelta(days=7)  # without a visit

_hasher = PasswordHasher()


class EditorError(ValueError):
    """An e-mail address or a password that cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Somebody who may use the desk, as Flask-Login wants to see them."""

    email: str
    password_hash: str

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        """Return what a session holds: another password makes it another id."""
        return f"{digest(self.password_hash)[:16]} {self.email}"


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time sign-in link; `email` is empty where it lets in whoever is the first."""

    token: str
    email: str
    has_password: bool


class _Manager(LoginManager):  # type: ignore[misc]
    """Remembers nobody beyond their session, and so looks for nobody in each answer."""

    def _update_remember_cookie(self, response: Response) -> Response:
        return response


def init_app(app: Flask, runtime: Runtime) -> None:
    """Set up sessions: a cookie for this site alone that no script can read."""
    app.secret_key = runtime.config.secret_key
    app.config.update(
        SESSION_COOKIE_NAME="stoppress",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=runtime.config.public_url.startswith("https:"),
        PERMANENT_SESSION_LIFETIME=_SESSION_KEPT,
        # As long as the session: what was typed must not be lost to an hour's thought.
        WTF_CSRF_TIME_LIMIT=None,
    )

    def load(id: str) -> Editor | None:
        editor = find(runtime, id.partition(" ")[2])
        return editor if editor is not None and editor.get_id() == id else None

    manager = _Manager(app)
    manager.user_loader(load)
    manager.login_view = "desk.sign_in"
    manager.login_message = None


def start_session(editor: Editor) -> None:
    """Sign an editor in, in a session that has nothing of the one before."""
    session.clear()
    session.permanent = True
    login_user(editor)


def find(runtime: Runtime, email: str) -> Editor | None:
    """Return the editor with that address, exactly as it is stored."""
    password_hash = runtime.store.house.password_hash(email)
    return None if password_hash is None else Editor(email, password_hash)


def check_password(runtime: Runtime, email: str, password: str) -> Editor | None:
    """Return the editor if that is the password; as slow for an address nobody has."""
    editor = find(runtime, email.strip().lower())
    known = editor.password_hash if editor is not None else ""
    try:
        _hasher.verify(known or _nobodys_hash(), password[:LONGEST_PASSWORD])
    except (VerifyMismatchError, InvalidHashError):
        return None
    return editor if known else None


def signin_link(runtime: Runtime, email: str | None = None) -> str:
    """Make a one-time link that is good for a day; only its digest is stored.

    An unknown `email` becomes an editor. Without one, the link is for the only editor there is,
    or else for a new one. `EditorError` for what is not an e-mail address.
    """
    house = runtime.store.house
    if email is None:
        editors = house.editors()
        email = editors[0] if len(editors) == 1 else ""
    else:
        email = _checked_email(email)
        if house.password_hash(email) is None:
            house.set_password_hash(email, "")
    token = secrets.token_urlsafe(24)
    house.keep_signin(digest(token), email, LINK_KEPT)
    return f"{runtime.config.public_url}/desk/welcome/{token}"


def find_link(runtime: Runtime, token: str) -> Link | None:
    """Return whom a link would let in, without using it up; None: used, too old or never made."""
    email = runtime.store.house.signin(digest(token))
    if email is None:
        return None
    editor = find(runtime, email) if email else None
    return Link(token, email, bool(editor and editor.password_hash))


def use_link(runtime: Runtime, link: Link, email: str, password: str) -> Editor | None:
    """Use a link up and set the password, if one is given; None for a link used meanwhile.

    `EditorError`, with the link still good, for an address or password that cannot be taken.
    """
    house = runtime.store.house
    email = link.email or _checked_email(email)
    if not link.email and house.password_hash(email) is not None:
        raise EditorError(f"{email} is an editor already: sign in, or ask for a link of your own.")
    keep = link.has_password and not password
    new_hash = "" if keep else _hash_of_new(password, email)
    if not house.use_signin(digest(link.token)):
        return None
    if not keep:
        house.set_password_hash(email, new_hash)
    return find(runtime, email)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(24))


def _checked_email(text: str) -> str:
    email = text.strip().lower()
    if not re.fullmatch(r"[^\s@<>,;:\"\x00-\x1f\x7f]+@[^\s@<>,;:\"\x00-\x1f\x7f]+", email):
        raise EditorError("Write an e-mail address, such as you@your.paper.")
    if len(email) > 254:
        raise EditorError("That e-mail address is too long.")
    return email


def _hash_of_new(password: str, email: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise EditorError(f"Use at least {SHORTEST_PASSWORD} characters; three words do well.")
    if len(password) > LONGEST_PASSWORD:
        raise EditorError(f"Use at most {LONGEST_PASSWORD} characters.")
    if len(set(password.lower())) < 5 or password.lower() == email:
        raise EditorError("That password is too easy to guess; three words do well.")
    return _hasher.hash(password)
