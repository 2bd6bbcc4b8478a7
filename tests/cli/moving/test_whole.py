"""A newsroom moves to another installation with everything: readers, tokens, totals, alerts."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from service.config import Config
from service.domain.operations.daily_totals import today
from service.local import pretend_readers
from service.model.keys import VapidKey, from_b64url
from service.model.notifications import Audience, Topic
from service.model.subscriptions import SubscriptionRequest
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from service.store.readers.arrivals import Arrival
from tests.support.client import browser
from tests.support.command import stoppress
from tests.support.processes.as_workers import deliver, hold, send
from tests.support.processes.installation import content

SOAK = pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])
ZONES, LOCALES = ("Europe/Riga", "Asia/Aden", "+05:30", None), ("lv", "en-GB", None)


def opened(environment: dict[str, str]) -> Runtime:
    return Runtime.open(Config.read(environment))


def reader(runtime: Runtime, number: int) -> SubscriptionRequest:
    """Return a reader who has chosen something else than the one before."""
    topics = [frozenset({"world"}), frozenset({"sport", "world"}), frozenset[str]()][number % 3]
    chosen = [{}, {"daily_limit": 3}, {"allow_breaking": True, "receipts": False}][number % 3]
    return SubscriptionRequest(
        runtime.endpoints.parse(browser(number)["endpoint"]),
        *pretend_readers.keys(number),
        runtime.keys.current,
        topics=topics,
        locale=LOCALES[number % 3],
        zone=ZONES[number % 4],
        chosen=chosen,
        wording=number % 5,
        must_confirm=number % 50 == 1,
        followed=frozenset({"quake"}) if number % 7 == 0 else None,
        muted=frozenset({"quake"}) if number % 7 == 1 else None,
    )


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "STORE_PARTITIONS": "3"}


@pytest.fixture
def newsroom(environment: dict[str, str], request: pytest.FixtureRequest) -> Runtime:
    """An installation with readers, of whom some have left, alerts and totals."""
    runtime = opened(environment)
    for slug in ("world", "sport"):
        runtime.topics.add(Topic(slug, slug.title(), f"All of {slug}", slug == "world"))
    runtime.store.redis.hset("{g}:stories", "quake", "1 1764000000000")
    count = getattr(request, "param", 300)
    for first in range(0, count, 2048):
        numbers = range(first, min(first + 2048, count))
        arrivals = [Arrival(reader(runtime, n), None, 20_000 + n % 300, 20_400) for n in numbers]
        runtime.subscriptions.take_over(arrivals, untried=False)
    for number in (3, 30, 33):
        runtime.subscriptions.remove(runtime.subscriptions.at(reader(runtime, number).endpoint))
    return runtime


def export(environment: dict[str, str], path: Path, *options: str) -> list[dict[str, Any]]:
    done = stoppress(environment, "export", str(path), *options)
    assert done.exit_code == 0, done.output
    assert path.stat().st_mode & 0o777 == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


def take(
    environment: dict[str, str], path: Path, *options: str, code: int = 0
) -> tuple[dict[str, int], str]:
    done = stoppress(environment, "import", str(path), "--json", *options)
    assert done.exit_code == code, done.output
    return {kind: n for kind, n in json.loads(done.stdout).items() if n}, done.stderr


def elsewhere(environment: dict[str, str], newsroom: Runtime, **settings: str) -> dict[str, str]:
    """Return the settings of an installation into which nothing came yet."""
    newsroom.store.redis.flushdb()
    return {name: text for name, text in environment.items() if "PARTITIONS" not in name} | settings


def same(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of an export without what names this export."""
    new = ("export", "at", "kept_ms")
    return [{name: one[name] for name in one if name not in new} for one in lines]


