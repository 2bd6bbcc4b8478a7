"""The `stoppress` command itself, the settings that its commands work with, and `doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click
from redis import RedisError

from service.config import Config, ConfigError
from service.local import redis_server
from service.local.secrets_file import read_secrets


class _Commands(click.Group):
    """Prints one line for a wrong setting (exit code 2) or a Redis that does not answer (1)."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(f"stoppress: {error}", err=True)
            ctx.exit(2)
        except RedisError as error:
            click.echo(f"stoppress: Redis: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Commands)
@click.version_option(package_name="stop-press", prog_name="stoppress")
def main() -> None:
    """Stop Press: the browser push-notification service that a newsroom runs itself."""


def with_environment(kept: Mapping[str, str]) -> dict[str, str]:
    """Return `kept` settings, overridden by the environment; an empty variable is not set."""
    given = {name: value for name, value in os.environ.items() if value.strip()}
    return {**os.environ, **kept, **given}


def environment() -> dict[str, str]:
    """Return the environment for this installation's processes.

    It is our own environment, completed by the secrets in `DATA_DIR` and by the Redis that
    `stoppress up` runs there.
    """
    config = Config.read(os.environ)
    kept = read_secrets(config.data_dir)
    if not config.redis_url and (url := redis_server.running_url(config.data_dir)):
        kept["REDIS_URL"] = url
    return with_environment(kept)


def settings() -> Config:
    """Return the settings of this installation; raises `ConfigError`."""
    return Config.read(environment())


@main.command()
@click.option("--send", metavar="SUBSCRIPTION_ID", help="Send that browser one test message.")
def doctor(send: str | None) -> None:
    """Check the whole installation; exit code 1 if a check fails."""
    from service.cli import doctor  # pywebpush takes long to import

    sys.exit(doctor.run(settings, send))
