"""Browser, page and service agree on whether a reader is subscribed, whatever fails, in Firefox.

See also `test_page_views.py` (lost subscriptions, cleared storage, a withdrawn permission) and
`test_keys.py` (a changed VAPID key).
"""

from __future__ import annotations

import pytest

from service.model.keys import VapidKey
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox, Tab
from tests.support.browser.publisher_site import Publisher, readers, registered, settled, subscribe
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.short_forms import cases

pytestmark = pytest.mark.browser

SUBSCRIPTION = (
    "navigator.serviceWorker.getRegistration('/').then((one) => one?.pushManager.getSubscription())"
)
STUCK = "(PushSubscription.prototype.unsubscribe = () => Promise.reject(new Error('stuck')), true)"
MESSAGE = """[...document.querySelectorAll("*")]
  .map((one) => one.shadowRoot?.querySelector("[role=alert]")?.textContent).find(Boolean)"""

# Asks for this site's registration again and again, and records what its worker is.
LOOK = """(window.seen = new Set(), setInterval(async () => {
  const { active } = await navigator.serviceWorker.getRegistration("/");
  seen.add(active?.state ?? "none");
}, 5), 0)"""


@pytest.fixture
def tab(installation: Installation, page: str, firefox: Firefox) -> Tab:
    """The page of a subscriber, with a running worker and clock."""
    installation.worker()
    installation.clock()
    tab = firefox.open(page)
    subscribe(tab)
    return tab


def let_subscriptions_age(installation: Installation) -> None:
    """If the push service does not know a subscription, end it at once.

    A subscription that is only minutes old would be tried again for minutes.
    """
    redis = installation.runtime.store.redis
    for key in redis.scan_iter("*:young"):
        redis.delete(key)


def nothing_comes(installation: Installation, desktop: Desktop) -> bool:
    """Publish to everyone; return whether no notification is shown."""
    let_subscriptions_age(installation)
    installation.over(installation.publish(title="Never to be seen"))
    return desktop.forget() == []


