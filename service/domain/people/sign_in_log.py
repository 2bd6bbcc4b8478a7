"""Logs who signs in and who is refused, for the process and for the desk (OWASP ASVS 16.3).

No line has a network address, or an address that is no editor's: it may be a mistyped password.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from redis.exceptions import RedisError

from service.model import alert_log
from service.model.operations.process_log import is_due
from service.store.alerts.alert_log import AlertLog

_TELL_AT = 5  # refused guesses at an editor: the desk's log says so
_log = logging.getLogger(__name__)


def signed_in(email: str, by: str) -> None:
    """Log that an editor has signed in."""
    _log.info("%s signed in by %s", email, by, extra=_fields(email, by, "ok"))


def limited(email: str, by: str) -> None:
    """Log that a password or a code was not looked at; `email` is empty for nobody's.

    Once a minute: strangers may go on for as long as they like.
    """
    if is_due(f"sign-in of {email} by {by}: limited"):
        _not(email, by, "limited")


def refused(email: str, by: str, guesses: int, desk: AlertLog) -> None:
    """Log that a password or a code was wrong, and the fifth guess in the log of the desk."""
    _not(email, by, "refused")
    if email and guesses == _TELL_AT:
        with suppress(RedisError):  # full: then the log of the process has it
            desk.note(alert_log.refused(email))


def _not(email: str, by: str, outcome: str) -> None:
    extra = _fields(email, by, outcome)
    _log.warning("sign-in of %s by %s: %s", email or "nobody known", by, outcome, extra=extra)


def _fields(email: str, by: str, outcome: str) -> dict[str, str]:
    return {"editor": email, "by": by, "outcome": outcome}
