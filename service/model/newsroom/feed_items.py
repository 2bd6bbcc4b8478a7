"""Which items of a feed are alerted: each once, whatever happens to its link, id or date.

No clock and no I/O. `decide` compares a reading with what is remembered of the feed (decision 106).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from service.model.newsroom.feed_forms import Form, Remembered, recognise
from service.model.newsroom.feeds import FeedItem, FeedReading, FeedRules

_VERSION = 1  # of what is stored
MOST_KNOWN = 1000  # items that are remembered of a feed
_MOST_FORMS = 10  # of one item
_MANY = 10  # items at once that are not dated as new, or get new ids
_FEW = 3  # the same where a feed shows nothing that is known
_LATE = 3600  # seconds by which an item may appear later than it is dated
_GAP = 3600  # seconds without a look, at least, after which news is a backlog,
_GAPS = 3  # or so many times the interval between two looks
_MOST_OF_BACKLOG = 3  # alerts


class LeftOut(str, Enum):
    """Why an item is not alerted."""

    FIRST_LOOK = "first look"
    OLD = "old"
    BACKLOG = "backlog"
    MANY_AT_ONCE = "many at once"
    TOO_SOON = "too soon"
    TOO_MANY_HOUR = "too many an hour"
    TOO_MANY_DAY = "too many a day"
    NO_TITLE = "no title"
    NO_LINK = "no link"
    NO_DATE = "no date"  # of a rehearsal only
    # Two reasons that `decide` does not know, and its caller may give:
    SAME_LINK = "same link"
    STOPPED = "stopped"

    @property
    def in_words(self) -> str:
        """Say it to an editor."""
        return _IN_WORDS[self]


_IN_WORDS = {
    LeftOut.FIRST_LOOK: "It was there already when the feed was added.",
    LeftOut.OLD: "It was published too long ago.",
    LeftOut.BACKLOG: "The feed could not be read for a while, and this is older news from then.",
    LeftOut.MANY_AT_ONCE: "Many items that are not dated as new appeared at once.",
    LeftOut.TOO_SOON: "It came too soon after another alert of this feed.",
    LeftOut.TOO_MANY_HOUR: "The feed had sent as many alerts within an hour as it may.",
    LeftOut.TOO_MANY_DAY: "The feed had sent as many alerts within a day as it may.",
    LeftOut.NO_TITLE: "It has neither a title nor a text.",
    LeftOut.NO_LINK: "It has no link to a web page.",
    LeftOut.NO_DATE: "It has no date, so nobody knows when it would have been sent.",
    LeftOut.SAME_LINK: "An alert with the same link was sent within a day, or is planned.",
    LeftOut.STOPPED: "Sending was stopped.",
}


class Result(str, Enum):
    """What became of an item."""

    WAITING = "waiting"  # it is to be alerted
    ALERTED = "alerted"
    DRAFTED = "drafted"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class KnownItem:
    """What is remembered of an item, for as long as it can come back."""

    id: str  # 16 hex, ours, never changes
    forms: tuple[Form, ...]  # the newest last
    seen: float  # first
    last: float  # when it was last in the feed
    result: Result
    left_out: LeftOut | None = None

    def after(self, forms: Iterable[Form], now: float) -> KnownItem:
        """Return it as it is known after a reading that has it in these forms."""
        kept = dict.fromkeys((*self.forms, *forms))
        return replace(self, forms=tuple(kept)[-_MOST_FORMS:], last=now)

    def as_json(self) -> str:
        """Return it as it is stored: a list, because there are a thousand of them."""
        forms = [(one.guid, one.link, one.title, one.date) for one in self.forms]
        return json.dumps(
            (_VERSION, self.id, self.seen, self.last, self.result, self.left_out, forms)
        )

    @classmethod
    def from_json(cls, text: str) -> KnownItem:
        """Read what is stored; `ValueError` for anything else."""
        try:
            version, id, seen, last, result, reason, forms = json.loads(text)
            if version != _VERSION:
                raise ValueError("another version")
            left_out = None if reason is None else LeftOut(reason)
            made = tuple(Form(*one) for one in forms)
            return cls(id, made, seen, last, Result(result), left_out)
        except (TypeError, RecursionError) as error:
            raise ValueError("no known item") from error


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a new item is alerted, or why it is left out."""

    item: FeedItem
    id: str
    left_out: LeftOut | None  # None: alert it


