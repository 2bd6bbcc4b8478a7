"""What code of any folder says in the log of its process, and the request that it works for.

`service/local/logs.py` decides how lines look. An endpoint, a key, a token, a cookie or a reader's
network address is never part of a line.
"""

from __future__ import annotations

import logging
import random
import re
import sys
import time
from contextvars import ContextVar

from service.model.notifications import Notification

# In the environment of a request (WSGI): its id, and the rule that its address fits.
REQUEST, ROUTE = "stoppress.request", "stoppress.route"
_OURS = "stoppress"
_SAY_AGAIN = 60.0  # seconds
_said_at: dict[str, float] = {}
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")

# The id of the request that this thread answers, or of the command that it runs; may be empty. An
# alert keeps that of the request by which it is sent, and workers log it.
request_id: ContextVar[str] = ContextVar("request_id", default="")


def begin_request(given: str = "") -> str:
    """Set the id of a request: the caller's, if it is short and plain, or a new one.

    It is no secret. Real randomness would give Python's lock away, for which web threads then wait.
    """
    id = given if _PLAIN.fullmatch(given) else f"{random.getrandbits(64):016x}"
    request_id.set(id)
    return id


def say(process: str, line: str, level: int = logging.WARNING) -> None:
    """Log a line of a process; commands, which have no log, print it to stderr."""
    logger = logging.getLogger(_OURS)
    if logger.handlers:
        logger.log(level, line)
    else:
        print(f"{process}: {line}", file=sys.stderr, flush=True)


def say_at_times(process: str, line: str, level: int = logging.WARNING) -> None:
    """Log a line at most once a minute: a fault that lasts may come up many times a second."""
    if is_due(line):
        say(process, line, level)


def is_due(what: str) -> bool:
    """Whether something may be logged that is logged at most once a minute; then it counts as such.

    `what` is nothing that strangers can make up: it is kept.
    """
    now = time.monotonic()
    if now - _said_at.get(what, -_SAY_AGAIN) < _SAY_AGAIN:
        return False
    _said_at[what] = now
    return True


def log_alert(one: Notification, line: str, *more: object) -> None:
    """Log what becomes of an alert, under the id of the request that sent it.

    `line` begins with a place for its number. A welcome or a test to one reader is left out.
    """
    if not one.to_one:
        given = {"alert": one.id, "request": one.request_id}
        logging.getLogger("stoppress.alerts").info(line, one.id, *more, extra=given)
