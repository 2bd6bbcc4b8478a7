"""The command `stoppress bench`."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import click
from redis import RedisError

from service.config import ConfigError
from workers.bench import adding, limits, network, report, sending, storing
from workers.bench.figures import Bench, BenchError, Section
from workers.bench.installation import exit_on_signal, hide_exit_within_fork
from workers.bench.peers import PEERS, Peers
from workers.trials.processes import TrialError
from workers.trials.push_service import find_nginx

Sections: TypeAlias = Mapping[str, tuple[str, Section]]

# By name, in the order of the table: the title and the function that measures.
SECTIONS: Sections = {
    "limits": ("what this machine can do at most", limits.limits),
    "fanout": ("an ordinary alert, immediate responses", sending.fanout),
    "latency": ("responses after 100 ms", sending.latency),
    "adding": (
        "workers added to an alert that is being sent, responses after 100 ms",
        adding.adding,
    ),
    "network": ("late responses, few streams (our own push service)", network.network),
    "slow": ("a push service with a tenth of the readers never responds", sending.slow),
    "breaking": ("a breaking alert, keys prepared beforehand", sending.breaking),
    "overtaking": ("a breaking alert during an ordinary one", sending.overtaking),
    "publish": ("publishing to {ids} ids", storing.publish),
    "memory": ("Redis, for one of {recipients} subscriptions", storing.memory),
    "subscribe": ("new subscriptions through the API", storing.subscribe),
}

_DEFAULTS = {"recipients": "100,000", "ids": "10,000,000"}


def command(sections: Sections, peers: Peers) -> click.Command:
    """Return the command that measures these sections and these other senders."""
    listed = [f"{name:<11} {what.format(**_DEFAULTS)}" for name, (what, _) in sections.items()]
    about = "Measure Stop Press and other senders on this machine: all SECTIONs, or those named.\n"

    @click.command(help="\n".join([about, "\b", *listed]))
    @click.argument("chosen", nargs=-1, metavar="[SECTION]...", type=click.Choice([*sections]))
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
    @click.option("--peers/--no-peers", "beside", default=True, help="Measure other senders too.")
    @click.option(
        "--churn/--no-churn",
        default=False,
        help="Also measure memory after three times as many ids as readers; takes long.",
    )
    @click.option(
        "--masters",
        type=click.IntRange(0, 12),
        default=0,
        help="Keep the store on a cluster of as many masters.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document only.")
    def main(
        chosen: tuple[str, ...],
        recipients: int,
        workers: int,
        ids: int,
        beside: bool,
        churn: bool,
        masters: int,
        as_json: bool,
    ) -> None:
        if not Path("/proc/self/stat").exists():
            raise BenchError("needs Linux, whose /proc shows what each process uses")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, exit_on_signal)
        sys.unraisablehook = hide_exit_within_fork
        measured = {name: sections[name] for name in sections if name in chosen or not chosen}
        with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder:
            options = (recipients, workers, ids, peers if beside else {}, churn, masters)
            document, failed = _measure(Bench(Path(folder), *options, report.bar), measured)
        if as_json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            report.table(document)
        if failed:
            raise BenchError("\n".join(failed))

    return main


def _measure(bench: Bench, sections: Sections) -> tuple[dict[str, Any], list[str]]:
    """Return the document, and why sections failed; a failure does not end the others."""
    figures: list[dict[str, Any]] = []
    failed = []
    for name, (_, measure) in sections.items():
        folder = bench.folder / name
        folder.mkdir(mode=0o700)
        try:
            found = measure(replace(bench, folder=folder))
            figures.extend(one.as_json(name) for one in found)
        except (BenchError, TrialError, ConfigError, RedisError) as error:
            failed.append(f"{name}: {error}")
    given = {"recipients": bench.recipients, "workers": bench.workers, "ids": bench.ids}
    if bench.masters:
        given["masters"] = bench.masters
    numbers = {name: f"{number:,}" for name, number in given.items()}
    nginx = find_nginx()
    document = {
        **given,
        "sections": {name: what.format(**numbers) for name, (what, _) in sections.items()},
        "figures": figures,
        "sink": f"nginx {nginx.version}" if nginx else "our own in Python, nginx is not installed",
        "machine": report.machine(),
        "versions": report.versions(),
    }
    return document, failed


if __name__ == "__main__":
    command(SECTIONS, PEERS)(prog_name="stoppress bench")
