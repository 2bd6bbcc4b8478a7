"""What `stoppress keys …` does in a shell: list the VAPID keys, retire one, print all to keep."""

from __future__ import annotations

from collections.abc import Callable

import click
from redis import RedisError
from rich.console import Console
from rich.table import Table

from service.config import Config, ConfigError
from service.domain.keys import KeyRefusal, KeyUse
from service.runtime import Runtime


def show(runtime: Runtime) -> None:
    """Print which keys are set, and how many readers depend on each that is or ever was."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("public key", no_wrap=True)
    table.add_column("readers", justify="right")
    table.add_column("is")
    for use in runtime.keys.uses():
        table.add_row(f"{use.name}…", f"{use.readers:,}", _standing(use))
    Console(highlight=False).print(table)


def _standing(use: KeyUse) -> str:
    if use.place == 0:
        return "current: new readers are subscribed with it"
    standing = "retired" if use.retired else "for the readers who have it"
    return standing if use.place is not None else f"{standing}, not set any more"


def retire(runtime: Runtime, beginning: str) -> None:
    """Retire a key on which no reader depends, and say what to take out of the settings."""
    try:
        use = runtime.keys.retire(beginning)
    except KeyRefusal as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{use.name}… is retired.")
    if use.place is not None:
        click.echo(
            f"Now take value {use.place + 1} of {len(runtime.keys.vapid)} out of VAPID_PRIVATE_KEY"
            " and start everything again."
        )


def backup(settings: Callable[[], Config]) -> None:
    """Print the keys, whatever else works, and remember that it was done."""
    config = settings()
    if not config.secret_key:
        raise ConfigError("SECRET_KEY: not set")
    if not config.vapid_private_key:
        raise ConfigError("VAPID_PRIVATE_KEY: not set")
    click.echo(f"SECRET_KEY={config.secret_key}")
    click.echo(f"VAPID_PRIVATE_KEY={','.join(key.text for key in config.vapid_private_key)}")
    try:
        Runtime.open(config).keys.note_backup()
    except (ConfigError, RedisError) as error:
        why = error if isinstance(error, ConfigError) else "Redis does not answer"
        click.echo(f"stoppress: printed, but not noted as done: {why}", err=True)