@pytest.mark.parametrize("newsroom", [2000, SOAK], indirect=True)
def test_readers_and_their_tokens_are_the_same_elsewhere(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    file, count = tmp_path / "all.jsonl", newsroom.subscriptions.count()
    before = export(environment, file)
    readers = [one for one in before if "kind" not in one]
    assert len(readers) == count > 1900
    kinds = ("live", "unconfirmed")
    counts = [newsroom.store.subscriptions.count(kind) for kind in kinds]
    followers = newsroom.topics.followers()
    some = [newsroom.subscriptions.get(one["id"]) for one in readers[:: count // 50]]
    tokens = {str(one.id): newsroom.subscriptions.token(one) for one in some}
    there = elsewhere(environment, newsroom)
    assert len(opened(there).store.partitions) == 12

    assert take(there, file) == ({"new": count}, "")
    assert same(export(there, tmp_path / "again.jsonl")) == same(before)
    runtime = opened(there)
    for id, token in tokens.items():
        assert str(runtime.subscriptions.of_reader(id, token).id) == id
    assert [runtime.store.subscriptions.count(kind) for kind in kinds] == counts
    assert runtime.topics.followers() == followers
    new, _ = runtime.subscriptions.subscribe(reader(runtime, 1_000_000))
    assert str(new.id) not in {one["id"] for one in readers}
    assert take(there, file) == ({"known": count}, ""), "a second time changes nothing"


def test_alerts_totals_and_stories_move_along(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    send(newsroom, lambda at: at % 100 == 0)
    (alert,) = newsroom.publishing.latest(9)
    tallies = [Tally("clicked", "language", "lv")]
    rows = [ReceiptRow(alert.id, "clicked", str(n), tallies) for n in range(20)]
    newsroom.store.receipt_counts.count(rows, 1000)
    newsroom.daily_totals.keep(time.time())
    day = today()
    before, totals = newsroom.figures.all([alert]), newsroom.daily_totals.days(day, 2)
    assert before[0].counted.events["clicked"] == 20
    topics = newsroom.topics.all()
    file = tmp_path / "all.jsonl"
    export(environment, file)
    there = elsewhere(environment, newsroom)
    take(there, file)
    runtime = opened(there)
    assert runtime.publishing.latest(9) == [alert]
    assert runtime.figures.all([alert]) == before
    assert runtime.daily_totals.days(day, 2) == totals
    assert runtime.topics.all() == topics
    assert runtime.store.stories.slugs() == {"quake"}
    assert runtime.store.notifications.new_id() > alert.id


def test_waves_that_brought_held_alerts_move_along(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    quarter = int(time.time() // QUARTER) + 20
    id = newsroom.publishing.publish(content(), Audience(everyone=True), by="a test").id
    hold(newsroom, id, {quarter: 20})
    wave = deliver(newsroom, quarter, id)
    alert, held = newsroom.publishing.get(id), newsroom.publishing.held(newsroom.publishing.get(id))
    assert [one.id for one in held.waves] == [wave]
    assert held.by_wave == 20
    waves, figures = newsroom.publishing.waves(9), newsroom.figures.all([alert])
    file, of_before = tmp_path / "all.jsonl", tmp_path / "as-an-earlier-release-wrote-it.jsonl"
    export(environment, file)
    lines = file.read_text().splitlines(keepends=True)
    of_before.write_text("".join(one for one in lines if '"kind": "wave"' not in one))
    assert len(of_before.read_text().splitlines()) == len(lines) - 1

    there = elsewhere(environment, newsroom)
    take(there, file)
    runtime = opened(there)
    assert runtime.publishing.held(alert) == held
    assert runtime.publishing.waves(9) == waves
    assert runtime.figures.all([alert]) == figures
    assert runtime.publishing.latest(9) == [alert], "no editor wrote a wave"
    take(elsewhere(environment, newsroom), of_before)
    runtime = opened(there)
    assert runtime.publishing.held(alert).waves == (), "nobody knows any more when these were"
    assert runtime.figures.all([alert]) == figures


def test_a_correction_does_not_move_without_the_alert_that_it_corrects(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    root = newsroom.publishing.publish(content(), Audience(everyone=True), by="a test").id
    correct = newsroom.corrections.correct
    later = correct(root, title="Or not", body=None, url=None, replace=False, by="a test").id
    newsroom.planning.advance(later)
    assert [newsroom.publishing.get(id).over for id in (root, later)] == [False, True]

    def exported(file: str) -> list[int]:
        return [one["alert"] for one in export(environment, tmp_path / file) if "alert" in one]

    assert exported("early.jsonl") == []
    hold(newsroom, root, {})
    assert exported("late.jsonl") == [later, root]


def test_move_that_was_stopped_goes_on_while_readers_come(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    file, half = tmp_path / "all.jsonl", tmp_path / "half.jsonl"
    before = export(environment, file)
    lines = file.read_text().splitlines(keepends=True)
    half.write_text("".join(lines[: len(lines) - 150]))
    there = elsewhere(environment, newsroom)
    take(there, half)
    runtime = opened(there)
    new, _ = runtime.subscriptions.subscribe(reader(runtime, 1_000_000))
    chosen = runtime.subscriptions.get(before[-200]["id"])
    runtime.store.subscriptions.change(
        chosen.id, SubscriptionRequest(*chosen[1:5], topics=frozenset({"sport"}))
    )
    assert take(there, file) == ({"new": 150, "known": 147}, "")
    after = {one["id"]: one for one in export(there, file) if "kind" not in one}
    del after[str(new.id)], after[str(chosen.id)]
    assert after == {
        one["id"]: one for one in before if "kind" not in one and one["id"] != str(chosen.id)
    }
    assert runtime.subscriptions.get(str(chosen.id)).topics == {"sport"}, "the newer choice"


def test_installation_with_readers_takes_the_readers_alone(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    send(newsroom, lambda _at: False)
    file = tmp_path / "all.jsonl"
    before = export(environment, file)
    there = elsewhere(environment, newsroom)
    runtime = opened(there)
    runtime.topics.add(Topic("world", "World"))
    known, _ = runtime.subscriptions.subscribe(reader(runtime, 5))
    counts, said = take(there, file)
    assert counts == {"new": 296, "known": 1}
    assert "get other ids" in said
    assert len(runtime.store.partitions) == 12
    assert runtime.publishing.latest(9) == []
    assert list(runtime.topics.all()) == ["world"]
    after = export(there, file)
    kept = ("subscription", "subscribed_on", "seen_on", "confirmed", "wording", "timezone")

    def of(lines: list[dict[str, Any]]) -> list[str]:
        rows = (one for one in lines if "kind" not in one)
        rows = (one for one in rows if one["subscription"]["endpoint"] != known.endpoint.url)
        return sorted(json.dumps([one[name] for name in kept]) for one in rows)

    assert of(after) == of(before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": 2}, "of a later release"),
        ({"partitions": "all"}, "partitions that this release does not know"),
        ({"partitions": [700]}, "partitions that this release does not know"),
        ({"last_alert": "x"}, "not as an export has it"),
        ({"vapid_public_keys": None}, "not as an export has it"),
    ],
    ids=["later", "no list", "no partition", "no number", "no keys"],
)
def test_header_that_cannot_be_followed_is_refused_in_a_line(
    environment: dict[str, str],
    newsroom: Runtime,
    tmp_path: Path,
    change: dict[str, Any],
    says: str,
) -> None:
    file = tmp_path / "all.jsonl"
    lines = export(environment, file)
    file.write_text(json.dumps(lines[0] | change) + "\n" + json.dumps(lines[1]) + "\n")
    there = elsewhere(environment, newsroom)
    done = stoppress(there, "import", str(file))
    assert done.exit_code == 1
    assert says in done.output
    assert opened(there).store.moving.is_empty()


def test_broken_lines_of_an_export_are_refused_each_with_the_reason(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl"
    lines = export(environment, file)
    broken = [
        {"kind": "partition", "partition": 3},
        {"kind": "topic", "slug": "x"},
        {"kind": "table", "table": "keys", "fields": {"secret": "x"}},
        {"kind": "alert", "alert": "one"},
        {"kind": "day", "date": "*", "fields": {}, "counted": 0},
        {"kind": "editor"},
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in [lines[0], *broken, *lines[1:]]))
    assert take(elsewhere(environment, newsroom), file)[0] == {"new": 297, "refused": 6}


def test_other_secret_key_or_a_missing_vapid_key_is_said(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl"
    export(environment, file)
    another = VapidKey.generate()
    there = elsewhere(
        environment,
        newsroom,
        SECRET_KEY="another secret of at least 32 characters",
        VAPID_PRIVATE_KEY=another.text,
    )
    counts, said = take(there, file, code=1)
    assert counts == {"refused": 297}
    assert "SECRET_KEY=new,old" in said
    assert f"the VAPID key {newsroom.keys.current[:20]}…" in said


def test_readers_leave_as_the_csv_that_onesignal_exports(
    environment: dict[str, str], newsroom: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "readers.csv"
    done = stoppress(environment, "export", str(file), "--as", "onesignal")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 297
    one = newsroom.subscriptions.get(rows[9]["id"])
    assert rows[9]["identifier"] == one.endpoint.url
    assert from_b64url(rows[9]["web_p256"]) == one.p256dh
    there = elsewhere(environment, newsroom)
    opened(there).topics.add(Topic("world", "World"))
    named = ("--topic", "world", "--vapid-key", newsroom.keys.current)
    assert take(there, file, *named)[0] == {"new": 297}
