"""The newsroom's promise, the pace, and who is tried again, on the page of an alert."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from service.config import Config, ConfigError
from service.desk.alerts.watching import promise_words, screen_words
from service.domain.operations.promises import PromiseReport
from service.domain.sending.receipts import Report
from service.model.notifications import Outcome, Progress, SendAt
from service.model.operations.promises import Promise, share_of
from service.model.operations.screen import OnScreen
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.runtime import Runtime
from service.shared_settings import shared_settings
from service.store.sending.batches import Retry
from tests.support.desk.pages import publish, send_all, words
from workers.clock import _duties

GOOGLE = (Outcome.ACCEPTED, "google")


@pytest.fixture
def settings() -> dict[str, str]:
    return {"UNDO_SECONDS": "0", "UNDO_BREAKING_SECONDS": "0", "PROMISE": "90% in 60s"}


class Later:
    """The installation's time, as far ahead as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now, self._patch = clock.time(), monkeypatch
        self.by(0)

    def by(self, seconds: float) -> None:
        """Let it be so many seconds after the test began."""
        self._patch.setattr(clock, "time", lambda: self._now + seconds)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


@pytest.fixture
def sending(runtime: Runtime, readers: int) -> int:
    """An alert to 100 browsers."""
    return publish(runtime)


def said(editor: FlaskClient, id: int) -> str:
    """What its page says of the promise."""
    page = words(editor.get(f"/desk/alerts/{id}/progress").text)
    return page.partition("Promise: ")[2].partition(". handed")[0].partition(" Another")[0]


def accept(runtime: Runtime, id: int, browsers: int) -> None:
    send_all(runtime, id, {GOOGLE: browsers})


