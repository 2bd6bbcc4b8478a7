"""What commands write to a pipe, and where a terminal says that it knows few letters."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

NAME = "Kölner Blatt – " + " ".join(["für alle"] * 20)


def test_each_row_is_a_line_of_utf_8_where_a_program_reads_it() -> None:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "ascii", "SITE_NAME": NAME}
    argv = [sys.executable, "-m", "service.cli", "config"]
    done = subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, check=False)
    (line,) = (one for one in done.stdout.splitlines() if one.startswith(b"SITE_NAME "))
    assert NAME in line.decode()
