"""Each page of the desk says that readers are pretended, and how many real ones have joined."""

from __future__ import annotations

from flask.testing import FlaskClient

from service.local import pretend_readers
from service.runtime import Runtime
from tests.store.test_subscriptions import requested
from tests.support.desk_pages import words

PAGES = ("/desk/", "/desk/stories", "/desk/settings", "/")


def test_each_page_says_that_readers_are_pretend_ones(editor: FlaskClient, readers: int) -> None:
    for page in PAGES:
        text = words(editor.get(page).text)
        assert "100 pretend readers are here." in text, page
        assert "real" not in text.partition("--remove")[0]


def test_it_says_that_a_real_reader_has_joined_them_until_they_are_removed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    real = requested("x")._replace(vapid_key=runtime.keys.current)
    runtime.store.subscriptions.subscribe(real)
    assert "1 real reader has joined them." in words(editor.get("/desk/").text)
    list(pretend_readers.remove(runtime.store))
    assert "pretend" not in words(editor.get("/desk/").text)
    assert runtime.subscriptions.count() == 1


def test_strangers_are_not_told_how_many_readers_there_are(
    stranger: FlaskClient, readers: int
) -> None:
    for page in ("/", "/desk/sign-in"):
        assert "pretend readers are here" not in words(stranger.get(page).text)
