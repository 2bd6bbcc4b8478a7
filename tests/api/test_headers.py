"""The headers that protect pages: on every route, and as MDN's Observatory counts them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.client import API, SITE, Client, make_app

URL = "https://push.paper.example"
OFF = {"camera", "display-capture", "geolocation", "microphone", "payment", "usb"}


def responses(app: Flask) -> Iterator[tuple[str, TestResponse]]:
    """Call every route by every method that it takes, and by one that none takes."""
    calls = app.test_client()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in {*(rule.methods or ()), "TRACE"} - {"HEAD", "OPTIONS"}:
            response = calls.open(path, method=method, buffered=True)
            assert method != "TRACE" or response.status_code >= 400
            yield f"{method} {path}", response
    for path in ("/nowhere", f"{API}/nowhere", "/desk/nowhere"):
        yield path, calls.get(path)


@pytest.mark.parametrize(("url", "by_tls"), [(URL, "max-age=31536000"), ("http://localhost", None)])
def test_every_response_to_every_method_has_the_headers_that_protect_pages(
    redis_url: str, url: str, by_tls: str | None
) -> None:
    app, for_others = make_app(redis_url, SITE_URL=url, TRUSTED_HOSTS="localhost"), set()
    for what, response in responses(app):
        headers = response.headers
        assert response.status_code < 500, what
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", what
        assert headers["X-Content-Type-Options"] == "nosniff", what
        assert headers["Referrer-Policy"] == "same-origin", what
        assert headers.get("Strict-Transport-Security") == by_tls, what
        sources = headers["Content-Security-Policy"]
        none = {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"}
        assert none <= {*sources.split("; ")}, what
        assert "unsafe" not in sources, what
        is_page = headers.get("Content-Type", "").startswith("text/html")
        off = set(re.findall(r"([a-z-]+)=\(\)", headers.get("Permissions-Policy", "")))
        assert off == (OFF if is_page else set()), what
        policy = headers["Cross-Origin-Resource-Policy"]
        for_all = headers.get("Access-Control-Allow-Origin") == "*"
        assert policy == ("cross-origin" if for_all else "same-origin"), what
        if for_all:
            for_others.add(what)
        names = [name for name, _ in headers if name not in ("Vary", "Set-Cookie")]
        assert len(names) == len(set(names)), f"{what}: each of them once"
    # What publishers' pages load, and nothing else.
    assert {"GET /optin.js", "GET /sw.js"} <= for_others
    ours = re.compile(r"[A-Z]+ /(desk|api|metrics|demo|privacy|canary|feeds)\b")
    assert [what for what in for_others if ours.match(what)] == []


def test_publishers_pages_call_the_api_by_cors_which_no_resource_policy_stops(
    client: Client,
) -> None:
    # Fetch, section 3.7: the policy is asked for requests in the mode `no-cors` alone.
    response = client.call("GET", f"{API}/site", headers={"Origin": SITE})
    assert response.headers["Access-Control-Allow-Origin"] == SITE


def observatory(response: TestResponse) -> int:
    """Count as MDN's HTTP Observatory does (version 5 of its scoring); 100 is an A+.

    What is more than asked for counts only where little is missing.
    """
    headers, points, more = response.headers, 100, 0
    policy = headers.get("Content-Security-Policy", "").split("; ")
    csp = dict(words.partition(" ")[::2] for words in policy)
    sources = [csp.get(name, "") for name in ("default-src", "script-src", "style-src")]
    loose = [word for one in sources for word in ("unsafe", "https:", "*", "data:") if word in one]
    points -= 25 if not csp.get("default-src") else 20 if loose else 0
    more += 10 if csp.get("default-src") == "'none'" else 0
    points -= 0 if csp.get("frame-ancestors") else 20
    more += 5 if csp.get("frame-ancestors") else 0
    age = re.match(r"max-age=(\d+)", headers.get("Strict-Transport-Security", ""))
    points -= 0 if age and int(age[1]) >= 15_768_000 else 20
    points -= 0 if headers.get("X-Content-Type-Options") == "nosniff" else 5
    more += 5 if headers.get("Referrer-Policy") in ("same-origin", "no-referrer") else 0
    more += 10 if headers.get("Cross-Origin-Resource-Policy") == "same-origin" else 0
    points -= 50 if headers.get("Access-Control-Allow-Origin") == "*" else 0
    for cookie in headers.getlist("Set-Cookie"):
        points -= 0 if "Secure" in cookie and "HttpOnly" in cookie else 40
        points -= 0 if "SameSite" in cookie else 20
    # Scripts of other origins would need hashes; ours and the style sheet are of this one.
    points -= 50 if re.search(r'<script[^>]* src="(https?:)?//', response.text) else 0
    return points + more if points >= 90 else points


def test_the_observatory_gives_our_pages_an_a_plus(redis_url: str) -> None:
    app = make_app(redis_url, SITE_URL=URL, TRUSTED_PROXIES="1")
    for path in ("/", "/desk/", "/desk/sign-in", "/privacy", "/demo/", "/nowhere"):
        calls = app.test_client()
        response = calls.get(
            path,
            headers={"Host": "push.paper.example", "X-Forwarded-Proto": "https"},
            follow_redirects=True,
        )
        assert observatory(response) >= 100, path


def test_browsers_come_back_by_tls_alone(redis_url: str) -> None:
    app = make_app(redis_url, SITE_URL="https://push.paper.example", TRUSTED_PROXIES="1")
    for path in ("/optin.js", "/desk/sign-in", f"{API}/site"):
        response = app.test_client().get(
            path, headers={"Host": "push.paper.example", "X-Forwarded-Proto": "https"}
        )
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_no_cache_keeps_an_error_and_hands_it_to_other_callers(redis_url: str) -> None:
    calls = make_app(redis_url, SITE_URL=URL).test_client()
    # A stranger's condition that a cache in front passes on with the request.
    plain = {"Host": "push.paper.example"}
    odd = {**plain, "If-Match": '"x"', "Range": "bytes=999999-"}
    errors = set()
    for path in ("/optin.js", "/panel.js", "/texts/en.json", "/privacy", "/style.css", "/nowhere"):
        for headers in (plain, odd, {**odd, "If-Match": "*"}, {"Host": "another.example"}):
            with calls.get(path, headers=headers) as response:
                kept = response.headers.getlist("Cache-Control")
                assert (response.status_code < 400) != (kept == ["no-store"]), path
                errors.add(response.status_code)
    assert errors >= {200, 400, 404, 412, 416}
