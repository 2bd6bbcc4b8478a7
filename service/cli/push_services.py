"""What `stoppress services …` does in a shell: show how push services fare, release one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from service.model.spans import span
from service.runtime import Runtime
from service.store.push_services import Rest


def show(runtime: Runtime) -> None:
    """Print which push services rest, have a pace, or are not believed."""
    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("push service", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("is")
    for origin, since, standing in sorted(_standings(runtime, now)):
        table.add_row(origin, span(now - since), standing)
    if table.row_count:
        Console(highlight=False).print(table)
    else:
        click.echo("All push services take messages.")


def _standings(runtime: Runtime, now: float) -> Iterator[tuple[str, float, str]]:
    """Return push services, since when, and what keeps alerts from them."""
    for origin, rest in runtime.push_services.resting().items():
        yield origin, rest.since, _rests(rest, now)
    for origin, pace in runtime.push_services.paced().items():
        yield origin, pace.since, f"limiting us: it is sent {pace.per_minute:,} messages a minute"
    for doubt in runtime.gone.doubts():
        decide = f"decide at {runtime.config.public_url}/desk/"
        said = f"not believed that {doubt.browsers:,} readers are gone: {decide}"
        yield doubt.origin, doubt.since, said


def _rests(rest: Rest, now: float) -> str:
    why = "refusing our signature" if rest.why == "credentials" else f"failing ({rest.why})"
    when = f"tried again in {span(rest.until - now)}" if rest.until > now else "being tried"
    return f"{why}, and {when}"


def release(runtime: Runtime, origin: str) -> None:
    """Let a push service be sent to at once, and as fast as it answers."""
    if not runtime.push_services.release(origin):
        raise click.ClickException(
            f"{origin} neither rests nor has a pace: stoppress services shows which do"
        )
    click.echo(f"{origin} is sent to again as fast as it answers. If it fails, it rests again.")
