"""Two-step sign-in: a code after the password, recovery codes, and who can switch it off."""

from __future__ import annotations

import re
from typing import Any

import pyotp
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.people.editors import Editor
from service.domain.people.two_step import TwoStep
from service.model.roles import Role
from service.model.time import clock
from service.runtime import Runtime
from service.store import Store
from service.store.people.access import Person
from tests.support.desk.pages import (
    EMAIL,
    PASSWORD,
    Page,
    path_of,
    post,
    signed_in,
    token_in,
    words,
)

PATH = "/desk/account/two-step"
HOME, AWAY = "10.9.8.1", "10.9.8.7"


class Phone:
    """An app that has the secret, at a time that only goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._at = clock.time()
        self.secret = ""

    def code(self, later: float = 30) -> str:
        """The code that is shown so many seconds after the one before."""
        self._at += later
        self._monkeypatch.setattr(clock, "time", lambda: self._at)
        return pyotp.TOTP(self.secret).at(int(self._at))


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> Phone:
    return Phone(monkeypatch)


def switch_on(client: FlaskClient, phone: Phone) -> list[str]:
    """Switch it on, as an editor does; return the recovery codes."""
    begun = post(client, f"{PATH}/begin", page=PATH, password=PASSWORD)
    assert (begun.status_code, begun.location) == (303, PATH)
    page = client.get(PATH).text
    Page(page)
    assert "<svg" in page
    found = re.search(r"type this: <code[^>]*>([A-Z2-7]{32})<", page)
    assert found
    phone.secret = found[1]
    on = post(client, PATH, code=phone.code())
    assert (on.status_code, on.location) == (303, PATH)
    page = client.get(PATH).text
    Page(page)
    codes = re.findall(r"<li><code>([\w-]+)</code>", page)
    assert len(codes) == 8
    assert phone.secret not in page
    assert "<li><code>" not in client.get(PATH).text, "no later page shows the recovery codes"
    return codes


def by_password(app: Flask, address: str = "10.0.0.1") -> FlaskClient:
    """A client whose password was accepted."""
    client = app.test_client()
    token = token_in(client.get("/desk/sign-in").text)
    form = {"csrf_token": token, "email": EMAIL, "password": PASSWORD}
    answer = client.post("/desk/sign-in?next=/desk/log", data=form, environ_base=at(address))
    assert (answer.status_code, answer.location) == (303, "/desk/sign-in/code?next=/desk/log")
    return client


def at(address: str) -> dict[str, str]:
    return {"REMOTE_ADDR": address}


def enter(client: FlaskClient, code: str, address: str = "10.0.0.1") -> TestResponse:
    path = "/desk/sign-in/code?next=/desk/log"
    form = {"csrf_token": token_in(client.get(path).text), "code": code}
    return client.post(path, data=form, environ_base=at(address))


def test_the_password_alone_signs_nobody_in_and_a_code_does(
    app: Flask, editor: FlaskClient, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="service.domain.people.sign_in_log")
    switch_on(editor, phone)
    client = by_password(app)
    assert not signed_in(client)
    asked = client.get("/desk/sign-in/code")
    Page(asked.text)
    assert EMAIL in asked.text
    wrong = enter(client, "000000")
    assert (wrong.status_code, "The code is wrong" in wrong.text) == (422, True)
    assert not signed_in(client)
    right = enter(client, phone.code())
    assert (right.status_code, right.location) == (303, "/desk/log")
    assert signed_in(client)
    said = [
        one.getMessage()
        for one in caplog.records
        if one.name == "service.domain.people.sign_in_log"
    ]
    assert said == [f"sign-in of {EMAIL} by code: refused", f"{EMAIL} signed in by password"]


def test_a_code_is_accepted_once(app: Flask, editor: FlaskClient, phone: Phone) -> None:
    switch_on(editor, phone)
    code = phone.code()
    assert enter(by_password(app), f" {code[:3]} {code[3:]} ").status_code == 303
    assert enter(by_password(app), code).status_code == 422
    assert enter(by_password(app), phone.code()).status_code == 303


@pytest.mark.parametrize(("late", "accepted"), [(0, True), (30, True), (90, False), (-30, True)])
def test_a_code_of_the_half_minute_before_and_after_is_accepted(
    app: Flask, editor: FlaskClient, phone: Phone, late: int, accepted: bool
) -> None:
    switch_on(editor, phone)
    phone.code(600)
    client, code = by_password(app), phone.code()
    phone.code(late)
    assert (enter(client, code).status_code == 303) == accepted


def test_a_recovery_code_signs_in_once_and_the_others_still_do(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    codes = switch_on(editor, phone)
    for n, code in enumerate(codes):
        written = code.upper().replace("-", " ") if n % 2 else code
        assert enter(by_password(app, f"10.1.{n}.1"), written, f"10.1.{n}.1").status_code == 303
    assert enter(by_password(app), codes[0]).status_code == 422
    assert enter(by_password(app), phone.code()).status_code == 303, "the app still works"


def test_nonsense_is_no_code(app: Flask, editor: FlaskClient, phone: Phone) -> None:
    switch_on(editor, phone)
    client = by_password(app)
    for code in ("", "0", "12345", "1234567", "é", "١٢٣٤٥٦", "x" * 2000, "-", "null"):
        assert enter(client, code).status_code == 422, code


def test_codes_cannot_be_guessed(app: Flask, editor: FlaskClient, phone: Phone) -> None:
    switch_on(editor, phone)
    assert enter(by_password(app, HOME), phone.code(), HOME).status_code == 303
    clients = [by_password(app, f"10.1.{n}.1") for n in range(3)]
    answers = [enter(clients[n % 3], f"{n:06}", f"10.1.{n}.1").status_code for n in range(11)]
    assert answers == [422] * 10 + [429]
    refused = enter(by_password(app, AWAY), phone.code(), AWAY)
    assert refused.status_code == 429, "not even the right one, or a guess would be known by it"
    assert "sign-in link" not in refused.text, "which would need a code too"
    at_home = enter(by_password(app, HOME), phone.code(), HOME)
    assert at_home.status_code == 303, "whoever knows the password does not keep the editor out"
    answers = [enter(clients[0], f"{n:06}", HOME).status_code for n in range(11)]
    assert answers == [422] * 10 + [429], "nor may a network that is known guess for ever"


def test_the_right_password_is_no_guess_and_begins_no_new_count_of_guesses(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    switch_on(editor, phone)
    client = app.test_client()
    token = token_in(client.get("/desk/sign-in").text)
    form = {"csrf_token": token, "email": EMAIL, "password": "wrong"}
    answers = []
    for n in range(11):
        if n < 10:
            by_password(app, f"10.1.{n}.1")  # which leads to the page for the code
        guess = client.post("/desk/sign-in", data=form, environ_base=at(f"10.2.{n}.1"))
        answers.append(guess.status_code)
    assert answers == [422] * 10 + [429]


def test_a_password_that_was_right_is_forgotten_after_five_minutes_and_with_a_new_one(
    app: Flask, editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    switch_on(editor, phone)
    client = by_password(app)
    late = enter(client, phone.code(400))
    assert (late.status_code, late.location) == (303, "/desk/sign-in?next=/desk/log")
    assert not signed_in(client)

    client = by_password(app)
    link = path_of(runtime.editors.signin_link(EMAIL))
    new = post(app.test_client(), link, password="three louder words", code=phone.code())
    assert new.status_code == 303
    assert enter(client, phone.code()).location == "/desk/sign-in?next=/desk/log"
    assert not signed_in(client)


def test_nobody_enters_a_code_without_a_password(app: Flask, editor: FlaskClient) -> None:
    stranger = app.test_client()
    assert stranger.get("/desk/sign-in/code").location == "/desk/sign-in?next="


def test_a_sign_in_link_asks_for_a_code_too(
    app: Flask, editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    codes = switch_on(editor, phone)
    link = path_of(runtime.editors.signin_link(EMAIL))
    thief = app.test_client()
    Page(thief.get(link).text)
    for code in ("", "000000"):
        refused = post(thief, link, password="three louder words", code=code)
        assert (refused.status_code, "The code is wrong" in refused.text) == (422, True)
    assert not signed_in(thief)
    assert signed_in(editor), "nor is the password changed"
    assert post(app.test_client(), link, code=codes[0]).status_code == 303


# Switching it on and off --------------------------------------------------------------------------


def test_it_is_switched_on_only_with_the_password_and_a_code(
    app: Flask, editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    assert post(editor, PATH, code="000000").status_code == 422, "nothing was begun"
    refused = post(editor, f"{PATH}/begin", page=PATH, password="wrong")
    assert (refused.status_code, "The password is wrong" in refused.text) == (422, True)
    assert "<svg" not in editor.get(PATH).text
    assert post(editor, f"{PATH}/begin", page=PATH, password=PASSWORD).status_code == 303
    assert post(editor, PATH, code="000000").status_code == 422
    assert not runtime.editors.two_step.is_on(EMAIL)
    client = app.test_client()
    answer = post(client, "/desk/sign-in", email=EMAIL, password=PASSWORD)
    assert answer.location == "/desk/", "until then nothing changes"


def test_a_secret_that_was_only_begun_ends_by_itself(editor: FlaskClient, runtime: Runtime) -> None:
    post(editor, f"{PATH}/begin", page=PATH, password=PASSWORD)
    assert 0 < runtime.store.redis.ttl(f"{{g}}:two_step:{EMAIL}") <= 15 * 60


def test_a_double_click_and_an_answer_that_was_lost_cost_no_recovery_codes(
    app: Flask, editor: FlaskClient, phone: Phone, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(editor, f"{PATH}/begin", page=PATH, password=PASSWORD)
    phone.secret = runtime.editors.two_step.begun(EMAIL) or ""
    form = {"csrf_token": token_in(editor.get(PATH).text), "code": phone.code()}
    other = app.test_client()
    assert post(other, "/desk/sign-in", email=EMAIL, password=PASSWORD).status_code == 303
    add = runtime.store.two_step.add

    def lost(*args: Any) -> bool:
        add(*args)
        raise redis.ConnectionError

    monkeypatch.setattr(runtime.store.two_step, "add", lost)
    assert editor.post(PATH, data=form).status_code == 503
    assert not signed_in(other)
    monkeypatch.setattr(runtime.store.two_step, "add", add)
    shown = []
    for _ in range(2):
        assert editor.post(PATH, data=form).status_code == 303
        shown.append(re.findall(r"<li><code>([\w-]+)</code>", editor.get(PATH).text))
    assert shown[0] == shown[1] != []
    assert enter(by_password(app), shown[0][0]).status_code == 303
    assert editor.post(PATH, data=form).status_code == 422, "and none once a code was used"


def test_switching_it_on_ends_all_other_sessions(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    other = app.test_client()
    assert post(other, "/desk/sign-in", email=EMAIL, password=PASSWORD).status_code == 303
    switch_on(editor, phone)
    assert [signed_in(client) for client in (editor, other)] == [True, False]


def test_an_editor_switches_it_off_with_a_code(
    app: Flask, editor: FlaskClient, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    codes = switch_on(editor, phone)
    off = f"{PATH}/off"
    assert post(editor, off, page=PATH, code="000000").status_code == 422
    assert post(editor, f"{PATH}/begin", page="/desk/stories", password=PASSWORD).status_code == 303
    assert "<svg" not in editor.get(PATH).text, "no new secret while it is on"
    assert post(editor, off, page=PATH, code=codes[0]).status_code == 303
    answer = post(app.test_client(), "/desk/sign-in", email=EMAIL, password=PASSWORD)
    assert answer.location == "/desk/"
    assert f"{EMAIL} switched two-step sign-in on" in caplog.text
    assert f"{EMAIL} switched two-step sign-in off" in caplog.text
    assert phone.secret not in caplog.text


def test_who_manages_switches_it_off_for_another_editor_but_not_for_themselves(
    app: Flask, editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    runtime.store.access.add_editor("eve@paper.example", "a hash", Person("manages"))
    eve = app.test_client()
    link = path_of(runtime.editors.signin_link("eve@paper.example"))
    assert post(eve, link, password="three louder words").status_code == 303
    switch_on(editor, phone)
    mine = f"/desk/people/{Editor(EMAIL, '', Role.WRITES).id}"
    refused = post(editor, f"{mine}/two-step/off", page=mine)
    assert (refused.status_code, "enter a code" in words(refused.text)) == (409, True)
    assert runtime.editors.two_step.is_on(EMAIL)
    shown = eve.get(mine).text
    Page(shown)
    assert "Switch it off for" in shown
    assert post(eve, f"{mine}/two-step/off", page=mine).status_code == 303
    assert not runtime.editors.two_step.is_on(EMAIL)
    assert "Switch it off for" not in eve.get(mine).text


def test_a_removed_editor_who_is_back_signs_in_without_the_old_secret(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    switch_on(editor, phone)
    runtime.store.access.add_editor("eve@paper.example", "a hash", Person("manages"))
    runtime.editors.remove(EMAIL)
    runtime.editors.signin_link(EMAIL)
    assert not runtime.editors.two_step.is_on(EMAIL)


# What is stored -----------------------------------------------------------------------------------


def test_neither_the_secret_nor_a_recovery_code_is_stored_as_it_is(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    codes = switch_on(editor, phone)
    secrets = [phone.secret, *codes, *(code.replace("-", "") for code in codes)]
    redis = runtime.store.redis
    kept = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
    rows = b"".join(redis.hvals("{g}:two_step"))
    assert rows
    assert not [secret for secret in secrets if secret.encode() in kept + rows]


def test_another_secret_key_opens_what_the_previous_one_sealed(store: Store, phone: Phone) -> None:
    old, new = b"o" * 32, b"n" * 32
    before, both, after = (TwoStep(store, keys) for keys in ([old], [new, old], [new]))
    for email in (EMAIL, "late@paper.example"):
        store.access.add_editor(email)
        before.begin(email)
        phone.secret = before.begun(email) or ""
        codes = before.switch_on(email, phone.code()) or []
        assert codes
        if email == EMAIL:
            assert both.accept(email, phone.code())
            assert after.accept(email, phone.code()), "it was sealed anew when it was used"
    assert after.is_on("late@paper.example"), "it does not go off by itself"
    assert not after.accept("late@paper.example", phone.code())
    assert after.accept("late@paper.example", codes[0]), "a recovery code needs no key"
