"""The `stoppress` command: everything a shell can ask of a house.

Commands that work on a running house begin with `settings()`. The processes are started by module
name, so that `service` never imports `workers`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from typing import Any

import click
from redis import RedisError
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from service.cli import keys as key_commands
from service.cli import push_services, trials
from service.config import Config, ConfigError
from service.domain.editors import EditorError
from service.local import redis_server, rehearsal
from service.local.secrets_file import make_secrets, read_secrets
from service.local.supervisor import Child, ChildEnded, Supervisor
from service.model.endpoints import EndpointPolicy
from service.model.keys import VapidKey, b64url
from service.model.notifications import Topic
from service.model.tokens import SCOPES
from service.runtime import Runtime

# Seconds that web, workers and clock have to come up; they need two on two slow cores.
_READY_WITHIN = 60


class _Commands(click.Group):
    """Says in one line that a setting is wrong (exit code 2) or that Redis is away (1)."""

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


# Settings ---------------------------------------------------------------------------------------


def _over(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the environment over what a house keeps; an empty variable counts as not set."""
    given = {name: value for name, value in os.environ.items() if value.strip()}
    return {**os.environ, **kept, **given}


def environment() -> dict[str, str]:
    """Return the environment that this house's processes run in.

    That is our own, completed by the secrets in `DATA_DIR` and by the Redis running there.
    """
    config = Config.read(os.environ)
    kept = read_secrets(config.data_dir)
    if not config.redis_url and (url := redis_server.running_url(config.data_dir)):
        kept["REDIS_URL"] = url
    return _over(kept)


def settings() -> Config:
    """Return the settings of this house, for a command that works on it; `ConfigError`."""
    return Config.read(environment())


# Processes --------------------------------------------------------------------------------------


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def web_argv(config: Config) -> list[str]:
    """Return the command that serves a house."""
    options = {
        "config": "python:service.preload",
        "worker-class": "gthread",
        "threads": "4",  # decision 15
        "workers": str(config.web_concurrency),
        "bind": f"{_host(config.bind)}:{config.port}",
        "graceful-timeout": "20",  # seconds; less than a supervisor's or systemd's patience
        "log-level": "warning",
        # TRUSTED_PROXIES alone says whom to believe about the reader's address and scheme.
        "forwarded-allow-ips": "",
    }
    return [
        *(sys.executable, "-m", "gunicorn", "service.app:create_app()"),
        "--no-control-socket",  # one file in the home directory, for all houses on the machine
        *(f"--{name}={value}" for name, value in options.items()),
    ]


_WORKER_ARGV = [sys.executable, "-m", "workers.worker"]
_CLOCK_ARGV = [sys.executable, "-m", "workers.clock"]


def _checked_environment() -> dict[str, str]:
    """Return `environment()` once a process can work in it; `ConfigError` before it is started."""
    environ = environment()
    Runtime.open(Config.read(environ), patient=True)
    return environ


def _workers(number: int, environ: Mapping[str, str]) -> list[Child]:
    return [Child(f"worker {n}", _WORKER_ARGV, environ) for n in range(1, number + 1)]


def _become(argv: list[str], environ: Mapping[str, str]) -> None:
    """Replace this process, so that signals reach the right one."""
    os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is wanted


@main.command()
def web() -> None:
    """Serve readers' browsers, editors and the API."""
    environ = _checked_environment()
    _become(web_argv(Config.read(environ)), environ)


@main.command()
@click.option("-n", "number", type=click.IntRange(1, 256), help="Default: WORKER_CONCURRENCY.")
def worker(number: int | None) -> None:
    """Send what is to be sent."""
    environ = _checked_environment()
    number = number or Config.read(environ).worker_concurrency
    if number == 1:
        _become(_WORKER_ARGV, environ)
    with Supervisor() as supervisor:
        supervisor.start(*_workers(number, environ))
        supervisor.run()


@main.command()
def clock() -> None:
    """Wake what is due: scheduled alerts, and the work of workers that died."""
    _become(_CLOCK_ARGV, _checked_environment())


# Everything on this machine ---------------------------------------------------------------------


@main.command()
def up() -> None:
    """Run everything on this machine: Redis, web, workers and clock."""
    config = Config.read(os.environ)
    with ExitStack() as stack:
        redis = None
        if not config.redis_url:
            redis = stack.enter_context(redis_server.embedded_redis(config.data_dir))
        elif not redis_server.answers(config.redis_url):
            raise ConfigError("REDIS_URL: no Redis answers there")
        _check_port(config)
        environ = _over(make_secrets(config.data_dir))
        supervisor = stack.enter_context(Supervisor())
        if redis:
            environ["REDIS_URL"] = redis.url
            _start_redis(supervisor, redis, config)
        config = Config.read(environ)
        runtime = Runtime.open(config)  # one line says what every process would say at length
        _first_topics(runtime)
        _start_processes(supervisor, config, environ)
        _welcome(config, runtime.editors.signin_link())
        supervisor.run()


