"""`stoppress up`, `web`, `worker`, `clock` and `fetch`: run the processes of an installation.

Processes are started by module name, so that `service` never imports `workers`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from errno import EADDRNOTAVAIL
from http.client import HTTPConnection, HTTPException
from tempfile import gettempdir

import click
from redis import BusyLoadingError, RedisError
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from service.cli.main import environment, with_environment
from service.cli.terminal import examples
from service.config import Config, ConfigError
from service.domain.keys import PRIVATE_KEY_IGNORED, SECRETS
from service.local import logs, redis_server
from service.local.secrets_file import find_secrets, keep_secrets
from service.local.supervisor import Child, ChildEnded, Supervisor
from service.model.network.addresses import bracketed
from service.model.notifications import Topic
from service.model.operations.process_log import say
from service.runtime import Runtime, as_soon_as_redis_answers, check_redis
from service.setting_sources import is_set, without
from service.store import COMMAND
from service.store.redis_servers.connection import AT_ONCE, knock

# Seconds that web, workers and clock have to start; they need two on two slow cores.
READY_WITHIN = 60


def web_argv(config: Config) -> list[str]:
    """Return the command that runs the web server."""
    kind = "WorkerBehindProxy" if config.trusted_proxies else "Worker"
    options = {
        "config": "python:service.preload",
        "worker-class": f"service.local.web_worker.{kind}",
        # Decision 142. All but one may wait for Redis; it serves what needs no Redis.
        "threads": str(AT_ONCE + 1),
        "workers": str(config.web_concurrency),
        "bind": f"{bracketed(config.bind)}:{config.port}",
        "graceful-timeout": "20",  # seconds; our supervisor and systemd wait longer
        "log-level": "warning",
        "logger-class": "service.local.web_log.WebLog",
        **({"access-logfile": "-"} if config.access_log else {}),
        # TRUSTED_PROXIES alone says which proxies we trust for the reader's address and scheme.
        "forwarded-allow-ips": "",
    }
    return [
        *(sys.executable, "-m", "gunicorn", "service.app:serve()"),
        "--no-control-socket",  # a file that all installations of one user would share
        *(f"--{name}={value}" for name, value in options.items()),
    ]


_WORKER_ARGV = [sys.executable, "-m", "workers.worker"]
_CLOCK_ARGV = [sys.executable, "-m", "workers.clock"]
_FETCH_ARGV = [sys.executable, "-m", "workers.fetcher"]


def _checked_environment(process: str) -> tuple[dict[str, str], Runtime]:
    """Return `environment()` once a `process` can start in it, and its parts; `ConfigError`."""
    environ = environment()
    return environ, Runtime.start(Config.read(environ), process, COMMAND)


def without_private_keys(environ: Mapping[str, str], runtime: Runtime) -> dict[str, str]:
    """Return the environment of a process that signs nothing: with public VAPID keys alone."""
    kept = without(environ, "VAPID_PRIVATE_KEY", "VAPID_PUBLIC_KEY")
    return {**kept, "VAPID_PUBLIC_KEY": ",".join(runtime.keys.publics)}


def _workers(number: int, environ: Mapping[str, str]) -> list[Child]:
    return [Child(f"worker {n}", _WORKER_ARGV, environ) for n in range(1, number + 1)]


_IGNORED = (
    "{name} is set, and ignored. Take it out of the environment of fetch processes: they"
    " parse what strangers write, and need no key."
)


def become(argv: list[str], environ: Mapping[str, str]) -> None:
    """Replace this process by the command, so that signals reach it."""
    os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is wanted


@click.command()
def web() -> None:
    """Serve readers' browsers, editors and the API."""
    logs.begin_json("web", os.environ)
    if is_set(os.environ, "VAPID_PRIVATE_KEY"):
        say("web", PRIVATE_KEY_IGNORED)
    check_temporary_folder()
    environ, runtime = _checked_environment("web")
    check_port(runtime.config)
    become(web_argv(runtime.config), without_private_keys(environ, runtime))


@click.command(epilog=examples("worker", "worker -n 4"))
@click.option("-n", "number", type=click.IntRange(1, 256), help="Default: WORKER_CONCURRENCY.")
def worker(number: int | None) -> None:
    """Send alerts to the push services."""
    logs.begin_json("worker", os.environ)
    environ, _ = _checked_environment("worker")
    number = number or Config.read(environ).worker_concurrency
    if number == 1:
        become(_WORKER_ARGV, environ)
    with Supervisor() as supervisor:
        supervisor.start(*_workers(number, environ))
        supervisor.run()


@click.command()
def clock() -> None:
    """Start scheduled alerts, and hand on the work of dead workers."""
    logs.begin_json("clock", os.environ)
    become(_CLOCK_ARGV, without_private_keys(*_checked_environment("clock")))


@click.command()
def fetch() -> None:
    """Read the articles whose links editors write, so that the form is filled in from them."""
    logs.begin_json("fetch", os.environ)
    for name in SECRETS:
        if is_set(os.environ, name):
            say("fetch", _IGNORED.format(name=name))
    # Not `environment()`, which reads the keys of DATA_DIR too.
    environ = without(with_environment({}), *SECRETS)
    config = Config.read(environ)
    if not config.redis_url and (url := redis_server.running_url(config.data_dir)):
        environ["REDIS_URL"] = url
    config = Config.read(environ)
    config.check_redis_named()
    as_soon_as_redis_answers("fetch", lambda: check_redis(config))
    become(_FETCH_ARGV, environ)


# Everything on this machine ---------------------------------------------------------------------


