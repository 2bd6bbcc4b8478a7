"""The web application: how its parts are wired together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from logging import CRITICAL
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from flask_wtf import CSRFProtect
from redis import RedisError

from service import desk
from service.api import blueprint, docs_page, hosts, problems, rate_limits
from service.api.counted_requests import CountedRequests
from service.api.newsroom import feed_hubs
from service.api.operations import monitoring
from service.api.operations.canary import bp as canary
from service.api.traced_requests import TracedRequests
from service.api.without_flask import SubscribingWithoutFlask
from service.config import Config, ConfigError
from service.desk import rehearsal_desk, session
from service.domain.keys import PRIVATE_KEY_IGNORED
from service.local import error_reports, span_export
from service.local.secrets_file import read_secrets
from service.model.operations import traces
from service.model.operations.process_log import REQUEST, ROUTE, begin_request, say
from service.reader import demo, privacy, scripts
from service.runtime import Runtime
from service.setting_sources import is_set, override
from service.store import COUNTER, PAGE, connect
from service.store.operations.rate_counters import RateCounters

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NO_APPLICATION = 4  # with this exit code gunicorn ends instead of starting another process
_LARGEST_BODY = 64 * 1024  # bytes; an alert has at most four thousand
_CALLED_BY_PROGRAMS = (canary, feed_hubs.bp)  # beside the API
_FOR_READERS = (scripts.bp, privacy.bp, demo.bp)
# What needs no setting of the desk, beside readers' scripts, and so does not wait for Redis.
_WITHOUT_SETTINGS = frozenset(("health.alive", "desk.static", "desk.htmx", "demo.static"))

# Scripts and styles are our own; the pictures of an alert may be the publisher's.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "img-src 'self' https: data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = (
    ("Content-Security-Policy", _CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
_FOR_US_ALONE = ("Cross-Origin-Resource-Policy", "same-origin")
# Pages need none of these, so that a script which should not be there cannot ask for them. Scripts
# and answers are no documents, and what publishers' pages may do is not ours to say.
_OF_PAGES = (
    "Permissions-Policy",
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
)
_CACHED = "Cache-Control"
_NOT_CACHED = (_CACHED, "no-store")
# Not of subdomains, which are the newspaper's if SITE_URL is its own host.
_ONLY_TLS = ("Strict-Transport-Security", "max-age=31536000")  # seconds, a year (RFC 6797)


class _App(Flask):
    """Flask without asynchronous views, for which it would look before each of nine calls.

    It logs no addresses.
    """

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is."""
        return func

    def log_exception(self, exc_info: Any) -> None:
        """Log an error in a handler of errors, without the address: it may have a token in it."""
        self.logger.error("%s: no answer to an error", request.endpoint, exc_info=exc_info)

    def handle_user_exception(self, e: Exception) -> Any:
        """Answer an exception. The page that says what is wrong may need Redis, and not get it."""
        try:
            return super().handle_user_exception(e)
        except RedisError as error:  # which Flask hands to no other handler
            return super().handle_user_exception(error)


class _Headers:
    """Adds to each response the headers that protect our pages and what they show.

    Around the application, where a header takes a fraction of the time that it takes in Flask.
    """

    def __init__(self, app: WSGIApplication, config: Config) -> None:
        self._app = app
        self._has_tls = config.public_url.startswith("https:")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (WSGI, PEP 3333)."""
        id = environ[REQUEST] = begin_request(environ.get("HTTP_X_REQUEST_ID", ""))

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            # Readers' scripts are for all sites, and say so. Anything else is for our own pages.
            more, given = [*_HEADERS, ("X-Request-ID", id)], dict(headers)
            # One caller's error, which a cache would hand out to all, or what an editor sees, which
            # neither a proxy nor a shared computer is to keep.
            if status >= "4" or "Cookie" in given.get("Vary", ""):
                headers = [*((name, it) for name, it in headers if name != _CACHED), _NOT_CACHED]
            if _FOR_US_ALONE[0] not in given:
                more.append(_FOR_US_ALONE)
            if given.get("Content-Type", "").startswith("text/html"):
                more.append(_OF_PAGES)
            # Browsers ignore it where TLS does not protect it.
            if self._has_tls or environ["wsgi.url_scheme"] == "https":
                more.append(_ONLY_TLS)
            return start_response(status, headers + more, *error)

        return self._app(environ, start)


class Proxies:
    """Takes the caller's address and scheme from what our proxies append, each one value.

    As Werkzeug's `ProxyFix`, which takes ten times as many steps (decision 142) and reads quotes:
    one that a caller leaves open hides all that comes after it.
    """

    def __init__(self, app: WSGIApplication, hops: int) -> None:
        self._app = app
        self._hops = hops

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (WSGI, PEP 3333)."""
        if address := self._appended(environ.get("HTTP_X_FORWARDED_FOR", "")):
            environ["REMOTE_ADDR"] = address
        if scheme := self._appended(environ.get("HTTP_X_FORWARDED_PROTO", "")):
            environ["wsgi.url_scheme"] = scheme
        return self._app(environ, start_response)

    def _appended(self, values: str) -> str:
        """Return what the outermost of our proxies appended; empty if fewer values are there."""
        given = [one for part in values.split(",") if (one := part.strip(' \t"'))]
        return given[-self._hops] if self._hops <= len(given) else ""


