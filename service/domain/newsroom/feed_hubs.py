"""Hubs, which call us at once when a feed has something new (WebSub, https://www.w3.org/TR/websub/).

Nothing that a caller says is believed. A call only has the feed read sooner than it would be, from
its own address; what comes with it is thrown away unread.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import replace

from service.domain.sending.job_queue import READ_FEED, FetchQueue
from service.model.language.texts import one_line
from service.model.newsroom.feed_requests import FeedRequest
from service.model.newsroom.feed_states import (
    DENIED,
    HUB_LEASE,
    FeedState,
    HubSubscription,
    stored_rules,
)
from service.model.newsroom.feeds import FeedFault
from service.model.payload import shortened
from service.store import Store

_TOO_MANY = 429  # requests, says a server
_LONGEST_REASON = 200  # characters
# What a fetch process says of a hub that has not taken our request.
_REFUSAL = re.compile("|".join(["[345][0-9]{2}", *(re.escape(one.value) for one in FeedFault)]))


class NoSubscription(Exception):
    """A call came to an address that no feed has; `is_over` if its feed was removed."""

    def __init__(self, *, is_over: bool = False) -> None:
        super().__init__("no subscription")
        self.is_over = is_over


class FeedHubs:
    """Our subscriptions at the hubs of feeds. `callbacks` returns where hubs reach us, or ""."""

    def __init__(self, store: Store, queue: FetchQueue, callbacks: Callable[[], str]) -> None:
        self._feeds = store.feeds
        self._queue = queue
        self._callbacks = callbacks

    def keep(self, feed: str, state: FeedState, now: float) -> HubSubscription | None:
        """Ask the hub that a feed names to call us, if it does not; return what holds then."""
        row = self._feeds.get(feed)
        if row is None or not state.hub or not self._callbacks():
            return None
        before = HubSubscription.from_json(row.hub)
        if before is not None and (before.hub, before.topic) == (state.hub, state.topic):
            if not before.is_due(now):
                return before
            after = replace(before, asked_at=now)
        else:
            # A new token: what the hub before calls leads to nothing from now on.
            url, token = stored_rules(row.rules).url, secrets.token_urlsafe(24)
            after = HubSubscription(state.hub, state.topic, url, token, now)
        if self._feeds.set_hub(feed, row.hub, after.as_json()):
            self._ask(feed, after, HUB_LEASE)
        return after

    def take_answers(self) -> None:
        """Note which hubs refuse to call us: what the clock does. Their feeds go on as before."""
        for feed, answer in self._feeds.hub_answers():
            self._note(feed, answer if _REFUSAL.fullmatch(answer) else "")

    def denied(self, feed: str, token: str, topic: str, reason: str) -> None:
        """Note that a hub has refused after it was asked; `NoSubscription` if it was not."""
        row = self._feeds.get(feed)
        found = HubSubscription.from_json(row.hub) if row else None
        if found is None or found.topic != topic or not _same(found.token, token):
            raise NoSubscription
        self._note(feed, DENIED, shortened(one_line(reason).text, _LONGEST_REASON))

    def _note(self, feed: str, refused: str, reason: str = "") -> None:
        """Note the answer of a feed's hub, unless it is asked anew at this moment."""
        row = self._feeds.get(feed)
        before = HubSubscription.from_json(row.hub) if row else None
        if row is not None and before is not None:
            after = replace(before, refused=refused, reason=reason)
            if after != before:
                self._feeds.set_hub(feed, row.hub, after.as_json())

    def end(self, feed: str, hub: str) -> None:
        """Tell the hub of a feed that was removed; if that is lost, the subscription just ends."""
        known = HubSubscription.from_json(hub)
        if known is not None and self._callbacks():
            self._ask(feed, known, 0)

    def _ask(self, feed: str, one: HubSubscription, lease: int) -> None:
        callback = f"{self._callbacks()}/feeds/{feed}/{one.token}"
        asked = FeedRequest(
            one.topic, hub=one.hub, named_by=one.feed, callback=callback, lease=lease
        )
        request = secrets.token_hex(16)
        self._feeds.requests.put(request, asked.as_json(), feed if lease else "")
        self._queue.ask(READ_FEED, request)

    def confirm(self, feed: str, token: str, mode: str, topic: str, lease: int, now: float) -> None:
        """Note that a hub calls us from now on, or no more; `NoSubscription` if we do not want it.

        `mode` is `subscribe` or `unsubscribe`, as the hub has it.
        """
        if mode == "unsubscribe":
            left = HubSubscription.from_json(self._feeds.leaving(feed))
            if left is None or left.topic != topic or not _same(left.token, token):
                raise NoSubscription
            return
        while True:
            row = self._feeds.get(feed)
            found = HubSubscription.from_json(row.hub) if row else None
            if row is None or found is None or mode != "subscribe":
                raise NoSubscription
            if found.topic != topic or not _same(found.token, token):
                raise NoSubscription
            after = found.confirmed(lease or HUB_LEASE, now)
            if self._feeds.set_hub(feed, row.hub, after.as_json()):
                return

    def ping(self, feed: str, token: str, now: float) -> None:
        """Have a feed read at once, or soon if that was just done; `NoSubscription`.

        One whose server has had too many requests is read at its turn.
        """
        row = self._feeds.get(feed)
        known = HubSubscription.from_json(row.hub if row else self._feeds.leaving(feed))
        if known is None or not _same(known.token, token):
            raise NoSubscription
        if row is None:
            raise NoSubscription(is_over=True)
        if FeedState.from_json(row.state).status != _TOO_MANY:
            self._feeds.ping(feed, now)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
