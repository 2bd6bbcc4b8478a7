"""What a browser says by itself never costs a reader, and operators learn what we did not know."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from service.cli import main
from service.domain.operations.unknown_values import LOCALES, PUSH_SERVICES, TIME_ZONES
from service.local import pretend_readers
from service.model.keys import from_b64url
from service.model.preferences import Quiet
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import quiet_times
from tests.support.client import (
    API,
    SUBSCRIPTIONS,
    VAPID,
    Client,
    Reader,
    browser,
    make_app,
    open_client,
)

SAID_LOCALES: list[tuple[Any, str]] = [
    ("en-US@posix", "en-US"),
    ("zh_CN", "zh-CN"),
    ("de_DE", "de-DE"),
    ("zh_CN.UTF-8", "zh-CN"),
    ("zh_Hant_TW", "zh-Hant-TW"),
    ("en-US,en;q=0.5", "en-US"),
    (" de-at ", "de-AT"),
    ("en-", "en"),
    ("en-US-" + "abcdefghi" * 4, "en-US"),
    (["lv-LV", "ru"], "lv-LV"),
    ("C", ""),
    ("POSIX", ""),
    ("", ""),
    ("*", ""),
    ("\u212an", ""),  # the sign for kelvin, which is a k in lower case
    ("english", ""),
    ("undefined", ""),
    (5, ""),
    ({}, ""),
    ([], ""),
    (True, ""),
    (None, ""),
    ("en" * 3000, ""),
]


def test_no_locale_that_a_browser_names_keeps_its_reader_out(client: Client) -> None:
    for number, (said, kept) in enumerate(SAID_LOCALES):
        assert Reader(client, number, locale=said).sees("locale") == (kept,), said


def test_a_browser_that_names_no_locale_keeps_no_reader_out(client: Client) -> None:
    assert Reader(client).sees("locale", "timezone") == ("", "")


SAID_ZONES: list[tuple[Any, str]] = [
    ("Europe/Riga", "Europe/Riga"),
    ("europe/riga", "Europe/Riga"),
    ("Asia/Calcutta", "Asia/Calcutta"),
    (" UTC\n", "UTC"),
    ("+05:30", "+05:30"),
    ("-0330", "-03:30"),
    ("+14", "+14:00"),
    ("GMT+5:45", "+05:45"),
    ("utc-9", "-09:00"),
    ("GMT+0", "GMT+0"),
    ("+00:00", "UTC"),
    ("Etc/GMT-5", "Etc/GMT-5"),
    ("+05:31", ""),
    ("+25:00", ""),
    ("-12:45", ""),
    ("Etc/Unknown", ""),
    ("Factory", ""),
    ("localtime", ""),
    ("America/Not_Yet", ""),
    ("../../etc/passwd", ""),
    ("undefined", ""),
    ("", ""),
    (-120, ""),
    ([], ""),
    (None, ""),
]


def test_no_time_zone_that_a_browser_names_keeps_its_reader_out(client: Client) -> None:
    for number, (said, kept) in enumerate(SAID_ZONES):
        assert Reader(client, number, timezone=said).sees("timezone") == (kept,), said


def test_quiet_hours_of_a_reader_whose_zone_is_an_offset_are_by_that_offset() -> None:
    night, noon = Quiet.parse("22:00-07:00"), 20_000 * 96 + 48  # UTC
    for zone, hours in (("+05:30", 4.5), ("-03:30", 13.5), ("UTC", 10)):
        assert quiet_times(zone, night, noon).quiet_from == (noon + hours * 4) * 900


def test_what_a_browser_says_anew_without_sense_leaves_what_it_said_before(client: Client) -> None:
    reader = Reader(client, locale="lv", timezone="Europe/Riga")
    reader.change(locale="C", timezone="Etc/Unknown")
    assert reader.sees("locale", "timezone") == ("lv", "Europe/Riga")


def spelt(key: bytes) -> dict[str, Any]:
    """The ways in which a library or a browser hands out a key."""
    standard = base64.b64encode(key).decode()
    return {
        "standard base64": standard,
        "unpadded": standard.rstrip("="),
        "base64url": base64.urlsafe_b64encode(key).decode(),
        "in lines": base64.encodebytes(key).decode(),
        "mixed": standard.replace("+", "-"),
        "escaped for a form": quote(standard, safe=""),
        "as a form leaves it": standard.replace("+", " "),
        "a list of bytes": list(key),
        "an array by JSON.stringify": {str(at): byte for at, byte in enumerate(key)},
        "a buffer by JSON.stringify": {"type": "Buffer", "data": list(key)},
    }


@pytest.mark.parametrize("spelling", spelt(b""))
def test_a_browsers_keys_are_accepted_in_any_spelling(client: Client, spelling: str) -> None:
    for number in range(20):  # of 20 pairs, all but one have a character that differs
        keys = pretend_readers.keys(number)
        given = browser(number)
        names = ("p256dh", "auth")
        given["keys"] = {name: spelt(key)[spelling] for name, key in zip(names, keys, strict=True)}
        response = client.call("POST", SUBSCRIPTIONS, {"subscription": given})
        assert response.status_code == 201, given
        id = SubscriptionId.parse(response.json["id"])
        one = client.runtime.store.subscriptions.get(id)
        assert (one.p256dh, one.auth) == keys


def test_keys_beside_the_endpoint_are_found(client: Client) -> None:
    given = browser()
    flat = {"endpoint": given["endpoint"], **given["keys"], "expirationTime": None}
    response = client.call("POST", SUBSCRIPTIONS, {"subscription": flat})
    assert response.status_code == 201
    again = client.call("POST", SUBSCRIPTIONS, {"subscription": given})
    assert (again.status_code, again.json) == (200, response.json)


@pytest.mark.parametrize("keys", [{}, {"p256dh": "", "auth": ""}, {"p256dh": {}, "auth": {}}])
def test_empty_keys_are_refused_by_name(client: Client, keys: dict[str, Any]) -> None:
    body = {"subscription": {**browser(), "keys": keys}}
    response = client.call("POST", SUBSCRIPTIONS, body)
    assert response.status_code == 422
    fields = [row["field"] for row in response.json["errors"]]
    assert fields == ["subscription.keys.p256dh", "subscription.keys.auth"]


def test_the_sites_key_is_recognised_in_any_spelling(client: Client) -> None:
    assert Reader(client, 98, vapid_public_key="").id
    public = from_b64url(client.runtime.keys.current)
    for number, one in enumerate([*spelt(public).values(), None]):
        body = {"subscription": browser(number), "vapid_public_key": one}
        assert client.call("POST", SUBSCRIPTIONS, body).status_code == 201, one
    foreign = base64.b64encode(bytes([4]) + bytes(64)).decode()
    body = {"subscription": browser(99), "vapid_public_key": foreign}
    response = client.call("POST", SUBSCRIPTIONS, body)
    assert [row["field"] for row in response.json["errors"]] == ["vapid_public_key"]


@pytest.mark.parametrize("said", ["en-US@posix", "C", "*", ";;q=x", "en_US", "\udcff", "," * 5000])
def test_no_accept_language_breaks_a_page(client: Client, said: str) -> None:
    for path in ("/privacy", "/demo/"):
        response = client.app.test_client().get(path, headers={"Accept-Language": said})
        assert response.status_code == 200


# What operators see -----------------------------------------------------------------------------


def test_what_was_not_known_is_counted_and_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        Reader(client, number, locale="C", timezone="America/Not_Yet")
    Reader(client, 3, locale="\x1b[31mred", timezone="Etc/Unknown")
    values = client.runtime.unknown_values
    assert values.counts(LOCALES) == {"C": 3, "(unprintable)": 1}
    assert values.counts(TIME_ZONES) == {"America/Not_Yet": 3, "Etc/Unknown": 1}
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("unknown time-zones, named by a reader's browser: America/Not_Yet") == 1
    assert "\x1b" not in caplog.text


def at(host: str, number: int = 0) -> dict[str, Any]:
    return {"subscription": {**browser(number), "endpoint": f"https://{host}/push/a-secret"}}


def test_a_reader_is_told_that_the_browsers_push_service_is_not_known_here(client: Client) -> None:
    response = client.call("POST", SUBSCRIPTIONS, at("up.example:8443"))
    assert response.status_code == 422
    assert response.json["type"] == "urn:stop-press:unknown-push-service"
    words = "Your browser's push service is not known here."
    assert response.json["detail"].startswith(words)
    assert response.json["errors"] == [{"field": "subscription.endpoint", "detail": words}]


def test_a_subscription_that_the_browser_has_just_ended_is_told_apart(client: Client) -> None:
    response = client.call("POST", SUBSCRIPTIONS, at("permanently-removed.invalid"))
    assert response.status_code == 422
    assert response.json["type"] == "urn:stop-press:ended-subscription"
    assert client.runtime.unknown_values.counts(PUSH_SERVICES) == {}


def test_refused_hosts_are_counted_where_only_operators_see_them(
    redis_url: str, tmp_path: Path
) -> None:
    environment = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
        "DATA_DIR": str(tmp_path),
    }
    client = Client(make_app(redis_url, **environment))
    for number in range(3):
        client.call("POST", SUBSCRIPTIONS, at("up.example", number))
    client.call("POST", SUBSCRIPTIONS, at("ntfy.example:8443"))
    for path in (f"{API}/site", f"{API}/openapi.json"):
        assert "up.example" not in client.call("GET", path).text
    metrics = client.call("GET", "/metrics", token=client.add_token("p", ["read"])).text
    assert 'stoppress_unknown_values{kind="push-services"} 4.0' in metrics
    assert "up.example" not in metrics
    listed = CliRunner().invoke(main, ["services", "unknown"], env=environment).output
    rows = [line.split() for line in listed.splitlines()[1:]]
    assert rows == [
        ["push-services", "up.example", "3"],
        ["push-services", "ntfy.example:8443", "1"],
    ]
    assert "a-secret" not in listed
    examined = CliRunner().invoke(main, ["doctor"], env=environment).output
    assert "up.example (3), ntfy.example:8443 (1)" in " ".join(examined.split())


@pytest.mark.redis
def test_strangers_cannot_fill_the_list_of_refused_hosts(client: Client) -> None:
    values = client.runtime.unknown_values
    for number in range(3):
        client.call("POST", SUBSCRIPTIONS, at("up.example", number))
    made_up = [f"made-up-{number}.example" for number in range(300)]
    logged = [one for one in made_up if values.note(PUSH_SERVICES, one)]
    assert logged == made_up[:99], "nor the log with them"
    counts = values.counts(PUSH_SERVICES)
    assert len(counts) == 100
    assert next(iter(counts.items())) == ("up.example", 3)
    client.call("POST", SUBSCRIPTIONS, at("late.example"))
    assert "late.example" in values.counts(PUSH_SERVICES)
    ttl = client.runtime.store.redis.ttl("{g}:unknown:push-services")
    assert 0 < ttl <= 30 * 86_400


def test_one_caller_counts_for_five_values_a_minute(client: Client) -> None:
    for number in range(20):
        body = at(f"made-up-{number}.example")
        assert client.call("POST", SUBSCRIPTIONS, body, address="192.0.2.1").status_code == 422
    assert len(client.runtime.unknown_values.counts(PUSH_SERVICES)) == 5


# Other push services ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "accepted", "refused"),
    [
        ("https://*.up.example", ["a.up.example", "a.b.up.example"], ["up.example", "aup.example"]),
        ("*.up.example", ["a.up.example"], ["a.up.example:8443", "a.up.example.evil.example"]),
        ("https://*.up.example:8443", ["a.up.example:8443"], ["a.up.example"]),
        ("up.example, *.ntfy.example", ["up.example", "a.ntfy.example"], ["a.up.example"]),
    ],
)
def test_readers_of_other_push_services_are_let_in_by_a_wildcard(
    redis_url: str, setting: str, accepted: list[str], refused: list[str]
) -> None:
    client = open_client(redis_url, PUSH_SERVICES=setting)
    for number, host in enumerate(accepted):
        assert client.call("POST", SUBSCRIPTIONS, at(host, number)).status_code == 201
        assert client.runtime.endpoints.allows(f"https://{host}")
        assert client.runtime.endpoints.service(f"https://{host}") == "other"
    for host in refused:
        assert client.call("POST", SUBSCRIPTIONS, at(host, 9)).status_code == 422
        assert not client.runtime.endpoints.allows(f"https://{host}")
    stored = json.dumps(client.runtime.store.names.bases.all())
    assert all(f"https://{host}/" in stored for host in accepted)
