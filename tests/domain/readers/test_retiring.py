"""Readers who do not visit for long are asked once whether to keep the alerts, then retired."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest
from redis import RedisError

from service.domain.readers.retiring import BY
from service.model.inactive import last_month, months_until
from service.model.language.languages import LANGUAGES, texts
from service.model.notifications import Audience, Notification
from service.model.retention import DAY, HELD_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.store.layout.records import records_key
from service.store.readers.arrivals import Arrival
from service.store.readers.retiring import RetiringRows
from tests.support.client import API, Client
from tests.support.processes.as_workers import deliver, hold
from tests.support.requested import requested
from workers.sending.send import Send

pytestmark = pytest.mark.redis

NOW = datetime(2031, 7, 15, 12, tzinfo=timezone.utc).timestamp()
ON = {"RETIRE_AFTER_DAYS": "90", "RETIRE_ANSWER_DAYS": "30", "SITE_NAME": "The Ferry Post"}


class Newsroom:
    """An installation of which the test is the clock and the worker."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.runtime = client, client.runtime
        self.now = NOW
        self.has_visitors = True
        monkeypatch.setattr(clock, "time", lambda: self.now)

    def move_in(self, **days_ago: int) -> dict[str, SubscriptionId]:
        """Store readers who visited last so many days ago; return their ids by name."""
        runtime, today = self.runtime, int(self.now // DAY)
        for name, ago in days_ago.items():
            asked = requested(name, locale="ru")._replace(vapid_key=runtime.keys.current)
            runtime.subscriptions.take_over([Arrival(asked, None, 1, today - ago)], untried=False)
        return {name: runtime.subscriptions.at(requested(name).endpoint).id for name in days_ago}

    def wait(self, days: float = 0) -> None:
        """Let days pass, and then the clock do what it does."""
        self.now += days * DAY
        if self.has_visitors:
            self.runtime.subscriptions.subscribe(requested("regular"))
        for _ in range(15):  # of which each takes a partition
            self.runtime.retiring.look_after(self.now)

    def visit(self, name: str) -> None:
        """Let a reader open a page of the newspaper."""
        self.runtime.subscriptions.subscribe(requested(name), refresh=True)

    def ask(self) -> None:
        """Let the question reach everybody who is asked."""
        self.wait()
        hold(self.runtime, self.question().id, {})
        self.wait()
        self.wait(HELD_KEPT / DAY)

    def question(self) -> Notification:
        """The alert that asks, which is the only one."""
        (one,) = self.runtime.publishing.latest(9)
        return one

    def here(self, names: dict[str, SubscriptionId]) -> list[str]:
        """Which of these readers are still subscribed."""
        redis = self.runtime.store.redis
        return [n for n, id in names.items() if redis.hexists(records_key(id), id.number % 256)]


@pytest.fixture
def newsroom(
    client_with: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Newsroom]]:
    yield lambda **settings: Newsroom(client_with(**(ON | settings)), monkeypatch)


