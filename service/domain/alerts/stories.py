"""Running stories: a story opens with its first alert, and an editor closes it."""

from __future__ import annotations

from typing import NamedTuple

from service.model.notifications import Notification
from service.store import Store


class RunningStory(NamedTuple):
    """An open story."""

    slug: str
    latest: Notification  # its latest alert
    followers: int  # browsers

    @property
    def place(self) -> tuple[int, int]:
        """Its place among the open stories, the highest first: when its latest alert began."""
        began = self.latest.started_at or self.latest.created_at
        return round(began * 1000), self.latest.id


class Stories:
    """The running stories of one installation."""

    def __init__(self, store: Store) -> None:
        self._stories = store.stories
        self._notifications = store.notifications

    def running(self) -> list[RunningStory]:
        """Return the open stories, the one with the latest alert first."""
        found = self._stories.open()
        followers = self._stories.followers(list(found))
        latest = {one.id: one for one in self._notifications.all(id for id, _ in found.values())}
        return [
            RunningStory(slug, latest[id], count)
            for (slug, (id, _)), count in zip(found.items(), followers, strict=True)
            if id in latest
        ]

    def slugs(self) -> set[str]:
        """Return the slugs of the open stories."""
        return self._stories.slugs()

    def close(self, slug: str) -> bool:
        """Close a story and forget who follows or mutes it; False if it was not open."""
        return self._stories.close(slug)
