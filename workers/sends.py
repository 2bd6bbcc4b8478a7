"""What is the same for many messages: of one alert, its text and headers; the push services."""

from __future__ import annotations

from dataclasses import dataclass

from service.endpoints import origin_of
from service.models import Notification, SubscriptionId
from service.payload import Payload
from service.runtime import Runtime
from workers import wire
from workers.health import Health, Service


@dataclass(frozen=True, slots=True)
class Base:
    """Where endpoints begin: `origin` and `path`; and whose they are."""

    number: int
    origin: str
    path: str
    allowed: bool
    service: Service


class Bases(dict[int, Base]):
    """The bases by their number in the store, looked up there when they are first needed."""

    def __init__(self, runtime: Runtime, health: Health) -> None:
        super().__init__()
        self._house = runtime.store.house
        self._endpoints = runtime.endpoints
        self._health = health

    def __missing__(self, number: int) -> Base:
        """Look a base up."""
        url = self._house.bases.name(number)
        origin = origin_of(url)
        service = self._health.of(origin, self._endpoints.service(origin))
        allowed = self._endpoints.allows(origin)
        base = self[number] = Base(number, origin, url[len(origin) :], allowed, service)
        return base

    def vapid_key(self, number: int) -> str:
        """Return the public VAPID key with that number in the store."""
        return self._house.vapid_keys.name(number)


class Send:
    """One alert as this worker sends it; it replaces what it corrects, or the last of its story.

    `due` says that it may have a batch to lease, `leases` is how many of them are held here.
    """

    def __init__(self, runtime: Runtime, notification: Notification) -> None:
        self.id = notification.id
        self.urgent = notification.urgent
        self.correctable = notification.audience.subscription is None
        self.due = False
        self.going_on = True
        self.leases = 0
        self._tokens = runtime.tokens
        self._public_url = runtime.config.public_url
        replaced = f"notification {notification.corrects or notification.id}"
        if notification.story:
            replaced = f"story {notification.story}"
        self._topic = wire.collapse_topic(self._tokens.topic_key, replaced)
        self._made: dict[tuple[str, wire.VapidSigner], tuple[float, wire.Headers]] = {}
        self._take_over(notification)

    def read(self, notification: Notification) -> None:
        """Take over what may have changed: a correction's text."""
        if notification.revision != self.revision:
            self._take_over(notification)

    def _take_over(self, notification: Notification) -> None:
        self.revision = notification.revision
        self.last_start = notification.last_start
        self._deadline = notification.deadline
        self._urgency = notification.text.urgency
        self._payload = Payload(notification, self._public_url)

    def message(self, id: SubscriptionId) -> bytes:
        """Return what a subscription's browser is to receive."""
        return self._payload.carrying(self._tokens.receipt(self.id, id))

    def headers(self, origin: str, signer: wire.VapidSigner, now: float) -> wire.Headers:
        """Return the headers for an origin: the same object for a second, since TTL is in them."""
        made_at, headers = self._made.get((origin, signer), (0.0, ()))
        if not 0 <= now - made_at < 1:
            authorization = signer.header(origin, now)
            headers = wire.headers(authorization, self._deadline - now, self._urgency, self._topic)
            self._made[origin, signer] = now, headers
        return headers
