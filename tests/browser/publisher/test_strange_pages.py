"""Pages and browsers that are not as one expects: layouts, libraries, full storage."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.notifications import Topic
from tests.support import ROOT
from tests.support.browser.publisher_site import Publisher
from tests.support.browser.readers import BROWSER, NOTE_TIMERS, timers, visit_over, wait_for_page
from tests.support.browser.stop_press import BELL, PLAIN, StopPress, open_page
from tests.support.processes.installation import wait_until
from tests.support.short_forms import cases, some

pytestmark = pytest.mark.browser

ASKING = PLAIN.replace("{tag}", 'data-worker="/alerts.js"')


@pytest.fixture
def stop_press(redis_url: str, publisher: Publisher) -> Iterator[StopPress]:
    """An installation that asks on the first page view, after a second."""
    with StopPress(redis_url, publisher, ASK_PAGE_VIEWS="1", ASK_SECONDS="1") as running:
        yield running


@pytest.fixture
def context(headless_chromium: Browser) -> Iterator[BrowserContext]:
    """A reader's browser with push, on a phone."""
    p256dh, auth = pretend_readers.keys(0)
    given = {
        "endpoint": "https://fcm.googleapis.com/fcm/send/page",
        "keys": {"p256dh": b64url(p256dh), "auth": b64url(auth)},
    }
    with headless_chromium.new_context(viewport={"width": 390, "height": 844}) as context:
        context.add_init_script(BROWSER % json.dumps(given))
        context.add_init_script(NOTE_TIMERS)
        yield context


def subscribe(page: Page) -> None:
    page.locator("button.bell").first.click()
    page.locator("dialog.panel button.yes").click()
    wait_for_page(page, "window.StopPress.state().subscribed")


def is_not_asked(page: Page) -> None:
    """Wait until the page has found the reader busy, and is to look again in two seconds."""
    wait_until(lambda: 2000 in timers(page))
    expect(page.locator("dialog.panel")).to_have_count(0)


# Whether the question is asked -------------------------------------------------------------------

OUT_OF_THE_WAY = {
    "the button that opens the cookie settings again": '<div id="CookiebotWidget" style="'
    'position:fixed;inset:auto auto 10px 10px;width:48px;height:48px">c</div>',
    "a tab that does": '<button class="cmplz-manage-consent" style="position:fixed;bottom:0;'
    'right:20px;width:160px;height:35px">Manage consent</button>',
    "a menu beside the page": "<div role=dialog style='position:fixed;inset:0 auto 0 0;"
    "width:300px;transform:translateX(-100%)'>Menu</div>",
    "a short message in a popover": "<div id=said popover=manual style='inset:auto auto 20px 20px;"
    "width:150px;height:40px'>Saved</div><script>said.showPopover()</script>",
    "a dialog without height": "<div role=dialog style='height:0;overflow:hidden'>Menu</div>",
    "a dialog that is hidden from all": "<div role=dialog aria-hidden=true>Menu</div>",
    "a dialog that cannot be used": "<div role=alertdialog inert>Menu</div>",
    "an application that is one fixed element": "<div style='position:fixed;inset:0;"
    "overflow:auto'><main><h1>News</h1></main></div>",
}
IN_THE_WAY = {
    "a dialog": "<div role=dialog style='position:fixed;inset:20% 10%'>Sign in?</div>",
    "a bar for consent": '<div id="cookie-bar" style="position:fixed;inset:auto 0 0;height:70px">'
    "We use cookies</div>",
    "a popover over the question": "<div id=share popover style='inset:auto 0 0;width:100%;"
    "height:30%'>Share</div><script>share.showPopover()</script>",
    "a dialog whose sheet alone has a box": "<div role=dialog><div style='position:fixed;"
    "inset:auto 0 0;height:30%'>Sign in?</div></div>",
    "a sheet over the page": "<div style='position:fixed;inset:0'><h1>Subscribe</h1></div>",
}


