"""The files that commands write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Write a file that appears once it is whole; until then an earlier one stays."""
    if path.exists() and not path.is_file():  # such as a pipe
        with written_file(path) as file:
            yield file
        return
    path = path.resolve()
    part = path.with_name(f"{path.name}.part")
    try:
        with written_file(part) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_file(path: Path) -> Iterator[IO[str]]:
    """Open a file that only its owner may read, or a device as it is."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        if path.is_file():
            os.fchmod(file.fileno(), 0o600)  # it may have been there
        yield file
