"""`stoppress subscriptions`: find what is stored of one reader, and forget it."""

from __future__ import annotations

import json

import click

from service.cli.main import open_runtime
from service.cli.terminal import columns, date_of, examples, json_option, printable, show
from service.model.endpoints import EndpointError
from service.model.subscriptions import Subscription
from service.model.times import iso
from service.runtime import Runtime
from service.store.subscriptions import NotSubscribed

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
