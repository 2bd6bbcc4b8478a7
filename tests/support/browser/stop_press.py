"""Stop Press beside a publisher's page, in this process, where a test sees every request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import abort, request
from playwright.sync_api import BrowserContext, Page

from tests.support.browser.publisher_site import HTML, JAVASCRIPT, PAGE_SCRIPT, Publisher
from tests.support.browser.served import Served
from tests.support.client import make_app
from workers.trials.processes import free_port


class StopPress(Served):
    """The web application alone, in this process, so that a test sees every request."""

    def __init__(self, redis_url: str, publisher: Publisher, **settings: str) -> None:
        self.asked: list[tuple[str, str | None]] = []  # path and cookies
        self.missing: set[str] = set()  # paths of files that a failed deploy has left out
        self._go_on = threading.Event()
        self._go_on.set()
        self._port = free_port()
        self.address = f"http://localhost:{self._port}"
        ours = {"SITE_ORIGINS": publisher.origin, "SITE_URL": self.address}
        app = make_app(redis_url, **ours, **settings)
        app.before_request(self._note)
        super().__init__(app, self._port)
        self._app = app
        self.store = app.extensions["stoppress"].store

    def script(self) -> str:
        """What is served as `/optin.js`, without a request that a test would see."""
        text: str = self._app.test_client().get("/optin.js").text
        self.asked.clear()
        return text

    @contextmanager
    def slow_to_let_calls_come(self) -> Iterator[None]:
        """Answer no browser that asks whether a page of another origin may call, until the end."""
        self._go_on.clear()
        try:
            yield
        finally:
            self._go_on.set()

    def _note(self) -> None:
        self.asked.append((request.path, request.headers.get("Cookie")))
        if request.method == "OPTIONS":
            self._go_on.wait()
        if request.path in self.missing:
            abort(404)


TAG = 'data-worker="/alerts.js" data-ask="manual"'
BELL = '<div data-stop-press="bell"></div>'
PLAIN = '<script type="module" {tag} src="{address}/optin.js?v=3"></script>'


def open_page(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, html: str, body: str = ""
) -> tuple[Page, list[str]]:
    """Open a page with these tags; return it and what its console says in warnings."""
    code = stop_press.script()
    filled = html.format(tag=TAG, address=stop_press.address, code=code)
    publisher.files |= {
        "/": (HTML, f"<!doctype html><html lang=en><head>{filled}</head><body>{body}<p>News"),
        "/cache/optin.min.js": (JAVASCRIPT, code),
        "/app.js": (JAVASCRIPT, f'import "{stop_press.address}/optin.js";'),
        "/page.js": (JAVASCRIPT, PAGE_SCRIPT),
    }
    publisher.worker("/alerts.js", "// the publisher's worker")
    publisher.worker("/sw.js", "// another worker")
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text) if one.type == "warning" else None)
    page.goto(f"{publisher.origin}/")
    return page, said
