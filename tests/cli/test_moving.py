"""Readers of other services move in from a file."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st

from service.cli import import_file, moving
from service.cli.terminal import date_of
from service.domain.alerts.alert_log import Search
from service.domain.operations.daily_totals import today
from service.domain.readers.subscriptions import Subscriptions
from service.local import pretend_readers
from service.local.reader_files import NotReaders, Row, open_rows
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience, Topic
from service.model.retention import DAY
from service.model.time import clock
from service.runtime import Runtime
from service.store.readers import all_readers
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import Added, NotSubscribed
from tests.support.client import Client, browser, make_app
from tests.support.command import stoppress
from tests.support.installation import Installation
from tests.support.push_service import PushService

Import = Callable[..., dict[str, int]]


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """An installation with two topics."""
    runtime.topics.add(Topic("world", "World"))
    runtime.topics.add(Topic("sport", "Sport"))
    return runtime


@pytest.fixture
def take(environment: dict[str, str], runtime: Runtime, tmp_path: Path) -> Import:
    """Import a file with this content; return how many readers were what."""
    path = tmp_path / "readers"

    def taken(content: str | bytes, *options: str, code: int = 0) -> dict[str, int]:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        named = ("--topic", "world", "--vapid-key", runtime.keys.current)
        done = stoppress(environment, "import", str(path), "--json", *named, *options)
        assert done.exit_code == code, done.output
        found = json.loads(done.stdout)
        return {kind: count for kind, count in found.items() if count}

    return taken


def reader(number: int) -> tuple[str, str, str]:
    """Return endpoint, p256dh and auth."""
    made = browser(number)
    return made["endpoint"], made["keys"]["p256dh"], made["keys"]["auth"]


def padded(text: str) -> str:
    """Return a key in standard base64."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return base64.b64encode(raw).decode()


def table(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)


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


THEIRS = VapidKey.generate()


def pem(form: PrivateFormat) -> bytes:
    return THEIRS.signing_key.private_bytes(Encoding.PEM, form, NoEncryption())


@pytest.mark.parametrize(
    "given",
    [
        THEIRS.private,
        f"VAPID_PRIVATE_KEY={THEIRS.text}\n".encode(),
        pem(PrivateFormat.PKCS8),
        pem(PrivateFormat.TraditionalOpenSSL),
        THEIRS.signing_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        json.dumps({"publicKey": b64url(THEIRS.public), "privateKey": THEIRS.text}).encode(),
    ],
    ids=["raw", "setting", "PEM", "SEC 1", "DER", "web-push"],
)
def test_key_of_the_other_service_is_named_by_its_file_in_any_form(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path, given: bytes
) -> None:
    file, key = tmp_path / "readers.jsonl", tmp_path / "their.key"
    file.write_text(json.dumps(browser(0)))
    key.write_bytes(given)
    ours = {**environment, "VAPID_PRIVATE_KEY": f"{environment['VAPID_PRIVATE_KEY']},{THEIRS.text}"}
    for settings, code in ((environment, 2), (ours, 0)):
        named = ("--vapid-key", str(key), "--topic", "world")
        done = stoppress(settings, "import", str(file), *named)
        assert done.exit_code == code, done.output
    one = runtime.subscriptions.at(runtime.endpoints.parse(reader(0)[0]))
    assert one.vapid_key == b64url(THEIRS.public)


def test_alert_to_a_reader_who_moved_in_is_signed_with_the_key_of_the_other_service(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    ours = VapidKey.generate()
    keys = {"VAPID_PRIVATE_KEY": f"{ours.text},{THEIRS.text}"}
    with Installation(redis_url, push, tmp_path, **keys) as installation:
        file = tmp_path / "readers.jsonl"
        reader = push.subscribe(THEIRS.public)
        file.write_text(json.dumps(reader.as_json()))
        named = ("--topic", "world", "--vapid-key", b64url(THEIRS.public)[:20])
        done = stoppress(installation.environment, "import", str(file), *named)
        assert done.exit_code == 0, done.output
        worker = installation.worker()
        id = installation.publish()
        installation.runtime.planning.advance(id)
        installation.over(id)
        installation.end(worker)
        assert installation.outcomes(id) == {"accepted": 1}
    assert [message.path for message in push.received] == [urlsplit(reader.endpoint).path]


@pytest.mark.parametrize("option", [(), ("--dry-run",)], ids=["import", "dry run"])
def test_readers_are_bound_to_no_key_that_nobody_named(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path, option: tuple[str, ...]
) -> None:
    file = tmp_path / "readers.jsonl"
    file.write_text(json.dumps(browser(0)))
    done = stoppress(environment, "import", str(file), "--topic", "world", *option)
    assert done.exit_code == 2
    assert "say with --vapid-key with which key these readers subscribed" in done.stderr
    assert runtime.subscriptions.count() == 0


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--topics-from", "segments"), "no row of the file has the column segments"),
        (("--map", "cricket"), "write THEIRS=SLUG"),
        (("--map", "cricket=cricket"), "cricket is no topic (world, sport)"),
    ],
)
def test_topics_that_cannot_be_found_stop_an_import_before_it_begins(
    environment: dict[str, str],
    runtime: Runtime,
    tmp_path: Path,
    options: tuple[str, ...],
    says: str,
) -> None:
    path = tmp_path / "readers"
    path.write_text(json.dumps(browser(0)))
    named = ("--topic", "world", "--vapid-key", runtime.keys.current)
    done = stoppress(environment, "import", str(path), *named, *options)
    assert done.exit_code in (1, 2) and says in done.stderr
    assert runtime.subscriptions.count() == 0


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


