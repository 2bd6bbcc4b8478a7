"""Addresses that name several servers: sentinels, or the nodes of a cluster."""

from __future__ import annotations

import pytest

from service.config import Config, ConfigError
from service.model.network.redis_urls import parse_cluster_url, parse_sentinel_url


def test_an_address_names_sentinels_master_database_and_both_passwords() -> None:
    found = parse_sentinel_url(
        "rediss+sentinel://paper:p%40ss@one.example,[::1]:5000/news-1/3"
        "?ssl_check_hostname=no&sentinel_username=look&sentinel_password=w%26y&client_name=x"
    )
    assert found.master == "news-1"
    address, _, options = found.redis.partition("?")
    assert address == "rediss://paper:p%40ss@master.invalid/3"
    assert {*options.split("&")} == {"ssl_check_hostname=no", "client_name=x"}
    own = {"username=look", "password=w%26y", "ssl_check_hostname=no"}
    assert [*found.sentinels] == ["one.example:26379", "[::1]:5000"]
    for host, url in found.sentinels.items():
        address, _, options = url.partition("?")
        assert address == f"rediss://{host}"
        assert {*options.split("&")} == own


def assert_refused(url: str) -> None:
    """Check that an address is refused in one line, which does not repeat its password."""
    with pytest.raises(ConfigError) as refused:
        Config.read({"STORE_URL": url})
    said = str(refused.value)
    assert said.startswith("STORE_URL: ")
    assert "\n" not in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one,two/mymaster",
        "redis+sentinel://one:26379/mymaster/",
        "redis+sentinel://:secret@one,two,three/mymaster/0",
        "redis+sentinel://[2001:db8::1],[2001:db8::2]:26380/mymaster",
        "rediss+sentinel://one/mymaster?db=2&ssl_cert_reqs=none",
    ],
)
def test_an_address_by_sentinel_is_accepted(url: str) -> None:
    assert Config.read({"REDIS_URL": url, "STORE_URL": url}).store_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one,two",  # no master
        "redis+sentinel://one,two/",
        "redis+sentinel:///mymaster",
        "redis+sentinel://one,/mymaster",
        "redis+sentinel://one;two/mymaster",
        "redis+sentinel://one two/mymaster",
        "redis+sentinel://one:0/mymaster",
        "redis+sentinel://one:99999/mymaster",
        "redis+sentinel://one:port/mymaster",
        "redis+sentinel://::1/mymaster",
        "redis+sentinel://one/my master",
        "redis+sentinel://one/mymaster/first",
        "redis+sentinel://one/mymaster/0/1",
        "redis+sentinel://:hunter2/x@one/mymaster",
        "redis+sentinel://:hunter2@x@one/mymaster",
        "redis+sentinel://:hunter2#x@one/mymaster",
        "redis+sentinel://one/mymaster?sentinel_pasword=hunter2",
        "redis+sentinel://one/mymaster?hunter2=yes",
        "rediss+sentinel://one/mymaster?ssl_ca_certs=/none.pem",
    ],
)
def test_a_wrong_address_by_sentinel_is_refused_in_one_line_without_its_password(url: str) -> None:
    assert_refused(url)


def test_an_address_names_nodes_of_a_cluster_user_and_password() -> None:
    found = parse_cluster_url("rediss+cluster://paper:p%40ss@one.example,[::1]:7001?client_name=x")
    assert found.nodes == [("one.example", 6379), ("[::1]", 7001)]
    assert found.redis == "rediss://paper:p%40ss@node.invalid?client_name=x"
    for url in (
        "redis+cluster://one",
        "redis+cluster://one:7000,two:7001/",
        "redis+cluster://[::1]",
    ):
        assert Config.read({"STORE_URL": url}).store_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://one,",
        "redis+cluster://one;two",
        "redis+cluster://one:0",
        "redis+cluster://one:port,two",
        "redis+cluster://one/0",  # a cluster has one database
        "redis+cluster://one?db=0",
        "redis+cluster://one/mymaster",
        "redis+cluster://:hunter2/x@one",
        "redis+cluster://:hunter2@x@one",
        "redis+cluster://one?hunter2=yes",
        "rediss+cluster://one?ssl_ca_certs=/none.pem",
        "redis-cluster://one",
    ],
)
def test_a_wrong_address_of_a_cluster_is_refused_in_one_line_without_its_password(url: str) -> None:
    assert_refused(url)


@pytest.mark.parametrize("kind", ["redis", "redis+cluster", "redis+sentinel"])
def test_a_bracket_in_a_password_is_refused_with_how_to_write_it(kind: str) -> None:
    master = "/mymaster" if kind == "redis+sentinel" else ""
    with pytest.raises(ConfigError, match=r"\[ as %5B, \] as %5D"):
        Config.read({"STORE_URL": f"{kind}://:hunter[2@one{master}"})
    Config.read({"STORE_URL": f"{kind}://:hunter%5B2@one{master}"})


def test_the_queue_cannot_be_on_a_cluster() -> None:
    with pytest.raises(ConfigError, match="REDIS_URL: the queue does not run on a cluster"):
        Config.read({"REDIS_URL": "redis+cluster://one,two"})
