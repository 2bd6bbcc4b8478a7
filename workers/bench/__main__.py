"""The command: `stoppress bench`, which hands everything over to here."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from redis import RedisError

from service.config import ConfigError
from workers.bench import choices, limits, report, sending, storing
from workers.bench.figures import Bench, BenchError, Section
from workers.bench.installation import end, quietly
from workers.trials.push_service import SinkError, find_nginx

# Name, what it is about, and what measures it; in the order of the table.
SECTIONS: dict[str, tuple[str, Section]] = {
    "limits": ("what this machine can do at most", limits.limits),
    "fanout": ("the ordinary path, answers at once", sending.fanout),
    "latency": ("answers 100 ms late", sending.latency),
    "slow": ("a push service with a tenth of the readers never answers", sending.slow),
    "breaking": ("a breaking alert, keys prepared beforehand", sending.breaking),
    "overtaking": ("a breaking alert amid an ordinary one", sending.overtaking),
    "choices": ("what readers chose, against counting them one by one", choices.choices),
    "publish": ("publishing to {ids} ids", storing.publish),
    "memory": ("Redis, for one of {recipients} subscriptions", storing.memory),
    "subscribe": ("new subscriptions through the API", storing.subscribe),
}

_DEFAULTS = {"recipients": "100,000", "ids": "10,000,000"}
_HELP = "\n".join(
    [
        "How fast is this machine, with peers beside it: everything, or some SECTIONs of it.\n",
        "\b",
        *(f"{name:<11} {what.format(**_DEFAULTS)}" for name, (what, _) in SECTIONS.items()),
    ]
)


@click.command(help=_HELP)
@click.argument("sections", nargs=-1, metavar="[SECTION]...", type=click.Choice([*SECTIONS]))
@click.option(
    "--recipients", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True
)
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--ids",
    type=click.IntRange(1, 100_000_000),
    default=10_000_000,
    show_default=True,
    help="Subscription numbers to publish to; only the first have records.",
)
@click.option("--peers/--no-peers", default=True, help="Measure other senders as well.")
@click.option(
    "--churn/--no-churn",
    default=False,
    help="See what memory three times as many ids as readers take; long.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def main(
    sections: tuple[str, ...],
    recipients: int,
    workers: int,
    ids: int,
    peers: bool,
    churn: bool,
    as_json: bool,
) -> None:
    """Measure what is asked for, and print it."""
    if not Path("/proc/self/stat").exists():
        raise BenchError("needs Linux, whose /proc says what each process took")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    sys.unraisablehook = quietly
    chosen = [name for name in SECTIONS if name in sections or not sections]
    with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder:
        asked = Bench(Path(folder), recipients, workers, ids, peers, churn, report.bar)
        document, failed = _measure(asked, chosen)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        report.table(document)
    if failed:
        raise BenchError("\n".join(failed))


def _measure(asked: Bench, chosen: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the document, and why sections did not come to their end: the others still do."""
    figures: list[dict[str, Any]] = []
    failed = []
    for name in chosen:
        folder = asked.folder / name
        folder.mkdir()
        try:
            found = SECTIONS[name][1](replace(asked, folder=folder))
            figures.extend(one.as_json(name) for one in found)
        except (BenchError, SinkError, ConfigError, RedisError) as error:
            failed.append(f"{name}: {error}")
    given = {"recipients": asked.recipients, "workers": asked.workers, "ids": asked.ids}
    told = {name: f"{number:,}" for name, number in given.items()}
    nginx = find_nginx()
    document = {
        **given,
        "sections": {name: SECTIONS[name][0].format(**told) for name in chosen},
        "figures": figures,
        "sink": f"nginx {nginx.version}" if nginx else "our own in Python, nginx is not installed",
        "machine": report.machine(),
        "versions": report.versions(),
    }
    return document, failed


if __name__ == "__main__":
    main(prog_name="stoppress bench")
