"""A person is told what is wrong, by calls to ALERT_WEBHOOK."""

from __future__ import annotations

import json
from typing import Any

import pytest
import standardwebhooks
from redis import ConnectionError

from service.config import Config
from service.domain.operations.cause_reports import CauseReporter, failure_words
from service.model.newsroom.webhooks import Answer
from service.model.operations.causes import URGENT, Cause, Reported
from service.store import Store
from tests.support.failed_jobs import fail_a_job
from tests.support.network.newspaper import Newspaper, response
from tests.support.processes.installation import Installation, wait_until
from workers.cause_reports import Caller

NOW = 1_790_000_000.0
URL = "https://push.paper.example"
NO_WORKERS = Cause("no-workers", URGENT, "No worker runs, so no alert is sent.", "Start one.")


class Chat:
    """Clocks of an installation, and what they send."""

    def __init__(self, store: Store, secret: str = "") -> None:
        self.store, self.secret = store, secret
        self.now = NOW
        self.causes: list[Cause] = []
        self.away: Exception | None = None
        self.answer = Answer(200)
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.meanwhile = lambda: None  # what happens while a call is under way

    def clock(self) -> CauseReporter:
        """Start one."""
        return CauseReporter(self.store.causes, self._now, self._send, URL, self.secret)

    def _now(self) -> list[Cause]:
        if self.away:
            raise self.away
        return self.causes

    def _send(self, headers: dict[str, str], body: bytes) -> Answer:
        self.calls.append((headers, body))
        self.meanwhile()
        return self.answer

    def pass_by(self, seconds: float, *clocks: CauseReporter) -> None:
        for _ in range(int(seconds / 10)):
            self.now += 10
            for clock in clocks:
                clock.look(self.now)

    def reported(self) -> list[tuple[str, str]]:
        documents = [json.loads(body)["stop_press"] for _, body in self.calls]
        return [(one["cause"], one["state"]) for one in documents]


BOTH = [("no-workers", "began"), ("no-workers", "over")]


@pytest.fixture
def chat(store: Store) -> Chat:
    return Chat(store)


@pytest.mark.redis
def test_a_chat_hears_of_a_cause_once_from_two_clocks_and_after_a_restart(chat: Chat) -> None:
    first, second = chat.clock(), chat.clock()
    chat.pass_by(60, first, second)
    assert chat.store.causes.read() is None, "nothing is written while nothing is wrong"
    chat.causes = [NO_WORKERS]
    chat.pass_by(600, first, second)
    chat.pass_by(600, chat.clock())
    chat.causes = []
    chat.pass_by(600, second, first)
    assert chat.reported() == BOTH


def test_the_call_has_a_text_for_chats_and_the_same_in_fields(chat: Chat) -> None:
    clock = chat.clock()
    chat.causes = [NO_WORKERS]
    chat.pass_by(120, clock)
    chat.causes = []
    chat.pass_by(120, clock)
    began, over = (json.loads(body) for _, body in chat.calls)
    assert began["text"] == (
        "Urgent: No worker runs, so no alert is sent. Start one. (https://push.paper.example)"
    )
    assert over["text"] == (
        "Over after 2 minutes: No worker runs, so no alert is sent. (https://push.paper.example)"
    )
    assert over["stop_press"] == {
        "state": "over",
        "cause": "no-workers",
        "severity": "page",
        "says": NO_WORKERS.says,
        "do": NO_WORKERS.do,
        "since": "2026-09-21T14:13:30.000Z",
        "over_at": "2026-09-21T14:15:30.000Z",
        "installation": URL,
    }
    # Mattermost refuses a `type` that it does not know, and Slack has `attachments` of its own.
    assert began.keys() == over.keys() == {"text", "stop_press"}


def test_calls_are_signed_if_there_is_a_secret(store: Store) -> None:
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    chat = Chat(store, secret)
    chat.causes, chat.now = [NO_WORKERS], standardwebhooks.webhooks.datetime.now().timestamp()
    chat.pass_by(80, chat.clock())
    ((headers, body),) = chat.calls
    verified = standardwebhooks.Webhook(secret).verify(body.decode(), headers)
    assert verified["stop_press"]["cause"] == "no-workers"


