"""Feeds that the newsroom watches: what editors and tools do with them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from service.domain.newsroom.feed_hubs import FeedHubs
from service.domain.sending.job_queue import FetchQueue
from service.domain.too_many import TooMany
from service.model.language.links import web_address, with_scheme
from service.model.newsroom.feed_items import Decision, rehearse
from service.model.newsroom.feed_states import DENIED, FeedState, HubSubscription, stored_rules
from service.model.newsroom.feeds import FeedFault, FeedReading, FeedRules
from service.model.stored import known_fields
from service.model.time import clock
from service.store import Store
from service.store.newsroom.feeds import MOST_FEEDS, FeedRow

_VERSION = 1  # of what is stored
NOBODY = (
    "Feeds are not read, because no fetch process runs. Your operator starts it: stoppress fetch"
)
_FAULTS = {
    FeedFault.NO_ADDRESS: "The address leads to something that is no web page.",
    FeedFault.UNKNOWN_HOST: "There is no host {host}. Check the spelling of the address.",
    FeedFault.NOT_PUBLIC: "{host} is at a private address. Your operator can let it be read"
    " (FETCH_ORIGINS).",
    FeedFault.UNREACHABLE: "{host} does not answer.",
    FeedFault.CERTIFICATE: "The certificate of {host} is not valid.",
    FeedFault.TOO_LATE: "{host} did not answer in time.",
    FeedFault.REDIRECTS: "The address is redirected again and again.",
    FeedFault.NO_HTTP: "{host} answers with something that is no web page.",
    FeedFault.NO_WAY: "There is no way from here to {host}.",
    FeedFault.STATUS: "{host} does not give the feed (it answers {status}).",
    FeedFault.NOT_A_FEED: "What {host} gives is no feed.",
    FeedFault.TOO_LARGE: "The feed is too large: it was cut off, and no item of it is whole.",
    FeedFault.ENTITIES: "The feed declares entities that contain one another, and is not read.",
    FeedFault.BROKEN: "The feed has mistakes, and cannot be read.",
}
_HUB = {
    DENIED: "it refuses",
    FeedFault.NO_ADDRESS.value: "its address is none of the web",
    FeedFault.UNKNOWN_HOST.value: "there is no such host",
    FeedFault.NOT_PUBLIC.value: "it is at a private address (your operator can allow it by"
    " FETCH_ORIGINS)",
    FeedFault.UNREACHABLE.value: "it does not answer",
    FeedFault.CERTIFICATE.value: "its certificate is not valid",
    FeedFault.TOO_LATE.value: "it did not answer in time",
    FeedFault.REDIRECTS.value: "it redirects us again and again",
    FeedFault.NO_HTTP.value: "it answers with something that is not HTTP",
    FeedFault.NO_WAY.value: "there is no way to it from here",
    "": "it has never asked back, so it may not reach this service",
}
_NOT_RENEWED = "it does not ask back any more, so it may not reach this service"
_NO_HUB = "Its hub, {host}, does not call when there is something new: {why}. The feed is read"
_LOOK_FOR_IT = (
    "Look for the site’s RSS or Atom address: its pages link to it, or name it in their source as"
    " rel=alternate."
)
_GONE = "{host} says that the feed is gone for good (410). It is not read any more."


class UnknownFeed(Exception):
    """There is no feed with this id."""


class FeedRefused(ValueError):
    """A feed cannot be as it is asked for; `field` of its rules says where, and the message why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class FeedChanged(Exception):
    """The feed was changed since it was read."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, and how it goes with it."""

    id: str
    rules: FeedRules
    state: FeedState
    hub: HubSubscription | None
    by: str  # who added it: an editor's address, or the name of a tool
    added_at: float  # seconds since 1970
    due: float | None  # when it is read next; None: not at all
    is_being_read: bool
    stored: str  # its rules as they were read

    @property
    def title(self) -> str:
        """What to call it."""
        return self.rules.name or self.state.title or self.rules.url

    @property
    def problem(self) -> str:
        """Say why it could not be read the last time; "" if it could."""
        if not self.state.fault:
            return ""
        host = urlsplit(self.state.address or self.rules.url).hostname or ""
        words = _GONE if self.state.is_over else _FAULTS[FeedFault(self.state.fault)]
        if self.names_none:
            words = f"{words} {_LOOK_FOR_IT}"
        return words.format(host=host, status=self.state.status)

    @property
    def not_rehearsed(self) -> str:
        """Say why there is nothing of it to rehearse with."""
        if not self.rules.is_active:
            return "The feed is paused, and was not read before."
        return self.problem or "The feed was not read yet. Try again in a few seconds."

    @property
    def names_none(self) -> bool:
        """Whether its address gives something else, which does not name a feed either."""
        return self.state.fault == FeedFault.NOT_A_FEED.value and not self.state.feeds

    def hub_problem(self, now: float) -> str:
        """Say why its hub does not call us; "" if it does, or has a moment to answer.

        A hub that the feed no longer names is no problem.
        """
        hub = self.hub
        if (
            hub is None
            or hub.hub != self.state.hub
            or hub.holds(now)
            or not (hub.refused or hub.is_silent(now))
        ):
            return ""
        why = _HUB.get(hub.refused, f"it answers {hub.refused}")
        if hub.until and not hub.refused:
            why = _NOT_RENEWED
        if hub.reason:
            why = f"{why}, and says “{hub.reason}”"
        host, minutes = urlsplit(hub.hub).hostname or "", self.rules.minutes
        often = "minute" if minutes == 1 else f"{minutes} minutes"
        return f"{_NO_HUB.format(host=host, why=why)} all the same, every {often}."


