"""What every call of the API begins with: who calls, and what is said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar, cast

from flask import current_app, request
from pydantic import BaseModel

from service.api import reader_requests
from service.api.problems import FieldError, Problem
from service.domain.publishing import Idempotency
from service.model.tokens import digest
from service.runtime import Runtime

M = TypeVar("M", bound=BaseModel)


def runtime() -> Runtime:
    """Return the parts of this process."""
    return cast(Runtime, current_app.extensions["stoppress"])


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose API token a call carries, and the digest by which it is known."""

    name: str
    digest: str


def bearer_token() -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 section 2.1)."""
    given = request.authorization
    if given is None or given.type != "bearer":
        return None
    return given.token or None


def caller(*scopes: str) -> Caller:
    """Return who calls; 401 without a token that we know, 403 where none of `scopes` is its own.

    A token without scopes may do everything.
    """
    token = bearer_token()
    known = runtime().store.installation.token(digest(token)) if token else None
    if not token or known is None:
        raise unauthorized("This needs an API token: stoppress token add NAME makes one.")
    if known["scopes"] and not set(scopes) & set(known["scopes"]):
        raise Problem(403, f"This token lacks the scope {' or '.join(scopes)}.")
    return Caller(known["name"], digest(token))


def unauthorized(detail: str) -> Problem:
    """Return the refusal of a call without a token that fits."""
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def body(model: type[M]) -> M:
    """Return what was said; a `Problem` where it is not what `model` takes."""
    if request.mimetype != "application/json":
        raise Problem(415, "The body must be of Content-Type: application/json.")
    return reader_requests.parse(model, request.get_data(), runtime())


def idempotency(caller: Caller) -> Idempotency | None:
    """Return the `Idempotency-Key` of this call, if it has one."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise Problem(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    # The same words to another address are another wish.
    said = f"{request.method} {request.path}\n".encode() + request.get_data()
    return Idempotency(caller.digest, key, said)


def query_number(name: str, default: int, *, most: int) -> int:
    """Return a whole number from the query; `Invalid` where it is not one up to `most`."""
    text = request.args.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,16}", text) or not 1 <= int(text) <= most:
        detail = f"Must be a whole number from 1 to {most}."
        raise reader_requests.Invalid([FieldError(name, detail)])
    return int(text)
