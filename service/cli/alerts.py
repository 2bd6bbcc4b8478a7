"""`stoppress send`, `status`, and what stops or corrects an alert, from a shell."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.api.alerts import alerts_shown, references
from service.api.alerts.correction_requests import Correction
from service.api.alerts.notification_requests import CheckedAlert, read
from service.api.fields import read_fields
from service.api.responses import Reach
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
from service.domain.alerts.requests import Idempotency
from service.model.notifications import SKIPPED, Audience, Notification, Outcome, State
from service.model.time.repeats import WEEKDAYS, each_day
from service.runtime import Runtime

F = TypeVar("F", bound=Callable[..., Any])

_LISTED = 20  # alerts that `stoppress status` lists
_LOOKS_EVERY = 0.5  # seconds
# The options that stand for fields of the API.
_OPTIONS = {
    "title": "TITLE",
    "audience.topics": "--topic",
    "audience.exclude": "--exclude",
    "audience.locales": "--locale",
    "audience": "--topic or --everyone",
    "send_at": "--at",
    "repeat": "--each",
}


@click.command(
    epilog=examples(
        'send "Ferry aground" --url https://paper.example/ferry --topic world',
        'send "Polls close" --url https://paper.example/polls --everyone --breaking --yes',
        'send "Kick-off" --url https://paper.example/cup --topic sport --at 2026-12-05T19:00Z',
        'send "Weekend" --url https://paper.example/weekend --everyone'
        ' --at "2026-12-04T17:00[Europe/Riga]" --each fri',
    )
)
@click.argument("title")
@click.option("--url", required=True, help="The story, which a click opens.")
@click.option("--body", default="", help="The text below the title.")
@click.option("--topic", "topics", multiple=True, metavar="SLUG", help="To its followers.")
@click.option("--everyone", is_flag=True, help="To every reader, instead of topics.")
@click.option("--exclude", multiple=True, metavar="SLUG", help="Not to followers of this topic.")
@click.option("--locale", "locales", multiple=True, help="To readers of this language only.")
@click.option("--breaking", is_flag=True, help="Breaking news, which goes before all others.")
@click.option("--story", metavar="SLUG", help="The running story that it belongs to.")
@click.option("--image", metavar="URL", help="A picture.")
@click.option("--at", metavar="TIME", help="When it is sent, such as 2026-12-05T19:00Z.")
@click.option(
    "--each",
    multiple=True,
    type=click.Choice(WEEKDAYS),
    metavar="DAY",
    help="With --at: repeat it on this day of the week, such as fri.",
)
@click.option("--draft", is_flag=True, help="Keep it as a draft, and send nothing.")
@click.option("--once", metavar="KEY", help="Send nothing if this KEY was used within a day.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Check it, say how many would get it, and stop.")
@json_option
def send(
    title: str, *, once: str | None, yes: bool, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Send an alert; on a terminal this shows how many get it, asks, and follows it."""
    if once == "":  # as of a variable that is not set: all alerts would have the same key
        raise click.UsageError("--once: the KEY is empty")
    runtime = open_runtime()
    fields = _fields(title, **given)
    with as_options(_OPTIONS):
        checked = read(fields, runtime)
    reach = runtime.publishing.reach(checked.audience)
    for _, words in checked.warnings:
        click.echo(f"Mind: {printable(words)}", err=True)
    if dry_run:
        _say_reach(checked, reach, as_json)
        return
    if not yes and not checked.draft:
        _ask(checked, reach)
    published = _published(runtime, checked, fields, once)
    if as_json:
        print_json(alerts_shown.published(published))
        return
    _say_published(published.id, published.state, published.warnings)
    if published.state is State.SENDING and sys.stdout.isatty():
        _follow(runtime, published.id, published.recipients)


def _fields(title: str, **given: Any) -> dict[str, object]:
    """Return the alert as the API takes it."""
    audience = {
        "everyone": given["everyone"] or None,
        "topics": [*given["topics"]],
        "exclude": [*given["exclude"]],
        "locales": [*given["locales"]],
    }
    fields = {
        **{name: given[name] for name in ("url", "body", "story", "image", "draft")},
        **{"title": title, "send_at": given["at"], "kind": "breaking" if given["breaking"] else ""},
        "audience": {name: value for name, value in audience.items() if value},
        "repeat": {"weekdays": [*given["each"]]} if given["each"] else None,
    }
    return {name: value for name, value in fields.items() if value not in (None, "", False)}


def _say_reach(checked: CheckedAlert, reach: int, as_json: bool) -> None:
    if as_json:
        print_json(Reach(recipients=reach))
    else:
        click.echo(f"{_browsers(reach)} would get it now: {_to(checked.audience)}.")


def _ask(checked: CheckedAlert, reach: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes as well, or --dry-run")
    if not reach and not checked.send_at:
        raise click.ClickException(
            f"nothing was sent, because no browser would get it now: {_to(checked.audience)}"
        )
    for line in (checked.content.title, checked.content.body, checked.content.url):
        if line:
            click.echo(printable(line))
    now = "" if checked.send_at else " now"
    click.confirm(f"Notify {_browsers(reach)}{now}: {_to(checked.audience)}?", abort=True)


def _to(audience: Audience) -> str:
    to = "everyone" if audience.everyone else f"followers of {', '.join(audience.topics)}"
    return f"{to}, without {', '.join(audience.exclude)}" if audience.exclude else to


def _published(
    runtime: Runtime, checked: CheckedAlert, fields: dict[str, object], once: str | None
) -> Any:
    body = json.dumps(fields, sort_keys=True).encode()
    idempotency = None if once is None else Idempotency("the command line", once, body)
    return references.publish(runtime, checked, idempotency, command_line())


def _say_published(id: int, state: State, warnings: tuple[tuple[str, str], ...]) -> None:
    words = {
        State.DRAFT: "is a draft.",
        State.SCHEDULED: "is scheduled.",
        State.SENDING: "is being sent.",
    }
    click.echo(f"Alert {id} {words.get(state, f'is {state.value}.')}")
    for _, sentence in warnings:
        click.echo(f"Mind: {printable(sentence)}", err=True)


# Looking ------------------------------------------------------------------------------------------


@click.command(epilog=examples("status", "status 1042", "status 1042 --follow"))
@click.argument("id", required=False, type=click.IntRange(min=1))
@click.option("--follow", is_flag=True, help="Show how far it is until it is over.")
@json_option
def status(id: int | None, follow: bool, as_json: bool) -> None:
    """Show an alert and how far it has come; without ID, list the latest ones."""
    if follow and id is None:
        raise click.UsageError("--follow: say the ID of the alert")
    runtime = open_runtime()
    if id is None:
        _list(runtime, as_json)
        return
    one = runtime.publishing.get(id)
    if follow:
        _follow(runtime, id)
        one = runtime.publishing.get(id)
    if as_json:
        print_json(alerts_shown.alert(one, runtime))
    else:
        _show(runtime, one)


def _list(runtime: Runtime, as_json: bool) -> None:
    if as_json:
        print_json(alerts_shown.page(runtime, _LISTED))
        return
    table = columns("id", "state", "began", "browsers", "title")
    for one in runtime.publishing.latest(_LISTED):
        count = f"{runtime.publishing.progress(one.id).recipients:,}" if one.started_at else ""
        table.add_row(
            str(one.id), one.state.value, moment(one.started_at), count, printable(one.text.title)
        )
    show(table, empty='No alert was written yet: stoppress send "Title" --url … sends one.')


def _show(runtime: Runtime, one: Notification) -> None:
    progress, held = runtime.publishing.progress(one.id), runtime.publishing.held(one).waiting
    table = columns(f"alert {one.id}", printable(one.text.title))
    table.add_row("state", one.state.value)
    table.add_row("link", printable(one.text.url))
    table.add_row("audience", "one browser" if one.audience.subscription else _to(one.audience))
    if one.send_at:
        table.add_row("to be sent", one.wall or moment(one.send_at.at))
    if one.repeats:
        table.add_row("repeats", each_day(one.repeats.weekdays))
    if one.started_at:
        table.add_row("began", moment(one.started_at))
        table.add_row("browsers", f"{progress.recipients:,}")
        for outcome in Outcome:
            if count := progress.of(outcome):
                table.add_row(f"  {outcome.value}", f"{count:,}")
        for why in SKIPPED:
            if count := progress.skipped(why):
                table.add_row(f"    {why}", f"{count:,}")
        if held:
            table.add_row("  held for later", f"{held:,}")
    show(table, empty="")


def _follow(runtime: Runtime, id: int, expected: int = 0) -> None:
    """Show a bar until an alert is neither sent nor paused any more; Ctrl-C ends this alone."""
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    try:
        with Progress(*bar, console=console, disable=not console.is_terminal) as shown:
            task = shown.add_task("sending", total=expected or None)
            while True:
                one, progress = runtime.publishing.get(id), runtime.publishing.progress(id)
                shown.update(
                    task,
                    description=one.state.value,
                    total=progress.recipients or expected or None,
                    completed=progress.done,
                )
                if one.state not in (State.SENDING, State.PAUSED):
                    break
                time.sleep(_LOOKS_EVERY)
    except KeyboardInterrupt:
        click.echo(f"\nIt goes on without this command: stoppress status {id} --follow", err=True)


# Stopping and correcting --------------------------------------------------------------------------


def _changes(name: str, says: str, help: str) -> click.Command:
    """Make a command that calls the method of this name for an alert."""

    @click.command(name, help=help, epilog=examples(f"{name} 1042"))
    @click.argument("id", type=click.IntRange(min=1))
    def command(id: int) -> None:
        publishing = open_runtime().publishing
        getattr(publishing, name)(id, by=command_line())
        click.echo(f"Alert {id} {says}")

    return command


cancel = _changes(
    "cancel", "is cancelled.", "Cancel an alert within a second; who has it already keeps it."
)
pause = _changes("pause", "is paused.", "Pause an alert within a second. Its lifetime runs on.")
resume = _changes("resume", "is being sent again.", "Go on sending a paused alert.")


@click.command(epilog=examples('correct 1042 --title "Ferry afloat again"'))
@click.argument("id", type=click.IntRange(min=1))
@click.option("--title", help="The new title.")
@click.option("--body", help="The new text below the title.")
@click.option("--url", help="The new link.")
@click.option("--leave", is_flag=True, help="Leave screens alone that show the old text.")
@json_option
def correct(id: int, leave: bool, as_json: bool, **texts: str | None) -> None:
    """Correct the text of an alert, also on screens that show it."""
    runtime = open_runtime()
    fields = {name: text for name, text in texts.items() if text is not None}
    if not fields:
        raise click.UsageError("give the new --title, --body or --url")
    with as_options():
        asked = read_fields(Correction, fields, runtime)
        published = runtime.corrections.correct(
            id,
            **asked.texts(),
            replace=not leave,
            by=command_line(),
            check=lambda root: asked.check(root, runtime),
        )
    if as_json:
        print_json(alerts_shown.published(published))
    else:
        count = f" It goes to {_browsers(published.recipients)}." if not leave else ""
        click.echo(f"Alert {id} is corrected by {published.id}.{count}")


def _browsers(count: int) -> str:
    return f"{count:,} browser{'' if count == 1 else 's'}"
