"""The report of a benchmark: a table or a JSON document, and progress bars until then."""

from __future__ import annotations

import os
import platform
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl import backend
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from service.local.redis_server import find_servers
from workers.bench.figures import Step
from workers.bench.installation import check_signals
from workers.trials.push_service import find_nginx

# Libraries on which the figures depend, where they are among our dependencies.
_LIBRARIES = {
    "cryptography": "cryptography",
    "hpack": "hpack",
    "redis": "redis-py",
    "rq": "RQ",
    "flask": "Flask",
    "gunicorn": "gunicorn",
    "pywebpush": "pywebpush",
}
_DIGITS = {"µs": 0, "ms": 1, "s": 1, "bytes": 0, "MB": 0, "%": 0, "×": 2, "/s": 0, "": 0}


@contextmanager
def bar(what: str, total: int) -> Iterator[Step]:
    """Show a progress bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(what, total=total)

        def step(done: int) -> None:
            progress.update(task, completed=done)
            check_signals()

        yield step


def versions() -> dict[str, str]:
    """Return the versions of all software that the figures depend on."""
    ours = {re.split(r"[^\w-]", row)[0].lower() for row in requires("stop-press") or ()}
    found = {
        "Python": platform.python_version(),
        "OpenSSL of Python": ssl.OPENSSL_VERSION.split()[1],
        "OpenSSL of cryptography": backend.openssl_version_text().split()[1],
        **{what: version(name) for name, what in _LIBRARIES.items() if name in ours},
        **{s.product: f"{s.version[0]}.{s.version[1]}" for s in find_servers()[:1]},
    }
    if nginx := find_nginx():
        found["nginx"] = nginx.version
    return found


def machine() -> dict[str, Any]:
    """Return the processor that the figures were measured on."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = found[1] if found else platform.machine()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0))}


def table(document: Mapping[str, Any]) -> None:
    """Print the document as a table of at most 80 columns, with notes under it."""
    rows = Table(box=box.SIMPLE_HEAD)
    rows.add_column("figure")
    rows.add_column("measured", justify="right", no_wrap=True)
    rows.add_column("budget", justify="right", no_wrap=True)
    titles = document["sections"]
    shown = ""
    for figure in document["figures"]:
        if figure["section"] != shown:
            shown = figure["section"]
            rows.add_row(f"[bold]{shown}[/]: {titles[shown]}", "", "")
        rows.add_row("  " + figure["name"], _measured(figure), _budget(figure))
    absent = [f"{f['name'].strip()}: {f['absent']}." for f in document["figures"] if f["absent"]]
    one = document["machine"]
    console = Console(highlight=False)
    console.print(
        rows,
        f"{document['recipients']:,} readers, {document['workers']} workers"
        " unless a figure says otherwise.",
        *absent,
        f"Push services: {document['sink']}.",
        f"Machine: {one['cores']} cores, {one['cpu']}.",
        ", ".join(f"{name} {number}" for name, number in document["versions"].items()) + ".",
        sep="\n",
    )


def _measured(figure: Mapping[str, Any]) -> str:
    return "–" if figure["absent"] else _with_unit(figure["value"], figure["unit"])


def _budget(figure: Mapping[str, Any]) -> str:
    for sign, name in (("≤", "most"), ("≥", "least")):
        if figure[name] is not None:
            return f"{sign} {figure[name]:,g} {figure['unit']}"
    return ""


def _with_unit(value: float, unit: str) -> str:
    return f"{value:,.{_DIGITS[unit]}f} {unit}".rstrip()
