"""A host that was cut off does not do late what its callers were told has failed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from redis import RedisError

from service.local.redis_server import answers, find_servers
from service.store import connect
from tests.support.hosts.hosts import Host, Network, wait_until_given_up
from workers.http.channel import connect as connect_to_push_service
from workers.trials.processes import running, wait_for

pytestmark = pytest.mark.processes


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Ours, and another."""
    with Network() as network:
        yield network.host("ours", "10.0.0.11"), network.host("other", "10.0.0.2")


def test_redis_does_not_get_what_was_written_while_our_host_was_cut_off(
    hosts: tuple[Host, Host],
) -> None:
    ours, other = hosts
    options = ["--port", "6379", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]
    quiet = ["--logfile", "/dev/null"]
    url = "redis://10.0.0.2:6379"
    argv = other.argv(find_servers()[-1].binary, *options, *quiet)
    with running(argv) as server, ours.entered(), connect(url) as redis:
        wait_for(lambda: answers(url), server)
        redis.set("early", "1")
        ours.cut_off()
        with pytest.raises(RedisError):
            redis.set("late", "1")
        wait_until_given_up(ours)
        ours.plug_in()
        wait_for(lambda: answers(url), server)
        with connect(url) as anew:
            assert (anew.get("early"), anew.get("late")) == (b"1", None)


def test_a_push_service_does_not_get_what_was_sent_while_our_host_was_cut_off(
    hosts: tuple[Host, Host],
) -> None:
    ours, other = hosts
    with other.entered():
        listening = socket.create_server(("", 8443))
    with listening, ours.entered():
        channel = connect_to_push_service("10.0.0.2", 8443, None, 5.0, lambda _: True)
        there, _ = listening.accept()
        ours.cut_off()
        channel.write(bytearray(b"a message"))
        channel.socket.close()
        wait_until_given_up(ours)
        ours.plug_in()
        there.settimeout(0.1)
        with there, pytest.raises(TimeoutError):
            there.recv(100)