class Notice(str, Enum):
    """What the desk should know of a feed, beside its alerts; each with a number of items."""

    NEW_IDS = "new ids"  # so many known items got new ids at once
    MANY_AT_ONCE = "many at once"  # so many unknown items appeared at once that are not dated new
    AFTER_A_GAP = "after a gap"  # so many items were left out, because the feed was down


@dataclass(frozen=True, slots=True)
class Decided:
    """The result of comparing a feed, as it was just read, with its known items."""

    decisions: tuple[Decision, ...]  # the oldest first
    known: tuple[KnownItem, ...]  # to be stored; an alerted item is WAITING
    notices: tuple[tuple[Notice, int], ...] = ()


def decide(
    known: Sequence[KnownItem],
    reading: FeedReading,
    rules: FeedRules,
    *,
    now: float,
    alerted: Sequence[float],
    last_read: float | None,
    interval: float = 0.0,
) -> Decided:
    """Decide which new items are alerted; return that with all items that are known from now on.

    `alerted` is when the feed's alerts of the last day were sent, `last_read` when the feed was
    last read without a fault (unchanged counts), None if it never was. `interval` is how many
    seconds its server wants between two looks, if these are more than the rules say.
    """
    if reading.fault is not None or reading.unchanged:
        return Decided((), tuple(known))
    found = _found(known, reading.items)
    of_id = {one.id: one for one in known}
    new = _in_order([(id, items[0]) for id, items in found.items() if id not in of_id], now)
    interval = max(interval, 60 * rules.minutes)
    none_known = bool(known) and len(new) == len(found)
    look = _Look(rules, now, last_read, interval, none_known)
    reasons = look.reasons(new)
    reasons |= _beyond_limits([id for id, _ in new if id not in reasons], rules, now, alerted)
    decisions = tuple(Decision(item, id, reasons.get(id)) for id, item in new)
    for one in decisions:
        result = Result.WAITING if one.left_out is None else Result.LEFT_OUT
        of_id[one.id] = KnownItem(one.id, (), now, now, result, one.left_out)
    renewed = _renewed(of_id, found)
    for id, items in found.items():
        of_id[id] = of_id[id].after(map(_form, items), now)
    counted = (
        (Notice.NEW_IDS, renewed if renewed >= _MANY else 0),
        (Notice.MANY_AT_ONCE, len(look.doubtful(new))),
        (Notice.AFTER_A_GAP, sum(one is LeftOut.BACKLOG for one in reasons.values())),
    )
    # The sort is stable: of those in the feed, and of those that left it together, the last stay.
    kept = sorted(of_id.values(), key=lambda one: one.last)[-MOST_KNOWN:]
    return Decided(decisions, tuple(kept), tuple(one for one in counted if one[1]))


