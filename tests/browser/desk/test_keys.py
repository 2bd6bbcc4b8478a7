"""Single keys at the desk: they lead to pages, never into a text, and can be switched off."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.axe import faults

pytestmark = pytest.mark.browser


def test_keys_lead_to_pages_but_not_while_an_editor_types(desk: Page) -> None:
    heading = desk.get_by_role("heading", level=1)
    desk.keyboard.press("?")
    expect(heading).to_have_text("Keys")
    assert faults(desk) == []
    desk.keyboard.press("n")
    desk.wait_for_url("**/unfinished/*")
    expect(heading).to_have_text("New alert")
    desk.get_by_label("Title", exact=True).focus()
    desk.keyboard.type("a new one?")
    expect(desk.get_by_label("Title", exact=True)).to_have_value("a new one?")
    expect(heading).to_have_text("New alert")
    desk.locator("main").focus()
    desk.keyboard.press("Control+a")
    expect(heading).to_have_text("New alert")
    desk.keyboard.press("a")
    expect(heading).to_have_text("Alerts")
    desk.get_by_role("link", name="a new one?").click()  # it was kept


def test_single_keys_can_be_switched_off(desk: Page) -> None:
    heading = desk.get_by_role("heading", level=1)
    desk.keyboard.press("?")
    desk.wait_for_url("**/shortcuts")
    desk.get_by_label("Use single keys").uncheck()
    desk.locator("main").focus()
    desk.keyboard.press("n")
    desk.reload()
    expect(desk.get_by_label("Use single keys")).not_to_be_checked()
    desk.locator("main").focus()
    desk.keyboard.press("a")
    expect(heading).to_have_text("Keys")
    desk.get_by_label("Use single keys").check()
    desk.locator("main").focus()
    desk.keyboard.press("a")
    expect(heading).to_have_text("Alerts")
