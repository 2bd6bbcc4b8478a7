"""Passkeys: editors sign in by a finger, a face or a PIN on a device of their own.

That is two steps in one: the device, and what it asks for. The store has public keys alone.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from service.model.language.texts import is_visible, one_line
from service.model.retention import CHALLENGE_KEPT
from service.model.time import clock
from service.model.tokens import digest
from service.store import Store
from service.store.people.passkeys import Passkey

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Challenge", "Passkey", "PasskeyError", "Passkeys"]

MOST_PASSKEYS = 10  # of one editor
LONGEST_NAME = 40  # characters

_REFUSED = "That passkey did not work here. Try again, or sign in in another way."
_LATE = "That took more than five minutes, or was sent twice. Please try again."
_UNKNOWN = (
    "This desk does not know that passkey any more. Sign in in another way, and remove it from your"
    " device."
)
_NOT_ADDED = {
    "gone": "You are not an editor of this desk any more.",
    "known": "This passkey is at this desk already.",
    "full": f"You have {MOST_PASSKEYS} passkeys. Remove one first.",
    "late": _LATE,
}


class PasskeyError(Exception):
    """A passkey that does not count; the message tells an editor why."""


class Challenge(NamedTuple):
    """What a passkey is to sign, and a browser keeps meanwhile. It counts once."""

    text: str  # base64url
    at: float  # seconds since 1970


class Passkeys:
    """The passkeys of all editors of an installation, which its browsers reach at `public_url`."""

    def __init__(self, store: Store, public_url: str) -> None:
        self._rows = store.passkeys
        self._origin = public_url
        self._host = urlsplit(public_url).hostname or ""

    @property
    def possible(self) -> bool:
        """Whether browsers make passkeys for our address: not for a number, nor without TLS."""
        try:
            ipaddress.ip_address(self._host)
        except ValueError:
            return self._origin.startswith("https:") or self._host == "localhost"
        return False

    def of(self, email: str) -> list[Passkey]:
        """Return the passkeys of an editor, the first added first."""
        return [one for one in self._rows.all() if one.email == email]

    def begin_to_add(self, email: str, site_name: str) -> tuple[dict[str, Any], Challenge]:
        """Return what a browser needs to make a passkey, and what it is to keep meanwhile."""
        challenge = _new_challenge()
        known = [one.id for one in self.of(email)]
        options: dict[str, Any] = _ceremonies().options_to_add(
            self._place(), f"Stop Press {site_name}", _handle(email), email, challenge.text, known
        )
        return options, challenge

    def add(self, email: str, name: str, challenge: Challenge | None, answer: str) -> Passkey:
        """Store the passkey that a browser has made for an editor; `PasskeyError`."""
        text = _in_time(challenge)
        with _refusing():
            id, key, count = _ceremonies().check_added(self._place(), text, answer)
        name = one_line(name).text[:LONGEST_NAME]
        name = name if is_visible(name) else "Passkey"
        one = Passkey(id, email, name, key, count, int(clock.time()))
        done = self._rows.add(one, digest(text), MOST_PASSKEYS)
        if done != "added":
            raise PasskeyError(_NOT_ADDED[done])
        return one

    def begin_to_sign_in(self) -> tuple[dict[str, Any], Challenge]:
        """Return what a browser needs to use a passkey, and what it is to keep meanwhile."""
        challenge = _new_challenge()
        options: dict[str, Any] = _ceremonies().options_to_sign_in(self._place(), challenge.text)
        return options, challenge

    def accept(self, challenge: Challenge | None, answer: str) -> str:
        """Return the address of the editor whose passkey has signed the challenge; `PasskeyError`.

        Each challenge counts once, in whatever browser.
        """
        text = _in_time(challenge)
        with _refusing():
            id, user = _ceremonies().read_sign_in(answer)
        one = self._rows.find(id)
        if one is None:
            raise PasskeyError(_UNKNOWN)
        with _refusing():
            if not secrets.compare_digest(user, _handle(one.email)):
                raise ValueError
            count = _ceremonies().check_sign_in(
                self._place(), text, answer, one.public_key, one.uses
            )
        if not self._rows.use(one.id, count, digest(text)):
            raise PasskeyError(_LATE)
        return one.email

    def remove(self, email: str, id: str) -> Passkey | None:
        """Delete a passkey of an editor and return it; None if the editor has no such one."""
        one = self._rows.find(id)
        if one is None or one.email != email:
            return None
        self._rows.remove(id)
        return one

    def _place(self) -> Any:
        return _ceremonies().Place(self._host, self._origin)


def _ceremonies() -> ModuleType:
    from service.domain.people import (
        web_authentication,  # py_webauthn takes 6 MB, and half a second
    )

    return web_authentication


def _new_challenge() -> Challenge:
    return Challenge(secrets.token_urlsafe(32), clock.time())


def _in_time(challenge: Challenge | None) -> str:
    if challenge is None or clock.time() - challenge.at > CHALLENGE_KEPT:
        raise PasskeyError(_LATE)
    return challenge.text


def _handle(email: str) -> bytes:
    """Return what devices call an editor; a stranger who looks into a device learns no name."""
    return digest(f"passkey of {email}")[:32].encode()


@contextmanager
def _refusing() -> Iterator[None]:
    """Make a `PasskeyError` of whatever is wrong with an answer."""
    try:
        yield
    except Exception:  # py_webauthn raises whatever it meets in an answer
        raise PasskeyError(_REFUSED) from None
