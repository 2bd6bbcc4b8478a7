"""The file with the keys that `stoppress up` made: lines of NAME=value, mode 0600."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.config import ConfigError
from service.local.folders import check_data_dir, make_data_dir
from service.model.keys import VapidKey


@contextmanager
def using(data_dir: Path) -> Iterator[None]:
    """Raise `ConfigError` if a file in `data_dir` cannot be read or written."""
    try:
        yield
    except OSError as error:
        where = error.filename or data_dir
        who = " (run this as the user of the processes)"
        hint = who if isinstance(error, PermissionError) else ""
        raise ConfigError(f"DATA_DIR: cannot use {where}: {error.strerror}{hint}") from None


def _path(data_dir: Path) -> Path:
    return data_dir / "keys.env"


def read_secrets(data_dir: Path) -> dict[str, str]:
    """Return the settings kept in `data_dir`; empty if `stoppress up` never ran.

    `ConfigError` if it cannot be read, or other users may enter that folder.
    """
    try:
        with using(data_dir):
            if not _path(data_dir).exists():
                return {}
            check_data_dir(data_dir)
            lines = _path(data_dir).read_text().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"DATA_DIR: {_path(data_dir)} is damaged; restore your copy") from None
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def find_secrets(data_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the keys kept in `data_dir`; if there are none, those given, and new ones."""
    with using(data_dir):
        make_data_dir(data_dir)
    made = {"SECRET_KEY": secrets.token_urlsafe(32), "VAPID_PRIVATE_KEY": VapidKey.generate().text}
    return read_secrets(data_dir) or {**made, **given}


def keep_secrets(data_dir: Path, found: Mapping[str, str]) -> None:
    """Store keys in `data_dir`, unless it has some."""
    if read_secrets(data_dir):
        return
    new = _path(data_dir).with_suffix(".new")
    text = "# Keep a copy: without these keys every reader is lost (stoppress keys backup)\n"
    text += "".join(f"{name}={value}\n" for name, value in found.items())
    with using(data_dir):
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(_path(data_dir))
