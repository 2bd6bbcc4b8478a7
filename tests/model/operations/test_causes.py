"""When a cause is reported to a person, and when its end is."""

from __future__ import annotations

from itertools import pairwise

from service.model.newsroom.webhooks import Answer, Waiting
from service.model.operations.causes import AWAY, QUIET, URGENT, WARNING, Cause, Reported

NOW = 1_790_000_000.0
WORKERS = Cause("no-workers", URGENT, "No worker runs.", "Start one.")
FAILED = Cause("jobs-failed", WARNING, "2 jobs failed.", "Read the log.", lasts=0)


class Person:
    """Looks every ten seconds, and notes what was reported and when."""

    def __init__(self) -> None:
        self.now, self.state = NOW, Reported()
        self.reported: list[tuple[float, str, bool]] = []  # seconds from the beginning

    def see(self, seconds: float, *causes: Cause) -> None:
        """Let these causes be there for so many seconds."""
        until = self.now + seconds
        while self.now < until:
            self.state = Reported.from_json(self.state.after(causes, self.now).as_json().encode())
            for post in self.state.posts(self.now):
                self.reported.append((self.now - NOW, post.cause.name, bool(post.over_at)))
                self.state = self.state.reported(post, self.now)
            self.now += 10


def test_a_cause_is_reported_once_when_it_begins_and_once_when_it_is_over() -> None:
    person = Person()
    person.see(7200, WORKERS)
    person.see(7200)
    assert person.reported == [(60, "no-workers", False), (7200 + AWAY, "no-workers", True)]
    assert person.state == Reported()


def test_what_a_restart_causes_is_not_reported() -> None:
    person = Person()
    person.see(50, WORKERS)
    person.see(600)
    person.see(50, WORKERS)
    person.see(600)
    assert person.reported == []


def test_a_moment_without_the_cause_is_not_its_end() -> None:
    person = Person()
    person.see(300, WORKERS)
    person.see(AWAY - 10)
    person.see(300, WORKERS)
    person.see(300)
    assert [over for _, _, over in person.reported] == [False, True]


def test_of_a_cause_that_comes_and_goes_one_post_is_made_in_a_quarter_of_an_hour() -> None:
    person = Person()
    for _ in range(60):
        person.see(90, WORKERS)
        person.see(90)
    assert [over for _, _, over in person.reported[:6]] == [False, True, False, True, False, True]
    times = [at for at, _, _ in person.reported]
    later = times[1:]  # the first end is reported at once
    assert all(after - before >= QUIET for before, after in pairwise(later))


def test_a_cause_that_is_there_again_and_stays_is_reported_after_the_quiet_time() -> None:
    person = Person()
    person.see(120, WORKERS)
    person.see(120)
    ended = person.reported[-1][0]
    person.see(3600, WORKERS)
    assert person.reported[2:] == [(ended + QUIET, "no-workers", False)]


def test_what_is_urgent_is_reported_first() -> None:
    after = Reported().after([FAILED, WORKERS], NOW).after([FAILED, WORKERS], NOW + 60)
    assert [post.cause.name for post in after.posts(NOW + 60)] == ["no-workers", "jobs-failed"]


def test_what_a_newer_release_stores_is_left_out() -> None:
    health, _ = Reported().health.after(Waiting("1", "no-workers", ""), Answer(500), NOW)
    reported = Reported(
        {"no-workers": Reported().after([WORKERS], NOW).known["no-workers"]}, health, 5.0
    )
    newer = reported.as_json().replace('"since"', '"told_by": "clock", "since"')
    assert newer != reported.as_json()
    assert Reported.from_json(newer.encode()) == reported
