"""Web processes hold no private VAPID key: they know the public halves, and workers sign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.app import create_app
from service.cli.run import without_private_keys
from service.config import Config, ConfigError
from service.model.keys import VapidKey, b64url
from service.runtime import Runtime
from tests.support import ROOT
from tests.support.client import API, Client, browser
from tests.support.command import make_secrets
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

ONE, TWO, FOREIGN = (VapidKey.generate() for _ in range(3))


def public(key: VapidKey) -> str:
    return b64url(key.public)


def settings(redis_url: str, **more: str) -> dict[str, str]:
    secret = "a secret of at least 32 characters"
    return {"REDIS_URL": redis_url, "SECRET_KEY": secret, **more}


def privates(*keys: VapidKey) -> dict[str, str]:
    return {"VAPID_PRIVATE_KEY": " ".join(key.text for key in keys)}


def worker_started(redis_url: str, *keys: VapidKey) -> None:
    """Leave in the store what a worker with these keys leaves there."""
    runtime = Runtime.open(Config.read(settings(redis_url, **privates(*keys))))
    runtime.keys.announce()
    runtime.store.redis.close()


def web(redis_url: str, **more: str) -> Client:
    return Client(create_app(Config.read(settings(redis_url, **more))))


def key_of(client: Client) -> str:
    key: str = client.call("GET", f"{API}/site").json["vapid_public_key"]
    return key


def test_web_takes_the_keys_of_the_workers_from_the_store(redis_url: str) -> None:
    worker_started(redis_url, TWO, ONE)
    client = web(redis_url)
    assert key_of(client) == public(TWO)
    for number, key in enumerate((TWO, ONE)):
        body = {"subscription": browser(number), "vapid_public_key": public(key)}
        assert client.call("POST", f"{API}/subscriptions", body).status_code == 201
    body = {"subscription": browser(2), "vapid_public_key": public(FOREIGN)}
    assert client.call("POST", f"{API}/subscriptions", body).status_code == 422


def test_a_public_key_that_is_set_goes_before_that_of_the_store(redis_url: str) -> None:
    assert key_of(web(redis_url, VAPID_PUBLIC_KEY=public(ONE) + "=")) == public(ONE)
    worker_started(redis_url, TWO, ONE)
    client = web(redis_url, VAPID_PUBLIC_KEY=public(ONE))
    assert key_of(client) == public(ONE)
    assert client.runtime.keys.accepts(public(TWO)), "the workers can sign with it"


def test_a_public_key_whose_private_half_no_worker_has_stops_the_start(redis_url: str) -> None:
    worker_started(redis_url, ONE)
    with pytest.raises(ConfigError, match="VAPID_PUBLIC_KEY: no worker has the private half"):
        web(redis_url, VAPID_PUBLIC_KEY=public(FOREIGN))


def test_a_private_key_given_to_web_is_ignored_with_a_warning(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    worker_started(redis_url, ONE)
    client = web(redis_url, **privates(FOREIGN))
    warning = capsys.readouterr().err
    assert "VAPID_PRIVATE_KEY is set, and ignored" in warning
    assert FOREIGN.text not in warning
    assert key_of(client) == public(ONE)
    assert client.runtime.keys.vapid == ()
    assert client.runtime.config.vapid_private_key == ()
    assert client.app.config["STOPPRESS"].vapid_private_key == ()


def test_before_the_first_worker_web_serves_the_public_half_of_what_it_was_given(
    redis_url: str,
) -> None:
    client = web(redis_url, **privates(TWO, ONE))
    assert key_of(client) == public(TWO)
    assert client.runtime.keys.vapid == ()


def test_without_any_key_the_start_says_which_settings_there_are(redis_url: str) -> None:
    with pytest.raises(ConfigError, match=r"VAPID_PRIVATE_KEY is not set \(`stoppress keys`"):
        web(redis_url)


@pytest.mark.parametrize(
    "text",
    ["x", "é", public(ONE)[:-2], ONE.text, "B" * 87],
    ids=["a letter", "not ASCII", "cut", "private", "no point"],  # the same in each process
)
def test_a_public_key_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^VAPID_PUBLIC_KEY: each must be") as refused:
        Config.read({"VAPID_PUBLIC_KEY": text})
    assert text == "x" or text not in str(refused.value)


def test_a_retired_key_is_no_key_of_web_any_more(redis_url: str) -> None:
    worker_started(redis_url, TWO, ONE)
    client = web(redis_url)
    client.runtime.keys.retire(public(ONE))
    assert web(redis_url).runtime.keys.publics == [public(TWO)]


def test_the_environment_of_web_and_clock_has_no_private_key(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_secrets(tmp_path)
    environ = {"DATA_DIR": str(tmp_path), "REDIS_URL": redis_url, **kept}
    runtime = Runtime.open(Config.read(environ))
    public_only = without_private_keys(environ, runtime)
    assert kept["VAPID_PRIVATE_KEY"] not in " ".join(public_only.values())
    for name in ("SECRET_KEY", "VAPID_PRIVATE_KEY", "VAPID_PUBLIC_KEY", "STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in public_only.items():
        monkeypatch.setenv(name, value)
    app = create_app()
    assert app.extensions["stoppress"].keys.vapid == ()
    assert app.extensions["stoppress"].keys.publics == runtime.keys.publics


def test_a_worker_does_not_start_without_a_private_key(redis_url: str) -> None:
    worker_started(redis_url, ONE)
    done = subprocess.run(
        [sys.executable, "-m", "workers.worker"],
        env={"PATH": "/usr/bin:/bin", **settings(redis_url, VAPID_PUBLIC_KEY=public(ONE))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert " CRITICAL worker: VAPID_PRIVATE_KEY is not set" in done.stderr


def test_a_reader_who_subscribed_through_a_web_process_without_keys_gets_the_alert(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with Installation(redis_url, push, tmp_path) as installation:
        installation.worker()
        wait_until(installation.runtime.store.installation.vapid_keys)
        client = web(
            redis_url,
            PUSH_SERVICES=f"{push.origin} {push.plain_origin}",
            PORT=str(installation.port),
        )
        made = push.subscribe(installation.vapid.public)
        keys = {"p256dh": b64url(made.p256dh), "auth": b64url(made.auth)}
        body = {"subscription": {"endpoint": made.endpoint, "keys": keys}}
        assert client.call("POST", f"{API}/subscriptions", body).status_code == 201
        installation.clock()
        id = installation.publish()
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 1}
    assert push.refusals == []
