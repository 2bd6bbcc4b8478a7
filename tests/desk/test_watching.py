"""What an alert's page says and does while it is sent, and afterwards."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.domain import receipts
from service.model.notifications import Outcome, State
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from service.store.push_services import Pace, Rest
from tests.support.desk_pages import correct, post, publish, send_all, words


def test_while_it_is_sent_the_page_follows_it_and_when_it_is_over_it_loads_the_report(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    assert "every 1s" in editor.get(f"/desk/alerts/{id}").text
    assert "HX-Refresh" not in editor.get(f"/desk/alerts/{id}/progress").headers
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): 40})
    text = re.sub(r"<[^>]+>|\s+", " ", editor.get(f"/desk/alerts/{id}/progress").text)
    assert re.search(r" 40 +of +100 +browsers handed over so far", text)
    assert "40 % done" in text

    runtime.publishing.cancel(id)
    over = editor.get(f"/desk/alerts/{id}/progress")
    assert over.headers["HX-Refresh"] == "true"
    assert "every 1s" not in editor.get(f"/desk/alerts/{id}").text


def test_every_outcome_is_said_in_plain_words_and_they_add_up(
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
        runtime.receipts.count([(id, SubscriptionId(0, number), "shown")], kept_days=1)
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
    assert "Shown by 30 browsers" in re.sub(r"<[^>]+>", "", page)
    assert "delivered" not in page


def test_of_a_large_audience_what_was_shown_is_said_with_how_sure_it_is(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 25)
    id = publish(runtime)
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): readers})
    for number in range(10):
        for event in ("shown", "clicked"):
            receipt = (id, SubscriptionId(0, number), event)
            runtime.receipts.count([receipt], kept_days=1)
    page = re.sub(r"<[^>]+>", "", editor.get(f"/desk/alerts/{id}").text)
    assert "Shown by about 40 (± 20) browsers, clicked in 10" in page
    assert "Of so many, 25&nbsp;% tell what they showed" in page


def test_cancelling_stops_it_and_counts_the_rest_as_cancelled(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert post(editor, f"{page}/cancel", page=page).location == page
    assert runtime.publishing.get(id).state is State.CANCELLED
    runtime.dispatch.advance(id)
    again = post(editor, f"{page}/cancel", page=page)
    assert again.status_code == 409
    assert "already cancelled" in again.text
    assert "Cancelled after" in again.text
    assert "cancelled" in editor.get("/desk/").text


def test_a_paused_alert_says_that_its_time_runs_on_and_can_be_resumed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert "Its time runs on" not in editor.get(page).text
    assert post(editor, f"{page}/pause", page=page).location == page
    assert runtime.publishing.get(id).state is State.PAUSED
    paused = words(editor.get(page).text)
    until = FILTERS["utc"](runtime.publishing.get(id).deadline)
    assert f"Paused. Its time runs on: good until {until}." in paused
    assert "Pause " not in paused
    assert "a second" not in words(editor.get(f"{page}/progress").text)

    again = post(editor, f"{page}/pause", page=page)
    assert again.status_code == 409
    assert "already paused; it cannot be paused" in again.text
    assert "Its time runs on" in again.text, "it is shown as it is"

    assert post(editor, f"{page}/resume", page=page).location == page
    assert runtime.publishing.get(id).state is State.SENDING
    assert "Resume" not in editor.get(page).text
    again = post(editor, f"{page}/resume", page=page)
    assert again.status_code == 409
    assert "it cannot be resumed" in again.text


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_what_is_over_has_no_buttons_and_takes_none(
    editor: FlaskClient, runtime: Runtime, readers: int, action: str
) -> None:
    id = publish(runtime)
    runtime.publishing.cancel(id)
    page = f"/desk/alerts/{id}"
    assert f'action="{page}' not in editor.get(page).text
    answer = post(editor, f"{page}/{action}", page=page)
    assert answer.status_code == 409
    assert "already cancelled" in answer.text
    assert post(editor, f"/desk/alerts/9999/{action}", page=page).status_code == 404


def test_a_page_that_was_opened_before_somebody_paused_or_corrected_it_is_loaded_anew(
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
    runtime.publishing.pause(id)
    assert editor.get(before).headers["HX-Refresh"] == "true"
    paused = follow()
    assert "HX-Refresh" not in editor.get(paused).headers
    correct(editor, id)
    assert editor.get(paused).headers["HX-Refresh"] == "true"


def test_what_keeps_readers_waiting_is_said_in_plain_words(
    runtime: Runtime, readers: int, editor: FlaskClient
) -> None:
    id, origin, now = publish(runtime), "https://push.example", time.time()
    runtime.dispatch.plan(runtime.publishing.get(id))
    services, path = runtime.store.services, f"/desk/alerts/{id}/progress"
    services.rest(origin, Rest(1, now, now + 60, "no answer"))
    assert "Another push service does not answer: it is tried again at" in editor.get(path).text
    services.recovered(origin)
    services.rest(origin, Rest(1, now, now + 60, "credentials"))
    assert "does not accept our signature (VAPID)" in editor.get(path).text
    services.recovered(origin)
    services.pace(origin, Pace(1000, now))
    page = editor.get(path).text
    assert "Another push service takes 1,000 a minute from us at present." in page
    assert "100 browsers wait; the last one has it about" in page
