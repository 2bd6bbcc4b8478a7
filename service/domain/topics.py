"""Topics: the subjects that readers can follow."""

from __future__ import annotations

import time
from collections.abc import Set

from redis import RedisError

from service.model.notifications import Topic
from service.store import Store
from service.store.topics import MOST_TOPICS as MOST_TOPICS

_KEPT = 600.0  # seconds for which the topics are known without Redis


class TooManyTopics(Exception):
    """There are as many topics as there may be."""


class UnknownTopic(Exception):
    """There is no topic with that slug."""


class Topics:
    """The topics of one installation."""

    def __init__(self, store: Store) -> None:
        self._topics = store.topics
        self._subscriptions = store.subscriptions
        self._known: tuple[float, dict[str, Topic]] | None = None  # and when they were read

    def all(self) -> dict[str, Topic]:
        """Return the topics by slug, the oldest first."""
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
        """Store a new topic; False if the slug is taken, `TooManyTopics` if there are too many."""
        if self._topics.add(topic):
            return True
        if topic.slug not in self.all():
            raise TooManyTopics
        return False

    def change(self, topic: Topic) -> None:
        """Replace the name, the description and the default of a topic with the same slug."""
        self._topics.change(topic)

    def remove(self, slug: str) -> None:
        """Remove a topic and forget which readers followed it; `UnknownTopic`."""
        known = self._topics.remove(slug)
        # Forget the followers of an unknown topic too: an earlier call may have been cut off here.
        self._subscriptions.forget_topic(slug)
        if not known:
            raise UnknownTopic
