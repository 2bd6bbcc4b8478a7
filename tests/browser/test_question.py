"""The question in two steps, the thanks, and preferences that are not lost, in a real Chromium."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from service.model.language.languages import LANGUAGES
from service.model.notifications import Audience, Topic
from service.model.subscriptions import SubscriptionId
from tests.support.browser.axe import faults
from tests.support.browser.readers import (
    PATCH,
    Visit,
    bell,
    choose,
    choose_topics,
    panel,
    preferences,
    stored,
    subscribe,
    with_site,
)
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

WORLD = 'data-topic="world" data-ask="click" data-ask-on=".kicker"'
LIT = """(node) => {
  const { color, backgroundColor } = getComputedStyle(node);
  return [color, backgroundColor];
}"""


SHORT = ("ar",)  # what `make test` takes


@pytest.mark.parametrize(
    "language",
    [pytest.param(one, marks=() if one in SHORT else pytest.mark.soak) for one in LANGUAGES],
)
def test_on_a_phone_the_question_takes_about_170_pixels(
    visit_with_pictures: Visit, language: str
) -> None:
    page = visit_with_pictures(390, 844, lang=language, script=WORLD)
    page.evaluate("document.querySelector('.kicker').click()")
    expect(panel(page)).to_be_visible()
    box = panel(page).bounding_box()
    assert 140 <= box["height"] <= 190
    buttons = panel(page).locator(".choices button").all()
    assert [one.get_attribute("class") for one in buttons] == ["yes main", "later"]
    for one in buttons:
        assert one.bounding_box()["width"] >= 0.9 * box["width"]
    logo = panel(page).locator("img.logo")
    wait_until(lambda: logo.evaluate("(node) => node.complete && node.naturalWidth > 0"))


def test_what_screen_readers_hear_is_not_printed_twice_for_sight(visit: Visit) -> None:
    page = visit(390, 844, script=WORLD)
    page.evaluate("document.querySelector('.kicker').click()")
    status = panel(page).get_by_role("status")
    expect(status).to_have_text("Get the latest updates as we post them")
    seen = status.evaluate(
        """(node) => {
          const { clipPath, position } = getComputedStyle(node);
          return [clipPath, position, node.offsetWidth <= 1 && node.offsetHeight <= 1];
        }"""
    )
    assert seen == ["inset(50%)", "absolute", True]


def test_the_question_says_how_often_alerts_come_and_shows_one(visit: Visit) -> None:
    page = visit(script=WORLD)
    bell(page).click()
    expect(panel(page)).to_contain_text("At most 10 a day, none at night")
    panel(page).locator("button.later").click()
    with_site(page, alerts_a_day=3)
    page.reload()
    bell(page).click()
    expect(panel(page)).to_contain_text("About 3 a day, none at night")
    panel(page).get_by_role("button", name="Choose topics").click()
    expect(panel(page)).to_contain_text("About 3 a day, none at night")
    expect(panel(page).locator(".sample")).to_contain_text("Night ferry feared lost comes home")
    expect(panel(page).locator(".sample")).to_contain_text("The Daily Example")


def test_a_site_whose_nights_are_not_quiet_promises_no_quiet_nights(visit: Visit) -> None:
    page = visit(script=WORLD)
    with_site(page, alerts_a_day=40, defaults={"daily_limit": None, "quiet_hours": None})
    page.reload()
    bell(page).click()
    expect(panel(page)).to_contain_text("About 40 a day")
    expect(panel(page)).not_to_contain_text("night")


def test_one_press_subscribes_and_the_thanks_repeat_what_was_chosen(
    paper: Installation, visit: Visit
) -> None:
    page = visit(script=WORLD)
    bell(page).click()
    panel(page).locator("button.yes").click()
    expect(panel(page)).to_contain_text("You will get alerts about: World.")
    expect(panel(page)).to_contain_text("At most 10 a day, none at night")
    page.evaluate("StopPress.leave()")
    panel(page).locator("button.close").click()
    bell(page).click()
    choose_topics(page, "sport", "culture")
    panel(page).locator("button.yes").click()
    expect(panel(page)).to_contain_text("You will get alerts about: World, Sport, and Culture.")


def test_without_a_topic_chosen_beforehand_yes_leads_to_the_topics(visit: Visit) -> None:
    page = visit(390, 844)
    bell(page).click()
    panel(page).locator("button.yes").click()
    expect(panel(page).get_by_role("checkbox")).to_have_count(5)
    panel(page).locator("button.yes").click()
    expect(panel(page).get_by_role("alert")).to_have_text("Choose at least one topic.")
    panel(page).get_by_label("World").check()
    panel(page).locator("button.yes").click()
    expect(panel(page)).to_contain_text("You will get alerts about: World.")


def test_the_buttons_stay_in_view_however_many_topics_there_are(
    paper: Installation, visit: Visit
) -> None:
    for number in range(40):
        slug = f"topic-{number}"
        paper.runtime.topics.add(Topic(slug, f"Topic {number}"))
    page = visit(390, 844, script=WORLD)
    bell(page).click()
    panel(page).locator("button.details").click()
    expect(panel(page).get_by_role("checkbox")).to_have_count(45)
    for name in ("yes", "later"):
        expect(panel(page).locator(f"button.{name}")).to_be_in_viewport(ratio=1)
    panel(page).locator("button.yes").click()
    panel(page).locator("button.more").click()
    expect(panel(page).locator("button.save")).to_be_in_viewport(ratio=1)
    expect(panel(page).locator("button.close")).to_be_in_viewport(ratio=1)


def test_the_sites_own_colour_reaches_the_button_with_a_text_that_can_be_read(
    visit: Visit,
) -> None:
    page = visit()
    bell(page).click()
    yes = panel(page).locator("button.yes")
    put = "(value) => document.documentElement.style.setProperty('--stop-press-accent', value)"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for brand in ("#ffd800", "#00529b", "#e2001a", "#8a8a8a"):
            page.evaluate(put, brand)
            color, background = yes.evaluate(LIT)
            red, green, blue = (int(brand[at : at + 2], 16) for at in (1, 3, 5))
            assert background == f"rgb({red}, {green}, {blue})"
            assert faults(page, "html > div:last-of-type") == [], (scheme, color)


# -- preferences ----------------------------------------------------------------------------------


def test_closing_with_unsaved_changes_asks(paper: Installation, visit: Visit) -> None:
    page = visit()
    id = subscribe(page)
    bell(page).click()
    panel(page).get_by_label("Sport").check()
    page.keyboard.press("Escape")
    expect(panel(page).get_by_role("alert")).to_contain_text("Your changes are not saved yet.")
    panel(page).locator("button.close").click()
    expect(panel(page).get_by_label("Sport")).to_be_checked()
    panel(page).locator("button.save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    panel(page).locator("button.close").click()
    expect(panel(page)).to_have_count(0)
    assert stored(paper, id)["topics"] == ["sport", "world"]

    bell(page).click()
    choose(page, "At most", "3 a day")
    panel(page).locator("button.close").click()
    panel(page).get_by_role("button", name="Go on without saving").click()
    expect(panel(page)).to_have_count(0)
    assert stored(paper, id)["daily_limit"] == 10


def test_what_is_changed_while_the_rest_is_being_saved_is_not_taken_for_saved(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    id = subscribe(page)
    bell(page).click()
    choose(page, "At most", "3 a day")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "PATCH" and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/subscriptions/*", hold)
    panel(page).locator("button.save").click()
    wait_until(lambda: page.evaluate("1") and held)
    choose(page, "From", "23:15")
    held[0].continue_()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    panel(page).locator("button.close").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("Your changes are not saved yet.")
    panel(page).locator("button.save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    kept = stored(paper, id)
    assert (kept["daily_limit"], kept["quiet_hours"]["from"]) == (3, "23:15")


def test_a_page_that_goes_with_unsaved_changes_asks_first(visit: Visit) -> None:
    page = visit()
    subscribe(page)
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    bell(page).click()
    choose(page, "At most", "3 a day")
    choose(page, "At most", "10 a day")
    page.reload()
    assert asked == [], "nothing had changed"
    bell(page).click()
    choose(page, "At most", "3 a day")
    page.reload()
    assert asked == ["beforeunload"]


def test_two_tabs_do_not_overwrite_each_others_preferences(
    paper: Installation, visit: Visit
) -> None:
    first = visit()
    id = subscribe(first)
    second = visit(context=first.context)
    for page in (first, second):
        bell(page).click()
        expect(panel(page).get_by_label("World")).to_be_checked()
    panel(first).get_by_label("Sport").check()
    choose(first, "At most", "3 a day")
    choose(second, "From", "23:15")
    panel(second).get_by_label("Culture").check()
    panel(second).get_by_label("World").uncheck()
    for page in (first, second):
        panel(page).locator("button.save").click()
        expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    kept = stored(paper, id)
    assert kept["topics"] == ["culture", "sport"]
    assert (kept["daily_limit"], kept["quiet_hours"]) == (3, {"from": "23:15", "to": "07:00"})
    # The tab that saved last shows what the other one had stored.
    expect(panel(second).get_by_label("Sport")).to_be_checked()
    expect(preferences(second, "At most")).to_have_value("3")


def test_leaving_can_be_undone_with_one_press(paper: Installation, visit: Visit) -> None:
    page = visit()
    id = subscribe(page)
    bell(page).click()
    panel(page).get_by_label("Sport").check()
    choose(page, "From", "23:15")
    choose(page, "At most", "3 a day")
    panel(page).locator("button.save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    panel(page).get_by_role("button", name="Leave").click()
    expect(panel(page).get_by_role("heading")).to_have_text("You have left")
    assert paper.runtime.store.subscriptions.count() == 0
    assert not page.evaluate("StopPress.state().subscribed")

    panel(page).get_by_role("button", name="Undo").click()

    expect(panel(page).get_by_role("heading").first).to_have_text("Your alerts")
    expect(panel(page).get_by_label("Sport")).to_be_checked()
    again = page.evaluate("StopPress.state().id")
    assert again != str(id)
    wait_until(lambda: paper.runtime.store.subscriptions.count() == 1)
    expect(preferences(page, "From")).to_have_value("23:15")
    expect(preferences(page, "At most")).to_have_value("3")
    expect(bell(page)).to_have_text("Alerts on")

    # What has gone meanwhile is left out, and the reader learns it.
    for story in ("quake", "storm"):
        paper.publish(Audience(everyone=True, story=story))
    page.evaluate(PATCH % json.dumps({"muted_stories": ["quake", "storm"]}))
    panel(page).locator("button.close").click()
    bell(page).click()
    panel(page).get_by_role("button", name="Leave").click()
    expect(panel(page).get_by_role("heading")).to_have_text("You have left")
    paper.runtime.topics.remove("sport")
    paper.runtime.store.stories.close("quake")
    panel(page).get_by_role("button", name="Undo").click()
    expect(panel(page).get_by_role("status")).to_contain_text("no longer exists")
    expect(panel(page).get_by_label("World")).to_be_checked()
    kept = stored(paper, SubscriptionId.parse(page.evaluate("StopPress.state().id")))
    assert (kept["topics"], kept["muted_stories"]) == (["world"], ["storm"])
    assert (kept["daily_limit"], kept["quiet_hours"]) == (3, {"from": "23:15", "to": "07:00"})
    assert page.evaluate("StopPress.state().topics") == ["world"]
