"""What holds for all responses: other origins, which host, failures; and the start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import create_environ, run_wsgi_app

from service.api import problems
from service.app import create_app
from service.config import Config, ConfigError
from service.model.keys import VapidKey, b64url
from service.model.subscriptions import SubscriptionId
from service.store import PAGE
from tests.support.client import API, SITE, VAPID, Client, Reader, browser, make_app
from tests.support.command import make_secrets
from tests.support.redis_servers.server import RedisServer

NEWS = {"title": "Late news", "url": "https://paper.example/", "audience": {"everyone": True}}
READERS_CALLS = {
    "/site": ["GET"],
    "/subscriptions": ["POST"],
    "/subscriptions/0-0": ["GET", "PATCH", "DELETE"],
    "/receipts": ["POST"],
}
CALLS = [(method, API + path) for path, methods in READERS_CALLS.items() for method in methods]


# Other origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_the_publishers_pages_may_read_every_response_for_readers(
    client: Client, method: str, path: str
) -> None:
    for body in ({}, {"data": b"x" * 9000}, {"json": {"wrong": True}}):
        response = client.call(method, path, headers={"Origin": SITE}, **body)
        assert response.headers["Access-Control-Allow-Origin"] == SITE
        assert "Origin" in response.vary
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", READERS_CALLS)
def test_a_preflight_request_names_the_methods_and_headers_allowed(
    client: Client, path: str
) -> None:
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, traceparent",
    }
    headers = client.app.test_client().options(API + path, headers=asked).headers
    assert headers["Access-Control-Allow-Origin"] == SITE
    methods = set(headers["Access-Control-Allow-Methods"].split(", "))
    assert methods >= set(READERS_CALLS[path])
    # Also what monitoring adds to a page's calls.
    assert headers["Access-Control-Allow-Headers"] == "Authorization, *"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://paper.example", f"{SITE}.evil.example", "null", ""]
)
def test_pages_of_other_sites_may_not_read_responses_for_readers(
    client: Client, origin: str
) -> None:
    for path, (called, *_) in READERS_CALLS.items():
        for method in ("OPTIONS", called):
            response = client.app.test_client().open(
                API + path, method=method, headers={"Origin": origin}
            )
            allowing = [n for n, _ in response.headers if n.startswith("Access-Control")]
            assert not allowing, path
            assert "Origin" in response.vary, path


def test_no_other_origin_may_read_responses_for_tools(client: Client) -> None:
    headers = {"Origin": SITE, "Authorization": f"Bearer {client.add_token()}"}
    for path in ("/notifications", "/topics", "/openapi.json"):
        for method in ("GET", "OPTIONS"):
            response = client.app.test_client().open(API + path, method=method, headers=headers)
            assert response.status_code == 200
            assert "Access-Control-Allow-Origin" not in response.headers


# Which host ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/demo/", "/optin.js", f"{API}/site", "/desk/sign-in"])
def test_a_request_for_another_host_is_refused_and_told_so(redis_url: str, path: str) -> None:
    app = make_app(redis_url, SITE_URL="https://push.paper.example", TRUSTED_HOSTS="inside.example")
    calls = app.test_client()
    for host in ("evil.example", "push.paper.example.evil.example", "10.0.0.7", "a b", "@", "[::"):
        response = calls.get(path, headers={"Host": host}, buffered=True)
        assert response.status_code == 400
        assert "https://push.paper.example" in response.text
        assert "Host header" in response.text
        assert "session has expired" not in response.text
        assert "evil" not in response.text
    for host in (
        "push.paper.example",
        "PUSH.paper.example:443",
        "push.paper.example.",
        "inside.example:8000",
        "localhost:8000",
        "127.0.0.1",
        "[::1]:8000",
    ):
        assert calls.get(path, headers={"Host": host}, buffered=True).status_code < 400
    for path in ("/healthz", "/readyz"):  # a load balancer calls by address
        assert calls.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize("path", ["/desk/sign-in", f"{API}/site", f"{API}/notifications"])
def test_no_header_causes_an_unexpected_error(client: Client, path: str) -> None:
    client.app.config["WTF_CSRF_ENABLED"] = False  # what looks at a form after that
    for number, (header, value) in enumerate(
        (
            ("Host", "[::::]"),
            ("Host", "["),
            ("Authorization", "Basic é"),
            ("Authorization", "Bearer"),
            ("Origin", "http://["),
            ("Referer", "http://[::::]/"),
            ("Cookie", "stoppress=é"),
        )
    ):
        for method in ("GET", "POST"):
            name = f"HTTP_{header.upper()}"
            environ = create_environ(path, method=method)
            environ |= {"REMOTE_ADDR": f"10.0.0.{number}", name: value}
            _, status, _ = run_wsgi_app(client.app, environ)  # the test client refuses some itself
            assert not status.startswith("5"), (method, header, value)


def test_no_response_repeats_the_host_of_its_request(client: Client) -> None:
    calls = client.app.test_client()
    for path in ("/desk/", "/desk", "/demo", "/", "/privacy", f"{API}/openapi.json", "//evil/"):
        for host in ("127.77.7.7", "some.example"):
            response = calls.get(path, headers={"Host": host}, buffered=True)
            assert host not in response.text + str(response.headers)


@pytest.mark.parametrize("path", ["/optin.js", "/sw.js", "/style.css", f"{API}/site", "/demo/"])
def test_what_readers_fetch_does_not_depend_on_cookies(client: Client, path: str) -> None:
    response = client.app.test_client().get(path, buffered=True)
    assert "Cookie" not in response.vary
    assert "Set-Cookie" not in response.headers


def test_responses_of_the_api_are_not_cached_by_default(client: Client) -> None:
    for path in ("/topics", "/subscriptions/0-0"):
        assert client.call("GET", API + path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{API}/nowhere", 404),
        ("GET", "/api/v2/site", 404),
        ("GET", f"{API}/notifications/x", 404),
        ("PUT", f"{API}/notifications", 405),
        ("DELETE", f"{API}/site", 405),
    ],
)
def test_unknown_addresses_and_methods_get_a_problem_document(
    client: Client, method: str, path: str, status: int
) -> None:
    response = client.call(method, path)
    assert response.status_code == status
    assert ("Allow" in response.headers) == (status == 405)


def test_a_browser_gets_our_own_page_for_an_unknown_address(client: Client) -> None:
    for path in ("/nope", "/deskk/x.html", f"{API}/nowhere"):
        response = client.app.test_client().get(path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert response.status_code == 404
        assert ("<h1>Page not found</h1>" in response.text) == (path != f"{API}/nowhere"), path
    script = client.app.test_client().get("/nope.js", headers={"Accept": "*/*"})
    assert (script.status_code, "Page not found" in script.text) == (404, False)


# When something fails ---------------------------------------------------------------------------


def test_without_redis_every_call_is_503_and_works_again_with_it(own_redis: RedisServer) -> None:
    client = Client(make_app(own_redis.url))
    token = client.add_token()
    reader = client.call("POST", f"{API}/subscriptions", {"subscription": browser()}).json
    calls = [
        ("GET", "/readyz", None, None),
        ("GET", f"{API}/site", None, None),
        ("POST", f"{API}/subscriptions", {"subscription": browser(1)}, None),
        ("GET", f"{API}/subscriptions/{reader['id']}", None, reader["token"]),
        ("PATCH", f"{API}/subscriptions/{reader['id']}", {"locale": "lv"}, reader["token"]),
        ("GET", f"{API}/notifications", None, token),
        ("POST", f"{API}/notifications", NEWS, token),
        ("POST", f"{API}/audience", {"everyone": True}, token),
        ("DELETE", f"{API}/subscriptions/{reader['id']}", None, reader["token"]),
    ]
    own_redis.stop()
    for method, path, body, with_token in calls:
        response = client.call(method, path, body, token=with_token)
        assert response.status_code == 503
        assert "Redis" in response.json["detail"]
        assert response.headers["Retry-After"]
    assert client.call("GET", "/healthz").status_code == 200
    own_redis.start()
    for method, path, body, with_token in calls:
        assert client.call(method, path, body, token=with_token).status_code < 300


def test_nothing_that_a_reader_sends_is_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        body = {"subscription": browser()}
        reader = client.call("POST", f"{API}/subscriptions", body).json
        client.call("PATCH", f"{API}/subscriptions/{reader['id']}", {"x": 1}, token=reader["token"])
        body["subscription"]["keys"]["auth"] += "x"
        client.call("POST", f"{API}/subscriptions", body)
    keys = body["subscription"]["keys"]
    for secret in (body["subscription"]["endpoint"], keys["p256dh"], keys["auth"], reader["token"]):
        assert secret not in caplog.text


def test_an_error_that_no_handler_answers_is_logged_without_the_address(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a-message")

    monkeypatch.setattr(client.runtime.editors, "find_link", fail)
    monkeypatch.setattr(problems, "respond", fail)
    client.app.config["PROPAGATE_EXCEPTIONS"] = False
    response = client.app.test_client().get("/desk/welcome/a-secret-token")
    assert response.status_code == 500
    assert "Traceback" not in response.text
    assert "desk.welcome: no answer to an error" in caplog.text
    assert "a-secret-token" not in caplog.text


def test_options_of_redis_that_other_programs_need_change_nothing(redis_url: str) -> None:
    options = (
        "decode_responses=True&encoding=latin-1&socket_timeout=60&socket_connect_timeout=-1"
        "&retry_on_timeout=True&retry_on_error=x&protocol=3&max%5Fconnections=1&client_name=news"
    )
    url = f"{redis_url}{'&' if '?' in redis_url else '?'}{options}"
    client = Client(make_app(url))
    pool = client.runtime.store.redis.connection_pool
    others = [pool.get_connection() for _ in range(3)]  # of other threads
    assert Reader(client).sees("topics") == ([],)
    for connection in others:
        pool.release(connection)
    used = pool.connection_kwargs
    assert used["socket_timeout"] == PAGE.seconds
    assert not used.keys() & {"retry_on_timeout", "retry_on_error", "protocol"}
    assert client.runtime.store.redis.client_getname() == "news"


def test_readyz_says_how_many_workers_there_are(client: Client) -> None:
    assert client.call("GET", "/healthz").json == {"status": "alive"}
    assert client.call("GET", "/readyz").json == {"status": "ready", "workers": 0}


# The start --------------------------------------------------------------------------------------


def test_settings_of_the_environment_go_before_the_keys_in_data_dir(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make_secrets(tmp_path)
    for name in ("REDIS_URL", "SECRET_KEY", "VAPID_PRIVATE_KEY", "STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("VAPID_PRIVATE_KEY", VAPID.text)
    app = create_app()
    assert isinstance(app, Flask)
    config = app.config["STOPPRESS"]
    assert config.secret_key == (kept["SECRET_KEY"],)
    assert app.extensions["stoppress"].keys.current == b64url(VAPID.public)


@pytest.mark.parametrize("missing", ["REDIS_URL", "SECRET_KEY", "VAPID_PRIVATE_KEY"])
def test_the_application_does_not_start_without_a_required_setting(
    redis_url: str, missing: str
) -> None:
    environment = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
    }
    del environment[missing]
    with pytest.raises(ConfigError, match=missing):
        create_app(Config.read(environment))


@pytest.mark.parametrize("name", ["SITE_URL", "SITE_ORIGINS"])
def test_a_host_that_no_browser_sends_so_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: must have its host as browsers send it"):
        Config.read({name: "https://münchen.example"})
    assert Config.read({name: "https://xn--mnchen-3ya.example"})


def test_new_subscriptions_use_the_first_vapid_key_and_old_ones_keep_theirs(
    redis_url: str,
) -> None:
    before = Client(make_app(redis_url))
    old = before.call("POST", f"{API}/subscriptions", {"subscription": browser(0)}).json
    key = VapidKey.generate()
    client = Client(make_app(redis_url, VAPID_PRIVATE_KEY=f"{key.text} {VAPID.text}"))
    new = client.call("POST", f"{API}/subscriptions", {"subscription": browser(1)}).json
    client.call("PATCH", f"{API}/subscriptions/{old['id']}", {"locale": "lv"}, token=old["token"])
    keys = [
        client.runtime.store.subscriptions.get(SubscriptionId.parse(reader["id"])).vapid_key
        for reader in (old, new)
    ]
    assert keys == [b64url(VAPID.public), b64url(key.public)]
