"""`stoppress editor` and `stoppress token`: who may use the desk and the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from service.cli.main import open_runtime
from service.cli.terminal import columns, examples, json_option, show
from service.domain.people.api_tokens import ApiTokens, TokenError
from service.domain.people.editors import AlreadyEditor, EditorError, UnknownEditor
from service.model.roles import ROLES, Role
from service.model.time.spans import span
from service.model.time.times import iso
from service.model.tokens import SCOPES


@click.group(epilog=examples("editor add nora@paper.example", "editor list"))
def editor() -> None:
    """Say who may use the desk."""


@editor.command(
    "add",
    epilog=examples("editor add nora@paper.example", "editor add nora@paper.example --role writes"),
)
@click.argument("email")
@click.option(
    "--role",
    type=click.Choice([*ROLES]),
    help="What a new editor may do: write drafts, also send alerts (default), or also manage people"
    " and API tokens. The first editor manages.",
)
def add_editor(email: str, role: str | None) -> None:
    """Print a sign-in link for EMAIL; it works once, within a day, and replaces an earlier one."""
    editors = open_runtime().editors
    try:
        link = editors.invite(email, ROLES[role]) if role else editors.signin_link(email)
    except AlreadyEditor as error:
        raise click.ClickException(f"{error} stoppress editor role changes the role.") from None
    except EditorError as error:
        raise click.BadParameter(str(error), param_hint="EMAIL") from None
    click.echo(link)


@editor.command("list", epilog=examples("editor list"))
@json_option
def list_editors(as_json: bool) -> None:
    """List the editors."""
    table = columns("e-mail", "role", "password", "last signed in", "sign-in link")
    for one in open_runtime().editors.all():
        link = f"works for {span(one.link_works_for)}" if one.link_works_for else ""
        password = "set" if one.password_hash else "not yet"
        password += ", two-step" if one.two_step else ""
        table.add_row(one.email, one.role.word, password, _day(one.signed_in_at), link)
    empty = "There is no editor: stoppress editor add EMAIL makes one."
    show(table, empty=empty, as_json=as_json)


@editor.command("role", epilog=examples("editor role nora@paper.example sends"))
@click.argument("email")
@click.argument("role", type=click.Choice([*ROLES]))
def change_role(email: str, role: str) -> None:
    """Let the editor EMAIL do more or less, at once.

    Who writes keeps drafts. Who sends does all that concerns alerts. Who manages also says who may
    use the desk and the API.
    """
    runtime = open_runtime()
    with _of_an_editor():
        runtime.editors.set_role(email, ROLES[role])
    click.echo(f"{email.lower()} {role} now.")
    if ROLES[role] is not Role.MANAGES:
        _say_which_tokens_still_work(runtime.api_tokens, email)


@editor.command("remove", epilog=examples("editor remove nora@paper.example"))
@click.argument("email")
def remove_editor(email: str) -> None:
    """Remove the editor EMAIL, who is signed out everywhere at once."""
    runtime = open_runtime()
    with _of_an_editor():
        runtime.editors.remove(email)
    click.echo(f"{email} may no longer use the desk.")
    _say_which_tokens_still_work(runtime.api_tokens, email)


@editor.command("two-step-off", epilog=examples("editor two-step-off nora@paper.example"))
@click.argument("email")
def switch_off_two_step(email: str) -> None:
    """Let the password of the editor EMAIL be enough, if the phone and all codes are lost."""
    editors, email = open_runtime().editors, email.strip().lower()
    if not editors.two_step.is_on(email):
        raise click.ClickException("this editor does not sign in in two steps")
    editors.two_step.switch_off(email)
    click.echo(f"{email} signs in with the password alone.")


def _say_which_tokens_still_work(tokens: ApiTokens, email: str) -> None:
    for one in tokens.made_by(email.strip().lower()):
        works = "still works: stoppress token revoke ends it"
        click.echo(f"The token {one.id} ({one.name}) that they made {works}.")


@contextmanager
def _of_an_editor() -> Iterator[None]:
    try:
        yield
    except UnknownEditor:
        there_is_none = "there is no such editor: stoppress editor list shows them"
        raise click.ClickException(there_is_none) from None
    except EditorError as error:
        raise click.ClickException(f"{error} stoppress editor role does that.") from None


@click.group(epilog=examples("token add cms --scope send", "token list"))
def token() -> None:
    """Say which programs may use the API."""


@token.command("add", epilog=examples("token add cms --scope send"))
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
    try:
        click.echo(open_runtime().api_tokens.add(name, scopes))
    except TokenError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None


@token.command("list", epilog=examples("token list"))
@json_option
def list_tokens(as_json: bool) -> None:
    """List the API tokens by name; not the tokens themselves, which are not kept."""
    table = columns("id", "name", "may", "since", "last used")
    for one in open_runtime().api_tokens.all():
        may = ", ".join(sorted(one.scopes)) or "everything"
        table.add_row(one.id, one.name, may, _day(one.created_at), _day(one.used_at))
    empty = "There is no API token: stoppress token add NAME makes one."
    show(table, empty=empty, as_json=as_json)


@token.command("revoke", epilog=examples("token revoke cms", "token revoke 1f0c33aa"))
@click.argument("which", metavar="NAME|ID")
def revoke_token(which: str) -> None:
    """Let no program call the API with this token any more."""
    try:
        one = open_runtime().api_tokens.revoke(which)
    except TokenError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"The token {one.id} ({one.name}) is revoked.")


def _day(seconds: float) -> str:
    return iso(seconds).partition("T")[0] if seconds else ""
