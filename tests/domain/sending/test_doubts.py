"""A push service that calls too many readers gone is doubted, whatever else goes wrong."""

from __future__ import annotations

import time

import pytest

from service.domain.sending.gone import TOO_MANY, Gone
from service.model.notifications import Audience, Outcome
from service.model.retention import DAY, GONE_KEPT, RESPONSES_KEPT
from service.store.alerts.outcomes import Result
from service.store.sending.gone import GoneRow
from tests.support.client import Client
from tests.support.processes.as_workers import send
from tests.support.processes.installation import content
from tests.support.requested import requested

pytestmark = pytest.mark.redis

READERS = TOO_MANY + 100


@pytest.fixture
def gone(client: Client) -> Gone:
    """What the clock does, in an installation with enough readers for a doubt."""
    key = client.runtime.keys.current
    for name in range(READERS):
        client.runtime.store.subscriptions.subscribe(requested(name)._replace(vapid_key=key))
    return client.runtime.gone


def look_after(gone: Gone, now: float) -> None:
    for _ in range(30):  # it works for a quarter of a second each time
        gone.look_after(now)


def nearly_all(at: int) -> bool:
    return at < READERS - 10


def reach(client: Client) -> int:
    return client.runtime.publishing.reach(Audience(everyone=True))


@pytest.mark.parametrize("away", [2 * GONE_KEPT, 20 * GONE_KEPT, 2 * RESPONSES_KEPT])
def test_nobody_is_deleted_unasked_because_the_clock_was_away(
    client: Client, gone: Gone, away: float
) -> None:
    assert send(client.runtime, nearly_all) == READERS - 10
    if away > RESPONSES_KEPT:
        redis = client.runtime.store.redis
        redis.delete(*redis.keys("{*}:answers:*"))
    look_after(gone, time.time() + away)
    assert [doubt.browsers for doubt in gone.doubts()] == [READERS - 10]
    assert client.runtime.subscriptions.count() == READERS


def test_a_clock_that_was_away_for_a_year_looks_at_no_minute_without_reports(
    client: Client, gone: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client.runtime, nearly_all)
    rows, judged = client.runtime.store.gone, list[float]()
    reported = rows.reported

    def noted(at: float) -> list[GoneRow]:
        judged.append(at)
        assert len(judged) < 100
        return reported(at)

    monkeypatch.setattr(rows, "reported", noted)
    look_after(gone, time.time() + 365 * DAY)
    assert [doubt.browsers for doubt in gone.doubts()] == [READERS - 10]


def test_ordinary_gone_readers_are_deleted_although_the_clock_was_away(
    client: Client, gone: Gone
) -> None:
    assert send(client.runtime, lambda at: at % 10 == 0) == READERS // 10
    look_after(gone, time.time() + 20 * GONE_KEPT)
    assert gone.doubts() == []
    assert client.runtime.subscriptions.count() == READERS - READERS // 10


def test_a_clock_that_begins_amid_many_deletions_asks_nobody_again(
    client: Client, gone: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client.runtime, nearly_all)
    gone.look_after(time.time())
    gone.confirm(gone.doubts()[0].origin)
    monkeypatch.setattr("service.domain.sending.gone._PATIENCE", 0.0)
    for later in range(0, 5 * int(GONE_KEPT), 20):
        Gone(client.runtime.store).look_after(time.time() + later)
        assert gone.doubts() == []


def test_a_push_service_that_goes_on_to_be_wrong_is_doubted_again_at_once(
    client: Client, gone: Gone
) -> None:
    send(client.runtime, nearly_all)
    gone.look_after(time.time())
    gone.take_back(gone.doubts()[0].origin)
    assert reach(client) == READERS
    gone.look_after(time.time())
    assert gone.doubts() == [], "what an editor has decided about is not asked again"

    assert send(client.runtime, nearly_all) == READERS - 10
    gone.look_after(time.time())
    assert [doubt.browsers for doubt in gone.doubts()] == [READERS - 10]
    look_after(gone, time.time() + 2 * GONE_KEPT)
    assert client.runtime.subscriptions.count() == READERS


def test_a_confirmation_whose_process_is_killed_amid_it_is_finished(
    client: Client, gone: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client.runtime, nearly_all)
    gone.look_after(time.time())
    gone.look_after(time.time() + GONE_KEPT)
    (doubt,) = gone.doubts()
    with monkeypatch.context() as killed:
        killed.setattr(client.runtime.store.gone, "confirm", _end)
        with pytest.raises(_Killed):
            gone.confirm(doubt.origin)
    look_after(gone, time.time() + GONE_KEPT)
    assert gone.doubts() == []
    assert client.runtime.store.gone.waiting() == []
    assert client.runtime.subscriptions.count() == 10


class _Killed(BaseException):
    """The process ended here."""


def _end(*_given: object) -> None:
    raise _Killed


@pytest.mark.parametrize("first", [Outcome.ACCEPTED, Outcome.REFUSED])
def test_a_late_workers_gone_counts_for_nobody_who_has_an_outcome(
    client: Client, gone: Gone, first: Outcome
) -> None:
    """Else no row has them: their records would stay for ever, and no editor could keep them."""
    store, late = client.runtime.store, "late "
    id = client.runtime.publishing.publish(content(), Audience(everyone=True), by="a test").id
    client.runtime.planning.plan(client.runtime.publishing.get(id))
    for partition in store.partitions:
        claim = store.batches.claim(id, partition, late, 60_000)
        assert claim is not None
        for worker, outcome in (("another ", first), (late, Outcome.GONE)):
            results = {Result(outcome, "google", 1): claim.pending}
            store.outcomes.record(id, claim.batch, worker, 60_000, results)
    assert reach(client) == READERS
    assert store.gone.waiting() == []

    assert send(client.runtime, lambda at: at < 10) == 10
    look_after(gone, time.time() + GONE_KEPT)
    assert (reach(client), client.runtime.subscriptions.count()) == (READERS - 10, READERS - 10)
