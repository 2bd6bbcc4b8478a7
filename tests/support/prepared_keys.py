"""Filling the pool of prepared keys, and taking keys from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from service.store.layout.records import BUCKET
from tests.support.processes.installation import wait_until
from workers.sending import wire
from workers.sending.prepared_keys import Filler, Pool
from workers.sending.wire import PreparedKey

READERS = 2 * BUCKET


@contextmanager
def filling(runtime: Runtime) -> Iterator[Filler]:
    """A running filler."""
    filler = Filler(runtime)
    filler.start()
    try:
        yield filler
    finally:
        end(filler)


def end(filler: Filler) -> None:
    """Stop a filler and wait for its thread, which uses a Redis that the test may end next."""
    filler.stop()
    wait_until(lambda: not any(one.name == "prepare keys" for one in threading.enumerate()))


def fill(runtime: Runtime) -> None:
    """Derive a key for every reader."""
    everyone = runtime.store.subscriptions.count()
    with filling(runtime):
        wait_until(lambda: runtime.store.prepared_keys.ready() == everyone)


def take_all(pool: Pool) -> dict[int, PreparedKey]:
    return {**pool.take(0, 0), **pool.take(0, 1)}


def publics(keys: dict[int, PreparedKey]) -> set[bytes]:
    return {key.public for key in keys.values()}


def give_other_keys(runtime: Runtime, number: int) -> None:
    """Store new keys for a reader, as a browser does that has subscribed again."""
    id = SubscriptionId(0, number)
    before = runtime.store.subscriptions.get(id)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    p256dh = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    requested = SubscriptionRequest(before.endpoint, p256dh, os.urandom(16), before.vapid_key)
    runtime.store.subscriptions.change(id, requested)


def watch_derivations(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None] = lambda _: None
) -> list[PreparedKey]:
    """Return a list of all keys derived from now on; `then` gets its length after each one."""
    derive, derived = wire.derive, []

    def watched(p256dh: bytes, auth: bytes) -> PreparedKey:
        derived.append(derive(p256dh, auth))
        then(len(derived))
        return derived[-1]

    monkeypatch.setattr(wire, "derive", watched)
    return derived
