"""One push service is sick: the others' readers have their alert as soon as ever.

Two push services on real sockets, each with half of the readers. The rates that are compared are
of the same worker in the same minute, one alert after another. The healthy one answers half a
second late, so that it is its answers that set the pace and not the machine's other work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.house import House, wait_until
from tests.push_service import Answer, PushService, Rule, every

pytestmark = pytest.mark.once

READERS = 700  # of each push service
LATE = Answer(delay=0.5)


@pytest.fixture
def sick() -> Iterator[PushService]:
    with PushService() as service:
        yield service


@pytest.fixture
def house(redis_url: str, push: PushService, sick: PushService, tmp_path: Path) -> Iterator[House]:
    with House(redis_url, push, tmp_path, others=[sick]) as house:
        push.answer_with(lambda _message: LATE)
        sick.answer_with(lambda _message: LATE)
        yield house


def answers(rule: Rule) -> Callable[[PushService], AbstractContextManager[None]]:
    @contextmanager
    def befall(service: PushService) -> Iterator[None]:
        service.answer_with(rule)
        yield
        service.answer_with(lambda _message: LATE)

    return befall


@contextmanager
def bad_certificate(service: PushService) -> Iterator[None]:
    service.present("wrong name")
    yield
    service.present("good")


def sometimes(answer: Answer) -> Rule:
    """Every twentieth message of a connection; the others as ever."""
    rule = every(20, answer)
    return lambda message: rule(message) or LATE


SICK = {
    "answers 429 with Retry-After": answers(lambda _: Answer(429, {"retry-after": "2"})),
    "answers 503": answers(lambda _: Answer(503)),
    "hangs": answers(lambda _: Answer(hang=True)),
    "resets every connection": answers(lambda _: Answer(reset=True)),
    "resets a connection after twenty": answers(sometimes(Answer(reset=True))),
    "closes a connection after twenty without a word": answers(sometimes(Answer(close=True))),
    "goes away after twenty": answers(sometimes(Answer(goaway=True))),
    "refuses every twentieth stream": answers(sometimes(Answer(refuse_stream=True))),
    "presents a bad certificate": bad_certificate,
}


@pytest.mark.parametrize("what", SICK)
def test_readers_elsewhere_wait_no_longer_for_a_push_service_that(
    what: str, house: House, push: PushService, sick: PushService
) -> None:
    house.seed(2 * READERS)
    house.worker()
    house.clock()
    ratios: list[float] = []
    # What else the machine does can only slow one of the two down: of three tries the best counts.
    while len(ratios) < 3 and max(ratios, default=0.0) < 0.9:
        well = rate(house, push)
        wait_until(lambda: not house.runtime.store.notifications.active(), timeout=60)
        with SICK[what](sick):
            ratios.append(rate(house, push) / well)
    assert max(ratios) >= 0.9


def rate(house: House, push: PushService) -> float:
    """Publish to everybody; return how many a second the healthy push service then takes.

    Without the first quarter, in which connections are made and their windows open.
    """
    before = len(push.received)
    house.publish()
    push.wait_for(before + READERS, timeout=60)
    came = sorted(message.at for message in push.received[before:])
    start = len(came) // 4
    return (len(came) - start) / (came[-1] - came[start])
