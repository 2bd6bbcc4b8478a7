"""The service worker's code in a real Chromium: what it does with anything that is pushed to it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser.worker_harness import CALL, Site, document

pytestmark = pytest.mark.browser


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    context = chromium.new_context()
    context.grant_permissions(["notifications"], origin=site.origin)
    page = context.new_page()
    page.goto(site.origin)
    yield page
    context.close()


@pytest.fixture
def worker(page: Page) -> Callable[..., Any]:
    return lambda *said: page.evaluate(CALL, list(said))


# What is shown ----------------------------------------------------------------------------------


def test_an_alert_is_shown_as_it_was_written(site: Site, worker: Callable[..., Any]) -> None:
    more = {
        "icon": "https://paper.example/icon.png",
        "image": "https://paper.example/ferry.jpg",
        "dir": "rtl",
        "lang": "ar",
        "timestamp": 1764000000000,
        "actions": [
            {"action": "0", "title": "Live", "navigate": "https://paper.example/live"},
            {"action": "1", "title": "Map", "navigate": "javascript:alert(1)"},
        ],
    }

    (shown,) = worker("push", document(site, **more))

    kept = shown.pop("data")["stopPress"]
    assert shown == {
        "title": "Ferry afloat",
        "body": "Since this morning.",
        "tag": "stop-press-r1",
        "icon": "https://paper.example/icon.png",
        "image": "https://paper.example/ferry.jpg",
        "dir": "rtl",
        "lang": "ar",
        "timestamp": 1764000000000,
        "badge": "",
        "renotify": False,
        # Chromium shows two: there is no room for ours.
        "actions": [{"action": "0", "title": "Live"}, {"action": "1", "title": "Map"}],
    }
    assert kept["navigate"] == "https://paper.example/ferry"
    # A link that is not safe to open leads to the front page.
    assert kept["links"][1:] == [["0", "https://paper.example/live"], ["1", f"{site.origin}/"]]


def test_a_click_on_an_action_opens_its_own_link(site: Site, worker: Callable[..., Any]) -> None:
    live = {"action": "0", "title": "Live", "navigate": "https://paper.example/live"}
    worker("push", document(site, actions=[live]))
    assert worker("click", "0")["opened"] == ["https://paper.example/live"]
    assert site.receipts[-1] == [{"token": "r1", "event": "clicked"}]


def test_a_link_that_is_not_safe_to_open_leads_to_the_front_page(
    site: Site, worker: Callable[..., Any]
) -> None:
    front = f"{site.origin}/"
    for link, opened in {
        "javascript:alert(1)": front,
        "data:text/html,<script>alert(1)</script>": front,
        "http://paper.example/ferry": front,
        "https://somebody:secret@paper.example/": front,
        "https://": front,
        "/ferry": f"{front}ferry",
        "http://127.0.0.1:9/ferry": "http://127.0.0.1:9/ferry",
    }.items():
        (shown,) = worker("push", document(site, navigate=link))
        assert shown["data"]["stopPress"]["navigate"] == opened, link


@pytest.mark.parametrize(
    ("lang", "fewer"), [("fr-CA", "Moins d’alertes"), ("ar", "تنبيهات أقل"), ("lv", "Fewer alerts")]
)
def test_where_there_is_room_an_alert_offers_fewer_alerts_in_its_language(
    site: Site, worker: Callable[..., Any], lang: str, fewer: str
) -> None:
    theirs = {"action": "0", "title": "Live", "navigate": "https://paper.example/live"}
    (shown,) = worker("push", document(site, lang=lang, actions=[theirs]))
    assert [row["title"] for row in shown["actions"]] == ["Live", fewer]


def test_who_wants_fewer_alerts_gets_the_storys_page_and_has_not_clicked_the_story(
    site: Site, worker: Callable[..., Any]
) -> None:
    story = f"{site.origin}/ferry?from=alert#comments"
    (shown,) = worker("push", document(site, navigate=story))
    (fewer,) = shown["actions"]

    clicked = worker("click", fewer["action"])

    asked = f"{site.origin}/ferry?from=alert#stop-press=fewer"
    assert clicked == {"stopped": True, "opened": [asked], "left": 0}
    assert site.receipts == [[{"token": "r1", "event": "shown"}]]


@pytest.mark.parametrize(
    ("story", "said"),
    [
        ("quake-2", "&story=quake-2"),
        ("a&b=c#d é", "&story=a%26b%3Dc%23d+%C3%A9"),
        (7, ""),
        (None, ""),
    ],
)
def test_the_page_hears_to_which_running_story_the_alert_belongs(
    site: Site, worker: Callable[..., Any], story: object, said: str
) -> None:
    data = {"api": site.origin, "receipt": "r1", "story": story}
    (shown,) = worker("push", document(site, navigate=f"{site.origin}/ferry", data=data))
    clicked = worker("click", shown["actions"][0]["action"])
    assert clicked["opened"] == [f"{site.origin}/ferry#stop-press=fewer{said}"]


def test_where_the_story_is_on_another_site_the_panel_opens_on_the_front_page(
    site: Site, worker: Callable[..., Any]
) -> None:
    (shown,) = worker("push", document(site))
    clicked = worker("click", shown["actions"][0]["action"])
    assert clicked["opened"] == [f"{site.origin}/#stop-press=fewer"]


def test_a_site_gives_its_alerts_an_icon_a_badge_and_a_language_where_they_have_none(
    site: Site, worker: Callable[..., Any]
) -> None:
    settings = {"lang": "de", "icon": f"{site.origin}/i.png", "badge": f"{site.origin}/b.png"}
    (plain,) = worker("pushTo", settings, document(site, "r1"))["shown"]
    assert (plain["icon"], plain["badge"]) == (f"{site.origin}/i.png", f"{site.origin}/b.png")
    assert (plain["lang"], plain["actions"][0]["title"]) == ("de", "Weniger Meldungen")
    worker("close")
    own = document(site, "r2", icon="https://paper.example/own.png", lang="en")
    (shown,) = worker("pushTo", settings, own)["shown"]
    assert (shown["icon"], shown["lang"]) == ("https://paper.example/own.png", "en")


def test_an_alert_that_replaces_another_on_the_screen_alerts_anew_only_where_it_says_so(
    site: Site, worker: Callable[..., Any]
) -> None:
    worker("push", document(site, "r1", tag="story"))
    (again,) = worker("push", document(site, "r2", tag="story", renotify=True, title="Afloat!"))
    assert (again["title"], again["renotify"]) == ("Afloat!", True)
    # Without a tag the browser would refuse it, and the alert with it.
    (plain,) = [
        n for n in worker("push", document(site, "r3", tag="", renotify=True)) if not n["tag"]
    ]
    assert plain["renotify"] is False


def test_an_alert_that_has_nothing_to_report_with_reports_nothing(
    site: Site, worker: Callable[..., Any]
) -> None:
    data = {"api": site.origin, "receipt": None}
    worker("push", document(site, data=data))
    assert worker("click", "")["opened"] == ["https://paper.example/ferry"]
    worker("push", document(site, data=data))
    worker("close")
    assert site.receipts == []


# Beside the site's own push --------------------------------------------------------------------


def test_what_is_ours_does_not_reach_the_sites_own_listeners(
    site: Site, worker: Callable[..., Any]
) -> None:
    pushed = worker("pushTo", {"ignoreForeign": True}, document(site))
    assert (pushed["stopped"], len(pushed["shown"])) == (True, 1)
    assert worker("click", "") == {
        "stopped": True,
        "opened": ["https://paper.example/ferry"],
        "left": 0,
    }


@pytest.mark.parametrize("pushed", [None, "no JSON", '{"title":"theirs"}'])
def test_what_is_not_ours_is_left_to_the_site_where_the_site_says_so(
    worker: Callable[..., Any], pushed: str | None
) -> None:
    assert worker("pushTo", {"ignoreForeign": True}, pushed) == {"stopped": False, "shown": []}
    # Unless it does, a push is never silent.
    assert len(worker("pushTo", None, pushed)["shown"]) == 1


def test_a_click_on_the_sites_own_notification_is_left_to_the_site(
    worker: Callable[..., Any],
) -> None:
    assert worker("clickOthers") == {"stopped": False, "left": 1}


@pytest.mark.parametrize("pushed", [None, "", "no JSON", "null", "8030", '{"web_push":8030}', "[]"])
def test_what_is_no_alert_is_shown_as_news_of_the_site(
    site: Site, worker: Callable[..., Any], pushed: str | None
) -> None:
    (shown,) = worker("push", pushed)
    assert (shown["title"], shown["body"]) == ("localhost", "")
    assert shown["data"]["stopPress"]["navigate"] == f"{site.origin}/"
    assert site.receipts == []


def anything(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    simple = [None, True, False, 0, -1, 1e308, 8030, "", "x", "\ud800", "🗞️" * 99, "toString"]
    simple += [
        "https://paper.example/",
        "javascript:1",
        "http://[",
        "//x@y",
        "\0",
        "ltr",
        "constructor",
    ]
    kind = chance.randrange(4 if depth < 3 else 2)
    if kind == 2:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 3:
        names = ["title", "toString", "__proto__", "length", "action", "navigate", "receipt", "api"]
        return {
            chance.preferences(names): anything(chance, depth + 1)
            for _ in range(chance.randrange(4))
        }
    return chance.preferences(simple)


def spoilt(chance: random.Random, text: str) -> str:
    """A document with some of its parts replaced by anything, or cut off."""
    said = json.loads(text)
    notification = said["notification"]
    names = ["title", "body", "navigate", "tag", "data", "icon", "image", "badge", "dir", "lang"]
    names += ["actions", "timestamp", "renotify", "silent", "requireInteraction", "vibrate"]
    for name in chance.sample(names, chance.randrange(1, 6)):
        notification[name] = anything(chance)
    if chance.random() < 0.3:
        notification["title"] = "Still a title"
    if chance.random() < 0.1:
        said[chance.preferences(["web_push", "notification"])] = anything(chance)
    text = json.dumps(said)
    return text[: chance.randrange(len(text))] if chance.random() < 0.1 else text


@pytest.mark.long
@pytest.mark.timeout(300)
def test_whatever_is_pushed_there_is_one_notification_and_no_exception(
    site: Site, worker: Callable[..., Any]
) -> None:
    chance = random.Random(8030)
    # Without a receipt: what is reported, and how, is the business of other tests.
    texts = [spoilt(chance, document(site, data={})) for _ in range(10_000)]
    for start in range(0, len(texts), 500):
        some = texts[start : start + 500]
        counts = worker("pushAll", some)
        assert counts == [1] * len(some), some[counts.index(0)]


# What is reported -------------------------------------------------------------------------------


def test_what_cannot_be_reported_goes_with_the_next(site: Site, worker: Callable[..., Any]) -> None:
    site.answers = [503, 429]
    worker("push", document(site, "first"))
    worker("push", document(site, "second"))
    assert worker("waiting") == ["/shown/first", "/shown/second"]

    worker("push", document(site, "third"))

    assert worker("waiting") == []
    assert site.receipts[-1] == [
        {"token": "first", "event": "shown"},
        {"token": "second", "event": "shown"},
        {"token": "third", "event": "shown"},
    ]


def test_an_alert_is_on_the_screen_before_anything_is_reported_which_ends_in_time(
    site: Site, worker: Callable[..., Any]
) -> None:
    apart = {"keepalive": True, "credentials": "omit", "referrerPolicy": "no-referrer"}
    assert worker("order", document(site)) == ["shown", {**apart, "ends": True}]


def test_what_is_refused_is_not_reported_again(site: Site, worker: Callable[..., Any]) -> None:
    site.answers = [422]
    worker("push", document(site, "first"))
    assert worker("waiting") == []


def test_of_many_that_cannot_be_reported_the_oldest_are_forgotten(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.answers = [503] * 60
    for number in range(60):
        worker("push", document(site, f"r{number}"))
    assert len(worker("waiting")) == 50
    assert worker("waiting")[-1] == "/shown/r59"


def test_of_a_large_audience_some_report_and_the_others_keep_quiet(
    site: Site, worker: Callable[..., Any]
) -> None:
    data = {"api": site.origin, "report": 0.2}
    texts = [document(site, data={**data, "receipt": f"r{number}"}) for number in range(400)]

    worker("pushAll", texts)

    reported = {row["token"] for receipts in site.receipts for row in receipts}
    # 80 on average; less than 40 or more than 130 once in a million runs.
    assert 40 <= len(reported) <= 130
    worker("push", document(site, data={**data, "report": 0, "receipt": "none"}))
    worker("close")
    assert {"token": "none", "event": "dismissed"} not in site.receipts[-1]


def test_a_dismissal_is_reported(site: Site, worker: Callable[..., Any]) -> None:
    worker("push", document(site))
    worker("close")
    assert site.receipts == [
        [{"token": "r1", "event": "shown"}],
        [{"token": "r1", "event": "dismissed"}],
    ]


def test_a_click_is_reported_whatever_the_share_and_takes_what_waits_along(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.answers = [503, 503]
    worker("push", document(site, "first"))
    worker("close")
    worker("push", document(site, data={"api": site.origin, "report": 0, "receipt": "second"}))
    worker("click", "")
    reported = {(row["token"], row["event"]) for row in site.receipts[-1]}
    assert reported == {("first", "shown"), ("first", "dismissed"), ("second", "clicked")}


def test_a_reader_who_asks_not_to_be_tracked_is_not_counted(
    site: Site, worker: Callable[..., Any]
) -> None:
    worker("private", True)
    worker("push", document(site))
    worker("click", "")
    assert worker("waiting") == []
    assert site.receipts == []


# What changes behind our back ------------------------------------------------------------------

OLD = {"options": {"applicationServerKey": "the key"}}


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        # The page mends it on the next visit: without the old one nobody here knows the key.
        ({"oldSubscription": None, "newSubscription": None}, []),
        ({}, []),
        ({"oldSubscription": OLD, "newSubscription": {}}, []),
        ({"oldSubscription": None, "newSubscription": {}}, []),
        (
            {"oldSubscription": OLD, "newSubscription": None},
            [{"userVisibleOnly": True, "applicationServerKey": "the key"}],
        ),
    ],
)
def test_a_lost_subscription_is_made_anew_where_the_browser_says_with_which_key(
    worker: Callable[..., Any], event: dict[str, Any], asked: list[dict[str, Any]]
) -> None:
    assert worker("lost", event) == asked
