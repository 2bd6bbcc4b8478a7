"""What a route takes, gives and costs, and who may call it: `@call(…)` says it, above the view.

Rate limiting, authentication, reading the body, writing the response and the API's description
(`openapi.py`) all follow from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from service.api import rate_limits
from service.api.auth import READER, Callers, identify_tool, own_subscription
from service.api.fields import LONGEST_NAME, Invalid, M, RequestModel, parse
from service.api.problems import FieldError, Problem
from service.api.rate_limits import Rate
from service.current import runtime
from service.model.language.graphemes import cut

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
}

_Gives = Mapping[int, type[BaseModel] | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API."""

    gives: _Gives  # by status; None is an empty response
    takes: type[RequestModel] | None
    by: Callers | None  # None: anybody
    problems: frozenset[int]  # the statuses of its errors, without 500 and 503
    parameters: tuple[Mapping[str, Any], ...]  # in the query and in headers, as OpenAPI has them
    limited: bool  # whether callers have a rate


def call(
    *,
    gives: _Gives,
    takes: type[RequestModel] | None = None,
    by: Callers | None = None,
    rates: tuple[Rate, ...] = (),
    problems: tuple[int, ...] = (),
    parameters: tuple[Mapping[str, Any], ...] = (),
    idempotent: Callable[[], Any] | None = None,
    conditional: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., ResponseReturnValue]]:
    """Describe a route, and do for its view what all routes have in common.

    The view gets, in this order: the subscription of the reader who calls, in place of its id in
    the path (`by=READER`); the body, as the model that the route takes; the variables of the path.
    It returns the model that the route gives, or None. A status or headers may follow the model, as
    in Flask; without a status, the first of `gives` is used.

    `problems` are the errors that do not follow from the other arguments. An `idempotent` route
    takes the header `Idempotency-Key`: the function returns the earlier response to the same call,
    or None. It runs before the body is read: the time of one that was accepted may have passed. A
    `conditional` route gives an `ETag`, by default a digest of the body, and 304 if that is known.
    """
    if by:
        problems, rates = problems + by.problems, rates + by.rates
    if takes:
        problems += (400, 413, 415, 422)
    if rates:
        problems += (429,)
    if idempotent:
        problems, parameters = (*problems, 409, 410), (_KEY, *parameters)
    if conditional:
        gives, parameters = {**gives, 304: None}, (*parameters, _IF_NONE_MATCH)
    described = Call(gives, takes, by, frozenset(problems), parameters, limited=bool(rates))
    usual = next(iter(gives))
    known = {str(one["name"]) for one in parameters if one["in"] == "query"}

    def route_of(view: Callable[..., Any]) -> Callable[..., ResponseReturnValue]:
        @wraps(view)
        def route(**path: Any) -> ResponseReturnValue:
            rate_limits.check(*rates)
            given: list[Any] = []
            if by is READER:
                given.append(own_subscription(path.pop("id")))
            elif by is not None:
                identify_tool(by.scopes)
                _check_query(known)
            if idempotent is not None and (before := idempotent()) is not None:
                return _response(before, usual)
            if takes is not None:
                given.append(_body(takes))
            returned = _response(view(*given, **path), usual)
            return _unless_known(returned) if conditional else returned

        route.call = described  # type: ignore[attr-defined]
        return route

    return route_of


def call_of(view: Callable[..., Any]) -> Call | None:
    """Return the description of a route; None for a view that is no call of the API."""
    return getattr(view, "call", None)


def _check_query(known: Set[str]) -> None:
    """Refuse what a tool's call does not know in the query, as in a body; `Invalid`.

    A filter that is spelled wrong would find everything.
    """
    if unknown := [name for name in request.args if name not in known]:
        words = "Is not a parameter that this call knows."
        raise Invalid([FieldError(cut(name, LONGEST_NAME) or '""', words) for name in unknown])


def _body(model: type[M]) -> M:
    if request.mimetype != "application/json":
        raise Problem(415, "Send the body with the header `Content-Type: application/json`.")
    # Werkzeug's headers raise and catch an error for one that is absent.
    encoding = request.environ.get("HTTP_CONTENT_ENCODING", "")
    if encoding.strip().lower() not in ("", "identity"):
        # RFC 9110, sections 12.5.3 and 15.5.16.
        detail = "Send the body as it is: without compression and the header `Content-Encoding`."
        raise Problem(415, detail, headers={"Accept-Encoding": "identity"})
    return parse(model, request.get_data(), runtime())


def _unless_known(returned: ResponseReturnValue) -> Response:
    """Return a response with its `ETag`, or 304 if the caller knows it (RFC 9110, 13.1.2)."""
    response = current_app.make_response(returned)
    if "ETag" not in response.headers:
        response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    # A caller may keep it, and has to ask each time whether it is still right.
    response.headers["Cache-Control"] = "private, no-cache"
    etag, _ = response.get_etag()
    if etag is not None and request.if_none_match.contains_weak(etag):
        return Response(
            status=304, headers={name: response.headers[name] for name in ("ETag", "Cache-Control")}
        )
    return response


def _response(returned: Any, status: int) -> ResponseReturnValue:
    model, *rest = returned if isinstance(returned, tuple) else (returned,)
    if isinstance(model, BaseModel):
        # Without the fields that were not set: an audience has only those that say something.
        text = model.model_dump_json(by_alias=True, exclude_unset=True)
        model = Response(text, status, mimetype="application/json")
    elif model is None:
        model = Response(status=status)
    return (model, *rest) if rest else model
