"""An alert in mid-send, while something happens to Redis."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

from redis import RedisError

from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import Answer, PushService
from tests.support.seeded import assert_adds_up

WINDOW = 128
AGAIN = 60.0  # seconds within which publishing works again


_ALERT = {"title": "Late news", "url": "https://paper.example/", "audience": {"everyone": True}}


def publish(address: str, token: str, **fields: object) -> int:
    """Publish an alert by the API, by default to everyone; return its id."""
    request = urllib.request.Request(
        f"{address}/api/v1/notifications",
        json.dumps(_ALERT | fields).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(json.load(response)["id"])


class UnderWay:
    """Web, clock and a worker that sends an alert to readers whose keys are prepared."""

    def __init__(self, installation: Installation, readers: int, workers: int) -> None:
        self._installation, self._push = installation, installation.push
        self.workers, self.readers = workers, readers
        installation.seed(readers)
        self._push.answer_with(lambda _message: Answer(201, delay=0.1))
        for _ in range(workers):
            installation.worker()
        installation.clock()
        self._address, self._token = installation.web(), installation.api_token()
        prepared = installation.runtime.store.prepared_keys
        wait_until(lambda: prepared.ready() == readers, timeout=120)
        self._push.begin_anew()
        self.id = publish(self._address, self._token)
        self._refusals: dict[int, float] = {}  # the longest time (s) until each status
        self._lost = 0

    def reach(self, answered: int) -> None:
        """Wait until so many messages were answered."""
        self._push.wait_for(answered, timeout=60)

    def publish_again(self) -> int:
        """Publish, for a topic without followers, as soon as that works again."""
        return wait_until(self._published, timeout=AGAIN)

    def _published(self) -> int:
        began = time.monotonic()
        try:
            return publish(self._address, self._token, audience={"topics": ["breaking"]})
        except HTTPError as error:
            error.close()
            took = time.monotonic() - began
            self._refusals[error.code] = max(took, self._refusals.get(error.code, 0.0))
        return 0

    def _is_there(self) -> bool:
        """Whether this process has found the new master as well."""
        with suppress(RedisError):
            return self._installation.runtime.store.notifications.get(self.id) is not None
        return False

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Count the answers in the block, whose records the new master may not have."""
        self._lost -= len(self._push.received)
        yield
        self._lost += len(self._push.received)

    def check(self) -> None:
        """Check that the send adds up, and that a correction reaches every reader."""
        assert self._refusals.keys() <= {503}
        assert all(seconds < 8 for seconds in self._refusals.values())
        wait_until(self._is_there)
        wait_until(lambda: self._installation.runtime.store.installation.clock_age() < 3)
        self._installation.over(self.id)
        assert max(Counter(one.body[21:86] for one in self._push.received).values()) == 1
        repeats = self._lost + self.workers * WINDOW
        assert_adds_up(self._installation, self.id, self.readers, repeats)


@contextmanager
def under_way(
    store: str,
    queue: str,
    push: PushService,
    folder: Path,
    *,
    readers: int = 1000,
    workers: int = 1,
) -> Iterator[UnderWay]:
    """An installation at these Redises, whose alert has reached a third of its readers."""
    settings = {"STORE_URL": store, "WEB_CONCURRENCY": "1", "PUSH_WINDOW": str(WINDOW)}
    with Installation(queue, push, folder, **settings) as installation:
        running = UnderWay(installation, readers, workers)
        running.reach(readers // 3)
        yield running
