"""WordPress in real browsers: an editor publishes in Chromium, and a Firefox shows it once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from service.model.notifications import Notification
from service.model.tokens import digest
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import subscribe
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.wordpress import PASSWORD, WordPress

pytestmark = [pytest.mark.browser, pytest.mark.soak]

# Without the guide to the editor, and with the classic editor where a page asks for it.
TEST_PLUGIN = """<?php
add_filter( 'use_block_editor_for_post', function () { return ! get_option( 'test_classic' ); } );
"""
NO_GUIDE = "() => wp.data.dispatch('core/preferences').set('core/edit-post', 'welcomeGuide', false)"


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, wordpress: WordPress, tmp_path: Path
) -> Iterator[Installation]:
    wordpress.serve()
    settings = {"SITE_ORIGINS": wordpress.origin, "WEB_CONCURRENCY": "1"}
    with Installation(redis_url, push_service, tmp_path, **settings) as installation:
        address = installation.web()
        installation.worker()
        installation.clock()
        installation.runtime.topics.change("world", default=True)
        token = "the token of WordPress".replace(" ", "-")
        installation.runtime.store.access.add_token(digest(token), "WordPress", ("send",), 0.0)
        wordpress.reset(address, token)
        plugins = wordpress.root / "wp-content" / "mu-plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "test.php").write_text(TEST_PLUGIN)
        wordpress.run("delete_option( 'test_classic' );")
        yield installation


@pytest.fixture
def reader(installation: Installation, wordpress: WordPress, firefox: Firefox) -> Tab:
    """A reader who has subscribed on the site's front page."""
    firefox.allow_notifications(wordpress.origin)
    tab = firefox.open(wordpress.origin)
    subscribe(tab)
    return tab


@pytest.fixture
def editor(wordpress: WordPress, chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Open pages of the administration, as an editor who is signed in."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{wordpress.origin}/wp-login.php")
    page.fill("#user_login", "admin")
    page.fill("#user_pass", PASSWORD)
    page.click("#wp-submit")
    page.wait_for_selector("#wpadminbar")

    def go(path: str) -> Page:
        page.goto(f"{wordpress.origin}/wp-admin/{path}")
        return page

    yield go
    context.close()
    assert wordpress.complaints() == []


def alerts(installation: Installation) -> list[Notification]:
    return installation.runtime.publishing.latest(9)