# The setting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soon", "must be a share and a time, such as 90% in 60s"),
        ("90% in 1min", "must be a share and a time, such as 90% in 60s"),
        ("101% in 60s", "must have a share from 1% to 100%"),
        ("0% in 60s", "must have a share from 1% to 100%"),
        ("90% in 0s", "must have a time from 1s to 86400s"),
        ("90% in 99999s", "must have a time from 1s to 86400s"),
    ],
)
def test_a_promise_that_cannot_be_read_stops_the_start(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^PROMISE: {words}$"):
        Config.read({"PROMISE": text})


def test_a_promise_is_read_with_or_without_spaces_and_is_off_by_default() -> None:
    assert Config.read({}).promise is None
    assert Config.read({"PROMISE": "90 % in 60 s"}).promise == Promise(90, 60)
    assert shared_settings(Config.read({"PROMISE": "90% in 60s"}))["PROMISE"] == "90% in 60s"
    assert shared_settings(Config.read({}))["PROMISE"] == ""


# What counts --------------------------------------------------------------------------------------


def test_readers_who_cannot_get_it_now_do_not_count() -> None:
    outcomes = {
        GOOGLE: 69,
        (Outcome.SKIPPED, "quiet"): 20,
        (Outcome.GONE, "google"): 10,
        (Outcome.REFUSED, "google"): 1,
    }
    assert share_of(Progress(100, outcomes)) == 98, "69 of 70, rounded down"
    assert share_of(Progress(100, {(Outcome.SKIPPED, "quiet"): 100})) is None
    assert share_of(Progress(0, {})) is None


@pytest.mark.parametrize(
    "slow",
    [
        {"spread_minutes": 10},
        {"send_at": SendAt(0.0, wall="2026-11-29T07:00:00")},
    ],
)
def test_an_alert_that_takes_its_time_has_no_promise(
    runtime: Runtime, readers: int, slow: dict[str, object]
) -> None:
    id = publish(runtime)
    one = replace(runtime.publishing.get(id), **slow)  # type: ignore[arg-type]
    assert runtime.promises.of(one, Progress(100, {GOOGLE: 50})) is None
    assert runtime.promises.of(runtime.publishing.get(id), Progress(100, {GOOGLE: 50}))


# On the page --------------------------------------------------------------------------------------


def test_while_it_is_sent_the_page_says_how_far_it_has_come(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    accept(runtime, sending, 71)
    later.by(38)
    runtime.promises.measure()
    assert said(editor, sending).startswith("90 % within 1 minute: 71 % after 38 seconds.")


@pytest.mark.redis
def test_the_moment_is_kept_at_which_the_share_was_reached(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    accept(runtime, sending, 71)
    later.by(20)
    runtime.promises.measure()
    accept(runtime, sending, 20)
    later.by(21)
    runtime.promises.measure()
    later.by(50)
    runtime.promises.measure()
    text = "90 % within 1 minute: kept. 90 % after 21 seconds."
    assert said(editor, sending).startswith(text)
    accept(runtime, sending, 9)
    runtime.planning.advance(sending)
    assert runtime.publishing.get(sending).finished_at
    assert said(editor, sending).startswith(text), "and in the report"


def test_a_missed_promise_says_what_was_reached_by_then_and_when_it_was(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    accept(runtime, sending, 71)
    later.by(61)
    runtime.promises.measure()
    accept(runtime, sending, 10)
    later.by(90)
    missed = "90 % within 1 minute: missed. 71 % by then, "
    assert said(editor, sending).startswith(f"{missed}81 % after 1 minute 30 seconds.")
    accept(runtime, sending, 19)
    later.by(120)
    runtime.planning.advance(sending)
    assert said(editor, sending).startswith(f"{missed}90 % after 2 minutes.")


def test_one_that_is_over_between_two_looks_of_the_clock_counts_by_its_end(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    later.by(0.5)
    accept(runtime, sending, 100)
    runtime.planning.advance(sending)
    assert "kept. 90 % after 0.5 seconds." in said(editor, sending)


def test_an_alert_that_no_worker_has_looked_at_misses_the_promise_too(
    editor: FlaskClient, runtime: Runtime, later: Later, readers: int
) -> None:
    id = publish(runtime)
    later.by(61)
    runtime.promises.measure()
    report = runtime.promises.of(runtime.publishing.get(id), Progress(0, {}))
    assert report
    assert report.is_kept is False


def test_an_alert_from_before_there_was_a_promise_claims_nothing(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    later.by(300)
    accept(runtime, sending, 100)
    runtime.planning.advance(sending)
    assert said(editor, sending) == ""


@pytest.mark.parametrize("what", ["pause", "stop", "cancel"])
def test_nothing_is_measured_of_an_alert_that_an_editor_held_up(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int, what: str
) -> None:
    accept(runtime, sending, 40)
    later.by(10)
    if what == "pause":
        runtime.publishing.pause(sending, by="a test")
    elif what == "stop":
        runtime.stops.hold(by="a test")
    else:
        runtime.publishing.cancel(sending, by="a test")
    runtime.promises.measure()
    later.by(70)
    runtime.promises.measure()
    text = "not measured, because the alert was paused, stopped or cancelled."
    assert text in said(editor, sending)


def test_with_the_wait_for_taking_back_both_times_are_named() -> None:
    one = PromiseReport(share=90, seconds=60, passed=30, now=95, after=21.0)
    assert promise_words(one, waited=5.0) == (
        "90 % within 1 minute: kept. 90 % after 21 seconds, which is 26 seconds after it was sent"
        " at the desk."
    )


@pytest.mark.redis
def test_the_clock_measures_each_second_and_keeps_nothing_of_forgotten_alerts(
    runtime: Runtime, sending: int
) -> None:
    accept(runtime, sending, 95)
    for do in _duties(runtime):
        do()
    measured = runtime.store.promises.get(sending)
    assert measured
    runtime.store.promises.keep(9999, measured, b"")
    assert runtime.store.promises.get(9999) is None


def test_a_clock_that_was_held_up_does_not_overwrite_what_another_measured(
    runtime: Runtime, sending: int, later: Later
) -> None:
    rows = runtime.store.promises
    for passed, accepted in ((10, 40), (61, 10)):
        _, before = rows.read(sending)
        later.by(passed)
        accept(runtime, sending, accepted)
        runtime.promises.measure()
        measured = rows.get(sending)
        assert measured
        rows.keep(sending, replace(measured, share_then=7), before)
        assert rows.get(sending) == measured
    assert measured.share_then == 50


# On the screen ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_partition")
def test_page_and_table_say_how_soon_it_was_on_screens(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    accept(runtime, sending, 100)
    later.by(1)
    runtime.promises.measure()
    for number, seconds in enumerate((20, 40, 50, 90, 7000)):
        later.by(seconds)
        runtime.receipts.count([Report(sending, SubscriptionId(0, number), "shown", 2.0)])
    page = words(editor.get(f"/desk/alerts/{sending}").text)
    assert (
        "On the screen: 75 % (± 22 %) within 1 minute, of 4 browsers that report it."
        " 1 browser showed it after more than 10 minutes: asleep, closed, or in quiet hours"
    ) in page
    assert "kept. 90 % after 1 second." in page, "the promise is beside it"
    table = editor.get(f"/desk/alerts/{sending}/report.csv").text
    rows = [row for row in csv.reader(table.splitlines()) if row[0] == "on the screen until"]
    assert {until: shown for _, until, _, _, shown, *_ in rows} == {
        "20 seconds": "1",
        "1 minute": "3",
        "2 minutes": "4",
        "4 hours": "5",
    }


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({"10": 95, "60": 2, "600": 3}, "97 % (± 2 %) within 1 minute, of 100 browsers that"),
        ({"10": 800_000, "120": 200_000}, "80 % within 1 minute, of 1,000,000 browsers that"),
        ({"10": 1, "120": 99}, "1 % (± 1 %) within 1 minute, of 100 browsers that report it; the"),
        ({"inf": 7}, "none within 10 minutes. 7 browsers showed it after more than 10 minutes:"),
    ],
    ids=["kept", "many", "missed", "later"],
)
def test_a_share_of_screens_is_said_with_its_sample_and_how_sure_it_is(
    steps: dict[str, int], said: str
) -> None:
    assert screen_words(OnScreen.of(steps, Promise(90, 60))).startswith(said)


# The pace, and who is tried again -----------------------------------------------------------------


def test_the_page_says_when_the_last_browser_gets_it_at_this_pace(
    editor: FlaskClient, runtime: Runtime, later: Later, sending: int
) -> None:
    path, seen = f"/desk/alerts/{sending}/progress", ""

    def shown(handed_over: int, seconds: float) -> str:
        """Hand over so many more; return what the page gets that it asks for then."""
        nonlocal seen
        accept(runtime, sending, handed_over)
        later.by(seconds)
        page = editor.get(path, query_string={"seen": seen}).text
        found = re.search(r'name="seen" value="([^"]*)"', page)
        assert found is not None
        seen = found[1]
        return words(page)

    assert "per second" not in shown(0, 1)
    assert seen == "", "the time before the first browser has it does not count"
    assert "per second" not in shown(20, 100)
    assert "per second" not in shown(10, 102), "too soon to say"
    assert "5 per second, the last browser in about 12 seconds" in shown(10, 104)
    assert "1 per second, the last browser in about 50 seconds" in shown(10, 114), "10 seconds"
    runtime.publishing.pause(sending, by="a test")
    assert "the last browser" not in shown(0, 115)
    assert seen == "", "nor does the time of a pause"
    runtime.publishing.resume(sending, by="a test")
    assert "per second" not in shown(0, 120)
    for nonsense in ("x", "1.0:1 9.9:999999999999", "120.0:50 120.0:50", "٣.٣:٣"):
        assert "per second" not in words(editor.get(path, query_string={"seen": nonsense}).text)


def test_the_page_says_for_whom_it_is_tried_again_and_when(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    runtime.planning.plan(runtime.publishing.get(id))
    base = next(iter(runtime.store.names.bases.all().values()))
    claim = runtime.store.batches.claim_any(id, "a test", 60_000)
    assert claim
    retries = {number: Retry(base, 1, 40_000) for number in claim.pending[:3]}
    path = f"/desk/alerts/{id}/progress"
    assert "tried again" not in editor.get(path).text
    runtime.store.batches.release(
        id, claim.batch, "a test", wait_ms=40_000, retries=retries, undone=len(claim.pending)
    )
    text = words(editor.get(path).text)
    assert "Another push service has not taken the alert for 3 browsers yet: it did not" in text
    assert "We try them again in 40 seconds." in text or "We try them again in 39" in text
