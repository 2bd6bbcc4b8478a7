"""How it goes with a feed: what came of reading it last, and its subscription at a hub."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from service.model.language.links import web_address
from service.model.newsroom.feed_requests import FeedAnswer, FeedRequest
from service.model.newsroom.feeds import FeedFault, FeedRules
from service.model.stored import Stored, known_fields

_BELIEVED = 3600  # seconds for which a server that answers 304 is believed
_LEAST, _MOST = 60, 3600  # seconds between two readings, whatever a server asks for
_NOT_MODIFIED, _GONE = 304, 410
HUB_LEASE = 10 * 86_400  # seconds for which we ask a hub to call
_LEAST_LEASE, _MOST_LEASE = 300, 30 * 86_400
_RENEWED = 0.8  # part of a lease after which it is renewed
_ASKED_AGAIN = 600  # seconds after which a hub that has not answered is asked again
_CALLS_BACK = 120  # seconds within which a hub asks whether we mean it
_FAILED_AGAIN, _REFUSED_AGAIN = 3600, 86_400  # and one that has failed, or refused
DENIED = "denied"  # a hub has told us so (`hub.mode`)


def stored_rules(text: str) -> FeedRules:
    """Return the rules of a feed as they are stored, without what only a newer release knows."""
    document = json.loads(text)
    known = known_fields(FeedRules, document)
    return FeedRules.from_json(json.dumps({**known, "version": document["version"]}))


@dataclass(frozen=True, slots=True)
class FeedState(Stored):
    """What came of reading a feed so far. Times are seconds since 1970."""

    read_at: float | None = None  # when it was read without a fault
    tried_at: float | None = None
    whole_at: float = 0.0  # when its bytes came last; a 304 brings none
    status: int = 0
    fault: str = ""  # the value of a `FeedFault`
    fails: int = 0  # readings with a fault since then
    is_over: bool = False  # its server says that it is gone for good: it is not read any more
    title: str = ""  # its own
    address: str = ""  # where it led in the end, or where it failed
    etag: str = ""
    modified: str = ""
    digest: str = ""  # of its bytes
    minutes: int = 0  # that it asks us to wait
    wait: int = 0  # seconds that its server asked us to wait, when it was read
    hub: str = ""  # the hub that it names
    topic: str = ""  # and how that knows it
    feeds: tuple[str, ...] = ()  # what it names, if it is a web page
    notices: tuple[str, ...] = ()  # sentences for the desk, of the latest reading that had any
    noticed_at: float | None = None
    alerted: tuple[float, ...] = ()  # when alerts were made of its items, within a day
    sent: int = 0  # items that became alerts or drafts
    left_out: int = 0

    @classmethod
    def from_json(cls, text: str) -> FeedState:
        """Read what is stored; nothing is known of a feed that was not read yet."""
        document: dict[str, Any] = json.loads(text) if text else {}
        lists = {name: tuple(document.get(name, ())) for name in ("feeds", "notices", "alerted")}
        return cls(**{**known_fields(cls, document), **lists})

    def anew(self) -> FeedState:
        """Return the state of a feed that begins anew; its limits and totals go on."""
        return FeedState(alerted=self.alerted, sent=self.sent, left_out=self.left_out)

    def after(self, answer: FeedAnswer, now: float) -> FeedState:
        """Return it once a reading has come, without what its items became."""
        reading = answer.reading
        fault = reading.fault
        if fault is None and reading.status >= 400:
            fault = FeedFault.STATUS
        tried = replace(
            self,
            tried_at=now,
            status=reading.status,
            fault=fault.value if fault else "",
            fails=self.fails + 1 if fault else 0,
            is_over=reading.status == _GONE,
            address=web_address(reading.address),
            feeds=reading.feeds,
        )
        if fault is not None:
            return tried
        read = replace(
            tried,
            read_at=now,
            wait=answer.wait,
            whole_at=self.whole_at if reading.status == _NOT_MODIFIED else now,
            etag=reading.etag or (self.etag if reading.unchanged else ""),
            modified=reading.modified or (self.modified if reading.unchanged else ""),
        )
        if reading.unchanged:
            return read
        return replace(
            read,
            title=reading.title,
            digest=answer.digest,
            minutes=reading.minutes,
            hub=reading.hub,
            topic=reading.topic,
        )

    def request(self, rules: FeedRules, now: float) -> FeedRequest:
        """Return what a fetch process is to read.

        Some servers and caches answer 304 for ever, so once an hour the request has no condition.
        """
        if now - self.whole_at >= _BELIEVED:
            return FeedRequest(rules.url, digest=self.digest)
        return FeedRequest(rules.url, self.etag, self.modified, self.digest)

    def next(self, rules: FeedRules, answer: FeedAnswer, now: float) -> float | None:
        """Return when the feed is read next; None: not at all."""
        if self.is_over or not rules.is_active:
            return None
        usual, wait = 60 * rules.minutes, self._interval(rules, answer.wait)
        if self.fails:
            # Twice as long after each, up to an hour; a feed that is read less often keeps its own.
            wait = max(wait, min(usual * 2 ** min(self.fails, 12), _MOST))
        return now + max(wait, _LEAST)

    def interval(self, rules: FeedRules) -> float:
        """Return how many seconds lie between two readings without a fault."""
        return self._interval(rules, self.wait)

    def _interval(self, rules: FeedRules, wait: int) -> float:
        return max(60 * rules.minutes, min(max(wait, 60 * self.minutes), _MOST))


@dataclass(frozen=True, slots=True)
class HubSubscription(Stored):
    """That a hub is to call us when a feed has something new (WebSub)."""

    hub: str  # its address
    topic: str  # how it knows the feed
    feed: str  # its address
    token: str  # in the address that it calls, which nobody else knows
    asked_at: float
    until: float = 0.0  # when it ends; 0: the hub has not asked yet whether we mean it
    renew_at: float = 0.0
    refused: str = ""  # an HTTP status, the value of a `FeedFault`, or `DENIED`
    reason: str = ""  # that a hub gave for `DENIED`

    @classmethod
    def from_json(cls, text: str) -> HubSubscription | None:
        """Read what is stored; None for nothing."""
        return cls(**known_fields(cls, json.loads(text))) if text else None

    def confirmed(self, lease: int, now: float) -> HubSubscription:
        """Return it once the hub knows that we mean it, for so many seconds."""
        lease = max(_LEAST_LEASE, min(lease, _MOST_LEASE))
        return replace(
            self, until=now + lease, renew_at=now + _RENEWED * lease, refused="", reason=""
        )

    def is_due(self, now: float) -> bool:
        """Whether the hub is to be asked, for the first time or again."""
        again = _FAILED_AGAIN if self.refused else _ASKED_AGAIN
        if self.refused == DENIED or self.refused.startswith("4"):
            again = _REFUSED_AGAIN
        return now >= self.renew_at and now >= self.asked_at + again

    def is_silent(self, now: float) -> bool:
        """Whether the hub was asked a while ago, and has neither refused nor called us since."""
        return not (self.refused or self.holds(now)) and now >= self.asked_at + _CALLS_BACK

    def holds(self, now: float) -> bool:
        """Whether the hub calls us."""
        return now < self.until
