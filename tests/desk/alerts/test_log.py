"""The log's page, its search and its table, and the log of one alert."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.desk import tables
from service.desk.times import asked_days
from service.model.alert_log import ToolName
from service.model.notifications import Content
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, publish, rows_of, words
from tests.support.desk.planned import WORLD, confirmed, edit, later, plan


def test_an_alerts_page_says_who_did_what(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    confirmed(editor, id, edit(editor, id, **later(), title="Half-time"))
    runtime.publishing.send(id, by=ToolName("CMS"))
    page = words(editor.get(f"/desk/alerts/{id}").text)
    assert "a CMS scheduled it" in page
    assert f"{EMAIL} changed it: title “Kick-off” → “Half-time”, time" in page
    assert "CMS (API token) sent it" in page


def test_the_log_lists_all_alerts_and_is_searched(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    kept, gone = plan(runtime), plan(runtime, title="Said <b>in haste</b>")
    runtime.publishing.remove(gone, by=EMAIL)
    page = editor.get("/desk/log")
    assert f'href="/desk/alerts/{kept}"' in page.text
    assert f'href="/desk/alerts/{gone}"' not in page.text
    assert "<b>in haste" not in page.text
    assert f"{EMAIL} deleted it" in words(page.text)
    found = words(editor.get(f"/desk/log?by={EMAIL}&action=deleted").text)
    assert "Said &lt;b&gt;in haste&lt;/b&gt;" in found
    assert "Kick-off" not in found
    assert "Nothing is found" in words(editor.get("/desk/log?title=quake").text)
    assert "Nothing is found" in words(editor.get("/desk/log?until=2020-01-01").text)


def test_older_entries_are_a_page_further(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    for number in range(130):
        plan(runtime, title=f"Alert {number:03}")
    first = editor.get("/desk/log")
    assert "Alert 129" in first.text
    assert "Alert 029" not in first.text
    link = first.text.split('href="/desk/log?before=')[1].split('"')[0].replace("&amp;", "&")
    second = editor.get(f"/desk/log?before={link}")
    assert "Alert 029" in second.text
    assert "Alert 030" not in second.text
    assert "Older" not in words(second.text)


def test_what_makes_no_sense_in_the_address_finds_something_or_nothing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    plan(runtime)
    befores = (f"before={id}" for id in ("x", "%00-1", "9-9-9", "0-0", f"{'9' * 20}-1"))
    for query in (*befores, "since=yesterday", "action=%C3%A9"):
        assert editor.get(f"/desk/log?{query}").status_code == 200, query
        assert editor.get(f"/desk/log.csv?{query}").status_code == 200, query


def test_the_log_is_given_out_as_a_table_without_formulas(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    title = '=HYPERLINK("https://evil.example","Goal, at last")'
    made = runtime.publishing.publish(
        Content(title, "https://paper.example/"), WORLD, by=ToolName("CMS"), draft=True
    )
    plan(runtime)
    answer = editor.get("/desk/log.csv?by=CMS")
    rows = rows_of(answer)
    assert [row["title"] for row in rows] == ["Kick-off", f"'{title}"]
    assert rows[1]["alert"] == str(made.id)
    assert (rows[1]["action"], rows[1]["by"]) == ("written", "CMS")
    assert rows[1]["with an API token"] == "yes"
    assert rows[1]["time"].endswith("Z")
    for line in answer.text.removeprefix("\ufeff").splitlines():
        assert line[0] == line[-1] == '"', "each field is in quotes"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("Fähre; Hafen - 3 + 4 = 7, a@b.example", "Fähre; Hafen - 3 + 4 = 7, a@b.example"),
        ("Ferry", "Ferry"),
        ("-5 degrees", "'-5 degrees"),
        (" =1+1", "' =1+1"),
        ("\t@SUM(1)", "'\t'@SUM(1)"),
        ("Ferry;=1+1", "Ferry;'=1+1"),
        ('Ferry; "=1+1"', 'Ferry;\' "=1+1"'),
        ("Ferry\t+1", "Ferry\t'+1"),
        ("Ferry\n\uff1d1", "Ferry\n'\uff1d1"),
    ],
)
def test_no_text_of_a_table_is_a_formula_however_a_program_divides_the_lines(
    text: str, given: str
) -> None:
    assert tables._harmless(text) == given


def test_only_editors_see_the_log(editor: FlaskClient) -> None:
    stranger = editor.application.test_client()
    for path in ("/desk/log", "/desk/log.csv"):
        assert stranger.get(path).status_code == 302


def test_days_are_those_of_the_editors_time_zone(editor: FlaskClient, runtime: Runtime) -> None:
    id = publish(runtime, title="Kick-off")
    at = runtime.alert_log.of(id)[0].at
    east, west = "Pacific/Kiritimati", "Pacific/Niue"  # never the same date
    for zone, other in ((east, west), (west, east)):
        there, elsewhere = (
            f"{datetime.fromtimestamp(at, ZoneInfo(name)):%Y-%m-%d}" for name in (zone, other)
        )
        for page in ("/desk/log", "/desk/log.csv", "/desk/search"):
            for day, is_found in ((there, True), (elsewhere, False)):
                query = {"since": day, "until": day, "zone": zone}
                answer = editor.get(page, query_string=query)
                assert ("Kick-off" in answer.text) is is_found, (page, zone, day)
        assert f"Days are those of {zone}." in words(editor.get(f"/desk/log?zone={zone}").text)
        (row,) = rows_of(editor.get(f"/desk/log.csv?zone={zone}"))
        assert row["time"].startswith(there)
        assert datetime.fromisoformat(row["time"]).timestamp() == int(at)
    assert "Days are those of UTC." in words(editor.get("/desk/search?zone=Mars").text)


def test_a_day_has_as_many_hours_as_its_clocks_show(app: Flask) -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-30", 24)):
        with app.test_request_context("/desk/log?zone=Europe/Riga"):
            limits = asked_days(day, day)
        assert limits["until"] - limits["since"] == hours * 3600, day


def test_days_at_the_end_of_time_are_no_error(editor: FlaskClient) -> None:
    for page in ("/desk/log", "/desk/search", "/desk/log.csv"):
        for day in ("9999-12-31", "0001-01-01", "2026-02-30"):
            for zone in ("UTC", "Asia/Tokyo", "Pacific/Niue"):
                query = f"until={day}&since={day}&zone={zone}"
                assert editor.get(f"{page}?{query}").status_code == 200, (page, query)
