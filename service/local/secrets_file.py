"""The file with the keys that `stoppress up` made: lines of NAME=value, mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from service.local.folders import check_data_dir, make_data_dir
from service.model.keys import VapidKey


def _path(data_dir: Path) -> Path:
    return data_dir / "keys.env"


def read_secrets(data_dir: Path) -> dict[str, str]:
    """Return the settings kept in `data_dir`; empty if `stoppress up` never ran.

    `ConfigError` if other users may enter that folder.
    """
    try:
        lines = _path(data_dir).read_text().splitlines()
    except FileNotFoundError:
        return {}
    check_data_dir(data_dir)
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def make_secrets(data_dir: Path) -> dict[str, str]:
    """Return the keys kept in `data_dir`; make and store new ones if there are none."""
    make_data_dir(data_dir)
    kept = read_secrets(data_dir)
    if kept:
        return kept
    made = {"SECRET_KEY": secrets.token_urlsafe(32), "VAPID_PRIVATE_KEY": VapidKey.generate().text}
    new = _path(data_dir).with_suffix(".new")
    text = "# Keep a copy: without these keys every reader is lost (stoppress keys backup)\n"
    text += "".join(f"{name}={value}\n" for name, value in made.items())
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(_path(data_dir))
    return made
