"""Makes messages: whom of some readers an alert still reaches, and what leaves for each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.model.delivery_rules import OVER
from service.model.notifications import Outcome
from service.model.subscriptions import Record, SubscriptionId
from service.runtime import Runtime
from service.store.held_alerts import NOTHING, Brought
from service.store.records import BUCKET
from workers.sending import wire
from workers.sending.health import Health
from workers.sending.lease import Lease
from workers.sending.prepared_keys import Pool
from workers.sending.send import Base, Bases, Rows


@dataclass(slots=True)
class Message:
    """One message, about to leave or under way; `body` is the encrypted `plaintext`."""

    lease: Lease
    number: int
    record: Record
    base: Base
    revision: int
    brought: Brought
    plaintext: bytes
    headers: wire.Headers
    body: bytes = b""


class Messages:
    """Makes the messages of one worker process, which are counted as started in `health`."""

    def __init__(
        self,
        runtime: Runtime,
        bases: Bases,
        health: Health,
        signers: Mapping[str, wire.VapidSigner],
    ) -> None:
        self._bases = bases
        self._health = health
        self._signers = signers
        self._pool = Pool(runtime)
        self._salts = wire.salts()

    def make(self, lease: Lease, rows: Rows) -> list[Message]:
        """Return a message for each of `rows` that gets one; why the others do not is noted.

        Each step is taken for all of them before the next: `wire.derive_all` has the reason.
        """
        now = time.time()
        made: list[Message] = []
        for number, record in rows:
            lease.begun = True
            message = self._addressed(lease, number, record, now)
            if message is None:
                self._health.not_started(self._bases[record.base].service)
            else:
                made.append(message)
        keys = self._keys(lease, made)
        return [
            message for message, key in zip(made, keys, strict=True) if self._seal(message, key)
        ]

    def put_back_keys(self, lease: Lease) -> None:
        """Give back the prepared keys that a batch did not need."""
        for bucket, keys in lease.keys.items():
            self._pool.put_back(lease.batch.partition, bucket, keys)

    def _addressed(self, lease: Lease, number: int, record: Record, now: float) -> Message | None:
        """Return what a reader is to receive, or note why nothing."""
        base = self._bases[record.base]
        send = lease.send
        ruling = send.rules.of(record, now)
        if now > send.last_start:
            lease.note(number, Outcome.EXPIRED, base)
            return None
        if lease.pass_over(number, ruling):
            return None  # quiet hours have begun since it was read
        if ruling.waits_until:
            lease.later = min(lease.later, ruling.waits_until)
            return None
        signer = self._signers.get(self._bases.vapid_key(record.vapid_key))
        if signer is None or not base.allowed:
            # Checked when it was stored: only a changed PUSH_SERVICES or key set comes here.
            lease.note(number, Outcome.REFUSED, base)
            return None
        said = self._said(lease, SubscriptionId(lease.batch.partition, number), record)
        if said is None:
            lease.pass_over(number, OVER)
            return None
        headers = send.headers(base.origin, signer, now, ruling.expires)
        return Message(lease, number, record, base, send.revision, *said, headers)

    @staticmethod
    def _said(lease: Lease, id: SubscriptionId, record: Record) -> tuple[Brought, bytes] | None:
        """Return in a wave which alerts it brings, and what a reader's browser is to receive.

        None where nothing of what was held is left.
        """
        if lease.send.digest is not None:
            return lease.send.digest.message(id, lease.held[id.number], record)
        return NOTHING, lease.send.message(lease.receipts[id.number], record)

    def _keys(self, lease: Lease, messages: Sequence[Message]) -> list[wire.PreparedKey | None]:
        """Return a key for each message: derived in idle time, else now; None where that fails."""
        keys = [self._prepared(lease, one.number, one.record) for one in messages]
        lacking = [one.record for one, key in zip(messages, keys, strict=True) if key is None]
        derived = iter(wire.derive_all([(record.p256dh, record.auth) for record in lacking]))
        return [next(derived) if key is None else key for key in keys]

    def _prepared(self, lease: Lease, number: int, record: Record) -> wire.PreparedKey | None:
        """Return a key that was derived in idle time, if there is one."""
        if lease.sparse:
            return None
        bucket = number // BUCKET
        if bucket not in lease.keys:
            lease.keys[bucket] = self._pool.take(lease.batch.partition, bucket)
        key = lease.keys[bucket].pop(number, None)
        return key if key is not None and key.fits(record.p256dh, record.auth) else None

    def _seal(self, message: Message, key: wire.PreparedKey | None) -> bool:
        """Encrypt a message; False, and noted, where that cannot be."""
        if key is not None:
            with suppress(ValueError):
                message.body = wire.seal(message.plaintext, key, salt=next(self._salts))
                return True
        # Checked when it was stored: only what another version wrote comes here.
        message.lease.note(message.number, Outcome.REFUSED, message.base)
        self._health.not_started(message.base.service)
        return False
