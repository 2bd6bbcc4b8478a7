"""Taking back what was just sent, in a real Chromium, against real processes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from service.model.notifications import State
from tests.support.browser.axe import faults
from tests.support.browser.desk import READERS, TITLE, send_to_everyone, sign_in
from tests.support.processes.forked import Forked
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> str:
    """For how long an alert can be taken back."""
    return str(getattr(request, "param", 60))


@pytest.fixture
def installation(installation: Installation, seconds: str) -> Installation:
    installation.environment["UNDO_SECONDS"] = seconds
    installation.worker()
    installation.clock()
    return installation


def test_an_alert_is_taken_back_and_nobody_had_it(
    installation: Installation, desk: Page, push_service: PushService
) -> None:
    send_to_everyone(desk)
    expect(desk.locator(".lead")).to_contain_text("Nobody has it yet. It leaves in")
    left = desk.locator(".lead").text_content()
    expect(desk.locator(".lead")).not_to_have_text(left or "")  # it counts down
    assert faults(desk) == []
    desk.wait_for_load_state()  # scripts run
    desk.keyboard.press("u")
    expect(desk.locator(".lead")).to_have_text("Draft. It is not sent until an editor sends it.")
    (one,) = installation.runtime.publishing.latest(10)
    assert one.state is State.DRAFT
    assert push_service.received == []
    desk.get_by_role("link", name="Edit").click()
    expect(desk.get_by_label("Title", exact=True)).to_have_value(TITLE)


@pytest.mark.soak
def test_send_now_sends_at_once(installation: Installation, desk: Page) -> None:
    send_to_everyone(desk)
    desk.get_by_role("button", name="Send now").click()
    expect(desk.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    (one,) = installation.runtime.publishing.latest(10)
    assert installation.outcomes(one.id) == {"accepted": READERS}


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [2], indirect=True)
def test_an_open_page_shows_when_it_has_left(installation: Installation, desk: Page) -> None:
    send_to_everyone(desk)
    expect(desk.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    desk.wait_for_load_state()  # scripts run
    desk.keyboard.press("u")
    expect(desk.get_by_text("Too late: it has been sent.")).to_be_visible()


@pytest.mark.parametrize("seconds", [2], indirect=True)
def test_it_leaves_though_the_page_is_closed_and_the_web_process_is_dead(
    installation: Installation, desk: Page
) -> None:
    _, clock, web = installation.processes
    installation.end(clock)  # only a later one lets it leave
    send_to_everyone(desk)
    expect(desk.locator(".lead")).to_contain_text(re.compile("It leaves|Not started yet"))
    desk.goto("about:blank")
    assert isinstance(web, Forked)
    web.kill_all()
    installation.clock()
    (one,) = installation.runtime.publishing.latest(10)
    over = installation.over(one.id)
    assert over.state is State.SENT
    assert over.send_at is not None
    assert (over.started_at or 0) >= int(over.send_at.at * 1000) / 1000
    assert installation.outcomes(one.id) == {"accepted": READERS}


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [2], indirect=True)
def test_without_scripts_the_page_follows_as_well(
    installation: Installation, headless_chromium: Browser
) -> None:
    installation.web()
    page = headless_chromium.new_page(java_script_enabled=False)
    sign_in(page, installation)
    send_to_everyone(page)
    expect(page.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    page.context.close()


def test_a_correction_is_taken_back_by_a_key_and_is_in_its_form_again(
    installation: Installation, desk: Page
) -> None:
    id = installation.publish(title=TITLE)
    installation.over(id)
    desk.goto(f"{installation.address}/desk/alerts/{id}/correct")
    desk.get_by_label("Title", exact=True).fill("Ferry afloat")
    desk.keyboard.press("Control+Enter")
    expect(desk.locator(".lead")).to_contain_text("Nobody has it yet. It leaves in")
    assert faults(desk) == []
    desk.wait_for_load_state()  # scripts run
    desk.keyboard.press("u")
    expect(desk.get_by_role("heading", level=1)).to_have_text("Correct this alert")
    expect(desk.get_by_label("Title", exact=True)).to_have_value("Ferry afloat")
    expect(desk.get_by_text("Taken back. Nobody has seen it.")).to_be_visible()
    assert installation.runtime.publishing.get(id).revision == 0
