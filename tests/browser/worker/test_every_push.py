"""Whatever is pushed shows one notification; the site's own pushes are left to the site."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.browser.guide import piece
from tests.support.browser.worker_harness import Site, document

pytestmark = pytest.mark.browser


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
