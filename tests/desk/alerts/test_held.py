"""What the desk shows of alerts that are held for quiet hours, and does with them."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.model.notifications import State
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from tests.support.desk.pages import Page, correct, filled, post, publish, words
from tests.support.processes.as_workers import deliver, hold

EARLY = int(time.time()) // QUARTER + 20
LATE = EARLY + 8


@pytest.fixture
def held(runtime: Runtime, readers: int) -> int:
    """An alert that 60 of 100 browsers have; quiet hours end early for 30, late for 10."""
    id = publish(runtime, title="Ferry aground")
    hold(runtime, id, {EARLY: 30, LATE: 10})
    return id


def clock(quarter: int) -> str:
    return FILTERS["time_words"](quarter * QUARTER)


def test_the_page_of_a_sent_alert_says_how_many_wait_until_when(
    editor: FlaskClient, held: int
) -> None:
    text = words(editor.get(f"/desk/alerts/{held}").text)
    assert "40 browsers were in quiet hours when the alert was sent." in text
    assert (
        f"40 browsers are still waiting, the first until {clock(EARLY)},"
        f" the last until {clock(LATE)}." in text
    )
    assert re.search(r"held until their quiet hours end 40 ", text)


def test_the_list_says_how_many_wait_until_when(editor: FlaskClient, held: int) -> None:
    assert f"sent 40 held until {clock(LATE)} 100 60 " in words(editor.get("/desk/").text)


def test_the_page_follows_the_waves_and_reloads_after_the_last(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = editor.get(f"/desk/alerts/{held}").text
    found = re.search(r'hx-get="([^"]+)"\s+hx-trigger="every 20s"', page)
    assert found
    progress = editor.get(found[1])
    assert "40 browsers are still waiting" in words(progress.text)
    assert "HX-Refresh" not in progress.headers
    deliver(runtime, EARLY, held)
    progress = editor.get(found[1])
    assert "10 browsers are still waiting" in words(progress.text)
    assert "HX-Refresh" not in progress.headers
    deliver(runtime, LATE, held)
    assert editor.get(found[1]).headers["HX-Refresh"] == "true"
    assert "hx-trigger" not in editor.get(f"/desk/alerts/{held}").text
    assert "held until" not in words(editor.get("/desk/").text)


def test_after_quiet_hours_the_numbers_add_up(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    other = publish(runtime, title="Storm warning")
    hold(runtime, other, {EARLY: 30})
    early = deliver(runtime, EARLY, held, other)
    page = editor.get(f"/desk/alerts/{held}").text
    text = words(page)
    assert f"10 browsers are still waiting until {clock(LATE)}." in text
    assert (
        "The alert has since been handed over for 30 browsers, together with other alerts" in text
    )
    late = deliver(runtime, LATE, held)
    page = editor.get(f"/desk/alerts/{held}").text
    text = words(page)
    assert "still waiting" not in text
    assert "handed over for 40 browsers, for 30 of them together with other alerts" in text
    assert f"{clock(EARLY)}: 30 browsers" in text
    assert f"{clock(LATE)}: 10 browsers" in text
    assert re.findall(r'/desk/alerts/(\d+)">\s*<time', page) == [str(early), str(late)]
    assert "100 handed over, of 100 browsers" in text
    assert "Withdraw" not in text
    listed = words(editor.get("/desk/").text)
    assert "While you slept" not in listed
    assert re.search(r"Ferry aground Everyone .* 100 100 ", listed)


def test_the_page_of_a_wave_lists_the_held_alerts_it_sent(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    wave = deliver(runtime, EARLY, held)
    page = editor.get(f"/desk/alerts/{wave}").text
    assert "Held alerts that were handed over" in page
    assert f'href="/desk/alerts/{held}">Ferry aground</a>' in page
    text = words(page)
    assert "Ferry aground: 30 browsers" in text
    assert "Held for quiet hours" not in text


def test_a_held_alert_is_withdrawn_by_two_clicks(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = f"/desk/alerts/{held}"
    text = words(editor.get(page).text)
    assert "Browsers that are still waiting for this alert will not get it." in text
    assert "Withdraw this alert" in text
    assert "Pause" not in text
    assert post(editor, f"{page}/cancel", page=page).location == page
    assert runtime.publishing.get(held).state is State.CANCELLED
    text = words(editor.get(page).text)
    assert re.search(r"Sent in [\d.]+ seconds?, then withdrawn", text)
    assert "40 browsers will not get it, because it was withdrawn." in text
    assert "Withdraw this alert" not in text
    assert "withdrawn" in words(editor.get("/desk/").text)
    again = post(editor, f"{page}/cancel", page=page)
    assert (again.status_code, "already cancelled" in again.text) == (409, True)


def test_a_correction_can_be_for_waiting_readers_only(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = f"/desk/alerts/{held}/correct"
    form = editor.get(page).text
    text = words(form)
    assert (
        "60 browsers have the alert."
        " 40 more browsers will get it with the new text when quiet hours end." in text
    )
    assert 'value="leave"' in form
    before = filled(form)
    assert correct(editor, held, reached="leave").location == f"/desk/alerts/{held}"
    (id,) = runtime.publishing.get(held).corrections
    assert runtime.publishing.progress(id).recipients == 0
    assert runtime.publishing.get(held).text.title == "Ferry afloat"

    runtime.publishing.cancel(held, by="a test")
    late = editor.post(page, data={**before, "title": "Ferry in port", "reached": "leave"})
    assert late.status_code == 409
    assert "can only be replaced" in late.text
    assert 'value="leave"' not in editor.get(page).text


def test_pages_about_held_alerts_are_valid(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    pages = [f"/desk/alerts/{held}", f"/desk/alerts/{held}/correct"]
    texts = [editor.get(page).text for page in pages]
    wave = deliver(runtime, EARLY, held)
    texts += [editor.get(page).text for page in (*pages, f"/desk/alerts/{wave}", "/desk/")]
    for text in texts:
        assert Page(text).headings == 1
