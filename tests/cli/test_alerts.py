"""Alerts are sent, watched, stopped and corrected from a shell."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from service.config import Config
from service.model.notifications import State, Topic
from service.runtime import Runtime
from tests.support.client import Client, browser, make_app
from tests.support.command import stoppress

URL = "https://paper.example/ferry"


@pytest.fixture
def runtime(environment: dict[str, str]) -> Runtime:
    """An installation with two readers of World and one of Sport."""
    client = Client(make_app(environment["REDIS_URL"]))
    for slug in ("world", "sport"):
        client.runtime.topics.add(Topic(slug, slug.title()))
    for number, slug in enumerate(("world", "world", "sport")):
        body = {"subscription": browser(number), "topics": [slug]}
        assert client.call("POST", "/api/v1/subscriptions", body).status_code == 201
    return Runtime.open(Config.read(environment))


def shown(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_alert_is_sent_and_looked_at(environment: dict[str, str], runtime: Runtime) -> None:
    sent = ("send", "Ferry aground", "--url", URL, "--topic", "world", "--yes")
    done = stoppress(environment, *sent)
    assert (done.exit_code, done.stdout) == (0, "Alert 1 is being sent.\n")
    one = runtime.publishing.get(1)
    assert (one.content.title, one.audience.topics, one.state) == (
        "Ferry aground",
        ("world",),
        State.SENDING,
    )
    assert one.created_by.startswith("the command line of ")
    (entry,) = runtime.store.alert_log.all()
    assert entry.tool
    text = stoppress(environment, "status", "1").output
    assert all(word in text for word in ("Ferry aground", "sending", URL, "followers of world"))
    assert "Ferry aground" in stoppress(environment, "status").output
    assert shown(stoppress(environment, "status", "1", "--json"))["status"] == "sending"
    assert len(shown(stoppress(environment, "status", "--json"))["notifications"]) == 1


def test_a_dry_run_says_how_many_would_get_it_and_sends_nothing(
    environment: dict[str, str], runtime: Runtime
) -> None:
    asked = ("send", "Ferry aground", "--url", URL, "--everyone", "--exclude", "sport")
    done = stoppress(environment, *asked, "--dry-run")
    assert done.output == "2 browsers would get it now: everyone, without sport.\n"
    assert shown(stoppress(environment, *asked, "--dry-run", "--json")) == {"recipients": 2}
    assert runtime.publishing.latest(1) == []


def test_where_nobody_can_be_asked_yes_must_be_given(
    environment: dict[str, str], runtime: Runtime
) -> None:
    done = stoppress(environment, "send", "Ferry aground", "--url", URL, "--everyone")
    assert done.exit_code == 2
    assert "give --yes as well, or --dry-run" in done.output
    assert runtime.publishing.latest(1) == []


def test_wrong_use_is_said_by_the_name_of_the_option(
    environment: dict[str, str], runtime: Runtime
) -> None:
    for given, says in (
        (("send", "", "--url", URL, "--everyone"), "TITLE: "),
        (("send", "Ferry", "--url", "ferry", "--everyone"), "--url: "),
        (("send", "Ferry", "--url", URL), "--topic or --everyone: give one of them."),
        (("send", "Ferry", "--url", URL, "--topic", "cats"), "--topic: there is no such topic"),
        (("send", "Ferry", "--url", URL, "--everyone", "--at", "soon"), "--at: "),
        (("send", "Ferry", "--url", URL, "--everyone", "--yes", "--each", "fri"), "--each: "),
        (("send", "Ferry", "--url", URL, "--everyone", "--each", "fri"), "together with --at"),
        (("send", "Ferry", "--url", URL, "--everyone", "--once", ""), "--once: the KEY is empty"),
        (("send", "Ferry", "--url", URL, "--everyone", "--story", "A b"), "--story: "),
        (("send", "Ferry", "--url", URL, "--everyone", "--topic", "world"), "--topic or --every"),
        (("send", "x" * 3000, "--url", URL, "--everyone"), "TITLE: "),
        (("correct", "1"), "give the new --title, --body or --url"),
        (("correct", "1", "--url", "x"), "--url: "),
        (("status", "0"), "0 is not in the range"),
        (("status", "--follow"), "--follow: say the ID"),
    ):
        done = stoppress(environment, *given, *(("--yes",) if given[0] == "send" else ()))
        assert done.exit_code == 2, done.output
        assert says in done.output, given
    assert runtime.publishing.latest(1) == []


def test_the_same_key_sends_nothing_twice(environment: dict[str, str], runtime: Runtime) -> None:
    sent = ("send", "Ferry aground", "--url", URL, "--topic", "world", "--yes", "--once", "a key")
    for _ in range(2):
        assert shown(stoppress(environment, *sent, "--json"))["id"] == "1"
    done = stoppress(environment, *sent, "--breaking")
    assert done.exit_code == 1
    assert "used before with another body, for alert 1" in done.output
    assert len(runtime.publishing.latest(9)) == 1


def test_an_alert_is_paused_resumed_corrected_and_cancelled(
    environment: dict[str, str], runtime: Runtime
) -> None:
    stoppress(environment, "send", "Ferry aground", "--url", URL, "--everyone", "--yes")
    for command, says, state in (
        ("pause", "Alert 1 is paused.\n", State.PAUSED),
        ("resume", "Alert 1 is being sent again.\n", State.SENDING),
    ):
        assert stoppress(environment, command, "1").output == says
        assert runtime.publishing.get(1).state is state
    done = stoppress(environment, "correct", "1", "--title", "Ferry afloat")
    assert "Alert 1 is corrected by 2." in done.output
    assert runtime.publishing.get(1).text.title == "Ferry afloat"
    assert stoppress(environment, "cancel", "1").output == "Alert 1 is cancelled.\n"
    done = stoppress(environment, "cancel", "1")
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "cancelled" in done.output
    assert "no such alert" in stoppress(environment, "cancel", "77").output


def test_a_scheduled_alert_and_a_draft_wait(environment: dict[str, str], runtime: Runtime) -> None:
    late = ("send", "Kick-off", "--url", URL, "--everyone", "--at", "2100-01-01T19:00Z", "--yes")
    done = stoppress(environment, *late)
    assert done.exit_code == 2, "that is further ahead than a year"
    draft = ("send", "Kick-off", "--url", URL, "--everyone", "--draft")
    assert stoppress(environment, *draft).output == "Alert 1 is a draft.\n"
    assert [one.state for one in runtime.publishing.latest(9)] == [State.DRAFT]


def test_settings_come_from_a_file(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "newsroom.env"
    lines = (f'{name}="{value}"' for name, value in environment.items())
    file.write_text("\n".join(["# Stop Press", *lines]))
    done = stoppress({"DATA_DIR": str(tmp_path / "none")}, "--env-file", str(file), "status")
    assert "No alert was written yet" in done.output


def test_what_a_title_says_cannot_move_the_cursor(
    environment: dict[str, str], runtime: Runtime
) -> None:
    stoppress(environment, "send", "Ferry\x1b[2J", "--url", URL, "--everyone", "--yes")
    assert "\x1b" not in stoppress(environment, "status").output


def test_on_a_terminal_the_command_says_how_many_get_it_and_asks(
    environment: dict[str, str], runtime: Runtime
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service.cli", "send", "Ferry aground", "--url", URL]
    process = subprocess.Popen(
        [*command, "--topic", "world"],
        env={**os.environ, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the other end is closed when the process has ended
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"n\n")
    assert process.wait(30) == 1
    os.close(ours)
    assert b"Notify 2 browsers now: followers of world?" in said
    assert runtime.publishing.latest(1) == []
