"""Who may use the desk and the API: editors, one-time sign-in links, API tokens.

{g}:editors          hash: e-mail address -> password hash, empty before the first sign-in
{g}:tokens           hash: digest of an API token -> name, scopes and date as JSON
{g}:signin:<digest>  e-mail address of the link's editor; ends by itself
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

from redis import Redis

from service.model.retention import SIGN_IN_LINK_KEPT

_EDITORS = "{g}:editors"
_TOKENS = "{g}:tokens"


class Access:
    """Editors, sign-in links and API tokens; of secrets only digests are stored."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def editors(self) -> list[str]:
        """Return the e-mail addresses of all editors."""
        return sorted(email.decode() for email in cast(list[bytes], self._redis.hkeys(_EDITORS)))

    def password_hash(self, email: str) -> str | None:
        """Return an editor's password hash, empty before the first sign-in; None: no editor."""
        found = cast("bytes | None", self._redis.hget(_EDITORS, email))
        return None if found is None else found.decode()

    def set_password_hash(self, email: str, password_hash: str) -> None:
        """Store the password hash of an editor, new or known."""
        self._redis.hset(_EDITORS, email, password_hash)

    def keep_sign_in_link(self, digest: str, email: str) -> None:
        """Store a one-time link: the digest of its secret, and its editor."""
        self._redis.set(f"{{g}}:signin:{digest}", email, ex=SIGN_IN_LINK_KEPT)

    def sign_in_link(self, digest: str) -> str | None:
        """Return the editor of a link, without using it up; None: no such link."""
        found = cast("bytes | None", self._redis.get(f"{{g}}:signin:{digest}"))
        return None if found is None else found.decode()

    def use_sign_in_link(self, digest: str) -> bool:
        """Use a link up; True for the one call that did."""
        return bool(self._redis.delete(f"{{g}}:signin:{digest}"))

    def add_token(self, digest: str, name: str, scopes: Iterable[str], created_at: float) -> None:
        """Store the digest of an API token."""
        row = {"name": name, "scopes": sorted(scopes), "created_at": created_at}
        self._redis.hset(_TOKENS, digest, json.dumps(row))

    def token(self, digest: str) -> dict[str, Any] | None:
        """Return `name`, `scopes` and `created_at` of an API token; None: no such token."""
        row = cast("bytes | None", self._redis.hget(_TOKENS, digest))
        return None if row is None else cast(dict[str, Any], json.loads(row))
