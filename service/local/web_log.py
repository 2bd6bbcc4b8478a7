"""gunicorn's log: the same lines as those of our other processes, without what callers send.

gunicorn's own would have addresses of readers, and addresses of pages with tokens in them.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.glogging import Logger

from service.local import logs
from service.model.operations.process_log import REQUEST, ROUTE, is_due


class WebLog(Logger):  # type: ignore[misc]
    """Hands everything to the log of this process."""

    def setup(self, cfg: Any) -> None:
        """Begin to log; gunicorn calls this at its start, and when it reads its settings again."""
        self.cfg = cfg
        self._access_log_enabled = bool(cfg.accesslog)
        self.loglevel = self.LOG_LEVELS[cfg.loglevel]
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = self.access_log.propagate = True
        logs.begin("web", os.environ)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a warning; about what is no HTTP, gunicorn's repeats the caller and the text.

        Strangers may send as much of that as they like, and so it is logged once a minute.
        """
        if msg.startswith("Invalid request from"):
            msg = "refused what is no HTTP request"
            if not is_due(msg):
                return
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log an error; that of a request without its address, which may have a token in it."""
        if str(msg).startswith("Error handling request"):
            msg, args = "an error while answering a request", ()
        super().exception(msg, *args, **kwargs)

    def access(self, resp: Any, _req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Log a request: by its route, because its address may have a token in it."""
        if not self.access_log_enabled:
            return
        method, route = environ.get("REQUEST_METHOD", ""), environ.get(ROUTE, "no route")
        status = str(resp.status).partition(" ")[0]
        ms = round(request_time.total_seconds() * 1000)
        request = {"request": environ.get(REQUEST, "")}
        more = {"method": method, "route": route, "status": status, "ms": ms, **request}
        self.access_log.info("%s %s %s in %s ms", method, route, status, ms, extra=more)

    def reopen_files(self) -> None:
        """Do nothing: there are no files."""

    def close_on_exec(self) -> None:
        """Do nothing: there are no files."""
