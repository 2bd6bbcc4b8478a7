"""A release is replaced by the next while an alert is sent: the last one runs beside today's code.

The last release makes the installation, keeps what editors and readers give it, and begins to send.
Then processes of today's code are started beside it, and its own are ended in turn. Readers and an
editor call all the time.
"""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from redis import Redis

from service.model.notifications import State
from tests.support.processes.forked import Forked
from tests.support.processes.installation import Installation, wait_until
from tests.support.processes.last_release import LastRelease
from tests.support.processes.rolling import Newspaper, Reply
from tests.support.push_service import PushService
from workers.trials.processes import Process, free_port

pytestmark = pytest.mark.processes

WINDOW = 8  # messages of a worker, so that the send lasts until its last old process is ended
TOPICS = ["world", "sport"]
# What the last release does first, by its own code.
MAKE = """
import json, os
from dataclasses import replace
from service.cli.run import web_argv
from workers.trials.installation import TrialInstallation

origin, topics, readers, ports = json.loads(os.environ.pop("TRIAL"))
made = TrialInstallation(os.environ, topics)
list(made.add_readers(readers, [origin], topics))
configs = [replace(made.config, port=port, web_concurrency=1) for port in ports]
link, webs = made.runtime.editors.first_link(), [web_argv(one)[1:] for one in configs]
print(json.dumps({"token": made.api_token(), "link": link, "webs": webs}))
"""
PAGES = [
    *("/", "/alerts/{sent}", "/alerts/{sent}/report.csv", "/alerts/{draft}", "/alerts/{planned}"),
    *("/log", "/stories", "/overview", "/people", "/topics", "/settings", "/webhooks", "/tokens"),
]


class Desk:
    """An editor's browser, which stays signed in."""

    def __init__(self, paper: Newspaper, link: str) -> None:
        self._paper = paper
        self._headers = {"Referer": f"https://localhost:{paper.port}/"}
        path = re.sub("^.*?/desk/", "/desk/", link)
        page = self._ask("GET", path)
        token = re.search(r'name="csrf_token" value="([^"]+)"', page.body.decode())
        assert token, page
        who = {"email": "ada@paper.example", "password": "three quiet words"}
        self._headers["Content-Type"] = "application/x-www-form-urlencoded"
        done = self._ask("POST", path, urlencode({"csrf_token": token[1], **who}))
        assert done.status == 303, done

    def _ask(self, method: str, path: str, body: str | None = None) -> Reply:
        reply = self._paper.ask(method, path, body, **self._headers)
        if cookie := reply.headers.get("Set-Cookie"):
            self._headers["Cookie"] = cookie.partition(";")[0]
        return reply

    def open(self, path: str, **headers: str) -> None:
        """Open a page; the newspaper notes whatever is not that page."""
        self._paper.call("GET", f"/desk{path}", **{**self._headers, **headers})


@contextmanager
def made_by(
    old: LastRelease,
    redis_url: str,
    push: PushService,
    folder: Path,
    readers: int,
    ports: list[int],
) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """An installation that the last release has made, and what it says of it."""
    settings = {"TRUSTED_PROXIES": "1", "PUSH_WINDOW": str(WINDOW)}
    with Installation(redis_url, push, folder, **settings) as first:
        environment = first.environment
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    trial = json.dumps([push.origin, TOPICS, readers, ports])
    made = old.run(MAKE, {**environment, "TRIAL": trial})
    keys = {name: environment[name] for name in ("SECRET_KEY", "VAPID_PRIVATE_KEY")}
    with Installation(redis_url, push, folder, **settings, **keys) as installation:
        push.accept_any(installation.vapid.public)
        yield installation, made


def keep(paper: Newspaper) -> tuple[dict[str, int], dict[str, tuple[str, Any]]]:
    """Let editors and a reader store something; return alerts, and what is shown by path."""
    later = f"{datetime.now(timezone.utc) + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    whole = {
        "kind": "breaking",
        "story": "ferry",
        "ttl": 3600,
        "icon": "https://paper.example/icon.png",
        "actions": [{"title": "Live", "url": "https://paper.example/live"}],
        "audience": {"topics": ["world"], "exclude": ["sport"], "locales": ["en"]},
    }
    alerts = {
        "sent": paper.publish("sent", story="ferry"),
        "draft": paper.publish("draft", draft=True, **whole),
        "planned": paper.publish("planned", send_at=later, late="send"),
    }
    paper.tool("POST", "/topics", {"slug": "ferries", "name": "Ferries", "default": True})
    hook = {"address": "https://paper.example/heard", "events": ["alert.cancelled"]}
    paper.tool("POST", "/webhooks", hook)
    installation = paper.installation
    night = datetime.now(ZoneInfo("Europe/Riga")) + timedelta(hours=8)
    body = {
        "subscription": installation.push.subscribe(installation.vapid.public).as_json(),
        "topics": ["sport"],
        "locale": "lv",
        "timezone": "Europe/Riga",
        "quiet_hours": {"from": f"{night:%H}:00", "to": f"{night + timedelta(hours=8):%H}:30"},
        "daily_limit": 3,
        "allow_breaking": True,
        "followed_stories": ["ferry"],
    }
    reader = paper.call("POST", "/api/v1/subscriptions", body)
    assert reader, paper.faults
    installation.over(alerts["sent"])
    tokens = {
        **{f"/notifications/{id}": paper.token for id in alerts.values()},
        **dict.fromkeys(("/topics", "/webhooks", "/stories"), paper.token),
        f"/subscriptions/{reader['id']}": reader["token"],
    }
    return alerts, {path: (token, show(paper, path, token)) for path, token in tokens.items()}


