"""`stoppress bench`: how fast this machine is, with peers beside it in the same run.

All it needs is its own: a Redis in a temporary folder, pretend readers, workers and clock as
processes, and a sink on 127.0.0.1 that plays the push service. All of it is gone at the end.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pycurl
import requests
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid
from pywebpush import webpush
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rq import Queue, Worker

from service import seeding
from service.config import Config, ConfigError, settings
from service.dispatch import QUEUE
from service.embedded import answers, embedded_redis
from service.keys import VapidKey, b64url
from service.models import Audience, Content, Outcome, SubscriptionId, Topic
from service.payload import Payload
from service.runtime import Runtime
from workers import wire
from workers.sink import Sink, SinkError, any_sink, running

_TOPICS = ("world", "sport", "culture", "science")
_SUBJECT = "mailto:bench@newsroom.example"
_CONTENT = Content(
    title="Parliament passes the coastal protection act",
    body="After eleven hours of debate, 212 members voted in favour.",
    url="https://www.newsroom.example/politics/coastal-protection-act",
)
_READY_WITHIN = 60.0  # seconds for Redis and workers to come up
_STALLED = 60.0  # seconds without an outcome after which a run is given up
_LOOK = 0.02  # seconds between two looks at how far it is
_ONE_CORE = 0.5  # seconds for which one core is asked what it can do

PYWEBPUSH_MESSAGES = 1000
WEB_PUSH_MESSAGES = 2000
_WEB_PUSH_VERSION = "3.6.7"
# The first messages open the connections and let V8 compile: they are sent, and not measured.
_WEB_PUSH_SCRIPT = """
const webpush = require("web-push");
const { Agent } = require("https");
const asked = JSON.parse(require("fs").readFileSync(0));
const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: asked.ca });
const options = { vapidDetails: asked.vapid, agent, TTL: 14400, urgency: "high" };
async function send(subscriptions) {
  let accepted = 0;
  const left = subscriptions.values();
  const one = async () => {
    for (const subscription of left) {
      const answer = await webpush.sendNotification(subscription, asked.payload, options);
      accepted += answer.statusCode === 201;
    }
  };
  await Promise.all(Array.from({ length: 16 }, one));
  return accepted;
}
(async () => {
  await send(asked.subscriptions.slice(0, asked.warm_up));
  const cpu = process.cpuUsage(), start = process.hrtime.bigint();
  const accepted = await send(asked.subscriptions.slice(asked.warm_up));
  const { user, system } = process.cpuUsage(cpu);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  console.log(JSON.stringify({ accepted, seconds, cpu: (user + system) / 1e6 }));
  process.exit();
})();
"""


class BenchError(click.ClickException):
    """What kept the benchmark from its end, in one line."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one sender took for its messages; CPU in seconds, None where it was not measured.

    `ratio` is its CPU, Redis included, over ours. With `absent` it did not run, and that says why.
    """

    sender: str
    messages: int = 0
    accepted: int = 0
    seconds: float = 0.0
    sender_cpu: float = 0.0
    redis_cpu: float | None = None
    sink_cpu: float | None = None
    absent: str = ""

    @property
    def cpu(self) -> float:
        """CPU seconds of sender and Redis for one message."""
        return (self.sender_cpu + (self.redis_cpu or 0.0)) / self.messages

    def as_json(self, ours: Row) -> dict[str, Any]:
        """Return the row as the document has it: rates a second, CPU in µs a message."""
        if self.absent:
            return {"sender": self.sender, "absent": self.absent}
        parts = {"sender": self.sender_cpu, "redis": self.redis_cpu, "sink": self.sink_cpu}
        return {
            "sender": self.sender,
            "messages": self.messages,
            "accepted": self.accepted,
            "seconds": self.seconds,
            "per_second": self.messages / self.seconds,
            "cpu_us": {
                name: None if cpu is None else cpu / self.messages * 1e6
                for name, cpu in parts.items()
            },
            "ratio": self.cpu / ours.cpu,
        }


@dataclass(frozen=True, slots=True)
class House:
    """A running house: what it is put together from, and the processes whose CPU counts."""

    runtime: Runtime
    redis: int
    senders: tuple[int, ...]


# Ending -----------------------------------------------------------------------------------------

_signals: list[int] = []


def _end(number: int, _frame: object) -> None:
    """Raise an exception, so that everything is ended and removed on the way out."""
    _signals.append(number)
    sys.exit(1)


def _heed_signals() -> None:
    """End even if the handler's exception was lost: Python drops those raised within a fork."""
    if _signals:
        sys.exit(1)


