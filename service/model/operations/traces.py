"""Spans: what a process did and how long it took, for OpenTelemetry (decision 131).

They are recorded only where `service/local/span_export.py` has called `record_by`. A span that is
never ended is not recorded. Its attributes are numbers and words of our own, never what an editor
or a reader wrote or sent: no endpoint, key, token, address or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from service.model.notifications import Notification

Attributes: TypeAlias = Mapping[str, str | int]

ALERT, REQUEST = "stoppress.alert", "stoppress.request"


class Span:
    """One that is not recorded; those that are derive from it."""

    parent = ""  # what spans within it begin with: W3C's `traceparent`

    def rename(self, name: str) -> None:
        """Give it another name."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, why: str) -> None:
        """Mark it as failed; `why` is a status or the type of an error."""

    def end(self) -> None:
        """Record it."""


# Begins a span with this name, within this `parent`; whether it answers a request of others.
Begin: TypeAlias = Callable[[str, str, bool], Span]

NOT_RECORDED = Span()

_begin: Begin | None = None
_current: ContextVar[Span] = ContextVar("span", default=NOT_RECORDED)


def record_by(begin: Begin | None) -> None:
    """Let this process record spans by this function; None: it records none."""
    global _begin
    _begin = begin


def are_recorded() -> bool:
    """Whether this process records spans."""
    return _begin is not None


def here() -> str:
    """Return the `traceparent` of the span that this thread is in; empty: it is in none."""
    return _current.get().parent


def note(attributes: Attributes) -> None:
    """Add attributes to the span that this thread is in."""
    _current.get().note(attributes)


def begin(name: str, *, answers: bool = False) -> Span:
    """Begin a span within that of this thread; a trace of its own, if the thread is in none."""
    return NOT_RECORDED if _begin is None else _begin(name, here(), answers)


def begin_for(one: Notification, name: str) -> Span:
    """Begin a span for an alert, within what published it.

    A welcome or a test to one reader has none, nor has an alert whose publisher recorded none.
    """
    if _begin is None or not one.trace or one.to_one:
        return NOT_RECORDED
    span = _begin(name, one.trace, False)
    span.note({ALERT: one.id, REQUEST: one.request_id})
    return span


@contextmanager
def span(name: str, *, answers: bool = False) -> Iterator[Span]:
    """Record what this thread does meanwhile."""
    one = begin(name, answers=answers)
    before = _current.set(one)
    try:
        yield one
    except BaseException as error:
        one.fail(type(error).__name__)
        raise
    finally:
        _current.reset(before)
        one.end()
