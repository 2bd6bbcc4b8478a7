"""What readers' browsers load: small, the same for everybody, and asked for anew only when due."""

from __future__ import annotations

import gzip

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.config import Config
from service.reader.scripts import WEB, bp

KB = 1024
# Compressed: what every page view loads, the worker, and what comes only when it is shown: bell,
# panel and preferences, with the texts of one language.
EVERY_VIEW, WORKER, SHOWN = 4 * KB, 3 * KB, 8 * KB
# And beside that what few come to: a pressed “Fewer alerts”, a story followed alone, a reader of
# an iPhone or of another provider.
RARE = {"/links.js": 2.5 * KB, "/story.js": 2 * KB, "/home.js": 1.5 * KB, "/retire.js": 1 * KB}
PARTS = ["/look.js", "/panel.js"]
TEXTS = [f"/texts/{path.stem}.json" for path in sorted((WEB / "reader" / "texts").iterdir())]
ALL = ["/optin.js", "/sw.js", *RARE, *PARTS, *TEXTS]


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    app.config["STOPPRESS"] = Config.read({})
    app.register_blueprint(bp)
    return app.test_client()


def weight(client: FlaskClient, *paths: str) -> int:
    """What a browser is sent, in bytes."""
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    return sum(len(client.get(path, headers=headers).data) for path in paths)


@pytest.mark.parametrize("path", ALL)
def test_what_a_browser_loads_is_compressed_for_all_that_take_it(
    client: FlaskClient, path: str
) -> None:
    small = client.get(path, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    whole = client.get(path)
    assert small.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in whole.headers
    assert small.headers["Vary"] == whole.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(small.data) == whole.data


def test_what_every_page_view_loads_is_small_and_so_is_the_worker(client: FlaskClient) -> None:
    assert weight(client, "/optin.js") <= EVERY_VIEW
    assert weight(client, "/sw.js") <= WORKER


@pytest.mark.parametrize("texts", TEXTS)
def test_all_that_is_ever_shown_is_small_in_every_language(client: FlaskClient, texts: str) -> None:
    assert weight(client, *PARTS, texts) <= SHOWN


@pytest.mark.parametrize("path", RARE)
def test_what_few_come_to_is_small_too(client: FlaskClient, path: str) -> None:
    assert weight(client, path) <= RARE[path]


@pytest.mark.parametrize("path", ALL)
def test_a_script_that_has_not_changed_is_not_sent_again(client: FlaskClient, path: str) -> None:
    headers = {"Accept-Encoding": "gzip"}
    tag = client.get(path, headers=headers).headers["ETag"]
    again = client.get(path, headers={**headers, "If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