def rehearse(
    reading: FeedReading, rules: FeedRules, *, now: float, hours: int = 24
) -> tuple[Decision, ...]:
    """Return what the feed would have sent in the last hours, the oldest first.

    It looks at the items that the feed still has, as if each had been there on the first look
    after its date. Items without a date come first.
    """
    new = _in_order([(id, items[0]) for id, items in _found((), reading.items).items()], now)
    reasons: dict[str, LeftOut] = {}
    looks: dict[float, list[str]] = {}
    seconds = 60 * max(1, rules.minutes)
    for id, item in new:
        reason = _unfit(item) or (LeftOut.NO_DATE if item.date is None else None)
        if reason is not None:
            reasons[id] = reason
        else:
            looks.setdefault(min(now, -(-_time(item, now) // seconds) * seconds), []).append(id)
    alerted: list[float] = []
    for at, ids in sorted(looks.items()):
        limited = _beyond_limits(ids, rules, at, alerted)
        alerted += [at for id in ids if id not in limited]
        reasons |= limited
    within = [one for one in new if one[1].date is None or _time(one[1], now) > now - 3600 * hours]
    within.sort(key=lambda one: one[1].date is not None)
    return tuple(Decision(item, id, reasons.get(id)) for id, item in within)


def _form(item: FeedItem) -> Form:
    return Form(item.guid, item.link, item.title, item.date)


def _found(known: Sequence[KnownItem], items: Sequence[FeedItem]) -> dict[str, list[FeedItem]]:
    """Return the items of a reading by their ids; a feed may have one of them several times."""
    latest = max((one.last for one in known), default=0.0)
    remembered = [Remembered(one.id, one.forms, one.last == latest) for one in known]
    found: dict[str, list[FeedItem]] = {}
    for id, item in zip(recognise(remembered, [*map(_form, items)]), items, strict=True):
        found.setdefault(id, []).append(item)
    return found


def _time(item: FeedItem, now: float) -> float:
    """Return when an item was published; now, if it has no date or one in the future."""
    return now if item.date is None else min(item.date, now)


def _in_order(items: Sequence[tuple[str, FeedItem]], now: float) -> list[tuple[str, FeedItem]]:
    """Return items the oldest first; feeds have the newest first, mostly."""
    latest_last = items[::-1]
    return sorted(latest_last, key=lambda one: _time(one[1], now))


def _unfit(item: FeedItem) -> LeftOut | None:
    """Return why an item can be no alert at all."""
    if not item.title:
        return LeftOut.NO_TITLE
    return None if item.link else LeftOut.NO_LINK


def _renewed(known: dict[str, KnownItem], found: dict[str, list[FeedItem]]) -> int:
    """Return how many known items have another id in the feed, and had but one until now."""
    count = 0
    for id, items in found.items():
        guids = {form.guid for form in known[id].forms if form.guid}
        count += len(guids) == 1 and {item.guid for item in items if item.guid} - guids != set()
    return count


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a feed that has new items."""

    rules: FeedRules
    now: float
    last_read: float | None
    interval: float  # seconds between two looks
    none_known: bool  # the feed has no item that was known

    def reasons(self, new: Sequence[tuple[str, FeedItem]]) -> dict[str, LeftOut]:
        """Return why items are left out, whatever the limits."""
        if self.last_read is None:
            return {id: LeftOut.FIRST_LOOK for id, _ in new}
        doubtful = self.doubtful(new)
        found: dict[str, LeftOut] = {}
        for id, item in new:
            reason = _unfit(item)
            if reason is None and self.now - _time(item, self.now) > 3600 * self.rules.newest_hours:
                reason = LeftOut.OLD
            if reason is None and id in doubtful:
                reason = LeftOut.MANY_AT_ONCE
            if reason is not None:
                found[id] = reason
        if self.now - self.last_read > max(_GAP, _GAPS * self.interval):
            rest = [(id, item) for id, item in new if id not in found]
            dated = [id for id, item in rest if item.date is not None]
            late = {*dated[-_MOST_OF_BACKLOG:]}
            found |= {id: LeftOut.BACKLOG for id, _ in rest if id not in late}
        return found

    def doubtful(self, new: Sequence[tuple[str, FeedItem]]) -> set[str]:
        """Return which of many items that appear at once are hardly new.

        That are those without a date, and those that are dated before the last look, which did
        not find them. If the feed has nothing else, and nothing that was known, it is another feed.
        """
        if self.last_read is None:
            return set()
        before = self.last_read - _LATE
        undated = {id for id, item in new if item.date is None or item.date < before}
        if len(undated) >= (_FEW if self.none_known else _MANY):
            return {id for id, _ in new} if self.none_known else undated
        return {id for id, _ in new} if self.none_known and len(new) >= _MANY else set()


def _beyond_limits(
    ids: Sequence[str], rules: FeedRules, now: float, alerted: Sequence[float]
) -> dict[str, LeftOut]:
    """Return which of these alerts, the oldest first, the limits forbid; the newest may go first.

    Alerts that are left out are not sent later, because news gets old.
    """
    sent = list(alerted)
    found: dict[str, LeftOut] = {}

    def since(seconds: float) -> int:
        return sum(one > now - seconds for one in sent)

    for id in reversed(ids):
        if since(60 * rules.gap_minutes):
            found[id] = LeftOut.TOO_SOON
        elif rules.most_per_hour and since(3600) >= rules.most_per_hour:
            found[id] = LeftOut.TOO_MANY_HOUR
        elif rules.most_per_day and since(86400) >= rules.most_per_day:
            found[id] = LeftOut.TOO_MANY_DAY
        else:
            sent.append(now)
    return found
