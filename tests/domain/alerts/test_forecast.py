"""The forecast of an alert matches what then happens."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.domain.alerts import forecast
from service.domain.alerts.forecast import Forecast
from service.model.notifications import LIMIT, PAUSED, QUIET, Audience, SendAt, Topic
from service.model.preferences import NO_QUIET, Quiet
from service.model.time.clocks import QUARTER, day
from service.store import Store, connect
from tests.support.processes.installation import Installation, content
from tests.support.push_service import PushService
from tests.support.requested import requested
from tests.support.seeded import around_now, beginning_in, choose

EVERYONE = Audience(everyone=True)


def forecast_of(
    installation: Installation, audience: Audience = EVERYONE, **options: Any
) -> Forecast:
    """The forecast of an alert to this audience, as of now."""
    send_at = options.pop("send_at", None)
    forecaster = installation.runtime.forecaster
    return forecaster.forecast(content(**options), audience, send_at, time.time())


def test_forecast_of_a_small_audience_is_exactly_what_happens(
    installation: Installation, push: PushService
) -> None:
    installation.seed(120)
    choose(installation, range(40), quiet=around_now())
    choose(installation, range(24, 40), allow_breaking=True)
    choose(installation, range(40, 52), paused_until=int(time.time()) + 9000)
    choose(installation, range(52, 80), daily_limit=1)
    installation.worker()
    installation.clock()
    installation.over(installation.publish())
    for options, held, full in (({}, 40, 28), ({"kind": "breaking"}, 24, 0)):
        expected = forecast_of(installation, **options)
        assert expected == Forecast(120, 120, held, 12, full, 0)
        id = installation.publish(**options)
        installation.over(id)
        progress = installation.runtime.publishing.progress(id)
        happened = [progress.skipped(why) for why in (QUIET, PAUSED, LIMIT)]
        assert happened == [expected.held, expected.paused, expected.full]


def test_scheduled_alert_is_forecast_for_the_time_at_which_it_is_sent(
    installation: Installation,
) -> None:
    installation.seed(100)
    now = int(time.time()) // QUARTER
    choose(installation, range(40), quiet=beginning_in(8, 8))
    assert forecast_of(installation).held == 0
    assert forecast_of(installation, send_at=SendAt((now + 10) * QUARTER)).held == 40
    assert forecast_of(installation, send_at=SendAt((now + 20) * QUARTER)).held == 0


def test_alert_at_a_local_time_is_forecast_by_each_readers_clock(
    installation: Installation,
) -> None:
    installation.seed(90)
    shown = datetime.now(timezone.utc) + timedelta(hours=2)
    asleep = beginning_in(4, 16)  # on each reader's clock at that local time
    choose(installation, range(30), zone="UTC", quiet=asleep)
    choose(installation, range(30, 60), zone="Asia/Tokyo", quiet=asleep)  # there it was hours ago
    choose(installation, range(60, 90), zone="America/New_York", quiet=NO_QUIET)
    send_at = SendAt(time.time(), wall=shown.replace(tzinfo=None).isoformat(timespec="minutes"))
    expected = forecast_of(installation, send_at=send_at)
    assert (expected.held, expected.late) == (30, 30)
    night_in_tokyo = Quiet(*((quarter + 9 * 4) % 96 for quarter in around_now()))
    for quiet, held in ((NO_QUIET, 30), (night_in_tokyo, 60)):
        choose(installation, range(30, 60), zone="Asia/Tokyo", quiet=quiet)
        late = forecast_of(installation, send_at=replace(send_at, however_late=True))
        assert (late.held, late.late) == (held, 0)


@pytest.mark.usefixtures("one_partition")
def test_daily_limit_is_left_out_of_the_forecast_for_an_alert_of_a_story(
    installation: Installation,
) -> None:
    """A story counts once a day: a reader who had an alert of it already gets this one too."""
    installation.seed(50)
    choose(installation, range(50), daily_limit=1)
    date = day("", int(time.time()) // QUARTER)
    installation.runtime.store.daily_counts.count(1, 0, date, range(50), [1] * 50)
    assert forecast_of(installation).full == 50
    assert forecast_of(installation, replace(EVERYONE, story="ferry")).full == 0


@pytest.fixture
def store(redis_url: str) -> Store:
    """A store with readers of two topics in two partitions."""
    store = Store(connect(redis_url), 2)
    for slug in ("world", "sport"):
        store.topics.add(Topic(slug, slug))
    for number in range(700):
        topic = "world" if number % 5 else "sport"
        store.subscriptions.subscribe(requested(number, topics=frozenset({topic})))
    return store


@pytest.mark.redis
def test_sample_is_drawn_from_the_audience_and_is_all_of_a_small_one(store: Store) -> None:
    sport = Audience(topics=("sport",))
    readers, all_of_them = store.audiences.draw(sport, 1000)
    assert readers == len(all_of_them) == store.audiences.count(sport) == 140
    follows = {one for one in all_of_them if store.subscriptions.get(one).topics == {"sport"}}
    assert len(follows) == 140
    assert {one.partition for one in all_of_them} == {*store.partitions}
    readers, some = store.audiences.draw(sport, 50)
    assert (readers, len(set(some))) == (140, 50)
    assert set(some) <= follows
    assert store.audiences.draw(Audience(topics=("sport",), locales=("fr",)), 50) == (0, [])


@pytest.mark.redis
def test_drawing_a_sample_leaves_nothing_in_the_store(store: Store) -> None:
    before = set(store.redis.scan_iter())
    store.audiences.draw(EVERYONE, 10)
    assert set(store.redis.scan_iter()) == before


def test_forecast_of_a_large_audience_comes_from_a_sample(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "SAMPLE", 200)
    installation.seed(400)
    choose(installation, range(0, 400, 2), quiet=around_now())
    expected = forecast_of(installation)
    assert (expected.recipients, expected.sampled, expected.exact) == (400, 200, False)
    assert 50 < expected.held < 150, "half of the sample, within seven standard deviations"
