"""Something's wrong, and a second person, by keyboard alone in a real Chromium on every screen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from service.model.notifications import Outcome, State
from tests.support.browser.axe import faults
from tests.support.browser.desk import TITLE, review_for_everyone, sign_in_unseen, tab_to
from tests.support.desk.pages import send_all
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

SECOND = "ben@paper.example"


@pytest.fixture
def installation(installation: Installation) -> Installation:
    installation.environment["TWO_PERSON_ABOVE"] = "10"
    installation.environment["PROMISE"] = "90% in 60s"
    return installation


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.soak)], ids=["phone", "desk"])
def check(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Check the open page on a dark phone from right to left, or on a desk's screen."""
    phone: bool = request.param

    def check_page(page: Page, what: str) -> None:
        width = 390 if phone else 1280
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if phone else "light")
        page.evaluate("given => document.documentElement.dir = given", "rtl" if phone else "ltr")
        assert faults(page) == [], what
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what

    return check_page


def test_an_alert_is_paused_looked_at_and_retracted(
    installation: Installation, desk: Page, check: Callable[[Page, str], None]
) -> None:
    runtime, keys = installation.runtime, desk.keyboard
    id = installation.publish(title=TITLE)
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    desk.goto(f"{installation.address}/desk/alerts/{id}")
    expect(desk.locator(".promise")).to_contain_text("90 % within 1 minute: 10 % after")
    tab_to(desk, "button.wrong")
    keys.press("Enter")
    expect(desk.get_by_role("status")).to_contain_text("Paused. Nothing more leaves")
    assert runtime.publishing.get(id).state is State.PAUSED
    expect(desk.get_by_role("heading", name="360 not sent")).to_be_visible()
    check(desk, "what can be done")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 2})  # were on their way
    expect(desk.get_by_role("heading", name="42 handed over")).to_be_visible()
    expect(desk.get_by_role("heading", name="358 not sent")).to_be_visible()
    tab_to(desk, "a[href$='/retract']")
    keys.press("Enter")
    expect(desk.get_by_label("Title", exact=True)).to_have_value("This alert was sent in error")
    check(desk, "the retraction")
    tab_to(desk, "button.urgent")
    keys.press("Enter")
    expect(desk.locator(".lead")).to_contain_text("It waits for a second person.")
    check(desk, "a retraction that waits")
    assert runtime.publishing.get(id).state is State.CANCELLED


@pytest.mark.soak
def test_a_page_that_refreshes_itself_does_not_end_the_way_to_the_next(
    installation: Installation, desk: Page
) -> None:
    id = installation.publish(title=TITLE)
    desk.goto(f"{installation.address}/desk/alerts/{id}")

    def slowly(route: Route) -> None:
        response = route.fetch(max_redirects=0, max_retries=3)
        time.sleep(2.5)  # meanwhile the page asks, and learns that the alert is paused
        route.fulfill(response=response)

    desk.route(
        re.compile(r"/alerts/\d+/\w+$"),
        lambda route: slowly(route) if route.request.method == "POST" else route.continue_(),
    )
    desk.get_by_role("button", name="Something’s wrong").click()
    expect(desk.get_by_role("status")).to_contain_text("Paused. Nothing more leaves")


def test_a_second_person_sees_an_alert_and_approves_it(
    installation: Installation, desk: Page, check: Callable[[Page, str], None]
) -> None:
    runtime, keys = installation.runtime, desk.keyboard
    review_for_everyone(desk)
    expect(desk.get_by_role("button", name="Ask another editor to send it")).to_be_visible()
    check(desk, "the confirmation")
    desk.wait_for_load_state()  # scripts run
    keys.press("Control+Enter")
    expect(desk.locator(".approval")).to_contain_text("another editor who sends has to approve it")
    check(desk, "for its author")
    alert = desk.url

    sign_in_unseen(desk.context, installation, SECOND)
    desk.goto(alert)
    tab_to(desk, ".send-back summary")
    keys.press("Enter")
    expect(desk.get_by_label("What should change?")).to_be_visible()
    check(desk, "for the second person")
    tab_to(desk, "button.urgent", back=True)
    keys.press("Enter")
    expect(desk.locator(".facts")).to_contain_text(f"by {SECOND}")
    (one,) = runtime.publishing.latest(10)
    assert (one.state, one.approved_by) == (State.SENDING, SECOND)
