"""Editors and a writer do whatever they like with one alert, and a clock with them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from service.model.notifications import Notification, State
from service.model.roles import Role
from service.runtime import Runtime
from tests.support.desk.approving import SECOND, WRITER, sign_in_as
from tests.support.desk.pages import EMAIL, STORY, FormFields, hidden_fields, token_in

THIRD = "eva@paper.example"
WHO = (EMAIL, SECOND, THIRD, WRITER)
ONE = ("hand-in", "take-back", "send-now", "cancel", "pause", "resume", "wrong", "go-on")
TOMORROW = f"{datetime.now() + timedelta(days=1):%Y-%m-%dT10:00}"
MANY = 80  # browsers: an alert to more needs a second person, as one to everyone is
WHENS = ("now", "now", "at", "draft")


def _facts(one: Notification) -> tuple[object, ...]:
    """What each change changes."""
    plan = (one.state, one.audience, one.send_at, one.request)
    return (*plan, one.content, one.corrected, one.revision)


def _text(one: Notification) -> tuple[object, ...]:
    """What a second person approves."""
    return one.content, one.audience, one.second_text, one.spread_minutes


class Desk:
    """The forms that each of them has open, and what the page showed them when they last looked."""

    def __init__(self, runtime: Runtime, clients: dict[str, FlaskClient]) -> None:
        self.runtime, self.clients = runtime, clients
        self.tokens = {who: token_in(one.get("/desk/").text) for who, one in clients.items()}
        self.id, self.texts = 0, 0
        self.forms: dict[str, dict[str, Any]] = {}
        self.corrections: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, Notification] = {}
        self.seen_corrections: dict[str, Notification] = {}
        self.authors: set[str] = set()  # who has written anything of its text
        self.approved: dict[str, Notification] = {}  # what each of them has approved
        self.runtime.editors.set_role(SECOND, Role.SENDS)
        self.runtime.editors.set_role(WRITER, Role.WRITES)
        if stop := self.runtime.stops.current():
            self.runtime.stops.release(stop.id, by=EMAIL)

    @property
    def now(self) -> Notification | None:
        return self.runtime.store.notifications.get(self.id) if self.id else None

    def log(self) -> list[Any]:
        return self.runtime.alert_log.of(self.id) if self.id else []

    def post(self, who: str, path: str, **fields: Any) -> Any:
        before, entries = self.now, len(self.log())
        data = {**fields, "csrf_token": self.tokens[who]}
        answer = self.clients[who].post(path, data=data)
        assert answer.status_code < 500, (path, fields, answer.text)
        self.check(before, entries, who, (path, fields))
        return answer

    def check(self, before: Notification | None, entries: int, who: str, what: object) -> None:
        """Check what one of them has made of the alert; `who` is empty for the clock."""
        now, log = self.now, self.log()
        told = [(one.action, one.by) for one in log[entries:]]
        assert all(by == who for _, by in told), (what, told)
        if now is None:
            return
        if before is not None:
            was, is_now = _facts(before), _facts(now)
            if _text(before) != _text(now):
                self.authors.add(who)
            pauses = {before.state, now.state} == {State.PAUSED, State.SENDING}
            assert told or pauses or was == is_now, (what, "is not in the log")
            # An alert that only its correction had paused may be paused by an editor then.
            may_be_same = {"changed", "paused"}.issuperset(action for action, _ in told)
            assert was != is_now or may_be_same, what
            assert len(told) <= 2, (what, told)  # a retraction cancels and corrects
        if now.planned and now.approved_by:
            assert _text(self.approved[now.approved_by]) == _text(now), "changed since"
        if now.state is State.SENDING and (before is None or before.planned):
            assert self.runtime.stops.current() is None, (what, "although everything is stopped")
            self.check_leaving(before, now, who)

    def check_leaving(self, before: Notification | None, now: Notification, who: str) -> None:
        """Check that an alert which begins now may leave."""
        if who:
            found = self.runtime.editors.find(who)
            assert found and found.role >= Role.SENDS
        else:
            assert before is not None and before.state is State.SCHEDULED
        if self.runtime.publishing.reach(now.audience) > MANY:
            assert now.approved_by, "nobody has approved it"
            assert now.approved_by not in self.authors
            approved = self.approved.get(now.approved_by)
            assert approved and _text(approved) == _text(now), "another was approved"

    def write(self, who: str, everyone: bool, when: str) -> None:
        self.id, self.forms, self.corrections = 0, {}, {}
        self.seen, self.seen_corrections = {}, {}
        self.authors = {who}
        when = when if self.runtime.editors.find(who).role >= Role.SENDS else "draft"
        answer = self.post(
            who,
            "/desk/alerts",
            **{**STORY, "audience": "everyone" if everyone else "topics", "when": when},
            at=TOMORROW,
            zone="Europe/Riga",
            nonce=f"a-nonce-of-some-length-{time.monotonic_ns()}",
        )
        assert answer.status_code == 303, answer.text
        self.id = int(re.search(r"/alerts/(\d+)", answer.location)[1])

    def look(self, who: str) -> None:
        if self.now:
            assert self.clients[who].get(f"/desk/alerts/{self.id}").status_code == 200
            self.seen[who] = self.now

    def open_form(self, who: str) -> None:
        page = self.clients[who].get(f"/desk/alerts/{self.id}/edit", follow_redirects=True)
        assert page.status_code < 500
        if page.status_code == 200 and '<form class="compose"' in page.text:
            fields = FormFields(page.text).fields
            self.forms[who] = {
                name: value if name in ("topic", "exclude") else value[0]
                for name, value in fields.items()
            }

    def send_form(self, who: str, when: str, everyone: bool, anew: bool) -> None:
        if anew:
            self.open_form(who)
        if not (fields := self.forms.get(who)) or not (before := self.now):
            return
        self.texts += 1
        changes = {"title": f"Ferry {self.texts}", "when": when, "at": TOMORROW, "topic": "world"}
        changes["audience"] = "everyone" if everyone else "topics"
        self.post(who, f"/desk/alerts/{self.id}", **{**fields, **changes})
        if (now := self.now) and fields["changes"] != str(before.changes):
            assert _text(before) == _text(now) and before.state == now.state, "a stale form"

    def press(self, who: str, what: str) -> None:
        self.post(who, f"/desk/alerts/{self.id}/{what}")

    def decide(self, who: str, back: bool) -> None:
        if saw := self.seen.get(who):
            if not back and (now := self.now) and now.digest == saw.digest:
                self.approved[who] = saw
            what, before = "send-back" if back else "approve", self.now
            self.post(who, f"/desk/alerts/{self.id}/{what}", digest=saw.digest, word="no")
            if before and (now := self.now) and before.state != now.state:
                assert before.waits_for_approval, "nobody asked for it"

    def correction(self) -> Notification | None:
        """The latest correction that waits for a second person."""
        waiting = self.runtime.approvals.corrections(self.id)
        return next((one for one in waiting if one.waits_for_approval), None)

    def look_at_correction(self, who: str) -> None:
        if one := self.correction():
            assert self.clients[who].get(f"/desk/alerts/{one.id}").status_code == 200
            self.seen_corrections[who] = one

    def decide_correction(self, who: str, back: bool, anew: bool) -> None:
        """Approve a correction that one of them has seen, or send it back."""
        if anew:
            self.look_at_correction(who)
        if not (saw := self.seen_corrections.get(who)) or not (root := self.now):
            return
        was = self.runtime.publishing.get(saw.id)
        data = {"digest": saw.digest, "word": "no", "csrf_token": self.tokens[who]}
        what = "send-back" if back else "approve"
        answer = self.clients[who].post(f"/desk/alerts/{saw.id}/{what}", data=data)
        assert answer.status_code < 500, answer.text
        after, now = self.now, self.runtime.publishing.get(saw.id)
        if not was.planned or now.planned:
            assert after is not None
            assert (after.text, after.revision) == (root.text, root.revision), "not approved"
            return
        found = self.runtime.editors.find(who)
        assert found
        assert found.role >= Role.SENDS
        assert not back
        assert was.waits_for_approval, "nobody asked for it"
        assert (now.approved_by, who in was.authors) == (who, False)
        assert was.content == saw.content == now.content, "another was approved"
        assert was.request is not None
        assert was.request.revision == root.revision, "another correction came first"
        assert after is not None
        assert (after.text, after.revision) == (now.content, root.revision + 1)

    def delete(self, who: str) -> None:
        before, saw = self.now, self.seen.get(who)
        if before and saw:
            self.post(who, f"/desk/alerts/{self.id}/delete", changes=str(saw.changes))
            assert self.now or saw.changes == before.changes, "deleted unseen"

    def open_correction(self, who: str) -> None:
        page = self.clients[who].get(f"/desk/alerts/{self.id}/correct")
        assert page.status_code < 500
        if page.status_code == 200:
            hidden = hidden_fields(page.text)
            self.corrections[who] = {name: value[0] for name, value in hidden.items()}

    def correct(self, who: str, retracts: bool, anew: bool) -> None:
        if anew:
            self.open_correction(who)
        if not (fields := self.corrections.get(who)) or not (before := self.now):
            return
        self.texts += 1
        texts = {"title": f"Correction {self.texts}", "body": "", "url": STORY["url"]}
        path = f"/desk/alerts/{self.id}/{'retract' if retracts else 'correct'}"
        nonce = f"a-nonce-of-some-length-{time.monotonic_ns()}"
        corrections = self.runtime.corrections
        many = not before.planned and corrections.concerned(before, 0) > MANY
        undoable = {one.id for one in corrections.waiting.of(self.id)}
        self.post(who, path, **{**fields, **texts, "nonce": nonce})
        now = self.now
        leaves = {one.id for one in corrections.waiting.of(self.id)} - undoable
        if now and (leaves or now.text != before.text):
            assert fields["corrected"] == str(before.revision), "a stale correction"
            assert retracts or not many, "nobody has approved it"

    def clock(self, due: bool) -> None:
        before, entries = self.now, len(self.log())
        if due:
            for id in self.runtime.publishing.plan().scheduled:
                one = self.runtime.publishing.get(id)
                if one.state is State.SCHEDULED:
                    score = time.time() * 1000 - 1000
                    self.runtime.store.redis.zadd("{g}:scheduled", {str(id): score})
        self.runtime.publishing.send_due()
        now = self.now
        if before and now and now.state is State.SENDING and before.planned:
            self.check(before, entries, "", "clock")

    def stop_or_release(self, who: str) -> None:
        held = self.runtime.stops.current()
        self.post(who, "/desk/release" if held else "/desk/stop", stop=held.id if held else "")

    def role(self, who: str, role: Role) -> None:
        self.runtime.editors.set_role(who, role)

    def step(self, choose: Random) -> None:
        """Do something that one of them, or the clock, may do next."""
        who, yes = choose.choice(WHO), choose.random() < 0.7
        if (one := self.now) is None:
            return self.write(who, yes, choose.choice(WHENS))
        write, decide = (3, 20) if one.request else (8, 2)
        correct = 1 if one.planned else 20
        (what,) = choose.choices(
            ("form", "press", "decide", "correct", "look", "clock", "role", "stop", "delete"),
            (write, 8, decide, correct, 2, 4, 1, 1, 1),
        )
        if what in ("decide", "correct") and yes:  # mostly one who may approve it
            who = choose.choice([one for one in WHO[:3] if one not in self.authors] or WHO)
        self.do(what, who, yes, choose)
        # On to another alert, also where nobody may approve this one because all have written it.
        all_wrote = one.planned and self.authors.issuperset(WHO[:3])
        if (now := self.now) and (now.over or all_wrote) and choose.random() < 0.3:
            self.id = 0
        return None

    def do(self, what: str, who: str, yes: bool, choose: Random) -> None:
        """Do one of the things that `step` chooses from."""
        anew = choose.random() < 0.7
        if what == "form":
            self.send_form(who, choose.choice(WHENS), yes, anew)
        elif what == "press":
            self.press(who, choose.choice(ONE))
        elif what == "decide":
            if anew:
                self.look(who)
            if choose.random() < 0.3:  # it is changed between a look and the decision
                self.send_form(choose.choice(WHO), choose.choice(WHENS), yes, anew=True)
            self.decide(who, choose.random() < 0.3)
        elif what == "correct" and self.correction() and choose.random() < 0.6:
            self.decide_correction(who, choose.random() < 0.2, anew)
        elif what == "correct":
            self.correct(who, choose.random() < 0.2, anew)
        elif what == "look":
            self.look(who)
        elif what == "clock":
            self.clock(yes)
        elif what == "role":
            self.role(choose.choice((SECOND, WRITER)), choose.choice((Role.WRITES, Role.SENDS)))
        elif what == "stop":
            self.stop_or_release(who)
        else:
            self.delete(who)


@pytest.fixture
def settings() -> dict[str, str]:
    """An alert to more than 80 of 100 readers needs a second person."""
    return {"UNDO_SECONDS": "20", "UNDO_BREAKING_SECONDS": "0", "TWO_PERSON_ABOVE": str(MANY)}


def test_whatever_editors_a_writer_and_the_clock_do_nothing_leaves_that_must_not(
    app: Flask, runtime: Runtime, editor: FlaskClient, readers: int
) -> None:
    second = sign_in_as(app, runtime, SECOND, "sends")
    third = sign_in_as(app, runtime, THIRD, "sends")
    writer = sign_in_as(app, runtime, WRITER, "writes")
    clients = {EMAIL: editor, SECOND: second, THIRD: third, WRITER: writer}

    @how(max_examples=how().max_examples // 6, derandomize=how().max_examples < 1000)
    @given(seed=st.integers(0, 2**32))
    def work(seed: int) -> None:
        desk, choose = Desk(runtime, clients), Random(seed)
        for _ in range(80):
            desk.step(choose)

    work()
