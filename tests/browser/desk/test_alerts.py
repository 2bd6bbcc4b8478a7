"""The desk in a real Chromium, against real web, worker and clock processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from service.model.notifications import Audience, State
from service.model.time.clocks import QUARTER
from service.store.sending.batches import part_key
from tests.support.browser.axe import faults
from tests.support.browser.desk import (
    EMAIL,
    READERS,
    TITLE,
    first_link,
    new_alert,
    review_for_everyone,
    send_slowly,
    send_to_everyone,
    sign_in,
    tab_to,
)
from tests.support.browser.readers import wait_for_page
from tests.support.desk.pages import PASSWORD
from tests.support.processes.as_workers import hold
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def test_an_alert_is_written_sent_and_watched_by_keyboard_alone(
    installation: Installation, empty_page: Page
) -> None:
    installation.worker()
    installation.clock()
    world = installation.runtime.publishing.reach(Audience(topics=("world",)))
    both = installation.runtime.publishing.reach(Audience(topics=("world", "sport")))
    assert 0 < world < both < READERS
    desk, keys = empty_page, empty_page.keyboard
    desk.goto(first_link(installation))
    tab_to(desk, "#email")
    keys.type(EMAIL)
    tab_to(desk, "#password")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(desk.get_by_role("heading", level=1)).to_contain_text("first alert")
    tab_to(desk, "a[href='/desk/']")
    keys.press("Enter")
    heading = desk.get_by_role("heading", level=1)
    expect(heading).to_have_text("Alerts")
    tab_to(desk, "a[href='/desk/new']")
    keys.press("Enter")
    expect(heading).to_have_text("New alert")

    tab_to(desk, "#url")
    keys.type("https://paper.example/ferry")
    tab_to(desk, "#title")
    keys.insert_text(TITLE)
    expect(desk.locator(".windows [data-shows=title]")).to_have_text(TITLE)
    expect(desk.locator(".iphone [data-shows=title]")).to_have_text(TITLE)
    expect(desk.locator("[data-counts=title]")).to_have_text(f"{len(TITLE)} of 200 characters.")
    reach = desk.locator("#reach")
    expect(reach).to_contain_text("Choose a topic")
    tab_to(desk, "[value=world]")
    keys.press("Space")
    expect(reach).to_contain_text(f"{world} browsers")
    tab_to(desk, "[value=sport]")
    keys.press("Space")
    expect(reach).to_contain_text(f"{both} browsers")
    keys.press("Enter")

    question = f"Notify {both} browsers (World or Sport) now?"
    expect(heading).to_have_text(question)
    tab_to(desk, "button.urgent")
    keys.press("Enter")
    expect(desk.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    expect(desk.locator(".big")).to_have_text(str(both))
    expect(heading).to_have_text(TITLE)
    (sent,) = installation.runtime.publishing.latest(10)
    assert installation.outcomes(sent.id) == {"accepted": both}


def test_control_and_enter_review_an_alert_and_then_send_it_once(
    installation: Installation, desk: Page
) -> None:
    new_alert(desk)
    desk.get_by_label("Title", exact=True).fill(TITLE)
    desk.get_by_label("Everyone").check()
    link, keys, heading = (
        desk.get_by_label("Link to the story"),
        desk.keyboard,
        desk.get_by_role("heading"),
    )
    link.fill("https://paper.example/ferry")
    keys.down("Control")
    keys.down("Enter")
    expect(heading).to_have_text(f"Notify all {READERS} browsers now?")
    desk.wait_for_load_state()  # the keys are listened to
    desk.evaluate("window.sent = 0, addEventListener('submit', () => (window.sent += 1), true)")
    keys.down("Enter")  # still held
    assert desk.evaluate("window.sent") == 0
    assert installation.runtime.publishing.latest(10) == []
    keys.up("Enter")
    keys.press("Enter")
    keys.up("Control")
    expect(heading.first).to_have_text(TITLE)
    assert len(installation.runtime.publishing.latest(10)) == 1


@pytest.mark.soak
def test_the_number_grows_during_the_send_and_cancelling_stops_it(
    installation: Installation, desk: Page, push_service: PushService
) -> None:
    send_slowly(installation, desk, push_service)
    expect(desk.locator(".state")).to_have_text("Sending")
    big = desk.locator(".big")
    expect(big).not_to_have_text("0")
    first = int(big.inner_text())
    wait_for_page(desk, f"+document.querySelector('.big').innerText > {first}")
    assert re.fullmatch(r"\d+ % · .+", desk.title())

    desk.get_by_text("Cancel…").click()
    desk.get_by_role("button", name="Cancel this alert").click()
    expect(desk.locator(".state")).to_contain_text("Cancelled", timeout=30_000)
    (sent,) = installation.runtime.publishing.latest(10)
    assert installation.over(sent.id).state is State.CANCELLED
    desk.reload()
    outcomes = installation.outcomes(sent.id)
    assert sum(outcomes.values()) == READERS
    expect(desk.locator("tr.cancelled td")).to_have_text(str(outcomes["cancelled"]))
    expect(big).to_have_text(str(outcomes["accepted"]))


def test_an_alert_is_paused_corrected_and_resumed_by_keyboard_alone(
    installation: Installation, desk: Page, push_service: PushService
) -> None:
    send_slowly(installation, desk, push_service)
    (sent,) = installation.runtime.publishing.latest(1)
    here, keys = f"/desk/alerts/{sent.id}", desk.keyboard
    expect(desk.locator(".big")).not_to_have_text("0")
    tab_to(desk, f"form[action='{here}/pause'] button")
    keys.press("Enter")
    expect(desk.locator(".state")).to_have_text("Paused")
    expect(desk.locator(".paused")).to_contain_text("The alert still runs out of time at")
    wait_until(lambda: not leased(installation, sent.id))
    had = installation.outcomes(sent.id)["accepted"]
    assert 0 < had < READERS
    push_service.answer_with(lambda _: None)  # the rest goes fast

    tab_to(desk, f"a[href='{here}/correct']")
    keys.press("Enter")
    lead = desk.locator(".lead")
    expect(lead).to_contain_text(f"{had} browsers have the alert. {READERS - had} more browsers")
    tab_to(desk, "#title")
    keys.press("Control+A")
    keys.type("Ferry afloat")
    expect(desk.locator(".iphone [data-shows=title]")).to_have_text("Ferry afloat")
    tab_to(desk, "[name=reached]")
    keys.press("ArrowDown")
    expect(desk.get_by_label("Leave the old text")).to_be_checked()
    keys.press("ArrowUp")
    tab_to(desk, "[name=go_on]")
    keys.press("Space")
    tab_to(desk, "#title", back=True)
    keys.press("Enter")  # sends nothing: another key does
    keys.press("Control+Enter")
    expect(desk.get_by_role("heading", level=1)).to_have_text("Ferry afloat")
    assert len(installation.runtime.publishing.latest(10)) == 2
    expect(desk.locator(".big")).to_have_text(str(had))

    tab_to(desk, f".kicker a[href='{here}']")
    keys.press("Enter")
    expect(desk.locator(".corrections")).to_contain_text(f"handed over for {had} browsers")
    tab_to(desk, f"form[action='{here}/resume'] button")
    keys.press("Enter")
    expect(desk.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    assert installation.outcomes(sent.id) == {"accepted": READERS}


def leased(installation: Installation, id: int) -> bool:
    """Whether workers still hold batches of an alert, so that more results may come."""
    store = installation.runtime.store
    keys = [part_key(partition, id, "leases") for partition in store.batches.partitions]
    return any(store.redis.exists(key) for key in keys)


def test_a_double_click_sends_one_alert(installation: Installation, desk: Page) -> None:
    review_for_everyone(desk)
    desk.get_by_role("button", name=f"Notify {READERS} browsers").dblclick()
    expect(desk.locator(".state")).to_have_text("Sending")
    assert len(installation.runtime.publishing.latest(10)) == 1


def test_a_topic_chosen_before_the_scripts_are_loaded_counts(
    installation: Installation, desk: Page
) -> None:
    def tick_first(route: Route) -> None:
        desk.get_by_label("World", exact=True).check()
        route.continue_()

    desk.route("**/htmx*", tick_first)
    desk.goto(f"{desk.url.split('/desk')[0]}/desk/new")
    world = installation.runtime.publishing.reach(Audience(topics=("world",)))
    expect(desk.locator("#reach strong")).to_have_text(str(world))


@pytest.mark.soak
def test_the_page_says_when_its_numbers_are_no_longer_refreshed(
    push_service: PushService, tmp_path: Path, chromium_page: OpenPage
) -> None:
    with RedisServer() as redis, Installation(redis.url, push_service, tmp_path) as installation:
        installation.seed(READERS)
        installation.web()
        page = chromium_page(1280, 800)
        sign_in(page, installation)
        send_to_everyone(page)
        away = page.locator("#away")
        expect(away).to_be_hidden()
        redis.stop()
        expect(away).to_be_visible(timeout=30_000)
        redis.start()
        expect(away).to_be_hidden(timeout=30_000)


@pytest.mark.soak
def test_what_an_editor_wrote_is_there_after_going_back(
    installation: Installation, desk: Page
) -> None:
    new_alert(desk)
    desk.locator("form.compose").wait_for()
    # As on a page that TLS protects and no cache keeps: the browser itself restores nothing.
    desk.evaluate("document.querySelector('form.compose').autocomplete = 'off'")
    desk.get_by_label("Title", exact=True).fill(TITLE)
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    desk.get_by_role("button", name="Review").click()
    expect(desk.get_by_role("button", name=f"Notify {READERS} browsers")).to_be_visible()
    desk.go_back()
    expect(desk.get_by_label("Title", exact=True)).to_have_value(TITLE)
    expect(desk.get_by_label("Everyone")).to_be_checked()


def test_an_alert_can_be_sent_without_scripts(
    installation: Installation, headless_chromium: Browser
) -> None:
    installation.web()
    context = headless_chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, installation)
    send_to_everyone(page)
    expect(page.locator(".state")).to_have_text("Sending")
    wait_until(lambda: installation.runtime.publishing.latest(1))
    context.close()


@pytest.mark.soak
def test_a_local_time_alert_of_a_story_is_written_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    installation.publish(Audience(everyone=True, story="quake"), title="The earth shook")
    keys, heading = desk.keyboard, desk.get_by_role("heading", level=1)
    desk.goto(desk.url.split("/desk")[0] + "/desk/new")
    tab_to(desk, "#url")
    keys.type("https://paper.example/ferry")
    tab_to(desk, "#title")
    keys.insert_text(TITLE)
    tab_to(desk, "[value=world]")
    keys.press("Space")
    reach = desk.locator("#reach strong")
    world = installation.runtime.publishing.reach(Audience(topics=("world",)))
    expect(reach).to_have_text(str(world))
    tab_to(desk, ".fold:has(#story) summary")
    keys.press("Enter")
    tab_to(desk, "#new_story")
    keys.type("Ferry aground")
    expect(desk.locator("[data-fold=story]")).to_have_text("starts “ferry-aground”")
    tab_to(desk, ".fold:has(#at) summary")
    keys.press("Enter")
    tab_to(desk, "[name=local]")
    keys.press("Space")
    expect(desk.locator("[name=when][value=at]")).to_be_checked()
    tab_to(desk, "button[aria-keyshortcuts]")
    keys.press("Enter")
    expect(desk.locator("#send_at-error")).to_have_text("Choose a day and a time.")
    expect(desk.locator("#at")).to_be_focused()
    expect(desk.locator("#new_story")).to_have_value("Ferry aground")
    expect(desk.locator("[name=local]")).to_be_checked()
    # Tomorrow it may have passed already on the first clocks.
    day = (datetime.now() + timedelta(days=2)).replace(hour=7, minute=30)
    desk.locator("#at").fill(f"{day:%Y-%m-%dT%H:%M}")
    expect(desk.locator("#reach")).to_contain_text(re.compile("then|that time"))
    tab_to(desk, "[name=weekday]")
    keys.press("Space")
    tab_to(desk, "[name=digest]")
    tab_to(desk, ".fold:has(#story) summary", back=True)
    keys.press("Enter")
    tab_to(desk, "#story")
    keys.press("q")  # chooses “quake”, which clears the new story
    expect(desk.locator("#new_story")).to_have_value("")
    tab_to(desk, "button[aria-keyshortcuts]")
    keys.press("Enter")
    expect(heading).to_contain_text(f" {day:%-d %b}, 07:30, each reader’s own time?")
    expect(desk.locator(".facts")).to_contain_text("replaces “The earth shook”")
    expect(desk.locator(".facts")).to_contain_text("Each Monday at 07:30 in each reader’s own time")
    tab_to(desk, "button[aria-keyshortcuts]")
    keys.press("Enter")
    expect(desk.locator(".planned")).to_contain_text("in each reader’s own time zone")
    (planned,) = installation.runtime.publishing.planned()
    assert (planned.story, planned.wall) == ("quake", f"{day:%Y-%m-%dT%H:%M}:00")

    tab_to(desk, "a[href='/desk/stories']")
    keys.press("Enter")
    expect(heading).to_have_text("Stories")
    tab_to(desk, "summary")
    keys.press("Enter")
    tab_to(desk, "button.urgent")
    keys.press("Enter")
    expect(desk.locator(".lead")).to_contain_text("No story is running")
    assert installation.runtime.stories.running() == []


@pytest.mark.soak
def test_a_held_alert_is_withdrawn_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    id = installation.publish(title=TITLE)
    hold(installation.runtime, id, {int(time.time()) // QUARTER + 20: 100})
    desk.goto(f"{desk.url.split('/desk')[0]}/desk/alerts/{id}")
    expect(desk.locator(".held")).to_contain_text("100 browsers are still waiting until")
    tab_to(desk, "summary")
    desk.keyboard.press("Enter")
    tab_to(desk, "button.urgent")
    desk.keyboard.press("Enter")
    expect(desk.locator(".state")).to_contain_text("then withdrawn")
    assert installation.runtime.publishing.get(id).state is State.CANCELLED


def test_an_audience_is_narrowed_saved_and_used_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    reader = installation.reader(0)
    runtime, reach = installation.runtime, desk.locator("#reach")
    over = installation.publish(Audience(topics=("nobody",)), title="The earth shook")
    runtime.planning.advance(over)
    runtime.planning.plan(runtime.publishing.get(over))
    runtime.planning.advance(over)
    runtime.store.redis.setbit(part_key(reader.partition, over, "accepted:0"), reader.number, 1)
    keys = desk.keyboard
    desk.goto(desk.url.split("/desk")[0] + "/desk/new")
    desk.get_by_label("Everyone").check()
    expect(reach).to_contain_text(f"{READERS} browsers")
    tab_to(desk, ".fold:has(#new_within_days) summary")
    keys.press("Enter")
    tab_to(desk, "#new_within_days")
    keys.type("400")
    tab_to(desk, "#not_reached_by_too")
    expect(reach).to_contain_text("1 to 366")
    keys.press("T")  # chooses “The earth shook”
    tab_to(desk, "#new_within_days", back=True)
    keys.press("Control+A")
    keys.type("7")
    tab_to(desk, "#audience_name")
    expect(reach).to_contain_text(f"{READERS - 1} browsers would get it")
    keys.type("New ones")
    keys.press("Enter")
    expect(desk.locator("p.done")).to_contain_text("Saved as the audience “New ones”.")
    expect(reach).to_contain_text(f"{READERS - 1} browsers would get it")
    desk.goto(desk.url.split("/desk")[0] + "/desk/new")
    desk.get_by_label("Title", exact=True).fill(TITLE)
    tab_to(desk, ".fold:has(#saved_audience) summary")
    keys.press("Enter")
    tab_to(desk, "#saved_audience")
    keys.press("ArrowDown")
    tab_to(desk, "button[formaction$='/audience/use']")
    keys.press("Enter")
    expect(desk.locator("[data-fold=exceptions]")).to_have_text(
        "subscribed in the last 7 days, did not get an alert"
    )
    expect(desk.get_by_label("Title", exact=True)).to_have_value(TITLE)
    expect(reach).to_contain_text(f"{READERS - 1} browsers would get it")
    desk.locator(".fold:has(#new_within_days) summary").click()
    assert faults(desk) == []
