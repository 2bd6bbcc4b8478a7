"""Hubs of feeds (WebSub): we subscribe, they call, and nobody is believed who calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from service.domain.newsroom.feed_hubs import NoSubscription
from service.model.newsroom.feed_requests import FeedRequest
from tests.support.network.newspaper import Newspaper, Page, response
from tests.support.newsroom.feeds import LINK, Watched, item, rss

pytestmark = pytest.mark.redis

HUB = '<atom:link rel="hub" href="{0}/hub"/><atom:link rel="self" href="{0}/feed"/>'


@pytest.fixture
def with_hub(watched_with: Callable[..., Watched], paper: Newspaper) -> Watched:
    watched = watched_with(SITE_URL="https://push.paper.example")
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600), head=HUB.format(paper.origin))
    paper.pages["/hub"] = response(status=202)
    return watched


def asked_of_hub(watched: Watched) -> dict[str, str]:
    """What the hub was asked for last."""
    watched.fetch()
    found = [
        body
        for head, body in zip(watched.paper.requests, watched.paper.bodies, strict=True)
        if head.startswith("POST /hub")
    ]
    return {name: values[0] for name, values in parse_qs(found[-1].decode()).items()}


def test_a_hub_is_asked_to_call_and_a_call_has_the_feed_read_at_once(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched, hubs = with_hub, with_hub.runtime.feeds.hubs
    feed = watched.add(minutes=60)
    asked = asked_of_hub(watched)
    topic = f"{paper.origin}/feed"
    assert (asked["hub.mode"], asked["hub.topic"]) == ("subscribe", topic)
    found = re.fullmatch(
        rf"https://push\.paper\.example/feeds/{feed.id}/(.+)", asked["hub.callback"]
    )
    assert found
    token = found[1]
    hubs.confirm(feed.id, token, "subscribe", topic, 86400, watched.now)
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    watched.look(1)
    assert watched.titles() == [], "its turn is in an hour"
    hubs.ping(feed.id, token, watched.now)
    watched.look()
    assert watched.titles() == ["The ferry"]
    seen = len(paper.requests)
    for _ in range(20):
        hubs.ping(feed.id, token, watched.now)
        watched.look()
    assert len(paper.requests) == seen, "at most once in two seconds"
    watched.now += 2
    watched.look()
    assert len(paper.requests) == seen + 1, "and then it is not forgotten"


def test_a_call_that_comes_while_the_feed_is_read_has_it_read_again(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched, hubs = with_hub, with_hub.runtime.feeds.hubs
    feed = watched.add(minutes=60)
    token = asked_of_hub(watched)["hub.callback"].rpartition("/")[2]
    watched.now += 3600
    watched.tick()
    watched.fetch()
    watched.now += 1
    paper.pages["/feed"] = rss(item("ferry", watched.now))
    hubs.ping(feed.id, token, watched.now)
    watched.tick()
    assert watched.titles() == []
    watched.now += 2
    watched.look()
    assert watched.titles() == ["The ferry"]


def test_a_hub_does_not_press_a_server_that_has_had_too_many_requests(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched, hubs = with_hub, with_hub.runtime.feeds.hubs
    feed = watched.add(minutes=60)
    token = asked_of_hub(watched)["hub.callback"].rpartition("/")[2]
    paper.pages["/feed"] = response(status=429, Retry_After="3600")
    watched.look(60)
    seen, due = len(paper.requests), watched.state(feed).due
    for _ in range(5):
        hubs.ping(feed.id, token, watched.now)
        watched.look(1)
    assert (len(paper.requests), watched.state(feed).due) == (seen, due)
    paper.pages["/feed"] = rss(item("ferry", watched.now + 3600))
    watched.look(55)
    assert watched.titles() == ["The ferry"]


def test_a_stranger_confirms_nothing_and_has_nothing_read(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched, hubs = with_hub, with_hub.runtime.feeds.hubs
    feed, topic = watched.add(minutes=60), f"{paper.origin}/feed"
    token = asked_of_hub(watched)["hub.callback"].rpartition("/")[2]
    for id, known, mode, about in (
        (feed.id, "x", "subscribe", topic),
        (feed.id, token, "subscribe", "https://evil.example/"),
        (feed.id, token, "unsubscribe", topic),
        (feed.id, token, "denied", topic),
        ("0" * 12, token, "subscribe", topic),
        (f"{feed.id}:log", token, "subscribe", topic),
        (feed.id, "é", "subscribe", topic),
    ):
        with pytest.raises(NoSubscription):
            hubs.confirm(id, known, mode, about, 60, watched.now)
    with pytest.raises(NoSubscription) as error:
        hubs.ping(feed.id, "x", watched.now)
    assert not error.value.is_over
    due = watched.state(feed).due
    assert due == watched.now + 3600
    hub = watched.state(feed).hub
    assert hub is not None
    assert not hub.holds(watched.now)


def test_a_feed_of_others_names_no_hub_inside_the_newsrooms_network(
    with_hub: Watched, paper: Newspaper
) -> None:
    requests = with_hub.runtime.store.feeds.requests
    for named_by, status in (("https://evil.example/feed", "not public"), (paper.origin, "202")):
        asked = FeedRequest(LINK, hub=f"{paper.origin}/hub", named_by=named_by, callback=LINK)
        requests.put("0" * 32, asked.as_json())
        with_hub.reader.do("0" * 32)
        found = with_hub.redis.hget("{g}:feed-request:" + "0" * 32, "result")
        assert found == status.encode()
        with_hub.redis.delete("{g}:feed-request:" + "0" * 32)
    assert len(paper.requests) == 1


def test_a_subscription_is_renewed_and_ends_with_the_feed(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched, hubs = with_hub, with_hub.runtime.feeds.hubs
    feed, topic = watched.add(minutes=1440), f"{paper.origin}/feed"
    asked = asked_of_hub(watched)
    token = asked["hub.callback"].rpartition("/")[2]
    hubs.confirm(feed.id, token, "subscribe", topic, 3600, watched.now)
    watched.runtime.feeds.look_now(watched.state(feed))
    watched.look()
    assert watched.state(feed).due == watched.now + 0.8 * 3600, "before the lease ends"
    watched.look(48)
    assert asked_of_hub(watched) == asked
    assert len([one for one in paper.requests if one.startswith("POST /hub")]) == 2
    watched.runtime.feeds.remove(feed.id)
    asked = asked_of_hub(watched)
    assert (asked["hub.mode"], asked["hub.callback"].rpartition("/")[2]) == ("unsubscribe", token)
    hubs.confirm(feed.id, token, "unsubscribe", topic, 0, watched.now)
    with pytest.raises(NoSubscription) as error:
        hubs.ping(feed.id, token, watched.now)
    assert error.value.is_over, "the hub hears that it is over"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(status=308, location="/other-hub"), "it answers 308"),
        (response(status=403), "it answers 403"),
        (response(status=502), "it answers 502"),
        (
            lambda client: client.sendall(b"SSH-2.0-hub\r\n"),
            "answers with something that is not HTTP",
        ),
    ],
    ids=["308", "403", "502", "no http"],
)
def test_a_hub_that_refuses_is_named_in_words_and_the_feed_goes_on(
    with_hub: Watched, paper: Newspaper, answer: Page, why: str
) -> None:
    paper.pages["/hub"] = answer
    feed = with_hub.add()
    with_hub.look()
    said = with_hub.state(feed).hub_problem(with_hub.now)
    assert said.startswith("Its hub, 127.0.0.1, does not call when there is something new:")
    assert why in said
    assert said.endswith("The feed is read all the same, every 5 minutes.")
    paper.pages["/feed"] = rss(item("ferry", with_hub.now + 200), head=HUB.format(paper.origin))
    with_hub.look(5)
    assert with_hub.titles() == ["The ferry"]
    asked = len([one for one in paper.requests if one.startswith("POST /hub")])
    with_hub.look(30)
    assert len([one for one in paper.requests if one.startswith("POST /hub")]) == asked
    paper.pages["/hub"] = response(status=202)
    with_hub.look(24 * 60)
    token = asked_of_hub(with_hub)["hub.callback"].rpartition("/")[2]
    topic = f"{paper.origin}/feed"
    with_hub.runtime.feeds.hubs.confirm(feed.id, token, "subscribe", topic, 86400, with_hub.now)
    with_hub.look()
    assert with_hub.state(feed).hub_problem(with_hub.now) == ""


def test_a_hub_that_denies_or_never_asks_back_is_named(with_hub: Watched, paper: Newspaper) -> None:
    feed, hubs = with_hub.add(), with_hub.runtime.feeds.hubs
    token = asked_of_hub(with_hub)["hub.callback"].rpartition("/")[2]
    with_hub.look()
    assert with_hub.state(feed).hub_problem(with_hub.now) == "", "it has a moment"
    with_hub.look(3)
    silent = with_hub.state(feed).hub_problem(with_hub.now)
    assert "it has never asked back, so it may not reach this service" in silent
    topic, reason = f"{paper.origin}/feed", "Not\nallowed " + "x" * 500
    for id, known, about in (
        (feed.id, "x", topic),
        (feed.id, token, "https://evil.example/"),
        ("0" * 12, token, topic),
    ):
        with pytest.raises(NoSubscription):
            hubs.denied(id, known, about, reason)
    hubs.denied(feed.id, token, topic, reason)
    denied = with_hub.state(feed).hub_problem(with_hub.now)
    assert "it refuses, and says “Not allowed xxx" in denied
    assert len(denied) < 400
    hubs.confirm(feed.id, token, "subscribe", topic, 86400, with_hub.now)
    assert with_hub.state(feed).hub_problem(with_hub.now) == ""
    for minutes in (20 * 60, 5 * 60, 3):  # it is asked again, and is silent
        with_hub.look(minutes)
    assert "it does not ask back any more" in with_hub.state(feed).hub_problem(with_hub.now)


def test_a_hub_that_its_feed_does_not_name_any_more_is_no_problem(
    with_hub: Watched, paper: Newspaper
) -> None:
    watched = with_hub
    feed = watched.add()
    token = asked_of_hub(watched)["hub.callback"].rpartition("/")[2]
    topic = f"{paper.origin}/feed"
    watched.runtime.feeds.hubs.confirm(feed.id, token, "subscribe", topic, 3600, watched.now)
    paper.pages["/feed"] = rss()
    for minutes in (30, 60, 24 * 60):
        watched.look(minutes)
        assert watched.state(feed).hub_problem(watched.now) == ""
