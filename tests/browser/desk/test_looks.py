"""How the desk's pages look: on a phone, in light and dark, for axe, and on one screen."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from service.domain.operations.daily_totals import today
from service.model.notifications import Audience
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from tests.support.browser.axe import faults
from tests.support.browser.desk import FAINT, TITLE, new_alert, tab_to
from tests.support.processes.as_workers import deliver, hold
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser


# Previews and fields of which the page does not show all.
CUT = """[...document.querySelectorAll("main :is(.toast, input, textarea)")]
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([one, { left, right }]) => one.checkVisibility()
    && (left < innerWidth && right > innerWidth || one.value && one.scrollWidth > one.clientWidth))
  .map(([one]) => one.className + one.id)"""


def test_no_page_is_wider_than_a_phone(installation: Installation, desk: Page) -> None:
    id = installation.publish(title="A-title-of-one-word-without-any-place-to-break-it" * 3)
    desk.set_viewport_size({"width": 390, "height": 800})
    origin = desk.url.split("/desk")[0]
    installation.runtime.store.push_services.doubt("https://fcm.googleapis.com", 0.0)
    alert = f"/desk/alerts/{id}"
    for path in ("/", "/desk/", "/desk/new", alert, f"{alert}/correct", "/desk/nowhere"):
        desk.goto(origin + path)
        for scheme in ("light", "dark"):
            desk.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert desk.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert desk.evaluate(CUT) == [], path
    desk.goto(f"{origin}/desk/")
    header = desk.locator(".masthead").bounding_box()
    assert header
    assert header["height"] < 110, "two lines"
    tab_to(desk, ".menu summary")
    desk.keyboard.press("Enter")
    tab_to(desk, ".menu a[href$='/desk/operations']")
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("heading", level=1)).to_have_text("Operations")


@pytest.mark.soak
def test_texts_have_enough_contrast_in_light_and_dark_mode(
    installation: Installation, desk: Page
) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 for every text, on the background that is behind it."""
    id = installation.publish(title=TITLE)
    origin, correction = desk.url.split("/desk")[0], f"/desk/alerts/{id}/correct"
    installation.runtime.store.push_services.doubt("https://fcm.googleapis.com", 0.0)
    for path in ("/", "/desk/", "/desk/new", f"/desk/alerts/{id}", correction):
        desk.goto(origin + path)
        for scheme in ("light", "dark"):
            desk.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert desk.evaluate(FAINT) == [], f"{path}, {scheme}"


def draw_something(runtime: Runtime, id: int) -> None:
    """Let an alert's page and the overview have charts."""
    tallies = [
        Tally("clicked", kind, value)
        for kind, value in (
            ("service", "google"),
            ("language", "en"),
            ("hour", "7"),
            ("after", "0"),
        )
    ]
    runtime.store.receipt_counts.count([ReceiptRow(id, "clicked", "0-1", tallies)], 1000)
    runtime.questions.count("shown", "/sport")
    for ago in (1, 0):
        readers = {"readers": 1000 - ago, "unconfirmed": 0, "ended": {}}
        day = today() - timedelta(ago)
        runtime.store.daily_totals.put_readers(int(f"{day:%Y%m%d}"), readers)


@pytest.mark.soak
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_of_held_alerts_pass_axe_on_every_screen(
    installation: Installation, desk: Page, width: int, dark: bool
) -> None:
    runtime, morning = installation.runtime, int(time.time()) // QUARTER + 20
    installation.publish(Audience(everyone=True, story="quake"), title="The earth shook")
    delivered, held = (installation.publish(title=title) for title in (TITLE, "Storm warning"))
    hold(runtime, delivered, {morning: 60})
    wave = deliver(runtime, morning, delivered)
    hold(runtime, held, {morning + 4: 100, morning + 8: 20})
    desk.set_viewport_size({"width": width, "height": 800})
    desk.emulate_media(color_scheme="dark" if dark else "light")
    origin = desk.url.split("/desk")[0]
    pages = [f"/desk/alerts/{id}" for id in (delivered, wave, held)]
    draw_something(runtime, delivered)
    others = ("/desk/overview", "/desk/stories", "/desk/log", "/desk/new")
    for path in (*pages, f"{pages[-1]}/correct", *others):
        desk.goto(origin + path)
        for summary in desk.locator("summary:not(.menu > *)").all():
            summary.click()
        assert faults(desk) == [], path
        assert desk.evaluate("document.documentElement.scrollWidth") <= width, path
    desk.get_by_role("button", name="Review").click()
    expect(desk.locator("#title-error")).to_be_visible()
    assert faults(desk) == [], "the form with errors"
    desk.get_by_label("Title", exact=True).fill(TITLE)
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    desk.locator(".fold:has(#story) summary").click()
    desk.get_by_label("Part of a running story").select_option("quake")
    desk.get_by_role("button", name="Review").click()
    expect(desk.locator(".facts")).to_contain_text("all right away")
    assert faults(desk) == [], "the question"


def test_an_alert_is_written_on_one_screen(desk: Page) -> None:
    desk.set_viewport_size({"width": 1280, "height": 800})
    new_alert(desk)
    desk.get_by_label("Title", exact=True).fill(TITLE)
    for seen in (
        *(desk.locator(field) for field in ("#url", "#title", "#body")),
        desk.get_by_label("Everyone"),
        desk.locator("#reach"),
        desk.locator(".windows .toast"),
        desk.locator(".iphone .toast"),
        desk.get_by_role("button", name="Review"),
    ):
        expect(seen).to_be_in_viewport(ratio=1)
    assert desk.evaluate("scrollY") == 0
    desk.get_by_label("Spread over").scroll_into_view_if_needed()
    expect(desk.get_by_role("button", name="Review")).to_be_in_viewport(ratio=1)
    # A phone takes two screens of about 800 pixels.
    desk.set_viewport_size({"width": 390, "height": 800})
    assert desk.evaluate("document.documentElement.scrollHeight") <= 1600


def test_the_preview_shows_pictures_and_buttons_where_browsers_do(desk: Page) -> None:
    new_alert(desk)
    desk.locator(".fold:has(#image) summary").click()
    desk.get_by_label("Button 1", exact=True).fill("Listen live")
    picture = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"
    desk.route("https://paper.example/*", lambda route: route.fulfill(body=picture))
    desk.get_by_label("Picture").fill("https://paper.example/ferry.jpg")
    for kind, has_picture, has_buttons in (
        *(("windows", True, True), ("android", True, True)),
        *(("firefox", False, True), ("mac", False, False), ("iphone", False, False)),
    ):
        preview = desk.locator(f".{kind}")
        button = preview.get_by_text("Listen live")
        expect(button).to_be_visible() if has_buttons else expect(button).to_be_hidden()
        image = preview.locator(".toast-image")
        display = image.evaluate("image => getComputedStyle(image).display")
        assert (display != "none") is has_picture, kind
