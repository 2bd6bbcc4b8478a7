"""Authlib's client of an OpenID Connect provider, and what is read of the provider's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session

_PATIENCE = 3.0  # seconds for a connection, and again for each answer
_ALGORITHMS = "id_token_signing_alg_values_supported"
_WANTED = {"email", "email_verified"}  # claims that a token may leave to userinfo
_READ = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")


class Client(OAuth2Mixin, OpenIDMixin, BaseApp):  # type: ignore[misc]  # Authlib has no types
    """Speaks the authorization code flow, with PKCE; without Authlib's ties to a framework."""

    client_cls = OAuth2Session

    def load_server_metadata(self) -> dict[str, Any]:
        """Return the metadata that `discover` has found."""
        found: dict[str, Any] = self.server_metadata
        return found

    def claims(self, code: str, nonce: str, verifier: str, back: str) -> Mapping[str, Any]:
        """Return what the provider says of the person who came back with a code."""
        token = self.fetch_access_token(
            back, code=code, code_verifier=verifier, grant_type="authorization_code"
        )
        expected = {"iss": self.server_metadata["issuer"], "aud": self.client_id}
        options = {name: {"essential": True, "value": one} for name, one in expected.items()}
        claims: Mapping[str, Any] = self.parse_id_token(token, nonce, options)
        if claims.keys() >= _WANTED or "userinfo_endpoint" not in self.server_metadata:
            return claims
        more: Mapping[str, Any] = self.userinfo(token=token)
        if more["sub"] != claims["sub"]:  # OpenID Connect Core 1.0 section 5.3.2
            raise ValueError("userinfo is of another person")
        return {**claims, **{name: more[name] for name in _WANTED & more.keys()}}


def discover(issuer: str, client_id: str, client_secret: str) -> Client:
    """Read a provider's metadata (OpenID Connect Discovery 1.0) and return a client of it.

    Raises `OSError` if the provider does not respond, and anything if its answer is wrong.
    """
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    answer = requests.get(address, timeout=_PATIENCE)
    answer.raise_for_status()
    found = answer.json()
    if found["issuer"].rstrip("/") != issuer.rstrip("/"):
        raise ValueError("the metadata is of another provider")
    metadata = {name: found[name] for name in _READ if name in found}
    protected = f"{issuer.partition('://')[0]}://"
    if not all(one.startswith(protected) for one in metadata.values()):
        raise ValueError("an endpoint is not protected by TLS")
    methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    basic = "client_secret_basic" in methods
    return Client(
        None,
        client_id=client_id,
        client_secret=client_secret,
        client_kwargs={
            "scope": "openid email",
            "code_challenge_method": "S256",
            "token_endpoint_auth_method": "client_secret_basic" if basic else "client_secret_post",
            "default_timeout": _PATIENCE,
        },
        id_token_signing_alg_values_supported=found.get(_ALGORITHMS, ["RS256"]),
        **metadata,
    )