def create_app(config: Config | None = None, *, beside: Runtime | None = None) -> Flask:
    """Make the application, in the process that will serve it; `ConfigError`.

    Without `config` the settings come from the environment, and keys missing there from `DATA_DIR`.
    A rehearsal is made `beside` the real installation, whose editors may use it.
    """
    config = config or _settings()
    if beside is None:
        _say_what_is_ignored(config)
    return _application(Runtime.open(config, PAGE, without_private_keys=True), beside)


def _application(runtime: Runtime, beside: Runtime | None = None) -> Flask:
    config = runtime.config
    app = _App(__name__, static_folder=None)
    app.config["STOPPRESS"] = config

    @app.before_request
    def settings_now() -> None:
        if request.url_rule is not None:
            request.environ[ROUTE] = request.url_rule.rule
        if request.blueprint != scripts.bp.name and request.endpoint not in _WITHOUT_SETTINGS:
            app.config["STOPPRESS"] = runtime.config  # editors may have changed some at the desk

    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    app.extensions["stoppress"] = runtime
    with suppress(RedisError):  # a later start does it
        runtime.receipts.keep_or_forget_clicks()
    problems.init_app(app)
    outside = beside.config if beside else config
    hosts.Hosts(
        outside.public_url,
        outside.bind,
        outside.trusted_hosts,
        known=bool(outside.site_url or outside.trusted_hosts),
    ).init_app(app)
    session.init_app(app, beside or runtime)
    csrf = CSRFProtect(app)
    for part in (*blueprint.PARTS, *_CALLED_BY_PROGRAMS):
        csrf.exempt(part)  # they use no cookies, so no other page can misuse them
    rates = RateCounters(connect(config.redis_url, COUNTER))
    rate_limits.Limits(rates.count, runtime.tokens.address_key).init_app(app)
    app.extensions["stoppress.figures"] = monitoring.Figures(runtime)
    add_routes(app)
    # Within `Mount`, because the rehearsal's application adds them to its own responses.
    rehearsal_desk.init_app(app, mounted=beside is not None)
    app.wsgi_app = _around(app, runtime, beside)  # type: ignore[assignment, method-assign]
    return app


def _around(app: Flask, runtime: Runtime, beside: Runtime | None) -> WSGIApplication:
    """Return what stands around Flask, the outermost first to see a request."""
    wsgi: WSGIApplication = app.wsgi_app
    if "REHEARSAL" not in app.config:  # to which no browser can subscribe
        wsgi = SubscribingWithoutFlask(app, wsgi)
    wsgi = _Headers(wsgi, runtime.config)
    if beside is None:
        wsgi = CountedRequests(wsgi, runtime.counting)
        if traces.are_recorded():
            wsgi = TracedRequests(wsgi)
        wsgi = rehearsal_desk.Mount(
            wsgi, app.config, lambda config: create_app(config, beside=runtime)
        )
    if runtime.config.trusted_proxies:
        wsgi = Proxies(wsgi, runtime.config.trusted_proxies)
    return wsgi


def add_routes(app: Flask) -> None:
    """Give an application its calls and pages, which are the same whatever its settings."""
    for bp in (monitoring.bp, blueprint.bp, docs_page.bp, *_CALLED_BY_PROGRAMS, *_FOR_READERS):
        app.register_blueprint(bp)
    desk.init_app(app)


def serve() -> Flask:
    """Make the application of a web process, which waits for Redis; for gunicorn."""
    try:
        config = _settings()
        error_reports.begin("web", config)
        span_export.begin("web", config)
        _say_what_is_ignored(config)
        # Redis is not asked again before the application is there: it may go away meanwhile.
        app = _application(Runtime.start(config, "web", PAGE))
    except ConfigError as error:
        say("web", str(error), CRITICAL)
        sys.exit(_NO_APPLICATION)
    with suppress(RedisError):
        app.extensions["stoppress"].topics.known()  # for `/api/v1/site` while Redis is away
        _say_who_is_pretended(app.extensions["stoppress"])
    return app


def _say_what_is_ignored(config: Config) -> None:
    if config.vapid_private_key:
        say("web", PRIVATE_KEY_IGNORED)


def _say_who_is_pretended(runtime: Runtime) -> None:
    """Tell an operator of real readers among pretend ones, who would get the trial's alerts."""
    found = runtime.pretend_readers.mixture()
    if found and found.real:
        say(
            "web",
            f"{found.pretend:,} readers are pretend ones, and {found.real:,} real ones have"
            " joined them. To remove the pretend ones: stoppress seed --remove",
        )


def _settings() -> Config:
    kept = read_secrets(Config.read(os.environ).data_dir)
    if is_set(os.environ, "VAPID_PUBLIC_KEY"):  # as `stoppress web` and `stoppress up` set it
        kept.pop("VAPID_PRIVATE_KEY", None)
    return Config.read(override(kept, os.environ))
