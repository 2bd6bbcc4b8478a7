"""How long an editor stays signed in, what a copied cookie is worth, and who may guess."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.people.editors import EditorError, UnknownEditor
from service.model.operations import process_log
from service.model.retention import GUESSES_KEPT, SESSION_IDLE, SESSION_KEPT
from service.model.time import clock
from service.model.tokens import digest
from service.runtime import Runtime
from service.store.people.access import Access
from tests.support.client import make_app
from tests.support.desk.pages import EMAIL, PASSWORD, path_of, post, token_in, words
from tests.support.redis_servers.server import RedisServer

DESK = "/desk/"


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("stoppress")
    assert cookie
    return cookie.value


def with_cookie(app: Flask, value: str) -> FlaskClient:
    client = app.test_client()
    client.set_cookie("stoppress", value)
    return client


def signed_in(client: FlaskClient) -> bool:
    return client.get(DESK).status_code == 200


def session_keys(runtime: Runtime) -> list[bytes]:
    return [*runtime.store.redis.scan_iter("{g}:session:*")]


def sign_in(
    client: FlaskClient, password: str, *, email: str = EMAIL, address: str = "10.0.0.1"
) -> TestResponse:
    page = client.get("/desk/sign-in")
    form = {"csrf_token": token_in(page.text), "email": email, "password": password}
    return client.post("/desk/sign-in", data=form, environ_base={"REMOTE_ADDR": address})


# Sessions -----------------------------------------------------------------------------------------


def test_a_copied_cookie_does_not_work_after_signing_out(app: Flask, editor: FlaskClient) -> None:
    copied = cookie_of(editor)
    assert signed_in(with_cookie(app, copied))
    assert post(editor, "/desk/sign-out", page=DESK).status_code == 303
    assert not signed_in(with_cookie(app, copied))
    assert not signed_in(editor)


def test_an_editor_stays_signed_in_where_another_process_reads_the_second_before(
    editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = int(clock.time()) + 60.0
    for now in (second + 0.01, second - 0.02, second - 0.5):
        monkeypatch.setattr(clock, "time", lambda now=now: now)
        assert signed_in(editor)
    monkeypatch.setattr(clock, "time", lambda: second - 30)
    assert not signed_in(editor), "a cookie from the future"


def test_an_editor_stays_signed_in_on_another_host_whose_clock_is_behind(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signed_in(editor)
    monkeypatch.setattr(clock, "_measured", None)
    runtime.store.processes.set_clock()  # as every process does
    behind = time.time() - 30
    monkeypatch.setattr(time, "time", lambda: behind)
    assert signed_in(editor)


def test_signing_in_again_ends_the_session_before_in_the_same_browser(
    app: Flask, editor: FlaskClient
) -> None:
    before = cookie_of(editor)
    assert sign_in(editor, PASSWORD).status_code == 303
    assert signed_in(editor)
    assert not signed_in(with_cookie(app, before))


def test_a_session_that_a_stranger_planted_is_not_the_editors_after_signing_in(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    """Session fixation: a cookie from before the sign-in, a stranger's or another editor's."""
    stranger.get("/desk/sign-in")
    eve = app.test_client()
    link = path_of(runtime.editors.signin_link("eve@paper.example"))
    assert post(eve, link, password="three louder words").status_code == 303
    for planted in (cookie_of(stranger), cookie_of(eve)):
        victim = with_cookie(app, planted)
        assert sign_in(victim, PASSWORD).status_code == 303
        assert cookie_of(victim) != planted
        assert EMAIL in victim.get(DESK).text
        assert not signed_in(with_cookie(app, planted))


def test_a_second_tab_with_an_old_form_leads_on_once_the_first_tab_has_signed_in(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    """The form that it sends belongs to the session before, and its token is refused."""
    tabs, at = app.test_client(), "/desk/sign-in?next=/desk/new"
    forms = [token_in(tabs.get(at).text) for _ in range(2)]
    given = {"email": EMAIL, "password": PASSWORD}
    sent = [tabs.post(at, data={**given, "csrf_token": token}) for token in forms]
    assert [answer.location for answer in sent] == ["/desk/new"] * 2
    assert signed_in(tabs)

    tabs, link = app.test_client(), path_of(runtime.editors.signin_link(EMAIL))
    forms = [token_in(tabs.get(link).text) for _ in range(2)]
    first, second = (tabs.post(link, data={"csrf_token": token}) for token in forms)
    assert (first.location, second.location) == ("/", link)
    assert "works once" in tabs.get(link).text
    assert tabs.post(at, data={"csrf_token": "x", **given}).location == "/desk/new"
    away = tabs.post("/desk/sign-in?next=//evil.example/", data={"csrf_token": "x"})
    assert away.location == "/desk/"


def test_an_old_form_says_that_redis_is_away(
    editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: Any, **more: Any) -> None:
        raise redis.ConnectionError("Error 111 connecting")

    monkeypatch.setattr(Access, "session", away)
    answer = editor.post("/desk/sign-in", data={"csrf_token": "x"})
    assert answer.status_code == 503
    assert "Redis does not respond" in answer.text


def test_signing_out_here_leaves_the_session_in_another_browser(
    app: Flask, editor: FlaskClient
) -> None:
    other = app.test_client()
    assert sign_in(other, PASSWORD).status_code == 303
    post(editor, "/desk/sign-out", page=DESK)
    assert signed_in(other)


def test_a_session_ends_a_day_after_the_last_visit_and_a_week_after_it_began(
    editor: FlaskClient, runtime: Runtime
) -> None:
    (key,) = session_keys(runtime)
    store = runtime.store.redis
    assert SESSION_IDLE - 5 <= store.ttl(key) <= SESSION_IDLE

    store.expire(key, 60)  # all but a minute of the day has gone by
    assert signed_in(editor)
    assert store.ttl(key) > SESSION_IDLE - 5

    store.expire(key, 60)
    editor.get(DESK, headers={"HX-Request": "true"})  # an open page refreshes itself
    assert store.ttl(key) <= 60

    ends = store.time()[0] + 30  # all but half a minute of the week has gone by
    store.set(key, (store.get(key) or b"").replace(b'"ends":', b'"ends":%d,"was":' % ends))
    assert signed_in(editor)
    assert 0 < store.ttl(key) <= 30
    store.delete(key)
    assert not signed_in(editor)
    assert SESSION_KEPT == 7 * SESSION_IDLE


def test_a_new_password_ends_every_session_even_on_a_copied_cookie(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    copied = cookie_of(editor)
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(stranger, link, password="three louder words").status_code == 303
    assert not signed_in(with_cookie(app, copied))
    assert signed_in(stranger)


def test_a_removed_editor_is_signed_out_and_stays_out_when_the_address_comes_back(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    runtime.store.access.add_editor("second@paper.example", "a hash")
    old_link = path_of(runtime.editors.signin_link(EMAIL))
    runtime.editors.remove(f" {EMAIL.upper()}")
    assert not signed_in(editor)
    assert stranger.get(old_link).status_code == 410
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(stranger, link, password=PASSWORD).status_code == 303
    assert not signed_in(editor)
    with pytest.raises(UnknownEditor):
        runtime.editors.remove("nobody@paper.example")


def test_the_store_keeps_no_session_that_a_thief_could_use(
    editor: FlaskClient, runtime: Runtime
) -> None:
    with editor.session_transaction() as session:
        id = session["editor"]
    (key,) = session_keys(runtime)
    assert key == f"{{g}}:session:{digest(id)}".encode()
    assert id.encode() not in key + (runtime.store.redis.get(key) or b"")


# Sign-in links ------------------------------------------------------------------------------------


def test_a_sign_in_link_dies_with_a_newer_one_with_its_use_and_with_a_new_password(
    app: Flask, editor: FlaskClient, runtime: Runtime
) -> None:
    first, second = (path_of(runtime.editors.signin_link(EMAIL)) for _ in range(2))
    assert app.test_client().get(first).status_code == 410
    stolen = app.test_client()
    token = token_in(stolen.get(second).text)
    assert post(app.test_client(), second, password="three louder words").status_code == 303
    for answer in (stolen.get(second), stolen.post(second, data={"csrf_token": token})):
        assert answer.status_code == 410
    assert not signed_in(stolen)


def test_while_redis_is_full_a_sign_in_link_is_not_used_up(full_desk: FullDesk) -> None:
    link = path_of(full_desk.runtime.editors.signin_link(EMAIL))
    client = full_desk.app.test_client()
    token = token_in(client.get(link).text)
    with full_desk.server.full():
        refused = client.post(link, data={"csrf_token": token})
        assert (refused.status_code, "Redis cannot store" in refused.text) == (503, True)
        assert not signed_in(client)
    assert client.post(link, data={"csrf_token": token}).status_code == 303


# Passwords ----------------------------------------------------------------------------------------


GUESSABLE = (
    *("password1234", "P@ssw0rd2026!", "qwertyuiop12", "123456789012", "iloveyou1234"),
    *("letmeinletmein", "1q2w3e4r5t6y", "monkeymonkey12", "summer2026summer", "Welcome12345!"),
    *("nora@paper.example", "nora.paper.2026", "StopPress2026!", "correct horse battery staple"),
    *("aaaaaaaaaaaaaaaaaaaaaaaa", "abcabcabcabcabc", "20261128202611", "zzzz" * 50),
)


def test_a_common_or_personal_password_is_refused(runtime: Runtime) -> None:
    link = runtime.editors.find_link(runtime.editors.signin_link(EMAIL).rpartition("/")[2])
    assert link
    for password in GUESSABLE:
        with pytest.raises(EditorError, match="too easy to guess"):  # and never “too many attempts”
            runtime.editors.use_link(link, EMAIL, password, "10.0.0.1")
            pytest.fail(f"{password} was accepted")


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "two loud dogs",
        "zebra-Fähre-7-Kiosk",
        "пароль не для всех",
        "k7Vq2mXw9RtB",
        "ł" * 3 + "anka pod kocem",
    ],
)
def test_a_password_of_some_words_or_of_chance_is_accepted(
    runtime: Runtime, stranger: FlaskClient, password: str
) -> None:
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(stranger, link, password=password).status_code == 303
    assert sign_in(stranger, password).status_code == 303


# Guesses ------------------------------------------------------------------------------------------


def test_a_password_cannot_be_guessed_from_many_addresses(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    answers = [
        sign_in(stranger, f"wrong password {n}", address=f"10.1.{n}.1").status_code
        for n in range(12)
    ]
    assert answers == [422] * 10 + [429] * 2
    refused = sign_in(stranger, PASSWORD, address="10.1.99.1")
    assert refused.status_code == 429, "not even the right one, or a guess would be known by it"
    assert refused.headers["Retry-After"] == str(GUESSES_KEPT)
    assert "15 minutes" in refused.text
    assert "sign-in link" in refused.text


def test_who_signs_in_and_who_is_refused_is_logged_without_what_strangers_type(
    editor: FlaskClient,
    stranger: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_log, "_said_at", {})
    caplog.set_level("INFO", logger="service.domain.people.sign_in_log")
    sign_in(stranger, PASSWORD, address="10.0.0.9")
    sign_in(stranger, "a wrong password", address="10.0.0.9")
    sign_in(stranger, PASSWORD, email="my-password@typed-here", address="10.0.0.9")
    for n in range(14):  # all but the first ten are not looked at, which is said once
        sign_in(stranger, "a wrong password", address=f"10.1.{n}.1")
    said = [record.getMessage() for record in caplog.records]
    refused = f"sign-in of {EMAIL} by password: refused"
    assert said == [
        f"{EMAIL} signed in by password",
        refused,
        "sign-in of nobody known by password: refused",
        *[refused] * 10,
        f"sign-in of {EMAIL} by password: limited",
    ]
    first = caplog.records[0].__dict__
    assert (first["editor"], first["by"], first["outcome"]) == (EMAIL, "password", "ok")
    for text in ("10.0.0.9", "10.1.", "typed-here", "a wrong password"):
        assert text not in caplog.text


def test_the_log_of_the_desk_says_that_somebody_guesses(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    def entries() -> int:
        return editor.get("/desk/log?action=refused").text.count("was refused five times")

    for n in range(4):
        sign_in(stranger, "wrong", address=f"10.1.{n}.1")
        sign_in(stranger, "wrong", email="nobody@paper.example", address=f"10.2.{n}.1")
    assert entries() == 0
    for n in range(4, 9):
        sign_in(stranger, "wrong", address=f"10.1.{n}.1")
        sign_in(stranger, "wrong", email="nobody@paper.example", address=f"10.2.{n}.1")
    assert entries() == 1
    assert f"{EMAIL} was refused five times" in words(editor.get("/desk/log").text)
    assert "nobody@" not in editor.get("/desk/log").text


def test_guesses_at_unknown_addresses_are_limited_alike(stranger: FlaskClient) -> None:
    answers = [
        sign_in(stranger, "x", email="nobody@paper.example", address=f"10.1.{n}.1").status_code
        for n in range(11)
    ]
    assert answers == [422] * 10 + [429]


def test_strangers_who_guess_do_not_keep_the_editor_out(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    assert sign_in(app.test_client(), PASSWORD, address="10.0.0.7").status_code == 303
    for n in range(11):
        sign_in(stranger, "wrong", address=f"10.1.{n}.1")
    assert signed_in(editor), "who is signed in stays so"
    assert sign_in(app.test_client(), PASSWORD, address="10.0.0.7").status_code == 303
    for n in range(11):
        sign_in(stranger, "wrong", email=f"{EMAIL}\n10.0.0.7", address=f"10.2.{n}.1")
    assert sign_in(app.test_client(), PASSWORD, address="10.0.0.7").status_code == 303
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(app.test_client(), link).status_code == 303, "a link works at once"
    answers = [sign_in(stranger, "wrong", address="10.0.0.7").status_code for _ in range(11)]
    assert 429 in answers, "a network that is known may not guess for ever either"


def test_one_address_may_try_ten_times_a_minute_at_all_editors_together(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    answers = [
        sign_in(stranger, "wrong", email=f"editor{n}@paper.example").status_code for n in range(11)
    ]
    assert answers == [422] * 10 + [429]
    assert sign_in(stranger, PASSWORD, address="10.0.0.2").status_code == 303


def test_many_editors_behind_one_address_sign_in_within_a_minute(
    app: Flask, editor: FlaskClient, stranger: FlaskClient
) -> None:
    for password, status in (("wrong", 422), (PASSWORD, 303)) * 9:
        assert sign_in(app.test_client(), password).status_code == status
    answers = [sign_in(stranger, "wrong").status_code for _ in range(2)]
    assert answers == [422, 429], "wrong ones count, also between right ones"


def test_signing_in_begins_the_count_of_guesses_anew(
    app: Flask, editor: FlaskClient, stranger: FlaskClient
) -> None:
    for n in range(3):
        for m in range(7):
            assert sign_in(stranger, "wrong", address=f"10.{n}.{m}.1").status_code == 422
        assert sign_in(app.test_client(), PASSWORD, address=f"10.9.{n}.1").status_code == 303


class FullDesk:
    """A desk with an editor, on a Redis of its own that can become full."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.app = make_app(server.url)
        self.runtime: Runtime = self.app.extensions["stoppress"]
        self.editor = self.app.test_client()
        link = path_of(self.runtime.editors.signin_link(EMAIL))
        assert post(self.editor, link, password=PASSWORD).status_code == 303


