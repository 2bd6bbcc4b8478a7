"""Send to me first, the whole way: a phone is paired by a code, and shows the test of an alert."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.axe import faults
from tests.support.browser.desk import EMAIL, FAINT, complaints_of, sign_in, tab_to
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

PANEL = """[...document.querySelectorAll("*")]
  .map((one) => one.shadowRoot?.querySelector("dialog")?.textContent).find(Boolean)"""


def shows(tab: Tab, text: str) -> str:
    """Wait until the phone's panel shows a text; return all that it shows."""
    return str(tab.wait_until(f"({PANEL})?.includes({text!r}) && {PANEL}", timeout=30))


def write(page: Page, installation: Installation) -> None:
    """Write an alert and go to its confirmation."""
    page.goto(f"{installation.address}/desk/new")
    page.get_by_label("Link to the story").fill("https://paper.example/ferry")
    page.get_by_label("Title", exact=True).fill("Ferry aground")
    page.get_by_label("Text", exact=False).first.fill("All aboard are safe.")
    page.get_by_label("Everyone").first.check()
    page.get_by_role("button", name=re.compile("Review")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Notify")
    page.wait_for_load_state()  # scripts run


def make_code(page: Page, installation: Installation) -> str:
    """Make a code at the desk; return its link."""
    page.goto(f"{installation.address}/desk/")
    page.get_by_role("link", name="Account").click()
    page.get_by_role("button", name="Pair a browser…").click()
    # At `localhost`, which a phone could not open, there is no picture of it.
    link = page.get_by_role("link", name="open the link of the code").get_attribute("href")
    assert link
    return link


def test_a_phone_is_paired_and_shows_the_test_before_readers_get_the_alert(
    installation: Installation,
    chromium_page: Callable[..., Page],
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    address = installation.web()
    installation.worker()
    installation.clock()
    desk = chromium_page(1280, 900)
    complaints = complaints_of(desk)
    sign_in(desk, installation)
    firefox.allow_notifications(address)
    link = make_code(desk, installation)

    phone = firefox.open(link)
    shows(phone, "First subscribe to our alerts")
    phone.click("button.yes")
    asked = shows(phone, "Pair this browser?")
    assert EMAIL in asked, "the phone says whose account it is"
    assert phone.evaluate("location.hash") == "", "the code is not kept in the address"
    phone.click("button.pairYes")
    shows(phone, "Now confirm at the desk")

    expect(desk.get_by_text("Firefox on Linux")).to_be_visible()  # without a reload
    desk.get_by_role("button", name="Yes, pair it").click()
    expect(desk.get_by_text("no test yet")).to_be_visible()

    write(desk, installation)
    before = desk.url
    desk.get_by_role("button", name="Send to my browser").click()
    expect(desk.get_by_text("Sent to 1 browser.")).to_be_visible()
    assert desk.url == before
    shown = desktop.wait_for_notification(timeout=30)
    assert shown.title == "Ferry aground"
    assert shown.body == "This is a test\nAll aboard are safe."
    assert installation.runtime.publishing.latest(10) == [], "nobody else gets anything"
    assert push_service.refusals == []
    assert complaints == []

    again = firefox.open(link)
    shows(again, "This code was used already")


# How it looks -------------------------------------------------------------------------------------


def states(desk: Page, installation: Installation) -> Iterator[str]:
    """Bring the desk from one of these pages to the next."""
    paired = installation.runtime.paired_browsers
    write(desk, installation)
    yield "confirmation without a phone"
    link = make_code(desk, installation)
    yield "code"
    reader = installation.runtime.subscriptions.get(str(installation.reader(0)))
    paired.claim(link.rpartition("=")[2], reader, "Chrome on Android")
    expect(desk.get_by_text("is this yours?")).to_be_visible()
    yield "whose"
    desk.get_by_role("button", name="Yes, pair it").click()
    expect(desk.get_by_role("button", name="Unpair Chrome on Android")).to_be_visible()
    yield "account"
    write(desk, installation)
    send = desk.get_by_role("button", name="Send to my phone")
    send.click()
    expect(desk.get_by_text("Sent to 1 browser.")).to_be_visible()
    yield "confirmation"
    desk.goto(f"{installation.address}/desk/account/browsers/pair")
    yield "no code"


@pytest.mark.soak
@pytest.mark.parametrize(("width", "dark", "rtl"), [(1280, False, False), (390, True, True)])
def test_the_pages_fit_every_screen_and_pass_axe(
    installation: Installation, desk: Page, width: int, dark: bool, rtl: bool
) -> None:
    desk.set_viewport_size({"width": width, "height": 800})
    desk.emulate_media(color_scheme="dark" if dark else "light")
    for state in states(desk, installation):
        if rtl:
            desk.evaluate("document.documentElement.dir = 'rtl'")
        assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth"), state
        assert faults(desk) == [], state
        assert desk.evaluate(FAINT) == [], state


def test_a_phone_is_paired_and_used_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    tab_to(desk, ".who a")
    desk.keyboard.press("Enter")
    tab_to(desk, "form[action$='/account/browsers/code'] button")
    desk.keyboard.press("Enter")
    link = desk.get_by_role("link", name="open the link of the code").get_attribute("href")
    assert link
    reader = installation.runtime.subscriptions.get(str(installation.reader(0)))
    installation.runtime.paired_browsers.claim(link.rpartition("=")[2], reader, "")
    expect(desk.get_by_text("A browser that does not tell its name")).to_be_visible()
    tab_to(desk, "button[name=own]")
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("button", name="Unpair")).to_be_visible()
    write(desk, installation)
    tab_to(desk, ".to-me button")
    desk.keyboard.press("Enter")
    expect(desk.get_by_text("Sent to 1 browser.")).to_be_visible()


@pytest.mark.soak
def test_the_page_of_the_code_says_when_it_has_ended(
    installation: Installation, desk: Page
) -> None:
    make_code(desk, installation)
    redis = installation.runtime.store.redis
    redis.delete(*redis.scan_iter(match="{g}:pairing:*"))
    expect(desk.get_by_text("The code has ended")).to_be_visible()
    desk.get_by_role("button", name="Make another code").click()
    expect(desk.get_by_role("link", name="open the link of the code")).to_be_visible()


def test_the_confirmation_says_that_a_test_was_not_sent(
    installation: Installation, desk: Page
) -> None:
    paired = installation.runtime.paired_browsers
    code = paired.begin(EMAIL)
    reader = installation.runtime.subscriptions.get(str(installation.reader(0)))
    paired.claim(code, reader, "Chrome on Android")
    paired.confirm(code, EMAIL)
    write(desk, installation)
    desk.route(re.compile("send-to-me"), lambda route: route.abort())
    desk.get_by_role("button", name="Send to my phone").click()
    expect(desk.get_by_text("It was not sent.")).to_be_visible()
    desk.unroute(re.compile("send-to-me"))
    desk.get_by_role("button", name="Send to my phone").click()
    expect(desk.get_by_text("Sent to 1 browser.")).to_be_visible()
    expect(desk.get_by_text("It was not sent.")).to_be_hidden()
