"""What the files of other services say of their readers."""

from __future__ import annotations

import base64
import gzip
import json
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.cli import import_file
from service.cli.terminal import date_of
from service.model.notifications import Audience, Topic
from service.model.retention import DAY
from service.model.time import clock
from service.runtime import Runtime
from service.store.readers.subscriptions import NotSubscribed
from tests.support.client import browser
from tests.support.command import stoppress
from tests.support.moving import Import, reader, table


def padded(text: str) -> str:
    """Return a key in standard base64."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return base64.b64encode(raw).decode()


def onesignal(number: int, **more: str) -> list[str]:
    endpoint, p256dh, auth = reader(number)
    row = {
        **{"id": f"id-{number}", "identifier": endpoint, "language": "lv", "timezone": "7200"},
        **{"device_type": "5", "tags": '{""a"": ""b""}', "invalid_identifier": "f"},
        **{"notification_types": "1", "web_auth": padded(auth), "web_p256": padded(p256dh)},
    }
    return [*(row | more).values()]


ONESIGNAL = ["id", "identifier", "language", "timezone", "device_type", "tags"]


ONESIGNAL += ["invalid_identifier", "notification_types", "web_auth", "web_p256"]


def test_a_onesignal_export_moves_in_and_a_second_time_changes_nothing(
    take: Import, environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    rows = [
        ONESIGNAL,
        onesignal(0),
        onesignal(1, invalid_identifier="t"),
        onesignal(2, notification_types="-2"),
        onesignal(3, web_p256="", web_auth=""),
        onesignal(4, language="xx-nonsense", timezone="-12600"),
        onesignal(5, notification_types="0"),
        onesignal(8, device_type="11", identifier="anna@paper.example", web_p256="", web_auth=""),
        onesignal(9, device_type="0", identifier="a1b2c3", web_p256="", web_auth=""),
        onesignal(6, timezone="1", timezone_id=""),
        onesignal(7, timezone="3600", timezone_id="Europe/Riga"),
    ]
    rows = [
        [*row, ""] if len(row) == len(ONESIGNAL) and row is not ONESIGNAL else row for row in rows
    ]
    rows[0] = [*ONESIGNAL, "timezone_id"]
    file = gzip.compress(table(rows).encode())
    assert take(file) == {"new": 4, "unsubscribed": 3, "no_browser": 2, "refused": 1}
    zones = {0: "+02:00", 4: "-03:30", 6: "", 7: "Europe/Riga"}
    for number, zone in zones.items():
        endpoint = runtime.endpoints.parse(reader(number)[0])
        assert runtime.subscriptions.at(endpoint).zone == zone
    named = ("--topic", "world", "--vapid-key", runtime.keys.current)
    done = stoppress(environment, "import", str(tmp_path / "readers"), *named)
    assert "2 are no web browsers (device_type)" in done.output
    assert "1 web_p256 and web_auth: missing" in done.output
    assert "1 have no time zone: their quiet hours go by UTC" in done.output
    one = runtime.subscriptions.at(runtime.endpoints.parse(reader(0)[0]))
    assert (one.topics, one.locale, one.preferences.confirmed) == ({"world"}, "lv", True)
    assert one.vapid_key == runtime.keys.current
    assert not runtime.publishing.latest(9), "nobody is sent a welcome"
    runtime.subscriptions.remove(one)
    assert take(file) == {"known": 3, "left": 1, "unsubscribed": 3, "no_browser": 2, "refused": 1}


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps(browser(number)) for number in range(3)),
        json.dumps([browser(number) for number in range(3)], indent=2),
        "\n".join(json.dumps({"subscription": browser(number)}) for number in range(3)),
        "\ufeff" + table([["Endpoint", "P256dh", "Auth"], *map(reader, range(3))], ";"),
        table([["endpoint", "public_key", "auth_token"], *map(reader, range(3))], "\t"),
        table([["endpoint", "key_p256dh", "key_auth"], *map(reader, range(3))]).encode("utf-16"),
        table([["endpoint", "p256dh", "auth", "tags"], *([*reader(n), "a\nb"] for n in range(3))]),
    ],
    ids=["lines", "array", "nested", "semicolons", "tabs", "UTF-16", "line breaks"],
)
def test_files_come_in_many_forms(take: Import, runtime: Runtime, content: str | bytes) -> None:
    assert take(content) == {"new": 3}
    assert runtime.subscriptions.count() == 3


def test_wonderpush_installations_move_in(take: Import, runtime: Runtime) -> None:
    endpoint, p256dh, auth = reader(0)
    keys = {"p256dh": p256dh, "auth": auth}
    device = {"platform": "Web", "configuration": {"locale": "lv_LV", "timeZone": "Europe/Riga"}}
    tokens = (
        {"data": endpoint, "meta": keys},
        {"data": json.dumps({**browser(1), "expirationTime": None})},
        {"data": {**browser(2)}},
        {"data": {**browser(3)}},
    )
    rows: list[dict[str, Any]] = [{"device": device, "pushToken": token} for token in tokens[:3]]
    no = {"subscriptionStatus": "optOut"}
    rows.append({"device": device, "pushToken": tokens[3], "preferences": no})
    rows.append({"device": {"platform": "iOS"}, "pushToken": {"data": "a1b2c3"}})
    content = "\n".join(json.dumps(one) for one in rows)
    assert take(content) == {"new": 3, "unsubscribed": 1, "refused": 1}
    for number in range(3):
        one = runtime.subscriptions.at(runtime.endpoints.parse(reader(number)[0]))
        assert (one.locale, one.zone, one.topics) == ("lv-LV", "Europe/Riga", {"world"})


def test_broken_rows_are_refused_each_with_the_reason_and_the_rest_moves_in(
    take: Import, tmp_path: Path
) -> None:
    endpoint, p256dh, auth = reader(1)
    rows = [
        ["endpoint", "p256dh", "auth"],
        reader(0),
        (endpoint, p256dh),
        (endpoint, p256dh, "c2hvcnQ"),
        (reader(3)[0], "BAAA", auth),
        ("https://evil.example/x", p256dh, auth),
        ("", p256dh, auth),
        (endpoint, p256dh, auth, "more"),
    ]
    content = table(rows) + f'"{endpoint},never closed\n\0\n' + table([reader(2)])
    assert take(content) == {"new": 2, "refused": 7}
    refused = tmp_path / "readers.refused.jsonl"
    assert stat.S_IMODE(refused.stat().st_mode) == 0o600
    found = {row["row"]: row["why"] for row in map(json.loads, refused.read_text().splitlines())}
    assert found[2] == "it has 2 columns, and the header 3"
    assert found[3] == "auth: Must be 16 bytes."
    assert "p256dh: Must be an uncompressed P-256 public key" in found[4]
    assert "push service" in found[5]
    assert found[6] == "endpoint: missing"
    assert list(found) == [2, 3, 4, 5, 6, 7, 8]
    again = refused.read_text().replace("c2hvcnQ", auth)
    assert take(again) == {"new": 1, "duplicate": 1, "refused": 5}, "the repaired row"


TAGS = [
    '{""sport"": ""1"", ""World"": ""0"", ""age"": ""30""}',
    '[""Late Night"", ""sport""]',
    "World; cricket",
    "sport world",
    '{""section"": ""Sport,World""}',
    "",
]


@pytest.mark.parametrize(
    ("column", "followed", "unknown"),
    [
        (
            "Tags",
            ["sport", "late+sport", "world+sport", "sport+world", "", ""],
            {"age=…": 1, "section=…": 1},
        ),
        ("tags.section", ["", "", "", "", "sport+world", ""], {}),
    ],
)
def test_tags_become_the_topics_of_that_name_and_no_others_are_made(
    take: Import, runtime: Runtime, column: str, followed: list[str], unknown: dict[str, int]
) -> None:
    runtime.topics.add(Topic("late", "Late night"))
    runtime.topics.add(Topic("news", "News"))
    rows = [["Endpoint", "p256dh", "auth", "TAGS"]]
    content = table(rows + [[*reader(number), tags] for number, tags in enumerate(TAGS)])
    options = ("--topics-from", column, "--map", "Cricket=sport", "--topic", "news")
    assert take(content, "--dry-run", *options).get("unknown_topics", {}) == unknown
    found = take(content, *options)
    assert found.pop("unknown_topics", {}) == unknown
    assert found == {"new": 6}
    for number, topics in enumerate(followed):
        one = runtime.subscriptions.at(runtime.endpoints.parse(reader(number)[0]))
        assert one.topics == ({*topics.split("+")} if topics else {"world", "news"}), number
    assert set(runtime.topics.all()) == {"world", "sport", "late", "news"}


def test_tags_of_json_lines_are_found_as_well(take: Import, runtime: Runtime) -> None:
    rows = [{**browser(0), "tags": {"Sport": True, "x": "z"}}, {**browser(1), "tags": ["sport"]}]
    options = ("--topics-from", "tags")
    assert take("\n".join(map(json.dumps, rows)), *options)["unknown_topics"] == {"x=…": 1}
    assert runtime.topics.followers()["sport"] == 2


def test_readers_keep_the_day_on_which_they_subscribed_and_are_not_new(
    take: Import, runtime: Runtime
) -> None:
    now = int(clock.time())
    day = now // DAY
    given = {
        f"{date_of(day - 9)} 23:59:59.123": 9,
        f"{date_of(day - 400)}T10:00:00Z": 400,
        str(now - 2 * DAY): 2,
        f"{(now - 3 * DAY) * 1000:.6e}": 3,  # milliseconds, as a spreadsheet writes them
        date_of(day + 30): 0,
        "1970-01-01 00:00:00": 0,
        "yesterday": 0,
        "9999-99-99": 0,
        "nan": 0,
        "": 0,
    }
    rows = [["endpoint", "p256dh", "auth", "created_at"]]
    rows += [[*reader(number), text] for number, text in enumerate(given)]
    assert take(table(rows)) == {"new": len(given)}
    for number, ago in enumerate(given.values()):
        one = runtime.subscriptions.at(runtime.endpoints.parse(reader(number)[0]))
        assert day - ago - 1 <= one.created <= day - ago + 1, number
        assert one.seen >= day
    new = Audience(everyone=True, new_within_days=366)
    assert runtime.store.audiences.count(new) == 6, "of whom no earlier day is known"


def test_of_several_rows_with_one_endpoint_the_newest_counts(
    take: Import, runtime: Runtime
) -> None:
    def row(number: int, language: str, active: str, gone: str = "f") -> list[str]:
        return [*reader(number), language, active, gone]

    old, new = "2024-05-01 10:00:00", "2024-05-01 10:00:01"
    rows = [
        ["endpoint", "p256dh", "auth", "language", "last_active", "invalid_identifier"],
        row(0, "lv", old),
        row(0, "de", new),
        row(0, "fr", old),
        row(1, "lv", ""),
        row(1, "de", ""),
        row(2, "lv", old),
        row(2, "de", new, gone="t"),
        row(3, "lv", new),
        row(3, "de", old, gone="t"),
    ]
    expected = {"new": 3, "duplicate": 5, "unsubscribed": 1}
    assert take(table(rows), "--dry-run") == expected
    assert take(table(rows)) == expected
    for number, language in ((0, "de"), (1, "de"), (3, "lv")):
        one = runtime.subscriptions.at(runtime.endpoints.parse(reader(number)[0]))
        assert one.locale == language
    with pytest.raises(NotSubscribed):
        runtime.subscriptions.at(runtime.endpoints.parse(reader(2)[0]))


@pytest.mark.parametrize("order", [1, -1])
def test_a_broken_row_costs_no_reader_who_has_a_whole_one(
    take: Import, runtime: Runtime, order: int
) -> None:
    whole = {**browser(0), "last_active": "2024-05-01 10:00:00"}
    broken = {**browser(0), "last_active": "2024-06-01 10:00:00"}
    broken["keys"] = {**broken["keys"], "auth": "c2hvcnQ"}
    rows = [whole, broken][::order]
    assert take("\n".join(map(json.dumps, rows))) == {"new": 1, "refused": 1}
    assert runtime.subscriptions.count() == 1


def test_endpoints_that_only_seem_to_be_there_twice_are_all_taken(
    take: Import, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_file, "_LEAST", 8)  # bytes, for sixty endpoints
    assert take("\n".join(json.dumps(browser(number)) for number in range(60))) == {"new": 60}
    assert runtime.subscriptions.count() == 60


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("", (), "the file is empty"),
        ("hello\nworld", (), "the first line is no header"),
        ("[1, 2", (), "the file is no JSON"),
        (json.dumps(browser(0)), ("--topic", "cats"), "cats is no topic (world, sport)"),
        (json.dumps(browser(0)), ("--vapid-key", "BNone"), "no worker has that key"),
        (
            table([row[:-2] for row in (ONESIGNAL, onesignal(0))]),
            (),
            "column web_p256 and none web",
        ),
        (
            json.dumps(browser(0)),
            ("--topics-from", "segments"),
            "no row of the file has the column",
        ),
        (json.dumps(browser(0)), ("--map", "cricket"), "write THEIRS=SLUG"),
        (
            json.dumps(browser(0)),
            ("--map", "cricket=cricket"),
            "cricket is no topic (world, sport)",
        ),
    ],
    ids=["empty", "no header", "half", "topic", "key", "no columns", "tags", "map", "mapped"],
)
def test_what_cannot_be_imported_is_said_in_a_line(
    environment: dict[str, str],
    runtime: Runtime,
    tmp_path: Path,
    content: str,
    options: tuple[str, ...],
    says: str,
) -> None:
    path = tmp_path / "readers"
    path.write_text(content)
    named = ("--topic", "world", "--vapid-key", runtime.keys.current)
    done = stoppress(environment, "import", str(path), *named, *options)
    assert done.exit_code in (1, 2)
    assert says in done.stderr
    assert runtime.subscriptions.count() == 0


def test_values_as_programs_spell_them_mean_what_they_say(take: Import, runtime: Runtime) -> None:
    """Such as pandas, which makes `-2` of a column with gaps `-2.0`."""
    names = ["Identifier", "web_p256", "web_auth", "notification_types", "device_type", "timezone"]
    names += ["invalid_identifier", "unsubscribed_at", "is_active"]

    def row(number: int, *cells: str) -> list[str]:
        return [*reader(number), *cells]

    rows = [
        [*names, "", ""],
        row(0, "1.0", "5.0", "7200.0", "False", "NaN", "1.0"),
        row(1, "1e0", "5", "7.2e3", "f", "None", "TRUE", ""),
        row(2, "-2.0", "5.0", "7200.0", "False", "nan", "1.0"),
        row(3, "1.0", "5.0", "7200.0", "False", r"\N", "0.0"),
        row(4, "1.0", "5.0", "7200.0", "1.0", "NaT", "yes"),
        row(5, "1.0", "5.0", "7200.0", "0.0", "2024-01-01", "yes"),
        ["a1b2", "", "", "", "11.0", "", "", "", ""],
    ]
    assert take(table(rows)) == {"new": 2, "unsubscribed": 4, "no_browser": 1}
    for number in (0, 1):
        assert runtime.subscriptions.at(runtime.endpoints.parse(reader(number)[0])).zone == "+02:00"


def test_endpoints_that_a_program_has_spelt_otherwise_are_found(
    take: Import, runtime: Runtime
) -> None:
    host = urlsplit(reader(0)[0]).netloc
    spelt = [
        f"HTTPS://{host.upper()}",
        f"https://{host}:443",
        f" https://{host}",
        f"https://{host}",
    ]
    rows = [
        {**browser(n), "endpoint": reader(n)[0].replace(f"https://{host}", one) + " "}
        for n, one in enumerate(spelt)
    ]
    rows.append({**browser(0), "endpoint": reader(0)[0]})
    rows.append({**browser(5), "endpoint": reader(5)[0].replace(host, "fcm.göögle.example")})
    content = "\n".join(map(json.dumps, rows))
    assert take(content) == {"new": 4, "duplicate": 1, "refused": 1}
    assert runtime.subscriptions.at(runtime.endpoints.parse(reader(0)[0]))
