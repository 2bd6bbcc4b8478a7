"""The pages of the feeds: adding one by its address, its log, its rules, a rehearsal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.newsroom.feeds import FeedChanged
from service.model.time import clock
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import (
    EMAIL,
    NASTY,
    PASSWORD,
    Page,
    post,
    seen,
    sign_in,
    words,
)
from tests.support.network.newspaper import Newspaper, response
from tests.support.newsroom.feeds import ID, Watched, item, rss, store_feed

BASIC = {"audience": "topics", "topic": "world", "when": "send"}
FURTHER = {
    "minutes": "5",
    "gap_minutes": "0",
    "most_per_hour": "4",
    "most_per_day": "20",
    "newest_hours": "6",
    "title_template": "{title}",
    "text_template": "{text}",
    "name": "",
    "language": "",
    "categories": "",
}


@pytest.fixture
def watched(runtime: Runtime, paper: Newspaper, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(runtime, paper, monkeypatch)


def send(client: FlaskClient, path: str = "", **fields: str) -> TestResponse:
    return post(client, f"/desk/feeds{path}", page="/desk/feeds", **fields)


def test_a_feed_is_added_by_its_address_and_its_page_says_what_became_of_its_items(
    editor: FlaskClient, watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    added = send(editor, url=f"{paper.origin}/feed", **BASIC)
    assert added.status_code == 303
    path = added.location
    assert "being read for the first time" in words(editor.get(path).text)
    watched.look()
    paper.pages["/feed"] = rss(
        item("ferry", watched.now + 60),
        item("war", watched.now - 86_400, title=NASTY),
    )
    watched.look(5)
    page = editor.get(path).text
    Page(page)
    said = words(page)
    assert "Alerts for World" in said
    assert "The ferry an alert" in said
    assert "left out: It was published too long ago." in said
    listed = editor.get("/desk/feeds").text
    Page(listed)
    assert "The Daily Example" in words(listed)
    assert "1 item used, 1 left out" in words(listed)
    rehearsal = editor.get(f"{path}?rehearse=yes").text
    Page(rehearsal)
    assert "What it would have sent in the last 24 hours" in words(rehearsal)
    assert "By its rules alone, as if every item were new." in words(rehearsal)


def test_a_web_page_offers_the_feeds_that_it_names(
    editor: FlaskClient, watched: Watched, paper: Newspaper
) -> None:
    link = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    paper.pages["/"] = response(f"<html><head><title>x</title>{link}</head></html>".encode())
    paper.pages["/feed"] = rss(item("harbour", watched.now - 600))
    path = send(editor, url=paper.origin, **BASIC).location
    watched.look()
    page = editor.get(path).text
    assert "is no feed" in words(page)
    assert "Look for the site" not in words(page)
    assert f"{paper.origin}/feed" in page
    steer = path.removeprefix("/desk/feeds") + "/do"
    assert send(editor, steer, do="use", url="https://evil.example/").status_code == 400
    assert send(editor, steer, do="use", url=f"{paper.origin}/feed").status_code == 303
    watched.look()
    (feed,) = watched.runtime.feeds.all()
    assert (feed.rules.url, feed.problem) == (f"{paper.origin}/feed", "")


def test_a_web_page_that_names_no_feed_says_what_to_do(
    editor: FlaskClient, watched: Watched, paper: Newspaper
) -> None:
    paper.pages["/"] = response(b"<html><head><title>x</title></head></html>")
    path = send(editor, url=paper.origin, **BASIC).location
    watched.look()
    page = editor.get(path).text
    Page(page)
    assert "items used" not in words(editor.get("/desk/feeds").text)
    assert "is no feed. Look for the site’s RSS or Atom address" in words(page)
    assert "Or remove this feed" in words(page)
    assert page.count('id="url"') == page.count('id="remove"') == 1


def test_what_is_wrong_is_said_beside_what_was_typed(editor: FlaskClient, runtime: Runtime) -> None:
    store_feed(runtime)
    for fields, says in (
        ({"url": "nonsense"}, "Is not a web address."),
        ({"url": "https://paper.example/known"}, "There is a feed with this address already."),
        ({"url": "https://paper.example/", "topic": ""}, "Names a topic"),
        ({"url": "https://paper.example/" + "x" * 2000}, "at most 2000 characters"),
    ):
        refused = send(editor, **{**BASIC, **fields})
        Page(refused.text)
        assert (refused.status_code, says in words(refused.text)) == (422, True), fields
    for fields, says in (
        ({"minutes": "soon"}, "Must be a whole number."),
        ({"minutes": "0"}, "Must be at least 1."),
        ({"title_template": "{body}"}, "May name {title}"),
        ({"categories": "Tennis"}, "Write one on each line"),
        ({"categories": "Tennis = cooking"}, "There is no topic “cooking”."),
        ({"language": "german language"}, "Must be a language tag"),
    ):
        form = {"url": "https://paper.example/known", **BASIC, **FURTHER, **fields}
        refused = send(editor, f"/{ID}", **form)
        Page(refused.text)
        assert (refused.status_code, says in words(refused.text)) == (422, True), fields
    assert len(runtime.feeds.all()) == 1


def test_rules_are_changed_and_a_feed_is_paused_read_and_removed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    store_feed(runtime)
    form = {"url": "https://paper.example/known", **BASIC, **FURTHER, "name": NASTY}
    form |= {"categories": "Tennis = sport\n\nA = b = world", "when": "draft", "picture": "yes"}
    assert send(editor, f"/{ID}", **form).status_code == 303
    rules = runtime.feeds.get(ID).rules
    assert rules.topic_by_category == {"tennis": "sport", "a = b": "world"}
    assert (rules.name, rules.makes_drafts, rules.topics) == (NASTY, True, ("world",))
    page = editor.get(f"/desk/feeds/{ID}").text
    Page(page)
    assert NASTY not in page
    for do, active in (("pause", False), ("pause", False), ("resume", True), ("read", True)):
        assert send(editor, f"/{ID}/do", do=do).status_code == 303
        assert runtime.feeds.get(ID).rules.is_active is active
    for _ in range(2):  # a double click
        assert send(editor, f"/{ID}/remove").status_code == 303
    assert runtime.feeds.all() == []


def test_rules_that_another_editor_has_changed_are_not_overwritten_unseen(
    editor: FlaskClient, runtime: Runtime
) -> None:
    store_feed(runtime)
    opened_at = seen(editor.get(f"/desk/feeds/{ID}").text)
    one = runtime.feeds.get(ID)
    runtime.feeds.change(one, replace(one.rules, most_per_day=3))
    form = {"url": "https://paper.example/known", **BASIC, **FURTHER, "name": "Ferries"}
    refused = send(editor, f"/{ID}", **form, seen=opened_at)
    Page(refused.text)
    assert refused.status_code == 409
    assert "Another editor has changed this feed since" in words(refused.text)
    assert 'value="Ferries"' in refused.text
    assert runtime.feeds.get(ID).rules.most_per_day == 3
    for _ in range(2):  # a double click
        assert send(editor, f"/{ID}", **form, seen=seen(refused.text)).status_code == 303
    assert runtime.feeds.get(ID).rules.name == "Ferries"


def test_rules_that_waited_for_a_sign_in_are_not_shown_as_if_nobody_had_changed_the_feed(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_feed(runtime)
    opened = seen(editor.get(f"/desk/feeds/{ID}").text)
    form = {"url": "https://paper.example/known", **BASIC, **FURTHER, "seen": opened}
    for most, is_said in ((4, False), (3, True)):
        later = clock.time() + 3600
        monkeypatch.setattr(clock, "time", lambda later=later: later)
        assert "/sign-in?" in send(editor, f"/{ID}", **form).location
        one = runtime.feeds.get(ID)
        runtime.feeds.change(one, replace(one.rules, most_per_hour=most))
        back = post(editor, f"/desk/sign-in?next=/desk/feeds/{ID}", email=EMAIL, password=PASSWORD)
        page = editor.get(back.location).text
        assert ("Another editor has changed this feed since" in words(page)) == is_said


def test_the_buttons_of_a_feed_that_cannot_be_changed_leave_its_rules_in_the_form(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_feed(runtime)

    def changed(*_: object) -> None:
        raise FeedChanged

    monkeypatch.setattr(runtime.feeds, "change", changed)
    refused = send(editor, f"/{ID}/do", do="pause")
    assert refused.status_code == 409
    assert 'value="everyone" checked' in refused.text, "as it is stored"


def test_an_editor_who_may_not_manage_sees_no_form(
    app: Flask, runtime: Runtime, editor: FlaskClient
) -> None:
    store_feed(runtime)
    assert ">Add<" in editor.get("/desk/feeds").text
    runtime.store.access.add_editor("wim@paper.example", "a hash", Person("writes"))
    writer = sign_in(app, runtime, "wim@paper.example")
    for path in ("/desk/feeds", f"/desk/feeds/{ID}"):
        page = writer.get(path)
        assert page.status_code == 200
        assert "<textarea" not in page.text
        assert ">Add<" not in page.text
