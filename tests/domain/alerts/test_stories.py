"""Running stories: who gets their alerts, how readers follow and mute them, when they close."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.notifications import Audience, SendAt, Topic
from service.model.payload import Payload
from service.model.subscriptions import SubscriptionId
from service.store import Store, connect
from service.store.layout.bitmaps import bitmap_key
from service.store.readers.stories import MOST_OPEN
from tests.support.client import API, Client, browser, open_client
from tests.support.processes.installation import Installation, content
from tests.support.push_service import PushService
from tests.support.requested import requested

pytestmark = pytest.mark.redis

SUBSCRIPTIONS, STORIES = f"{API}/subscriptions", f"{API}/stories"
NEWS = {
    "title": "The earth shook",
    "url": "https://paper.example/quake",
    "audience": {"topics": ["world"]},
    "story": "quake",
}


@pytest.fixture
def client(redis_url: str) -> Client:
    return open_client(redis_url, STORE_PARTITIONS="2")


class Newsroom:
    """An editor's tool, and readers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = client.add_token()
        self.readers = 0

    def publish(self, **fields: Any) -> Any:
        answer = self.client.call("POST", f"{API}/notifications", NEWS | fields, token=self.token)
        assert answer.status_code == 202
        return answer.json

    def stories(self) -> list[Any]:
        found, cursor = [], ""
        while cursor is not None:
            path = f"{STORIES}?cursor={cursor}" if cursor else STORIES
            page = self.client.call("GET", path, token=self.token).json
            found += page["stories"]
            cursor = page["next_cursor"]
        return found

    def close(self, slug: str) -> int:
        return self.client.call("DELETE", f"{STORIES}/{slug}", token=self.token).status_code

    def reach(self, **audience: Any) -> int:
        answer = self.client.call("POST", f"{API}/audience", audience, token=self.token)
        return int(answer.json["recipients"])

    def reader(self, **preferences: Any) -> dict[str, str]:
        self.readers += 1
        body = {"subscription": browser(self.readers), **preferences}
        answer = self.client.call("POST", SUBSCRIPTIONS, body)
        assert answer.status_code == 201
        return dict(answer.json)

    def call(self, method: str, reader: dict[str, str], **fields: Any) -> Any:
        path = f"{SUBSCRIPTIONS}/{reader['id']}"
        return self.client.call(method, path, fields or None, token=reader["token"])

    def bitmaps(self) -> list[str]:
        """The keys of the bitmaps of followers and of readers who muted."""
        found = map(bytes.decode, self.client.runtime.store.redis.scan_iter())
        return sorted(key for key in found if ":followed:" in key or ":muted:" in key)


@pytest.fixture
def newsroom(client: Client) -> Newsroom:
    return Newsroom(client)


# Open and closed ----------------------------------------------------------------------------------


def test_story_opens_with_its_first_alert_and_shows_the_latest(newsroom: Newsroom) -> None:
    newsroom.publish(story="flood", draft=True)
    newsroom.publish(story="flood", send_at=later())
    assert newsroom.stories() == []
    newsroom.publish(title="First")
    newsroom.publish(story="storm", title="Gale warning")
    latest = newsroom.publish(title="Second")["id"]
    newsroom.publish(story=None)
    newsroom.reader(followed_stories=["quake"])
    newsroom.reader(followed_stories=["quake", "storm"], muted_stories=["storm"])
    quake, storm = newsroom.stories()
    assert quake["latest"].pop("sent_at").endswith("Z")
    assert quake == {
        "slug": "quake",
        "latest": {"id": latest, "title": "Second", "url": NEWS["url"]},
        "followers": 2,
    }
    assert (storm["slug"], storm["latest"]["title"], storm["followers"]) == (
        "storm",
        "Gale warning",
        1,
    )


def later() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


def test_scheduled_alert_opens_its_story_when_it_is_sent(newsroom: Newsroom) -> None:
    publishing = newsroom.client.runtime.publishing
    audience = Audience(everyone=True, story="quake")
    due = SendAt(time.time() - 1)
    id = publishing.publish(content(), audience, by="a test", send_at=due).id
    assert newsroom.stories() == []
    publishing.send_due()
    assert publishing.get(id).story == "quake"
    (story,) = newsroom.stories()
    assert (story["slug"], story["latest"]["id"]) == ("quake", str(id))