def _look_again() -> None:
    time.sleep(_LOOK)
    _heed_signals()


# Running ----------------------------------------------------------------------------------------


@contextmanager
def house(folder: Path, sink: Sink, workers: int) -> Iterator[House]:
    """Start Redis, workers and clock, and wait until all are ready."""
    with ExitStack() as stack:
        redis = stack.enter_context(embedded_redis(folder))
        server = stack.enter_context(running(redis.argv, {"LC_ALL": "C"}, [redis.lock]))
        _wait(lambda: answers(redis.url), [server])
        ours = {
            "REDIS_URL": redis.url,
            "SECRET_KEY": secrets.token_urlsafe(32),
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
            "VAPID_SUBJECT": _SUBJECT,
            "PUSH_SERVICES": sink.origin,
            "PUSH_CA_BUNDLE": str(sink.ca_file),
            "DATA_DIR": str(folder),
        }
        # No setting of a real house reaches this one.
        names = {row.name.upper() for row in settings()}
        environ = {name: value for name, value in os.environ.items() if name not in names} | ours
        runtime = Runtime.open(Config.read(ours))
        stack.callback(runtime.store.redis.close)
        for slug in _TOPICS:
            runtime.store.house.add_topic(Topic(slug, slug.title()))
        modules = [*["workers.worker"] * workers, "workers.clock"]
        senders = [
            stack.enter_context(running([sys.executable, "-m", module], environ))
            for module in modules
        ]
        queue = Queue(QUEUE, connection=runtime.store.redis)
        _wait(lambda: Worker.count(queue=queue) == workers, [server, *senders])
        yield House(runtime, server.pid, tuple(process.pid for process in senders))