@dataclass(frozen=True, slots=True)
class LogLine:
    """What became of one item."""

    at: float  # seconds since 1970
    title: str
    link: str
    result: str  # the value of a `feed_items.Result`
    why: str  # a sentence, if it was left out
    alert: int  # 0: none
    waits: bool  # for a second person


class Feeds:
    """The feeds of one installation."""

    def __init__(self, store: Store, queue: FetchQueue, hubs: FeedHubs) -> None:
        self._feeds = store.feeds
        self._topics = store.topics
        self._queue = queue
        self.hubs = hubs

    def all(self) -> list[Feed]:
        """Return all feeds, by name."""
        found = [_feed(row) for row in self._feeds.all()]
        return sorted(found, key=lambda one: (one.title.casefold(), one.id))

    def get(self, id: str) -> Feed:
        """Return a feed; `UnknownFeed`."""
        row = self._feeds.get(id)
        if row is None:
            raise UnknownFeed
        return _feed(row)

    def has_readers(self) -> bool:
        """Whether a fetch process runs."""
        return self._queue.workers() > 0

    def add(self, rules: FeedRules, *, by: str) -> Feed:
        """Store a new feed, which is read at once; `FeedRefused`, `TooMany`.

        What it has now is known from then on, and not alerted.
        """
        id, now, added = secrets.token_hex(6), clock.time(), None
        made = json.dumps({"version": _VERSION, "by": by, "at": now})
        while added is None:  # of two clicks at once the second one finds the feed of the first
            seen = self._feeds.ids()
            rules = self._checked(rules)
            added = self._feeds.add(id, made, rules.as_json(), now, seen)
        if not added:
            raise TooMany(MOST_FEEDS, "feeds")
        if not rules.is_active:
            self._feeds.change(id, rules.as_json(), rules.as_json(), due=None)
        return self.get(id)

    def change(self, feed: Feed, rules: FeedRules) -> Feed:
        """Give a feed other rules; `FeedRefused`, `FeedChanged`, `UnknownFeed`.

        With another address, and when it was paused, it begins anew: what it has then is not
        alerted.
        """
        rules = self._checked(rules, but=feed.id)
        anew = rules.url != feed.rules.url or (rules.is_active and not feed.rules.is_active)
        due: float | str | None = clock.time() if anew else ""
        if not rules.is_active:
            due = None
        elif rules.minutes != feed.rules.minutes and not feed.state.is_over:
            due = clock.time()
        stored, state = rules.as_json(), feed.state.anew().as_json() if anew else ""
        if stored != feed.stored and not self._feeds.change(
            feed.id, feed.stored, stored, due=due, anew=state
        ):
            self.get(feed.id)
            raise FeedChanged
        return self.get(feed.id)

    def look_now(self, feed: Feed) -> None:
        """Have a feed read at once, also one that its server called gone."""
        if feed.rules.is_active:
            self._feeds.change(feed.id, feed.stored, feed.stored, due=clock.time())

    def remove(self, id: str) -> None:
        """Forget a feed, and end its subscription at a hub; `UnknownFeed`."""
        self.get(id)
        self.hubs.end(id, self._feeds.remove(id))

    def log(self, id: str) -> list[LogLine]:
        """Return what became of the latest items, the last one first; `UnknownFeed`."""
        self.get(id)
        return [LogLine(**known_fields(LogLine, json.loads(one))) for one in self._feeds.log(id)]

    def rehearse(self, feed: Feed, hours: int = 24) -> tuple[Decision, ...] | None:
        """Return what a feed would have sent in the last hours; None if it was not read yet."""
        try:
            reading = FeedReading.from_json(self._feeds.reading(feed.id))
        except ValueError:
            return None
        return rehearse(reading, feed.rules, now=clock.time(), hours=hours)

    def _checked(self, rules: FeedRules, but: str = "") -> FeedRules:
        """Return rules with the usual spelling of their address; `FeedRefused`."""
        address = feed_address(rules.url)
        if not address:
            raise FeedRefused("url", "Is not a web address.")
        for row in self._feeds.all():
            if row.id != but and stored_rules(row.rules).url == address:
                raise FeedRefused("url", "There is a feed with this address already.")
        known = self._topics.all().keys() | self._topics.merged().keys()
        if unknown := {*rules.topics, *rules.topic_by_category.values()} - known:
            field = "topics" if unknown & {*rules.topics} else "topic_by_category"
            raise FeedRefused(field, f"There is no topic “{min(unknown)}”.")
        if rules.is_active and not (rules.everyone or rules.topics or rules.topic_by_category):
            raise FeedRefused("topics", "Choose topics, or everyone.")
        return replace(rules, url=address)


def feed_address(text: str) -> str:
    """Return the address of a feed as it was typed or pasted; "" if it is none."""
    text = text.strip()
    if text.startswith("feed:"):
        text = text.removeprefix("feed:").removeprefix("//")
    return web_address(with_scheme(text))


def _feed(row: FeedRow) -> Feed:
    made = json.loads(row.made)
    return Feed(
        row.id,
        stored_rules(row.rules),
        FeedState.from_json(row.state),
        HubSubscription.from_json(row.hub),
        made["by"],
        made["at"],
        row.due,
        row.asked is not None,
        row.rules,
    )
