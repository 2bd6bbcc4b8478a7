"""Feeds: what clock, fetch process and hub make of a newspaper's items, each alerted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis import RedisError

from service.domain.newsroom.feeds import FeedChanged, FeedRefused, UnknownFeed
from service.model.newsroom.feed_items import LeftOut
from service.model.newsroom.feed_requests import FeedAnswer
from service.model.newsroom.feeds import FeedReading, FeedRules
from service.model.notifications import Audience, State
from service.model.payload import Payload
from service.store.newsroom.feeds import Feeds as FeedRows
from tests.support.client import Client, Reader
from tests.support.network.newspaper import Newspaper
from tests.support.newsroom.feeds import LINK, Watched, item, rss
from tests.support.processes.installation import content

pytestmark = pytest.mark.redis

NORA, SAM = "nora@paper.example", "sam@paper.example"


# Each item once ---------------------------------------------------------------------------------


def test_a_new_item_is_alerted_once_and_what_was_there_is_not(
    watched: Watched, paper: Newspaper
) -> None:
    old = item("harbour", watched.now - 600)
    paper.pages["/feed"] = rss(old)
    feed = watched.add()
    assert watched.titles() == []
    assert watched.state(feed).state.notices == (
        "It had 1 item when it was read first. Nobody was alerted.",
    )
    paper.pages["/feed"] = rss(item("ferry", watched.now + 200), old)
    for _ in range(3):
        watched.look(5)
    (alert,) = watched.alerts()
    assert (alert.text.title, alert.text.body) == ("The ferry", "All about the ferry.")
    assert (alert.text.url, alert.text.urgency, alert.text.kind) == (
        f"{LINK}ferry",
        "normal",
        "news",
    )
    assert (alert.state, alert.created_by) == (State.SENDING, "feed /feed")
    (line,) = watched.log(feed)
    assert (line.title, line.result, line.alert) == ("The ferry", "alerted", alert.id)
    assert (watched.state(feed).state.sent, watched.state(feed).state.left_out) == (1, 0)


def test_a_clock_that_is_killed_after_publishing_alerts_nobody_twice(
    watched: Watched, paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    paper.pages["/feed"] = rss(*(item(name, watched.now + 200) for name in ("ferry", "pier")))

    def killed(*_: object, **__: object) -> None:
        raise RedisError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(FeedRows, "take", killed)
        with pytest.raises(RedisError):
            watched.look(5)
    assert sorted(watched.titles()) == ["The ferry", "The pier"]
    for minutes in (0.1, 1, 5):  # a later clock, which also asks again for what seems lost
        watched.look(minutes)
    assert len(watched.titles()) == 2
    assert [line.result for line in watched.log(feed)] == ["alerted", "alerted"]


def test_two_clocks_alert_once_and_store_once(watched: Watched, paper: Newspaper) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    paper.pages["/feed"] = rss(item("ferry", watched.now + 200))
    watched.now += 300
    watched.tick()
    watched.fetch()
    (same,) = watched.runtime.store.feeds.under_way()
    clock = watched.runtime.feed_clock
    for _ in range(2):
        clock._take(same, same.result or "", watched.now)
    assert watched.titles() == ["The ferry"]
    assert len(watched.log(feed)) == 1


def test_of_two_clicks_at_once_one_adds_the_feed(
    watched: Watched, paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    add = FeedRows.add

    def second(self: FeedRows, *given: Any) -> bool | None:
        monkeypatch.setattr(FeedRows, "add", add)
        watched.add("/other")
        watched.add()
        return add(self, *given)

    monkeypatch.setattr(FeedRows, "add", second)
    with pytest.raises(FeedRefused, match="already"):
        watched.add()
    assert [one.rules.name for one in watched.runtime.feeds.all()] == ["/feed", "/other"]


def test_the_link_of_another_feed_or_of_an_editor_is_not_alerted_again(
    watched: Watched, paper: Newspaper
) -> None:
    for path in ("/feed", "/other"):
        paper.pages[path] = rss(item("harbour", watched.now - 600))
    feed, other = watched.add(), watched.add("/other")
    publish = watched.runtime.publishing.publish
    publish(content("By hand", url=f"{LINK}pier#top"), Audience(everyone=True), by=NORA)
    for path, name in (("/feed", "ferry"), ("/other", "ferry")):
        paper.pages[path] = rss(item(name, watched.now), item("pier", watched.now))
    watched.look(5)
    assert sorted(watched.titles()) == ["By hand", "The ferry"]
    lines = {(line.title, line.why) for one in (feed, other) for line in watched.log(one)}
    assert ("The pier", LeftOut.SAME_LINK.in_words) in lines
    assert ("The ferry", LeftOut.SAME_LINK.in_words) in lines


def test_topics_follow_from_the_categories_and_an_item_without_any_is_left_out(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add(everyone=False, topic_by_category={"tennis": "sport"})
    paper.pages["/feed"] = rss(
        item("final", watched.now, category="Tennis"), item("weather", watched.now)
    )
    watched.look(5)
    (alert,) = watched.alerts()
    assert (alert.text.title, alert.audience.topics) == ("The final", ("sport",))
    assert {line.why for line in watched.log(feed)} == {
        "",
        "The rules name no topic for its categories.",
    }
    watched.runtime.topics.remove("sport")
    paper.pages["/feed"] = rss(item("semi-final", watched.now + 290, category="Tennis"))
    watched.look(5)
    assert watched.log(feed)[-1].why == "There is no topic “sport” any more."


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("http://paper.example/x", "Its link begins with http://."),
        ("https://paper.example/" + "x" * 1990, "no link"),
    ],
    ids=["http", "long"],
)
def test_an_item_whose_link_readers_cannot_open_is_left_out(
    watched: Watched, paper: Newspaper, link: str, why: str
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    paper.pages["/feed"] = rss(item("ferry", watched.now, link=link))
    watched.look(5)
    assert watched.titles() == []
    assert why in watched.log(feed)[-1].why


# Drafts, second persons, stops --------------------------------------------------------------------


def test_a_feed_can_make_drafts(watched: Watched, paper: Newspaper) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    watched.add(makes_drafts=True)
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(5)
    (draft,) = watched.alerts()
    assert (draft.state, draft.created_by) == (State.DRAFT, "feed /feed")
    watched.runtime.publishing.remove(draft.id, by=NORA)
    watched.look(5)
    assert watched.titles() == [], "a draft that was deleted does not come back"


def test_an_alert_to_many_waits_for_a_second_person(
    watched_with: Callable[..., Watched], paper: Newspaper, client: Client
) -> None:
    watched = watched_with(TWO_PERSON_ABOVE="1")
    for number in range(2):
        Reader(client, number)
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(5)
    (waiting,) = watched.alerts()
    assert (waiting.state, waiting.waits_for_approval) == (State.DRAFT, True)
    assert waiting.authors == (NORA,), "who added the feed cannot be the second person"
    assert watched.log(feed)[-1].waits
    watched.runtime.approvals.approve(waiting.id, waiting.digest, by=SAM)
    assert watched.alerts()[0].state is State.SENDING


def test_what_comes_while_everything_is_stopped_is_left_out(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    watched.runtime.stops.hold(by=NORA)
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(5)
    watched.runtime.stops.release(by=NORA)
    watched.look(5)
    assert watched.titles() == []
    assert [line.why for line in watched.log(feed)] == ["Sending was stopped."]


def test_a_feed_that_was_paused_goes_on_with_what_comes_then(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    feeds, one = watched.runtime.feeds, watched.state(feed)
    paused = feeds.change(one, replace(one.rules, is_active=False))
    assert paused.due is None
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(10)
    with pytest.raises(FeedChanged):
        feeds.change(one, replace(one.rules, name="By an editor who did not see the pause"))
    feeds.change(paused, one.rules)
    watched.look(1)
    assert watched.titles() == []
    paper.pages["/feed"] = rss(item("pier", watched.now))
    watched.look(5)
    assert watched.titles() == ["The pier"]


@pytest.mark.parametrize("anew", ["paused", "moved"])
def test_a_feed_that_begins_anew_sends_no_more_than_it_may(
    watched: Watched, paper: Newspaper, anew: str
) -> None:
    paper.pages["/feed"] = paper.pages["/moved"] = rss(item("harbour", watched.now - 600))
    feed = watched.add(most_per_day=1)
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(5)
    feeds, rules = watched.runtime.feeds, watched.state(feed).rules
    for change in (
        {"is_active": False} if anew == "paused" else {"url": f"{paper.origin}/moved"},
        {"is_active": True},
    ):
        rules = replace(rules, **change)
        feeds.change(watched.state(feed), rules)
        watched.look()
    paper.pages["/feed"] = paper.pages["/moved"] = rss(item("pier", watched.now + 300))
    watched.look(5)
    assert watched.titles() == ["The ferry"]
    assert watched.log(feed)[-1].why == LeftOut.TOO_MANY_DAY.in_words


def test_a_feed_that_is_paused_while_it_is_read_alerts_nothing(
    watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.now += 300
    watched.tick()
    watched.fetch()
    one = watched.state(feed)
    watched.runtime.feeds.change(one, replace(one.rules, is_active=False))
    watched.tick()
    assert (watched.titles(), watched.state(feed).due) == ([], None)
    # As a clock leaves it that has read the rules before the pause.
    watched.redis.zadd("{g}:feeds:due", {feed.id: watched.now})
    watched.look()
    assert (len(paper.requests), watched.state(feed).due) == (2, None)


# What a fetch process stores ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "null",
        "[" * 100_000,
        "{}",
        json.dumps({"version": 1, "reading": 5, "digest": "", "wait": 0}),
        FeedAnswer(FeedReading(LINK)).as_json().replace('"wait": 0', '"wait": "0"'),
        FeedAnswer(FeedReading(LINK)).as_json().replace('\\"items\\": []', '\\"items\\": [5]'),
    ],
    ids=range(7),
)
def test_what_a_fetch_process_should_not_have_stored_marks_the_feed_alone(
    watched: Watched, paper: Newspaper, stored: str
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed, other = watched.add(), watched.add("/other")
    watched.now += 3600
    watched.tick()
    for one in watched.runtime.store.feeds.under_way():
        watched.runtime.store.feeds.requests.keep(one.request, stored)
    watched.tick()
    assert watched.state(feed).problem == "The feed has mistakes, and cannot be read."
    assert watched.state(other).state.fails == 2
    assert watched.titles() == []


def test_a_feed_that_is_removed_leaves_nothing(watched: Watched, paper: Newspaper) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    feed = watched.add()
    watched.now += 300
    watched.tick()
    watched.runtime.feeds.remove(feed.id)
    watched.fetch()
    watched.tick()
    kept = [key for key in watched.redis.keys("*feed*") if b"request" not in key]
    assert [key for key in kept if not key.startswith((b"rq:", b"stoppress:"))] == []
    with pytest.raises(UnknownFeed):
        watched.runtime.feeds.get(feed.id)


# Rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (FeedRules(url="nonsense", everyone=True), "url"),
        (FeedRules(url="ftp://paper.example/", everyone=True), "url"),
        (FeedRules(url="https://paper.example/known", everyone=True), "url"),
        (FeedRules(url=LINK), "topics"),
        (FeedRules(url=LINK, topics=("cooking",)), "topics"),
        (FeedRules(url=LINK, topic_by_category={"a": "cooking"}), "topic_by_category"),
    ],
    ids=str,
)
def test_rules_that_make_no_sense_are_refused(
    watched: Watched, rules: FeedRules, field: str
) -> None:
    known = FeedRules(url="feed:paper.example/known", everyone=True)
    assert watched.runtime.feeds.add(known, by=NORA).rules.url == "https://paper.example/known"
    with pytest.raises(FeedRefused) as error:
        watched.runtime.feeds.add(rules, by=NORA)
    assert error.value.field == field
    assert len(watched.runtime.feeds.all()) == 1


def test_a_rehearsal_says_what_would_have_been_sent_and_sends_nothing(
    watched: Watched, paper: Newspaper
) -> None:
    hour = 3600
    paper.pages["/feed"] = rss(
        *(item(name, watched.now - at) for name, at in (("ferry", hour), ("war", 30 * hour)))
    )
    feed = watched.add()
    found = watched.runtime.feeds.rehearse(feed) or ()
    assert [one.item.title for one in found if one.left_out is None] == ["The ferry"]
    assert watched.titles() == []


def test_a_feeds_own_link_parameters_stay_with_its_alert(
    watched_with: Callable[..., Watched], paper: Newspaper
) -> None:
    watched = watched_with(LINK_PARAMETERS="utm_source=push", SITE_ORIGINS="https://paper.example")
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    watched.add(link_parameters="utm_source=rss&c={id}")
    paper.pages["/feed"] = rss(item("ferry", watched.now + 200))
    watched.look(5)
    (alert,) = watched.alerts()
    publishing, config = watched.runtime.publishing, watched.runtime.config
    ours = f"?utm_source=rss&c={alert.id}"

    def opens(id: int) -> str:
        made = Payload(publishing.get(id), config.public_url, config.opened_links)
        shown: str = json.loads(made.carrying(None))["notification"]["navigate"]
        return shown

    assert opens(alert.id) == f"{LINK}ferry{ours}"
    correct = watched.runtime.corrections.correct
    correction = correct(alert.id, title="Afloat", body=None, url=None, replace=True, by=NORA).id
    assert opens(correction) == f"{LINK}ferry{ours}"
