"""What becomes of a send, and of a call whose reply is lost, while Redis fails.

Redis and its faults are real. A promise of 20 seconds without Redis is tested for six: workers try
again up to 30 times, at most two seconds apart, so that 20 seconds only mean more of the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest
from redis.commands.core import Script
from redis.exceptions import ResponseError

from service.model.notifications import Audience, Content, Notification, Request, State
from service.runtime import Runtime
from service.store import connect
from tests.support.client import make_app
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.redis_servers.server import REFUSING, Proxy, RedisServer
from tests.support.short_forms import some

WINDOW = 256
READERS = 1500
AWAY = 6.0  # seconds; a call is given up after five
HELD = 2.0  # seconds, where a call fails at once

Fault = Callable[[RedisServer, Proxy], AbstractContextManager[None]]


@pytest.fixture
def installation(
    own_redis: RedisServer, proxy: Proxy, push: PushService, tmp_path: Path
) -> Iterator[Installation]:
    """An installation whose processes reach Redis through the proxy; the test itself does not."""
    with Installation(own_redis.url, push, tmp_path, PUSH_WINDOW=str(WINDOW)) as installation:
        installation.environment["REDIS_URL"] = proxy.url
        yield installation


FAULTS: dict[str, tuple[Fault, float]] = {
    "killed and slow to load": (lambda server, _: server.loading(), 0),
    "cut off": (lambda _, proxy: proxy.cut(), HELD),
    "frozen": (lambda _, proxy: proxy.frozen(), AWAY),
    "lost without a word": (lambda _, proxy: proxy.lost(), AWAY),
}


@pytest.mark.parametrize("what", some(FAULTS, ["killed and slow to load", "cut off"]))
def test_send_survives_redis(
    what: str, installation: Installation, own_redis: RedisServer, proxy: Proxy, push: PushService
) -> None:
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    worker, clock = installation.worker(), installation.clock()
    fault, seconds = FAULTS[what]
    id = begin(installation)
    with fault(own_redis, proxy):
        time.sleep(seconds)
    assert repeats_when_over(installation, id) <= WINDOW
    assert (worker.poll(), clock.poll()) == (None, None), "no process has ended"


@pytest.mark.soak
@pytest.mark.parametrize("what", some(REFUSING, ["out of memory"]))
def test_send_survives_redis_that_refuses_writes(
    what: str, installation: Installation, own_redis: RedisServer, push: PushService
) -> None:
    """RQ ends if Redis refuses to count its jobs; `stoppress worker` starts it again."""
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    workers, clock = installation.worker(), installation.clock()
    id = begin(installation)
    with REFUSING[what](own_redis):
        time.sleep(HELD)
    assert repeats_when_over(installation, id) <= WINDOW
    assert (workers.poll(), clock.poll()) == (None, None)


def test_no_answer_is_lost_when_a_new_push_host_proves_itself_while_redis_is_full(
    installation: Installation, own_redis: RedisServer, push: PushService
) -> None:
    """Of a host that anybody could make up, workers note the first message that it accepts."""
    installation.seed(300)
    installation.runtime.store.redis.delete("{g}:proof")
    id = installation.publish()
    with fan_out_of(installation) as fan_out, ExitStack() as faults:
        service = fan_out._health.of(push.origin, "microsoft", "https://*.notify.windows.com")
        assert service.is_made_up

        def fill_up(_message: Message) -> Answer:
            if len(push.received) <= 1:
                faults.enter_context(own_redis.full())
            return Answer(201, delay=0.2)

        push.answer_with(fill_up)
        fan_out.run(lambda: len(push.received) < 200)
        faults.close()
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"accepted": 300}
    assert len(push.received) == 300, "no reader gets it twice"


def test_answers_are_recorded_though_redis_refuses_what_one_of_them_proves(
    installation: Installation, push: PushService
) -> None:
    installation.seed(300)
    redis = installation.runtime.store.redis
    redis.delete("{g}:proof")
    id = installation.publish()
    with fan_out_of(installation) as fan_out:
        fan_out._health.of(push.origin, "microsoft", "https://*.notify.windows.com")
        redis.set("{g}:proof", "of no type that we know")
        push.answer_with(lambda _message: Answer(201, delay=0.2))
        with pytest.raises(ResponseError):
            fan_out.run(lambda: True)
    redis.delete("{g}:proof")
    with fan_out_of(installation) as fan_out:
        send_all(installation, fan_out, id)
    assert installation.outcomes(id) == {"accepted": 300}
    assert len(push.received) == 300, "no reader gets it twice"


def test_connection_closed_by_redis_is_made_anew(own_redis: RedisServer) -> None:
    ours, another = connect(own_redis.url), connect(own_redis.url)
    ours.set("news", "late")
    assert another.client_kill_filter(_type="normal", skipme=True) == 1
    assert ours.get("news") == b"late"
    ours.close()
    another.close()


def test_late_answer_of_redis_is_not_taken_for_another_ones(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(own_redis.url)
    client.mset({"first": "one's own", "second": "another's"})
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(client, "parse_response", Mock(side_effect=KeyboardInterrupt))
        client.get("first")
    assert client.get("second") == b"another's"
    client.close()


def test_call_whose_reply_is_lost_is_done_once_and_succeeds(
    own_redis: RedisServer, proxy: Proxy
) -> None:
    runtime: Runtime = make_app(proxy.url).extensions["stoppress"]
    publishing, rows = runtime.publishing, runtime.store.notifications
    news, everyone = Content("Ten dead", "https://paper.example/"), Audience(everyone=True)

    def losing(script: Script) -> None:
        runtime.store.redis.script_load(script.script)
        proxy.lose_reply(script.sha.encode())

    losing(rows._publish)
    id = publishing.publish(news, everyone, by="Ada", draft=True).id
    losing(rows._change)
    assert publishing.send(id, by="Ada").state is State.SENDING
    losing(rows._move)
    publishing.pause(id, by="Ada")
    losing(rows._move)
    publishing.resume(id, by="Ada")
    losing(rows._correct)
    given = {"title": "Nobody dead", "body": None, "url": None, "replace": True, "by": "Ada"}
    correction = runtime.corrections.correct(id, **given).id
    assert publishing.get(id).corrections == (correction,)
    losing(rows._move)
    publishing.cancel(id, by="Ada")
    log = [entry.action for entry in runtime.alert_log.of(id)]
    assert log == ["written", "sent", "paused", "resumed", "corrected", "cancelled"]

    one = Notification(
        *(rows.new_id(), news, everyone, State.DRAFT, time.time(), "Ada"),
        request=Request("Ada", time.time()),
    )
    rows.publish(one)
    waiting = publishing.get(one.id)
    losing(rows._approve)
    assert publishing.approved(waiting, by="Ben")
    assert not publishing.approved(waiting, by="Cyd"), "a second call is another one"
    planned = publishing.publish(news, everyone, by="Ada", draft=True).id
    losing(rows._remove)
    publishing.remove(planned, by="Ada")
    assert rows.get(planned) is None


def test_publishing_whose_reply_is_lost_does_not_begin_a_finished_alert_again(
    own_redis: RedisServer,
) -> None:
    runtime: Runtime = make_app(own_redis.url).extensions["stoppress"]
    rows, news = runtime.store.notifications, Content("Late news", "https://paper.example/")
    everyone = Audience(everyone=True)
    one = Notification(rows.new_id(), news, everyone, State.SENDING, time.time(), "Ada")
    rows.publish(one)
    runtime.planning.plan(one)
    runtime.planning.advance(one.id)
    assert runtime.publishing.get(one.id).state is State.SENT
    rows.publish(one)
    assert runtime.publishing.get(one.id).state is State.SENT
    assert rows.active() == []


def test_process_stops_at_once_while_redis_is_away(
    installation: Installation, own_redis: RedisServer
) -> None:
    worker, clock = installation.worker(), installation.clock()
    wait_until(lambda: installation.runtime.job_queue.workers() == 1)
    wait_until(lambda: installation.runtime.store.installation.clock_age() < HELD)
    with own_redis.stopped():
        time.sleep(HELD)  # both have noticed by then
        assert (installation.end(worker), installation.end(clock)) == (0, 0)


def begin(installation: Installation) -> int:
    """Publish to all readers and wait for the first 300 messages."""
    installation.seed(READERS)
    id = installation.publish()
    installation.push.wait_for(300, timeout=30)
    return id


def repeats_when_over(installation: Installation, id: int) -> int:
    """Wait until all are accepted; return how many messages were repeats."""
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": READERS}
    came = Counter(message.path for message in installation.push.received)
    assert len(came) == READERS
    return came.total() - READERS
