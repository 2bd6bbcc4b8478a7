"""Optimisers, policies, styles and names of a publisher's page, in Chromium.

Optimisers cannot be run here. Each page has the tags that one of them leaves behind, and the piece
of its script that runs ours in the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from math import log2
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.reader.scripts import version
from tests.support.browser.publisher_site import HTML, Publisher
from tests.support.browser.readers import BROWSER, GRANTED, IPHONE, wait_for_page
from tests.support.browser.stop_press import BELL, PLAIN, StopPress, open_page
from tests.support.processes.installation import wait_until
from tests.support.short_forms import cases

pytestmark = pytest.mark.browser

DEFAULT_POLICY = """<script>
  trustedTypes.createPolicy("default", {{ createScriptURL: (address) => address }});
</script>"""
# WP Rocket runs scripts at the reader's first move: it makes a new element of each.
ROCKET = """<script type="rocketlazyloadscript" data-rocket-type="module" {tag}
  data-rocket-src="{address}/optin.js"></script>
<script>
  for (const old of document.querySelectorAll("[type=rocketlazyloadscript]")) {{
    const made = document.createElement("script");
    for (const {{ name, value }} of old.attributes) {{
      if (name !== "type") made.setAttribute(name.replace("data-rocket-", ""), value);
    }}
    old.replaceWith(made);
  }}
</script>"""
# Rocket Loader leaves the tag as it is, with another type, and runs a script of its own making.
CLOUDFLARE = """<script type="4711-module" {tag} src="{address}/optin.js"></script>
<script>
  const made = document.createElement("script");
  made.type = "module";
  made.src = document.querySelector("[type='4711-module']").src;
  document.head.append(made);
</script>"""
# Google Tag Manager takes the attributes off a tag: docs/site.md has a script that sets them.
TAG_MANAGER = """<script>
  var tag = document.createElement("script");
  tag.type = "module";
  tag.setAttribute("data-worker", "/alerts.js");
  tag.setAttribute("data-ask", "manual");
  tag.src = "{address}/optin.js";
  document.head.appendChild(tag);
</script>"""
IMPORT = "<script {tag}>import('{address}/optin.js')</script>"
COPY = '<script type="module" {tag} src="/cache/optin.min.js"></script>'
INLINE = "<script type='module' {tag}>{code}</script>"
WITHOUT_SETTINGS = {
    "an import in a file": '<script type="module" src="/app.js"></script>',
    "a copy": '<script type="module" src="/cache/optin.min.js"></script>',
    "a tag without them": '<script type="module" src="{address}/optin.js"></script>',
    "code within the page": "<script type='module'>{code}</script>",
}


@pytest.fixture
def context(headless_chromium: Browser) -> Iterator[BrowserContext]:
    """A reader's browser that may show notifications."""
    with headless_chromium.new_context() as context:
        context.add_init_script(GRANTED)
        yield context


def asks(page: Page) -> None:
    wait_for_page(page, "window.StopPress")
    page.evaluate("() => { StopPress.ask(); }")
    expect(page.locator("dialog.panel button.yes")).to_be_visible()


@pytest.mark.parametrize(
    "html",
    cases(
        {
            "WP Rocket": ROCKET,
            "a tag manager": TAG_MANAGER,
            "a copy": COPY,
            "written into the page": INLINE,
            "Rocket Loader": CLOUDFLARE,
            "import()": IMPORT,
            "a version": PLAIN,
        },
        most=4,
    ),
)
def test_settings_are_found_whatever_an_optimiser_makes_of_the_tag(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, html: str
) -> None:
    page, said = open_page(context, publisher, stop_press, html)
    asks(page)
    assert "/alerts.js" in publisher.requested
    assert "/sw.js" not in publisher.requested
    assert said == []


@pytest.mark.parametrize("html", WITHOUT_SETTINGS.values(), ids=WITHOUT_SETTINGS)
def test_without_settings_one_warning_says_so_and_nothing_else_happens(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, html: str
) -> None:
    page, said = open_page(context, publisher, stop_press, html)
    wait_until(lambda: page.evaluate("1") and said)
    assert len(said) == 1 and "data-worker" in said[0]
    assert page.evaluate("localStorage.length") == 0
    assert "/sw.js" not in publisher.requested
    assert not [path for path, _ in stop_press.asked if path != "/optin.js"]


