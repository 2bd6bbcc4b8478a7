"""STORE_WAIT_REPLICAS: what is confirmed is on a replica, and a refusal leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from service.store import COMMAND, connect
from service.store.redis_servers.replicas import NotKept, Replicas
from tests.support.client import API, NOTIFICATIONS, SUBSCRIPTIONS, Client, browser, make_app
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import Proxy, RedisServer

pytestmark = pytest.mark.processes

EVERYONE = {"title": "Late news", "url": "https://paper.example/", "audience": {"everyone": True}}


class Pair:
    """A master and a replica; the link between them can be frozen."""

    def __init__(self, stack: ExitStack) -> None:
        self.master, self.replica = (stack.enter_context(RedisServer()) for _ in range(2))
        self.address, self.link = (
            stack.enter_context(Proxy(server)) for server in (self.master, self.master)
        )
        self.replica.follow(self.link)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def data(server: RedisServer) -> dict[bytes, Any]:
    """All keys that last, but for what each process notes of itself."""
    with server.client() as there:
        return {key: there.dump(key) for key in there.scan_iter() if there.ttl(key) == -1}


def test_subscriptions_and_alerts_are_confirmed_when_a_replica_has_them(pair: Pair) -> None:
    client = Client(make_app(pair.master.url, STORE_WAIT_REPLICAS="1"))
    token = client.add_token()
    for number in range(20):
        made = client.call("POST", SUBSCRIPTIONS, {"subscription": browser(number)})
        assert made.status_code == 201
        assert data(pair.replica) == data(pair.master)
    alert = client.call("POST", NOTIFICATIONS, EVERYONE, token=token)
    assert alert.status_code == 202
    with pair.replica.client() as there:
        assert there.hexists(f"{{g}}:n:{alert.json['id']}", "doc")


def test_with_too_few_replicas_nothing_is_stored_and_the_response_says_so(pair: Pair) -> None:
    client = Client(make_app(pair.master.url, STORE_WAIT_REPLICAS="1"))
    token = client.add_token()

    def published(draft: bool) -> int:
        """The id of a new alert; 0 if the replica was slow, as on a busy machine."""
        made = client.call("POST", NOTIFICATIONS, {**EVERYONE, "draft": draft}, token=token)
        return int(made.json.get("id", 0)) if made.json else 0

    sent, draft = (wait_until(lambda draft=draft: published(draft)) for draft in (False, True))  # type: ignore[misc]
    with pair.link.frozen():
        before = data(pair.master)
        for path, body in (
            (SUBSCRIPTIONS, {"subscription": browser()}),
            (NOTIFICATIONS, EVERYONE),
            (NOTIFICATIONS, {**EVERYONE, "draft": True}),
            (f"{NOTIFICATIONS}/{draft}/send", None),
            (f"{NOTIFICATIONS}/{sent}/correct", {"title": "Corrected"}),
        ):
            began = time.monotonic()
            refused = client.call("POST", path, body, token=token)
            assert refused.status_code == 503
            assert "STORE_WAIT_REPLICAS" in refused.json["detail"]
            assert "nothing was stored" in refused.json["detail"]
            assert time.monotonic() - began < 8
        after = data(pair.master)
        assert client.call("GET", f"{API}/site").status_code == 200
        assert len(client.runtime.store.notifications.latest(10)) == 2
        assert client.runtime.subscriptions.count() == 0
        assert {key for key in after if after[key] != before.get(key)} <= {
            b"{g}:n",
            b"{g}:n:history",
        }
    wait_until(lambda: client.call("POST", NOTIFICATIONS, EVERYONE, token=token).status_code == 202)


def test_a_replica_that_goes_away_in_between_is_logged_and_the_alert_stands(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    redis = connect(pair.master.url, COMMAND)
    replicas = Replicas(redis, 1)
    replicas.check("{g}")
    with pair.link.frozen():
        redis.hset("{g}:n:1", "doc", "stored")
        replicas.keep("{g}:n:1", "doc")
    assert "stored on 0 of 1 replicas" in capsys.readouterr().err


def test_what_a_failover_lost_is_not_confirmed_although_the_new_master_has_a_replica(
    pair: Pair,
) -> None:
    redis = connect(pair.address.url, COMMAND)
    replicas = Replicas(redis, 1)
    replicas.check("{g}")
    with ExitStack() as stack:
        with pair.link.frozen(), pair.address.cut():
            with pair.master.client() as old:
                old.hset("{g}:n:1", "doc", "written, and not replicated")
            pair.master.kill()
            pair.replica.promote()
            pair.address.lead_to(pair.replica)
        second = stack.enter_context(RedisServer())
        second.follow(stack.enter_context(Proxy(pair.replica)))
        with pytest.raises(NotKept):
            replicas.keep("{g}:n:1", "doc")


def test_without_the_setting_no_replica_is_waited_for(pair: Pair) -> None:
    client = Client(make_app(pair.master.url))
    with pair.link.frozen():
        made = client.call("POST", SUBSCRIPTIONS, {"subscription": browser()})
    assert made.status_code == 201
