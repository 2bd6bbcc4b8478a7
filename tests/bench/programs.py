"""Senders in other languages, measured beside `stoppress bench`: web-push for Node, webpush-go."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

from service.model.keys import b64url
from workers.bench.figures import Bench, BenchError
from workers.bench.installation import BenchInstallation
from workers.bench.peers import Absent, Measure, payload, subscription
from workers.trials.installation import SUBJECT

WEB_PUSH_VERSION = "3.6.7"
WEBPUSH_GO_VERSION = "1.4.0"
# Messages of each program. The first are sent but not measured: they open the connections and let
# V8 compile.
_MESSAGES, _WARM_UP = 4000, 400
_HERE = Path(__file__).parent


def web_push(installation: BenchInstallation, bench: Bench) -> Measure:
    """Prepare web-push for Node, 16 messages at a time; `Absent` if that fails."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Absent("node and npm are not both installed")
    folder = bench.folder / "web-push"
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "."]
    folder.mkdir()
    _prepare(folder, [*install, f"web-push@{WEB_PUSH_VERSION}"], why="npm could not install it")
    return partial(
        _program, installation, folder, ["node", "-e", (_HERE / "web_push.js").read_text()]
    )


def webpush_go(installation: BenchInstallation, bench: Bench) -> Measure:
    """Prepare webpush-go, 16 messages at a time; `Absent` if that fails.

    This is its best case: one client, whose HTTP/2 connection stays open, and no padding.
    """
    if not shutil.which("go"):
        raise Absent("go is not installed")
    folder = bench.folder / "webpush-go"
    folder.mkdir()
    shutil.copy(_HERE / "webpush_go.go", folder / "main.go")
    _prepare(
        folder,
        ["go", "mod", "init", "peer"],
        ["go", "get", f"github.com/SherClockHolmes/webpush-go@v{WEBPUSH_GO_VERSION}"],
        ["go", "build", "-o", "peer", "."],
        why="go could not fetch and build it",
    )
    return partial(_program, installation, folder, ["./peer"])


def _prepare(folder: Path, *commands: list[str], why: str) -> None:
    """Run commands one after another; raise `Absent` with the reason if one fails."""
    try:
        for argv in commands:
            subprocess.run(argv, cwd=folder, capture_output=True, check=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise Absent(why) from None


def _program(installation: BenchInstallation, folder: Path, argv: list[str]) -> float:
    """Run a program that reads as JSON what to send; return its CPU seconds for one message."""
    key = installation.runtime.keys.vapid[0]
    asked = {
        "subscriptions": [
            subscription(installation, number) for number in range(_WARM_UP + _MESSAGES)
        ],
        "warm_up": _WARM_UP,
        "payload": payload(installation).decode(),
        "vapid": {"subject": SUBJECT, "publicKey": b64url(key.public), "privateKey": key.text},
        "ca": installation.sinks[0].ca_file.read_text(),
    }
    run = subprocess.run(
        argv,
        cwd=folder,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise BenchError(
            f"{folder.name} ended with exit code {run.returncode}: {run.stderr.strip()}"
        )
    found = json.loads(run.stdout)
    if found["accepted"] != _MESSAGES:
        raise BenchError(
            f"{folder.name}: {found['accepted']:,} of {_MESSAGES:,} messages were accepted"
        )
    return float(found["cpu"]) / _MESSAGES
