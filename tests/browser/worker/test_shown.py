"""The service worker in a real Chromium: how alerts are shown, and what a click opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser.worker_harness import Site, document

pytestmark = pytest.mark.browser

FRAME = """(src) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.onload = resolve;
  frame.src = src;
  document.body.append(frame);
})"""


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
