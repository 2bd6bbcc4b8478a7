"""Two texts tried on a sample: every reader gets one of them, once, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from service.domain.sending import planning
from service.domain.sending.receipts import Report
from service.model.notifications import Audience, Batch, Outcome, State
from service.model.payload import Payload
from service.model.two_texts import SecondText, text_of
from service.store.alerts.outcomes import Result
from service.store.sending.batches import Look, part_key
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.seeded import reader_of, shown
from workers.sending.send import Send

pytestmark = pytest.mark.redis

READERS = 400
EVERYONE = Audience(everyone=True)


def publish(installation: Installation, *, percent: int = 30, minutes: int = 15) -> int:
    """Publish an alert with the texts “Text A” and “Text B”."""
    second = SecondText("Text B", "", percent, minutes)
    publishing = installation.runtime.publishing
    wanted = content(title="Text A")
    return publishing.publish(wanted, EVERYONE, by="a test", second_text=second).id


def texts(installation: Installation, push: PushService) -> dict[int, str]:
    """The title that each reader got; nobody got two."""
    got = {reader_of(message): shown(message)["title"] for message in push.received}
    assert len(got) == len(push.received), "a reader got two messages"
    return got


def expected(installation: Installation, id: int, percent: int = 30) -> dict[int, str]:
    """Which text each reader of the sample is to get."""
    found = {}
    for number in range(READERS):
        reader = installation.reader(number)
        if text := text_of(id, reader.partition, reader.number, percent):
            found[number] = f"Text {text}"
    return found


def wait_for_sample(installation: Installation, id: int, size: int) -> None:
    progress = installation.runtime.publishing.progress
    wait_until(lambda: progress(id).done == size)
    wait_until(lambda: not any(look.batches for look in looks(installation, id)))


def looks(installation: Installation, id: int) -> Collection[Look]:
    return installation.runtime.store.batches.looks(id).values()


def click(installation: Installation, id: int, text: str, most: int) -> None:
    """Let so many readers who got this text click on it."""
    readers = [
        reader
        for reader in map(installation.reader, range(READERS))
        if text_of(id, *reader, 30) == text
    ][:most]
    assert len(readers) == most
    runtime = installation.runtime
    runtime.receipts.count([Report(id, reader, "clicked") for reader in readers])


def test_a_sample_gets_either_text_and_all_others_the_one_with_more_clicks(
    installation: Installation, push: PushService
) -> None:
    installation.seed(READERS)
    installation.worker()
    id = publish(installation)
    sample = expected(installation, id)
    wait_for_sample(installation, id, len(sample))
    installation.clock()
    assert texts(installation, push) == sample
    kinds = Counter(sample.values())
    assert min(kinds.values()) > 40
    one = installation.runtime.publishing.get(id)
    assert (one.state, one.decision) == (State.SENDING, None)
    assert installation.runtime.publishing.progress(id).recipients == READERS

    click(installation, id, "A", 10)
    click(installation, id, "B", 20)
    key = f"{{g}}:n:{id}"
    began = one.started_at or one.created_at
    installation.runtime.store.redis.hset(key, "started_at", repr(began - 15 * 60))

    over = installation.over(id)
    assert over.state is State.SENT
    assert over.decision is not None
    assert (over.decision.text, over.decision.by) == ("B", "")
    a, b = over.decision.tried
    assert (a.accepted, a.clicked) == (kinds["Text A"], 10)
    assert (b.accepted, b.clicked) == (kinds["Text B"], 20)
    assert over.deadline == over.decision.at + over.content.ttl
    assert installation.outcomes(id) == {"accepted": READERS}
    rest = dict.fromkeys(range(READERS), "Text B")
    assert texts(installation, push) == rest | sample


@pytest.fixture
def sick() -> Iterator[PushService]:
    """A push service that takes no message for now."""
    with PushService() as service:
        service.answer_with(lambda _message: Answer(503))
        yield service


@pytest.fixture
def two_services(
    redis_url: str, push: PushService, sick: PushService, tmp_path: Path
) -> Iterator[Installation]:
    """Most readers at one push service, and 60 at the sick one, all in one partition."""
    with Installation(redis_url, push, tmp_path, others=[sick], PUSH_WINDOW="64") as installation:
        installation.seed(READERS - 60, origins=[push.origin])
        installation.seed(60, origins=[sick.origin], first=READERS - 60)
        yield installation


@pytest.mark.processes
@pytest.mark.usefixtures("one_partition")
def test_others_wait_neither_for_laggards_of_the_sample_nor_for_a_killed_worker(
    two_services: Installation, push: PushService, sick: PushService
) -> None:
    installation = two_services
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    workers = [installation.worker(), installation.worker()]
    installation.clock()
    id = publish(installation)
    sample = expected(installation, id)
    late = sum(number >= READERS - 60 for number in sample)
    assert late > 5
    progress = installation.runtime.publishing.progress
    wait_until(lambda: progress(id).done == len(sample) - late)
    installation.runtime.text_choice.choose(id, "B", by="an editor")
    wait_until(lambda: progress(id).done >= len(sample) + 50)
    installation.end(workers[0], signal.SIGKILL)
    wait_until(lambda: progress(id).done == READERS - 60)

    sick.answer_with(lambda _message: Answer(201))
    assert installation.over(id).state is State.SENT

    assert installation.outcomes(id) == {"accepted": READERS}
    assert progress(id).recipients == READERS
    got: dict[int, set[str]] = {}
    for message in (*push.received, *sick.received):
        got.setdefault(reader_of(message), set()).add(shown(message)["title"])
    rest = dict.fromkeys(range(READERS), "Text B")
    assert got == {number: {text} for number, text in (rest | sample).items()}
    assert len(push.received) - (READERS - 60) <= 64, "more than one window was repeated"


def test_cancelled_while_two_texts_are_tried_counts_everybody(
    installation: Installation, push: PushService
) -> None:
    installation.seed(READERS)
    installation.worker()
    installation.clock()
    id = publish(installation)
    sample = expected(installation, id)
    wait_for_sample(installation, id, len(sample))
    installation.runtime.publishing.cancel(id, by="an editor")
    assert installation.over(id).state is State.CANCELLED
    cancelled = READERS - len(sample)
    assert installation.outcomes(id) == {"accepted": len(sample), "cancelled": cancelled}
    assert texts(installation, push) == sample
    assert not list(installation.runtime.store.redis.scan_iter(match=f"*:n:{id}:rest"))


def test_a_correction_ends_the_test_and_all_end_with_its_text(
    installation: Installation, push: PushService
) -> None:
    installation.seed(READERS)
    installation.worker()
    installation.clock()
    id = publish(installation)
    sample = expected(installation, id)
    wait_for_sample(installation, id, len(sample))
    click(installation, id, "A", 2)
    correction = installation.correct(id, "Right at last").id
    click(installation, id, "A", 5)
    assert installation.runtime.store.two_texts.clicked(id) == [2, 0]
    assert installation.over(id).state is State.SENT
    installation.over(correction)
    assert installation.outcomes(id) == {"accepted": READERS}
    assert installation.outcomes(correction) == {"accepted": len(sample)}
    last = {reader_of(message): shown(message)["title"] for message in push.received}
    assert last == dict.fromkeys(range(READERS), "Right at last")
    assert len(push.received) == READERS + len(sample)
    assert installation.runtime.publishing.get(id).decision is None


# In this process, without workers -----------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BATCH_RECIPIENTS", 100)


def batches(installation: Installation, id: int) -> list[tuple[int, int]]:
    """The bounds of all unfinished batches, which must not overlap."""
    names = installation.runtime.store.redis.zrange(part_key(0, id, "batches"), 0, -1)
    found = sorted(
        (one.start, one.end) for one in (Batch.parse(0, name.decode()) for name in names)
    )
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(found)), found
    return found


def take_all(
    installation: Installation, id: int, but: Callable[[int], bool] = lambda _number: False
) -> list[int]:
    """Claim what is due and record it as accepted, but for some recipients; return the others."""
    store, taken = installation.runtime.store, []
    while claim := store.batches.claim(id, 0, "a worker", 60_000):
        left = [number for number in claim.pending if but(number)]
        some = [number for number in claim.pending if not but(number)]
        results = {Result(Outcome.ACCEPTED, "google", 1, 0): some}
        store.outcomes.record(id, claim.batch, "a worker", 60_000, results)
        wait = 60_000 if left else None
        store.batches.release(id, claim.batch, "a worker", wait_ms=wait, undone=len(left))
        taken += some
    return taken


@pytest.mark.usefixtures("one_partition", "small_batches")
def test_new_batches_lie_beside_those_of_the_sample_and_cover_all(
    installation: Installation,
) -> None:
    installation.seed(2000)
    planning_ = installation.runtime.planning
    id = publish(installation, percent=30)
    planning_.plan(installation.runtime.publishing.get(id))
    of_sample = batches(installation, id)
    assert len(of_sample) > 3
    held = installation.runtime.store.batches.claim(id, 0, "another worker", 60_000)
    assert held is not None
    sampled = take_all(installation, id, but=lambda number: number % 256 == 7)
    stale = installation.runtime.publishing.get(id)
    installation.runtime.text_choice.choose(id, "A", by="an editor")

    for one in (None, None, stale):  # the last planner has not heard of the decision
        planning_.plan(one or installation.runtime.publishing.get(id))
        batches(installation, id)
    rest = take_all(installation, id)

    assert not set(sampled) & set(rest)
    assert not set(held.pending) & set(sampled)
    store = installation.runtime.store
    results = {Result(Outcome.ACCEPTED, "google", 1, 0): held.pending}
    store.outcomes.record(id, held.batch, "another worker", 60_000, results)
    store.batches.release(id, held.batch, "another worker", wait_ms=None)
    last = take_all(installation, id)
    assert sorted([*sampled, *rest, *held.pending, *last]) == list(range(2000))
    planning_.advance(id)
    assert installation.runtime.publishing.get(id).state is State.SENT
    assert installation.outcomes(id) == {"accepted": 2000}


@pytest.mark.usefixtures("one_partition")
@pytest.mark.parametrize("step", ["freeze", "keep_sample", "lay_out", "add_rest", "lay_out again"])
def test_a_planner_that_dies_at_any_step_loses_nobody(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    installation.seed(READERS)
    runtime = installation.runtime
    id = publish(installation)

    def dies(part: object, name: str, *, after: bool) -> None:
        done = getattr(part, name)

        def die(*args: object, **more: object) -> None:
            if after:
                done(*args, **more)
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(part, name, die)
            with pytest.raises(ConnectionError):
                runtime.planning.plan(runtime.publishing.get(id))

    places = {
        "freeze": (runtime.store.recipients, "freeze", True),
        "keep_sample": (runtime.store.two_texts, "keep_sample", True),
        "lay_out": (runtime.store.batches, "lay_out", False),
    }
    if step in places:
        part, name, after = places[step]
        dies(part, name, after=after)
    runtime.planning.plan(runtime.publishing.get(id))
    sample = take_all(installation, id)
    assert len(sample) == len(expected(installation, id))
    runtime.text_choice.choose(id, "B", by="an editor")
    if step == "add_rest":
        dies(runtime.store.two_texts, "add_rest", after=True)
    elif step == "lay_out again":
        dies(runtime.store.batches, "lay_out", after=False)
    assert runtime.publishing.progress(id).recipients == READERS
    ((_one, due),) = runtime.planning.sending()
    assert due
    rest = take_all(installation, id)
    assert sorted(sample + rest) == list(range(READERS))
    runtime.planning.advance(id)
    assert runtime.publishing.get(id).state is State.SENT


def test_others_do_not_wait_for_the_sample_if_two_planners_disagree_whether_a_text_is_chosen(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.seed(READERS)
    runtime = installation.runtime
    store, two_texts = runtime.store, runtime.store.two_texts
    id = publish(installation)
    stale = runtime.publishing.get(id)
    runtime.text_choice.choose(id, "B", by="an editor")
    add_rest = two_texts.add_rest

    def late(id: int) -> dict[int, list[str]]:
        """Let a planner that knows no decision take the rest out just before the last plan."""
        found = add_rest(id)
        runtime.planning._sample_or_rest(stale)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(two_texts, "add_rest", late)
        runtime.planning.plan(runtime.publishing.get(id))
    assert len(looks(installation, id)) == 12
    assert all(look.planned and not look.open for look in looks(installation, id))
    claims = [store.batches.claim(id, part, "a worker", 60_000) for part in store.partitions]
    sample = [claim for claim in claims if claim is not None]
    assert sum(len(claim.pending) for claim in sample) == len(expected(installation, id))
    for claim in sample:  # everybody is tried again in a minute
        undone = len(claim.pending)
        store.batches.release(id, claim.batch, "a worker", wait_ms=60_000, undone=undone)

    ((_one, due),) = runtime.planning.sending()
    assert due
    found = 0
    while claim := store.batches.claim_any(id, "another worker", 60_000):
        found += len(claim.pending)
    assert found == READERS


@pytest.mark.usefixtures("one_partition")
def test_the_clock_decides_once_it_is_time_unless_paused_stopped_or_too_late(
    installation: Installation,
) -> None:
    installation.seed(50)
    runtime = installation.runtime
    id = publish(installation)

    def decided(minutes: float) -> bool:
        """Whether the clock decides, so many minutes after the start."""
        began = repr(time.time() - 60 * minutes)
        runtime.store.redis.hset(f"{{g}}:n:{id}", "started_at", began)
        runtime.planning.advance_all()
        return runtime.publishing.get(id).decision is not None

    assert not decided(14.9)
    runtime.publishing.pause(id, by="an editor")
    assert not decided(15.1)
    runtime.publishing.resume(id, by="an editor")
    runtime.stops.hold(by="an editor")
    assert not decided(15.1)
    runtime.stops.release(by="an editor")
    assert decided(15.1)
    late = publish(installation)
    runtime.store.redis.hset(f"{{g}}:n:{late}", "started_at", repr(time.time() - 5 * 3600))
    assert not runtime.planning.two_texts.decide_due(runtime.publishing.get(late))
    runtime.planning.advance_all()
    one = runtime.publishing.get(late)
    assert (one.state, one.decision) == (State.EXPIRED, None)
    assert installation.outcomes(late) == {"expired": 50}


@pytest.mark.usefixtures("one_partition", "small_batches")
def test_a_full_redis_keeps_no_reader_from_the_chosen_text_and_no_other_alert_from_its_end(
    installation: Installation, whole_redis: RedisServer
) -> None:
    installation.seed(READERS)
    runtime = installation.runtime
    id, other = publish(installation), installation.publish()
    for one in (id, other):
        runtime.planning.plan(runtime.publishing.get(one))
    sample = take_all(installation, id, but=lambda number: number < 40)
    assert 0 < len(batches(installation, id)) < 2, "only some readers of the sample are left"
    new = installation.publish()
    with whole_redis.full():
        runtime.text_choice.choose(id, "B", by="an editor")
        assert {one.id for one, due in runtime.planning.sending() if due} == {id, other}
        rest = take_all(installation, id)
        assert sorted(sample + rest) == list(range(READERS))
        assert len(take_all(installation, other)) == READERS
        runtime.planning.advance_all()
        for one in (id, other):
            assert runtime.publishing.get(one).state is State.SENT
        with pytest.raises(ResponseError):  # nothing else is being sent
            runtime.planning.sending()
    assert [(one.id, due) for one, due in runtime.planning.sending()] == [(new, True)]


@pytest.mark.usefixtures("one_partition")
def test_a_correction_that_a_full_redis_refuses_keeps_no_other_alert_from_its_end(
    installation: Installation, whole_redis: RedisServer
) -> None:
    installation.seed(10)
    runtime = installation.runtime
    root = installation.publish()
    correction = installation.correct(root, "Right at last").id
    other = installation.publish()
    for one in (root, correction, other):
        runtime.planning.plan(runtime.publishing.get(one))
    assert len(take_all(installation, other)) == 10
    with whole_redis.full():
        with pytest.raises(ResponseError):  # it looks for readers whom the alert has reached
            runtime.planning.advance_all()
        assert runtime.publishing.get(other).state is State.SENT


@pytest.mark.usefixtures("one_partition")
def test_an_alert_that_cannot_be_decided_keeps_no_other_from_being_decided(
    installation: Installation,
) -> None:
    installation.seed(50)
    runtime = installation.runtime
    broken, other = publish(installation), publish(installation)
    for id in (broken, other):
        key = f"{{g}}:n:{id}"
        runtime.store.redis.hset(key, "started_at", repr(time.time() - 15 * 60))
    runtime.store.redis.rpush(f"{{g}}:n:{broken}:clicked:A", "no count of clicks")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        runtime.planning.advance_all()
    assert runtime.publishing.get(broken).decision is None
    assert runtime.publishing.get(other).decision is not None


def test_a_worker_that_has_not_heard_which_text_was_chosen_lets_others_wait(
    installation: Installation,
) -> None:
    installation.seed(READERS)
    runtime = installation.runtime
    id = publish(installation)
    send = Send(runtime, runtime.publishing.get(id))
    titles = {"A": b"Text A", "B": b"Text B"}
    ((_, record),) = runtime.store.records.of([installation.reader(0)])
    assert record is not None
    outside = next(
        reader
        for reader in map(installation.reader, range(READERS))
        if not text_of(id, *reader, 30)
    )
    assert send.text_of(*outside) is None
    runtime.text_choice.choose(id, "B", by="an editor")
    send.read(runtime.publishing.get(id))
    assert send.text_of(*outside) == ""
    assert b"Text B" in send.message("", record)
    for text, title in titles.items():
        assert title in send.message("", record, text=text)
    one = runtime.publishing.get(id)
    long = SecondText("Text B", "wörds " * 330, 30, 15)  # for browsers that take no long message
    small = Payload(replace(one, second_text=long), "https://push.example").small()
    assert b"Text B" in small.carrying(None)
    assert small.size < 2000
    assert send.rules.of(record, time.time()).expires == pytest.approx(one.deadline)
