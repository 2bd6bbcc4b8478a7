"""A real master, its replicas and the sentinels that watch them, all on free ports."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.local.redis_server import Server, find_servers
from service.local.supervisor import spawn
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.server import Proxy, RedisServer, find_tls_server
from workers.trials.processes import free_port

MASTER = "mymaster"
DOWN_AFTER = 500  # ms without an answer until a sentinel takes a server for dead
# ms. After twice as long an election that none won is held again, and after as long a replica of
# another address than the master's is led to it.
FAILOVER = 3000
LAGGING = 60_000  # for that replica


class Tls(NamedTuple):
    """The files with which servers speak TLS alone."""

    ca_file: Path
    certificate: Path  # with its key

    def options(self, port: int) -> dict[str, str]:
        """Return what makes a server speak TLS, to clients and to other servers."""
        own, authority = str(self.certificate), str(self.ca_file)
        return {
            **{"port": "0", "tls-port": str(port), "tls-replication": "yes"},
            **{"tls-cert-file": own, "tls-key-file": own, "tls-ca-cert-file": authority},
            "tls-auth-clients": "no",
        }


def _port(port: int, tls: Tls | None) -> dict[str, str]:
    return tls.options(port) if tls else {"port": str(port)}


class Node(RedisServer):
    """A Redis that sentinels can reach, too: it listens on a port and on its socket."""

    def __init__(
        self, password: str = "", server: Server | None = None, tls: Tls | None = None
    ) -> None:
        super().__init__(server or (find_tls_server() if tls else None))
        self.port, self._password, self._tls = free_port(), password, tls

    def client(self) -> redis.Redis:
        """Return a client without time-outs and retries."""
        client = super().client()
        client.connection_pool.connection_kwargs["password"] = self._password or None
        return client

    def start(self) -> None:
        secret = ("--requirepass", self._password, "--masterauth", self._password)
        options = {**_port(self.port, self._tls), "repl-diskless-sync-delay": "0"}
        # Behind a proxy its master could not tell the sentinels where it is.
        options["replica-announce-ip"] = "127.0.0.1"
        words = (word for name, value in options.items() for word in (f"--{name}", value))
        self._spawn(*words, *(secret if self._password else ()))
        wait_until(lambda: self.role() is not None)

    def role(self) -> str | None:
        """What it says of itself, `master` or `slave`; None while it does not answer."""
        with self.client() as client, suppress(redis.RedisError):
            return str(client.info("replication")["role"])
        return None

    def copy(self, port: int) -> None:
        """Become a replica of the Redis at this port."""
        with self.client() as admin:
            admin.replicaof("127.0.0.1", str(port))
            wait_until(lambda: admin.info("replication")["master_link_status"] == "up")

    def pause(self) -> None:
        """Stop the process, without closing its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Passwords(NamedTuple):
    """The passwords of the servers and of the sentinels, if they have any."""

    redis: str = ""
    sentinel: str = ""


