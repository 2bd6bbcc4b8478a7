"""API tokens, through the domain: made once, found by the token itself, limited by scopes."""

from __future__ import annotations

import pytest

from service.domain.api_tokens import ApiTokens
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
