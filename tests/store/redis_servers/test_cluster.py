"""The client of a cluster: it asks the node that has a key, wherever that goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from service.config import Config, ConfigError
from service.domain.store_errors import why_unreachable
from service.runtime import check_redis
from service.store import COMMAND, PAGE, WORKER, Store, connect
from service.store.redis_servers.cluster import Cluster, SlotMoves
from service.store.redis_servers.cluster_nodes import Address, NotCluster, NotCovered, ServerFails
from service.store.redis_servers.connection import NotMaster, Silent, at, knock, servers
from service.store.redis_servers.replicas import NotKept, Replicas, TooFewReplicas
from service.store.redis_servers.scripts import answers
from service.store.redis_servers.shared_exchanges import SharedExchanges
from tests.support.processes.installation import wait_until
from tests.support.push_service.certificates import make_certificates
from tests.support.redis_servers.cluster import ClusterNode, ClusterServers, TlsClusterNode
from tests.support.redis_servers.sentinels import Node, Tls
from tests.support.redis_servers.server import Proxy, RedisServer, find_tls_server
from workers.trials.processes import free_port

pytestmark = pytest.mark.processes

TAGS = (10, 3, 43, 11, 2, 42, 12, 1, 41, 13, 0, 40)


@pytest.fixture(scope="module")
def running() -> Iterator[ClusterServers]:
    # So patient that nothing but a test makes a replica a master, however busy the machine is.
    with ClusterServers(make=lambda: ClusterNode(node_timeout=15_000)) as servers:
        yield servers


@pytest.fixture
def cluster(running: ClusterServers) -> ClusterServers:
    """The cluster of this file, without data, and with its first masters' slots where they are."""
    running.flush()
    return running


def key(tag: object) -> str:
    return f"{{{tag}}}:seen"


def test_each_of_twelve_partitions_is_where_the_slots_of_its_range_are(
    cluster: ClusterServers,
) -> None:
    store = Store(connect(cluster.url))
    assert tuple(store.partitions) == TAGS
    for tag in TAGS:
        store.redis.set(key(tag), tag)
        with cluster.master(tag).client() as node:
            assert node.get(key(tag)) == b"%d" % tag
    held = [cluster.master(tag).port for tag in TAGS]
    assert {held.count(port) for port in held} == {4}


def test_pipeline_asks_all_nodes_and_answers_in_order(cluster: ClusterServers) -> None:
    client = connect(cluster.url)
    with client.pipeline(transaction=False) as pipe:
        for tag in TAGS:
            pipe.set(key(tag), tag)
        for tag in reversed(TAGS):
            pipe.get(key(tag))
        pipe.hget(key(10), "a string is no hash")
        found = pipe.execute(raise_on_error=False)
    assert found[:24] == [True] * 12 + [b"%d" % tag for tag in reversed(TAGS)]
    assert isinstance(found[24], redis.ResponseError)
    with pytest.raises(redis.ResponseError), client.pipeline(transaction=False) as pipe:
        pipe.get(key(3)).hget(key(10), "a string is no hash").execute()
    assert client.get(key(3)) == b"3"


def test_transaction_is_one_of_one_node(cluster: ClusterServers) -> None:
    client = connect(cluster.url)
    with client.pipeline() as pipe:
        assert pipe.incr(key("g")).incr(key("g")).execute() == [1, 2]
    with pytest.raises(ValueError), client.pipeline() as pipe:  # keys of two slots: our own fault
        pipe.incr(key(10)).incr(key(3)).execute()
    assert client.get(key(10)) is None


def test_scripts_run_at_nodes_that_never_saw_them(cluster: ClusterServers) -> None:
    client = connect(cluster.url)
    count = client.register_script("return redis.call('INCR', KEYS[1])")
    assert [count(keys=[key(tag)]) for tag in TAGS] == [1] * 12
    cluster.flush()
    with client.pipeline(transaction=False) as pipe:
        for tag in TAGS:
            count(keys=[key(tag)], client=pipe)
            pipe.incr(key(tag))
        assert pipe.execute() == [1, 2] * 12


