"""`stoppress doctor`: checks the whole installation and says, line by line, what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from redis import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.doctor.findings import Finding, fail
from service.cli.doctor.installation import Examination
from service.cli.doctor.redis import check_redis
from service.cli.doctor.send import send_one
from service.cli.doctor.settings import misspelt, secret_files, wrong_settings
from service.cli.doctor.site import check_site
from service.cli.terminal import printable
from service.config import Config, ConfigError
from service.domain.store_errors import in_one_line
from service.local.faults import unexpected
from service.runtime import Runtime, StoreRefused
from service.runtime import check_redis as reach_redis

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_WIDEST = 100  # columns: a longer line is harder to read


@dataclass(frozen=True)
class Wanted:
    """What the doctor shall look at beside the installation."""

    send: str | None = None  # a subscription's id: pywebpush sends that browser one message
    site: str | None = None  # a publisher's page
    env_file: Path | None = None  # that the settings come from


NOTHING_MORE = Wanted()


def run(
    environment: Callable[[], Mapping[str, str]], wanted: Wanted, *, as_json: bool = False
) -> int:
    """Print each finding as it comes, or all as JSON; return 1 if one is a failure, else 0."""
    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    counts = dict.fromkeys(_STYLES, 0)
    rows = []
    for finding in examine(environment, wanted):
        counts[finding.level] += 1
        rows.append(finding._asdict())
        if not as_json:
            _print(console, finding)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        console.print()
        console.print(_summary(counts["fail"], counts["warn"]))
    return 1 if counts["fail"] else 0


def _print(console: Console, finding: Finding) -> None:
    row = Table.grid(padding=(0, 2))
    row.add_column(width=4)
    row.add_column(width=13)
    row.add_column(overflow="fold")  # never shorten a path
    row.add_row(
        Text(finding.level, _STYLES[finding.level]),
        Text(finding.what),
        Text(printable(finding.says)),
    )
    console.print(row)


def _summary(faults: int, warnings: int) -> Text:
    if not faults and not warnings:
        return Text("Everything is fine.", "green")
    parts = [f"{n} to {what}" for n, what in ((faults, "fix"), (warnings, "check")) if n]
    return Text(f"{', '.join(parts)}.", _STYLES["fail" if faults else "warn"])


def examine(
    environment: Callable[[], Mapping[str, str]], wanted: Wanted = NOTHING_MORE
) -> Iterator[Finding]:
    """Check one thing after another; stop early if the other checks cannot run."""
    environ: Mapping[str, str] = os.environ
    try:
        environ = environment()
        config = Config.read(environ)
    except ConfigError as error:
        # That is the first wrong one; the operator who mends it should not run into the next.
        wrong = [*wrong_settings(environ)]
        yield from wrong or [fail("Settings", f"{error}.")]
        return
    yield from misspelt(environ)
    yield from secret_files(config, environ, wanted.env_file)
    if not config.redis_url:
        yield fail(
            "Settings",
            f"REDIS_URL is not set, and no `stoppress up` is running in {config.data_dir}: set it"
            " to the address of your Redis, such as redis://10.0.0.1:6379/0",
        )
        return
    try:
        reach_redis(config)
    except (ConfigError, RedisError) as error:
        yield fail(
            "Redis",
            f"{error}. Until that is over, nobody can subscribe and nothing is sent: start Redis,"
            " mend what its log says, or correct that setting. The other checks need it.",
        )
        return
    yield from _with_redis(config, wanted)


def _with_redis(config: Config, wanted: Wanted) -> Iterator[Finding]:
    try:
        yield from check_redis(config)
        runtime = Runtime.open(config, as_workers=True)
        runtime.store.processes.set_clock()  # ages are by the installation's time
        yield from Examination(runtime).findings()
        if wanted.site is not None:
            yield from check_site(runtime, wanted.site)
        if wanted.send is not None:
            yield send_one(runtime, wanted.send)
    except StoreRefused as error:
        yield fail("Store", f"{error}.")
    except ConfigError as error:
        yield fail("Keys", f"{error}.")
    except RedisError as error:
        yield fail("Redis", f"{in_one_line(error)}. The other checks need it.")
    except Exception as error:  # what was found until then still counts
        yield fail("Doctor", f"{unexpected(error)} The other checks were not made.")
