"""Who may use the desk: passwords, one-time links and sessions."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2.exceptions import VerifyMismatchError
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.config import Config
from service.domain.people import editors
from service.model.keys import VapidKey
from service.model.notifications import State
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL, PASSWORD, STORY, path_of, post, publish, token_in

# `session` says only whether anybody is signed in, and is what a page asks whose session has ended.
OPEN = {
    *("desk.static", "desk.htmx", "desk.session"),
    *("desk.sign_in", "desk.sign_in_code", "desk.welcome"),
    *("desk.go_to_provider", "desk.back_from_provider"),
    *("desk.begin_passkey_sign_in", "desk.sign_in_by_passkey"),
}


def first_link(runtime: Runtime) -> str:
    link = runtime.editors.first_link()
    assert link
    return link


def test_opening_a_sign_in_link_does_not_use_it_up_but_signing_in_does(
    app: Flask, runtime: Runtime
) -> None:
    link = path_of(first_link(runtime))
    for _ in range(2):
        assert app.test_client().get(link).status_code == 200
    first, second = app.test_client(), app.test_client()
    token = token_in(second.get(link).text)
    assert post(first, link, email=EMAIL, password=PASSWORD).status_code == 303
    assert first.get("/desk/").status_code == 200

    again = second.post(link, data={"csrf_token": token, "email": EMAIL, "password": PASSWORD})
    assert again.status_code == 410
    assert "stoppress editor add" in again.text
    assert second.get("/desk/").status_code == 302


def test_the_store_keeps_only_the_digest_of_a_sign_in_link(runtime: Runtime) -> None:
    token = runtime.editors.signin_link(EMAIL).rpartition("/")[2].encode()
    redis = runtime.store.redis
    kept = [key + (redis.dump(key) or b"") for key in redis.scan_iter()]
    assert kept
    assert not [row for row in kept if token in row]


@pytest.mark.parametrize("token", ["x", "a" * 3000, "é%00", "..", "<b>"])
def test_an_unknown_sign_in_link_says_how_to_get_a_new_one(
    stranger: FlaskClient, token: str
) -> None:
    answer = stranger.get(f"/desk/welcome/{token}")
    assert answer.status_code in (302, 404, 410)
    assert answer.status_code == 302 or "stoppress editor add" in answer.text


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("", PASSWORD, "Write an e-mail address"),
        ("no address", PASSWORD, "Write an e-mail address"),
        ("a@b\r\nBcc: c@d", PASSWORD, "Write an e-mail address"),
        (EMAIL, "", "at least 12 characters"),
        (EMAIL, "eleven char", "at least 12 characters"),
        (EMAIL, "aaaaaaaaaaaa", "too easy"),
        (EMAIL, EMAIL, "too easy"),
        (EMAIL, "x" * 201, "at most 200"),
    ],
)
def test_a_refused_address_or_password_is_explained_and_the_link_still_works(
    stranger: FlaskClient, runtime: Runtime, email: str, password: str, complaint: str
) -> None:
    link = path_of(first_link(runtime))
    answer = post(stranger, link, email=email, password=password)
    assert answer.status_code == 422
    assert complaint in answer.text
    field = re.search(r"<input[^>]* autofocus>", answer.text)
    assert field
    wrong = "email" if "e-mail" in complaint else "password"
    assert f'id="{wrong}"' in field[0]
    assert runtime.editors.all() == []
    assert post(stranger, link, email=EMAIL, password=PASSWORD).status_code == 303


def test_a_link_for_an_editor_with_a_password_signs_in_with_one_button(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    before = runtime.store.access.password_hash(EMAIL)
    link = path_of(runtime.editors.signin_link(EMAIL.upper()))
    assert post(stranger, link).status_code == 303
    assert stranger.get("/desk/").status_code == 200
    assert runtime.store.access.password_hash(EMAIL) == before


def test_the_link_for_the_first_editor_makes_no_second_one(app: Flask, runtime: Runtime) -> None:
    link = path_of(first_link(runtime))
    late = app.test_client()
    token = token_in(late.get(link).text)
    assert post(app.test_client(), link, email=EMAIL, password=PASSWORD).status_code == 303
    for email in (EMAIL, "second@paper.example"):
        form = {"csrf_token": token, "email": email, "password": "another three words"}
        assert late.post(link, data=form).status_code == 410
    assert late.get("/desk/").status_code == 302
    assert [one.email for one in runtime.editors.all()] == [EMAIL]
    assert runtime.editors.first_link() is None


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    runtime.editors.signin_link("new@paper.example")  # an editor without a password
    pages = set()
    for email in (EMAIL, "nobody@paper.example", "new@paper.example"):
        answer = post(stranger, "/desk/sign-in", email=email, password="")
        assert answer.status_code == 422
        pages.add(re.sub(r'value="[^"]*"|editor add \S+', "", answer.text))
    assert len(pages) == 1


def test_the_right_password_signs_in_and_signing_out_signs_out(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    answer = post(stranger, "/desk/sign-in", email=f" {EMAIL.title()} ", password=PASSWORD)
    assert (answer.status_code, answer.location) == (303, "/desk/")
    assert stranger.get("/desk/").status_code == 200
    assert post(stranger, "/desk/sign-out", page="/desk/").status_code == 303
    assert stranger.get("/desk/").status_code == 302


def test_a_new_password_ends_older_sessions(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(stranger, link, password="three louder words").status_code == 303
    assert stranger.get("/desk/").status_code == 200
    assert editor.get("/desk/").status_code == 302


def test_the_session_cookie_is_same_site_and_hidden_from_scripts(
    stranger: FlaskClient, runtime: Runtime
) -> None:
    link = path_of(runtime.editors.signin_link(EMAIL))
    cookie = post(stranger, link, password=PASSWORD).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    ("site_url", "address", "protected"),
    [
        ("https://push.paper.example", "https://push.paper.example", True),
        ("", "https://push.paper.example", True),  # SITE_URL was forgotten
        ("http://push.paper.example", "http://push.paper.example", True),
        ("", "http://push.paper.example", True),  # a proxy that says nothing of its TLS
        ("https://push.paper.example", "http://127.0.0.1:8000", True),  # nor of its own name
        ("", "http://localhost:8000", False),
        ("", "http://127.0.0.1:8000", False),
        ("http://[::1]:8000", "http://[::1]:8000", False),
        ("", "http://localhost.paper.example", True),
        ("", "http://127.0.0.1.paper.example", True),
    ],
)
def test_the_session_cookie_is_protected_except_on_this_machine_without_tls(
    redis_url: str, site_url: str, address: str, protected: bool
) -> None:
    config = Config.read(
        {
            "REDIS_URL": redis_url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
            "SITE_URL": site_url,
        }
    )
    client = create_app(config).test_client()
    cookie = client.get("/desk/sign-in", base_url=address).headers["Set-Cookie"]
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-stoppress=" if protected else "stoppress=")
    assert ("Secure" in attributes) == protected
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {*attributes}
    assert not [one for one in attributes if one.startswith("Domain")]


def test_an_address_without_tls_is_said_to_keep_no_session(stranger: FlaskClient) -> None:
    # No browser keeps the cookie of such a page, so that its form comes without one.
    form = {"csrf_token": "x", "email": EMAIL, "password": PASSWORD}
    for address, told in (("http://192.168.1.5:8000", True), ("http://localhost:8000", False)):
        answer = stranger.post("/desk/sign-in", data=form, base_url=address)
        assert answer.status_code == 400
        assert ("sign in at the one with https://" in answer.text) == told


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "/\t/evil.example/",
        "/\n/evil.example/",
        "javascript:alert(1)",
        "evil.example",
        "http:evil.example",
        " //evil.example",
        "",
    ],
)
def test_signing_in_never_redirects_to_another_site(
    editor: FlaskClient, stranger: FlaskClient, target: str
) -> None:
    token = token_in(stranger.get("/desk/sign-in").text)
    answer = stranger.post(
        "/desk/sign-in",
        query_string={"next": target},
        data={"csrf_token": token, "email": EMAIL, "password": PASSWORD},
    )
    assert answer.location == "/desk/"


def test_signing_in_leads_back_to_the_requested_page(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    asked = stranger.get("/desk/?before=7")
    token = token_in(stranger.get(asked.location).text)
    fields = {"csrf_token": token, "email": EMAIL, "password": PASSWORD}
    assert stranger.post(asked.location, data=fields).location == "/desk/?before=7"


def test_every_page_of_the_desk_asks_strangers_to_sign_in(
    app: Flask, stranger: FlaskClient
) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("desk.")]
    closed = [rule for rule in rules if rule.endpoint not in OPEN]
    assert len(closed) >= 8
    for rule in closed:
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        if "GET" in (rule.methods or ()):
            answer = stranger.get(path)
            assert (answer.status_code, answer.location.partition("?")[0]) == (
                302,
                "/desk/sign-in",
            ), path


def test_no_form_of_the_desk_works_for_strangers(
    app: Flask, stranger: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    token = token_in(stranger.get("/desk/sign-in").text)
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("desk.")]
    posts = [r for r in rules if "POST" in (r.methods or ()) and r.endpoint not in OPEN]
    assert len(posts) >= 9
    for rule in posts:
        path = re.sub(r"<[^>]+>", str(id), rule.rule)
        answer = stranger.post(path, data={**STORY, "nonce": "n" * 22, "csrf_token": token})
        assert answer.status_code == 302, path
        assert answer.location.startswith("/desk/sign-in"), path
    assert runtime.publishing.get(id).state is State.SENDING
    assert len(runtime.publishing.latest(10)) == 1


def test_every_form_is_refused_without_its_token(
    app: Flask, editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    ours = [r for r in app.url_map.iter_rules() if r.endpoint.startswith(("desk.", "start."))]
    posts = [rule for rule in ours if "POST" in (rule.methods or ())]
    assert len(posts) >= 6
    for rule in posts:
        path = re.sub(r"<[^>]+>", str(id), rule.rule)
        for token in ("", "forged"):
            answer = editor.post(path, data={**STORY, "nonce": "n" * 22, "csrf_token": token})
            # Who is signed in already is led on, by another tab's form too; nothing is done.
            leads_on = rule.endpoint in ("desk.sign_in", "desk.welcome")
            assert answer.status_code == (303 if leads_on else 400), path
    assert runtime.publishing.get(id).state is State.SENDING
    assert len(runtime.publishing.latest(10)) == 1
    assert editor.get("/desk/").status_code == 200, "still signed in"


def test_a_form_of_a_stranger_leads_to_the_sign_in_whatever_page_it_names(
    stranger: FlaskClient,
) -> None:
    token = token_in(stranger.get("/desk/sign-in").text)
    pages = ("http://[", "http://[::::]/", f"http://localhost/desk/alerts/{'9' * 5000}")
    for page in pages:
        for fields in ({}, {"csrf_token": token}):
            headers = {"Origin": "http://localhost", "Referer": page}
            for path in ("/desk/people", "/desk/sign-out"):
                sent = stranger.post(path, data=fields, headers=headers)
                assert (sent.status_code, sent.location) == (302, "/desk/sign-in?next="), page[:30]


@pytest.mark.parametrize(
    ("path", "opened", "then"),
    [
        ("/desk/settings", "/desk/settings?x=1", "/desk/settings?x=1"),
        ("/desk/stories/storm/close", "/desk/stories", "/desk/stories"),
        ("/desk/stories/storm/close", "/desk/stories/storm/close", "/desk/"),  # opens by no link
        ("/desk/sign-out", "/desk/stories", "/desk/"),
    ],
)
@pytest.mark.parametrize("ended", ["by the service", "in another tab"])
def test_a_form_sent_after_the_session_ended_says_so_and_leads_back_to_its_page(
    runtime: Runtime, editor: FlaskClient, path: str, opened: str, then: str, ended: str
) -> None:
    token = token_in(editor.get("/desk/stories").text)
    if ended == "in another tab":
        post(editor, "/desk/sign-out", page="/desk/stories")
    else:
        for key in runtime.store.redis.keys("{g}:session:*"):
            runtime.store.redis.delete(key)
    before = {"Referer": f"http://localhost{opened}"}
    by_itself = editor.post(path, data={"csrf_token": token}, headers={"Sec-Fetch-Mode": "cors"})
    assert "nothing was done" not in editor.get(by_itself.location).text
    sent = editor.post(path, data={"csrf_token": token}, headers=before)
    assert sent.status_code == 302
    page = editor.get(sent.location)
    said = "so nothing was done"
    assert (said in page.text) == (path != "/desk/sign-out")
    assert said not in editor.get(sent.location).text, "once"
    fields = {"csrf_token": token_in(page.text), "email": EMAIL, "password": PASSWORD}
    assert editor.post(sent.location, data=fields).location == then
    assert editor.get(then).status_code == 200


class _Watched:
    """Checks passwords, and notes how many threads do so at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def verify(self, *_: object) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.05)
        with self._lock:
            self._now -= 1
        raise VerifyMismatchError

    def hash(self, _: str) -> str:
        return ""


def test_strangers_who_guess_do_not_make_a_process_take_memory_for_each_thread(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = _Watched()
    monkeypatch.setattr(editors, "_hasher", watched)
    with ThreadPoolExecutor(8) as threads:
        guesses = [
            threads.submit(runtime.editors.with_password, EMAIL, "a guess", f"192.0.2.{number}")
            for number in range(8)
        ]
    assert [guess.result() for guess in guesses] == [None] * 8
    assert watched.most == 2
