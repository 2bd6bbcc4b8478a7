"""The rehearsal in a real Chromium, by keyboard alone, from the start page to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.local import rehearsal
from tests.support.browser.desk import EMAIL, FAINT, complaints_of, tab_to
from tests.support.desk.pages import PASSWORD
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

READERS = 2_000
TITLE = "Ferry aground"


def press(page: Page, selector: str, then: str) -> None:
    """Go to the element by Tab, press Enter, and expect a page with that heading."""
    tab_to(page, selector)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(then)


@pytest.mark.soak
def test_a_rehearsal_is_used_by_keyboard_alone_from_start_to_end(
    redis_url: str,
    push_service: PushService,
    tmp_path: Path,
    chromium_page: Callable[..., Page],
) -> None:
    with Installation(redis_url, push_service, tmp_path, WORKER_CONCURRENCY="1") as installation:
        address = installation.web()
        page = chromium_page(1280, 800)
        complaints = complaints_of(page)
        page.goto(installation.runtime.editors.signin_link(EMAIL))
        tab_to(page, "#password")
        page.keyboard.type(PASSWORD)
        press(page, "main button", then="first alert")

        press(page, "a.button[href='/desk/rehearsal']", then="Rehearse")
        tab_to(page, "#readers")
        page.keyboard.press("Control+A")
        page.keyboard.type(str(READERS))
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/rehearsal/desk/", timeout=60_000)
        band = page.get_by_role("complementary", name="Rehearsal")
        expect(band).to_contain_text("2,000 pretend readers. No real reader gets an alert.")

        press(page, "a[href='/rehearsal/desk/new']", then="New alert")
        tab_to(page, "#title")
        page.keyboard.type(TITLE)
        tab_to(page, "#url")
        page.keyboard.type("https://paper.example/ferry")
        tab_to(page, "[name=audience]")
        page.keyboard.press("ArrowDown")
        expect(page.locator("#reach")).to_contain_text("2,000 browsers")
        press(page, "button[aria-keyshortcuts]", then="Notify all 2,000 browsers now?")
        press(page, "button.urgent", then=TITLE)
        expect(page.locator(".state")).to_contain_text("Sent in", timeout=30_000)
        expect(page.locator(".big")).to_have_text("2,000")
        expect(page).to_have_title(f"Rehearsal: {TITLE} · Stop Press")
        page.keyboard.press("End")
        expect(band).to_be_in_viewport()

        no_page_is_wide_or_faint(page, address)
        page.goto(page.url)
        press(page, ".band a", then="A rehearsal is running")
        press(page, "form[action$='/end'] button", then="Rehearse")
        assert rehearsal.find(tmp_path) is None
        assert complaints == []
        assert installation.runtime.publishing.latest(1) == []
        assert push_service.received == []


def no_page_is_wide_or_faint(page: Page, address: str) -> None:
    """Check pages on a phone, in both modes (WCAG 2.2, 1.4.3); returns to the page it came from."""
    found, size = page.url, page.viewport_size
    page.set_viewport_size({"width": 390, "height": 800})
    paths = ("", "/desk/", "/desk/rehearsal", "/rehearsal/desk/", "/rehearsal/desk/new")
    for path in (*paths, found.removeprefix(address)):
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert page.evaluate(FAINT) == [], f"{path}, {scheme}"
    assert size is not None
    page.set_viewport_size(size)
    page.goto(found)
