"""Publish hooks: who may call them, by which signature, and what came of that."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

from standardwebhooks import Webhook as Checker
from standardwebhooks import WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from service.domain.newsroom.webhooks import Seals, new_secret
from service.domain.too_many import TooMany
from service.model.language.texts import has_invisible, is_visible
from service.model.newsroom.publish_hooks import (
    ADDRESSES,
    FIELDS,
    MADE,
    NEEDED,
    HookCall,
    PublishHook,
)
from service.model.retention import MINUTE
from service.model.time import clock
from service.store import Store
from service.store.newsroom.publish_hooks import MOST_HOOKS

_MOST_CALLS = 10
_LONGEST_NAME = 60
_LONGEST_PATH = 200
_LONGEST_SECRET = 500
_SHORTEST_SECRET = 16
_OLDEST = 5 * MINUTE  # of a call that says when it was made
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
_UNSIGNED = (401, 413)  # what anybody can call forth
_BRACES = (
    "Braces stand around a place within an address alone, such as"
    " https://paper.example/news/{entry.slug}."
)
_NOT_STANDARD = "Must begin with whsec_, as Standard Webhooks says, or be empty."


class UnknownHook(Exception):
    """There is no publish hook with this id."""


class WrongHook(ValueError):
    """Fields that are not accepted, with what is wrong with each."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(*errors.values())
        self.errors = errors


class NotSigned(Exception):
    """A call without the right signature; the message says what is missing."""


class Signed(NamedTuple):
    """A call that is signed."""

    digest: str  # what tells it from other calls
    has_time: bool  # whether its signature holds for five minutes only


class PublishHooks:
    """The publish hooks of one installation."""

    def __init__(self, store: Store, seals: Seals) -> None:
        self._rows = store.publish_hooks
        self._seals = seals

    def all(self) -> list[tuple[PublishHook, list[HookCall]]]:
        """Return all publish hooks with their last calls, the oldest first."""
        calls = self._rows.calls()
        return [(one, calls.get(one.id, [])) for one in self._rows.all()]

    def calls_of(self, id: str) -> list[HookCall]:
        """Return the last calls of one publish hook, the latest first."""
        return self._rows.calls_of(id)

    def get(self, id: str) -> PublishHook:
        """Return one publish hook; `UnknownHook`."""
        found = self._rows.get(id)
        if found is None:
            raise UnknownHook
        return found

    def add(self, hook: PublishHook, secret: str, by: str) -> tuple[PublishHook, str]:
        """Add a publish hook; return it with its secret, a new one if `secret` is empty.

        `WrongHook`, `TooMany`.
        """
        errors = _wrong(hook)
        if secret and not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
            errors["secret"] = f"Must have at least {_SHORTEST_SECRET} characters, or be empty."
        if secret and not hook.header and not _is_standard(secret):
            errors["secret"] = _NOT_STANDARD
        if errors:
            raise WrongHook(errors)
        secret = secret or new_secret()
        new = replace(
            hook,
            id=secrets.token_hex(16),
            secret=self._seals.seal(secret),
            created_at=clock.time(),
            created_by=by,
        )
        if not self._rows.add(new):
            raise TooMany(MOST_HOOKS, "publish hooks")
        return new, secret

    def change(self, id: str, changed: Callable[[PublishHook], PublishHook]) -> None:
        """Change all of a publish hook but its secret; `WrongHook`, `UnknownHook`.

        `changed` is called again if the hook was changed meanwhile.
        """

        def kept(before: PublishHook) -> PublishHook:
            after = changed(before)
            if errors := _wrong(after):
                raise WrongHook(errors)
            return replace(
                after,
                id=before.id,
                secret=before.secret,
                created_at=before.created_at,
                created_by=before.created_by,
            )

        self._change(id, kept)

    def new_secret(self, id: str) -> str:
        """Return a new secret of a publish hook; the one before counts no more."""
        secret = new_secret()
        sealed = self._seals.seal(secret)
        self._change(id, lambda before: replace(before, secret=sealed))
        return secret

    def _change(self, id: str, changed: Callable[[PublishHook], PublishHook]) -> None:
        if not self._rows.change(id, changed):
            raise UnknownHook

    def remove(self, id: str) -> None:
        """Remove a publish hook; `UnknownHook`."""
        if not self._rows.remove(id):
            raise UnknownHook

    # -- calls -------------------------------------------------------------------------------------

    def check(self, hook: PublishHook, headers: Mapping[str, str], body: bytes) -> Signed:
        """Check the signature of a call; `NotSigned`.

        `headers` have names in lower case.
        """
        secret = self._seals.open(hook.secret)
        if secret is None:
            raise NotSigned("The secret cannot be read any more: make a new one at the desk.")
        if hook.header:
            given = headers.get(hook.header.lower(), "")
            called, has_time = body, _check_hmac(secret, hook.header, given, body)
        else:
            _check_standard(secret, headers, body)
            called, has_time = headers["webhook-id"].encode(), True
        self._seal_anew(hook)
        return Signed(_digest(hook, called), has_time)

    def taken(self, hook: PublishHook, signed: Signed, story: str) -> int | None:
        """Return the alert that this very text of a story went into; None for a new one.

        A signature without a time holds for ever, so that a call which was recorded can be sent
        again after the CMS or an editor has changed the text.
        """
        if signed.has_time:
            return None
        return self._rows.taken(_digest(hook, story.encode()), signed.digest)

    def note_taken(self, hook: PublishHook, signed: Signed, story: str, alert: int) -> None:
        """Note that a text of a story went into an alert."""
        if not signed.has_time:
            self._rows.put_taken(_digest(hook, story.encode()), signed.digest, alert)

    def _seal_anew(self, hook: PublishHook) -> None:
        """Seal its secret under the current SECRET_KEY; the previous one can then be removed."""
        if self._seals.anew(hook.secret) != hook.secret:
            self._change(
                hook.id, lambda before: replace(before, secret=self._seals.anew(before.secret))
            )

    def answered(self, call: str) -> dict[str, Any] | None:
        """Return what the same call was answered within ten minutes."""
        return self._rows.seen(call)

    def keep_answer(self, call: str, answer: dict[str, Any]) -> None:
        """Store what a call was answered."""
        self._rows.put_seen(call, answer)

    def note(self, id: str, status: int, detail: str, alert: int = 0) -> None:
        """Note what came of a call; of several refused ones together the latest."""
        calls = self._rows.calls_of(id)
        if calls and calls[0].status == status and status in _UNSIGNED:
            calls = calls[1:]  # else strangers push out what editors look for
        call = HookCall(clock.time(), status, detail, alert)
        self._rows.put_calls(id, [call, *calls][:_MOST_CALLS])


