"""What the desk says and does about what is held until its readers wake."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.model.clocks import QUARTER
from service.model.notifications import State
from service.runtime import Runtime
from tests.support.desk_pages import Page, correct, filled, post, publish, words
from tests.support.night import bring, hold

EARLY = int(time.time()) // QUARTER + 20
LATE = EARLY + 8


@pytest.fixture
def held(runtime: Runtime, readers: int) -> int:
    """An alert that 60 of 100 browsers have; 30 wake early, 10 late."""
    id = publish(runtime, title="Ferry aground")
    hold(runtime, id, {EARLY: 30, LATE: 10})
    return id


def clock(quarter: int) -> str:
    return FILTERS["utc"](quarter * QUARTER)


def test_the_page_of_what_is_sent_says_who_waits_until_when(editor: FlaskClient, held: int) -> None:
    said = words(editor.get(f"/desk/alerts/{held}").text)
    assert "40 browsers had quiet hours when it was sent." in said
    assert (
        f"40 browsers still wait, the first until {clock(EARLY)}, the last until {clock(LATE)}."
        in said
    )
    assert re.search(r"held until their quiet hours end 40 ", said)


def test_the_list_says_how_many_wait_until_when(editor: FlaskClient, held: int) -> None:
    assert f"sent 40 held until {clock(LATE)} 100 60 " in words(editor.get("/desk/").text)


def test_while_readers_wake_the_page_follows_and_is_loaded_anew_when_nobody_waits_any_more(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = editor.get(f"/desk/alerts/{held}").text
    found = re.search(r'hx-get="([^"]+)"\s+hx-trigger="every 20s"', page)
    assert found
    progress = editor.get(found[1])
    assert "40 browsers still wait" in words(progress.text)
    assert "HX-Refresh" not in progress.headers
    bring(runtime, EARLY, held)
    progress = editor.get(found[1])
    assert "10 browsers still wait" in words(progress.text)
    assert "HX-Refresh" not in progress.headers
    bring(runtime, LATE, held)
    assert editor.get(found[1]).headers["HX-Refresh"] == "true"
    assert "hx-trigger" not in editor.get(f"/desk/alerts/{held}").text
    assert "held until" not in words(editor.get("/desk/").text)


def test_in_the_morning_it_says_what_came_of_them_and_all_of_it_adds_up(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    other = publish(runtime, title="Storm warning")
    hold(runtime, other, {EARLY: 30})
    early = bring(runtime, EARLY, held, other)
    page = editor.get(f"/desk/alerts/{held}").text
    said = words(page)
    assert f"10 browsers still wait until {clock(LATE)}." in said
    assert "30 browsers have it since, together with other alerts as “While you slept”" in said
    late = bring(runtime, LATE, held)
    page = editor.get(f"/desk/alerts/{held}").text
    said = words(page)
    assert "still wait" not in said
    assert "40 browsers have it since, 30 of them together with other alerts" in said
    assert f"{clock(EARLY)}: 30 browsers" in said
    assert f"{clock(LATE)}: 10 browsers" in said
    assert re.findall(r'/desk/alerts/(\d+)">\s*<time', page) == [str(early), str(late)]
    assert "100 of 100 browsers handed over" in said
    assert "Withdraw" not in said
    listed = words(editor.get("/desk/").text)
    assert "While you slept" not in listed
    assert re.search(r"Ferry aground everyone .* 100 100 ", listed)


def test_the_page_of_a_wave_says_what_it_brought(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    wave = bring(runtime, EARLY, held)
    page = editor.get(f"/desk/alerts/{wave}").text
    assert "What it brought" in page
    assert f'href="/desk/alerts/{held}">Ferry aground</a>' in page
    said = words(page)
    assert "Ferry aground: 30 browsers" in said
    assert "Held for the night" not in said


def test_what_is_held_is_withdrawn_by_two_clicks_and_the_page_says_so(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = f"/desk/alerts/{held}"
    said = words(editor.get(page).text)
    assert "Browsers for which it is still held never get it; those that have it keep it." in said
    assert "Withdraw this alert" in said
    assert "Pause" not in said
    assert post(editor, f"{page}/cancel", page=page).location == page
    assert runtime.publishing.get(held).state is State.CANCELLED
    said = words(editor.get(page).text)
    assert re.search(r"Sent in [\d.]+ s, then withdrawn", said)
    assert "40 browsers will not get it: it was withdrawn." in said
    assert "Withdraw this alert" not in said
    assert "withdrawn" in words(editor.get("/desk/").text)
    again = post(editor, f"{page}/cancel", page=page)
    assert (again.status_code, "already cancelled" in again.text) == (409, True)


def test_a_correction_may_be_for_those_alone_who_are_still_asleep(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    page = f"/desk/alerts/{held}/correct"
    form = editor.get(page).text
    said = words(form)
    assert (
        "60 browsers have it; 40 more get it when their quiet hours end, with the new words."
        in said
    )
    assert 'value="leave"' in form
    before = filled(form)
    assert correct(editor, held, reached="leave").location == f"/desk/alerts/{held}"
    (id,) = runtime.publishing.get(held).corrections
    assert runtime.publishing.progress(id).recipients == 0
    assert runtime.publishing.get(held).text.title == "Ferry afloat"

    runtime.publishing.cancel(held)
    late = editor.post(page, data={**before, "title": "Ferry in port", "reached": "leave"})
    assert late.status_code == 409
    assert "can only be replaced" in late.text
    assert 'value="leave"' not in editor.get(page).text


def test_pages_about_what_is_held_are_well_made(
    editor: FlaskClient, runtime: Runtime, held: int
) -> None:
    pages = [f"/desk/alerts/{held}", f"/desk/alerts/{held}/correct"]
    texts = [editor.get(page).text for page in pages]
    wave = bring(runtime, EARLY, held)
    texts += [editor.get(page).text for page in (*pages, f"/desk/alerts/{wave}", "/desk/")]
    for text in texts:
        assert Page(text).headings == 1
