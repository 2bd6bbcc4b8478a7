"""After an older copy of Redis was restored, readers who had left since leave again."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.model.notifications import Topic
from service.model.retention import DAY
from service.model.time import clock
from service.runtime import Runtime
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import HasLeft
from tests.support.command import stoppress
from tests.support.requested import requested


def move_in(runtime: Runtime, readers: range, day: int) -> None:
    key = runtime.keys.current
    arrivals = [Arrival(requested(n)._replace(vapid_key=key), None, day, day) for n in readers]
    runtime.subscriptions.take_over(arrivals, untried=False)


def leave(runtime: Runtime, reader: int) -> None:
    runtime.subscriptions.remove(runtime.subscriptions.at(requested(reader).endpoint))


def here(runtime: Runtime, readers: range) -> list[int]:
    found = [n for n in readers if runtime.store.subscriptions.find(requested(n).endpoint)]
    return list(found)


def test_readers_who_left_since_the_copy_leave_again(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    file, today = tmp_path / "left", int(clock.time() // DAY)
    runtime.topics.add(Topic("world", "World"))
    move_in(runtime, range(6), today - 3)
    for reader in (1, 2, 5):
        leave(runtime, reader)
    noted = stoppress(environment, "subscriptions", "left", str(file))
    assert "3 readers who left are noted" in noted.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert runtime.store.redis.flushdb()
    runtime.store.installation.remember_layout(runtime.store.partitions)
    assert "world" not in file.read_text() and "fcm" not in file.read_text()

    move_in(runtime, range(2), today - 3)  # the copy is older than reader 2
    move_in(runtime, range(3, 6), today + 1)  # reader 5 came back on another day
    assert here(runtime, range(6)) == [0, 1, 3, 4, 5]
    leave(runtime, 4)
    stoppress(environment, "subscriptions", "left", str(file))
    assert len(file.read_text().split()) == 4, "the list did not forget what Redis forgot"
    done = stoppress(environment, "subscriptions", "forget-again", str(file))
    assert done.exit_code == 0 and "1 readers are forgotten again" in done.output
    assert here(runtime, range(6)) == [0, 3, 5]
    with pytest.raises(HasLeft):
        runtime.store.subscriptions.subscribe(requested(2), refresh=True)


def test_list_that_was_made_with_another_secret_key_is_refused(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "left"
    move_in(runtime, range(2), 20_000)
    leave(runtime, 1)
    stoppress(environment, "subscriptions", "left", str(file))
    runtime.store.redis.flushdb()
    other = {**environment, "SECRET_KEY": "another secret of at least 32 characters"}
    done = stoppress(other, "subscriptions", "forget-again", str(file))
    assert done.exit_code == 1 and "1 lines were not made with this SECRET_KEY" in done.output
    rotated = {**other, "SECRET_KEY": f"{other['SECRET_KEY']},{environment['SECRET_KEY']}"}
    done = stoppress(rotated, "subscriptions", "forget-again", str(file))
    assert done.exit_code == 0, done.output
