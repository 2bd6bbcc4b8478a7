"""`stoppress editor` and `stoppress token`: give editors and programs access."""

from __future__ import annotations

import click

from service.cli.main import open_runtime
from service.domain.editors import EditorError
from service.model.tokens import SCOPES


@click.group()
def editor() -> None:
    """Give editors access to the desk."""


@editor.command("add")
@click.argument("email")
def add_editor(email: str) -> None:
    """Print a sign-in link for EMAIL; it works once, within a day."""
    runtime = open_runtime()
    try:
        click.echo(runtime.editors.signin_link(email))
    except EditorError as error:
        raise click.BadParameter(str(error), param_hint="EMAIL") from None


@click.group()
def token() -> None:
    """Give programs access to the API."""


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
