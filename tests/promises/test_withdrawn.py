"""A message that must not be sent any more is not sent, whatever it waited for."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.model.notifications import Batch
from service.store.sending.batches import part_key
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from workers import jobs
from workers.sending.fanout import LEASE, FanOut
from workers.sending.messages import Messages

pytestmark = pytest.mark.redis


@pytest.fixture
def silent() -> Iterator[str]:
    """A push service whose connections are never ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def installation(
    redis_url: str, push: PushService, silent: str, tmp_path: Path
) -> Iterator[Installation]:
    services = f"{push.origin} {silent}"
    with Installation(redis_url, push, tmp_path, PUSH_SERVICES=services) as installation:
        yield installation


@pytest.fixture
def fan_out(installation: Installation) -> Iterator[FanOut]:
    fan_out = jobs._new_fan_out(installation.runtime)
    yield fan_out
    fan_out.close()


@pytest.mark.usefixtures("one_partition")
@pytest.mark.parametrize("ending", [False, True])
def test_recipients_that_wait_for_a_connection_are_given_back_on_pause_or_exit(
    installation: Installation, fan_out: FanOut, silent: str, ending: bool
) -> None:
    installation.seed(10, origins=[silent])
    id = installation.publish()
    looks = itertools.count()

    def goes_on() -> bool:
        if next(looks) == 1:
            assert fan_out._transport.is_busy
            if ending:
                return False
            installation.runtime.publishing.pause(id, by="a test")
        return True

    fan_out.run(goes_on)
    assert installation.runtime.publishing.progress(id).done == 0
    assert installation.runtime.store.push_services.resting() == {}
    assert installation.runtime.store.batches.looks(id)[0].due == 1, "no attempt was counted"


@pytest.mark.usefixtures("one_partition")
def test_messages_made_after_the_lease_ended_are_left_to_the_new_owner(
    installation: Installation, fan_out: FanOut, push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.seed(10, origins=[push.origin])
    id = installation.publish()
    sending, clock, make = installation.runtime.store.batches, time.monotonic, Messages.make
    claims = []

    def stopped(*args: object) -> object:
        made = make(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(time, "monotonic", lambda: clock() + LEASE)
        (batch,) = installation.runtime.store.redis.zrange(part_key(0, id, "batches"), 0, -1)
        installation.runtime.store.redis.zadd(part_key(0, id, "batches"), {batch: 0})
        claims.append(sending.claim(id, 0, "another ", 60_000))
        return made

    monkeypatch.setattr(Messages, "make", stopped)
    fan_out.run(lambda: True)
    (claim,) = claims
    assert claim is not None
    assert len(claim.pending) == 10
    assert push.received == []
    batch = Batch(0, claim.batch.start, claim.batch.end)
    assert sending.release(id, batch, "another ", wait_ms=0), "the other worker still has it"
