"""Topics, stories and single readers from a shell."""

from __future__ import annotations

import json

import pytest

from service.runtime import Runtime
from tests.support.client import Client, browser, make_app
from tests.support.command import stoppress


def subscribe(redis_url: str) -> str:
    body = {"subscription": browser(), "topics": ["world"], "locale": "lv"}
    response = Client(make_app(redis_url)).call("POST", "/api/v1/subscriptions", body)
    assert response.status_code == 201
    return str(response.json["id"])


def test_topics_are_added_listed_changed_and_removed(
    environment: dict[str, str], runtime: Runtime, redis_url: str
) -> None:
    assert "There is no topic" in stoppress(environment, "topics").output
    done = stoppress(environment, "topics", "add", "world", "World news", "--default")
    assert done.output == "Readers can follow world now.\n"
    subscribe(redis_url)
    row = stoppress(environment, "topics").output.splitlines()[1]
    assert row.split() == ["world", "World", "news", "(default)", "1"]
    stoppress(environment, "topics", "change", "world", "--name", "The world", "--no-default")
    (topic,) = json.loads(stoppress(environment, "topics", "--json").stdout)["topics"]
    assert (topic["name"], topic["default"]) == ("The world", False)
    done = stoppress(environment, "topics", "remove", "world", "--yes")
    assert (done.output, runtime.topics.all()) == ("world is removed.\n", {})


def test_what_a_terminal_sends_in_another_encoding_is_refused(
    environment: dict[str, str], runtime: Runtime
) -> None:
    for command in (
        ("topics", "add", "world", "F\udce4hre"),
        ("token", "add", "F\udce4hre"),
        ("send", "F\udce4hre", "--url", "https://paper.example/", "--everyone", "--draft"),
        ("export", "F\udce4hre"),
    ):
        done = stoppress(environment, *command)
        assert done.exit_code == 2, command
        assert "F\ufffdhre: the terminal did not send it as UTF-8" in done.output
    assert (runtime.topics.all(), runtime.publishing.latest(1)) == ({}, [])


def test_webhooks_are_added_listed_tested_and_removed(
    environment: dict[str, str], runtime: Runtime
) -> None:
    assert "There is no webhook" in stoppress(environment, "webhooks").output
    address = "https://cms.paper.example/hook"
    done = stoppress(environment, "webhooks", "add", address, "--event", "alert.sent")
    assert done.stdout.startswith("whsec_")
    (one,) = runtime.webhooks.all()
    assert (one.webhook.address, one.webhook.events) == (address, ("alert.sent",))
    done = stoppress(environment, "webhooks", "test", one.webhook.id)
    assert "A test is on its way" in done.stdout
    assert "no fetch process runs" in done.stderr
    (shown,) = json.loads(stoppress(environment, "webhooks", "--json").stdout)["webhooks"]
    assert (shown["id"], shown["status"], shown["waiting"]) == (one.webhook.id, "active", 1)
    assert done.exit_code == stoppress(environment, "webhooks", "remove", one.webhook.id).exit_code
    assert runtime.webhooks.all() == []


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("topics", "add", "A b", "World"), 2, "SLUG: "),
        (("topics", "add", "world", " "), 2, "NAME: "),
        (("topics", "change", "world"), 2, "say what to change"),
        (("topics", "change", "world", "--name", "x"), 1, "there is no such topic"),
        (("topics", "remove", "world", "--yes"), 1, "there is no such topic"),
        (("webhooks", "add", "http://paper.example/"), 2, "ADDRESS: Must begin with https://."),
        (("webhooks", "add", "https://paper.example/", "--event", "x"), 2, "--event"),
        (("webhooks", "test", "x"), 1, "no such webhook"),
        (("webhooks", "remove", "x"), 1, "no such webhook"),
        (("stories", "close", "ferry"), 1, "no such story is running"),
        (("subscriptions", "find", "3-1042"), 1, "no such subscription"),
        (("subscriptions", "find", "https://evil.example/x"), 1, "no such subscription"),
        (("subscriptions", "forget", "nonsense", "--yes"), 1, "no such subscription"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_in_a_line(
    environment: dict[str, str], given: tuple[str, ...], code: int, says: str
) -> None:
    done = stoppress(environment, *given)
    assert done.exit_code == code, done.output
    assert says in done.output


def test_a_running_story_is_listed_and_closed(
    environment: dict[str, str], runtime: Runtime
) -> None:
    assert "No story is running" in stoppress(environment, "stories").output
    given = ("--url", "https://paper.example/", "--everyone", "--story", "ferry", "--yes")
    stoppress(environment, "send", "Ferry aground", *given)
    assert stoppress(environment, "stories").output.splitlines()[1].split()[:2] == ["ferry", "0"]
    (story,) = json.loads(stoppress(environment, "stories", "--json").stdout)["stories"]
    assert story["slug"] == "ferry"
    assert stoppress(environment, "stories", "close", "ferry").output == "ferry is closed.\n"
    assert runtime.stories.running() == []


def test_a_reader_is_found_by_id_or_endpoint_and_forgotten(
    environment: dict[str, str], redis_url: str
) -> None:
    stoppress(environment, "topics", "add", "world", "World news")
    id = subscribe(redis_url)
    endpoint = browser()["endpoint"]
    for which in (id, endpoint):
        found = json.loads(stoppress(environment, "subscriptions", "find", which, "--json").stdout)
        assert (found["id"], found["endpoint"]) == (id, endpoint)
        assert (found["topics"], found["language"]) == (["world"], "lv")
    assert "world" in stoppress(environment, "subscriptions", "find", id).output
    done = stoppress(environment, "subscriptions", "forget", endpoint, "--yes")
    assert done.output == f"{id} is forgotten.\n"
    assert stoppress(environment, "subscriptions", "find", id).exit_code == 1
