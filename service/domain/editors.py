"""Editors: who may use the desk; their passwords, one-time sign-in links and sessions."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from redis.exceptions import RedisError

from service.model.keys import mac
from service.model.retention import GUESSES_KEPT, MINUTE
from service.model.tokens import digest
from service.store import Store

SHORTEST_PASSWORD = 12  # characters; NIST SP 800-63B asks for 8 and advises against other rules
LONGEST_PASSWORD = 200
_LEAST_GUESSES = 1e10  # that a password takes, as zxcvbn estimates; three words take 1e11
_LEAST_OF_OWN = 4  # letters of a password beside words of this installation
_ZXCVBN_READS = 72  # characters; it refuses longer texts, on which it would take seconds
# Phrases that zxcvbn takes for some words like others, without spaces and signs.
_FAMOUS = (
    *("correcthorsebatterystaple", "thequickbrownfox", "tobeornottobe", "maytheforcebewithyou"),
    *("threewordsdowell", "threewordsworkwell", "stopthepresses"),
)

# Guesses: from one network within a minute, and at one editor within `GUESSES_KEPT`. The second
# number is counted apart for networks from which that editor signed in lately, so that strangers
# who guess cannot keep an editor out.
_MOST_OF_NETWORK = 10
_MOST_AT_EDITOR = 10

_hasher = PasswordHasher()


class EditorError(ValueError):
    """An e-mail address or a password that is not accepted; the message says why."""


class TooManyGuesses(Exception):
    """So many passwords were tried that this one is not looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds  # after which another one will be


