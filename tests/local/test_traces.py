"""Traces, as a real collector gets them; and that one which does not answer costs nobody anything.

That they repeat no secret, and follow an alert from the call to its last batch: test_logs.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from service.api import traced_requests
from service.config import Config, ConfigError
from service.local import logs, otlp, span_export
from service.model.operations import traces
from tests.support.client import API, Client, Reader, make_app
from tests.support.network.collector import Collector
from tests.support.network.newspaper import Newspaper, response
from tests.support.processes.forked import Forked
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from workers.fetching.fetch import CannotFetch, Fetcher, Limits

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


@contextmanager
def tracing(address: str, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[None]:
    """Let this process record spans as a web process does, until all are sent."""
    given = {ENDPOINT: address, **settings}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(otlp, "_LAST", 60.0)
    monkeypatch.setattr(span_export, "_send_rest", None)
    with patch("atexit.register"):
        span_export.begin("web", Config.read(given))
    try:
        yield
        span_export.end()
    finally:
        traces.record_by(None)


def test_a_request_is_a_span_by_its_route_and_a_readers_is_none(
    redis_url: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise LookupError("a-secret")

    with tracing(collector.address, monkeypatch):
        web = make_app(redis_url)
        web.view_functions["api.openapi.description"] = broken
        Reader(Client(web))
        browser = web.test_client()
        browser.get("/healthz")
        browser.get(f"{API}/alerts/a-secret?b=a-secret", headers={"X-Request-ID": "click"})
        browser.get("/api/v1/openapi.json?b=a-secret")
    missing, failed = collector.spans()
    assert (missing.name, missing.process, missing.error) == ("GET none", "web", "")
    assert missing.attributes == {
        "http.request.method": "GET",
        "http.route": "none",
        "http.response.status_code": 404,
        "stoppress.request": "click",
    }
    assert (failed.name, failed.error) == ("GET /api/v1/openapi.json", "500")
    assert "a-secret" not in collector.text


def test_calls_of_readers_are_known_by_their_path(redis_url: str) -> None:
    web = make_app(redis_url)
    for rule in web.url_map.iter_rules():
        if rule.rule.startswith("/api/"):
            is_readers = rule.endpoint.startswith("api.readers.")
            assert rule.rule.startswith(traced_requests._OF_READERS) == is_readers, rule


def test_what_is_fetched_is_a_span_without_its_address(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Newspaper() as paper, tracing(collector.address, monkeypatch):
        paper.pages["/feed?key=a-secret"] = response(b"<rss/>")
        fetcher = Fetcher((paper.origin,))
        with traces.span("read feed"):
            fetcher.fetch(f"{paper.origin}/feed?key=a-secret", Limits())
        with pytest.raises(CannotFetch), traces.span("read feed"):
            fetcher.fetch("http://127.0.0.1:1/a-secret", Limits())
    done, failed = collector.spans()
    assert done.attributes == {"http.response.status_code": 200, "stoppress.bytes": 6}
    assert (failed.error, failed.attributes) == ("CannotFetch", {"stoppress.fault": "not public"})
    assert "a-secret" not in collector.text


def test_the_sampler_of_the_web_process_decides_for_the_workers_too(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with tracing(collector.address, monkeypatch, **given), traces.span("left out") as left_out:
        pass
    assert left_out.parent
    with tracing(collector.address, monkeypatch, OTEL_TRACES_SAMPLER="parentbased_always_on"):
        assert traces._begin is not None
        traces._begin("of a worker", left_out.parent, False).end()
        traces._begin("of nobody", "no traceparent", False).end()
    assert [(one.name, one.parent) for one in collector.spans()] == [("of nobody", "")]


# A collector that does not answer ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_a_collector_that_does_not_answer_is_said_once_and_nothing_waits(
    how: str,
    collector: Collector,
    our_log: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = collector.address
    collector.answers.clear()
    if how == "refuses":
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
    logs.begin("web", {})
    with tracing(address, monkeypatch, OTEL_EXPORTER_OTLP_TIMEOUT="0.2"):
        for _ in range(3000):  # more than can wait
            with traces.span("a span"):
                pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING web: the collector takes no spans, which are dropped" in line
    assert collector.received == []


@pytest.mark.processes
def test_a_send_goes_on_and_its_worker_ends_while_the_collector_hangs(
    redis_url: str, push: PushService, tmp_path: Path, collector: Collector
) -> None:
    collector.answers.clear()
    more = {ENDPOINT: collector.address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with Installation(redis_url, push, tmp_path, **more) as installation:
        installation.seed(100)
        begun = traces.Span()
        begun.parent = f"00-{'1' * 32}-{'2' * 16}-01"
        with patch.object(traces, "begin", lambda _: begun):
            first, second = installation.publish(), installation.publish()
        process = installation.worker()
        assert installation.over(first).finished_at
        assert collector.asked.acquire(timeout=60), "its spans are under way"
        assert installation.over(second).finished_at
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert collector.received == []


@pytest.mark.processes
@pytest.mark.parametrize("end", ["atexit._run_exitfuncs()", "clock._end()"])
def test_a_process_that_ends_sends_its_last_spans(collector: Collector, end: str) -> None:
    program = f"""
import atexit
from service.config import Config
from service.local import span_export
from service.model.operations import traces
from workers import clock
span_export.begin("clock", Config.read({{"{ENDPOINT}": "{collector.address}"}}))
with traces.span("the last"):
    pass
{end}
"""
    process = Forked(["-c", program], os.environ)
    assert process.wait(60) == 0
    assert [one.name for one in collector.spans()] == ["the last"]


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, ""),
        ({ENDPOINT: "http://c.example:4318"}, "http://c.example:4318/v1/traces"),
        ({ENDPOINT: "https://c.example/otlp/"}, "https://c.example/otlp/v1/traces"),
        (
            {
                ENDPOINT: "http://c.example",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t.example/x",
            },
            "http://t.example/x",
        ),
        ({ENDPOINT: "http://c.example", "OTEL_SDK_DISABLED": "True"}, ""),
        ({ENDPOINT: "http://c.example", "OTEL_TRACES_EXPORTER": "none"}, ""),
    ],
)
def test_opentelemetrys_own_settings_say_where_spans_go(
    given: dict[str, str], address: str
) -> None:
    assert span_export.collector(Config.read(given), given) == address


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: must be"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "a setting of OpenTelemetry (OTEL_…) has a value"),
    ],
)
def test_a_wrong_setting_of_opentelemetry_stops_the_start_with_one_line(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        span_export.begin("web", Config.read({ENDPOINT: "http://127.0.0.1:1"}))
    assert str(error.value).startswith(says)


def test_without_the_setting_nothing_of_the_library_is_loaded() -> None:
    with patch.dict(sys.modules, {"service.local.otlp": None}):
        span_export.begin("web", Config.read({}))
    assert not traces.are_recorded()
