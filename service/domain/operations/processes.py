"""Presence of the processes: each one leaves its settings and its host's clock in the store.

Settings that differ between hosts do silent harm: a worker without SITE_URL puts a link to itself
into messages. So each process says what it works with, and the doctor and the log compare.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

from redis import RedisError

from service.domain.counting import Counting
from service.domain.sending.job_queue import JobQueue
from service.model.operations.process_log import say
from service.model.time import clock
from service.model.time.spans import span
from service.store import PAGE, connect
from service.store.operations.counted import Counted
from service.store.operations.processes import Process, Processes

RELEASE = version("stop-press")
BEAT = 5.0  # seconds between two signs of life
SKEW = 1.0  # seconds of difference between two clocks that an operator should know of
# Settings that enter messages or decide who gets one: with another value than that of the web
# processes, a worker or clock sends what readers cannot use.
VITAL = ("SITE_URL", "SITE_ORIGINS", "LINK_PARAMETERS", "PUSH_SERVICES", "VAPID_PRIVATE_KEY")
_WEB_STARTS_WITHIN = 30.0  # seconds, where everything is started at once with new settings


def differences(
    mine: Mapping[str, str], others: Iterable[Process]
) -> list[tuple[str, str, list[Process]]]:
    """Return each setting that others have another value of: its name, that value, and who."""
    found: dict[tuple[str, str], list[Process]] = {}
    for other in others:
        for name, value in other.settings.items():
            if name == "VAPID_PRIVATE_KEY" and not (value and mine.get(name)):
                continue  # a process that sends nothing needs none
            if name in mine and value != mine[name]:
                found.setdefault((name, value), []).append(other)
    return [(name, value, who) for (name, value), who in sorted(found.items())]


def named(processes: Iterable[Process]) -> str:
    """Name processes by kind and host: `web and worker on paper-2`."""
    kinds: dict[str, set[str]] = {}
    for one in processes:
        kinds.setdefault(one.host, set()).add(one.kind)
    return ", ".join(f"{' and '.join(sorted(kinds[host]))} on {host}" for host in sorted(kinds))


class Misfit(Exception):
    """Settings that differ from those of web; the message is one line."""


class Presence:
    """Gives signs of life of this process, in a thread, and sets its clock by Redis'.

    With each it adds what the process has counted.
    """

    def __init__(
        self,
        kind: str,
        addresses: Mapping[str, str],
        settings: dict[str, str],
        counting: Counting | None = None,
    ) -> None:
        """Show a process of this kind; `addresses` are the settings that say where Redis is.

        It has connections of its own, because those of workers wait for Redis even at their end.
        """
        queue = addresses["REDIS_URL"]
        self._jobs = JobQueue(connect(queue, PAGE))
        store = connect(addresses.get("STORE_URL", queue), PAGE)
        self._processes = Processes(store)
        self._counting, self._counted = counting or Counting(), Counted(store)
        host = socket.gethostname()
        self._name = f"{kind} {host} {os.getpid()} {uuid.uuid4().hex[:6]}"
        self._me = Process(kind, host, settings, version=RELEASE)
        self._me = replace(self._me, pid=os.getpid(), began_at=round(clock.time(), 1))
        self._said: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin, with a sign of life at once."""
        with suppress(RedisError):
            self._beat()
            if self._me.kind == "web":
                self._processes.note_web(self._me.settings)
        self._thread.start()

    def stop(self) -> None:
        """Sign off, unless Redis is away."""
        self._ended.set()
        with suppress(RedisError):
            self._counting.add_to(self._counted)
            self._processes.end(self._name)

    def check(self) -> None:
        """Raise `Misfit` if this process has other settings than the web processes.

        Only settings count that change what readers get. If all processes are started at once with
        new settings, it waits for web to report them.
        """
        until = time.monotonic() + _WEB_STARTS_WITHIN
        with suppress(RedisError):  # then the work of this process says so
            while (why := self._misfit()) is not None:
                if self._webs() or time.monotonic() >= until:
                    raise Misfit(why)
                self._say(f"{why} Waiting for a web process with these.")
                time.sleep(0.5)

    def _webs(self) -> list[Process]:
        return [one for one in self._processes.alive() if one.kind == "web"]

    def _misfit(self) -> str | None:
        # Also the last one: those that seem alive may have been killed a moment ago.
        webs = self._webs() + self._last_web()
        for name, value, who in differences(self._me.settings, webs):
            if name in VITAL and all(self._is_wrong(name, web) for web in webs):
                return self._line(name, value, who)
        return None

    def _is_wrong(self, name: str, web: Process) -> bool:
        mine, theirs = self._me.settings.get(name), web.settings.get(name)
        if mine is None or theirs is None:
            return False
        if name in ("PUSH_SERVICES", "VAPID_PRIVATE_KEY"):  # it may have more of them
            return not {*theirs.split()} <= {*mine.split()}
        if name == "SITE_ORIGINS":  # messages name the first of them, the front page
            return mine.split()[:1] != theirs.split()[:1]
        return mine != theirs

    def _last_web(self) -> list[Process]:
        settings = self._processes.web_settings()
        return [Process("web", "", settings)] if settings else []

    def _line(self, name: str, value: str, who: list[Process]) -> str:
        mine = self._me.settings[name]
        hosts = ", ".join(sorted({one.host for one in who if one.host}))
        kind = who[0].kind
        there = f"that of {kind} on {hosts}" if hosts else f"that of the last {kind} process"
        return (
            f"{name} on {self._me.host} is {mine or 'not set'}, but {there} is"
            f" {value or 'not set'}. Give all processes the same settings."
        )

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(RedisError):
                self._beat()
                self._counting.add_to(self._counted)
                self._compare()

    def _beat(self) -> None:
        self._processes.set_clock()
        queue = self._jobs.server()
        self._me = replace(self._me, queue=queue, ahead=round(clock.ahead(), 1))
        self._processes.beat(self._name, self._me)

    def _compare(self) -> None:
        """Say once in the log what differs from the web processes."""
        if abs(ahead := self._me.ahead) >= SKEW:
            self._say(
                f"The clock of {self._me.host} is {span(abs(ahead))}"
                f" {'ahead of' if ahead > 0 else 'behind'} that of Redis, by which alerts are sent."
                " Set both by NTP."
            )
        for name, value, who in differences(self._me.settings, self._webs()):
            self._say(self._line(name, value, who))

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            say(self._me.kind, line)
