"""The demo newspaper as its readers see it, in Chromium against the real service.

Only the browser's own push is replaced, because Chromium reaches no push service in a test. In its
place `subscribe()` returns keys and an endpoint of the tests' push service. The permission is
replaced too, because a headless Chromium never gives it.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Locator,
    Page,
    Request,
    Route,
    expect,
)

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.subscriptions import SubscriptionId
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

Visit = Callable[..., Page]

ASKED_AFTER_MS = 20_000  # of a page view, unless the newsroom says otherwise
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1"
)
# The headless Chromium says “denied”, whatever a test grants.
GRANTED = """
Object.defineProperty(Notification, "permission", { value: "granted", configurable: true });
"""
BROWSER = (
    """
(() => {
  const given = %s;
  // On a slow machine a page may give up what comes. Its seconds are ten times as long, unless a
  // test says otherwise or stops the clock.
  const patient = (ms) => (ms >= 2000 ? ms * (window.testPatience ?? 10) : ms);
  const [later, ending] = [window.setTimeout.bind(window), AbortSignal.timeout.bind(AbortSignal)];
  window.setTimeout = (run, ms, ...more) => later(run, patient(ms), ...more);
  AbortSignal.timeout = (ms) => ending(patient(ms));
  const kept = () => JSON.parse(localStorage.getItem("test-push"));
  const bytes = (text) => Uint8Array.from(
    atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
  const endpoint = () => localStorage.getItem("test-endpoint") ?? given.endpoint;
  const subscription = (key) => ({
    endpoint: endpoint(),
    options: { applicationServerKey: bytes(key) },
    toJSON: () => ({ ...given, endpoint: endpoint() }),
    unsubscribe: async () => {
      if (window.testStuck) throw new Error("stuck");
      localStorage.removeItem("test-push");
      return true;
    },
  });
  PushManager.prototype.getSubscription = async () => kept() && subscription(kept());
  PushManager.prototype.subscribe = async ({ applicationServerKey: key }) => {
    localStorage.setItem("test-push", JSON.stringify(key));
    return subscription(key);
  };
})();
"""
    + GRANTED
)


@contextmanager
def newspaper(redis_url: str, push_service: PushService, folder: Path) -> Iterator[Installation]:
    """Run a newspaper's installation: one web process, with the defaults that readers see."""
    defaults = {"QUIET_HOURS": "22:00-07:00", "DAILY_LIMIT": "10"}
    few = {"SITE_NAME": "The Daily Example", "WEB_CONCURRENCY": "1"}
    with Installation(redis_url, push_service, folder, **few, **defaults) as installation:
        installation.web()
        yield installation


@contextmanager
def visitors(chromium: Browser, address: str, push_service: PushService) -> Iterator[Visit]:
    """Open the demo newspaper, by default as a new reader whose browser allows notifications.

    `push=False` removes the browser's push. `lang` is the page's language, `script` adds attributes
    to its script tag, and `main` replaces the page's main part. `context` is that of an earlier
    page, to open another tab beside it.
    """
    contexts: list[BrowserContext] = []
    raised: list[str] = []

    def open_context(options: dict[str, object]) -> BrowserContext:
        context = chromium.new_context(reduced_motion="reduce", **options)
        p256dh, auth = pretend_readers.keys(len(contexts))
        given = {
            "endpoint": push_service.origin + pretend_readers.path(len(contexts)),
            "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
        }
        context.add_init_script(BROWSER % json.dumps(given))
        contexts.append(context)
        return context

    def open_page(
        width: int = 1280,
        height: int = 900,
        *,
        lang: str = "en",
        dark: bool = False,
        script: str = "",
        main: str | None = None,
        context: BrowserContext | None = None,
        push: bool = True,
        **options: object,
    ) -> Page:
        scheme = {"color_scheme": "dark" if dark else "light"}
        size = {"viewport": {"width": width, "height": height}}
        page = (context or open_context({**scheme, **size, **options})).new_page()
        page.set_default_timeout(30_000)
        if not push:
            page.add_init_script("delete window.PushManager; delete window.Notification;")
        page.on("pageerror", lambda error: raised.append(str(error)))
        direction = "rtl" if lang == "ar" else "ltr"

        def edit(html: str) -> str:
            html = html.replace('<html lang="en">', f'<html lang="{lang}" dir="{direction}">')
            html = html.replace("data-topic=", f"{script} data-topic=")
            if main is not None:
                head, rest = html.split('<main id="news">')
                html = f'{head}<main id="news">{main}{rest[rest.index("</main>") :]}'
            return html

        if lang != "en" or script or main is not None:
            page.route("**/demo/", lambda route: answer_changed(route, edit))
        page.goto(f"{address}/demo/")
        wait_for_page(page, "window.StopPress")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert raised == []


def wait_for_page(page: Page, expression: str) -> None:
    """Wait until an expression is true on a page.

    Playwright's own way uses `eval`, which our pages' policy forbids.
    """
    wait_until(lambda: page.evaluate(f"Boolean({expression})"))


def come_back_with(page: Page, agent: str) -> None:
    """Load the page once more in a browser of that name."""
    name = f"{{ value: {json.dumps(agent)}, configurable: true }}"
    page.add_init_script(f"Object.defineProperty(navigator, 'userAgent', {name})")
    page.reload()
    wait_for_page(page, "window.StopPress")


# Records on every document the timers that its scripts wait for: lengths by numbers.
NOTE_TIMERS = """
(() => {
  const { setTimeout: set, clearTimeout: clear } = window;
  window.testTimers = new Map();
  window.setTimeout = (run, length, ...given) => {
    const number = set(() => { testTimers.delete(number); run(...given); }, length);
    testTimers.set(number, length);
    return number;
  };
  window.clearTimeout = (number) => { testTimers.delete(number); clear(number); };
})();
"""


def stop_clock(page: Page) -> None:
    """Stop the page's clock: timers run only when the test calls `run_clock`."""
    page.clock.install(time=time.time())

    def paused() -> bool:
        try:
            # A clock may not go back. Far ahead, time-outs would end what is under way.
            page.clock.pause_at(time.time() + 0.2)
        except Error:  # the page's clock is there already, because the machine is busy
            return False
        return True

    wait_until(paused)
    page.evaluate(NOTE_TIMERS)
    page.add_init_script(NOTE_TIMERS)


def timers(page: Page) -> list[int]:
    """The lengths in milliseconds of the timers that a page with a stopped clock waits for."""
    found: list[int] = page.evaluate("[...testTimers.values()]")
    return found


def run_clock(page: Page, milliseconds: int, *, timer: int, count: int = 1) -> None:
    """Advance a stopped clock once the page waits for `count` timers of that length.

    If the clock moved before the page had set its timer, the page would wait for ever.
    """
    wait_until(lambda: timers(page).count(timer) >= count)
    page.clock.run_for(milliseconds)


def visit_over(page: Page) -> None:
    """Wait until the page has compared and mended its subscription on this page view.

    It asks for this lock before it is ready. Where it may ask its reader, it then begins to load
    what it needs for that: wait for its timer too, or for its last request.
    """
    page.evaluate("navigator.locks.request('stop-press', () => 0)")


@contextmanager
def not_asked(page: Page, why: str = "") -> Iterator[None]:
    """Check that the block does not open the panel, which would begin with one of two requests.

    A page that asks by itself makes one of them on each page view: let it set its timer first.
    """
    begun: list[str] = []
    asking: list[Request] = []  # for the script that decides whether to open it

    def note(request: Request) -> None:
        if request.url.endswith(("/panel.js", "/api/v1/site")):
            begun.append(request.url)
        elif request.url.endswith("/asking.js"):
            asking.append(request)

    handled = "navigator.locks.request('a test', () => 0)"
    visit_over(page)
    page.on("request", note)
    yield
    page.evaluate(handled)  # the page has handled the click
    for request in asking:  # it grows: the page imports the script once it has fetched it
        if response := request.response():
            response.finished()
        page.evaluate(f"import({json.dumps(request.url)}).then(() => {handled})")
    page.remove_listener("request", note)
    assert begun == [], (why, begun)
    expect(panel(page)).to_have_count(0)


def answer_changed(route: Route, change: Callable[[str], str]) -> None:
    """Answer a request with what the service answers, changed.

    Playwright's own `fetch` would use a connection again that the service closes at that moment,
    and forget the answer when the page goes on to another.
    """
    asked = route.request
    method, body = asked.method, asked.post_data_buffer
    headers = {name: asked.headers[name] for name in asked.headers if name != "accept-encoding"}
    request = urllib.request.Request(asked.url, body, headers, method=method)
    with urllib.request.urlopen(request) as response:
        text = change(response.read().decode())
        kept = {name.lower(): value for name, value in response.headers.items()}
    for name in ("content-length", "connection"):
        kept.pop(name, None)
    route.fulfill(status=response.status, headers=kept, body=text)


def with_site(page: Page, **facts: Any) -> None:
    """Let the service say this of the site."""

    def changed(text: str) -> str:
        return json.dumps({**json.loads(text), **facts})

    page.route("**/api/v1/site", lambda route: answer_changed(route, changed))


def bell(page: Page) -> Locator:
    return page.locator("button.bell")


# A script tag with it asks a reader who clicks what is above a headline.
FOLLOW = 'data-ask="click" data-ask-on=".kicker"'
# How Stop Press refuses a call; what looks otherwise comes from something on the way.
PROBLEM = {"json": {}, "content_type": "application/problem+json"}


def panel(page: Page) -> Locator:
    return page.locator("dialog.panel")


def choose_topics(page: Page, *slugs: str) -> None:
    """Open the question's second step and tick these topics."""
    panel(page).locator("button.details").click()
    for slug in slugs:
        panel(page).locator(f"input[value={slug}]").check()


# Presses the first element that matches, on the page or in a panel, unless it is a ticked box.
_PRESS = """(selector) => {
  const roots = [...document.querySelectorAll("*")].map((one) => one.shadowRoot).filter(Boolean);
  const found = [document, ...roots].map((one) => one.querySelector(selector)).find(Boolean);
  if (found && !found.checked) found.click();
  return Boolean(found);
}"""


def subscribe(page: Page) -> SubscriptionId:
    """Subscribe to world news in the panel and close it; return the subscription.

    Other tests show that a reader can press all this. Here it takes half the time.
    """
    steps = ("button.bell", "button.details", "input[value=world]", "button.yes")
    for step in (*steps, "output:not(:empty)", "button.close"):  # the first alert is on its way
        wait_until(lambda step=step: page.evaluate(_PRESS, step))
    return SubscriptionId.parse(page.evaluate("StopPress.state().id"))


def preferences(page: Page, name: str) -> Locator:
    return panel(page).get_by_role("combobox", name=name, exact=True)


def choose(page: Page, name: str, option: str) -> None:
    preferences(page, name).select_option(option)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there and visible, in a shadow root too."""
    page.locator(selector).first.wait_for()
    look = """(s) => {
      let node = document.activeElement;
      while (node.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
      return node.matches(s) && getComputedStyle(node).outlineStyle !== "none";
    }"""
    for _ in range(60):
        if page.evaluate(look, selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {selector}")


def permission(page: Page, value: str) -> None:
    """From the next page view on the browser says this of the site's permission."""
    page.add_init_script(f"Object.defineProperty(Notification, 'permission', {{value: {value!r}}})")


def come_back(page: Page) -> None:
    page.reload()
    wait_for_page(page, "window.StopPress")
    visit_over(page)


# What a worker tells the open pages when it has shown an alert.
SHOWN = """navigator.serviceWorker.dispatchEvent(
  new MessageEvent("message", { data: { type: "stoppress:shown" } }))"""


IN_VIEW = """
(box) => {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  const { innerWidth, innerHeight } = window;
  const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  return inside && box.scrollWidth <= box.clientWidth;
}
"""
PATCH = """(() => {
  const { id, token } = JSON.parse(localStorage.getItem("stop-press"));
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
  const body = JSON.stringify(%s);
  return fetch(`/api/v1/subscriptions/${id}`, { method: "PATCH", headers, body })
    .then(({ ok }) => { if (!ok) throw new Error("refused"); });
})()"""


def stored(paper: Installation, id: SubscriptionId) -> dict[str, Any]:
    """A reader's preferences as the API returns them."""
    token = paper.runtime.tokens.reader(id, paper.runtime.store.subscriptions.get(id).auth)
    address = f"http://localhost:{paper.port}/api/v1/subscriptions/{id}"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return dict(json.load(response))
