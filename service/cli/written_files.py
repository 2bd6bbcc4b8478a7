"""The files that commands write."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import IO

_UNSET = signal.SIG_DFL  # ends a process at once


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Write a file that appears once it is whole; until then an earlier one stays.

    Only its owner may read it. Of two commands that write one file each has a part of its own. What
    is no file, such as a pipe, is written to as it is. SIGTERM, and the end of a terminal, end the
    command as Ctrl-C does, so that no part stays.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    path = path.resolve()
    with _ending_in_order():
        descriptor, name = mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    # What is ignored stays ignored, as by nohup.
    ending = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == _UNSET]
    for one in ending:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one in ending:
            signal.signal(one, _UNSET)