@pytest.mark.parametrize("body", cases(OUT_OF_THE_WAY, most=2))
def test_what_is_out_of_the_readers_way_does_not_keep_the_question_away(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, body: str
) -> None:
    page, _ = open_page(context, publisher, stop_press, ASKING, body)
    expect(page.locator("dialog.panel")).to_be_visible()


@pytest.mark.parametrize("body", cases(IN_THE_WAY, most=3))
def test_what_waits_for_the_readers_answer_does(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, body: str
) -> None:
    page, _ = open_page(context, publisher, stop_press, ASKING, body)
    is_not_asked(page)


@pytest.mark.parametrize("mark", cases({one: one for one in ("open", "until", "rest")}, most=1))
def test_a_rest_that_a_wrong_clock_noted_far_ahead_ends(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, mark: str
) -> None:
    context.add_init_script(
        "if (location.protocol !== 'about:') localStorage['stop-press-asked'] ??="
        f" JSON.stringify({{ {mark}: Date.now() + 400 * 86_400_000 }})"
    )
    page, _ = open_page(context, publisher, stop_press, ASKING)
    expect(page.locator("dialog.panel")).to_be_visible()


def test_not_now_rests_where_a_rest_was_noted_far_ahead(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    context.add_init_script(
        "if (location.protocol !== 'about:') localStorage['stop-press-asked'] ??="
        " JSON.stringify({ refusals: 1, until: Date.now() + 400 * 86_400_000 })"
    )
    page, _ = open_page(context, publisher, stop_press, ASKING)
    page.locator("dialog.panel button.later").click()
    expect(page.locator("dialog.panel")).to_have_count(0)
    asked = page.evaluate("JSON.parse(localStorage['stop-press-asked'])")
    assert asked["refusals"] == 2
    assert asked["until"] < page.evaluate("Date.now() + 31 * 86_400_000")


@pytest.mark.parametrize(
    "busy", some(["a consent bar", "a page that is zoomed in"], ["a consent bar"])
)
def test_the_question_comes_once_what_was_in_its_way_is_gone(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, busy: str
) -> None:
    context.add_init_script(
        "Object.defineProperty(VisualViewport.prototype, 'scale',"
        f" {{ get: () => window.zoomed ?? {2 if 'zoomed' in busy else 1} }});"
        "window.testPatience = 1;"  # it looks again after two seconds
    )
    body = IN_THE_WAY["a bar for consent"] if "bar" in busy else ""
    page, _ = open_page(context, publisher, stop_press, ASKING, body)
    is_not_asked(page)
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).ignored") is None
    page.evaluate("window.zoomed = 1; document.querySelector('#cookie-bar')?.remove()")
    expect(page.locator("dialog.panel")).to_be_visible()


