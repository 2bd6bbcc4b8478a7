"""Editors: who may use the desk, in which role; passwords, one-time sign-in links, sessions."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from threading import BoundedSemaphore
from typing import Literal, NamedTuple, TypeAlias

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from redis.exceptions import RedisError

from service.domain.people import sign_in_log
from service.domain.people.passwords import LONGEST_PASSWORD, why_refused
from service.domain.people.two_step import TwoStep
from service.model.keys import mac
from service.model.retention import GUESSES_KEPT, HALFWAY_KEPT, MINUTE, SESSION_KEPT
from service.model.roles import Role
from service.model.time import clock
from service.model.tokens import digest
from service.store import Store
from service.store.people.access import Person, Session

# Guesses: from one network within a minute, and at one editor within `GUESSES_KEPT`. The second
# number is counted apart for networks from which that editor signed in lately, so that strangers
# who guess cannot keep an editor out. Right ones do not count.
_MOST_OF_NETWORK = 10
_MOST_AT_EDITOR = 10

_ID_LENGTH = 16  # characters
WRONG_CODE = "The code is wrong, or was used already. Wait for the next one."
_LAST = "Nobody else manages the desk. Let another editor manage first."

# By what an editor signs in. “provider”: it knew the browser from before, and asked nothing.
Way: TypeAlias = Literal["password", "link", "provider", "provider anew", "passkey"]

_hasher = PasswordHasher()
# A hash takes 64 MiB. So not every thread of a web process may make one while strangers guess.
_hashing = BoundedSemaphore(2)


class EditorError(ValueError):
    """An address, a password or a change that is not accepted; the message says why."""


class PasswordRefused(EditorError):
    """A new password is not accepted."""


class AlreadyEditor(EditorError):
    """The address is that of an editor."""


class UnknownEditor(Exception):
    """There is no such editor, or no longer."""


class TooLate(Exception):
    """The password was entered too long ago, or is not the editor's any more."""


class TooManyGuesses(Exception):
    """So many passwords were tried that this one is not looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds  # after which another one will be


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session of an editor, as pages list it. Times are seconds since 1970."""

    digest: str
    browser: str  # its name and system; empty: not known
    began_at: int
    seen_at: int
    by: str = ""  # a `Way`; empty: not known

    @property
    def id(self) -> str:
        """What forms call it by; it says nothing of the cookie."""
        return self.digest[:_ID_LENGTH]

    def is_new(self, seconds: float) -> bool:
        """Whether the editor, and not only the browser, was recognized within these seconds."""
        return self.by != "provider" and clock.time() - self.began_at <= seconds


@dataclass(frozen=True, slots=True)
class Editor:
    """An editor of the desk. Times are seconds since 1970; 0: not known."""

    email: str
    password_hash: str  # empty before the first sign-in
    role: Role
    added_at: int = 0
    added_by: str = ""  # an editor's address; empty: the operator
    # What only `Editors.all` and `Editors.with_id` know.
    link_works_for: int = 0  # seconds for which a sign-in link waits
    signed_in_at: int = 0
    two_step: bool = False  # whether they sign in with a code, too
    sessions: Sequence[OpenSession] = ()  # the last visited first

    @property
    def id(self) -> str:
        """What addresses of pages call them by, so that no log of addresses names a person."""
        return digest(self.email)[:_ID_LENGTH]

    @property
    def stamp(self) -> str:
        """What sessions carry of the editor: a new password ends them, and so does a removal."""
        return _stamp(self.password_hash, self.added_at)


