"""The settings in a browser: the question follows what is typed, by the readers' own scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.desk import end_sessions
from tests.support.desk.pages import PASSWORD
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser


def test_the_question_follows_what_is_typed_and_is_saved_by_keyboard(
    installation: Installation, desk: Page
) -> None:
    desk.goto(f"{installation.address}/desk/settings")
    desk.get_by_role("button", name="Show the question").click()
    panel = desk.get_by_role("dialog")
    expect(panel).to_contain_text("Get the latest updates as we post them")
    desk.get_by_label("Question", exact=True).fill("Shall we wake you?")
    desk.get_by_label("Button that subscribes").fill("Wake me")
    expect(panel.get_by_role("heading")).to_have_text("Shall we wake you?")
    expect(panel.get_by_role("button", name="Wake me")).to_be_visible()
    panel.get_by_role("button", name="Choose topics").click()
    expect(panel.get_by_role("heading")).to_have_text("Shall we wake you?")
    panel.get_by_role("button", name="Not now").click()
    expect(panel).to_be_hidden()
    assert desk.evaluate("localStorage.getItem('stop-press-asked')") is None
    desk.keyboard.press("Control+Enter")
    expect(desk.get_by_role("status")).to_have_text("Saved.")
    texts = {"question": "Shall we wake you?", "yes": "Wake me"}
    assert installation.runtime.settings.document().texts == {
        f"ask_{name}": text for name, text in texts.items()
    }
    expect(desk.locator("#page-lines")).to_have_value(
        f'<script data-worker="/sw.js">{{\n  const load = () => import("{installation.address}/'
        'optin.js").catch(() => {});\n  addEventListener("load", load);\n  setTimeout(load,'
        ' document.readyState === "complete" ? 0 : 10000);\n}</script>\n'
    )


def test_a_form_whose_session_has_ended_asks_to_sign_in_over_the_page_and_is_saved(
    installation: Installation, desk: Page
) -> None:
    desk.goto(f"{installation.address}/desk/settings")
    desk.get_by_label("Question", exact=True).fill("Shall we wake you?")
    end_sessions(installation)
    desk.get_by_role("button", name="Save", exact=True).click()
    expect(desk.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    expect(desk.get_by_label("Password")).to_be_focused()
    desk.keyboard.type(PASSWORD)
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("status")).to_have_text("Saved.")
    assert installation.runtime.settings.document().texts == {"ask_question": "Shall we wake you?"}
