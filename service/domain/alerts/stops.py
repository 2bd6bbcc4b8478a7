"""Stopping everything at once, until an editor releases it (decision 93)."""

from __future__ import annotations

from service.model import alert_log
from service.model.stop import Stop
from service.store import Store

# The warning that belongs to an alert which is accepted while everything is stopped.
WAITS = "Everything is stopped, so this is sent only once an editor releases it."


class EverythingStopped(Exception):
    """A test is not sent now, and one that came only after the release would mislead."""


class Stops:
    """The switch of an installation."""

    def __init__(self, store: Store) -> None:
        self._stops = store.stops

    def current(self) -> Stop | None:
        """Return the stop that holds now; None while alerts are sent."""
        return self._stops.current()

    def holds(self) -> bool:
        """Whether everything is stopped."""
        return self._stops.holds()

    def hold(self, *, by: str) -> Stop:
        """Stop everything within a second; return the stop that holds, also an earlier one."""
        return self._stops.hold(by, alert_log.about_all("stopped", by))

    def release(self, id: str = "", *, by: str) -> bool:
        """Send again: end the stop with this id, by default whichever holds; whether this did it.

        A page that shows an earlier stop does not end a later one, which another editor wanted.
        """
        return self._stops.release(id, alert_log.about_all("released", by))

    def warnings(self) -> tuple[tuple[str, str], ...]:
        """Return the warning for what is asked for now; none while alerts are sent."""
        return (("status", WAITS),) if self.holds() else ()
