"""Signing in through an OpenID Connect provider, such as the accounts of the whole newsroom.

What a browser keeps meanwhile, how often the provider is asked, and what editors read if it fails.
`service/domain/people/openid.py` speaks the protocol.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from service.model.retention import PROVIDER_BEGUN_KEPT
from service.model.time import clock

if TYPE_CHECKING:
    from service.domain.people.openid import Client

_KNOWN = 3600.0  # seconds for which the provider's metadata and keys are not asked for again
_TRY_AGAIN = 10.0  # seconds after which a provider that failed is asked again

_LONGEST_ADDRESS = 254  # characters (RFC 5321)
_APART = 120.0  # seconds by which the provider's clock may differ from ours, as Authlib allows it

_DOWN = "it does not respond. Sign in in another way, or try again in a minute."
_LATE = "it took more than ten minutes, or was begun in another browser. Please try again."
_CANCELLED = "it was cancelled there, or your account there may not use Stop Press."
_REFUSED = "it was refused. Please try again; if that does not help, ask your operator."
_NO_ADDRESS = "your account there has no e-mail address. Ask your operator."
_NOT_VERIFIED = "your e-mail address is not verified there. Ask who looks after your account."
_NO_EDITOR = (
    "{email} is not an editor here. Ask an editor who manages the desk to invite that address."
)


class ProviderError(Exception):
    """Nobody was signed in; the message tells an editor why, and `cause` the operator."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause  # the name of an error, and nothing that a token says


class Began(NamedTuple):
    """What a browser keeps that has gone to the provider."""

    state: str
    nonce: str
    verifier: str  # of PKCE
    at: float  # seconds since 1970


class Verified(NamedTuple):
    """What a provider says of the person with whom it leads back."""

    email: str
    anew: bool  # whether it asked who that is, instead of knowing the browser from before


class Provider:
    """A provider with which editors may sign in."""

    def __init__(self, name: str, issuer: str, known_as: tuple[str, str], back: str) -> None:
        """`known_as` is our id and secret there, `back` the address to which it leads back."""
        self.name = name
        self._issuer = issuer
        self._known_as = known_as
        self._back = back
        self._lock = threading.Lock()
        self._found: Client | None = None
        self._ask_at = 0.0  # by the monotonic clock

    def begin(self, *, anew: bool = False) -> tuple[str, Began]:
        """Return where a browser signs in, and what it is to keep meanwhile; `ProviderError`.

        `anew`: the provider is to ask who that is, also if it knows the browser.
        """
        client = self._client()
        with self._reasons():
            asked = {"max_age": "0"} if anew else {}
            made = client.create_authorization_url(self._back, **asked)
            began = Began(made["state"], made["nonce"], made["code_verifier"], clock.time())
            return str(made["url"]), began

    def expected(self, began: Began | None, answer: Mapping[str, str]) -> Began:
        """Return what a browser kept, if the provider leads back just this one; `ProviderError`."""
        if began is None or clock.time() - began.at > PROVIDER_BEGUN_KEPT:
            raise self._error(_LATE, "late")
        if not secrets.compare_digest(began.state.encode(), answer.get("state", "").encode()):
            raise self._error(_LATE, "another state")
        return began

    def verified(self, began: Began, answer: Mapping[str, str]) -> Verified:
        """Return who the provider says has signed in there; `ProviderError`."""
        if refusal := answer.get("error"):
            cancelled = refusal == "access_denied"
            raise self._error(_CANCELLED if cancelled else _REFUSED, "an error instead of a code")
        client, code = self._client(), answer.get("code", "")
        with self._reasons():
            claims = client.claims(code, began.nonce, began.verifier, self._back)
        email = claims.get("email")
        if not isinstance(email, str) or not 0 < len(email) <= _LONGEST_ADDRESS:
            raise self._error(_NO_ADDRESS, "no email")
        if claims.get("email_verified") not in (True, "true"):  # a few providers send the word
            raise self._error(_NOT_VERIFIED, "email_verified is not true")
        return Verified(email, _is_anew(claims.get("auth_time"), began))

    def no_editor(self, email: str) -> ProviderError:
        """Return the error that nobody at this desk has the address."""
        return self._error(_NO_EDITOR.format(email=email), "no editor")

    def _client(self) -> Client:
        """Return what is known of the provider, also while it cannot be asked anew.

        One thread asks; no other waits for it, or strangers could hold all of them.
        """
        if time.monotonic() >= self._ask_at and self._lock.acquire(blocking=False):
            try:
                self._ask()
            except ProviderError:
                if self._found is None:
                    raise
            finally:
                self._lock.release()
        if self._found is None:
            raise self._error(_DOWN, "it failed a moment ago, or is being asked")
        return self._found

    def _ask(self) -> None:
        from service.domain.people.openid import discover  # Authlib takes 8 MB, and half a second

        self._ask_at = time.monotonic() + _TRY_AGAIN
        with self._reasons():
            self._found = discover(self._issuer, *self._known_as)
        self._ask_at = time.monotonic() + _KNOWN

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        """Make a `ProviderError` of whatever fails."""
        try:
            yield
        except Exception as error:  # Authlib raises whatever it meets in an answer
            # What requests raises is an OSError; if it is about the answer, also a ValueError.
            down = isinstance(error, OSError) and not isinstance(error, ValueError)
            raise self._error(_DOWN if down else _REFUSED, type(error).__name__) from None

    def _error(self, why: str, cause: str) -> ProviderError:
        return ProviderError(f"Signing in with {self.name} did not work: {why}", cause)


def _is_anew(auth_time: object, began: Began) -> bool:
    """Whether the provider recognized the person after the sign-in began, as far as it says.

    The parameter that asks for it can be taken out of the address; the time is in the signed token.
    """
    if not isinstance(auth_time, int | float):
        return False
    return began.at - _APART <= auth_time <= clock.time() + _APART
