"""People, tokens and two-step sign-in in a real Chromium, by keyboard alone and on every screen."""

from __future__ import annotations

import re

import pyotp
import pytest
from playwright.sync_api import Page, expect

from service.domain.people.editors import Editor
from service.model.newsroom.publish_hooks import PublishHook
from service.model.roles import Role
from service.store.people.access import Person
from tests.support.browser.axe import faults
from tests.support.browser.desk import EMAIL, tab_to
from tests.support.desk.pages import PASSWORD
from tests.support.failed_jobs import fail_a_job
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

TOM = "tom@paper.example"


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_an_editor_is_invited_and_removed_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    tab_to(desk, "a[href$='/desk/people']")
    press(desk, "Enter")
    tab_to(desk, "#email")
    desk.keyboard.type(TOM)
    tab_to(desk, "[name=role]:checked")
    press(desk, "ArrowUp")
    expect(desk.get_by_label("Writes")).to_be_checked()
    tab_to(desk, "main button.primary")
    press(desk, "Enter")
    link = desk.get_by_role("textbox", name=f"Sign-in link for {TOM}")
    expect(link).to_be_focused()
    assert re.search(r"/desk/welcome/[\w-]{32}$", link.input_value())
    (_, tom) = installation.runtime.editors.all()
    assert (tom.email, tom.role, tom.added_by) == (TOM, Role.WRITES, EMAIL)

    tab_to(desk, "summary")
    press(desk, "Enter")
    tab_to(desk, "button.urgent")
    press(desk, "Enter")
    expect(desk.get_by_role("heading", name="People")).to_be_visible()
    assert [one.email for one in installation.runtime.editors.all()] == [EMAIL]


def test_two_step_sign_in_is_switched_on_and_used_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    tab_to(desk, ".who a")
    press(desk, "Enter")
    tab_to(desk, "a[href$='/two-step']")
    press(desk, "Enter")
    tab_to(desk, "#password")
    desk.keyboard.type(PASSWORD)
    press(desk, "Enter")
    expect(desk.get_by_role("img", name="QR code for your app")).to_be_visible()
    secret = desk.locator("code.command").inner_text()
    tab_to(desk, "#code")
    desk.keyboard.type(pyotp.TOTP(secret).now())
    press(desk, "Enter")
    expect(desk.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    code = desk.locator(".codes code").first.inner_text()

    tab_to(desk, ".who button", back=True)
    press(desk, "Enter")
    expect(desk.locator("#email")).to_be_focused()
    desk.keyboard.type(EMAIL)
    press(desk, "Tab")
    desk.keyboard.type(PASSWORD)
    press(desk, "Enter")
    expect(desk.locator("#code")).to_be_focused()
    desk.keyboard.type(code)
    press(desk, "Enter")
    expect(desk.get_by_role("heading", name="Alerts")).to_be_visible()


@pytest.mark.parametrize(
    ("width", "dark", "rtl"),
    [pytest.param(1280, False, False, marks=pytest.mark.soak), (390, True, True)],
)
def test_the_pages_fit_every_screen_and_pass_axe(
    installation: Installation, desk: Page, width: int, dark: bool, rtl: bool
) -> None:
    runtime = installation.runtime
    runtime.store.access.add_editor(TOM, person=Person("sends", 1_700_000_000, EMAIL))
    runtime.editors.signin_link(TOM)
    runtime.api_tokens.add("The content management system of the sports desk", ["send", "read"])
    desk.set_viewport_size({"width": width, "height": 800})
    desk.emulate_media(color_scheme="dark" if dark else "light")
    tom = Editor(TOM, "", Role.SENDS).id
    own = Editor(EMAIL, "", Role.SENDS).id
    pages = ("people", f"people/{tom}", f"people/{own}", "tokens", "account/two-step")

    def walk(*paths: str) -> None:
        for path in paths:
            desk.goto(f"{installation.address}/desk/{path}")
            if rtl:
                desk.evaluate("document.documentElement.dir = 'rtl'")
            for summary in desk.locator("summary:not(.menu > *)").all():
                summary.click()
            assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert faults(desk) == [], path

    runtime.webhooks.add("https://cms.paper.example/hook", ["alert.sent"], by=EMAIL)
    paths = {"title": "post.title", "url": "post.url"}
    hook = PublishHook("", "WordPress", "", paths=paths, topics={"politics": "world"})
    runtime.publish_hooks.add(hook, "", by=EMAIL)
    walk(*pages, "topics", "settings", "webhooks", "hooks", "operations")
    fail_a_job(runtime)
    walk("operations", "")  # where everything is stopped
    runtime.stops.hold(by=EMAIL)
    walk("")  # where it is released
