"""`stoppress doctor` where the store is on a cluster."""

from __future__ import annotations

import pytest

from service.store import Store, connect
from service.store.readers.subscriptions import made_key
from tests.support.doctor.run import doctor, findings, one
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.cluster import ClusterServers
from tests.support.redis_servers.server import RedisServer

pytestmark = pytest.mark.processes


def test_the_doctor_checks_each_node_and_misses_replicas(environment: dict[str, str]) -> None:
    with ClusterServers() as servers:
        given = {**environment, "STORE_URL": servers.url}
        fine = one(given, "Cluster")
        assert fine.level == "ok"
        assert "3 masters" in fine.says
        assert one(given, "Eviction").level == "ok"
        assert "Failover" not in findings(given)

        replica = servers.replica(servers.master("g"))
        with replica.client() as admin:
            admin.config_set("requirepass", "another")
            # The masters know it once it has copied something, and tell each other in a moment.
            (locked,) = wait_until(lambda: findings(given).get("Failover"))
            admin.config_set("requirepass", "")
        assert locked.level == "warn"
        assert f"The replica 127.0.0.1:{replica.port} refuses our password" in locked.says

        node = servers.nodes[1]
        with node.client() as admin:
            admin.config_set("maxmemory-policy", "volatile-lru")
        found = one(given, "Eviction")
        assert found.level == "fail"
        assert f"127.0.0.1:{node.port}: Redis may delete" in found.says

        with servers.nodes[0].client() as admin:
            admin.execute_command("ACL", "SETUSER", "default", "-info")
            assert "could not be checked" in one(given, "Cluster").says
            admin.execute_command("ACL", "SETUSER", "default", "+info")

        source = servers.master("g")
        with servers.moving("g", next(one for one in servers.nodes[:3] if one is not source)):
            moving = one(given, "Slots")
        assert moving.level == "warn"
        assert "1 on the way from one node to another (the first is 7233)" in moving.says
        assert "redis-cli --cluster fix 127.0.0.1:" in moving.says

        for replica in servers.nodes[3:]:
            replica.kill()
        alone = "3 of 3 masters have no replica"  # the masters hear of it in a moment
        missing = wait_until(lambda: alone in (found := one(given, "Cluster")).says and found)
        assert missing.level == "warn"

        node.kill()
        half = doctor(given)
        assert half.exit_code == 1
        said = " ".join(half.stdout.split())
        assert f"the connection is refused (at 127.0.0.1:{node.port}, as its cluster" in said


def test_the_doctor_counts_masters_and_says_that_the_queue_needs_a_redis_of_its_own(
    environment: dict[str, str],
) -> None:
    with ClusterServers(masters=2, replicas=False) as servers:
        few = one({**environment, "STORE_URL": servers.url}, "Cluster")
        assert few.level == "warn"
        assert few.says.startswith("Masters: 2. When one dies, no replica takes over")
        refused = doctor({**environment, "REDIS_URL": servers.url})
        assert refused.exit_code != 0
        assert "the queue does not run on a cluster" in refused.output
        port = servers.nodes[0].port
        plain = doctor({**environment, "STORE_URL": f"redis://127.0.0.1:{port}"})
        assert plain.exit_code == 1
        assert "redis+cluster://" in " ".join(plain.stdout.split())


def test_the_doctor_names_the_partitions_of_a_node_that_was_started_without_its_data(
    environment: dict[str, str], server: RedisServer
) -> None:
    store = Store(connect(server.url))
    for partition in store.partitions:
        store.redis.set(made_key(partition), 1000 + partition)
    assert "Partitions" not in findings(environment)
    for partition in (10, 43):
        store.redis.set(made_key(partition), 400 + partition)  # some have come since
    found = one(environment, "Partitions")
    assert found.level == "fail"
    assert found.says.startswith("{10}, {43}: a node of the cluster has lost their readers")
