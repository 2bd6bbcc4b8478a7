"""`stoppress doctor`: checks the whole installation and says, line by line, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redis import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.doctor.findings import Finding
from service.cli.doctor.installation import Examination
from service.cli.doctor.redis import check_redis
from service.cli.doctor.send import send_one
from service.cli.terminal import printable
from service.config import Config, ConfigError
from service.domain.store_errors import in_one_line
from service.runtime import Runtime
from service.runtime import check_redis as reach_redis

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_WIDEST = 100  # columns: a longer line is harder to read


def run(settings: Callable[[], Config], send: str | None = None) -> int:
    """Print each finding as it comes; return 1 if one is a failure, else 0.

    With `send`, a subscription's id, pywebpush sends that browser one message.
    """
    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    counts = dict.fromkeys(_STYLES, 0)
    for finding in examine(settings, send):
        counts[finding.level] += 1
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
    console.print()
    console.print(_summary(counts["fail"], counts["warn"]))
    return 1 if counts["fail"] else 0


def _summary(faults: int, warnings: int) -> Text:
    if not faults and not warnings:
        return Text("Everything is fine.", "green")
    parts = [f"{n} to {what}" for n, what in ((faults, "fix"), (warnings, "check")) if n]
    return Text(f"{', '.join(parts)}.", _STYLES["fail" if faults else "warn"])


def examine(settings: Callable[[], Config], send: str | None = None) -> Iterator[Finding]:
    """Check one thing after another; stop early if the other checks cannot run."""
    try:
        config = settings()
        if not config.redis_url:
            raise ConfigError(
                f"REDIS_URL is not set, and no `stoppress up` is running in {config.data_dir}"
            )
    except ConfigError as error:
        yield Finding("fail", "Settings", f"{error}.")
        return
    try:
        reach_redis(config)
    except (ConfigError, RedisError) as error:
        yield Finding("fail", "Redis", f"{error}. The other checks need it.")
        return
    try:
        yield from check_redis(config)
        runtime = Runtime.open(config)
        runtime.store.processes.set_clock()  # ages are by the installation's time
        yield from Examination(runtime).findings()
        if send is not None:
            yield send_one(runtime, send)
    except ConfigError as error:
        yield Finding("fail", "Keys", f"{error}.")
    except RedisError as error:
        yield Finding("fail", "Redis", f"{in_one_line(error)}. The other checks need it.")
