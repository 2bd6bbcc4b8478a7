"""What the doctor says of the OpenTelemetry collector."""

from __future__ import annotations

import pytest

from service.cli.doctor.collector import collector
from service.config import Config
from tests.support.network.collector import Collector


@pytest.mark.parametrize(
    ("status", "level", "says"),
    [(200, "ok", "/v1/traces takes them."), (401, "warn", "it answers with status 401.")],
)
def test_the_collector_is_asked_whether_it_takes_spans(status: int, level: str, says: str) -> None:
    server = Collector(status)
    (found,) = collector(Config.read({"OTEL_EXPORTER_OTLP_ENDPOINT": server.address}))
    server.close()
    assert (found.level, says in found.says) == (level, True), found.says
    assert server.spans() == []


def test_without_a_collector_nothing_is_said_of_it() -> None:
    assert [*collector(Config.read({}))] == []


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    (found,) = collector(Config.read({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}))
    assert found.level == "fail"
    assert "must be http/protobuf, whose port mostly is 4318. No process starts" in found.says


def test_a_password_in_the_address_of_the_collector_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "http://nora:hunter2@127.0.0.1:1/v1/traces?token=hunter2"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address)
    (found,) = collector(Config.read({}))
    assert found.says.startswith("http://127.0.0.1:1/v1/traces takes none from here")
    assert "hunter2" not in found.says
