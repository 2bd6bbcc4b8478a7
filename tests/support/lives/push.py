"""Push services without sockets: each message is answered as a test says, or never."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, Protocol

from tests.support.lives.killing import Killed, in_another_process
from tests.support.lives.readers import Reader, Shown
from tests.support.lives.stopped_time import StoppedTime
from workers.http.transport import Answer
from workers.sending.messages import Message

_LATE = 0.02  # seconds until a message is answered
# Answers of a push service: status, Retry-After, and why there is none.
ANSWERS: dict[str, tuple[int, float | None, str]] = {
    "accepted": (201, None, ""),
    "gone": (410, None, ""),
    "not found": (404, None, ""),
    "too large": (413, None, ""),
    "limited": (429, 2.0, ""),
    "fails": (500, None, ""),
    "away": (503, 1.0, ""),
    "rejected": (403, None, ""),
    "wrong": (400, None, ""),
    "lost": (0, None, "timed out"),
    "not processed": (0, None, "refused"),
}
MOODS: dict[str, tuple[str, ...]] = {
    "well": ("accepted",),
    "one in five": ("accepted",) * 4 + ("gone",),
    "tired": ("accepted", "limited", "away", "fails"),
    "away": ("away",),
    "silent": ("lost",),
    "odd": (*ANSWERS,),
}


@dataclass
class Run:
    """What a worker does in one job, as a witness knows it."""

    began: float
    under_way: list[Sent] = field(default_factory=list)
    shown: list[tuple[Reader, Shown]] = field(default_factory=list)
    wrong: list[AssertionError] = field(default_factory=list)
    late: set[int] = field(default_factory=set)  # messages under way when its leases ended


class Sent(NamedTuple):
    """A message as its push service has it."""

    run: Run

    message: Message
    origin: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Watch(Protocol):
    """Sees each message as it leaves, and as it is answered."""

    def starts(self, sent: Sent) -> None:
        """A message leaves."""

    def answered(self, sent: Sent, kind: str) -> None:
        """It gets this answer of `ANSWERS`."""


class PretendedPush:
    """Does what `Transport` does, for the push services of `ORIGINS`."""

    run: Run  # of the worker whose messages these are

    def __init__(
        self, window: int, time: StoppedTime, moods: Mapping[str, str], watch: Watch
    ) -> None:
        """Answer by the mood of each origin; `watch` is told, and may have something happen."""
        self._window, self._time, self._moods, self._watch = window, time, moods, watch
        self.chance = Random(0)
        self.amid: Callable[[], object] | None = None  # happens while messages are under way
        self.kill_after = -1  # messages; negative: it is not killed

    @property
    def free(self) -> int:
        return self._window - len(self.run.under_way)

    @property
    def is_busy(self) -> bool:
        return bool(self.run.under_way)

    def room(self, _origin: str, _group: str = "", *, wanted: int = 1, gently: bool = False) -> int:
        return self.free

    def start(self, key: Message, origin: str, path: str, headers: Any, body: bytes) -> None:
        if self.kill_after == 0:
            raise Killed
        self.kill_after -= 1
        sent = Sent(self.run, key, origin, path, dict(headers), body, self._time.now)
        self.run.under_way.append(sent)
        try:
            self._watch.starts(sent)
        except AssertionError as error:  # a worker would wait for answers before it fails
            self.run.wrong.append(error)

    def flush(self) -> None:
        pass

    def poll(self, _timeout: float) -> list[Answer[Any]]:
        self._time.move_on(_LATE)
        waiting = self.run.under_way
        if waiting and (amid := self.amid) is not None:
            self.amid = None
            with in_another_process():
                amid()
        # Not all at once, and not in order.
        self.chance.shuffle(waiting)
        some = self.chance.randint(1, 1 + len(waiting))
        answered = [waiting.pop() for _ in range(min(some, len(waiting)))]
        return [self._answer(one) for one in answered]

    def _answer(self, sent: Sent) -> Answer[Any]:
        kind = self.chance.choice(MOODS[self._moods.get(sent.origin, "well")])
        try:
            self._watch.answered(sent, kind)
        except AssertionError as error:
            self.run.wrong.append(error)
        status, retry_after, why = ANSWERS[kind]
        untouched = kind == "not processed" or status in (429, 503)
        return Answer(sent.message, status, retry_after, why, untouched, took=_LATE)

    def unreachable(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass
