"""A welcome confirms a subscription when it is shown or pressed, in real browsers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from service.model.notifications import Audience
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.publisher_site import Publisher
from tests.support.browser.readers import Visit, panel, subscribe, visit_over, wait_for_page
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


@pytest.fixture
def paper(redis_url: str, push_service: PushService, tmp_path: Path) -> Iterator[Installation]:
    """A newspaper whose readers have to confirm, with running web processes."""
    with Installation(redis_url, push_service, tmp_path, WELCOME="confirm") as installation:
        installation.web()
        yield installation


def unconfirmed(installation: Installation) -> int:
    return installation.runtime.store.subscriptions.count("unconfirmed")


def test_a_firefox_that_shows_the_welcome_gets_alerts_from_then_on(
    redis_url: str,
    push_service: PushService,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
    tmp_path: Path,
) -> None:
    settings = {"WELCOME": "confirm", "SITE_ORIGINS": publisher.origin}
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        address = installation.web()
        firefox.allow_notifications(publisher.origin)
        publisher.worker("/sw.js", f'importScripts("{address}/sw.js");')
        tab = firefox.open(publisher.page("/", address, topic="world", ask="manual"))
        tab.wait_until("window.StopPress && true")
        tab.evaluate("(StopPress.ask(), true)")
        tab.click("button.main")
        tab.wait_until("StopPress.state().subscribed")
        assert unconfirmed(installation) == 1
        assert installation.runtime.publishing.reach(Audience(everyone=True)) == 0

        installation.worker()
        installation.clock()

        shown = desktop.wait_for_notification()
        assert shown.title == "Welcome"
        wait_until(lambda: unconfirmed(installation) == 0)
        installation.over(installation.publish(Audience(topics=("world",)), title="News"))
        assert desktop.wait_for_notification().title == "News"


def test_unconfirmed_readers_check_in_on_each_page_view_others_daily(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    id = subscribe(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))

    def checks_in() -> bool:
        asked.clear()
        page.reload()
        wait_for_page(page, "window.StopPress")
        visit_over(page)
        return "POST" in asked

    assert checks_in()
    assert checks_in()
    paper.runtime.store.subscriptions.confirm(id)
    assert checks_in()
    assert not checks_in()
    page.evaluate(
        """() => {
          const kept = JSON.parse(localStorage["stop-press"]);
          const checked = Date.now() - 1.01 * 86_400_000;
          localStorage["stop-press"] = JSON.stringify({ ...kept, checked });
        }"""
    )
    assert checks_in()
    assert not checks_in()


def test_the_page_that_a_pressed_welcome_opens_confirms(paper: Installation, visit: Visit) -> None:
    page = visit()
    id = subscribe(page)
    assert unconfirmed(paper) == 1
    token = paper.runtime.tokens.receipt(0, id)
    pressed = f"{page.url}#stop-press=welcome&receipt={token}"
    page.goto("about:blank")
    page.route("**/api/v1/receipts", lambda route: route.abort())
    page.goto(pressed)
    expect(panel(page)).to_contain_text("We could not be reached")
    assert unconfirmed(paper) == 1
    page.unroute("**/api/v1/receipts")

    page.reload()

    expect(panel(page).get_by_role("heading")).to_have_text("Thank you. You will hear from us.")
    assert unconfirmed(paper) == 0
    assert page.evaluate("location.hash") == ""
    panel(page).get_by_role("button", name="Quiet hours and more").click()
    expect(panel(page).get_by_role("heading").first).to_have_text("Your alerts")
    page.evaluate("StopPress.leave()")
    expect(panel(page).get_by_role("heading")).to_have_text("You have left")
    page.goto("about:blank")
    page.goto(pressed)
    expect(panel(page).get_by_role("button", name="Yes, alert me")).to_be_visible()
    assert paper.runtime.store.subscriptions.count() == 0