class SentinelProcess:
    """One sentinel; its folder, and what it knows, is kept from one start to the next."""

    def __init__(
        self,
        folder: Path,
        watches: int,
        quorum: int,
        failover: int,
        passwords: Passwords,
        tls: Tls | None = None,
    ) -> None:
        """Watch the master at the port `watches`."""
        self.port, self._password = free_port(), passwords.sentinel or None
        self._tls = tls
        secrets = [f"requirepass {self._password}"] if self._password else []
        if passwords.redis:
            secrets.append(f"sentinel auth-pass {MASTER} {passwords.redis}")
        self._file = folder / f"sentinel-{self.port}.conf"
        lines = (
            *(f"{name} {value}" for name, value in _port(self.port, tls).items()),
            "bind 127.0.0.1",
            f"dir {folder}",
            f'logfile "{folder}/sentinel-{self.port}.log"',
            f"sentinel monitor {MASTER} 127.0.0.1 {watches} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}",
            f"sentinel failover-timeout {MASTER} {failover}",
            *secrets,
        )
        self._file.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        """Start it with what it knew at its end."""
        binary = (find_tls_server() if self._tls else find_servers()[0]).binary
        self._process = spawn([binary, str(self._file), "--sentinel"])
        wait_until(self._is_up)

    def _is_up(self) -> bool:
        with self.client() as client:
            try:
                client.ping()
            except redis.RedisError:
                return False
        self.hurry(200, 500)
        return True

    def hurry(self, publish: int = 2000, info: int = 10_000) -> None:
        """Set how often (ms) it says hello and looks; by default as sentinels have it.

        Four hellos pass until a master that was replaced becomes a replica. Before Redis 7.0 a
        sentinel cannot be hurried, and the tests take longer.
        """
        with self.client() as client, suppress(redis.ResponseError):
            client.execute_command("SENTINEL DEBUG publish-period", publish)
            client.execute_command("SENTINEL DEBUG info-period", info)

    def fail_over(self) -> None:
        """Begin a failover by hand."""
        with self.client() as client:
            client.execute_command("SENTINEL FAILOVER", MASTER)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client without retries."""
        never = Retry(NoBackoff(), 0)
        with redis.Redis(
            port=self.port,
            password=self._password,
            retry=never,
            socket_timeout=2,
            ssl=self._tls is not None,
            ssl_ca_certs=str(self._tls.ca_file) if self._tls else None,
        ) as client:
            yield client

    def master(self) -> int:
        """The port of the master that it names."""
        with self.client() as client:
            return int(client.sentinel_masters()[MASTER]["port"])

    def pause(self) -> None:
        """Stop the process, without closing its connections."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()


class Watched:
    """A master, its replicas and sentinels; a context manager."""

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        passwords: Passwords | None = None,
        lagging: bool = False,
        tls: Tls | None = None,
    ) -> None:
        """With `lagging`, `link` leads from the master to its replicas, and may be frozen."""
        self._passwords = passwords or Passwords()
        self._tls = tls
        self.nodes = [Node(self._passwords.redis, tls=tls) for _ in range(1 + replicas)]
        self._count, self._lagging = sentinels, lagging
        self.link = Proxy(self.nodes[0])
        self.sentinels: list[SentinelProcess] = []
        self._stack = ExitStack()

    def __enter__(self) -> Watched:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            stack.enter_context(self.link)
            source = self.link.port if self._lagging else self.nodes[0].port
            for replica in self.nodes[1:]:
                replica.copy(source)
            failover = LAGGING if self._lagging else FAILOVER
            folder, quorum = self.nodes[0].socket.parent, self._count // 2 + 1
            for _ in range(self._count):
                one = SentinelProcess(
                    folder, self.nodes[0].port, quorum, failover, self._passwords, self._tls
                )
                stack.callback(one.kill)
                self.sentinels.append(one)
            wait_until(self.is_watched)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_watched(self) -> bool:
        """Whether each sentinel knows all others and all replicas, so that it can fail over."""
        for one in self.sentinels:
            with one.client() as client:
                state = client.sentinel_masters()[MASTER]
            known = state["num-other-sentinels"], state["num-slaves"]
            if known != (len(self.sentinels) - 1, len(self.nodes) - 1):
                return False
        return True

    def url(self, master: str = MASTER, user: str = "", **options: str) -> str:
        """The address by Sentinel; `user` ends with an @."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        query = "&".join(f"{name}={value}" for name, value in options.items())
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}+sentinel://{user}{hosts}/{master}{'?' if query else ''}{query}"

    @property
    def master(self) -> Node:
        """The node that the sentinels name now, by the one with the latest failover."""
        states = []
        for one in self.sentinels:
            with suppress(redis.RedisError), one.client() as client:
                states.append(client.sentinel_masters()[MASTER])
        port = max(states, key=lambda state: state["config-epoch"])["port"]
        return next(node for node in self.nodes if node.port == port)

    def fail_over(self, how: Callable[[Node], None] = Node.kill) -> Node:
        """Kill the master, or do what `how` says to it; return the new one once it is named."""
        before = self.master
        how(before)
        wait_until(lambda: self.master is not before and self.master.role() == "master")
        return self.master
