"""An export has all of each reader, and moves in elsewhere."""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from service.local import pretend_readers
from service.runtime import Runtime
from service.store.layout.records import Records
from service.store.readers import all_readers
from tests.support.client import Client, browser, make_app
from tests.support.command import stoppress
from tests.support.moving import Import


def exported(environment: dict[str, str]) -> list[dict[str, Any]]:
    done = stoppress(environment, "export", "-")
    assert done.exit_code == 0, done.output
    lines = map(json.loads, done.stdout.splitlines())
    return [line for line in lines if "kind" not in line]


def test_an_export_has_all_of_a_reader_and_moves_in_elsewhere(
    environment: dict[str, str], runtime: Runtime, take: Import, tmp_path: Path
) -> None:
    client = Client(make_app(environment["REDIS_URL"]))
    chosen = (
        {"quiet_hours": {"from": "21:15", "to": "06:00"}, "daily_limit": 3, "topics": ["sport"]},
        {"quiet_hours": None, "daily_limit": None, "allow_breaking": True, "receipts": False},
        {"paused_for": 86_400, "locale": "lv", "timezone": "Europe/Riga", "topics": ["world"]},
    )
    for number, preferences in enumerate(chosen):
        body = {"subscription": browser(number), "topics": ["world", "sport"], **preferences}
        assert client.call("POST", "/api/v1/subscriptions", body).status_code == 201
    file = tmp_path / "all.jsonl"
    assert stoppress(environment, "export", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = exported(environment)
    assert sorted(row["topics"] for row in before) == [["sport"], ["sport", "world"], ["world"]]
    for row in before:
        runtime.subscriptions.remove(runtime.subscriptions.get(row["id"]), lost=True)
    assert exported(environment) == []
    assert take(file.read_text()) == {"new": 3}  # with new ids: the installation had readers

    def without_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = [{name: row[name] for name in row if name != "id"} for row in rows]
        return sorted(rows, key=lambda row: row["subscription"]["endpoint"])

    assert without_id(exported(environment)) == without_id(before)


def test_more_readers_than_are_read_at_once_are_exported(
    environment: dict[str, str], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_readers, "_AT_ONCE", 256)
    topics, key = ("world", "sport"), runtime.keys.current
    given = {"origins": ["https://push.example"], "vapid_key": key, "topics": topics}
    count = 256 * 12 * 3
    list(pretend_readers.seed(runtime.store, count, **given))
    rows = exported(environment)
    assert len({row["id"] for row in rows}) == len(rows) == count
    followers = Counter(topic for row in rows for topic in row["topics"])
    assert dict(followers) == runtime.topics.followers()


def test_readers_who_join_meanwhile_are_exported_with_what_they_follow_or_not_at_all(
    environment: dict[str, str], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"origins": ["https://push.example"], "vapid_key": runtime.keys.current}

    def join() -> None:
        list(pretend_readers.seed(runtime.store, 48, **given, topics=["world"]))

    def read(self: Records, partition: int, numbers: range) -> Any:
        if runtime.subscriptions.count() == 48:
            join()
        return whole(self, partition, numbers)

    join()
    whole = Records.read
    monkeypatch.setattr(Records, "read", read)
    rows = exported(environment)
    assert runtime.subscriptions.count() == 96
    assert 48 <= len(rows) < 96
    assert [row["topics"] for row in rows] == [["world"]] * len(rows)
