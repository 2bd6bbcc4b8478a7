"""What RQ calls, by name: plan a fan-out, send what is due of it.

A job says only that there is work. Run twice, late or for nothing, it does no harm.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid

from service.config import Config
from service.models import State
from service.runtime import Runtime
from workers.fanout import FanOut, Workshop

JOB = 30.0  # seconds after which a job gives its place up, however much is left

# Set when this process is asked to end: what is under way is finished, nothing more is begun.
stopping = threading.Event()

_workshop: Workshop | None = None


def workshop() -> Workshop:
    """Return this process's workshop, made at the first job: no socket crosses a fork."""
    global _workshop
    if _workshop is None:
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        _workshop = Workshop.open(name, Runtime.open(Config.read(os.environ), patient=True))
    return _workshop


def plan(notification_id: int) -> None:
    """Freeze the audience of a notification and cut it into batches."""
    workshop().runtime.publishing.plan(notification_id)


def send_batch(notification_id: int) -> None:
    """Send what is due of a notification, until nothing is or something else waits."""
    global _workshop
    shop = workshop()
    publishing = shop.runtime.publishing
    notification = shop.runtime.store.sending.get(notification_id)
    if notification is None or notification.state is not State.SENDING or stopping.is_set():
        return
    until = time.monotonic() + JOB

    def may_go_on() -> bool:
        ours = not stopping.is_set() and time.monotonic() < until
        return ours and not publishing.others_waiting(notification_id)

    try:
        FanOut(shop, notification, may_go_on).run()
    except BaseException:
        # Its connections still carry messages of this run: the next one starts with new ones.
        _workshop = None
        shop.transport.close()
        raise
    publishing.advance(notification_id)
