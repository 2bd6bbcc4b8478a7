"""`subscribe()` that fails, never settles or gives an endpoint that is not for use, in Chromium.

As in test_browser_faults.py, functions in place of Chromium's own behave as other browsers do.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser.readers import (
    FOLLOW,
    PROBLEM,
    Visit,
    bell,
    choose_topics,
    come_back,
    panel,
    permission,
    run_clock,
    stop_clock,
    subscribe,
    visit_over,
)
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

FEW = '<h1>News</h1><p class="kicker">World</p>'
PAUSES_MS = (500, 2000, 5000)
# Each replaces what the browser does on `subscribe()`; `real` is what it did before.
NEVER_SETTLES = "async () => new Promise(() => {})"
# Another tab hangs and keeps the lock; and the browser does not say which subscriptions it has.
NEVER_ENDS = """() => {
  navigator.locks.request("stop-press", () => new Promise(() => {}));
  PushManager.prototype.getSubscription = () => new Promise(() => {});
}"""
FAILS = "async () => { throw new DOMException('Registration failed', %r) }"
ZOMBIE = """async function (options) {
  const made = await real.call(this, options);
  window.tried = (window.tried ?? 0) + 1;
  const endpoint = "https://permanently-removed.invalid/fcm/send/x";
  return tried > %d ? made : { ...made, endpoint };
}"""


def subscribing(page: Page, body: str) -> None:
    script = f"""(() => {{
      const real = PushManager.prototype.subscribe;
      PushManager.prototype.subscribe = {body};
    }})()"""
    page.add_init_script(script)
    page.evaluate(script)


def let_it_try_again(page: Page, times: int) -> None:
    """Advance the stopped clock over the pauses between calls of `subscribe()`."""
    for length in PAUSES_MS[:times]:
        run_clock(page, length, timer=length)


def say_yes(page: Page) -> None:
    bell(page).first.click()
    choose_topics(page, "world")
    panel(page).locator("button.yes").click()


def run_until_thanked(page: Page) -> None:
    """Advance a stopped clock until the reader is thanked.

    The page gives other subscriptions, and what it looks at aside, three seconds each. If the clock
    moved while it waits for the service, its call would end.
    """
    run_clock(page, 3000, timer=3000)
    # Besides what the page sees it tells the worker something, which has three seconds too.
    run_clock(page, 3000, timer=3000, count=2)
    expect(panel(page).get_by_role("heading").first).to_contain_text("Thank you")


def test_an_endpoint_that_is_not_for_use_is_tried_again_and_never_sent(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    subscribing(page, ZOMBIE % 2)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    stop_clock(page)
    say_yes(page)
    let_it_try_again(page, 2)
    expect(panel(page).get_by_role("heading")).to_contain_text("Thank you")
    assert page.evaluate("tried") == 3
    assert paper.runtime.store.subscriptions.count() == 1
    assert not [body for body in sent if "permanently-removed" in body]


def test_without_a_usable_endpoint_the_reader_is_told_and_may_try_again(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    subscribing(page, ZOMBIE % 4)
    stop_clock(page)
    say_yes(page)
    let_it_try_again(page, 3)
    alert = panel(page).get_by_role("alert")
    expect(alert).to_contain_text("could not reach its own push service")
    assert page.evaluate("tried") == 4, "once, and three times again"
    alert.get_by_role("button", name="Try again").click()
    expect(panel(page).get_by_role("heading")).to_contain_text("Thank you")
    assert paper.runtime.store.subscriptions.count() == 1


def test_a_lost_subscription_that_cannot_be_renewed_makes_no_call_on_each_page_view(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    subscribe(page)
    page.evaluate("localStorage.removeItem('test-push')")
    subscribing(page, ZOMBIE % 99)
    stop_clock(page)
    page.reload()
    let_it_try_again(page, 3)
    visit_over(page)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    come_back(page)
    assert not [url for url in sent if "/subscriptions" in url]
    assert not page.evaluate("window.tried"), "nor is the browser asked"
    assert page.evaluate("StopPress.state().subscribed"), "it is tried again later"


def test_a_quiet_question_is_pointed_out_and_closing_the_panel_is_no_refusal(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW)
    permission(page, "default")
    page.reload()
    subscribing(page, NEVER_SETTLES)
    stop_clock(page)
    page.locator(".kicker").first.click()
    choose_topics(page, "world")
    panel(page).locator("button.yes").click()
    hint = panel(page).get_by_role("status").last
    expect(panel(page)).to_contain_text("Now press Allow")
    run_clock(page, 8000, timer=8000)
    expect(panel(page)).to_contain_text("Your browser asks quietly")
    expect(panel(page)).not_to_contain_text("Now press Allow")
    expect(hint).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel(page)).to_have_count(0)
    assert page.evaluate("JSON.parse(localStorage['stop-press-asked']).refusals ?? 0") == 0


def test_a_subscribe_that_never_settles_is_named_and_not_called_a_question(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW)
    subscribing(page, NEVER_SETTLES)  # as while its push service is slow
    stop_clock(page)
    page.locator(".kicker").first.click()
    choose_topics(page, "world")
    panel(page).locator("button.yes").click()
    run_clock(page, 8000, timer=8000)
    page.evaluate("fetch('/texts/en/faults.json').then((response) => response.text())")
    page.evaluate("fetch('/texts/en/faults.json').then((response) => response.text())")
    expect(panel(page)).not_to_contain_text("Your browser asks quietly")
    page.clock.run_for(24_000)
    alert = panel(page).get_by_role("alert")
    expect(alert).to_contain_text("could not reach its own push service")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()


def test_a_reader_waits_for_no_promise_of_the_browser_that_never_settles(
    paper: Installation, visit: Visit
) -> None:
    page = visit()
    page.evaluate(NEVER_ENDS)
    stop_clock(page)
    is_help = lambda request: request.url.endswith("/help.js")  # noqa: E731
    with page.expect_event("requestfinished", is_help):  # else its loading would end with the clock
        say_yes(page)
    run_clock(page, 15_000, timer=15_000)  # for the lock
    run_until_thanked(page)
    panel(page).locator("button.more").click()
    panel(page).locator("button.leave").click()
    run_clock(page, 15_000, timer=15_000)
    run_clock(page, 10_000, timer=10_000)
    expect(panel(page).get_by_role("heading")).to_contain_text("You have left")
    assert paper.runtime.store.subscriptions.count() == 0


def test_a_yes_that_takes_longer_than_eight_seconds_says_so_until_the_thanks(
    visit: Visit,
) -> None:
    page = visit()
    page.evaluate(NEVER_ENDS)
    stop_clock(page)
    say_yes(page)
    run_clock(page, 8000, timer=8000)
    expect(panel(page).get_by_role("status")).to_contain_text("takes longer than usual")
    run_clock(page, 7000, timer=15_000)
    run_until_thanked(page)
    expect(panel(page)).not_to_contain_text("takes longer than usual")


def test_once_a_quiet_question_is_answered_the_reader_is_not_sent_to_it_any_more(
    visit: Visit,
) -> None:
    page = visit(script=FOLLOW)
    page.evaluate(
        """() => {
          window.permission = "default";
          Object.defineProperty(Notification, "permission", { get: () => window.permission });
        }"""
    )
    subscribing(page, NEVER_SETTLES)
    stop_clock(page)
    page.locator(".kicker").first.click()
    choose_topics(page, "world")
    panel(page).locator("button.yes").click()
    run_clock(page, 8000, timer=8000)
    expect(panel(page)).to_contain_text("Your browser asks quietly")
    page.evaluate("() => { window.permission = 'granted'; }")
    run_clock(page, 8000, timer=8000)
    expect(panel(page)).to_contain_text("takes longer than usual")
    expect(panel(page)).not_to_contain_text("Your browser asks quietly")


def test_words_about_waiting_that_come_late_are_not_shown(visit: Visit) -> None:
    page = visit()
    subscribing(page, "() => new Promise((resolve, reject) => { window.fail = reject; })")
    waiting: list[Route] = []
    page.route("**/faults.json", lambda route: waiting.append(route))
    stop_clock(page)
    say_yes(page)
    run_clock(page, 8000, timer=8000)
    wait_until(lambda: page.evaluate("1") and waiting)
    page.evaluate("() => { fail(new DOMException('', 'InvalidAccessError')); }")
    expect(panel(page).get_by_role("alert")).to_contain_text("Alerts do not work here")
    with page.expect_event("requestfinished", lambda one: one.url.endswith("/faults.json")):
        waiting[0].continue_()
    page.evaluate("fetch('/healthz').then((response) => response.text())")  # and it is read
    expect(panel(page).get_by_role("alert")).to_be_visible()
    expect(panel(page)).not_to_contain_text("takes longer than usual")


@pytest.mark.parametrize(
    ("error", "retries", "before", "says"),
    [
        ("AbortError", 3, "", "could not reach its own push service"),
        (
            "AbortError",
            0,
            "navigator.brave = { isBrave: async () => true };",
            "Use Google services for push messaging",
        ),
        ("NotAllowedError", 0, "", "your device does not let this browser show them"),
    ],
    ids=["push service", "Brave", "blocked by the system"],
)
def test_a_fault_of_the_browser_is_named_and_not_called_ours(
    paper: Installation, visit: Visit, error: str, retries: int, before: str, says: str
) -> None:
    page = visit(main=FEW)
    page.evaluate(f"() => {{ {before} }}")
    subscribing(page, FAILS % error)
    stop_clock(page)
    say_yes(page)
    let_it_try_again(page, retries)
    alert = panel(page).get_by_role("alert")
    expect(alert).to_contain_text(says)
    expect(alert).not_to_contain_text("our fault")
    page.evaluate("() => { PushManager.prototype.subscribe = () => new Promise(() => {}); }")
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_have_count(0)  # a stale message goes
    assert paper.runtime.store.subscriptions.count() == 0


def test_only_our_own_failure_is_called_our_fault(visit: Visit) -> None:
    page = visit()
    alert = panel(page).get_by_role("alert")
    statuses: list[int] = []

    def answer(route: Route) -> None:
        if statuses[-1] == 200:  # a page of a hotel's network, or of a worker of the site
            route.fulfill(content_type="text/html", body="<!doctype html><title>Sign in</title>")
        else:
            route.fulfill(status=statuses[-1], **PROBLEM)

    page.route("**/api/v1/subscriptions", answer)
    for status, says in {
        500: "that is our fault",
        503: "too busy",
        400: "at the moment",
        429: "too busy",
        200: "could not be reached",
    }.items():
        statuses.append(status)
        if len(statuses) == 1:
            say_yes(page)
        else:
            alert.get_by_role("button", name="Try again").click()
        expect(alert).to_contain_text(says)
        assert ("our fault" in alert.inner_text()) == (status == 500)
    page.unroute("**/api/v1/subscriptions")
    alert.get_by_role("button", name="Try again").click()
    expect(panel(page).get_by_role("heading")).to_contain_text("Thank you")


def test_an_unknown_push_service_is_named(paper: Installation, visit: Visit) -> None:
    page = visit()
    subscribing(
        page,
        """async function (options) {
          const made = await real.call(this, options);
          const json = { ...made.toJSON(), endpoint: "https://push.unknown.example/x" };
          return { ...made, endpoint: json.endpoint, toJSON: () => json };
        }""",
    )
    say_yes(page)
    expect(panel(page).get_by_role("alert")).to_contain_text("push service is not known here")
    assert paper.runtime.store.subscriptions.count() == 0


def test_a_worker_that_does_not_become_active_is_named_and_can_be_tried_again(
    visit: Visit,
) -> None:
    page = visit()
    stop_clock(page)
    page.evaluate(
        """() => {
          window.state = "installing";
          Object.defineProperty(ServiceWorker.prototype, "state", { get: () => window.state });
        }"""
    )
    bell(page).click()
    run_clock(page, 20_000, timer=20_000)
    expect(panel(page)).to_contain_text("has not finished setting up alerts for this page")
    page.evaluate("() => { window.state = 'activated'; }")
    panel(page).get_by_role("button", name="Try again").click()
    expect(panel(page).locator("button.yes")).to_be_visible()


@pytest.mark.soak
def test_what_comes_late_keeps_no_answer_from_the_reader(visit: Visit) -> None:
    page = visit()
    # Else what is late would fail in the end.
    endless = "AbortSignal.timeout = () => new AbortController().signal"
    page.add_init_script(endless)
    page.evaluate(f"void ({endless})")
    late: list[Route] = []
    page.route("**/help.js", lambda route: late.append(route))
    say_yes(page)
    expect(panel(page).get_by_role("heading")).to_contain_text("Thank you")

    page.reload()
    page.route("**/preferences.js", lambda route: late.append(route))
    for _ in range(2):  # the second press is no failure, and shows no empty panel
        bell(page).click()
    wait_until(lambda: page.evaluate("1") and len(late) > 1)
    expect(panel(page)).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.unroute("**/preferences.js")
    for route in late[1:]:
        route.continue_()
    expect(panel(page).locator("button.leave")).to_be_visible()
    page.route("**/api/v1/site", lambda route: late.append(route))
    page.evaluate("window.testPatience = 1")
    panel(page).locator("button.leave").click()
    expect(panel(page).get_by_role("heading")).to_contain_text("You have left")
