"""A node of the store's cluster goes away in mid-send: all processes go on by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from service.local.redis_server import Server, find_servers
from tests.support.processes.installation import wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.cluster import ClusterNode, ClusterServers, valkey
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.under_way import UnderWay, under_way

PARTITION = 10  # the first of twelve
SOAK = pytest.mark.soak


@contextmanager
def sending(
    cluster: ClusterServers, queue: str, push: PushService, folder: Path, readers: int = 1000
) -> Iterator[UnderWay]:
    """An alert in mid-send whose store is the cluster."""
    with under_way(cluster.url, queue, push, folder, readers=readers, workers=2) as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[ClusterServers]:
    with ClusterServers() as servers:
        yield servers


@pytest.mark.processes
def test_send_goes_on_after_the_masters_of_a_partition_and_of_what_is_shared_were_killed(
    cluster: ClusterServers, redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with sending(cluster, redis_url, push, tmp_path) as running:
        masters = [cluster.master(PARTITION), cluster.master("g")]
        assert masters[0] is not masters[1]
        with running.losing():
            masters[0].kill()
        wait_until(lambda: cluster.master(PARTITION) is not masters[0])
        with running.losing():
            masters[1].kill()
        assert running.publish_again()
        running.check()
        masters[0].start()
        wait_until(lambda: masters[0].role() == "slave")


def kill_partition(cluster: ClusterServers) -> None:
    cluster.master(PARTITION).kill()


def kill_shared(cluster: ClusterServers) -> None:
    cluster.master("g").kill()


def fail_over_by_hand(cluster: ClusterServers) -> None:
    for tag in (PARTITION, "g"):
        cluster.fail_over(tag)


def move_slots(cluster: ClusterServers) -> None:
    """Move the slots of a partition and of what is shared to another master, with their data."""
    for tag in (PARTITION, "g"):
        source = cluster.master(tag)
        cluster.reshard(tag, next(node for node in cluster.masters() if node is not source))


def cut_off(cluster: ClusterServers) -> None:
    """Let a node say nothing for twenty seconds, in which its replica takes over."""
    node = cluster.master("g")
    with frozen(node):
        time.sleep(20)
    wait_until(lambda: node.role() == "slave")


@contextmanager
def frozen(node: ClusterNode) -> Iterator[None]:
    node.pause()
    try:
        yield
    finally:
        node.resume()


@SOAK
@pytest.mark.timeout(600)  # beside three others of its kind, on two cores
@pytest.mark.parametrize("find", [lambda: find_servers()[0], valkey], ids=["redis", "valkey"])
@pytest.mark.parametrize(
    "happens", [kill_partition, kill_shared, fail_over_by_hand, move_slots, cut_off]
)
def test_send_to_thirty_thousand_goes_on_when_its_cluster_changes(
    happens: Callable[[ClusterServers], None],
    find: Callable[[], Server],
    redis_url: str,
    push: PushService,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterServers(server=find()))
        running = stack.enter_context(sending(cluster, redis_url, push, tmp_path, 30_000))
        with running.losing():
            happens(cluster)
        assert running.publish_again()
        running.check()


@contextmanager
def without_replicas(node: ClusterNode) -> Iterator[None]:
    """A master that takes no writes, because it has fewer replicas than it must have."""
    with node.client() as admin:
        admin.config_set("min-replicas-to-write", "2")
        yield
        admin.config_set("min-replicas-to-write", "0")


@SOAK
@pytest.mark.parametrize("tag", [PARTITION, "g"])
@pytest.mark.parametrize("fault", [RedisServer.full, RedisServer.disk_full, without_replicas])
def test_send_goes_on_after_one_node_refused_all_writes(
    fault: Callable[[ClusterNode], AbstractContextManager[None]],
    tag: str | int,
    cluster: ClusterServers,
    redis_url: str,
    push: PushService,
    tmp_path: Path,
) -> None:
    with sending(cluster, redis_url, push, tmp_path) as running:
        with fault(cluster.master(tag)):
            time.sleep(4)
        assert running.publish_again()
        running.check()


@SOAK
def test_send_goes_on_after_the_queue_beside_a_cluster_was_lost(
    cluster: ClusterServers, push: PushService, tmp_path: Path
) -> None:
    with RedisServer() as queue, sending(cluster, queue.url, push, tmp_path) as running:
        queue.lose_everything()
        assert running.publish_again()
        running.check()
