"""What the commands for trials do in a shell: `stoppress seed`, `stoppress rehearse`."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.progress import Progress

from service.config import Config
from service.local import pretend_readers, rehearsal
from service.local.supervisor import Supervisor
from service.runtime import Runtime


def seed(config: Config, number: int, origins: tuple[str, ...]) -> None:
    """Store pretend readers, and say what they take."""
    runtime = Runtime.open(config)
    redis, topics = runtime.store.redis, list(runtime.topics.all())
    before, start = redis.info("memory")["used_memory"], time.monotonic()
    try:
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("Storing pretend readers", total=number)
            public = runtime.keys.current
            for stored in pretend_readers.seed(
                runtime.store, number, origins=origins, vapid_key=public, topics=topics
            ):
                progress.update(task, completed=stored)
    except pretend_readers.RealReadersError as error:
        raise click.ClickException(str(error)) from None
    took, memory = time.monotonic() - start, redis.info("memory")["used_memory"] - before
    click.echo(f"{number:,} pretend readers in {took:.1f} s, {memory / number:.0f} bytes each")
    if unknown := [origin for origin in origins if not runtime.endpoints.allows(origin)]:
        click.echo(f"To send to them, add to PUSH_SERVICES: {' '.join(unknown)}")


def show_readers_coming(supervisor: Supervisor, config: Config, number: int) -> None:
    """Show how many readers a rehearsal has stored, until it is ready."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Storing pretend readers", total=number)

        def ready() -> bool:
            found = rehearsal.find(config.data_dir)
            progress.update(task, completed=found.stored if found else 0)
            return found is not None and found.ready

        supervisor.wait(ready)