def test_draft_keeps_its_story_until_it_gets_another(newsroom: Newsroom) -> None:
    id = newsroom.publish(draft=True)["id"]
    path = f"{API}/notifications/{id}"

    def change(**fields: Any) -> Any:
        return newsroom.client.call("PATCH", path, fields, token=newsroom.token).json["story"]

    assert change(title="Other words") == "quake"
    assert change(story="flood") == "flood"
    assert change(story=None) is None
    assert change(story="storm") == "storm"
    newsroom.client.call("POST", f"{path}/send", token=newsroom.token)
    assert [story["slug"] for story in newsroom.stories()] == ["storm"]


def test_closing_a_story_forgets_who_follows_or_mutes_it(newsroom: Newsroom) -> None:
    newsroom.publish()
    for _ in range(4):
        newsroom.reader(followed_stories=["quake"])
    reader = newsroom.reader(followed_stories=["quake"], muted_stories=["quake"])
    assert newsroom.bitmaps()
    assert newsroom.close("quake") == 204
    assert newsroom.bitmaps() == []
    assert newsroom.stories() == []
    assert newsroom.close("quake") == 404
    assert newsroom.call("PATCH", reader, followed_stories=["quake"]).status_code == 422
    newsroom.publish()
    shown = newsroom.call("GET", reader).json
    assert (shown["muted_stories"], shown["followed_stories"]) == ([], [])
    assert newsroom.stories()[0]["followers"] == 0


def test_with_too_many_open_stories_the_one_silent_longest_is_closed(newsroom: Newsroom) -> None:
    publishing = newsroom.client.runtime.publishing

    def alert(slug: str) -> None:
        publishing.publish(content(), Audience(everyone=True, story=slug), by="a test")

    for number in range(MOST_OPEN):
        alert(f"s{number}")
    newsroom.reader(followed_stories=["s0", "s1"])
    alert("s0")  # so that s1 is the one silent longest
    assert len(newsroom.stories()) == MOST_OPEN
    alert("another")
    slugs = [story["slug"] for story in newsroom.stories()]
    assert slugs[:2] == ["another", "s0"]
    assert len(slugs) == MOST_OPEN
    assert "s1" not in slugs
    assert [key.partition(":")[2] for key in newsroom.bitmaps()] == ["followed:s0"]


# Readers ------------------------------------------------------------------------------------------


def test_change_of_followed_or_muted_stories_leaves_the_other_as_it_is(newsroom: Newsroom) -> None:
    for slug in ("quake", "storm", "flood"):
        newsroom.publish(story=slug)
    reader = newsroom.reader(followed_stories=["storm", "quake"], muted_stories=["flood"])

    def change(**fields: Any) -> tuple[list[str], list[str]]:
        shown = newsroom.call("PATCH", reader, **fields).json
        return shown["followed_stories"], shown["muted_stories"]

    assert change(topics=[]) == (["quake", "storm"], ["flood"])
    assert change(followed_stories=["quake"]) == (["quake"], ["flood"])
    assert change(muted_stories=[]) == (["quake"], [])
    assert change(muted_stories=["storm"], followed_stories=None) == (["quake"], ["storm"])
    moved = newsroom.call("PATCH", reader, subscription=browser(90)).json
    assert (moved["followed_stories"], moved["muted_stories"]) == (["quake"], ["storm"])
    assert [story["followers"] for story in newsroom.stories()] == [0, 0, 1]


def test_reader_who_leaves_follows_and_mutes_nothing_any_more(newsroom: Newsroom) -> None:
    newsroom.publish()
    reader = newsroom.reader(followed_stories=["quake"], muted_stories=["quake"])
    redis = newsroom.client.runtime.store.redis
    assert [redis.bitcount(key) for key in newsroom.bitmaps()] == [1, 1]
    assert newsroom.call("DELETE", reader).status_code == 204
    assert [redis.bitcount(key) for key in newsroom.bitmaps()] == [0, 0]


# Who gets an alert of a story ---------------------------------------------------------------------


