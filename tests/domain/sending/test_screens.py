"""How soon alerts are on screens: counted once a browser, and beside the promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.domain.sending.receipts import Report
from service.model.notifications import Audience, Outcome
from service.model.operations import screen
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.desk.pages import send_all
from tests.support.processes.installation import content
from workers.clock import _duties

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("one_partition")]


class Sent:
    """An alert that was sent to six readers, and what they report of it."""

    def __init__(self, client: Client, patch: pytest.MonkeyPatch) -> None:
        self.client, self.runtime, self._patch = client, client.runtime, patch
        self.readers = [Reader(client, number) for number in range(6)]
        publishing = self.runtime.publishing
        self.id = publishing.publish(content(), Audience(everyone=True), by="a test").id
        self.began = publishing.get(self.id).started_at or 0.0
        send_all(self.runtime, self.id, {(Outcome.ACCEPTED, "google"): 6})
        self.runtime.promises.measure()

    def after(self, seconds: float) -> None:
        """Let it be so many seconds after the alert began."""
        self._patch.setattr(clock, "time", lambda: self.began + seconds)

    def report(self, number: int, event: str = "shown", **more: Any) -> None:
        """Let a browser report, as its service worker does."""
        reader = SubscriptionId.parse(self.readers[number].id)
        token = self.runtime.tokens.receipt(self.id, reader)
        receipt = {"token": token, "event": event, **more}
        answer = self.client.call("POST", f"{API}/receipts", {"receipts": [receipt]})
        assert answer.status_code == 204, answer.text

    def shown(self) -> Any:
        """What the API says of screens."""
        token = self.client.add_token("a CMS", ["read"])
        answer = self.client.call("GET", f"{NOTIFICATIONS}/{self.id}", token=token)
        return answer.json["progress"]["on_screen"]  # type: ignore[index]

    def figure(self, name: str, **labels: str) -> float:
        """A figure as Prometheus gets it."""
        self.runtime.counting.add_to(self.runtime.store.counted)
        token = self.client.add_token("p", ["read"])
        families = text_string_to_metric_families(
            self.client.call("GET", "/metrics", token=token).text
        )
        rows = [one for family in families for one in family.samples if one.labels == labels]
        (found,) = [one.value for one in rows if one.name == f"stoppress_{name}"]
        return found


@pytest.fixture
def sent(client_with: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(client_with(PROMISE="90% in 45s"), monkeypatch)


def test_each_browser_counts_once_by_our_clock_and_sleepers_count_apart(sent: Sent) -> None:
    assert sent.shown() is None
    sent.after(12)
    sent.report(0, seconds_ago=2.5)
    sent.after(50)
    sent.report(0, seconds_ago=40)  # once more, after an answer that was lost
    sent.report(1, seconds_ago=6)
    sent.report(2, seconds_ago=0)
    sent.after(9000)
    sent.report(3, seconds_ago=3)  # the phone was off
    assert sent.shown() == {
        "seconds": 45,
        "percent": 66,
        "error": pytest.approx(27.2, abs=0.1),
        "browsers": 3,
        "patience": 600,
        "later": 1,
        "up_to": {"10": 1, "45": 2, "60": 3, "14400": 4},
    }
    assert sent.figure("publish_to_screen_seconds_count") == 4
    assert sent.figure("publish_to_screen_seconds_bucket", le="60.0") == 3
    assert sent.figure("publish_to_screen_seconds_sum") == pytest.approx(9.5 + 44 + 50 + 8997)


def test_nonsense_costs_no_receipt_and_gives_no_time(sent: Sent) -> None:
    sent.after(12)
    for number, said in enumerate((-1, 1e300, 7200, "2", [], 10**400)):
        sent.report(number, seconds_ago=said)
    assert sent.runtime.receipts.of(sent.id)["shown"] == 6
    assert sent.shown() is None
    assert sent.figure("publish_to_screen_seconds_count") == 0


def test_only_what_is_shown_has_a_time(sent: Sent) -> None:
    sent.after(12)
    sent.report(0)
    sent.report(1, "clicked", seconds_ago=2)
    sent.report(2, "dismissed", seconds_ago=2)
    assert sent.shown() is None


def test_an_alert_that_was_paused_has_no_figure(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(client, monkeypatch)
    sent.after(12)
    sent.report(0, seconds_ago=2.5)
    assert sent.shown()["percent"] == 100
    sent.runtime.store.promises.interrupted(sent.id)
    assert sent.shown() is None


@pytest.mark.parametrize(("awake", "kept"), [(3, "no"), (6, "yes")])
def test_after_ten_minutes_the_clock_counts_once_whether_the_promise_holds_on_screens(
    sent: Sent, monkeypatch: pytest.MonkeyPatch, awake: int, kept: str
) -> None:
    monkeypatch.setattr(screen, "FEWEST", 6)
    for number in range(6):
        sent.after(20 if number < awake else 300)
        sent.report(number, seconds_ago=1)

    def clock_looks() -> None:
        sent.runtime.screens._decided.clear()  # as another clock would
        for do in _duties(sent.runtime):
            do()

    sent.after(599)
    clock_looks()
    assert sent.figure("screen_promises_total", kept=kept) == 0
    for later in (620, 640):
        sent.after(later)
        clock_looks()
    assert sent.figure("screen_promises_total", kept=kept) == 1
    assert sent.figure("screen_promises_total", kept="no" if kept == "yes" else "yes") == 0
    assert sent.shown()["percent"] == (100 if kept == "yes" else 50)


def test_of_few_browsers_nothing_is_decided(sent: Sent) -> None:
    sent.after(300)
    sent.runtime.receipts.count(
        [Report(sent.id, SubscriptionId.parse(sent.readers[0].id), "shown", 1.0)]
    )
    sent.after(700)
    sent.runtime.screens.decide(clock.time())
    for kept in ("yes", "no"):
        assert sent.figure("screen_promises_total", kept=kept) == 0
