"""Alerts to one browser: the welcome after subscribing, and tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from service.domain.alerts.publishing import PlanWithdrawn, Publishing
from service.domain.alerts.requests import Idempotency, Published
from service.domain.alerts.stops import EverythingStopped, Stops
from service.model.language.languages import supported_language, texts
from service.model.network.endpoints import OTHER, EndpointPolicy, origin_of
from service.model.notifications import Audience, Content
from service.model.subscriptions import Subscription
from service.model.tokens import Tokens, digest
from service.store import Store
from service.store.readers.reader_alerts import NoRoom, Place
from service.store.readers.subscriptions import NotSubscribed

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
# they do not keep a new subscriber from the welcome. Once half of the room is taken, no caller gets
# more than a small share of what is left (room.lua), so that one stranger's junk leaves room too.
_AT_A_SERVICE, _AT_ALL = 50, 100
_AT_A_HOST, _AT_ALL_HOSTS = 4, 20
_PROVEN = "proven"  # the group of places that are known to be push services


class TooManyActive(Exception):
    """So many alerts are active that no test is sent now."""


@dataclass(frozen=True, slots=True)
class WelcomeSettings:
    """What the newsroom set."""

    mode: str  # NONE, WELCOME or CONFIRM
    title: str  # empty: our own words, here and below
    body: str
    site_name: str
    site_icon: str
    site_language: str
    front_page: str


class ReaderAlerts:
    """Sends welcomes and tests; confirms readers where confirmation is no longer required."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        stops: Stops,
        tokens: Tokens,
        endpoints: EndpointPolicy,
        settings: Callable[[], WelcomeSettings],
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._stops = stops
        self._tokens = tokens
        self._endpoints = endpoints
        self._settings = settings

    @property
    def welcome(self) -> str:
        """Whether a new subscriber is sent a welcome: NONE, WELCOME or CONFIRM.

        With CONFIRM they get no other alert before confirming by it.
        """
        return self._settings().mode

    def send_welcome(self, reader: Subscription, *, new: bool, caller: Callable[[], str]) -> None:
        """Send the welcome to a new or unconfirmed subscriber, at most once a day.

        If `WELCOME` no longer asks for confirmation, confirm an unconfirmed subscriber instead.
        A welcome that cannot be sent does not undo the subscription: an unconfirmed subscriber
        gets it on the next visit. `caller` returns the code of who calls (`Place`).
        """
        unconfirmed, mode = not reader.preferences.confirmed, self._settings().mode
        if not (unconfirmed or (new and mode == WELCOME)):
            return
        with suppress(RedisError, PlanWithdrawn, NoRoom):
            if unconfirmed and mode != CONFIRM:
                with suppress(NotSubscribed):
                    self._store.subscriptions.confirm(reader.id)
            else:
                self._publish_welcome(reader, self._place(reader, caller))

    def send_test(self, reader: Subscription, *, caller: Callable[[], str] = str) -> Published:
        """Send a test to one browser; `TooManyActive`, `EverythingStopped`."""
        if self._stops.current():
            raise EverythingStopped
        place = replace(self._place(reader, caller), share=2)
        settings, lang = self._settings(), supported_language(reader.locale)
        ours = texts(lang)["alerts"]
        content = Content(
            title=ours["test"],
            body=ours["shown"].format(site=settings.site_name),
            url=settings.front_page,
            icon=settings.site_icon or None,
            ttl=_ttl(place),
            lang=lang,
        )
        only = Audience(subscription=reader.id)
        try:
            return self._publishing.publish(content, only, by="", place=place)
        except NoRoom:
            raise TooManyActive from None

    def send_text(
        self,
        reader: Subscription,
        content: Content,
        *,
        by: str,
        idempotency: Idempotency | None = None,
    ) -> Published:
        """Send a text of an editor or a tool to one browser, as a test; errors as `send_test`.

        It is tried for a few minutes at most, as all that takes a place.
        """
        place = self._place(reader, lambda: digest(by)[:32])
        test = replace(content, ttl=min(content.ttl, _ttl(place)))
        only = Audience(subscription=reader.id)
        try:
            return self._publishing.publish(test, only, by=by, idempotency=idempotency, place=place)
        except NoRoom:
            raise TooManyActive from None

    def _publish_welcome(self, reader: Subscription, place: Place) -> None:
        once = Idempotency("welcome", str(reader.id), b"")
        only = Audience(subscription=reader.id)
        content = replace(self._welcome(reader), ttl=_ttl(place))
        self._publishing.publish(content, only, by="", idempotency=once, place=place)

    def _place(self, reader: Subscription, caller: Callable[[], str]) -> Place:
        origin, bases = reader.endpoint.origin, self._store.names.bases
        if bases.is_proven(bases.of(reader.endpoint)):
            service = self._endpoints.service(origin)
            name = origin if service == OTHER else service
            return Place(_PROVEN, name, _AT_A_SERVICE, _AT_ALL, caller())
        return Place("unproven", origin, _AT_A_HOST, _AT_ALL_HOSTS, caller())

    def _welcome(self, reader: Subscription) -> Content:
        settings, lang = self._settings(), supported_language(reader.locale)
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
            icon=settings.site_icon or None,
            ttl=_TTL,
            lang=(settings.site_language or None) if own else lang,
        )


def _ttl(place: Place) -> int:
    return _TTL if place.group == _PROVEN else _TTL_UNPROVEN
