"""What browsers report of each notification, counted. All in the slot `{g}`.

n:<id>:<event>  HyperLogLog: the browsers that reported this event
n:<id>:tallies  hash: how many of them have a push service, a language and so on (`Tally`), and
                within how many seconds they showed it;
                `left`, how many readers left after this notification

Both end by themselves, some days after the last receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis

from service.store.alerts.notifications import alert_key
from service.store.redis_servers.commands import some_at_once
from service.store.redis_servers.scripts import lua

_LEFT = "left"


class Tally(NamedTuple):
    """One of the tallies of a notification, such as clicked, language, en."""

    event: str
    kind: str
    value: str

    def __str__(self) -> str:
        return " ".join(self)


class ReceiptRow(NamedTuple):
    """A receipt, and the tallies in which it counts."""

    id: int
    event: str
    subscription: str
    tallies: Sequence[Tally] = ()
    seconds: float | None = None  # from the alert's beginning until it was on the screen


class Counted(NamedTuple):
    """What is counted of one notification."""

    events: dict[str, int]  # how many browsers reported each event, to about 1 %
    tallies: dict[Tally, int]
    left: int


class ReceiptCounts:
    """Counts of receipts."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = redis.register_script(lua(__file__, "count_receipts"))

    def count(self, rows: Iterable[ReceiptRow], kept: int) -> list[int]:
        """Count receipts, and return what each added; they are kept for so many seconds.

        A HyperLogLog takes up to 12 KB, tallies 1 or 2 KB.
        """
        added: list[int] = []
        for some in some_at_once(rows, arguments=4):
            keys: list[str] = []
            args: list[str | int] = [kept]
            for one in some:
                keys += [_event_key(one.id, one.event), _tallies_key(one.id)]
                args += [one.subscription, "\n".join(map(str, one.tallies))]
            added += cast("list[int]", self._count(keys=keys, args=args))
        return added

    def count_left(self, id: int, kept: int) -> None:
        """Count that a reader left after this notification."""
        with self._redis.pipeline() as pipe:
            pipe.hincrby(_tallies_key(id), _LEFT, 1)
            pipe.expire(_tallies_key(id), kept)
            pipe.execute()

    def events(self, id: int, events: Sequence[str]) -> dict[str, int]:
        """Return how many browsers reported each event, to about 1 % (HyperLogLog)."""
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.pfcount(_event_key(id, event))
            return dict(zip(events, pipe.execute(), strict=True))

    def all(self, ids: Sequence[int], events: Sequence[str]) -> list[Counted]:
        """Return all that is counted of each of these notifications."""
        with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                for event in events:
                    pipe.pfcount(_event_key(id, event))
                pipe.hgetall(_tallies_key(id))
            found = pipe.execute()
        width = len(events) + 1
        return [
            _counted(dict(zip(events, found[at:], strict=False)), found[at + width - 1])
            for at in range(0, len(found), width)
        ]


def _counted(events: dict[str, int], row: dict[bytes, bytes]) -> Counted:
    """Return what is counted; leave out a count that only a newer release knows."""
    found = {tuple(name.decode().split(" ", 2)): int(n) for name, n in row.items()}
    left = found.get((_LEFT,), 0)
    tallies = {Tally(*words): n for words, n in found.items() if len(words) == len(Tally._fields)}
    return Counted(events, tallies, left)


def _event_key(id: int, event: str) -> str:
    return f"{alert_key(id)}:{event}"


def _tallies_key(id: int) -> str:
    return f"{alert_key(id)}:tallies"
