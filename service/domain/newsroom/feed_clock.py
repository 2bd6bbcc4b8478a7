"""What the clock does for feeds: has those read that are due, and makes alerts of what is new.

A fetch process reads (decision 105). The clock decides, publishes, and then stores what is known.
Killed in between, it comes to the same items again, and publishes them under the same keys.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace

from service.domain.newsroom.feed_alerts import Became, FeedAlerts
from service.domain.newsroom.feed_hubs import FeedHubs
from service.domain.sending.job_queue import READ_FEED, FetchQueue
from service.model.newsroom.feed_items import Decision, KnownItem, LeftOut, Notice, Result, decide
from service.model.newsroom.feed_requests import FeedAnswer
from service.model.newsroom.feed_states import FeedState, stored_rules
from service.model.newsroom.feeds import FeedFault, FeedReading, FeedRules
from service.model.retention import DAY
from service.store import Store
from service.store.newsroom.feeds import FeedRow, UnderWay

_VERSION = 1  # of an entry of the log
_NOTICES = {
    Notice.NEW_IDS: "Items that were known got new ids at once: {items}. Nobody was alerted again.",
    Notice.MANY_AT_ONCE: "Items that are not dated as new appeared at once: {items}. Nobody was"
    " alerted.",
    Notice.AFTER_A_GAP: "The feed was not read for a while, and its backlog left out: {items}.",
}
_FIRST = "It had {items} when it was read first. Nobody was alerted."


class FeedClock:
    """The clock's duties for feeds."""

    def __init__(self, store: Store, queue: FetchQueue, alerts: FeedAlerts, hubs: FeedHubs) -> None:
        self._feeds = store.feeds
        self._queue = queue
        self._alerts = alerts
        self._hubs = hubs

    def look_after(self, now: float) -> None:
        """Take the readings that came, and ask for those that are due."""
        self._hubs.take_answers()
        for one in self._feeds.under_way():
            if one.result is not None:
                self._take(one, one.result, now)
        due = self._feeds.due(now)
        if due and self._queue.workers():
            for feed in due:
                self._ask(feed, now)

    def _ask(self, feed: str, now: float) -> None:
        row = self._feeds.get(feed)
        if row is None:
            return
        rules, state = stored_rules(row.rules), FeedState.from_json(row.state)
        if not rules.is_active:  # paused while a reading was taken
            self._feeds.change(feed, row.rules, row.rules, due=None)
            return
        request = secrets.token_hex(16)
        if self._feeds.ask(feed, request, state.request(rules, now).as_json(), now):
            self._queue.ask(READ_FEED, request)

    def _take(self, one: UnderWay, result: str, now: float) -> None:
        """Make alerts of what is new in a reading, and store what is known then."""
        row = self._feeds.get(one.feed)
        if row is None:
            return  # removed meanwhile, and with it the request
        rules, before = stored_rules(row.rules), FeedState.from_json(row.state)
        if not rules.is_active:
            self._feeds.take(one, before.as_json(), due=None)
            return
        try:
            answer = FeedAnswer.from_json(result)
        except ValueError:  # another release has written it, or nobody of ours
            answer = FeedAnswer(FeedReading(rules.url, fault=FeedFault.BROKEN))
        state = before.after(answer, now)
        items, log = "", list[str]()
        if not state.fault and not answer.reading.unchanged:
            try:
                state, items, log = self._decided(row, rules, state, before, answer.reading, now)
            except (ArithmeticError, LookupError, TypeError, ValueError):
                # Whatever a stranger has written, alerts of others go on.
                answer = FeedAnswer(replace(answer.reading, fault=FeedFault.BROKEN))
                state = before.after(answer, now)
        hub = None if state.fault else self._hubs.keep(one.feed, state, now)
        due = state.next(rules, answer, now)
        if due is not None and hub is not None and hub.holds(now):
            due = min(due, hub.renew_at)
        self._feeds.take(
            one,
            state.as_json(),
            due=due,
            reading=answer.reading.as_json() if items else "",
            items=items,
            log=log,
        )

    def _decided(
        self,
        row: FeedRow,
        rules: FeedRules,
        state: FeedState,
        before: FeedState,
        reading: FeedReading,
        now: float,
    ) -> tuple[FeedState, str, list[str]]:
        """Return how it goes, what is known, and new lines of the log, once all is published."""
        known = _known(self._feeds.items(row.id))
        decided = decide(
            known or (),
            reading,
            rules,
            now=now,
            alerted=before.alerted,
            last_read=None if known is None else before.read_at,
            interval=before.interval(rules),
        )
        by = str(json.loads(row.made)["by"])
        new = [one for one in decided.decisions if one.left_out is not LeftOut.FIRST_LOOK]
        made = [(one, self._alerts.make(row.id, rules, by, reading, one, now)) for one in new]
        became = {one.id: found for one, found in made}
        sent = sum(found.result is not Result.LEFT_OUT for found in became.values())
        items = json.dumps([_settled(one, became).as_json() for one in decided.known])
        alerted = (*(at for at in before.alerted if now - at < DAY), *[now] * sent)
        state = replace(
            state,
            alerted=alerted,
            sent=state.sent + sent,
            left_out=state.left_out + len(became) - sent,
        )
        words = [_NOTICES[kind].format(items=_items(count)) for kind, count in decided.notices]
        if first := len(decided.decisions) - len(new):
            words.append(_FIRST.format(items=_items(first)))
        if words:
            state = replace(state, notices=tuple(words), noticed_at=now)
        return state, items, [_entry(one, found, now) for one, found in made]


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _known(text: str) -> Sequence[KnownItem] | None:
    """Return what is remembered of a feed's items; None for nothing, or another release's."""
    if not text:
        return None
    try:
        return [KnownItem.from_json(one) for one in json.loads(text)]
    except ValueError:
        return None  # all that is there now counts as known, so that nobody is alerted twice


def _settled(one: KnownItem, became: dict[str, Became]) -> KnownItem:
    found = became.get(one.id)
    return one if found is None else replace(one, result=found.result, left_out=found.left_out)


def _entry(one: Decision, found: Became, now: float) -> str:
    """Return a line of the log as it is stored."""
    return json.dumps(
        {
            "version": _VERSION,
            "at": now,
            "title": one.item.title,
            "link": one.item.link,
            "result": found.result.value,
            "why": found.why,
            "alert": found.alert,
            "waits": found.waits,
        }
    )
