"""The canary: an alert of our own goes the whole way, and is in no figure of readers."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.app import create_app
from service.model.notifications import Outcome
from service.model.operations.canary import CANARY, Arrival, CanaryBrowser
from service.model.time import clock
from tests.support.client import Client
from tests.support.processes.in_process import fan_out_of, send_all
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService

EVERY = 60.0


@pytest.fixture
def watched(redis_url: str, push: PushService, tmp_path: Path) -> Iterator[Installation]:
    with Installation(redis_url, push, tmp_path, CANARY_MINUTES="1") as installation:
        yield installation


def the_alert(installation: Installation) -> int:
    """Send a canary, and return its alert: it is the only one that is active."""
    installation.runtime.canary.send_due(clock.time())
    (id,) = installation.runtime.store.notifications.active()
    return id


@contextmanager
def answering(installation: Installation, status: int) -> Iterator[None]:
    """Answer each call to the address of the web processes with this status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", installation.port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_alert_of_our_own_goes_from_the_clock_through_a_worker_to_our_push_service(
    watched: Installation,
) -> None:
    watched.seed(3)
    watched.web()
    watched.worker()
    watched.clock()
    runtime = watched.runtime
    latest = wait_until(lambda: runtime.canary.health().latest)
    assert 0 <= latest.seconds < latest.arrived
    wait_until(lambda: not runtime.store.notifications.active())

    # Nobody counts it, lists it or logs it.
    assert runtime.store.subscriptions.count() == 3
    assert [runtime.store.subscriptions.count(kind) for kind in ("gone", "unconfirmed")] == [0, 0]
    stored = runtime.store.notifications
    assert [*stored.latest(10), *stored.started(10), *stored.waves(10)] == []
    assert not any("canary" in origin for origin in runtime.push_services.resting())
    assert runtime.store.redis.xlen("{g}:log") == 0
    assert watched.push.received == []


@pytest.mark.redis
def test_readers_who_come_later_have_other_numbers_and_all_get_their_alerts(
    watched: Installation,
) -> None:
    with fan_out_of(watched) as fan_out, answering(watched, 201):
        send_all(watched, fan_out, the_alert(watched))
        watched.seed(20)
        id = watched.publish()
        send_all(watched, fan_out, id)
    assert watched.outcomes(id) == {"accepted": 20}
    assert watched.runtime.store.canary.reader() not in {watched.reader(n) for n in range(20)}
    assert watched.runtime.store.subscriptions.count() == 20


@pytest.mark.parametrize("status", [404, 410, 400])
def test_an_address_that_does_not_know_it_makes_no_reader_gone(
    watched: Installation, status: int
) -> None:
    with fan_out_of(watched) as fan_out, answering(watched, status):
        id = the_alert(watched)
        send_all(watched, fan_out, id)
    assert watched.outcomes(id) == {Outcome.REFUSED.value: 1}
    assert watched.runtime.store.subscriptions.count("gone") == 0
    assert watched.runtime.canary.health().latest is None


def test_while_no_web_process_runs_no_push_service_is_said_to_rest(watched: Installation) -> None:
    with fan_out_of(watched) as fan_out:

        def rests() -> bool:
            fan_out.run(lambda: True)
            return fan_out._health.of(watched.address, CANARY).rest is not None

        the_alert(watched)
        wait_until(rests)
    assert watched.runtime.push_services.resting() == {}


def test_while_everything_is_stopped_none_is_sent(watched: Installation) -> None:
    runtime = watched.runtime
    runtime.stops.hold(by="nora@paper.example")
    runtime.canary.send_due(clock.time())
    assert runtime.store.notifications.active() == []
    runtime.stops.release(by="nora@paper.example")
    the_alert(watched)


def test_the_next_one_is_sent_after_the_minutes_of_the_setting(watched: Installation) -> None:
    runtime, now = watched.runtime, clock.time()
    for later, sent in ((0.0, 1), (EVERY - 1, 1), (EVERY, 2)):
        runtime.canary.send_due(now + later)
        assert len(runtime.store.notifications.active()) == sent
    runtime.canary.send_due(now - 3600)  # the clock was set back
    assert len(runtime.store.notifications.active()) == 3