def test_an_origin_that_was_forgotten_is_named_in_the_console_and_in_the_panel(
    context: BrowserContext, publisher: Publisher, redis_url: str
) -> None:
    with Publisher() as other, StopPress(redis_url, other) as stop_press:
        html = PLAIN.replace('data-ask="manual"', "")
        page, said = open_page(context, publisher, stop_press, html, BELL)
        page.locator("button.bell").click()
        expect(page.locator("dialog.panel")).to_contain_text("not set up for this address")
        missing = f"Stop Press: {publisher.origin} is not in SITE_ORIGINS"
        assert len([text for text in said if text.startswith(missing)]) == 1
        expect(page.locator("dialog.panel").get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize(
    ("worker", "why"),
    [
        ("throw new Error('a bug');", "script evaluation failed"),
        ("oninstall = (event) => event.waitUntil(Promise.reject());", "did not install"),
        (None, "404"),
    ],
    ids=["throws", "does not install", "is missing"],
)
def test_a_worker_that_cannot_be_had_is_named_in_the_console_with_the_reason(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    worker: str | None,
    why: str,
) -> None:
    page, said = open_page(context, publisher, stop_press, PLAIN, BELL)
    if worker is None:
        del publisher.files["/alerts.js"]
    else:
        publisher.worker("/alerts.js", worker)
    page.locator("button.bell").click()
    expect(page.locator("dialog.panel")).to_contain_text("not set up on this page")
    (one,) = [text for text in said if text.startswith("Stop Press:")]
    assert f"{publisher.origin}/alerts.js" in one
    assert why in one
    publisher.worker("/alerts.js", "// mended")
    page.locator("dialog.panel").get_by_role("button", name="Try again").click()
    expect(page.locator("dialog.panel button.yes")).to_be_visible()


def test_another_worker_at_our_scope_is_named_in_the_console(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    page, said = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.evaluate("navigator.serviceWorker.register('/sw.js').then(() => {})")
    page.locator("button.bell").click()
    expect(page.locator("dialog.panel")).to_contain_text("not set up on this page")
    (one,) = [text for text in said if text.startswith("Stop Press:")]
    assert f"{publisher.origin}/alerts.js" in one
    assert "another worker is at our scope" in one


@pytest.mark.parametrize(
    ("policy", "script"),
    [
        ("require-trusted-types-for 'script'; trusted-types stop-press", ""),
        ("require-trusted-types-for 'script'; trusted-types default", DEFAULT_POLICY),
        ("trusted-types another", ""),
    ],
    ids=["our policy", "the page's default policy", "no need of one"],
)
def test_a_page_that_trusts_no_address_of_a_script_can_subscribe(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, policy: str, script: str
) -> None:
    publisher.headers = {"Content-Security-Policy": policy}
    page, said = open_page(context, publisher, stop_press, script + PLAIN)
    asks(page)
    wait_until(lambda: "/alerts.js" in publisher.requested)
    assert said == []


def test_names_of_the_pages_own_elements_do_not_hide_the_settings(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    names = (
        *("scripts", "body", "head", "baseURI", "documentElement", "StopPress", "currentScript"),
        *("activeElement", "hidden", "title"),
    )
    body = "".join(f'<img name="{name}" id="{name}">' for name in names)
    # No worker can be on a CDN's origin, which pages name for their pictures.
    html = f'<base href="https://cdn.example/"><title>Ferry aground</title>{PLAIN}'
    page, _ = open_page(context, publisher, stop_press, html, body + BELL)
    wait_for_page(page, "window.StopPress?.ask")
    expect(page.locator("button.bell")).to_be_visible()
    page.locator("button.bell").click()
    panel = page.locator("dialog.panel")
    expect(panel.locator("button.yes")).to_be_visible()
    assert "/alerts.js" in publisher.requested
    panel.locator("button.details").click()
    expect(panel.locator(".sample")).to_contain_text("Ferry aground")
    expect(panel.get_by_role("heading")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(page.locator("button.bell")).to_be_focused()

    page.goto("about:blank")
    page.goto(f"{publisher.origin}/#stop-press=fewer")  # as an alert's button does
    expect(panel.locator("button.yes")).to_be_visible()
    assert page.url == f"{publisher.origin}/"


def test_a_pages_own_rules_for_empty_elements_hide_nothing_of_ours(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    style = "<style>div:empty {{ display: none }} html > div {{ opacity: 0 }}</style>"
    tag = PLAIN.replace("{tag}", "{tag} data-bell")
    page, _ = open_page(context, publisher, stop_press, style + tag, f"<main>{BELL}</main>")
    expect(page.locator("button.bell")).to_have_count(2)
    for bell in page.locator("button.bell").all():
        expect(bell).to_be_visible()
    page.locator("button.corner").click()
    expect(page.locator("dialog.panel")).to_be_visible()
    hosts = page.locator("html > div").all()
    assert [host.evaluate("(one) => getComputedStyle(one).opacity") for host in hosts] == ["1"] * 2


# What other scripts of a page change, each in a way that was seen: `Array.prototype.toJSON` and
# `Array.from` of Prototype.js; a `fetch` that takes strings only and adds a header, as monitoring
# does; globals of the page's own; languages of Chromium on Linux; locks that a browser refuses;
# and frozen prototypes.
CHANGED = """
Array.prototype.toJSON = function () {
  return `[${this.map((one) => JSON.stringify(one)).join(", ")}]`;
};
Array.from = (all) => {
  const made = [];
  for (let i = 0; i < all.length; i++) made[i] = all[i];
  return made;
};
LockManager.prototype.request = async () => {
  throw new DOMException("storage is blocked", "SecurityError");
};
const real = window.fetch;
window.fetch = (url, options = {}) => {
  if (url.indexOf("/own/") === 0) return real(url, options);
  const headers = new Headers(options.headers);
  headers.set("traceparent", "00-1-2-01");
  return real(url, { ...options, headers });
};
window.self = {};
window.navigation = { menu: 1 };
for (const name of ["language", "languages"]) {
  const value = name === "language" ? "en-US@posix" : ["en-US@posix", "en_US"];
  Object.defineProperty(Navigator.prototype, name, { get: () => value });
}
for (const { prototype } of [Object, Array, Function, Promise, Error, Element]) {
  Object.freeze(prototype);
}
"""


def test_what_a_pages_other_scripts_have_changed_costs_no_reader(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    p256dh, auth = pretend_readers.keys(0)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    given = {"endpoint": "https://fcm.googleapis.com/fcm/send/page", "keys": keys}
    context.add_init_script(BROWSER % json.dumps(given) + f"{{ {CHANGED} }}")
    page, said = open_page(context, publisher, stop_press, PLAIN, BELL)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.locator("button.bell").click()
    panel = page.locator("dialog.panel")
    panel.locator("button.yes").click()
    panel.locator("button.more").click()
    expect(panel.locator("button.save")).to_be_visible()
    assert page.evaluate("StopPress.state().topics") == []
    assert (said, failures) == ([], [])


def test_a_page_that_removes_or_copies_the_bell_in_its_corner_stays_usable(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    remove = """<script>new MutationObserver(() => {{
      if (!window.enough) document.querySelector("[data-stop-press=corner]")?.remove();
    }}).observe(document, {{ childList: true, subtree: true }})</script>"""
    html = remove + PLAIN.replace("{tag}", "{tag} data-bell")
    unfit = '<ul><li data-stop-press="bell"></ul>' + BELL
    page, said = open_page(context, publisher, stop_press, html, unfit)
    wait_for_page(page, "window.StopPress")
    expect(page.locator("button.bell")).to_have_count(1)  # an <li> cannot hold one
    page.evaluate("enough = true")
    corner = page.locator("button.corner")
    expect(corner).to_be_visible()
    # As an application does that keeps its pages: the copy has no shadow root.
    page.evaluate(
        """() => {
          const body = document.querySelector("body");
          const kept = body.cloneNode(true);
          body.replaceWith(kept);
        }"""
    )
    expect(page.locator("button.bell:not(.corner)")).to_have_count(1)
    expect(corner).to_have_count(1)
    assert said and all("data-stop-press must be on a <div>" in text for text in said)


CONTRAST = """(bell) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [one, other] = [getComputedStyle(bell).color, PAPER].map(light);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


@pytest.mark.parametrize(
    ("system", "style", "paper"),
    [
        ("dark", "body { background: white; color: #222 }", "rgb(255, 255, 255)"),
        ("dark", "", "rgb(255, 255, 255)"),
        ("light", "body { background: #111; color: #eee }", "rgb(17, 17, 17)"),
    ],
    ids=["a light page", "a page without colours", "a dark page on a light system"],
)
def test_a_bell_can_be_read_on_the_page_whatever_the_system_prefers(
    headless_chromium: Browser,
    publisher: Publisher,
    stop_press: StopPress,
    system: Any,
    style: str,
    paper: str,
) -> None:
    with headless_chromium.new_context(color_scheme=system) as context:
        html = f"<style>{style.replace('{', '{{').replace('}', '}}')}</style>{PLAIN}"
        page, _ = open_page(context, publisher, stop_press, html, BELL)
        bell = page.locator("button.bell")
        expect(bell).to_be_visible()
        assert bell.evaluate(CONTRAST.replace("PAPER", repr(paper))) >= 4.5


@pytest.mark.parametrize(
    "fails", ["**/look.js", pytest.param("**/texts/*.json", marks=pytest.mark.soak)]
)
def test_a_failing_script_on_a_busy_page_is_not_requested_again_and_again(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, fails: str
) -> None:
    tried: list[str] = []

    def fail(route: Any) -> None:
        tried.append(route.request.url)
        route.fulfill(status=503)

    context.route(fails, fail)
    begun = time.monotonic()
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.evaluate(
        """async () => {
          for (let i = 0; i < 30; i++) {
            document.body.append(document.createElement("i"));
            await new Promise((go) => setTimeout(go, 100));
          }
        }"""
    )
    # At once, and after two seconds; then after four, and so on, where the machine is slow.
    assert 1 <= len(tried) <= 1 + log2(1 + (time.monotonic() - begun) / 2)
    context.unroute(fails)
    expect(page.locator("button.bell")).to_be_visible()  # it comes by itself once the file is there


@pytest.mark.soak
def test_a_bell_comes_in_the_end_though_the_first_answer_with_its_texts_never_ends(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    context.add_init_script(
        "const real = AbortSignal.timeout.bind(AbortSignal);"
        "AbortSignal.timeout = (milliseconds) => real(milliseconds / 10);"
    )
    asked: list[Any] = []

    def answer(route: Any) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    context.route("**/texts/*.json", answer)
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    expect(page.locator("button.bell")).to_be_visible()


@pytest.mark.parametrize(
    ("blocked", "tag", "browser"),
    [
        ("retire", PLAIN.replace("{tag}", '{tag} data-retire="/old.js"'), ""),
        ("home", PLAIN, "Object.defineProperty(navigator, 'standalone', { value: true });"),
    ],
    ids=["another provider's reader", "an app on the Home Screen"],
)
def test_a_blocked_script_does_not_keep_a_page_from_ending_what_the_reader_left(
    headless_chromium: Browser,
    publisher: Publisher,
    stop_press: StopPress,
    blocked: str,
    tag: str,
    browser: str,
) -> None:
    agent = IPHONE if blocked == "home" else None
    left = """localStorage["stop-press"] = '{"leaving": {"id": "0.0", "token": "x"}}'"""
    with headless_chromium.new_context(user_agent=agent) as context:
        context.add_init_script(f"if (location.protocol !== 'about:') {left}; {browser}")
        stop_press.missing = {f"/parts/{version()}/{blocked}.js"}
        page, _ = open_page(context, publisher, stop_press, tag)
        asked = stop_press.asked
        wait_until(
            lambda: (
                page.evaluate("1") and "/api/v1/subscriptions/0.0" in [path for path, _ in asked]
            )
        )
        assert stop_press.missing & {path for path, _ in asked}


def test_a_page_in_a_frame_of_another_origin_takes_nothing_for_a_no(
    chromium: Browser, publisher: Publisher, stop_press: StopPress
) -> None:
    # Chromium took the permission back by itself; in such a frame it then says "denied". The sites
    # differ by their ports alone, so that both have the same storage.
    with Publisher() as other, chromium.new_context() as context:
        page, _ = open_page(context, publisher, stop_press, PLAIN)
        page.evaluate("localStorage['stop-press'] = JSON.stringify({ id: 'x', token: 'y' })")
        other.files["/"] = (HTML, f'<iframe src="{publisher.origin}/"></iframe>')
        page.goto(f"{other.origin}/")
        (_, framed) = page.frames
        framed.wait_for_function("window.StopPress")
        assert framed.evaluate("Notification.permission") == "denied"
        framed.evaluate("navigator.locks.request('stop-press', () => 0)")
        assert framed.evaluate("StopPress.state().subscribed")
        assert framed.evaluate("localStorage['stop-press-asked'] ?? ''") == ""