@pytest.mark.soak
def test_two_tabs_that_notice_a_lost_subscription_renew_it_once(
    installation: Installation,
    page: str,
    firefox: Firefox,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    installation.worker()
    installation.clock()
    tabs = [firefox.open(page), firefox.open(page)]
    first = subscribe(tabs[0])
    known = len(registered(installation, push_service))
    push_service.forget_browsers()
    # The worker subscribes again by itself.
    wait_until(lambda: len(registered(installation, push_service)) > known)

    for tab in tabs:
        tab.evaluate("(window.mended = StopPress.refresh(), true)")
    for tab in tabs:
        tab.evaluate("mended")

    states = [tab.evaluate("StopPress.state()") for tab in tabs]
    assert states[0] == states[1]
    assert states[0]["id"] != first["id"]
    assert states[0]["topics"] == first["topics"]
    assert readers(installation) == 1
    installation.over(installation.publish(title="Once"))
    assert desktop.wait_for_notification().title == "Once"
    assert desktop.forget() == []


def test_two_tabs_that_subscribe_at_once_are_one_reader(
    installation: Installation, page: str, firefox: Firefox
) -> None:
    tabs = [firefox.open(page), firefox.open(page)]
    for tab in tabs:
        tab.wait_until("window.StopPress && true")
        tab.evaluate("(StopPress.ask(), true)")
        tab.wait_until(
            "[...document.querySelectorAll('*')].some((one) =>"
            " one.shadowRoot?.querySelector('button.yes'))"
        )
    # At the same moment: an answer in one tab closes the panel of the other.
    press = """[...document.querySelectorAll("*")]
      .map((one) => one.shadowRoot?.querySelector("button.yes")).find(Boolean)?.click()"""
    at = tabs[0].evaluate("Date.now() + 500")
    for tab in tabs:
        tab.evaluate(f"(setTimeout(() => {press}, {at} - Date.now()), true)")
    for tab in tabs:
        tab.wait_until("StopPress.state().subscribed")
    states = [tab.evaluate("StopPress.state()") for tab in tabs]
    assert states[0] == states[1]
    assert readers(installation) == 1


def test_subscribing_while_the_service_is_down_says_so_and_leaves_nothing(
    installation: Installation, page: str, firefox: Firefox, push_service: PushService
) -> None:
    tab = firefox.open(page)
    tab.wait_until("window.StopPress && true")
    tab.evaluate("StopPress.ask().then(() => true)")
    installation.end(installation.processes[0])
    tab.click("button.yes")
    assert "Nothing was stored" in tab.wait_until(MESSAGE)
    wait_until(lambda: tab.evaluate(SUBSCRIPTION) is None)
    made = registered(installation, push_service)
    wait_until(lambda: made[-1].unsubscribed)
    assert not tab.evaluate("StopPress.state().subscribed")
    installation.web()
    tab.click("button.yes")
    tab.wait_until("StopPress.state().subscribed")
    assert readers(installation) == 1


@pytest.mark.soak
def test_leaving_while_the_service_is_down_is_finished_on_the_next_visit(
    installation: Installation, page: str, tab: Tab, desktop: Desktop
) -> None:
    installation.end(installation.processes[0])
    tab.evaluate("StopPress.leave().then(() => true)")
    assert not tab.evaluate("StopPress.state().subscribed")
    assert nothing_comes(installation, desktop)
    installation.web()
    tab.go(page)
    wait_until(lambda: readers(installation) == 0)
    tab.go(page)
    assert settled(tab)
    assert tab.evaluate(f"[StopPress.state().subscribed, await {SUBSCRIPTION}]") == [False, None]


@pytest.mark.parametrize(
    "forgetful", cases({"storage cleared": True, "storage kept": False}, most=1)
)
def test_leaving_while_the_browser_is_stuck_ends_the_alerts_for_good(
    installation: Installation, page: str, tab: Tab, desktop: Desktop, forgetful: bool
) -> None:
    tab.evaluate(STUCK)
    tab.evaluate("StopPress.leave().then(() => true)")
    assert readers(installation) == 0
    assert tab.evaluate(SUBSCRIPTION) is not None
    tab.evaluate("StopPress.refresh().then(() => true)")
    assert readers(installation) == 0
    assert nothing_comes(installation, desktop)
    if forgetful:
        tab.evaluate("(localStorage.clear(), true)")
    tab.go(page)
    wait_until(lambda: tab.evaluate(SUBSCRIPTION) is None)
    assert settled(tab)
    assert readers(installation) == 0
    assert not tab.evaluate("StopPress.state().subscribed")


@pytest.mark.soak
def test_leaving_while_both_fail_is_finished_on_the_next_visit(
    installation: Installation, page: str, tab: Tab, desktop: Desktop
) -> None:
    tab.evaluate(STUCK)
    installation.end(installation.processes[0])
    assert tab.evaluate("StopPress.leave().then(() => 'left', ({ kind }) => kind)") == "offline"
    assert not tab.evaluate("StopPress.state().subscribed")
    installation.web()
    tab.go(page)
    wait_until(lambda: readers(installation) == 0)
    wait_until(lambda: tab.evaluate(SUBSCRIPTION) is None)
    assert nothing_comes(installation, desktop)


@pytest.mark.soak
def test_a_restored_permission_brings_no_alerts_without_another_yes(
    installation: Installation,
    page: str,
    tab: Tab,
    publisher: Publisher,
    firefox: Firefox,
    desktop: Desktop,
) -> None:
    firefox.allow_notifications(publisher.origin, "denied")
    tab.go(page)
    wait_until(lambda: readers(installation) == 0)
    firefox.allow_notifications(publisher.origin)
    for _ in range(2):
        tab.go(page)
        assert settled(tab)
    assert not tab.evaluate("StopPress.state().subscribed")
    assert readers(installation) == 0
    assert nothing_comes(installation, desktop)
    subscribe(tab)
    assert readers(installation) == 1


def test_clearing_the_sites_data_ends_the_alerts_until_another_yes(
    installation: Installation,
    page: str,
    tab: Tab,
    publisher: Publisher,
    desktop: Desktop,
    push_service: PushService,
) -> None:
    (first,) = registered(installation, push_service)
    publisher.headers = {"Clear-Site-Data": '"storage"'}
    tab.go(page)
    wait_until(lambda: first.unsubscribed)
    publisher.headers = {}
    tab.go(page)
    assert settled(tab)
    assert tab.evaluate(f"[StopPress.state().subscribed, await {SUBSCRIPTION}]") == [False, None]
    subscribe(tab)
    let_subscriptions_age(installation)
    id = installation.publish(title="Once")
    installation.over(id)
    # Either this alert or the first subscription's own test found that one gone.
    assert installation.outcomes(id)["accepted"] == 1
    assert desktop.wait_for_notification().title == "Once"
    assert desktop.forget() == []


CLEARED = {
    "all": "localStorage.clear()",
    "one by one": "Object.keys(localStorage).forEach((one) => localStorage.removeItem(one))",
}


@pytest.mark.parametrize("clear", cases(CLEARED, most=2))
def test_a_site_that_clears_its_storage_in_another_tab_makes_nobody_leave(
    installation: Installation, page: str, tab: Tab, firefox: Firefox, clear: str
) -> None:
    """Sites do when a reader signs out."""
    before = tab.evaluate("StopPress.state()")
    tab.evaluate(
        "(window.states = [], addEventListener('stoppress:change',"
        " ({ detail }) => states.push(detail)), true)"
    )
    firefox.open(page).evaluate(f"({clear}, true)")
    tab.wait_until("states.length > 0")
    assert tab.evaluate("StopPress.state()") == before
    assert all(one == before for one in tab.evaluate("states"))
    assert readers(installation) == 1


def test_preferences_are_saved_though_the_page_has_cleared_its_storage(
    installation: Installation, tab: Tab
) -> None:
    tab.evaluate("(StopPress.ask(), true)")
    tab.click("button.more")
    tab.click("input[value=sport]")
    tab.evaluate("(localStorage.clear(), true)")
    tab.click("button.save")
    tab.wait_until("StopPress.state().topics.includes('sport')")
    assert sorted(tab.evaluate("StopPress.state().topics")) == ["sport", "world"]
    assert readers(installation) == 1


def test_a_subscription_of_another_service_is_left_alone(
    installation: Installation, page: str, firefox: Firefox
) -> None:
    tab = firefox.open(page)
    tab.wait_until("window.StopPress && true")
    other = list(VapidKey.generate().public)
    theirs = tab.evaluate(
        "navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready)"
        ".then(({ pushManager }) => pushManager.subscribe({ userVisibleOnly: true,"
        f" applicationServerKey: new Uint8Array({other}) }})).then(({{ endpoint }}) => endpoint)"
    )
    tab.go(page)
    assert settled(tab)
    assert tab.evaluate(f"{SUBSCRIPTION}.then(({{ endpoint }}) => endpoint)") == theirs
    assert readers(installation) == 0


def test_a_page_keeps_its_worker_when_firefox_looks_for_garbage(
    page: str, firefox: Firefox
) -> None:
    """Where it did not, it waited in vain for the worker, and its reader was not asked."""
    tab = firefox.open(page)
    registered = "navigator.serviceWorker.register('/sw.js')"
    tab.evaluate(f"{registered}.then(() => navigator.serviceWorker.ready).then(() => 0)")
    tab.go(page)
    assert settled(tab)
    tab.evaluate(LOOK)
    for _ in range(5):
        tab.evaluate("(window.garbage = new WeakRef({}), 0)")
        firefox.collect_garbage()
        tab.wait_until("!garbage.deref()")
    seen = tab.evaluate("[...seen]")
    assert seen and "none" not in seen
