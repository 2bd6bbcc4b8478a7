"""How long the desk's pages take with many readers and many past alerts.

`python -m tests.support.desk.times`

A real gunicorn answers each page in turn to one editor, over and over. The times are those of the
whole call on this machine. Nothing is sent.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.table import Table

from service.domain.operations.daily_totals import today
from service.domain.sending.receipts import Report
from service.model.notifications import Audience, Content, Notification, Outcome, Progress, State
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from tests.support.redis_servers.server import RedisServer
from workers.trials.installation import TrialInstallation, trial_settings

TOPICS = ("world", "sport", "culture", "science")
ORIGIN = "https://push.example"
PASSWORD = "three quiet words"
PAGES = (
    *(
        "/desk/",
        "/desk/list?seen=none",
        "/desk/search?text=ferry",
        "/desk/search?text=nothing-like-it",
    ),
    *("/desk/alerts/{sent}", "/desk/alerts/{sent}/progress", "/desk/alerts/{draft}"),
    *("/desk/new?again={sent}", "/desk/reach?audience=everyone", "/desk/reach?topic=world"),
    *("/desk/overview", "/desk/log", "/desk/stories", "/desk/templates", "/desk/topics"),
    *("/desk/settings", "/desk/people", "/desk/tokens", "/"),
)


def past_alerts(runtime: Runtime, count: int, readers: int) -> int:
    """Store alerts that were sent, one every three hours; return the id of the last."""
    notifications, random, now = runtime.store.notifications, Random(1), time.time()
    words = ("ferry", "storm", "vote", "match", "bridge", "harbour", "strike", "museum", "river")
    history = notifications.history()
    for ago in range(count, 0, -1):
        began = now - ago * 3 * 3600
        topic = random.choice(TOPICS)
        one = Notification(
            id=notifications.new_id(),
            content=Content(f"The {' '.join(random.sample(words, 4))}", "https://paper.example/"),
            audience=Audience(topics=(topic,)),
            state=State.SENDING,
            created_at=began,
            created_by="ada@paper.example",
        )
        notifications.publish(one)
        outcomes = {(Outcome.ACCEPTED, "google"): readers // 5, (Outcome.GONE, "google"): 12}
        progress = Progress(sum(outcomes.values()), outcomes)
        runtime.store.outcomes.finish(one.id, State.SENT, began + 20, progress, history)
    clicks = [Report(one.id, SubscriptionId(0, n), "clicked") for n in range(50)]
    runtime.receipts.count(clicks)
    return one.id


def keep_totals(runtime: Runtime) -> None:
    """Count the days that are over, as the clock has done by the time an editor looks."""
    while runtime.store.daily_totals.counted() != (before_yesterday := _number(2)):
        runtime.daily_totals.keep(time.time())
        assert (runtime.store.daily_totals.counted() or 0) <= before_yesterday


def _number(days_ago: int) -> int:
    day = today() - timedelta(days_ago)
    return day.year * 10_000 + day.month * 100 + day.day


def sign_in(installation: TrialInstallation) -> requests.Session:
    """Return the session of an editor who has just signed in."""
    session = requests.Session()
    link = installation.runtime.editors.first_link()
    assert link
    link = installation.address + urlsplit(link).path
    token = re.search(r'name="csrf_token" value="([^"]+)"', session.get(link, timeout=30).text)
    assert token
    form = {"csrf_token": token[1], "email": "ada@paper.example", "password": PASSWORD}
    session.post(link, data=form, timeout=30).raise_for_status()
    return session


def measure(session: requests.Session, address: str, calls: int) -> list[float]:
    """Return the seconds that each call took; the first ones, which fill caches, are left out."""
    found = []
    for number in range(calls + 2):
        began = time.perf_counter()
        response = session.get(address, timeout=30)
        took = time.perf_counter() - began
        assert response.status_code == 200, (address, response.status_code)
        if number >= 2:
            found.append(took)
    return found


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--readers", type=int, default=1_000_000)
    parser.add_argument("--alerts", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=40, help="of each page")
    given = parser.parse_args()
    table = Table("Page", "Median ms", "Worst ms", title="The desk's pages")
    with tempfile.TemporaryDirectory() as folder, RedisServer() as redis:
        settings = trial_settings(redis.url, Path(folder), [ORIGIN], None)
        with TrialInstallation(settings, TOPICS) as installation:
            list(installation.add_readers(given.readers, [ORIGIN], TOPICS))
            sent = past_alerts(installation.runtime, given.alerts, given.readers)
            keep_totals(installation.runtime)
            draft = installation.runtime.publishing.publish(
                Content("Kick-off", "https://paper.example/"),
                Audience(everyone=True),
                by="ada@paper.example",
                draft=True,
            ).id
            address = installation.web()
            session = sign_in(installation)
            for page in PAGES:
                took = measure(session, address + page.format(sent=sent, draft=draft), given.calls)
                worst, median = max(took), statistics.median(took)
                table.add_row(page, f"{1000 * median:.1f}", f"{1000 * worst:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    _main()
