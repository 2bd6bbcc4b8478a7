"""Moving in: a list of another service imported, read again and exported, beside PostgreSQL.

PostgreSQL stores the same rows, with one index of endpoints, in a cluster of its own: by an
`INSERT` for each, all in one transaction, and by `COPY`. Neither checks what it stores.
"""

from __future__ import annotations

import csv
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.local import pretend_readers
from service.model.keys import b64url
from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import BenchInstallation, installation

_SERVER = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("bin"))
_TABLE = (
    "create table readers (id bigserial primary key, endpoint text unique, language text,"
    " p256dh text, auth text)"
)
_COLUMNS = ("identifier", "language", "web_p256", "web_auth")


def moving(bench: Bench) -> Iterator[Figure]:
    """Measure the commands `import` and `export` as processes, their start included."""
    file, out = bench.folder / "readers.csv", bench.folder / "all.jsonl"
    _write(file, bench.recipients)
    size, rows = file.stat().st_size / 1e6, bench.recipients
    with installation(bench) as ours:
        named = ("--topic", "world", "--vapid-key", ours.runtime.keys.current)
        for name in ("import", "a second import, of known readers"):
            seconds, memory = _command(ours, "import", str(file), *named, "--json")
            yield Figure(f"{name}, rows", rows / seconds, "/s")
            yield Figure(f"{name}, a file of {size:.0f} MB", seconds, "s")
            yield Figure(f"{name}, memory", memory, "MB")
        seconds, _ = _command(ours, "export", str(out))
        yield Figure("export, readers", rows / seconds, "/s")
    if not bench.peers:
        return
    names = ("PostgreSQL, an INSERT for each row", "PostgreSQL, COPY")
    if not (_SERVER / "initdb").exists():
        for name in names:
            yield Figure(name, absent="PostgreSQL is not installed")
        return
    with _postgresql() as socket:
        for name, lines in zip(names, (_inserts, _copy), strict=True):
            script = bench.folder / "rows.sql"
            with script.open("w") as written:
                written.writelines(lines(file))
            _psql(socket, "-c", f"drop table if exists readers; {_TABLE}")
            began = time.monotonic()
            _psql(socket, "--single-transaction", "-f", str(script))
            yield Figure(name, rows / (time.monotonic() - began), "/s")


def _write(file: Path, rows: int) -> None:
    with file.open("w", newline="") as written:
        table = csv.writer(written)
        table.writerow(_COLUMNS)
        for number in range(rows):
            p256dh, auth = map(b64url, pretend_readers.keys(number))
            endpoint = "https://fcm.googleapis.com" + pretend_readers.path(number)
            table.writerow((endpoint, "en", p256dh, auth))


def _command(ours: BenchInstallation, *command: str) -> tuple[float, float]:
    """Run a command of ours; return its seconds, and its largest memory in MB."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", *command],
        env={**os.environ, **ours.environment},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    counts: Mapping[str, int] = json.loads(said or b"{}")
    if process.returncode or counts.get("refused"):
        raise BenchError(f"stoppress {command[0]} failed: {counts}")
    return time.monotonic() - began, usage.ru_maxrss / 1000


def _inserts(file: Path) -> Iterator[str]:
    with file.open(newline="") as read:
        for row in csv.reader(read):
            if row[0] != _COLUMNS[0]:
                values = ", ".join(f"'{cell}'" for cell in row)
                insert = "insert into readers (endpoint, language, p256dh, auth)"
                yield f"{insert} values ({values}) on conflict do nothing;\n"


def _copy(file: Path) -> Iterator[str]:
    yield "copy readers (endpoint, language, p256dh, auth) from stdin with (format csv, header);\n"
    with file.open() as read:
        yield from read
    yield "\\.\n"


@contextmanager
def _postgresql() -> Iterator[Path]:
    """Run a PostgreSQL of its own; yield the folder of its socket. It does not run as root."""
    home = Path(tempfile.mkdtemp(prefix="stoppress-postgresql-"))
    runs_as: Sequence[str] = ()
    if os.geteuid() == 0:
        runs_as = ("runuser", "-u", "postgres", "--")
        user = pwd.getpwnam("postgres")
        os.chown(home, user.pw_uid, user.pw_gid)
    data, log = str(home / "data"), str(home / "log")
    control = [*runs_as, str(_SERVER / "pg_ctl"), "-D", data, "-s", "-w"]
    options = f"-k {home} -h ''"
    for command in (
        [*runs_as, str(_SERVER / "initdb"), "-D", data, "-A", "trust", "-U", "postgres"],
        [*control, "-l", log, "-o", options, "start"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise BenchError(f"PostgreSQL does not start: {done.stderr.strip()}")
    try:
        yield home
    finally:
        stop = [*control, "-m", "immediate", "stop"]
        subprocess.run(stop, capture_output=True, check=False, cwd="/")
        shutil.rmtree(home, ignore_errors=True)


def _psql(socket: Path, *options: str) -> None:
    psql = [str(_SERVER / "psql"), "-q", "-h", str(socket), "-U", "postgres", "-v"]
    done = subprocess.run(
        [*psql, "ON_ERROR_STOP=1", *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"psql failed: {done.stderr.strip()[:200]}")
