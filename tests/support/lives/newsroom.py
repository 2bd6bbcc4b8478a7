"""A newsroom whose readers, editors, worker and clock live in one process, with a faked clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from service.config import Config
from service.domain.alerts.waiting_corrections import Undo
from service.model.notifications import Audience, Content, Notification, Topic
from service.model.preferences import Preferences
from service.model.two_texts import SecondText
from service.runtime import Runtime
from tests.support.client import VAPID
from tests.support.lives.killing import Killed, killed_at
from tests.support.lives.push import PretendedPush, Run
from tests.support.lives.readers import Reader, of_story, request
from tests.support.lives.stopped_time import StoppedTime
from tests.support.lives.witness import Witness
from workers.sending import wire
from workers.sending.fanout import FanOut
from workers.sending.prepared_keys import Filler

if TYPE_CHECKING:
    from redis import Redis

HEADLINE = "https://paper.example/story"
TOPICS = ("world", "sport")
WINDOW = 64
# Where a process is killed: with the nth call of Redis, which arrives there or not.
Kill = tuple[int, bool] | None


class Worker(NamedTuple):
    """A worker, and what carries its messages."""

    push: PretendedPush
    fan_out: FanOut


class Newsroom:
    """All that live in it. Its desk has the `runtime`; worker and clock have their own."""

    def __init__(
        self, redis_url: str, time: StoppedTime, begin: datetime, partitions: int = 1
    ) -> None:
        config = self._config = _config(redis_url, partitions)
        self.time = time
        self._opened: list[Runtime] = []
        self.runtime = self._open()
        self.redis: Redis = self.runtime.store.redis
        time.begin(self.redis, begin.replace(tzinfo=timezone.utc).timestamp())
        for slug in TOPICS:
            self.runtime.store.topics.add(Topic(slug, slug.title()))
        self.readers: dict[int, Reader] = {}
        self._texts: dict[int, int] = {}  # by alert, how many its corrections had
        self.witness = Witness(self.runtime.store, self.readers, lambda: time.now)
        self._signer = wire.VapidSigner(self.runtime.keys.vapid[0], config.vapid_contact)
        self.moods: dict[str, str] = {}  # of push services, by origin
        self._begun = 0
        self._clock = self._open()
        self.workers = [self._new_worker(), self._new_worker()]

    def _open(self) -> Runtime:
        self._opened.append(Runtime.open(self._config))
        return self._opened[-1]

    def _new_worker(self) -> Worker:
        self._begun += 1
        runtime = self._open()
        push = PretendedPush(WINDOW, self.time, self.moods, self.witness)
        signers = {runtime.keys.current: self._signer}
        name = f"worker {self._begun}"
        return Worker(push, FanOut(name, runtime, push, signers))  # type: ignore[arg-type]

    def work(
        self,
        which: int,
        chance: Random,
        *,
        kill: Kill = None,
        messages: int = -1,
        amid: Callable[[], object] | None = None,
    ) -> None:
        """Let a worker send what is due, until it is killed or nothing is left.

        It is also killed after so many `messages`. `amid` happens while it waits for answers.
        """
        push, fan_out = self.workers[which]
        push.run, push.kill_after, push.amid = Run(self.time.now), messages, amid
        push.chance = chance
        killed = True
        with suppress(Killed), killed_at(kill):
            fan_out.run(lambda: True)
            killed = False
        if push.run.wrong:
            raise push.run.wrong[0]
        if killed:
            self.witness.is_killed(push.run)
            self.workers[which] = self._new_worker()
        else:
            assert not push.run.under_way, "an answer was not waited for"
            Filler(fan_out._runtime)._go_round()  # as it does when it is idle

    def loses_leases(self, which: int, seconds: float) -> None:
        """A worker that is sending is stopped for so long that another one takes its leases."""
        self.witness.loses_leases(self.workers[which].push.run)
        self.time.move_on(seconds)

    def tick(self, kill: Kill = None) -> None:
        """Let the clock do its duties of a second."""
        self.time.move_on(1.0)
        killed = True
        with suppress(Killed), killed_at(kill):
            self._do_duties(self._clock, self.time.now)
            killed = False
        if killed:
            self._clock = self._open()

    @staticmethod
    def _do_duties(runtime: Runtime, now: float) -> None:
        """Do what concerns alerts and readers, as `workers.clock` does."""
        runtime.publishing.send_due()
        runtime.publishing.wake_readers(now, "https://paper.example")
        runtime.push_services.try_released(now)
        runtime.planning.advance_all()
        runtime.gone.look_after(now)
        runtime.push_services.end_paces(now)
        runtime.push_services.forget_rests(now)
        runtime.topics.finish_merges(now)

    # -- readers and editors ---------------------------------------------------------------------

    def join(
        self, zone: str, topics: frozenset[str], preferences: Preferences, story: str = ""
    ) -> None:
        """Another reader subscribes; `story`: "followed", "muted" or neither."""
        names = ("quiet", "daily_limit", "allow_breaking")
        number, chosen = len(self.readers), {name: getattr(preferences, name) for name in names}
        key = self.runtime.keys.current
        asked = request(number, 0, key, zone=zone, topics=topics, chosen=chosen, locale="en")
        one, _ = self.runtime.subscriptions.subscribe(asked._replace(**of_story(story)))
        now = self.time.now
        reader = Reader(number, one.id, 0, zone, topics, preferences, story, changed_at=now)
        self.readers[number] = reader

    def publish(
        self,
        audience: Audience,
        *,
        kind: str = "news",
        ttl: int = 4 * 3600,
        percent: int = 0,
        **options: Any,
    ) -> int:
        """Publish an alert, perhaps with a second text for so many percent; return its id."""
        number = len(self.witness.roots) + 1
        title = f"Alert {number} text 0"
        if percent:
            options["second_text"] = SecondText(title, "Another text", percent, 5)
        content = Content(title, HEADLINE, kind=kind, ttl=ttl)
        id = self.runtime.publishing.publish(content, audience, by="Ada", **options).id
        self.witness.roots[number] = id
        self.look()
        return id

    def correct(self, id: int, *, replace: bool = True, undo: Undo | None = None) -> int:
        """Correct an alert; return the id of the correction."""
        root = self.runtime.corrections.root(id).id
        (number,) = (number for number, one in self.witness.roots.items() if one == root)
        self._texts[root] = self._texts.get(root, 0) + 1
        title = f"Alert {number} text {self._texts[root]}"
        correct = self.runtime.corrections.correct
        done = correct(root, title=title, body=None, url=None, replace=replace, by="Bob", undo=undo)
        self.look()
        return done.id

    def look(self) -> list[Notification]:
        """Return all alerts as the desk has them, waves too."""
        found = self.runtime.publishing.latest(500) + self.runtime.publishing.waves(100)
        self.witness.look(found)
        return found

    def close(self) -> None:
        """Let go of Redis."""
        for runtime in self._opened:
            runtime.store.redis.close()


def _config(url: str, partitions: int) -> Config:
    return Config.read(
        {
            "REDIS_URL": url,
            "STORE_PARTITIONS": str(partitions),
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": VAPID.text,
            "SITE_ORIGINS": "https://paper.example",
            "QUIET_HOURS": "none",
            "DAILY_LIMIT": "none",
            "PUSH_WINDOW": str(WINDOW),
        }
    )
