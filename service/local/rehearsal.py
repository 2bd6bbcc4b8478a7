"""Rehearsals: an installation of its own beside the real one, with pretend readers.

A rehearsal has its own Redis, push service, keys, workers and clock in a folder in `DATA_DIR`, all
run by `python -m workers.trials.rehearsal`. This module starts, finds and ends it. The rehearsal
knows neither Redis nor keys nor push services of the real installation, only its name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from service.config import Config, settings
from service.local.folders import make_data_dir, make_subfolder
from service.local.secrets_file import using
from service.local.supervisor import runs
from service.model.notifications import Topic
from service.setting_sources import without
from service.store.readers.topics import MOST_TOPICS

READERS = 200_000
MOST_READERS = 1_000_000  # about 300 MB in its Redis
LONGEST = 30 * 60  # seconds after which it ends by itself

_STATE = "rehearsal.json"
_NO_START = "The rehearsal did not start. Ask your operator to look into the log of Stop Press."
_PATIENCE = 20.0  # seconds that a rehearsal has to start or to end


class RehearsalError(Exception):
    """A rehearsal that cannot run; the message tells an editor why."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A running rehearsal."""

    pid: int
    readers: int
    stored: int  # how many of the readers are stored
    ready: bool  # all readers are stored and the workers run
    ends_at: float  # seconds since 1970
    environ: dict[str, str]  # the settings that all its processes share


def _folder(data_dir: Path) -> Path:
    return data_dir / "rehearsal"


def _lock(data_dir: Path) -> Path:
    """Return the file that is locked during a rehearsal; it says why the last one failed."""
    return data_dir / "rehearsal.lock"


def foreign_environment() -> dict[str, str]:
    """Return our environment without the settings of the real installation, but its log's."""
    ours = {row.name.upper() for row in settings()} - {"LOG_FORMAT"}
    return without(os.environ, *ours)


def command(config: Config, readers: int, topics: Iterable[Topic]) -> list[str]:
    """Return the command that runs a rehearsal; it needs nothing of our environment."""
    return [
        *(sys.executable, "-m", "workers.trials.rehearsal"),
        *(str(config.data_dir), str(readers), str(config.worker_concurrency)),
        # An argument may have 128 kB; as many topics as there may be take less.
        json.dumps([asdict(topic) for topic in topics][:MOST_TOPICS], ensure_ascii=False),
    ]


# Run --------------------------------------------------------------------------------------------


@contextmanager
def hold(data_dir: Path) -> Iterator[Path]:
    """Lock `data_dir` for one rehearsal, and yield its folder, which is removed at the end.

    Raises `RehearsalError` if another one runs. `trouble` returns the error that ends the block.
    """
    with using(data_dir):
        make_data_dir(data_dir)
    folder = _folder(data_dir)
    with _lock(data_dir).open("a+") as lock:
        _take(lock)
        lock.truncate(0)
        shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
        try:
            make_subfolder(folder)
            yield folder
        except Exception as error:
            lock.write(str(error))
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _take(lock: IO[str]) -> None:
    # `_is_held` takes the lock as well, for a moment.
    for _ in range(20):
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.05)
    raise RehearsalError("A rehearsal is running already; end it first.")


def report(folder: Path, rehearsal: Rehearsal) -> None:
    """Write how far a rehearsal is, for the processes of the real installation."""
    new = folder / f"{_STATE}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(rehearsal), file)
    new.rename(folder / _STATE)


def report_end(folder: Path) -> None:
    """Let `find` no longer find this rehearsal."""
    (folder / _STATE).unlink(missing_ok=True)


# Find, start and end ----------------------------------------------------------------------------


def read(data_dir: Path) -> Rehearsal | None:
    """Return the rehearsal whose own `DATA_DIR` this is; None for a real installation."""
    try:
        return Rehearsal(**json.loads((data_dir / _STATE).read_text()))
    except (FileNotFoundError, PermissionError):  # there is none, or it belongs to another user
        return None


def find(data_dir: Path) -> Rehearsal | None:
    """Return the rehearsal that runs in this `DATA_DIR` of a real installation, if any."""
    found = read(_folder(data_dir)) if _is_held(data_dir) else None
    # A starting rehearsal may still have the state that a killed one left behind.
    return found if found and runs(found.pid) else None


def _is_held(data_dir: Path) -> bool:
    try:
        with _lock(data_dir).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # there is no such file, or we may not read it
    return False


def trouble(data_dir: Path) -> str:
    """Return why the last rehearsal failed; empty if it did not."""
    with suppress(OSError):
        return _lock(data_dir).read_text()
    return ""


def start(config: Config, readers: int, topics: Iterable[Topic]) -> None:
    """Start a rehearsal and return once `find` finds it; raises `RehearsalError`.

    It outlives this web process, but not the server that this process belongs to.
    """
    if _is_held(config.data_dir):
        raise RehearsalError("A rehearsal is running already; end it first.")
    process = subprocess.Popen(
        [*command(config, readers, topics), "--follow", str(os.getppid())],
        env=foreign_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Collect its exit status, so that no zombie process stays.
    threading.Thread(target=process.wait, daemon=True).start()
    _wait(lambda: find(config.data_dir) or process.returncode is not None)
    if find(config.data_dir) is None and process.returncode != 0:
        raise RehearsalError(trouble(config.data_dir) or _NO_START)


def end(data_dir: Path) -> None:
    """End the rehearsal, if one runs, and wait until all of it is deleted."""
    if found := find(data_dir):
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        _wait(lambda: not _is_held(data_dir))


def _wait(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
