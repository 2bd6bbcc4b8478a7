"""`stoppress services` shows the state of push services, and ends their rests and paces."""

from __future__ import annotations

import time

import pytest
from click.testing import Result

from service.store.sending.batches import Retry, part_key
from service.store.sending.push_services import Pace, Rest
from tests.support.command import stoppress
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService

GOOGLE = "https://fcm.googleapis.com"
APPLE = "https://web.push.apple.com"
MOZILLA = "https://updates.push.services.mozilla.com"


def services_command(installation: Installation, *command: str) -> Result:
    """Run `stoppress services`."""
    return stoppress({**installation.environment, "COLUMNS": "80"}, "services", *command)


def words(done: Result) -> str:
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    return " ".join(done.stdout.split())


def test_one_line_says_that_all_push_services_are_well(installation: Installation) -> None:
    assert words(services_command(installation)) == "All push services accept messages."


def test_rests_paces_and_doubts_are_listed_in_plain_words(installation: Installation) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(APPLE, Rest(1, now - 7320, now + 7250, "503"))
    services.rest(MOZILLA, Rest(1, now - 7320, now - 1, "credentials"))
    services.pace(GOOGLE, Pace(1000, now - 7320))
    services.doubt(MOZILLA, now - 7320)
    shown = words(services_command(installation))
    assert f"{GOOGLE} 2 hours 2 minutes limiting us: it gets 1,000 messages a minute" in shown
    assert f"{APPLE} 2 hours 2 minutes failing (503); next attempt in 2 hours" in shown
    assert f"{MOZILLA} 2 hours 2 minutes rejecting our signature; trying again now" in shown
    decide = f"decide at {installation.config.public_url}/desk/"
    # A line may end within the address.
    assert f"reported 0 readers gone, which we doubt: {decide}".replace(" ", "") in shown.replace(
        " ", ""
    )


@pytest.mark.parametrize("origin", [MOZILLA, "nonsense"])
def test_only_a_push_service_with_a_rest_or_a_pace_is_released(
    installation: Installation, origin: str
) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(APPLE, Rest(1, now, now + 60, "503"))
    services.doubt(MOZILLA, now)
    refused = services_command(installation, "release", origin)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.endswith("stoppress services lists those that do\n")
    assert (list(services.resting()), services.released()) == ([APPLE], {})


def test_release_ends_rest_and_pace_and_the_history_of_limits(installation: Installation) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(GOOGLE, Rest(1, now, now + 3600, "429"))
    services.limited(GOOGLE, now, now + 3600)
    services.pace(GOOGLE, Pace(1000, now))
    services.pace(APPLE, Pace(1000, now))
    released = services_command(installation, "release", f"{GOOGLE}/")
    assert released.stdout.startswith(f"Sending to {GOOGLE} again"), released.stderr
    assert services.resting() == {}
    assert list(services.paced()) == [APPLE]
    assert services.limited(GOOGLE, now, now).times == 1, "counted anew"


@pytest.mark.usefixtures("one_partition")
def test_waiting_recipients_get_the_alert_at_once_after_a_release(
    installation: Installation, push: PushService
) -> None:
    installation.seed(600)
    push.answer_with(lambda _message: Answer(503, {"retry-after": "3600"}))
    installation.worker()
    installation.clock()
    id = installation.publish(ttl=7200)
    store = installation.runtime.store
    wait_until(store.push_services.resting)
    wait_until(lambda: not store.redis.hlen(part_key(0, id, "leases")))
    push.answer_with(lambda _message: None)
    assert services_command(installation, "release", push.origin).exit_code == 0
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 600}
    assert store.push_services.resting() == {}


@pytest.mark.usefixtures("one_partition")
@pytest.mark.redis
def test_release_reaches_recipients_of_a_leased_batch_too(
    installation: Installation,
) -> None:
    installation.seed(10)
    store, planning = installation.runtime.store, installation.runtime.planning
    id = installation.publish()
    planning.sending()
    services, now = store.push_services, time.time()
    services.rest(installation.push.origin, Rest(1, now, now + 3600, "503"))
    claim = store.batches.claim(id, 0, "one", 60_000)
    assert claim is not None
    assert services.release(installation.push.origin, time.time())
    installation.runtime.push_services.try_released(time.time())
    (base,) = store.names.bases.all().values()
    retries = {1: Retry(base, 2, 3_600_000), 2: Retry(base + 1, 5, 3_600_000)}
    store.batches.release(id, claim.batch, "one", wait_ms=3_600_000, retries=retries, undone=10)
    assert store.batches.claim(id, 0, "two", 60_000) is None
    installation.runtime.push_services.try_released(time.time())
    again = store.batches.claim(id, 0, "two", 60_000)
    assert again is not None
    assert again.retries[1].attempts == 2
    assert again.retries[1].in_ms <= 0
    assert again.retries[2].attempts == 5
    assert again.retries[2].in_ms > 3_500_000, "another push service's own time"


def test_rest_that_nobody_needed_for_an_hour_is_reported_no_more(
    installation: Installation,
) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(GOOGLE, Rest(1, now - 7200, now - 3601, "no answer"))
    services.rest(APPLE, Rest(1, now - 7200, now - 3500, "503"))
    services.rest(MOZILLA, Rest(1, now - 7200, now - 3601, "credentials"))
    installation.runtime.push_services.forget_rests(now)
    assert set(services.resting()) == {APPLE, MOZILLA}


def test_rest_that_began_before_the_clock_was_set_back_is_over(installation: Installation) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(GOOGLE, Rest(1, now + 10_800, now + 10_820, "503"))
    services.rest(APPLE, Rest(1, now - 10_800, now + 3600, "503"))
    services.rest(MOZILLA, Rest(1, now + 1, now + 3, "no answer"))
    installation.runtime.push_services.end_rests_of_the_future(now)
    assert set(services.resting()) == {APPLE, MOZILLA}
    assert list(services.released()) == [GOOGLE], "who waits for it is tried at once"


@pytest.mark.redis
def test_release_is_dropped_when_the_push_service_rests_again(installation: Installation) -> None:
    services, now = installation.runtime.store.push_services, time.time()
    services.rest(GOOGLE, Rest(1, now, now + 3600, "503"))
    assert services.release(GOOGLE, time.time())
    installation.runtime.push_services.try_released(time.time())
    assert list(services.released()) == [GOOGLE]
    services.rest(GOOGLE, Rest(1, now, now + 3600, "503"))
    installation.runtime.push_services.try_released(time.time())
    assert services.released() == {}


def test_released_push_service_is_sent_to_without_a_pace(
    installation: Installation, push: PushService
) -> None:
    installation.seed(600)
    services = installation.runtime.store.push_services
    services.pace(push.origin, Pace(200, time.time()))  # three minutes for all of them
    installation.worker()
    installation.clock()
    id = installation.publish()
    push.wait_for(5, timeout=30)
    assert services_command(installation, "release", push.origin).exit_code == 0
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 600}
    assert len({message.path for message in push.received}) == len(push.received)