@pytest.fixture
def full_desk() -> Iterator[FullDesk]:
    with RedisServer() as server:
        yield FullDesk(server)


def test_while_redis_is_full_nobody_may_guess_and_editors_stay_signed_in(
    full_desk: FullDesk,
) -> None:
    client = full_desk.app.test_client()
    token = token_in(client.get("/desk/sign-in").text)
    with full_desk.server.full():
        for password in ("wrong", PASSWORD):
            form = {"csrf_token": token, "email": EMAIL, "password": password}
            refused = client.post("/desk/sign-in", data=form)
            assert refused.status_code == 503
            assert "Redis cannot store anything" in refused.text
        assert not signed_in(client)
        assert signed_in(full_desk.editor)
        assert post(full_desk.editor, "/desk/sign-out", page=DESK).status_code == 303
        assert not signed_in(full_desk.editor)
    assert sign_in(client, PASSWORD).status_code == 303


def test_no_address_of_a_guess_is_stored(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    sign_in(stranger, "wrong", email="nobody@paper.example", address="10.3.2.1")
    sign_in(stranger, PASSWORD, address="10.3.2.1")
    with redis.Redis.from_url(runtime.config.redis_url) as client:
        keys = [*client.scan_iter()]
    assert [key for key in keys if b"guesses" in key or b"known" in key]
    assert not [key for key in keys if b"10.3.2" in key or b"nobody" in key]
