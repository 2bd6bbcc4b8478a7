"""The files that an import and an export write, and what they must not do to others."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from service.cli import exporting, moving
from service.cli.written_files import whole_file
from service.local.reader_files import open_rows
from service.model.notifications import Topic
from service.runtime import Runtime
from tests.support.client import browser
from tests.support.command import stoppress

HALF = "\ud83d"  # of an emoji, as a program that cut a text leaves it


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """An installation with a default topic."""
    runtime.topics.add(Topic("news", "News", default=True))
    return runtime


@pytest.mark.parametrize("field", ["endpoint", "p256dh", "lang", "tz", "tags", "created_at", "x"])
def test_half_a_character_in_a_row_ends_no_import(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "readers"
    odd = {**browser(1), "tags": {HALF: "1"}, field: f"https://{HALF}"}
    within = {**browser(2), "tags": json.dumps({HALF: "1"})}
    path.write_text("\n".join(map(json.dumps, (odd, within, browser(3)))))
    named = ("--vapid-key", runtime.keys.current, "--topics-from", "tags")
    for form in ((), ("--json",)):
        done = stoppress(environment, "import", str(path), *named, *form)
        assert done.exit_code == 0, done.output
    refused = tmp_path / "readers.refused.jsonl"
    assert refused.exists() is (field in ("endpoint", "p256dh"))
    if refused.exists():
        assert json.loads(refused.read_text())["given"][field] == "https://?"
    assert runtime.subscriptions.count() == 3 - refused.exists()


def test_a_device_is_written_to_and_stays_as_it_is(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    device = tmp_path / "pipe"
    os.mkfifo(device, 0o666)
    device.chmod(0o666)
    before = device.stat()
    path = tmp_path / "readers"
    path.write_text(json.dumps(browser(1)))
    named = ("--vapid-key", runtime.keys.current, "--refused", str(device))
    end = os.open(device, os.O_RDONLY | os.O_NONBLOCK)  # else nobody can begin to write
    try:
        assert stoppress(environment, "import", str(path), *named).exit_code == 0
        assert stoppress(environment, "export", str(device)).exit_code == 0
        assert b'"kind": "export"' in os.read(end, 65536)
    finally:
        os.close(end)
    assert device.stat().st_mode == before.st_mode
    assert [*tmp_path.glob("pipe*")] == [device]


def test_a_pipe_cannot_be_imported(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = stoppress(environment, "import", str(tmp_path / "pipe"))
    assert (done.exit_code, "the file is read twice: save it first" in done.output) == (1, True)


def test_a_private_key_in_place_of_its_file_is_not_shown(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "readers"
    path.write_text(json.dumps(browser(1)))
    key = "-----BEGIN PRIVATE KEY-----\n" + "k" * 300
    done = stoppress(environment, "import", str(path), "--vapid-key", key)
    assert (done.exit_code, "kkk" in done.output) == (2, False), done.output


def test_an_export_that_fails_leaves_the_one_before(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.jsonl"
    path.symlink_to(tmp_path / "kept.jsonl")
    assert stoppress(environment, "export", str(path)).exit_code == 0
    before = path.read_text()

    def fails(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "moving_of", fails)
    assert stoppress(environment, "export", str(path)).exit_code == 1
    assert path.read_text() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.jsonl", "kept.jsonl"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_two_commands_that_write_one_file_at_once_each_writes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    with whole_file(path) as first:
        first.write("the first, ")
        with whole_file(path) as second:
            second.write("the second")
        assert path.read_text() == "the second"
        first.write("and longer than the second")
    assert path.read_text() == "the first, and longer than the second"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_no_part_of_a_file(
    environment: dict[str, str],
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    def told(*_: object) -> None:
        assert signal.getsignal(how) is not signal.SIG_DFL, "it would end this test too"
        signal.raise_signal(how)

    path = tmp_path / "readers"
    rows = [browser(1), {**browser(2), "endpoint": "none"}, browser(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    named = ("--vapid-key", runtime.keys.current)
    with monkeypatch.context() as patched:
        patched.setattr(moving._Import, "store", told)
        assert stoppress(environment, "import", str(path), *named).exit_code == 130
    refused = tmp_path / "readers.refused.jsonl"
    assert json.loads(refused.read_text())["row"] == 2
    monkeypatch.setattr(exporting, "_lines", told)
    assert stoppress(environment, "export", str(tmp_path / "all.jsonl")).exit_code == 1
    assert {*tmp_path.iterdir()} == {path, refused}
    assert signal.getsignal(how) is signal.SIG_DFL


def test_an_export_that_was_cut_between_two_lines_is_called_so(
    environment: dict[str, str], runtime: Runtime, tmp_path: Path
) -> None:
    path, readers = tmp_path / "readers", tmp_path / "all.jsonl"
    path.write_text("\n".join(json.dumps(browser(number)) for number in range(3)))
    done = stoppress(environment, "import", str(path), "--vapid-key", runtime.keys.current)
    assert "cut off" not in done.output
    assert stoppress(environment, "export", str(readers)).exit_code == 0
    assert "cut off" not in stoppress(environment, "import", str(readers)).output
    readers.write_text("".join(readers.read_text().splitlines(keepends=True)[:-2]))
    done = stoppress(environment, "import", str(readers), "--json")
    assert done.exit_code == 0
    assert "began with 3 readers, and the file has 1 rows: it seems to be cut off" in done.stderr


def test_the_line_with_which_excel_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("\ufeffsep=;\r\nendpoint;auth\r\na;b,c\r\n")
    with open_rows(path) as (rows, _):
        assert [row.fields for row in rows] == [{"endpoint": "a", "auth": "b,c"}]
