"""New subscriptions without Flask, which would take as long as all the rest of such a call.

Many readers subscribe in the minute in which an alert goes out, and nearly all send the same kind
of request. Any other kind, and every error, is left to Flask, which answers as without this.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from redis import RedisError

from service.api import rate_limits
from service.api.counted_requests import ROUTE
from service.api.hosts import Hosts
from service.api.json_bodies import read_json
from service.api.problems import Problem
from service.api.rate_limits import Limits
from service.api.readers import readers
from service.api.readers.reader_requests import OutsideFlask, as_pages_send_it
from service.model.network.rates import Counted
from service.runtime import Runtime

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = "/api/v1/subscriptions"
_POLICY = rate_limits.policy(readers.SUBSCRIBING)
_RATE = _POLICY.partition(";")[0]  # its name
_NEW, _KNOWN = "201 CREATED", "200 OK"


class SubscribingWithoutFlask:
    """A WSGI application (PEP 3333) around that of Flask."""

    def __init__(self, app: Flask, flask: WSGIApplication) -> None:
        self._flask = flask
        self._runtime: Runtime = app.extensions["stoppress"]
        self._hosts: Hosts = app.extensions["stoppress.hosts"]
        self._limits: Limits = app.extensions["stoppress.limits"]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if not self._is_ordinary(environ):
            return self._flask(environ, start_response)
        body = b""
        try:
            length = int(environ["CONTENT_LENGTH"])
            body = environ["wsgi.input"].read(length)
            if len(body) < length:
                raise OutsideFlask
            status, response, counted = self._subscribe(body, environ)
        except (OutsideFlask, Problem):
            environ["wsgi.input"] = io.BytesIO(body)
        except Exception as error:
            environ[readers.RAISED] = error
        else:
            environ[ROUTE] = _PATH
            start_response(status, _headers(response, counted, environ.get("HTTP_ORIGIN", "")))
            return [response]
        return self._flask(environ, start_response)

    def _is_ordinary(self, environ: WSGIEnvironment) -> bool:
        length = environ.get("CONTENT_LENGTH", "")
        return (
            environ.get("PATH_INFO") == _PATH
            and environ["REQUEST_METHOD"] == "POST"
            and environ.get("CONTENT_TYPE") == "application/json"
            and length.isascii()
            and length.isdigit()
            and int(length) <= readers.READERS_BODY
            and self._may_call(environ.get("HTTP_ORIGIN", ""))
            and self._hosts.accepts(environ.get("HTTP_HOST", ""))
            # A token is for new keys of a known browser.
            and "HTTP_AUTHORIZATION" not in environ
            and "HTTP_CONTENT_ENCODING" not in environ
            and "HTTP_TRANSFER_ENCODING" not in environ
        )

    def _may_call(self, origin: str) -> bool:
        return not origin or origin in self._runtime.config.site_origins

    def _subscribe(self, body: bytes, environ: WSGIEnvironment) -> tuple[str, bytes, Counted]:
        """Return the response's status and body, and what is left of the caller's rate.

        `OutsideFlask` if only Flask can give a response.
        """
        address = environ.get("REMOTE_ADDR", "")
        counted = self._count(address)
        environ[rate_limits.COUNTED] = readers.SUBSCRIBING, counted
        asked, refresh = as_pages_send_it(read_json(body), self._runtime)
        subscriptions = self._runtime.subscriptions
        if subscriptions.is_new_host(asked.endpoint):
            raise OutsideFlask
        one, new = subscriptions.subscribe(
            asked, refresh=refresh, caller=lambda: self._limits.code(address)
        )
        # As `Credentials` is written; none of the three needs quoting.
        confirmed = "true" if one.preferences.confirmed else "false"
        text = f'{{"id":"{one.id}","token":"{subscriptions.token(one)}","confirmed":{confirmed}}}'
        return _NEW if new else _KNOWN, text.encode(), counted

    def _count(self, address: str) -> Counted:
        try:
            counted = self._limits.count_from(address, readers.SUBSCRIBING)
        except RedisError:
            raise OutsideFlask from None
        if not counted.fits:
            raise OutsideFlask
        return counted


def _headers(body: bytes, counted: Counted, origin: str) -> list[tuple[str, str]]:
    """Return the headers of a response to a page of this origin, or to no page."""
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Vary", "Origin"),
        ("Cache-Control", "no-store"),
        ("RateLimit-Policy", _POLICY),
        ("RateLimit", f"{_RATE};r={counted.left};t={counted.resets_in}"),
    ]
    return [*headers, ("Access-Control-Allow-Origin", origin)] if origin else headers
