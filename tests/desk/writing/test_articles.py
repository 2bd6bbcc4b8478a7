"""The article behind an alert's link: read for the form, and checked for the confirmation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.app import create_app
from service.config import Config
from service.local.rehearsal import foreign_environment
from service.model.keys import VapidKey
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    PASSWORD,
    Page,
    open_form,
    path_of,
    post,
    publish,
    review,
    token_in,
    words,
)
from tests.support.network.newspaper import Newspaper, redirect, response
from tests.support.processes.forked import Forked
from tests.support.processes.installation import wait_until
from tests.support.redis_servers.users import as_users

ARTICLE = b"""<!doctype html><html lang="en-GB"><title>Ferry aground</title>
<meta property="og:description" content="Nobody is hurt.">
<meta property="og:image" content="https://img.example/1.jpg">
<meta property="article:section" content="World">"""

process = pytest.mark.processes


@pytest.fixture
def paper(paper: Newspaper) -> Newspaper:
    paper.pages["/ferry"] = response(ARTICLE)
    return paper


@pytest.fixture
def fetcher(redis_url: str, runtime: Runtime, paper: Newspaper) -> Iterator[Forked]:
    """A running fetch process."""
    settings = {**as_users({"REDIS_URL": redis_url}, "fetch"), "FETCH_ORIGINS": paper.origin}
    running = Forked(["-m", "workers.fetcher"], foreign_environment() | settings)
    wait_until(runtime.articles.has_readers)
    yield running
    running.kill()
    running.wait()


def ask(editor: FlaskClient, url: str, title: str = "") -> TestResponse:
    token = token_in(open_form(editor))
    return editor.post("/desk/articles", data={"csrf_token": token, "url": url, "title": title})


def read(editor: FlaskClient, url: str, title: str = "") -> dict:
    asked = ask(editor, url, title)
    assert asked.status_code == 202, asked.text
    address = asked.json["result"]

    def found() -> TestResponse | None:
        answer = editor.get(address, query_string={"title": title})
        return answer if answer.status_code == 200 else None

    return wait_until(found).json


def check(editor: FlaskClient, url: str, title: str = "Ferry aground") -> str:
    def done() -> str:
        text = editor.get("/desk/articles/check", query_string={"url": url, "title": title}).text
        Page(f"<h1></h1>{text}")
        return "" if "hx-get" in text else text

    return wait_until(done)


@process
def test_the_page_behind_a_link_is_read_for_the_form(
    editor: FlaskClient, fetcher: Forked, paper: Newspaper
) -> None:
    assert read(editor, f"{paper.origin}/ferry") == {
        "fields": {
            "title": "Ferry aground",
            "body": "Nobody is hurt.",
            "image": "https://img.example/1.jpg",
            "lang": "en-GB",
        },
        "section": "World",
        "for_subscribers": False,
        "only_http_picture": False,
        "problems": [],
    }


@process
def test_what_is_wrong_with_the_link_is_said_at_once_and_on_the_confirmation(
    editor: FlaskClient, fetcher: Forked, paper: Newspaper, runtime: Runtime
) -> None:
    paper.pages["/members"] = redirect("/login?next=/members")
    paper.pages["/login?next=/members"] = response(b"<title>Sign in</title><input type=password>")
    paper.pages["/ferry?preview=true"] = response(ARTICLE)
    paper.pages["/inside"] = redirect("http://169.254.169.254/")
    for path, title, says in (
        ("/gone", "Ferry aground", "The page does not exist"),
        ("/members", "Ferry aground", "readers have to sign in"),
        ("/ferry?preview=true", "Ferry aground", "leads to a preview"),
        ("/inside", "Ferry aground", "169.254.169.254 is at a private address"),
        ("/ferry", "One hour between them", "another title: “Ferry aground”"),
    ):
        found = read(editor, f"{paper.origin}{path}", title)
        assert [says in one for one in found["problems"]] == [True], found
        assert says in check(editor, f"{paper.origin}{path}", title)
    assert check(editor, f"{paper.origin}/ferry").count("error") == 0


@process
def test_the_confirmation_looks_at_a_link_that_nobody_asked_for(
    editor: FlaskClient, fetcher: Forked, paper: Newspaper, runtime: Runtime
) -> None:
    runtime.articles.look_at(f"{paper.origin}/gone")
    assert "does not exist" in check(editor, f"{paper.origin}/gone")
    runtime.articles.look_at("no link")


def test_without_a_fetch_process_it_is_said_and_not_waited_for(
    editor: FlaskClient, runtime: Runtime
) -> None:
    asked = ask(editor, "paper.example/ferry?preview=true")
    assert asked.status_code == 200
    preview, nobody = asked.json["problems"]
    assert "preview" in preview
    assert "no fetch process runs" in nobody
    assert "no fetch process runs" in check(editor, "https://paper.example/ferry")


def test_what_is_no_link_is_said(editor: FlaskClient) -> None:
    for url in ("", "ferry", "javascript:alert(1)", "https://[::1", "x" * 3000):
        asked = ask(editor, url)
        assert asked.status_code == 422, url
        assert asked.json == {"problems": ["This is no link to a page."]}
        assert editor.get("/desk/articles/check", query_string={"url": url}).status_code == 200


def test_only_editors_and_only_our_own_pages_may_ask(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    link = {"url": "https://paper.example/"}
    assert editor.post("/desk/articles", data=link).status_code == 400
    token = token_in(open_form(editor))
    foreign = editor.post(
        "/desk/articles",
        data={**link, "csrf_token": token},
        headers={"Origin": "https://x.example"},
    )
    assert foreign.status_code in (400, 403)
    for path in ("/desk/articles/check", f"/desk/articles/{'a' * 32}"):
        assert stranger.get(path).status_code == 302
    assert stranger.post("/desk/articles", data=link).status_code in (302, 400)


def test_an_unknown_result_is_not_there(editor: FlaskClient) -> None:
    for id in ("a", "a" * 32, "..", "{g}:n", "\N{SNOWMAN}"):
        assert editor.get(f"/desk/articles/{id}").status_code == 404, id


def test_what_a_page_says_is_only_text_on_ours(editor: FlaskClient, runtime: Runtime) -> None:
    nasty = "<script>alert(1)</script>"
    query = {"url": f"https://paper.example/{nasty}", "title": nasty}
    found = editor.get("/desk/articles/check", query_string=query)
    assert "<script" not in found.text


def test_the_form_has_a_place_for_it(editor: FlaskClient) -> None:
    page = open_form(editor)
    Page(page)
    assert 'data-articles="/desk/articles"' in page
    assert 'src="/desk/static/article.js"' in page


def test_the_link_that_readers_open_is_shown(redis_url: str, readers: int) -> None:
    parameters = "utm_source=push&utm_campaign={id}"
    app = create_app(
        Config.read(
            {
                "REDIS_URL": redis_url,
                "SECRET_KEY": "a secret of at least 32 characters",
                "VAPID_PRIVATE_KEY": VapidKey.generate().text,
                "SITE_ORIGINS": "https://paper.example",
                "LINK_PARAMETERS": parameters,
            }
        )
    )
    runtime, client = app.extensions["stoppress"], app.test_client()
    link = path_of(runtime.editors.signin_link(EMAIL))
    assert post(client, link, password=PASSWORD).status_code == 303
    shown = "Readers open https://paper.example/ferry?utm_source=push&amp;utm_campaign="
    assert f"{shown}{{id}}" in words(review(client).text)
    id = publish(runtime, url="https://paper.example/ferry")
    assert f"{shown}{id}" in words(client.get(f"/desk/alerts/{id}").text)
    elsewhere = publish(runtime, url="https://elsewhere.example/ferry")
    assert "Readers open" not in words(client.get(f"/desk/alerts/{elsewhere}").text)
