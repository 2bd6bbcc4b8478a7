"""A publisher deploys, and pages are read, while Stop Press is down: the pieces of docs/site.md."""

from __future__ import annotations

import socket

import pytest
from playwright.sync_api import Browser

from service.reader import scripts
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.guide import piece
from tests.support.browser.publisher_site import HTML, Publisher, receipts, subscribe
from tests.support.browser.stop_press import StopPress
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

A_DAY_LATER = """localStorage["stop-press"] = JSON.stringify(
  { ...JSON.parse(localStorage["stop-press"]), checked: 0 })"""


def stand_in(guard: str) -> str:
    """What stands within the guard's `catch`."""
    return guard.partition("catch {")[2].rstrip().removesuffix("}")


def version(tab: Tab) -> str:
    """What the publisher's own code in the active worker says of itself."""
    text: str = tab.evaluate("fetch('/version').then((response) => response.text())")
    return text


def own(version: int) -> str:
    return f"""
    self.addEventListener("install", () => self.skipWaiting());
    self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
    self.addEventListener("fetch", (event) => {{
      if (event.request.url.endsWith("/version")) event.respondWith(new Response("{version}"));
    }});
    """


def update(tab: Tab) -> None:
    tab.evaluate(
        "navigator.serviceWorker.getRegistration('/').then((one) => one.update()).then(() => 0)"
    )