@pytest.mark.soak
def test_an_advertisement_at_the_edge_does_not_lie_over_the_buttons(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    ad = "<div id=ad style='position:fixed;inset:auto 0 0;height:90px;z-index:2147483647'>Buy</div>"
    page, _ = open_page(context, publisher, stop_press, ASKING, ad)
    page.locator("dialog.panel button.later").click()
    expect(page.locator("dialog.panel")).to_have_count(0)


@pytest.mark.soak
def test_a_page_whose_load_never_comes_is_not_waited_for_longer_than_ten_seconds(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    guide = (ROOT / "docs/site.md").read_text()
    tag = re.search(r"<script data-worker.*?</script>", guide, re.S)
    assert tag
    html = tag[0].replace("https://push.example", "{address}").replace("/sw.js", "/alerts.js")
    html = html.replace("{", "{{").replace("}", "}}").replace("{{address}}", "{address}")
    context.route("**/never", lambda route: None)
    context.add_init_script("const real = setTimeout; setTimeout = (f, ms) => real(f, ms / 10);")
    body = f"{BELL}<iframe src=/never></iframe>"
    page = context.new_page()
    publisher.files["/"] = (
        "text/html",
        f"<!doctype html><html lang=en><head>{html.format(address=stop_press.address)}</head>"
        f"<body>{body}<p>News",
    )
    page.goto(f"{publisher.origin}/", wait_until="commit")
    expect(page.locator("button.bell").first).to_be_visible()
    assert page.evaluate("document.readyState") == "interactive"


def test_a_reader_whose_storage_is_full_is_not_asked_on_each_view(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    context.add_init_script("""
      if (location.protocol !== "about:" && !localStorage.filled) {
        localStorage["stop-press-asked"] = '{"views":10}'; // another value fits under this name
        localStorage.filled = "yes";
        for (let size = 5 << 20, i = 0; size >= 1; i++) {
          try { localStorage["fill" + i] = "x".repeat(size); } catch { size >>= 1; }
        }
      }""")
    page, _ = open_page(context, publisher, stop_press, ASKING)
    wait_for_page(page, "JSON.parse(localStorage['stop-press-asked']).views === 11")
    assert "asking.js" not in " ".join(path for path, _ in stop_press.asked)


def test_a_page_in_a_frame_asks_nothing_whatever_its_address_says(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    frame = "<iframe src='/framed#stop-press=fewer'></iframe>"
    publisher.files["/framed"] = (
        "text/html",
        f"<!doctype html>{ASKING.format(address=stop_press.address)}<p>Framed",
    )
    page, _ = open_page(context, publisher, stop_press, "", frame)
    framed = page.frame_locator("iframe")
    expect(framed.get_by_text("Framed")).to_be_visible()
    wait_until(lambda: page.frames[1].evaluate("Boolean(window.StopPress)"))
    # It would load what shows something at once.
    assert [path for path, _ in stop_press.asked] == ["/optin.js"]
    expect(framed.locator("dialog.panel")).to_have_count(0)


# Where the panel is ------------------------------------------------------------------------------


def test_a_filter_over_the_whole_page_moves_neither_bell_nor_panel_out_of_sight(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    style = "<style>body {{ filter: grayscale(1); height: 5000px }}</style>"
    tag = PLAIN.replace("{tag}", "{tag} data-bell")
    page, _ = open_page(context, publisher, stop_press, style + tag)
    expect(page.locator("button.corner")).to_be_in_viewport(ratio=1)
    page.locator("button.corner").click()
    expect(page.locator("dialog.panel")).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0


def test_a_bell_within_a_modal_dialog_of_the_page_opens_a_panel_that_works(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    page, _ = open_page(context, publisher, stop_press, PLAIN, f"<dialog id=theirs>{BELL}</dialog>")
    expect(page.locator("button.bell")).to_have_count(1)
    page.evaluate("document.querySelector('#theirs').showModal()")
    subscribe(page)


def test_a_panel_in_a_dialog_that_the_page_closes_keeps_no_other_bell_from_opening_it(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    theirs = f"{BELL}<dialog id=theirs>{BELL}</dialog>"
    page, _ = open_page(context, publisher, stop_press, PLAIN, theirs)
    page.evaluate("document.querySelector('#theirs').showModal()")
    page.locator("dialog button.bell").click()
    expect(page.locator("dialog.panel")).to_be_visible()
    page.evaluate("document.querySelector('#theirs').close()")
    subscribe(page)


@pytest.mark.soak
@pytest.mark.parametrize(
    "gone",
    [
        "theirs.append(ours), theirs.showModal(), requestAnimationFrame(() => theirs.close())",
        "ours.remove()",
    ],
    ids=["moved it into a dialog and closed that", "removed it"],
)
def test_another_tab_asks_once_a_page_has(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, gone: str
) -> None:
    first, _ = open_page(context, publisher, stop_press, ASKING, "<dialog id=theirs></dialog>")
    expect(first.locator("dialog.panel")).to_be_visible()
    first.evaluate(
        "([ours, theirs] = ['html > div', '#theirs'].map((one) => document.querySelector(one)),"
        f" {gone}, 0)"
    )
    wait_for_page(first, "JSON.parse(localStorage['stop-press-asked']).open === 0")
    second, _ = open_page(context, publisher, stop_press, ASKING)
    expect(second.locator("dialog.panel")).to_be_visible()


def test_a_place_that_another_script_has_closed_keeps_no_other_bell_away(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    context.add_init_script("""customElements.define("my-x", class extends HTMLElement {
      constructor() { super(); this.attachShadow({ mode: "closed" }); }
    });""")
    theirs = "<my-x data-stop-press=bell></my-x>"
    page, said = open_page(context, publisher, stop_press, PLAIN, theirs + BELL)
    expect(page.locator("button.bell")).to_be_visible()
    assert "another script has given this place a shadow root" in " ".join(said)


def test_the_script_of_two_bells_is_fetched_once(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    fetched: list[str] = []
    context.on("request", lambda one: fetched.append(f"{one.resource_type} {one.url}"))
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL + BELL)
    expect(page.locator("button.bell")).to_have_count(2)
    looks = [one for one in fetched if one.startswith("fetch ") and one.endswith("/look.js")]
    assert len(looks) == 1


# Old libraries, strange browsers -----------------------------------------------------------------

CHANGED = {
    "a Promise of an old library": "window.Promise = class extends Promise {};"
    "Promise.allSettled = Promise.any = undefined;",
    "a time zone that the browser does not know": "const { DateTimeFormat } = Intl;"
    "Intl.DateTimeFormat = function (...given) {"
    " if (!given.length) throw new RangeError('Unsupported time zone specified undefined');"
    " return new DateTimeFormat(...given); };",
    **{
        f"the language {name}": "Object.defineProperty(Navigator.prototype, 'languages',"
        f" {{ get: () => ['{name}', 'en'] }});"
        for name in ("en-", "en-US-", "en*", "en-US-x", "en_US", "fil")
    },
}


@pytest.mark.parametrize("changed", cases(CHANGED, most=2))
def test_a_reader_subscribes_and_leaves_whatever_the_browser_says(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, changed: str
) -> None:
    context.add_init_script(f"{{ {changed} }}")
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    subscribe(page)
    expect(page.locator("dialog.panel button.more")).to_be_visible()  # below the thanks
    expect(page.locator("dialog.panel [role=alert]")).to_have_count(0)
    assert page.evaluate("StopPress.leave().then(() => 'left', String)") == "left"
    assert page.evaluate("localStorage['stop-press']") == "{}"
    assert stop_press.store.subscriptions.count() == 0


OWN_NAMES = {
    "an address called URL": "var URL = 'https://paper.example/';",
    "a namespace called URL": "const URL = { home: '/' };",
    "a class called Notification": "class Notification {}",
}


@pytest.mark.parametrize("script", cases(OWN_NAMES, most=1))
def test_a_pages_own_variables_may_have_names_of_the_browsers(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, script: str
) -> None:
    page, said = open_page(
        context, publisher, stop_press, PLAIN, f"{BELL}<script>{script}</script>"
    )
    subscribe(page)
    expect(page.locator("dialog.panel button.more")).to_be_visible()  # below the thanks
    assert page.evaluate("StopPress.leave().then(() => 'left', String)") == "left"
    assert stop_press.store.subscriptions.count() == 0
    assert said == []


@pytest.mark.parametrize("replaced", cases({"function": "function () {}", "none": "{}"}, most=1))
def test_a_page_without_the_browsers_notifications_says_so_and_loses_no_reader(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress, replaced: str
) -> None:
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    subscribe(page)
    kept = page.evaluate("localStorage['stop-press']")
    body = f"{BELL}<script>window.Notification = {replaced};</script>"
    page, said = open_page(context, publisher, stop_press, PLAIN, body)
    wait_for_page(page, "window.StopPress")
    visit_over(page)
    assert page.evaluate("localStorage['stop-press']") == kept
    assert stop_press.store.subscriptions.count() == 1
    assert [line for line in said if "window.Notification" in line] == [
        "Stop Press: a script of this page has replaced window.Notification"
    ]


def test_a_pause_is_saved_where_the_page_writes_dates_in_its_own_way(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    # Prototype 1.6 quotes a date that JSON.stringify quotes again.
    context.add_init_script('Date.prototype.toJSON = function () { return `"${+this}"`; };')
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    subscribe(page)
    panel = page.locator("dialog.panel")
    panel.locator("button.more").click()
    panel.get_by_role("combobox", name="Pause").select_option(index=3)
    panel.locator("button.save").click()
    expect(panel.get_by_text("Saved.")).to_be_visible()


def test_a_topic_that_was_deleted_under_the_open_question_costs_no_reader(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    for slug in ("world", "sport"):
        stop_press.store.topics.add(Topic(slug, slug.title(), default=True))
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    page.locator("button.bell").click()
    yes = page.locator("dialog.panel button.yes")
    expect(yes).to_be_visible()
    stop_press.store.topics.remove("world")
    yes.click()
    wait_for_page(page, "window.StopPress.state().subscribed")
    assert page.evaluate("StopPress.state().topics") == ["sport"]


def test_a_worker_that_another_part_of_the_page_registers_just_now_is_waited_for(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    publisher.slow["/alerts.js"] = threading.Event()
    page.evaluate("void navigator.serviceWorker.register('/alerts.js')")
    wait_until(lambda: "/alerts.js" in publisher.requested)
    page.locator("button.bell").click()
    wait_until(lambda: 200 in timers(page))  # the page has seen it, still without a worker
    publisher.slow["/alerts.js"].set()
    expect(page.locator("dialog.panel button.yes")).to_be_visible()


def test_a_browser_that_clears_all_of_a_sites_data_under_an_open_page_ends_the_alerts(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    """Chromium tells the page of its storage before it has ended workers and subscriptions."""
    context.add_init_script("window.testPatience = 1")
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    subscribe(page)
    page.evaluate(
        """Promise.all([navigator.serviceWorker.getRegistrations(),
          PushManager.prototype.getSubscription()]).then(([all, subscription]) => {
          let there = all; // for a second longer than the storage
          ServiceWorkerContainer.prototype.getRegistrations = async () => there;
          PushManager.prototype.getSubscription = async () => subscription;
          addEventListener("storage", () => setTimeout(() => (there = []), 1000));
          addEventListener("stoppress:change", () => (window.changed = true));
        })"""
    )
    disk = context.new_cdp_session(page)
    everything = {"origin": publisher.origin, "storageTypes": "all"}
    disk.send("Storage.clearDataForOrigin", everything)
    wait_for_page(page, "window.changed")
    visit_over(page)
    assert page.evaluate("localStorage['stop-press'] ?? null") is None


def test_a_page_that_counts_what_a_reader_did_goes_on_where_the_script_is_blocked(
    context: BrowserContext, publisher: Publisher, stop_press: StopPress
) -> None:
    page, _ = open_page(context, publisher, stop_press, PLAIN, BELL)
    wait_for_page(page, "window.StopPress")
    context.route("**/converted.js", lambda route: route.abort())
    assert page.evaluate("StopPress.converted('subscription').catch(String)") is False


# What a publisher writes wrongly -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "said_of_it"),
    [
        ('data-ask="manual" data-scope="http://"', "data-scope is no address"),
        ('data-ask="click" data-ask-on="[["', "data-ask-on is no selector"),
        ('data-ask="manual" data-retire="/alerts.js?v=2"', "data-retire is our own worker"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_and_the_bell_works(
    context: BrowserContext,
    publisher: Publisher,
    stop_press: StopPress,
    attribute: str,
    said_of_it: str,
) -> None:
    tag = PLAIN.replace("{tag}", f'data-worker="/alerts.js" {attribute}')
    page, said = open_page(context, publisher, stop_press, tag, BELL)
    subscribe(page)
    said.clear()
    page.reload()
    wait_until(lambda: page.evaluate("1") and said_of_it in " ".join(said))
    wait_for_page(page, "window.StopPress")
    visit_over(page)
    assert page.evaluate("StopPress.state().subscribed")
