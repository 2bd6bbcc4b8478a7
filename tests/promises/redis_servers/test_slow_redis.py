"""A Redis that answers late makes a send slow, and does not stop it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from service.store.sending.batches import Batches, Claim
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from workers import jobs
from workers.http.transport import Answer, Transport
from workers.sending.fanout import LOOK_AHEAD, FanOut
from workers.sending.messages import Message


@pytest.fixture
def fan_out(installation: Installation) -> Iterator[FanOut]:
    fan_out = jobs._new_fan_out(installation.runtime)
    yield fan_out
    fan_out.close()


def test_a_new_connection_is_taken_before_another_batch_is_leased_from_a_slow_redis(
    installation: Installation,
    fan_out: FanOut,
    push: PushService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a worker leases and gives back batch after batch, and never sends."""
    installation.seed(60)  # in several partitions, so in several batches
    steps: list[str] = []
    claim, poll = Batches.claim, Transport.poll

    def claim_late(batches: Batches, id: int, partition: int, worker: str, ms: int) -> Claim | None:
        steps.append("claim")
        found = claim(batches, id, partition, worker, ms)
        time.sleep(LOOK_AHEAD)
        return found

    def noted_poll(transport: Transport, timeout: float) -> list[Answer[Message]]:
        steps.append("poll")
        return poll(transport, timeout)

    monkeypatch.setattr(Batches, "claim", claim_late)
    monkeypatch.setattr(Transport, "poll", noted_poll)
    id = installation.publish()
    fan_out.run(lambda: True)

    assert steps[steps.index("claim") + 1] == "poll"
    assert installation.outcomes(id) == {"accepted": 60}
    assert len(push.wait_for(60, 10)) == 60
