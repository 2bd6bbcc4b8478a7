"""The service worker while no page is open: a subscription that the browser changed by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


OLD = {"options": {"applicationServerKey": "the old key"}}
NOTHING = {"oldSubscription": None, "newSubscription": None}
KEPT = {"api": "https://push.example/", "key": "the key", "id": "0-1", "token": "t"}
NOW = {"id": "0-9", "token": "new", "endpoint": "https://push.example/new"}
TOLD = {"subscription": {"endpoint": "https://push.example/new"}, "vapid_public_key": "the key"}


def test_a_lost_subscription_of_an_unknown_reader_is_renewed_with_its_own_key(
    worker: Callable[..., Any],
) -> None:
    with_its_key = {"userVisibleOnly": True, "applicationServerKey": "the old key"}
    for event, asked in (
        # Only the old subscription names the key. Without it the page renews it on the next visit.
        (NOTHING, []),
        ({}, []),
        ({"oldSubscription": OLD, "newSubscription": {}}, []),
        ({"oldSubscription": None, "newSubscription": {}}, []),
        ({"oldSubscription": OLD, "newSubscription": None}, [with_its_key]),
    ):
        assert worker("lost", event) == {"asked": asked, "called": [], "kept": None}, event


def test_a_readers_lost_subscription_is_renewed_and_told_without_a_page(
    worker: Callable[..., Any],
) -> None:
    """Chrome 138 says nothing of either subscription when a reader gives a permission back."""
    subscribed = {"userVisibleOnly": True, "applicationServerKey": "the key"}
    where = "https://push.example/api/v1/subscriptions/0-1"
    for event, times in (
        (NOTHING, 1),
        ({"oldSubscription": OLD, "newSubscription": None}, 1),
        ({"oldSubscription": None, "newSubscription": TOLD["subscription"]}, 0),
    ):
        done = worker("lost", event, KEPT)
        assert done["asked"] == [subscribed] * times, event
        assert done["called"] == [["PATCH", where, "Bearer t", TOLD]], event
        assert done["kept"] == {**KEPT, **NOW}, event


def test_a_reader_comes_back_with_the_same_choices_after_the_browser_lost_the_subscription(
    worker: Callable[..., Any],
) -> None:
    chosen = {"topics": ["world"], "timezone": "Europe/Riga"}
    done = worker("lost", NOTHING, {"api": KEPT["api"], "key": "the key", **chosen})
    where = "https://push.example/api/v1/subscriptions"
    assert done["called"] == [["POST", where, None, {**TOLD, **chosen}]]
    assert done["kept"] == {**KEPT, **chosen, **NOW}


@pytest.mark.parametrize(
    ("statuses", "calls", "comes_back"),
    [
        ([404, 404], 3, True),
        ([404, 410], 2, False),  # the reader has left
        ([404, 503], 2, False),
        ([503], 1, False),  # the next page view tries again
    ],
)
def test_a_reader_whose_record_was_deleted_meanwhile_comes_back_unless_they_left(
    worker: Callable[..., Any], statuses: list[int], calls: int, comes_back: bool
) -> None:
    """The push service had ended the old endpoint, and an alert came before this."""
    old = "https://push.example/old"
    kept = {**KEPT, "endpoint": old, "topics": ["world"], "locale": "lv"}
    done = worker("lost", NOTHING, kept, statuses)
    where = "https://push.example/api/v1/subscriptions"
    asked = {**TOLD, "subscription": {"endpoint": old}, "refresh": True}
    again = {**TOLD, "topics": ["world"], "locale": "lv"}
    all_calls = [
        ["PATCH", f"{where}/0-1", "Bearer t", TOLD],
        ["POST", where, None, asked],
        ["POST", where, None, again],
    ]
    assert done["called"] == all_calls[:calls]
    assert done["kept"] == ({**kept, **NOW} if comes_back else kept)


def test_after_a_month_nobody_is_subscribed_again_without_a_page(
    worker: Callable[..., Any],
) -> None:
    kept = {**KEPT, "endpoint": "https://push.example/old", "topics": ["world"]}
    done = worker("lost", NOTHING, kept, [404], 31 * 86_400_000)
    assert [method for method, *_ in done["called"]] == ["PATCH"]
