"""The clock: every second it sends what is scheduled, and wakes workers for whatever is due.

Several may run, one leads.

It is what makes a lost job cost nothing: a worker killed with `kill -9`, a web process that died
between storing and waking, a send that waits for its push service.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from redis.exceptions import RedisError

from service.config import Config, ConfigError
from service.runtime import Runtime

TICK = 1.0  # seconds
LEAD = 4.0  # seconds after which another clock takes over from one that died


def run(runtime: Runtime) -> NoReturn:
    """Tick for ever; a Redis that is away is waited for."""
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
    while True:
        time.sleep(TICK)
        with _patience():
            if not runtime.store.installation.lead(name, int(LEAD * 1000)):
                continue
        for do in _duties(runtime):
            with _patience():
                do()


def _duties(runtime: Runtime) -> Iterator[Callable[[], object]]:
    """Return what there is to do each second; what Redis refuses keeps nothing else from it."""
    services, now = runtime.push_services, time.time()
    yield runtime.publishing.send_due
    yield lambda: runtime.publishing.wake_readers(now, runtime.config.public_url)
    yield lambda: services.try_released(now)
    yield runtime.dispatch.advance_all
    yield lambda: runtime.gone.look_after(now)
    yield lambda: services.end_paces(now)


@contextmanager
def _patience() -> Iterator[None]:
    """Let a tick fail that Redis kept from its work; the next one is a second away."""
    try:
        yield
    except RedisError as error:
        print(f"clock: Redis: {error}", file=sys.stderr)


def main() -> int:
    """Run until SIGTERM or Ctrl-C; 0 then, 2 with one line where a setting is wrong."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # At once, even while it waits for Redis: what it does is whole or not done at all.
        signal.signal(number, lambda *_: os._exit(0))
    try:
        runtime = Runtime.open(Config.read(os.environ), patient=True)
    except ConfigError as error:
        print(f"stoppress clock: {error}", file=sys.stderr)
        return 2
    run(runtime)


if __name__ == "__main__":
    sys.exit(main())
