"""Passkeys: editors add them and sign in with them, and nothing else counts as one."""

from __future__ import annotations

import json
from typing import Any

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.people.editors import Editor
from service.domain.people.passkeys import PasskeyError, Passkeys
from service.model.keys import b64url
from service.model.roles import Role
from service.model.time import clock
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.authenticator import Authenticator
from tests.support.desk.pages import EMAIL, Page, path_of, post, sign_in, signed_in, token_in, words

EVE = "eve@paper.example"
ADD, USE = "/desk/account/passkeys", "/desk/sign-in/passkey"
SIGN_IN = "/desk/sign-in"


def page_of(email: str = EMAIL) -> str:
    return f"/desk/people/{Editor(email, '', Role.WRITES).id}"


@pytest.fixture
def phone() -> Authenticator:
    return Authenticator()


def options(client: FlaskClient, path: str, page: str) -> dict[str, Any]:
    """What the script asks for before it asks the browser."""
    token = token_in(client.get(page).text)
    answer = client.post(f"{path}/begin", data={"csrf_token": token})
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    return answer.json


def add(client: FlaskClient, phone: Authenticator, name: str = "Blue phone", **changes: Any) -> Any:
    made = phone.create(options(client, ADD, page_of()), **changes)
    return post(client, ADD, page=page_of(), name=name, credential=made)


def send(client: FlaskClient, credential: str, address: str = "10.0.0.1") -> TestResponse:
    form = {"csrf_token": token_in(client.get(SIGN_IN).text), "credential": credential}
    at = {"REMOTE_ADDR": address}
    return client.post(f"{USE}?next=/desk/log", data=form, environ_base=at)


def use(client: FlaskClient, phone: Authenticator, **changes: Any) -> TestResponse:
    return send(client, phone.get(options(client, USE, SIGN_IN), **changes))


def complaint(client: FlaskClient, response: TestResponse) -> str:
    assert (response.status_code, response.location) == (303, f"{SIGN_IN}?next=/desk/log")
    assert not signed_in(client)
    page = client.get(response.location).text
    Page(page)
    return words(page.partition('<p class="error" role="alert">')[2].partition("</p>")[0])


def not_added(client: FlaskClient, response: TestResponse, page: str = "") -> str:
    """What the account says, to which a refused passkey leads."""
    page = page or page_of()
    assert (response.status_code, response.location) == (303, page)
    shown = client.get(page).text
    Page(shown)
    said = '<p class="error" role="alert">'
    assert said not in client.get(page).text, "it is said once"
    return words(shown.partition(said)[2].partition("</p>")[0])


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = clock.time()
    monkeypatch.setattr(clock, "time", lambda: now + seconds)


# Adding, using, removing --------------------------------------------------------------------------


@pytest.mark.redis
def test_an_editor_adds_a_passkey_signs_in_with_it_and_removes_it(
    editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, caplog: Any
) -> None:
    added = add(editor, phone, name=" Blue\tphone ")
    assert (added.status_code, added.location) == (303, page_of())
    page = editor.get(page_of()).text
    Page(page)
    assert "Blue phone added" in words(page)
    assert "not used yet" in page
    assert f"{EMAIL} added the passkey “Blue phone”" in caplog.text

    asked = options(stranger, USE, SIGN_IN)
    assert (asked["rpId"], asked["userVerification"]) == ("localhost", "required")
    assert asked.get("allowCredentials", []) == [], "the device knows whose it is"
    done = send(stranger, phone.get(asked))
    assert (done.status_code, done.location) == (303, "/desk/log")
    page = stranger.get(page_of()).text
    assert "last used" in page
    assert "with a passkey" in words(page)

    gone = post(stranger, f"{page_of()}/passkeys/remove", page=page_of(), passkey=b64url(phone.id))
    assert gone.status_code == 303
    assert "Blue phone" not in stranger.get(page_of()).text
    post(stranger, "/desk/sign-out", page="/desk/")
    assert "does not know that passkey" in complaint(stranger, use(stranger, phone))


