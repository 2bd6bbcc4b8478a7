"""Each page of the desk says that readers are pretended, and how many real ones have joined."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from service.local import pretend_readers
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import sign_in, words
from tests.support.requested import requested

PAGES = ("/desk/", "/desk/stories", "/desk/settings", "/")


def test_each_page_says_that_readers_are_pretend_ones(editor: FlaskClient, readers: int) -> None:
    for page in PAGES:
        text = words(editor.get(page).text)
        assert "100 pretend readers are here." in text, page
        assert "real" not in text.partition("--remove")[0]


def test_only_who_manages_is_told_the_command_that_removes_them(
    app: Flask, editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    runtime.store.access.add_editor("sam@paper.example", "a hash", Person("sends"))
    sender = sign_in(app, runtime, "sam@paper.example")
    for page in PAGES[:2]:
        said = [words(one.get(page).text) for one in (editor, sender)]
        assert ["pretend readers are here." in text for text in said] == [True, True]
        assert ["--remove" in text for text in said] == [True, False]


def test_what_nobody_clicks_does_not_look_broken(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    said = "Pretend readers never show or click anything."
    assert said in words(editor.get(f"/desk/alerts/{half_sent}").text)
    assert "Clicks: none: pretend" in words(editor.get("/desk/").text)
    runtime.store.subscriptions.subscribe(requested("x")._replace(vapid_key=runtime.keys.current))
    shown = words(editor.get(f"/desk/alerts/{half_sent}").text)
    assert said not in shown and "Shown in 0 browsers" in shown, "a real reader may click"


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
