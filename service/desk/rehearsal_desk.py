"""The rehearsal's own desk, mounted beside the real one.

It is the same application over another store. Each of its pages says that it is a rehearsal. It has
no pages for readers, so that no browser can subscribe to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask import Config as FlaskConfig
from flask import Flask, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response

from service.config import Config, ConfigError
from service.desk.rehearsal import PREFIX, find_rehearsal
from service.local import rehearsal
from service.local.rehearsal import Rehearsal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PAGE = "/desk/rehearsal"  # of the real desk
_OF_THE_REAL_DESK = {
    *("desk.people", "desk.invite", "desk.person", "desk.set_role", "desk.new_link"),
    *("desk.two_step", "desk.begin_two_step", "desk.switch_on_two_step"),
    *("desk.switch_off_two_step", "desk.switch_off_for"),
    *("desk.end_sessions", "desk.remove", "desk.tokens", "desk.add_token", "desk.revoke_token"),
    *("desk.begin_passkey", "desk.add_passkey", "desk.remove_passkey"),
    *("desk.begin_pairing", "desk.pairing", "desk.pairing_state", "desk.end_pairing"),
    *("desk.unpair", "desk.send_to_me", "desk.settings", "desk.change_settings"),
    *("desk.topics", "desk.add_topic", "desk.change_topic", "desk.move_topic"),
    *("desk.merge_topic", "desk.remove_topic"),
    *("desk.feeds", "desk.add_feed", "desk.feed", "desk.change_feed", "desk.steer_feed"),
    "desk.remove_feed",
    *("desk.webhooks", "desk.add_webhook", "desk.change_webhook", "desk.pause_webhook"),
    *("desk.hooks", "desk.add_hook", "desk.change_hook", "desk.new_hook_secret"),
    *("desk.remove_hook", "desk.test_webhook", "desk.rotate_webhook", "desk.remove_webhook"),
    *("desk.operations", "desk.live_operations", "desk.retry_job", "desk.throw_away_job"),
    "desk.rehearse",
    "desk.start_rehearsal",
    "desk.rehearsal_progress",
    "desk.end_rehearsal",
}

_SIGNING_IN = {
    *("desk.sign_in", "desk.sign_in_code", "desk.welcome"),
    *("desk.go_to_provider", "desk.back_from_provider"),
    *("desk.begin_passkey_sign_in", "desk.sign_in_by_passkey"),
}


@dataclass(frozen=True, slots=True)
class Banner:
    """What the band on each page of a rehearsal says."""

    readers: int
    page: str = ""  # of the real desk, where the rehearsal is ended; empty for one in a terminal


def init_app(app: Flask, *, mounted: bool) -> None:
    """Turn the application into a rehearsal's desk if its data folder is a rehearsal's.

    A `mounted` one is reached beside the real desk, where its editors sign in.
    """
    app.jinja_env.globals["running_rehearsal"] = find_rehearsal
    running = rehearsal.read(app.config["STOPPRESS"].data_dir)
    if running is None:
        return
    app.config["REHEARSAL"] = Banner(running.readers, _PAGE if mounted else "")
    # Browsers send a cookie to all ports of a host, so this desk must not overwrite the real one's.
    if not mounted:
        app.config["SESSION_COOKIE_NAME"] = "stoppress-rehearsal"
    elsewhere = _SIGNING_IN if mounted else set()

    @app.before_request
    def only_the_desk() -> ResponseReturnValue | None:
        endpoint = request.endpoint or ""
        if endpoint in elsewhere:
            return redirect(f"/desk/sign-in?next={PREFIX}/desk/", 303)
        if endpoint == "start.start":
            return redirect(url_for("desk.alerts"))
        if endpoint in _OF_THE_REAL_DESK:
            abort(404)
        if request.blueprint in ("desk", "health") or endpoint == "reader.style":
            return None
        if isinstance(request.routing_exception, RequestRedirect):
            return None  # to the same address with a slash at its end
        return abort(404)


class Mount:
    """Serves the running rehearsal under `/rehearsal/`, and the real application elsewhere."""

    def __init__(
        self, app: WSGIApplication, settings: FlaskConfig, make: Callable[[Config], Flask]
    ) -> None:
        self._real = app
        self._settings = settings
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Rehearsal, Flask] | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (WSGI, PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            return self._real(environ, start_response)
        app = self._running()
        if app is None:
            return _over(environ)(environ, start_response)
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + PREFIX
        environ["PATH_INFO"] = path[len(PREFIX) :]
        return app(environ, start_response)

    def _running(self) -> Flask | None:
        settings: Config = self._settings["STOPPRESS"]
        found = rehearsal.find(settings.data_dir)
        with self._lock:
            if found is None or not found.ready:
                self._made = None
            elif self._made is None or self._made[0] != found:
                config = replace(Config.read(found.environ), site_name=settings.site_name)
                try:
                    self._made = found, self._make(config)
                except (ConfigError, RedisError):  # the rehearsal has just ended
                    self._made = None
            return self._made[1] if self._made else None


def _over(environ: WSGIEnvironment) -> WSGIApplication:
    """Redirect to the page of the real desk: the rehearsal has ended, or is not ready yet."""
    if "HTTP_HX_REQUEST" in environ:
        return Response(headers={"HX-Redirect": _PAGE})
    return Response(status=303, headers={"Location": _PAGE})
