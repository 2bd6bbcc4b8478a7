"""Alerts that are scheduled for a time in each reader's own time zone."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.desk.words import FILTERS
from service.domain.alerts import forecast
from service.model.notifications import Content, Outcome, SendAt, State
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    Page,
    back,
    hidden_fields,
    only,
    open_form,
    review,
    send_all,
    words,
)
from tests.support.desk.planned import WORLD, confirmed, edit, go_on, opened
from tests.support.requested import requested


def wall(ahead: float) -> str:
    """The time in UTC so many seconds from now."""
    shown = datetime.now(timezone.utc) + timedelta(seconds=ahead)
    return shown.strftime("%Y-%m-%dT%H:%M")


DAY = 86_400.0  # seconds
TOMORROW = wall(DAY)
SHOWN = FILTERS["wall_time"](TOMORROW)


def local(at: str = TOMORROW, **more: Any) -> dict[str, Any]:
    """The fields of an alert for a local time, typed by an editor in Riga."""
    return {"when": "at", "at": at, "local": "yes", "zone": "Europe/Riga", **more}


@pytest.fixture
def scheduled(editor: FlaskClient, runtime: Runtime, readers: int) -> int:
    """An alert that was scheduled at the desk for a local time."""
    page = review(editor, **local())
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    return only(runtime).id


def test_a_local_time_is_confirmed_and_scheduled_once(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, **local())
    text = words(page.text)
    assert f"Notify {readers} browsers (World) on {SHOWN}, each reader’s own time?" in text
    assert f"{SHOWN} in each reader’s own time zone: the first readers get it " in text
    last = datetime.fromisoformat(TOMORROW).replace(tzinfo=timezone.utc).timestamp() + 12 * 3600
    assert f", the last ones on {FILTERS['time_words'](last)}" in text
    assert "Riga" not in text
    hidden = hidden_fields(page.text)
    first, second = (editor.post("/desk/alerts", data=hidden) for _ in range(2))
    assert first.location == second.location
    one = only(runtime)
    assert one.state is State.SCHEDULED
    first_clock = datetime.fromisoformat(TOMORROW).replace(tzinfo=timezone.utc).timestamp()
    assert one.send_at == SendAt(first_clock - 14 * 3600, wall=f"{TOMORROW}:00")
    shown = words(editor.get(first.location).text)
    assert f"Scheduled for {SHOWN} in each reader’s own time zone." in shown
    listed = words(editor.get("/desk/").text)
    assert f"{SHOWN}, each reader’s own time the first readers in" in listed
    another = words(review(editor, url=one.content.url).text)
    assert f"The same link will go out on {SHOWN}, each reader’s own time, by {EMAIL}:" in another


def test_a_local_time_that_some_clocks_have_passed_says_when_the_last_one_shows_it(
    editor: FlaskClient, readers: int
) -> None:
    soon = wall(7200)
    text = words(review(editor, **local(soon)).text)
    last = FILTERS["when"](FILTERS["last_clock"](soon), "UTC")
    assert f"the first readers get it at once, the last ones {last}" in text


def test_readers_whose_time_has_passed_are_counted_before_sending(
    editor: FlaskClient, runtime: Runtime, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.store.subscriptions.subscribe(
        requested(1, topics=frozenset({"world"}), zone="Pacific/Auckland")
    )
    soon = wall(7200)
    better = datetime.fromisoformat(soon) + timedelta(days=1)
    said = (
        f"will not get it, because {soon[11:]} has passed in {{}} time zone."
        f" Choose {better:%a %-d %b}, and nobody is missed."
    )
    few = f"1 browser {said.format('its')}"
    page = review(editor, **local(soon))
    assert f"Please check {few}" in words(page.text)
    assert f"Notify {readers + 1} browsers" in words(page.text)
    chosen = {"topic": "world", "when": "at", "at": soon, "local": "yes"}
    bar = words(editor.get("/desk/reach", query_string=chosen).text).strip()
    assert bar == f"{readers + 1} browsers in this audience. {few}"
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    assert few in words(editor.get(f"/desk/alerts/{only(runtime).id}").text)
    monkeypatch.setattr(forecast, "SAMPLE", 5)  # which leaves most readers out
    some = words(review(editor, **local(soon)).text)
    assert re.search(f"(Less than 1|About 20) % of the browsers {said.format('their')}", some)
    for at in (wall(2 * DAY), "0001-01-01T00:00", "9999-12-31T23:59", wall(-3 * DAY)):
        bar = editor.get("/desk/reach", query_string={**chosen, "at": at})
        assert bar.status_code == 200
        assert "will not get it" not in bar.text
    tomorrow = editor.get("/desk/reach", query_string={"topic": "sport", **chosen, "local": ""})
    assert tomorrow.text.strip().endswith(("would get it then", "that time", "hours end"))


def test_an_alert_whose_time_has_come_for_few_readers_says_that_it_waits(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    soon = wall(5 * 3600)
    shown = FILTERS["wall_time"](soon)
    send_at = SendAt(time.time() - 30, wall=f"{soon}:00")
    one = runtime.publishing.publish(
        Content("Morning", "https://paper.example/"), WORLD, by="a test", send_at=send_at
    )
    runtime.publishing.send_due()
    send_all(runtime, one.id, {(Outcome.ACCEPTED, "other"): 3})
    page = words(editor.get(f"/desk/alerts/{one.id}").text)
    last = datetime.fromisoformat(f"{soon}-12:00").timestamp()
    assert f"Waits for {shown} in each reader’s own time" in page
    assert f"Handed over so far: 3 of {readers} browsers" in page
    assert f"the last readers at {FILTERS['time_words'](last)}" in page
    assert "Sending" not in page
    assert "per second" not in page
    assert "the last browser" not in page
    listed = words(editor.get("/desk/").text)
    assert f"{shown}, each reader’s own time" in listed
    assert f"Waits for the readers’ clocks, handed over 3 of {readers} browsers" in listed
    send_all(runtime, one.id, {(Outcome.ACCEPTED, "other"): readers - 13})
    page = words(editor.get(f"/desk/alerts/{one.id}").text)
    assert "Sending" in page, "most of the readers have it"
    assert "per second" not in page


def test_without_the_box_the_time_is_the_editors(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, **local(local=""))
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    send_at = only(runtime).send_at
    assert send_at is not None
    assert (send_at.wall, send_at.zone) == ("", "Europe/Riga")


def test_a_local_time_is_ignored_for_now_and_for_drafts(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "(World) now?" in words(review(editor, **local(when="now")).text)
    long = review(editor, **local(when="now", spread="120", ttl="900"))
    assert "The alert would run out of time before the last reader gets it." in long.text
    assert review(editor, **local(when="draft")).status_code == 303
    assert only(runtime).send_at is None


def test_an_invalid_local_time_is_explained_at_its_field_and_kept(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    for changes, field, complaint in (
        ({"at": ""}, "send_at", "Choose a day and a time."),
        ({"at": "seven"}, "send_at", "Choose a day and a time."),
        ({"at": "2026-02-30T10:00"}, "send_at", "Choose a day and a time."),
        ({"at": f"{TOMORROW}Z"}, "send_at", "Choose a day and a time."),
        ({"at": wall(-3 * DAY)}, "send_at", "This time has passed."),
        ({"at": "0001-01-01T00:00"}, "send_at", "This time has passed."),
        ({"at": wall(400 * DAY)}, "send_at", "This time is more than a year away."),
        ({"spread": "30"}, "spread_minutes", "Each reader’s own time zone already spreads"),
    ):
        answer = review(editor, **local(**changes))
        assert answer.status_code == 422, changes
        assert re.search(rf'id="{field}-error">{complaint}', answer.text.replace("&#39;", "'"))
        assert 'name="local" value="yes" checked' in answer.text
        assert f'value="{changes.get("at", TOMORROW)}"' in answer.text
        Page(answer.text)
    assert runtime.publishing.latest(1) == []


def test_back_and_edit_keep_the_local_time(
    editor: FlaskClient, runtime: Runtime, scheduled: int
) -> None:
    form = back(editor, review(editor, **local()))
    page = open_form(editor, f"/desk/alerts/{scheduled}/edit")
    for text in (form, page):
        assert 'name="local" value="yes" checked' in text
        assert f'value="{TOMORROW}"' in text
        assert "data-at" not in text, "no script changes it to the editor's zone"


def test_an_edit_keeps_the_local_time_until_the_box_is_cleared(
    editor: FlaskClient, runtime: Runtime, scheduled: int
) -> None:
    before = runtime.publishing.get(scheduled)
    page = edit(editor, scheduled, title="Other words")
    assert confirmed(editor, scheduled, page).location == f"/desk/alerts/{scheduled}"
    again = confirmed(editor, scheduled, page)
    assert (again.status_code, again.location) == (303, f"/desk/alerts/{scheduled}")
    after = runtime.publishing.get(scheduled)
    assert (after.content.title, after.send_at) == ("Other words", before.send_at)
    fields = {**opened(editor, scheduled), "local": "", "zone": "Europe/Riga"}
    page = go_on(editor, fields)
    confirmed(editor, scheduled, page)
    send_at = runtime.publishing.get(scheduled).send_at
    assert send_at is not None
    assert (send_at.wall, send_at.zone) == ("", "Europe/Riga")
