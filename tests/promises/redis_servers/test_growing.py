"""An installation outgrows one Redis, and its data is copied to a cluster as the guide says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.model.subscriptions import SubscriptionId
from tests.support import ROOT
from tests.support.command import stoppress
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.cluster import ClusterServers
from tests.support.redis_servers.sentinels import Node

READERS = 600


def ids(installation: Installation) -> list[SubscriptionId]:
    """The ids of all readers."""
    store = installation.runtime.store
    return [
        SubscriptionId(partition, number)
        for partition in store.partitions
        for number in range(int(store.redis.get(f"{{{partition}}}:made") or 0))
    ]


def guide(what: str, old: Node, cluster: ClusterServers) -> Sequence[str]:
    """The guide's command that does this, with our addresses instead of its own."""
    text = (ROOT / "docs/operations.md").read_text()
    found = re.search(rf"^ *redis-cli --cluster {what} .*$", text, re.MULTILINE)
    assert found is not None
    first, *rest = shlex.split(
        found[0]
        .strip()
        .replace("10.0.0.11:6379", f"127.0.0.1:{cluster.nodes[0].port}")
        .replace("10.0.0.5:6379", f"127.0.0.1:{old.port}")
    )
    return [str(Path(old.server.binary).with_name(first)), *rest]


@pytest.mark.processes
def test_readers_alerts_and_links_are_there_after_the_move_to_a_cluster(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(Node())
        with Installation(f"redis://127.0.0.1:{old.port}", push, tmp_path) as before:
            before.seed(READERS)
            before.clock()
            before.worker()
            prepared = before.runtime.store.prepared_keys
            wait_until(lambda: prepared.ready() == READERS)
            sent = before.publish()
            before.over(sent)
            last = before.publish(title="Ferry aground")
            before.over(last)
            wait_until(lambda: prepared.ready() == READERS)
            settings = dict(before.environment)
            readers = {id: before.runtime.store.subscriptions.get(id) for id in ids(before)}
            outcomes = before.outcomes(sent)
        push.begin_anew()

        cluster = stack.enter_context(ClusterServers(replicas=False))
        moved = {**settings, "REDIS_URL": redis_url, "STORE_URL": cluster.url}
        stoppress(moved, "doctor")  # too early, so that a new store stands there
        copy, empty = (guide(what, old, cluster) for what in ("import", "call"))
        too_early = subprocess.run(copy, check=False, capture_output=True, timeout=60)
        assert too_early.returncode != 0
        for command in (empty, copy):
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        old.kill()

        after = stack.enter_context(Installation(redis_url, push, tmp_path, **moved))
        assert {id: after.runtime.store.subscriptions.get(id) for id in ids(after)} == readers
        assert after.outcomes(sent) == outcomes
        assert after.runtime.store.prepared_keys.ready() == 0, "never used a second time"
        after.clock()
        after.worker()
        wait_until(lambda: after.runtime.store.prepared_keys.ready() == READERS)
        correction = after.correct(sent, "Now from a cluster")
        assert after.over(correction.id).id > last
        assert after.outcomes(correction.id) == {"accepted": READERS}
        assert max(Counter(message.body[21:86] for message in push.received).values()) == 1
        done = stoppress(after.environment, "doctor")
        assert "3 masters" in done.output
