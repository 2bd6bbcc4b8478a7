"""The web application: how its parts are wired together, and what holds for every answer."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, cast

from flask import Flask, Response, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_limiter import Limiter
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from service import (
    api,
    api_notifications,
    calls,
    desk,
    editors,
    metrics,
    problems,
    reader,
    rehearsal_pages,
    start,
)
from service.config import Config
from service.keys import read_secrets
from service.runtime import Runtime
from service.store import connect
from service.tokens import digest

_LARGEST_BODY = 64 * 1024  # bytes; an alert is at most four thousand

# How often one caller, known by an address, may ask for a change; the views of a row share it.
_RATES = {
    ("api.readers.subscribe",): "60/minute",
    ("api.readers.change_preferences", "api.readers.unsubscribe"): "60/minute",
    ("api.readers.report",): "600/minute",
    ("desk.sign_in", "desk.welcome"): "10/minute",
}
_CHANGES = ["POST", "PATCH", "DELETE"]
_TOO_FAST = "That was too fast: try again in a minute."
_TOOLS_RATE = "600/minute"  # of one API token, whatever it calls

# Scripts and styles are our own; the pictures of an alert may be the publisher's.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' https: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class _SessionOfPages(SecureCookieSessionInterface):
    """Sessions for the pages that people sign in to.

    Flask-Login looks into the session at every answer: all of them would vary by cookie, and
    nothing that readers' browsers fetch could be cached for all.
    """

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie and say that the page depends on it."""
        if request.blueprint in (desk.bp.name, start.bp.name):
            super().save_session(app, session, response)


def create_app(config: Config | None = None, *, beside: Runtime | None = None) -> Flask:
    """Make the application, in the process that will serve it; `ConfigError`.

    Without `config` the settings are those of the environment, over the keys in `DATA_DIR`.
    A rehearsal is made `beside` the real house whose editors may use it.
    """
    config = config or _settings()
    runtime = Runtime.open(config)
    app = Flask(__name__, static_folder=None)
    app.config["STOPPRESS"] = config
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    app.extensions["stoppress"] = runtime
    app.extensions["stoppress.metrics"] = metrics.House(runtime)
    app.session_interface = _SessionOfPages()
    problems.init_app(app)
    editors.init_app(app, beside or runtime)
    csrf = CSRFProtect(app)
    # The API knows no cookies, so that there is nothing to forge.
    for blueprint in (api.bp, api.readers, api_notifications.bp):
        csrf.exempt(blueprint)
    for blueprint in (api.bp, api.health, reader.bp, desk.bp, start.bp):
        app.register_blueprint(blueprint)
    _limit_rates(app, config)
    app.after_request(_finish)
    rehearsal_pages.init_app(app, mounted=beside is not None)
    if beside is None:
        app.wsgi_app = rehearsal_pages.Mount(  # type: ignore[method-assign]
            app, lambda config: create_app(config, beside=runtime)
        )
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops
        )
    return app


def _settings() -> Config:
    kept = read_secrets(Config.read(os.environ).data_dir)
    given = {name: value for name, value in os.environ.items() if value.strip()}
    return Config.read({**kept, **given})


def _limit_rates(app: Flask, config: Config) -> None:
    """Answer 429 to whoever calls faster than `_RATES`; counted in Redis for all processes."""
    secret = config.secret_key.encode()

    def address() -> str:
        """Return an HMAC of who calls: never the address itself (design, section 5)."""
        network = _network(request.remote_addr or "")
        return hmac.digest(secret, f"stop-press address {network}".encode(), "sha256").hex()[:32]

    def tool() -> str:
        token = calls.bearer_token()
        return digest(token)[:32] if token else address()

    pool = connect(config.redis_url).connection_pool
    limiter = Limiter(
        address,
        app=app,
        storage_uri="redis://",  # which one, the pool says
        storage_options=cast(
            "dict[str, Any]", {"connection_pool": pool, "key_prefix": "stoppress:rate"}
        ),
        strategy="fixed-window",
        # Where Redis cannot count, because it is full say, readers can leave and editors cancel.
        swallow_errors=True,
    )
    views = cast("dict[str, Callable[..., Any]]", app.view_functions)
    for names, rate in _RATES.items():
        shared = limiter.shared_limit(
            rate, scope=names[0], methods=_CHANGES, error_message=_TOO_FAST
        )
        views.update((name, shared(views[name])) for name in names)
    tools = [name for name in views if re.fullmatch(r"api\.(notifications\.)?\w+", name)]
    shared = limiter.shared_limit(
        _TOOLS_RATE, scope="tools", key_func=tool, error_message=_TOO_FAST
    )
    views.update((name, shared(views[name])) for name in tools)


def _network(address: str) -> str:
    """Return what stands for one caller: an IPv6 subscriber has at least a /64 to call from."""
    try:
        if ip_address(address).version == 6:
            return str(ip_network(f"{address}/64", strict=False))
    except ValueError:
        pass  # a socket has no address
    return address


def _finish(response: Response) -> Response:
    """Add what every answer carries."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if response.status_code == 429:
        headers.setdefault("Retry-After", "60")  # seconds; every rate is by the minute
    return response
