"""Ports of processes under test: nobody else gets one, however late its server listens."""

from __future__ import annotations

import subprocess
import sys
from socketserver import TCPServer

from workers.trials.processes import HOST, free_port, hold, listens


class _Server(TCPServer):
    allow_reuse_address = True  # as servers do


def test_a_port_is_given_once_and_its_server_may_listen_late() -> None:
    port = free_port()
    assert not listens(port)
    assert not hold(port)
    program = f"import sys; from workers.trials.processes import hold; sys.exit(hold({port}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, "taken"
    with _Server((HOST, port), None):  # type: ignore[arg-type]
        assert listens(port)
    assert not hold(port)
