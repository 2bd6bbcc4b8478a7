"""`stoppress stop`: stop everything, and release it."""

from __future__ import annotations

import socket

import click

from service.cli.main import open_runtime

_EXAMPLES = """\b
For example:
  stoppress stop
  stoppress stop --release"""


@click.command(epilog=_EXAMPLES)
@click.option("--release", is_flag=True, help="Send again.")
def stop(release: bool) -> None:
    """Stop all alerts of the installation within a second, until they are released."""
    stops, by = open_runtime().stops, f"the command line of {socket.gethostname()}"
    if not release:
        held = stops.hold(by=by)
        who = "" if held.by == by else f" It was {held.by} who stopped it."
        click.echo(f"Everything is stopped. To send again: stoppress stop --release{who}")
    elif stops.release(by=by):
        click.echo("Everything is released: what waited is sent now.")
    else:
        click.echo("Nothing was stopped.")
