"""Webhooks: each event is heard by each that wants it, signed, and again until it is taken."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import standardwebhooks

from service.domain.newsroom.webhook_calls import WebhookCalls
from service.domain.newsroom.webhook_events import WebhookEvents
from service.domain.newsroom.webhooks import Seals, Webhooks, WrongWebhook, result_words
from service.model.newsroom.webhooks import EVENTS, Answer
from service.model.notifications import Audience, Outcome, SendAt
from service.model.retention import ARTICLE_NEW, DAY
from service.model.tokens import Tokens
from service.runtime import Runtime
from tests.support import ROOT
from tests.support.client import NOTIFICATIONS, Client, Reader
from tests.support.desk.pages import publish, send_all
from tests.support.network.newspaper import Newspaper, response
from tests.support.processes.installation import content
from workers.fetching.fetch import Fetcher
from workers.fetching.jobs import Caller

pytestmark = pytest.mark.redis

EVERYONE = Audience(everyone=True)
BY = "ada@paper.example"
SECRET_KEY = "a secret of at least 32 characters"


@pytest.fixture
def runtime(client: Client) -> Runtime:
    return client.runtime


@pytest.fixture
def paper(paper: Newspaper) -> Newspaper:
    paper.pages["/hook"] = response(status=204)
    return paper


class Clock:
    """The clock's two duties, and a fetch process that does its jobs when it is told to."""

    def __init__(self, runtime: Runtime, paper: Newspaper) -> None:
        self.runtime, self.now = runtime, time.time()
        self.jobs: list[str] = []
        self.processes = 1
        self._events = WebhookEvents(runtime.store)
        self._calls = WebhookCalls(runtime.store, self, seals())  # type: ignore[arg-type]
        self._caller = Caller(runtime.store.calls, Fetcher([paper.origin]))

    def workers(self) -> int:
        return self.processes

    def ask(self, _job: str, id: str) -> None:
        self.jobs.append(id)

    def tick(self, later: float = 1.0) -> None:
        self.now += later
        self._events.lay_out(self.now)
        self._calls.go_on(self.now)

    def fetch(self) -> int:
        """Do the jobs that wait; return how many there were."""
        jobs, self.jobs = self.jobs, []
        for id in jobs:
            self._caller.call(id)
        return len(jobs)

    def turn(self, later: float = 1.0) -> int:
        """Let time pass until everything that is due by then is heard."""
        self.tick(later)
        done = 0
        while made := self.fetch():
            done += made
            self.tick(0)
        return done


@pytest.fixture
def clock(runtime: Runtime, paper: Newspaper) -> Clock:
    return Clock(runtime, paper)


def seals(*keys: str) -> Seals:
    return Seals(Tokens(*(keys or (SECRET_KEY,))).webhook_keys)


def webhooks(runtime: Runtime, paper: Newspaper) -> Webhooks:
    return Webhooks(runtime.store, seals(), [paper.origin])


def heard(paper: Newspaper) -> list[dict[str, Any]]:
    return [json.loads(body) for body in paper.bodies]


def headers(paper: Newspaper, at: int = -1) -> dict[str, str]:
    lines = paper.requests[at].split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def add(
    runtime: Runtime, paper: Newspaper, *events: str, path: str = "/hook"
) -> tuple[str, standardwebhooks.Webhook]:
    """Add a webhook; return its id, and what checks that a call is ours."""
    hook, secret = webhooks(runtime, paper).add(paper.origin + path, events or EVENTS, by=BY)
    return hook.id, standardwebhooks.Webhook(secret)


def test_each_step_of_an_alert_is_heard_signed_as_the_api_shows_it(
    client: Client, runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    Reader(client)
    _, checks = add(runtime, paper)
    id = publish(runtime, title="Ferry aground – all safe")
    clock.turn()
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): 1})
    runtime.planning.advance(id)
    clock.turn()
    runtime.corrections.correct(id, title="Ferry afloat", body=None, url=None, replace=True, by=BY)
    clock.turn()
    kinds = [one["type"] for one in heard(paper)]
    assert kinds == ["alert.sent", "alert.finished", "alert.corrected"]
    for at, body in enumerate(paper.bodies):
        assert checks.verify(body, headers(paper, at)) == json.loads(body)
        assert headers(paper, at)["content-type"] == "application/json"
    assert len({headers(paper, at)["webhook-id"] for at in range(3)}) == 3
    shown = client.call("GET", f"{NOTIFICATIONS}/{id}", token=client.add_token()).json
    said = heard(paper)[2]["data"]
    for name in ("id", "status", "title", "body", "url", "kind", "story", "audience"):
        assert said[name] == shown[name], name
    for name, value in said["progress"].items():
        assert value == shown["progress"][name], name
    assert said["text_now"].items() <= shown["text_now"].items()
    assert said["text_now"]["title"] == "Ferry afloat"
    assert heard(paper)[1]["timestamp"] == shown["progress"]["finished_at"]
    assert BY not in str(heard(paper)), "an editor's address stays here"


