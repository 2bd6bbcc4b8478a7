"""The page that the link of a pairing code opens on an editor's phone, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from service.model.language.languages import LANGUAGES, texts
from tests.support.browser.axe import faults
from tests.support.browser.readers import IN_VIEW, IPHONE, Visit, come_back_with, panel, subscribe
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

EDITOR = "nora@paper.example"


def scan(page: Page, paper: Installation, code: str = "") -> tuple[Locator, str]:
    """Open the link of a code as a phone's camera does; return the panel and the code."""
    code = code or paper.runtime.paired_browsers.begin(EDITOR)
    where = page.url.partition("#")[0]
    page.goto("about:blank")
    page.goto(f"{where}#stop-press=pair&code={code}")
    expect(panel(page).get_by_role("heading").first).to_be_visible()
    return panel(page), code


def test_a_subscriber_is_asked_who_may_send_tests_here(paper: Installation, visit: Visit) -> None:
    page = visit(390, 800)
    id = subscribe(page)
    box, code = scan(page, paper)
    expect(box.get_by_role("heading")).to_have_text("Pair this browser?")
    expect(box.get_by_role("heading")).to_be_focused()
    expect(box).to_contain_text("The Daily Example")
    expect(box).to_contain_text(EDITOR)
    assert page.evaluate("location.hash") == ""
    assert faults(page) == []
    assert paper.runtime.paired_browsers.waiting(code, EDITOR) is None, "nothing before a yes"

    box.get_by_role("button", name="Yes, pair it").press("Enter")

    expect(box.get_by_role("heading")).to_have_text("Now confirm at the desk")
    waiting = paper.runtime.paired_browsers.waiting(code, EDITOR)
    assert waiting is not None
    assert waiting.subscription == str(id)
    assert paper.runtime.paired_browsers.of(EDITOR) == []


def test_a_no_leaves_the_code_unused(paper: Installation, visit: Visit) -> None:
    page = visit()
    subscribe(page)
    box, code = scan(page, paper)
    box.get_by_role("button", name="Not now").click()
    expect(box).to_have_count(0)
    assert paper.runtime.paired_browsers.waiting(code, EDITOR) is None


def test_a_code_that_has_ended_is_said_to_have_ended(paper: Installation, visit: Visit) -> None:
    page = visit()
    subscribe(page)
    box, _ = scan(page, paper, "A" * 22)
    expect(box).to_contain_text("This code was used already, or has ended.")
    box, code = scan(page, paper)
    paper.runtime.paired_browsers.refuse(code, EDITOR)  # it ends while the question is shown
    box.get_by_role("button", name="Yes, pair it").click()
    expect(box.get_by_role("alert")).to_contain_text("This code was used already, or has ended.")


def test_a_browser_that_is_not_subscribed_subscribes_first(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    box, _ = scan(page, paper)
    expect(box.get_by_role("heading")).to_have_text("First subscribe to our alerts")
    box.get_by_role("button", name="Yes, alert me").click()
    expect(box.get_by_role("heading")).to_have_text("Pair this browser?")
    assert page.evaluate("StopPress.state().subscribed")


def test_an_iphone_says_that_the_link_does_not_open_in_the_app(
    paper: Installation, visit: Visit
) -> None:
    page = visit(push=False)
    come_back_with(page, IPHONE)
    box, _ = scan(page, paper)
    expect(box).to_contain_text("only to an app on the Home Screen")


@pytest.mark.soak
def test_a_browser_that_the_service_has_forgotten_is_asked_at_the_second_try(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    paper.runtime.store.subscriptions.remove(subscribe(page), remember=False)
    box, _ = scan(page, paper)
    expect(box.get_by_role("heading")).to_have_text("Pair this browser?")
    box.get_by_role("button", name="Try again").click()
    expect(box).to_contain_text(EDITOR)


@pytest.mark.parametrize(
    "language",
    [
        language if language == "ar" else pytest.param(language, marks=pytest.mark.soak)
        for language in LANGUAGES
    ],
)
def test_the_panel_fits_a_phone_in_every_language(
    paper: Installation, visit: Visit, language: str
) -> None:
    page = visit(360, 640, lang=language, dark=language in ("ar", "de"))
    words = texts(language)["pair"]
    box, _ = scan(page, paper)
    expect(box.get_by_role("heading")).to_have_text(words["pairFirst"])
    assert box.evaluate(IN_VIEW)
    box.locator("button.yes").click()
    expect(box.get_by_role("heading")).to_have_text(words["pairing"])
    assert box.evaluate(IN_VIEW)
    assert faults(page) == []
    box.locator("button.pairYes").click()
    expect(box.get_by_role("heading")).to_have_text(words["pairDone"])
