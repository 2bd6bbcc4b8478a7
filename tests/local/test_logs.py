"""Logs and traces of all processes: one id and one trace for an alert's way, and no secret."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from flask import request
from redis import ResponseError

from service.local import logs
from service.local.web_log import WebLog
from service.model.notifications import Outcome
from service.model.operations import process_log
from service.model.operations.process_log import begin_request
from service.store.layout.records import StoreFull
from tests.support.client import make_app
from tests.support.command import stoppress
from tests.support.desk.newsroom import Visitor
from tests.support.network.collector import Collector
from tests.support.processes.forked import Forked
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService
from workers import clock as workers_clock
from workers import rq_worker
from workers.rq_worker import StoppableWorker

OUTCOMES = [one.value for one in Outcome]
READER_AT, EDITOR = "203.0.113.77", "tom@elsewhere.example"
CLICK = "click-4711.a_b"
BAD_ROW = {
    "endpoint": "https://fcm.googleapis.com/fcm/send/the-endpoint-of-a-bad-row",
    "keys": {"p256dh": "the-key-of-a-bad-row", "auth": "the-auth-of-a-bad-row"},
}
WRONG = {
    "password": "a wrong password",
    "link": "the-token-of-a-sign-in-link",
    "token": "the-token-of-a-stranger",
    "header": "the-secret-of-a-header",
    "query": "the-secret-of-a-query",
    "id": "an id with spaces",
}
TEXT = re.compile(
    r"[\d-]{10} [\d:,]{12} (INFO|WARNING|ERROR|CRITICAL) (web|worker|clock|fetch): .+|  .*"
)


class Run:
    """A whole run: readers and an editor, an alert that not everybody gets, and faults."""

    def __init__(self, installation: Installation, collector: Collector) -> None:
        self.installation, self.collector = installation, collector
        self.address = installation.web()
        given = installation.environment
        self.secrets = [READER_AT, EDITOR, given["SECRET_KEY"], given["VAPID_PRIVATE_KEY"]]
        self.secrets += [*WRONG.values(), *BAD_ROW["keys"].values(), BAD_ROW["endpoint"]]
        self.browser = Visitor(self.address)
        self.browser.session.headers["X-Forwarded-For"] = READER_AT
        self.browser.session.headers["Cookie"] = "x=a-cookie-of-a-reader"
        self.secrets.append("a-cookie-of-a-reader")

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> requests.Response:
        return self.browser.session.request(
            method, self.address + path, json=body, headers=headers, timeout=60
        )

    def subscribe(self) -> None:
        made = self.installation.push.subscribe(self.installation.vapid.public)
        body = {"subscription": made.as_json()}
        reader = self.call("POST", "/api/v1/subscriptions", body).json()
        self.secrets += [made.endpoint, made.endpoint.rpartition("/")[2], reader["token"]]
        self.secrets += body["subscription"]["keys"].values()
        body["subscription"]["keys"]["auth"] += "x"
        assert self.call("POST", "/api/v1/subscriptions", body).status_code == 422
        path = f"/api/v1/subscriptions/{reader['id']}"
        wrong = {"Authorization": f"Bearer {WRONG['token']}"}
        assert self.call("PATCH", path, {"topics": []}, **wrong).status_code in (401, 403, 404)
        assert self.call("GET", f"/nowhere?{WRONG['query']}").status_code == 404

    def sign_in(self) -> None:
        visitor = Visitor(self.address)
        visitor.session.headers["X-Forwarded-For"] = READER_AT
        form = {"email": EDITOR, "password": WRONG["password"]}
        assert visitor.post("/desk/sign-in", "/desk/sign-in", **form).status_code == 422
        assert visitor.get(f"/desk/welcome/{WRONG['link']}").status_code == 410
        self.secrets += visitor.session.cookies.values()

    def send_no_http(self) -> None:
        with socket.create_connection(("127.0.0.1", self.installation.port)) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{WRONG['header']}\r\n\r\n".encode())
            assert b" 400 " in raw.recv(1000)

    def import_readers(self, folder: Path) -> str:
        (folder / "readers").write_text(json.dumps(BAD_ROW) + "\n" + '{"endpoint": \n')
        given = self.installation.environment
        named = ("--topic", "world", "--vapid-key", self.installation.runtime.keys.current)
        return stoppress(given, "import", str(folder / "readers"), *named).output

    def publish(self) -> int:
        """Send an alert, which a push service that fails takes in the end, but for one reader."""
        faults = iter([Answer(503, {"retry-after": "1"}), Answer(close=True)])

        def answer(message: Message) -> Answer | None:
            return Answer(400) if message.endpoint in self.secrets else next(faults, None)

        self.installation.push.answer_with(answer)
        token = self.installation.api_token()
        self.secrets.append(token)
        body = {
            **{
                "title": "Late news",
                "body": "It has just come in.",
                "audience": {"everyone": True},
            },
            "url": "https://paper.example/story",
        }
        given = {"Authorization": f"Bearer {token}", "X-Request-ID": CLICK}
        sent = self.call("POST", "/api/v1/notifications", body, **given)
        assert (sent.status_code, sent.headers["X-Request-ID"]) == (202, CLICK)
        return int(sent.json()["id"])


@pytest.fixture(params=["text", "json"])
def run(
    request: pytest.FixtureRequest, redis_url: str, push: PushService, tmp_path: Path
) -> Iterator[Run]:
    collector = Collector()
    more = {"LOG_FORMAT": request.param, "ACCESS_LOG": "yes", "TRUSTED_PROXIES": "1"}
    more["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.address
    more["OTEL_BSP_SCHEDULE_DELAY"] = "100"  # ms
    with Installation(redis_url, push, tmp_path, **more) as installation:
        installation._start = partial(Forked, output=tmp_path / "log")
        yield Run(installation, collector)
    collector.close()


def done_in(collector: Collector, alert: int) -> dict[str, int]:
    """How many recipients of an alert have which outcome, as the spans of its batches say."""
    counts: Counter[str] = Counter()
    for one in collector.named("send batch"):
        if one.attributes["stoppress.alert"] == alert:
            found = {name: one.attributes.get(f"stoppress.{name}", 0) for name in OUTCOMES}
            counts.update({name: int(n) for name, n in found.items()})
    return {name: n for name, n in counts.items() if n}


def check_spans(collector: Collector, alert: int) -> None:
    """One trace from the call to the last batch, and no span for each message."""
    (call,) = collector.named("POST /api/v1/notifications")
    (published,) = collector.named("publish alert")
    (planned,) = collector.named("plan alert")
    batches = collector.named("send batch")
    assert (call.process, call.parent, published.parent) == ("web", "", call.id)
    assert call.attributes["http.response.status_code"] == 202
    assert planned.attributes["stoppress.recipients"] == 31
    for one in (planned, *batches):
        assert (one.process, one.trace, one.parent) == ("worker", call.trace, published.id)
        assert one.attributes["stoppress.alert"] == alert
        assert one.attributes["stoppress.request"] == CLICK
    messages = sum(int(one.attributes["stoppress.messages"]) for one in batches)
    assert messages >= 31 + 2, "two were tried again"
    ours = [one for one in collector.spans() if one.trace == call.trace]
    assert len(ours) == 3 + len(batches)
    # Of what strangers call, only that they did.
    (sign_in,) = collector.named("GET /desk/welcome/<token>")
    assert sign_in.attributes["http.route"] == "/desk/welcome/<token>"
    assert not [one for one in collector.spans() if "subscriptions" in one.name]


@pytest.mark.processes
def test_logs_tell_an_alerts_way_under_one_id_and_repeat_no_secret(
    run: Run, tmp_path: Path
) -> None:
    installation, log = run.installation, tmp_path / "log"
    installation.seed(30)
    run.subscribe()
    run.sign_in()
    run.send_no_http()
    printed = run.import_readers(tmp_path)
    installation.worker()
    installation.clock()
    installation.fetcher()
    id = run.publish()
    assert installation.over(id).finished_at
    assert installation.outcomes(id) == {"accepted": 30, "refused": 1}
    wait_until(lambda: f"alert {id} is over: sent" in log.read_text())
    wait_until(lambda: done_in(run.collector, id) == {"accepted": 30, "refused": 1})
    wait_until(lambda: run.collector.named("POST /api/v1/notifications"))
    for process in installation.processes:
        process.send_signal(signal.SIGTERM)
    for process in installation.processes:
        process.wait(30)

    text = log.read_text()
    seen = text + printed + run.collector.text
    assert [secret for secret in run.secrets if secret in seen] == []
    check_spans(run.collector, id)
    said = {
        "web": [f"alert {id} is sending", "POST /api/v1/notifications 202 in "],
        "worker": [f"alert {id} is planned for 31 readers", f"alert {id}: batch "],
    }
    lines = text.splitlines()
    if installation.environment["LOG_FORMAT"] == "text":
        assert [line for line in lines if not TEXT.fullmatch(line)] == []
        found = [line for line in lines if line.endswith(f" [{CLICK}]")]
        for process, words in said.items():
            for one in words:
                assert any(f"INFO {process}: {one}" in line for line in found), (one, text)
        return
    events = [json.loads(line) for line in lines]
    for event in events:
        assert {"timestamp", "level", "process", "pid", "message"} <= event.keys()
    found = [event for event in events if event.get("request") == CLICK]
    for process, words in said.items():
        for one in words:
            assert any(e["process"] == process and e["message"].startswith(one) for e in found), one
    assert {e["alert"] for e in found if e["process"] == "worker"} == {id}
    (access,) = [e for e in found if e.get("route")]
    assert (access["method"], access["route"], access["status"]) == (
        "POST",
        "/api/v1/notifications",
        "202",
    )
    routes = {event["route"] for event in events if "route" in event}
    assert {"/desk/welcome/<token>", "/api/v1/subscriptions", "no route"} <= routes
    assert ("POST", "/api/v1/subscriptions", "201") in {
        (event.get("method"), event.get("route"), event.get("status")) for event in events
    }
    assert any("refused what is no HTTP request" in event["message"] for event in events)


# The lines --------------------------------------------------------------------------------------


SECRETS = ("https://push.example/an-endpoint", "a-secret\nof two lines")


def fail() -> None:
    try:
        raise KeyError(SECRETS[0])
    except KeyError as error:
        raise ValueError(SECRETS[1]) from error


class Broken:
    """Its end raises an error that no code can catch."""

    def __del__(self) -> None:
        fail()


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_is_logged_with_its_places_but_not_its_message(
    form: str, our_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.begin("worker", {"LOG_FORMAT": form})
    begin_request("click")
    try:
        fail()
    except ValueError:
        logging.getLogger("service.x").exception("it failed:\nTwo lines")
        StoppableWorker.handle_exception(None, None, *sys.exc_info())  # type: ignore[arg-type]
        sys.excepthook(*sys.exc_info())
    Broken()
    said = capsys.readouterr().err
    for secret in ("a-secret", "an-endpoint", "two lines"):
        assert secret not in said
    assert said.count("in fail") == 8  # both errors, four times
    lines = said.splitlines()
    if form == "json":
        assert len(lines) == 4
        first = json.loads(lines[0])
        assert (first["message"], first["request"]) == ("it failed:\nTwo lines", "click")
        assert first["exception"].index("KeyError") < first["exception"].index("ValueError")
        assert "in fail" in first["exception"]
    else:
        begun = [line for line in lines if not line.startswith("  ")]
        assert len(begun) == 4
        assert begun[0].endswith(" ERROR worker: it failed:")


def test_an_unexpected_error_of_a_request_is_logged_with_its_place_but_not_its_message(
    redis_url: str, our_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise LookupError(request.args["endpoint"])

    web = make_app(redis_url)
    web.view_functions["health.alive"] = broken
    logs.begin("web", {})
    response = web.test_client().get("/healthz?endpoint=a-secret")
    assert response.status_code == 500
    assert response.mimetype == "application/problem+json"
    assert "Traceback" not in response.text
    said = capsys.readouterr().err
    assert "LookupError" in said
    assert f'"{__file__}", line {broken.__code__.co_firstlineno + 1}' in said
    assert "a-secret" not in said + response.text


def test_what_others_send_begins_no_line_of_its_own(
    our_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.begin("web", {})
    logging.getLogger("service.x").warning(
        "a name: %s", "x\n2026-01-01 00:00:00,000 INFO web: all is well"
    )
    assert len([one for one in capsys.readouterr().err.splitlines() if one[0] != " "]) == 1


def test_a_fault_that_lasts_is_said_once_a_minute(
    our_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_said_at", {})
    logs.begin("clock", {})
    for now, lines in ((1000.0, 1), (1059.0, 0), (1060.0, 1)):
        monkeypatch.setattr(process_log, "time", SimpleNamespace(monotonic=lambda now=now: now))
        for one in (rq_worker._patience("worker"), *(workers_clock._patience() for _ in range(9))):
            with one:
                raise ResponseError("MISCONF it cannot")
        assert capsys.readouterr().err.count("cannot write to its disk") == lines


def test_a_web_process_says_once_a_minute_that_redis_refuses(
    redis_url: str,
    our_log: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the pages of a large site would fill the disk with its log while Redis is away."""
    faults: list[Exception] = [ResponseError("MISCONF it cannot"), StoreFull("there is no room")]

    def broken() -> str:
        raise faults[0]

    monkeypatch.setattr(process_log, "_said_at", {})
    web = make_app(redis_url)
    web.view_functions["health.alive"] = broken
    logs.begin("web", {})
    capsys.readouterr()
    while faults:
        for _ in range(20):
            response = web.test_client().get("/healthz")
            assert response.status_code == 503
        (line,) = capsys.readouterr().err.splitlines()
        assert " ERROR web: health.alive: " in line
        del faults[0]

    counters = web.extensions["stoppress.limits"]

    def refuse(*_: object) -> None:
        raise ResponseError("MISCONF it cannot")

    monkeypatch.setattr(counters, "_count", refuse)
    for _ in range(20):
        assert web.test_client().get("/api/v1/subscriptions/0-0").status_code in (401, 404)
        web.test_client().post("/api/v1/questions", json={"page": "/", "step": "shown"})
    lines = capsys.readouterr().err.splitlines()
    assert len({*lines}) == len(lines) <= 3
    assert any("not counted: ResponseError" in line for line in lines)


