"""Topics, through the domain: added, changed, and removed with their followers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.domain.alerts.topics import MergedTopic, Topics, UnknownTopic
from service.local import rehearsal
from service.model.notifications import Audience, Content, Topic
from service.model.time import clock
from service.store import Store
from service.store.redis_servers.scripts import answers
from tests.support.client import API, Client, Reader
from tests.support.requested import requested

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
    topics.change("world", name="The world")
    topics.change("world", default=True)  # as another tool, which has read it before
    assert list(topics.all().values()) == [replace(WORLD, name="The world", default=True), SPORT]


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


def test_an_alert_that_is_being_sent_keeps_its_readers_when_a_topic_ends(
    client: Client,
) -> None:
    runtime = client.runtime
    for n in range(30):  # ten follow each of the two, and ten both
        followed = [["world"], ["sport"], ["world", "sport"]][n % 3]
        runtime.store.subscriptions.subscribe(requested(f"r{n}", topics=frozenset(followed)))
    runtime.topics.add(Topic("culture", "Culture"))
    runtime.topics.merge("culture", "sport")

    def send(**audience: Any) -> int:
        content = Content("Ferry aground", "https://paper.example/ferry")
        return runtime.publishing.publish(content, Audience(**audience), by="a test").id

    def planned(id: int) -> int:
        runtime.planning.plan(runtime.publishing.get(id))
        return runtime.publishing.progress(id).recipients

    # No worker has chosen their readers yet.
    without = send(everyone=True, exclude=("sport",))
    paused = send(everyone=True, exclude=("culture",))  # as sport was called before
    runtime.publishing.pause(paused, by="a test")
    only = send(topics=("world",), all_topics=("sport",))
    runtime.topics.remove("sport")
    assert [planned(id) for id in (without, paused, only)] == [10, 10, 10]
    runtime.topics.add(SPORT)
    assert runtime.publishing.reach(Audience(topics=("sport",))) == 0

    merged = send(topics=("world",), exclude=("sport",))
    runtime.topics.merge("sport", "world")
    assert planned(merged) == 20


# Order, hidden ------------------------------------------------------------------------------------


def test_topics_are_moved_up_and_down_and_a_new_one_is_the_last(topics: Topics) -> None:
    topics.add(Topic("culture", "Culture"))
    topics.move("culture", -1)
    assert list(topics.all()) == ["world", "culture", "sport"]
    topics.move("world", 1)
    topics.move("culture", -1)
    topics.move("sport", 1)
    assert list(topics.all()) == ["culture", "world", "sport"]
    topics.change("world", description="Élsewhere – “far”", hidden=True)
    topics.add(Topic("science", "Science"))
    assert list(topics.all()) == ["culture", "world", "sport", "science"]
    assert topics.get("world").description == "Élsewhere – “far”"
    with pytest.raises(UnknownTopic):
        topics.move("unknown", 1)


def test_a_change_does_not_bring_back_a_topic_that_was_removed(topics: Topics) -> None:
    topics.remove("world")
    with pytest.raises(UnknownTopic):
        topics.change("world", name="World")
    assert list(topics.all()) == ["sport"]


def test_an_earlier_release_wrote_no_hidden_topics(topics: Topics, store: Store) -> None:
    row = '{"slug": "old", "name": "Old", "description": "", "default": true, "order": 9}'
    store.redis.hset("{g}:topics", "old", row)
    assert topics.get("old") == Topic("old", "Old", default=True)


def test_a_hidden_topic_is_not_offered_and_its_followers_keep_it(client: Client) -> None:
    reader, token = Reader(client, topics=["world"]), client.add_token()
    hidden = client.call("PATCH", f"{API}/topics/world", {"hidden": True}, token=token)
    assert hidden.json["hidden"]
    assert [one["slug"] for one in client.call("GET", f"{API}/site").json["topics"]] == ["sport"]
    listed = client.call("GET", f"{API}/topics", token=token).json["topics"]
    assert [(one["slug"], one["hidden"]) for one in listed] == [("world", True), ("sport", False)]
    assert reader.call("GET").json["topics"] == ["world"]
    assert client.runtime.publishing.reach(Audience(topics=("world",))) == 1


# Merged -------------------------------------------------------------------------------------------


def followers(store: Store, *topics: str, **more: tuple[str, ...]) -> int:
    return store.audiences.count(Audience(topics=topics, **more))


@pytest.fixture
def merged(topics: Topics, store: Store) -> Topics:
    """Sport is merged into World: of 40 readers each follows one, a fourth both."""
    for n in range(40):
        chosen = {"world"} if n % 2 else {"sport"}
        both = {"world", "sport"} if n % 4 == 0 else chosen
        store.subscriptions.subscribe(requested(f"reader-{n}", topics=frozenset(both)))
    assert (followers(store, "world"), followers(store, "sport")) == (30, 20)
    topics.merge("sport", "world")
    return topics


def test_the_followers_of_a_merged_topic_follow_the_other_one(merged: Topics, store: Store) -> None:
    assert list(merged.all()) == ["world"]
    assert followers(store, "world") == 40
    assert merged.followers() == {"world": 40}
    merged.finish_merges(clock.time() + 5)
    assert followers(store, "world") == 40
    assert list(store.redis.scan_iter("*:topic:sport")) == []
    assert merged.merged() == {"world": ["sport"]}
    assert merged.followers() == {"world": 40}


def test_the_old_slug_leads_to_the_other_topic_everywhere(merged: Topics, store: Store) -> None:
    assert merged.exist({"sport", "world"})
    assert followers(store, "sport") == 40
    assert followers(store, "world", exclude=("sport",)) == 0
    new, _ = store.subscriptions.subscribe(requested("late", topics=frozenset({"sport"})))
    assert new.topics == {"world"}
    assert followers(store, "world") == 41
    alert = Audience(topics=("sport",))
    assert store.topics.current_audience(alert).includes(
        new.topics, "", followed=frozenset(), muted=frozenset()
    )
    left = store.subscriptions.change(new.id, requested("late", topics=frozenset()))
    assert left.topics == frozenset()
    assert followers(store, "sport") == 40
    assert merged.named()["sport"].name == "World"


def test_a_reader_sees_the_alerts_that_went_to_the_old_slug(client: Client) -> None:
    reader = Reader(client, topics=["world"])
    content = Content("Ferry aground", "https://paper.example/ferry")
    client.runtime.publishing.publish(content, Audience(topics=("sport",)), by="a test")
    assert reader.call("GET", "/alerts").json["alerts"] == []
    client.runtime.topics.merge("sport", "world")
    (missed,) = reader.call("GET", "/alerts").json["alerts"]
    assert missed["title"] == "Ferry aground"


def test_a_merge_that_was_cut_off_counts_at_once_and_the_clock_finishes_it(
    topics: Topics, store: Store
) -> None:
    reader, _ = store.subscriptions.subscribe(requested("reader", topics=frozenset({"sport"})))
    store.topics.merge("sport", "world")  # and then the process was killed
    assert store.audiences.count(Audience(everyone=True, all_topics=("world",))) == 1
    assert store.audiences.count(Audience(everyone=True, all_topics=("world", "news"))) == 0
    assert (followers(store, "world"), followers(store, "sport")) == (1, 1)
    Topics(store).finish_merges(clock.time() + 5)
    assert store.subscriptions.get(reader.id).topics == {"world"}
    assert (followers(store, "world"), followers(store, "sport")) == (1, 1)
    topics.merge("sport", "world")  # the editor repeats it
    assert followers(store, "world") == 1


def test_a_process_that_has_not_heard_of_a_merge_loses_no_follower(
    topics: Topics, store: Store
) -> None:
    late = Store(store.redis)
    late.topics.all()
    topics.merge("sport", "world")
    # Within the second for which it knows the topics.
    late.subscriptions.subscribe(requested("reader", topics=frozenset({"sport"})))
    assert followers(store, "world") == 1
    now = clock.time()
    topics.finish_merges(now + 30)
    assert list(store.redis.scan_iter("*:topic:sport")) == []
    assert store.topics.merging()
    topics.finish_merges(now + 90)
    assert not store.topics.merging()
    assert (followers(store, "world"), followers(store, "sport")) == (1, 1)


def test_a_worker_that_read_the_topics_before_a_merge_finds_their_followers(
    topics: Topics, store: Store
) -> None:
    store.subscriptions.subscribe(requested("reader", topics=frozenset({"sport"})))
    calls = store.audiences._scratch_selections(Audience(topics=("sport",)))
    topics.add(Topic("culture", "Culture"))
    topics.merge("sport", "world")
    topics.finish_merges(clock.time() + 2)
    topics.remove("culture")  # which has nothing to do with them
    assert sum(answers(store.redis, store.audiences._count, calls)) == 1
    assert (followers(store, "sport"), followers(store, "world")) == (1, 1)


def test_a_topic_that_is_removed_right_after_a_merge_takes_the_followers_along(
    topics: Topics, store: Store
) -> None:
    store.subscriptions.subscribe(requested("reader", topics=frozenset({"sport"})))
    topics.merge("sport", "world")
    topics.remove("world")
    assert list(store.redis.scan_iter("*:topic:*")) == []


def test_who_unfollows_while_topics_are_merged_stays_out(topics: Topics, store: Store) -> None:
    subscriptions = store.subscriptions
    for name in ("stays", "unfollows", "leaves"):
        subscriptions.subscribe(requested(name, topics=frozenset({"sport"})))
    late = Store(store.redis)
    late.topics.all()  # within the second for which a process knows the topics
    topics.merge("sport", "world")
    one, _ = late.subscriptions.subscribe(requested("unfollows"))
    assert one.topics == {"world"}
    assert subscriptions.get(one.id).topics == {"world"}
    two, _ = subscriptions.subscribe(requested("leaves"))
    assert topics.followers() == {"world": 3}
    assert store.audiences.follows([(one.id, "world")]) == [True]
    late.subscriptions.change(one.id, requested("unfollows", topics=frozenset()))
    subscriptions.remove(two.id)
    assert followers(store, "world") == 1
    topics.finish_merges(clock.time() + 30)
    assert followers(store, "world") == 1
    assert subscriptions.get(one.id).topics == frozenset()
    assert topics.followers() == {"world": 1}
    assert not store.redis.getbit(f"{{{two.id.partition}}}:topic:world", two.id.number)


def test_topics_are_merged_one_after_the_other(merged: Topics, store: Store) -> None:
    merged.add(Topic("news", "News"))
    merged.merge("world", "news")
    assert (followers(store, "sport"), followers(store, "world")) == (40, 40)
    assert merged.merged() == {"news": ["sport", "world"]}
    for slug, into in (("sport", "news"), ("news", "news"), ("news", "world"), ("x", "news")):
        if (slug, into) == ("sport", "news"):
            merged.merge(slug, into)  # once more
            continue
        with pytest.raises(UnknownTopic):
            merged.merge(slug, into)
    assert list(merged.all()) == ["news"]


def test_no_new_topic_takes_a_merged_slug_until_the_other_topic_is_removed(
    merged: Topics, store: Store
) -> None:
    with pytest.raises(UnknownTopic):
        merged.remove("sport")
    for later in (0, 90):  # also once the followers are moved
        merged.finish_merges(clock.time() + later)
        with pytest.raises(MergedTopic, match="merged into the topic “World”"):
            merged.add(SPORT)
        assert (followers(store, "sport"), followers(store, "world")) == (40, 40)
    merged.remove("world")
    assert merged.all() == {}
    assert not merged.exist({"sport"})
    assert merged.add(SPORT)
    assert followers(store, "sport") == 0


def test_a_tool_that_adds_its_topics_at_each_start_does_not_undo_a_merge(client: Client) -> None:
    reader, token = Reader(client, topics=["sport"]), client.add_token()
    client.runtime.topics.merge("sport", "world")
    for slug, name in (("world", "World"), ("sport", "Sport")):
        answer = client.call("POST", f"{API}/topics", {"slug": slug, "name": name}, token=token)
        assert answer.status_code == 409, slug
    assert "“sport” was merged into the topic “World” (world)" in answer.json["detail"]
    assert list(client.runtime.topics.all()) == ["world"]
    assert reader.call("GET").json["topics"] == ["world"]
    assert client.runtime.publishing.reach(Audience(topics=("sport",))) == 1


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
