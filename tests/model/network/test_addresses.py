"""Addresses: the public ones, and those that count as one caller."""

from __future__ import annotations

import pytest

from service.config import Config, ConfigError
from service.model.network.addresses import is_local_name, is_public, network_of
from service.model.network.endpoints import EndpointPolicy

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "no address",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_in_a_private_or_special_network_is_not_public(address: str) -> None:
    assert not is_public(address)
    assert not EndpointPolicy().may_connect("https://wns2-x.notify.windows.com", address)
    wide = EndpointPolicy(("https://*.up.example",))
    assert not wide.may_connect("https://a.up.example", address), "a wildcard names no origin"
    named = EndpointPolicy(("https://up.example",))
    assert named.may_connect("https://up.example", address)


@pytest.mark.parametrize(
    "address",
    [
        "142.250.185.78",
        "100.128.0.1",
        "172.32.0.1",
        "2a00:1450:4001:82a::200e",
        "2606:4700::1",
        "64:ff9b::8efa:b94e",
        "::ffff:142.250.185.78",
    ],
)
def test_an_address_of_a_public_server_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:51234", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ('"192.0.2.7:80"', "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2:3::4]:51234"', "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("unknown", "unknown"),
        ("", ""),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
    ],
)
def test_a_caller_is_the_same_whatever_a_proxy_writes_around_the_address(
    address: str, network: str
) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    "origin", ["http://push.example", "http://10.0.0.1:8080", "http://localhost.example"]
)
def test_a_push_service_without_tls_is_refused_unless_it_is_on_this_machine(origin: str) -> None:
    with pytest.raises(ConfigError, match="PUSH_SERVICES: http:// is only for this machine"):
        Config.read({"PUSH_SERVICES": origin})


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080"]
)
def test_a_push_service_of_a_test_on_this_machine_needs_no_tls(origin: str) -> None:
    assert Config.read({"PUSH_SERVICES": origin}).push_services == (origin,)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("paper.example", False),
        ("203.0.114.1", False),
        ("paper", True),
        ("desk.local.", True),
        ("desk.home.arpa", True),
        ("192.168.1.7", True),
        ("[fd00::1]", True),
    ],
)
def test_a_host_that_only_one_network_knows_is_local(host: str, local: bool) -> None:
    assert is_local_name(host) is local
