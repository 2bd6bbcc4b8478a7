"""Sentinel replaces the master in mid-send: all processes go on by themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest
from redis import RedisError

from tests.promises.test_redis_moves import publish
from tests.support.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.seeded import assert_adds_up
from tests.support.sentinels import Node, SentinelProcess, Watched

WINDOW = 256
READERS = 1500
AGAIN = 20.0  # seconds within which publishing works again


class Show:
    """Web, clock and a worker that sends an alert to readers whose keys are prepared."""

    def __init__(self, installation: Installation, workers: int = 1) -> None:
        self._installation, self._push = installation, installation.push
        self.workers = workers
        installation.seed(READERS)
        self._push.answer_with(lambda _message: Answer(201, delay=0.1))
        for _ in range(workers):
            installation.worker()
        installation.clock()
        self._address, self._token = installation.web(), installation.api_token()
        prepared = installation.runtime.store.prepared_keys
        wait_until(lambda: prepared.ready() == READERS)
        self._push.begin_anew()
        self.id = publish(self._address, self._token)
        self._refusals: set[int] = set()
        self._lost = 0

    def reach(self, answered: int) -> None:
        """Wait until so many messages were answered."""
        self._push.wait_for(answered, timeout=60)

    def publish_again(self) -> int:
        """Publish, for a topic without followers, as soon as that works again."""
        return wait_until(self._published, timeout=AGAIN)

    def _published(self) -> int:
        try:
            return publish(self._address, self._token, audience={"topics": ["breaking"]})
        except HTTPError as error:
            error.close()
            self._refusals.add(error.code)
        return 0

    def _is_there(self) -> bool:
        """Whether this process has found the new master as well."""
        with suppress(RedisError):
            return self._installation.runtime.store.notifications.get(self.id) is not None
        return False

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Count the answers in the block, whose records the new master may not have."""
        self._lost -= len(self._push.received)
        yield
        self._lost += len(self._push.received)

    def check(self) -> None:
        """Check that the send adds up, and that a correction reaches every reader."""
        assert self._refusals <= {503}
        wait_until(self._is_there)
        wait_until(lambda: self._installation.runtime.store.installation.clock_age() < 3)
        self._installation.over(self.id)
        assert max(Counter(one.body[21:86] for one in self._push.received).values()) == 1
        repeats = self._lost + self.workers * WINDOW
        assert_adds_up(self._installation, self.id, READERS, repeats)


@contextmanager
def show(
    watched: Watched, push: PushService, folder: Path, workers: int = 1, queue: str = ""
) -> Iterator[Show]:
    """An installation by Sentinel whose alert has reached a third of its readers.

    `queue` is the address of another Redis for the queue.
    """
    settings = {"STORE_URL": watched.url(), "WEB_CONCURRENCY": "1"}
    with Installation(
        queue or watched.url(), push, folder, PUSH_WINDOW=str(WINDOW), **settings
    ) as installation:
        show = Show(installation, workers)
        show.reach(READERS // 3)
        yield show


def test_send_goes_on_after_sentinel_has_replaced_a_killed_master(
    push: PushService, tmp_path: Path
) -> None:
    with Watched() as watched, show(watched, push, tmp_path) as running:
        with running.losing():
            before = watched.master
            before.kill()
        assert running.publish_again()
        assert watched.master is not before
        running.check()


SOAK = pytest.mark.soak


@SOAK
def test_send_goes_on_after_a_failover_of_the_store_by_hand(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    """The queue has a Redis of its own, without Sentinel."""
    with Watched() as watched, show(watched, push, tmp_path, 2, redis_url) as running:
        for sentinel in watched.sentinels:
            sentinel.hurry()  # at their own pace: the old master takes writes for ten seconds
        with running.losing():
            watched.fail_over(lambda _: watched.sentinels[0].fail_over())
            time.sleep(2)
        assert running.publish_again()
        running.check()


@SOAK
def test_send_goes_on_after_a_failover_to_a_lagging_replica(
    push: PushService, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        watched = stack.enter_context(Watched(sentinels=1, lagging=True))
        running = stack.enter_context(show(watched, push, tmp_path, 2))
        with running.losing(), watched.link.frozen():
            time.sleep(0.1)
            watched.fail_over()
        assert running.publish_again()
        running.check()


@SOAK
def test_send_goes_on_after_a_frozen_master_was_replaced_and_comes_back(
    push: PushService, tmp_path: Path
) -> None:
    with Watched() as watched, show(watched, push, tmp_path, 2) as running:
        old = watched.master
        with running.losing():
            watched.fail_over(Node.pause)
        assert running.publish_again()
        old.resume()
        running.check()
        wait_until(lambda: old.role() == "slave")


@SOAK
@pytest.mark.parametrize("fault", [SentinelProcess.kill, SentinelProcess.pause])
def test_send_goes_on_while_a_sentinel_is_down(
    push: PushService, tmp_path: Path, fault: Callable[[SentinelProcess], None]
) -> None:
    with Watched() as watched:
        fault(watched.sentinels[0])  # which all processes would ask first
        with show(watched, push, tmp_path, 2) as running:
            with running.losing():
                watched.fail_over()
            assert running.publish_again()
            running.check()


@SOAK
def test_send_goes_on_when_most_sentinels_come_back(push: PushService, tmp_path: Path) -> None:
    """One of three may not fail over alone; meanwhile nothing is lost and nothing ends."""
    with Watched() as watched, show(watched, push, tmp_path, 2) as running:
        old = watched.master
        for sentinel in watched.sentinels[1:]:
            sentinel.kill()  # not paused, after which they would do nothing for half a minute
        with running.losing():
            old.kill()
        # Not for long: ten times DOWN_AFTER without a master, and no replica may become one.
        time.sleep(2)
        assert watched.sentinels[0].master() == old.port
        for sentinel in watched.sentinels[1:]:
            sentinel.start()
        assert running.publish_again()
        running.check()


@SOAK
def test_send_does_not_follow_a_sentinel_that_names_the_master_of_before(
    push: PushService, tmp_path: Path
) -> None:
    with Watched() as watched, show(watched, push, tmp_path, 2) as running:
        stale = watched.sentinels[0]
        stale.kill()
        with running.losing():
            new = watched.fail_over()
        assert running.publish_again()
        for sentinel in watched.sentinels[1:]:
            sentinel.pause()
        stale.start()
        stale.hurry()
        assert stale.master() != new.port
        assert running.publish_again()
        for sentinel in watched.sentinels[1:]:
            sentinel.resume()
        running.check()