@dataclass(frozen=True, slots=True)
class Editor:
    """An editor of the desk."""

    email: str
    password_hash: str  # empty before the first sign-in
    link_works_for: int = 0  # seconds for which a sign-in link waits; only `Editors.all` knows

    @property
    def stamp(self) -> str:
        """What sessions carry of the password: a new password ends them."""
        return _stamp(self.password_hash)


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time sign-in link that works."""

    token: str
    email: str  # empty: the person who opens it becomes the first editor
    has_password: bool  # whether that editor has one


class Editors:
    """The editors of one installation; their sign-in links begin with `public_url`."""

    def __init__(self, store: Store, public_url: str, code_key: bytes) -> None:
        """Guesses are counted under codes, HMACs under `code_key`, so that no address is stored."""
        self._access = store.access
        self._public_url = public_url
        self._code_key = code_key

    # -- who they are ----------------------------------------------------------------------------

    def all(self) -> list[Editor]:
        """Return all editors, in the order of their e-mail addresses."""
        kept = self._access.editors()
        waiting = self._access.link_seconds([*kept])
        return [
            Editor(email, password_hash, seconds)
            for (email, password_hash), seconds in zip(kept.items(), waiting, strict=True)
        ]

    def exist(self) -> bool:
        """Whether there is an editor."""
        return self._access.has_editors()

    def find(self, email: str) -> Editor | None:
        """Return the editor with this e-mail address, in lower case as it is stored."""
        password_hash = self._access.password_hash(email)
        return None if password_hash is None else Editor(email, password_hash)

    def remove(self, email: str) -> bool:
        """Remove an editor; their sessions and sign-in link end. False if there is none."""
        return self._access.remove_editor(email.strip().lower())

    # -- sign-in links ---------------------------------------------------------------------------

    def signin_link(self, email: str) -> str:
        """Make a one-time link that works for a day; it replaces this editor's earlier one.

        An unknown address becomes an editor. `EditorError` for a wrong one.
        """
        email = _checked_email(email)
        self._access.add_editor(email)
        return self._new_link(email)

    def first_link(self) -> str | None:
        """Make a link for the first editor, who types the address; None if there is an editor."""
        return None if self.exist() else self._new_link("")

    def _new_link(self, email: str) -> str:
        token = secrets.token_urlsafe(24)
        self._access.keep_sign_in_link(digest(token), email)
        return f"{self._public_url}/desk/welcome/{token}"

    def find_link(self, token: str) -> Link | None:
        """Return a link without using it up; None if it works no longer, or never did."""
        email = self._access.sign_in_link(digest(token))
        if email is None or (not email and self.exist()):
            return None
        editor = self.find(email) if email else None
        return Link(token, email, bool(editor and editor.password_hash))

    def use_link(self, link: Link, email: str, password: str, network: str) -> str | None:
        """Use a link up, set the password, if one is given, and return a new session.

        None if the link works no longer. `EditorError` for an address or password that is not
        accepted; the link still works then. Raises what `sign_in` raises.
        """
        self._count_call(network)
        email = link.email or _checked_email(email)
        before = self.find(link.email) if link.email else None
        keep = link.has_password and not password
        new_hash = "" if keep else self._hash_of_new(password, email)
        session = secrets.token_urlsafe(24)
        stamp = _stamp(before.password_hash if keep and before else new_hash)
        used = self._access.use_sign_in_link(
            digest(link.token), email, new_hash, digest(session), stamp, first=not link.email
        )
        if not used:
            return None
        self._note_success(email, network)
        return session

    # -- passwords -------------------------------------------------------------------------------

    def sign_in(self, email: str, password: str, network: str) -> str | None:
        """Return a new session; None if the address or the password is wrong.

        An unknown address takes as long as a known one. `network` is where the caller is. Raises
        `TooManyGuesses`, and `RedisError` if Redis cannot count guesses.
        """
        email = email.strip().lower()
        self._count_guess(email, network)
        editor = self.find(email)
        known = editor.password_hash if editor is not None else ""
        try:
            _hasher.verify(known or _nobodys_hash(), password[:LONGEST_PASSWORD])
        except (VerifyMismatchError, InvalidHashError):
            return None
        if editor is None or not known:
            return None
        session = secrets.token_urlsafe(24)
        self._access.start_session(digest(session), email, editor.stamp)
        self._note_success(email, network)
        return session

    def _count_guess(self, email: str, network: str) -> None:
        self._count_call(network)
        known = self._code(email, network)
        code = known if self._access.knows_network(known) else self._code(email)
        if self._access.count_guess(code, GUESSES_KEPT) > _MOST_AT_EDITOR:
            raise TooManyGuesses(GUESSES_KEPT)

    def _count_call(self, network: str) -> None:
        if self._access.count_guess(self._code("", network), MINUTE) > _MOST_OF_NETWORK:
            raise TooManyGuesses(MINUTE)

    def _note_success(self, email: str, network: str) -> None:
        known = self._code(email, network)
        with suppress(RedisError):  # the editor is signed in by now
            self._access.note_success(known, [known, self._code(email)])

    def _code(self, *parts: str) -> str:
        # A stranger's address that contains a line end is nobody else's code.
        apart = "\n".join(" ".join(part.split()) for part in parts)
        return mac(self._code_key, apart.encode()).hex()[:32]

    # -- sessions --------------------------------------------------------------------------------

    def of_session(self, session: str, *, active: bool) -> Editor | None:
        """Return the editor whose session this is; None if it has ended.

        `active`: the editor is doing something, and not only an open page by itself.
        """
        kept = self._access.session(digest(session), prolong=active)
        editor = self.find(kept.email) if kept is not None else None
        return editor if editor and kept and editor.stamp == kept.stamp else None

    def end_session(self, session: str) -> None:
        """End a session: no copy of its cookie works any more."""
        self._access.end_session(digest(session))

    def _hash_of_new(self, password: str, email: str) -> str:
        if len(password) < SHORTEST_PASSWORD:
            raise EditorError(f"Use at least {SHORTEST_PASSWORD} characters; three words do well.")
        if len(password) > LONGEST_PASSWORD:
            raise EditorError(f"Use at most {LONGEST_PASSWORD} characters.")
        if _is_easy(password, [email, self._public_url]):
            raise EditorError("That password is too easy to guess; three words do well.")
        return _hasher.hash(password)


def _stamp(password_hash: str) -> str:
    return digest(password_hash)[:16]


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


def _is_easy(password: str, own: Iterable[str]) -> bool:
    """Whether a password is common, a pattern, or made of words of this installation (`own`)."""
    from zxcvbn import zxcvbn  # its lists of words take 10 MB, which only a new password needs

    letters = re.sub(r"[\W\d_]", "", password.lower())
    words = [word for text in own for word in (text, *re.split(r"\W+", text)) if word]
    rest = letters
    for word in words:
        rest = rest.replace(word, "")
    if letters.startswith(_FAMOUS) or (rest != letters and len(rest) < _LEAST_OF_OWN):
        return True
    estimate = zxcvbn(password[:_ZXCVBN_READS], user_inputs=[*words, "stop press", "stoppress"])
    return bool(estimate["guesses"] < _LEAST_GUESSES)
