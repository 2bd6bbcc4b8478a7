"""A newspaper's nginx hands our worker on, with the lines of docs/site.md."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support import ROOT
from tests.support.network.newspaper import Newspaper, response
from tests.support.processes.installation import wait_until
from tests.support.processes.rolling import nginx_serving
from tests.support.push_service.certificates import Authority
from workers.trials.processes import free_port


@pytest.mark.parametrize(
    ("is_trusted", "script"), [(True, b"/* ours */"), (False, b"/* stand-in */")]
)
def test_only_the_real_stop_press_gets_into_a_worker_and_no_cookie_gets_out(
    is_trusted: bool, script: bytes, tmp_path: Path
) -> None:
    (lines,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "site.md").read_text(), re.S)
    (tmp_path / "alerts-stand-in.js").write_bytes(b"/* stand-in */")
    strange, port = tmp_path / "strange.pem", free_port()
    strange.write_bytes(Authority("Another CA").certificate.public_bytes(Encoding.PEM))
    press = Newspaper(tmp_path, ["localhost"])
    press.pages["/sw.js"] = response(b"/* ours */", kind="text/javascript")
    ca_file = press.ca_file if is_trusted else strange
    lines = lines.replace("https://push.example", f"https://localhost:{press.port}")
    lines = lines.replace("/etc/ssl/certs/ca-certificates.crt", str(ca_file))
    site = f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; {lines} }}"
    address = f"http://127.0.0.1:{port}/alerts-worker.js"
    asked = Request(address, headers={"Cookie": "session=a-readers-own"})

    def is_there() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with press, subprocess.Popen(nginx_serving(site, tmp_path), cwd=tmp_path) as nginx:
        try:
            wait_until(is_there)
            with urlopen(asked, timeout=10) as answer:
                assert answer.read() == script
        finally:
            nginx.terminate()
    assert len(press.requests) == is_trusted
    assert "readers-own" not in "".join(press.requests)
