"""`stoppress subscriptions`: find what is stored of one reader, and forget it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from service.cli.main import open_runtime
from service.cli.terminal import columns, date_of, examples, json_option, printable, show
from service.cli.written_files import whole_file
from service.model.network.endpoints import EndpointError
from service.model.subscriptions import Subscription
from service.model.time.times import iso
from service.runtime import Runtime
from service.store.readers.subscriptions import NotSubscribed

_WHICH = click.argument("which", metavar="ID|ENDPOINT")


@click.group(epilog=examples("subscriptions find 3-1042"))
def subscriptions() -> None:
    """Find what is stored of one reader, or forget it."""


@subscriptions.command(epilog=examples("subscriptions find 3-1042"))
@_WHICH
@json_option
def find(which: str, as_json: bool) -> None:
    """Show what is stored of the reader with this ID or ENDPOINT."""
    runtime = open_runtime()
    rows = _rows(runtime, _find(runtime, which))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = columns("what", "stored")
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), printable(_words(value)) or "–")
    show(table, empty="")


@subscriptions.command(epilog=examples("subscriptions forget 3-1042 --yes"))
@_WHICH
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(which: str, yes: bool) -> None:
    """End the subscription with this ID or ENDPOINT, as its reader does who leaves."""
    runtime = open_runtime()
    one = _find(runtime, which)
    if not yes:
        click.confirm(f"Forget the reader {one.id}, who gets no alert any more?", abort=True)
    try:
        runtime.subscriptions.remove(one)
    except NotSubscribed:
        raise _not_there() from None
    click.echo(f"{one.id} is forgotten.")


@subscriptions.command(epilog=examples("subscriptions left /mnt/elsewhere/left"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def left(file: Path) -> None:
    """Note in FILE who has left in the last 30 days, to keep it apart from the backup.

    Run it every few minutes. A line is a digest that only SECRET_KEY can open. What FILE has
    already stays for as long. After an older copy was restored, `forget-again` applies it.
    """
    runtime = open_runtime()
    kept = file.read_text(errors="replace").split() if file.exists() else []
    lines = runtime.subscriptions.erasures(kept)
    with whole_file(file) as written:
        written.write("".join(f"{line}\n" for line in lines))
    click.echo(f"{len(lines):,} readers who left are noted in {file}")


@subscriptions.command(epilog=examples("subscriptions forget-again /mnt/elsewhere/left"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def forget_again(file: Path) -> None:
    """Remove the readers in FILE once more, after an older copy was restored.

    FILE is a list of `subscriptions left`. A reader who came back on a later day stays.
    """
    runtime = open_runtime()
    removed, unknown = runtime.subscriptions.forget_again(file.read_text(errors="replace").split())
    click.echo(f"{removed:,} readers are forgotten again.")
    if unknown:
        raise click.ClickException(f"{unknown:,} lines were not made with this SECRET_KEY")


def _find(runtime: Runtime, which: str) -> Subscription:
    try:
        if "://" in which:
            return runtime.subscriptions.at(runtime.endpoints.parse(which))
        return runtime.subscriptions.get(which)
    except (NotSubscribed, EndpointError):
        raise _not_there() from None


def _not_there() -> click.ClickException:
    return click.ClickException("there is no such subscription")


def _rows(runtime: Runtime, one: Subscription) -> dict[str, object]:
    preferences = one.preferences
    paired = runtime.paired_browsers.of_reader(one)
    return {
        "id": str(one.id),
        "endpoint": one.endpoint.url,
        "subscribed_on": date_of(one.created),
        "seen_on": date_of(one.seen),
        "confirmed": preferences.confirmed,
        "gone": runtime.subscriptions.is_gone(one),
        "language": one.locale,
        "time_zone": one.zone,
        "topics": sorted(one.topics),
        "followed_stories": sorted(one.followed),
        "muted_stories": sorted(one.muted),
        "quiet_hours": None if preferences.quiet is None else str(preferences.quiet),
        "daily_limit": preferences.daily_limit,
        "paused_until": iso(preferences.paused_until) if preferences.paused_until else "",
        "allow_breaking": preferences.allow_breaking,
        "receipts": preferences.receipts,
        "wording": one.wording,
        "paired_with": paired.by if paired else "",
    }


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
