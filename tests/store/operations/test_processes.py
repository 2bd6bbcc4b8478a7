"""What processes leave in the store about themselves."""

from __future__ import annotations

import json

from service.store import Store
from service.store.operations.processes import Process, Processes


def test_a_process_of_a_newer_release_is_seen_by_an_older_one(store: Store) -> None:
    processes = Processes(store.redis)
    worker = Process("worker", "paper-1", {"SITE_URL": "https://push.paper.example"})
    processes.beat("a worker", worker)
    (name, row), *_ = store.redis.hgetall("{g}:processes").items()
    at, _, described = row.decode().partition(" ")
    newer = json.dumps({**json.loads(described), "release": "2.0"})
    store.redis.hset("{g}:processes", name, f"{at} {newer}")
    assert processes.alive() == [worker]
