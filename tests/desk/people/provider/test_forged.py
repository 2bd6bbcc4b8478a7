"""What was not made for this sign-in lets nobody in: tokens, metadata, ways back."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.model.time import clock
from tests.support.desk.pages import signed_in
from tests.support.desk.provider import (
    AUTHLIB_IS_CHANGING,
    BACK,
    SECRET,
    SHARED_KEY,
    START,
    STRANGERS_KEY,
    TOKEN,
    TOM,
    Provider,
    answering_with,
    begin,
    came,
    complaint,
    query_of,
    sign_in_with,
)

pytestmark = AUTHLIB_IS_CHANGING


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
