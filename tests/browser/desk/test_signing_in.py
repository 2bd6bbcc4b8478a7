"""Other ways to sign in than by a password, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser.axe import faults
from tests.support.browser.desk import EMAIL, TITLE, new_alert, tab_to
from tests.support.desk.provider import AUTHLIB_IS_CHANGING, NAME, Provider, running_provider
from tests.support.processes.installation import Installation

pytestmark = [pytest.mark.browser, AUTHLIB_IS_CHANGING]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        provider.know(EMAIL)
        yield provider


@pytest.fixture
def installation(installation: Installation, provider: Provider) -> Installation:
    installation.environment.update(provider.settings)
    return installation


def give_a_device(page: Page) -> None:
    """Let the browser have a device that keeps passkeys, and its owner touch it at once."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    device = {
        **{"protocol": "ctap2", "transport": "internal", "hasResidentKey": True},
        **{"hasUserVerification": True, "isUserVerified": True},
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": device})


def test_an_editor_adds_a_passkey_and_signs_in_with_it_by_keyboard_alone(
    installation: Installation, desk: Page
) -> None:
    give_a_device(desk)
    tab_to(desk, ".who a")
    desk.keyboard.press("Enter")
    tab_to(desk, "#passkey-name")
    desk.keyboard.type("Blue key")
    desk.keyboard.press("Enter")
    expect(desk.locator("#passkeys + .sessions")).to_contain_text("Blue key")
    assert faults(desk) == []

    desk.get_by_label("Name of the new passkey").press("Enter")  # once more, on the same device
    expect(desk.locator(".add-passkey").get_by_role("alert")).to_contain_text(
        "This device has a passkey for your account already."
    )
    desk.get_by_role("button", name="Sign out", exact=True).click()
    expect(desk.locator("#email")).to_be_focused()
    tab_to(desk, "form[data-passkey] button")
    assert faults(desk) == []
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("heading", name="Alerts")).to_be_visible()
    (session, *_) = installation.runtime.editors.all()[0].sessions
    assert session.by == "passkey"

    (passkey,) = installation.runtime.passkeys.of(EMAIL)
    installation.runtime.passkeys.remove(EMAIL, passkey.id)
    desk.get_by_role("button", name="Sign out", exact=True).click()
    desk.get_by_role("button", name="Sign in with a passkey").click()
    expect(desk.get_by_role("alert").first).to_contain_text("does not know that passkey any more")


def test_an_editor_signs_in_over_the_page_through_the_provider_in_another_window(
    installation: Installation, desk: Page, provider: Provider
) -> None:
    new_alert(desk)
    desk.get_by_label("Title", exact=True).fill(TITLE)
    expect(desk.locator("#saved")).to_have_text("Saved")
    redis = installation.runtime.store.redis
    redis.delete(*redis.keys("{g}:session:*"))
    desk.get_by_label("Text (optional)").fill("All are safe.")
    dialog = desk.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_contain_text(f"With {NAME} or a passkey")
    assert faults(desk) == []
    only_this_machine(desk.context)
    with desk.context.expect_page() as opened:
        dialog.get_by_role("link", name="sign in in another window").click()
    other = opened.value
    other.get_by_role("link", name=f"Sign in with {NAME}").click()
    other.locator("input[name=sub]").fill(EMAIL)
    other.locator("input[name=sub]").press("Enter")
    expect(other.get_by_role("heading", name="Alerts")).to_be_visible()
    other.close()
    expect(dialog).to_be_hidden()
    expect(desk.locator("#saved")).to_have_text("Saved")
    desk.reload()
    expect(desk.get_by_label("Text (optional)")).to_have_value("All are safe.")


def only_this_machine(context: BrowserContext) -> None:
    """Keep the provider's page from loading styles from elsewhere."""
    context.route(re.compile(r"^https?://(?!localhost[:/])"), lambda route: route.abort())
