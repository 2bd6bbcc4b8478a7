"""The call by which an editor's own browser is paired with the desk."""

from __future__ import annotations

import pytest

from service.domain.people.paired_browsers import CodeOver
from tests.support.client import SITE, Client, Reader, stored

EDITOR = "nora@paper.example"


@pytest.fixture
def code(client: Client) -> str:
    return client.runtime.paired_browsers.begin(EDITOR)


def test_a_page_learns_who_has_made_the_code_and_changes_nothing(client: Client, code: str) -> None:
    reader = Reader(client)
    before = stored(client)
    for _ in range(2):
        asked = reader.call("POST", "/pairing", {"code": code}, headers={"Origin": SITE})
        assert (asked.status_code, asked.json["editor"]) == (200, EDITOR)
        assert asked.headers["Access-Control-Allow-Origin"] == SITE
        assert asked.headers["Cache-Control"] == "no-store"
    assert stored(client) == before


def test_a_reader_who_agrees_uses_the_code_up_and_is_not_paired_yet(
    client: Client, code: str
) -> None:
    reader, other = Reader(client), Reader(client, 1)
    agreed = reader.call("POST", "/pairing", {"code": code, "agreed": True})
    assert (agreed.status_code, agreed.json["editor"]) == (200, EDITOR)
    assert client.runtime.paired_browsers.of(EDITOR) == []
    before = stored(client)
    for one in (reader, other):
        for agrees in (True, False):
            over = one.call("POST", "/pairing", {"code": code, "agreed": agrees})
            assert over.status_code == 410
            assert over.json["detail"].startswith("This code was used, or has ended.")
    assert stored(client) == before
    client.runtime.paired_browsers.confirm(code, EDITOR)
    assert [row.subscription for row in client.runtime.paired_browsers.of(EDITOR)] == [reader.id]
    with pytest.raises(CodeOver):
        client.runtime.paired_browsers.confirm(code, EDITOR)


def test_only_the_subscriptions_own_token_pairs_it(client: Client, code: str) -> None:
    reader, other = Reader(client), Reader(client, 1)
    body = {"code": code, "agreed": True}
    before = stored(client)
    assert reader.call("POST", "/pairing", body, token=None).status_code == 401
    for wrong in (other.token, "x", client.add_token()):
        assert reader.call("POST", "/pairing", body, token=wrong).status_code == 404
    assert {key for key in stored(client) if key not in before} <= {b"{g}:tokens"}
    other.call("DELETE")
    assert other.call("POST", "/pairing", body).status_code == 404
    assert reader.call("POST", "/pairing", body).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "code"),
        ({"code": None}, "code"),
        ({"code": 5}, "code"),
        ({"code": "x" * 101}, "code"),
        ({"code": "x", "agreed": "yes"}, "agreed"),
        ({"code": "x", "editor": EDITOR}, "editor"),
    ],
)
def test_a_body_that_is_wrong_is_refused_by_field(
    client: Client, body: dict[str, object], field: str
) -> None:
    refused = Reader(client).call("POST", "/pairing", body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json["errors"]] == [field]


@pytest.mark.parametrize("code", ["", "A" * 22, "é" * 22, "\x00", "{g}:paired:0-0"])
def test_a_code_that_was_never_made_is_refused(client: Client, code: str) -> None:
    reader = Reader(client)
    for agreed in (False, True):
        response = reader.call("POST", "/pairing", {"code": code, "agreed": agreed})
        assert response.status_code in (410, 422)


def test_a_caller_may_try_ten_codes_a_minute(client: Client, code: str) -> None:
    reader = Reader(client)
    for _ in range(10):
        assert reader.call("POST", "/pairing", {"code": "A" * 22}).status_code == 410
    assert reader.call("POST", "/pairing", {"code": code}).status_code == 429
    others = [Reader(client, number) for number in range(1, 5)]
    statuses = [
        other.call("POST", "/pairing", {"code": "A" * 22}, address="10.255.1.1").status_code
        for other in others
        for _ in range(9)
    ]
    assert statuses[:30] == [410] * 30
    assert statuses[-1] == 429, "one address may try thirty, with however many subscriptions"
