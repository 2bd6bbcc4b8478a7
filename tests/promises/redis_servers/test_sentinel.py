"""Sentinel replaces the master in mid-send: all processes go on by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from tests.support.processes.installation import wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.sentinels import Node, SentinelProcess, Watched
from tests.support.redis_servers.under_way import UnderWay, under_way


@contextmanager
def show(
    watched: Watched, push: PushService, folder: Path, workers: int = 1, queue: str = ""
) -> Iterator[UnderWay]:
    """An alert in mid-send by Sentinel; `queue` is the address of another Redis for the queue."""
    url = watched.url()
    with under_way(url, queue or url, push, folder, workers=workers) as running:
        yield running


@pytest.mark.processes
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


@SOAK
def test_send_goes_on_after_master_and_replica_changed_places_twice(
    push: PushService, tmp_path: Path
) -> None:
    with Watched() as watched, show(watched, push, tmp_path, 2) as running:
        first, roles = watched.master, ["master", "slave"]
        with running.losing():
            for _ in range(2):
                watched.fail_over(fail_over_by_hand(watched))
                wait_until(lambda: sorted(str(node.role()) for node in watched.nodes) == roles)
        assert watched.master is first
        assert running.publish_again()
        running.check()


def fail_over_by_hand(watched: Watched) -> Callable[[Node], None]:
    """What has the sentinels replace the master, as soon as they may after the time before."""

    def begun() -> bool:
        with suppress(redis.ResponseError):  # -NOGOODSLAVE or -INPROG
            watched.sentinels[0].fail_over()
            return True
        return False

    def begin(_: Node) -> None:
        wait_until(begun)

    return begin


@SOAK
def test_send_goes_on_while_every_sentinel_is_gone_and_the_master_starts_again(
    push: PushService, tmp_path: Path
) -> None:
    with Watched() as watched, show(watched, push, tmp_path, 2) as running:
        for sentinel in watched.sentinels:
            sentinel.kill()
        with running.losing():
            master = watched.nodes[0]
            master.kill()
            master.start()
        assert running.publish_again()
        running.check()
