"""All that the store does works on a cluster, where no command may touch two slots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from service.local import pretend_readers
from service.model.network.endpoints import Endpoint
from service.model.notifications import Audience, SendAt, State
from service.model.retention import GONE_KEPT
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from service.store.readers.subscriptions import HasLeft
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.redis_servers.cluster import ClusterNode, ClusterServers
from tests.support.redis_servers.users import refused

pytestmark = pytest.mark.processes

EVERYONE = Audience(everyone=True)
TOPICS = Audience(topics=("world", "sport"), exclude=("culture",))
READERS = 500
GONE = {pretend_readers.path(number) for number in range(100, 110)}


@pytest.fixture
def clustered(redis_url: str, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose store is a cluster of three nodes; the queue is not."""
    with (
        ClusterServers(replicas=False) as servers,
        Installation(redis_url, push, tmp_path, STORE_URL=servers.url) as installation,
    ):
        yield installation
        assert [refused(admin) for admin in map(ClusterNode.client, servers.nodes)] == [[]] * 3


def test_cluster_node_refuses_commands_that_touch_two_slots(clustered: Installation) -> None:
    store = clustered.runtime.store.redis
    assert store.eval("return 1", 2, "{10}:live", "{10}:gone") == 1
    with pytest.raises(redis.RedisError, match="slot"):
        store.eval("return 1", 2, "{10}:live", "{g}:n")


def test_nothing_from_subscribing_to_the_report_touches_two_slots(
    clustered: Installation, push: PushService
) -> None:
    runtime = clustered.runtime
    clustered.seed(READERS)
    come_change_and_leave(runtime)
    left = READERS - 1
    clustered.clock()
    clustered.worker()
    wait_until(lambda: runtime.store.prepared_keys.ready() == left, timeout=60)

    push.answer_with(ten_are_gone)
    spread = runtime.publishing.publish(content(), EVERYONE, by="a test", spread_minutes=60).id
    runtime.publishing.cancel(spread, by="a test")
    runtime.store.clicks.remember()
    ordinary = clustered.publish(replace(TOPICS, story="quake"))
    breaking = clustered.publish(kind="breaking")
    runtime.publishing.pause(breaking, by="a test")
    runtime.publishing.resume(breaking, by="a test")
    correction = clustered.correct(breaking, "Corrected").id
    planned = runtime.publishing.publish(
        content(),
        replace(EVERYONE, story="storm"),
        by="a test",
        send_at=SendAt(time.time() + 1, "Europe/Riga"),
    ).id
    one = requested(10_003)
    follower, _ = runtime.store.subscriptions.subscribe(
        one._replace(followed=frozenset({"quake"}), muted=frozenset({"quake"}))
    )
    assert runtime.store.subscriptions.change(follower.id, one._replace(muted=frozenset())).followed
    runtime.store.subscriptions.remove(follower.id)

    states = {id: clustered.over(id).state for id in (spread, ordinary, breaking, planned)}
    assert states.pop(spread) is State.CANCELLED
    assert set(states.values()) == {State.SENT}
    assert clustered.over(correction).state is State.SENT
    reached = clustered.outcomes(breaking)
    assert sum(reached.values()) == runtime.publishing.progress(breaking).recipients
    assert reached["gone"] >= 1
    assert [(story.slug, story.followers) for story in runtime.stories.running()] == [
        ("storm", 0),
        ("quake", 0),
    ]
    reader = runtime.store.audiences.draw(EVERYONE, 1)[1][0]
    runtime.store.clicks.mark(ordinary, reader)
    past = replace(EVERYONE, new_within_days=1, not_reached_by=(planned,), clicked=(ordinary,))
    assert runtime.publishing.reach(replace(past, not_reached_by=())) == 1
    assert runtime.publishing.reach(replace(past, all_topics=("world",), followers_of="quake")) == 0
    assert runtime.store.stories.close("quake")

    def all_gone_are_deleted() -> bool:
        runtime.gone.look_after(time.time() + GONE_KEPT)  # for a moment at a time
        return runtime.store.subscriptions.count() == left - 10

    wait_until(all_gone_are_deleted)
    runtime.store.redis.hdel("{g}:layout", "converted")
    runtime.store.convert()  # goes through all data again
    assert runtime.publishing.reach(EVERYONE) == left - 10


def ten_are_gone(message: Message) -> Answer:
    return Answer(410 if message.path in GONE else 201, delay=0.02)


def come_change_and_leave(runtime: Runtime) -> None:
    """Subscribe a reader, change topics, keys and endpoint, and leave."""
    subscriptions = runtime.store.subscriptions
    one = requested(10_000)
    first, new = subscriptions.subscribe(one)
    assert new
    again = one._replace(topics=frozenset({"sport"}), p256dh=pretend_readers.keys(10_001)[0])
    same, new = subscriptions.subscribe(again, is_owner=lambda *_: True)
    assert (same.id, new) == (first.id, False)
    moved = subscriptions.change(first.id, requested(10_002))
    runtime.publishing.cancel(
        runtime.reader_alerts.send_test(moved, caller=lambda: "a code").id, by="a test"
    )
    subscriptions.remove(moved.id)
    with pytest.raises(HasLeft):
        subscriptions.subscribe(requested(10_002), refresh=True)
    subscriptions.remove(SubscriptionId(0, 0))
    assert [subscriptions.count(kind) for kind in ("live", "gone")] == [READERS - 1, 0]
    ids = {
        subscriptions.get(SubscriptionId(partition, 7)).id for partition in runtime.store.partitions
    }
    assert len(ids) == len(runtime.store.partitions), "all partitions have readers"


def requested(number: int) -> SubscriptionRequest:
    p256dh, auth = pretend_readers.keys(number)
    endpoint = Endpoint("https://fcm.googleapis.com/fcm/send/", pretend_readers.path(number)[10:])
    return SubscriptionRequest(
        endpoint, p256dh, auth, "a key", frozenset({"world"}), "en-GB", "Europe/Riga"
    )
