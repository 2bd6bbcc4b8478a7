"""Among what is the page's own: layers above all else, keys, and a newsroom's long words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Topic
from tests.support.browser.publisher_site import Publisher
from tests.support.browser.readers import BROWSER, wait_for_page
from tests.support.browser.stop_press import BELL, PLAIN, StopPress, open_page

pytestmark = pytest.mark.browser


@pytest.fixture
def context(headless_chromium: Browser) -> Iterator[BrowserContext]:
    """A reader's browser with push, on a small phone."""
    p256dh, auth = pretend_readers.keys(0)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    given = {"endpoint": "https://fcm.googleapis.com/fcm/send/page", "keys": keys}
    with headless_chromium.new_context(viewport={"width": 320, "height": 568}) as context:
        context.add_init_script(BROWSER % json.dumps(given))
        yield context


def closed(page: Page) -> None:
    expect(page.locator("dialog.panel")).to_have_count(0)


@pytest.mark.parametrize(
    ("menu", "show", "hide"),
    [
        ("<div id=menu popover>", "menu.showPopover()", "menu.hidePopover()"),
        ("<div id=menu>", "menu.requestFullscreen()", "document.exitFullscreen()"),
    ],
    ids=["a menu", "full screen"],
)
def test_a_bell_in_what_is_above_the_page_opens_a_panel_above_it(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    menu: str,
    show: str,
    hide: str,
) -> None:
    style = "<style>#menu {{ inline-size: 100vw; block-size: 100vh; background: #eee }}</style>"
    body = f'{BELL}{menu}{BELL}</div><button onclick="{show}">Menu</button>'
    page, _ = open_page(context, publisher, stop_press, style + PLAIN, body)
    wait_for_page(page, "window.StopPress")
    page.get_by_role("button", name="Menu").click()
    page.locator("#menu button.bell").click()
    page.locator("dialog.panel button.yes").click()  # nothing lies over it
    wait_for_page(page, "window.StopPress.state().subscribed")
    page.evaluate(hide)
    page.evaluate("document.querySelector('#menu').hidden = true")
    closed(page)
    page.locator("button.bell").first.click()
    expect(page.locator("dialog.panel")).to_be_visible()


# A player's and a search's keys, as pages listen for them.
KEYS = """<script>
  window.taken = [];
  for (const [type, whole] of [["keydown", false], ["keydown", true], ["keyup", false]]) {{
    document.addEventListener(type, (event) => {{
      if (/^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName)) return;
      if (!/^([ sm]|Enter|Arrow.*)$/.test(event.key)) return;
      taken.push(event.key);
      event.preventDefault();
    }}, whole);
  }}
</script>"""


def test_the_pages_own_shortcuts_take_no_key_that_is_pressed_in_our_controls(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    stop_press.store.topics.add(Topic("world", "World", default=True))
    page, _ = open_page(context, publisher, stop_press, KEYS + PLAIN, BELL)
    page.locator("button.bell").focus()
    page.keyboard.press("Enter")
    panel = page.locator("dialog.panel")
    panel.locator("button.details").focus()
    page.keyboard.press("Space")
    panel.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    expect(panel.get_by_role("checkbox")).not_to_be_checked()
    page.keyboard.press("Space")
    panel.locator("button.yes").focus()
    page.keyboard.press("Enter")
    panel.locator("button.more").click()
    limit = panel.get_by_role("combobox", name="At most")
    limit.focus()
    before = limit.input_value()
    page.keyboard.press("ArrowUp")
    assert limit.input_value() != before
    assert page.evaluate("taken") == []
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("m")  # which is the page's
    assert page.evaluate("taken") == ["m"] * 3
    panel.locator("button.close").focus()
    page.keyboard.press("Escape")
    expect(panel).to_contain_text("Your changes are not saved yet.")


def test_words_as_long_as_a_line_do_not_make_the_panel_wider(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitänsmütze"
    topic = Topic("long", long, default=True, description=f"https://paper.example/{long}")
    stop_press.store.topics.add(topic)
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.locator("button.bell").click()
    panel = page.locator("dialog.panel")
    panel.locator("button.details").click()
    wide = "(box) => box.scrollWidth - box.clientWidth"
    expect(panel.get_by_role("checkbox")).to_be_visible()
    assert panel.evaluate(wide) == 0
    panel.locator("button.yes").click()
    expect(panel).to_contain_text(f"You will get alerts about: {long}")
    assert panel.evaluate(wide) == 0
    panel.locator("button.more").click()
    expect(panel.locator("button.save")).to_be_visible()
    assert panel.evaluate(wide) == 0
