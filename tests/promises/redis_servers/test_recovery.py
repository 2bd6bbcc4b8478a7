"""Recovery: Redis restarts during a send, a process starts with other keys or partitions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config import ConfigError
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience, State
from service.runtime import Runtime
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.under_way import under_way
from tests.support.seeded import begin_send

WINDOW = 256


@pytest.fixture
def installation(
    own_redis: RedisServer, push: PushService, tmp_path: Path
) -> Iterator[Installation]:
    with Installation(own_redis.url, push, tmp_path, PUSH_WINDOW=str(WINDOW)) as installation:
        yield installation


def test_restart_of_redis_during_a_send_loses_no_subscription_and_no_recipient(
    installation: Installation, own_redis: RedisServer, push: PushService
) -> None:
    id = begin_send(installation, 1200, received=200)

    own_redis.restart()
    push.go_on()

    assert installation.runtime.store.subscriptions.count() == 1200
    assert installation.over(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 1200}
    assert installation.runtime.publishing.reach(Audience(everyone=True)) == 1200
    repeats = Counter(message.path for message in push.received)
    assert len(repeats) == 1200
    assert sum(times - 1 for times in repeats.values()) <= WINDOW


def test_workers_and_clock_wait_while_redis_is_away(
    installation: Installation, own_redis: RedisServer, push: PushService
) -> None:
    installation.seed(800)
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    worker, clock = installation.worker(), installation.clock()
    id = installation.publish()
    push.wait_for(200, timeout=30)
    own_redis.stop()
    time.sleep(3)
    own_redis.start()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 800}
    assert (worker.poll(), clock.poll()) == (None, None), "neither had to be started again"


@pytest.mark.parametrize(
    "module", ["workers.worker", pytest.param("workers.clock", marks=pytest.mark.soak)]
)
def test_process_without_the_vapid_key_of_its_readers_stops_and_names_it(
    installation: Installation, module: str
) -> None:
    installation.seed(12)
    needed = b64url(installation.vapid.public)
    installation.environment["VAPID_PRIVATE_KEY"] = VapidKey.generate().text
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=installation.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"12 subscriptions need the key whose public half is {needed}" in done.stderr


def test_old_key_behind_a_new_one_still_signs_for_its_readers(
    installation: Installation, push: PushService
) -> None:
    installation.seed(12)
    newer = VapidKey.generate()
    installation.environment["VAPID_PRIVATE_KEY"] = f"{newer.text} {installation.vapid.text}"
    installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 12}
    assert push.refusals == []


def test_another_secret_key_is_refused_if_there_are_readers(
    installation: Installation,
) -> None:
    changed = {**installation.environment, "SECRET_KEY": "another secret of at least 32 characters"}
    Runtime.open(type(installation.config).read(changed)).store.redis.close()
    Runtime.open(installation.config).store.redis.close()
    installation.seed(3)
    with pytest.raises(ConfigError, match="the 3 subscriptions of this store"):
        Runtime.open(type(installation.config).read(changed))


def test_another_number_of_partitions_is_refused(
    installation: Installation,
) -> None:
    changed = {**installation.environment, "STORE_PARTITIONS": "2"}
    with pytest.raises(ConfigError, match="STORE_PARTITIONS: the store was made with 12"):
        Runtime.open(type(installation.config).read(changed))


def test_of_two_clocks_one_leads_and_the_other_takes_over(
    installation: Installation, push: PushService
) -> None:
    lead = installation.runtime.store.installation.lead
    assert lead("first", 60_000)
    assert not lead("second", 60_000)
    assert lead("first", 300)
    wait_until(lambda: lead("second", 60_000))
    assert not lead("first", 60_000)


@pytest.mark.processes
def test_send_goes_on_after_the_queue_was_lost(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with (
        RedisServer() as queue,
        under_way(redis_url, queue.url, push, tmp_path, readers=900) as running,
    ):
        queue.lose_everything()
        assert running.publish_again()
        running.check()
