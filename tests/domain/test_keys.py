"""VAPID keys: a second key is introduced, readers move to it, and the old one is retired."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import Result

from service.cli import run
from service.config import Config, ConfigError
from service.domain.keys import KeyRefusal
from service.local.secrets_file import read_secrets
from service.model.keys import VapidKey, b64url
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from tests.support.client import API, VAPID, Client, browser, make_app
from tests.support.command import stoppress
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer

OLD, NEW = VAPID, VapidKey.generate()


def public(key: VapidKey) -> str:
    return b64url(key.public)


def settings(redis_url: str, *keys: VapidKey) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": ",".join(key.text for key in keys),
    }


def opened(redis_url: str, *keys: VapidKey) -> Runtime:
    return Runtime.open(Config.read(settings(redis_url, *keys)))


@pytest.fixture
def reader(redis_url: str) -> dict[str, str]:
    """The id and token of a reader who subscribed when the old key was the only one."""
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=OLD.text))
    return client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json


def keys_command(*command: str, **environment: str) -> Result:
    """Run `stoppress keys`."""
    return stoppress({"DATA_DIR": "/nowhere", **environment}, "keys", *command)


def test_each_message_is_signed_with_the_key_its_reader_subscribed_with(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    both = {"VAPID_PRIVATE_KEY": f"{NEW.text} {OLD.text}"}
    with Installation(redis_url, push, tmp_path, **both) as installation:
        key_of = {}
        for number in range(40):
            key = (OLD, NEW)[number % 2]
            made = push.subscribe(key.public)
            requested = SubscriptionRequest(
                installation.runtime.endpoints.parse(made.endpoint),
                made.p256dh,
                made.auth,
                public(key),
            )
            installation.runtime.store.subscriptions.subscribe(requested)
            key_of[made.endpoint] = public(key)
        installation.worker()
        id = installation.publish()
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 40}
    assert push.refusals == []
    signed = {m.endpoint: m.headers["authorization"].rpartition("k=")[2] for m in push.received}
    assert signed == key_of


def test_reader_with_the_old_key_moves_to_the_new_one_on_the_next_visit(
    redis_url: str, reader: dict[str, str]
) -> None:
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{NEW.text} {OLD.text}"))
    count = client.runtime.store.subscriptions.count_by_vapid_key
    assert client.call("GET", f"{API}/site").json["vapid_public_key"] == public(NEW)
    assert count() == {public(OLD): 1}
    # `optin.js` sends this when the browser's key is no longer the site's.
    request = {"subscription": browser(1)}
    path = f"{API}/subscriptions/{reader['id']}"
    moved = client.call("PATCH", path, request, token=reader["token"]).json
    assert moved["id"] != reader["id"]
    assert count() == {public(OLD): 0, public(NEW): 1}
    stored = client.runtime.store.subscriptions.get(SubscriptionId.parse(moved["id"]))
    assert stored.vapid_key == public(NEW)


def test_key_is_not_retired_while_readers_depend_on_it(
    redis_url: str, reader: dict[str, str]
) -> None:
    runtime = opened(redis_url, NEW, OLD)
    with pytest.raises(KeyRefusal, match=r"^1 readers depend on it"):
        runtime.keys.retire(public(OLD))
    assert runtime.store.installation.retired_vapid_keys() == set()
    with pytest.raises(ConfigError, match=f"1 subscriptions need the key .* {public(OLD)}"):
        opened(redis_url, NEW)


def test_retired_key_may_be_left_out_and_is_never_the_current_one_again(
    redis_url: str, reader: dict[str, str]
) -> None:
    runtime = opened(redis_url, NEW, OLD)
    runtime.store.subscriptions.remove(SubscriptionId.parse(reader["id"]))
    assert runtime.keys.retire(public(OLD)[:20]).place == 1
    states = [(use.public, use.place, use.readers, use.retired) for use in runtime.keys.uses()]
    assert states == [(public(NEW), 0, 0, False), (public(OLD), 1, 0, True)]
    opened(redis_url, NEW).store.redis.close()
    opened(redis_url, NEW, OLD).store.redis.close()
    with pytest.raises(ConfigError, match="was retired; put another in front of it"):
        opened(redis_url, OLD, NEW)


def test_neither_the_current_nor_an_unknown_key_can_be_retired(redis_url: str) -> None:
    runtime = opened(redis_url, NEW, OLD)
    with pytest.raises(KeyRefusal, match="first put another key in front of it"):
        runtime.keys.retire(public(NEW))
    for unknown in (public(VapidKey.generate()), "", "B", public(OLD)[:19]):
        with pytest.raises(KeyRefusal, match="no such key"):
            runtime.keys.retire(unknown)
    assert runtime.store.installation.retired_vapid_keys() == set()


def test_command_lists_keys_and_retires_one_after_its_last_reader_left(
    redis_url: str, reader: dict[str, str]
) -> None:
    environment = settings(redis_url, NEW, OLD)
    listed = keys_command("list", **environment)
    assert listed.exit_code == 0
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        [public(NEW)[:20] + "…", "0"],
        [public(OLD)[:20] + "…", "1"],
    ]
    assert max(map(len, listed.stdout.splitlines())) <= 80

    refused = keys_command("retire", rows[1][0], **environment)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: 1 readers depend on it")

    runtime = opened(redis_url, NEW, OLD)
    runtime.store.subscriptions.remove(SubscriptionId.parse(reader["id"]))
    done = keys_command("retire", rows[1][0], **environment)
    assert done.exit_code == 0
    assert "take value 2 of 2 out of VAPID_PRIVATE_KEY" in done.stdout
    assert not re.search(f"{OLD.text}|{NEW.text}", listed.stdout + refused.stderr + done.stdout)


def test_backup_is_printed_and_noted_until_there_is_another_key(redis_url: str) -> None:
    printed = keys_command("backup", **settings(redis_url, OLD))
    assert printed.exit_code == 0
    assert printed.stderr == ""
    assert printed.stdout == (
        f"SECRET_KEY=a secret of at least 32 characters\nVAPID_PRIVATE_KEY={OLD.text}\n"
    )
    for keys, kept in (((OLD,), True), ((NEW, OLD), False), ((NEW,), False)):
        runtime = opened(redis_url, *keys)
        assert (runtime.keys.backed_up_at() is not None) is kept


def test_a_command_with_other_keys_than_the_workers_changes_and_prints_nothing(
    redis_url: str,
) -> None:
    workers = opened(redis_url, OLD)
    workers.keys.announce()
    kept = workers.store.redis.hget("{g}:keys", "secret")
    other_secret = {**settings(redis_url, OLD), "SECRET_KEY": "another of at least 32 characters"}
    for environment in (settings(redis_url, NEW), other_secret):
        for command, code in (("backup", 1), ("list", 2)):
            refused = keys_command(command, **environment)
            assert (refused.exit_code, refused.stdout) == (code, "")
            assert "the running workers have other keys than this command" in refused.stderr
    assert workers.store.redis.hget("{g}:keys", "secret") == kept


@pytest.mark.parametrize("fits", [True, False])
def test_stoppress_up_keeps_the_keys_that_it_runs_with_and_no_others(
    redis_url: str,
    reader: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: bool,
) -> None:
    assert reader
    started = iter(())
    monkeypatch.setattr(run, "check_port", lambda _: None)
    monkeypatch.setattr(run, "_start_processes", lambda *_: next(started))
    given = {**settings(redis_url, NEW, OLD), "DATA_DIR": str(tmp_path)}
    if fits:
        stoppress(given, "up")
        kept = {name: given[name] for name in ("SECRET_KEY", "VAPID_PRIVATE_KEY")}
        assert read_secrets(tmp_path) == kept
    else:
        del given["VAPID_PRIVATE_KEY"]  # a new one would be made
        assert "subscriptions need the key" in stoppress(given, "up").stderr
        assert read_secrets(tmp_path) == {}


def test_backup_is_printed_even_if_it_cannot_be_noted(tmp_path: Path) -> None:
    printed = keys_command("backup", **settings(f"unix://{tmp_path}/no.sock", OLD))
    assert printed.exit_code == 0
    assert OLD.text in printed.stdout
    assert printed.stderr == (
        "stoppress: the backup was printed, but not recorded: REDIS_URL: Redis cannot be reached:"
        " there is no such socket\n"
    )


def test_process_starts_with_the_same_keys_while_redis_is_full() -> None:
    with RedisServer() as server:
        opened(server.url, OLD).store.redis.close()
        with server.full():
            opened(server.url, OLD).store.redis.close()