_FIRST_TOPICS = (
    Topic("breaking", "Breaking news", "Only what cannot wait", default=True),
    Topic("world", "World", "What happens elsewhere, and why it matters here"),
    Topic("sport", "Sport", "Results, and the stories behind them"),
    Topic("culture", "Culture", "Books, stages, screens and walls"),
    Topic("science", "Science", "What was found out this week"),
)


def _first_topics(runtime: Runtime) -> None:
    """Give a new house the topics of the demo newspaper, so that there is something to follow."""
    if not runtime.topics.all() and not runtime.subscriptions.count():
        for topic in _FIRST_TOPICS:
            runtime.topics.add(topic)


def _check_port(config: Config) -> None:
    """Find out before anything starts whether the port is free; `ConfigError`."""
    family = socket.AF_INET6 if ":" in config.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.bind, config.port))
        except OSError as error:
            raise ConfigError(
                f"PORT: cannot listen on {_host(config.bind)}:{config.port}"
                f" ({error.strerror}); set another PORT"
            ) from None


def _start_redis(supervisor: Supervisor, redis: redis_server.EmbeddedRedis, config: Config) -> None:
    """Start the embedded Redis and wait until it has loaded its data."""
    # It needs nothing of our environment, secrets least of all; a wrong locale would end it.
    supervisor.start(Child("Redis", redis.argv, {"LC_ALL": "C"}, keep=[redis.lock]))
    try:
        supervisor.wait(lambda: redis_server.answers(redis.url))
    except ChildEnded as error:
        raise click.ClickException(f"{error}; {config.data_dir}/redis.log says why") from None


def _start_processes(supervisor: Supervisor, config: Config, environ: Mapping[str, str]) -> None:
    """Start web, workers and clock and wait until `/readyz` says that they work."""
    supervisor.start(
        Child("web", web_argv(config), environ),
        Child("clock", _CLOCK_ARGV, environ),
        *_workers(config.worker_concurrency, environ),
    )
    try:
        supervisor.wait(lambda: _ready(config), timeout=_READY_WITHIN)
    except ChildEnded as error:
        raise click.ClickException(f"{error} at its start; what it said is above") from None
    except TimeoutError:
        raise click.ClickException(
            f"{config.public_url}/readyz did not answer 200 within {_READY_WITHIN} s"
        ) from None