def test_script_is_loaded_at_the_node_that_misses_it_though_the_table_may_lack_that_node(
    cluster: ClusterServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(cluster.url)
    count = client.register_script("return redis.call('INCR', KEYS[1])")
    calls = [([key(tag)], ()) for tag in TAGS]
    monkeypatch.setattr(client, "script_load", lambda _: count.sha)
    assert SharedExchanges(count).run([key(10)], ()) == 1
    cluster.flush()
    assert answers(client, count, calls) == [1] * 12


def test_slot_is_found_where_it_was_moved_and_while_it_moves(cluster: ClusterServers) -> None:
    client = connect(cluster.url)
    double = client.register_script(
        "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}"
    )
    keys = ["{10}:one", "{10}:two"]
    source = cluster.master(10)
    to = next(node for node in cluster.masters() if node is not source)
    for number, name in enumerate(keys):
        client.set(name, number)
    client.hset("{10}:hash", "field", "value")
    with cluster.moving(10, to) as move:
        assert client.get(keys[0]) == b"0"
        move(keys[0])
        assert client.get(keys[0]) == b"0"  # ASK
        with client.pipeline() as pipe:
            assert pipe.get(keys[0]).set(keys[0], "7").get(keys[0]).execute() == [b"0", True, b"7"]
        client.set("{10}:new", "new")
        with client.pipeline(transaction=False) as pipe:
            pipe.get(keys[0]).get(key(3)).get(keys[1]).get("{10}:new")
            assert pipe.execute() == [b"7", None, b"1", b"new"]
        assert Replicas(client, 0).check("{10}") is None
        replicas = Replicas(client, 1)
        replicas.check("{10}")  # a key that is never there is asked of the other
        replicas.keep("{10}:hash", "field")
        new = client.register_script("return redis.call('GET', KEYS[1])")
        assert new(keys=[keys[0]]) == b"7"  # the other has never seen it
        with client.pipeline(transaction=False) as pipe:
            new(keys=[keys[0]], client=pipe)
            new(keys=[keys[1]], client=pipe)
            assert pipe.execute() == [b"7", b"1"]
        with pytest.raises(SlotMoves):
            connect(cluster.url, PAGE).mget(keys)  # one key here, one there: TRYAGAIN
        threading.Timer(0.3, move, (keys[1],)).start()
        assert double(keys=keys) == [b"7", b"1"]
    assert client.mget(keys) == [b"7", b"1"]  # MOVED
    with client.pipeline() as pipe:
        assert pipe.get(keys[0]).get(keys[1]).execute() == [b"7", b"1"]
    cluster.reshard(10, source)
    with client.pipeline(transaction=False) as pipe:
        assert pipe.get(keys[0]).get(key(3)).get(keys[1]).execute() == [b"7", None, b"1"]


def test_replica_that_took_over_is_asked_at_once(cluster: ClusterServers) -> None:
    clients = [connect(cluster.url, patience) for patience in (COMMAND, PAGE, WORKER)]
    for client in clients:
        client.set(key(42), "before")
    cluster.fail_over(42)
    for client in clients:
        assert client.get(key(42)) == b"before"
    for number, client in enumerate(clients):
        client.set(key(42), number)
        assert client.get(key(42)) == b"%d" % number


@pytest.mark.soak
def test_worker_waits_for_the_replica_of_a_killed_master() -> None:
    with ClusterServers() as servers:
        client = connect(servers.url, WORKER)
        for tag in TAGS:
            client.set(key(tag), tag)
        killed = servers.master(10)
        with killed.client() as node:
            node.wait(1, 1000)
        killed.kill()
        with client.pipeline(transaction=False) as pipe:
            for tag in TAGS:
                pipe.get(key(tag))
            assert pipe.execute() == [b"%d" % tag for tag in TAGS]
        assert servers.master(10) is not killed
        impatient = connect(servers.url, PAGE)
        for node in (servers.master(10), servers.master("g")):
            node.kill()  # two of three: nobody may choose another master
        with pytest.raises((redis.ConnectionError, NotMaster)):
            impatient.get(key(10))
        killed.start()


def test_call_that_must_not_be_repeated_is_made_once_at_the_right_node(
    cluster: ClusterServers,
) -> None:
    client = connect(cluster.url, WORKER)
    source = cluster.master(3)
    client.get(key(3))
    cluster.reshard(3, next(node for node in cluster.masters() if node is not source))
    calls = []

    def call(node: redis.Redis, _asking: bool) -> bool:
        calls.append(node)
        return bool(node.set(key(3), "once"))

    assert at(client, key(3), call, once=True)
    # At the first node, which did nothing, unless the client has heard of the move; and the second.
    assert len(calls) in (1, 2)
    assert client.get(key(3)) == b"once"

    def lose(node: redis.Redis, _asking: bool) -> None:
        calls.append(node)
        raise redis.ConnectionError("lost")

    calls.clear()
    with pytest.raises(redis.ConnectionError):
        at(client, key(3), lose, once=True)
    assert len(calls) == 1
    cluster.reshard(3, source)


def test_clients_of_a_process_share_what_they_know_of_the_nodes(cluster: ClusterServers) -> None:
    first, second = connect(cluster.url), connect(cluster.url, PAGE)
    assert isinstance(first, Cluster)
    assert isinstance(second, Cluster)
    assert first.nodes is second.nodes
    for tag in TAGS:
        first.get(key(tag))  # what was known of before a failover is known better then
    wait_until(lambda: len(servers(first)) == 3)
    assert {address.host for address in first.nodes.masters()} == {"127.0.0.1"}


def test_what_is_asked_of_the_whole_goes_to_the_node_of_what_is_shared(
    cluster: ClusterServers,
) -> None:
    client = connect(cluster.url)
    assert isinstance(client, Cluster)
    shared = Address("127.0.0.1", cluster.master("g").port)
    with client.node(shared).monitor() as seen:
        client.time()
        while "TIME" not in (said := seen.next_command())["command"]:
            assert said
    store = Store(client)
    memory = store.memory()
    assert memory is not None
    assert memory.used > 0


def test_address_of_a_redis_that_is_no_cluster_is_refused(cluster: ClusterServers) -> None:
    with RedisServer() as server, server.client() as admin:
        port = cluster.nodes[0].port
        knock(cluster.url)
        with pytest.raises(redis.exceptions.ClusterDownError):
            knock(f"redis://127.0.0.1:{port}")
        assert admin.ping()


def test_start_finds_a_cluster_without_all_its_slots_not_ready() -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(ClusterServers(1, replicas=False))
        url = f"redis+cluster://127.0.0.1:{servers.nodes[0].port}"
        knock(url)
        servers.nodes[0].cluster("DELSLOTS", 7)
        wait_until(lambda: servers.nodes[0].state()["cluster_state"] == "fail")
        with pytest.raises(NotCovered):
            knock(url)


def test_redis_alone_is_not_taken_for_a_cluster() -> None:
    with Node() as node, pytest.raises(NotCluster):
        knock(f"redis+cluster://127.0.0.1:{node.port}")


def test_replicas_are_waited_for_at_the_node_of_what_is_stored(cluster: ClusterServers) -> None:
    client = connect(cluster.url)
    for tag in (10, "g"):
        wait_until(lambda tag=tag: cluster.replica(cluster.master(tag)))  # type: ignore[misc]
        client.hset(f"{{{tag}}}:stored", "field", "value")
        replicas = Replicas(client, 1)
        replicas.check(f"{{{tag}}}")
        replicas.keep(f"{{{tag}}}:stored", "field")
        with pytest.raises(NotKept):
            replicas.keep(f"{{{tag}}}:stored", "another")
        with pytest.raises(TooFewReplicas):
            Replicas(client, 2).check(f"{{{tag}}}")


def test_nodes_are_reached_by_tls_under_the_names_that_they_announce(tmp_path: Path) -> None:
    if find_tls_server().version < (7, 0):
        pytest.skip("nodes of Redis 6.2 announce no names")
    ca_file, certificates = make_certificates(tmp_path)

    def node() -> TlsClusterNode:
        return TlsClusterNode(Tls(ca_file, certificates["good"]))

    with ClusterServers(2, replicas=False, make=node) as servers:
        port = servers.nodes[0].port
        url = f"rediss+cluster://localhost:{port}?ssl_ca_certs={ca_file}"
        knock(url)
        client = connect(url)
        for tag in TAGS:
            client.set(key(tag), tag)
        assert [client.get(key(tag)) for tag in TAGS] == [b"%d" % tag for tag in TAGS]
        assert isinstance(client, Cluster)
        assert {address.host for address in client.nodes.masters()} == {"localhost"}
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY"):
            knock(f"rediss+cluster://localhost:{port}")


def test_closing_ends_the_connections_to_all_nodes(cluster: ClusterServers) -> None:
    client = connect(f"{cluster.url}?client_name=to-be-closed")
    with client.pipeline(transaction=False) as pipe:
        for tag in TAGS:
            pipe.get(key(tag)).set(key(tag), tag)
        pipe.execute()
    assert client.get(key(10)) == b"10"

    def connected() -> int:
        found = 0
        for master in cluster.masters():
            with master.client() as admin:
                found += sum(one["name"] == "to-be-closed" for one in admin.client_list())
        return found

    assert connected() >= 3
    client.close()
    wait_until(lambda: connected() == 0)


def test_node_that_knows_of_no_slots_is_not_believed_while_another_does(
    cluster: ClusterServers,
) -> None:
    with ClusterNode() as stranger:
        good = cluster.nodes[0].port
        for _ in range(10):  # they are asked by chance
            url = f"redis+cluster://127.0.0.1:{stranger.port},127.0.0.1:{good}"
            knock(url)
        client = connect(url)
        assert isinstance(client, Cluster)
        client.set(key(10), "kept")
        client.nodes._known = [Address("127.0.0.1", stranger.port)]  # once it was one of them
        client.nodes.doubt()
        time.sleep(0.3)
        assert client.get(key(10)) == b"kept"
        client.nodes._first = client.nodes._known = [Address("127.0.0.1", stranger.port)]
        client.nodes.doubt()
        time.sleep(0.3)
        assert client.get(key(10)) == b"kept", "what was known is better than nothing"
        with pytest.raises(NotCovered):
            knock(f"redis+cluster://127.0.0.1:{stranger.port}")


def test_page_waits_once_for_several_silent_nodes() -> None:
    with ClusterServers(replicas=False) as servers:
        client = connect(servers.url, PAGE)
        for tag in TAGS:
            client.set(key(tag), tag)
        for node in servers.nodes:
            node.pause()
        began = time.monotonic()
        try:
            with pytest.raises(redis.TimeoutError), client.pipeline(transaction=False) as pipe:
                for tag in TAGS:
                    pipe.get(key(tag))
                pipe.execute()
            assert time.monotonic() - began < len(servers.nodes) * PAGE.seconds
        finally:
            for node in servers.nodes:
                node.resume()
        wait_until(lambda: answers_of(client) == [b"%d" % tag for tag in TAGS])


def test_question_about_silent_nodes_does_not_make_a_page_wait_for_one_of_them_again() -> None:
    with ClusterServers(2, replicas=False) as servers:
        client = connect(servers.url, PAGE)
        client.set(key(10), "10")
        for node in servers.nodes:
            node.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.get(key(10))
            for _ in range(3):
                with pytest.raises(Silent):
                    client.get(key(10))
        finally:
            for node in servers.nodes:
                node.resume()
        wait_until(lambda: answers_of(client)[:1] == [b"10"])


def test_address_of_the_setting_is_asked_when_every_node_was_replaced() -> None:
    """A process that was idle meanwhile has not heard of any new node."""
    with ExitStack() as stack:
        old, new = (stack.enter_context(ClusterServers(n, replicas=False)) for n in (4, 1))
        named = stack.enter_context(Proxy(old.nodes[0]))
        client = connect(f"redis+cluster://127.0.0.1:{named.port}", COMMAND)
        client.set(key(10), "old")
        for node in old.nodes:  # as if their hosts were gone: nothing is refused
            node.pause()
        named.lead_to(new.nodes[0])
        try:
            wait_until(lambda: answers_of(client) == [None] * 12, timeout=60)
        finally:
            for node in old.nodes:
                node.resume()


def test_user_that_one_node_does_not_know_ends_the_start_with_the_address_of_that_node() -> None:
    with ClusterServers(2, replicas=False) as servers:
        user = ("ACL", "SETUSER", "paper", "on", ">p@ss/w?rd#%&:[]é +", "~*", "+@all")
        with servers.nodes[0].client() as admin:
            admin.execute_command(*user)
        url = servers.url.replace("//", "//paper:p%40ss%2Fw%3Frd%23%25%26:%5B%5D%C3%A9%20+@")
        with pytest.raises(ConfigError, match="refuses our password") as refused:
            check_redis(Config.read({"STORE_URL": url}))
        assert f"(at 127.0.0.1:{servers.nodes[1].port}, as its cluster" in str(refused.value)
        with servers.nodes[1].client() as admin:
            admin.execute_command(*user)
        knock(url)
        client = connect(url)
        for tag in TAGS:
            client.set(key(tag), tag)
        assert answers_of(client) == [b"%d" % tag for tag in TAGS]


def answers_of(client: redis.Redis) -> list[object]:
    with suppress(redis.RedisError), client.pipeline(transaction=False) as pipe:
        for tag in TAGS:
            pipe.get(key(tag))
        return pipe.execute()
    return []


def test_script_has_its_name_though_no_node_took_it() -> None:
    with ClusterServers(1, replicas=False) as servers:
        url = f"redis+cluster://127.0.0.1:{servers.nodes[0].port}"
        client = connect(url, PAGE)
        script = client.register_script("return 7")
        client.get(key(10))
        servers.nodes[0].kill()
        assert client.script_load(script.script) == script.sha


def test_start_names_a_node_that_is_announced_and_cannot_be_reached() -> None:
    with ClusterServers(2, replicas=False) as servers:
        with servers.nodes[1].client() as admin:
            admin.config_set("cluster-announce-port", str(closed := free_port()))
        wait_until(lambda: str(closed) in str(servers.nodes[0].cluster("SLOTS")))
        with pytest.raises(ServerFails) as away:
            knock(f"redis+cluster://127.0.0.1:{servers.nodes[0].port}")
        assert f"127.0.0.1:{closed}" in why_unreachable(away.value)
