"""API tokens, with which an editor's tools and monitors call the API."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from service.model import clock
from service.model.tokens import digest
from service.store import Store

ID_LENGTH = 8  # characters


class TokenError(ValueError):
    """A token that is not there, or not the only one; the message says so in one line."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A stored token: its name, what it may do, and the digest that stands for it."""

    name: str
    scopes: frozenset[str]  # some of `tokens.SCOPES`; empty: everything
    digest: str
    created_at: float  # seconds since 1970

    @property
    def id(self) -> str:
        """What operators call it by, as two tokens may have one name; says nothing of the token."""
        return self.digest[:ID_LENGTH]

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
        return None if found is None else _read(digest(token), found)

    def all(self) -> list[ApiToken]:
        """Return all tokens, the oldest first."""
        found = [_read(digest, row) for digest, row in self._access.tokens().items()]
        return sorted(found, key=lambda token: token.created_at)

    def add(self, name: str, scopes: Iterable[str] = ()) -> str:
        """Make a token and return it; the store keeps only its digest."""
        token = f"sp_{secrets.token_urlsafe(32)}"
        self._access.add_token(digest(token), name, scopes, clock.time())
        return token

    def revoke(self, which: str) -> ApiToken:
        """Let no tool call with a token any more; `which` is its id, or a name that one has alone.

        `TokenError` for none and for several.
        """
        found = [token for token in self.all() if which in (token.id, token.name)]
        if not found:
            raise TokenError("there is no such token: stoppress token list shows them")
        if len(found) > 1:
            ids = ", ".join(token.id for token in found)
            raise TokenError(f"{len(found)} tokens have this name; revoke them by id: {ids}")
        self._access.remove_token(found[0].digest)
        return found[0]


def _read(digest: str, row: dict[str, Any]) -> ApiToken:
    return ApiToken(row["name"], frozenset(row["scopes"]), digest, row["created_at"])
