"""Readers' browsers load little: small scripts, compressed, and sent again only if they changed."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from service.model.language.languages import LANGUAGES

KB = 1024
# Compressed: what every page view loads; the worker; and bell and panel with the texts of one
# language, which a page loads when it shows them.
EVERY_VIEW, WORKER, SHOWN = 4 * KB, 3.5 * KB, 8 * KB
# And beside that what is loaded when it is needed: to subscribe, mend and leave, and once a day by
# subscribers; before asking unasked-for, when a page reports what a reader did, by a subscriber who
# opens the preferences, after a press on “Fewer alerts”, by an editor who pairs the own browser, to
# follow one story, with an iPhone, or as a former reader of another provider.
RARE = {
    "/reader.js": 5.75 * KB,
    "/asking.js": 2 * KB,
    "/counting.js": 0.6 * KB,
    "/converted.js": 0.6 * KB,
    "/preferences.js": 3.5 * KB,
    "/links.js": 2.6 * KB,
    "/pair.js": 4.5 * KB,
    "/story.js": 2 * KB,
    "/home.js": 1.5 * KB,
    "/retire.js": 1 * KB,
}
# The way to the Home Screen, and why something does not work.
RARE |= {
    f"/texts/{language}/{section}.json": 1.5 * KB
    for language in LANGUAGES
    for section in ("home", "faults")
}
# After subscribing, and to find out why no alerts come, with its texts in one language.
HELP = 3.5 * KB
PARTS = ["/look.js", "/panel.js"]
TEXTS = [f"/texts/{language}.json" for language in LANGUAGES]
HELP_TEXTS = [f"/texts/{language}/help.json" for language in LANGUAGES]
ALL = ["/optin.js", "/sw.js", "/help.js", *RARE, *PARTS, *TEXTS, *HELP_TEXTS]


@pytest.fixture
def client(client_with: Callable[..., FlaskClient]) -> FlaskClient:
    return client_with()


def weight(client: FlaskClient, *paths: str) -> int:
    """What a browser is sent, in bytes."""
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    return sum(len(client.get(path, headers=headers).data) for path in paths)


def test_a_script_is_compressed_for_every_browser_that_accepts_it(client: FlaskClient) -> None:
    for path in ALL:
        small = client.get(path, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
        whole = client.get(path)
        assert small.headers["Content-Encoding"] == "gzip", path
        assert "Content-Encoding" not in whole.headers, path
        assert small.headers["Vary"] == whole.headers["Vary"] == "Accept-Encoding", path
        assert gzip.decompress(small.data) == whole.data, path


def test_the_script_of_every_page_view_and_the_worker_are_small(client: FlaskClient) -> None:
    assert weight(client, "/optin.js") <= EVERY_VIEW
    assert weight(client, "/sw.js") <= WORKER


def test_bell_and_panel_are_small_in_every_language(client: FlaskClient) -> None:
    for texts in TEXTS:
        assert weight(client, *PARTS, texts) <= SHOWN, texts


def test_the_help_for_readers_without_alerts_is_small_in_every_language(
    client: FlaskClient,
) -> None:
    for texts in HELP_TEXTS:
        assert weight(client, "/help.js", texts) <= HELP, texts


def test_a_script_that_few_readers_load_is_small_too(client: FlaskClient) -> None:
    for path, most in RARE.items():
        assert weight(client, path) <= most, path


def test_an_unchanged_script_is_not_sent_again_compressed(client: FlaskClient) -> None:
    headers = {"Accept-Encoding": "gzip"}
    for path in ALL:
        tag = client.get(path, headers=headers).headers["ETag"]
        again = client.get(path, headers={**headers, "If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b""), path
