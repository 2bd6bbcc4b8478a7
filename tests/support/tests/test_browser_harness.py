"""The harness itself: browsers, desktop and push service, without Stop Press."""

import json
import struct
import subprocess
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Page
from py_vapid import Vapid02
from pywebpush import webpush

from tests.support.browser import programs
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.readers import run_clock, stop_clock, timers
from tests.support.push_service import PushService

pytestmark = pytest.mark.browser

FRONT_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>The Loopback Times</title>
<style>
  body { margin: 0; background: white; height: 2000px } button { margin-top: 1200px }
  @media (prefers-color-scheme: dark) { body { background: black } }
</style>
<div id="panel"></div>
<script>
  window.events = [];
  navigator.serviceWorker.onmessage = ({data}) => events.push(data);
  const button = document.createElement("button");
  button.textContent = "Get the latest updates";
  panel.attachShadow({mode: "open"}).append(button);
  button.onclick = async () => {
    window.asked = navigator.userActivation.isActive;
    const applicationServerKey = new URLSearchParams(location.search).get("key");
    await navigator.serviceWorker.register("/sw.js");
    const {pushManager} = await navigator.serviceWorker.ready;
    const options = {userVisibleOnly: true, applicationServerKey};
    window.subscription = await pushManager.subscribe(options);
  };
</script>
"""

SERVICE_WORKER = """
const tell = async (...news) => {
  const pages = await clients.matchAll({includeUncontrolled: true});
  pages.forEach((page) => page.postMessage(news));
};
addEventListener("push", (event) => {
  const {title, ...options} = event.data.json();
  event.waitUntil(registration.showNotification(title, options));
});
addEventListener("notificationclick", (event) => {
  const {action, notification} = event;
  notification.close();
  event.waitUntil(action ? tell(action, notification.title) : clients.openWindow("/story.html"));
});
addEventListener("notificationclose", (event) => {
  event.waitUntil(tell("close", event.notification.title));
});
"""

DECRYPTED = 100  # the code of Firefox's ack

TITLE = "Zażółć gęślą — شاهد الخبر 🗞️ <b>&amp;</b>"
TEXT = "‏عاجل: 東京, “naïve” & <i>plain</i> 👩🏽‍🚀\nA second line"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def newspaper(tmp_path: Path) -> Iterator[str]:
    """Serve a newspaper with one story, and yield its origin."""
    (tmp_path / "index.html").write_text(FRONT_PAGE)
    (tmp_path / "sw.js").write_text(SERVICE_WORKER)
    (tmp_path / "story.html").write_text("<!doctype html><title>The story</title>")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def vapid() -> Vapid02:
    keys = Vapid02()
    keys.generate_keys()
    return keys


def open_front_page(firefox: Firefox, newspaper: str, vapid: Vapid02) -> Tab:
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    firefox.allow_notifications(newspaper)
    return firefox.open(f"{newspaper}/?key={urlsafe_b64encode(point).decode().rstrip('=')}")


def send(push_service: PushService, tab: Tab, vapid: Vapid02, **notification: object) -> None:
    """Send to the page's subscription, and wait until Firefox has decrypted the message."""
    webpush(
        tab.wait_until("window.subscription"),
        json.dumps(notification),
        vapid_private_key=vapid,
        vapid_claims={"sub": "mailto:desk@example.org"},
        ttl=60,
        timeout=10,
    )
    assert push_service.wait_for_ack(timeout=30).code == DECRYPTED
    assert push_service.refusals == []


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header (PNG specification, 11.2.2 IHDR)."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_a_message_crosses_firefox_to_the_desktop_and_a_click_opens_its_page(
    firefox: Firefox, desktop: Desktop, push_service: PushService, newspaper: str, vapid: Vapid02
) -> None:
    tab = open_front_page(firefox, newspaper, vapid)
    tab.click("button")
    send(push_service, tab, vapid, title=TITLE, body=TEXT)
    notification = desktop.wait_for_notification()
    assert (notification.title, notification.body) == (TITLE, TEXT)
    assert notification.replaces_id == 0
    assert tab.evaluate("window.asked") is True

    desktop.click(notification)
    story = firefox.wait_for_tab(f"{newspaper}/story.html")
    assert story.wait_until("document.title") == "The story"
    assert firefox.tabs().count(f"{newspaper}/story.html") == 1
    story.close()
    tab.close()
    assert desktop.forget() == []


