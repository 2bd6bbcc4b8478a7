"""A root of the test's own, in which commands that a guide has for root change nothing here.

It shows this machine's files, keeps what is written in memory, and is gone with its `with` block.
What would need a network or a running systemd is replaced by a command of the same name: `git`
copies the code of this folder, `make` makes an environment with the libraries of this one,
`systemctl` only notes what is to be started, `scp` what is to be copied where, and `sudo` is there
even if this machine has none. A root may be that of a host with a name and a network of its own
(tests/support/hosts/hosts.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CODE = "Makefile Procfile pyproject.toml requirements.lock service workers web docs"
_LIBRARIES = sysconfig.get_path("purelib")
# Where the root has them: a unit does not see this folder, if it is below `/tmp` or `/home`.
_LIBRARIES_THERE = "/usr/local/lib/libraries-of-the-tests"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_NEEDED = ("unshare", "nsenter", "setpriv", "useradd", "systemd-analyze", "curl", "openssl")
# It ends when the test closes its input, and then nothing is left of the root.
_MAKE = """
[ -z "$1" ] || echo "$1" > /proc/sys/kernel/hostname
shift
root=$1/root
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$3"
mount --bind "$2" "$root$3"
shift 3
for one in "$@"; do
  [ -e "$root$one" ] || { mkdir -p "$root$one"; mount --bind "$one" "$root$one"; }
  while one=$(dirname "$one"); [ "$one" != / ]; do chmod a+rx "$root$one"; done
done
echo ready
exec cat
"""
_STAND_INS = {
    "git": f"""
[ "$1" = clone ] || exit 1
mkdir -p "$3"
cd {ROOT}
cp -r --preserve=timestamps {_CODE} "$3"
""",
    "make": f"""
[ "$1 $3" = "-C .venv/for-run" ] || exit 1
cd "$2"
libraries=.venv/lib/python{_VERSION}/site-packages
mkdir -p .venv/bin $libraries
ln -s {Path(sys.base_prefix, "bin", f"python{_VERSION}")} .venv/bin/python
echo home = {Path(sys.base_prefix, "bin")} > .venv/pyvenv.cfg
printf '%s\\n' "$2" {_LIBRARIES_THERE} > $libraries/libraries.pth
echo "#!$2/.venv/bin/python
from service.cli import main
main()" > .venv/bin/stoppress
chmod 0755 .venv/bin/stoppress
""",
    "systemctl": """
[ "$1" = restart ] || { [ "$1 $2" = "enable --now" ] && shift; }
shift
printf '%s\\n' "$@" >> /enabled
""",
    "scp": """
[ "$1" = -r ] || exit 1
echo "$PWD/$2 ${3#root@}" >> /copied
""",
    "sudo": """
user=${1#--user=}; shift
exec setpriv --reuid="$user" --regid="$user" --init-groups env -i PATH="$PATH" "$@"
""",
}


class OwnRoot:
    """The root, and what is done in it."""

    def __init__(self, folder: Path, host_name: str = "") -> None:
        """Make it in this folder, with a network if it is that of a host; or skip the test."""
        if missing := [one for one in _NEEDED if shutil.which(one) is None]:
            pytest.skip(f"needs {', '.join(missing)}")
        if os.geteuid() != 0:
            pytest.skip("needs root, to make a root of its own for the commands of a guide")
        folder.mkdir()
        self._root = folder / "root"
        self._spaces = ["--mount", *(["--net", "--uts"] if host_name else [])]
        make = [
            _MAKE,
            "sh",
            host_name,
            str(folder),
            _LIBRARIES,
            _LIBRARIES_THERE,
            str(ROOT),
            sys.base_prefix,
        ]
        self._holder = subprocess.Popen(
            ["unshare", *self._spaces, "sh", "-ec", *make],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            pytest.skip(f"no root of its own can be mounted: {self._holder.communicate()[1]}")
        for name, text in _STAND_INS.items():
            self.path(f"/usr/local/sbin/{name}").write_text(f"#!/bin/sh -e\n{text}")
            self.path(f"/usr/local/sbin/{name}").chmod(0o755)

    def __enter__(self) -> OwnRoot:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    @property
    def pid(self) -> int:
        """The process whose namespaces it is in."""
        return self._holder.pid

    def path(self, path: str) -> Path:
        """Where this process finds a file of the root."""
        return Path(f"/proc/{self.pid}/root{self._root}{path}")

    def argv(self, *command: str, before: str = ":") -> list[str]:
        """The command that runs another in this root, after `before` has changed its mounts."""
        enter = ["nsenter", f"--target={self.pid}", *self._spaces, "unshare", "--mount"]
        change = f'cd {self._root}; {before}; exec chroot . "$@"'
        return [*enter, "sh", "-ec", change, "sh", *command]

    def run(self, script: str) -> str:
        """Run commands of a guide as its reader would, and return what they print."""
        done = subprocess.run(
            self.argv("sh", "-euc", script),
            env={"PATH": PATH, "HOME": "/root"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout
