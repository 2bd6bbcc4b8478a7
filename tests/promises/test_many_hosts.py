"""Many hosts, set up as the guide says, of which some are cut off in the middle of an alert.

Nobody is missed, others go on, and who was cut off goes on by itself.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any

import pytest

from service.model.keys import from_b64url
from tests.support.hosts.many_hosts import ManyHosts, ask
from tests.support.inputs import LATE_NEWS
from tests.support.push_service import Subscription

pytestmark = [
    pytest.mark.soak,
    pytest.mark.alone,
    pytest.mark.processes,
    pytest.mark.timeout(900),
]

READERS, WINDOW = 2000, 256
ADDRESS_HAS = 50  # readers, as nginx and our rate limits allow
CALLERS = 4


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyHosts]:
    """A newspaper on many hosts, which is ready."""
    with ExitStack() as stack:
        settings = {"PUSH_WINDOW": str(WINDOW), "DAILY_LIMIT": "none"}
        made = ManyHosts(stack, tmp_path_factory.mktemp("hosts"), settings)
        made.wait_until(lambda: made.call("GET", "/readyz")[0] == 200)
        yield made


@pytest.fixture(scope="module")
def token(paper: ManyHosts) -> str:
    """A token of a tool that sends."""
    return paper.command("token add curl --scope send").split()[-1]


@pytest.fixture(scope="module")
def readers(paper: ManyHosts) -> list[Subscription]:
    """Readers who have subscribed by nginx."""
    return subscribe(paper)


@pytest.fixture(autouse=True)
def answers_go_on(paper: ManyHosts) -> Iterator[None]:
    """Hold no answer when a test is over, whatever came of it."""
    yield
    paper.push.go_on()


def subscribe(paper: ManyHosts) -> list[Subscription]:
    """Have readers subscribe by nginx."""
    _, site = paper.call("GET", "/api/v1/site")
    key = from_b64url(site["vapid_public_key"])
    readers = [paper.push.subscribe(key) for _ in range(READERS)]

    def some(first: int) -> None:
        with closing(paper.connection()) as connection:
            for one in readers[first : first + ADDRESS_HAS]:
                given = {"subscription": one.as_json()}
                status, said = ask(connection, "POST", "/api/v1/subscriptions", given)
                assert status in (200, 201), said

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(some, range(0, READERS, ADDRESS_HAS)))
    return readers


class Alert:
    """An alert to all readers, from its publishing on."""

    def __init__(self, paper: ManyHosts, token: str) -> None:
        self._paper, self._token = paper, token
        self._first = len(paper.push.received)
        status, said = paper.call("POST", "/api/v1/notifications", LATE_NEWS, token)
        assert status in (201, 202), said
        self._path = f"/api/v1/notifications/{said['id']}"

    def _shown(self) -> dict[str, Any]:
        status, said = self._paper.call("GET", self._path, token=self._token)
        return said if status == 200 else {}

    def over(self) -> dict[str, int]:
        """Wait until it is sent, and return the outcomes without zeros."""
        shown: dict[str, Any] = {}

        def is_sent() -> bool:
            shown.update(self._shown())
            return shown.get("status") == "sent"

        self._paper.wait_until(is_sent, 180)
        return _without_zeros(shown)

    def outcomes(self) -> dict[str, int]:
        """Return the outcomes so far, without zeros."""
        return _without_zeros(self._shown())

    def came(self) -> Counter[str]:
        """Count its messages by endpoint."""
        return Counter(one.endpoint for one in self._paper.push.received[self._first :])


def _without_zeros(shown: dict[str, Any]) -> dict[str, int]:
    outcomes = shown["progress"]["outcomes"]
    return {name: number for name, number in outcomes.items() if number}


@contextmanager
def load(paper: ManyHosts, readers: list[Subscription]) -> Iterator[Counter[tuple[str, int]]]:
    """Meanwhile readers come back and ask; count the calls by method and status."""
    calls, ended = Counter[tuple[str, int]](), threading.Event()

    def go_on(first: int) -> None:
        for number in count(first, CALLERS):
            if ended.is_set():
                return
            given = {"subscription": readers[number % READERS].as_json()}
            calls["POST", paper.call("POST", "/api/v1/subscriptions", given)[0]] += 1
            calls["GET", paper.call("GET", "/api/v1/site")[0]] += 1

    with ThreadPoolExecutor(CALLERS) as pool:
        going = [pool.submit(go_on, first) for first in range(CALLERS)]
        try:
            yield calls
        finally:
            ended.set()
            for one in going:
                one.result()


def answers(address: str) -> bool:
    """Whether the web process of a host is ready, without nginx."""
    with closing(HTTPConnection(address, 8001, timeout=2)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def failed(calls: Counter[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return those of the calls that did not succeed."""
    return {call: number for call, number in calls.items() if call[1] not in (200, 201)}