def test_only_readers_who_were_asked_and_neither_visit_nor_click_are_retired(
    newsroom: Callable[..., Newsroom],
) -> None:
    here = newsroom()
    quarter = int(here.now // QUARTER) + 1
    readers = here.move_in(silent=200, sleeping=106, visits=150, clicks=500, young=104, new=1)
    here.wait()
    question = here.question()
    assert question.audience == Audience(everyone=True, last_seen_until="203103")
    assert here.runtime.publishing.reach(question.audience) == 4
    hold(here.runtime, question.id, {quarter: 1})
    deliver(here.runtime, quarter, question.id)
    here.wait(HELD_KEPT / DAY)
    here.wait(10)
    assert here.here(readers) == [*readers]

    here.runtime.subscriptions.subscribe(requested("visits"), refresh=True)
    receipt = here.runtime.tokens.receipt(question.id, readers["clicks"])
    answer = here.client.call("POST", f"{API}/receipts", {"token": receipt, "event": "clicked"})
    assert answer.status_code == 204
    shown = here.runtime.tokens.receipt(question.id, readers["silent"])
    here.client.call("POST", f"{API}/receipts", {"token": shown, "event": "shown"})
    here.wait(17)
    assert here.here(readers) == [*readers], "they have thirty days since the send was over"
    here.wait(1)
    assert here.here(readers) == ["visits", "clicks", "young", "new"]
    assert here.runtime.store.departures.counts() == {"retired": 2}
    assert here.runtime.store.redis.keys("*asked*") == []


def test_who_was_not_asked_stays_until_the_next_round(newsroom: Callable[..., Newsroom]) -> None:
    here = newsroom()
    readers = here.move_in(**{f"paused{n}": 200 for n in range(5)})
    here.wait()
    first = here.question()
    hold(here.runtime, first.id, {int(here.now // QUARTER) + 1: 5})  # no wave has it
    here.wait(3)
    here.wait(60)
    here.wait()
    assert here.here(readers) == [*readers]
    assert here.runtime.publishing.latest(1)[0].id != first.id, "they are asked again"
    assert here.runtime.store.departures.counts() == {}


@pytest.mark.parametrize(("silent", "held"), [(50, ""), (51, "too many")])
def test_nobody_is_asked_while_more_than_a_fifth_seem_not_to_visit(
    newsroom: Callable[..., Newsroom], silent: int, held: str
) -> None:
    here = newsroom()
    here.move_in(**{f"silent{n}": 200 for n in range(silent)}, new=1)
    here.wait()
    rows = here.runtime.store.retiring
    assert (len(here.runtime.publishing.latest(9)), rows.round().held) == (not held, held)
    here = newsroom(RETIRE_AFTER_DAYS="0")
    here.wait()
    assert rows.round().held == ""


def test_nobody_is_asked_or_retired_while_no_page_has_our_tag(
    newsroom: Callable[..., Newsroom],
) -> None:
    here = newsroom()
    here.has_visitors = False
    readers = here.move_in(silent=200, sleeping=180, other=8)
    here.wait()
    rows = here.runtime.store.retiring
    assert (here.runtime.publishing.latest(9), rows.round().held) == ([], "no visits")
    here.visit("other")
    here.wait(1)
    here.ask()
    here.wait(40)
    assert (here.here(readers), rows.round().held) == ([*readers], "no visits")
    here.visit("other")
    here.wait(1)
    assert (here.here(readers), rows.round().held) == (["other"], "")


def test_a_tag_that_was_missing_for_long_costs_no_reader(
    newsroom: Callable[..., Newsroom], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = newsroom()
    readers = here.move_in(silent=200, sleeping=180)
    here.ask()
    monkeypatch.setattr("service.model.inactive.TOO_MANY", 1)
    here.wait(40)
    rows = here.runtime.store.retiring
    assert (here.here(readers), rows.round().held) == ([*readers], "too many")
    here.visit("silent")
    here.wait(1)
    assert (here.here(readers), rows.round().held) == (["silent"], "")


@pytest.mark.parametrize("why", ["cancelled", "switched off"])
def test_nobody_is_retired_once_the_newsroom_does_not_want_it(
    newsroom: Callable[..., Newsroom], why: str
) -> None:
    here = newsroom()
    readers = here.move_in(silent=200)
    here.wait()
    if why == "cancelled":
        here.runtime.publishing.cancel(here.question().id, by="nora@paper.example")
    else:
        hold(here.runtime, here.question().id, {})
        here.wait(3)
        later = here.now
        here = newsroom(RETIRE_AFTER_DAYS="0")
        here.now = later
    here.wait()
    here.wait(100 if why == "switched off" else 40)
    assert here.here(readers) == ["silent"]
    assert here.runtime.store.redis.keys("*asked*") == []


def test_a_clock_that_is_killed_asks_once(
    newsroom: Callable[..., Newsroom], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = newsroom(TWO_PERSON_ABOVE="1")
    here.move_in(one=200, two=200)

    def killed(*_: object) -> None:
        raise RedisError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(RetiringRows, "put", killed)
        with pytest.raises(RedisError):
            here.wait()
    here.wait()
    assert (here.question().created_by, here.question().started_at is not None) == (BY, True)


def test_a_reader_who_comes_back_in_that_moment_stays(newsroom: Callable[..., Newsroom]) -> None:
    here = newsroom()
    readers = here.move_in(silent=200, back=200)
    subscriptions = here.runtime.store.subscriptions
    here.runtime.subscriptions.subscribe(requested("back"), refresh=True)
    today = int(here.now // DAY)
    ids = [*readers.values()]
    assert subscriptions.remove_all(ids, only_if=lambda record: record.seen < today) == 1
    assert here.here(readers) == ["back"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reader_is_asked_in_their_language(
    newsroom: Callable[..., Newsroom], language: str
) -> None:
    here = newsroom()
    readers = here.move_in(silent=200)
    here.wait()
    send, names = Send(here.runtime, here.question()), here.runtime.store.names
    ((_, record),) = here.runtime.store.records.of(readers.values())
    assert record is not None
    words = texts(language)["alerts"]
    message = send.message("r" * 22, record._replace(locale=names.locale(language)))
    shown = json.loads(message)["notification"]
    assert (shown["title"], shown["lang"]) == (words["still"], language)
    assert "The Ferry Post" in shown["body"] and "{" not in shown["body"]
    (button,) = shown["actions"]
    assert (button["title"], button["navigate"]) == (words["keep"], shown["navigate"])


def test_months_are_counted_so_that_nobody_is_asked_too_early() -> None:
    def at(*date: int) -> float:
        return datetime(*date, tzinfo=timezone.utc).timestamp()  # type: ignore[arg-type]

    assert last_month(at(2026, 3, 31), 90) == "202511"
    assert last_month(at(2026, 4, 1), 90) == "202512"
    assert months_until("202602")[-3:] == ["202512", "202601", "202602"]
    assert len({*months_until("202602")}) == 121