def test_two_that_do_not_arrive_are_missed(watched: Installation) -> None:
    canary, rows = watched.runtime.canary, watched.runtime.store.canary
    assert canary.health().is_missed(1000.0)
    rows.note_arrived(Arrival(998.0, 1000.0, 2.0))
    assert not canary.health().is_missed(1000.0 + 2 * EVERY)
    assert canary.health().is_missed(1000.0 + 3 * EVERY + 1)
    assert canary.health().is_missed(1000.0 - 3600), "the clock was set back"


# What arrives -----------------------------------------------------------------------------------


def message(browser: CanaryBrowser, text: bytes) -> bytes:
    """Encrypt a text for the canary's browser."""
    sender = ec.generate_private_key(ec.SECP256R1())
    encrypted: bytes = http_ece.encrypt(
        text, private_key=sender, dh=browser.p256dh, auth_secret=browser.auth, version="aes128gcm"
    )
    return encrypted


def at(seconds: float) -> bytes:
    return b'{"notification": {"timestamp": %d}}' % (seconds * 1000)


def test_only_a_message_of_ours_at_its_own_address_counts(watched: Installation) -> None:
    client = create_app(watched.config).test_client()
    current, other = (CanaryBrowser(key) for key in (watched.runtime.tokens.canary_keys[0], b"x"))
    good, now = message(current, at(clock.time())), clock.time()
    bad = {
        "another address": (other.token, good),
        "no token": ("x", good),
        "for another browser": (current.token, message(other, at(now))),
        "altered": (current.token, good[:-1] + bytes((good[-1] ^ 1,))),
        "empty": (current.token, b""),
        "too long": (current.token, b"x" * 5000),
        "no document": (current.token, message(current, b"[]")),
        "no JSON": (current.token, message(current, b"\xff")),
        "no time": (current.token, message(current, b'{"notification": {"timestamp": {}}}')),
    }
    for what, (token, body) in bad.items():
        assert client.post(f"/canary/{token}", data=body).status_code == 404, what
    assert watched.runtime.canary.health().latest is None
    assert client.get(f"/canary/{current.token}").status_code == 405
    assert client.post(f"/canary/{current.token}", data=good).status_code == 201
    assert watched.runtime.canary.health().latest is not None


def test_a_message_that_comes_once_more_says_nothing_of_now(watched: Installation) -> None:
    browser = CanaryBrowser(watched.runtime.tokens.canary_keys[0])
    later, earlier = (message(browser, at(seconds)) for seconds in (2000.0, 1000.0))
    watched.runtime.canary.take(browser.token, later)
    first = watched.runtime.canary.health().latest
    for body in (later, earlier):
        watched.runtime.canary.take(browser.token, body)
    assert watched.runtime.canary.health().latest == first
    ahead = clock.time() + 3600
    watched.runtime.store.canary.note_arrived(Arrival(ahead, ahead, 0.0))  # then it was set back
    watched.runtime.canary.take(browser.token, later)
    latest = watched.runtime.canary.health().latest
    assert latest is not None
    assert latest.published == 2000.0


def test_the_figures_say_when_the_latest_arrived_and_how_long_it_took(
    watched: Installation,
) -> None:
    client = Client(create_app(watched.config))

    def figures() -> dict[str, str]:
        text = client.call("GET", "/metrics", token=client.add_token("x", ["read"])).text
        rows = (line.split(" ") for line in text.splitlines() if "_canary_" in line)
        return {row[0].removeprefix("stoppress_canary_"): row[1] for row in rows if row[0] != "#"}

    assert figures() == {"interval_seconds": "60.0", "last_success_timestamp_seconds": "0.0"}
    watched.runtime.store.canary.note_arrived(Arrival(998.0, 1000.0, 2.0))
    assert figures() == {
        "interval_seconds": "60.0",
        "last_success_timestamp_seconds": "1000.0",
        "seconds": "2.0",
    }


def test_no_other_figure_counts_one_that_is_under_way(watched: Installation) -> None:
    client = Client(create_app(watched.config))

    def figures() -> list[str]:
        text = client.call("GET", "/metrics", token=client.add_token("x", ["read"])).text
        return [line for line in text.splitlines() if "stoppress_clock" not in line]

    before = [line for line in figures() if "memory" not in line and "queue" not in line]
    watched.runtime.planning.plan(watched.runtime.publishing.get(the_alert(watched)))
    assert [line for line in figures() if "memory" not in line and "queue" not in line] == before