def gunicorns_log() -> WebLog:
    log = WebLog.__new__(WebLog)
    log.error_log = logging.getLogger("gunicorn.error")
    log.access_log = logging.getLogger("gunicorn.access")
    log.setup(type("Settings", (), {"accesslog": "-", "loglevel": "warning"}))
    return log


def test_gunicorn_repeats_neither_a_caller_nor_an_address(
    our_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_said_at", {})
    log = gunicorns_log()
    log.warning("Invalid request from ip=203.0.113.7: a-secret")
    log.exception("Error handling request %s %s", "GET", "/desk/welcome/a-secret")
    said = capsys.readouterr().err
    assert said.count("\n") >= 2
    assert "203.0.113.7" not in said
    assert "a-secret" not in said


def test_strangers_fill_no_disk_with_requests_that_are_refused(
    redis_url: str,
    our_log: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_log, "_said_at", {})
    calls = make_app(redis_url, SITE_URL="https://push.paper.example").test_client()
    log = gunicorns_log()
    capsys.readouterr()
    for number in range(20):
        log.warning(f"Invalid request from ip=203.0.113.{number}: nonsense")
        assert calls.get("/", headers={"Host": f"203.0.113.{number}"}).status_code == 400
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(process_log._said_at) == 2, "nor the memory"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *(("click-4711.a_b", True), ("x" * 64, True), ("x" * 65, False), ("", False)),
        *(("a b", False), ("a\nb", False), ("ä", False), ("<b>", False), ("a\n", False)),
    ],
)
def test_only_a_plain_and_short_id_of_a_caller_is_taken(
    given: str, kept: bool, our_log: None
) -> None:
    id = begin_request(given)
    assert (id == given) == kept
    assert re.fullmatch(r"[0-9a-f]{16}", id) or kept