def _wait(ready: Callable[[], bool], processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not ready():
        for process in processes:
            if process.poll() is not None:
                raise BenchError(f"{process.args!r} ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise BenchError(f"the house was not ready within {_READY_WITHIN:.0f} s")
        _look_again()


def cpu_seconds(*pids: int) -> float:
    """Return the CPU that processes have used, user and system, in steps of 10 ms; Linux only."""
    ticks = 0
    for pid in pids:
        # The name may hold blanks and brackets; behind it utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# Senders ----------------------------------------------------------------------------------------


def fan_out(house: House, sink: Sink, step: Callable[[int], None]) -> Row:
    """Publish to every pretend reader; measured until the last outcome is recorded."""
    publishing = house.runtime.publishing
    parts = (house.senders, (house.redis,), (sink.pid,))
    before = [cpu_seconds(*pids) for pids in parts]
    start = changed = time.monotonic()
    published = publishing.publish(_CONTENT, Audience(everyone=True), by="bench")
    done = 0
    while done < published.recipients:
        _look_again()
        now = publishing.progress(published.id).done
        if now > done:
            done, changed = now, time.monotonic()
            step(done)
        elif time.monotonic() - changed > _STALLED:
            raise BenchError(f"no outcome for {_STALLED:.0f} s; {done:,} have one")
    seconds = time.monotonic() - start
    senders, redis, sinks = (
        cpu_seconds(*pids) - cpu for pids, cpu in zip(parts, before, strict=True)
    )
    accepted = publishing.progress(published.id).of(Outcome.ACCEPTED)
    return Row("Stop Press", published.recipients, accepted, seconds, senders, redis, sinks)


def _payload(house: House) -> bytes:
    """Return what a browser of the fan-out receives."""
    latest = house.runtime.publishing.latest(1)[0]
    receipt = house.runtime.tokens.receipt(latest.id, SubscriptionId(0, 0))
    return Payload(latest, house.runtime.config.public_url).carrying(receipt)


def _subscription(sink: Sink, number: int) -> dict[str, Any]:
    """Return a pretend subscription as a browser hands it out."""
    p256dh, auth = seeding.keys(number)
    keys = {"p256dh": b64url(p256dh), "auth": b64url(auth)}
    return {"endpoint": sink.origin + seeding.path(number), "keys": keys}


def pywebpush_session(house: House, sink: Sink, step: Callable[[int], None]) -> Row:
    """Send by pywebpush's `webpush()`, its best case: one session, the key read beforehand."""
    payload = _payload(house).decode()
    vapid = Vapid.from_raw(house.runtime.vapid_keys[0].text.encode())
    messages = PYWEBPUSH_MESSAGES
    subscriptions = [_subscription(sink, number) for number in range(messages)]
    accepted = 0
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(sink.ca_file)
        start, cpu = time.monotonic(), time.thread_time()
        for number, subscription in enumerate(subscriptions, 1):
            answer = webpush(
                subscription,
                payload,
                vapid_private_key=vapid,
                vapid_claims={"sub": _SUBJECT},
                ttl=_CONTENT.ttl,
                headers={"Urgency": _CONTENT.urgency},
                requests_session=session,
                timeout=10,
            )
            accepted += answer.status_code == 201
            step(number)
        cpu, seconds = time.thread_time() - cpu, time.monotonic() - start
    return Row("pywebpush", messages, accepted, seconds, cpu)


def web_push(house: House, sink: Sink, folder: Path) -> Row:
    """Send by web-push for Node with a keep-alive agent, 16 at a time."""
    name = "web-push"
    if not (shutil.which("node") and shutil.which("npm")):
        return Row(name, absent="not present: node and npm are not both installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."]
    try:
        subprocess.run(
            [*install, f"web-push@{_WEB_PUSH_VERSION}"],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=120,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return Row(name, absent="not present: npm could not install it")
    key = house.runtime.vapid_keys[0]
    vapid = {"subject": _SUBJECT, "publicKey": b64url(key.public), "privateKey": key.text}
    messages, warm_up = WEB_PUSH_MESSAGES, WEB_PUSH_MESSAGES // 10
    asked = {
        "subscriptions": [_subscription(sink, number) for number in range(messages + warm_up)],
        "warm_up": warm_up,
        "payload": _payload(house).decode(),
        "vapid": vapid,
        "ca": sink.ca_file.read_text(),
    }
    run = subprocess.run(
        ["node", "-e", _WEB_PUSH_SCRIPT],
        cwd=folder,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise BenchError(f"web-push ended with exit code {run.returncode}: {run.stderr.strip()}")
    said = json.loads(run.stdout)
    return Row(name, messages, said["accepted"], said["seconds"], said["cpu"])


# One core ---------------------------------------------------------------------------------------


def _each(work: Callable[[int], object]) -> float:
    """Return the CPU seconds that `work`, called with 0, 1, 2…, takes each time."""
    work(0)
    start, times = time.thread_time(), 0
    while (took := time.thread_time() - start) < _ONE_CORE:
        work(times)
        times += 1
    return took / times


def one_core(payload: bytes) -> dict[str, float]:
    """Return what one core can do at most, in µs of CPU a message and messages a second.

    `ecdh`: the new key pair and the key agreement that RFC 8291 wants for each message, as
    `cryptography` does them; `encrypt`: all of the message's encryption by our `wire`.
    """
    curve, agreement = ec.SECP256R1(), ec.ECDH()
    theirs = seeding.private_key(0).public_key()
    readers = [seeding.keys(number) for number in range(256)]
    ecdh = _each(lambda _: ec.generate_private_key(curve).exchange(agreement, theirs))
    encrypt = _each(lambda n: wire.encrypt(payload, *readers[n % 256]))
    return {
        "ecdh_us": ecdh * 1e6,
        "ecdh_per_second": 1 / ecdh,
        "encrypt_us": encrypt * 1e6,
        "encrypt_per_second": 1 / encrypt,
    }


# Report -----------------------------------------------------------------------------------------


def _versions(house: House) -> dict[str, str]:
    server = house.runtime.store.redis.info("server")
    curl = dict(re.findall(r"(libcurl|OpenSSL|nghttp2)/(\S+)", pycurl.version))
    found = {
        "Python": platform.python_version(),
        "cryptography": version("cryptography"),
        "OpenSSL of cryptography": backend.openssl_version_text().split()[1],
        "OpenSSL of Python": ssl.OPENSSL_VERSION.split()[1],
        "libcurl": curl["libcurl"],
        "OpenSSL of libcurl": curl.get("OpenSSL", "none"),
        "nghttp2": curl.get("nghttp2", "none"),
        "Redis": str(server["redis_version"]),
        "RQ": version("rq"),
        "pywebpush": version("pywebpush"),
        "requests": version("requests"),
        "web-push": _WEB_PUSH_VERSION,
    }
    if node := shutil.which("node"):
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        found["Node"] = said.stdout.strip().removeprefix("v")
    return found


def _machine() -> dict[str, Any]:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = found[1] if found else platform.machine()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0))}


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is, on standard error and only on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(what, total=total)

        def step(done: int) -> None:
            progress.update(task, completed=done)
            _heed_signals()

        yield step


def _print(document: Mapping[str, Any]) -> None:
    """Print the document as one table and the lines that belong under it."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("sender")
    for name in ("messages", "accepted", "a second", "CPU µs", "Redis", "sink", "ratio"):
        table.add_column(name, justify="right")
    for row in document["rows"]:
        if "absent" in row:
            continue
        cpu = ["–" if part is None else f"{part:.0f}" for part in row["cpu_us"].values()]
        counts = [f"{row[name]:,.0f}" for name in ("messages", "accepted", "per_second")]
        table.add_row(row["sender"], *counts, *cpu, f"{row['ratio']:.2f}")
    machine, one = document["machine"], document["one_core"]
    lines = [
        "CPU for one message: the sender's, that of Redis, that of the sink. The ratio is sender"
        " and Redis to ours.",
        "Stop Press: the whole path, from publishing to the last outcome recorded, by"
        f" {document['workers']} workers and a clock.",
        "pywebpush: webpush() with one requests session. web-push: Node with a keep-alive agent,"
        " 16 at a time.",
        *(f"{row['sender']}: {row['absent']}." for row in document["rows"] if "absent" in row),
        f"Sink: {document['sink']}. A message: {document['payload_bytes']} bytes before"
        " encryption.",
        f"One core at most: {one['ecdh_per_second']:,.0f} new key pairs and key agreements a second"
        f" ({one['ecdh_us']:.0f} µs), or {one['encrypt_per_second']:,.0f} messages encrypted"
        f" ({one['encrypt_us']:.0f} µs).",
        f"Machine: {machine['cores']} cores, {machine['cpu']}.",
        ", ".join(f"{name} {said}" for name, said in document["versions"].items()) + ".",
    ]
    console = Console(highlight=False)
    console.print(table, *lines, sep="\n")


# Commands ---------------------------------------------------------------------------------------


@click.group()
def main() -> None:
    """How fast is this machine: what Stop Press takes for a message, and peers beside it."""
    if not Path("/proc/self/stat").exists():
        raise BenchError("needs Linux, whose /proc says what each process took")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


@main.command()
@click.option(
    "--recipients", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True
)
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option("--peers/--no-peers", default=True, help="Measure pywebpush and web-push as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def fanout(recipients: int, workers: int, peers: bool, as_json: bool) -> None:
    """Send to everyone: the whole path, from publishing to the last outcome recorded."""
    try:
        with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder:
            document = _fanout(Path(folder), recipients, workers, peers)
    except (SinkError, ConfigError) as error:
        raise BenchError(str(error)) from None
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _print(document)


def _fanout(folder: Path, recipients: int, workers: int, peers: bool) -> dict[str, Any]:
    with any_sink(folder) as sink, house(folder, sink, workers) as ours:
        with _bar("seeding", recipients) as step:
            for stored in seeding.seed(
                ours.runtime.store,
                recipients,
                origins=[sink.origin],
                vapid_key=ours.runtime.vapid_public_key,
                topics=_TOPICS,
            ):
                step(stored)
        with _bar("sending", recipients) as step:
            rows = [fan_out(ours, sink, step)]
        if peers:
            with _bar("pywebpush", PYWEBPUSH_MESSAGES) as step:
                rows.append(pywebpush_session(ours, sink, step))
            rows.append(web_push(ours, sink, folder))
        payload = _payload(ours)
        return {
            "bench": "fanout",
            "recipients": recipients,
            "workers": workers,
            "payload_bytes": len(payload),
            "rows": [row.as_json(rows[0]) for row in rows],
            "one_core": one_core(payload),
            "sink": sink.name,
            "machine": _machine(),
            "versions": _versions(ours),
        }


if __name__ == "__main__":
    main(prog_name="stoppress bench")
