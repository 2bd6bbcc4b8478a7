"""`stoppress topics` and `stoppress stories`: what readers can follow."""

from __future__ import annotations

from typing import Any

import click

from service.api.alerts.topics import ChangedTopic, NewTopic, story_shown
from service.api.fields import read_fields
from service.api.responses import StoryList, TopicList, TopicOfNewsroom
from service.cli.api_documents import as_options, print_json
from service.cli.main import open_runtime
from service.cli.terminal import (
    columns,
    examples,
    json_option,
    printable,
    show,
)


@click.group(
    invoke_without_command=True,
    epilog=examples("topics", 'topics add world "World news" --default', "topics remove world"),
)
@json_option
@click.pass_context
def topics(ctx: click.Context, as_json: bool) -> None:
    """List the topics in their order, with how many follow them; or change them."""
    if ctx.invoked_subcommand is not None:
        return
    runtime = open_runtime()
    found = runtime.topics.all()
    if as_json:
        shown = [TopicOfNewsroom.model_validate(one) for one in found.values()]
        print_json(TopicList(topics=shown))
        return
    followers = runtime.topics.followers()
    table = columns("slug", "name", "followers", "description")
    for slug, one in found.items():
        marks = [word for word in ("default", "hidden") if getattr(one, word)]
        name = f"{one.name} ({', '.join(marks)})" if marks else one.name
        table.add_row(slug, printable(name), f"{followers[slug]:,}", printable(one.description))
    show(table, empty='There is no topic: stoppress topics add world "World news" adds one.')


def _fields(command: Any) -> Any:
    for option in (
        click.option("--hidden/--shown", default=None, help="Whether readers are offered it."),
        click.option("--default/--no-default", default=None, help="Whether it is ticked before."),
        click.option("--description", help="A line that readers see below the name."),
    ):
        command = option(command)
    return command


@topics.command("add", epilog=examples('topics add world "World news" --default'))
@click.argument("slug")
@click.argument("name")
@_fields
def add_topic(**given: Any) -> None:
    """Add the topic SLUG, which readers see as NAME; its slug stays for ever."""
    runtime = open_runtime()
    with as_options({"slug": "SLUG", "name": "NAME"}):
        new = read_fields(NewTopic, _given(given), runtime).topic()
    if not runtime.topics.add(new):
        raise click.ClickException("there is a topic with this slug: stoppress topics change")
    click.echo(f"Readers can follow {new.slug} now.")


@topics.command("change", epilog=examples('topics change world --name "The world"'))
@click.argument("slug")
@click.option("--name", help="What readers see.")
@_fields
def change_topic(slug: str, **given: Any) -> None:
    """Change the topic SLUG."""
    if not (fields := _given(given)):
        raise click.UsageError("say what to change: --name, --description, --default, --hidden")
    runtime = open_runtime()
    with as_options():
        changed = read_fields(ChangedTopic, fields, runtime)
        runtime.topics.change(slug, **changed.fields())
    click.echo(f"{slug} is changed.")


@topics.command("remove", epilog=examples("topics remove world"))
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_topic(slug: str, yes: bool) -> None:
    """Remove the topic SLUG and forget who follows it."""
    runtime = open_runtime()
    runtime.topics.get(slug)
    if not yes:
        count = runtime.topics.followers()[slug]
        click.confirm(f"Forget {count:,} followers of {slug}?", abort=True)
    runtime.topics.remove(slug)
    click.echo(f"{slug} is removed.")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@click.group(invoke_without_command=True, epilog=examples("stories", "stories close ferry"))
@json_option
@click.pass_context
def stories(ctx: click.Context, as_json: bool) -> None:
    """List the running stories, or close one."""
    if ctx.invoked_subcommand is not None:
        return
    running = open_runtime().stories.running()
    if as_json:
        print_json(StoryList(stories=[story_shown(one) for one in running]))
        return
    table = columns("slug", "followers", "latest alert")
    for one in running:
        latest = f"{one.latest.id}  {printable(one.latest.text.title)}"
        table.add_row(one.slug, f"{one.followers:,}", latest)
    show(table, empty="No story is running: stoppress send … --story SLUG begins one.")


@stories.command("close", epilog=examples("stories close ferry"))
@click.argument("slug")
def close_story(slug: str) -> None:
    """Close the story SLUG, and forget who follows or mutes it."""
    if not open_runtime().stories.close(slug):
        raise click.ClickException("no such story is running: stoppress stories lists them")
    click.echo(f"{slug} is closed.")
