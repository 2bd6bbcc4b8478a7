"""Whether alerts arrive: the first one after Yes, and “Why do I get no alerts?”."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from service.model.notifications import Audience
from tests.support.browser.axe import faults
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.readers import (
    IN_VIEW,
    IPHONE,
    SHOWN,
    Visit,
    bell,
    choose,
    come_back_with,
    panel,
    run_clock,
    stop_clock,
    subscribe,
    wait_for_page,
    with_site,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.short_forms import cases

pytestmark = pytest.mark.browser

PATIENCE_MS = 20_000
ARRIVAL = """[...document.querySelectorAll("*")]
  .map((one) => one.shadowRoot?.querySelector("output")?.textContent).find(Boolean)"""
CHROME = "Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0%s Safari/537.36"
WINDOWS = "Windows NT 10.0; Win64; x64"
MAC = "Macintosh; Intel Mac OS X 10_15_7"
# By browser and system: the user agent, what is true there, and what is not.
SYSTEMS = {
    "Chrome on Windows": (CHROME % (WINDOWS, ""), ["Windows:", "Keep Chrome open"], ["Mac:"]),
    "Edge on Windows": (CHROME % (WINDOWS, "") + " Edg/156.0", ["Windows:", "Keep Edge"], []),
    "Chrome on a Mac": (CHROME % (MAC, ""), ["Mac:", "Keep Chrome open"], ["Windows:"]),
    "Chrome on Android": (
        CHROME % ("Linux; Android 10; K", " Mobile"),
        ["Android:", "Apps › Chrome", "Unrestricted"],
        ["Keep Chrome open"],
    ),
    "an iPhone": (IPHONE, ["iPhone and iPad:"], ["Mac:", "Keep Safari open"]),
    "Firefox on Windows": (
        f"Mozilla/5.0 ({WINDOWS}; rv:153.0) Gecko/20100101 Firefox/153.0",
        ["Windows:", "Keep Firefox open", "Firefox: open Settings"],
        ["Brave"],
    ),
}


def test_after_yes_a_test_alert_arrives_and_the_panel_says_so(
    installation: Installation, firefox: Firefox, desktop: Desktop
) -> None:
    address = installation.web()
    installation.worker()
    installation.clock()
    firefox.allow_notifications(address)
    tab = firefox.open(f"{address}/demo/night-ferry")
    tab.click("button.bell")
    tab.click("button.yes")
    assert desktop.wait_for_test_alert().title == "This is a test"
    tab.wait_until(f"({ARRIVAL} ?? '').includes('The alert has arrived')")
    # Asked later, the same way proves itself again.
    tab.click("button.unseen")
    tab.wait_until(
        "[...document.querySelectorAll('*')].some((one) => one.shadowRoot?.querySelector('ol'))"
    )


def test_after_yes_a_welcome_is_not_doubled_by_a_test(
    redis_url: str,
    push_service: PushService,
    tmp_path: Path,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    with Installation(redis_url, push_service, tmp_path, WELCOME="yes") as installation:
        address = installation.web()
        installation.worker()
        installation.clock()
        firefox.allow_notifications(address)
        tab = firefox.open(f"{address}/demo/night-ferry")
        tab.click("button.bell")
        tab.click("button.yes")
        assert desktop.wait_for_notification().title == "Welcome"
        tab.wait_until(f"({ARRIVAL} ?? '').includes('The alert has arrived')")
        active = installation.runtime.store.notifications.active()
        assert len(active) <= 1, "the welcome alone"


STORY = '<h1>Quake</h1><div data-stop-press="bell" data-story="quake"></div>'


@pytest.mark.parametrize("main", cases({"the page's bell": None, "a story's bell": STORY}, most=1))
def test_a_welcome_that_comes_before_the_panel_speaks_of_it_is_noticed(
    paper: Installation, visit: Visit, main: str | None
) -> None:
    paper.publish(Audience(everyone=True, story="quake"))
    page = visit(script='data-topic="world"', main=main)
    with_site(page, welcome=True)
    page.reload()

    def answer(route: Route) -> None:
        page.evaluate(SHOWN)
        route.continue_()

    page.route("**/texts/en/help.json", answer)
    page.locator("#news button.bell" if main else "button.bell").click()
    panel(page).locator("button.yes").click()
    expect(arrival(page)).to_contain_text("The alert has arrived")


def arrival(page: Page) -> Locator:
    return panel(page).locator(".arrival")


def test_the_thanks_are_whole_however_late_their_script_comes(visit: Visit) -> None:
    page = visit(script='data-topic="world"')
    late: list[Route] = []
    page.route("**/help.js", lambda route: late.append(route))
    stop_clock(page)
    bell(page).click()
    panel(page).locator("button.yes").click()
    expect(panel(page).get_by_role("heading")).to_contain_text("Thank you")
    page.clock.run_for(10_000)
    wait_until(lambda: page.evaluate("1") and late)
    page.unroute("**/help.js")
    late[0].continue_()
    expect(panel(page)).to_contain_text("You will get alerts about: World.")
    expect(arrival(page)).to_contain_text("An alert is on its way.")


def test_when_no_alert_arrives_after_yes_the_panel_says_what_to_do_on_this_system(
    visit: Visit,
) -> None:
    page = visit(390, 844, user_agent=SYSTEMS["Chrome on Android"][0], script='data-topic="world"')
    stop_clock(page)
    bell(page).click()
    panel(page).locator("button.yes").click()
    expect(arrival(page)).to_contain_text("An alert is on its way.")
    run_clock(page, PATIENCE_MS + 100, timer=PATIENCE_MS)
    expect(arrival(page)).to_contain_text("It has not arrived yet.")
    expect(arrival(page).get_by_role("listitem").first).to_contain_text("Android:")
    page.clock.resume()
    assert panel(page).evaluate(IN_VIEW)
    assert faults(page, "html > div:last-of-type") == []


@pytest.mark.soak
def test_why_do_i_get_no_alerts_says_what_is_true_on_this_system(visit: Visit) -> None:
    page = visit()
    subscribe(page)
    # The service would refuse the sixth test.
    page.route("**/subscriptions/*/test", lambda route: route.fulfill(status=202, json={}))
    stop_clock(page)
    for system, (agent, true, untrue) in SYSTEMS.items():
        come_back_with(page, agent)
        bell(page).click()
        panel(page).get_by_role("button", name="Why do I get no alerts?").click()
        expect(panel(page).get_by_role("heading")).to_have_text("Why do I get no alerts?")
        expect(arrival(page)).to_contain_text("An alert is on its way.")
        run_clock(page, PATIENCE_MS + 100, timer=PATIENCE_MS)
        expect(arrival(page), system).to_contain_text("It has not arrived yet.")
        for text in true:
            expect(arrival(page), system).to_contain_text(text)
        for text in untrue:
            expect(arrival(page), system).not_to_contain_text(text)


@pytest.mark.soak
def test_in_brave_it_names_the_setting_for_googles_push_service(visit: Visit) -> None:
    page = visit()
    page.add_init_script("Object.defineProperty(navigator, 'brave', { value: {} })")
    page.reload()
    subscribe(page)
    stop_clock(page)
    bell(page).click()
    panel(page).locator("button.why").click()
    run_clock(page, PATIENCE_MS + 100, timer=PATIENCE_MS)
    expect(arrival(page)).to_contain_text("Use Google services for push messaging")


def test_a_shown_test_leaves_only_the_device_to_look_at(visit: Visit) -> None:
    page = visit(user_agent=SYSTEMS["Firefox on Windows"][0])
    subscribe(page)
    bell(page).click()
    panel(page).locator("button.why").click()
    expect(arrival(page)).to_contain_text("An alert is on its way.")
    page.evaluate(SHOWN)
    expect(arrival(page)).to_contain_text("The alert has arrived")
    expect(arrival(page).get_by_role("listitem")).to_have_count(1)
    expect(arrival(page)).to_contain_text("Windows:")
    panel(page).get_by_role("button", name="Send another test").click()
    expect(arrival(page).locator("output")).to_have_text(
        "An alert is on its way. It can take half a minute."
    )
    panel(page).get_by_role("button", name="Back to your alerts").click()
    expect(panel(page).locator("button.save")).to_be_visible()


def test_it_names_a_pause_and_quiet_hours_first(visit: Visit) -> None:
    page = visit()
    subscribe(page)
    bell(page).click()
    now = page.evaluate("new Date().getHours()")
    choose(page, "From", f"{now:02}:00")
    choose(page, "To", f"{(now + 2) % 24:02}:00")
    choose(page, "Pause", "For a week")
    panel(page).locator("button.save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    panel(page).locator("button.why").click()
    expect(panel(page)).to_contain_text("You have paused alerts until")
    expect(panel(page)).to_contain_text("You have quiet hours now.")


def test_it_mends_a_subscription_that_the_service_no_longer_knows(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    id = subscribe(page)
    stop_clock(page)
    bell(page).click()
    panel(page).locator("button.why").click()
    expect(arrival(page)).to_contain_text("An alert is on its way.")
    paper.runtime.store.subscriptions.remove(id, remember=False)
    run_clock(page, PATIENCE_MS + 100, timer=PATIENCE_MS)
    wait_for_page(page, f"StopPress.state().id !== {json.dumps(str(id))}")
    assert page.evaluate("StopPress.state().subscribed")
    assert paper.runtime.store.subscriptions.count() == 1