def test_followers_get_a_story_without_its_topics_and_muting_wins(newsroom: Newsroom) -> None:
    newsroom.publish()
    newsroom.reader(topics=["world"])
    newsroom.reader(topics=["world"], muted_stories=["quake"])
    newsroom.reader(topics=["sport"], followed_stories=["quake"])
    newsroom.reader(followed_stories=["quake"], muted_stories=["quake"])
    gone = newsroom.reader(followed_stories=["quake"])
    newsroom.call("DELETE", newsroom.reader(followed_stories=["quake"]))
    store = newsroom.client.runtime.store
    partition, number = SubscriptionId.parse(gone["id"])
    store.redis.setbit(bitmap_key(partition, "gone"), number, 1)
    assert newsroom.reach(topics=["world"], story="quake") == 2
    assert newsroom.reach(topics=["world"]) == 2
    assert newsroom.reach(topics=["world"], story="never-heard-of") == 2
    assert newsroom.reach(everyone=True, story="quake") == 2
    assert newsroom.reach(everyone=True, exclude=["world"], story="quake") == 1
    assert newsroom.reach(everyone=True, locales=["fr"], story="quake") == 1
    assert newsroom.publish()["recipients"] == 2
    # The frozen audience is the one that was counted.
    runtime = newsroom.client.runtime
    id = int(newsroom.publish()["id"])
    runtime.planning.plan(runtime.publishing.get(id))
    assert runtime.publishing.progress(id).recipients == 2


SLUGS, TONGUES = ("world", "sport", "culture"), ("", "en-GB", "fr", "fr-CA")
SOME = st.frozensets(st.sampled_from(SLUGS))
STORY = st.frozensets(st.sampled_from(["quake", "storm"]))


def test_audience_includes_a_reader_exactly_if_the_store_counts_them(redis_url: str) -> None:
    redis = connect(redis_url)

    @settings(max_examples=settings().max_examples // 2)
    @given(
        readers=st.lists(st.tuples(SOME, st.sampled_from(TONGUES), STORY, STORY), max_size=6),
        everyone=st.booleans(),
        topics=SOME,
        exclude=SOME,
        locales=st.frozensets(st.sampled_from(["en", "fr-CA", "lv"])),
        story=st.sampled_from(["", "quake", "storm", "flood"]),
    )
    def compare(
        readers: list[Any],
        everyone: bool,
        topics: frozenset[str],
        exclude: frozenset[str],
        locales: frozenset[str],
        story: str,
    ) -> None:
        redis.flushdb()
        store = Store(redis, 2)
        for slug in SLUGS:
            store.topics.add(Topic(slug, slug))
        for number, (of, locale, followed, muted) in enumerate(readers):
            wanted = requested(number, topics=of, locale=locale, followed=followed, muted=muted)
            store.subscriptions.subscribe(wanted)
        audience = Audience(
            everyone, () if everyone else tuple(topics), tuple(exclude), tuple(locales), story=story
        )
        assert store.audiences.count(audience) == sum(
            audience.includes(of, locale, followed=followed, muted=muted)
            for of, locale, followed, muted in readers
        )

    compare()


# In the browser -----------------------------------------------------------------------------------


def test_alerts_of_a_story_replace_one_another_on_the_screen(
    installation: Installation, push: PushService
) -> None:
    installation.seed(2, topics=["world"])
    installation.worker()
    installation.clock()
    publishing = installation.runtime.publishing
    story = Audience(everyone=True, story="quake")
    first = installation.publish(story)
    installation.over(first)
    second = installation.publish(story)
    installation.over(second)
    corrected = installation.runtime.corrections.correct(
        second, title="It did not shake", body=None, url=None, replace=True, by="a test"
    ).id
    installation.over(corrected)
    other = installation.publish(Audience(everyone=True, story="storm"))
    installation.over(other)
    alone = installation.publish()
    installation.over(alone)
    one_browser = publishing.publish(
        publishing.get(first).text, Audience(subscription=installation.reader(0)), by="a test"
    ).id
    installation.over(one_browser)

    topics = [message.headers["topic"] for message in push.received]
    assert len(topics) == 11
    assert len(set(topics[:6])) == 1
    assert len(set(topics)) == 4
    shown = {
        id: json.loads(Payload(publishing.get(id), "https://push.example").carrying(""))
        for id in (first, second, corrected, other, alone, one_browser)
    }
    notifications = {id: document["notification"] for id, document in shown.items()}
    for id in (first, second, corrected):
        assert notifications[id]["tag"] == "stop-press-story-quake"
        assert notifications[id]["data"]["story"] == "quake"
    assert notifications[other]["tag"] == "stop-press-story-storm"
    assert notifications[alone]["tag"] == f"stop-press-{alone}"
    assert notifications[one_browser]["tag"] == f"stop-press-{one_browser}"
    # The next alert of a story makes a sound; a correction makes none.
    heard = {id for id, shown in notifications.items() if shown.get("renotify")}
    assert heard == {first, second, other}
    assert push.refusals == []
