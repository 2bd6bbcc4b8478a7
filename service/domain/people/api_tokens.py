"""API tokens, with which an editor's tools and monitors call the API."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from service.model.language.texts import has_invisible, is_visible
from service.model.retention import MINUTE
from service.model.time import clock
from service.model.tokens import digest
from service.store import Store

ID_LENGTH = 8  # characters
_LONGEST_NAME = 60  # characters
_NOTED_EACH = MINUTE  # seconds after which each process notes again that a token is used


class TokenError(ValueError):
    """A name that is not accepted, or a token that is not there, or not the only one."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A stored token: its name, what it may do, and the digest that stands for it."""

    name: str
    scopes: frozenset[str]  # some of `tokens.SCOPES`; empty: everything
    digest: str
    created_at: float  # seconds since 1970
    by: str = ""  # the editor who made it; empty: the operator
    used_at: int = 0  # seconds since 1970, within a minute or so; only `ApiTokens.all` knows

    @property
    def id(self) -> str:
        """Tells tokens with the same name apart; nobody can make the token from it."""
        return self.digest[:ID_LENGTH]

    def may(self, scopes: Iterable[str]) -> bool:
        """Whether this token has at least one of these scopes."""
        return not self.scopes or not self.scopes.isdisjoint(scopes)


class ApiTokens:
    """The API tokens of one installation."""

    def __init__(self, store: Store) -> None:
        self._access = store.access
        self._noted: dict[str, float] = {}  # when this process last noted a token's use

    def find(self, token: str) -> ApiToken | None:
        """Return what is stored of a token; None for an unknown one."""
        found = self._access.token(digest(token))
        return None if found is None else _read(digest(token), found)

    def all(self) -> list[ApiToken]:
        """Return all tokens, the oldest first."""
        used = self._access.tokens_used()
        found = [
            replace(_read(digest, row), used_at=used.get(digest, 0))
            for digest, row in self._access.tokens().items()
        ]
        return sorted(found, key=lambda token: token.created_at)

    def made_by(self, email: str) -> list[ApiToken]:
        """Return the tokens that an editor made, also one who is removed by now."""
        return [token for token in self.all() if token.by == email]

    def add(self, name: str, scopes: Iterable[str] = (), by: str = "") -> str:
        """Make a token and return it; the store keeps only its digest.

        `by` is the editor who makes it, if one does. `TokenError` for a name that cannot be read.
        """
        name = name.strip()
        if not is_visible(name) or has_invisible(name) or len(name) > _LONGEST_NAME:
            raise TokenError(f"Give the token a name of at most {_LONGEST_NAME} characters.")
        token = f"sp_{secrets.token_urlsafe(32)}"
        self._access.add_token(digest(token), name, scopes, clock.time(), by)
        return token

    def note_use(self, token: ApiToken) -> None:
        """Note that a tool has just called, with at most one write a minute in each process."""
        now = clock.time()
        if now - self._noted.get(token.digest, 0.0) >= _NOTED_EACH:
            self._noted[token.digest] = now
            self._access.note_use(token.digest, int(now))

    def revoke(self, which: str) -> ApiToken:
        """Let no tool call with a token any more; `which` is its id, or a name that one has alone.

        `TokenError` for none and for several.
        """
        kept = self.all()
        found = [token for token in kept if token.id == which]
        found = found or [token for token in kept if token.name == which]
        if not found:
            raise TokenError("there is no such token: stoppress token list shows them")
        if len(found) > 1:
            ids = ", ".join(token.id for token in found)
            raise TokenError(f"{len(found)} tokens have this name; revoke them by id: {ids}")
        self._access.remove_token(found[0].digest)
        return found[0]


def _read(digest: str, row: dict[str, Any]) -> ApiToken:
    by = row.get("by", "")  # a token of an earlier release has none
    return ApiToken(row["name"], frozenset(row["scopes"]), digest, row["created_at"], by)
