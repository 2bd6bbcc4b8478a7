"""What a reader sees of us on a publisher's page, in a real Chromium against the real service.

Only the browser's own push is a stand-in, since Chromium reaches no push service in a test: it
answers `subscribe()` with keys and an endpoint of our strict one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from service import seeding
from service.keys import b64url
from service.models import SubscriptionId
from tests.house import House, wait_until
from tests.push_service import PushService

pytestmark = pytest.mark.browser

BROWSER = """
(() => {
  const given = %s;
  const kept = () => JSON.parse(localStorage.getItem("test-push"));
  const bytes = (text) => Uint8Array.from(
    atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
  const subscription = (key) => ({
    endpoint: given.endpoint,
    options: { applicationServerKey: bytes(key) },
    toJSON: () => given,
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
LEFT_TO_RIGHT = ("en", "es", "fr", "de", "ru")
SIZES = ((1280, 900), (768, 1024), (390, 844))
Visit = Callable[..., Page]


@pytest.fixture
def house(redis_url: str, push_service: PushService, tmp_path: Path) -> Iterator[House]:
    with House(redis_url, push_service, tmp_path, SITE_NAME="The Daily Example") as house:
        yield house


@pytest.fixture
def visit(house: House, chromium: Browser, push_service: PushService) -> Iterator[Visit]:
    """Open the demo newspaper, by default as a reader who may be sent alerts and was never asked.

    `lang` is the page's language, `script` further attributes of its script tag, `main` what stands
    in the page's main part; `context` is that of a page before, to open another of its tabs.
    """
    address = house.web()
    contexts: list[BrowserContext] = []
    raised: list[str] = []

    def open_context(options: dict[str, object]) -> BrowserContext:
        context = chromium.new_context(reduced_motion="reduce", **options)
        context.grant_permissions(["notifications"], origin=address)
        p256dh, auth = seeding.keys(len(contexts))
        given = {
            "endpoint": push_service.origin + seeding.path(len(contexts)),
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
        **options: object,
    ) -> Page:
        scheme = {"color_scheme": "dark" if dark else "light"}
        size = {"viewport": {"width": width, "height": height}}
        page = (context or open_context({**scheme, **size, **options})).new_page()
        page.on("pageerror", lambda error: raised.append(str(error)))
        direction = "rtl" if lang == "ar" else "ltr"

        def edit(html: str) -> str:
            html = html.replace('<html lang="en">', f'<html lang="{lang}" dir="{direction}">')
            html = html.replace("data-topic=", f"{script} data-topic=")
            if main is not None:
                head, rest = html.split('<main id="news">')
                html = f'{head}<main id="news">{main}{rest[rest.index("</main>") :]}'
            return html

        def answer(route: Route) -> None:
            response = route.fetch()
            route.fulfill(response=response, body=edit(response.text()))

        page.route("**/demo/", answer)
        page.goto(f"{address}/demo/")
        page.wait_for_function("window.StopPress")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert raised == []


def bell(page: Page) -> Locator:
    return page.locator("button.bell")


def panel(page: Page) -> Locator:
    return page.locator("dialog.panel")


def subscribe(page: Page) -> SubscriptionId:
    """Say yes to world news on the panel and close it; return who the service knows."""
    bell(page).click()
    panel(page).locator("input[value=world]").check()
    panel(page).locator("button.yes").click()
    panel(page).locator("button.close").click()
    return SubscriptionId.parse(page.evaluate("StopPress.state().id"))