def test_the_example_of_the_docs_tells_our_calls_from_others(
    runtime: Runtime, paper: Newspaper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, secret = webhooks(runtime, paper).add(f"{paper.origin}/hook", ["alert.sent"], by=BY)
    monkeypatch.setenv("SECRET", secret)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "cms.md").read_text(), re.S)
    names: dict[str, Any] = {}
    exec(next(one for one in examples if "standardwebhooks" in one), names)
    webhooks(runtime, paper).test(made.id)
    clock.turn()
    checked, body = names["checked"], paper.bodies[0]
    assert checked(body, headers(paper))["type"] == "test"
    assert checked(body + b" ", headers(paper)) is None
    assert checked(body, {}) is None


def test_an_alert_is_sent_when_it_begins_and_not_when_it_is_planned(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    add(runtime, paper)
    publishing = runtime.publishing
    draft = publishing.publish(content(), EVERYONE, by=BY, draft=True).id
    at = SendAt(time.time() + 0.05)
    planned = publishing.publish(content(), EVERYONE, by=BY, send_at=at).id
    # As an editor sends it, who may take it back for ten seconds.
    undone = publishing.publish(
        content(), EVERYONE, by=BY, send_at=SendAt(time.time() + 10, sent_at=time.time())
    ).id
    clock.turn()
    assert heard(paper) == []
    time.sleep(0.06)
    publishing.send_due()
    clock.turn()
    assert [(one["type"], one["data"]["id"]) for one in heard(paper)] == [
        ("alert.sent", str(planned))
    ]
    publishing.cancel(undone, by=BY)
    publishing.remove(draft, by=BY)
    publishing.cancel(planned, by=BY)
    clock.turn()
    assert sorted((one["type"], one["data"]["id"]) for one in heard(paper)[1:]) == [
        ("alert.cancelled", str(planned)),
        ("alert.cancelled", str(undone)),
        ("alert.finished", str(planned)),
    ]


def test_a_clock_that_is_killed_loses_no_event_and_lays_none_out_twice(
    runtime: Runtime, paper: Newspaper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, _ = add(runtime, paper)
    rows = runtime.store.webhooks
    publish(runtime)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> bool:
        raise Killed

    for name, waiting in (("lay_out", 0), ("begin", 1)):
        with monkeypatch.context() as patched:
            patched.setattr(rows, name, killed)
            with pytest.raises(Killed):
                clock.tick()
        assert rows.waiting([hook]) == {hook: waiting}
    with monkeypatch.context() as patched:  # after it has stored the call, before the job
        patched.setattr(clock, "ask", killed)
        with pytest.raises(Killed):
            clock.tick()
    clock.turn()
    assert heard(paper) == []
    clock.turn(ARTICLE_NEW + 20)
    assert [one["type"] for one in heard(paper)] == ["alert.sent"]
    with monkeypatch.context() as patched:
        patched.setattr(rows, "settle", killed)
        publish(runtime)
        clock.tick()
        clock.fetch()
        with pytest.raises(Killed):
            clock.tick()
    clock.turn()
    assert [one["type"] for one in heard(paper)] == ["alert.sent"] * 2
    # Two clocks that read the same: one of them writes.
    publish(runtime)
    other = Clock(runtime, paper)
    other.now = clock.now
    once = rows.lay_out

    def after_the_other(*given: Any) -> bool:
        monkeypatch.setattr(rows, "lay_out", once)
        other.turn(0)
        return once(*given)

    monkeypatch.setattr(rows, "lay_out", after_the_other)
    clock.turn()
    assert rows.waiting([hook]) == {hook: 0}
    assert len(paper.bodies) == 3


def test_a_job_that_is_lost_is_made_again_and_does_nothing_if_it_comes_late(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    add(runtime, paper, "alert.sent")
    publish(runtime)
    clock.tick()
    lost, clock.jobs = clock.jobs, []
    clock.tick(30)
    assert clock.jobs == []
    clock.turn(ARTICLE_NEW)
    assert len(paper.bodies) == 1
    clock.jobs = lost
    clock.fetch()
    assert len(paper.bodies) == 1
    assert clock.turn(3600) == 0


def test_without_a_fetch_process_events_wait(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    clock.processes = 0
    publish(runtime)
    clock.turn(3600)
    assert runtime.store.webhooks.waiting([hook]) == {hook: 1}
    assert not webhooks(runtime, paper).get(hook).health.call
    clock.processes = 1
    clock.turn()
    assert len(paper.bodies) == 1


def test_a_call_that_fails_is_repeated_under_the_same_id_with_a_new_signature(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    paper.pages["/hook"] = response(status=503, Retry_After="60")
    publish(runtime)
    clock.turn()
    assert clock.turn(50) == 0, "it was asked to wait for a minute"
    clock.turn(11)
    assert len(paper.bodies) == 2
    paper.pages["/hook"] = response(status=200)
    assert clock.turn(200) == 0
    clock.turn(101)
    one, two, three = (headers(paper, at) for at in range(3))
    assert one["webhook-id"] == two["webhook-id"] == three["webhook-id"]
    assert int(two["webhook-timestamp"]) - int(one["webhook-timestamp"]) >= 60
    assert one["webhook-signature"] != two["webhook-signature"]
    assert len({*paper.bodies}) == 1
    found = webhooks(runtime, paper).get(hook)
    assert (found.status, found.waiting) == ("active", 0)
    assert [(result.status, result.attempt) for result in found.health.results] == [
        (200, 3),
        (503, 2),
        (503, 1),
    ]
    assert clock.turn(DAY) == 0


def test_a_target_that_hangs_keeps_no_other_waiting_and_has_one_call_at_a_time(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    with Newspaper() as other:
        paper.pages["/second"] = other.pages["/hook"] = response(status=204)
        add(runtime, paper, "alert.sent")
        add(runtime, paper, "alert.sent", path="/second")
        desk = Webhooks(runtime.store, seals(), [other.origin])
        desk.add(f"{other.origin}/hook", ["alert.sent"], by=BY)
        for _ in range(3):
            publish(runtime)
        clock.tick()
        assert len(clock.jobs) == 2, "one for each of the two hosts"
        hangs, clock.jobs = clock.jobs[:1], clock.jobs[1:]
        clock._caller = Caller(runtime.store.calls, Fetcher([paper.origin, other.origin]))
        for _ in range(3):
            clock.fetch()
            clock.tick()
        assert (len(other.bodies), len(paper.bodies)) == (3, 0)
        assert clock.jobs == []
        clock.jobs = hangs
        clock.turn()
        assert len(paper.bodies) == 6


def test_410_ends_a_webhook_until_an_editor_lets_it_go_on(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    paper.pages["/hook"] = response(status=410)
    publish(runtime)
    clock.turn()
    desk = webhooks(runtime, paper)
    assert desk.get(hook).status == "ended"
    assert [one.id for one in desk.ended()] == [hook]
    publish(runtime)
    assert clock.turn(DAY) == 0
    paper.pages["/hook"] = response()
    desk.change(hook, paused=False)
    assert desk.ended() == []
    clock.turn()
    publish(runtime)
    clock.turn()
    assert [body["type"] for body in heard(paper)] == ["alert.sent"] * 3
    assert desk.get(hook).status == "active"


def test_a_paused_webhook_hears_nothing_of_what_happens_meanwhile(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    desk = webhooks(runtime, paper)
    publish(runtime, title="Before")
    clock.tick()
    desk.change(hook, paused=True)
    publish(runtime, title="Meanwhile")
    clock.turn()
    desk.change(hook, paused=False)
    publish(runtime, title="After")
    clock.turn()
    assert [one["data"]["title"] for one in heard(paper)] == ["Before", "After"]


def test_a_webhook_hears_what_it_wants_from_when_it_was_added_on(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    publish(runtime, title="Before all")
    hook, _ = add(runtime, paper, "alert.cancelled")
    id = publish(runtime, title="Before the second")
    add(runtime, paper, "alert.sent", path="/hook?2")
    paper.pages["/hook?2"] = response()
    runtime.publishing.cancel(id, by=BY)
    publish(runtime, title="After")
    clock.turn()
    found = sorted((one["type"], one["data"]["title"]) for one in heard(paper))
    assert found == [("alert.cancelled", "Before the second"), ("alert.sent", "After")]
    desk = webhooks(runtime, paper)
    for one in desk.all():
        desk.remove(one.webhook.id)
    publish(runtime, title="Heard by nobody")
    clock.turn()
    add(runtime, paper, "alert.sent")
    clock.turn()
    assert len(paper.bodies) == 2
    assert not [key for key in runtime.store.redis.scan_iter() if hook.encode() in key]


def test_how_many_readers_come_and_go_is_heard_and_never_who(
    client: Client, runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    add(runtime, paper, "readers.joined", "readers.left")
    Reader(client, 0)
    clock.turn()
    reader = Reader(client, 1)
    Reader(client, 2)
    reader.call("DELETE")
    clock.turn(200)
    assert heard(paper) == []
    clock.turn(101)
    joined, left = sorted(heard(paper), key=lambda one: str(one["type"]))
    assert (joined["type"], joined["data"]["count"]) == ("readers.joined", 2)
    assert (left["type"], left["data"]["count"]) == ("readers.left", 1)
    assert left["data"]["by"] == {"left": 1}
    assert joined["data"]["readers"] == 2
    assert joined["data"].keys() == {"count", "since", "until", "readers"}
    clock.turn(301)
    assert len(paper.bodies) == 2, "nothing has changed"


def test_while_a_secret_is_replaced_both_count_for_a_day(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, old = add(runtime, paper, "alert.sent")
    new = standardwebhooks.Webhook(webhooks(runtime, paper).rotate(hook))
    publish(runtime)
    clock.turn()
    for checks in (old, new):
        checks.verify(paper.bodies[0], headers(paper))
    kept = runtime.store.webhooks.kept().webhooks[hook]
    assert len(kept.secrets(time.time() + DAY - 60)) == 2
    assert kept.secrets(time.time() + DAY + 60) == (kept.secret,)


def test_secrets_are_stored_sealed_and_follow_a_new_secret_key(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, checks = add(runtime, paper, "alert.sent")
    assert b"whsec_" not in runtime.store.redis.dump("{g}:webhooks")
    new = "another secret of 32 characters or more"
    clock._calls = WebhookCalls(runtime.store, clock, seals(new, SECRET_KEY))  # type: ignore[arg-type]
    publish(runtime)
    clock.turn()
    checks.verify(paper.bodies[0], headers(paper))
    clock._calls = WebhookCalls(runtime.store, clock, seals(new))  # type: ignore[arg-type]
    publish(runtime)
    clock.turn()
    checks.verify(paper.bodies[1], headers(paper))
    clock._calls = WebhookCalls(runtime.store, clock, seals("lost" * 10))  # type: ignore[arg-type]
    publish(runtime)
    clock.turn()
    assert len(paper.bodies) == 2
    assert webhooks(runtime, paper).get(hook).status == "ended"


@pytest.mark.parametrize(
    "address", ["", "ftp://paper.example/", "http://paper.example/", "https://a b/", "x" * 3000]
)
def test_an_address_that_cannot_be_called_is_refused(
    runtime: Runtime, paper: Newspaper, address: str
) -> None:
    with pytest.raises(WrongWebhook):
        webhooks(runtime, paper).add(address, ["alert.sent"], by=BY)
    assert webhooks(runtime, paper).all() == []


def test_a_private_address_is_called_only_if_the_operator_allows_it(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    clock._caller = Caller(runtime.store.calls, Fetcher())
    webhooks(runtime, paper).test(hook)
    clock.turn()
    (result,) = webhooks(runtime, paper).get(hook).health.results
    assert "FETCH_ORIGINS" in result_words(result)
    assert paper.bodies == []


def test_what_the_fetch_process_stores_is_read_as_a_strangers_word(
    runtime: Runtime, paper: Newspaper, clock: Clock
) -> None:
    hook, _ = add(runtime, paper, "alert.sent")
    publish(runtime)
    clock.tick()
    runtime.store.calls.answered(clock.jobs.pop(), '{"status": "<script>"}')
    clock.tick()
    (result,) = webhooks(runtime, paper).get(hook).health.results
    assert (result.status, result_words(result)) == (0, "it did not answer")
    assert Answer(200).is_success
