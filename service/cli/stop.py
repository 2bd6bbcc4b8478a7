"""`stoppress stop`: stop everything, and release it."""

from __future__ import annotations

import click

from service.cli.main import open_runtime
from service.cli.terminal import command_line, examples


@click.command(epilog=examples("stop", "stop --release"))
@click.option("--release", is_flag=True, help="Send again.")
def stop(release: bool) -> None:
    """Stop all alerts of the installation within a second, until they are released."""
    stops, by = open_runtime().stops, command_line()
    if not release:
        held = stops.hold(by=by)
        who = "" if held.by == by else f" It was {held.by} who stopped it."
        click.echo(f"Everything is stopped. To send again: stoppress stop --release{who}")
    elif stops.release(by=by):
        click.echo("Everything is released: what waited is sent now.")
    else:
        click.echo("Nothing was stopped.")