def test_desk_says_who_imported_readers_and_how_many_came(take: Import, runtime: Runtime) -> None:
    content = "\n".join(json.dumps(browser(number)) for number in range(3))
    take(content, "--dry-run")
    assert not list(runtime.alert_log.found(Search()))
    take(content)
    take(content)  # brings nobody
    take("\n".join(json.dumps(browser(number)) for number in range(2, 4)))
    entries = list(runtime.alert_log.found(Search(action="imported")))
    said = [(one.title, one.others, one.by) for one in entries]
    host = f"the command line of {socket.gethostname()}"
    assert said == [("1 reader", ("1 was here already",), host), ("3 readers", (), host)]
    assert runtime.daily_totals.days(today(), 1)[0].imported == 4


def test_import_of_which_all_is_refused_ends_with_1(take: Import) -> None:
    broken = json.dumps({"endpoint": "", "keys": {"p256dh": "", "auth": ""}})
    for option in ((), ("--dry-run",)):
        assert take(broken, *option, code=1) == {"refused": 1}
    assert take(json.dumps({**browser(0), "unsubscribed": True})) == {"unsubscribed": 1}
    for _ in range(2):
        assert take(broken + "\n" + json.dumps(browser(1)))["refused"] == 1


def test_a_choice_that_a_reader_has_made_here_stays(take: Import, runtime: Runtime) -> None:
    row = {**browser(0), "topics": ["sport", "cats"], "timezone": "Europe/Riga"}
    assert take(json.dumps(row)) == {"new": 1, "unknown_topics": {"cats": 1}}
    one = runtime.subscriptions.at(runtime.endpoints.parse(row["endpoint"]))
    assert (one.topics, one.zone) == ({"sport"}, "Europe/Riga")
    assert take(json.dumps(browser(0))) == {"known": 1}
    assert runtime.subscriptions.get(str(one.id)).topics == {"sport"}


def test_an_import_that_was_stopped_goes_on_and_stores_nobody_twice(
    environment: dict[str, str],
    runtime: Runtime,
    take: Import,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = "\n".join(json.dumps(browser(number % 90)) for number in range(100))
    (tmp_path / "some").write_text(content)
    whole = Subscriptions.take_over

    def stopped(self: Subscriptions, arrivals: Sequence[Arrival], **options: Any) -> list[Added]:
        done = whole(self, arrivals[:30], **options)
        if self.count() > 50:
            raise KeyboardInterrupt
        return done + whole(self, arrivals[30:], **options)

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_AT_ONCE", 40)
        patched.setattr(Subscriptions, "take_over", stopped)
        named = ("--topic", "world", "--vapid-key", runtime.keys.current)
        done = stoppress(environment, "import", str(tmp_path / "some"), *named)
    assert done.exit_code == 130
    assert " 40 imported, at least" in done.stdout
    assert "The same command goes on where it was" in done.stderr
    assert runtime.subscriptions.count() == 70
    assert take(content) == {"new": 20, "known": 70, "duplicate": 10}
    assert runtime.subscriptions.count() == 90


def test_a_dry_run_stores_nothing(take: Import, runtime: Runtime) -> None:
    assert take(json.dumps(browser(0)), "--dry-run") == {"new": 1}
    assert runtime.subscriptions.count() == 0


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
        (json.dumps(browser(0)), ("--vapid-key", ""), "with which key these readers subscribed"),
    ],
    ids=["empty", "no header", "half", "topic", "key", "no columns", "no key"],
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
    assert says in done.output
    assert runtime.subscriptions.count() == 0


@given(content=st.binary(max_size=400) | st.text(alphabet='ab",;\n\r{}[]:\0', max_size=300))
@example(content=b"\xef")  # the beginning of a byte-order mark
@example(content=b"\xef\xbb")
@example(content=b"\xff\xfe")
@example(content=b"\xff\xfe\x00")
@example(content="[" * 100_000)
@example(content='{"a":' * 100_000)
def test_no_file_ends_the_reading_but_by_a_word(
    content: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        with open_rows(path) as (rows, _):
            assert all(isinstance(row, Row) for row in rows)
    except NotReaders:
        pass


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


def test_a_spreadsheet_or_an_archive_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "readers.xlsx"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(NotReaders, match="ZIP archive or a spreadsheet"), open_rows(path):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"a," * (1 << 20) + b"z\n1,2\n",
        b"a,b\n" + b"x" * (3 << 20) + b"\n1,2\n",
        b'{"a": "' + b"x" * (3 << 20) + b'"}\n{"a": 1}\n',
        b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le")[:-1],
        b'a,b\r\n"1\r\n\r\n",2\r\n',
        b"a,b\r1,2\r",
    ],
    ids=["columns", "line", "JSON line", "half", "CRLF", "CR"],
)
def test_a_file_of_an_odd_form_ends_no_more_than_its_own_rows(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "readers"
    path.write_bytes(content)
    found = []
    with suppress(NotReaders), open_rows(path) as (rows, _):
        found.extend(rows)
    assert found and (len(found) > 1 or not found[0].why)


def test_blank_lines_may_stand_before_a_header(tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("\ufeff\n \r\nendpoint;auth\nhttps://push.example/1;secret\n")
    with open_rows(path) as (rows, _):
        assert [row.fields for row in rows] == [
            {"endpoint": "https://push.example/1", "auth": "secret"}
        ]


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