@pytest.mark.soak
def test_a_worker_deployed_while_stop_press_is_down_works_and_ours_comes_in_later(
    installation: Installation,
    page: str,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    guard = piece("try {", address)
    publisher.worker("/sw.js", guard + own(1))
    tab = firefox.open(page)
    subscribe(tab)
    wait_until(lambda: version(tab) == "1")

    installation.end(installation.processes[0])
    publisher.worker("/sw.js", guard + own(2))
    update(tab)
    wait_until(lambda: version(tab) == "2")
    story = publisher.page("/ferry", address, ask="manual")
    plain = installation.publish(title="Plainly", url=story)
    shown = desktop.wait_for_notification(timeout=30)
    assert (shown.title, shown.body) == ("Plainly", "It has just come in.")
    desktop.click(shown)
    firefox.wait_for_tab("/ferry").close()

    installation.web()
    tab.evaluate(f"({A_DAY_LATER}, true)")
    tab.go(page)
    tab.wait_until(
        "navigator.serviceWorker.getRegistration('/').then(({ active, installing, waiting }) =>"
        " !installing && !waiting && active.state === 'activated'"
        " && active.scriptURL.includes('stop-press='))"
    )
    wait_until(lambda: version(tab) == "2")
    id = installation.publish(title="Ours again")
    assert desktop.wait_for_notification(timeout=30).title == "Ours again"
    wait_until(lambda: receipts(installation, id) == {"shown": 1})
    assert receipts(installation, plain) == {}


@pytest.mark.soak
def test_a_module_worker_installs_with_the_stand_in_and_gets_ours_by_itself(
    installation: Installation,
    address: str,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    installation.worker()
    line = piece('import "', address)
    # What the publisher's proxy hands on while Stop Press is down.
    publisher.worker("/alerts-worker.js", stand_in(piece("try {", address)))
    publisher.worker("/app.js", line + own(1))
    tab = firefox.open(publisher.page("/", address, worker="/app.js", topic="world", ask="manual"))
    tab.evaluate("navigator.serviceWorker.register('/app.js', { type: 'module' }).then(() => true)")
    subscribe(tab)
    wait_until(lambda: version(tab) == "1")
    installation.publish(title="Plainly")
    assert desktop.wait_for_notification(timeout=30).title == "Plainly"

    publisher.worker("/alerts-worker.js", f'import "{address}/sw.js";')
    update(tab)
    wait_until(lambda: version(tab) == "1")
    tab.wait_until(
        "navigator.serviceWorker.getRegistration('/').then(({ installing, waiting }) =>"
        " !installing && !waiting)"
    )
    id = installation.publish(title="Ours")
    assert desktop.wait_for_notification(timeout=30).title == "Ours"
    wait_until(lambda: receipts(installation, id) == {"shown": 1})


def test_a_bell_without_its_panel_says_so_and_the_next_press_tries_again(
    redis_url: str, publisher: Publisher, firefox: Firefox
) -> None:
    # In Firefox, because it remembers a failed import for as long as the page is open.
    firefox.allow_notifications(publisher.origin)
    with StopPress(redis_url, publisher) as stop_press:
        publisher.worker("/sw.js", f'importScripts("{stop_press.address}/sw.js");')
        # By another name, so that the browser's cache knows none of these scripts afterwards.
        other = stop_press.address.replace("localhost", "127.0.0.1")
        plain = firefox.open(publisher.page("/plain", other, ask="manual"))
        plain.wait_until("Boolean(window.StopPress)")
        asking = "StopPress.ask().then(() => 'shown', ({ kind }) => kind)"
        # Without a bell, only the panel needs it.
        stop_press.missing = {f"/parts/{scripts.version()}/look.js"}
        assert plain.evaluate(asking) == "offline"
        stop_press.missing = set()
        address = publisher.page("/", stop_press.address, bell="", ask="manual")
        kind, text = publisher.files["/"]
        story = '<div data-stop-press="bell" data-story="quake"></div>'
        publisher.files["/"] = (kind, text + story)
        tab = firefox.open(address)
        for bell, missing in (("corner", "reader"), ("corner", "panel"), ("bell", "story")):
            root = f"document.querySelector('[data-stop-press={bell}]').shadowRoot"
            words = f"{root}.querySelector('[role=alert]')?.textContent"
            stop_press.missing = {f"/parts/{scripts.version()}/{missing}.js"}
            tab.wait_until(f"Boolean({root}?.querySelector('button'))")
            for _ in range(2):
                tab.evaluate(f"({root}.querySelector('button').click(), true)")
                assert "could not be reached" in tab.wait_until(words), missing
        stop_press.missing = set()
        tab.evaluate(f"({root}.querySelector('button').click(), true)")
        tab.wait_until(
            "[...document.querySelectorAll('html > div')].some("
            "({ shadowRoot }) => shadowRoot?.querySelector('dialog h2'))"
        )
        assert plain.evaluate(asking) == "shown"
        assert tab.evaluate("errors") == []


def guided_page(publisher: Publisher, address: str) -> str:
    """A page with the guide's piece of HTML."""
    text = (
        f"<!doctype html><title>Paper</title>{piece('<script data-worker', address)}<h1>Paper</h1>"
    )
    publisher.files["/"] = (HTML, text)
    return f"{publisher.origin}/"


@pytest.mark.parametrize("which", ["chromium", pytest.param("firefox", marks=pytest.mark.soak)])
def test_a_page_fires_load_while_the_connection_to_stop_press_hangs(
    request: pytest.FixtureRequest, publisher: Publisher, which: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)  # it accepts connections and never answers
        url = guided_page(publisher, f"http://127.0.0.1:{silent.getsockname()[1]}")
        if which == "chromium":
            chromium: Browser = request.getfixturevalue("chromium")
            with chromium.new_context() as context:
                page = context.new_page()
                page.goto(url, wait_until="load")
                assert page.evaluate("document.readyState") == "complete"
        else:
            firefox: Firefox = request.getfixturevalue("firefox")
            tab = firefox.open(url)  # returns after `load`
            assert tab.evaluate("document.readyState") == "complete"


def test_the_guides_piece_of_html_loads_stop_press_with_its_settings(
    address: str, publisher: Publisher, firefox: Firefox
) -> None:
    publisher.worker("/sw.js", piece("try {", address))
    tab = firefox.open(guided_page(publisher, address))
    assert subscribe(tab)["topics"] == ["world"]