@click.command()
def up() -> None:
    """Run everything on this machine: Redis, web, workers, clock and fetch."""
    logs.begin_json("up", os.environ)
    config = Config.read(os.environ)
    check_temporary_folder()
    with ExitStack() as stack:
        redis = None
        if not config.redis_url:
            redis = stack.enter_context(redis_server.embedded_redis(config.data_dir))
        check_port(config)
        found = find_secrets(config.data_dir, config.keys_set)
        environ = with_environment(found)
        if config.redis_url:  # wait for it while Ctrl-C still ends this process
            Runtime.start(Config.read(environ), "up", COMMAND)
        supervisor = stack.enter_context(Supervisor())
        if redis:
            environ["REDIS_URL"] = redis.url
            _start_redis(supervisor, redis, config)
        config = Config.read(environ)
        runtime = Runtime.open(config)  # fail here in one line, not in each process
        keep_secrets(config.data_dir, found)  # they fit the store
        _first_topics(runtime)
        with suppress(RedisError):  # it may be full
            # Before the workers compare: these are the settings of web from now on.
            runtime.store.processes.note_web(runtime.shared)
            runtime.keys.announce()
        _start_processes(supervisor, runtime, environ)
        _print_banner(config, runtime.editors.first_link())
        supervisor.run()


FIRST_TOPICS = (
    Topic("breaking", "Breaking news", "Only what cannot wait", default=True),
    Topic("world", "World", "What happens elsewhere, and why it matters here"),
    Topic("sport", "Sport", "Results, and the stories behind them"),
    Topic("culture", "Culture", "Books, stages, screens and walls"),
    Topic("science", "Science", "What was found out this week"),
)


def _first_topics(runtime: Runtime) -> None:
    """Give a new installation the topics of the demo newspaper, so readers can follow some."""
    if not runtime.topics.all() and not runtime.subscriptions.count():
        for topic in FIRST_TOPICS:
            runtime.topics.add(topic)


def check_temporary_folder() -> None:
    """Check before anything starts that gunicorn can make its temporary files; `ConfigError`."""
    try:
        gettempdir()
    except FileNotFoundError:
        raise ConfigError(
            "TMPDIR: no folder for temporary files can be written, neither /tmp nor /var/tmp; set"
            " TMPDIR to one that can"
        ) from None


def check_port(config: Config) -> None:
    """Check before anything starts that the port is free; `ConfigError`."""
    family = socket.AF_INET6 if ":" in config.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.bind, config.port))
        except OSError as error:
            elsewhere = isinstance(error, socket.gaierror) or error.errno == EADDRNOTAVAIL
            name = "BIND" if elsewhere else "PORT"
            raise ConfigError(
                f"{name}: cannot listen on {bracketed(config.bind)}:{config.port}"
                f" ({error.strerror}); set another {name}"
            ) from None


def _start_redis(supervisor: Supervisor, redis: redis_server.EmbeddedRedis, config: Config) -> None:
    """Start the embedded Redis and wait until it has loaded its data."""
    # It needs none of our environment, and must not see our secrets. A wrong locale would end it.
    child = Child("Redis", redis.argv, {"LC_ALL": "C"}, keep=[redis.lock], before=redis.tidy)
    supervisor.start(child)
    waited = False

    def answers() -> bool:
        nonlocal waited
        try:
            knock(redis.url)
        except BusyLoadingError:
            if not waited:
                waited = True
                say("up", "waiting, because Redis is loading its data")
            return False
        except RedisError:
            return False
        return True

    try:
        supervisor.wait(answers)
    except ChildEnded as error:
        raise click.ClickException(f"{error}; see {config.data_dir}/redis.log") from None


def _start_processes(supervisor: Supervisor, runtime: Runtime, environ: Mapping[str, str]) -> None:
    """Start all processes and wait until `/readyz` answers 200."""
    config, public = runtime.config, without_private_keys(environ, runtime)
    supervisor.start(
        Child("web", web_argv(config), public),
        Child("clock", _CLOCK_ARGV, public),
        Child("fetch", _FETCH_ARGV, without(environ, *SECRETS)),
        *_workers(config.worker_concurrency, environ),
    )
    try:
        supervisor.wait(lambda: is_ready(config), timeout=READY_WITHIN)
    except ChildEnded as error:
        raise click.ClickException(f"{error} while starting; its messages are above") from None
    except TimeoutError:
        raise click.ClickException(
            f"{config.public_url}/readyz did not answer 200 within {READY_WITHIN} s"
        ) from None


def is_ready(config: Config) -> bool:
    """Whether `/readyz` answers 200."""
    # These stand for every address: one can listen there, but not call there.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.bind, config.bind)  # noqa: S104
    connection = HTTPConnection(host, config.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _print_banner(config: Config, first_link: str | None) -> None:
    """Print the links, where the data is, and which settings a real site still needs.

    The sign-in link is only for the first editor: it ends in logs that others read.
    """
    rows = [
        ("Start here", config.public_url),
        ("Sign in once", first_link) if first_link else ("Sign in", f"{config.public_url}/desk/"),
        ("Data and keys", str(config.data_dir)),
    ]
    needed = {
        "SITE_URL": config.site_url,
        "SITE_ORIGINS": config.site_origins,
        "VAPID_SUBJECT": config.vapid_subject,
    }
    missing = [name for name, value in needed.items() if not value]
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
        console.print(Text(f"Set before you use it on a real site: {', '.join(missing)}.", "dim"))
    if not first_link:
        console.print(Text("A new sign-in link for an editor: stoppress editor add EMAIL", "dim"))
    console.print(Text("Ctrl-C stops everything.", "dim"))
    console.print()
