"""Who may use the desk: editors, their passwords and one-time sign-in links."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from service.model.tokens import digest
from service.store import Store

LINK_KEPT = 24 * 3600  # seconds
SHORTEST_PASSWORD = 12  # characters; NIST SP 800-63B asks for 8, and for no other rule
LONGEST_PASSWORD = 200

_hasher = PasswordHasher()


class EditorError(ValueError):
    """An e-mail address or a password that cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Editor:
    """An editor of the desk; `password_hash` is empty before the first sign-in."""

    email: str
    password_hash: str

    @property
    def session_id(self) -> str:
        """What a session holds; a new password makes a new id, which ends older sessions."""
        return f"{digest(self.password_hash)[:16]} {self.email}"


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time sign-in link; `email` is empty where it lets in whoever is the first."""

    token: str
    email: str
    has_password: bool


class Editors:
    """The editors of one installation; `public_url` is where their sign-in links lead."""

    def __init__(self, store: Store, public_url: str) -> None:
        self._installation = store.installation
        self._public_url = public_url

    def find(self, email: str) -> Editor | None:
        """Return the editor with this e-mail address, spelled exactly as it is stored."""
        password_hash = self._installation.password_hash(email)
        return None if password_hash is None else Editor(email, password_hash)

    def check_password(self, email: str, password: str) -> Editor | None:
        """Return the editor if that is the password; as slow for an address nobody has."""
        editor = self.find(email.strip().lower())
        known = editor.password_hash if editor is not None else ""
        try:
            _hasher.verify(known or _nobodys_hash(), password[:LONGEST_PASSWORD])
        except (VerifyMismatchError, InvalidHashError):
            return None
        return editor if known else None

    def signin_link(self, email: str | None = None) -> str:
        """Make a one-time link that is good for a day; only its digest is stored.

        An unknown `email` becomes an editor. Without one, the link is for the only editor there is,
        or else for a new one. `EditorError` for what is not an e-mail address.
        """
        if email is None:
            editors = self._installation.editors()
            email = editors[0] if len(editors) == 1 else ""
        else:
            email = _checked_email(email)
            if self._installation.password_hash(email) is None:
                self._installation.set_password_hash(email, "")
        token = secrets.token_urlsafe(24)
        self._installation.keep_signin(digest(token), email, LINK_KEPT)
        return f"{self._public_url}/desk/welcome/{token}"

    def find_link(self, token: str) -> Link | None:
        """Return a link without using it up; None for one that was used, is too old or unknown."""
        email = self._installation.signin(digest(token))
        if email is None:
            return None
        editor = self.find(email) if email else None
        return Link(token, email, bool(editor and editor.password_hash))

    def use_link(self, link: Link, email: str, password: str) -> Editor | None:
        """Use a link up and set the password, if one is given; None for a link used meanwhile.

        `EditorError`, with the link still good, for an address or password that cannot be taken.
        """
        email = link.email or _checked_email(email)
        if not link.email and self._installation.password_hash(email) is not None:
            raise EditorError(
                f"{email} is an editor already: sign in, or ask for a link of your own."
            )
        keep = link.has_password and not password
        new_hash = "" if keep else _hash_of_new(password, email)
        if not self._installation.use_signin(digest(link.token)):
            return None
        if not keep:
            self._installation.set_password_hash(email, new_hash)
        return self.find(email)

    def of_session(self, session_id: str) -> Editor | None:
        """Return the editor whose session this is; None once the password has changed."""
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
