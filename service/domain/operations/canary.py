"""The canary: an alert of our own every few minutes, to a browser that we play (decision 119).

The clock publishes it; it is planned, queued, encrypted and sent like any alert to one browser. The
push service that takes it is a route of our own web processes, which decrypts it and notes how long
it took. So an operator hears that alerts do not leave before an editor has sent one.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import http_ece

from service.domain.alerts.publishing import Publishing
from service.domain.alerts.stops import Stops
from service.model.notifications import Audience, Content
from service.model.operations.canary import Arrival, CanaryBrowser
from service.model.preferences import Preferences
from service.model.retention import DAY
from service.model.subscriptions import Record
from service.model.time import clock
from service.store import Store

MOST_BYTES = 4096  # of a message (RFC 8030, section 7.2)
# Seconds for which it is tried is a minute less (`Notification.last_start`): the next one tells.
_TTL = 120
_GRACE = 60.0  # seconds by which one may be late before it is missed


class NotOurs(Exception):
    """A message that is not for the canary, or that it cannot read."""


class CanaryHealth(NamedTuple):
    """How the canary does."""

    every: float  # seconds between two; 0: there is none
    sent_at: float  # seconds since 1970; 0: never
    latest: Arrival | None

    def is_missed(self, now: float) -> bool:
        """Whether two in a row did not arrive in time."""
        last = self.latest.arrived if self.latest else 0.0
        # If the last arrival lies ahead, the clock was set back since: that says nothing of now.
        return self.every > 0 and not -_GRACE <= now - last <= 2 * self.every + _GRACE


class Canary:
    """Sends the canary and receives it."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        stops: Stops,
        keys: list[bytes],
        vapid_key: Callable[[], str],
        *,
        minutes: int,
        public_url: str,
    ) -> None:
        """`keys`: of the current `SECRET_KEY`, and of the previous one."""
        self._store = store
        self._publishing = publishing
        self._stops = stops
        self._browsers = [CanaryBrowser(key) for key in keys]
        self._vapid_key = vapid_key
        self._every = 60.0 * minutes
        self._public_url = public_url

    def send_due(self, now: float) -> None:
        """Publish one if it is time, and nothing is stopped: what the clock does every second."""
        if not self._every or 0 <= now - self._store.canary.sent_at() < self._every:
            return
        if self._stops.holds():
            return
        only = Audience(subscription=self._store.canary.reader(), canary=True)
        self._store.canary.note_sent(now)
        content = Content(title="Canary", url=f"{self._public_url}/", ttl=_TTL)
        self._publishing.publish(content, only, by="")

    def record(self) -> Record:
        """Return what a worker needs to know of the canary's browser."""
        browser = self._browsers[0]
        return Record(
            base=0,
            rest=browser.token,
            p256dh=browser.p256dh,
            auth=browser.auth,
            vapid_key=self._store.names.vapid_keys.number(self._vapid_key()),
            zone=0,
            locale=0,
            created=int(clock.time() // DAY),
            seen=0,  # never hasty: see `FanOut`
            preferences=Preferences(receipts=False).pack(),
        )

    def take(self, token: str, body: bytes) -> None:
        """Receive a message as its push service and its browser do; `NotOurs`."""
        given = token.encode()
        ours = [one for one in self._browsers if hmac.compare_digest(given, one.token.encode())]
        if not ours or len(body) > MOST_BYTES:
            raise NotOurs
        published = _opened(ours[0], body)
        latest = self._store.canary.arrived()
        now = clock.time()
        # A message that comes once more says nothing of now.
        if latest is None or published > latest.published or latest.arrived > now + _GRACE:
            self._store.canary.note_arrived(Arrival(published, now, max(0.0, now - published)))

    def health(self) -> CanaryHealth:
        """Return how it does."""
        rows = self._store.canary
        return CanaryHealth(self._every, rows.sent_at(), rows.arrived())


def _opened(browser: CanaryBrowser, body: bytes) -> float:
    """Decrypt a message, by another library than encrypted it; return when it was published."""
    with suppress(Exception):  # whatever was encrypted by a stranger who knows our keys
        text = http_ece.decrypt(
            body, private_key=browser.private_key, auth_secret=browser.auth, version="aes128gcm"
        )
        return float(json.loads(text)["notification"]["timestamp"]) / 1000
    raise NotOurs
