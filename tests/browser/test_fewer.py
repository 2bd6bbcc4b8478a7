"""“Fewer alerts”, the page that an alert's button opens, in a real Chromium."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Locator, Page, expect

from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from tests.support.browser.axe import faults
from tests.support.browser.looks import looks
from tests.support.browser.readers import (
    IN_VIEW,
    PATCH,
    Visit,
    bell,
    panel,
    subscribe,
    tab_to,
    wait_for_page,
)
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

RIGA = ZoneInfo("Europe/Riga")


def open_fewer(page: Page, fragment: str = "#stop-press=fewer&story=quake") -> Locator:
    """Open the page as the button “Fewer alerts” does; return the panel."""
    where = page.url
    page.goto("about:blank")
    page.goto(where + fragment)
    expect(panel(page).get_by_role("heading").first).to_be_visible()  # it is filled
    return panel(page)


@pytest.fixture
def reader(paper: Installation, visit: Visit) -> Any:
    """Open the newspaper as a subscriber: the page, and the subscription."""

    def open_one(**options: Any) -> tuple[Page, SubscriptionId]:
        page = visit(**options)
        return page, subscribe(page)

    return open_one


def preferences(paper: Installation, id: SubscriptionId) -> Any:
    return paper.runtime.store.subscriptions.get(id)


def run_story(paper: Installation) -> None:
    paper.publish(Audience(everyone=True, story="quake"))


def test_quiet_tonight_takes_one_click_and_so_does_undo(paper: Installation, reader: Any) -> None:
    page, id = reader(timezone_id="Europe/Riga", locale="en-GB")
    box = open_fewer(page)
    expect(box.get_by_role("heading")).to_have_text("Fewer alerts")
    expect(box.get_by_role("heading")).to_be_focused()
    assert page.evaluate("location.hash") == ""

    box.get_by_role("button", name="Quiet tonight").click()

    expect(box.get_by_role("status")).to_contain_text("No alerts until")
    until = datetime.fromtimestamp(preferences(paper, id).preferences.paused_until, RIGA)
    now = datetime.now(RIGA)
    assert (until.hour, until.minute) == (7, 0), "when the newsroom's quiet hours end"
    assert timedelta(hours=0) < until - now < timedelta(hours=25)
    expect(box.get_by_role("status")).to_contain_text("07:00")
    undo = box.get_by_role("button", name="Undo: Quiet tonight")
    expect(undo).to_be_focused()
    undo.click()
    expect(box.get_by_role("status")).to_have_text("Undone.")
    assert preferences(paper, id).preferences.paused_until == 0
    expect(box.get_by_role("button", name="Quiet tonight", exact=True)).to_be_visible()


@pytest.mark.soak
def test_quiet_tonight_ends_with_quiet_hours_and_keeps_a_longer_pause(
    paper: Installation, reader: Any
) -> None:
    page, id = reader(timezone_id="Europe/Riga")
    page.evaluate(PATCH % json.dumps({"quiet_hours": {"from": "23:00", "to": "09:00"}}))
    box = open_fewer(page)
    box.locator("button.tonight").click()
    expect(box.get_by_role("status")).not_to_be_empty()
    until = datetime.fromtimestamp(preferences(paper, id).preferences.paused_until, RIGA)
    assert until.hour == 9
    week = (datetime.now(RIGA) + timedelta(days=7)).replace(microsecond=0)
    page.evaluate(PATCH % json.dumps({"paused_until": week.isoformat()}))
    before = preferences(paper, id).preferences.paused_until
    box = open_fewer(page)
    box.locator("button.tonight").click()
    expect(box.get_by_role("status")).not_to_be_empty()
    assert preferences(paper, id).preferences.paused_until == before
    box.locator("button.tonight").click()
    expect(box.get_by_role("status")).to_have_text("Undone.")
    assert preferences(paper, id).preferences.paused_until == before


@pytest.mark.soak
@pytest.mark.parametrize("hours", [5, -5])
def test_quiet_tonight_lasts_until_the_morning_of_a_clock_that_is_wrong(
    paper: Installation, reader: Any, hours: int
) -> None:
    page, id = reader(timezone_id="Europe/Riga")
    shift = timedelta(hours=hours)
    page.clock.set_system_time(datetime.now() + shift)
    box = open_fewer(page)
    page.clock.set_system_time(datetime.now() + shift)
    box.locator("button.tonight").click()
    expect(box.get_by_role("status")).not_to_be_empty()
    until = datetime.fromtimestamp(preferences(paper, id).preferences.paused_until, RIGA)
    assert timedelta() <= until + shift - wake(until + shift) <= timedelta(hours=1)
    assert until > datetime.now(RIGA)


def wake(time: datetime) -> datetime:
    """When the newsroom's quiet hours end on that day."""
    return time.replace(hour=7, minute=0, second=0)


def test_one_click_mutes_a_story_and_other_stories_stay_muted(
    paper: Installation, reader: Any
) -> None:
    for story in ("quake", "storm"):
        paper.publish(Audience(everyone=True, story=story))
    page, id = reader()
    page.evaluate(PATCH % json.dumps({"muted_stories": ["storm"]}))
    box = open_fewer(page)
    box.get_by_role("button", name="Mute this story").click()
    expect(box.get_by_role("status")).to_have_text("You will get no more alerts about this story.")
    assert preferences(paper, id).muted == {"quake", "storm"}
    box.get_by_role("button", name="Undo: Mute this story").click()
    expect(box.get_by_role("status")).to_have_text("Undone.")
    assert preferences(paper, id).muted == {"storm"}


