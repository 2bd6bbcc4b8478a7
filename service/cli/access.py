"""`stoppress editor` and `stoppress token`: who may use the desk and the API."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from service.cli.main import open_runtime
from service.domain.api_tokens import TokenError
from service.domain.editors import EditorError
from service.model.spans import span
from service.model.times import iso
from service.model.tokens import SCOPES


@click.group()
def editor() -> None:
    """Say who may use the desk."""


@editor.command("add")
@click.argument("email")
def add_editor(email: str) -> None:
    """Print a sign-in link for EMAIL; it works once, within a day, and replaces an earlier one."""
    runtime = open_runtime()
    try:
        click.echo(runtime.editors.signin_link(email))
    except EditorError as error:
        raise click.BadParameter(str(error), param_hint="EMAIL") from None


@editor.command("list")
def list_editors() -> None:
    """List the editors."""
    table = _table("e-mail", "password", "sign-in link")
    for one in open_runtime().editors.all():
        link = f"works for {span(one.link_works_for)}" if one.link_works_for else ""
        table.add_row(one.email, "set" if one.password_hash else "not yet", link)
    _print(table, empty="There is no editor: stoppress editor add EMAIL makes one.")


@editor.command("remove")
@click.argument("email")
def remove_editor(email: str) -> None:
    """Remove the editor EMAIL, who is signed out everywhere at once."""
    if not open_runtime().editors.remove(email):
        raise click.ClickException("there is no such editor: stoppress editor list shows them")
    click.echo(f"{email} may no longer use the desk.")


@click.group()
def token() -> None:
    """Say which programs may use the API."""


@token.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What the token may do; may be given more than once. Default: everything.",
)
def add_token(name: str, scopes: tuple[str, ...]) -> None:
    """Create an API token called NAME and print it. Only its hash is kept: copy it now."""
    click.echo(open_runtime().api_tokens.add(name, scopes))


@token.command("list")
def list_tokens() -> None:
    """List the API tokens by name; not the tokens themselves, which are not kept."""
    table = _table("id", "name", "may", "since")
    for one in open_runtime().api_tokens.all():
        may = ", ".join(sorted(one.scopes)) or "everything"
        table.add_row(one.id, one.name, may, iso(one.created_at).partition("T")[0])
    _print(table, empty="There is no API token: stoppress token add NAME makes one.")


@token.command("revoke")
@click.argument("which", metavar="NAME|ID")
def revoke_token(which: str) -> None:
    """Let no program call the API with this token any more."""
    try:
        one = open_runtime().api_tokens.revoke(which)
    except TokenError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"The token {one.id} ({one.name}) is revoked.")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table, *, empty: str) -> None:
    if table.row_count:
        Console(highlight=False, markup=False).print(table)
    else:
        click.echo(empty)
