"""The panel in every state and on every kind of screen fits and passes axe-core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.axe import faults
from tests.support.browser.looks import LOOKS, looks
from tests.support.browser.readers import (
    IN_VIEW,
    IPHONE,
    SHOWN,
    Visit,
    bell,
    newspaper,
    panel,
    tab_to,
)
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer, connections_closed

pytestmark = pytest.mark.browser

PART = '<div data-stop-press="preferences"></div>'

# Nothing shows below buttons that are pinned because the panel is longer than the screen.
PINNED_AT_EDGE = """
(box) => {
  box.style.maxBlockSize = "20em"; // as on a small screen
  box.scrollTop = 0;
  const bar = box.querySelector(".pinned");
  const edge = box.getBoundingClientRect().bottom - 2;
  const pinned = bar.getBoundingClientRect();
  bar.style.position = "static";
  const unpinned = bar.getBoundingClientRect();
  bar.style.position = box.style.maxBlockSize = "";
  return pinned.bottom === unpinned.bottom || pinned.bottom >= edge;
}
"""


@pytest.fixture(scope="module")
def paper(
    running_push_service: PushService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One newspaper for all tests here, since each looks at pages only and its reader leaves."""
    folder = tmp_path_factory.mktemp("paper")
    with (
        RedisServer() as redis,
        connections_closed(),
        newspaper(redis.url, running_push_service, folder) as installation,
    ):
        yield installation


@pytest.fixture(autouse=True)
def _room_for_tests(paper: Installation) -> None:
    """Forget what the readers before were sent, since no worker ends it: it would take room."""
    paper.runtime.store.redis.delete("{g}:active")


def states(page: Page) -> Iterator[str]:
    """Bring the panel from one state to the next, with the keyboard alone."""
    box = panel(page)

    def press(selector: str, key: str = "Enter") -> None:
        tab_to(page, selector)
        page.keyboard.press(key)

    press("button.bell")
    box.wait_for()
    yield "the question"
    press("button.details")
    box.get_by_role("checkbox").first.wait_for()
    press("button.yes")
    expect(box.get_by_role("alert")).to_be_visible()
    yield "the topics, none chosen"
    press("[value=world]", "Space")
    press("button.yes")
    expect(box.locator("output:not(:empty)")).to_be_visible()
    yield "the thanks"
    press("button.more")
    expect(box.locator("button.save")).to_be_visible()
    press("button.save")
    expect(box.get_by_role("status")).to_be_visible()
    yield "the preferences, saved"
    press("button.why")
    expect(box.locator("output:not(:empty)")).to_be_visible()
    page.evaluate(SHOWN)
    expect(box.locator("ol")).to_be_visible()
    yield "why no alerts come"
    press("button.back")
    press("button.leave")
    expect(box.locator("button.leave")).to_have_count(0)
    yield "after leaving"


@pytest.mark.parametrize("look", looks(LOOKS))
def test_the_panel_fits_the_screen_and_passes_axe_in_every_state(
    visit: Visit, look: dict[str, object]
) -> None:
    page = visit(script="data-bell", **look)
    for state in states(page):
        assert panel(page).evaluate(IN_VIEW), state
        assert panel(page).evaluate(PINNED_AT_EDGE), state
        assert faults(page, "html > div:last-of-type", ".bell") == [], state
        for button in panel(page).get_by_role("button").all():
            assert button.bounding_box()["height"] >= 44, state


def test_home_screen_help_and_embedded_preferences_fit_and_pass_axe(
    visit: Visit,
) -> None:
    phone = visit(390, 844, lang="ar", user_agent=IPHONE, push=False)
    bell(phone).click()
    expect(panel(phone).get_by_role("listitem")).to_have_count(3)
    assert panel(phone).evaluate(IN_VIEW)
    assert faults(phone, "html > div:last-of-type") == []
    page = visit(320, 800, dark=True, main=f"<h1>Alerts</h1>{PART}{PART}")
    parts = page.locator("section.panel")
    parts.first.get_by_label("World", exact=True).check()
    parts.first.locator("button.yes").click()
    expect(parts.last.locator("button.save")).to_be_visible()
    assert faults(page, "#news") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    parts.last.locator("button.leave").click()
    expect(parts.first).to_contain_text("You have left")


def test_bell_and_panel_move_nothing_on_the_page(visit_with_pictures: Visit) -> None:
    page = visit_with_pictures(390, 844, script="data-bell")
    page.add_init_script(
        """
        window.moved = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.moved += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
        """
    )
    page.reload()
    bell(page).first.click()
    expect(panel(page)).to_be_visible()
    page.wait_for_timeout(200)
    assert page.evaluate("window.moved") == 0


def test_a_publisher_sets_colours_and_fonts(visit: Visit) -> None:
    page = visit(script="data-bell")
    look = {"paper": "rgb(1, 2, 3)", "ink": "rgb(250, 251, 252)", "muted": "rgb(200, 201, 202)"}
    look |= {"serif": "Courier", "sans": "Tahoma"}
    for name, value in look.items():
        put = "([name, value]) => document.documentElement.style.setProperty(name, value)"
        page.evaluate(put, [f"--stop-press-{name}", value])
    bell(page).first.click()
    seen = """(node) => {
      const { backgroundColor, color, fontFamily } = getComputedStyle(node);
      return [backgroundColor, color, fontFamily];
    }"""
    assert panel(page).evaluate(seen) == [look["paper"], look["ink"], "Tahoma"]
    assert panel(page).get_by_role("heading").evaluate(seen)[2] == "Courier"
    assert panel(page).locator("p.small").first.evaluate(seen)[1] == look["muted"]
    corner = page.locator("button.corner").evaluate(seen)
    assert corner == [look["paper"], look["ink"], "Tahoma"]


def test_the_panel_slides_in_unless_the_reader_prefers_no_motion(
    visit: Visit,
) -> None:
    page = visit()
    for motion, name in (("no-preference", "arrive"), ("reduce", "none")):
        page.emulate_media(reduced_motion=motion)
        bell(page).click()
        panel(page).wait_for()
        assert panel(page).evaluate("(box) => getComputedStyle(box).animationName") == name, motion
        page.keyboard.press("Escape")
