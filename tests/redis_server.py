"""A real, throwaway Redis with an append-only file, for tests that stop, kill or restart it.

`python -m tests.redis_server COMMAND…` runs a command with `REDIS_URL` naming a throwaway one that
is reached over TCP and configured as Redis comes: the tests, say, against such a server too.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

from service.embedded import Server, answers, find_servers, server_argv, socket_url
from service.processes import spawn


class RedisServer:
    """Started and removed by `with`; its data is kept from one `start` to the next."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or find_servers()[0]
        self._folder = tempfile.TemporaryDirectory(prefix="stoppress-test-")
        self._socket = Path(self._folder.name) / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = socket_url(self._socket)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it and wait until it has loaded its data."""
        directory = Path(self._folder.name) / "redis"
        directory.mkdir(exist_ok=True)
        self._process = spawn(server_argv(self.server, directory, self._socket))
        while not answers(self.url):
            if self._process.poll() is not None:
                raise RuntimeError((directory.parent / "redis.log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """Let it finish its file and exit."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop it and start it on the same data."""
        self.stop()
        self.start()

    def flush(self) -> None:
        """Empty it."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


def main(command: list[str]) -> int:
    """Run a command beside a Redis over TCP, the least preferred of those installed."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    url = f"redis://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="stoppress-test-") as folder:
        options = ("--port", port, "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes")
        quiet = ("--logfile", str(Path(folder) / "redis.log"))
        server = spawn([find_servers()[-1].binary, *options, *quiet])
        try:
            while not answers(url):
                if server.poll() is not None:
                    return 1
                time.sleep(0.02)
            return subprocess.run(
                command, env={**os.environ, "REDIS_URL": url}, check=False
            ).returncode
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