def test_a_chat_that_fails_is_called_again_with_a_pause_and_named_once_in_the_log(
    chat: Chat, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = chat.clock(), chat.clock()
    chat.causes, chat.answer = [NO_WORKERS], Answer(500)
    chat.pass_by(3600, first, second)
    assert 10 < len(chat.calls) < 16, "after 5 seconds, then every five minutes"
    assert len({headers["webhook-id"] for headers, _ in chat.calls}) == 1
    health = Reported.from_json(chat.store.causes.read()).health
    assert failure_words(health) == "it answered 500"
    chat.answer = Answer(200)
    chat.pass_by(600, first, second)
    assert chat.reported()[-1] == BOTH[0]
    n = len(chat.calls)
    chat.pass_by(3600, first, second)
    assert len(chat.calls) == n
    said = caplog.text + capsys.readouterr().err
    assert said.count("ALERT_WEBHOOK fails: it answered 500. It is tried again.") == 1
    assert said.count("ALERT_WEBHOOK takes calls again.") == 1


def test_while_one_clock_calls_another_waits(chat: Chat) -> None:
    first, second = chat.clock(), chat.clock()
    chat.causes = [NO_WORKERS]
    chat.meanwhile = lambda: second.look(chat.now)
    chat.pass_by(120, first)
    assert chat.reported() == BOTH[:1]


def test_a_call_that_died_with_its_clock_is_made_again_by_another(chat: Chat) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    chat.causes, chat.meanwhile = [NO_WORKERS], kill
    with pytest.raises(Killed):
        chat.pass_by(120, chat.clock())
    chat.meanwhile = lambda: None
    other = chat.clock()
    chat.pass_by(20, other)
    assert len(chat.calls) == 1, "it may be under way"
    chat.pass_by(60, other)
    (first, _), (second, _) = chat.calls
    assert first["webhook-id"] == second["webhook-id"]


def test_a_lost_redis_is_reported_from_memory_and_its_return_by_any_clock(chat: Chat) -> None:
    first, second = chat.clock(), chat.clock()
    chat.causes = [NO_WORKERS]
    chat.pass_by(120, first)
    chat.away = ConnectionError("Error 111 connecting: Connection refused")
    chat.pass_by(300, first)
    assert chat.reported() == [("no-workers", "began"), ("redis-away", "began")]
    text = json.loads(chat.calls[1][1])["text"]
    assert text.startswith("Urgent: Redis cannot be reached: the connection is refused. No alert")
    chat.away, chat.causes = None, []
    chat.pass_by(10, first)
    chat.pass_by(300, second)
    assert sorted(chat.reported()) == sorted(
        [*BOTH, ("redis-away", "began"), ("redis-away", "over")]
    )


def test_a_moment_without_redis_is_not_reported(chat: Chat) -> None:
    clock = chat.clock()
    chat.away = ConnectionError()
    chat.pass_by(40, clock)
    chat.away = None
    chat.pass_by(300, clock)
    assert chat.reported() == []


# The whole way -----------------------------------------------------------------------------------


@pytest.fixture
def paper(paper: Newspaper) -> Newspaper:
    paper.pages["/hooks/a-secret-word"] = response(b"ok")
    return paper


def test_the_operators_address_may_be_private_and_no_redirect_is_followed(
    paper: Newspaper,
) -> None:
    def send(path: str) -> Answer:
        config = Config.read({"ALERT_WEBHOOK": f"{paper.origin}{path}"})
        return Caller(config).send({"content-type": "application/json"}, b"{}")

    paper.pages["/moved"] = response(status=302, location="/hooks/a-secret-word")
    assert send("/hooks/a-secret-word") == Answer(200)
    assert send("/moved") == Answer(302)
    assert [head.split(" ")[1] for head in paper.requests] == ["/hooks/a-secret-word", "/moved"]


def test_the_clock_tells_of_a_failed_job(
    installation: Installation, paper: Newspaper, capfd: pytest.CaptureFixture[str]
) -> None:
    fail_a_job(installation.runtime)
    installation.environment["ALERT_WEBHOOK"] = f"{paper.origin}/hooks/a-secret-word"
    installation.clock()
    body = wait_until(lambda: next(iter(paper.bodies), None))
    document: dict[str, Any] = json.loads(body)
    assert document["text"].startswith("1 job failed within a day; other jobs took over.")
    reported = installation.runtime.store.causes
    wait_until(lambda: Reported.from_json(reported.read()).known["jobs-failed"].is_reported)
    assert b"a-secret-word" not in (reported.read() or b"")
    assert "a-secret-word" not in "".join(capfd.readouterr())