def _ready(config: Config) -> bool:
    # "Every address" is one to listen on, not one to call.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.bind, config.bind)  # noqa: S104
    connection = HTTPConnection(host, config.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _welcome(config: Config, link: str) -> None:
    """Say where to click, where everything is kept, and what a real site still needs."""
    rows = [
        ("Start here", config.public_url),
        ("Sign in once", link),
        ("Data and keys", str(config.data_dir)),
    ]
    wanted = {
        "SITE_URL": config.site_url,
        "SITE_ORIGINS": config.site_origins,
        "VAPID_SUBJECT": config.vapid_subject,
    }
    missing = [name for name, value in wanted.items() if not value]
    console = Console(highlight=False)
    rule = Rule(style="dim")
    console.print()
    console.print(Text.assemble(("STOP PRESS", "bold"), " is running"))
    console.print(rule)
    for name, value in rows:
        # A link broken over two lines cannot be clicked.
        console.print(Text.assemble((f"{name:<15}", "dim"), (value, "bold")), soft_wrap=True)
    console.print(rule)
    if missing:
        console.print(Text(f"A real site still needs {', '.join(missing)}.", "dim"))
    console.print(Text("Ctrl-C stops everything.", "dim"))
    console.print()


# Keys -------------------------------------------------------------------------------------------


@main.group(invoke_without_command=True)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Make a new VAPID key pair and print it; nothing is changed."""
    if ctx.invoked_subcommand is None:
        key = VapidKey.generate()
        click.echo(f"# public key, the browsers' applicationServerKey: {b64url(key.public)}")
        click.echo(f"VAPID_PRIVATE_KEY={key.text}")


@keys.command()
def backup() -> None:
    """Print what to keep in a safe place: without it every reader is lost."""
    key_commands.backup(settings)


@keys.command("list")
def list_keys() -> None:
    """Show the VAPID keys, and how many readers depend on each."""
    key_commands.show(Runtime.open(settings()))


@keys.command()
@click.argument("public_key")
def retire(public_key: str) -> None:
    """Retire a key no reader depends on; PUBLIC_KEY as `keys list` shows it."""
    key_commands.retire(Runtime.open(settings()), public_key.rstrip("…"))


# Push services ----------------------------------------------------------------------------------


@main.group(invoke_without_command=True)
@click.pass_context
def services(ctx: click.Context) -> None:
    """Show which push services rest, limit us, or are not believed."""
    if ctx.invoked_subcommand is None:
        push_services.show(Runtime.open(settings()))


@services.command()
@click.argument("origin")
def release(origin: str) -> None:
    """Send to ORIGIN again at once, whatever it answered before."""
    push_services.release(Runtime.open(settings()), origin.rstrip("/"))


@main.command("doctor")
@click.option("--send", metavar="SUBSCRIPTION_ID", help="Send that browser one test message.")
def examine(send: str | None) -> None:
    """Check the whole installation and say what to do; 1 where something fails."""
    from service.cli import doctor

    sys.exit(doctor.run(settings, send))


# Setting up -------------------------------------------------------------------------------------


@main.group()
def editor() -> None:
    """Let people use the desk."""


@editor.command("add")
@click.argument("email")
def add_editor(email: str) -> None:
    """Print a one-time sign-in link for EMAIL, good for a day."""
    runtime = Runtime.open(settings())
    try:
        click.echo(runtime.editors.signin_link(email))
    except EditorError as error:
        raise click.BadParameter(str(error), param_hint="EMAIL") from None


@main.group()
def token() -> None:
    """Let programs use the API."""


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
    """Make an API token called NAME and print it: this once, only its digest is kept."""
    click.echo(Runtime.open(settings()).api_tokens.add(name, scopes))


# Trials -----------------------------------------------------------------------------------------


@main.command()
@click.argument("number", metavar="N", type=click.IntRange(1, 100_000_000))
@click.option(
    "--origin",
    "origins",
    multiple=True,
    default=["https://127.0.0.1:8443"],
    show_default=True,
    help="The push service of their endpoints; several take turns.",
)
def seed(number: int, origins: tuple[str, ...]) -> None:
    """Store N pretend readers with valid keys, spread over the topics."""
    config = settings()
    try:
        origins = Config.read({"PUSH_SERVICES": " ".join(origins)}).push_services
    except ConfigError:
        raise click.BadParameter(
            "must be an origin such as https://127.0.0.1:8443", param_hint="--origin"
        ) from None
    if real := [origin for origin in origins if EndpointPolicy().allows(origin)]:
        raise click.BadParameter(
            f"{real[0]} is a real push service, which the next alert would call for each of them",
            param_hint="--origin",
        )
    trials.seed(config, number, origins)


@main.command()
@click.argument(
    "number",
    metavar="[N]",
    default=rehearsal.READERS,
    type=click.IntRange(1, rehearsal.MOST_READERS),
)
def rehearse(number: int) -> None:
    """Run the whole show with N pretend readers (200,000); nobody real is touched."""
    config = Config.read(os.environ)
    if not os.environ.get("PORT", "").strip():
        config = replace(config, port=_free_port(config))
    _check_port(config)
    if rehearsal.find(config.data_dir):
        raise click.ClickException("a rehearsal is running already; end it first")
    with Supervisor() as supervisor:
        argv = rehearsal.command(config, number, _FIRST_TOPICS)
        supervisor.start(Child("rehearsal", argv, rehearsal.foreign_environment()))
        try:
            trials.show_readers_coming(supervisor, config, number)
            _open_its_desk(supervisor, config, number)
            supervisor.wait(lambda: False)
        except ChildEnded as error:
            if rehearsal.find(config.data_dir):
                raise click.ClickException(f"{error}; what it said is above") from None
            if why := rehearsal.trouble(config.data_dir):
                raise click.ClickException(why) from None
            click.echo("The rehearsal is over.")
        except TimeoutError:
            raise click.ClickException(f"its desk was not ready within {_READY_WITHIN} s") from None


def _free_port(config: Config) -> int:
    with socket.socket(socket.AF_INET6 if ":" in config.bind else socket.AF_INET) as probe:
        probe.bind((config.bind, 0))
        return int(probe.getsockname()[1])


def _open_its_desk(supervisor: Supervisor, config: Config, number: int) -> None:
    """Start the web process of a rehearsal that is ready, and say where to click."""
    found = rehearsal.find(config.data_dir)
    if found is None:
        return  # it has just ended
    ours = {"BIND": config.bind, "PORT": str(config.port), "SITE_NAME": config.site_name}
    environ = rehearsal.foreign_environment() | found.environ | ours
    supervisor.start(Child("web", [sys.executable, "-m", "service.cli", "web"], environ))
    config = Config.read(environ)
    supervisor.wait(lambda: _ready(config), timeout=_READY_WITHIN)
    link = Runtime.open(config).editors.signin_link()
    console = Console(highlight=False)
    console.print()
    console.print(Text.assemble(("STOP PRESS", "bold"), f" rehearses: {number:,} pretend readers"))
    console.print(Rule(style="dim"))
    console.print(Text.assemble((f"{'Sign in once':<15}", "dim"), (link, "bold")), soft_wrap=True)
    console.print(Rule(style="dim"))
    console.print(Text("Nobody real is alerted."))
    minutes = rehearsal.LONGEST // 60
    console.print(Text(f"Ctrl-C ends it, or else {minutes} minutes; all of it is deleted.", "dim"))
    console.print()


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="How fast is this machine, with peers beside it.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """How fast is this machine, with peers beside it."""
    _become([sys.executable, "-m", "workers.bench", *arguments], os.environ)
