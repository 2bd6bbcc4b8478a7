"""The welcome: an alert to a new subscriber, which can also confirm the subscription."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError

from service.domain.publishing import Idempotency, Publishing
from service.model.endpoints import EndpointPolicy, origin_of
from service.model.languages import GREETING, PRESS, TEST, ours
from service.model.notifications import Audience, Content
from service.model.tokens import Tokens
from service.store import Store
from service.store.records import Subscription
from service.store.subscriptions import NotSubscribed

NONE, WELCOME, CONFIRM = "no", "yes", "confirm"  # what `WELCOME` may be

_TTL = 600  # seconds: a new subscriber still has the page open
# No welcome is sent beside this many active alerts. Each look for work goes through all of them,
# so that the welcomes of a push service that is down would delay breaking news.
_MOST_UNDER_WAY = 100


@dataclass(frozen=True, slots=True)
class WelcomeSettings:
    """What the newsroom set: `mode` is NONE, WELCOME or CONFIRM; empty words mean our own."""

    mode: str
    title: str
    body: str
    site_name: str
    site_language: str
    front_page: str


class Welcome:
    """Sends welcomes, and confirms subscribers where no confirmation is asked for any more."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        tokens: Tokens,
        endpoints: EndpointPolicy,
        settings: WelcomeSettings,
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._tokens = tokens
        self._endpoints = endpoints
        self._settings = settings

    @property
    def must_confirm(self) -> bool:
        """Whether a new subscriber gets no other alert before they pressed the welcome."""
        return self._settings.mode == CONFIRM

    def send(self, reader: Subscription, *, new: bool) -> None:
        """Send a welcome to a new or unconfirmed subscriber, at most one a day.

        Where `WELCOME` asks for no confirmation any more, an unconfirmed subscriber is confirmed.
        A welcome that cannot be sent does not undo the subscription: an unconfirmed subscriber
        gets one on another visit.
        """
        unconfirmed, mode = not reader.preferences.confirmed, self._settings.mode
        with suppress(RedisError):
            if unconfirmed and mode != CONFIRM:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(reader.id)
            elif unconfirmed or (new and mode == WELCOME):
                self._publish(reader)

    def _publish(self, reader: Subscription) -> None:
        if len(self._store.notifications.active()) >= _MOST_UNDER_WAY:
            return
        once = Idempotency("welcome", str(reader.id), b"")
        only = Audience(subscription=reader.id)
        self._publishing.publish(self._content(reader), only, by="", idempotency=once)

    def _content(self, reader: Subscription) -> Content:
        settings, lang = self._settings, ours(reader.locale)
        own = settings.title or settings.body
        words, url = TEST[lang][1], settings.front_page
        if not reader.preferences.confirmed:
            # The page that opens reports the press itself, because neither Safari nor a worker
            # that must not count does. The token names alert 0, so that nothing is counted by it.
            token = self._tokens.receipt(0, reader.id)
            url += f"#stop-press=welcome&receipt={token}"
            silent = self._endpoints.service(origin_of(reader.endpoint.url)) == "apple"
            if silent or not reader.preferences.receipts:
                words = PRESS[lang]
        return Content(
            title=settings.title or GREETING[lang],
            body=settings.body or words.format(settings.site_name),
            url=url,
            ttl=_TTL,
            lang=(settings.site_language or None) if own else lang,
        )
