"""The panel on a publisher's page, in a real Chromium against the real service."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Audience
from tests.support.browser.readers import (
    PROBLEM,
    Visit,
    bell,
    choose,
    panel,
    preferences,
    stored,
    subscribe,
    tab_to,
    visit_over,
    wait_for_page,
)
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser


def test_preferences_are_saved_in_one_call_and_shown_again(
    paper: Installation, visit: Visit
) -> None:
    page = visit(timezone_id="Europe/Riga", locale="en-GB")
    expect(bell(page)).to_have_text("Alerts")
    id = subscribe(page)
    expect(bell(page)).to_have_text("Alerts on")
    bell(page).click()
    expect(panel(page)).to_contain_text("In your time zone, Eastern European Time.")
    calls: list[str] = []
    page.on("request", lambda request: calls.append(f"{request.method} {request.url}"))
    panel(page).get_by_label("Sport", exact=True).check()
    choose(page, "From", "23:15")
    choose(page, "To", "06:45")
    choose(page, "At most", "3 a day")
    choose(page, "Pause", "For a week")
    panel(page).get_by_label("Also wake me for breaking news").check()

    panel(page).get_by_role("button", name="Save").click()

    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    assert [call.split()[0] for call in calls if "GET" not in call] == ["PATCH"]
    kept = stored(paper, id)
    assert kept["topics"] == ["sport", "world"]
    assert kept["quiet_hours"] == {"from": "23:15", "to": "06:45"}
    assert (kept["daily_limit"], kept["allow_breaking"], kept["wording"]) == (3, True, 2)
    assert kept["paused_until"]
    assert page.evaluate("StopPress.state().topics.toSorted()") == ["sport", "world"]

    # Saving again leaves the panel and the focus as they are, unless another tab has saved.
    choose(page, "At most", "4 a day")
    tab_to(page, "button.save")
    page.keyboard.press("Enter")
    wait_until(lambda: stored(paper, id)["daily_limit"] == 4)
    expect(panel(page).locator("button.save")).to_be_enabled()  # the page knows it too
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    expect(panel(page).locator("button.save")).to_be_focused()
    choose(page, "At most", "3 a day")
    panel(page).locator("button.save").click()
    wait_until(lambda: stored(paper, id)["daily_limit"] == 3)

    page.reload()
    bell(page).click()

    for label, value in {"From": "23:15", "To": "06:45", "At most": "3"}.items():
        expect(preferences(page, label)).to_have_value(value)
    expect(panel(page).get_by_label("Sport", exact=True)).to_be_checked()
    expect(panel(page).get_by_label("Also wake me")).to_be_checked()
    expect(preferences(page, "Pause").locator("option:checked")).to_contain_text("Until")
    choose(page, "From", "None")
    expect(preferences(page, "To")).to_be_hidden()
    choose(page, "At most", "No limit")
    choose(page, "Pause", "No pause")
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    kept = stored(paper, id)
    assert [kept[name] for name in ("quiet_hours", "daily_limit", "paused_until")] == [None] * 3


@pytest.mark.parametrize("hours", [5, pytest.param(-5, marks=pytest.mark.soak)])
def test_a_pause_is_as_long_as_it_says_though_the_browsers_clock_is_wrong(
    paper: Installation, visit: Visit, hours: int
) -> None:
    page = visit()
    id = subscribe(page)
    page.clock.set_system_time(datetime.now() + timedelta(hours=hours))
    bell(page).click()
    choose(page, "Pause", "For an hour")
    panel(page).locator("button.save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    until = stored(paper, id)["paused_until"]
    assert until
    left = datetime.fromisoformat(until.replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(hours=0.9) < left < timedelta(hours=2), "up to the end of that hour"

    page.reload()
    page.clock.set_system_time(datetime.now() + timedelta(hours=hours))
    bell(page).click()
    expect(preferences(page, "Pause").locator("option:checked")).to_contain_text("Until")
    choose(page, "At most", "3 a day")
    panel(page).locator("button.save").click()
    wait_until(lambda: stored(paper, id)["daily_limit"] == 3)
    assert stored(paper, id)["paused_until"] == until


def test_preferences_that_cannot_be_saved_stay_on_the_panel(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    id = subscribe(page)
    page.route("**/preferences.js", lambda route: route.abort())
    page.reload()
    bell(page).click()
    expect(panel(page)).to_contain_text("We could not be reached.")
    expect(panel(page).get_by_role("heading")).to_be_focused()
    page.unroute("**/preferences.js")
    panel(page).get_by_role("button", name="Try again").click()
    choose(page, "At most", "3 a day")
    page.context.set_offline(True)
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("Nothing was stored")
    expect(preferences(page, "At most")).to_have_value("3")
    assert stored(paper, id)["daily_limit"] == 10
    page.context.set_offline(False)
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    expect(panel(page).get_by_role("alert")).to_have_count(0)
    assert stored(paper, id)["daily_limit"] == 3


def test_quiet_hours_cannot_end_when_they_begin(visit: Visit) -> None:
    page = visit()
    subscribe(page)
    bell(page).click()
    choose(page, "From", "07:00")
    expect(preferences(page, "To")).to_have_value("08:00")
    panel(page).get_by_role("button", name="Save").click()
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")


def test_leaving_takes_one_click_in_the_panel(paper: Installation, visit: Visit) -> None:
    page = visit()
    subscribe(page)
    bell(page).click()
    panel(page).get_by_role("button", name="Leave").click()
    expect(panel(page).get_by_role("heading")).to_have_text("You have left")
    expect(bell(page)).to_have_text("Alerts")
    assert paper.runtime.store.subscriptions.count() == 0


def test_leaving_offline_is_finished_on_the_next_visit(paper: Installation, visit: Visit) -> None:
    page = visit()
    subscribe(page)
    bell(page).click()
    expect(panel(page).locator("button.save")).to_be_visible()
    page.context.set_offline(True)
    page.evaluate("window.testStuck = true")  # the browser's own unsubscribe fails too
    panel(page).get_by_role("button", name="Leave").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("on your next visit")
    assert not page.evaluate("StopPress.state().subscribed")
    assert paper.runtime.store.subscriptions.count() == 1
    page.context.set_offline(False)
    page.reload()
    wait_until(lambda: paper.runtime.store.subscriptions.count() == 0)
    wait_for_page(page, "localStorage.getItem('stop-press') === '{}'")
    assert page.evaluate("localStorage.getItem('test-push')") is None
    page.reload()
    wait_for_page(page, "window.StopPress")
    assert not page.evaluate("StopPress.refresh().then(() => StopPress.state().subscribed)")


def test_a_reader_unknown_to_the_service_for_a_month_can_subscribe_again(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    paper.runtime.store.subscriptions.remove(subscribe(page), remember=False)
    page.evaluate(
        """localStorage["stop-press"] = JSON.stringify({
          ...JSON.parse(localStorage["stop-press"]), checked: Date.now() - 31 * 86_400_000 })"""
    )
    bell(page).click()
    expect(panel(page).get_by_role("button", name="Yes, alert me")).to_be_visible()
    expect(bell(page)).to_have_text("Alerts")
    panel(page).get_by_role("button", name="Not now").click()
    expect(panel(page)).to_have_count(0)
    # A page view makes no call for a browser that the service does not know.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    page.reload()
    expect(bell(page)).to_have_text("Alerts")
    visit_over(page)
    assert "POST" not in asked
    subscribe(page)
    assert paper.runtime.store.subscriptions.count() == 1


def test_two_tabs_show_the_same_state(visit: Visit) -> None:
    first = visit()
    second = visit(context=first.context)
    bell(second).click()
    expect(panel(second).locator("button.yes")).to_be_visible()
    subscribe(first)
    expect(bell(second)).to_have_text("Alerts on")
    expect(panel(second).get_by_role("heading")).to_have_text("Your alerts")
    first.evaluate("StopPress.leave()")
    expect(panel(second).get_by_role("heading")).to_have_text("You have left")
    expect(bell(second)).to_have_text("Alerts")


def test_preferences_can_be_part_of_the_page(paper: Installation, visit: Visit) -> None:
    page = visit(main='<h1>Alerts</h1><div data-stop-press="preferences"></div>')
    part = page.locator("section.panel")
    expect(part.get_by_role("heading")).to_contain_text("Get the latest updates")
    assert part.get_by_role("button").all_inner_texts() == ["Yes, alert me"]
    part.get_by_label("World", exact=True).check()
    part.get_by_role("button", name="Yes, alert me").click()
    part.get_by_role("button", name="Quiet hours and more").click()
    expect(part.get_by_role("heading").first).to_have_text("Your alerts")
    page.keyboard.press("Escape")
    page.reload()
    expect(part.get_by_label("World", exact=True)).to_be_checked()
    expect(part.get_by_role("button", name="Close")).to_have_count(0)
    expect(panel(page)).to_have_count(0)
    # What happens in the dialog is shown here too.
    bell(page).click()
    panel(page).get_by_role("button", name="Leave").click()
    expect(part.get_by_role("heading")).to_have_text("You have left")


def test_a_reader_sees_missed_alerts_and_can_send_a_test(
    paper: Installation, push_service: PushService, visit: Visit
) -> None:
    page = visit()
    subscribe(page)
    push_service.accept_any(paper.vapid.public)
    paper.worker()
    paper.clock()
    for topic, title in (("world", "Ferry aground — عاجل <b>"), ("sport", "A draw")):
        paper.over(paper.publish(Audience(topics=(topic,)), title=title))
    bell(page).click()
    missed = panel(page).get_by_role("list")
    expect(missed.get_by_role("link")).to_have_text(["Ferry aground — عاجل <b>"])
    expect(missed.get_by_role("link")).to_have_attribute("href", "https://paper.example/story")
    received = len(push_service.received)
    panel(page).get_by_role("button", name="Send a test").click()
    expect(panel(page).get_by_role("status")).to_contain_text("A test is on its way")
    wait_until(lambda: len(push_service.received) > received)
    panel(page).get_by_role("button", name="Leave").click()
    expect(panel(page).get_by_role("heading").first).to_have_text("You have left")
    assert paper.runtime.store.subscriptions.count() == 0


def test_the_keyboard_alone_subscribes_changes_preferences_and_leaves(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    keys = page.keyboard
    tab_to(page, "button.bell")
    keys.press("Enter")
    expect(panel(page).get_by_role("heading")).to_be_focused()
    tab_to(page, "button.details")
    keys.press("Enter")
    expect(panel(page).get_by_role("heading")).to_be_focused()
    tab_to(page, "[value=world]")
    keys.press("Space")
    tab_to(page, "button.yes")
    keys.press("Enter")
    expect(panel(page).get_by_role("heading")).to_be_focused()
    tab_to(page, "button.more")
    keys.press("Enter")
    expect(panel(page).get_by_role("heading").first).to_have_text("Your alerts")
    tab_to(page, "select")
    keys.press("ArrowDown")
    expect(preferences(page, "From")).to_have_value("22:15")
    tab_to(page, "button.save")
    keys.press("Enter")
    expect(panel(page).get_by_role("status")).to_have_text("Saved.")
    keys.press("Escape")
    expect(panel(page)).to_have_count(0)
    expect(bell(page)).to_be_focused()
    keys.press("Enter")
    expect(panel(page).get_by_role("heading").first).to_be_focused()
    tab_to(page, "button.leave")
    keys.press("Enter")
    expect(panel(page).get_by_role("heading")).to_have_text("You have left")
    assert paper.runtime.store.subscriptions.count() == 0


def test_the_panel_links_to_privacy_and_downloads_what_is_stored(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    bell(page).click()
    with page.context.expect_page() as opened:
        panel(page).get_by_role("link", name="What we store").click()
    expect(opened.value.get_by_role("heading", level=1)).to_have_text(
        "What our alerts store about you"
    )
    assert opened.value.evaluate("opener") is None
    opened.value.close()

    id = subscribe(page)
    bell(page).click()
    expect(panel(page)).to_contain_text("We then delete your subscription")
    expect(panel(page).get_by_role("link", name="What we store")).to_be_visible()
    with page.expect_download() as download:
        panel(page).get_by_role("button", name="Download my data").click()
    assert download.value.suggested_filename == "alerts.json"
    file = json.loads(Path(download.value.path()).read_text())
    assert (file["id"], file["topics"], file["alerts_handed_over"]) == (str(id), ["world"], [])
    assert file["endpoint"] == paper.runtime.store.subscriptions.get(id).endpoint.url
    assert stored(paper, id).items() <= file.items()


def test_a_failed_download_is_shown(visit: Visit) -> None:
    page = visit()
    subscribe(page)
    bell(page).click()
    expect(panel(page).get_by_role("button", name="Save")).to_be_visible()
    page.context.set_offline(True)
    panel(page).get_by_role("button", name="Download my data").click()
    expect(panel(page).get_by_role("alert")).to_contain_text("We could not be reached")


def test_new_keys_of_the_same_endpoint_are_stored_with_the_readers_token(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    id = subscribe(page)
    p256dh, auth = pretend_readers.keys(4711)
    page.evaluate(
        """(keys) => {
          const found = PushManager.prototype.getSubscription;
          PushManager.prototype.getSubscription = async () => {
            const one = await found();
            return { ...one, toJSON: () => ({ ...one.toJSON(), keys }) };
          };
        }""",
        {"p256dh": b64url(p256dh), "auth": b64url(auth)},
    )
    page.evaluate("StopPress.refresh()")
    kept = paper.runtime.store.subscriptions.get(id)
    assert (kept.p256dh, kept.auth) == (p256dh, auth)
    # New keys mean another token, which the page has stored.
    bell(page).click()
    expect(panel(page).get_by_label("World", exact=True)).to_be_checked()
    assert paper.runtime.store.subscriptions.count() == 1


def test_a_subscription_that_another_tab_renewed_is_kept(visit: Visit) -> None:
    page = visit()
    id = subscribe(page)
    mended = {"id": "0-4711", "token": "another tab's", "endpoint": "its", "topics": ["world"]}

    def answer(route: Route) -> None:
        # When the service says that it does not know this id, the other tab has a new one.
        page.evaluate("(kept) => localStorage.setItem('stop-press', JSON.stringify(kept))", mended)
        route.fulfill(status=404, **PROBLEM)

    page.route("**/api/v1/subscriptions", answer)
    page.evaluate("StopPress.refresh()")
    assert page.evaluate("JSON.parse(localStorage['stop-press'])") == mended
    assert page.evaluate("StopPress.state().subscribed")
    # The service knows the endpoint, if not that number: the reader is found again.
    page.unroute("**/api/v1/subscriptions")
    page.route("**/api/v1/subscriptions/0-4711", lambda route: route.fulfill(status=404, **PROBLEM))
    page.evaluate("StopPress.refresh()")
    assert page.evaluate("StopPress.state().id") == str(id)
    # If it knows neither, nor takes it, the subscription is forgotten, and the reader can be asked.
    for known in ("subscriptions", "subscriptions/**"):
        page.route(f"**/api/v1/{known}", lambda route: route.fulfill(status=404, **PROBLEM))
    page.evaluate("StopPress.refresh()")
    assert not page.evaluate("StopPress.state().subscribed")
