"""A rehearsal: the whole show with pretend readers, in a house of its own beside the real one.

That house is a folder in `DATA_DIR`, with a Redis, a push service, keys, workers and a clock of its
own, run by `python -m workers.trials.rehearsal`. This module starts, finds and ends it. It is told
nothing of the real house but its name: no Redis, no key, no push service.
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
from service.local.supervisor import runs
from service.model.notifications import Topic

READERS = 200_000
MOST_READERS = 1_000_000  # about 300 MB in its Redis
LONGEST = 30 * 60  # seconds after which it ends by itself

_STATE = "rehearsal.json"
_NO_START = "It did not start. Whoever runs Stop Press finds the reason in its log."
_PATIENCE = 20.0  # seconds that a rehearsal has to begin, or to be gone


class RehearsalError(Exception):
    """A rehearsal that cannot be; the message says why in words for an editor."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A running rehearsal.

    `stored` of its `readers` are there; with `ready` so are its workers. `ends_at` is in seconds
    since 1970; `environ` are the settings that all its processes share.
    """

    pid: int
    readers: int
    stored: int
    ready: bool
    ends_at: float
    environ: dict[str, str]


def _folder(data_dir: Path) -> Path:
    return data_dir / "rehearsal"


def _lock(data_dir: Path) -> Path:
    """Return the file that is locked while one runs; its text is why the last one failed."""
    return data_dir / "rehearsal.lock"


def foreign_environment() -> dict[str, str]:
    """Return the environment without a single setting of ours: no real house is known in it."""
    ours = {row.name.upper() for row in settings()}
    return {name: value for name, value in os.environ.items() if name not in ours}


def command(config: Config, readers: int, topics: Iterable[Topic]) -> list[str]:
    """Return the command that runs a rehearsal; it needs nothing of our environment."""
    return [
        *(sys.executable, "-m", "workers.trials.rehearsal"),
        *(str(config.data_dir), str(readers), str(config.worker_concurrency)),
        json.dumps([asdict(topic) for topic in topics]),
    ]


# Run --------------------------------------------------------------------------------------------


@contextmanager
def hold(data_dir: Path) -> Iterator[Path]:
    """Hold `data_dir` for one rehearsal, and yield the folder for its house, removed at the end.

    `RehearsalError` where another one runs. What ends the block is kept for `trouble` to tell.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = _folder(data_dir)
    with _lock(data_dir).open("a+") as lock:
        _take(lock)
        lock.truncate(0)
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        try:
            folder.mkdir(mode=0o700)
            yield folder
        except Exception as error:
            lock.write(str(error))
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _take(lock: IO[str]) -> None:
    # Who merely looks holds the lock as well, for a moment.
    for _ in range(20):
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.05)
    raise RehearsalError("A rehearsal is running already; end it first.")


def tell(folder: Path, rehearsal: Rehearsal) -> None:
    """Let every process of the real house know how far a rehearsal is."""
    new = folder / f"{_STATE}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(rehearsal), file)
    new.rename(folder / _STATE)


def tell_its_end(folder: Path) -> None:
    """Have nobody find this rehearsal any more."""
    (folder / _STATE).unlink(missing_ok=True)


# Find, start and end ----------------------------------------------------------------------------


def of_house(data_dir: Path) -> Rehearsal | None:
    """Return the rehearsal whose own `DATA_DIR` this is; None for a real house's."""
    try:
        return Rehearsal(**json.loads((data_dir / _STATE).read_text()))
    except (FileNotFoundError, PermissionError):  # there is none, or it is somebody else's
        return None


def find(data_dir: Path) -> Rehearsal | None:
    """Return the rehearsal that runs in this real house's `DATA_DIR`, if one does."""
    found = of_house(_folder(data_dir)) if _is_held(data_dir) else None
    # The next one begins with what one that was killed left behind: not to be taken for its own.
    return found if found and runs(found.pid) else None


def _is_held(data_dir: Path) -> bool:
    try:
        with _lock(data_dir).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # there is no such file, or none that we may read
    return False


def trouble(data_dir: Path) -> str:
    """Return why the last rehearsal could not go on; empty where it could."""
    with suppress(OSError):
        return _lock(data_dir).read_text()
    return ""


def start(config: Config, readers: int, topics: Iterable[Topic]) -> None:
    """Start a rehearsal and return as soon as it can be found; `RehearsalError`.

    It outlives this web process, but not the server that this one belongs to.
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
    # Whoever starts a process has to take note of its end.
    threading.Thread(target=process.wait, daemon=True).start()
    _wait(lambda: find(config.data_dir) or process.returncode is not None)
    if find(config.data_dir) is None and process.returncode != 0:
        raise RehearsalError(trouble(config.data_dir) or _NO_START)


def end(data_dir: Path) -> None:
    """End the rehearsal, if one runs, and wait until all of it is gone."""
    if found := find(data_dir):
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        _wait(lambda: not _is_held(data_dir))


def _wait(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
