"""Readers reported as gone: deleted after a minute, but kept if suspiciously many are reported."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import pytest

from service.model.notifications import Audience, Outcome
from service.model.retention import GONE_KEPT
from service.model.subscriptions import SubscriptionId
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService

EVERYONE = Audience(everyone=True)


def gone_of(share: float) -> Callable[[Message], Answer | None]:
    """A rule: the push service answers 410 for this share of readers."""

    def rule(message: Message) -> Answer | None:
        return Answer(410) if zlib.crc32(message.path.encode()) % 100 < share * 100 else None

    return rule


def report_gone(installation: Installation, share: float, readers: int) -> int:
    """Send an alert to readers of which a share is gone; return how many."""
    installation.seed(readers)
    installation.push.answer_with(gone_of(share))
    worker = installation.worker()
    id = installation.publish()
    installation.runtime.planning.advance(id)
    wait_until(lambda: installation.runtime.publishing.progress(id).done == readers)
    installation.end(worker)
    return installation.outcomes(id)["gone"]


def delete_all_due(installation: Installation, now: float) -> None:
    """Do what the clock does until no row waits; it works for 0.25 s each time."""
    gone, rows = installation.runtime.gone, installation.runtime.store.gone
    wait_until(lambda: gone.look_after(now) or not rows.waiting())


def test_the_record_of_a_gone_reader_is_deleted_a_minute_later(
    installation: Installation,
) -> None:
    gone, runtime = report_gone(installation, 0.15, 300), installation.runtime
    assert 30 < gone < 60
    assert runtime.publishing.reach(EVERYONE) == 300 - gone, "they are in no audience any more"
    runtime.gone.look_after(time.time())
    assert runtime.store.subscriptions.count() == 300, "their records are kept for a minute"
    delete_all_due(installation, time.time() + GONE_KEPT)
    assert runtime.store.subscriptions.count() == 300 - gone
    assert runtime.publishing.reach(EVERYONE) == 300 - gone


def test_no_record_is_deleted_if_half_the_readers_are_gone_until_an_editor_confirms(
    installation: Installation, push: PushService
) -> None:
    gone, runtime = report_gone(installation, 0.5, 500), installation.runtime
    runtime.gone.look_after(time.time())
    runtime.gone.look_after(time.time() + GONE_KEPT)
    assert runtime.store.subscriptions.count() == 500, "no record is deleted"
    assert runtime.publishing.reach(EVERYONE) == 500 - gone
    (doubt,) = runtime.gone.doubts()
    assert (doubt.origin, doubt.browsers) == (push.origin, gone)

    runtime.gone.confirm(push.origin)
    delete_all_due(installation, time.time())

    assert runtime.gone.doubts() == []
    assert runtime.store.subscriptions.count() == 500 - gone


def test_readers_wrongly_reported_as_gone_are_taken_back(
    installation: Installation, push: PushService
) -> None:
    report_gone(installation, 0.5, 500)
    runtime = installation.runtime
    runtime.gone.look_after(time.time())
    runtime.gone.look_after(time.time() + GONE_KEPT)

    runtime.gone.take_back(push.origin)

    assert runtime.gone.doubts() == []
    assert runtime.publishing.reach(EVERYONE) == 500
    runtime.gone.look_after(time.time() + 2 * GONE_KEPT)
    assert runtime.store.subscriptions.count() == 500


@pytest.mark.usefixtures("one_partition")
def test_reader_who_comes_back_within_the_minute_is_not_deleted(
    installation: Installation,
) -> None:
    gone, runtime = report_gone(installation, 0.1, 300), installation.runtime
    back = runtime.store.gone.waiting()[0].ids[0]
    runtime.store.redis.setbit("{0}:gone", back.number, 0)
    delete_all_due(installation, time.time() + GONE_KEPT)
    assert runtime.store.subscriptions.get(back).id == back
    assert runtime.store.subscriptions.count() == 300 - gone + 1


def test_interrupted_deletion_is_finished_later(
    installation: Installation,
) -> None:
    gone, runtime = report_gone(installation, 0.1, 300), installation.runtime
    for id in runtime.store.gone.waiting()[0].ids[:3]:
        runtime.store.subscriptions.remove(SubscriptionId(*id), remember=False)
    delete_all_due(installation, time.time() + GONE_KEPT)
    assert runtime.store.subscriptions.count() == 300 - gone


# A worker whose clock is a day ahead when it makes messages: all its recipients are expired.
A_DAY_AHEAD = """
import sys
from types import SimpleNamespace
from service.model.time import clock
from workers import worker
from workers.sending import messages
messages.clock = SimpleNamespace(**{**vars(clock), "time": lambda: clock.time() + 86_400})
sys.exit(worker.main())
"""


def test_expired_recipients_do_not_count_as_answers_of_the_push_service(
    installation: Installation, push: PushService
) -> None:
    gone, runtime = report_gone(installation, 0.35, 700), installation.runtime
    assert 200 < gone < 280
    installation.start("-c", A_DAY_AHEAD)
    installation.clock()
    id = installation.publish()
    installation.over(id)
    late = {(Outcome.EXPIRED, "other"): 700 - gone}
    assert runtime.publishing.progress(id).outcomes == late, "a worker judged them, not the clock"
    assert gone < 0.3 * (700 + 700 - gone), "counted as answers, they would hide the fault"

    runtime.gone.look_after(time.time())

    assert [doubt.origin for doubt in runtime.gone.doubts()] == [push.origin]
