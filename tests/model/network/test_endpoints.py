"""Endpoints that are allowed, and endpoints that only look as if they were."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Config, ConfigError
from service.model.network.endpoints import (
    KNOWN_PREFIXES,
    MAX_LENGTH,
    Endpoint,
    EndpointError,
    EndpointPolicy,
    origin_of,
)

GOOGLE = "https://fcm.googleapis.com/fcm/send/abc"


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (GOOGLE, "google"),
        ("https://fcm.googleapis.com/wp/abc", "google"),
        ("https://jmt17.google.com/fcm/send/abc", "google"),
        ("https://updates.push.services.mozilla.com/wpush/v2/abc", "mozilla"),
        ("https://web.push.apple.com/abc", "apple"),
        ("https://wns2-by3p.notify.windows.com/w/?token=abc%2b", "microsoft"),
    ],
)
def test_endpoints_of_every_browser_are_kept_byte_for_byte(url: str, service: str) -> None:
    policy = EndpointPolicy()
    endpoint = policy.parse(url)
    assert endpoint.url == url
    assert policy.service(endpoint.origin) == service
    assert policy.allows(endpoint.origin)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "abc",
        "//fcm.googleapis.com/fcm/send/abc",
        "https:fcm.googleapis.com/fcm/send/abc",
        "https:///fcm.googleapis.com/fcm/send/abc",
        "https://",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://fcm.googleapis.com/fcm/send/abc",
        "HTTPS://fcm.googleapis.com/fcm/send/abc",
        "https://FCM.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com./fcm/send/abc",
        "https://fcm.googleapis.com:443/fcm/send/abc",
        "https://fcm.googleapis.com:8443/fcm/send/abc",
        "https://fcm.googleapis.com:/fcm/send/abc",
        "https://fcm.googleapis.com:99999/fcm/send/abc",
        "https://fcm.googleapis.com:x/fcm/send/abc",
        "https://reader@fcm.googleapis.com/fcm/send/abc",
        "https://reader:secret@fcm.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com@evil.example/fcm/send/abc",
        "https://evil.example/#@fcm.googleapis.com/",
        "https://fcm.googleapis.com.evil.example/fcm/send/abc",
        "https://evilfcm.googleapis.com/fcm/send/abc",
        "https://evil.fcm.googleapis.com/fcm/send/abc",
        "https://googleapis.com/fcm/send/abc",
        "https://evil.example/a.push.apple.com/",
        "https://evil.example/?https://web.push.apple.com/abc",
        "https://push.apple.com/abc",
        "https://.push.apple.com/abc",
        "https://a..push.apple.com/abc",
        "https://evilpush.apple.com/abc",
        "https://web.push.apple.com.evil.example/abc",
        "https://web%2epush.apple.com/abc",
        "https://a/b.push.apple.com/abc",
        "https://evil.example\\.push.apple.com/abc",
        "https://evil.example\\@web.push.apple.com/abc",
        "https://fcm.googleapis.com\\@evil.example/abc",
        "https://fcm.googleapis.com/a\\b",
        "https://fcm.googleapis.com/a b",
        "https://fcm.googleapis.com/a\tb",
        "https://fcm.googleapis.com/a\r\nHost: evil.example",
        " https://fcm.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com/fcm/send/abc\n",
        "https://fcm.googleapis.com/fcm/send/é",
        "https://fcm。googleapis。com/fcm/send/abc",
        "https://ｆcm.googleapis.com/fcm/send/abc",
        "https://xn--cm-7ia.googleapis.com/fcm/send/abc",
        "https://[::1]/abc",
        "https://[::ffff:127.0.0.1]/abc",
        "https://[fcm.googleapis.com]/abc",
        "https://[::1/abc",
        "https://127.0.0.1/abc",
        "https://2130706433/abc",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/abc",
        "https://permanently-removed.invalid/fcm/send/abc",
        "https://fcm.googleapis.com",
        "https://fcm.googleapis.com/",
        "https://fcm.googleapis.com?abc",
        "https://fcm.googleapis.com/fcm/send/abc#fragment",
        "https://fcm.googleapis.com/#",
        GOOGLE.ljust(MAX_LENGTH + 1, "x"),
    ],
)
def test_any_other_endpoint_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(EndpointError) as refusal:
        EndpointPolicy().parse(url)
    assert len(url) < 8 or url not in str(refusal.value)


def test_endpoint_of_the_greatest_length_is_taken() -> None:
    url = GOOGLE.ljust(MAX_LENGTH, "x")
    assert EndpointPolicy().parse(url).url == url


@pytest.mark.parametrize("origin", ["https://127.0.0.1:8443", "http://127.0.0.1:8080"])
def test_only_exactly_the_listed_origin_is_allowed(origin: str) -> None:
    listed = EndpointPolicy((origin,))
    endpoint = listed.parse(f"{origin}/wpush/v2/abc")
    assert endpoint.origin == origin
    assert listed.allows(origin)
    assert listed.service(origin) == "other"
    for policy, other in (
        (EndpointPolicy(), origin),
        (listed, "https://127.0.0.1:8444"),
        (listed, "http://127.0.0.1:8443"),
        (listed, "https://localhost:8443"),
    ):
        assert not policy.allows(other)
        with pytest.raises(EndpointError):
            policy.parse(f"{other}/wpush/v2/abc")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("https://*", "first part of an https host"),
        ("http://*.up.example", "first part of an https host"),
        ("https://a.*.example", "first part of an https host"),
        ("https://*up.example", "first part of an https host"),
        ("https://*.*.example", "first part of an https host"),
        ("https://*.up.example/push", "first part of an https host"),
        ("https://reader@*.up.example", "first part of an https host"),
        ("*.example", "a domain of two names"),
        ("*.0.0.1", "a domain of two names"),
        ("*.übung.example", "a domain of two names"),
        ("*.up..example", "a domain of two names"),
    ],
)
def test_a_wildcard_that_allows_more_than_a_domain_is_refused(setting: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Config.read({"PUSH_SERVICES": setting})


def test_only_subdomains_are_under_a_wildcard() -> None:
    policy = EndpointPolicy(Config.read({"PUSH_SERVICES": "*.UP.example:443"}).push_services)
    assert policy.parse("https://a.b.up.example/x").wildcard == "*.up.example"
    assert not EndpointPolicy(("https://up.example",)).parse("https://up.example/x").wildcard
    for host in ("up.example", ".up.example", "a..up.example", "A.up.example", "é.up.example"):
        with pytest.raises(EndpointError):
            policy.parse(f"https://{host}/x")
    for url in (
        "http://a.up.example/x",
        "https://a.up.example:443/x",
        "https://a.up.example",
        "https://evil.example/.up.example/x",
        "https://evil.example?.up.example/x",
        "https://evil.example@a.up.example/x",
        "https://evil.example\\.up.example/x",
    ):
        with pytest.raises(EndpointError):
            policy.parse(url)


VISIBLE = string.ascii_letters + string.digits + "-_.~:/?[]@!$&'()*+,;=%\"<>^`{|}"


@given(
    host=st.sampled_from(
        ["fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com"]
    ),
    prefix=st.sampled_from(["/", *KNOWN_PREFIXES]),
    rest=st.text(VISIBLE, min_size=1),
)
def test_accepted_endpoint_is_kept_byte_for_byte(host: str, prefix: str, rest: str) -> None:
    url = f"https://{host}{prefix}{rest}"
    endpoint = EndpointPolicy().parse(url)
    assert endpoint.url == url
    assert endpoint.origin == f"https://{host}"
    assert Endpoint(endpoint.base, endpoint.rest) == EndpointPolicy().parse(endpoint.url)


@given(st.one_of(st.text(), st.text().map(lambda rest: "https://" + rest)))
def test_any_text_is_refused_or_names_a_push_service(url: str) -> None:
    policy = EndpointPolicy()
    try:
        endpoint = policy.parse(url)
    except EndpointError:
        return
    assert endpoint.url == url
    assert policy.allows(origin_of(endpoint.base))