def test_muting_a_story_that_has_ended_says_so(paper: Installation, reader: Any) -> None:
    run_story(paper)
    page, id = reader()
    box = open_fewer(page)
    paper.runtime.store.stories.close("quake")
    box.locator("button.mute").click()
    expect(box.get_by_role("status")).to_contain_text("This story has ended")
    expect(box.locator("button.mute")).to_have_text("Mute this story")
    assert preferences(paper, id).muted == set()


def test_an_alert_without_a_story_offers_no_mute(reader: Any) -> None:
    page, _ = reader()
    box = open_fewer(page, "#stop-press=fewer")
    expect(box.locator("button.tonight")).to_be_visible()
    expect(box.locator("button.mute")).to_have_count(0)


def test_one_click_leaves_and_one_click_opens_all_preferences(
    paper: Installation, reader: Any
) -> None:
    page, _ = reader()
    box = open_fewer(page)
    box.get_by_role("button", name="Quiet hours and more").click()
    expect(box.get_by_role("heading").first).to_have_text("Your alerts")
    box = open_fewer(page)
    box.get_by_role("button", name="Leave").click()
    expect(box.get_by_role("heading")).to_have_text("You have left")
    assert paper.runtime.store.subscriptions.count() == 0
    box.get_by_role("button", name="Undo").click()
    expect(box.get_by_label("World")).to_be_checked()
    assert paper.runtime.store.subscriptions.count() == 1


def test_a_failure_is_shown_and_can_be_retried(paper: Installation, reader: Any) -> None:
    page, id = reader()
    box = open_fewer(page)
    page.context.set_offline(True)
    box.locator("button.tonight").click()
    expect(box.get_by_role("alert")).to_contain_text("could not be reached")
    assert preferences(paper, id).preferences.paused_until == 0
    page.context.set_offline(False)
    box.locator("button.tonight").click()
    expect(box.get_by_role("status")).to_contain_text("No alerts until")
    expect(box.get_by_role("alert")).to_have_count(0)


def test_fewer_alerts_opens_also_when_the_page_cannot_compare_the_subscription(
    reader: Any,
) -> None:
    page, _ = reader()
    page.route("**/api/v1/site", lambda route: route.abort())
    page.route("**/api/v1/subscriptions", lambda route: route.fulfill(status=503, json={}))
    box = open_fewer(page)
    expect(box.get_by_role("heading")).to_have_text("Fewer alerts")
    box.get_by_role("button", name="Quiet tonight").click()
    expect(box.get_by_role("status")).to_contain_text("No alerts until")


def test_a_reader_who_is_not_subscribed_sees_the_question(visit: Visit) -> None:
    page = visit()
    box = open_fewer(page)
    expect(box.get_by_role("button", name="Yes, alert me")).to_be_visible()
    box.locator("button.later").click()
    page.reload()
    wait_for_page(page, "window.StopPress")
    expect(bell(page)).to_be_visible()
    expect(panel(page)).to_have_count(0)


def test_fewer_alerts_works_with_the_keyboard_alone(paper: Installation, reader: Any) -> None:
    run_story(paper)
    page, id = reader()
    box = open_fewer(page)
    tab_to(page, "button.tonight")
    page.keyboard.press("Enter")
    expect(box.get_by_role("status")).to_contain_text("No alerts until")
    tab_to(page, "button.mute")
    page.keyboard.press("Space")
    expect(box.get_by_role("status")).to_have_text("You will get no more alerts about this story.")
    kept = preferences(paper, id)
    assert kept.preferences.paused_until > 0
    assert kept.muted == {"quake"}
    page.keyboard.press("Escape")
    expect(panel(page)).to_have_count(0)


HERE = [
    "wide and dark",
    "a phone",
    "a phone, from right to left",
    "zoomed to 200 %, in French",
    "forced colours",
]


@pytest.mark.parametrize("look", looks(HERE))
def test_fewer_alerts_fits_every_screen_and_passes_axe(
    paper: Installation, reader: Any, look: dict[str, Any]
) -> None:
    run_story(paper)
    page, _ = reader(**look)
    box = open_fewer(page)
    for press in ((), ("tonight", "mute")):
        for name in press:
            box.locator(f"button.{name}").click()
            expect(box.locator(f"button.{name}")).to_contain_text(": ")
        assert box.evaluate(IN_VIEW), press
        assert faults(page, "html > div:last-of-type") == [], press
        for button in box.get_by_role("button").all():
            assert button.bounding_box()["height"] >= 44, press


@pytest.mark.soak
def test_a_publisher_replaces_these_texts_too(visit: Visit) -> None:
    page = visit(script='data-texts="/demo/static/icon.svg"')
    page.route(
        "**/icon.svg", lambda route: route.fulfill(json={"tonight": "Hush", "fewer": "Less"})
    )
    subscribe(page)
    box = open_fewer(page)
    expect(box.get_by_role("heading")).to_have_text("Less")
    expect(box.locator("button.tonight")).to_have_text("Hush")
