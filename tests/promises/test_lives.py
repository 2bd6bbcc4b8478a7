"""Whatever readers, editors, push services and kills do, each alert's outcomes add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from datetime import time as clock_time
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from service.domain.alerts.publishing import Conflict
from service.domain.alerts.waiting_corrections import Undo
from service.model.notifications import LIMIT, Audience, Notification, Outcome, SendAt, State
from service.model.preferences import NO_QUIET, UNLIMITED, Preferences, Quiet
from service.model.retention import DAY
from service.model.time.clocks import QUARTER
from service.store import connect
from service.store.readers.subscriptions import NotSubscribed
from tests.support.lives.books import Audiences, check_books, check_days
from tests.support.lives.newsroom import TOPICS, Newsroom
from tests.support.lives.push import MOODS
from tests.support.lives.readers import ORIGINS, STORY, Reader, of_story, request
from tests.support.lives.stopped_time import StoppedTime

# The evenings before clocks go forward in Europe and back in America, and a Friday.
BEGINS = (datetime(2031, 3, 29, 20, 50), datetime(2031, 11, 1, 20, 50), datetime(2031, 10, 17, 9))
ZONES = ("UTC", "Europe/Riga", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")
QUIETS = tuple(map(Quiet.parse, ("", "", "22:00-07:00", "02:30-03:30", "12:00-11:00")))
LIMITS = (UNLIMITED, UNLIMITED, 1, 2, 3)
PASSES = (1.0, 5.0, 9.0, 60.0, 900.0, 3600.0, 6 * 3600.0)

chances = st.integers(0, 2**32)


class Lives(RuleBasedStateMachine):
    """One newsroom. The number that is drawn for a step decides what happens in it."""

    url: str
    time: StoppedTime
    partitions: int

    def __init__(self) -> None:
        super().__init__()
        with connect(self.url) as redis:
            redis.flushdb()
        self.is_broken = False

    @initialize(
        begin=st.sampled_from(BEGINS),
        readers=st.integers(4, 24),
        is_deadly=st.booleans(),
        chance=chances,
    )
    def begin(self, begin: datetime, readers: int, is_deadly: bool, chance: int) -> None:
        """Open a newsroom, whose processes are killed and stopped if it `is_deadly`."""
        self.is_deadly = is_deadly
        self.room = Newsroom(self.url, self.time, begin - timedelta(3), self.partitions)
        self.audiences = Audiences(self.room.runtime.store, self.room.readers)
        self.room.publish(Audience(everyone=True, story=STORY))  # to nobody: it opens the story
        choose = Random(chance)
        for _ in range(readers):
            self.join(choose)
        self.time.move_on(3 * DAY - 1)

    # -- readers ---------------------------------------------------------------------------------

    def join(self, choose: Random) -> None:
        self.room.join(
            choose.choice(ZONES),
            frozenset(choose.sample(TOPICS, choose.randint(0, 2))),
            Preferences(
                quiet=choose.choice(QUIETS),
                daily_limit=choose.choice(LIMITS),
                allow_breaking=choose.random() < 0.3,
            ),
            choose.choice(("", "", "followed", "muted")),
        )

    def reader(self, choose: Random) -> Reader | None:
        here = [one for one in self.room.readers.values() if one.is_here]
        return choose.choice(here) if here else None

    def change_reader(self, choose: Random) -> None:
        """One of them leaves, changes keys, sleeps at other times, pauses or is called gone."""
        one = self.reader(choose)
        if one is None:
            return
        subscriptions = self.room.runtime.subscriptions
        one.changed_at = self.time.now
        try:
            before = self.room.runtime.store.subscriptions.get(one.id)
        except NotSubscribed:
            one.is_here = False  # a push service called it gone
            return
        what = choose.choice(("leave", "keys", "sleep", "pause", "limit", "topics", "story"))
        if what == "leave":
            subscriptions.remove(before)
            one.is_here = False
            return
        changes: dict[str, Any] = {"chosen": {}}
        preferences: dict[str, Any] = {}
        if what == "keys":
            one.keys += 1
        elif what == "sleep":
            preferences = {"quiet": choose.choice(QUIETS)}
        elif what == "pause":
            hours = int(self.time.now // 3600) + choose.choice((0, 1, 2, 8))
            preferences = {"paused_until": hours * 3600}
        elif what == "limit":
            preferences = {"daily_limit": choose.choice(LIMITS)}
        elif what == "topics":
            one.topics = frozenset(choose.sample(TOPICS, choose.randint(0, 2)))
            changes["topics"] = one.topics
        else:
            one.story = choose.choice(("", "followed", "muted"))
            changes |= of_story(one.story)
        changes["chosen"] = preferences
        asked = request(one.number, one.keys, before.vapid_key, **changes)
        after = subscriptions.change(before, asked)
        one.id, one.preferences = after.id, after.preferences

    # -- editors ---------------------------------------------------------------------------------

    def publish(self, choose: Random) -> None:
        kind, breaking = choose.randint(0, 9), choose.random() < 0.2
        ttl = choose.choice((60, 600, 4 * 3600, 4 * 3600, 86_400))
        audience = Audience(everyone=True) if choose.random() < 0.6 else Audience(topics=("world",))
        options: dict[str, Any] = {}
        if choose.random() < 0.3:
            audience = Audience(audience.everyone, audience.topics, story=STORY)
        if kind == 1:
            options["percent"] = choose.choice((10, 50))
        elif kind == 2:
            options["spread_minutes"] = choose.choice((1, 5))
        elif kind == 3:
            options["send_at"] = SendAt(self.time.now + choose.choice((1, 30, 3600)))
        elif kind == 4:
            options["draft"] = True
        elif kind == 5:
            options["send_at"] = SendAt(self.time.now + 20, sent_at=self.time.now)
        kind_of = "breaking" if breaking else "news"
        self.room.publish(audience, kind=kind_of, ttl=ttl, **options)
        if choose.random() < 0.7:
            self.work(choose)

    def alert(self, choose: Random) -> Notification | None:
        found = self.room.runtime.publishing.latest(6)
        return choose.choice(found) if found else None

    def edit(self, choose: Random) -> None:
        """An editor does something with one of the latest alerts."""
        one = self.alert(choose)
        if one is None:
            return
        publishing, runtime = self.room.runtime.publishing, self.room.runtime
        acts: list[Callable[[], object]] = [
            lambda: publishing.cancel(one.id, by="Ada"),
            lambda: publishing.pause(one.id, by="Ada"),
            lambda: publishing.pause(one.id, by="Ada"),
            lambda: publishing.resume(one.id, by="Ada"),
            lambda: publishing.resume(one.id, by="Ada"),
            lambda: publishing.resume(one.id, by="Ada"),
            lambda: publishing.send(one.id, by="Ada"),
            lambda: publishing.take_back(one.id, by="Ada"),
            lambda: publishing.remove(one.id, by="Ada"),
            lambda: runtime.text_choice.choose(one.id, choose.choice("AB"), by="Ada"),
            lambda: self.correct(one, choose),
            lambda: self.correct(one, choose),
            lambda: self.correct(one, choose),
            lambda: self.stop_or_release(),
            lambda: self.stop_or_release(),
        ]
        with suppress(Conflict):
            choose.choice(acts)()
        self.room.look()

    def correct(self, one: Notification, choose: Random) -> None:
        replace = choose.random() < 0.8
        undo = None
        if choose.random() < 0.4:
            undo = Undo(20.0, choose.choice((None, State.SENDING, State.CANCELLED)))
        self.room.correct(one.id, replace=replace, undo=undo)

    def stop_or_release(self) -> None:
        stops = self.room.runtime.stops
        if stops.holds():
            stops.release(by="Ada")
        else:
            stops.hold(by="Ada")

    # -- push services, time, clock and worker ---------------------------------------------------

    def change_mood(self, choose: Random) -> None:
        """A push service answers otherwise from now on."""
        self.room.moods[choose.choice(ORIGINS)] = choose.choice((*MOODS, "well", "well"))

    def pass_time(self, choose: Random) -> None:
        """Time passes, and the clock wakes a worker; either may be killed."""
        until = [self.time.now + choose.choice(PASSES)]
        if choose.random() < 0.4:  # until some readers wake for whom alerts are held
            until = [
                one * QUARTER for one in self.room.runtime.store.held_alerts.pending()
            ] or until
        elif choose.random() < 0.3:  # until a day ends somewhere
            there = datetime.fromtimestamp(self.time.now, ZoneInfo(choose.choice(ZONES)))
            until = [datetime.combine(there + timedelta(1), clock_time(), there.tzinfo).timestamp()]
        before = choose.choice((0, 0, 0, 1, 50, 70))
        self.time.move_on(max(1.0, min(until) - before - self.time.now))
        self.room.tick(self.kill(choose))
        self.room.look()
        self.work(choose)

    def work(self, choose: Random) -> None:
        """One of the workers sends what is due; it may be killed, and much may happen amid it."""
        which = choose.randint(0, 1)
        amid: list[Callable[[], object]] = [
            lambda: self.edit(choose),
            lambda: self.edit(choose),
            lambda: self.change_reader(choose),
            lambda: self.room.tick(),
            lambda: self.room.work(1 - which, choose),
        ]
        if self.is_deadly:
            amid.append(lambda: self.another_takes_over(which, choose))
        happens = choose.choice(amid) if choose.random() < 0.5 else None
        messages = choose.randint(0, 30) if self.is_deadly and choose.random() < 0.2 else -1
        self.is_broken = True
        self.room.work(which, choose, kill=self.kill(choose), messages=messages, amid=happens)
        self.is_broken = False

    def kill(self, choose: Random) -> tuple[int, bool] | None:
        """Where a process is killed, if it is: with which call of Redis, and whether it arrives."""
        dies = self.is_deadly and choose.random() < 0.3
        return (choose.randint(1, 80), choose.random() < 0.5) if dies else None

    def another_takes_over(self, which: int, choose: Random) -> None:
        """A worker is stopped for so long that another one gets its batches."""
        self.room.loses_leases(which, 9.0)
        self.room.work(1 - which, choose)

    @rule(chance=chances)
    def step(self, chance: int) -> None:
        """Something happens."""
        choose = Random(chance)
        (what,) = choose.choices(
            (self.publish, self.pass_time, self.edit, self.work, self.change_reader),
            (6, 6, 6, 4, 3),
        )
        what(choose)
        if choose.random() < 0.2:
            self.change_mood(choose)
        if choose.random() < 0.05:
            self.join(choose)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def books_add_up(self) -> None:
        if not hasattr(self, "room"):
            return
        alerts = self.room.look()
        self.is_broken = True
        check_books(self.room.runtime.store, self.room.witness, alerts)
        self.audiences.check(alerts, self.time.now)
        self.is_broken = False

    def teardown(self) -> None:
        if hasattr(self, "room"):
            if not self.is_broken:
                self.all_well()
            self.room.close()

    def all_well(self) -> None:
        """In the end everything goes on, and each alert is over."""
        room = self.room
        room.runtime.stops.release(by="Ada")
        room.moods.clear()
        for _ in range(40):
            active = room.runtime.publishing.all(room.runtime.store.notifications.active())
            if not active:
                break
            for one in active:
                if one.state is State.PAUSED:
                    with suppress(Conflict):
                        room.runtime.publishing.resume(one.id, by="Ada")
            self.time.move_on(60.0)
            room.tick()
            room.look()
            for which in (0, 1):
                room.work(which, Random(0))
            room.tick()
            self.books_add_up()
        assert not room.runtime.store.notifications.active(), "some alert is never over"
        if room.witness.is_exact:
            check_days(room.runtime.store, room.readers.values())


@pytest.fixture
def time() -> Iterator[StoppedTime]:
    with pytest.MonkeyPatch.context() as patch:
        yield StoppedTime(patch)


def test_correction_of_an_earlier_day_lets_no_alert_of_its_story_pass_the_limit(
    redis_url: str, time: StoppedTime
) -> None:
    with closing(Newsroom(redis_url, time, BEGINS[2])) as room:
        room.join("UTC", frozenset(), Preferences(quiet=NO_QUIET, daily_limit=1))
        ferry = Audience(everyone=True, story=STORY)

        def over(id: int) -> dict[tuple[Outcome, str], int]:
            room.work(0, Random(0))
            return dict(room.runtime.publishing.progress(id).outcomes)

        first = room.publish(ferry)
        over(first)
        time.move_on(DAY)
        accepted, over_limit = {(Outcome.ACCEPTED, "google"): 1}, {(Outcome.SKIPPED, LIMIT): 1}
        assert over(room.publish(Audience(everyone=True))) == accepted
        assert over(room.correct(first)) == accepted
        assert over(room.publish(ferry)) == over_limit


@pytest.mark.parametrize("partitions", [1, 12])
def test_outcomes_add_up_whatever_happens(
    redis_url: str, time: StoppedTime, partitions: int
) -> None:
    Lives.url, Lives.time, Lives.partitions = redis_url, time, partitions
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=settings.default.max_examples // 8,
            derandomize=settings.default.max_examples < 1000,  # the long form looks for new faults
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
