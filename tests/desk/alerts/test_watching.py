"""The page of an alert while it is sent, and afterwards."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.domain.sending import receipts
from service.domain.sending.receipts import Report
from service.model.notifications import Outcome, State
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from service.store.sending.push_services import Pace, Rest
from tests.support.desk.pages import correct, post, publish, send_all, words


def test_the_page_follows_the_send_and_then_loads_the_report(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    assert "every 1s" in editor.get(f"/desk/alerts/{id}").text
    assert "HX-Refresh" not in editor.get(f"/desk/alerts/{id}/progress").headers
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): 40})
    text = re.sub(r"<[^>]+>|\s+", " ", editor.get(f"/desk/alerts/{id}/progress").text)
    assert re.search(r" 40 +handed over so far, of +100 +browsers", text)
    assert "40 % done" in text

    runtime.publishing.cancel(id, by="a test")
    over = editor.get(f"/desk/alerts/{id}/progress")
    assert over.headers["HX-Refresh"] == "true"
    assert "every 1s" not in editor.get(f"/desk/alerts/{id}").text


@pytest.mark.usefixtures("one_partition")
def test_each_outcome_has_plain_words_and_they_add_up(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    outcomes = {
        (Outcome.ACCEPTED, "google"): 41,
        (Outcome.ACCEPTED, "apple"): 20,
        (Outcome.ACCEPTED, "mozilla"): 11,
        (Outcome.ACCEPTED, "microsoft"): 7,
        (Outcome.ACCEPTED, "other"): 3,
        (Outcome.GONE, "google"): 5,
        (Outcome.GONE, "mozilla"): 1,
        (Outcome.REFUSED, "google"): 2,
        (Outcome.EXPIRED, "apple"): 6,
        (Outcome.SKIPPED, "google"): 4,
    }
    send_all(runtime, id, outcomes)
    for number in range(30):
        runtime.receipts.count([Report(id, SubscriptionId(0, number), "shown")])
    page = editor.get(f"/desk/alerts/{id}").text
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td[^>]*>([\d,]+)</td>', page))
    assert rows == {
        "handed to Google": "41",
        "handed to Apple": "20",
        "handed to Mozilla": "11",
        "handed to Microsoft": "7",
        "handed to another push service": "3",
        "no longer subscribed": "6",
        "rejected by Google": "2",
        "ran out of time": "6",
        "quiet hours or limit": "4",
    }
    assert sum(map(int, rows.values())) == 100
    assert "Shown in 30 browsers" in words(page)
    assert "delivered" not in page


@pytest.mark.usefixtures("one_partition")
def test_for_a_large_audience_receipts_are_shown_with_their_error(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 25)
    id = publish(runtime)
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): readers})
    for number in range(10):
        for event in ("shown", "clicked"):
            receipt = Report(id, SubscriptionId(0, number), event)
            runtime.receipts.count([receipt])
    page = words(editor.get(f"/desk/alerts/{id}").text)
    assert "Shown in about 40 (± 20) browsers, clicked in 10" in page
    assert "In an audience of this size, 25&nbsp;% of the browsers report" in page


def test_cancelling_stops_it_and_counts_the_rest_as_cancelled(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert post(editor, f"{page}/cancel", page=page).location == page
    assert runtime.publishing.get(id).state is State.CANCELLED
    runtime.planning.advance(id)
    again = post(editor, f"{page}/cancel", page=page)
    assert again.status_code == 409
    assert "already cancelled" in again.text
    assert "Cancelled after" in again.text
    assert "cancelled" in editor.get("/desk/").text


def test_a_paused_alert_says_when_it_runs_out_and_can_be_resumed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert "runs out of time" not in editor.get(page).text
    assert post(editor, f"{page}/pause", page=page).location == page
    assert runtime.publishing.get(id).state is State.PAUSED
    paused = words(editor.get(page).text)
    until = FILTERS["time_words"](runtime.publishing.get(id).deadline)
    assert f"Paused. The alert still runs out of time at {until}." in paused
    assert "Pause " not in paused
    assert "per second" not in words(editor.get(f"{page}/progress").text)

    again = post(editor, f"{page}/pause", page=page)
    assert again.status_code == 409
    assert "already paused; it cannot be paused" in again.text
    assert "runs out of time" in again.text, "the page shows the current state"

    assert post(editor, f"{page}/resume", page=page).location == page
    assert runtime.publishing.get(id).state is State.SENDING
    assert "Resume" not in editor.get(page).text
    again = post(editor, f"{page}/resume", page=page)
    assert again.status_code == 409
    assert "it cannot be resumed" in again.text


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_finished_alert_has_no_buttons_and_refuses_them(
    editor: FlaskClient, runtime: Runtime, readers: int, action: str
) -> None:
    id = publish(runtime)
    runtime.publishing.cancel(id, by="a test")
    page = f"/desk/alerts/{id}"
    assert f'action="{page}' not in editor.get(page).text
    answer = post(editor, f"{page}/{action}", page=page)
    assert answer.status_code == 409
    assert "already cancelled" in answer.text
    assert post(editor, f"/desk/alerts/9999/{action}", page=page).status_code == 404


def test_an_open_page_reloads_after_a_pause_or_a_correction(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"

    def follow() -> str:
        found = re.search(r'hx-get="([^"]+)"', editor.get(page).text)
        assert found
        return found[1]

    before = follow()
    assert "HX-Refresh" not in editor.get(before).headers
    runtime.publishing.pause(id, by="a test")
    assert editor.get(before).headers["HX-Refresh"] == "true"
    paused = follow()
    assert "HX-Refresh" not in editor.get(paused).headers
    correct(editor, id)
    assert editor.get(paused).headers["HX-Refresh"] == "true"


def test_the_page_says_why_readers_are_waiting(
    runtime: Runtime, readers: int, editor: FlaskClient
) -> None:
    id, origin, now = publish(runtime), "https://push.example", time.time()
    runtime.planning.plan(runtime.publishing.get(id))
    services = runtime.store.push_services

    def page() -> str:
        return words(editor.get(f"/desk/alerts/{id}/progress").text)

    services.rest(origin, Rest(1, now, now + 60, "no answer"))
    assert "Another push service does not respond. We try again at" in page()
    services.recovered(origin)
    services.rest(origin, Rest(1, now, now + 60, "429"))
    until = FILTERS["time_words"](now + 60)
    assert f"Another push service asks us to wait until {until}. 100 browsers are" in page()
    services.recovered(origin)
    services.rest(origin, Rest(1, now, now + 60, "credentials"))
    assert "Another push service rejects our signature (VAPID)." in page()
    services.recovered(origin)
    services.pace(origin, Pace(1000, now))
    shown = page()
    assert "Another push service accepts 1,000 messages a minute at the moment." in shown
    assert "100 browsers are waiting; the last one gets the alert at about" in shown
