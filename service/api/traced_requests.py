"""Records requests of editors and tools as spans, by method, route and status (decision 131)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from service.api.counted_requests import method_of, route_of
from service.model.operations import traces
from service.model.operations.process_log import REQUEST

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_OURS: Final = ("/desk/", "/api/v1/")
# Of readers' browsers, of which thousands call in the minute of an alert: they would push out all
# else. `/metrics` has them.
_OF_READERS: Final = tuple(
    f"/api/v1/{name}" for name in ("subscriptions", "receipts", "questions", "site")
)


class TracedRequests:
    """A WSGI application (PEP 3333) around ours."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if not path.startswith(_OURS) or path.startswith(_OF_READERS):
            return self._app(environ, start_response)
        method = method_of(environ)
        with traces.span(method, answers=True) as span:

            def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
                route = route_of(environ)
                span.rename(f"{method} {route}")
                span.note(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": int(status[:3]),
                        traces.REQUEST: environ.get(REQUEST, ""),
                    }
                )
                if status.startswith("5"):
                    span.fail(status[:3])
                return start_response(status, headers, *error)

            return self._app(environ, start)
