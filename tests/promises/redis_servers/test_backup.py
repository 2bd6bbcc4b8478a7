"""A backup that is taken and restored by the guide's own commands, while readers come and go."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.model.notifications import State
from service.model.subscriptions import Subscription
from service.store.readers.subscriptions import HasLeft
from service.store.sending.batches import part_key
from tests.support import ROOT
from tests.support.command import stoppress
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer
from tests.support.requested import requested
from tests.support.seeded import begin_send

READERS = 400
ANSWERED = 150  # of these, before the copy
FIRST = 10_000  # number of the first reader who subscribes meanwhile


class Guide:
    """The commands of the guide's chapter, for these places."""

    def __init__(self, folder: Path) -> None:
        text = (ROOT / "docs/operations.md").read_text()
        chapter = text.partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
        pieces = re.findall(r"^ *```sh\n(.*?)^ *```$", chapter, re.MULTILINE | re.DOTALL)
        self.back_up, self.note_who_left, self.put_back, self.after = pieces
        self._named = {"COPY": str(folder / "copy"), "LEFT": str(folder / "left")}
        Path(self._named["COPY"]).mkdir()

    def run(self, piece: str, redis: RedisServer) -> None:
        """Let a shell run a piece at this Redis."""
        cli = Path(redis.server.binary).with_name("redis-cli")
        places = {"REDIS_DIR": str(redis.directory), "REDIS_CLI": f"{cli} -s {redis.socket}"}
        done = subprocess.run(
            ["bash", "-c", piece],
            env={"PATH": os.environ["PATH"], **self._named, **places},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def commands(self, piece: str, installation: Installation) -> dict[str, str]:
        """Run the commands of a piece, all of them ours; return what each says."""
        said = {}
        # No test goes out to real push services.
        environment = installation.environment | {"PUSH_PROXY": "http://127.0.0.1:1"}
        for line in piece.split("\n"):
            if line.strip():
                expanded = re.sub(r"\$(\w+)", lambda found: self._named[found[1]], line)
                program, *arguments = shlex.split(expanded)
                assert program == "stoppress"
                done = stoppress({**environment, "NO_PROXY": "127.0.0.1"}, *arguments)
                said[arguments[-1] if len(arguments) == 1 else arguments[1]] = done.output
        return said


@pytest.fixture
def guide(tmp_path: Path) -> Guide:
    return Guide(tmp_path)


@contextmanager
def subscribing(installation: Installation) -> Iterator[list[Subscription]]:
    """Let one reader after the other subscribe; yield those who heard that they have."""
    known: list[Subscription] = []
    over = threading.Event()

    def subscribe() -> None:
        key = installation.runtime.keys.current
        while not over.wait(0.002):
            asked = requested(FIRST + len(known))._replace(vapid_key=key)
            known.append(installation.runtime.subscriptions.subscribe(asked)[0])

    thread = threading.Thread(target=subscribe)
    thread.start()
    try:
        wait_until(lambda: len(known) > 20)
        yield known
    finally:
        over.set()
        thread.join()


def leave(installation: Installation, reader: Subscription) -> None:
    installation.runtime.subscriptions.remove(reader)


def recorded(installation: Installation, id: int) -> int:
    """How many recipients of an alert have an outcome."""
    return sum(installation.outcomes(id).values())


def leases_end(installation: Installation, id: int) -> None:
    """Let some seconds pass for the leases of workers that are no more."""
    store = installation.runtime.store
    for partition in store.partitions:
        batches = part_key(partition, id, "batches")
        for batch in store.redis.zrange(batches, 0, -1):
            store.redis.zadd(batches, {batch: 0}, xx=True)


@pytest.mark.processes
def test_a_copy_that_was_taken_by_the_guide_while_everything_ran_is_restored_by_it(
    push: PushService, guide: Guide, tmp_path: Path
) -> None:
    with RedisServer() as redis, Installation(redis.url, push, tmp_path) as before:
        id = begin_send(before, READERS, received=ANSWERED, delay=0)
        wait_until(lambda: recorded(before, id) == ANSWERED)
        subscriptions, environment = before.runtime.subscriptions, before.environment
        with subscribing(before) as known:
            left_before = known[0]
            leave(before, left_before)
            acknowledged = known[1:20]
            guide.run(guide.back_up, redis)
            with redis.client() as admin:
                assert (
                    admin.config_get("auto-aof-rewrite-*")["auto-aof-rewrite-percentage"] == "100"
                )
            left_since = [*known[1:3], *(subscriptions.get(str(before.reader(n))) for n in (0, 1))]
            for one in left_since:
                leave(before, one)
        left_since.append(known[4])
        done = stoppress(environment, "subscriptions", "forget", str(known[4].id), "--yes")
        assert done.exit_code == 0, done.output
        guide.commands(guide.note_who_left, before)
        push.go_on()
        before.over(id)

    with RedisServer() as redis:
        redis.stop()
        for file in redis.directory.iterdir():
            subprocess.run(["rm", "-r", str(file)], check=True)
        guide.run(guide.put_back, redis)
        redis.start()
        with Installation(
            redis.url, push, tmp_path, **environment | {"REDIS_URL": redis.url}
        ) as now:
            check_readers(now, guide, acknowledged, left_before, left_since)
            check_alert(now, id)


def check_readers(
    now: Installation,
    guide: Guide,
    acknowledged: list[Subscription],
    left_before: Subscription,
    left_since: list[Subscription],
) -> None:
    """Check who is there, before and after those are removed who left since the copy."""
    store, subscriptions = now.runtime.store.subscriptions, now.runtime.subscriptions
    assert [store.get(one.id) for one in acknowledged] == acknowledged
    assert store.find(left_before.endpoint) is None
    assert all(store.find(one.endpoint) for one in left_since)
    said = guide.commands(guide.after, now)
    assert f"{len(left_since)} readers are forgotten again" in said["forget-again"]
    assert "ok    Keys" in said["doctor"]
    for one in (left_before, *left_since):
        asked = requested(0)._replace(endpoint=one.endpoint, p256dh=one.p256dh, auth=one.auth)
        with pytest.raises(HasLeft):  # a page that checks in subscribes nobody who left
            subscriptions.subscribe(asked, refresh=True)
    gone = {one.id for one in left_since}
    assert [store.get(one.id) for one in acknowledged if one.id not in gone]


def check_alert(now: Installation, id: int) -> None:
    """Check that the alert goes on, and comes again only where the copy knew nothing of it."""
    assert now.runtime.publishing.get(id).state is State.SENDING
    undone = READERS - recorded(now, id)
    assert undone == READERS - ANSWERED
    leases_end(now, id)
    now.push.begin_anew()
    now.worker()
    now.clock()
    assert now.over(id).state is State.SENT
    outcomes = now.outcomes(id)
    assert sum(outcomes.values()) == now.runtime.publishing.progress(id).recipients == READERS
    copies = Counter(message.path for message in now.push.received)
    assert max(copies.values()) == 1
    assert copies.total() == outcomes["accepted"] - ANSWERED
    assert READERS - outcomes["accepted"] <= 2, "only who left while it was sent"
