"""Quiet hours, pauses and daily limits hold when an alert arrives; held alerts come afterwards."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.domain.alerts.publishing import Conflict
from service.model.notifications import Audience, SendAt, State
from service.model.preferences import NO_QUIET
from service.model.time.clocks import QUARTER, day
from service.store import Store, connect
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.seeded import (
    FRONT,
    READERS,
    around_now,
    beginning_in,
    choose,
    midday,
    reader_of,
    sent_at_night,
    texts,
    wake,
    waking,
)

EVERYONE = Audience(everyone=True)


def skipped(installation: Installation, id: int) -> dict[str, int]:
    progress = installation.runtime.publishing.progress(id)
    return {why: n for (outcome, why), n in progress.outcomes.items() if outcome == "skipped"}


def reached(push: PushService) -> set[int]:
    """The numbers of the readers that a message was sent to."""
    return {reader_of(message) for message in push.received}


# Quiet hours and pauses ---------------------------------------------------------------------------


def test_alert_is_held_for_readers_in_their_quiet_hours(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), quiet=around_now())
    id = reading.publish()
    assert reading.over(id).state is State.SENT
    assert reading.outcomes(id) == {"accepted": READERS - 40, "skipped": 40}
    assert skipped(reading, id) == {"quiet": 40}
    assert reached(push) == set(range(40, READERS))


def test_newsrooms_quiet_hours_hold_for_readers_who_chose_none(
    redis_url: str, push: PushService, tmp_path: Any
) -> None:
    with Installation(redis_url, push, tmp_path, QUIET_HOURS=str(around_now())) as installation:
        installation.seed(READERS)
        choose(installation, range(40), quiet=None)
        installation.worker()
        id = installation.publish()
        installation.runtime.planning.advance(id)
        wait_until(lambda: installation.runtime.publishing.progress(id).done == READERS)
        assert skipped(installation, id) == {"quiet": 40}


def test_breaking_alert_reaches_only_sleepers_who_allow_it(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), quiet=around_now())
    choose(reading, range(16), allow_breaking=True)
    id = reading.publish(kind="breaking")
    reading.over(id)
    assert skipped(reading, id) == {"quiet": 24}
    assert set(range(16)) <= reached(push)


def test_reader_who_paused_gets_nothing_until_the_pause_ends(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), paused_until=int(time.time()) + 3 * 3600)
    choose(reading, range(40, 50), paused_until=int(time.time()) - 2 * 3600)
    id = reading.publish(kind="breaking")
    reading.over(id)
    assert skipped(reading, id) == {"paused": 40}
    assert reached(push) == set(range(40, READERS))


def test_ttl_never_reaches_into_quiet_hours(reading: Installation, push: PushService) -> None:
    soon = beginning_in(2, 28)  # in 15 to 30 minutes
    choose(reading, range(READERS), quiet=soon)
    id = reading.publish()
    reading.over(id)
    begins = (int(time.time()) // QUARTER + 2) * QUARTER
    assert reading.outcomes(id) == {"accepted": READERS}
    for message in push.received:
        assert 60 <= int(message.headers["ttl"]) <= begins - time.time() + 60


def test_quiet_hours_that_begin_while_an_alert_is_retried_hold(
    reading: Installation, push: PushService
) -> None:
    """The readers fall asleep before their push service takes messages."""
    push.answer_with(lambda _: Answer(429, {"retry-after": "2"}))
    id = reading.publish()
    push.wait_for(1, timeout=20)
    choose(reading, range(READERS), quiet=around_now())
    push.answer_with(lambda _: Answer(201))
    reading.over(id)
    assert reading.outcomes(id).get("accepted", 0) < READERS / 2
    assert skipped(reading, id)["quiet"] > READERS / 2


def test_test_to_ones_own_browser_arrives_at_any_hour(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(1), quiet=around_now(), paused_until=int(time.time()) + 9000)
    id = reading.publish(Audience(subscription=reading.reader(0)))
    reading.over(id)
    assert reading.outcomes(id) == {"accepted": 1}


# Held alerts --------------------------------------------------------------------------------------


def test_held_alerts_arrive_when_quiet_hours_end_several_as_one_message(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(40), quiet=around_now())
    choose(reading, range(16), allow_breaking=True)
    ferry = replace(EVERYONE, story="ferry")
    reading.over(reading.publish(ferry, title="Of the same story"))
    reading.over(reading.publish(ferry, title="First"))
    reading.over(reading.publish(title="Second", kind="breaking"))
    came = wake(reading, push)
    assert len({message.path for message in came}) == len(came) == 40
    body = content().body
    assert texts(came) == {
        f"First|{body}": 16,
        "While you slept|Second\nFirst": 24,
    }


def test_held_alert_is_dropped_if_the_reader_has_a_newer_one_of_its_story(
    reading: Installation, push: PushService
) -> None:
    ferry = replace(EVERYONE, story="ferry")
    choose(reading, range(20), quiet=around_now())
    reading.over(reading.publish(ferry, title="Ferry late"))
    choose(reading, range(20), quiet=NO_QUIET)
    reading.over(reading.publish(ferry, title="Ferry home"))
    assert wake(reading, push) == []
    (wave,) = reading.runtime.publishing.waves(9)
    assert skipped(reading, wave.id) == {"over": 20}


def test_each_sleeper_gets_the_latest_alert_of_a_story_that_is_for_them(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(20), quiet=around_now())
    late = reading.publish(replace(EVERYONE, story="ferry"), title="Ferry late")
    race = reading.publish(Audience(topics=("sport",), story="ferry"), title="Ferry race")
    for id in (late, race):
        reading.over(id)
    fans = skipped(reading, race)["quiet"]
    assert 0 < fans < 20
    publishing, body = reading.runtime.publishing, content().body
    waiting = [publishing.held(publishing.get(id)).waiting for id in (late, race)]
    assert waiting == [20 - fans, fans]
    assert texts(wake(reading, push)) == {
        f"Ferry late|{body}": 20 - fans,
        f"Ferry race|{body}": fans,
    }


def test_held_alert_arrives_with_its_corrected_text(
    reading: Installation, push: PushService
) -> None:
    wrong, _ = sent_at_night(reading, 20, "Ten dead", "Never mind")
    correction = reading.correct(wrong, "Nobody dead")
    reading.over(correction.id)
    came = wake(reading, push)
    assert texts(came) == {
        "While you slept|Never mind\nNobody dead": 20,
    }


def test_alert_cancelled_at_night_does_not_arrive_in_the_morning(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(20), quiet=around_now())
    push.answer_with(lambda _: Answer(503, {"retry-after": "60"}))
    id = reading.publish()
    wait_until(lambda: skipped(reading, id).get("quiet") == 20)
    reading.runtime.publishing.cancel(id, by="a test")
    reading.over(id)
    push.answer_with(lambda _: Answer(201))
    assert wake(reading, push) == []
    (wave,) = reading.runtime.publishing.waves(9)
    assert skipped(reading, wave.id) == {"over": 20}


def test_alert_held_for_all_readers_can_be_corrected(
    reading: Installation, push: PushService
) -> None:
    (id,) = sent_at_night(reading, READERS, "Ten dead")
    reading.correct(id, "Nobody dead")
    assert texts(wake(reading, push)) == {f"Nobody dead|{content().body}": READERS}


def test_reader_reached_by_a_wave_gets_the_correction_and_nothing_twice(
    reading: Installation, push: PushService
) -> None:
    (id,) = sent_at_night(reading, 20, "Ten dead")
    assert len(wake(reading, push)) == 20
    publishing = reading.runtime.publishing
    (wave,) = publishing.waves(9)
    with pytest.raises(Conflict, match="correct the alerts themselves"):
        reading.correct(wave.id, "x")
    correction = reading.correct(id, "Nobody dead")
    reading.over(correction.id)
    assert reading.outcomes(correction.id) == {"accepted": READERS}
    held = reading.runtime.store.held_alerts.of(0, range(READERS), [id])
    assert held == {}, "no other wave sends it again"


def test_alert_corrected_while_its_wave_runs_arrives_corrected(
    reading: Installation, push: PushService
) -> None:
    (id,) = sent_at_night(reading, 20, "Ten dead")
    with waking(reading, push) as taken:
        reading.correct(id, "Nobody dead", replace=False)
    assert texts(taken) == {f"Nobody dead|{content().body}": 20}


def test_held_alerts_are_dropped_if_no_clock_ran_for_hours(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(20), quiet=around_now())
    reading.over(reading.publish())
    (quarter,) = reading.runtime.store.held_alerts.due(1 << 40)
    reading.runtime.publishing.wake_readers(quarter * QUARTER + 4 * 3600, FRONT)
    assert reading.runtime.store.held_alerts.due(1 << 40) == []
    assert not reading.runtime.publishing.waves(9)


# Daily limit --------------------------------------------------------------------------------------


@pytest.mark.redis
def test_daily_limit_holds_while_many_alerts_are_sent_at_once(
    reading: Installation, push: PushService
) -> None:
    reading.worker()
    choose(reading, range(20), zone=midday(), daily_limit=2)
    choose(reading, range(20, 40), zone=midday(), daily_limit=5)
    ids = [reading.publish() for _ in range(7)]
    for id in ids:
        reading.over(id)
    times = Counter(message.path for message in push.received)
    assert Counter(times.values()) == {2: 20, 5: 20, 7: 20}
    assert sum(skipped(reading, id).get("limit", 0) for id in ids) == 20 * 5 + 20 * 2


@pytest.mark.soak
def test_alert_counts_once_though_its_worker_is_killed(
    installation: Installation, push: PushService
) -> None:
    installation.seed(READERS)
    choose(installation, range(READERS), zone=midday(), daily_limit=1)
    push.answer_with(lambda _: Answer(201, delay=0.5))
    worker = installation.worker()
    installation.clock()
    id = installation.publish()
    push.wait_for(20, timeout=20)
    installation.end(worker, signal.SIGKILL)
    installation.worker()
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": READERS}


def test_count_is_taken_back_even_if_redis_is_full() -> None:
    with RedisServer() as server:
        daily = Store(connect(server.url)).daily_counts
        assert daily.count(1, 0, 20260329, [3, 4], [1, 1]) == [True, True]
        with server.full():
            daily.take_back(1, 0, 20260329, [3])
        assert daily.count(2, 0, 20260329, [3, 4], [1, 1]) == [True, False]
        assert daily.count(2, 0, 20260329, [3, 4], [1, 1]) == [True, False], "asked again"


def test_breaking_alerts_and_corrections_do_not_count_against_the_limit(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(READERS), zone=midday(), daily_limit=1)
    for _ in range(2):
        reading.over(reading.publish(kind="breaking"))
    first = reading.publish()
    reading.over(first)
    correction = reading.correct(first, "Corrected")
    reading.over(correction.id)
    assert reading.outcomes(correction.id) == {"accepted": READERS}
    last = reading.publish()
    reading.over(last)
    assert skipped(reading, last) == {"limit": READERS}


def test_story_counts_once_a_day(reading: Installation, push: PushService) -> None:
    choose(reading, range(READERS), zone=midday(), daily_limit=1)
    ferry = replace(EVERYONE, story="ferry")
    for audience in (ferry, ferry, ferry, EVERYONE):
        reading.over(reading.publish(audience))
    kinds = [reading.outcomes(one.id) for one in reading.runtime.publishing.latest(4)]
    assert kinds == [{"skipped": READERS}, *[{"accepted": READERS}] * 3]


def test_story_counts_once_although_its_second_alert_was_written_first(
    reading: Installation,
) -> None:
    choose(reading, range(READERS), zone=midday(), daily_limit=1)
    ferry = replace(EVERYONE, story="ferry")
    publishing = reading.runtime.publishing
    draft = publishing.publish(content(), ferry, by="a test", draft=True).id
    reading.over(reading.publish(ferry))
    publishing.send(draft, by="a test")
    reading.over(draft)
    assert reading.outcomes(draft) == {"accepted": READERS}


@pytest.mark.redis
def test_alert_that_was_not_accepted_does_not_count(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(READERS), zone=midday(), daily_limit=1)
    push.answer_with(lambda _: Answer(413))
    refused = reading.publish()
    reading.over(refused)
    assert reading.outcomes(refused) == {"refused": READERS}
    push.answer_with(lambda _: Answer(201))
    id = reading.publish()
    reading.over(id)
    assert reading.outcomes(id) == {"accepted": READERS}


def test_alerts_are_counted_by_the_date_of_each_readers_clock(
    reading: Installation, push: PushService
) -> None:
    here, there = midday(), midday(another_date=True)
    quarter = int(time.time()) // QUARTER
    assert day(here, quarter) != day(there, quarter)
    choose(reading, range(20), zone=here, daily_limit=1)
    choose(reading, range(20, 40), zone=there, daily_limit=1)
    reading.over(reading.publish())
    daily = reading.runtime.store.daily_counts

    def fits(zone: str, limit: int) -> list[bool]:
        readers = map(reading.reader, range(40))
        return [
            daily.count(9, one.partition, day(zone, quarter), [one.number], [limit]) == [True]
            for one in readers
        ]

    assert fits(here, 1) == [False] * 20 + [True] * 20
    assert fits(there, 2) == [True] * 40


# Local time ---------------------------------------------------------------------------------------


def test_alert_at_a_local_time_arrives_by_each_readers_clock(
    reading: Installation, push: PushService
) -> None:
    now = datetime.now(timezone.utc)
    wall = (now + timedelta(hours=2, seconds=4)).replace(tzinfo=None).isoformat()
    choose(reading, range(20), zone="Etc/GMT-2")  # two hours ahead: in four seconds
    choose(reading, range(20, 40), zone="UTC")  # in two hours
    choose(reading, range(40, READERS), zone="Etc/GMT-9")  # seven hours ago
    id = reading.runtime.publishing.publish(
        content(), EVERYONE, by="a test", send_at=SendAt(time.time(), wall=wall)
    ).id
    progress = reading.runtime.publishing.progress
    wait_until(lambda: progress(id).done == 40, timeout=40)
    assert reading.outcomes(id) == {"accepted": 20, "expired": 20}
    assert reached(push) == set(range(20))
    first = time.time() - (time.monotonic() - min(message.at for message in push.received))
    assert first >= (now + timedelta(seconds=4)).timestamp(), "never early"
    reading.runtime.publishing.cancel(id, by="a test")
    reading.over(id)
    assert reading.outcomes(id)["cancelled"] == 20
