"""The bell of a running story, with which a reader follows that story alone, in a real Chromium."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from service.model.notifications import Audience
from service.model.subscriptions import SubscriptionId
from tests.support.browser.axe import faults
from tests.support.browser.readers import IN_VIEW, PATCH, Visit, panel, subscribe
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

MAIN = '<h1>Quake</h1><div data-stop-press="bell" data-story="quake"></div>'


@pytest.fixture
def quake(paper: Installation) -> Installation:
    """The newspaper with a running story."""
    paper.publish(Audience(topics=("world",), story="quake"))
    return paper


def story_bell(page: Page) -> Locator:
    return page.locator("#news button.bell")


def says(page: Page, *words: str) -> None:
    for text in words:
        expect(panel(page)).to_contain_text(text)


def reader(paper: Installation, page: Page) -> Any:
    id = SubscriptionId.parse(page.evaluate("StopPress.state().id"))
    return paper.runtime.store.subscriptions.get(id)


def reached(paper: Installation) -> int:
    """How many readers an alert of the story reaches through the story alone."""
    return paper.runtime.publishing.reach(Audience(topics=("sport",), story="quake"))


def test_a_new_reader_subscribes_to_one_story_until_it_ends(
    quake: Installation, visit: Visit
) -> None:
    page = visit(390, 844, main=MAIN)
    expect(story_bell(page)).to_have_text("Follow this story")
    story_bell(page).click()
    says(page, "the alerts about this story until it ends")
    expect(panel(page).get_by_role("heading")).to_be_focused()
    assert panel(page).evaluate(IN_VIEW)
    assert faults(page, "html > div:last-of-type") == []
    panel(page).get_by_role("button", name="Yes, alert me").click()
    says(page, "You follow this story.")
    kept = reader(quake, page)
    assert (kept.topics, kept.followed) == (frozenset(), {"quake"})
    assert reached(quake) == 1
    assert faults(page, "html > div:last-of-type") == []

    # A followed story is enough to save preferences; no topic is needed.
    panel(page).get_by_role("button", name="Quiet hours and more").click()
    expect(panel(page).get_by_role("checkbox", name="quake")).to_be_checked()
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    assert reader(quake, page).followed == {"quake"}

    quake.runtime.store.stories.close("quake")
    assert reader(quake, page).followed == set()
    page.reload()
    story_bell(page).click()
    says(page, "This story has ended")


def test_nobody_is_subscribed_to_a_story_that_has_just_ended(
    quake: Installation, visit: Visit
) -> None:
    page = visit(main=MAIN)
    story_bell(page).click()
    quake.runtime.store.stories.close("quake")
    panel(page).get_by_role("button", name="Yes, alert me").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("This story has ended")
    assert not page.evaluate("StopPress.state().subscribed")
    assert quake.runtime.store.subscriptions.count() == 0


def test_a_subscriber_follows_and_unfollows_a_muted_story_with_one_click(
    quake: Installation, visit: Visit
) -> None:
    quake.publish(Audience(everyone=True, story="storm"))
    ordinary = visit()
    subscribe(ordinary)
    page = visit(main=MAIN, context=ordinary.context)
    page.evaluate(PATCH % json.dumps({"muted_stories": ["quake", "storm"]}))
    story_bell(page).click()
    says(page, "You follow this story.")
    kept = reader(quake, page)
    assert (kept.topics, kept.followed, kept.muted) == ({"world"}, {"quake"}, {"storm"})
    panel(page).get_by_role("button", name="Unfollow").click()
    says(page, "You no longer follow this story.")
    assert reader(quake, page).followed == set()

    # The preferences list muted stories and can unmute them.
    panel(page).get_by_role("button", name="Close").click()
    page.locator("header button.bell").click()
    panel(page).get_by_role("checkbox", name="storm").uncheck()
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    assert reader(quake, page).muted == set()

    # One panel at a time: changes are not lost, and a panel without any gives way.
    panel(page).get_by_role("combobox", name="At most").select_option("3 a day")
    story_bell(page).click()
    says(page, "Your changes are not saved yet.")
    assert reader(quake, page).followed == set()
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    story_bell(page).click()
    says(page, "You follow this story.")
    expect(panel(page)).to_have_count(1)

    quake.runtime.store.subscriptions.remove(reader(quake, page).id)
    panel(page).get_by_role("button", name="Close").click()
    story_bell(page).click()
    expect(panel(page).get_by_role("button", name="Yes, alert me")).to_be_visible()
