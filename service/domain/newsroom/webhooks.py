"""Webhooks as editors and tools set them up: who hears what, where, and with which secret.

The clock calls them (`webhook_calls.py`); what there is to hear says `webhook_events.py`.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.domain.too_many import TooMany
from service.model.keys import b64url
from service.model.language.links import Origin, web_address, with_scheme
from service.model.network.addresses import is_local_name, is_loopback
from service.model.newsroom.articles import Fault
from service.model.newsroom.webhooks import (
    EVENTS,
    FAILING,
    GONE,
    NO_SECRET,
    TEST,
    Health,
    Result,
    Waiting,
    Webhook,
)
from service.model.time import clock
from service.model.time.times import iso
from service.store import Store
from service.store.newsroom.webhooks import MOST_WEBHOOKS

NO_FETCH_PROCESS = "Nothing is sent, because no fetch process runs."
_SECRET_BYTES = 24
_FAULTS = {
    Fault.NO_ADDRESS: "the address is not one of the web",
    Fault.UNKNOWN_HOST: "there is no such host",
    Fault.NOT_PUBLIC: "the host is at a private address (your operator can allow it by"
    " FETCH_ORIGINS)",
    Fault.UNREACHABLE: "the host does not answer",
    Fault.CERTIFICATE: "the host’s certificate is not valid",
    Fault.TOO_LATE: "there was no response within ten seconds",
    Fault.NO_HTTP: "the host answers with something that is not HTTP",
    Fault.NO_WAY: "there is no way from here to the host",
}
_ENDED = {
    GONE: "The program answered 410, which says that it wants no more.",
    FAILING: "For five days each call has failed.",
    NO_SECRET: "Its secret cannot be read any more, because SECRET_KEY is another one. Make a new"
    " secret.",
}


class UnknownWebhook(Exception):
    """There is no webhook with this id."""


class WrongWebhook(ValueError):
    """A field that is not accepted."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class Seals:
    """Seals secrets under the current key, and opens them with the previous ones too."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._seals = [Fernet(b64url(key) + "=") for key in keys]

    def seal(self, secret: str) -> str:
        """Return a secret as it is stored."""
        return self._seals[0].encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str | None:
        """Return a secret; None if it was sealed under a SECRET_KEY that is gone."""
        try:
            return MultiFernet(self._seals).decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None

    def anew(self, sealed: str) -> str:
        """Return it sealed under the current key, so that the previous one can be taken out."""
        try:
            self._seals[0].decrypt(sealed.encode())
        except InvalidToken:
            secret = self.open(sealed)
            return sealed if secret is None else self.seal(secret)
        return sealed


@dataclass(frozen=True, slots=True)
class Shown:
    """A webhook, and how it does."""

    webhook: Webhook
    health: Health
    waiting: int  # events

    @property
    def status(self) -> Literal["active", "failing", "paused", "ended"]:
        """Whether it hears what happens, and how well."""
        if self.health.ended_at:
            return "ended"
        if self.webhook.paused:
            return "paused"
        return "failing" if self.health.failing_since else "active"


class Webhooks:
    """The webhooks of one installation."""

    def __init__(self, store: Store, seals: Seals, fetch_origins: Collection[str]) -> None:
        """`fetch_origins` may be private, and without TLS."""
        self._store = store
        self._rows = store.webhooks
        self._seals = seals
        self._origins = fetch_origins

    def all(self) -> list[Shown]:
        """Return all webhooks, the oldest first."""
        kept = self._rows.kept()
        waiting = self._rows.waiting(list(kept.webhooks))
        return [
            Shown(one, kept.health_of(one.id), waiting[one.id]) for one in kept.webhooks.values()
        ]

    def get(self, id: str) -> Shown:
        """Return one webhook; `UnknownWebhook`."""
        found = next((one for one in self.all() if one.webhook.id == id), None)
        if found is None:
            raise UnknownWebhook
        return found

    def ended(self) -> list[Webhook]:
        """Return the webhooks to which nothing is sent any more, for a word at the desk."""
        kept = self._rows.kept()
        return [one for one in kept.webhooks.values() if kept.health_of(one.id).ended_at]

    def add(self, address: str, events: Sequence[str], by: str) -> tuple[Webhook, str]:
        """Add a webhook, and return it with its secret; `WrongWebhook`, `TooMany`.

        It hears what happens from now on.
        """
        secret, last = new_secret(), self._rows.end_of_log()
        webhook = Webhook(
            id=secrets.token_hex(8),
            address=self._address(address),
            events=_events(events),
            secret=self._seals.seal(secret),
            created_at=clock.time(),
            created_by=by,
            since=last,
        )
        if not self._rows.add(webhook, json.dumps({"cursor": last})):
            raise TooMany(MOST_WEBHOOKS, "webhooks")
        return webhook, secret

    def change(
        self,
        id: str,
        *,
        address: str | None = None,
        events: Sequence[str] | None = None,
        paused: bool | None = None,
    ) -> None:
        """Change a webhook; None leaves a part of it as it is. `UnknownWebhook`, `WrongWebhook`.

        With another address, or when it is resumed, it begins anew if it was ended.
        """
        new_address = None if address is None else self._address(address)
        new_events = None if events is None else _events(events)

        def changed(one: Webhook) -> Webhook:
            return replace(
                one,
                address=new_address or one.address,
                events=new_events or one.events,
                paused=one.paused if paused is None else paused,
            )

        self._change(id, changed)
        health = self.get(id).health
        if health.failing_since and (new_address or paused is False):
            self._rows.put_health(id, health.going_on())

    def rotate(self, id: str) -> str:
        """Return a new secret; calls are signed with the one before it too, for a day."""
        secret = new_secret()
        sealed, now = self._seals.seal(secret), clock.time()
        self._change(
            id,
            lambda one: replace(one, secret=sealed, secret_before=one.secret, rotated_at=now),
        )
        return secret

    def remove(self, id: str) -> None:
        """Remove a webhook, and what waits for it; `UnknownWebhook`."""
        if not self._rows.remove(id):
            raise UnknownWebhook

    def test(self, id: str) -> None:
        """Have a webhook called once with an event of the type `test`; `UnknownWebhook`."""
        self.get(id)
        now = clock.time()
        body = {"type": TEST, "timestamp": iso(now), "data": {"webhook": id}}
        event = Waiting(f"msg_{secrets.token_hex(12)}", TEST, json.dumps(body))
        self._rows.add_event(id, event, now)

    def _change(self, id: str, changed: Callable[[Webhook], Webhook]) -> None:
        while True:
            kept = self._rows.kept()
            if id not in kept.webhooks:
                raise UnknownWebhook
            if self._rows.change(kept, changed(kept.webhooks[id])):
                return

    def warning(self, address: str) -> str:
        """Return why a webhook's address cannot be reached, if that shows in it; else nothing."""
        origin = Origin.of(address)
        if str(origin) in self._origins or not is_local_name(origin.host):
            return ""
        words = _FAULTS[Fault.NOT_PUBLIC]
        return f"{words[0].upper()}{words[1:]}."

    def _address(self, text: str) -> str:
        address = web_address(with_scheme(text.strip()))
        if not address:
            raise WrongWebhook("address", "Must be an address such as https://paper.example/hook.")
        host = urlsplit(address).hostname or ""
        is_named = str(Origin.of(address)) in self._origins
        if not (address.startswith("https:") or is_named or is_loopback(host)):
            raise WrongWebhook("address", "Must begin with https://.")
        return address


def _events(events: Sequence[str]) -> tuple[str, ...]:
    if not events or not set(events) <= set(EVENTS):
        raise WrongWebhook("events", f"Must be some of {', '.join(EVENTS)}.")
    return tuple(one for one in EVENTS if one in events)


def new_secret() -> str:
    """Return a new secret, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


# In words ---------------------------------------------------------------------------------------


def result_words(result: Result) -> str:
    """Say what came of an attempt."""
    if result.is_success:
        return f"taken ({result.status})"
    if result.status:
        why = "it wants no more (410)" if result.status == 410 else f"it answered {result.status}"
    else:
        known = {fault.value: words for fault, words in _FAULTS.items()}
        why = known.get(result.fault, "it did not answer")
    return why if result.again_at or result.type == TEST else f"{why}; not tried again"


def ended_words(health: Health) -> str:
    """Say why nothing is sent to a webhook any more."""
    return _ENDED.get(health.ended_why, "")
