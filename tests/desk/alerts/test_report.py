"""What readers did with an alert, on its page and as a table."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from service.domain.sending import receipts
from service.domain.sending.receipts import step
from service.model.notifications import Audience, Content, Outcome
from service.runtime import Runtime
from service.store.alerts.notifications import alert_key
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from tests.support.desk.pages import Page, publish, rows_of, send_all, words

pytestmark = pytest.mark.usefixtures("one_partition", "readers")

WORLD = Audience(topics=("world",))
DAY = 86_400


def sent(runtime: Runtime, audience: Audience = WORLD, **accepted: int) -> int:
    """Publish an alert and finish it; `accepted` messages by push service."""
    content = Content("Late news", "https://paper.example/")
    id = runtime.publishing.publish(content, audience, by="a test").id
    outcomes = {(Outcome.ACCEPTED, service): n for service, n in accepted.items()}
    rest = runtime.publishing.reach(audience) - sum(accepted.values())
    send_all(runtime, id, outcomes | {(Outcome.EXPIRED, "google"): rest})
    runtime.planning.advance(id)
    assert runtime.publishing.get(id).finished_at
    return id


def report(runtime: Runtime, id: int, service: str, after: float = 0, **events: int) -> None:
    """Let browsers of a push service report these events, so many seconds after the start."""
    rows = []
    for event, browsers in events.items():
        tallies = [Tally(event, "service", service), Tally(event, "language", "en")]
        if event == "clicked":
            tallies += [Tally(event, "after", str(step(after))), Tally(event, "hour", "7")]
        names = (f"{service} {after} {n}" for n in range(browsers))
        rows += [ReceiptRow(id, event, name, tallies) for name in names]
    runtime.store.receipt_counts.count(rows, DAY)


def table(page: str, kind: str) -> dict[str, list[str]]:
    """The rows of a table of the page by their names; `kind` is its class."""
    found: dict[str, list[str]] = {}
    for text in re.findall(rf'<table class="{kind}[^"]*">(.*?)</table>', page, re.S):
        for row in re.findall(r"<tr>(.*?)</tr>", text, re.S):
            cells = [words(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)]
            found[cells[0]] = cells[1:]
    return found


def test_an_alert_stands_beside_the_usual_of_its_topic(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for clicked in (1, 2, 3):
        report(runtime, sent(runtime, google=20), "google", shown=20, clicked=clicked)
    for audience in (Audience(everyone=True), Audience(topics=("sport",))):
        report(runtime, sent(runtime, audience, google=20), "google", shown=20, clicked=20)
    id = sent(runtime, google=30, mozilla=10)
    report(runtime, id, "google", shown=30, clicked=2, dismissed=4)
    runtime.store.receipt_counts.count_left(id, DAY)
    page = editor.get(f"/desk/alerts/{id}").text
    Page(page)
    assert table(page, "beside") == {
        "": ["This alert", "Usual"],
        "Handed over": ["40", "20"],
        "Shown": ["30 75 %", "100 %"],
        "Clicked": ["2 5 %", "10 % by then"],
        "Dismissed": ["4 10 %", "0 %"],
        "Unsubscribed within a day": ["1", "0"],
    }
    assert "the median of the last 3 alerts of the same topic" in words(page)


def test_an_alert_to_everyone_stands_beside_others_to_everyone(
    editor: FlaskClient, runtime: Runtime
) -> None:
    everyone = Audience(everyone=True)
    narrowed = Audience(everyone=True, all_topics=("world",))
    others = ((WORLD, 20), (narrowed, 20))
    for audience, clicked in ((everyone, 2), (everyone, 2), (everyone, 4), *others):
        report(runtime, sent(runtime, audience, google=20), "google", shown=20, clicked=clicked)
    id = sent(runtime, everyone, google=20)
    report(runtime, id, "google", shown=20, clicked=1)
    page = editor.get(f"/desk/alerts/{id}").text
    assert table(page, "beside")["Clicked"] == ["1 5 %", "10 % by then"]
    assert "the median of the last 3 alerts to everyone" in words(page)


@pytest.mark.parametrize(
    ("audience", "says"),
    [
        (Audience(everyone=True, all_topics=("world",)), "of the same topic"),
        (Audience(topics=("sport", "world"), new_within_days=9), "of the same topic"),
        (Audience(everyone=True, new_within_days=9), "to everyone"),
    ],
    ids=str,
)
def test_an_alert_to_a_narrowed_audience_stands_beside_alerts_as_the_page_says(
    editor: FlaskClient, runtime: Runtime, audience: Audience, says: str
) -> None:
    usual = {"of the same topic": WORLD, "to everyone": Audience(everyone=True)}
    for one in [*usual.values()] * 3:
        clicked = 2 if one == usual[says] else 20
        report(runtime, sent(runtime, one, google=20), "google", shown=20, clicked=clicked)
    id = sent(runtime, audience, google=20)
    report(runtime, id, "google", shown=20, clicked=1)
    page = editor.get(f"/desk/alerts/{id}").text
    assert table(page, "beside")["Clicked"] == ["1 5 %", "10 % by then"]
    assert f"the median of the last 3 alerts {says}" in words(page)


def test_what_safari_does_not_report_is_said_and_is_no_zero(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = sent(runtime, google=10, apple=30, mozilla=2)
    report(runtime, id, "google", shown=9, clicked=1)
    page = editor.get(f"/desk/alerts/{id}").text
    rows = table(page, "split")
    assert rows["Google (Chrome and most others)"] == ["10", "9", "1", "10 %", "0"]
    assert rows["Mozilla (Firefox)"] == ["2", "0", "0", "0 %", "0"]
    assert rows["Apple (Safari)"] == ["30", *["not reported"] * 4]
    # Shares leave Safari's browsers out.
    assert table(page, "beside")["Clicked"] == ["1 8.3 %"]
    # Older ones have a script that reports.
    report(runtime, id, "apple", shown=3)
    page = editor.get(f"/desk/alerts/{id}").text
    assert table(page, "split")["Apple (Safari)"][1] == "3"
    assert table(page, "beside")["Shown"] == ["12 75 %"]


def test_an_alert_that_only_safari_got_has_nothing_to_report(
    editor: FlaskClient, runtime: Runtime
) -> None:
    runtime.store.installation.unmark_synthetic()
    text = words(editor.get(f"/desk/alerts/{sent(runtime, apple=30)}").text)
    assert "Not reported: Safari shows alerts by itself, and no other browser got this one" in text


def test_a_sampled_number_has_its_error_in_each_table(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 10)
    id = sent(runtime, google=30, mozilla=10)
    share = runtime.publishing.get(id).reporting
    assert share < 0.3
    report(runtime, id, "google", shown=4, clicked=4)
    page = editor.get(f"/desk/alerts/{id}").text
    rows = table(page, "split")
    _, shown, clicked, _ = rows["English"]
    assert re.fullmatch(r"about \d+ \(± \d+\)", shown)
    assert clicked == "4", "every browser reports a click"
    assert "(±" in table(page, "beside")["Shown"][0]


def test_languages_have_a_rate_while_it_is_kept_who_got_the_alert(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = sent(runtime, google=30, mozilla=10)
    report(runtime, id, "google", shown=30, clicked=4)
    page = editor.get(f"/desk/alerts/{id}").text
    assert table(page, "split")["English"] == ["40", "30", "4", "10 %"]
    runtime.store.redis.delete(f"{{0}}:n:{id}:accepted:0")
    page = editor.get(f"/desk/alerts/{id}").text
    assert table(page, "split")["English"] == ["30", "4"]


def test_too_few_alerts_are_not_called_usual(editor: FlaskClient, runtime: Runtime) -> None:
    for _ in range(2):
        report(runtime, sent(runtime, google=20), "google", shown=20)
    id = sent(runtime, google=30)
    report(runtime, id, "google", shown=20)
    text = words(editor.get(f"/desk/alerts/{id}").text)
    assert "too few earlier alerts of the same topic to say what is usual" in text
    assert "Usual" not in text


def test_the_curve_and_the_hours_are_drawn_and_stand_in_tables(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = sent(runtime, google=30)
    assert "<svg" not in editor.get(f"/desk/alerts/{id}").text
    report(runtime, id, "google", shown=30)
    report(runtime, id, "google", 61, clicked=3)
    report(runtime, id, "google", 1000, clicked=1)
    now = time.time()
    monkeypatch.setattr("service.model.time.clock.time", lambda: now + 1200)
    page = editor.get(f"/desk/alerts/{id}").text
    Page(page)
    curve, hours = re.findall(r'<figure class="chart.*?</figure>', page, re.S)
    rows = [words(row).split() for row in re.findall(r"<tr>(.*?)</tr>", curve, re.S)[1:]]
    assert rows[:2] == [["1", "minute", "0", "0", "%"], ["2", "minutes", "3", "75", "%"]]
    assert rows[-1] == ["25", "minutes", "4", "100", "%"], "no step that has not begun"
    assert '<path class="main"' in curve
    assert "07:00: 4 clicks" in hours
    assert hours.count("<rect") == 1


def test_all_of_it_is_given_out_as_a_table(editor: FlaskClient, runtime: Runtime) -> None:
    id = sent(runtime, google=30, apple=5)
    report(runtime, id, "google", shown=20, clicked=2)
    answer = editor.get(f"/desk/alerts/{id}/report.csv")
    rows: dict[tuple[str, str], Mapping[str, str]] = {
        (row["by"], row["value"]): row for row in rows_of(answer)
    }
    google, apple = rows["service", "google"], rows["service", "apple"]
    assert (google["handed over"], google["shown"], google["clicked"]) == ("30", "20", "2")
    assert (apple["handed over"], apple["shown"], apple["clicked"]) == ("5", "", "")
    assert rows["all", ""]["clicked"] == "2"
    assert rows["hour of the reader", "7"]["clicked"] == "2"
    assert editor.get("/desk/alerts/9999/report.csv").status_code == 404


def test_a_running_alert_a_test_and_one_that_nobody_got_have_no_such_part(
    editor: FlaskClient, runtime: Runtime
) -> None:
    running, nobody = publish(runtime), sent(runtime)
    for id in (running, nobody):
        assert "What readers did" not in editor.get(f"/desk/alerts/{id}").text


def test_receipts_that_are_not_kept_any_more_are_not_called_zero(
    editor: FlaskClient, runtime: Runtime
) -> None:
    runtime.store.installation.unmark_synthetic()
    page = f"/desk/alerts/{(id := sent(runtime, google=30))}"
    assert "Nothing is reported yet." in words(editor.get(page).text)
    runtime.store.redis.hset(alert_key(id), "started_at", time.time() - 31 * DAY)
    gone = "No browser has reported anything, or it is not kept any more"
    assert gone in words(editor.get(page).text)


class TestWithConversions:
    """Where the newsroom counts what readers do after a click."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"CONVERSIONS": "subscription"}

    def test_what_came_of_an_alert_stands_in_its_report(
        self, editor: FlaskClient, runtime: Runtime
    ) -> None:
        id = sent(runtime, google=30)
        report(runtime, id, "google", shown=30, clicked=2, **{"converted:subscription": 2})
        page = editor.get(f"/desk/alerts/{id}").text
        Page(page)
        assert table(page, "beside")["Then: subscription"] == ["2"]
        table_of_all = editor.get(f"/desk/alerts/{id}/report.csv").text
        assert '"converted","subscription","","","","","2"' in table_of_all
