"""`stoppress webhooks`: which programs hear of alerts."""

from __future__ import annotations

import click

from service.api.newsroom.webhooks import WebhookList, shown
from service.cli.api_documents import print_json
from service.cli.main import open_runtime
from service.cli.terminal import columns, command_line, examples, json_option, printable, show
from service.domain.newsroom.webhooks import (
    NO_FETCH_PROCESS,
    WrongWebhook,
    ended_words,
    result_words,
)
from service.model.newsroom.webhooks import EVENTS

_ADD = "webhooks add https://cms.paper.example/hook --event alert.sent"
_ID = "0123456789abcdef"


@click.group(invoke_without_command=True, epilog=examples("webhooks", _ADD))
@json_option
@click.pass_context
def webhooks(ctx: click.Context, as_json: bool) -> None:
    """List the webhooks and how each does; or add, test and remove them."""
    if ctx.invoked_subcommand is not None:
        return
    found = open_runtime().webhooks.all()
    if as_json:
        print_json(WebhookList(webhooks=[shown(one) for one in found]))
        return
    table = columns("id", "address", "events", "status", "waiting", "last result")
    for one in found:
        hook, results = one.webhook, one.health.results
        last = ended_words(one.health) or (result_words(results[0]) if results else "")
        row = (hook.id, printable(hook.address), " ".join(hook.events), one.status)
        table.add_row(*row, f"{one.waiting:,}", last)
    show(table, empty=f"There is no webhook: stoppress {_ADD} adds one.")


@webhooks.command("add", epilog=examples(_ADD))
@click.argument("address")
@click.option(
    *("--event", "events"),
    multiple=True,
    type=click.Choice(EVENTS),
    help="What it hears; may be given several times. Without it: all of these.",
)
def add_webhook(address: str, events: tuple[str, ...]) -> None:
    """Have ADDRESS called when something happens, and print the secret of its calls, once."""
    try:
        made, secret = open_runtime().webhooks.add(address, events or EVENTS, by=command_line())
    except WrongWebhook as error:
        raise click.UsageError(f"ADDRESS: {error}") from None
    click.echo(f"{made.id} is added. Its calls are signed with this secret:", err=True)
    click.echo(secret)


@webhooks.command("test", epilog=examples(f"webhooks test {_ID}"))
@click.argument("id")
def test_webhook(id: str) -> None:
    """Call the webhook ID once; `stoppress webhooks` then says what came of it."""
    runtime = open_runtime()
    runtime.webhooks.test(id)
    click.echo("A test is on its way: stoppress webhooks says what came of it.")
    if not runtime.articles.has_readers():
        click.echo(NO_FETCH_PROCESS, err=True)


@webhooks.command("remove", epilog=examples(f"webhooks remove {_ID}"))
@click.argument("id")
def remove_webhook(id: str) -> None:
    """Remove the webhook ID, and what waits for it."""
    open_runtime().webhooks.remove(id)
    click.echo(f"{id} is removed.")
