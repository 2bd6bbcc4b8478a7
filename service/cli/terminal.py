"""What commands show in a shell, and the name by which the logs call them."""

from __future__ import annotations

import json
import os
import socket
from datetime import date, datetime, timedelta, timezone

import click
from rich.console import Console
from rich.table import Table

from service.model.alert_log import COMMAND_LINE, ToolName

_WIDEST = 10_000  # characters in a line that is not broken


def printable(text: str) -> str:
    """Return text from elsewhere without what moves a terminal's cursor, colours it or hides."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def moment(seconds: float | None) -> str:
    """Say when something was, to the second, in UTC; nothing for None."""
    if seconds is None:
        return ""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def date_of(day: int) -> str:
    """Return a day that is counted from 1970-01-01 as a date."""
    return (date(1970, 1, 1) + timedelta(day)).isoformat()


def command_line() -> ToolName:
    """Return by what the logs call who works from a shell of this machine."""
    return ToolName(COMMAND_LINE + socket.gethostname())


def examples(*commands: str) -> str:
    """Return commands as the end of a help text."""
    # click leaves the lines of a paragraph that begins with this character as they are.
    lines = "\n".join(f"  stoppress {command}" for command in commands)
    return f"\b\nFor example:\n{lines}"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def columns(*names: str) -> Table:
    """Return an empty table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def show(table: Table, *, empty: str, as_json: bool = False) -> None:
    """Print a table, or this line if it has no rows; or as JSON, an object for each row."""
    if as_json:
        names = [str(column.header).replace(" ", "_").replace("-", "") for column in table.columns]
        rows = zip(*(map(str, column.cells) for column in table.columns), strict=True)
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        click.echo(json.dumps(objects, indent=2, ensure_ascii=False))
    elif table.row_count:
        console = Console(highlight=False, markup=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = _WIDEST  # a program reads it, such as grep
        console.print(table)
    else:
        click.echo(empty)
