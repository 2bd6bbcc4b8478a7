"""Who would have an alert when: what the desk says before it is sent is what becomes of it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.domain import forecast as forecasts
from service.domain.forecast import Forecast, forecast
from service.model.clocks import QUARTER, day
from service.model.notifications import LIMIT, PAUSED, QUIET, Audience, SendAt, Topic
from service.model.preferences import NO_QUIET, UNLIMITED, NewsroomDefaults
from service.store import Store, connect
from tests.store.test_subscriptions import requested
from tests.support.installation import Installation, content
from tests.support.push_service import PushService
from tests.support.seeded import around_now, choose

EVERYONE = Audience(everyone=True)
MANNERS = NewsroomDefaults(NO_QUIET, UNLIMITED)


def asked(installation: Installation, audience: Audience = EVERYONE, **options: Any) -> Forecast:
    """What the desk would say now of an alert to these."""
    send_at = options.pop("send_at", None)
    defaults = installation.config.defaults
    return forecast(
        installation.runtime.store, defaults, content(**options), audience, send_at, time.time()
    )


def test_what_is_said_of_a_few_readers_is_what_becomes_of_them(
    installation: Installation, push: PushService
) -> None:
    installation.seed(300)
    choose(installation, range(100), quiet=around_now())
    choose(installation, range(60, 100), allow_breaking=True)
    choose(installation, range(100, 130), paused_until=int(time.time()) + 9000)
    choose(installation, range(130, 200), daily_limit=1)
    installation.worker()
    installation.clock()
    installation.over(installation.publish())
    for options, held, full in (({}, 100, 70), ({"kind": "breaking"}, 60, 0)):
        said = asked(installation, **options)
        assert said == Forecast(300, 300, held, 30, full, 0)
        id = installation.publish(**options)
        installation.over(id)
        progress = installation.runtime.publishing.progress(id)
        became = [progress.skipped(why) for why in (QUIET, PAUSED, LIMIT)]
        assert became == [said.held, said.paused, said.full]


def test_an_alert_for_later_is_judged_by_the_readers_clocks_then(
    installation: Installation,
) -> None:
    installation.seed(100)
    now = int(time.time()) // QUARTER
    choose(installation, range(40), quiet=around_now(before=-8, after=16))
    assert asked(installation).held == 0
    assert asked(installation, send_at=SendAt((now + 10) * QUARTER)).held == 40
    assert asked(installation, send_at=SendAt((now + 20) * QUARTER)).held == 0


def test_an_alert_by_local_time_is_judged_where_each_reader_is(installation: Installation) -> None:
    installation.seed(90)
    shown = datetime.now(timezone.utc) + timedelta(hours=2)
    asleep = around_now(before=-4, after=20)  # on all their clocks when those show that time
    choose(installation, range(30), zone="UTC", quiet=asleep)
    choose(installation, range(30, 60), zone="Asia/Tokyo", quiet=asleep)  # has shown it for hours
    choose(installation, range(60, 90), zone="America/New_York", quiet=NO_QUIET)
    send_at = SendAt(time.time(), wall=shown.replace(tzinfo=None).isoformat(timespec="minutes"))
    said = asked(installation, send_at=send_at)
    assert (said.held, said.late) == (30, 30)


def test_of_a_story_nothing_is_said_of_how_many_alerts_readers_had_today(
    installation: Installation,
) -> None:
    """It counts once a day: who had one of it already gets this one too."""
    installation.seed(50)
    choose(installation, range(50), daily_limit=1)
    date = day("", int(time.time()) // QUARTER)
    installation.runtime.store.daily.count(1, 0, date, range(50), [1] * 50)
    assert asked(installation).full == 50
    assert asked(installation, replace(EVERYONE, story="ferry")).full == 0


@pytest.fixture
def store(redis_url: str) -> Store:
    """Readers of two topics in two partitions, some of whom left or are gone."""
    store = Store(connect(redis_url), 2)
    for slug in ("world", "sport"):
        store.topics.add(Topic(slug, slug))
    for number in range(700):
        topic = "world" if number % 5 else "sport"
        store.subscriptions.subscribe(requested(number, topics=frozenset({topic})))
    return store


@pytest.mark.redis
def test_those_asked_are_drawn_from_the_audience_and_all_where_they_are_few(store: Store) -> None:
    sport = Audience(topics=("sport",))
    readers, all_of_them = store.audiences.draw(sport, 1000)
    assert readers == len(all_of_them) == store.audiences.count(sport) == 140
    follows = {one for one in all_of_them if store.subscriptions.get(one).topics == {"sport"}}
    assert len(follows) == 140
    assert {one.partition for one in all_of_them} == {0, 1}
    readers, some = store.audiences.draw(sport, 50)
    assert (readers, len(set(some))) == (140, 50)
    assert set(some) <= follows
    assert store.audiences.draw(Audience(topics=("sport",), locales=("fr",)), 50) == (0, [])


@pytest.mark.redis
def test_drawing_leaves_nothing_behind(store: Store) -> None:
    before = set(store.redis.scan_iter())
    store.audiences.draw(EVERYONE, 10)
    assert set(store.redis.scan_iter()) == before


def test_of_many_readers_some_are_asked_and_a_share_is_said(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "MOST_ASKED", 200)
    installation.seed(1000)
    choose(installation, range(0, 1000, 2), quiet=around_now())
    said = asked(installation)
    assert (said.recipients, said.asked, said.exact) == (1000, 200, False)
    assert 50 < said.held < 150, "half of them: seven standard deviations"
