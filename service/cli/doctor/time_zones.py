"""The doctor's check of the age of the time zones' rules, which governments change each year."""

from __future__ import annotations

import re
import zoneinfo
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.cli.doctor.findings import Finding, ok, warn
from service.model.time import clock

_OLD = 12  # months
_PLACES = ("tzdata.zi", "+VERSION")  # files that say of which release the rules are
_RELEASE = re.compile(r"(?:# version )?((20\d\d)[a-z]+)\s")


def time_zone_rules() -> Finding:
    """Say of which release they are, and whether that is old."""
    what = "Time zones"
    found = _release()
    if found is None:
        return ok(what, "This host does not say how old its time zones' rules are.")
    name, year = found
    now = datetime.fromtimestamp(clock.time(), timezone.utc)
    months = (now.year - year - 1) * 12 + now.month - 1  # since the end of that year
    if months < _OLD:
        return ok(what, f"This host has the time zones' rules of {name}.")
    return warn(
        what,
        f"This host has the time zones' rules of {name}, which are at least {months} months old."
        " Where a government has changed them since, quiet hours and scheduled alerts are an hour"
        " off: update the package tzdata on all hosts, and restart the processes.",
    )


def _release() -> tuple[str, int] | None:
    """Return name and year of the release that Python uses: the system's, else the package's."""
    for folder in map(Path, zoneinfo.TZPATH):
        if not (folder / "UTC").exists():
            continue
        for place in _PLACES:
            try:
                with (folder / place).open() as file:
                    text = file.readline()
            except (OSError, UnicodeDecodeError):
                continue
            if release := _RELEASE.match(text + "\n"):
                return release[1], int(release[2])
        return None
    try:
        name = version("tzdata")
    except PackageNotFoundError:
        return None
    return name, int(name.partition(".")[0])
