"""`stoppress config` shows each setting and where it comes from, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from service.config import Config, ConfigError, settings
from service.live_settings import LiveSettings
from service.model.keys import VapidKey, b64url
from service.runtime import Runtime
from service.setting_sources import override, without
from tests.support.command import stoppress

KEY = VapidKey.generate()
SECRET = "the first secret " * 3


def rows(done: Result) -> dict[tuple[str, str], tuple[str, str]]:
    """Value and source of each setting, by its name and the processes that have it."""
    return {
        (row["setting"], row["processes"]): (row["value"], row["from"])
        for row in json.loads(done.stdout)
    }


def test_each_setting_is_shown_with_where_it_comes_from(
    runtime: Runtime, environment: dict[str, str], tmp_path: Path
) -> None:
    assert isinstance(runtime.settings, LiveSettings)
    runtime.settings.change({"site_name": "The Ferry Post"}, 0, "nora@paper.example")
    file, env_file = tmp_path / "subject", tmp_path / "paper.env"
    file.write_text("mailto:push@paper.example\n")
    env_file.write_text("PORT=8001\nDAILY_LIMIT=3\n")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "keys.env").write_text(f"SECRET_KEY={SECRET}\nVAPID_PRIVATE_KEY={KEY.text}\n")
    given = {
        "REDIS_URL": environment["REDIS_URL"],
        "DATA_DIR": str(data),
        "DAILY_LIMIT": "4",
        "VAPID_SUBJECT_FILE": str(file),
        "HTTPS_PROXY": "http://proxy.example:3128",
    }
    done = stoppress(given, "--env-file", str(env_file), "config", "--json")
    assert done.exit_code == 0, done.output
    found = rows(done)
    assert {name for name, _ in found} == {row.name.upper() for row in settings()}
    for row, (value, source) in {
        ("PORT", "all"): ("8001", str(env_file)),
        ("DAILY_LIMIT", "all"): ("4", "environment"),
        ("SITE_NAME", "web, worker, clock"): (
            "The Ferry Post",
            "the desk, by nora@paper.example",
        ),
        ("SITE_NAME", "fetch"): ("The Daily Example", "default"),
        ("SITE_ICON", "all"): ("", "not set"),
        ("VAPID_SUBJECT", "all"): (
            "mailto:push@paper.example",
            f"{file} (VAPID_SUBJECT_FILE, environment)",
        ),
        ("PUSH_PROXY", "all"): ("http://proxy.example:3128", "HTTPS_PROXY, environment"),
        ("SECRET_KEY", "web, worker, clock"): ("***", f"{data}/keys.env"),
        ("SECRET_KEY", "fetch"): ("", "not set"),
        ("VAPID_PRIVATE_KEY", "worker"): (
            f"*** of {b64url(KEY.public)[:20]}",
            f"{data}/keys.env",
        ),
        ("VAPID_PRIVATE_KEY", "web, clock"): ("", "ignored"),
    }.items():
        assert found[row] == (value, source), row


@pytest.mark.parametrize(
    "url",
    [
        "redis://paper:hunter2@127.0.0.1:1/0",
        "redis://:hunter2@127.0.0.1:1/0",
        "redis://hunter2@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=hunter2",
        "rediss://127.0.0.1:1/0?ssl_password=hunter2",
        "redis://paper:hunter2%40%2F@127.0.0.1:1/0?username=paper&pass%77ord=hunter2",
        "unix://paper:hunter2@/nowhere/redis.sock?db=1",
        "redis+sentinel://:hunter2@127.0.0.1:1/paper?sentinel_password=hunter2",
        "redis://:hunter2/pw@host/0",
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_is_shown(url: str, as_json: bool, tmp_path: Path) -> None:
    given = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "STORE_URL": url,
        "PUSH_PROXY": "user:hunter2@proxy.example:3128",
        "SECRET_KEY": f"{SECRET},{'x' * 40}",
        "VAPID_PRIVATE_KEY": KEY.text,
        "OIDC_CLIENT_SECRET": "hunter2",
        "SENTRY_DSN": "https://hunter2@sentry.example/7",
        "DATA_DIR": str(tmp_path / "none"),
        "COLUMNS": "200",
    }
    done = stoppress(given, "config", *(["--json"] if as_json else []))
    for secret in ("hunter2", SECRET[:8], "xxxxxx", KEY.text[:8], KEY.text[-8:]):
        assert secret not in done.output
    assert "What is set at the desk is not known" in done.stderr
    assert "PUSH_PROXY" in done.stdout
    assert "***@proxy.example:3128" in done.stdout


def test_a_wrong_setting_is_shown_among_the_others(tmp_path: Path) -> None:
    given = {"PORT": "hunter2", "SECRET_KEY_FILE": "/nowhere", "DATA_DIR": str(tmp_path / "none")}
    done = stoppress({**given, "REDIS_URL": "redis://127.0.0.1:1/0"}, "config", "--json")
    assert done.exit_code == 2
    found = rows(done)
    assert found["PORT", "all"] == (
        "wrong: must be a whole number from 1 to 65535",
        "environment",
    )
    assert found["SECRET_KEY", "web, worker, clock"][0] == (
        "wrong: the file cannot be read: No such file or directory"
    )
    assert "hunter2" not in done.output
    assert "2 of these cannot be used" in done.stderr


def test_a_file_of_settings_may_begin_with_a_mark_and_must_be_utf_8(tmp_path: Path) -> None:
    file, given = tmp_path / "paper.env", {"DATA_DIR": str(tmp_path / "none")}
    file.write_text("PORT=8001\nSITE_NAME=Kölner Blatt\n", "utf-8-sig")  # as some editors save it
    found = rows(stoppress(given, "--env-file", str(file), "config", "--json"))
    assert found["PORT", "all"] == ("8001", str(file))
    file.write_text("SITE_NAME=Kölner Blatt\n", "latin-1")
    done = stoppress(given, "--env-file", str(file), "config")
    assert (done.exit_code, done.stderr) == (2, f"stoppress: {file}: must be text in UTF-8\n")


# Settings in files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SECRET_KEY", "STORE_URL", "OIDC_CLIENT_SECRET", "SITE_NAME"])
def test_every_setting_may_be_in_a_file(name: str, tmp_path: Path) -> None:
    text = "redis://:a-password@host/0" if name == "STORE_URL" else "x" * 40
    file = tmp_path / "value"
    file.write_text(f"{text}\n")
    config = Config.read({f"{name}_FILE": str(file)})
    assert config == Config.read({name: text})
    assert name.lower() in config.given


def test_a_key_in_several_lines_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    pem = "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\n"
    file.write_text(pem)
    with pytest.raises(ConfigError) as error:
        Config.read({"VAPID_PRIVATE_KEY_FILE": str(file)})
    assert str(error.value).startswith("VAPID_PRIVATE_KEY_FILE: ")
    assert "hunter2" not in str(error.value)


def test_a_file_that_cannot_be_used_is_named_without_what_it_says(tmp_path: Path) -> None:
    for name, written, why in (
        ("empty", b" \n", "the file is empty"),
        ("long", b"hunter2 " * 10_000, "the file has more than 64 kB"),
        ("bytes", b"hunter2\xff" * 10, "must be text in UTF-8"),
        ("wrong", b"hunter2", "must be a whole number from 1 to 65535"),
    ):
        file = tmp_path / name
        file.write_bytes(written)
        with pytest.raises(ConfigError) as error:
            Config.read({"PORT_FILE": str(file)})
        assert str(error.value) == f"PORT_FILE: {why}"
    with pytest.raises(ConfigError) as error:
        Config.read({"PORT_FILE": str(tmp_path)})
    assert str(error.value) == "PORT_FILE: the file cannot be read: Is a directory"
    with pytest.raises(ConfigError) as error:
        Config.read({"PORT_FILE": "/nowhere\0"})
    assert str(error.value) == "PORT_FILE: the file cannot be read: this is no name of a file"


def test_a_setting_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        Config.read({"SECRET_KEY": "x" * 40, "SECRET_KEY_FILE": "/nowhere"})
    assert str(error.value) == "SECRET_KEY: SECRET_KEY_FILE is set too; set one of them"


def test_the_environments_file_goes_before_a_kept_key_and_the_other_way_round() -> None:
    assert override({"SECRET_KEY": "kept"}, {"SECRET_KEY_FILE": "/key", "PATH": "/bin"}) == {
        "SECRET_KEY_FILE": "/key",
        "PATH": "/bin",
    }
    assert override({"SECRET_KEY_FILE": "/kept"}, {"SECRET_KEY": "given"}) == {
        "SECRET_KEY": "given"
    }
    assert override({"SECRET_KEY": "kept"}, {"SECRET_KEY": " "}) == {"SECRET_KEY": "kept"}


def test_a_process_that_is_to_have_no_key_is_not_told_of_its_file_either() -> None:
    given = {"SECRET_KEY_FILE": "/key", "SECRET_KEY": "x", "PORT": "80"}
    assert without(given, "SECRET_KEY") == {"PORT": "80"}
