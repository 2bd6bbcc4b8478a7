"""Refusals as problem documents (RFC 9457), in words that a person can act on."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask import Flask, current_app, request
from gunicorn.http.errors import ParseException
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response as SansIOResponse
from werkzeug.wrappers import Response

from service.store.records import StoreFull

CONTENT_TYPE = "application/problem+json"
_MOST_ERRORS = 20  # of one request; whoever sends more does not read them

# What Werkzeug's own refusals say; theirs are for somebody who typed an address.
_DETAILS = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: "The body is too large.",
}

# What Redis refuses with, by a sign of it. redis-py has a class for some, with the code taken away;
# where a script was refused Redis 6.2 has the code somewhere in its message.
_STORE = {
    "OutOfMemory": "is full: it needs more memory before it takes anything new",
    "OOM": "is full: it needs more memory before it takes anything new",
    "MISCONF": "cannot write to its disk, which may be full: until it can, it takes nothing new",
    "ReadOnly": "is a read-only copy of another: it takes nothing new until it leads again",
    "READONLY": "is a read-only copy of another: it takes nothing new until it leads again",
    "BusyLoading": "is loading its data; try again in a moment",
    "BUSY": "is busy with something that does not end; its own log says more",
    "max number of clients": "has as many connections as it may have; try again in a moment",
    "NoPermission": "does not let us in: REDIS_URL or STORE_URL needs another user",
    "Authentication": "does not let us in: REDIS_URL or STORE_URL needs another password",
}


class FieldError(NamedTuple):
    """What is wrong with one field; `detail` is a sentence without the field's name."""

    field: str
    detail: str


class Problem(HTTPException):
    """A refusal; `detail` says what to do about it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description=detail)
        self.code = status
        self.errors = list(errors[:_MOST_ERRORS])
        self.headers = headers or {}

    def get_headers(
        self,
        environ: Any = None,
        scope: Any = None,
    ) -> list[tuple[str, str]]:
        """Return the headers of the answer, ours among them."""
        return [*super().get_headers(environ, scope), *self.headers.items()]


def init_app(app: Flask) -> None:
    """Let every refusal and every failure be answered in words; nothing is answered by a trace."""
    app.register_error_handler(HTTPException, respond)
    app.register_error_handler(RedisError, _store_refuses)
    app.register_error_handler(StoreFull, _store_full)
    app.register_error_handler(ParseException, _garbled)
    app.register_error_handler(Exception, _unexpected)


def respond(error: HTTPException) -> SansIOResponse | HTTPException:
    """Answer an API's caller with a problem document, a person's browser with a plain page."""
    if not request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return error
    response = error.get_response()
    if isinstance(response, Response) and response.mimetype != CONTENT_TYPE:
        status = response.status_code
        detail = error.description if isinstance(error, Problem) else _DETAILS.get(status)
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": response.status.partition(" ")[2].capitalize(),
            "status": status,
            "detail": detail or error.description,
        }
        if isinstance(error, Problem) and error.errors:
            document["errors"] = [row._asdict() for row in error.errors]
        response.data = json.dumps(document)
        response.content_type = CONTENT_TYPE
    return response


def _store_refuses(error: RedisError) -> SansIOResponse | HTTPException:
    said = f"{type(error).__name__} {error}"
    detail = next((why for sign, why in _STORE.items() if sign in said), None)
    if detail is None and isinstance(error, ConnectionError | TimeoutError):
        detail = "cannot be reached; try again in a moment"
    detail = f"The store (Redis) {detail or 'refuses; its own log says why'}."
    # The message may repeat what was to be stored.
    current_app.logger.error("%s: %s %s", request.endpoint, type(error).__name__, detail)
    return respond(Problem(503, detail, headers={"Retry-After": "5"}))


def _store_full(error: StoreFull) -> SansIOResponse | HTTPException:
    current_app.logger.error("%s: nothing was stored: %s", request.endpoint, error)
    return respond(Problem(503, f"Nothing was stored: {error}."))


def _garbled(_: Exception) -> SansIOResponse | HTTPException:
    # gunicorn reads chunks (RFC 9112 section 7.1) only when a view reads its body.
    return respond(Problem(400, "The body is not in chunks as its head says."))


def _unexpected(error: Exception) -> SansIOResponse | HTTPException:
    # Where it happened, but not its message: that may repeat an endpoint, a key or a token.
    where = "".join(traceback.format_tb(error.__traceback__))
    current_app.logger.error("%s: %s\n%s", request.endpoint, type(error).__name__, where)
    return respond(Problem(500, "Something went wrong here; the service's log says where."))
