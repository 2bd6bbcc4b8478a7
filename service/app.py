"""The web application: how its parts are wired together, and what holds for every answer."""

from __future__ import annotations

import os
import re
from ipaddress import IPv6Address, IPv6Network

from flask import Flask, Response, request
from flask_wtf import CSRFProtect
from redis import RedisError
from werkzeug.middleware.proxy_fix import ProxyFix

from service.api import auth, monitoring, notifications, problems, readers, topics
from service.api.problems import Problem
from service.config import Config
from service.desk import (
    alerts,
    rehearsal,
    session,
    start,
    stories,  # noqa: F401 - its pages are the desk's
    writing,  # noqa: F401
)
from service.model.keys import mac, read_secrets
from service.model.tokens import digest
from service.reader import scripts
from service.runtime import Runtime
from service.store import connect
from service.store.rate_counters import Rates

_LARGEST_BODY = 64 * 1024  # bytes; an alert is at most four thousand

# How often in a minute one caller, known by an address, may ask for a change, or for what costs
# more than most; the views of a row share it.
_RATES = {
    ("api.readers.subscribe",): 60,
    ("api.readers.change_preferences", "api.readers.unsubscribe"): 60,
    ("api.readers.report",): 600,
    ("api.readers.send_test",): 30,
    ("api.readers.missed",): 300,
    ("api.readers.export",): 30,
    ("desk.sign_in", "desk.welcome"): 10,
}
# The same of one reader, known by their token: what costs more than most. Whoever makes tokens by
# subscribing has the rate of an address.
_RATES_OF_READERS = {
    "api.readers.send_test": 3,
    "api.readers.missed": 30,
    "api.readers.export": 10,
}
_CHANGES = ["POST", "PATCH", "DELETE"]
_TOO_FAST = "That was too fast: try again in a minute."
_TOOLS_RATE = 600  # of one API token, whatever it calls
_OF_TOOLS = re.compile(r"api\.(notifications\.)?\w+")

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

_HEADERS = (
    ("Content-Security-Policy", _CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)


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
    app.extensions["stoppress.metrics"] = monitoring.Figures(runtime)
    problems.init_app(app)
    session.init_app(app, beside or runtime)
    csrf = CSRFProtect(app)
    # The API knows no cookies, so that there is nothing to forge.
    for blueprint in (topics.bp, readers.bp, notifications.bp):
        csrf.exempt(blueprint)
    for blueprint in (topics.bp, topics.health, scripts.bp, alerts.bp, start.bp):
        app.register_blueprint(blueprint)
    _limit_rates(app, config)
    app.after_request(_finish)
    rehearsal.init_app(app, mounted=beside is not None)
    if beside is None:
        app.wsgi_app = rehearsal.Mount(  # type: ignore[method-assign]
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
    key = app.extensions["stoppress"].tokens.address_key

    def address() -> str:
        """Return an HMAC of who calls: never the address itself (design, section 5)."""
        network = _network(request.remote_addr or "")
        return mac(key, network.encode()).hex()[:32]

    def bearer() -> str:
        token = auth.bearer_token()
        return digest(token)[:32] if token else address()

    rates = Rates(connect(config.redis_url))
    limits = {name: (names[0], most) for names, most in _RATES.items() for name in names}

    def fits(scope: str, most: int, who: str) -> bool:
        try:
            return rates.fits(scope, who, most)
        except RedisError as error:
            # Where Redis cannot count, for want of room say, readers can leave and editors cancel.
            app.logger.error("%s: not counted: %s", request.endpoint, type(error).__name__)
            return True

    @app.before_request
    def not_too_fast() -> None:
        name, slow_enough = request.endpoint or "", True
        costly = name in _RATES_OF_READERS and request.method != "OPTIONS"
        if name in limits and (costly or request.method in _CHANGES):
            slow_enough = fits(*limits[name], address())
        if costly:
            slow_enough = slow_enough and fits(
                f"{name} by token", _RATES_OF_READERS[name], bearer()
            )
        elif _OF_TOOLS.fullmatch(name) and request.method != "OPTIONS":
            slow_enough = fits("tools", _TOOLS_RATE, bearer())
        if not slow_enough:
            raise Problem(429, _TOO_FAST)


def _network(address: str) -> str:
    """Return what stands for one caller: an IPv6 subscriber has at least a /64 to call from."""
    if ":" not in address:
        return address  # a socket has none
    try:
        # How a server that listens on IPv6 for both sees the callers of IPv4: all of one network.
        mapped = IPv6Address(address).ipv4_mapped
        return str(mapped or IPv6Network(f"{address}/64", strict=False))
    except ValueError:
        return address


def _finish(response: Response) -> Response:
    """Add what every answer carries."""
    response.headers.extend(_HEADERS)
    if response.status_code == 429:
        response.headers.setdefault("Retry-After", "60")  # seconds; every rate is by the minute
    return response
