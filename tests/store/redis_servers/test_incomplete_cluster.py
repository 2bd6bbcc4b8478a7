"""A cluster one of whose slots is on its way to another node, or that has lost a node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.domain.store_errors import reason
from service.local.redis_server import Server, find_servers
from service.model.operations.capacity import Speed
from service.store import COMMAND, LayoutError, Store, connect
from service.store.layout.departures import ENDED
from service.store.redis_servers.connection import NotMaster
from tests.support.audiences import subscribed
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.cluster import ClusterServers, valkey

pytestmark = [
    pytest.mark.processes,
    pytest.mark.parametrize("find", [lambda: find_servers()[0], valkey], ids=["redis", "valkey"]),
]


def test_no_script_empties_a_key_that_it_needs_again_while_its_slot_moves(
    find: Callable[[], Server],
) -> None:
    """The node that the slot leaves refuses what a script asks of a key that it has no more."""
    with ClusterServers(2, replicas=False, server=find()) as cluster:
        store = Store(connect(cluster.url))
        store.redis.hset(ENDED, "left", 1)
        store.redis.hset("{g}:counted", mapping={"history": "another", "one": 1})
        store.counted.add({}, Speed(1, 1, 1))
        store.redis.hset("{g}:counted", mapping={"history": "another", "one": 1})
        assert store.installation.lead("a clock", 60_000)
        assert store.causes.change(None, "first")
        source = cluster.master("g")
        with cluster.moving("g", next(node for node in cluster.nodes if node is not source)):
            store.counted.add({}, Speed(1, 1, 1))
            assert store.installation.lead("a clock", 60_000)
            assert store.causes.change(b"first", "second")
        assert store.redis.hkeys("{g}:counted")[0] == b"history"
        assert store.redis.hget("{g}:counted", "one") is None
        assert store.counted.speed() == Speed(2, 2, 2)
        assert store.installation.leader() == "a clock"
        assert store.causes.read() == b"second"


def test_a_cluster_that_only_reads_while_a_node_is_away_says_so_within_scripts_too(
    find: Callable[[], Server],
) -> None:
    with ClusterServers(2, replicas=False, server=find()) as cluster:
        store = Store(connect(cluster.url, COMMAND))
        left = cluster.master("g")
        with left.client() as admin:
            admin.config_set("cluster-allow-reads-when-down", "yes")
        next(node for node in cluster.nodes if node is not left).kill()
        wait_until(lambda: left.state()["cluster_state"] == "fail")
        assert store.installation.leader() == ""  # it reads
        with pytest.raises(NotMaster) as refused:
            store.installation.lead("a clock", 60_000)
        assert reason(refused.value).startswith("has lost a part of its cluster")


def test_no_process_begins_a_new_store_beside_the_readers_of_one_whose_shared_data_is_lost(
    find: Callable[[], Server],
) -> None:
    with ClusterServers(2, replicas=False, server=find()) as cluster:
        store = Store(connect(cluster.url))
        for number in range(24):
            subscribed(store, number)
        assert Store(connect(cluster.url)).subscriptions.count() == 24
        with cluster.master("g").client() as emptied:
            emptied.flushall()
        for _ in range(2):
            with pytest.raises(LayoutError, match="what all its partitions share is gone"):
                Store(connect(cluster.url))
        for node in cluster.nodes:
            with node.client() as emptied:
                emptied.flushall()
        assert Store(connect(cluster.url)).subscriptions.count() == 0
