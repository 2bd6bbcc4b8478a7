"""API tokens, with which an editor's tools and monitors call the API."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from service.model import clock
from service.model.tokens import digest
from service.store import Store


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A stored token: its name, what it may do, and the digest that stands for it."""

    name: str
    scopes: frozenset[str]  # some of `tokens.SCOPES`; empty: everything
    digest: str

    def may(self, scopes: Iterable[str]) -> bool:
        """Whether this token has at least one of these scopes."""
        return not self.scopes or not self.scopes.isdisjoint(scopes)


class ApiTokens:
    """The API tokens of one installation."""

    def __init__(self, store: Store) -> None:
        self._access = store.access

    def find(self, token: str) -> ApiToken | None:
        """Return what is stored of a token; None for an unknown one."""
        found = self._access.token(digest(token))
        if found is None:
            return None
        return ApiToken(found["name"], frozenset(found["scopes"]), digest(token))

    def add(self, name: str, scopes: Iterable[str] = ()) -> str:
        """Make a token and return it; the store keeps only its digest."""
        token = f"sp_{secrets.token_urlsafe(32)}"
        self._access.add_token(digest(token), name, scopes, clock.time())
        return token
