"""`stoppress doctor` where Sentinel names the master."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.doctor.run import doctor, one
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.sentinels import MASTER, Node, Watched
from tests.support.redis_servers.server import Proxy, RedisServer


def test_the_doctor_says_what_a_failover_lacks(environment: dict[str, str]) -> None:
    with Watched() as watched:
        given = {**environment, "REDIS_URL": watched.url(), "STORE_URL": watched.url()}
        fine = one(given, "Sentinel")
        assert fine.level == "ok"
        assert f"127.0.0.1:{watched.master.port} is the master" in fine.says

        (replica,) = (node for node in watched.nodes if node is not watched.master)
        with replica.client() as admin:
            admin.config_set("requirepass", "another")
            locked = one(given, "Failover")
            admin.config_set("requirepass", "")
        assert f"The replica 127.0.0.1:{replica.port} refuses our password" in locked.says

        unknown = doctor({**given, "REDIS_URL": watched.url("another")})
        assert unknown.exit_code == 1
        assert "sentinels know no master" in " ".join(unknown.stdout.split())

        watched.sentinels[2].kill()
        missing = one(given, "Sentinel")
        assert missing.level == "warn"
        assert f"127.0.0.1:{watched.sentinels[2].port}" in missing.says

    nobody = doctor(given)
    assert nobody.exit_code == 1
    assert "none of its sentinels answers" in " ".join(nobody.stdout.split())


def test_the_doctor_says_that_a_sentinel_watches_another_redis(
    environment: dict[str, str],
) -> None:
    with Watched(replicas=0) as watched, Node() as other:
        with watched.sentinels[1].client() as sentinel:
            sentinel.execute_command("SENTINEL", "REMOVE", MASTER)
            sentinel.execute_command("SENTINEL", "MONITOR", MASTER, "127.0.0.1", other.port, 1)
        found = one({**environment, "REDIS_URL": watched.url()}, "Sentinel")
    assert found.level == "warn"
    for node in (watched.nodes[0], other):
        assert f"127.0.0.1:{node.port}" in found.says


def test_the_doctor_misses_a_replica(environment: dict[str, str]) -> None:
    with Watched(replicas=0, sentinels=1) as watched:
        found = one({**environment, "REDIS_URL": watched.url()}, "Sentinel")
    assert (found.level, "no replica" in found.says) == ("warn", True)


def test_the_doctor_counts_replicas_where_they_are_waited_for(
    server: RedisServer, environment: dict[str, str]
) -> None:
    given = {**environment, "STORE_WAIT_REPLICAS": "1"}
    assert one(given, "Replicas").level == "fail"
    with ExitStack() as stack:
        stack.enter_context(RedisServer()).follow(stack.enter_context(Proxy(server)))
        wait_until(lambda: one(given, "Replicas").level == "warn")  # none is to spare
        stack.enter_context(RedisServer()).follow(stack.enter_context(Proxy(server)))
        wait_until(lambda: one(given, "Replicas").level == "ok")
