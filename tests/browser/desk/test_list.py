"""The list of alerts refreshes itself in a real Chromium, and disturbs nobody who uses it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from service.model.notifications import Audience, Content
from tests.support.browser.axe import faults
from tests.support.browser.desk import new_alert
from tests.support.browser.readers import wait_for_page
from tests.support.desk.planned import plan
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

NOBODY = Audience(topics=("nobody",))
# What the pages of this test note of themselves.
TOP = "document.activeElement.getBoundingClientRect().top"
HIDDEN = """
Object.defineProperty(document, "hidden", { get: () => Boolean(window.isHidden) });
window.asked = 0;
addEventListener("htmx:beforeRequest", () => (window.asked += 1));
"""


def finish(installation: Installation, title: str) -> int:
    """An alert that reached nobody, as no browser was in its audience."""
    runtime = installation.runtime
    content = Content(title, "https://paper.example/")
    id = runtime.publishing.publish(content, NOBODY, by="a test").id
    runtime.planning.plan(runtime.publishing.get(id))
    runtime.planning.advance(id)
    return id


def test_the_list_changes_by_itself_and_leaves_focus_place_and_what_is_open(
    installation: Installation, desk: Page
) -> None:
    ids = [finish(installation, f"Earlier {number}") for number in range(25)]
    installation.publish(title="Being sent now")
    installation.runtime.store.push_services.doubt("https://fcm.googleapis.com", 0.0)
    desk.set_viewport_size({"width": 1280, "height": 500})
    desk.reload()
    expect(desk.locator("#sending")).to_contain_text("Being sent now")
    desk.get_by_text("Google is right").click()
    link = desk.locator(f"#alert-{ids[8]}")
    link.focus()
    link.evaluate("link => { link.isTheSame = true; getSelection().selectAllChildren(link) }")
    before = desk.evaluate(TOP)
    assert desk.evaluate("scrollY") > 0

    finish(installation, "Over already")
    second = installation.publish(title="هذا عاجل")
    expect(desk.locator("#sending")).to_contain_text("هذا عاجل")
    expect(desk.locator("#sent")).to_contain_text("Over already")
    assert desk.evaluate("document.activeElement.isTheSame") is True
    assert abs(desk.evaluate(TOP) - before) < 1
    assert desk.evaluate("String(getSelection())") == "Earlier 8"
    assert desk.locator(".decide details.cancel").evaluate("it => it.open")
    assert faults(desk) == []

    desk.locator(f"#alert-{second}").focus()
    before = desk.evaluate(TOP)
    installation.runtime.publishing.cancel(second, by="a test")
    expect(desk.locator(f"#sent #row-{second}")).to_contain_text("cancelled")
    assert desk.evaluate("document.activeElement.id") == f"alert-{second}"


@pytest.mark.soak
def test_an_editor_at_the_top_of_the_list_sees_what_is_new(
    installation: Installation, desk: Page
) -> None:
    for number in range(20):
        finish(installation, f"Earlier {number}")
    installation.publish(title="Being sent now")
    desk.set_viewport_size({"width": 390, "height": 600})
    desk.reload()
    installation.publish(title="And another")
    expect(desk.locator("#sending")).to_contain_text("And another")
    assert desk.evaluate("scrollY") == 0
    times = desk.locator("#rows time")
    assert not [text for text in times.all_inner_texts() if text.endswith("UTC")]


@pytest.mark.soak
def test_a_hidden_list_asks_for_nothing_until_it_is_looked_at(
    installation: Installation, desk: Page
) -> None:
    installation.publish(title="Being sent now")
    desk.add_init_script(HIDDEN)
    desk.reload()
    seen = desk.evaluate("window.isHidden = true, window.asked")
    requests: list[str] = []  # since then
    desk.on("request", lambda request: requests.append(request.url))
    wait_for_page(desk, f"window.asked >= {seen} + 2")
    asked = [url for url in requests if "/desk/list" in url]
    installation.publish(title="And another")
    desk.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(desk.locator("#sending")).to_contain_text("And another")
    assert asked == []


def test_what_is_typed_into_the_search_is_found_at_once_and_kept_in_the_address(
    installation: Installation, desk: Page
) -> None:
    for title in ("Ferry aground", "Ferry afloat", "عاجل: حريق"):
        finish(installation, title)
    late: list[Route] = []
    desk.route(re.compile("htmx"), lambda route: late.append(route), times=1)
    desk.get_by_label("Words of title or text").fill("ferry")
    desk.keyboard.press("Enter")
    count = desk.locator("#count")
    expect(count).to_have_text("2 alerts found")
    field = desk.get_by_label("Words of title or text")
    expect(field).to_be_focused()
    desk.keyboard.press("End")
    desk.keyboard.type(" AGR")  # before the script is there that looks for it
    wait_until(lambda: desk.evaluate("1") and late)
    late[0].continue_()
    expect(count).to_have_text("1 alert found")
    expect(desk.locator("#found a")).to_have_text("Ferry aground")
    expect(field).to_be_focused()
    expect(desk).to_have_url(re.compile(r"/desk/search\?text=ferry(\+|%20)AGR&"))
    expect(desk.locator("#found time").first).to_have_attribute("title", re.compile("UTC"))
    desk.get_by_label("State").select_option("ran out of time")
    expect(count).to_have_text("0 alerts found")
    desk.reload()
    expect(count).to_have_text("0 alerts found")
    expect(field).to_have_value("ferry AGR")
    field.fill("حريق")
    desk.get_by_label("State").select_option("all")
    expect(desk.locator("#found a")).to_have_text("عاجل: حريق")
    desk.set_viewport_size({"width": 390, "height": 800})
    assert desk.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults(desk) == []
    plan(installation.runtime)
    field.fill("Kick-off")
    expect(desk.locator("#found a")).to_have_text("Kick-off")
    labels = "cells => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    cells = desk.locator("#found td")
    assert set(cells.evaluate_all(labels)) == {"none"}, "it has no numbers yet"


@pytest.mark.soak
def test_a_template_is_saved_and_opened_in_a_browser(
    installation: Installation, desk: Page
) -> None:
    new_alert(desk)
    title = desk.get_by_label("Title", exact=True)
    title.fill("Polls are closed")
    desk.get_by_text("Save as a template").click()
    desk.get_by_label("Name of the template").fill("Election night")
    desk.keyboard.press("Enter")  # presses the button of this field
    expect(desk.get_by_text("Saved as the template “Election night”")).to_be_visible()
    expect(title).to_have_value("Polls are closed")
    assert faults(desk) == []
    desk.get_by_role("link", name="Templates").click()
    expect(desk.get_by_role("heading", level=1)).to_have_text("Templates")
    assert faults(desk) == []
    desk.get_by_text("Rename…").click()
    desk.get_by_label("New name").fill("Vēlēšanas")
    desk.get_by_role("button", name="Rename").click()
    expect(desk.get_by_role("heading", level=2).first).to_have_text("Vēlēšanas")
    new_alert(desk)
    desk.get_by_label("Template", exact=True).select_option("Vēlēšanas")
    desk.get_by_role("button", name="Begin with it").click()
    expect(title).to_have_value("Polls are closed")
    desk.wait_for_load_state()  # scripts run
    expect(desk.locator("#saved")).to_have_text("")
    # Enter in a field goes on; it does not save a template.
    title.press("Enter")
    expect(desk.get_by_text("Please fix these 2 fields")).to_be_visible()
