"""`stoppress seed`, `rehearse` and `bench`: trials with pretend readers."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.rule import Rule
from rich.text import Text

from service.cli.main import settings
from service.cli.run import (
    FIRST_TOPICS,
    READY_WITHIN,
    become,
    check_port,
    is_ready,
    without_private_keys,
)
from service.cli.terminal import examples
from service.config import Config, ConfigError
from service.local import pretend_readers, rehearsal
from service.local.secrets_file import using
from service.local.supervisor import Child, ChildEnded, Supervisor
from service.model.network.endpoints import EndpointPolicy
from service.runtime import Runtime


@contextmanager
def _storing(number: int, doing: str = "Storing") -> Iterator[tuple[Progress, TaskID]]:
    """Show a progress bar while pretend readers are stored, if stderr is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task(f"{doing} pretend readers", total=number)


# Pretend readers in this installation -----------------------------------------------------------


@click.command(epilog=examples("seed 100000", "seed --remove"))
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(1, 100_000_000))
@click.option("--remove", is_flag=True, help="Remove all pretend readers instead.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    default=["https://127.0.0.1:8443"],
    show_default=True,
    help="Their push service; give several to spread the readers over them.",
)
def seed(number: int | None, origins: tuple[str, ...], remove: bool) -> None:
    """Store N pretend readers with valid keys, spread over the topics; or remove them again."""
    if (number is None) != remove:
        raise click.UsageError("give either a number N, or --remove")
    config = settings()
    if number is None:
        _remove_pretend_readers(Runtime.open(config))
        return
    origins = _pretend_origins(origins)
    runtime = Runtime.open(config)
    topics = list(runtime.topics.all())
    before, start = runtime.store.memory(), time.monotonic()
    try:
        with _storing(number) as (progress, task):
            public = runtime.keys.current
            for stored in pretend_readers.seed(
                runtime.store, number, origins=origins, vapid_key=public, topics=topics
            ):
                progress.update(task, completed=stored)
    except pretend_readers.RealReadersError as error:
        raise click.ClickException(str(error)) from None
    took, after = time.monotonic() - start, runtime.store.memory()
    each = f", {(after.used - before.used) / number:.0f} bytes each" if after and before else ""
    click.echo(f"{number:,} pretend readers stored in {took:.1f} s{each}")
    if unknown := [origin for origin in origins if not runtime.endpoints.allows(origin)]:
        click.echo(f"To send to them, add to PUSH_SERVICES: {' '.join(unknown)}")
        click.echo(
            "Nothing listens there by itself; to see alerts go out, use `stoppress rehearse`."
        )


def _remove_pretend_readers(runtime: Runtime) -> None:
    found = runtime.pretend_readers.mixture()
    removed = 0
    with _storing(found.pretend if found else 0, "Removing") as (progress, task):
        for removed in pretend_readers.remove(runtime.store):
            progress.update(task, completed=removed)
    left = runtime.subscriptions.count()
    click.echo(f"{removed:,} pretend readers removed; {left:,} real readers are left")


def _pretend_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return `origins` in their usual form; `click.BadParameter` if one is real or no origin."""
    try:
        origins = Config.read({"PUSH_SERVICES": " ".join(origins)}).push_services
    except ConfigError:
        origins = ("*",)
    if any("*" in origin for origin in origins):
        raise click.BadParameter(
            "must be an origin such as https://127.0.0.1:8443", param_hint="--origin"
        )
    if real := [origin for origin in origins if EndpointPolicy().allows(origin)]:
        raise click.BadParameter(
            f"{real[0]} is a real push service; the next alert would send it a message for each"
            " pretend reader",
            param_hint="--origin",
        )
    return origins


# A rehearsal beside it --------------------------------------------------------------------------


@click.command(epilog=examples("rehearse", "rehearse 50000"))
@click.argument(
    "number",
    metavar="[N]",
    default=rehearsal.READERS,
    type=click.IntRange(1, rehearsal.MOST_READERS),
)
def rehearse(number: int) -> None:
    """Rehearse with N pretend readers (200,000); no real one gets an alert."""
    config = Config.read(os.environ)
    if not os.environ.get("PORT", "").strip():
        config = replace(config, port=_free_port(config))
    check_port(config)
    with using(config.data_dir):
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if rehearsal.find(config.data_dir):
        raise click.ClickException("a rehearsal is running already; end it first")
    with Supervisor() as supervisor:
        argv = rehearsal.command(config, number, FIRST_TOPICS)
        supervisor.start(Child("rehearsal", argv, rehearsal.foreign_environment()))
        try:
            _wait_for_readers(supervisor, config, number)
            _open_desk(supervisor, config, number)
            supervisor.wait(lambda: False)
        except ChildEnded as error:
            if rehearsal.find(config.data_dir):
                raise click.ClickException(f"{error}; its messages are above") from None
            if why := rehearsal.trouble(config.data_dir):
                raise click.ClickException(why) from None
            click.echo("The rehearsal is over.")
        except TimeoutError:
            raise click.ClickException(
                f"the rehearsal's desk was not ready within {READY_WITHIN} s"
            ) from None


def _free_port(config: Config) -> int:
    with socket.socket(socket.AF_INET6 if ":" in config.bind else socket.AF_INET) as probe:
        probe.bind((config.bind, 0))
        return int(probe.getsockname()[1])


def _wait_for_readers(supervisor: Supervisor, config: Config, number: int) -> None:
    """Show how many readers the rehearsal has stored, until it is ready."""
    with _storing(number) as (progress, task):

        def ready() -> bool:
            found = rehearsal.find(config.data_dir)
            progress.update(task, completed=found.stored if found else 0)
            return found is not None and found.ready

        supervisor.wait(ready)


def _open_desk(supervisor: Supervisor, config: Config, number: int) -> None:
    """Start the web process of a rehearsal that is ready, and print the link to its desk."""
    found = rehearsal.find(config.data_dir)
    if found is None:
        return  # it has just ended
    ours = {"BIND": config.bind, "PORT": str(config.port), "SITE_NAME": config.site_name}
    environ = rehearsal.foreign_environment() | found.environ | ours
    config = Config.read(environ)
    runtime = Runtime.open(config)
    public = without_private_keys(environ, runtime)
    supervisor.start(Child("web", [sys.executable, "-m", "service.cli", "web"], public))
    supervisor.wait(lambda: is_ready(config), timeout=READY_WITHIN)
    link = runtime.editors.first_link() or f"{config.public_url}/desk/"
    title = f" rehearsal with {number:,} pretend readers"
    minutes = rehearsal.LONGEST // 60
    console = Console(highlight=False)
    console.print()
    console.print(Text.assemble(("STOP PRESS", "bold"), title))
    console.print(Rule(style="dim"))
    console.print(Text.assemble((f"{'Sign in once':<15}", "dim"), (link, "bold")), soft_wrap=True)
    console.print(Rule(style="dim"))
    console.print(Text("No real reader gets an alert."))
    console.print(
        Text(f"Ctrl-C ends and deletes it; it also ends by itself after {minutes} minutes.", "dim")
    )
    console.print()


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Measure how fast this machine sends, beside other tools.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure how fast this machine sends, beside other tools."""
    become([sys.executable, "-m", "workers.bench", *arguments], os.environ)
