"""The installation that a test runs: readers at the tests' push services, and what it sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from service.cli.run import web_argv
from service.domain.alerts.requests import Published
from service.local import pretend_readers
from service.model.network.endpoints import Endpoint
from service.model.notifications import Audience, Content, Notification, Outcome
from service.model.subscriptions import SubscriptionId
from service.store import Store
from service.store.layout.records import digest_of
from service.store.readers.subscriptions import NotSubscribed
from tests.support.processes.forked import Forked
from tests.support.push_service import PushService
from tests.support.redis_servers.users import as_users
from workers.trials.installation import TrialInstallation, trial_settings
from workers.trials.processes import Process

T = TypeVar("T")
TOPICS = ("world", "sport", "culture", "science", "breaking")


def content(title: str = "Late news", **options: object) -> Content:
    """An alert to publish."""
    given = {"body": "It has just come in.", "url": "https://paper.example/story", **options}
    return Content(title=title, **given)  # type: ignore[arg-type]


def wait_until(look: Callable[[], T], timeout: float = 30.0, every: float = 0.05) -> T:
    """Wait until `look` returns a true value, and return that value."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain; the last value was {found!r}")
        time.sleep(every)
    return found


def pretend_id(store: Store, number: int) -> SubscriptionId:
    """Return the id of a pretend reader, which depends on the partition of its endpoint."""
    for base in store.names.bases.all():
        endpoint = Endpoint(base, pretend_readers.path(number).removeprefix("/fcm/send/"))
        _, found = store.subscriptions._find(digest_of(endpoint.url), endpoint)
        if found:
            return found[0]
    raise NotSubscribed


class Installation(TrialInstallation):
    """Workers, clock and web as real processes that start at once."""

    def __init__(
        self,
        redis_url: str,
        push: PushService,
        data_dir: Path,
        *,
        others: Sequence[PushService] = (),
        **more: str,
    ) -> None:
        """Send to `push` and to `others`; `more` are further settings."""
        self.push = push
        self.services = (push, *others)
        trusted = data_dir / "push-services.pem"
        trusted.write_text("".join(service.ca_file.read_text() for service in self.services))
        origins = [origin for s in self.services for origin in (s.origin, s.plain_origin)]
        settings = {
            **trial_settings(redis_url, data_dir, origins, trusted),
            # With no quiet hours and no limit, a test at night, or the eleventh of a day, finds
            # the same.
            "QUIET_HOURS": "none",
            "DAILY_LIMIT": "none",
            # What an editor sends leaves at once.
            "UNDO_SECONDS": "0",
            "UNDO_BREAKING_SECONDS": "0",
            **more,
        }
        super().__init__(settings, TOPICS, start=Forked)
        self.vapid = self.runtime.keys.vapid[0]

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if isinstance(process, Forked):
                process.kill_all()
        super().__exit__(*error)

    def start(self, *arguments: str) -> Process:
        """Start a process as the user of Redis that its kind has; a test's own has none."""
        kinds = {
            **{"workers.worker": "worker", "workers.clock": "clock", "workers.fetcher": "fetch"},
            "gunicorn": "web",
        }
        program = " ".join(arguments).replace(" import ", ".")
        process = next((kind for name, kind in kinds.items() if name in program), None)
        environment = self.environment
        if process is not None:
            self.environment = as_users(environment, process)
        try:
            return super().start(*arguments)
        finally:
            self.environment = environment

    def fetcher(self) -> Process:
        """Start a fetch process, and wait until it takes jobs."""
        process = self.start("-m", "workers.fetcher")
        wait_until(self.runtime.articles.has_readers)
        return process

    def web_arguments(self) -> Sequence[str]:
        """Run gunicorn directly, because a process that `stoppress web` becomes starts anew."""
        return web_argv(self.config)[1:]

    def seed(
        self,
        count: int,
        *,
        origins: Sequence[str] = (),
        topics: Sequence[str] = TOPICS[:4],
        first: int = 0,
    ) -> None:
        """Store pretend readers whose messages our push services accept, spread over these."""
        origins = origins or [service.origin for service in self.services]
        list(self.add_readers(count, origins, topics, first=first))
        for service in self.services:
            service.accept_any(self.vapid.public)

    def reader(self, number: int) -> SubscriptionId:
        """Return the id of a pretend reader by its number."""
        return pretend_id(self.runtime.store, number)

    def publish(self, audience: Audience | None = None, **options: object) -> int:
        """Publish an alert, by default to everyone; return its id."""
        everyone = audience or Audience(everyone=True)
        return self.runtime.publishing.publish(content(**options), everyone, by="a test").id

    def correct(self, id: int, title: str, *, replace: bool = True) -> Published:
        """Give an alert another title, by default also on the screens that show the old one."""
        return self.runtime.corrections.correct(
            id, title=title, body=None, url=None, replace=replace, by="a test"
        )

    def over(self, id: int, stalled: float = 60.0) -> Notification:
        """Wait until a notification is over and all its outcomes are counted.

        How long that takes depends on the machine: fail once nothing more has happened for
        `stalled` seconds.
        """
        outcomes, since = self.outcomes(id), time.monotonic()
        while (found := self.runtime.publishing.get(id)).finished_at is None:
            if outcomes != (outcomes := self.outcomes(id)):
                since = time.monotonic()
            elif time.monotonic() - since > stalled:
                raise AssertionError(f"nothing has happened for {stalled} s: {outcomes}")
            time.sleep(0.05)
        return found

    def outcomes(self, id: int) -> dict[str, int]:
        """Count the recipients of a notification by outcome, without zeros."""
        progress = self.runtime.publishing.progress(id)
        counts = {outcome.value: progress.of(outcome) for outcome in Outcome}
        return {name: count for name, count in counts.items() if count}
