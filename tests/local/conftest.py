"""A fixture for tests of what this process logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from service.local import logs
from service.model.operations import process_log


@pytest.fixture
def our_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logs and hooks of this process as they were."""
    names = (*logs._OURS, "", "gunicorn.error")
    before = [
        (log := logging.getLogger(name), log.level, log.handlers, log.propagate) for name in names
    ]
    for hook in (sys, "excepthook"), (sys, "unraisablehook"), (logs.threading, "excepthook"):
        monkeypatch.setattr(*hook, getattr(*hook))
    token = process_log.request_id.set("")
    yield
    process_log.request_id.reset(token)
    logging.captureWarnings(False)
    for one, level, handlers, propagate in before:
        one.setLevel(level)
        one.handlers, one.propagate = handlers, propagate
