"""Public ids, and records as they are packed."""

from __future__ import annotations

import pytest

from service.model.preferences import Preferences, Quiet
from service.model.subscriptions import Record, SubscriptionId


def test_record_survives_packing() -> None:
    keys = b"\x04" + bytes(range(64)), bytes(16)
    chosen = Preferences(Quiet(88, 28), 3, allow_breaking=True, paused_until=1_795_644_000)
    record = Record(3, "rest/of%2Fit", *keys, 2, 2000, 1999, 20000, 20001, chosen.pack(), 7)
    assert Record.unpack(record.pack()) == record


@pytest.mark.parametrize("version", [1, 2, 9])
def test_record_of_another_version_is_refused(version: int) -> None:
    record = Record(3, "rest", bytes(65), bytes(16), 2, 0, 0, 20000, 20001)
    with pytest.raises(ValueError, match=f"version {version}"):
        Record.unpack(bytes([version]) + record.pack()[1:])


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0--1", "0-01", "a-1", "0-4294967296", "256-0", "٣-1"]
)
def test_text_that_is_no_subscription_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a subscription id"):
        SubscriptionId.parse(text)
