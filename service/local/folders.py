"""Folders with keys or readers in them: for our own user alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from service.config import ConfigError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What this service puts into DATA_DIR. A folder with anything else in it is not only ours.
_OURS = {
    *("keys.env", "keys.new", "redis", "redis.log", "redis.old"),
    *("rehearsal", "rehearsal.lock"),
}


def make_data_dir(folder: Path) -> None:
    """Make DATA_DIR, or check it: no other user may enter it; `ConfigError`, `OSError`.

    An existing folder that others may enter gets mode 0700 if all that is in it is ours. Otherwise
    it may be open on purpose, and it is refused.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)  # whatever the umask has left of it
    elif folder.stat().st_uid == os.geteuid() and _is_ours(folder):
        folder.chmod(0o700)
    check_data_dir(folder)


def _is_ours(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= _OURS


def check_data_dir(folder: Path) -> None:
    """Raise `ConfigError` if other users may enter a folder with keys or readers in it."""
    if folder.stat().st_mode & _OTHERS:
        raise ConfigError(
            f"DATA_DIR: other users may enter {folder}, which holds the keys and every reader: run"
            f" chmod 700 {folder}, or set another folder"
        )


def make_subfolder(folder: Path) -> None:
    """Make a folder in DATA_DIR, or close an existing one to other users."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
