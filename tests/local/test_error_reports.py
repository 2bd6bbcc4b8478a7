"""Reports of errors, as a real receiver gets them: with their places, without what they repeat."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from flask import request

from service.config import Config, ConfigError
from service.local import error_reports, logs
from service.store.alerts.notifications import SCHEDULED
from tests.support.client import VAPID, make_app
from tests.support.redis_servers.users import as_users
from workers.rq_worker import StoppableWorker

ENDPOINT = "https://fcm.googleapis.com/fcm/send/an-endpoint-of-a-reader"
SECRETS = {
    "endpoint": ENDPOINT,
    "token": "the-token-of-a-reader",
    "cookie": "the-cookie-of-a-reader",
    "body": "the-body-of-a-request",
    "header": "the-header-of-a-request",
    "address": "203.0.113.77",
}


class Sentry:
    """A server that takes envelopes as Sentry does, and keeps what is in them."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        received, answers = self.received, self.answers

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answers.wait(60)
                received.append(f"{self.path}\n{body.decode()}")
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *given: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Take)
        self.dsn = f"http://0123456789abcdef@127.0.0.1:{self._server.server_port}/7"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(one.splitlines()[3]) for one in self.received]

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    server = Sentry()
    yield server
    server.close()


@contextmanager
def reporting(sentry: Sentry) -> Iterator[None]:
    """Let this process report errors, as a web process does, until each report is sent."""
    logs.begin("web", {})
    with patch("atexit.register") as register:
        error_reports.begin("web", Config.read({"SENTRY_DSN": sentry.dsn}))
    try:
        yield
    finally:
        sentry.answers.set()
        register.call_args.args[0](timeout=60)


def places(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return of an event the types of its errors and where each happened."""
    found = event["exception"]["values"]
    return [(one["type"], one["stacktrace"]["frames"][-1]["function"]) for one in found]


def test_an_error_of_a_request_arrives_with_its_place_and_id_alone(
    redis_url: str, sentry: Sentry, our_log: None
) -> None:
    def broken() -> str:
        seen = {**request.headers, **request.args, "body": request.get_data(as_text=True)}
        try:
            raise KeyError(f"{seen} from {request.remote_addr}")
        except KeyError as error:
            raise LookupError(request.args["endpoint"]) from error

    web = make_app(redis_url, TRUSTED_PROXIES="1")
    web.view_functions["health.alive"] = broken
    with reporting(sentry):
        answer = web.test_client().get(
            f"/healthz?endpoint={ENDPOINT}",
            data=SECRETS["body"],
            headers={
                "Authorization": f"Bearer {SECRETS['token']}",
                "Cookie": f"session={SECRETS['cookie']}",
                "X-Forwarded-For": SECRETS["address"],
                "X-Request-ID": "click-4711",
                "X-Other": SECRETS["header"],
            },
        )
    assert answer.status_code == 500
    (event,) = sentry.events()
    assert places(event) == [("KeyError", "broken"), ("LookupError", "broken")]
    assert event["tags"] == {"process": "web", "request": "click-4711"}
    assert event["release"].startswith("stop-press@")
    assert sentry.received[0].startswith("/api/7/envelope/")
    assert [name for name, one in SECRETS.items() if one in sentry.received[0]] == []
    assert '"vars"' not in sentry.received[0]
    assert event.keys().isdisjoint({"request", "user", "breadcrumbs", "extra", "modules"})


def test_the_error_that_ends_a_job_arrives_and_a_warning_does_not(
    sentry: Sentry, our_log: None
) -> None:
    def fail(endpoint: str) -> None:
        raise ValueError(endpoint)

    with reporting(sentry):
        logging.getLogger("service.x").warning(ENDPOINT)
        logging.getLogger("service.x").error("Redis is full")
        try:
            fail(ENDPOINT)
        except ValueError:
            StoppableWorker.handle_exception(None, None, *sys.exc_info())
    (event,) = sentry.events()
    assert places(event) == [("ValueError", "fail")]
    assert ENDPOINT not in sentry.received[0]


@pytest.mark.processes
def test_a_process_reports_the_error_that_ends_it(redis_url: str, sentry: Sentry) -> None:
    runtime = make_app(redis_url).extensions["stoppress"]
    runtime.store.redis.zadd(SCHEDULED, {ENDPOINT: 1.0})
    given = {"REDIS_URL": redis_url, "SECRET_KEY": "a secret of at least 32 characters"}
    settings = as_users({**given, "VAPID_PRIVATE_KEY": VAPID.text}, "clock")
    settings["SENTRY_DSN"] = sentry.dsn
    clock = [sys.executable, "-m", "workers.clock"]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        clock, cwd=root, env=settings, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ENDPOINT in ended.stderr) == (1, False), ended.stderr
    (event,) = sentry.events()
    assert event["tags"] == {"process": "clock"}
    assert (event["level"], places(event)[0][0]) == ("fatal", "ValueError")
    assert ENDPOINT not in sentry.received[0]


def test_errors_are_logged_as_ever_while_nobody_takes_reports(
    sentry: Sentry, our_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with reporting(sentry):
        sentry.answers.clear()
        try:
            raise ValueError(ENDPOINT)
        except ValueError:
            for _ in range(150):  # more than may wait
                logging.getLogger("service.x").exception("it failed")
        said = capsys.readouterr().err
        taken = len(sentry.received)
    assert (said.count(" web: it failed"), ENDPOINT in said, taken) == (150, False, 0)
    assert 0 < len(sentry.events()) < 150


# Not installed ----------------------------------------------------------------------------------


def test_without_the_setting_nothing_is_loaded() -> None:
    with patch.dict(sys.modules, {"sentry_sdk": None}):
        error_reports.begin("web", Config.read({}))
        with pytest.raises(ConfigError):
            error_reports.begin("web", Config.read({"SENTRY_DSN": "https://0@s.example/7"}))
