"""A provider that is down or answers oddly, and ways back that are tried very often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.model.operations import process_log
from service.model.roles import Role
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, PASSWORD, post, signed_in, token_in
from tests.support.desk.provider import (
    AUTHLIB_IS_CHANGING,
    BACK,
    KEYS,
    METADATA,
    NAME,
    START,
    TOKEN,
    TOM,
    Provider,
    answer,
    begin,
    complaint,
    query_of,
    sign_in_with,
)

pytestmark = AUTHLIB_IS_CHANGING


def test_a_provider_that_is_down_leaves_the_password(
    runtime: Runtime, editor: FlaskClient, stranger: FlaskClient, provider: Provider
) -> None:
    provider.instead[METADATA] = answer("", 503)
    for _ in range(3):
        said = complaint(stranger, stranger.get(START))
        assert said == f"Signing in with {NAME} did not work: it does not respond. " + (
            "Sign in in another way, or try again in a minute."
        )
    assert provider.count(METADATA) == 1, "it is left alone for some seconds"
    assert post(stranger, "/desk/sign-in", email=EMAIL, password=PASSWORD).status_code == 303
    assert signed_in(stranger)
    provider.instead.clear()
    runtime.provider._ask_at = time.monotonic()  # these seconds are over
    for _ in range(3):
        begin(stranger)
    assert provider.count(METADATA) == 2, "and its metadata is kept"
    runtime.provider._issuer, runtime.provider._ask_at = "http://localhost:1", time.monotonic()
    runtime.provider._found = None
    stranger.post("/desk/sign-out", data={"csrf_token": token_in(stranger.get("/desk/").text)})
    assert "does not respond" in complaint(stranger, stranger.get(START)), "nothing is there"


@contextmanager
def silent(provider: Provider, runtime: Runtime, client: FlaskClient) -> Iterator[Thread]:
    """Let it not answer while this thread, in which `client` presses the button, asks it anew."""
    asked, answers = Event(), Event()

    def wait(environ: Any, start_response: Any) -> Any:
        asked.set()
        answers.wait(10)
        return answer("", 503)(environ, start_response)

    provider.instead[METADATA] = wait
    runtime.provider._ask_at = time.monotonic()
    thread = Thread(target=client.get, args=[START])
    thread.start()
    try:
        assert asked.wait(10)
        yield thread
    finally:
        answers.set()
        thread.join(10)


def test_nobody_waits_while_a_provider_that_is_down_is_asked(
    provider: Provider, app: Flask, stranger: FlaskClient, runtime: Runtime
) -> None:
    """Strangers who press the button could otherwise hold all threads of a web process."""
    with silent(provider, runtime, app.test_client()) as waits:
        assert "does not respond" in complaint(stranger, stranger.get(START))
        assert waits.is_alive()
    assert provider.count(METADATA) == 1


def test_what_is_known_of_a_provider_is_used_while_it_cannot_be_asked_anew(
    provider: Provider, app: Flask, stranger: FlaskClient, runtime: Runtime
) -> None:
    begin(stranger)
    with silent(provider, runtime, app.test_client()) as waits:
        begin(stranger)
        assert waits.is_alive()
    begin(stranger)
    assert provider.count(METADATA) == 2, "after the failure it is left alone for some seconds"
    runtime.provider._ask_at = time.monotonic()
    begin(stranger)
    assert provider.count(METADATA) == 3


WRONG_ANSWERS: list[tuple[str, Any, int]] = [
    (METADATA, "<html>", 200),
    (METADATA, [], 200),
    (METADATA, {"issuer": 7}, 200),
    (METADATA, {}, 404),
    (TOKEN, "", 500),
    (TOKEN, "<html>", 200),
    (TOKEN, [], 200),
    (TOKEN, {}, 200),
    (TOKEN, {"error": "invalid_grant"}, 400),
    (TOKEN, {"access_token": "x", "token_type": "Bearer"}, 200),
    (TOKEN, {"access_token": "x", "token_type": "Bearer", "id_token": "x.y.z"}, 200),
    (TOKEN, {"access_token": "x", "token_type": "Bearer", "id_token": 7}, 200),
    (KEYS, "", 500),
    (KEYS, {"keys": "none"}, 200),
    (KEYS, {"keys": [{"kty": "RSA"}]}, 200),
]


def test_whatever_the_provider_answers_gives_a_sentence(
    provider: Provider,
    stranger: FlaskClient,
    runtime: Runtime,
    tom: str,
    often: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path, body, status in WRONG_ANSWERS:
        provider.instead.clear()
        caplog.clear()
        monkeypatch.setattr(process_log, "_said_at", {})
        runtime.provider._ask_at = time.monotonic()
        if path == METADATA:
            provider.instead[path] = answer(body, status)
            refused = stranger.get(START)
        else:
            back = provider.agreed(begin(stranger), TOM)
            provider.instead[path] = answer(body, status)
            refused = stranger.get(back)
            assert query_of(back)["code"] not in caplog.text
        said = complaint(stranger, refused)
        assert f"Signing in with {NAME} did not work" in said, (path, body)
        assert "sign-in through the provider: " in caplog.text


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("access_denied", "cancelled there"),
        ("server_error", "it was refused"),
        ("<script>", "it was refused"),
    ],
)
def test_an_error_of_the_provider_gives_a_sentence_that_repeats_nothing(
    provider: Provider, stranger: FlaskClient, tom: str, error: str, why: str
) -> None:
    state = query_of(begin(stranger))["state"]
    given = {"error": error, "error_description": "<b>call 555</b>", "state": state}
    said = complaint(stranger, stranger.get(BACK, query_string=given))
    assert why in said
    assert "555" not in said
    again = stranger.get(BACK, query_string={"code": "a code", "state": state})
    assert "another browser" in complaint(stranger, again), "it was used up"


def test_many_editors_behind_one_address_sign_in_within_a_minute(
    provider: Provider, app: Flask, tom: str, runtime: Runtime
) -> None:
    for n in range(12):
        email = f"editor{n}@paper.example"
        runtime.editors.invite(email, Role.SENDS)
        assert sign_in_with(provider, app.test_client(), email).location == "/desk/"


def test_attempts_are_limited_before_the_provider_is_asked(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    asked = []
    for _ in range(11):
        back = {"code": "no code", "state": query_of(begin(stranger))["state"]}
        asked.append(stranger.get(BACK, query_string=back).status_code)
    assert asked == [303] * 10 + [429]
    assert provider.count(TOKEN) == 10


def test_a_page_that_leads_browsers_here_keeps_nobody_out_and_fills_no_log(
    provider: Provider,
    app: Flask,
    stranger: FlaskClient,
    tom: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as one with many pictures at this address, for all who sit behind one network."""
    monkeypatch.setattr(process_log, "_said_at", {})
    begin(stranger)
    for client in (stranger, app.test_client()):
        for n in range(11):
            assert client.get(f"{BACK}?state={n}").status_code == 303
    assert provider.count(TOKEN) == 0
    assert caplog.text.count("sign-in through the provider: ") == 2, "another state, and none"
    assert sign_in_with(provider, app.test_client(), TOM).location == "/desk/"
