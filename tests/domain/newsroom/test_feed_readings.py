"""When feeds are read: how often, on which condition, and what comes of responses that fail."""

from __future__ import annotations

import pytest

from service.model.newsroom.feeds import FeedReading, FeedRules
from tests.support.network.newspaper import Newspaper, response
from tests.support.newsroom.feeds import Watched, item, rss
from workers.fetching import feed_jobs
from workers.fetching.feed import read_feed

pytestmark = pytest.mark.redis

NORA = "nora@paper.example"


def test_a_feed_that_did_not_change_costs_nothing(watched: Watched, paper: Newspaper) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600), ETag='"1"')
    feed = watched.add()
    paper.pages["/feed"] = response(status=304)
    watched.look(5)
    assert 'if-none-match: "1"' in paper.requests[-1].lower()
    one = watched.state(feed)
    assert (one.state.read_at, one.state.etag, one.problem) == (watched.now, '"1"', "")
    paper.pages["/feed"] = rss(item("ferry", watched.now), ETag='"2"')
    watched.look(5)
    assert watched.titles() == ["The ferry"]


def test_a_server_that_calls_everything_unchanged_is_named(
    watched: Watched, paper: Newspaper
) -> None:
    """We have asked for the feed without a condition, so that we would never see an item."""
    paper.pages["/feed"] = response(status=304)
    assert watched.state(watched.add()).problem == (
        "127.0.0.1 does not give the feed (it answers 304)."
    )


def test_a_server_that_answers_unchanged_for_ever_is_believed_for_an_hour(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600), ETag='"1"')
    feed = watched.add()
    paper.pages["/feed"] = response(status=304)
    watched.look(59)
    assert (watched.state(feed).problem, "if-none-match" in paper.requests[-1].lower()) == (
        "",
        True,
    )
    paper.pages["/feed"] = rss(item("ferry", watched.now), ETag='"1"')
    watched.look(5)
    assert "if-none-match" not in paper.requests[-1].lower()
    assert watched.titles() == ["The ferry"]
    watched.look(5)
    assert "if-none-match" in paper.requests[-1].lower()


def test_what_is_missing_of_a_response_that_was_cut_off_is_read_the_next_time(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    whole = rss(item("harbour", watched.now - 600), item("ferry", watched.now), ETag='"1"')
    paper.pages["/feed"] = whole[: whole.index(b"The ferry")]
    watched.look(5)
    assert (watched.state(feed).problem, watched.titles()) == ("", [])
    paper.pages["/feed"] = whole
    watched.look(5)
    assert "if-none-match" not in paper.requests[-1].lower()
    assert watched.titles() == ["The ferry"]


def test_a_feed_on_which_our_own_reading_fails_is_marked_and_the_others_go_on(
    watched: Watched, paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(body: bytes, *given: object) -> FeedReading:
        if b"odd" in body:
            raise ArithmeticError
        return read_feed(body, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(feed_jobs, "read_feed", read)
    paper.pages["/odd"] = rss(item("odd", watched.now))
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    odd, feed = watched.add("/odd"), watched.add()
    assert watched.state(odd).problem == "The feed has mistakes, and cannot be read."
    assert watched.state(feed).problem == ""


def test_a_feed_that_fails_is_read_less_often_and_the_others_go_on(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed, broken = watched.add(), watched.add("/broken")
    one = watched.state(broken)
    assert one.problem == "127.0.0.1 does not give the feed (it answers 404)."
    waits = []
    for _ in range(6):
        assert one.due
        waits.append((one.due - watched.now) / 60)
        watched.look(waits[-1])
        one = watched.state(broken)
    assert waits == [10, 20, 40, 60, 60, 60]
    assert watched.state(feed).problem == ""
    paper.pages["/broken"] = rss(item("harbour", watched.now - 600))
    watched.look(60)
    assert (watched.state(broken).problem, watched.state(broken).state.fails) == ("", 0)


@pytest.mark.parametrize(
    ("fields", "minutes"),
    [
        ({"Cache_Control": "public, max-age=1200"}, 20),
        ({"Cache_Control": "max-age=86400"}, 60),
        ({"Cache_Control": "max-age=5"}, 5),
        ({"Retry_After": "900"}, 15),
        ({"Retry_After": "nonsense"}, 5),
    ],
    ids=str,
)
def test_what_a_server_asks_for_is_respected_up_to_an_hour(
    watched: Watched, paper: Newspaper, fields: dict[str, str], minutes: float
) -> None:
    paper.pages["/feed"] = rss(**fields)
    due = watched.state(watched.add()).due
    assert due == watched.now + 60 * minutes


@pytest.mark.parametrize(
    ("head", "fields"),
    [("", {"Cache_Control": "max-age=3600"}), ("<ttl>60</ttl>", {})],
    ids=["its server", "itself"],
)
def test_a_feed_that_asks_to_be_read_once_an_hour_has_no_backlog_then(
    watched: Watched, paper: Newspaper, head: str, fields: dict[str, str]
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600), head=head, **fields)
    feed = watched.add()
    new = [item(name, watched.now + 1800 + n) for n, name in enumerate(("a", "b", "c", "d"))]
    paper.pages["/feed"] = rss(*new, head=head, **fields)
    watched.look(60.1)
    assert watched.titles() == ["The a", "The b", "The c", "The d"]
    assert "backlog" not in str(watched.state(feed).state.notices)
    assert watched.state(feed).due == watched.now + 3600


def test_a_feed_that_asks_to_be_left_alone_is_also_when_it_does_not_change(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(head="<ttl>30</ttl>")
    feed = watched.add()
    for _ in range(2):
        assert watched.state(feed).due == watched.now + 1800
        watched.look(30)
    assert len(paper.requests) == 3


def test_a_feed_that_is_gone_for_good_rests(watched: Watched, paper: Newspaper) -> None:
    paper.pages["/feed"] = response(status=410)
    feed = watched.add()
    one = watched.state(feed)
    assert (one.due, "gone for good" in one.problem) == (None, True)
    paper.pages["/feed"] = rss()
    watched.runtime.feeds.look_now(one)
    watched.look()
    assert watched.state(feed).problem == ""


def test_a_request_that_is_lost_is_made_again_after_a_minute(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feeds = watched.runtime.store.feeds
    feed = watched.runtime.feeds.add(FeedRules(url=paper.origin, everyone=True), by=NORA)
    watched.tick()
    (first,) = feeds.under_way()
    watched.now += 59
    watched.runtime.feeds.look_now(feed)
    watched.tick()
    assert feeds.under_way() == [first], "one at a time"
    watched.now += 1
    watched.tick()
    (second,) = feeds.under_way()
    assert second.request != first.request
    assert not feeds.take(first, "{}", due=None), "what comes late is not taken"


def test_nothing_is_asked_for_while_no_fetch_process_runs(
    watched: Watched, paper: Newspaper
) -> None:
    watched.redis.delete("stoppress:alive:rq:worker:fetch.test")
    watched.runtime.feeds.add(FeedRules(url=paper.origin, everyone=True), by=NORA)
    watched.tick()
    assert watched.runtime.store.feeds.under_way() == []
    assert not watched.runtime.feeds.has_readers()
