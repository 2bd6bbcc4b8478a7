"""`stoppress config`: the settings as each type of process sees them, and where they come from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import click
from redis import RedisError

from service.cli.main import EnvFile
from service.cli.terminal import columns, examples, json_option, printable, show
from service.config import ConfigError, given_text, parsed, settings
from service.domain.keys import HIDDEN, KEY_NAME, SECRETS
from service.domain.store_errors import in_one_line
from service.local import redis_server
from service.local.secrets_file import read_secrets
from service.model.keys import VapidKey, b64url
from service.setting_sources import FROM_FILE, is_set, override
from service.store import COMMAND, connect
from service.store.newsroom.desk_settings import DeskSetting, DeskSettings

_ROWS = {row.name: row for row in settings()}
_HIDDEN = "***"
_WITH_PASSWORD = ("REDIS_URL", "STORE_URL", "PUSH_PROXY")
# The secrets that a type of process does not take, whatever its environment has.
_IGNORES: dict[str, tuple[str, ...]] = {
    "web": ("VAPID_PRIVATE_KEY",),
    "worker": (),
    "clock": ("VAPID_PRIVATE_KEY",),
    "fetch": SECRETS,
}


class _Seen(NamedTuple):
    """A setting as a process sees it."""

    value: str
    source: str
    is_wrong: bool = False


@click.command(epilog=examples("config", "--env-file /etc/stop-press.env config --json"))
@json_option
@click.pass_obj
def config(env_file: EnvFile, as_json: bool) -> None:
    """Show the settings of each type of process and where each comes from; no secret is shown."""
    found = _Settings(env_file)
    table = columns("setting", "value", "from", "processes")
    wrong = 0
    for row in settings():
        seen: dict[_Seen, list[str]] = {}
        for process in _IGNORES:
            seen.setdefault(found.seen(row, process), []).append(process)
        for one, processes in seen.items():
            who = "all" if len(processes) == len(_IGNORES) else ", ".join(processes)
            table.add_row(row.name.upper(), printable(one.value), printable(one.source), who)
        wrong += any(one.is_wrong for one in seen)
    show(table, empty="", as_json=as_json)
    if found.desk_fault:
        click.echo(f"What is set at the desk is not known: {found.desk_fault}.", err=True)
    if wrong:
        click.echo(f"stoppress: {wrong} of these cannot be used.", err=True)
        sys.exit(2)


class _Settings:
    """What processes that are started with this environment would have."""

    def __init__(self, env_file: EnvFile) -> None:
        self._env_file = env_file
        self._folder = self._value("data_dir", os.environ)
        self._kept = read_secrets(self._folder)
        self._running: dict[str, str] = {}
        if not is_set(os.environ, "REDIS_URL"):
            url = redis_server.running_url(self._folder)
            self._running = {"REDIS_URL": url} if url else {}
        self.desk_fault = ""
        self._desk = self._of_the_desk()

    def _of_the_desk(self) -> Mapping[str, DeskSetting]:
        url = ""
        with suppress(ConfigError):  # it is shown as wrong
            environ = self._environ("web")
            url = self._value("store_url", environ) or self._value("redis_url", environ)
        if not url:
            self.desk_fault = "no setting says where Redis is"
            return {}
        try:
            return DeskSettings(connect(url, COMMAND)).read().settings
        except RedisError as error:
            self.desk_fault = in_one_line(error)
            return {}

    @staticmethod
    def _value(name: str, environ: Mapping[str, str]) -> Any:
        variable, text = given_text(_ROWS[name], environ)
        return parsed(_ROWS[name], text, variable)

    def _environ(self, process: str) -> dict[str, str]:
        kept = {} if process == "fetch" else self._kept
        return override({**kept, **self._running}, os.environ)

    def seen(self, row: Field[Any], process: str) -> _Seen:
        """Return a setting as a process sees it."""
        name = row.name.upper()
        environ = self._environ(process)
        if name in _IGNORES[process] and is_set(environ, name):
            return _Seen("", "ignored")
        try:
            variable, text = given_text(row, environ)
            value = parsed(row, text, variable)
        except ConfigError as error:
            variable, _, why = str(error).partition(": ")
            return _Seen(f"wrong: {why}", self._source(variable, environ), is_wrong=True)
        if variable:
            return _Seen(_shown(name, text.strip(), value), self._source(variable, environ))
        if process != "fetch" and (at_desk := self._desk.get(row.name)):
            return _Seen(at_desk.text, f"the desk, by {at_desk.by}")
        default = row.metadata["default"]
        return _Seen(default, "default" if default else "not set")

    def _source(self, variable: str, environ: Mapping[str, str]) -> str:
        """Say where a variable comes from, and which file it names."""
        if os.environ.get(variable, "").strip():
            from_file = variable in self._env_file.names
            origin = str(self._env_file.path) if from_file else "environment"
        elif variable in self._running:
            return "stoppress up, which runs here"
        else:
            origin = f"{self._folder}/keys.env"
        if variable.removesuffix(FROM_FILE).lower() in _ROWS and variable.endswith(FROM_FILE):
            return f"{environ[variable]} ({variable}, {origin})"
        return origin if variable.lower() in _ROWS else f"{variable}, {origin}"


def _shown(name: str, text: str, value: Any) -> str:
    """Return the text of a setting without any secret."""
    if name not in HIDDEN:
        return _without_password(text) if name in _WITH_PASSWORD else text
    if name == "VAPID_PRIVATE_KEY":
        keys: tuple[VapidKey, ...] = value
        return ", ".join(f"{_HIDDEN} of {b64url(key.public)[:KEY_NAME]}" for key in keys)
    return ", ".join([_HIDDEN] * (len(value) if isinstance(value, tuple) else 1))


def _without_password(text: str) -> str:
    """Return the address of a server without user, password and options with passwords."""
    scheme, has_host, rest = text.partition("://")
    if not has_host:
        user, is_user, host = text.rpartition("@")  # a proxy may be named without a scheme
        return f"{_HIDDEN}@{host}" if is_user else text
    address, question, options = rest.partition("?")
    user, is_user, host = address.rpartition("@")
    name = user.partition(":")[0] if ":" in user else ""  # alone it may be a password
    shown = f"{scheme}://{name}:{_HIDDEN}@{host}" if is_user else f"{scheme}://{host}"
    pairs = [
        f"{option}={_HIDDEN if 'pass' in option.lower() else value}"
        for option, value in parse_qsl(options, keep_blank_values=True)
    ]
    return shown + question + "&".join(pairs)
