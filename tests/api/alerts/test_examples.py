"""The examples of docs/cms.md in other languages run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest
from playwright._impl._driver import compute_driver_executable

from service.model.notifications import Notification, State
from tests.support import ROOT
from tests.support.browser.served import Served
from tests.support.client import Client

GUIDE = (ROOT / "docs" / "cms.md").read_text()
TRUE = {"true": "false", "True": "False"}
WITHOUT_WAITS = "import time\n\ntime.sleep = lambda _: None\n"


def example(language: str) -> str:
    """Return the example that publishes an alert."""
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)
    (one,) = (text for text in found if "story-4711" in text)
    return one


def output(command: Sequence[str], program: str, address: str, token: str) -> str:
    """Run a program that gets the API's address and a token; return its output."""
    done = subprocess.run(
        command,
        input=program.replace("https://push.example", address),
        env={**os.environ, "TOKEN": token, "PYTHONPATH": str(ROOT / "web/integrations/python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.replace("\n", "") == "" or "curl" in command[-1], done.stderr
    return done.stdout


def to_be_sent(program: str) -> str:
    return re.sub(r"(draft\W+)([Tt]rue)", lambda found: found[1] + TRUE[found[2]], program)


def run(client: Client, command: Sequence[str], program: str) -> tuple[str, Notification]:
    """Run a program, and once more without `draft`; return its first output and the alert."""
    token = client.add_token()
    with Served(client.app) as served:
        address = f"http://localhost:{served.port}"
        first = output(command, program, address, token)
        (one,) = client.runtime.publishing.latest(9)
        assert one.state is State.DRAFT
        output(command, to_be_sent(program), address, token)
    (one,) = client.runtime.publishing.latest(9)
    assert one.state is State.SENDING
    assert (one.content.title, one.content.body) == ("Late news", "It has just come in.")
    assert one.audience.topics == ("world",)
    return first, one


def node() -> list[str]:
    """Playwright brings a Node.js of its own."""
    return [compute_driver_executable()[0], "--input-type=module", "-"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_the_example_for_curl_runs(client: Client) -> None:
    said, one = run(client, ["bash", "-s"], example("sh").replace("curl ", "curl --silent "))
    assert json.loads(said)["id"] == str(one.id)


def test_the_example_for_javascript_runs(client: Client) -> None:
    said, one = run(client, node(), example("js"))
    assert said == f"{one.id}: draft\n"


@pytest.mark.skipif(
    shutil.which("php") is None, reason="needs PHP, which `make test` installs: php-cli"
)
def test_the_example_for_php_runs(client: Client) -> None:
    said, one = run(client, ["php"], example("php"))
    assert said == f"{one.id}: draft\n"


def test_the_examples_say_that_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for command, program in (
        (node(), example("js")),
        ([sys.executable, "-"], WITHOUT_WAITS + example("python")),
    ):
        assert output(command, program, nobody, "").startswith("no answer, call again: ")