def _wrong(hook: PublishHook) -> dict[str, str]:
    """Return by field what is wrong with a publish hook."""
    errors = {}
    if not is_visible(hook.name) or has_invisible(hook.name) or len(hook.name) > _LONGEST_NAME:
        errors["name"] = f"Give it a name of at most {_LONGEST_NAME} characters."
    if hook.header and not _HEADER.fullmatch(hook.header):
        errors["header"] = "Must be the name of a header, such as X-Hub-Signature-256."
    for name in FIELDS:
        path = hook.paths.get(name, "")
        if len(path) > _LONGEST_PATH or (name in NEEDED and not path):
            errors[name] = "Say where it is, such as post.title or /post/title."
        elif {*"{}"} & {*path} and not (name in ADDRESSES and MADE.fullmatch(path)):
            errors[name] = _BRACES
    return errors


def _is_standard(secret: str) -> bool:
    try:
        Checker(secret)
    except (ValueError, EmptyWebhookSecretError):
        return False
    return secret.startswith("whsec_")


def _check_standard(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    try:
        Checker(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        raise NotSigned(f"The signature is not right: {str(error).lower()}.") from None
    except ValueError:
        raise NotSigned("The signature is not right.") from None


def _digest(hook: PublishHook, what: bytes) -> str:
    return sha256(hook.id.encode() + b" " + what).hexdigest()


def _check_hmac(secret: str, name: str, given: str, body: bytes) -> bool:
    """Check a signature such as `sha256=<hex>`, hex or base64; Ghost adds `, t=<ms>`.

    Returns whether it has a time.
    """
    if not given:
        raise NotSigned(f"The header {name} is missing.")
    parts = [part.strip() for part in given.split(",")]
    at = next((part[2:] for part in parts if part.startswith("t=")), "")
    signature = parts[0].removeprefix("sha256=")
    expected = hmac.digest(secret.encode(), body + at.encode(), "sha256")
    if not hmac.compare_digest(_bytes(signature), expected):
        raise NotSigned(f"The signature in {name} is not right.")
    if at:
        made = int(at) if at.isascii() and at.isdigit() and len(at) < 16 else 0
        if abs(clock.time() - made / (1000 if made > 10**11 else 1)) > _OLDEST:
            raise NotSigned("The call is older than five minutes.")
    return bool(at)


def _bytes(signature: str) -> bytes:
    try:
        return bytes.fromhex(signature)
    except ValueError:
        pass
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
