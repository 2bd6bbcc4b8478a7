"""`stoppress redis-users`: what to tell Redis, so that each kind of process has its own user."""

from __future__ import annotations

import click

from service.cli.terminal import examples
from service.local.redis_users import redis_users


@click.command("redis-users", epilog=examples("redis-users"))
def print_users() -> None:
    """Print Redis users with the least rights, as ACL SETUSER lines with PASSWORD in them."""
    for user in redis_users():
        click.echo(f"ACL SETUSER {user.name} on >PASSWORD {' '.join(user.rules)}")
