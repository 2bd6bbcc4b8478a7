"""API tokens, through the domain: made once, found by the token itself, limited by scopes."""

from __future__ import annotations

import pytest

from service.domain.people.api_tokens import ApiTokens, TokenError
from service.model.time import clock
from service.store import Store

pytestmark = pytest.mark.redis


def test_a_token_is_found_by_itself_and_never_stored(store: Store) -> None:
    tokens = ApiTokens(store)
    token = tokens.add("the CMS", ["send"])
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.scopes) == ("the CMS", {"send"})
    assert tokens.find(token + "x") is None
    assert all(
        token.encode() not in (store.redis.dump(key) or b"") for key in store.redis.scan_iter()
    )


def test_a_token_may_do_what_one_of_its_scopes_allows(store: Store) -> None:
    tokens = ApiTokens(store)
    limited, full = (tokens.find(tokens.add("a tool", scopes)) for scopes in (["read"], []))
    assert limited is not None
    assert full is not None
    assert [limited.may(["read", "send"]), limited.may(["send"])] == [True, False]
    assert full.may(["send"])


def test_the_use_of_a_token_is_written_once_a_minute_at_most(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ApiTokens(store)
    tool = tokens.find(tokens.add("a tool", by="nora@paper.example"))
    assert tool is not None
    assert tokens.all()[0].used_at == 0
    began = clock.time()
    seen = []
    for later in (0, 1, 59, 61, 119, 125):
        monkeypatch.setattr(clock, "time", lambda at=began + later: at)
        tokens.note_use(tool)
        seen.append(tokens.all()[0].used_at - int(began))
    assert seen == [0, 0, 0, 61, 61, 125]
    assert tokens.all()[0].by == "nora@paper.example"


def test_a_revoked_token_leaves_nothing_behind(store: Store) -> None:
    tokens = ApiTokens(store)
    tool = tokens.find(tokens.add("a tool"))
    assert tool is not None
    tokens.note_use(tool)
    tokens.revoke(tool.id)
    assert not store.redis.exists("{g}:tokens", "{g}:tokens:used")


def test_an_id_revokes_its_token_although_another_has_it_as_its_name(store: Store) -> None:
    tokens = ApiTokens(store)
    tool = tokens.find(tokens.add("a tool"))
    assert tool is not None
    tokens.add(tool.id)
    assert tokens.revoke(tool.id).name == "a tool"


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\tb", "C\u200bMS", "\u202eSMC"])
def test_a_name_that_cannot_be_read_is_refused(store: Store, name: str) -> None:
    with pytest.raises(TokenError):
        ApiTokens(store).add(name)


def test_a_token_of_an_earlier_release_is_listed(store: Store) -> None:
    row = '{"name": "CMS", "scopes": ["send"], "created_at": 1.5}'
    store.redis.hset("{g}:tokens", "0" * 64, row)
    (one,) = ApiTokens(store).all()
    assert (one.name, one.scopes, one.created_at, one.by, one.used_at) == (
        *("CMS", {"send"}, 1.5, "", 0),
    )
