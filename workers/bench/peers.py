"""Other senders, which send the same message to the same sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import requests
from py_vapid import Vapid
from pywebpush import webpush

from service.local import pretend_readers
from service.model.keys import b64url
from service.model.payload import Payload
from service.model.subscriptions import SubscriptionId
from workers.bench.figures import Bench
from workers.bench.installation import CONTENT, BenchInstallation
from workers.trials.installation import SUBJECT

PYWEBPUSH_MESSAGES = 1000


Measure: TypeAlias = Callable[[], float]  # returns the CPU seconds of a message


class Absent(Exception):
    """A peer that cannot run here; the message says why."""


def payload(installation: BenchInstallation) -> bytes:
    """Return the latest alert as a browser gets it."""
    latest = installation.runtime.publishing.latest(1)[0]
    receipt = installation.runtime.tokens.receipt(latest.id, SubscriptionId(0, 0))
    return Payload(latest, installation.runtime.config.public_url).carrying(receipt)


def subscription(installation: BenchInstallation, number: int) -> dict[str, Any]:
    """Return a pretend subscription as a browser gives it to a page."""
    p256dh, auth = pretend_readers.keys(number)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    return {"endpoint": installation.sinks[0].origin + pretend_readers.path(number), "keys": keys}


def pywebpush_session(installation: BenchInstallation, bench: Bench) -> Measure:
    """Prepare pywebpush's `webpush()` in its best case: one session, the key read beforehand."""
    vapid = Vapid.from_raw(installation.runtime.keys.vapid[0].text.encode())
    subscriptions = [subscription(installation, number) for number in range(PYWEBPUSH_MESSAGES)]

    def measure() -> float:
        text = payload(installation).decode()
        with bench.bar("pywebpush", len(subscriptions)) as step, requests.Session() as session:
            session.trust_env = False
            session.verify = str(installation.sinks[0].ca_file)
            cpu = time.thread_time()
            for number, subscription in enumerate(subscriptions, 1):
                webpush(  # raises for any response that is not a 2xx
                    subscription,
                    text,
                    vapid_private_key=vapid,
                    vapid_claims={"sub": SUBJECT},
                    ttl=CONTENT.ttl,
                    headers={"Urgency": CONTENT.urgency},
                    requests_session=session,
                    timeout=10,
                )
                step(number)
            return (time.thread_time() - cpu) / len(subscriptions)

    return measure


Peers: TypeAlias = Mapping[str, Callable[[BenchInstallation, Bench], Measure]]
PEERS: Peers = {
    "pywebpush, one session": pywebpush_session,
}
