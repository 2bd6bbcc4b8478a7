"""The examples of docs/cms.md in other languages run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

from service.model.notifications import Notification
from tests.support.browser.served import Served
from tests.support.client import Client

GUIDE = (Path(__file__).parents[2] / "docs" / "cms.md").read_text()


def example(language: str) -> str:
    """Return the example that publishes an alert."""
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)
    (one,) = (text for text in found if "Idempotency-Key" in text)
    return one


def run(client: Client, command: Sequence[str], program: str) -> tuple[str, Notification]:
    """Run a program that gets the API's address and a token; return its output and the alert."""
    token = client.add_token()
    with Served(client.app) as served:
        address = f"http://localhost:{served.port}"
        done = subprocess.run(
            command,
            input=program.replace("https://push.example", address),
            env={**os.environ, "TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stderr.replace("\n", "") == "" or "curl" in command[-1], done.stderr
    (one,) = client.runtime.publishing.latest(9)
    assert (one.content.title, one.content.body) == ("Late news", "It has just come in.")
    assert one.audience.topics == ("world",)
    return done.stdout, one


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_the_example_for_curl_runs(client: Client) -> None:
    output, one = run(client, ["bash", "-s"], example("sh").replace("curl ", "curl --silent "))
    assert json.loads(output)["id"] == str(one.id)


def test_the_example_for_javascript_runs(client: Client) -> None:
    node, _ = compute_driver_executable()  # Playwright brings a Node.js of its own
    output, one = run(client, [node, "--input-type=module", "-"], example("js"))
    assert output == f"{one.id}: sending\n"


@pytest.mark.skipif(
    shutil.which("php") is None, reason="needs PHP, which `make test` installs: php-cli"
)
def test_the_example_for_php_runs(client: Client) -> None:
    output, one = run(client, ["php"], example("php"))
    assert output == f"{one.id}: sending\n"
