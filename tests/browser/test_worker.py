"""The service worker in a real Chromium: what it shows, opens and reports."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser.guide import piece
from tests.support.browser.worker_harness import CALL, Site, document

pytestmark = pytest.mark.browser

FRAME = """(src) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.onload = resolve;
  frame.src = src;
  document.body.append(frame);
})"""


@pytest.fixture(scope="module")
def site_and_page(chromium: Browser) -> Iterator[tuple[Site, Page]]:
    """One site and one page for all tests here, because a new reader costs as much as a test."""
    with Site() as site:
        context = chromium.new_context()
        context.grant_permissions(["notifications"], origin=site.origin)
        yield site, context.new_page()
        context.close()


@pytest.fixture
def site(site_and_page: tuple[Site, Page]) -> Site:
    site, _ = site_and_page
    site.begin_anew()
    return site


@pytest.fixture
def page(site: Site, site_and_page: tuple[Site, Page]) -> Iterator[Page]:
    """The page; afterwards the browser forgets the worker, what it keeps and what it shows."""
    _, page = site_and_page
    page.goto(site.origin)
    yield page
    page.goto("about:blank")
    everything = {"origin": site.origin, "storageTypes": "all"}
    page.context.new_cdp_session(page).send("Storage.clearDataForOrigin", everything)


@pytest.fixture
def worker(page: Page) -> Callable[..., Any]:
    return lambda *call: page.evaluate(CALL, list(call))


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
        # Chromium shows two buttons, so that there is no room for ours.
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


def test_an_unsafe_link_leads_to_the_front_page(site: Site, worker: Callable[..., Any]) -> None:
    front = f"{site.origin}/"
    for link, opened in {
        "javascript:alert(1)": front,
        "data:text/html,<script>alert(1)</script>": front,
        "http://paper.example/ferry": front,
        "https://user:secret@paper.example/": front,
        "https://": front,
        "/ferry": f"{front}ferry",
        "http://127.0.0.1:9/ferry": "http://127.0.0.1:9/ferry",
    }.items():
        (shown,) = worker("push", document(site, navigate=link))
        assert shown["data"]["stopPress"]["navigate"] == opened, link


def test_an_alert_with_room_offers_fewer_alerts_in_its_language(
    site: Site, worker: Callable[..., Any]
) -> None:
    theirs = {"action": "0", "title": "Live", "navigate": "https://paper.example/live"}
    for lang, fewer in {
        "fr-CA": "Moins d’alertes",
        "ar": "تنبيهات أقل",
        "lv": "Fewer alerts",
    }.items():
        (shown,) = worker("push", document(site, lang=lang, actions=[theirs]))
        assert [row["title"] for row in shown["actions"]] == ["Live", fewer]


def test_fewer_alerts_opens_the_storys_page_and_is_not_a_click(
    site: Site, worker: Callable[..., Any]
) -> None:
    story = f"{site.origin}/ferry?from=alert#comments"
    (shown,) = worker("push", document(site, navigate=story))
    (fewer,) = shown["actions"]

    clicked = worker("click", fewer["action"])

    asked = f"{site.origin}/ferry?from=alert#stop-press=fewer"
    assert clicked == {"stopped": True, "opened": [asked], "left": 0}
    assert site.receipts == [[{"token": "r1", "event": "shown"}]]


def test_the_fragment_names_the_running_story(site: Site, worker: Callable[..., Any]) -> None:
    for story, fragment in {
        "quake-2": "&story=quake-2",
        "a&b=c#d é": "&story=a%26b%3Dc%23d+%C3%A9",
        7: "",
        None: "",
    }.items():
        data = {"api": site.origin, "receipt": "r1", "story": story}
        (shown,) = worker("push", document(site, navigate=f"{site.origin}/ferry", data=data))
        clicked = worker("click", shown["actions"][0]["action"])
        assert clicked["opened"] == [f"{site.origin}/ferry#stop-press=fewer{fragment}"]


def test_for_a_story_on_another_site_the_panel_opens_on_the_front_page(
    site: Site, worker: Callable[..., Any]
) -> None:
    (shown,) = worker("push", document(site))
    clicked = worker("click", shown["actions"][0]["action"])
    assert clicked["opened"] == [f"{site.origin}/#stop-press=fewer"]


def test_a_site_sets_a_default_icon_badge_and_language(
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


def test_a_replacing_alert_alerts_again_only_with_renotify(
    site: Site, worker: Callable[..., Any]
) -> None:
    worker("push", document(site, "r1", tag="story"))
    (again,) = worker("push", document(site, "r2", tag="story", renotify=True, title="Afloat!"))
    assert (again["title"], again["renotify"]) == ("Afloat!", True)
    # Without a tag the browser would reject the option, and the alert with it.
    (plain,) = [
        n for n in worker("push", document(site, "r3", tag="", renotify=True)) if not n["tag"]
    ]
    assert plain["renotify"] is False


def test_an_alert_without_a_receipt_reports_nothing(site: Site, worker: Callable[..., Any]) -> None:
    data = {"api": site.origin, "receipt": None}
    worker("push", document(site, data=data))
    assert worker("click", "")["opened"] == ["https://paper.example/ferry"]
    worker("push", document(site, data=data))
    worker("close")
    assert site.receipts == []


# Beside the site's own push --------------------------------------------------------------------


def test_our_events_do_not_reach_the_sites_own_listeners(
    site: Site, worker: Callable[..., Any]
) -> None:
    pushed = worker("pushTo", {"ignoreForeign": True}, document(site))
    assert (pushed["stopped"], len(pushed["shown"])) == (True, 1)
    assert worker("click", "") == {
        "stopped": True,
        "opened": ["https://paper.example/ferry"],
        "left": 0,
    }


def test_foreign_pushes_are_left_to_the_site_if_it_says_so(worker: Callable[..., Any]) -> None:
    for pushed in (None, "no JSON", '{"title":"theirs"}'):
        left = worker("pushTo", {"ignoreForeign": True}, pushed)
        assert left == {"stopped": False, "shown": []}, pushed
        # Otherwise a push is never silent.
        assert len(worker("pushTo", None, pushed)["shown"]) == 1, pushed
        worker("close")


def test_a_click_on_the_sites_own_notification_is_left_to_the_site(
    worker: Callable[..., Any],
) -> None:
    assert worker("clickOthers") == {"stopped": False, "left": 1}


def test_a_push_that_is_no_alert_shows_a_plain_notification(
    site: Site, worker: Callable[..., Any]
) -> None:
    for pushed in (None, "", "no JSON", "null", "8030", '{"web_push":8030}', "[]"):
        (shown,) = worker("push", pushed)
        assert (shown["title"], shown["body"]) == ("localhost", ""), pushed
        assert shown["data"]["stopPress"]["navigate"] == f"{site.origin}/", pushed
        worker("close")
        assert site.receipts == [], pushed


def test_while_stop_press_is_down_the_guides_piece_shows_every_push_once(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.piece = piece("try {", "http://localhost:1")  # where nothing listens
    for pushed in (None, "", "no JSON", "null", "8030", '{"web_push":8030}', "[]"):
        assert worker("pushAll", [pushed]) == [1], pushed
    foreign = worker("pushTo", {"ignoreForeign": True}, '{"title":"theirs"}')
    assert foreign == {"stopped": False, "shown": []}
    ours = worker("pushTo", {"ignoreForeign": True}, document(site))
    assert [one["title"] for one in ours["shown"]] == ["Ferry afloat"]
    assert ours["stopped"], "or the site's own listener shows it once more"
    assert worker("click", "") == {
        "stopped": True,
        "opened": ["https://paper.example/ferry"],
        "left": 0,
    }


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
            chance.choice(names): anything(chance, depth + 1) for _ in range(chance.randrange(4))
        }
    return chance.choice(simple)


def spoilt(chance: random.Random, text: str) -> str:
    """A document with some of its parts replaced by other JSON, or cut off."""
    parts = json.loads(text)
    notification = parts["notification"]
    names = ["title", "body", "navigate", "tag", "data", "icon", "image", "badge", "dir", "lang"]
    names += ["actions", "timestamp", "renotify", "silent", "requireInteraction", "vibrate"]
    for name in chance.sample(names, chance.randrange(1, 6)):
        notification[name] = anything(chance)
    if chance.random() < 0.3:
        notification["title"] = "Still a title"
    if chance.random() < 0.1:
        parts[chance.choice(["web_push", "notification"])] = anything(chance)
    text = json.dumps(parts)
    return text[: chance.randrange(len(text))] if chance.random() < 0.1 else text


MANY = pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.long, pytest.mark.timeout(300)])


@pytest.mark.parametrize("count", [500, MANY])
def test_any_push_shows_one_notification_and_raises_nothing(
    site: Site, worker: Callable[..., Any], count: int
) -> None:
    chance = random.Random(8030)
    # Without receipts, because other tests are about reports.
    texts = [spoilt(chance, document(site, data={})) for _ in range(count)]
    for start in range(0, len(texts), 500):
        some = texts[start : start + 500]
        counts = worker("pushAll", some)
        assert counts == [1] * len(some), some[counts.index(0)]


# What is reported -------------------------------------------------------------------------------


def test_a_failed_report_goes_with_the_next(site: Site, worker: Callable[..., Any]) -> None:
    site.statuses = [503, 429]
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


def test_a_report_says_for_how_long_the_alert_has_been_on_the_screen(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503]
    worker("push", document(site, "first"))
    assert 0 <= (site.ago["first", "shown"] or 0) < 600
    worker("leave", "old")
    worker("push", document(site, "second"))
    worker("click", "")
    assert worker("waiting") == []
    first, second = (site.ago[receipt, "shown"] for receipt in ("first", "second"))
    assert first is not None
    assert second is not None
    assert 0 <= second < 600
    assert 7200 <= first < 7800
    clicks = [ago for (_, event), ago in site.ago.items() if event == "clicked"]
    assert [*clicks, site.ago["old", "shown"]] == [None, None]


def test_an_alert_is_shown_before_its_report_which_has_a_time_out(
    site: Site, worker: Callable[..., Any]
) -> None:
    apart = {"keepalive": True, "credentials": "omit", "referrerPolicy": "no-referrer"}
    assert worker("order", document(site)) == ["shown", {**apart, "ends": True}]


def test_a_refused_report_is_not_repeated(site: Site, worker: Callable[..., Any]) -> None:
    site.statuses = [422]
    worker("push", document(site, "first"))
    assert worker("waiting") == []


def test_of_many_failed_reports_the_oldest_are_dropped(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503] * 60
    worker("pushAll", [document(site, f"r{number}") for number in range(60)])
    assert len(worker("waiting")) == 50
    assert worker("waiting")[-1] == "/shown/r59"


def test_only_some_browsers_of_a_large_audience_report(
    site: Site, worker: Callable[..., Any]
) -> None:
    data = {"api": site.origin, "report": 0.2}
    texts = [document(site, data={**data, "receipt": f"r{number}"}) for number in range(200)]

    worker("pushAll", texts)

    reported = {row["token"] for receipts in site.receipts for row in receipts}
    # 40 on average. Fewer than 14 or more than 70 would come once in a million runs.
    assert 14 <= len(reported) <= 70
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


def test_a_click_is_always_reported_together_with_failed_reports(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503, 503]
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


# Pictures that do not come -----------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"tag": "quake"}])
def test_an_alert_whose_pictures_do_not_come_is_shown_without_them_once(
    site: Site, worker: Callable[..., Any], more: dict[str, str]
) -> None:
    pictures = {"icon": f"{site.origin}/icon.png", "image": f"{site.origin}/photo.png"}
    before, after = worker("pushSlowly", document(site, **pictures, **more))
    assert [(one["title"], one["icon"], one["image"]) for one in before] == [
        (before[0]["title"], "", "")
    ]
    # They come late: the whole alert takes the place of the plain one.
    assert [(one["title"], one["icon"], one["tag"]) for one in after] == [
        (before[0]["title"], pictures["icon"], before[0]["tag"])
    ]


# Subscriptions that change by themselves -------------------------------------------------------

OLD = {"options": {"applicationServerKey": "the old key"}}
NOTHING = {"oldSubscription": None, "newSubscription": None}
KEPT = {"api": "https://push.example/", "key": "the key", "id": "0-1", "token": "t"}
NOW = {"id": "0-9", "token": "new", "endpoint": "https://push.example/new"}
TOLD = {"subscription": {"endpoint": "https://push.example/new"}, "vapid_public_key": "the key"}


def test_a_lost_subscription_of_an_unknown_reader_is_renewed_with_its_own_key(
    worker: Callable[..., Any],
) -> None:
    with_its_key = {"userVisibleOnly": True, "applicationServerKey": "the old key"}
    for event, asked in (
        # Only the old subscription names the key. Without it the page renews it on the next visit.
        (NOTHING, []),
        ({}, []),
        ({"oldSubscription": OLD, "newSubscription": {}}, []),
        ({"oldSubscription": None, "newSubscription": {}}, []),
        ({"oldSubscription": OLD, "newSubscription": None}, [with_its_key]),
    ):
        assert worker("lost", event) == {"asked": asked, "called": [], "kept": None}, event


def test_a_readers_lost_subscription_is_renewed_and_told_without_a_page(
    worker: Callable[..., Any],
) -> None:
    """Chrome 138 says nothing of either subscription when a reader gives a permission back."""
    subscribed = {"userVisibleOnly": True, "applicationServerKey": "the key"}
    where = "https://push.example/api/v1/subscriptions/0-1"
    for event, times in (
        (NOTHING, 1),
        ({"oldSubscription": OLD, "newSubscription": None}, 1),
        ({"oldSubscription": None, "newSubscription": TOLD["subscription"]}, 0),
    ):
        done = worker("lost", event, KEPT)
        assert done["asked"] == [subscribed] * times, event
        assert done["called"] == [["PATCH", where, "Bearer t", TOLD]], event
        assert done["kept"] == {**KEPT, **NOW}, event


def test_a_reader_comes_back_with_the_same_choices_after_the_browser_lost_the_subscription(
    worker: Callable[..., Any],
) -> None:
    chosen = {"topics": ["world"], "timezone": "Europe/Riga"}
    done = worker("lost", NOTHING, {"api": KEPT["api"], "key": "the key", **chosen})
    where = "https://push.example/api/v1/subscriptions"
    assert done["called"] == [["POST", where, None, {**TOLD, **chosen}]]
    assert done["kept"] == {**KEPT, **chosen, **NOW}


@pytest.mark.parametrize(
    ("statuses", "calls", "comes_back"),
    [
        ([404, 404], 3, True),
        ([404, 410], 2, False),  # the reader has left
        ([404, 503], 2, False),
        ([503], 1, False),  # the next page view tries again
    ],
)
def test_a_reader_whose_record_was_deleted_meanwhile_comes_back_unless_they_left(
    worker: Callable[..., Any], statuses: list[int], calls: int, comes_back: bool
) -> None:
    """The push service had ended the old endpoint, and an alert came before this."""
    old = "https://push.example/old"
    kept = {**KEPT, "endpoint": old, "topics": ["world"], "locale": "lv"}
    done = worker("lost", NOTHING, kept, statuses)
    where = "https://push.example/api/v1/subscriptions"
    asked = {**TOLD, "subscription": {"endpoint": old}, "refresh": True}
    again = {**TOLD, "topics": ["world"], "locale": "lv"}
    all_calls = [
        ["PATCH", f"{where}/0-1", "Bearer t", TOLD],
        ["POST", where, None, asked],
        ["POST", where, None, again],
    ]
    assert done["called"] == all_calls[:calls]
    assert done["kept"] == ({**kept, **NOW} if comes_back else kept)


def test_after_a_month_nobody_is_subscribed_again_without_a_page(
    worker: Callable[..., Any],
) -> None:
    kept = {**KEPT, "endpoint": "https://push.example/old", "topics": ["world"]}
    done = worker("lost", NOTHING, kept, [404], 31 * 86_400_000)
    assert [method for method, *_ in done["called"]] == ["PATCH"]


# Clicks that find an open tab --------------------------------------------------------------------


def test_a_click_brings_the_storys_open_tab_to_the_front_whatever_counts_visits(
    site: Site, page: Page, worker: Callable[..., Any]
) -> None:
    for tab, link, same in (
        ("/ferry", "/ferry?utm_source=alert&utm_medium=push", True),
        ("/ferry?fbclid=1", "/ferry", True),
        ("/ferry?gclid=1&page=2", "/ferry?page=2&at_medium=push", True),
        ("/ferry/", "/ferry#xtor=CS1-2", True),
        ("/ferry#comments", "/ferry", True),
        ("/ferry?page=2", "/ferry?page=2&from=alert-12", True),
        ("/ferry?from=alert-11", "/ferry?from=alert-12", True),
        ("/ferry?b=2&a=1", "/ferry?a=1&b=2", True),
        ("/ferry?utm_source=x#live", "/ferry#live", True),
        ("/ferry", "/ferry#live", False),
        ("/ferry?page=2", "/ferry", False),
        ("/ferry?id=1", "/ferry?id=2", False),
        ("/ferry", "/ferries", False),
    ):
        page.goto(site.origin + tab)
        worker("push", document(site, navigate=site.origin + link))
        opened = f"focus {site.origin}{tab}" if same else site.origin + link
        assert worker("click", "")["opened"] == [opened], (tab, link)


def test_a_click_opens_the_story_where_no_tab_can_come_to_the_front(
    site: Site, page: Page, worker: Callable[..., Any]
) -> None:
    story = f"{site.origin}/ferry"
    page.evaluate(FRAME, story)  # a page that only shows the story within itself is another page
    worker("push", document(site, navigate=story))
    assert worker("click", "")["opened"] == [story]
    page.goto(story)
    worker("push", document(site, navigate=story))
    clicked = worker("click", "", True)  # its tab is closed at that moment
    assert clicked["opened"] == [f"focus {story}", story]
    assert len(site.receipts) == 4, "the clicks are reported too"


def test_a_click_leaves_a_mark_for_the_start_page_in_safari_alone(
    site: Site, worker: Callable[..., Any]
) -> None:
    """Before iOS 18.4 an app on the Home Screen opens its start page, whatever it is told."""
    worker("push", document(site))
    worker("click", "")
    assert worker("clicked") is None
    worker("agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15")
    worker("push", document(site, "r2"))
    worker("click", "")
    assert worker("clicked") == "https://paper.example/ferry"
