"""Counts requests and how long they took, by method, route and status, for `/metrics`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from service.domain.counting import Counting
from service.model.operations.measures import HTTP_REQUESTS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# In a WSGI environment: the route of a request that was answered outside of Flask.
ROUTE: Final = "stoppress.route"
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class CountedRequests:
    """A WSGI application (PEP 3333) around ours."""

    def __init__(self, app: WSGIApplication, counting: Counting) -> None:
        self._app = app
        self._counting = counting

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        began = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            self._counting.observe(
                HTTP_REQUESTS,
                time.perf_counter() - began,
                method_of(environ),
                route_of(environ),
                status[:3],
            )
            return start_response(status, headers, *error)

        return self._app(environ, start)


def method_of(environ: WSGIEnvironment) -> str:
    """Return a method that is known, or `other`."""
    method = environ["REQUEST_METHOD"]
    return method if method in _METHODS else "other"


def route_of(environ: WSGIEnvironment) -> str:
    """Return a route as the code has it: an address would be a label that callers make up."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return environ.get(ROUTE) or (rule.rule if rule is not None else "none")
