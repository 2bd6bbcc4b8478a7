"""A setting whose library is not installed: no process starts, and one line says what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from service import app
from service.local import logs
from workers import fetcher, worker


@pytest.mark.parametrize("start", [worker.main, fetcher.main, app.serve])
@pytest.mark.parametrize(
    ("setting", "value", "library", "says"),
    [
        (
            *("SENTRY_DSN", "https://0123@sentry.example/7", "sentry_sdk"),
            "SENTRY_DSN needs sentry-sdk, which is not installed.",
        ),
        (
            *("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", "service.local.otlp"),
            "needs the libraries of OpenTelemetry, which are not installed.",
        ),
    ],
)
def test_without_its_library_no_process_starts_and_the_command_is_named(
    start: Any,
    setting: str,
    value: str,
    library: str,
    says: str,
    our_log: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    given = {"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", setting: value}
    logs.begin("web", {})
    absent = patch.dict(sys.modules, {library: None})
    with absent, patch.dict(os.environ, given, clear=True):
        try:
            code = start()
        except SystemExit as end:
            code = end.code
    assert code == (4 if start is app.serve else 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert line.endswith(f"{sys.executable} -m pip install -e '.[telemetry]'")
