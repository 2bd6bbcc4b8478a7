"""Signing in through an OpenID Connect provider, which runs on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.config import Config, ConfigError
from service.domain.people.editors import EditorError
from service.model.roles import Role
from service.model.time import clock
from service.runtime import Runtime
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
from tests.support.desk.provider import (
    AUTHLIB_IS_CHANGING,
    BACK,
    NAME,
    START,
    TOM,
    Provider,
    answer,
    answering_with,
    begin,
    came,
    complaint,
    query_of,
    sign_in_with,
)

pytestmark = AUTHLIB_IS_CHANGING


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
