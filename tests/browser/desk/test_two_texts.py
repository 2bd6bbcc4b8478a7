"""Two texts of an alert in a real Chromium: written, watched and chosen, against real processes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.axe import faults
from tests.support.browser.desk import READERS, TITLE, new_alert
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser


def test_two_texts_are_written_tried_and_chosen(installation: Installation, desk: Page) -> None:
    installation.worker()
    installation.clock()
    new_alert(desk)
    desk.get_by_label("Title", exact=True).fill(TITLE)
    desk.get_by_label("Text (optional)").fill("All aboard are safe.")
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    desk.get_by_text("Try two texts").click()
    # Mostly only the title differs.
    expect(desk.get_by_label("Text of B")).to_have_value("All aboard are safe.")
    desk.get_by_label("Title B").fill("Another title")
    desk.get_by_label("Try them on").select_option("50")
    expect(desk.locator("[data-fold=second-text]")).to_contain_text("“Another title” on 50 %")
    assert faults(desk) == []
    desk.get_by_role("button", name="Review").click()
    desk.get_by_role("button", name="Notify").click()
    (one,) = wait_until(lambda: installation.runtime.publishing.latest(1))
    expect(desk.locator(".trial tbody tr")).to_have_count(2)
    expect(desk.locator(".trial")).to_contain_text(
        re.compile("All others get the better text in 1[45] minutes")
    )
    assert faults(desk) == []
    desk.get_by_text("Send text B to all others").click()
    desk.get_by_role("button", name="Send text B", exact=True).click()
    expect(desk.locator("h1")).to_have_text("Another title")
    expect(desk.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    expect(desk.locator(".trial")).to_contain_text("Text B went to all others")
    installation.over(one.id)
    assert installation.outcomes(one.id) == {"accepted": READERS}


@pytest.mark.soak
def test_a_look_at_the_second_text_does_not_keep_breaking_news_from_going_out(desk: Page) -> None:
    new_alert(desk)
    first, second = desk.locator("#body"), desk.locator("#body_b")
    desk.locator("#title").fill(TITLE)
    first.fill("All aboard are safe.")
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    desk.get_by_text("Try two texts").click()
    expect(second).to_have_value("All aboard are safe.")
    first.fill("")
    first.fill("All are ashore.")
    expect(second).to_have_value("All are ashore.")
    expect(desk.locator("#saved")).to_have_text("Saved")
    desk.reload()  # what is kept follows, too
    desk.get_by_text("Try two texts").click()
    first.fill("All are safe and ashore.")
    expect(second).to_have_value("All are safe and ashore.")
    desk.locator("[name=kind][value=breaking]").check()
    desk.get_by_role("button", name="Review").click()
    expect(desk.get_by_role("button", name=f"Notify {READERS} browsers")).to_be_visible()
    desk.go_back()
    desk.get_by_text("Try two texts").click()
    second.fill("Written for itself.")
    first.fill("All are ashore.")
    expect(second).to_have_value("Written for itself.")
