"""The log of a process: lines of text or of JSON on stderr, one for each event (decision 118)."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from service.config import ConfigError, given_text, parsed, settings
from service.model.operations.process_log import request_id

# What tells of each event. Other projects tell of what is wrong.
_OURS = ("service", "workers", "stoppress", "gunicorn.access")
_TEXT = "%(asctime)s %(levelname)s %(process_type)s: %(message)s%(of_request)s"


class _WithoutMessages(logging.Formatter):
    """Names errors and their places: the message may repeat an endpoint, a key or a token."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - so the standard library calls it
        """Return the errors of a traceback, from the first cause on."""
        found, error = [], ei[1]
        while error is not None:
            places = "".join(traceback.format_tb(error.__traceback__))
            found.append(f"{places}{type(error).__name__}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(reversed(found))


class _Text(_WithoutMessages):
    def format(self, record: logging.LogRecord) -> str:
        """Return a line; what has more of them is indented, so that none looks like another's."""
        id = getattr(record, "request", "")
        record.of_request = f" [{id}]" if id else ""
        return super().format(record).replace("\n", "\n  ")


class _Json(_WithoutMessages, JsonFormatter):
    pass


def _formatter(environ: Mapping[str, str]) -> logging.Formatter:
    if _format(environ) == "text":
        return _Text(_TEXT)
    return _Json(
        "%(levelname)s %(process_type)s %(process)d %(name)s %(message)s",
        timestamp=True,
        json_ensure_ascii=False,
        rename_fields={"levelname": "level", "process": "pid", "process_type": "process"}
        | {"exc_info": "exception", "name": "logger"},
    )


def _format(environ: Mapping[str, str]) -> str:
    """Return the value of LOG_FORMAT; a wrong one stops the process a little later."""
    (row,) = (one for one in settings() if one.name == "log_format")
    try:
        variable, text = given_text(row, environ)
        return str(parsed(row, text, variable))
    except ConfigError:
        return str(row.metadata["default"])


def begin(process: str, environ: Mapping[str, str]) -> None:
    """Let this process log; `process` is its type, such as `web`."""

    def with_process(record: logging.LogRecord) -> bool:
        record.process_type = process
        # A thread of gunicorn may still have the id of the request before.
        id = "" if record.name == "gunicorn.error" else request_id.get()
        if id and not getattr(record, "request", ""):
            record.request = id
        return True

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(environ))
    handler.addFilter(with_process)
    logging.getLogger().handlers = [handler]
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("stoppress").handlers = [handler]  # where `say` looks
    logging.getLogger("stoppress").propagate = False
    logging.captureWarnings(True)
    sys.excepthook = _log_end
    threading.excepthook = _log_end_of_thread
    sys.unraisablehook = _log_lost


def begin_json(process: str, environ: Mapping[str, str]) -> None:
    """Let a command that starts processes log, if they do so in JSON; else it prints lines."""
    if _format(environ) == "json":
        begin(process, environ)


def _log_end(kind: type[BaseException], error: BaseException, places: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("stoppress").critical("ended by an error", exc_info=(kind, error, places))


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logging.getLogger("stoppress").error("a thread ended by an error", exc_info=error)


def _log_lost(lost: sys.UnraisableHookArgs) -> None:
    """Log what Python itself would print with its message, such as an error in `__del__`."""
    if lost.exc_value is not None:
        error = (lost.exc_type, lost.exc_value, lost.exc_traceback)
        logging.getLogger("stoppress").error("an error that could not be raised", exc_info=error)
