"""Makes the messages for recipients, or notes why a recipient gets none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.model.delivery_rules import OVER
from service.model.notifications import Outcome
from service.model.subscriptions import Record, SubscriptionId
from service.model.time import clock
from service.store.layout.names import NameTable
from service.store.layout.records import BUCKET
from service.store.sending.held_alerts import NOTHING, WaveDelivery
from workers.sending import wire
from workers.sending.destinations import Base, Bases
from workers.sending.health import Health
from workers.sending.lease import Lease
from workers.sending.prepared_keys import Pool
from workers.sending.send import Rows

# Seconds after which a reader is looked at again who waits to know which of two texts was chosen.
_UNTIL_CHOSEN = 0.5


@dataclass(slots=True)
class Message:
    """One message that is being made or under way."""

    lease: Lease
    number: int
    record: Record
    base: Base
    revision: int  # of the alert's text
    delivery: WaveDelivery  # in a wave, the held alerts that it delivers
    plaintext: bytes
    headers: wire.Headers
    text: str = ""  # which of two texts it is, for a reader in their sample
    body: bytes = b""  # the encrypted plaintext


class Messages:
    """Makes the messages of one worker process. `health` has counted them as started."""

    def __init__(
        self,
        pool: Pool,
        bases: Bases,
        vapid_keys: NameTable,
        health: Health,
        signers: Mapping[str, wire.VapidSigner],
    ) -> None:
        self._pool = pool
        self._bases = bases
        self._vapid_keys = vapid_keys
        self._health = health
        self._signers = signers
        self._salts = wire.salts()

    def make(self, lease: Lease, rows: Rows) -> list[Message]:
        """Return the messages for `rows`, and note why a recipient gets none.

        Each step is taken for all of them before the next: `wire.derive_all` says why.
        """
        now = clock.time()
        made: list[Message] = []
        for number, record in self._without_outdated(lease, rows):
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

    def _without_outdated(self, lease: Lease, rows: Rows) -> Rows:
        """Leave out readers who got a newer alert of the same story, which must stay on screen.

        This is asked so late because a message may wait for long after it was admitted. In a wave,
        the held alerts are left out that a newer one has replaced.
        """
        send, partition = lease.send, lease.batch.partition
        if send.digest is not None:
            held = {number: lease.held[number] for number, _ in rows}
            lease.held |= send.digest.still_held(partition, held)
        outdated = send.outdated(partition, rows)
        if not outdated:
            return rows
        for number, record in rows:
            if number in outdated:
                lease.pass_over(number, OVER)
                self._health.not_started(self._bases[record.base].service)
        return [row for row in rows if row[0] not in outdated]

    def _addressed(self, lease: Lease, number: int, record: Record, now: float) -> Message | None:
        """Return a message that is not encrypted yet, or note why there is none."""
        base = self._bases[record.base]
        send = lease.send
        ruling = send.rules.of(record, now)
        if now > send.last_start:
            lease.note(number, Outcome.EXPIRED, base, answered=False)
            return None
        if lease.pass_over(number, ruling):
            return None  # quiet hours began since the recipient was admitted
        if ruling.waits_until:
            lease.later = min(lease.later, ruling.waits_until)
            return None
        signer = self._signers.get(self._vapid_keys.name(record.vapid_key))
        if signer is None or not base.allowed:
            # Both were checked when it was stored; PUSH_SERVICES or the keys have changed since.
            lease.note(number, Outcome.REFUSED, base, answered=False)
            return None
        if self._health.is_dead(base.service):
            lease.note(number, Outcome.REFUSED, base, answered=False, is_dead=True)
            return None
        text = send.text_of(lease.batch.partition, number)
        if text is None:
            lease.later = min(lease.later, now + _UNTIL_CHOSEN)
            return None
        content = self._content(lease, number, record, text)
        if content is None:
            lease.pass_over(number, OVER)
            return None
        headers = send.headers(base.origin, signer, now, ruling.expires)
        return Message(lease, number, record, base, send.revision, *content, headers, text)

    @staticmethod
    def _content(
        lease: Lease, number: int, record: Record, text: str
    ) -> tuple[WaveDelivery, bytes] | None:
        """Return the held alerts that a message delivers, and its plaintext.

        None in a wave, if none of the held alerts is left.
        """
        send, small = lease.send, number in lease.small
        if send.digest is not None:
            id = SubscriptionId(lease.batch.partition, number)
            return send.digest.message(id, lease.held[number], record, small=small)
        return NOTHING, send.message(lease.receipts[number], record, text=text, small=small)

    def make_small(self, message: Message) -> bool:
        """Give the recipient of a message a smaller one from now on; False if there is none."""
        lease, number = message.lease, message.number
        lease.small.add(number)
        content = self._content(lease, number, message.record, message.text)
        return content is None or len(content[1]) < len(message.plaintext)

    def _keys(self, lease: Lease, messages: Sequence[Message]) -> list[wire.PreparedKey | None]:
        """Return a key for each message, prepared or derived now; None where that fails."""
        keys = [self._prepared(lease, one.number, one.record) for one in messages]
        lacking = [one.record for one, key in zip(messages, keys, strict=True) if key is None]
        derived = iter(wire.derive_all([(record.p256dh, record.auth) for record in lacking]))
        return [next(derived) if key is None else key for key in keys]

    def _prepared(self, lease: Lease, number: int, record: Record) -> wire.PreparedKey | None:
        """Return the key that was prepared for a recipient, if there is one."""
        if lease.sparse:
            return None
        bucket = number // BUCKET
        if bucket not in lease.keys:
            lease.keys[bucket] = self._pool.take(lease.batch.partition, bucket)
        key = lease.keys[bucket].pop(number, None)
        return key if key is not None and key.fits(record.p256dh, record.auth) else None

    def _seal(self, message: Message, key: wire.PreparedKey | None) -> bool:
        """Encrypt a message; return False, and note it, if that fails."""
        if key is not None:
            try:
                message.body = wire.seal(message.plaintext, key, salt=next(self._salts))
            except ValueError:
                pass
            else:
                return True
        # Keys are checked when they are stored, so another version wrote this record.
        message.lease.note(message.number, Outcome.REFUSED, message.base, answered=False)
        self._health.not_started(message.base.service)
        return False

    def put_back_keys(self, lease: Lease) -> None:
        """Give back the prepared keys that a batch did not use."""
        for bucket, keys in lease.keys.items():
            self._pool.put_back(lease.batch.partition, bucket, keys)
