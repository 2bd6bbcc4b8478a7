"""Errors as problem documents (RFC 9457); each says what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from flask import Flask, current_app, request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response as SansIOResponse
from werkzeug.wrappers import Response

from service.domain.store_errors import reason
from service.model.operations.process_log import say_at_times
from service.store.layout.records import StoreFull

CONTENT_TYPE = "application/problem+json"
_MOST_ERRORS = 20  # of one request, as many as anybody reads

# For Werkzeug's own errors, whose words are for people who typed an address.
_DETAILS = {
    400: "The request cannot be read: it is not valid HTTP, or its form is not valid.",
    404: "There is nothing at this address. /api/v1/openapi.json lists all addresses.",
    405: "This address does not accept this method. The header Allow lists the methods it accepts.",
    413: "The body is too large.",
}


class FieldError(NamedTuple):
    """What is wrong with one field."""

    field: str
    detail: str  # a sentence without the field's name


class FieldErrorShown(BaseModel):
    """What is wrong with one field; a field within another is written `outer.inner`."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    field: Annotated[str, Field(min_length=1)]
    detail: str


class ProblemShown(BaseModel):
    """An error (RFC 9457).

    `type` is `about:blank`, or one of `urn:stop-press:unknown-push-service` and
    `urn:stop-press:ended-subscription`, for which a page has words of its own. `alert` is the alert
    that a conflict is about. `etag` is that of the alert as it is now, where `If-Match` named
    another (412).
    """

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorShown] = Field(default=[])
    alert: str = Field(default="")
    etag: str = Field(default="")


class Problem(HTTPException):
    """An error that the caller reads; `detail` says what to do about it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        kind: str = "",
        alert: int | None = None,
        etag: str = "",
    ) -> None:
        super().__init__(description=detail)
        self.code = status
        self.kind = kind
        self.alert = alert
        self.etag = etag
        self.errors = list(errors[:_MOST_ERRORS])
        self.headers = headers or {}

    def get_headers(
        self,
        environ: Any = None,
        scope: Any = None,
    ) -> list[tuple[str, str]]:
        """Return the headers of the response, ours among them."""
        return [*super().get_headers(environ, scope), *self.headers.items()]


def init_app(app: Flask) -> None:
    """Answer every error in words; no response contains a traceback."""
    app.register_error_handler(HTTPException, respond)
    app.register_error_handler(RedisError, _store_refuses)
    app.register_error_handler(StoreFull, _store_full)
    app.register_error_handler(ParseException, _garbled)
    app.register_error_handler(Exception, _unexpected)


def is_of_programs() -> bool:
    """Whether the request is for an address that only programs call."""
    return request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))


def respond(error: HTTPException) -> SansIOResponse | HTTPException:
    """Answer callers of the API with a problem document, and browsers with a plain page."""
    if not is_of_programs():
        return error
    response = error.get_response()
    if isinstance(response, Response) and response.mimetype != CONTENT_TYPE:
        status = response.status_code
        detail = error.description if isinstance(error, Problem) else _DETAILS.get(status)
        kind = error.kind if isinstance(error, Problem) else ""
        document = ProblemShown(
            type=f"urn:stop-press:{kind}" if kind else "about:blank",
            title=response.status.partition(" ")[2].capitalize(),
            status=status,
            detail=detail or error.description or error.name,
        )
        if isinstance(error, Problem) and error.errors:
            document.errors = [FieldErrorShown.model_validate(row) for row in error.errors]
        if isinstance(error, Problem) and error.alert is not None:
            document.alert = str(error.alert)
        if isinstance(error, Problem) and error.etag:
            document.etag = error.etag
        response.data = document.model_dump_json(exclude_unset=True)
        response.content_type = CONTENT_TYPE
    return response


def _store_refuses(error: RedisError) -> SansIOResponse | HTTPException:
    detail = f"The store (Redis) {reason(error)}."
    # Without Redis' message, which may repeat what was to be stored.
    line = f"{request.endpoint}: {type(error).__name__} {detail}"
    say_at_times("web", line, logging.ERROR)
    return respond(Problem(503, detail, headers={"Retry-After": "5"}))


def _store_full(error: StoreFull) -> SansIOResponse | HTTPException:
    say_at_times("web", f"{request.endpoint}: nothing was stored: {error}", logging.ERROR)
    return respond(Problem(503, f"Nothing was stored: {error}."))


def _garbled(_: Exception) -> SansIOResponse | HTTPException:
    # gunicorn reads chunks (RFC 9112 section 7.1) only when a view reads the body.
    return respond(Problem(400, "The body is not sent in chunks, although its header says so."))


def _unexpected(error: Exception) -> SansIOResponse | HTTPException:
    # The log and reports of errors have its place, but not its message (service/local/logs.py).
    current_app.logger.error("%s: an unexpected error", request.endpoint, exc_info=error)
    return respond(Problem(500, "Something went wrong here. The service's log says where."))
