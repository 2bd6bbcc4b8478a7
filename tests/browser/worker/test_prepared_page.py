"""Clicks in a real Chromium, without DevTools, under which it prepares no page."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.browser import programs
from tests.support.browser.desktop import Desktop
from tests.support.browser.publisher_site import HTML, Publisher
from tests.support.browser.stop_press import StopPress
from tests.support.processes.installation import wait_until

pytestmark = pytest.mark.browser

# A page says whether it is seen, and when our script has begun.
SAYS = """<script>
  const say = (what) => fetch("/said" + location.pathname + "/" + what);
  const seen = () => say(document.prerendering ? "prepared" : document.visibilityState);
  document.addEventListener("visibilitychange", seen);
  seen();
  const begun = setInterval(() => {
    if (!window.StopPress) return;
    clearInterval(begun);
    say("begun");
  }, 50);
</script>"""
# Has an alert shown that leads to `path`, once the test lets `/alert/path` come.
ALERT = """<script>
  navigator.serviceWorker.register("/sw.js");
  Promise.all([navigator.serviceWorker.ready, fetch("/alert/PATH")])
    .then(([{ active }]) => active.postMessage("PATH"));
</script>"""
PREPARES = """<script type="speculationrules">
  {"prerender": [{"source": "list", "urls": ["/story"], "eagerness": "immediate"}]}
</script>"""
# What is kept with the alert is as in `keptData` of `sw.js`.
WORKER = """
importScripts("ADDRESS/sw.js");
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("message", ({ data: path }) => {
  if (path === "stoppress:here") return;
  const navigate = self.location.origin + "/" + path;
  const data = { stopPress: { navigate, links: [] } };
  self.registration.showNotification("Ferry afloat", { data });
});
"""


@contextmanager
def chromium(folder: Path, desktop: Desktop, site: Publisher, path: str) -> Iterator[None]:
    """Run a Chromium that may show this site's notifications, with one of its pages."""
    allowed = {"notifications": {f"{site.origin},*": {"setting": 1}}}
    preferences = {"profile": {"content_settings": {"exceptions": allowed}}}
    (folder / "Default").mkdir()
    (folder / "Default/Preferences").write_text(json.dumps(preferences))
    command = [programs.find(programs.CHROMIUM), "--headless=new", f"--user-data-dir={folder}"]
    command += ["--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [*command, site.origin + path],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": desktop.address},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def site(redis_url: str, publisher: Publisher) -> Iterator[Publisher]:
    """A site whose pages have our script; one front page prepares the story, the other does not."""
    with StopPress(redis_url, publisher) as stop_press:
        ours = f'<script type="module" src="{stop_press.address}/optin.js" data-worker="/sw.js"'
        page = f"<!doctype html><meta charset=utf-8>{SAYS}{ours} data-ask=manual></script>"
        publisher.worker("/sw.js", WORKER.replace("ADDRESS", stop_press.address))
        story, front = ALERT.replace("PATH", "story"), ALERT.replace("PATH", "front")
        publisher.files |= {
            "/front": (HTML, page + story),
            "/prepares": (HTML, page + story + PREPARES),
            "/story": (HTML, page + front),
        }
        for path in ("/alert/story", "/alert/front"):
            publisher.files[path] = (HTML, "")
            publisher.slow[path] = threading.Event()
        yield publisher


def wait_for(site: Publisher, *said: str) -> None:
    wait_until(lambda: {f"/said/{one}" for one in said} <= {*site.requested})


def press(site: Publisher, desktop: Desktop, path: str) -> None:
    """Press an alert that leads to this page, and wait until the page is seen."""
    assert f"/said/{path}/visible" not in site.requested
    site.slow[f"/alert/{path}"].set()
    desktop.click(desktop.wait_for_notification())
    wait_for(site, f"{path}/visible")


def test_a_click_opens_a_story_that_the_browser_has_only_prepared(
    site: Publisher, desktop: Desktop, tmp_path: Path
) -> None:
    with chromium(tmp_path, desktop, site, "/prepares"):
        wait_for(site, "story/prepared", "story/begun")
        press(site, desktop, "story")


def test_a_click_brings_a_tab_to_the_front_that_is_behind_another(
    site: Publisher, desktop: Desktop, tmp_path: Path
) -> None:
    with chromium(tmp_path, desktop, site, "/front"):
        wait_for(site, "front/begun")
        press(site, desktop, "story")
        wait_for(site, "front/hidden")
        site.requested.clear()
        press(site, desktop, "front")
        assert "/front" not in site.requested, "it is the same tab"
