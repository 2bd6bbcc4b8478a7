"""Pretend subscriptions for trials and benchmarks: valid keys, endpoints like Google's.

Everything about subscription n follows from n, so that a pretend push service can decrypt its
messages. 1,024 key pairs take turns, because making a million takes longer than storing them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.model.network.endpoints import Endpoint, EndpointPolicy
from service.model.preferences import NO_QUIET, UNLIMITED
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.store import Store
from service.store.layout.bitmaps import bitmap_key
from service.store.layout.records import digest_of

KEY_PAIRS = 1024
CHUNK = 4096  # subscriptions written at once
# A reader's zone, and the fields of `Preferences` that are set.
Chosen: TypeAlias = "tuple[str, Mapping[str, Any]]"


class RealReadersError(Exception):
    """The store has real readers."""


@lru_cache(maxsize=KEY_PAIRS)
def private_key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return the private key behind `p256dh` of subscription `number`."""
    scalar = hashlib.sha256(b"stop-press pretend %d" % (number % KEY_PAIRS)).digest()
    return ec.derive_private_key(int.from_bytes(scalar, "big") >> 1 or 1, ec.SECP256R1())


@lru_cache(maxsize=KEY_PAIRS)
def _p256dh(pair: int) -> bytes:
    public = private_key(pair).public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def keys(number: int) -> tuple[bytes, bytes]:
    """Return `p256dh` and `auth` of subscription `number`."""
    return _p256dh(number % KEY_PAIRS), hashlib.sha256(b"auth %d" % number).digest()[:16]


def path(number: int) -> str:
    """Return an endpoint's path of the length and shape of Google's: 162 characters."""
    seed = b"endpoint %d" % number
    text = base64.urlsafe_b64encode(hashlib.shake_128(seed).digest(114)).decode()
    return f"/fcm/send/{text[:11]}:{text[11:151]}"


def undisturbed(_number: int) -> Chosen:
    """Choose preferences that never hold an alert back, so that trials at night work alike."""
    return "Europe/Riga", {"quiet": NO_QUIET, "daily_limit": UNLIMITED}


def seed(
    store: Store,
    count: int,
    *,
    origins: Sequence[str],
    vapid_key: str,
    topics: Sequence[str],
    first: int = 0,
    choose: Callable[[int], Chosen] = undisturbed,
) -> Iterator[int]:
    """Store `count` pretend subscriptions; yields how many are stored, after each chunk.

    They are spread over `origins` in turn. Each follows one of `topics`, every third two of them,
    and has the preferences that `choose` returns for its number. Raises `RealReadersError` rather
    than mix them with real ones.
    """
    if store.subscriptions.count() and not store.installation.synthetic():
        raise RealReadersError(
            "this store has real readers, and alerts to them would go to the pretend ones too"
        )
    store.installation.mark_synthetic()
    bases = [EndpointPolicy((origin,)).parse(origin + "/fcm/send/x").base for origin in origins]
    store.seeds.mark(bases)
    partitions = store.partitions
    chunks: dict[int, list[SubscriptionRequest]] = {partition: [] for partition in partitions}
    stored = 0
    for number in range(first, first + count):
        requested = _request(number, bases, vapid_key, topics, choose(number))
        partition = partitions.of(digest_of(requested.endpoint.url))
        chunks[partition].append(requested)
        if len(chunks[partition]) == CHUNK:
            store.seeds.store({partition: chunks[partition]})
            chunks[partition] = []
            yield (stored := stored + CHUNK)
    store.seeds.store({partition: rest for partition, rest in chunks.items() if rest})
    yield count


def remove(store: Store) -> Iterator[int]:
    """Remove all pretend subscriptions, and no others; yields how many, after each chunk.

    They are known by their keys, whose private halves follow from their numbers. Cut off, it goes
    on where it was when it is called again.
    """
    pretended = {_p256dh(pair) for pair in range(KEY_PAIRS)}
    removed = 0
    for partition in store.partitions:
        made = 8 * store.redis.strlen(bitmap_key(partition, "live"))
        for first in range(0, made, CHUNK):
            numbers = range(first, min(first + CHUNK, made))
            ids = [
                SubscriptionId(partition, number)
                for number, record in store.records.read(partition, numbers)
                if record is not None and record.p256dh in pretended
            ]
            yield (removed := removed + store.subscriptions.remove_all(ids))
    store.installation.unmark_synthetic()
    store.seeds.unmark()


def follows(number: int, topics: Sequence[str]) -> frozenset[str]:
    """Return which of `topics` subscription `number` follows."""
    followed = {topics[number % len(topics)]} if topics else set()
    if topics and number % 3 == 0:
        followed.add(topics[number // 3 % len(topics)])
    return frozenset(followed)


def _request(
    number: int, bases: Sequence[str], vapid_key: str, topics: Sequence[str], chosen: Chosen
) -> SubscriptionRequest:
    endpoint = Endpoint(bases[number % len(bases)], path(number)[len("/fcm/send/") :])
    p256dh, auth = keys(number)
    zone, preferences = chosen
    return SubscriptionRequest(
        endpoint,
        p256dh,
        auth,
        vapid_key,
        follows(number, topics),
        "en-GB",
        zone,
        chosen=preferences,
    )


def stretch(store: Store, ids: int) -> None:
    """Extend the bitmaps of a store with pretend subscriptions to about `ids`.

    The additional ids are live and follow the topics in turn, but have no records, like readers
    who left after an audience was frozen. Each partition gets its share of them.
    """
    topics = list(store.topics.all())
    for partition in store.partitions:
        live = bitmap_key(partition, "live")
        first = store.redis.strlen(live)  # the byte at which the additional ids begin
        beyond = ids // len(store.partitions) // 8 - first
        if beyond <= 0:
            continue
        for kind in ("live", "gone"):
            bits = b"\xff" if kind == "live" else b"\0"
            store.redis.setrange(bitmap_key(partition, kind), first, bits * beyond)
        for number, slug in enumerate(topics):
            period = bytearray(len(topics))
            for bit in range(number, 8 * len(topics), len(topics)):
                period[bit // 8] |= 0x80 >> bit % 8
            pattern = bytes(period) * -(-beyond // len(topics))
            store.redis.setrange(bitmap_key(partition, "topic", slug), first, pattern[:beyond])
