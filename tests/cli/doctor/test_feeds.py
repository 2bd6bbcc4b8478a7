"""`stoppress doctor` about the fetch process, and the feeds and hubs that need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.cli.doctor.feeds import feeds, fetch
from service.model.newsroom.feed_requests import FeedAnswer
from service.model.newsroom.feed_states import FeedState
from service.model.newsroom.feeds import FeedFault, FeedReading
from service.model.time import clock
from service.runtime import Runtime
from tests.support.client import Client
from tests.support.newsroom.feeds import ID, pretend_a_fetch_process, store_feed

HUB = "https://hub.example/"


def goes(runtime: Runtime, *, read: float, fault: FeedFault | None = None, hub: str = "") -> None:
    """Let the feed have been read so many seconds ago, and since then with this fault."""
    now = clock.time()
    state = replace(FeedState(), read_at=now - read, hub=hub)
    if fault is not None:
        state = state.after(FeedAnswer(FeedReading("https://paper.example/", fault=fault)), now)
    runtime.store.redis.hset(f"{{g}}:feed:{ID}", "state", state.as_json())


def test_no_fetch_process_is_a_fault_where_feeds_or_webhooks_wait_for_it(client: Client) -> None:
    runtime = client.runtime
    assert fetch(runtime).level == "warn"
    runtime.webhooks.add("https://cms.example/", ["alert.sent"], by="a test")
    assert (fetch(runtime).level, "webhooks are not called" in fetch(runtime).says) == (
        "fail",
        True,
    )
    store_feed(runtime)
    assert "feeds are not read and webhooks are not called: start stoppress fetch" in (
        fetch(runtime).says
    )
    feed = runtime.feeds.get(ID)
    runtime.feeds.change(feed, replace(feed.rules, is_active=False))
    assert "feeds" not in fetch(runtime).says, "a paused one misses nothing"
    pretend_a_fetch_process(runtime.store.redis)
    assert fetch(runtime).level == "ok"


def test_a_feed_that_has_failed_for_long_is_named(client: Client) -> None:
    runtime = client.runtime
    assert [*feeds(runtime)] == []
    store_feed(runtime)
    goes(runtime, read=60)
    assert [one.level for one in feeds(runtime)] == ["ok"]
    goes(runtime, read=5 * 3600, fault=FeedFault.UNREACHABLE)
    assert [one.level for one in feeds(runtime)] == ["ok"]
    goes(runtime, read=7 * 3600, fault=FeedFault.UNREACHABLE)
    (finding,) = feeds(runtime)
    assert finding.level == "warn"
    assert finding.says.endswith("has failed for 7 hours. paper.example does not answer.")


def test_a_hub_that_cannot_call_is_named(client_with: Callable[..., Client]) -> None:
    runtime = client_with().runtime
    store_feed(runtime)
    goes(runtime, read=60, hub=HUB)
    (finding,) = feeds(runtime)
    assert (finding.level, "set SITE_URL" in finding.says) == ("warn", True)
    known = client_with(SITE_URL="https://push.paper.example").runtime
    assert [one.level for one in feeds(known)] == ["ok"]
    state = FeedState.from_json(known.store.feeds.get(ID).state)
    known.feeds.hubs.keep(ID, state, clock.time() - 600)
    (finding,) = feeds(known)
    assert (finding.level, "hub.example" in finding.says) == ("warn", True)
