"""`stoppress export`: everything moves out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli import reader_rows
from service.cli.main import open_runtime
from service.cli.terminal import examples
from service.cli.written_files import whole_file
from service.domain.operations.moving import Moving
from service.runtime import Runtime

_SHOWN = 256  # readers between two looks at the bar


@click.command(
    "export",
    epilog=examples(
        "export all.jsonl",
        "export - | gzip > all.jsonl.gz",
        "export readers.csv --as onesignal",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--as",
    "form",
    type=click.Choice(["stoppress", "onesignal"]),
    default="stoppress",
    help="onesignal: the readers alone, as the CSV that OneSignal exports and others import.",
)
def export_readers(file: Path, form: str) -> None:
    """Write everything to FILE, which only its owner may read; - is standard output.

    Each line is a JSON object: first what the installation is, then topics, totals and alerts with
    their figures, then each reader with the subscription as browsers and web-push libraries have
    it, and the preferences as the API takes them. `stoppress import` reads it again. Private keys
    are not in it (`stoppress keys backup`), nor editors, templates and alerts not sent yet.
    """
    runtime = open_runtime()
    target: AbstractContextManager[IO[str]] = nullcontext(sys.stdout)
    if str(file) != "-":
        target = whole_file(file)
    with target as written, bar(Console(stderr=True)) as progress:
        write = _onesignal(written) if form == "onesignal" else _lines(written)
        if form == "stoppress":
            for line in moving_of(runtime).lines():
                _write(written, line)
        total = runtime.subscriptions.count()
        task = progress.add_task("Exporting", total=total, rows="")
        for number, one in enumerate(runtime.subscriptions.all(), 1):
            write(one.subscription, one.gone)
            if number % _SHOWN == 0:
                progress.update(task, completed=number, rows=f"{number:,} readers")


def _lines(written: IO[str]) -> Callable[[Any, bool], None]:
    def write(one: Any, gone: bool) -> None:
        _write(written, reader_rows.exported(one, gone=gone))

    return write


def _onesignal(written: IO[str]) -> Callable[[Any, bool], None]:
    rows = csv.writer(written)
    rows.writerow(reader_rows.ONESIGNAL)

    def write(one: Any, gone: bool) -> None:
        rows.writerow(reader_rows.as_onesignal(one, gone=gone))

    return write


def _write(written: IO[str], line: Mapping[str, Any]) -> None:
    written.write(json.dumps(line, ensure_ascii=False) + "\n")


def moving_of(runtime: Runtime) -> Moving:
    """Return what writes all but the readers, and takes it in."""
    return Moving(runtime.store, runtime.topics, runtime.keys, runtime.tokens)


def bar(console: Console) -> Progress:
    """Return a bar that also shows how many a second, and for how long."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]}"))
    shown = console.is_terminal
    return Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown
    )
