"""Where only a proxy leads out: the transport asks it for connections by CONNECT."""

from __future__ import annotations

import pytest

from service.config import Config, ConfigError
from service.model.network.no_proxy import bypasses
from tests.support.network.peers import KEY, answers, one, send, unreachable
from tests.support.network.proxy import ConnectProxy
from tests.support.push_service import PushService
from workers.http.transport import Transport


def through(proxy: ConnectProxy, push: PushService) -> Transport:
    return Transport(
        ca_bundle=push.ca_file,
        plain_origins=frozenset([push.plain_origin]),
        proxy=lambda _origin: proxy.url,
    )


def test_every_message_goes_through_the_proxy_over_http_2(push: PushService) -> None:
    with ConnectProxy() as proxy:
        transport = through(proxy, push)
        send(transport, push.origin, range(50))
        assert {answer.status for answer in answers(transport, 50)} == {201}
        transport.close()
    assert set(proxy.asked) == {push.origin.removeprefix("https://")}
    assert {message.http_version for message in push.received} == {"2"}
    assert push.refusals == []


def test_http_1_1_and_plain_http_go_through_the_proxy_too() -> None:
    with ConnectProxy() as proxy, PushService(http2=False) as push:
        push.accept_any(KEY.public)
        transport = through(proxy, push)
        for origin in (push.origin, push.plain_origin):
            assert one(transport, origin).status == 201
        transport.close()
    assert proxy.asked == [o.rpartition("/")[2] for o in (push.origin, push.plain_origin)]


def test_a_proxy_gets_its_user_name_and_password(push: PushService) -> None:
    with ConnectProxy(user="stop:press") as proxy:
        transport = through(proxy, push)
        assert one(transport, push.origin).status == 201
        transport.close()


@pytest.mark.parametrize(
    ("status", "user", "says"),
    [
        (403, "", "the proxy answered 403 to CONNECT"),
        (0, "another:one", "the proxy answered 407 to CONNECT"),
    ],
)
def test_a_refusing_proxy_makes_the_push_service_unreachable_and_is_named(
    push: PushService, status: int, user: str, says: str
) -> None:
    with ConnectProxy(user=user, status=status) as proxy:
        transport = Transport(
            ca_bundle=push.ca_file, proxy=lambda _origin: f"http://{proxy.address}"
        )
        assert unreachable(transport, push.origin) == says
        transport.close()


def test_a_proxy_that_is_not_there_is_named(push: PushService) -> None:
    with ConnectProxy() as proxy:
        pass
    transport = through(proxy, push)
    assert unreachable(transport, push.origin) == "the proxy: connection refused"
    transport.close()


@pytest.mark.parametrize(
    ("rules", "origin", "direct"),
    [
        ("*", "https://web.push.apple.com", True),
        ("apple.com", "https://web.push.apple.com", True),
        (".apple.com", "https://web.push.apple.com", True),
        ("*.apple.com", "https://web.push.apple.com", True),
        ("apple.com", "https://pineapple.com", False),
        ("web.push.apple.com:443", "https://web.push.apple.com", True),
        ("web.push.apple.com:8443", "https://web.push.apple.com", False),
        ("10.0.0.0/8 127.0.0.1", "https://127.0.0.1:8443", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("[::1]:8443", "https://[::1]:8443", True),
        ("::1", "https://[::1]:8443", True),
        ("localhost,.Example.com", "https://push.example.com", True),
        ("", "https://web.push.apple.com", False),
    ],
)
def test_no_proxy_is_read_as_other_programs_read_it(rules: str, origin: str, direct: bool) -> None:
    config = Config.read({"PUSH_PROXY": "http://proxy.example:3128", "NO_PROXY": rules})
    assert bypasses(config.no_proxy, origin) == direct
    assert config.proxy_to(origin) == (None if direct else "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"https_proxy": "proxy.example:3128"}, "http://proxy.example:3128"),
        (
            {"HTTPS_PROXY": "http://a.example:1", "PUSH_PROXY": "http://b.example"},
            "http://b.example:80",
        ),
        ({"HTTPS_PROXY": "http://a.example:1", "PUSH_PROXY": "none"}, None),
        ({"HTTPS_PROXY": "http://a.example:1", "no_proxy": "googleapis.com"}, None),
    ],
)
def test_push_proxy_wins_over_the_environments_proxy(
    environ: dict[str, str], proxy: str | None
) -> None:
    assert Config.read(environ).proxy_to("https://fcm.googleapis.com") == proxy


@pytest.mark.parametrize(
    "value", ["socks5://proxy.example:1080", "http://", "http://hunter2:pw@x:y", "http://x:1/path"]
)
def test_an_unusable_proxy_is_named_without_its_password(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY: must be an address such as") as error:
        Config.read({"HTTPS_PROXY": value})
    assert "hunter2" not in str(error.value)
