"""What readers' browsers load: small, the same for everybody, and asked for anew only when due."""

from __future__ import annotations

import gzip

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.config import Config
from service.reader import bp

KB = 1024
# Compressed (design, issue of the reader's side): what every page view loads, and what comes later.
MOST = {"/optin.js": 4 * KB, "/sw.js": 3 * KB, "/panel.js": 8 * KB, "/retire.js": KB}


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    app.config["STOPPRESS"] = Config.read({})
    app.register_blueprint(bp)
    return app.test_client()


@pytest.mark.parametrize(("path", "most"), MOST.items())
def test_a_script_is_small_for_every_browser_that_takes_it_compressed(
    client: FlaskClient, path: str, most: int
) -> None:
    small = client.get(path, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    whole = client.get(path)
    assert small.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in whole.headers
    assert small.headers["Vary"] == whole.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(small.data) == whole.data
    assert len(small.data) <= most


@pytest.mark.parametrize("path", MOST)
def test_a_script_that_has_not_changed_is_not_sent_again(client: FlaskClient, path: str) -> None:
    headers = {"Accept-Encoding": "gzip"}
    tag = client.get(path, headers=headers).headers["ETag"]
    again = client.get(path, headers={**headers, "If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