def test_every_reader_gets_an_alert_once(
    paper: ManyHosts, token: str, readers: list[Subscription]
) -> None:
    alert = Alert(paper, token)
    assert alert.over() == {"accepted": READERS}
    assert alert.came() == Counter(one.endpoint for one in readers)
    last = paper.push.received[-1]
    (reader,) = (one for one in readers if one.endpoint == last.endpoint)
    assert b"Late news" in reader.decrypt(last.body)
    assert paper.push.refusals == []


def test_a_worker_and_the_leading_clock_that_are_cut_off_cost_nobody_an_alert(
    paper: ManyHosts, token: str, readers: list[Subscription]
) -> None:
    push, hosts = paper.push, paper.hosts
    everyone = {one.endpoint for one in readers}
    worker, other = hosts["worker-1"], hosts["worker-2"]
    # So few that neither is done with its first batch: one that waits long for its first connection
    # leases all others meanwhile.
    answered = READERS // 20
    push.hold_after(answered)
    alert = Alert(paper, token)
    both = {worker.address, other.address}
    paper.wait_until(lambda: push.held_from().keys() == both)
    # Else those that were answered and not recorded yet would be sent again too.
    paper.wait_until(lambda: alert.outcomes() == {"accepted": answered})
    leader = paper.leader()
    worker.cut_off()
    leader.cut_off()
    under_way = push.held_from()[worker.address]
    push.go_on()
    assert alert.over() == {"accepted": READERS}
    assert {*alert.came()} == everyone
    assert alert.came().total() - READERS <= under_way <= WINDOW

    # What was cut off goes on by itself, also where it is alone.
    worker.plug_in()
    leader.plug_in()
    (follower,) = {hosts["clock-1"], hosts["clock-2"]} - {leader}
    other.cut_off()
    follower.cut_off()
    alone = Alert(paper, token)
    assert alone.over() == {"accepted": READERS}
    assert alone.came() == Counter(everyone)
    other.plug_in()
    follower.plug_in()


def test_redis_that_is_cut_off_in_the_middle_of_an_alert_costs_nobody_that_alert(
    paper: ManyHosts, token: str, readers: list[Subscription]
) -> None:
    push, redis = paper.push, paper.hosts["redis"]
    push.hold_after(READERS // 4)
    alert = Alert(paper, token)
    paper.wait_until(lambda: push.held_from().total())
    redis.cut_off()
    push.go_on()
    paper.wait_until(lambda: paper.call("GET", "/readyz")[0] == 503)
    redis.plug_in()
    assert alert.over() == {"accepted": READERS}
    assert {*alert.came()} == {one.endpoint for one in readers}
    assert alert.came().total() - READERS <= 2 * WINDOW, "each worker repeats a window at most"


def test_readers_see_no_error_after_a_web_host_is_cut_off(
    paper: ManyHosts, readers: list[Subscription]
) -> None:
    web = paper.hosts["web-2"]
    with load(paper, readers) as calls:
        paper.wait_until(lambda: calls.total() > 100)
        web.cut_off()
        after = calls.total() + 100
        paper.wait_until(lambda: calls.total() > after)
        # A POST that was under way is answered once nginx has waited for 30 seconds.
        lost = failed(calls)
        assert lost.keys() <= {("POST", 504)}
        assert sum(lost.values()) <= CALLERS
        web.plug_in()
        paper.wait_until(lambda: answers(web.address))
        # Until it has tried Redis again, for a second at most, it refused what nginx gave it. Some
        # of these calls are counted after its first answer.
        after = calls.total() + 2 * CALLERS
        paper.wait_until(lambda: calls.total() > after)
        lost = failed(calls)
        assert lost.keys() <= {("POST", 504), ("POST", 503)}
        after = calls.total() + 100
        paper.wait_until(lambda: calls.total() > after)
        assert failed(calls) == lost
