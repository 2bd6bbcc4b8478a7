"""Reports unexpected errors to Sentry, if SENTRY_DSN is set (decision 126).

A report has what the log has of an error: its type, its places and the request's id. Its message
may repeat an endpoint, a key or a token.
"""

from __future__ import annotations

import atexit
import logging
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from service.config import Config, ConfigError
from service.model.operations.process_log import request_id

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

_LOGGERS = ("", "stoppress")  # where all lines of a process arrive (service/local/logs.py)
_LAST = 2.0  # seconds for which the end of a process waits for reports that are under way
# What is left of a report, whatever the library or another one adds to it.
_OF_EVENT = (
    *("event_id", "timestamp", "platform", "level", "logger", "tags"),
    *("release", "environment", "server_name", "exception"),
)
_OF_FRAME = (
    *("filename", "abs_path", "module", "function", "lineno"),
    *("pre_context", "context_line", "post_context", "in_app"),
)


def begin(process: str, config: Config) -> None:
    """Let this process report errors that it logs; `ConfigError` if it cannot.

    Called after a fork, and after the log has begun. Without the setting nothing is loaded.
    """
    if not config.sentry_dsn:
        return
    try:
        from sentry_sdk import Client
    except ImportError:
        raise ConfigError(
            "SENTRY_DSN needs sentry-sdk, which is not installed. In the folder of Stop Press run: "
            f"{sys.executable} -m pip install -e '.[telemetry]'"
        ) from None
    # One of our own, so that nothing but `_Reports` reports, and no library is looked into.
    client = Client(
        dsn=config.sentry_dsn,
        release=f"stop-press@{version('stop-press')}",
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        send_client_reports=False,
        spotlight=False,
        before_send=_only_places,
    )
    atexit.register(client.close, timeout=_LAST)
    handler = _Reports(process, client)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)


class _Reports(logging.Handler):
    """Reports what is logged with a traceback: an error that nobody foresaw.

    The library sends from a thread of its own, and drops reports if a hundred wait.
    """

    def __init__(self, process: str, client: Any) -> None:
        super().__init__(logging.ERROR)
        self._process, self._client = process, client

    def emit(self, record: logging.LogRecord) -> None:
        """Report an error; this fails in silence, because the log has the error as well."""
        if record.exc_info and (error := record.exc_info[1]) is not None:
            with suppress(Exception):
                self._report(record, error)

    def _report(self, record: logging.LogRecord, error: BaseException) -> None:
        from sentry_sdk.utils import event_from_exception

        event, hint = event_from_exception(error, self._client.options)
        id = getattr(record, "request", "") or request_id.get()
        event["tags"] = {"process": self._process} | ({"request": id} if id else {})
        event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
        event["logger"] = record.name
        self._client.capture_event(event, hint)


def _only_places(event: Event, _: Hint) -> Event:
    """Return a report with types and places of errors alone; the last look before it leaves."""
    left: dict[str, Any] = {name: value for name, value in event.items() if name in _OF_EVENT}
    left["exception"] = {
        "values": [
            {
                "type": one.get("type"),
                "module": one.get("module"),
                "value": "",
                "stacktrace": {"frames": _frames(one)},
            }
            for one in left.get("exception", {}).get("values", [])
        ]
    }
    return left  # type: ignore[return-value]


def _frames(error: dict[str, Any]) -> list[dict[str, Any]]:
    frames = (error.get("stacktrace") or {}).get("frames", [])
    return [{name: one[name] for name in _OF_FRAME if name in one} for one in frames]
