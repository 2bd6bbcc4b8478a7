"""A container's image and containers, made as a Containerfile and a compose.yaml say.

There is no registry here, and no Docker. So a minimal Debian (`.venv/debian.tar`, made by
mmdebstrap) with Python in `/usr/local` stands in for `python:3.13-slim`, and this module for what
builds and runs: it does the file's RUN, COPY, USER, ENV, WORKDIR and ENTRYPOINT, and for a service
its command, environment, secrets, tmpfs, its read-only root and its lack of capabilities.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.hosts.hosts import Host

DEBIAN = ROOT / ".venv" / "debian.tar"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Runs a command in the root "$1", in the folder "$2", after "$3" has changed its mounts.
_ENTER = """
cd "$1"
eval "$3"
mount --rbind /proc proc
mount --rbind /dev dev
exec chroot . sh -ec 'cd "$1"; shift; exec "$@"' sh "$2" "${@:4}"
"""
# Shows a file or folder of this machine there.
_SHOW = """
if [ -d {place} ]; then mkdir -p .{place}; else mkdir -p "$(dirname .{place})"; touch .{place}; fi
mount --bind {place} .{place}
"""


def _of_pip() -> tuple[dict[str, str], set[str]]:
    """Return what pip is told on this machine, as environment, and the files that this names."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(global|:env:)\.([\w-]+)='(.*)'$", listed, flags=re.M)
    found.sort(key=lambda one: one[0] == ":env:")  # which counts more
    settings = {f"PIP_{name.replace('-', '_').upper()}": value for _, name, value in found}
    words = [word for value in settings.values() for word in value.split()]
    # An index leads to files beside it.
    folders = [str(Path(word[7:]).parent) for word in words if word.startswith("file:///")]
    places = {one for one in (*words, *folders) if one[:1] == "/" and Path(one).exists()}
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {**proxies, **settings}, places


class Image:
    """The root that a Containerfile leaves, and what it says of processes."""

    def __init__(self, file: Path, folder: Path) -> None:
        """Build it in `folder`, or skip the test."""
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("needs root and unshare, to build a container's root")
        if not DEBIAN.exists():
            pytest.skip("needs .venv/debian.tar: make .venv/debian.tar makes it on Debian")
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.environment = {"PATH": _PATH}
        self.user, self.folder = "0", "/"
        self.entry: list[str] = []
        self.health: list[str] = []
        subprocess.run(["tar", "-xpf", DEBIAN, "-C", self.root], check=True)
        lines = file.read_text().replace("\\\n", " ").splitlines()
        for line in lines:
            if line and not line.startswith("#"):
                self._do(*line.split(maxsplit=1))

    def _do(self, word: str, rest: str) -> None:
        if word == "FROM":
            assert rest.startswith("docker.io/library/python:"), rest
            self._run("python3 -m venv /usr/local")
        elif word == "RUN":
            self._run(rest)
        elif word == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                self._copy(ROOT / source, target)
        elif word == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "USER":
            self.user = rest
        elif word == "HEALTHCHECK":
            self.health = json.loads(rest.partition("CMD ")[2])
        elif word == "ENTRYPOINT":
            self.entry = json.loads(rest)
        else:
            assert word in ("EXPOSE", "CMD"), word

    def _copy(self, source: Path, target: str) -> None:
        there = self.root / self.folder.lstrip("/") / target
        if source.is_dir():
            shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, there)

    def _run(self, script: str) -> None:
        """Do a line of the file as root, with this machine's network and pip's settings here."""
        assert self.user == "0"
        settings, places = _of_pip()
        change = [_SHOW.format(place=place) for place in ("/etc/resolv.conf", *places)]
        done = subprocess.run(
            ["unshare", "--mount", *self.argv(["sh", "-c", script], "\n".join(change))],
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    def argv(self, command: Sequence[str], change: str) -> list[str]:
        """The command that runs another in this root, in a mount namespace that is its own."""
        return ["bash", "-ec", _ENTER, "bash", str(self.root), self.folder, change, *command]


class Container:
    """A service of a compose.yaml, on a host of a network."""

    def __init__(
        self, image: Image, host: Host, compose: Mapping[str, Any], name: str, folder: Path
    ) -> None:
        """Run it with the files of `folder`, where its compose.yaml is, and `hosts` is besides."""
        self._image, self._host, self._folder = image, host, folder
        self._service = compose["services"][name]
        self._secrets = {
            one: folder / compose["secrets"][one]["file"]
            for one in self._service.get("secrets", ())
        }
        assert self._service["read_only"] is True
        assert self._service["cap_drop"] == ["ALL"]
        assert self._service["security_opt"] == ["no-new-privileges:true"]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        lines = (self._folder / self._service["env_file"]).read_text().splitlines()
        file = dict(line.split("=", 1) for line in lines)
        return {**self._image.environment, **file, **self._service["environment"]}

    def argv(self, *command: str) -> list[str]:
        """The command that runs another in it, as its user and with its mounts."""
        change = ['mount --bind "$1" "$1"', 'mount -o remount,bind,ro "$1"', 'cd "$1"']
        change += ["mount -t tmpfs -o mode=0755 tmpfs run", "mkdir run/secrets"]
        for name, file in self._secrets.items():
            change += [f"touch run/secrets/{name}", f"mount --bind {file} run/secrets/{name}"]
        change += ["mount -o remount,ro run", f"mount --bind {self._folder}/hosts etc/hosts"]
        for place in self._service["tmpfs"]:
            change.append(f"mount -t tmpfs -o mode=1777 tmpfs .{place}")
        uid = self._image.user
        users = (self._image.root / "etc" / "passwd").read_text().splitlines()
        (gid,) = (one.split(":")[3] for one in users if one.split(":")[2] == uid)
        rights = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        rights += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig=TERM"]
        inner = self._image.argv([*rights, *command], "; ".join(change))
        return self._host.argv("unshare", "--mount", *inner)

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start what it is for."""
        command = [*self._image.entry, *self._service["command"]]
        with log.open("ab") as to:
            return subprocess.Popen(
                self.argv(*command),
                env=self.environment,
                stdout=to,
                stderr=to,
                start_new_session=True,
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it beside that, as `docker compose exec` does."""
        return subprocess.run(
            self.argv(*command), env=self.environment, capture_output=True, text=True
        )
