"""Editors: who may use the desk, their passwords and one-time sign-in links."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from service.model.tokens import digest
from service.store import Store

SHORTEST_PASSWORD = 12  # characters; NIST SP 800-63B asks for 8 and advises against other rules
LONGEST_PASSWORD = 200

_hasher = PasswordHasher()


class EditorError(ValueError):
    """An e-mail address or a password that is not accepted; the message says why."""


@dataclass(frozen=True, slots=True)
class Editor:
    """An editor of the desk."""

    email: str
    password_hash: str  # empty before the first sign-in

    @property
    def session_id(self) -> str:
        """What the session cookie holds. A new password changes it, which ends older sessions."""
        return f"{digest(self.password_hash)[:16]} {self.email}"


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time sign-in link."""

    token: str
    email: str  # empty: the person who opens it becomes an editor
    has_password: bool  # whether that editor has one


class Editors:
    """The editors of one installation; their sign-in links begin with `public_url`."""

    def __init__(self, store: Store, public_url: str) -> None:
        self._access = store.access
        self._public_url = public_url

    def find(self, email: str) -> Editor | None:
        """Return the editor with this e-mail address, in lower case as it is stored."""
        password_hash = self._access.password_hash(email)
        return None if password_hash is None else Editor(email, password_hash)

    def check_password(self, email: str, password: str) -> Editor | None:
        """Return the editor if the password is right; an unknown address takes as long."""
        editor = self.find(email.strip().lower())
        known = editor.password_hash if editor is not None else ""
        try:
            _hasher.verify(known or _nobodys_hash(), password[:LONGEST_PASSWORD])
        except (VerifyMismatchError, InvalidHashError):
            return None
        return editor if known else None

    def signin_link(self, email: str | None = None) -> str:
        """Make a one-time link that works for a day; only its digest is stored.

        An unknown `email` becomes an editor. Without `email`, the link is for the only editor, or
        for a new one if there is none or there are several. `EditorError` for a wrong address.
        """
        if email is None:
            editors = self._access.editors()
            email = editors[0] if len(editors) == 1 else ""
        else:
            email = _checked_email(email)
            if self._access.password_hash(email) is None:
                self._access.set_password_hash(email, "")
        token = secrets.token_urlsafe(24)
        self._access.keep_sign_in_link(digest(token), email)
        return f"{self._public_url}/desk/welcome/{token}"

    def find_link(self, token: str) -> Link | None:
        """Return a link without using it up; None if it was used, is too old or unknown."""
        email = self._access.sign_in_link(digest(token))
        if email is None:
            return None
        editor = self.find(email) if email else None
        return Link(token, email, bool(editor and editor.password_hash))

    def use_link(self, link: Link, email: str, password: str) -> Editor | None:
        """Use a link up and set the password, if one is given; None if it was used meanwhile.

        `EditorError` for an address or password that is not accepted; the link still works then.
        """
        email = link.email or _checked_email(email)
        if not link.email and self._access.password_hash(email) is not None:
            raise EditorError(
                f"{email} is an editor already: sign in, or ask for a link of your own."
            )
        keep = link.has_password and not password
        new_hash = "" if keep else _hash_of_new(password, email)
        if not self._access.use_sign_in_link(digest(link.token)):
            return None
        if not keep:
            self._access.set_password_hash(email, new_hash)
        return self.find(email)

    def of_session(self, session_id: str) -> Editor | None:
        """Return the editor whose session this is; None if the password was changed since."""
        editor = self.find(session_id.partition(" ")[2])
        return editor if editor is not None and editor.session_id == session_id else None


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
