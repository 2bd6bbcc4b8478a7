"""Signing in through an OpenID Connect provider, which runs on this machine."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.config import Config, ConfigError
from service.domain.people.editors import EditorError
from service.model.roles import Role
from service.model.time import clock
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk_pages import EMAIL, PASSWORD, Page, path_of, post, token_in, words
from tests.support.provider import (
    BACK,
    KEYS,
    METADATA,
    NAME,
    SECRET,
    SHARED_KEY,
    START,
    STRANGERS_KEY,
    TOKEN,
    Provider,
    answer,
    answering_with,
    begin,
    query_of,
    running_provider,
    sign_in_with,
)

# What the provider uses of Authlib is going away.
pytestmark = pytest.mark.filterwarnings(
    "ignore::authlib.deprecate.AuthlibDeprecationWarning", "ignore:get_jwt_config"
)

TOM = "tom@paper.example"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.asked.clear()
    running.instead.clear()
    return running


@pytest.fixture
def settings(settings: dict[str, str], provider: Provider) -> dict[str, str]:
    return {**settings, **provider.settings}


@pytest.fixture
def tom(runtime: Runtime) -> str:
    """The address of an editor who was invited and has no password."""
    runtime.editors.invite(EMAIL, Role.MANAGES)
    runtime.editors.invite(TOM, Role.SENDS)
    return TOM


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one network try as often as it likes."""
    monkeypatch.setattr("service.domain.people.editors._MOST_OF_NETWORK", 10_000)


def signed_in(client: FlaskClient) -> bool:
    return client.get("/desk/").status_code == 200


def complaint(client: FlaskClient, response: TestResponse) -> str:
    """What the page of the sign-in says, to which a refused sign-in leads."""
    assert response.status_code == 303
    assert response.location.startswith("/desk/sign-in?")
    assert not signed_in(client)
    page = client.get(response.location)
    Page(page.text)
    assert page.status_code == 200
    assert '<p class="error" role="alert">' in page.text
    assert 'role="alert">' not in client.get("/desk/sign-in").text, "it is said once"
    return words(page.text.partition('role="alert">')[2].partition("</p>")[0])


# Who is let in ------------------------------------------------------------------------------------


def test_a_listed_editor_signs_in_and_sees_how(
    provider: Provider, stranger: FlaskClient, tom: str, runtime: Runtime
) -> None:
    page = stranger.get("/desk/sign-in?next=/desk/log").text
    Page(page)
    assert f'href="{START}?next=/desk/log">Sign in with {NAME}</a>' in page
    back = stranger.get(provider.agreed(begin(stranger, "/desk/log"), TOM))
    assert (back.status_code, back.location) == (303, "/desk/log")
    assert signed_in(stranger)
    account = stranger.get(f"/desk/people/{runtime.editors.find(TOM).id}")
    Page(account.text)
    assert f"with {NAME}" in words(account.text)
    assert "Last signed in never" not in words(account.text)
    path = f"/desk/people/{runtime.editors.find(TOM).id}"
    post(stranger, f"{path}/sessions/end", page=path, which="all")
    assert not signed_in(stranger), "it is listed and ended as every session"


