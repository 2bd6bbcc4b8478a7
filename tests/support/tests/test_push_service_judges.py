"""The push service refuses invalid messages and accepts valid ones."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import pywebpush
import requests

from tests.support.push_service import PushService, Subscription
from tests.support.push_service.senders import (
    ANOTHER,
    OURS,
    TEXT,
    Draft,
    Http2,
    by,
    claims,
    message_to,
    send,
)


@pytest.mark.parametrize("plain", [False, True])
def test_pywebpush_messages_are_accepted_and_decrypted(push: PushService, plain: bool) -> None:
    browser = push.subscribe(OURS.public, plain=plain)
    with requests.Session() as session:
        session.trust_env = False  # or REQUESTS_CA_BUNDLE would win over `verify`
        session.verify = str(push.ca_file)
        answer = pywebpush.webpush(
            browser.as_json(),
            TEXT,
            vapid_private_key=OURS.private_text,
            vapid_claims={"sub": "mailto:push@example.com"},
            ttl=99_999_999,
            timeout=10,
            requests_session=session,
        )
    assert answer.status_code == 201
    assert answer.headers["TTL"] == str(30 * 24 * 3600)
    assert answer.headers["Location"].startswith(push.origin)
    (message,) = push.wait_for(1, timeout=10)
    assert message.endpoint == browser.endpoint
    assert message.status == 201
    assert message.http_version == "1.1"
    assert message.headers["content-encoding"] == "aes128gcm"
    assert browser.decrypt(message.body) == TEXT
    assert push.refusals == []


def test_many_messages_go_over_one_http2_connection(push: PushService, http2: Http2) -> None:
    browsers = [push.subscribe(OURS.public) for _ in range(150)]
    answers = http2.send(*(message_to(browser) for browser in browsers))
    assert [status for status, _ in answers] == [201] * 150
    assert push.refusals == []
    messages = {message.endpoint: message for message in push.received}
    assert {(m.http_version, m.connection) for m in messages.values()} == {("2", 1)}
    assert all(b.decrypt(messages[b.endpoint].body) == TEXT for b in browsers)


def test_an_http1_connection_is_kept_for_the_next_message(
    push: PushService, browser: Subscription
) -> None:
    connection = http.client.HTTPConnection(urlsplit(push.plain_origin).netloc, timeout=10)
    for _ in range(3):
        assert send(message_to(browser), connection)[0].status == 201
    connection.close()
    assert {message.connection for message in push.received} == {1}


def spoiled_body(start: int, new: bytes) -> Callable[[Draft], Draft]:
    return lambda m: m.with_body(m.body[:start] + new + m.body[start + len(new) :])


def chunked(m: Draft) -> Draft:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(m.body), m.body)
    return (
        replace(m, body=body).without("Content-Length").with_header("Transfer-Encoding", "chunked")
    )


def urgent_twice(m: Draft) -> Draft:
    return replace(m, headers=(*m.headers, ("Urgency", "high")))


def other_scheme(m: Draft) -> Draft:
    vapid = dict(m.headers)["Authorization"]
    return m.with_header("Authorization", vapid.replace("vapid", "WebPush"))


REFUSED: dict[str, tuple[Callable[[Draft], Draft], int, int]] = {
    "another method": (lambda m: replace(m, method="PUT"), 405, 999),
    "an unknown endpoint": (lambda m: replace(m, url=m.url + "x"), 404, 102),
    "chunks": (chunked, 411, 999),
    "an expectation": (lambda m: m.with_header("Expect", "100-continue"), 417, 999),
    "no TTL": (lambda m: m.without("TTL"), 400, 111),
    "a TTL in words": (lambda m: m.with_header("TTL", "1h"), 400, 112),
    "a negative TTL": (lambda m: m.with_header("TTL", "-1"), 400, 112),
    "a long Topic": (lambda m: m.with_header("Topic", "a" * 34), 400, 113),
    "a Topic with a foreign character": (lambda m: m.with_header("Topic", "a.bc"), 400, 113),
    "an empty Topic": (lambda m: m.with_header("Topic", ""), 400, 113),
    "a Topic Apple cannot decode": (lambda m: m.with_header("Topic", "abcde"), 400, 113),
    "an unknown Urgency": (lambda m: m.with_header("Urgency", "urgent"), 400, 999),
    "two Urgencies": (urgent_twice, 400, 999),
    "the old encoding": (lambda m: m.with_header("Content-Encoding", "aesgcm"), 400, 110),
    "no encoding": (lambda m: m.without("Content-Encoding"), 400, 110),
    "no authorization": (lambda m: m.without("Authorization"), 401, 109),
    "another scheme": (other_scheme, 401, 109),
    "a token that is none": (lambda m: m.with_header("Authorization", "vapid t=a, k=b"), 401, 109),
    "another algorithm": (by(OURS, alg="HS256"), 401, 109),
    "another key": (by(ANOTHER), 401, 109),
    "a token of another key": (by(ANOTHER, k=OURS.public), 401, 109),
    "another audience": (lambda m: m.with_claims(aud="https://example.com"), 401, 109),
    "an audience with a path": (lambda m: m.with_claims(aud=claims(m.url)["aud"] + "/"), 401, 109),
    "no audience": (lambda m: m.with_claims(aud=None), 401, 109),
    "no expiry": (lambda m: m.with_claims(exp=None), 401, 109),
    "an expiry in quotes": (lambda m: m.with_claims(exp=str(claims(m.url)["exp"])), 401, 109),
    "an expired token": (lambda m: m.with_claims(exp=int(time.time()) - 1), 401, 109),
    "an expiry too far": (lambda m: m.with_claims(exp=int(time.time()) + 25 * 3600), 401, 109),
    "no subject": (lambda m: m.with_claims(sub=None), 401, 109),
    "a subject that is no URI": (lambda m: m.with_claims(sub="push@example.com"), 401, 109),
    "a subject with brackets": (lambda m: m.with_claims(sub="mailto:<a@example.com>"), 401, 109),
    "a large body": (lambda m: m.with_body(m.body + bytes(4097 - len(m.body))), 413, 104),
    "no body": (lambda m: m.with_body(b""), 400, 110),
    "a body without a record": (lambda m: m.with_body(m.body[:102]), 400, 110),
    "a key of another length": (spoiled_body(20, bytes([64])), 400, 110),
    "a key off the curve": (spoiled_body(53, bytes(32)), 400, 110),
    "the VAPID key as sender's": (spoiled_body(21, OURS.public), 400, 110),
    "a record size as small as the record": (
        lambda m: spoiled_body(16, (len(m.body) - 86).to_bytes(4, "big"))(m),
        400,
        110,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what: str, push: PushService, browser: Subscription) -> None:
    spoil, status, errno = REFUSED[what]
    response, body = send(spoil(message_to(browser)))
    assert response.status == status
    error = json.loads(body)
    assert {"code", "errno", "error", "message", "more_info"} == set(error)
    assert (error["code"], error["errno"]) == (status, errno)
    assert [(r.status, r.errno) for r in push.refusals] == [(status, errno)]
    assert send(message_to(browser))[0].status == 201


def test_a_key_other_than_the_registered_one_is_called_a_mismatch(
    push: PushService, browser: Subscription
) -> None:
    _, body = send(by(ANOTHER)(message_to(browser)))
    assert json.loads(body)["message"] == "VAPID public key mismatch"


def test_a_body_of_4096_bytes_is_taken(push: PushService, browser: Subscription) -> None:
    message = message_to(browser, b"x" * 3993)
    assert len(message.body) == 4096
    assert send(message)[0].status == 201


@pytest.mark.parametrize("part", [slice(0, 16), slice(21, 86)], ids=["salt", "sender's key"])
def test_it_refuses_a_reused_part(part: slice, push: PushService, browser: Subscription) -> None:
    first, second = message_to(browser), message_to(browser)
    assert send(first)[0].status == 201
    reused = spoiled_body(part.start, first.body[part])(second)
    assert send(reused)[0].status == 400
    assert "was used for another message" in push.refusals[0].why


def test_the_same_message_may_be_sent_again(push: PushService, browser: Subscription) -> None:
    message = message_to(browser)
    assert [send(message)[0].status for _ in range(2)] == [201, 201]
    assert push.refusals == []


def test_an_unsubscribed_browser_is_gone_without_counting_as_a_refusal(
    push: PushService, browser: Subscription
) -> None:
    browser.unsubscribed = True
    response, body = send(message_to(browser))
    assert (response.status, json.loads(body)["errno"]) == (410, 106)
    assert push.refusals == []


@pytest.mark.parametrize("host", ["localhost", "news.local", "permanently-removed.invalid"])
def test_a_strict_service_refuses_a_subject_without_a_real_host(host: str) -> None:
    with PushService(strict_subject=True) as push:
        browser = push.subscribe(OURS.public, plain=True)
        assert send(message_to(browser).with_claims(sub=f"mailto:a@{host}"))[0].status == 403
        assert send(message_to(browser).with_claims(sub=f"https://{host}/"))[0].status == 403
        assert send(message_to(browser))[0].status == 201


def test_any_endpoint_under_push_may_be_registered_with_one_key(
    push: PushService, browser: Subscription
) -> None:
    elsewhere = replace(message_to(browser), url=f"{push.plain_origin}/push/7")
    assert send(elsewhere)[0].status == 404
    push.accept_any(OURS.public)
    assert send(elsewhere)[0].status == 201
    assert send(by(ANOTHER)(elsewhere))[0].status == 401
