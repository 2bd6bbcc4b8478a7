"""An installation on many hosts, set up as docs/ops/deploying.md says.

Each host is a network namespace (hosts.py) with a root of its own (own_root.py), in which the
guide's commands are run and its units started.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from http.client import HTTPException, HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from service.store import connect
from service.store.operations.installation import Installation
from tests.support.hosts.guides import commands, section
from tests.support.hosts.hosts import Host, Network
from tests.support.hosts.own_root import PATH, OwnRoot
from tests.support.hosts.units import RunningUnit
from tests.support.processes.installation import wait_until
from tests.support.processes.rolling import nginx_argv
from tests.support.push_service import PushService
from tests.support.push_service.certificates import Authority, names_of
from workers.trials.processes import running

T = TypeVar("T")

GUIDE = "Many hosts"
_ROW = re.compile(r"^\| ([\w, -]+) \| ([\d., ]+) \| (.+) \|$", re.M)
_PORT = 443
_REDIS = "redis-server /etc/redis/redis.conf --daemonize no"
_LAST_SETTING = "WEB_CONCURRENCY=1\n"
# Where readers are: behind a host that leads to all of these addresses.
_READERS, _READERS_NETWORK = "10.0.0.61", "10.1.0.0/16"


class ManyHosts:
    """The hosts of the guide's table, and the push service; this thread is among the readers."""

    def __init__(self, stack: ExitStack, folder: Path, settings: Mapping[str, str]) -> None:
        """Follow the guide, and start what it starts; `stack` ends everything."""
        self._stack, self._folder = stack, folder
        self._network = stack.enter_context(Network())
        self.hosts: dict[str, Host] = {}
        self.roots: dict[str, OwnRoot] = {}
        self._units_of: dict[str, str] = {}
        for names, addresses, units in _ROW.findall(section(GUIDE)):
            for name, address in zip(names.split(", "), addresses.split(", "), strict=True):
                self._units_of[name] = units.strip("`") if "stoppress-" in units else ""
                self._add(name, address)
        push = self._network.host("push", "10.0.0.51")
        self.readers = self._network.host("readers", _READERS)
        with push.entered():
            self.push = stack.enter_context(PushService(host=push.address))
        self.units: dict[str, RunningUnit] = {}
        self._addresses = count(1)
        self._start_nginx()
        self._follow(settings)
        stack.enter_context(self.readers.entered())

    def _add(self, name: str, address: str) -> None:
        pid = None
        if name != "nginx":
            root = self._stack.enter_context(OwnRoot(self._folder / name, name))
            self.roots[name], pid = root, root.pid
        self.hosts[name] = self._network.host(name, address, pid)

    def _start_nginx(self) -> None:
        host, folder = self.hosts["nginx"], self._folder / "proxy"
        folder.mkdir()
        (folder / "certificate.pem").write_bytes(Authority("a test").issue(names_of(host.address)))
        found = re.search(r"the two servers are `([\d.:]+)` and `([\d.:]+)`", section(GUIDE))
        assert found
        argv = nginx_argv(folder, _PORT, found.groups())
        self._stack.enter_context(running(host.argv(*argv)))
        self.readers.run(f"ip route add local {_READERS_NETWORK} dev lo")
        host.run(f"ip route add {_READERS_NETWORK} via {_READERS}")
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def _follow(self, settings: Mapping[str, str]) -> None:
        make, copy, install, self.commands = commands(GUIDE)
        ours = {
            "PUSH_SERVICES": self.push.origin,
            "PUSH_CA_BUNDLE": "/etc/push-services.pem",
            "PUSH_PROXY": "none",
            "QUIET_HOURS": "none",
            **settings,
        }
        for root in self.roots.values():
            root.path("/etc/push-services.pem").write_text(self.push.ca_file.read_text())
        lines = "".join(f"{name}={value}\n" for name, value in ours.items())
        assert make.count(_LAST_SETTING) == 1
        redis = self.roots["redis"]
        redis.run(make.replace(_LAST_SETTING, _LAST_SETTING + lines) + copy)
        by_address = {self.hosts[name].address: name for name in self.roots}
        for line in redis.path("/copied").read_text().splitlines():
            source, _, target = line.partition(" ")
            address, _, path = target.partition(":")
            shutil.copytree(redis.path(source), self.roots[by_address[address]].path(path))
        assert redis.path("/enabled").read_text() == "redis-server\n"
        self._start_redis(redis)
        for name, units in self._units_of.items():
            if units:
                self.roots[name].run(install.replace("UNIT", units))
                self._start_units(name)

    def _start_redis(self, root: OwnRoot) -> None:
        """Do what Debian's unit does."""
        root.run("install -d -o redis -g redis /run/redis")
        user = "setpriv --reuid=redis --regid=redis --init-groups --pdeathsig=TERM"
        argv = root.argv(*f"{user} {_REDIS}".split())
        self._stack.enter_context(running(argv, {"PATH": PATH}))

    def _start_units(self, name: str) -> None:
        root = self.roots[name]
        for unit in root.path("/enabled").read_text().split():
            one = self.units[name] = RunningUnit(root, unit, self.log_of(name))
            one.start()
            self._stack.callback(self._end, one)

    def _end(self, unit: RunningUnit) -> None:
        if unit.process is not None and unit.process.poll() is None:
            unit.stop()

    def log_of(self, name: str) -> Path:
        """The file of what a host's unit writes to stderr."""
        return self._folder / f"{name}.log"

    def wait_until(self, look: Callable[[], T], timeout: float = 120.0) -> T:
        """Wait as `wait_until` does; what ends meanwhile is started again, as systemd does."""

        def looked() -> T:
            for unit in self.units.values():
                unit.go_on()
            return look()

        try:
            return wait_until(looked, timeout, every=0.1)
        except AssertionError as error:
            logs = [f"{one}:\n{self.log_of(one).read_text()[-2000:]}" for one in self.units]
            raise AssertionError("\n".join([str(error), *logs])) from None

    def command(self, words: str) -> str:
        """Run a command of ours in place of the doctor, as the guide runs that."""
        assert self.commands.endswith(" doctor\n")
        return self.roots["redis"].run(self.commands.replace(" doctor\n", f" {words}\n"))

    def leader(self) -> Host:
        """The host of the clock that leads."""
        root = self.roots["redis"]
        url = root.path("/etc/stop-press/keys/redis_url").read_text().strip()
        certificate = "/etc/stop-press/redis.pem"
        with connect(url.replace(certificate, str(root.path(certificate)))) as redis:
            name = self.wait_until(Installation(redis).leader)
        return self.hosts[name.partition(":")[0]]

    def connection(self) -> HTTPSConnection:
        """A connection to nginx from another reader's address than the last."""
        number = next(self._addresses)
        source = (f"10.1.{number >> 8}.{number & 255 or 1}", 0)
        host = self.hosts["nginx"].address
        return HTTPSConnection(host, _PORT, timeout=60.0, context=self._tls, source_address=source)

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Call by nginx; return status and body, or 0 and the error if there is no response."""
        with closing(self.connection()) as connection:
            return ask(connection, method, path, body, token)


def ask(
    connection: HTTPSConnection, method: str, path: str, body: Any = None, token: str = ""
) -> tuple[int, Any]:
    """Call as `ManyHosts.call` does, on a connection that is left open."""
    headers = {"Host": "push.paper.example", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
    except (OSError, HTTPException) as error:
        return 0, repr(error)
    return response.status, json.loads(text) if text[:1] == b"{" else text
