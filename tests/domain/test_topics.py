"""Topics, through the domain: added, changed, and removed with their followers."""

from __future__ import annotations

import pytest

from service.domain.topics import Topics, UnknownTopic
from service.local import rehearsal
from service.model.notifications import Audience, Topic
from service.store import Store
from tests.store.test_subscriptions import requested
from tests.support.client import API, Client

pytestmark = pytest.mark.redis

WORLD, SPORT = Topic("world", "World", "Elsewhere"), Topic("sport", "Sport")


@pytest.fixture
def topics(store: Store) -> Topics:
    topics = Topics(store)
    assert topics.add(WORLD)
    assert topics.add(SPORT)
    return topics


def test_topics_are_listed_in_the_order_in_which_they_were_added(topics: Topics) -> None:
    assert list(topics.all().values()) == [WORLD, SPORT]
    assert topics.get("sport") == SPORT
    assert topics.exist({"world", "sport"})
    assert not topics.exist({"world", "culture"})


def test_a_second_topic_with_the_same_slug_is_not_added(topics: Topics) -> None:
    assert not topics.add(Topic("world", "Another world"))
    assert topics.get("world") == WORLD


def test_a_changed_topic_keeps_its_place(topics: Topics) -> None:
    changed = Topic("world", "The world", default=True)
    topics.change(changed)
    assert list(topics.all().values()) == [changed, SPORT]


def test_a_topic_is_removed_with_its_followers(topics: Topics, store: Store) -> None:
    store.subscriptions.subscribe(requested("reader", topics=frozenset({"world"})))
    topics.remove("world")
    assert list(topics.all()) == ["sport"]
    topics.add(WORLD)
    assert store.audiences.count(Audience(topics=("world",))) == 0


def test_an_unknown_topic_is_neither_found_nor_removed(topics: Topics) -> None:
    with pytest.raises(UnknownTopic):
        topics.get("culture")
    with pytest.raises(UnknownTopic):
        topics.remove("culture")


def test_removing_again_forgets_followers_that_an_interrupted_call_left(
    topics: Topics, store: Store
) -> None:
    store.subscriptions.subscribe(requested("reader", topics=frozenset({"world"})))
    store.topics.remove("world")  # and then the process was killed
    with pytest.raises(UnknownTopic):
        topics.remove("world")
    topics.add(WORLD)
    assert store.audiences.count(Audience(topics=("world",))) == 0


def test_there_are_a_hundred_topics_at_most_and_the_next_one_is_told_so(client: Client) -> None:
    token = client.add_token()
    made = client.runtime.topics.all()
    for n in range(100 - len(made)):
        client.runtime.topics.add(Topic(f"topic-{n}", "Ж" * 60, "Ж" * 200))
    new = {"slug": "one-more", "name": "One more"}
    refused = client.call("POST", f"{API}/topics", new, token=token)
    assert refused.status_code == 409
    assert "100 topics" in refused.json["detail"]
    taken = client.call("POST", f"{API}/topics", {**new, "slug": "topic-1"}, token=token)
    assert "this slug already" in taken.json["detail"]
    assert len(client.call("GET", f"{API}/site").data) < 100_000
    # One argument of a program may have 128 kB: a rehearsal gets all topics in one.
    argv = rehearsal.command(client.runtime.config, 10, client.runtime.topics.all().values())
    assert max(len(argument.encode()) for argument in argv) < 128 * 1024
    client.runtime.topics.remove("topic-1")
    assert client.call("POST", f"{API}/topics", new, token=token).status_code == 201