def picture(page: Page, name: str) -> None:
    """Keep a picture for the docs, where `PICTURES` names a folder."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=str(Path(folder) / name))


def write(page: Page, **fields: str) -> None:
    """Write a post in the block editor, as far as it needs no box."""
    page.wait_for_selector("#stop-press-box")
    page.evaluate(NO_GUIDE)
    page.evaluate(f"wp.data.dispatch('core/editor').editPost({json.dumps(fields)})")


def save(page: Page) -> None:
    """Save in the block editor, the fields of its boxes too."""
    page.evaluate("wp.data.dispatch('core/editor').savePost()")
    page.wait_for_function(
        "!wp.data.select('core/editor').isSavingPost()"
        " && !wp.data.select('core/edit-post').isSavingMetaBoxes()"
    )


def nothing_more(desktop: Desktop, installation: Installation) -> None:
    (one,) = alerts(installation)
    installation.over(one.id)
    assert desktop.forget() == []


def test_the_block_editor_alerts_once_and_never_on_an_update(
    installation: Installation,
    wordpress: WordPress,
    reader: Tab,
    editor: Callable[[str], Page],
    desktop: Desktop,
) -> None:
    desktop.forget()
    page = editor("post-new.php")
    write(page, title="Cod &amp; chips", excerpt="All are safe.")
    box = page.locator("#stop-press-box")
    box.get_by_label("Alert readers when published").check()
    box.get_by_label("Everyone").check()
    box.get_by_text("1 browser", exact=True).wait_for()
    box.get_by_label("Text").fill("It’s “over”.")
    save(page)
    assert alerts(installation) == [], "it is a draft"
    picture(page, "wordpress-box.png")
    page.get_by_role("button", name="Publish", exact=True).first.click()
    page.locator(".editor-post-publish-panel").get_by_role("button", name="Publish").first.click()
    shown = desktop.wait_for_notification()
    assert (shown.title, shown.body) == ("Cod & chips", "It’s “over”.")
    box.get_by_text("Sent to 1 of 1 browsers.").wait_for()
    write(page, title="Cod and chips")
    save(page)
    nothing_more(desktop, installation)
    desktop.click(shown)
    (one,) = alerts(installation)
    tab = reader.firefox.wait_for_tab("cod")
    assert tab.evaluate("document.title.startsWith('Cod and chips')")
    assert one.content.url == tab.evaluate("location.href")


def test_a_planned_post_is_alerted_on_time_once_and_without_a_visitor(
    installation: Installation,
    wordpress: WordPress,
    reader: Tab,
    editor: Callable[[str], Page],
    desktop: Desktop,
) -> None:
    desktop.forget()
    page = editor("post-new.php")
    # WordPress publishes at once what is planned for less than a minute from now.
    in_seconds = "new Date(Date.now() + 64000).toISOString().slice(0, 19)"
    write(page, title="Kick-off", content="All are there.", status="future")
    page.evaluate(f"wp.data.dispatch('core/editor').editPost({{ date: {in_seconds} }})")
    box = page.locator("#stop-press-box")
    box.get_by_label("Alert readers when published").check()
    box.get_by_label("Everyone").check()
    save(page)
    box.get_by_text("Planned for").wait_for()
    page.goto("about:blank")
    shown = desktop.wait_for_notification(90)
    assert shown.title == "Kick-off"
    # The first reader finds the page, though WP-Cron has not run.
    desktop.click(shown)
    tab = reader.firefox.wait_for_tab("kick-off")
    assert tab.evaluate("document.body.innerText.includes('All are there.')")
    wordpress.run("wp_cron(); do_action( 'stop_press_again', get_posts()[0]->ID );")
    nothing_more(desktop, installation)


def test_the_classic_editor_alerts_once(
    installation: Installation,
    wordpress: WordPress,
    reader: Tab,
    editor: Callable[[str], Page],
    desktop: Desktop,
) -> None:
    desktop.forget()
    wordpress.run("update_option( 'test_classic', 1 );")
    page = editor("post-new.php")
    page.fill("#title", "A classic")
    page.get_by_label("Alert readers when published").check()
    page.get_by_label("Everyone").check()
    page.get_by_text("1 browser", exact=True).wait_for()
    page.click("#publish")
    page.wait_for_selector("#message")
    assert desktop.wait_for_notification().title == "A classic"
    page.fill("#title", "Another title")
    page.click("#publish")
    page.wait_for_selector("#message")
    page.get_by_text("Sent to 1 of 1 browsers.").wait_for()
    nothing_more(desktop, installation)


def test_the_settings_are_stored_and_checked_in_the_browser(
    installation: Installation, wordpress: WordPress, editor: Callable[[str], Page]
) -> None:
    page = editor("options-general.php?page=stop-press")
    page.select_option("[name='stop_press[otherwise]']", "world")
    page.click("#submit")
    page.click("[name=stop_press_check]")
    found = page.locator(".stop-press-found")
    found.first.wait_for()
    assert ["✓" in text for text in found.all_inner_texts()] == [True] * 5
    picture(page, "wordpress-settings.png")
    assert wordpress.run("return StopPress\\settings()['otherwise'];") == "world"
    assert page.input_value("[name=stop_press_token]") == ""


def test_an_editor_hears_that_stop_press_is_down_and_tries_again(
    installation: Installation, wordpress: WordPress, editor: Callable[[str], Page]
) -> None:
    wordpress.run(r"""
        $settings = StopPress\settings();
        update_option( 'stop_press_right', $settings );
        StopPress\topics();
        update_option( 'stop_press', array( 'address' => 'http://127.0.0.1:9' ) + $settings );
    """)
    page = editor("post-new.php")
    write(page, title="Late news", status="publish")
    box = page.locator("#stop-press-box")
    box.get_by_label("Alert readers when published").check()
    box.get_by_label("Everyone").check()
    save(page)
    page.locator(".components-notice").get_by_text("Stop Press did not answer").wait_for()
    picture(page, "wordpress-down.png")
    wordpress.run("update_option( 'stop_press', get_option( 'stop_press_right' ) );")
    assert alerts(installation) == []
    box.get_by_role("button", name="Try again").click()
    box.get_by_text("Sent to 0 of 0 browsers.").wait_for()
    wait_until(lambda: len(alerts(installation)) == 1)
