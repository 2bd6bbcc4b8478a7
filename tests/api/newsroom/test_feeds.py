"""Feeds by the API, and what hubs call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.client import API, Client
from tests.support.network.newspaper import Newspaper
from tests.support.newsroom.feeds import ID, Watched, item, rss, store_feed

FEEDS = f"{API}/feeds"


def test_a_tool_adds_a_feed_changes_it_follows_it_and_removes_it(
    client: Client, paper: Newspaper, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(client.runtime, paper, monkeypatch)
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    body = {"url": f"{paper.origin}/feed", "draft": False, "topics": ["world"]}
    added = client.call("POST", FEEDS, body, token=token)
    assert (added.status_code, added.json["read_at"], added.json["added_by"]) == (
        201,
        None,
        "a test",
    )
    path = added.headers["Location"]
    again = client.call("POST", FEEDS, body, token=token)
    assert (again.status_code, again.json["errors"][0]["field"]) == (422, "url")
    assert client.call("POST", f"{path}/rehearse", token=token).status_code == 409
    watched.look()
    paper.pages["/feed"] = rss(item("ferry", watched.now + 60))
    watched.look(5)
    (shown,) = client.call("GET", FEEDS, token=token).json["feeds"]
    assert (shown["title"], shown["sent"], shown["problem"]) == ("The Daily Example", 1, "")
    (line,) = client.call("GET", f"{path}/log", token=token).json["log"]
    assert (line["result"], line["title"]) == ("alerted", "The ferry")
    alert = client.call("GET", f"{API}/notifications/{line['alert']}", token=token)
    assert (alert.status_code, alert.json["created_by"]) == (200, "feed The Daily Example")
    (would,) = client.call("POST", f"{path}/rehearse", token=token).json["items"]
    assert (would["title"], would["topics"], would["left_out"]) == ("The ferry", ["world"], None)
    changed = client.call("PATCH", path, {"active": False, "name": "Front"}, token=token)
    assert (changed.json["active"], changed.json["name"]) == (False, "Front")
    assert (changed.json["next_at"], changed.json["topics"]) == (None, ["world"])
    refused = client.call("POST", f"{path}/read", token=token)
    assert (refused.status_code, "is paused" in refused.json["detail"]) == (409, True)
    refused = client.call("PATCH", path, {"active": True, "topics": []}, token=token)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "topics")
    assert client.call("DELETE", path, token=token).status_code == 204
    assert client.call("GET", path, token=token).status_code == 404
    assert client.call("GET", FEEDS, token=token).json == {
        "feeds": [],
        "problem": "",
        "next_cursor": None,
    }


def test_a_feed_that_cannot_be_read_is_not_rehearsed_and_says_why(
    client: Client, paper: Newspaper, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(client.runtime, paper, monkeypatch)
    path = f"{FEEDS}/{watched.add('/missing').id}"
    for body, why in (({}, "it answers 404"), ({"active": False}, "is paused")):
        client.call("PATCH", path, body, token=token)
        refused = client.call("POST", f"{path}/rehearse", token=token)
        assert (refused.status_code, why in refused.json["detail"]) == (409, True), why


def test_without_a_fetch_process_the_list_says_so(client: Client, token: str) -> None:
    store_feed(client.runtime)
    assert "stoppress fetch" in client.call("GET", FEEDS, token=token).json["problem"]


@pytest.mark.parametrize("id", ["0" * 12, "x", f"{ID}:log", f"{ID}%00", "é"])
def test_an_unknown_feed_is_not_found(client: Client, token: str, id: str) -> None:
    store_feed(client.runtime)
    for method, what in (("GET", ""), ("DELETE", ""), ("GET", "/log"), ("POST", "/rehearse")):
        assert client.call(method, f"{FEEDS}/{id}{what}", token=token).status_code == 404
    browser = client.app.test_client()
    for method in ("GET", "POST"):
        assert browser.open(f"/feeds/{id}/x?hub.challenge=x", method=method).status_code == 404


def test_a_hub_is_answered_only_for_what_we_asked_for(
    client_with: Callable[..., Client], paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_with(SITE_URL="https://push.paper.example")
    watched = Watched(client.runtime, paper, monkeypatch)
    topic = "https://paper.example/self?a=1&b=2"
    rels = {"hub": f"{paper.origin}/hub", "self": topic.replace("&", "&amp;")}
    head = "".join(f'<atom:link rel="{rel}" href="{at}"/>' for rel, at in rels.items())
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600), head=head)
    feed = watched.add(minutes=60)
    hub = watched.state(feed).hub
    assert hub is not None
    browser = client.app.test_client()
    browser.environ_base["HTTP_HOST"] = "push.paper.example"
    path = f"/feeds/{feed.id}/{hub.token}"
    asked = {"hub.mode": "subscribe", "hub.topic": topic, "hub.challenge": "<b>7</b>"}
    asked["hub.lease_seconds"] = "86400"
    for wrong in (
        {"hub.topic": "https://evil.example/"},
        {"hub.mode": "unsubscribe"},
        {"hub.challenge": ""},
        {"hub.challenge": "x" * 1001},
    ):
        assert browser.get(path, query_string={**asked, **wrong}).status_code == 404
    assert browser.get(f"/feeds/{feed.id}/x", query_string=asked).status_code == 404
    denied = {"hub.mode": "denied", "hub.topic": topic, "hub.reason": "<b>full</b>"}
    assert browser.get(f"/feeds/{feed.id}/x", query_string=denied).status_code == 404
    assert browser.get(path, query_string=denied).status_code == 204
    shown = client.call("GET", f"{FEEDS}/{feed.id}", token=client.add_token()).json
    assert (shown["instant"], "“<b>full</b>”" in shown["hub_problem"]) == (False, True)
    answer = browser.get(path, query_string=asked)
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "<b>7</b>", "text/plain")
    confirmed = watched.state(feed).hub
    assert confirmed is not None
    assert confirmed.until == watched.now + 86400

    watched.now += 10
    forged = rss(item("bomb", watched.now)).partition(b"\r\n\r\n")[2]
    assert browser.post(path, data=forged, content_type="application/rss+xml").status_code == 202
    watched.look()
    assert watched.titles() == [], "what a caller says of the feed is not believed"
    assert watched.state(feed).state.read_at == watched.now
    watched.runtime.feeds.remove(feed.id)
    assert browser.post(path, data=b"x").status_code == 410
    assert browser.get(path, query_string={**asked, "hub.mode": "unsubscribe"}).status_code == 200
