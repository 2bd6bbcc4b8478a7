"""What the service worker reports of alerts, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser.worker_harness import Site, document

pytestmark = pytest.mark.browser


def test_an_alert_without_a_receipt_reports_nothing(site: Site, worker: Callable[..., Any]) -> None:
    data = {"api": site.origin, "receipt": None}
    worker("push", document(site, data=data))
    assert worker("click", "")["opened"] == ["https://paper.example/ferry"]
    worker("push", document(site, data=data))
    worker("close")
    assert site.receipts == []


def test_a_failed_report_goes_with_the_next(site: Site, worker: Callable[..., Any]) -> None:
    site.statuses = [503, 429]
    worker("push", document(site, "first"))
    worker("push", document(site, "second"))
    assert worker("waiting") == ["/shown/first", "/shown/second"]

    worker("push", document(site, "third"))

    assert worker("waiting") == []
    assert site.receipts[-1] == [
        {"token": "first", "event": "shown"},
        {"token": "second", "event": "shown"},
        {"token": "third", "event": "shown"},
    ]


def test_a_report_says_for_how_long_the_alert_has_been_on_the_screen(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503]
    worker("push", document(site, "first"))
    assert 0 <= (site.ago["first", "shown"] or 0) < 600
    worker("leave", "old")
    worker("push", document(site, "second"))
    worker("click", "")
    assert worker("waiting") == []
    first, second = (site.ago[receipt, "shown"] for receipt in ("first", "second"))
    assert first is not None
    assert second is not None
    assert 0 <= second < 600
    assert 7200 <= first < 7800
    clicks = [ago for (_, event), ago in site.ago.items() if event == "clicked"]
    assert [*clicks, site.ago["old", "shown"]] == [None, None]


def test_an_alert_is_shown_before_its_report_which_has_a_time_out(
    site: Site, worker: Callable[..., Any]
) -> None:
    apart = {"keepalive": True, "credentials": "omit", "referrerPolicy": "no-referrer"}
    assert worker("order", document(site)) == ["shown", {**apart, "ends": True}]


def test_a_refused_report_is_not_repeated(site: Site, worker: Callable[..., Any]) -> None:
    site.statuses = [422]
    worker("push", document(site, "first"))
    assert worker("waiting") == []


def test_of_many_failed_reports_the_oldest_are_dropped(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503] * 60
    worker("pushAll", [document(site, f"r{number}") for number in range(60)])
    assert len(worker("waiting")) == 50
    assert worker("waiting")[-1] == "/shown/r59"


def test_only_some_browsers_of_a_large_audience_report(
    site: Site, worker: Callable[..., Any]
) -> None:
    data = {"api": site.origin, "report": 0.2}
    texts = [document(site, data={**data, "receipt": f"r{number}"}) for number in range(200)]

    worker("pushAll", texts)

    reported = {row["token"] for receipts in site.receipts for row in receipts}
    # 40 on average. Fewer than 14 or more than 70 would come once in a million runs.
    assert 14 <= len(reported) <= 70
    worker("push", document(site, data={**data, "report": 0, "receipt": "none"}))
    worker("close")
    assert {"token": "none", "event": "dismissed"} not in site.receipts[-1]


def test_a_dismissal_is_reported(site: Site, worker: Callable[..., Any]) -> None:
    worker("push", document(site))
    worker("close")
    assert site.receipts == [
        [{"token": "r1", "event": "shown"}],
        [{"token": "r1", "event": "dismissed"}],
    ]


def test_a_click_is_always_reported_together_with_failed_reports(
    site: Site, worker: Callable[..., Any]
) -> None:
    site.statuses = [503, 503]
    worker("push", document(site, "first"))
    worker("close")
    worker("push", document(site, data={"api": site.origin, "report": 0, "receipt": "second"}))
    worker("click", "")
    reported = {(row["token"], row["event"]) for row in site.receipts[-1]}
    assert reported == {("first", "shown"), ("first", "dismissed"), ("second", "clicked")}


def test_a_reader_who_asks_not_to_be_tracked_is_not_counted(
    site: Site, worker: Callable[..., Any]
) -> None:
    worker("private", True)
    worker("push", document(site))
    worker("click", "")
    assert worker("waiting") == []
    assert site.receipts == []


def test_a_browser_whose_disk_is_full_reports_too(
    site: Site, page: Page, worker: Callable[..., Any]
) -> None:
    worker("private", False)  # the worker itself is stored
    disk = page.context.new_cdp_session(page)
    disk.send("Storage.overrideQuotaForOrigin", {"origin": site.origin, "quotaSize": 1})
    try:
        worker("push", document(site))
        worker("click", "")
        assert site.receipts == [
            [{"token": "r1", "event": "shown"}],
            [{"token": "r1", "event": "clicked"}],
        ]
        assert worker("waiting") == []
    finally:
        disk.send("Storage.overrideQuotaForOrigin", {"origin": site.origin})


def test_a_browser_whose_storage_never_answers_reports_each_alert_by_itself(
    site: Site, worker: Callable[..., Any]
) -> None:
    """Nor does an event last for ever, because Safari ends the subscription then."""
    worker("stick")
    worker("push", document(site))
    worker("click", "")
    assert site.receipts == [
        [{"token": "r1", "event": "shown"}],
        [{"token": "r1", "event": "clicked"}],
    ]