class Halfway(NamedTuple):
    """An editor who was recognized, and who has yet to enter a code."""

    email: str
    stamp: str  # of the editor
    at: float  # seconds since 1970
    by: Way = "password"


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time sign-in link that works."""

    token: str
    email: str  # empty: the person who opens it becomes the first editor
    has_password: bool  # whether that editor has one
    two_step: bool = False  # whether that editor signs in with a code, here too


class Editors:
    """The editors of one installation; their sign-in links begin with `public_url`."""

    def __init__(self, store: Store, two_step: TwoStep, public_url: str, code_key: bytes) -> None:
        """Guesses are counted under codes, HMACs under `code_key`, so that no address is stored."""
        self._access = store.access
        self._alert_log = store.alert_log
        self._paired_browsers = store.paired_browsers
        self.two_step = two_step
        self._public_url = public_url
        self._code_key = code_key

    # -- who they are ----------------------------------------------------------------------------

    def all(self) -> list[Editor]:
        """Return all editors, in the order of their e-mail addresses."""
        kept = self._access.editors()
        emails = [*kept]
        sessions, two_step = self._access.sessions(emails), self.two_step.on()
        return [
            replace(
                _editor(email, kept[email], person),
                link_works_for=seconds,
                signed_in_at=signed_in_at,
                two_step=email in two_step,
                sessions=_open_sessions(sessions, _editor(email, kept[email], person)),
            )
            for email, seconds, (person, signed_in_at) in zip(
                emails, self._access.link_seconds(emails), self._access.people(emails), strict=True
            )
        ]

    def exist(self) -> bool:
        """Whether there is an editor."""
        return self._access.has_editors()

    def find(self, email: str) -> Editor | None:
        """Return the editor with this e-mail address, in lower case as it is stored."""
        found = self._access.find(email)
        return None if found is None else _editor(email, *found)

    def with_id(self, id: str) -> Editor:
        """Return the editor with this `id`; raises `UnknownEditor`."""
        found = [one for one in self.all() if one.id == id]
        if not found:
            raise UnknownEditor
        return found[0]

    def set_role(self, email: str, role: Role) -> None:
        """Give an editor another role, from the next request on.

        `UnknownEditor`; `EditorError` for the last one who manages.
        """
        _check(self._access.set_role(email.strip().lower(), role.word))

    def remove(self, email: str) -> None:
        """Remove an editor; their sessions and sign-in link end, and their browsers are unpaired.

        `UnknownEditor`; `EditorError` for the last one who manages.
        """
        email = email.strip().lower()
        _check(self._access.remove_editor(email, self._paired_browsers.keys_of(email)))

    # -- sign-in links ---------------------------------------------------------------------------

    def invite(self, email: str, role: Role, by: str = "") -> str:
        """Add an editor and return the first sign-in link; `by` is who does, if an editor does.

        The first editor manages. `EditorError` for a wrong address, `AlreadyEditor`.
        """
        email = _checked_email(email)
        person = Person(role.word, int(clock.time()), by)
        if not self._access.add_editor(email, person=person):
            raise AlreadyEditor(f"{email} is an editor already.")
        return self._new_link(email)

    def signin_link(self, email: str) -> str:
        """Make a one-time link that works for a day; it replaces this editor's earlier one.

        An unknown address becomes an editor who sends. `EditorError` for a wrong one.
        """
        email = _checked_email(email)
        self._access.add_editor(email, person=Person(Role.SENDS.word, int(clock.time())))
        return self._new_link(email)

    def new_link(self, editor: Editor) -> str:
        """Make such a link for an editor, and make nobody one; `UnknownEditor`."""
        return self._new_link(editor.email)

    def first_link(self) -> str | None:
        """Make a link for the first editor, who types the address; None if there is an editor."""
        return None if self.exist() else self._new_link("")

    def _new_link(self, email: str) -> str:
        token = secrets.token_urlsafe(24)
        if not self._access.keep_sign_in_link(digest(token), email):
            raise UnknownEditor
        return f"{self._public_url}/desk/welcome/{token}"

    def find_link(self, token: str) -> Link | None:
        """Return a link without using it up; None if it works no longer, or never did."""
        email = self._access.sign_in_link(digest(token))
        if email is None or (not email and self.exist()):
            return None
        editor = self.find(email) if email else None
        two_step = bool(email) and self.two_step.is_on(email)
        return Link(token, email, bool(editor and editor.password_hash), two_step)

    def use_link(
        self,
        link: Link,
        email: str,
        password: str,
        network: str,
        browser: str = "",
        code: str = "",
    ) -> str | None:
        """Use a link up, set the password, if one is given, and return a new session.

        None if the link works no longer. `EditorError` for an address, password or code that is not
        accepted; the link still works then. Raises what `sign_in` raises.
        """
        email = link.email or _checked_email(email)
        keep = link.has_password and not password
        if not keep:
            self._check_new(password, email)
        self.count_call(network)
        before = self.find(link.email) if link.email else None
        new_hash = "" if keep else _hasher.hash(password)
        if link.two_step and not self.accepts_code(email, code, network):
            raise EditorError(WRONG_CODE)
        first = None if link.email else Person(Role.MANAGES.word, int(clock.time()))
        added_at = first.added_at if first else before.added_at if before else 0
        stamp = _stamp(before.password_hash if keep and before else new_hash, added_at)
        session, kept = _new_session(email, stamp, browser, "link")
        if not self._access.use_sign_in_link(digest(link.token), kept, new_hash, first):
            return None
        self._take_back_call(network)
        self._note_success(email, network)
        sign_in_log.signed_in(email, "link")
        return session

    # -- passwords -------------------------------------------------------------------------------

    def sign_in(
        self, email: str, password: str, network: str, browser: str = ""
    ) -> str | Halfway | None:
        """Return a new session, or `Halfway`; None if the address or the password is wrong.

        An unknown address takes as long as a known one. `network` is where the caller is, `browser`
        with what. Raises `TooManyGuesses`, and `RedisError` if Redis cannot count guesses.
        """
        editor = self.with_password(email, password, network)
        return None if editor is None else self._recognized(editor, network, browser, "password")

    def sign_in_by_provider(
        self, email: str, network: str, browser: str = "", *, anew: bool = False
    ) -> str | Halfway | None:
        """Return a new session for the editor with an address that a provider has verified.

        `Halfway` if that editor signs in in two steps, here too; None: nobody has that address.
        `anew`: the provider has just asked who that is.
        """
        # Lower case makes one letter of several beyond ASCII, which are different addresses.
        editor = self.find(email.lower() if email.isascii() else email)
        if editor is None:
            return None
        self._take_back_call(network)
        way: Way = "provider anew" if anew else "provider"
        return self._recognized(editor, network, browser, way)

    def sign_in_by_passkey(self, email: str, network: str, browser: str = "") -> str | None:
        """Return a new session for an editor whose passkey was used; None: there is no such editor.

        A passkey is both steps.
        """
        editor = self.find(email)
        if editor is None:
            return None
        self._take_back_call(network)
        return self._start_session(editor, network, browser, "passkey")

    def _recognized(
        self, editor: Editor, network: str, browser: str, by: Way
    ) -> str | Halfway | None:
        if self.two_step.is_on(editor.email):
            return Halfway(editor.email, editor.stamp, clock.time(), by)
        return self._start_session(editor, network, browser, by)

    def with_password(self, email: str, password: str, network: str) -> Editor | None:
        """Return the editor who has this password, and count the guess; raises as `sign_in`."""
        email = email.strip().lower()
        counter, guesses = self._count_guess(email, network)
        editor = self.find(email)
        known = editor.password_hash if editor is not None else ""
        try:
            with _hashing:
                _hasher.verify(known or _nobodys_hash(), password[:LONGEST_PASSWORD])
            is_right = bool(known)
        except (VerifyMismatchError, InvalidHashError):
            is_right = False
        if not is_right:
            known = editor.email if editor else ""
            sign_in_log.refused(known, "password", guesses, self._alert_log)
            return None
        self._take_back_call(network, counter)
        return editor

    def sign_in_by_code(
        self, halfway: Halfway, code: str, network: str, browser: str = ""
    ) -> str | None:
        """Return a new session for an editor with the right code; None for a wrong one.

        Raises `TooLate`, and what `sign_in` raises.
        """
        editor = self.find(halfway.email)
        late = clock.time() - halfway.at > HALFWAY_KEPT
        if late or editor is None or editor.stamp != halfway.stamp:
            raise TooLate
        if not self.accepts_code(editor.email, code, network):
            return None
        return self._start_session(editor, network, browser, halfway.by)

    def accepts_code(self, email: str, code: str, network: str) -> bool:
        """Whether a code of this editor is right, which counts as a guess; raises as `sign_in`."""
        # Counted apart from passwords: only a person with the right one gets here.
        counter, guesses = self._count_guess(email, network, "a code")
        accepted = self.two_step.accept(email, code)
        if accepted:
            self._take_back_call(network)
            with suppress(RedisError):  # the code was right
                self._access.forget_guesses([counter])
        else:
            sign_in_log.refused(email, "code", guesses, self._alert_log)
        return accepted

    def _start_session(self, editor: Editor, network: str, browser: str, by: Way) -> str | None:
        session, kept = _new_session(editor.email, editor.stamp, browser, by)
        if not self._access.start_session(kept):
            return None  # removed in this moment
        self._note_success(editor.email, network)
        sign_in_log.signed_in(editor.email, by)
        return session

    def _count_guess(self, email: str, network: str, *what: str) -> tuple[str, int]:
        """Count a guess at an editor; return where, and how many there are. Raises as `sign_in`."""
        self.count_call(network)
        known = self._access.knows_network(self._code(email, network))
        counter = self._code(*what, email, network) if known else self._code(*what, email)
        guesses = self._access.count_guess(counter, GUESSES_KEPT)
        if guesses > _MOST_AT_EDITOR:
            by = "code" if what else "password"
            sign_in_log.limited(email if self.find(email) else "", by)
            raise TooManyGuesses(GUESSES_KEPT)
        return counter, guesses

    def count_call(self, network: str) -> None:
        """Count one attempt to sign in from a network; raises as `sign_in`.

        One that is right is taken back: many editors may sit behind one address.
        """
        if self._access.count_guess(self._code("", network), MINUTE) > _MOST_OF_NETWORK:
            sign_in_log.limited("", "any way")
            raise TooManyGuesses(MINUTE)

    def _take_back_call(self, network: str, *others: str) -> None:
        with suppress(RedisError):  # the attempt was right
            for counter in (self._code("", network), *others):
                self._access.take_back_guess(counter)

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
        self._access.end_sessions([digest(session)])

    def end_sessions(self, sessions: Collection[OpenSession]) -> None:
        """End sessions of an editor that a page has listed."""
        self._access.end_sessions(one.digest for one in sessions)

    def _check_new(self, password: str, email: str) -> None:
        if why := why_refused(password, [email, self._public_url]):
            raise PasswordRefused(why)


def _editor(email: str, password_hash: str, person: Person) -> Editor:
    role = Role.called(person.role)
    return Editor(email, password_hash, role, person.added_at, person.added_by)


def _open_sessions(sessions: Iterable[Session], of: Editor) -> list[OpenSession]:
    return [
        OpenSession(one.digest, one.browser, one.ends - SESSION_KEPT, one.seen_at, one.by)
        for one in sessions
        if (one.email, one.stamp) == (of.email, of.stamp)
    ]


def _new_session(email: str, stamp: str, browser: str, by: Way) -> tuple[str, Session]:
    """Return the id of a new session, and what the store is to keep of it."""
    id = secrets.token_urlsafe(24)
    return id, Session(email, stamp, browser=browser, digest=digest(id), by=by)


def _check(done: str) -> None:
    if done == "unknown":
        raise UnknownEditor
    if done == "last":
        raise EditorError(_LAST)


def _stamp(password_hash: str, added_at: int) -> str:
    return digest(f"{password_hash} {added_at}")[:16]


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(24))


def _checked_email(text: str) -> str:
    email = text.strip().lower()
    if not re.fullmatch(r"[^\s@<>,;:\"\x00-\x1f\x7f]+@[^\s@<>,;:\"\x00-\x1f\x7f]+", email):
        raise EditorError("Write an e-mail address, such as you@your.paper.")
    if not email.isprintable():  # it would look like the address of another editor
        raise EditorError("That address has characters that no screen shows. Please type it.")
    if len(email) > 254:
        raise EditorError("That e-mail address is too long.")
    return email
