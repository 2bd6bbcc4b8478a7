"""`stoppress keys`: make, list, retire and back up VAPID keys."""

from __future__ import annotations

import click
from redis import RedisError
from rich.table import Table

from service.cli.main import open_runtime, settings
from service.cli.terminal import examples, json_option, show
from service.config import ConfigError
from service.domain.keys import KeyRefusal, KeyUse
from service.domain.store_errors import in_one_line
from service.model.keys import VapidKey, b64url
from service.runtime import KeysUnfit, Runtime


@click.group(
    invoke_without_command=True,
    epilog=examples("keys", "keys list", "keys backup > a-safe-place", "keys retire BPZ5mU0OYw4s"),
)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Print a new VAPID key pair; this changes nothing."""
    if ctx.invoked_subcommand is None:
        key = VapidKey.generate()
        click.echo(f"# public key, the browsers' applicationServerKey: {b64url(key.public)}")
        click.echo(f"VAPID_PRIVATE_KEY={key.text}")


@keys.command(epilog=examples("keys backup > a-safe-place"))
def backup() -> None:
    """Print the keys to keep in a safe place; without them every reader is lost."""
    config = settings()
    if not config.secret_key:
        raise ConfigError("SECRET_KEY: not set")
    if not config.vapid_private_key:
        raise ConfigError("VAPID_PRIVATE_KEY: not set")
    why = ""
    try:
        runtime = Runtime.open(config, as_workers=True)
        runtime.store.processes.set_clock()
        runtime.keys.note_backup()
    except KeysUnfit as error:
        raise click.ClickException(f"nothing was printed: {error}") from None
    except (ConfigError, RedisError) as error:
        why = str(error) if isinstance(error, ConfigError) else in_one_line(error)
    # They are printed even if Redis does not answer.
    click.echo("".join(f"{name}={text}\n" for name, text in config.keys_set.items()), nl=False)
    if why:
        click.echo(f"stoppress: the backup was printed, but not recorded: {why}", err=True)


@keys.command("list", epilog=examples("keys list", "keys list --json"))
@json_option
def list_keys(as_json: bool) -> None:
    """List the VAPID keys and how many readers depend on each."""
    runtime = open_runtime()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("public key", no_wrap=True)
    table.add_column("readers", justify="right")
    table.add_column("status")
    for use in runtime.keys.uses():
        table.add_row(f"{use.name}…", f"{use.readers:,}", _status(use))
    show(table, empty="", as_json=as_json)


def _status(use: KeyUse) -> str:
    if use.place == 0:
        return "current: new readers subscribe with it"
    status = "retired" if use.retired else "kept for the readers who have it"
    return status if use.place is not None else f"{status}, no longer set"


@keys.command(epilog=examples("keys retire BPZ5mU0OYw4sVkHFGmPB"))
@click.argument("public_key")
def retire(public_key: str) -> None:
    """Retire a key on which no reader depends; PUBLIC_KEY as `keys list` shows it."""
    runtime = open_runtime()
    try:
        use = runtime.keys.retire(public_key.rstrip("…"))
    except KeyRefusal as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{use.name}… is retired.")
    if use.place is not None:
        click.echo(
            f"Now take value {use.place + 1} of {len(runtime.keys.publics)} out of"
            " VAPID_PRIVATE_KEY"
            " and restart everything."
        )
