"""Alerts in our own words to one reader: the welcome after subscribing, and the test."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from redis.exceptions import RedisError

from service.domain.publishing import Idempotency, PlanWithdrawn, Published, Publishing
from service.model.endpoints import OTHER, EndpointPolicy, origin_of
from service.model.languages import supported_language, texts
from service.model.notifications import Audience, Content
from service.model.subscriptions import Subscription
from service.model.tokens import Tokens
from service.store import Store
from service.store.subscriptions import NotSubscribed

NONE, WELCOME, CONFIRM = "no", "yes", "confirm"  # what `WELCOME` may be

_TTL = 600  # seconds: the reader still has the page open
# At a host that has yet to prove that it is a push service the alert is tried for a minute: what
# nobody answers would stay active. A message needs another minute of its TTL (`last_start`).
_TTL_UNPROVEN = 120
# Welcomes and tests that may be active at once, apart from the newsroom's alerts: each look for
# work goes through all active alerts, and those to a push service that is down would delay breaking
# news. So many at one push service, and at all of them; so many at one unproven host, and at all
# of these together. No place gets more than half of the room that the others leave, so that junk at
# push services that are down leaves room at those that are not. Tests get half of that, so that
# they do not keep a new subscriber from the welcome.
_AT_A_SERVICE, _AT_ALL = 50, 100
_AT_A_HOST, _AT_ALL_HOSTS = 4, 20


class TooManyActive(Exception):
    """So many alerts are active that no test is sent now."""


@dataclass(frozen=True, slots=True)
class WelcomeSettings:
    """What the newsroom set."""

    mode: str  # NONE, WELCOME or CONFIRM
    title: str  # empty: our own words, here and below
    body: str
    site_name: str
    site_language: str
    front_page: str


class _Place(NamedTuple):
    """Where an alert of ours goes, and the room for such alerts there."""

    group: str
    name: str  # of the push service, or of the origin
    at_one: int
    at_all: int
    ttl: int  # seconds


class ReaderAlerts:
    """Sends welcomes and tests; confirms readers where confirmation is no longer required."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        tokens: Tokens,
        endpoints: EndpointPolicy,
        settings: WelcomeSettings,
    ) -> None:
        self._store = store
        self._active = store.reader_alerts
        self._publishing = publishing
        self._tokens = tokens
        self._endpoints = endpoints
        self._settings = settings

    @property
    def must_confirm(self) -> bool:
        """Whether a new subscriber gets no other alert before confirming by the welcome."""
        return self._settings.mode == CONFIRM

    @property
    def welcomes(self) -> bool:
        """Whether a new subscriber is sent a welcome."""
        return self._settings.mode != NONE

    def send_welcome(self, reader: Subscription, *, new: bool) -> None:
        """Send the welcome to a new or unconfirmed subscriber, at most once a day.

        If `WELCOME` no longer asks for confirmation, confirm an unconfirmed subscriber instead.
        A welcome that cannot be sent does not undo the subscription: an unconfirmed subscriber
        gets it on the next visit.
        """
        unconfirmed, mode = not reader.preferences.confirmed, self._settings.mode
        with suppress(RedisError, PlanWithdrawn):
            if unconfirmed and mode != CONFIRM:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(reader.id)
            elif unconfirmed or (new and mode == WELCOME):
                self._publish_welcome(reader)

    def send_test(self, reader: Subscription) -> Published:
        """Send a test to one browser; `TooManyActive`."""
        place = self._place(reader)
        if not self._has_room(place, share=2):
            raise TooManyActive
        settings, lang = self._settings, supported_language(reader.locale)
        ours = texts(lang)["alerts"]
        content = Content(
            title=ours["test"],
            body=ours["shown"].format(site=settings.site_name),
            url=settings.front_page,
            ttl=place.ttl,
            lang=lang,
        )
        sent = self._publishing.publish(content, Audience(subscription=reader.id), by="")
        self._active.add(sent.id, place.name, place.group)
        return sent

    def _publish_welcome(self, reader: Subscription) -> None:
        place = self._place(reader)
        if not self._has_room(place):
            return
        once = Idempotency("welcome", str(reader.id), b"")
        only = Audience(subscription=reader.id)
        content = replace(self._welcome(reader), ttl=place.ttl)
        sent = self._publishing.publish(content, only, by="", idempotency=once)
        self._active.add(sent.id, place.name, place.group)

    def _place(self, reader: Subscription) -> _Place:
        origin, bases = reader.endpoint.origin, self._store.names.bases
        if bases.is_proven(bases.of(reader.endpoint)):
            service = self._endpoints.service(origin)
            name = origin if service == OTHER else service
            return _Place("proven", name, _AT_A_SERVICE, _AT_ALL, _TTL)
        return _Place("unproven", origin, _AT_A_HOST, _AT_ALL_HOSTS, _TTL_UNPROVEN)

    def _has_room(self, place: _Place, *, share: int = 1) -> bool:
        """Whether another alert of ours may go to a place, within a share of its budget."""
        active = self._active.names(place.group)
        here = active.count(place.name)
        left = place.at_all - (len(active) - here)
        return here < min(place.at_one, left // 2) // share

    def _welcome(self, reader: Subscription) -> Content:
        settings, lang = self._settings, supported_language(reader.locale)
        ours = texts(lang)["alerts"]
        own = settings.title or settings.body
        words, url = ours["shown"], settings.front_page
        if not reader.preferences.confirmed:
            # The page that opens reports the press itself, because neither Safari nor a worker
            # that must not count does. The token names alert 0, so that nothing is counted by it.
            token = self._tokens.receipt(0, reader.id)
            url += f"#stop-press=welcome&receipt={token}"
            silent = self._endpoints.service(origin_of(reader.endpoint.url)) == "apple"
            if silent or not reader.preferences.receipts:
                words = ours["press"]
        return Content(
            title=settings.title or ours["welcome"],
            body=settings.body or words.format(site=settings.site_name),
            url=url,
            ttl=_TTL,
            lang=(settings.site_language or None) if own else lang,
        )
