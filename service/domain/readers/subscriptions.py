"""Subscriptions: what a reader does with theirs, from subscribing to leaving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from service.domain.readers.reader_alerts import CONFIRM, NONE, ReaderAlerts
from service.domain.sending.receipts import Receipts
from service.model.network.endpoints import Endpoint
from service.model.retention import LEFT_KEPT
from service.model.subscriptions import Subscription, SubscriptionId, SubscriptionRequest
from service.model.time import clock
from service.model.tokens import Tokens
from service.store import Store
from service.store.readers.all_readers import OneOfAll
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import Added, NotSubscribed


class Subscriptions:
    """The subscriptions of one installation.

    A reader's token proves that a call comes from the browser that subscribed.
    """

    def __init__(
        self, store: Store, tokens: Tokens, alerts: ReaderAlerts, receipts: Receipts
    ) -> None:
        self._subscriptions = store.subscriptions
        self._departures = store.departures
        self._all_readers = store.all_readers
        self._arrivals = store.arrivals
        self._bases = store.names.bases
        self._host_readers = store.host_readers
        self._paired_browsers = store.paired_browsers
        self._tokens = tokens
        self._alerts = alerts
        self._receipts = receipts

    def subscribe(
        self,
        requested: SubscriptionRequest,
        *,
        token: str | None = None,
        refresh: bool = False,
        caller: Callable[[], str] = str,
    ) -> tuple[Subscription, bool]:
        """Store a browser's consent and send the welcome, where one is due.

        The second value says whether the subscription is new. `refresh` never creates one: it
        raises `HasLeft` or `NotSubscribed`. New keys for a known endpoint need the reader's
        `token`, or raise `KnownWithOtherKeys`. `caller` returns the code of who calls (`Place`).
        """

        def is_owner(id: SubscriptionId, auth: bytes) -> bool:
            return token is not None and self._tokens.is_reader(token, id, auth)

        welcome = self._alerts.welcome
        if welcome == CONFIRM:
            requested = requested._replace(must_confirm=True)
        one, new = self._subscriptions.subscribe(requested, refresh=refresh, is_owner=is_owner)
        if welcome != NONE or not one.preferences.confirmed:
            self._alerts.send_welcome(one, new=new, caller=caller)
        return one, new

    def take_over(self, arrivals: Sequence[Arrival], *, untried: bool) -> list[Added]:
        """Store readers of another service, without a welcome; say what became of each.

        `untried`: nobody knows which of them are still there, so that many may turn out gone.
        """
        return self._arrivals.take(arrivals, untried=untried)

    def all(self) -> Iterator[OneOfAll]:
        """Yield all subscriptions, each with whether it is gone."""
        return self._all_readers.each()

    def is_new_host(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is at a host that anybody could make up, and that no reader has."""
        return bool(endpoint.wildcard) and self._bases.is_new(endpoint)

    def get(self, id: str) -> Subscription:
        """Return a subscription by its public id; `NotSubscribed`."""
        try:
            parsed = SubscriptionId.parse(id)
        except ValueError:
            raise NotSubscribed from None
        return self._subscriptions.get(parsed)

    def at(self, endpoint: Endpoint) -> Subscription:
        """Return the subscription with this endpoint; `NotSubscribed`."""
        found = self._subscriptions.find(endpoint)
        if found is None:
            raise NotSubscribed
        return self._subscriptions.get(found)

    def of_reader(self, id: str, token: str) -> Subscription:
        """Return the subscription that has this token; `NotSubscribed` for any other token."""
        found = self.get(id)
        if not self._tokens.is_reader(token, found.id, found.auth):
            raise NotSubscribed
        return found

    def token(self, one: Subscription) -> str:
        """Return the reader's token of a subscription."""
        return self._tokens.reader(one.id, one.auth)

    def change(
        self,
        before: Subscription,
        requested: SubscriptionRequest,
        *,
        caller: Callable[[], str] = str,
    ) -> Subscription:
        """Change preferences, keys or endpoint; `NotSubscribed` if the reader has left.

        Another endpoint makes another subscription, with an id and a token of its own. Where a
        reader must confirm, it is unconfirmed and gets the welcome: only the browser behind the new
        endpoint can say that its reader wants alerts.
        """
        requested = requested._replace(must_confirm=self._alerts.welcome == CONFIRM)
        after = self._subscriptions.change(before.id, requested)
        if after.id != before.id:
            self._alerts.send_welcome(after, new=False, caller=caller)
        return after

    def remove(self, one: Subscription, *, lost: bool = False) -> None:
        """End a subscription: no alert is sent to it from now on; `NotSubscribed`.

        `lost` says that the reader did not leave: the browser took the permission back by itself.
        Then the endpoint is not remembered, because the reader may subscribe again.
        """
        self._subscriptions.remove(one.id, remember=not lost)
        self._paired_browsers.forget(str(one.id))
        self._departures.count("lost" if lost else "left")
        if not lost:
            with suppress(RedisError):  # a Redis that is full does not count them
                self._receipts.count_left(one)

    def erasures(self, kept: Iterable[str]) -> list[str]:
        """Return who left lately as sealed lines, with those of an earlier list that still count.

        Only with SECRET_KEY can they be read, and only as digests.
        """
        opened = [(line, self._tokens.open_erasure(line)) for line in kept]
        since = clock.time() - LEFT_KEPT
        found = {row: line for line, row in opened if row is not None and row[1] >= since}
        for row in self._departures.left():
            found.setdefault(row, self._tokens.erasure(*row))
        return [found[row] for row in sorted(found, key=lambda row: row[1])]

    def forget_again(self, lines: Iterable[str]) -> tuple[int, int]:
        """Remove readers who left, after an older copy was restored.

        Returns how many were removed, and how many lines this installation has not written.
        """
        removed = unknown = 0
        for line in lines:
            row = self._tokens.open_erasure(line)
            if row is None:
                unknown += 1
            elif self._subscriptions.forget_again(*row):
                self._departures.count("left")
                removed += 1
        return removed, unknown

    def is_gone(self, one: Subscription) -> bool:
        """Whether the push service reported this subscription as gone."""
        return self._subscriptions.is_gone(one.id)

    def is_young(self, one: Subscription) -> bool:
        """Whether this reader subscribed only minutes ago."""
        return one.id.number >= self._subscriptions.first_young(one.id.partition)

    def was_asked_in_vain(self, one: Subscription) -> bool:
        """Whether a push service that is not known yet accepted nothing for this reader lately."""
        return self._host_readers.was_asked_in_vain(one.id)

    def is_untried(self, one: Subscription) -> bool:
        """Whether this reader came from another service and no alert was accepted for them yet."""
        return self._arrivals.is_untried(one.id)

    def count(self) -> int:
        """Return how many browsers are subscribed, gone and unconfirmed ones included."""
        return self._subscriptions.count()

    def count_unconfirmed(self) -> int:
        """Return how many browsers have not confirmed their subscription yet."""
        return self._subscriptions.count("unconfirmed")
