"""An OpenID Connect provider on this machine, whose answers a test can change."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request, Response

from service.model.keys import b64url
from tests.support.desk.pages import Page, signed_in, words

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

with warnings.catch_warnings():
    import authlib.deprecate  # noqa: F401 - lets all its warnings be shown, so that it comes first

    warnings.simplefilter("ignore")  # the provider uses a module of Authlib that is going away
    from oidc_provider_mock import run_server_in_thread

# What `service/domain/people/provider.py` uses of Authlib is going away.
AUTHLIB_IS_CHANGING = pytest.mark.filterwarnings(
    "ignore::authlib.deprecate.AuthlibDeprecationWarning", "ignore:get_jwt_config"
)
TOM = "tom@paper.example"
NAME, CLIENT, SECRET = "Paper accounts", "the desk", "a secret of the desk"
START, BACK = "/desk/sign-in/provider", "/desk/sign-in/provider/back"
TOKEN, KEYS, METADATA = "/oauth2/token", "/jwks", "/.well-known/openid-configuration"


class Provider:
    """Keeps what it was asked, and answers as `instead` says; otherwise as the standard does."""

    def __init__(self, app: Any, address: str) -> None:
        self._app = app
        self.address = address
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.instead: dict[str, WSGIApplication] = {}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        request = Request({**environ, "wsgi.input": BytesIO(body)})
        self.asked.append((request.path, request.values.to_dict()))
        environ["wsgi.input"] = BytesIO(body)
        if other := self.instead.get(request.path):
            return other(environ, start_response)
        return self._app(environ, start_response)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an installation that knows it."""
        return {
            "OIDC_ISSUER": self.address,
            "OIDC_CLIENT_ID": CLIENT,
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_NAME": NAME,
        }

    def describe_itself(self, **changes: Any) -> None:
        """Let it describe itself otherwise than it does."""
        found = requests.get(f"{self.address}{METADATA}", timeout=10).json()
        self.instead[METADATA] = answer({**found, **changes})

    def count(self, path: str) -> int:
        """How often this was asked for."""
        return sum(one == path for one, _ in self.asked)

    def know(self, email: str, **claims: Any) -> None:
        """Give a person an account."""
        mine = {"email": email, "email_verified": True, **claims}
        stored = requests.put(f"{self.address}/users/{email}", json=mine, timeout=10)
        assert stored.status_code == 204

    def agreed(self, address: str, email: str, **claims: Any) -> str:
        """Where it leads back, once a person with these claims has signed in at `address`."""
        self.know(email, **claims)
        answer = requests.post(address, data={"sub": email}, allow_redirects=False, timeout=10)
        assert answer.status_code == 302
        return answer.headers["Location"].removeprefix("http://localhost:8000")


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run one in a thread."""
    with run_server_in_thread() as server:
        provider = Provider(server.app, f"http://localhost:{server.server_port}")
        server.app = provider
        yield provider


def begin(client: FlaskClient, to: str = "") -> str:
    """Press the button; return the provider's address."""
    answer = client.get(START, query_string={"next": to})
    assert answer.status_code == 303
    return answer.location


def sign_in_with(
    provider: Provider, client: FlaskClient, email: str, **claims: Any
) -> TestResponse:
    return client.get(provider.agreed(begin(client), email, **claims))


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def complaint(client: FlaskClient, response: TestResponse) -> str:
    """What the page of the sign-in says, to which a refused sign-in leads."""
    assert response.status_code == 303
    assert response.location.startswith("/desk/sign-in?")
    assert not signed_in(client)
    page = client.get(response.location)
    Page(page.text)
    assert page.status_code == 200
    assert '<p class="error" role="alert">' in page.text
    assert 'role="alert">' not in client.get("/desk/sign-in").text, "it is said once"
    return words(page.text.partition('role="alert">')[2].partition("</p>")[0])


def came(asked: str) -> dict[str, str]:
    """What the provider adds to the address to which it leads back."""
    return {"code": "a code", "state": query_of(asked)["state"]}


OUR_KEY = RSAKey.generate_key(2048, {"kid": "ours"})


def answering_with(provider: Provider, asked: str, **changes: Any) -> None:
    """Let it answer with a token of our own for the sign-in that was begun at `asked`.

    `alg`, `key` and `unsigned` say how it is signed; all other changes are to its claims.
    """
    alg, key = changes.pop("alg", "RS256"), changes.pop("key", OUR_KEY)
    unsigned = changes.pop("unsigned", False)
    now = int(time.time())
    claims = {
        **{"iss": provider.address, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 60},
        **{"nonce": query_of(asked)["nonce"], "email": "", "email_verified": True},
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    signed = jwt.encode({"alg": alg, "kid": "ours"}, claims, key, algorithms=[alg])
    token = _without_signature(claims) if unsigned else signed
    provider.instead[KEYS] = answer({"keys": [OUR_KEY.as_dict(private=False)]})
    provider.instead[TOKEN] = answer(
        {"access_token": "an access token", "token_type": "Bearer", "id_token": token}
    )


def _without_signature(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    return ".".join([*(b64url(json.dumps(part).encode()) for part in parts), ""])


def answer(body: Any, status: int = 200) -> Response:
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(text, status, content_type="application/json")


SHARED_KEY = OctKey.import_key(SECRET)
STRANGERS_KEY = RSAKey.generate_key(2048, {"kid": "ours"})
