"""`stoppress feeds`: feeds whose items become alerts."""

from __future__ import annotations

from typing import Any

import click

from service.api.fields import read_fields
from service.api.newsroom.feeds import NewFeed, feed_list, feed_shown, refused, rehearsed
from service.cli.api_documents import as_options, print_json
from service.cli.main import open_runtime
from service.cli.terminal import (
    columns,
    command_line,
    examples,
    json_option,
    moment,
    printable,
    show,
)
from service.domain.newsroom.feeds import (
    NOBODY,
    Feed,
    FeedRefused,
)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "feeds", "feeds add https://paper.example/rss --topic world --send", "feeds rehearse ID"
    ),
)
@json_option
@click.pass_context
def feeds(ctx: click.Context, as_json: bool) -> None:
    """List the feeds whose items become alerts; or add, remove or rehearse one."""
    if ctx.invoked_subcommand is not None:
        return
    runtime = open_runtime()
    found = runtime.feeds.all()
    has_readers = runtime.feeds.has_readers()
    if as_json:
        print_json(feed_list(found, has_readers=has_readers))
        return
    table = columns("id", "name", "last read", "sent", "left out", "state")
    for one in found:
        state = one.state
        table.add_row(
            one.id,
            printable(one.title),
            moment(state.read_at),
            f"{state.sent:,}",
            f"{state.left_out:,}",
            printable(_state(one)),
        )
    show(table, empty="There is no feed: stoppress feeds add https://paper.example/rss adds one.")
    if found and not has_readers:
        click.echo(NOBODY, err=True)


def _state(one: Feed) -> str:
    if not one.rules.is_active:
        return "paused"
    if one.problem:
        return one.problem
    return "drafts" if one.rules.makes_drafts else "sends"


@feeds.command(
    "add",
    epilog=examples(
        "feeds add https://paper.example/rss --topic world --send",
        "feeds add https://paper.example/rss --everyone",
    ),
)
@click.argument("url")
@click.option("--name", default="", help="What to call it; else it is called as it says itself.")
@click.option("--topic", "topics", multiple=True, help="Who gets its alerts; may be repeated.")
@click.option("--everyone", is_flag=True, help="All readers get its alerts.")
@click.option("--send/--draft", "sends", default=False, help="Send its items at once, or not.")
@click.option("--minutes", type=int, default=5, show_default=True, help="How often it is read.")
@click.option(
    "--link-parameters",
    default="",
    metavar="TEXT",
    help="Added to links in place of LINK_PARAMETERS, such as utm_source=push.",
)
@json_option
def add_feed(as_json: bool, sends: bool, topics: tuple[str, ...], **given: Any) -> None:
    """Watch the feed at URL; what it has now is known, and not alerted."""
    runtime = open_runtime()
    fields = {**given, "topics": [*topics], "draft": not sends}
    with as_options({"url": "URL", "topics": "--topic", "link_parameters": "--link-parameters"}):
        rules = read_fields(NewFeed, fields, runtime).rules()
        try:
            added = runtime.feeds.add(rules, by=command_line())
        except FeedRefused as error:
            raise refused(error) from None
    if as_json:
        print_json(feed_shown(added))
    else:
        click.echo(f"{added.id} is read from now on. What it has by now is not alerted.")


@feeds.command("remove", epilog=examples("feeds remove 1f0c2a9b8d7e"))
@click.argument("id")
def remove_feed(id: str) -> None:
    """Watch the feed ID no more."""
    open_runtime().feeds.remove(id)
    click.echo(f"{id} is removed.")


@feeds.command("rehearse", epilog=examples("feeds rehearse 1f0c2a9b8d7e"))
@click.argument("id")
@json_option
def rehearse_feed(id: str, as_json: bool) -> None:
    """Show what the feed ID would have sent in the last 24 hours; nothing is sent."""
    runtime = open_runtime()
    one = runtime.feeds.get(id)
    found = rehearsed(one, runtime)
    if found is None:
        raise click.ClickException(printable(one.not_rehearsed))
    if as_json:
        print_json(found)
        return
    table = columns("published", "title", "")
    for item in found.items:
        table.add_row(item.published_at or "", printable(item.title), item.left_out or "an alert")
    show(table, empty="It would have sent nothing.")
