"""Units of systemd, and their processes run as the units say where no systemd runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from tests.support.hosts.own_root import PATH, OwnRoot

_DYNAMIC = range(61_184, 65_520)  # users that systemd makes


def rows(unit: Path) -> list[tuple[str, str]]:
    """The lines `Name=value` of a unit."""
    return [
        (line.partition("=")[0], line.partition("=")[2])
        for line in unit.read_text().splitlines()
        if re.match("[A-Za-z]+=", line)
    ]


def values(unit: Path, name: str) -> list[str]:
    """What a unit has for one name."""
    return [value for key, value in rows(unit) if key == name]


class RunningUnit:
    """A unit that is installed in a root, and its process."""

    def __init__(self, root: OwnRoot, name: str, log: Path) -> None:
        """Prepare its folder and its credentials."""
        self.root, self.name, self._log = root, name, log
        kind, at, self.instance = name.partition("@")
        units = root.path("/etc/systemd/system")
        # What is in the second folder holds for all of our units of which we have one a type.
        self._files = [units / f"{kind}{at}.service", *units.glob("stoppress-.service.d/*.conf")]
        self.user = self._find_user()
        self.state = f"/var/lib/{self._one('StateDirectory')}"
        credentials = f"/run/credentials/{name}.service"
        mode = self._one("StateDirectoryMode")
        user, group = self.user
        prepare = [
            f"install -d -m {mode} -o {user} -g {group} {self.state}",
            f"install -d -m 0500 -o {user} -g {group} {credentials}",
        ]
        for given in self._values("LoadCredential"):
            credential, _, source = given.partition(":")
            owner = f"-m 0400 -o {user} -g {group}"
            prepare.append(f"install {owner} {source} {credentials}/{credential}")
        root.run("\n".join(prepare))
        self.process: subprocess.Popen[bytes] | None = None

    def _values(self, name: str) -> list[str]:
        return [value for file in self._files for value in values(file, name)]

    def _one(self, name: str) -> str:
        (found,) = self._values(name)
        return self._filled(found)

    def _filled(self, text: str) -> str:
        """Put in what systemd puts in for `%i` and the like."""
        credentials = f"/run/credentials/{self.name}.service"
        meant = {"%i": self.instance, "%S": "/var/lib", "%d": credentials}
        return re.sub("%.", lambda found: meant[found[0]], text)

    def _find_user(self) -> tuple[int, int]:
        if self._values("DynamicUser") == ["yes"]:
            return (_DYNAMIC[crc32(self._one("User").encode()) % len(_DYNAMIC)],) * 2
        users = self.root.path("/etc/passwd").read_text()
        found = re.search(rf"^{self._one('User')}:[^:]*:(\d+):(\d+):", users, flags=re.M)
        assert found, f"{self.name}: the guide makes no such user"
        return int(found[1]), int(found[2])

    @property
    def environment(self) -> dict[str, str]:
        """The environment that systemd gives its process."""
        rights = {"PATH": PATH, "LANG": "C.UTF-8", "USER": self._one("User")}
        given = [self._filled(one) for one in self._values("Environment")]
        for file in self._values("EnvironmentFile"):  # which counts more
            given += self.root.path(file).read_text().split("\n")
        pairs = [one.partition("=") for one in given if "=" in one and not one.startswith("#")]
        return {**rights, **{name: value for name, _, value in pairs}}

    def start(self) -> None:
        """Start its process, with the unit's user and none of root's rights.

        It may write in its own folder and in `/tmp`, which is its own too.
        """
        for name, value in (("ProtectSystem", "strict"), ("PrivateTmp", "yes")):
            assert self._one(name) == value
        mine = self.state.lstrip("/")
        before = [
            f"mount --bind {mine} {mine}",
            "mount -o remount,bind,ro .",
            "mount -t tmpfs -o mode=1777 tmpfs tmp",
            "cd .",
            f"umask {self._one('UMask')}",
        ]
        user, group = self.user
        rights = [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig=TERM"),
        ]
        command = shlex.split(self._one("ExecStart"))
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.root.argv(*rights, *command, before="; ".join(before)),
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def go_on(self) -> None:
        """Start its process again if it has ended, as `Restart=always` says."""
        assert self._one("Restart") == "always"
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def stop(self) -> int:
        """End its process within the unit's time, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(float(self._one("TimeoutStopSec")))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