def test_a_device_is_asked_for_a_key_that_finds_its_editor_and_is_protected(
    editor: FlaskClient, phone: Authenticator
) -> None:
    asked = options(editor, ADD, page_of())
    assert asked["rp"]["id"] == "localhost"
    wanted = asked["authenticatorSelection"]
    assert (wanted["residentKey"], wanted["userVerification"]) == ("required", "required")
    assert EMAIL.encode() not in json.dumps(asked["user"]["id"]).encode()
    add(editor, phone)
    (known,) = options(editor, ADD, page_of())["excludeCredentials"]
    assert known["id"] == b64url(phone.id), "a device has one passkey at most"


def test_a_device_calls_the_desk_by_the_name_that_is_set_there(
    editor: FlaskClient, runtime: Runtime
) -> None:
    assert options(editor, ADD, page_of())["rp"]["name"] == "Stop Press The Daily Example"
    runtime.settings.change({"site_name": "The Ferry Post"}, 0, EMAIL)
    assert options(editor, ADD, page_of())["rp"]["name"] == "Stop Press The Ferry Post"


def test_a_passkey_is_both_steps(
    editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    add(editor, phone)
    two_step = runtime.editors.two_step
    two_step.begin(EMAIL)
    assert two_step.switch_on(EMAIL, pyotp.TOTP(two_step.begun(EMAIL) or "").now())
    assert use(stranger, phone).location == "/desk/log"
    assert signed_in(stranger)


def test_a_device_that_counts_nothing_signs_in_each_time(
    app: Flask, editor: FlaskClient, phone: Authenticator
) -> None:
    phone.counts = False  # as passkeys that are kept in a cloud
    add(editor, phone)
    for _ in range(2):
        assert use(app.test_client(), phone).location == "/desk/log"


def test_a_new_password_ends_sessions_and_keeps_passkeys(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    add(editor, phone)
    assert use(stranger, phone).status_code == 303
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(app.test_client(), link, password="three louder words").status_code == 303
    assert not signed_in(stranger)
    assert use(stranger, phone).location == "/desk/log"


def test_who_is_removed_has_no_passkey_when_they_are_back(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    add(editor, phone)
    hers = passkey_of_eve(app, runtime)
    runtime.editors.remove(EMAIL)
    runtime.editors.signin_link(EMAIL)
    assert "does not know that passkey" in complaint(stranger, use(stranger, phone))
    assert use(stranger, hers).location == "/desk/log", "others keep theirs"


def test_an_editor_who_is_removed_while_adding_a_passkey_adds_none(
    app: Flask, editor: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    eve_of(app, runtime)
    asked, began = runtime.passkeys.begin_to_add(EMAIL, "The Daily Example")
    runtime.editors.remove(EMAIL)
    with pytest.raises(PasskeyError, match="not an editor of this desk any more"):
        runtime.passkeys.add(EMAIL, "Blue phone", began, phone.create(asked))
    assert runtime.passkeys.of(EMAIL) == []


def eve_of(app: Flask, runtime: Runtime) -> FlaskClient:
    """The client of another editor, who manages."""
    runtime.store.access.add_editor(EVE, person=Person("manages"))
    return sign_in(app, runtime, EVE)


def passkey_of_eve(app: Flask, runtime: Runtime) -> Authenticator:
    """Another editor's device, which has a passkey."""
    eve, hers = eve_of(app, runtime), Authenticator()
    made = hers.create(options(eve, ADD, page_of(EVE)))
    assert post(eve, ADD, page=page_of(EVE), credential=made).status_code == 303
    return hers


# What counts for nothing --------------------------------------------------------------------------


def test_an_answer_of_another_place_or_person_signs_nobody_in(
    editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    for name, wrong in (
        *(("origin", "https://evil.example"), ("origin", "http://localhost:8001")),
        *(("host", "evil.example"), ("verified", False)),
        *(("user", b"of another editor"), ("user", b"")),
    ):
        right = getattr(phone, name)
        setattr(phone, name, wrong)
        assert "did not work here" in complaint(stranger, use(stranger, phone)), (name, wrong)
        setattr(phone, name, right)
    assert use(stranger, phone).location == "/desk/log"


def test_the_passkey_of_one_editor_does_not_sign_in_another(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    """A device that has its own passkey here, and says that it is another editor's."""
    add(editor, phone)
    hers = passkey_of_eve(app, runtime)
    as_nora = complaint(stranger, use(stranger, hers, userHandle=phone.user))
    assert "did not work here" in as_nora
    hers.id, hers.user = phone.id, phone.user  # signed by the wrong key
    assert "did not work here" in complaint(stranger, use(stranger, hers))


def test_a_passkey_made_elsewhere_is_not_added(
    editor: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    wrong = {"origin": "https://evil.example", "host": "evil.example", "verified": False}
    for name, value in wrong.items():
        phone = Authenticator()
        setattr(phone, name, value)
        assert "did not work here" in not_added(editor, add(editor, phone)), name
    assert runtime.passkeys.of(EMAIL) == []


NONSENSE = ["", "null", "[]", "{}", "x" * 5000, "[" * 9000, '{"id": 7}', "\x00", "é"]


def test_nonsense_is_no_passkey(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    for nonsense in NONSENSE:
        options(stranger, USE, SIGN_IN)
        assert "did not work here" in complaint(stranger, send(stranger, nonsense)), nonsense
        options(editor, ADD, page_of())
        refused = post(editor, ADD, page=page_of(), credential=nonsense)
        assert "did not work here" in not_added(editor, refused), nonsense
    assert runtime.passkeys.of(EMAIL) == []


def test_parts_of_an_answer_that_are_nonsense_are_refused(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    for n, part in enumerate(("clientDataJSON", "authenticatorData", "signature", "userHandle")):
        for m, wrong in enumerate((b"", b"\xff" * 40, None)):
            answer = phone.get(options(stranger, USE, SIGN_IN), **{part: wrong})
            refused = send(stranger, answer, f"10.{n}.{m}.1")
            assert "did not work here" in complaint(stranger, refused), part


@pytest.mark.redis
def test_an_answer_counts_once_even_with_a_copy_of_the_cookie(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    phone.counts = False  # which would give the second away
    add(editor, phone)
    answer = phone.get(options(stranger, USE, SIGN_IN))
    page, cookie = stranger.get(SIGN_IN).text, stranger.get_cookie("stoppress").value
    form = {"csrf_token": token_in(page), "credential": answer}
    assert stranger.post(USE, data=form).location == "/desk/"
    thief = app.test_client()
    thief.set_cookie("stoppress", cookie)
    refused = thief.post(f"{USE}?next=/desk/log", data=form)
    assert "sent twice" in complaint(thief, refused)
    assert "sent twice" in complaint(thief, thief.post(f"{USE}?next=/desk/log", data=form))


def test_an_answer_to_what_another_browser_was_asked_signs_nobody_in(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    answer = phone.get(options(app.test_client(), USE, SIGN_IN))
    assert "Please try again" in complaint(stranger, send(stranger, answer))
    asked = options(stranger, USE, SIGN_IN)
    assert "did not work here" in complaint(stranger, send(stranger, answer))
    late = complaint(stranger, send(stranger, phone.get(asked)))
    assert "Please try again" in late, "each attempt is asked anew"


def test_an_answer_counts_for_five_minutes(
    editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, monkeypatch: Any
) -> None:
    add(editor, phone)
    answer = phone.get(options(stranger, USE, SIGN_IN))
    later(monkeypatch, 301)
    assert "more than five minutes" in complaint(stranger, send(stranger, answer))


@pytest.mark.redis
def test_a_copy_of_a_device_is_noticed_by_its_count(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    assert use(app.test_client(), phone).location == "/desk/log"
    phone.uses -= 1
    assert "did not work here" in complaint(stranger, use(stranger, phone))


def test_attempts_are_limited(stranger: FlaskClient) -> None:
    got = [send(stranger, "nonsense").status_code for _ in range(11)]
    assert got == [303] * 10 + [429]


def test_many_editors_behind_one_address_sign_in_within_a_minute(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    for _ in range(12):
        assert use(app.test_client(), phone).location == "/desk/log"
    got = [send(stranger, "nonsense").status_code for _ in range(11)]
    assert got == [303] * 10 + [429], "what is wrong still counts"


def test_the_session_is_new(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator
) -> None:
    add(editor, phone)
    stranger.get(SIGN_IN)
    planted = stranger.get_cookie("stoppress").value
    use(stranger, phone)
    assert stranger.get_cookie("stoppress").value != planted
    thief = app.test_client()
    thief.set_cookie("stoppress", planted)
    assert not signed_in(thief)


# Who may add and remove ---------------------------------------------------------------------------


def test_a_session_that_somebody_finds_open_adds_no_passkey(
    editor: FlaskClient, phone: Authenticator, runtime: Runtime, monkeypatch: Any
) -> None:
    made = phone.create(options(editor, ADD, page_of()))
    later(monkeypatch, 601)
    page = editor.get(page_of()).text
    assert 'data-passkey="add"' not in page
    assert f'href="/desk/sign-in?next={page_of()}">sign in again</a>' in page
    form = {"csrf_token": token_in(page), "credential": made}
    assert "Sign in again" in not_added(editor, editor.post(ADD, data=form))
    assert editor.post(f"{ADD}/begin", data=form).status_code == 403
    assert runtime.passkeys.of(EMAIL) == []


def test_nobody_removes_or_takes_over_the_passkey_of_another_editor(
    app: Flask, editor: FlaskClient, stranger: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    add(editor, phone)
    eve = eve_of(app, runtime)
    mine = {"page": page_of(EVE), "passkey": b64url(phone.id)}
    assert post(eve, f"{page_of(EVE)}/passkeys/remove", **mine).status_code == 303
    assert len(runtime.passkeys.of(EMAIL)) == 1, "by the address of the own page"
    taken = post(
        eve, ADD, page=page_of(EVE), credential=phone.create(options(eve, ADD, page_of(EVE)))
    )
    assert "at this desk already" in not_added(eve, taken, page_of(EVE))
    page = eve.get(page_of()).text
    Page(page)
    assert "Add a passkey" not in page
    assert "Blue phone" in page
    post(eve, f"{page_of()}/passkeys/remove", **{**mine, "page": page_of()})
    assert runtime.passkeys.of(EMAIL) == [], "who manages can, for a lost phone"


def test_an_editor_has_ten_passkeys_at_most(
    editor: FlaskClient, runtime: Runtime, phone: Authenticator
) -> None:
    for n in range(10):
        add(editor, Authenticator(), name=f"Key {n}")
    assert len(runtime.passkeys.of(EMAIL)) == 10
    assert "You have 10 passkeys" in not_added(editor, add(editor, phone))
    assert len(runtime.passkeys.of(EMAIL)) == 10


def test_no_name_is_markup(editor: FlaskClient, phone: Authenticator) -> None:
    add(editor, phone, name="<script>alert(1)</script>" * 4)
    page = editor.get(page_of()).text
    Page(page)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;script&gt;alert(1<" in page, "40 characters"


def test_a_passkey_has_a_name_that_is_seen(editor: FlaskClient, phone: Authenticator) -> None:
    add(editor, phone, name="\u200b\u200d")
    assert "Passkey added" in words(editor.get(page_of()).text)


@pytest.mark.parametrize(
    ("address", "possible"),
    [
        ("https://push.paper.example", True),
        ("http://localhost:8000", True),
        ("http://push.paper.example", False),
        ("http://127.0.0.1:8000", False),
        ("https://[::1]:8000", False),
    ],
)
def test_passkeys_are_offered_where_browsers_make_them(
    runtime: Runtime, address: str, possible: bool
) -> None:
    assert Passkeys(runtime.store, address).possible == possible


def test_what_is_stored_of_a_challenge_ends_by_itself(
    editor: FlaskClient, phone: Authenticator, runtime: Runtime
) -> None:
    before = {*runtime.store.redis.scan_iter("{g}:challenge:*")}
    options(editor, ADD, page_of())
    assert {*runtime.store.redis.scan_iter("{g}:challenge:*")} == before, "nothing, if it is unused"
    add(editor, phone)
    (used,) = runtime.store.redis.scan_iter("{g}:challenge:*")
    assert 0 < runtime.store.redis.ttl(used) <= 300
