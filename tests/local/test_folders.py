"""Folders with keys and readers in them: no other user of the machine may enter."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config import ConfigError
from service.local import rehearsal
from service.local.redis_server import embedded_redis
from service.local.secrets_file import read_secrets
from tests.support import ROOT
from tests.support.command import make_secrets


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_folders_are_for_our_user_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    make_secrets(folder)
    with embedded_redis(folder), rehearsal.hold(folder) as stage:
        assert [mode(path) for path in (folder, folder / "redis", stage)] == [0o700] * 3
        assert mode(folder / "keys.env") & 0o077 == 0


def test_a_folder_of_ours_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)  # made by an operator before the first start
    make_secrets(folder)
    assert mode(folder) == 0o700
    (folder / "redis").mkdir()
    for path in (folder, folder / "redis"):
        path.chmod(0o777)  # made by an earlier release, or copied without its modes
    with embedded_redis(folder):
        assert [mode(path) for path in (folder, folder / "redis")] == [0o700] * 2


def test_a_folder_that_others_share_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    folder.chmod(0o755)
    refused = subprocess.run(
        [sys.executable, "-m", "service.cli", "up"],
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert refused.stderr == (
        f"stoppress: DATA_DIR: other users may enter {folder}, which holds the keys and every"
        f" reader: run chmod 700 {folder}, or set another folder\n"
    )
    assert mode(folder) == 0o755
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]


def test_keys_in_a_folder_that_others_may_enter_are_not_used(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    assert read_secrets(tmp_path) == made
    tmp_path.chmod(0o711)
    with pytest.raises(ConfigError, match="chmod 700"):
        read_secrets(tmp_path)


def test_a_data_folder_that_is_a_file_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match=r"^DATA_DIR: cannot use .*data: File exists$"):
        make_secrets(tmp_path / "data")


def test_a_data_folder_of_another_user_says_who_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:  # as for another user than root, who may read everything
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ConfigError, match=r"denied \(run this as the user of the processes\)$"):
        read_secrets(tmp_path)
