"""A failing push service does not slow down the readers of another one.

Two push services on real sockets have half of the readers each. The compared rates are of the same
worker in the same minute, one alert after another. The healthy push service answers half a second
late, so that its answers set the pace and not the other work of this machine.
"""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.model.notifications import Audience
from tests.support.client import API, Client
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, PushService, Rule, every
from tests.support.short_forms import cases
from workers.trials.processes import Process

READERS = 700  # of each push service
LATE = Answer(delay=0.5)
WINDOW = 256


@pytest.fixture
def sick(request: pytest.FixtureRequest) -> Iterator[PushService]:
    with PushService(http2=getattr(request, "param", True)) as service:
        yield service


@pytest.fixture
def installation(
    redis_url: str, push: PushService, sick: PushService, tmp_path: Path
) -> Iterator[Installation]:
    with Installation(
        redis_url, push, tmp_path, others=[sick], PUSH_WINDOW=str(WINDOW)
    ) as installation:
        push.answer_with(lambda _message: LATE)
        sick.answer_with(lambda _message: LATE)
        yield installation


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
    """Give this answer to every twentieth message of a connection."""
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


# One fault of a connection that stays, and one of a connection that ends. That no other push
# service is slowed by the pace of one is shown in `test_pace.py`.
SHORT = {"hangs", "resets a connection after twenty"}


@pytest.mark.alone
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what in SHORT else pytest.mark.soak) for what in SICK]
)
def test_readers_elsewhere_wait_no_longer_if_a_push_service(
    what: str, installation: Installation, push: PushService, sick: PushService
) -> None:
    installation.seed(2 * READERS)
    installation.worker()
    installation.clock()
    ratios: list[float] = []
    # Other work of the machine can only slow one of the two down: the best of three tries counts.
    while len(ratios) < 3 and max(ratios, default=0.0) < 0.9:
        well = rate(installation, push)
        wait_until(lambda: not installation.runtime.store.notifications.active(), timeout=60)
        with SICK[what](sick):
            ratios.append(rate(installation, push) / well)
    assert max(ratios) >= 0.9


def rate(installation: Installation, push: PushService) -> float:
    """Publish to everyone; return the messages a second that the healthy push service takes.

    The first quarter is left out: connections are made then, and their windows open.
    """
    before = len(push.received)
    installation.publish()
    push.wait_for(before + READERS, timeout=60)
    came = sorted(message.at for message in push.received[before:])
    start = len(came) // 4
    return (len(came) - start) / (came[-1] - came[start])


@pytest.mark.parametrize("sick", cases({"HTTP/2": True, "HTTP/1.1": False}, most=1), indirect=True)
def test_answers_of_ten_megabytes_take_no_memory_and_delay_no_other_reader(
    installation: Installation, push: PushService, sick: PushService
) -> None:
    bodies = {status: Answer(status, body=bytes(10_000_000)) for status in (201, 400)}
    sick.answer_with(lambda message: bodies[400 if message.path[-1] in "aeiou" else 201])
    push.answer_with(lambda _message: None)
    installation.seed(200)
    worker = installation.worker()
    installation.clock()
    installation.over(
        installation.publish(Audience(subscription=installation.reader(0)))
    )  # warms the worker up
    before = most_memory(worker)

    id = installation.publish()
    installation.over(id)

    assert len({message.path for message in push.received}) == 100
    answered = {message.path: message.status for message in sick.received}
    assert len(answered) == 100
    refused = sum(status == 400 for status in answered.values())
    assert 0 < refused < 50
    assert installation.outcomes(id) == {"accepted": 200 - refused, "refused": refused}
    assert most_memory(worker) - before < 20_000_000, "two bodies; 16 come together"


def most_memory(process: Process) -> int:
    """The most resident memory that a process ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.soak
def test_rest_that_one_worker_begins_is_kept_by_the_other_and_ends_for_both(
    installation: Installation, push: PushService, sick: PushService
) -> None:
    readers = 300  # of each push service
    push.answer_with(lambda _message: None)
    sick.answer_with(lambda _message: None)
    installation.seed(2 * readers)
    first, second = installation.worker(), installation.worker()
    installation.clock()
    for asleep in (first, second):  # both have sent to both push services
        with stopped(asleep):
            installation.over(installation.publish())
    sick.answer_with(lambda _message: Answer(503, {"retry-after": "10"}))
    services = installation.runtime.store.push_services
    with stopped(second):
        first_alert = installation.publish()
        rest = wait_until(lambda: services.resting().get(sick.origin))
        push.wait_for(3 * readers, timeout=30)
    tried = len(sick.received)
    sick.answer_with(lambda _message: None)
    with stopped(first):
        second_alert = installation.publish()
        push.wait_for(4 * readers, timeout=30)
        assert time.time() < rest.until, "the other worker sent while the push service rested"
        assert len(sick.received) == tried
    for id in (first_alert, second_alert):
        installation.over(id)
        assert installation.outcomes(id) == {"accepted": 2 * readers}
    assert services.resting() == {}
    found_by = tried - 2 * readers
    assert 1 <= found_by <= WINDOW, "only messages under way when the rest began"
    ended = time.monotonic() - (time.time() - rest.until)
    assert min(message.at for message in sick.received[tried:]) >= ended - 0.01
    assert Counter(m.status for m in sick.received) == {201: 4 * readers, 503: found_by}


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_api_and_metrics_show_a_push_service_rest_and_recover(
    installation: Installation, sick: PushService
) -> None:
    sick.answer_with(lambda _message: Answer(503, {"retry-after": "1"}))
    installation.seed(200)
    client = Client(create_app(installation.config))
    token = client.add_token()
    installation.worker()
    installation.clock()
    everyone = Audience(everyone=True)
    # Spread, so that it is not over when the push service has recovered.
    id = installation.runtime.publishing.publish(
        content(), everyone, by="a test", spread_minutes=10
    ).id

    def limits() -> list[dict[str, Any]]:
        alert = client.call("GET", f"{API}/notifications/{id}", token=token).json
        assert alert["status"] == "sending"
        return alert["progress"]["limits"]

    def resting() -> list[str]:
        figures = client.call("GET", "/metrics", token=token).text
        return re.findall(r"stoppress_push_service_origins_resting({.*}) 1.0", figures)

    (limit,) = wait_until(limits)
    assert (limit["service"], limit["why"], limit["waiting"]) == ("other", "503", 100)
    assert resting() == ['{service="other",why="503"}']

    sick.answer_with(lambda _message: None)

    wait_until(lambda: not limits())
    assert resting() == []
