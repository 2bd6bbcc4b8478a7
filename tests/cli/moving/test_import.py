"""Readers of other services move in from a file."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.cli import moving
from service.domain.alerts.alert_log import Search
from service.domain.operations.daily_totals import today
from service.domain.readers.subscriptions import Subscriptions
from service.model.keys import VapidKey, b64url
from service.runtime import Runtime
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import Added
from tests.support.client import browser
from tests.support.command import stoppress
from tests.support.moving import Import, reader
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService

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


@pytest.mark.parametrize(
    "option", [(), ("--dry-run",), ("--vapid-key", "")], ids=["import", "dry run", "empty"]
)
def test_readers_are_bound_to_no_key_that_nobody_named(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path, option: tuple[str, ...]
) -> None:
    file = tmp_path / "readers.jsonl"
    file.write_text(json.dumps(browser(0)))
    done = stoppress(environment, "import", str(file), "--topic", "world", *option)
    assert done.exit_code == 2
    assert "say with --vapid-key with which key these readers subscribed" in done.stderr
    assert runtime.subscriptions.count() == 0


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