def show(paper: Newspaper, path: str, token: str) -> Any:
    return paper.tool("GET", path, Authorization=f"Bearer {token}")


def reads_as(before: Any, now: Any) -> bool:
    """Whether everything that was shown is shown now; a later release may show more."""
    if isinstance(before, dict):
        return all(name in now and reads_as(before[name], now[name]) for name in before)
    if isinstance(before, list):
        return len(before) == len(now) and all(map(reads_as, before, now))
    return bool(before == now)


@contextmanager
def held(push: PushService) -> Iterator[None]:
    """Hold messages meanwhile, but none for long: a worker gives one up after 15 seconds."""
    ended = Event()

    def some_at_a_time() -> None:
        while not ended.wait(5):
            push.go_on(until_held=True)

    thread = Thread(target=some_at_a_time)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        push.go_on()


def replace_all(
    paper: Newspaper, workers: list[Process], clocks: list[Process], ports: list[int]
) -> None:
    """Start today's processes beside the old ones, then end these; workers at last."""
    installation = paper.installation
    webs = [*paper.webs.values()]
    with held(installation.push):
        for _ in workers:
            installation.worker()
        for _ in clocks:
            installation.clock()
        for port in ports:
            paper.start_web(port)
        for one in webs + clocks:
            installation.end(one)
        for one in workers:
            one.send_signal(signal.SIGTERM)
    for one in workers:
        assert one.wait(60) == 0
        installation.processes.remove(one)


@pytest.mark.parametrize(
    ("readers", "each"),
    [
        pytest.param(240, 1, id="few readers"),
        pytest.param(1500, 2, id="many readers", marks=pytest.mark.soak),
    ],
)
def test_nobody_sees_that_a_release_is_replaced_during_a_send(
    readers: int, each: int, redis_url: str, push: PushService, tmp_path: Path
) -> None:
    ports = [free_port() for _ in range(2 * each)]
    with (
        LastRelease(tmp_path / "last-release") as last,
        made_by(last, redis_url, push, tmp_path, readers, ports[:each]) as (installation, made),
        closing(Newspaper(installation, tmp_path, ports)) as paper,
    ):
        installation._start, paper.token = last.start, made["token"]
        workers = [installation.worker() for _ in range(each)]
        clocks = [installation.clock() for _ in range(each)]
        for port, arguments in zip(ports[:each], made["webs"], strict=True):
            paper.start_web(port, arguments)
        wait_until(lambda: installation.runtime.job_queue.workers() == each, 60)
        installation._start = Forked
        desk = Desk(paper, made["link"])
        alerts, shown = keep(paper)
        before = len(push.received)
        push.hold_after(readers // 8)
        alert = paper.publish("during")

        def watch(_: int) -> None:
            desk.open(f"/alerts/{alert}/progress", **{"HX-Request": "true"})
            desk.open("/list", **{"HX-Request": "true"})

        with paper.load(watch, pause=0.2 / each):
            push.wait_for(before + readers // 8, timeout=60)
            replace_all(paper, workers, clocks, ports[each:])
            done = installation.over(alert)
        assert done.state is State.SENT
        recipients = installation.runtime.publishing.progress(alert).recipients
        assert installation.outcomes(alert) == {"accepted": recipients}
        got = Counter(one.path for one in push.received[before:] if "/wpush/" not in one.path)
        assert len(got) == readers, "nobody was missed"
        assert set(got.values()) == {1}, "nobody got it twice"
        assert {f"GET /desk/alerts/{alert}/progress", "POST /api/v1/subscriptions"} < {*paper.calls}

        assert {
            path: (was, now)
            for path, (token, was) in shown.items()
            if not reads_as(was, now := show(paper, path, token))
        } == {}
        for page in PAGES:
            desk.open(page.format(**alerts))
        for id in (alerts["draft"], alerts["planned"]):
            paper.tool("POST", f"/notifications/{id}/send")
            installation.over(id)
        correction = installation.correct(alerts["sent"], "Nobody dead")
        assert correction.recipients >= readers
        assert installation.over(correction.id).state is State.SENT
        assert paper.faults == []
