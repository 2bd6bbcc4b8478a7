"""Feeds from a shell."""

from __future__ import annotations

import json
import time

import pytest

from service.model.newsroom.feeds import FeedItem, FeedReading
from service.model.notifications import Topic
from service.runtime import Runtime
from tests.support.command import stoppress
from tests.support.newsroom.feeds import pretend_a_fetch_process

URL = "https://paper.example/rss"


def test_feeds_are_added_listed_rehearsed_and_removed(
    environment: dict[str, str], runtime: Runtime
) -> None:
    runtime.topics.add(Topic("world", "World"))
    pretend_a_fetch_process(runtime.store.redis)
    assert "There is no feed" in stoppress(environment, "feeds").output
    given = ("paper.example/rss", "--topic", "world", "--send", "--link-parameters", "from=rss")
    done = stoppress(environment, "feeds", "add", *given)
    assert done.exit_code == 0, done.output
    (feed,) = runtime.feeds.all()
    assert (feed.rules.url, feed.rules.makes_drafts, feed.rules.topics) == (URL, False, ("world",))
    assert feed.rules.link_parameters == "from=rss"
    assert done.output.startswith(f"{feed.id} is read from now on.")
    assert "not read yet" in stoppress(environment, "feeds", "rehearse", feed.id).output
    row = stoppress(environment, "feeds").output.splitlines()[1]
    assert row.split() == [feed.id, URL, "0", "0", "sends"]
    news = FeedItem("1", f"{URL}/ferry", "Ferry aground", published=time.time() - 600)
    reading = FeedReading(URL, 200, items=(news,))
    runtime.store.redis.hset(f"{{g}}:feed:{feed.id}", "reading", reading.as_json())
    assert "Ferry aground" in stoppress(environment, "feeds", "rehearse", feed.id).output
    done = stoppress(environment, "feeds", "rehearse", feed.id, "--json")
    assert json.loads(done.stdout)["items"][0]["left_out"] is None
    (shown,) = json.loads(stoppress(environment, "feeds", "--json").stdout)["feeds"]
    assert shown["id"] == feed.id
    done = stoppress(environment, "feeds", "remove", feed.id)
    assert (done.output, runtime.feeds.all()) == (f"{feed.id} is removed.\n", [])


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("add", "nonsense", "--everyone"), 2, "URL: Is not a web address."),
        (("add", URL), 2, "--topic: "),
        (("add", URL, "--topic", "cooking"), 2, "--topic: there is no such topic"),
        (("add", URL, "--everyone", "--minutes", "0"), 2, "--minutes: Must be at least 1."),
        (("add", URL, "--everyone", "--link-parameters", "rss"), 2, "--link-parameters: "),
        (("remove", "nonsense"), 1, "there is no such feed"),
        (("rehearse", "0" * 12), 1, "there is no such feed"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_in_a_line(
    environment: dict[str, str], given: tuple[str, ...], code: int, says: str
) -> None:
    done = stoppress(environment, "feeds", *given)
    assert done.exit_code == code, done.output
    assert says in done.output
