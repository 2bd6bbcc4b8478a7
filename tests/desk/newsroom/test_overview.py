"""The overview: readers and alerts over weeks, as charts, tables and files."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta

import pytest
from flask.testing import FlaskClient

from service.desk.words import short_date
from service.domain.operations.daily_totals import today
from service.runtime import Runtime
from tests.support.desk.pages import NASTY, Page, rows_of, words


def number(day: date) -> int:
    return int(f"{day:%Y%m%d}")


@pytest.fixture
def history(runtime: Runtime) -> date:
    """Ten days with readers and alerts, of which the last two are not counted yet; today."""
    last, totals = today(), runtime.store.daily_totals
    for ago in range(10, -1, -1):
        done = 10 - ago
        ended = {"left": 2 * done, "lost": done, "gone": 0, "unproven": 0, "retired": 0}
        readers = {"readers": 1000 + 7 * done, "unconfirmed": 4, "ended": ended}
        totals.put_readers(number(last - timedelta(ago)), readers)
    for ago in range(9, 1, -1):
        alerts = {
            "all": [3, 3000, 60],
            "handed_over": 3300,
            "hours": {"7": [1, 1000, 40], "22": [2, 2000, 20]},
            "topics": {"world": [2, 2000, 20], "gone-topic": [1, 1000, 40], "": [1, 0, 0]},
            "had": [100, 200, 700, *[0] * 13],
        }
        totals.put_alerts(number(last - timedelta(ago)), alerts)
    return last


def table(client: FlaskClient, part: str, query: str = "") -> list[dict[str, str]]:
    return rows_of(client.get(f"/desk/overview/{part}.csv{query}"))


def test_a_new_installation_says_what_is_not_known_yet(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = editor.get("/desk/overview").text
    Page(page)
    text = words(page)
    assert "0 browsers are subscribed now." in text
    assert "From tomorrow on a chart shows here how many readers there are" in text
    assert "No alert reached a browser in 4 weeks. The next one is counted here" in text
    assert f"after its end: today on {short_date(today() + timedelta(2))}." in text
    assert "No browser has reported a click in 4 weeks. From the first one on" in text
    assert "<svg" not in page
    runtime.daily_totals.keep(time.time())
    assert words(editor.get("/desk/overview").text) == text, "the clock's first count"


def test_days_without_an_alert_draw_no_chart_of_nothing(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for ago in range(3):
        given = {"readers": 10, "unconfirmed": 0, "ended": {}}
        runtime.store.daily_totals.put_readers(number(today() - timedelta(ago)), given)
        runtime.store.daily_totals.put_alerts(number(today() - timedelta(2)), None)
    page = editor.get("/desk/overview").text
    assert "How many alerts a reader gets in a day stands here once" in words(page)
    assert page.count("<svg") == 1, "the readers"


def test_readers_who_came_by_an_import_are_told_apart_from_others(
    editor: FlaskClient, runtime: Runtime, history: date
) -> None:
    assert "import" not in words(editor.get("/desk/overview").text)
    runtime.store.daily_totals.add_imported(number(history - timedelta(3)), 1200)
    runtime.store.daily_totals.add_imported(number(history - timedelta(3)), 4)
    page = editor.get("/desk/overview").text
    day = f"{history - timedelta(3):%-d %b}"
    assert f"another reason. 1,204 browsers came by an import on {day}." in words(page)
    assert f"{day}: 10 joined (1,204 by an import), 3 ended" in page
    assert [row["imported"] for row in table(editor, "readers")][-5:] == ["0", "1204", *"000"]


@pytest.mark.usefixtures("history")
def test_readers_alerts_and_clicks_are_drawn_and_stand_in_tables(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = editor.get("/desk/overview").text
    Page(page)
    text = words(page)
    assert "In 4 weeks 100 browsers joined, 20 left and 10 went for another reason." in text
    assert "4 browsers have not confirmed the subscription yet." in text
    assert "24 alerts in 4 weeks, handed over 26,400 times; 2 % of the browsers" in text
    assert "On half of the days a reader got 2 alerts at most" in text
    assert "on nine days of ten 2 at most" in text
    assert page.count("<svg") == 5
    assert page[page.index("<main") :].count("<details") == 4
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index("By the hour") :], re.S)
    cells = [words(row).split() for row in rows]
    assert ["07:00", "8", "4", "%"] in cells
    assert ["22:00", "16", "1", "%"] in cells
    assert ["gone-topic", "8", "320", "4", "%"] in cells
    assert ["World", "16", "160", "1", "%"] in cells
    assert ["Everyone", "8", "0", "not", "reported"] in cells


def test_each_part_is_given_out_as_a_file(editor: FlaskClient, history: date) -> None:
    readers = table(editor, "readers")
    assert len(readers) == 28
    assert readers[0]["readers"] == readers[0]["joined"] == ""
    expected = {"readers": "1070", "joined": "10", "left": "2", "lost": "1", "unconfirmed": "4"}
    assert readers[-1].items() >= ({"date": history.isoformat()} | expected).items()
    alerts = table(editor, "alerts")
    assert [row["clicked"] for row in alerts[-4:]] == ["60", "60", "0", "0"]
    days = table(editor, "day")
    assert len(days) == 9
    assert days[0]["readers with 0"] == "1000", "a day without an alert"
    assert (days[1]["readers with 2"], days[1]["readers with 15 or more"]) == ("700", "0")
    assert table(editor, "hours")[7]["clicked"] == "320"
    assert {row["topic"] for row in table(editor, "topics")} == {"World", "gone-topic", "Everyone"}
    assert editor.get("/desk/overview/secrets.csv").status_code == 404


def test_a_merged_topic_stands_once_with_the_sum_of_both(
    editor: FlaskClient, runtime: Runtime, history: date
) -> None:
    alerts = {"all": [1, 900, 90], "topics": {"sport": [1, 900, 90], "world": [1, 100, 10]}}
    runtime.store.daily_totals.put_alerts(number(history - timedelta(2)), alerts)
    runtime.topics.merge("sport", "world")
    rows = [row for row in table(editor, "topics") if row["topic"] in ("World", "sport", "Sport")]
    assert rows == [
        {"topic": "World", "alerts": "16", "may report clicks": "15000", "clicked": "240"}
    ]
    page = words(editor.get("/desk/overview").text)
    assert page.count("World 16") == 1
    assert "Sport" not in page


def test_the_last_number_of_alerts_in_a_day_stands_for_more_too(
    editor: FlaskClient, runtime: Runtime, history: date
) -> None:
    for ago in range(9):
        runtime.store.daily_totals.put_alerts(
            number(history - timedelta(ago)), {"had": [100, *[0] * 14, 900]}
        )
    text = words(editor.get("/desk/overview").text)
    assert "a reader got 15 or more alerts, on nine days of ten 15 or more." in text


@pytest.mark.usefixtures("history")
def test_a_year_is_shown_by_the_week_and_given_out_by_the_day(editor: FlaskClient) -> None:
    page = editor.get("/desk/overview?days=364").text
    assert "Alerts a week" in page
    assert page.count("alerts</title>") <= 3, "a column is a week"
    assert len(table(editor, "readers", "?days=364")) == 364
    assert len(table(editor, "readers", "?days=91")) == 91


@pytest.mark.usefixtures("history")
def test_hours_are_those_of_the_editors_zone(editor: FlaskClient) -> None:
    hours = table(editor, "hours", "?zone=%2B05:30")
    assert (hours[12]["clicked"], hours[3]["clicked"]) == ("320", "160")
    text = words(editor.get("/desk/overview?zone=%2B05:30").text)
    assert "Hours of +05:30. Each begins 30 minutes later, because we count by" in text
    assert "minutes later" not in words(editor.get("/desk/overview?zone=%2B05:00").text)


@pytest.mark.usefixtures("history")
def test_what_makes_no_sense_in_the_address_is_left_out(editor: FlaskClient) -> None:
    plain = editor.get("/desk/overview").text
    for query in ("days=0", "days=99999999", "days=x", "zone=%00", f"zone={NASTY}", "days=²"):
        answer = editor.get(f"/desk/overview?{query}")
        assert answer.status_code == 200, query
        assert words(answer.text) == words(plain), query


def test_a_day_that_is_not_counted_yet_is_shown_from_its_alerts(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    alerts = table(editor, "alerts")
    assert (alerts[-1]["alerts"], alerts[-1]["handed over"]) == ("1", "40")
    text = words(editor.get("/desk/overview").text)
    assert "1 alert in 4 weeks, handed over 40 times." in text


def test_the_question_is_counted_by_part_of_the_site(editor: FlaskClient, runtime: Runtime) -> None:
    assert "No page has asked readers by itself in" in words(editor.get("/desk/overview").text)
    for step, path, times in (
        ("shown", "/sport/a", 8), ("yes", "/sport/b", 3), ("granted", "/sport/b", 3),
        ("subscribed", "/sport/", 2), ("confirmed", "/sport/", 1),
        ("shown", "/<b>bold", 1), ("shown", "/ada@paper.example", 1),
    ):  # fmt: skip
        for _ in range(times):
            runtime.questions.count(step, path)
    page = editor.get("/desk/overview").text
    Page(page)
    rows = [words(row).split() for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)]
    assert ["All", "10", "3", "3", "2", "1", "20", "%"] in rows
    assert ["/sport", "8", "3", "3", "2", "1", "25", "%"] in rows
    assert ["Others", "2", "0", "0", "0", "0", "0", "%"] in rows
    assert "ada@" not in page
    assert table(editor, "growth")[0] == {
        "section": "/sport",
        "shown": "8",
        "yes": "3",
        "granted": "3",
        "subscribed": "2",
        "confirmed": "1",
    }
