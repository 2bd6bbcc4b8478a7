"""`stoppress services`: show which push services get no or fewer messages, and release one."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from service.cli.main import open_runtime
from service.cli.terminal import examples, json_option, printable, show
from service.domain.operations.unknown_values import KINDS
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime
from service.store.sending.push_services import Rest


@click.group(
    invoke_without_command=True,
    epilog=examples("services", "services release https://fcm.googleapis.com"),
)
@json_option
@click.pass_context
def services(ctx: click.Context, as_json: bool) -> None:
    """Show push services that rest, limit us, or report too many gone."""
    if ctx.invoked_subcommand is not None:
        return
    runtime = open_runtime()  # first, because it sets our clock by that of Redis
    now = clock.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("push service", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("status", overflow="fold")  # never shorten an address
    for origin, since, status in sorted(_statuses(runtime, now)):
        table.add_row(origin, span(now - since), status)
    show(table, empty="All push services accept messages.", as_json=as_json)


def _statuses(runtime: Runtime, now: float) -> Iterator[tuple[str, float, str]]:
    """Return origin, since when (seconds since 1970) and status of each service in trouble."""
    for origin, rest in runtime.push_services.resting().items():
        yield origin, rest.since, _rest(rest, now)
    for origin, pace in runtime.push_services.paced().items():
        yield origin, pace.since, f"limiting us: it gets {pace.per_minute:,} messages a minute"
    for doubt in runtime.gone.doubts():
        decide = f"decide at {runtime.config.public_url}/desk/"
        status = f"reported {doubt.browsers:,} readers gone, which we doubt: {decide}"
        yield doubt.origin, doubt.since, status


def _rest(rest: Rest, now: float) -> str:
    why = "rejecting our signature" if rest.why == "credentials" else f"failing ({rest.why})"
    when = f"next attempt in {span(rest.until - now)}" if rest.until > now else "trying again now"
    return f"{why}; {when}"


@services.command(epilog=examples("services unknown"))
@json_option
def unknown(as_json: bool) -> None:
    """List what readers' browsers named and we do not know, above all push services."""
    values = open_runtime().unknown_values
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("unknown")
    table.add_column("named by a browser", overflow="fold")
    table.add_column("times", justify="right")
    for kind in KINDS:
        for value, times in values.counts(kind).items():
            table.add_row(kind, Text(printable(value)), f"{times:,}")
    show(table, empty="Nothing in the last 30 days.", as_json=as_json)


@services.command(epilog=examples("services release https://fcm.googleapis.com"))
@click.argument("origin")
def release(origin: str) -> None:
    """Send to ORIGIN again at once, whatever it answered before."""
    origin = origin.rstrip("/")
    if not open_runtime().push_services.release(origin):
        raise click.ClickException(
            f"{origin} neither rests nor limits us; stoppress services lists those that do"
        )
    click.echo(f"Sending to {origin} again at full speed. If it fails, it rests again.")