def test_a_button_and_a_dismissal_on_the_desktop_reach_the_service_worker(
    firefox: Firefox, desktop: Desktop, push_service: PushService, newspaper: str, vapid: Vapid02
) -> None:
    tab = open_front_page(firefox, newspaper, vapid)
    tab.press("Tab", "Enter")
    send(
        push_service,
        tab,
        vapid,
        title="One",
        actions=[{"action": "mute", "title": "Mute this story"}],
    )
    one = desktop.wait_for_notification()
    key = next(key for key, label in one.actions.items() if label == "Mute this story")
    desktop.act(one, key)
    tab.wait_until("events.some(([event, title]) => event === 'mute' && title === 'One')")

    send(push_service, tab, vapid, title="Two")
    desktop.dismiss(desktop.wait_for_notification())
    tab.wait_until("events.some(([event, title]) => event === 'close' && title === 'Two')")
    assert tab.evaluate("events.filter(([event]) => event === 'mute').length") == 1


def test_firefox_refuses_a_subscription_if_the_reader_denied_notifications(
    firefox: Firefox, newspaper: str, vapid: Vapid02
) -> None:
    tab = open_front_page(firefox, newspaper, vapid)
    firefox.allow_notifications(newspaper, "denied")
    tab.evaluate(
        "window.addEventListener('unhandledrejection', ({reason}) => events.push(reason.name))"
    )
    tab.click("button")
    assert tab.wait_until("events.length && events") == ["NotAllowedError"]


@pytest.mark.soak
def test_firefox_draws_a_page_at_the_size_asked_for(
    firefox: Firefox, newspaper: str, vapid: Vapid02, tmp_path: Path
) -> None:
    tab = open_front_page(firefox, newspaper, vapid)
    tab.resize(390, 640)
    assert tab.evaluate("[innerWidth, innerHeight]") == [390, 640]
    tab.screenshot(tmp_path / "firefox.png")
    assert png_size(tmp_path / "firefox.png") == (390, 640)


def test_chromium_opens_pages_in_the_size_colours_and_direction_asked_for(
    chromium_page: Callable[..., Page], newspaper: str
) -> None:
    day, night = chromium_page(1280, 800), chromium_page(390, 640, dark=True, rtl=True)
    described = []
    for page in (day, night):
        page.goto(newspaper)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        described.append((page.evaluate("[innerWidth, document.documentElement.dir]"), colour))
    assert described == [
        ([1280, ""], "rgb(255, 255, 255)"),
        ([390, "rtl"], "rgb(0, 0, 0)"),
    ]


def test_a_stopped_clock_goes_on_only_once_the_page_waits_for_its_timer(
    chromium_page: Callable[..., Page], newspaper: str
) -> None:
    page = chromium_page(1280, 800)
    page.goto(newspaper)
    stop_clock(page)
    for _ in range(2):
        # The worker's own timer makes the page set the timer in question a while later.
        page.evaluate(
            """() => {
              const ring = () => { window.rang = true; };
              const late = new Blob(["setTimeout(() => postMessage(0), 300)"]);
              window.worker = new Worker(URL.createObjectURL(late));
              worker.onmessage = () => setTimeout(ring, 5000);
              clearTimeout(setTimeout(ring, 5000));
            }"""
        )
        run_clock(page, 4_999, timer=5000)
        assert timers(page) == [5000]
        assert page.evaluate("window.rang") is None
        run_clock(page, 1, timer=5000)
        assert page.evaluate("window.rang") is True
        assert timers(page) == []
        page.reload()


@pytest.mark.soak
@pytest.mark.usefixtures("chromium")
def test_the_screenshot_command_takes_a_whole_page(newspaper: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    command = [sys.executable, "-m", "tests.support.browser.screenshots", newspaper, str(picture)]
    subprocess.run([*command, "--width", "390", "--dark", "--full"], check=True, timeout=60)
    assert png_size(picture) == (390, 2000)


def test_a_missing_program_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", str(python.parent))
    with pytest.raises(programs.MissingProgramError, match="apt-get install firefox-esr"):
        programs.find(("no-such-browser", "nor-this-one"))
    assert programs.find(("no-such-browser", python.name)) == sys.executable
