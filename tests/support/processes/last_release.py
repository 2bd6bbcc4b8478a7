"""The code of the last release, from the history of the project, and processes that run it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.local.supervisor import follow_parent
from tests.support import ROOT

# The commit of the last release, with which a newsroom may still be running. The engineer who
# makes a release writes its commit here: the tests then start from its code and what it has stored.
LAST_RELEASE = "4dbea4b21babfc93a0dacee2249d9b5cea653187"  # 30 November 2026


class LastRelease:
    """The code of the last release in a folder; it needs the same libraries as today's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> LastRelease:
        git = ["git", "-C", str(ROOT), "archive", LAST_RELEASE]
        with suppress(FileNotFoundError):
            done = subprocess.run(
                [*git, "service", "workers", "web"], capture_output=True, check=False
            )
            if not done.returncode:
                with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                    archive.extractall(self.folder, filter="data")
                return self
        pytest.skip(f"needs the last release, commit {LAST_RELEASE[:8]}, in a full clone")

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):  # with what it started too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self, arguments: Sequence[str], environ: Mapping[str, str]) -> Any:
        """Start a process of that release."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**environ, "PYTHONPATH": str(self.folder)},
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=partial(follow_parent, os.getpid()),
        )
        self._processes.append(process)
        return process

    def run(self, program: str, environ: Mapping[str, str]) -> Any:
        """Run a program with the code of that release; return what it prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**environ, "PYTHONPATH": str(self.folder)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)