def test_capitals_in_the_address_mean_the_same_editor(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    assert sign_in_with(provider, stranger, "Tom@Paper.Example").location == "/desk/"
    assert TOM in stranger.get("/desk/").text


@pytest.mark.parametrize("email", ["eve@paper.example", "tom@paper.example.evil.example"])
def test_nobody_becomes_an_editor_by_signing_in(
    provider: Provider, stranger: FlaskClient, tom: str, runtime: Runtime, email: str
) -> None:
    before = [one.email for one in runtime.editors.all()]
    said = complaint(stranger, sign_in_with(provider, stranger, email))
    assert f"{email} is not an editor here" in said
    assert [one.email for one in runtime.editors.all()] == before


def test_a_letter_that_looks_like_another_is_another_address(
    provider: Provider, stranger: FlaskClient, runtime: Runtime
) -> None:
    runtime.editors.invite("kim@paper.example", Role.MANAGES)
    kelvin = "\N{KELVIN SIGN}im@paper.example"  # its lower case is a k
    asked = begin(stranger)
    answering_with(provider, asked, email=kelvin)
    back = stranger.get(BACK, query_string={"code": "a code", "state": query_of(asked)["state"]})
    assert "is not an editor here" in complaint(stranger, back)


NOT_VERIFIED: list[tuple[dict[str, Any], str]] = [
    ({"email_verified": False}, "not verified"),
    ({"email_verified": None}, "not verified"),
    ({"email_verified": "false"}, "not verified"),
    ({"email_verified": 1.5}, "not verified"),
    ({"email": None}, "no e-mail address"),
    ({"email": ""}, "no e-mail address"),
    ({"email": [TOM]}, "no e-mail address"),
    ({"email": f"{'x' * 5000}@paper.example"}, "no e-mail address"),
]


def test_only_an_address_that_the_provider_has_verified_counts(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    provider.instead["/userinfo"] = answer({"sub": "1"})
    for claims, why in NOT_VERIFIED:
        asked = begin(stranger)
        answering_with(provider, asked, **{"email": TOM, **claims})
        said = complaint(stranger, stranger.get(BACK, query_string=came(asked)))
        assert why in said, claims


def test_the_address_may_be_in_userinfo_alone(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    """Some providers keep it out of the token (OpenID Connect Core 1.0 section 5.4)."""
    for sub, accepted in (("2", False), ("1", True)):
        asked = begin(stranger)
        answering_with(provider, asked, email=None)
        mine = {"sub": sub, "email": TOM, "email_verified": True}
        provider.instead["/userinfo"] = answer(mine)
        stranger.get(BACK, query_string=came(asked))
        assert signed_in(stranger) == accepted, "of another person, it counts for nothing"


def test_whether_the_address_is_verified_may_be_in_userinfo_alone(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    for verified in (False, True):
        asked = begin(stranger)
        answering_with(provider, asked, email=TOM, email_verified=None)
        provider.instead["/userinfo"] = answer({"sub": "1", "email_verified": verified})
        stranger.get(BACK, query_string=came(asked))
        assert signed_in(stranger) == verified


def test_a_desk_that_somebody_finds_open_gives_no_further_way_in_through_the_provider(
    provider: Provider, stranger: FlaskClient, tom: str, runtime: Runtime
) -> None:
    """The provider knows the browser too, and leads back without asking who that is."""
    runtime.editors.set_role(TOM, Role.MANAGES)
    page = f"/desk/people/{runtime.editors.find(TOM).id}"

    def may_add(asked: str, **claims: Any) -> bool:
        answering_with(provider, asked, email=TOM, **claims)
        assert stranger.get(BACK, query_string=came(asked)).status_code == 303
        shown = stranger.get(page).text
        Page(shown)
        done = stranger.post(
            "/desk/account/passkeys/begin", data={"csrf_token": token_in(shown)}
        ).status_code
        assert done in (200, 403)
        assert ('data-passkey="add"' in shown) == (done == 200)
        assert f"with {NAME}" in words(shown)
        unasked = f"If {NAME} does not ask who you are"
        assert (unasked in words(shown)) == (done == 403)
        link = post(stranger, f"{page}/link", page=page).location
        assert (link != page) == (done == 403)
        assert link == page or unasked in stranger.get(link).text
        return done == 200

    now = int(clock.time())
    asked = begin(stranger)
    assert "max_age" not in query_of(asked), "who signs in may be known there from another site"
    assert not may_add(asked, auth_time=now - 3600)
    asked = begin(stranger)
    assert query_of(asked)["max_age"] == "0", "who is signed in already is to be asked"
    assert may_add(asked, auth_time=now)
    for wrong in (now - 3600, None, True, now * 1000):
        assert not may_add(begin(stranger), auth_time=wrong), wrong
    assert may_add(begin(stranger), auth_time=now + 1)
    post(stranger, "/desk/sign-out", page="/desk/")
    assert not may_add(begin(stranger), auth_time=now - 3600), "by signing out in between"


def came(asked: str) -> dict[str, str]:
    """What the provider adds to the address to which it leads back."""
    return {"code": "a code", "state": query_of(asked)["state"]}


# Tokens and requests that are not what they should be --------------------------------------------


def test_the_provider_is_asked_with_pkce_state_and_nonce(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    asked = [query_of(begin(stranger)) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({one[name] for one in asked}) == 2, f"{name} is new each time"
        assert len(asked[0][name]) >= 20
    assert asked[0]["code_challenge_method"] == "S256"
    assert asked[0]["redirect_uri"] == f"http://localhost:8000{BACK}"
    sign_in_with(provider, stranger, TOM)
    (challenge,) = [
        given["code_challenge"] for path, given in provider.asked[-4:] if path.endswith("authorize")
    ]
    (given,) = [given for path, given in provider.asked if path == TOKEN]
    made = hashlib.sha256(given["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(made).decode().rstrip("=") == challenge


OF_ANOTHER_SIGN_IN: list[dict[str, Any]] = [
    {"aud": "another desk"},
    {"aud": ["another desk"], "azp": "the desk"},
    {"iss": "http://localhost:1"},
    {"nonce": "of another sign-in"},
    {"nonce": None},
    {"nonce": None, "nonce_supported": False},
    {"exp": 1},
    {"exp": None},
    {"key": STRANGERS_KEY},
    {"unsigned": True},
    {"alg": "HS256", "key": SHARED_KEY},
]


def test_a_token_that_was_not_made_for_this_sign_in_signs_nobody_in(
    provider: Provider, stranger: FlaskClient, tom: str, often: None
) -> None:
    for changes in (*OF_ANOTHER_SIGN_IN, {}):
        asked = begin(stranger)
        answering_with(provider, asked, email=TOM, **changes)
        back = stranger.get(BACK, query_string=came(asked))
        if changes:
            assert "it was refused" in complaint(stranger, back), changes
    assert back.location == "/desk/"
    assert signed_in(stranger), "by the same token as it should be"


@pytest.mark.parametrize(
    "forged",
    [{"unsigned": True}, {"alg": "HS256", "key": SHARED_KEY}],
    ids=["unsigned", "shared key"],
)
def test_no_such_token_counts_either_if_the_provider_says_that_it_makes_them(
    provider: Provider, stranger: FlaskClient, tom: str, forged: dict[str, Any]
) -> None:
    provider.describe_itself(
        id_token_signing_alg_values_supported=["RS256", "HS256", "none"],
        token_endpoint_auth_methods_supported=["client_secret_post"],
    )
    asked = begin(stranger)
    answering_with(provider, asked, email=TOM, **forged)
    said = complaint(stranger, stranger.get(BACK, query_string=came(asked)))
    assert "it was refused" in said
    (given,) = [given for path, given in provider.asked if path == TOKEN]
    assert given["client_secret"] == SECRET, "as the provider wants it"


@pytest.mark.parametrize(
    "other",
    [{"issuer": "http://localhost:1"}, {"token_endpoint": "https://evil.example/token"}],
    ids=str,
)
def test_metadata_of_another_provider_is_refused(
    provider: Provider, stranger: FlaskClient, other: dict[str, str]
) -> None:
    provider.describe_itself(**other)
    assert "it was refused" in complaint(stranger, stranger.get(START))


def test_a_way_back_that_was_not_begun_here_signs_nobody_in(
    provider: Provider, app: Flask, stranger: FlaskClient, tom: str
) -> None:
    """A link that a stranger sends: it would sign the editor in as that stranger."""
    begin(stranger)
    thief = app.test_client()
    for sent in (provider.agreed(begin(thief), TOM), f"{BACK}?code=x", BACK, f"{BACK}?state=%ff"):
        assert "another browser" in complaint(stranger, stranger.get(sent)), sent
    assert provider.count(TOKEN) == 0, "nobody's code was tried"


def test_a_code_of_another_sign_in_signs_nobody_in(
    provider: Provider, app: Flask, stranger: FlaskClient, tom: str
) -> None:
    code = query_of(provider.agreed(begin(app.test_client()), TOM))["code"]
    mine = {"code": code, "state": query_of(begin(stranger))["state"]}
    assert "it was refused" in complaint(stranger, stranger.get(BACK, query_string=mine))


def test_a_way_back_counts_once_and_for_ten_minutes(
    provider: Provider, app: Flask, stranger: FlaskClient, tom: str, monkeypatch: Any
) -> None:
    back = provider.agreed(begin(stranger), TOM)
    cookie = stranger.get_cookie("stoppress").value  # which a thief has, or has planted
    assert stranger.get(back).location == "/desk/"
    assert stranger.get_cookie("stoppress").value != cookie
    thief = app.test_client()
    for used in (cookie, stranger.get_cookie("stoppress").value):
        thief.set_cookie("stoppress", used)
        thief.get(back)
    thief.set_cookie("stoppress", cookie)
    assert not signed_in(thief), "a copy of the cookie from before the sign-in"

    back, now = provider.agreed(begin(thief), TOM), clock.time()
    monkeypatch.setattr(clock, "time", lambda: now + 601)
    assert "more than ten minutes" in complaint(thief, thief.get(back))


def test_it_never_leads_to_another_site(
    provider: Provider, stranger: FlaskClient, tom: str
) -> None:
    for to in ("https://evil.example/", "//evil.example", "/\\evil.example", "x", "/x" * 2000):
        assert stranger.get(provider.agreed(begin(stranger, to), TOM)).location == "/desk/", to[:30]


# What goes wrong at the provider ------------------------------------------------------------------


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
) -> None:
    for path, body, status in WRONG_ANSWERS:
        provider.instead.clear()
        caplog.clear()
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


def test_a_page_that_leads_browsers_here_keeps_nobody_out(
    provider: Provider, app: Flask, stranger: FlaskClient, tom: str
) -> None:
    """Such as one with many pictures at this address, for all who sit behind one network."""
    begin(stranger)
    for client in (stranger, app.test_client()):
        for n in range(11):
            assert client.get(f"{BACK}?state={n}").status_code == 303
    assert provider.count(TOKEN) == 0
    assert sign_in_with(provider, app.test_client(), TOM).location == "/desk/"


# Two steps, passwords, roles ----------------------------------------------------------------------


def test_an_editor_with_two_step_sign_in_enters_a_code_here_too(
    provider: Provider, stranger: FlaskClient, tom: str, runtime: Runtime
) -> None:
    two_step = runtime.editors.two_step
    two_step.begin(TOM)
    secret = two_step.begun(TOM) or ""
    now = int(time.time())
    assert two_step.switch_on(TOM, pyotp.TOTP(secret).at(now - 30))
    halfway = stranger.get(provider.agreed(begin(stranger, "/desk/log"), TOM))
    assert halfway.location == "/desk/sign-in/code?next=/desk/log"
    assert not signed_in(stranger)
    done = post(stranger, halfway.location, code=pyotp.TOTP(secret).at(now))
    assert done.location == "/desk/log"
    (session,) = runtime.editors.with_id(runtime.editors.find(TOM).id).sessions
    assert session.by == "provider anew", "it says when it asked who that is"


def test_a_new_password_and_a_removal_end_the_session(
    provider: Provider, app: Flask, stranger: FlaskClient, tom: str, runtime: Runtime
) -> None:
    sign_in_with(provider, stranger, TOM)
    link = path_of(runtime.editors.signin_link(TOM))
    assert post(app.test_client(), link, password=PASSWORD).status_code == 303
    assert not signed_in(stranger)
    assert sign_in_with(provider, stranger, TOM).location == "/desk/"
    assert signed_in(stranger)
    runtime.editors.remove(TOM)
    assert not signed_in(stranger)


def test_who_came_through_the_provider_counts_among_those_who_manage(
    provider: Provider, stranger: FlaskClient, runtime: Runtime, editor: FlaskClient
) -> None:
    """They have no password, by which others are known to have signed in."""
    runtime.store.access.add_editor(TOM, person=Person("manages"))
    with pytest.raises(EditorError, match="Nobody else manages"):
        runtime.editors.set_role(EMAIL, Role.SENDS)
    sign_in_with(provider, stranger, TOM)
    runtime.editors.set_role(EMAIL, Role.SENDS)
    with pytest.raises(EditorError, match="Nobody else manages"):
        runtime.editors.remove(TOM)


def test_a_session_of_the_release_before_does_not_say_how_it_began(
    editor: FlaskClient, runtime: Runtime
) -> None:
    redis, one = runtime.store.redis, runtime.editors.find(EMAIL)
    for key in redis.scan_iter("{g}:session:*"):
        text = redis.get(key).replace(b'"by":"link"', b'"v":1')
        redis.set(key, text, keepttl=True)
    page = words(editor.get(f"/desk/people/{one.id}").text)
    assert "this browser since" in page.replace(",", "").replace("  ", " ")
    assert "by a sign-in link" not in page


# Settings -----------------------------------------------------------------------------------------


def test_without_a_provider_there_is_no_such_way_in(
    app: Flask, stranger: FlaskClient, runtime: Runtime
) -> None:
    app.jinja_env.globals["provider_name"] = ""
    object.__setattr__(runtime, "provider", None)
    assert [stranger.get(path).status_code for path in (START, BACK)] == [404, 404]
    assert START not in stranger.get("/desk/sign-in").text


def test_settings_that_are_not_complete_are_named(tmp_path: Path) -> None:
    given = {"OIDC_ISSUER": "https://login.example/", "OIDC_CLIENT_ID": "desk"}
    with pytest.raises(ConfigError, match="OIDC_CLIENT_SECRET is not set"):
        Config.read(given).check_provider()
    with pytest.raises(ConfigError, match="OIDC_CLIENT_ID is not set"):
        Config.read({"OIDC_ISSUER": "https://login.example"}).check_provider()
    file = tmp_path / "secret"
    file.write_text("of a file\n")
    from_file = Config.read({**given, "OIDC_CLIENT_SECRET_FILE": str(file)})
    from_file.check_provider()
    assert from_file.oidc_client_secret == "of a file"
    Config.read({}).check_provider()
