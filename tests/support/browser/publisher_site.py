"""A publisher's own site on another origin than Stop Press: pages, workers, response headers."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask, Response, request

from tests.support.browser.firefox import Tab
from tests.support.browser.served import Served
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.push_service.messages import Channel

HTML, JAVASCRIPT = "text/html", "text/javascript"

# The publisher's page. Its own script is a file, because a strict policy allows no inline script.
PAGE = """<!doctype html>
<html lang="{lang}" dir="{direction}"><title>{title}</title>
<script src="/page.js"></script>
{script}
<h1>{title}</h1>
"""
PAGE_SCRIPT = """
window.violations = [];
window.errors = [];
window.messages = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
addEventListener("error", (event) => errors.push(`${event.message}`));
addEventListener("unhandledrejection", (event) => errors.push(`${event.reason}`));
navigator.serviceWorker.addEventListener("message", ({ data }) => messages.push(data));
navigator.serviceWorker.startMessages();
"""


# What our dialog says; none is open where this is empty.
SAID = """[...document.querySelectorAll("*")]
  .map((one) => one.shadowRoot?.querySelector("dialog")?.innerText ?? "").join("")"""


class Publisher(Served):
    """The site; a context manager. A test may add to `files` while it runs."""

    def __init__(self) -> None:
        app = Flask(__name__, static_folder=None)
        app.add_url_rule("/", "file", self._respond, defaults={"path": ""})
        app.add_url_rule("/<path:path>", "file", self._respond)
        super().__init__(app)
        self.origin = f"http://127.0.0.1:{self.port}"
        self.headers: dict[str, str] = {}
        self.files = {"/page.js": (JAVASCRIPT, PAGE_SCRIPT)}  # by path: type, text
        self.requested: list[str] = []  # paths, with queries
        self.slow: dict[str, threading.Event] = {}  # by path: when it may come

    def page(
        self, path: str, stop_press: str, title: str = "Paper", lang: str = "en", **data: str
    ) -> str:
        """Add a page with our script and its attributes `data`; return the page's address."""
        data = {"worker": "/sw.js", **data}
        attributes = " ".join(f'data-{name}="{value}"' for name, value in data.items())
        nonce = (
            'nonce="n4711"' if "nonce" in self.headers.get("Content-Security-Policy", "") else ""
        )
        script = f'<script type="module" async src="{stop_press}/optin.js" {attributes} {nonce}>'
        direction = "rtl" if lang == "ar" else "ltr"
        text = PAGE.format(title=title, script=f"{script}</script>", lang=lang, direction=direction)
        if nonce:
            text = text.replace("<script src", f"<script {nonce} src")
        self.files[path] = (HTML, text)
        return self.origin + path

    def worker(self, path: str, text: str) -> None:
        """Add a service worker's file."""
        self.files[path] = (JAVASCRIPT, text)

    def _respond(self, path: str) -> Response:
        self.requested.append(request.full_path.rstrip("?"))
        if (may_come := self.slow.get(f"/{path}")) is not None:
            may_come.wait(30)
        if (found := self.files.get(f"/{path}")) is None:
            return Response("There is nothing here.", 404, self.headers)
        kind, text = found
        return Response(text, 200, {"Cache-Control": "no-cache", **self.headers}, mimetype=kind)


# The directives that docs/site.md names. OWN is what the publisher's page needs itself.
POLICY = {
    "script-src": "'self' {installation}",
    "connect-src": "{installation}",
    "worker-src": "'self'",
}
OWN = {"default-src": "'none'", "img-src": "'self'"}
STRICT_DYNAMIC = {**POLICY, "script-src": "'nonce-n4711' 'strict-dynamic'"}


def policy(directives: dict[str, str], address: str) -> dict[str, str]:
    text = "; ".join(f"{name} {value}" for name, value in {**OWN, **directives}.items())
    return {"Content-Security-Policy": text.format(installation=address)}


def subscribe(tab: Tab) -> dict[str, Any]:
    """Subscribe in the panel; return the page's state. If that fails, say what the panel says."""
    tab.wait_until("window.StopPress && true")
    tab.evaluate("(StopPress.ask(), true)")
    try:
        # Not `main`, which is “Close” in a panel that says why it cannot subscribe.
        tab.click("button.yes")
        state: dict[str, Any] = tab.wait_until("StopPress.state().subscribed && StopPress.state()")
    except TimeoutError as late:
        raise TimeoutError(f"the panel says: {tab.evaluate(SAID)!r}") from late
    return state


def mended(tab: Tab, lost: dict[str, Any]) -> dict[str, Any]:
    """Wait until the page has another subscription than the lost one, and has ended what is left
    of that; return the page's state.
    """
    tab.wait_until(f"window.StopPress?.state().id && StopPress.state().id !== {lost['id']!r}")
    state: dict[str, Any] = tab.evaluate(
        "navigator.locks.request('stop-press', () => StopPress.state())"
    )
    return state


def registrations(tab: Tab) -> dict[str, str]:
    """The origin's service workers: each file's path and query, by scope."""
    found: dict[str, str] = tab.evaluate(
        "navigator.serviceWorker.getRegistrations().then((all) => Object.fromEntries(all.map("
        "({ scope, active, waiting, installing }) => [new URL(scope).pathname,"
        " (active ?? waiting ?? installing).scriptURL.replace(location.origin, '')])))"
    )
    return found


def registered(installation: Installation, push_service: PushService) -> list[Channel]:
    """What Firefox registered with our key; other tests' sites have workers that register too."""
    return [
        one
        for one in push_service.registrations
        if one.vapid_public_key == installation.vapid.public
    ]


def receipts(installation: Installation, id: int) -> dict[str, int]:
    counts = installation.runtime.receipts.of(id)
    return {event: count for event, count in counts.items() if count}


SUBSCRIBE_THERE = """
navigator.serviceWorker.register("/old/worker.js?app=77", {{ scope: "{scope}" }})
  .then(async (registration) => {{
    const worker = registration.installing ?? registration.active;
    while (worker.state !== "activated") await new Promise((go) => setTimeout(go, 20));
    const options = {{ userVisibleOnly: true, applicationServerKey: "{key}" }};
    return (await registration.pushManager.subscribe(options)).endpoint;
  }})
"""
OLD_WORKER = "self.addEventListener('push', () => {});"


def readers(installation: Installation) -> int:
    return installation.runtime.store.subscriptions.count()


def settled(tab: Tab) -> bool:
    """Wait until the script has compared and renewed the subscription on this page view."""
    tab.wait_until("window.StopPress && true")
    return bool(tab.evaluate("navigator.locks.request('stop-press', () => true)"))
