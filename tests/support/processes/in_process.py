"""A worker's sending in the test's own process, where a test can see and change what it meets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes.installation import Installation
from workers import jobs
from workers.sending.fanout import FanOut


@contextmanager
def fan_out_of(installation: Installation) -> Iterator[FanOut]:
    """Return what sends in a worker; its connections end with the `with`."""
    fan_out = jobs._new_fan_out(installation.runtime)
    try:
        yield fan_out
    finally:
        fan_out.close()


def send_all(installation: Installation, fan_out: FanOut, id: int, timeout: float = 120) -> None:
    """Send until an alert is over."""
    deadline = time.monotonic() + timeout
    while installation.runtime.publishing.get(id).finished_at is None:
        assert time.monotonic() < deadline, installation.outcomes(id)
        fan_out.run(lambda: True)
        installation.runtime.planning.advance_all()
        time.sleep(0.05)
