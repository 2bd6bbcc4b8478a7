"""The figures for Prometheus: true to the store, the same from every process, without secrets."""

from __future__ import annotations

import math
import signal
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.local import pretend_readers
from service.model.keys import VapidKey, b64url
from service.model.notifications import Audience
from service.model.two_texts import SecondText
from service.store.sending.push_services import Pace, Rest
from tests.support.client import VAPID, Client, browser, make_app, stored
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import Answer, Message, PushService
from tests.support.redis_servers.server import RedisServer

Series = tuple[str, frozenset[str]]


def scrape(client: Client) -> dict[Series, float]:
    """Return every figure, by its name and the values of its labels."""
    response = client.call("GET", "/metrics", token=client.add_token("Prometheus", ["read"]))
    assert response.status_code == 200
    return {
        (sample.name.removeprefix("stoppress_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def figure(figures: dict[Series, float], name: str, *labels: str) -> float:
    return figures[name, frozenset(labels)]


def test_the_figures_follow_the_outcomes_of_an_alert(
    installation: Installation, push: PushService
) -> None:
    installation.seed(40)
    asked: list[str] = []

    def every_fourth_is_gone(message: Message) -> Answer | None:
        asked.append(message.path)
        return Answer(410) if len(asked) % 4 == 0 else None

    push.answer_with(every_fourth_is_gone)
    installation.worker()
    installation.clock()
    id = installation.publish()
    installation.over(id)
    client = Client(create_app(installation.config))
    wait_until(lambda: math.isfinite(figure(scrape(client), "clock_age_seconds")))

    figures = scrape(client)
    assert figure(figures, "subscriptions") == 40
    assert figure(figures, "subscriptions_gone") == 10
    assert (
        figure(figures, "vapid_key_subscriptions", b64url(installation.vapid.public)[:20], "1")
        == 40
    )
    assert figure(figures, "outcomes_last_day", "accepted", "other") == 30
    assert figure(figures, "outcomes_last_day", "gone", "other") == 10
    assert figure(figures, "outcomes_last_day", "refused", "none") == 0
    assert figure(figures, "recipients_left") == 0
    assert figure(figures, "workers") == 1
    assert figure(figures, "queue_jobs") == 0
    assert figure(figures, "prepared_keys_enabled") == 1
    assert not [labels for name, labels in figures if name == "notifications_active"]


def test_an_alert_without_a_worker_shows_as_work_left(installation: Installation) -> None:
    installation.seed(7)
    client = Client(create_app(installation.config))
    notification = client.runtime.publishing.get(installation.publish())
    client.runtime.planning.plan(notification)

    figures = scrape(client)
    assert figure(figures, "notifications_active", "sending") == 1
    assert figure(figures, "recipients_left") == 7
    assert figure(figures, "queue_jobs") == 1
    assert figure(figures, "workers") == 0
    assert figure(figures, "clock_age_seconds") == math.inf

    two = SecondText("Other news", "", 50, 15)
    everyone = Audience(everyone=True)
    id = client.runtime.publishing.publish(content(), everyone, by="a test", second_text=two).id
    client.runtime.planning.plan(client.runtime.publishing.get(id))
    assert figure(scrape(client), "recipients_left") == 7, "who wait for the better text are not"
    for late, left in ((50, 7), (70, 14)):  # seconds; then nothing decides, such as a dead clock
        began = repr(time.time() - 15 * 60 - late)
        client.runtime.store.redis.hset(f"{{g}}:n:{id}", "started_at", began)
        assert figure(scrape(client), "recipients_left") == left
    client.runtime.publishing.cancel(id, by="a test")
    client.runtime.publishing.cancel(notification.id, by="a test")
    client.runtime.planning.advance(notification.id)
    client.runtime.planning.advance(id)
    figures = scrape(client)
    assert figure(figures, "outcomes_last_day", "cancelled", "none") == 14
    assert figure(figures, "recipients_left") == 0


def test_a_killed_worker_is_soon_no_longer_counted(installation: Installation) -> None:
    queue, redis = installation.runtime.job_queue, installation.runtime.store.redis
    worker, other = installation.worker(), installation.worker()
    wait_until(lambda: queue.workers() == 2)
    (key,) = (k for k in redis.keys("rq:worker:*") if b".%d." % worker.pid in k)
    installation.end(worker, signal.SIGKILL)
    redis.pexpire(f"stoppress:alive:{key.decode()}", 1)  # as in 20 s
    client = Client(create_app(installation.config))
    assert other.poll() is None
    assert figure(scrape(client), "workers") == 1
    assert client.call("GET", "/readyz").json == {"status": "ready", "workers": 1}


@pytest.mark.soak
def test_a_worker_gives_heartbeats_while_it_waits_and_while_it_works(
    installation: Installation, push: PushService
) -> None:
    installation.seed(1)
    asked = threading.Event()

    def late(_message: Message) -> Answer:
        asked.set()
        return Answer(201, delay=14)

    push.answer_with(late)
    installation.worker()
    redis = installation.runtime.store.redis
    (key,) = wait_until(lambda: redis.keys("rq:worker:*"))

    def gives_another() -> bool:
        before = redis.hget(key, "last_heartbeat")
        return bool(wait_until(lambda: redis.hget(key, "last_heartbeat") != before))

    assert gives_another()
    installation.publish()
    assert asked.wait(30)
    assert gives_another()
    assert redis.hget(key, "state") == b"busy", "and not only when a job begins or ends"


def test_outcomes_show_for_a_day_and_as_long_as_an_alert_is_sent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.seed(3)
    client = Client(create_app(installation.config))
    over, active = installation.publish(), installation.publish()
    for id in (over, active):
        client.runtime.planning.plan(client.runtime.publishing.get(id))
    client.runtime.publishing.cancel(over, by="a test")
    assert figure(scrape(client), "outcomes_last_day", "cancelled", "none") == 3

    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    figures = scrape(client)
    assert figure(figures, "outcomes_last_day", "cancelled", "none") == 0
    assert figure(figures, "recipients_left") == 3


def test_all_processes_return_the_same_figures_and_change_nothing(client: Client) -> None:
    for number in range(3):
        client.call("POST", "/api/v1/subscriptions", {"subscription": browser(number)})
    token = client.add_token("Prometheus", ["read"])
    before = stored(client)
    other = Client(make_app(client.runtime.config.redis_url))
    pages = [one.call("GET", "/metrics", token=token).text for one in (client, other, client)]
    assert stored(client) == before
    # The figures of Redis' own memory change all the time.
    assert len({page.partition("# HELP stoppress_redis_memory")[0] for page in pages}) == 1


def test_pretend_readers_have_a_figure_of_their_own(client: Client) -> None:
    assert figure(scrape(client), "subscriptions_pretend") == 0
    runtime = client.runtime
    origins, key = ["https://127.0.0.1:8443"], runtime.keys.current
    list(pretend_readers.seed(runtime.store, 7, origins=origins, vapid_key=key, topics=()))
    client.call("POST", "/api/v1/subscriptions", {"subscription": browser()})
    figures = scrape(client)
    assert figure(figures, "subscriptions_pretend") == 7
    assert figure(figures, "subscriptions") == 8


def test_a_push_service_is_one_label_however_many_hosts_it_has(client: Client) -> None:
    services, now = client.runtime.store.push_services, time.time()
    for host in ("a.notify.windows.com", "b.notify.windows.com", "web.push.apple.com"):
        services.rest(f"https://{host}", Rest(1, now, now + 60, "503"))
    services.rest("https://fcm.googleapis.com", Rest(1, now, now + 60, "credentials"))
    services.doubt("https://fcm.googleapis.com", now)
    services.pace("https://fcm.googleapis.com", Pace(1000, now))
    figures = scrape(client)
    assert figure(figures, "push_service_origins_resting", "microsoft", "503") == 2
    assert figure(figures, "push_service_origins_resting", "apple", "503") == 1
    assert figure(figures, "push_service_origins_resting", "google", "credentials") == 1
    assert figure(figures, "push_service_origins_doubted", "google") == 1
    assert figure(figures, "push_service_origins_paced", "google") == 1
    assert not [labels for _, labels in figures if "windows" in str(labels)]


def test_the_figures_contain_no_endpoint_key_or_secret(client: Client) -> None:
    reader = browser()
    client.call("POST", "/api/v1/subscriptions", {"subscription": reader})
    token = client.add_token("Prometheus", ["read"])
    page = client.call("GET", "/metrics", token=token).text
    config = client.runtime.config
    for secret in (VAPID.text, *config.secret_key, reader["keys"]["auth"], "fcm.googleapis", token):
        assert secret not in page


def test_an_old_vapid_key_shows_while_readers_depend_on_it(client: Client) -> None:
    client.call("POST", "/api/v1/subscriptions", {"subscription": browser()})
    old, new = VAPID, VapidKey.generate()
    both = Client(
        make_app(client.runtime.config.redis_url, VAPID_PRIVATE_KEY=f"{new.text} {old.text}")
    )
    figures = scrape(both)
    assert figure(figures, "vapid_key_subscriptions", b64url(new.public)[:20], "1") == 0
    assert figure(figures, "vapid_key_subscriptions", b64url(old.public)[:20], "2") == 1


def test_figures_are_served_while_redis_is_full_and_are_503_without_it() -> None:
    with RedisServer() as server:
        client = Client(make_app(server.url))
        token = client.add_token("Prometheus", ["read"])
        with server.full():
            page = client.call("GET", "/metrics", token=token)
            assert page.status_code == 200
            assert "stoppress_redis_memory_max_bytes 1.0" in page.text
        server.stop()
        assert client.call("GET", "/metrics", token=token).status_code == 503


def test_the_clock_leads_on_while_redis_is_full() -> None:
    with RedisServer() as server:
        client = Client(make_app(server.url))
        stored = client.runtime.store.installation
        assert stored.clock_age() == math.inf
        with server.full():
            assert stored.lead("one", 4000)
            assert not stored.lead("another", 4000)
        before = stored.clock_age()
        assert math.isfinite(before)
        wait_until(lambda: stored.clock_age() > before)
