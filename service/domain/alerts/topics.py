"""Topics: the subjects that readers can follow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Set
from dataclasses import replace

from redis import RedisError

from service.domain.too_many import TooMany
from service.model.notifications import Topic
from service.store import Store
from service.store.readers.topics import MOST_TOPICS

_KEPT = 600.0  # seconds for which the topics are known without Redis
# Seconds after which every process knows of a merge, and no call is under way that does not.
_KNOWN_AFTER = 60.0
# Seconds after which followers are moved. A worker that chooses an audience by the topics that it
# read a second ago must find their bitmaps where they were. It is noted in whole seconds when
# topics were merged, and that may be up to one too early.
_MOVED_AFTER = 4.0


class MergedTopic(Exception):
    """The slug is that of a topic that was merged, and leads to another one."""

    def __init__(self, slug: str, into: Topic) -> None:
        super().__init__(
            f"“{slug}” was merged into the topic “{into.name}” ({into.slug}), and means that one"
            " now. Choose another."
        )


class UnknownTopic(Exception):
    """There is no topic with that slug."""


class Topics:
    """The topics of one installation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics = store.topics
        self._known: tuple[float, dict[str, Topic]] | None = None  # and when they were read

    def all(self) -> dict[str, Topic]:
        """Return the topics by slug, in the newsroom's order."""
        return self._topics.all()

    def known(self) -> dict[str, Topic]:
        """Return all topics, or those known last if Redis is away for less than ten minutes."""
        try:
            self._known = time.monotonic(), self.all()
        except RedisError:
            if self._known is None or time.monotonic() - self._known[0] > _KEPT:
                raise
        return self._known[1]

    def get(self, slug: str) -> Topic:
        """Return one topic; `UnknownTopic`."""
        found = self.all().get(slug)
        if found is None:
            raise UnknownTopic
        return found

    def exist(self, slugs: Set[str]) -> bool:
        """Whether each of these is a topic.

        For up to a second the answer may still name a topic that another process has removed.
        """
        return self._topics.has(slugs)

    def add(self, topic: Topic) -> bool:
        """Store a new topic; False if the slug is taken, `TooMany` if there are too many.

        `MergedTopic` if the slug leads to another topic: a tool that adds its topics each time that
        it starts would else undo an editor's merge.
        """
        if self._topics.add(topic):
            return True
        known = self.all()
        into = known.get(self._topics.merged().get(topic.slug, ""))
        if into is not None:
            raise MergedTopic(topic.slug, into)
        if topic.slug not in known:
            raise TooMany(MOST_TOPICS, "topics")
        return False

    def change(self, slug: str, **fields: str | bool) -> None:
        """Change some fields of a topic, but not its slug; `UnknownTopic`."""
        if not self._topics.change(slug, **fields):
            raise UnknownTopic

    def move(self, slug: str, places: int) -> None:
        """Move a topic so many places down, or up if it is less than 0; `UnknownTopic`."""
        slugs = list(self.all())
        if slug not in slugs:
            raise UnknownTopic
        at = slugs.index(slug) + places
        slugs.remove(slug)
        slugs.insert(max(0, at), slug)
        self._topics.arrange(slugs)

    def merge(self, slug: str, into: str) -> None:
        """End a topic: its followers follow another one, and its slug leads there; `UnknownTopic`.

        An alert to the old slug reaches the followers of the other topic from now on. The clock
        moves them; a second call does no harm. One that is being sent by now keeps its readers.
        """
        self._keep_readers({slug, into})
        if slug == into or not self._topics.merge(slug, into):
            raise UnknownTopic

    def finish_merges(self, now: float) -> None:
        """Move the followers of topics that were merged: what the clock does.

        It is repeated for a minute, because a process that has not heard of a merge may still write
        a follower into the bitmap of the topic that ended.
        """
        for slug, at in self._topics.merging().items():
            if now - at > _MOVED_AFTER:
                self._move(slug)
            if now - at > _KNOWN_AFTER:
                self._topics.end_merge(slug)

    def _move(self, slug: str) -> None:
        into = self._topics.merged().get(slug)
        if into is not None:
            self._topics.move_followers(slug, into)

    def current(self, slugs: Iterable[str]) -> tuple[str, ...]:
        """Return the slugs of the topics to which these lead since topics were merged."""
        return self._topics.current(slugs)

    def named(self) -> dict[str, Topic]:
        """Return the topics by slug, and by each slug that leads to them."""
        topics = self.all()
        merged = self._topics.merged()
        return {**{old: topics[new] for old, new in merged.items() if new in topics}, **topics}

    def merged(self) -> dict[str, list[str]]:
        """Return by topic the slugs of those that were merged into it."""
        found: dict[str, list[str]] = {}
        for old, new in sorted(self._topics.merged().items()):
            found.setdefault(new, []).append(old)
        return found

    def followers(self) -> dict[str, int]:
        """Return how many browsers follow each topic."""
        return self._topics.followers(list(self.all()))

    def remove(self, slug: str) -> None:
        """Remove a topic and forget which readers followed it; `UnknownTopic`.

        An alert that is being sent keeps its readers, and leaves out the same ones.
        """
        merging, merged = self._topics.merging(), self._topics.merged()
        if slug in merged:
            raise UnknownTopic
        for one in merging:
            if merged.get(one) == slug:  # else nobody would drop its bitmap
                self._move(one)
        known = self._topics.remove(slug)
        # Before the followers are forgotten, and once no new alert can name the topic.
        self._keep_readers({slug, *(old for old, new in merged.items() if new == slug)}, slug)
        # Forget the followers of an unknown topic too: an earlier call may have been cut off here.
        self._topics.forget_followers(slug)
        if not known:
            raise UnknownTopic

    def _keep_readers(self, slugs: Set[str], followed: str = "") -> None:
        """Freeze the audience of each alert that is being sent and names one of these topics.

        A worker would freeze it later, when these topics have other followers or none. After a
        merge the topic `followed` stands for them.
        """
        stored = self._store.notifications
        for one in stored.all(stored.active()):
            parts = ("topics", "all_topics", "exclude")
            named = {part: getattr(one.audience, part) for part in parts}
            if one.corrects is not None or slugs.isdisjoint(sum(named.values(), ())):
                continue
            if followed:
                for part, given in named.items():
                    named[part] = tuple(followed if slug in slugs else slug for slug in given)
            looks = self._store.batches.looks(one.id)
            unplanned = [partition for partition, look in looks.items() if not look.planned]
            began = one.started_at or one.created_at
            audience = replace(one.audience, **named)
            self._store.recipients.freeze(one.id, audience, unplanned, began)
