"""The `stoppress` command itself, the settings that its commands work with, and `doctor`."""

from __future__ import annotations

import logging
import os
import sys
from collections import UserDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from redis import RedisError

from service.cli.terminal import examples, json_option, printable
from service.config import Config, ConfigError
from service.domain.alerts.publishing import Conflict, PlanWithdrawn, UnknownNotification
from service.domain.alerts.topics import MergedTopic, UnknownTopic
from service.domain.newsroom.feeds import UnknownFeed
from service.domain.newsroom.webhooks import UnknownWebhook
from service.domain.store_errors import Loading, in_one_line
from service.domain.too_many import TooMany
from service.local import redis_server
from service.local.faults import unexpected
from service.local.secrets_file import read_secrets
from service.model.operations.process_log import begin_request, say
from service.runtime import Runtime
from service.setting_sources import override
from service.store import COMMAND

# What the domain refuses, in whatever command; where it says so itself, nothing stands here.
_REFUSALS: dict[type[Exception], str] = {
    Conflict: "",
    MergedTopic: "",
    TooMany: "",
    PlanWithdrawn: "this KEY was used for an alert that was deleted; give another one",
    UnknownFeed: "there is no such feed: stoppress feeds lists them",
    UnknownNotification: "there is no such alert: stoppress status lists them",
    UnknownTopic: "there is no such topic: stoppress topics lists them",
    UnknownWebhook: "no such webhook: stoppress webhooks lists them",
}


class _Imported(UserDict[str, Any]):
    """Commands by name, each imported when it is asked for: most take long, and one is used."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, called = self.data[name].partition(":")
        command: click.Command = getattr(import_module(f"service.cli.{module}"), called)
        return command


class _Commands(click.Group):
    """Prints one line for a wrong setting (exit code 2) or another fault (1), never a traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._imported = _Imported()
        self.commands = self._imported
        self._sections: dict[str, Sequence[str]] = {}

    def add_section(self, title: str, places: Mapping[str, str]) -> None:
        """Add commands that the help lists together: by name, the module and what it calls it."""
        self._sections[title] = list(places)
        self._imported.update(places)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands (click)."""
        widest = max(map(len, self.commands))
        for title, names in self._sections.items():
            with formatter.section(title):
                helps = {name: self.commands[name].get_short_help_str(100) for name in names}
                formatter.write_dl([(f"{name:<{widest}}", text) for name, text in helps.items()])

    def main(self, *args: Any, **named: Any) -> Any:
        """Run a command (click), which writes UTF-8 whatever the terminal says of itself."""
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
        return super().main(*args, **named)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is no text (click): stored, it could be neither shown nor exported."""
        for one in args:
            if one.encode(errors="replace").decode() != one:
                raise click.UsageError(f"{printable(one)}: the terminal did not send it as UTF-8")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own
        except tuple(_REFUSALS) as error:
            words = next(words for kind, words in _REFUSALS.items() if isinstance(error, kind))
            raise click.ClickException(words or str(error)) from None
        except Exception as error:
            say("stoppress", _what_is_wrong(error), logging.CRITICAL)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, RedisError):
        return in_one_line(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or type(error).__name__}"
    return unexpected(error)


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The file of `--env-file`, and which variables came from it."""

    path: Path | None
    names: frozenset[str] = frozenset()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stop-press", prog_name="stoppress")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read settings from this file, of lines like NAME=value. The environment goes before it.",
)
@click.pass_context
def main(ctx: click.Context, env_file: Path | None) -> None:
    """Stop Press: the browser push-notification service that a newsroom runs itself."""
    begin_request()
    ctx.obj = EnvFile(None)
    if env_file is not None:
        try:
            kept = dotenv_values(env_file, interpolate=False, encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigError(f"{env_file}: must be text in UTF-8") from None
        both = with_environment({name: text or "" for name, text in kept.items()})
        names = frozenset(name for name, text in both.items() if text != os.environ.get(name))
        ctx.obj = EnvFile(env_file, names)
        for name in os.environ.keys() - both.keys():
            del os.environ[name]
        os.environ.update(both)


def with_environment(kept: Mapping[str, str]) -> dict[str, str]:
    """Return `kept` settings, overridden by the environment; an empty variable is not set."""
    return override(kept, os.environ)


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


def open_runtime() -> Runtime:
    """Open this installation for a command, which waits only for a Redis that is loading."""
    config = settings()
    if not config.redis_url:
        raise ConfigError(
            f"no running Stop Press was found in {config.data_dir}. Set its DATA_DIR or REDIS_URL,"
            " or name the file with its settings: stoppress --env-file FILE …"
        )
    return Runtime.start(config, "stoppress", COMMAND, wait_for=Loading)


def settings() -> Config:
    """Return the settings of this installation; raises `ConfigError`."""
    return Config.read(environment())


@click.command(
    epilog=examples("doctor", "doctor --site https://paper.example/", "doctor --send 3-1042")
)
@click.option("--site", metavar="URL", help="Check this page of your site too.")
@click.option("--send", metavar="SUBSCRIPTION_ID", help="Send that browser one test message.")
@json_option
@click.pass_obj
def doctor(env_file: EnvFile, site: str | None, send: str | None, as_json: bool) -> None:
    """Check the whole installation; exit code 1 if a check fails."""
    from service.cli import doctor  # pywebpush takes long to import

    wanted = doctor.Wanted(send, site, env_file.path)
    sys.exit(doctor.run(environment, wanted, as_json=as_json))
