"""The jobs, which RQ calls by name.

A job says only that there is work, so a late, doubled or lost job costs nothing.
"""

from __future__ import annotations

import os
import socket
import time
import uuid

from redis import RedisError

from service.config import Config, ConfigError
from service.domain.store_errors import in_one_line
from service.model.keys import b64url
from service.model.operations.process_log import say_at_times
from service.model.time import clock
from service.runtime import Runtime
from service.store import WORKER
from workers.http.transport import Transport
from workers.rq_worker import stopping
from workers.sending import wire
from workers.sending.fanout import FanOut

JOB = 240.0  # seconds after which a job ends, however much is left to send

_name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
_runtime: Runtime | None = None
_fan_out: FanOut | None = None


def name() -> str:
    """Return the name by which the store knows this process."""
    return _name


def runtime() -> Runtime:
    """Return the parts of this process, made by the first call: two processes share no socket."""
    global _runtime
    if _runtime is None:
        config = Config.read(os.environ)
        if not config.vapid_private_key:
            raise ConfigError("VAPID_PRIVATE_KEY is not set (`stoppress keys` makes one)")
        _runtime = Runtime.start(config, "worker", WORKER)
    return _runtime


def send() -> None:
    """Send until nothing is due, the most urgent alerts first."""
    global _fan_out
    if _fan_out is None:
        _fan_out = _new_fan_out(runtime())
    until = time.monotonic() + JOB
    try:
        _fan_out.run(lambda: not stopping.is_set() and time.monotonic() < until)
    except RedisError as error:
        # The clock starts another job as soon as there is a Redis again.
        say_at_times("worker", in_one_line(error))
        _drop()
    except BaseException:
        _drop()
        raise


def _drop() -> None:
    """Give up the connections, which still carry messages of this run; the next makes new ones."""
    global _fan_out
    if _fan_out is not None:
        _fan_out.close()
        _fan_out = None


def _new_fan_out(runtime: Runtime) -> FanOut:
    config = runtime.config
    transport = Transport(
        streams=config.push_window,
        ca_bundle=config.push_ca_bundle,
        plain_origins=runtime.endpoints.plain_origins,
        may_connect=runtime.endpoints.may_connect,
        proxy=config.proxy_to,
        now=clock.time,
    )
    signers = {
        b64url(key.public): wire.VapidSigner(key, config.vapid_contact)
        for key in runtime.keys.vapid
    }
    return FanOut(_name, runtime, transport, signers)
